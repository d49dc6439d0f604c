//! Retention as a pure plan: what is there, what is allowed, what must go and why. Carrying it out is [`super::keeper`]'s.
//!
//! Oldest index number first, whatever the clocks said; a held file is never chosen, an unfinished or unknown one is never
//! offered.

use std::fmt;
use std::time::Duration;

use crate::sys::fs::Space;

/// Free space to keep on the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinFree {
    /// Bytes.
    Bytes(u64),
    /// Hundredths of the file system's size.
    Percent(u8),
}

impl MinFree {
    /// Bytes on a file system of `total` bytes.
    pub fn bytes(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => hundredths(total, percent),
        }
    }
}

/// What retention allows; any one limit evicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most sealed files.
    pub count: Option<u64>,
    /// The most bytes of capture files, the growing one at its full size included.
    pub bytes: Option<u64>,
    /// The longest time since a file was sealed.
    pub age: Option<Duration>,
    /// Free space to keep.
    pub min_free: MinFree,
    /// The part, in hundredths, of what was allowed at start below which free-space eviction stops.
    pub floor_percent: u8,
}

/// What retention allows of flow files, beside what it allows of captures; any one limit evicts, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowLimits {
    /// The most sealed files.
    pub count: Option<u64>,
    /// The most bytes, the growing file at its full size included.
    pub bytes: Option<u64>,
    /// The longest time since a file was sealed.
    pub age: Option<Duration>,
    /// The size at which a file ends.
    pub rotation_size: u64,
}

impl FlowLimits {
    /// The most bytes of flow files unless the configuration says otherwise, whatever the disk's size.
    pub const DEFAULT_BYTES: u64 = 1_000_000_000;
    /// The most hundredths of the disk, likewise.
    pub const DEFAULT_PERCENT: u8 = 10;

    /// By bytes alone: 1 GB, or a tenth of a disk smaller than 10 GB.
    pub fn for_disk(total: u64, rotation_size: u64) -> Self {
        let bytes = Self::DEFAULT_BYTES.min(hundredths(total, Self::DEFAULT_PERCENT));
        Self { count: None, bytes: Some(bytes), age: None, rotation_size }
    }

    /// The same in the words of [`plan`]. Free space is made by captures; only where there are none, `min_free` asks for flow
    /// files, down to half of the bytes allowed.
    fn limits(&self, min_free: Option<MinFree>) -> Limits {
        let Self { count, bytes, age, .. } = *self;
        Limits { count, bytes, age, min_free: min_free.unwrap_or(MinFree::Bytes(0)), floor_percent: 50 }
    }
}

/// Chooses which flow files must go, in the order in which they should. `growing` is the growing file's length, `space` the
/// file system now; `min_free` is set where there are no captures that could go instead, and space may be judged.
pub fn plan_flows(
    files: &[Candidate],
    limits: &FlowLimits,
    growing: u64,
    space: Space,
    min_free: Option<MinFree>,
) -> Vec<Eviction> {
    let room = Room {
        space,
        growing,
        other: 0,
        needed: limits.rotation_size.saturating_sub(growing),
        settled: min_free.is_some(),
        floor: limits.bytes.unwrap_or(u64::MAX) / 2,
    };
    plan(files, &limits.limits(min_free), &room)
}

/// A sealed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its index number.
    pub number: u64,
    /// Its length, bytes.
    pub size: u64,
    /// Running time since it was sealed.
    pub age: Duration,
    /// Kept by a person.
    pub held: bool,
}

/// The disk, as the plan sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The file system now.
    pub space: Space,
    /// Bytes that the growing file has.
    pub growing: u64,
    /// Bytes of other files of ours that are not to be chosen: on their way to be sealed or salvaged, or put aside.
    pub other: u64,
    /// Bytes that the growing file may still take.
    pub needed: u64,
    /// Whether free space may be judged: not while that of earlier evictions has yet to appear.
    pub settled: bool,
    /// Bytes of captures on the disk, the growing one included, below which free space evicts nothing.
    pub floor: u64,
}

/// Why a file must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// More files than allowed.
    Count(u64),
    /// More bytes than allowed.
    Bytes(u64),
    /// Older than allowed.
    Age(Duration),
    /// Less free space than asked for, bytes.
    Free(u64),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(limit) => write!(f, "more than {limit} files"),
            Self::Bytes(limit) => write!(f, "more than {limit} bytes"),
            Self::Age(limit) => write!(f, "older than {} s", limit.as_secs()),
            Self::Free(wanted) => write!(f, "less than {wanted} bytes free"),
        }
    }
}

/// One file that must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eviction {
    /// Its index number.
    pub number: u64,
    /// Its length, bytes.
    pub size: u64,
    /// Why.
    pub reason: Reason,
}

/// Chooses what must go, in the order in which it should. `files` in any order.
pub fn plan(files: &[Candidate], limits: &Limits, room: &Room) -> Vec<Eviction> {
    let mut files = files.to_vec();
    files.sort_unstable_by_key(|file| file.number);
    let mut left = Left {
        count: files.len() as u64,
        bytes: files.iter().map(|file| file.size).sum::<u64>() + room.growing + room.other,
        freed: 0,
        oldest_stays: false,
    };
    let mut evictions = Vec::new();
    for file in files.iter().filter(|file| !file.held) {
        let Some(reason) = left.violation(file, limits, room) else {
            left.oldest_stays = true;
            continue;
        };
        left.count -= 1;
        left.bytes -= file.size;
        left.freed += file.size;
        evictions.push(Eviction { number: file.number, size: file.size, reason });
    }
    evictions
}

/// What would be left if the evictions chosen so far were carried out.
struct Left {
    count: u64,
    /// On the disk, the growing file and the other ones included.
    bytes: u64,
    freed: u64,
    oldest_stays: bool,
}

impl Left {
    fn violation(&self, file: &Candidate, limits: &Limits, room: &Room) -> Option<Reason> {
        if let Some(limit) = limits.age.filter(|&limit| file.age > limit) {
            return Some(Reason::Age(limit));
        }
        if self.oldest_stays {
            return None;
        }
        if let Some(limit) = limits.count.filter(|&limit| self.count > limit) {
            return Some(Reason::Count(limit));
        }
        if let Some(limit) = limits.bytes.filter(|&limit| self.bytes.saturating_add(room.needed) > limit) {
            return Some(Reason::Bytes(limit));
        }
        let wanted = limits.min_free.bytes(room.space.total);
        let short = room.space.free.saturating_add(self.freed) < wanted.saturating_add(room.needed);
        let above_floor = self.bytes.saturating_sub(file.size) >= room.floor;
        (short && room.settled && above_floor).then_some(Reason::Free(wanted))
    }
}

/// Bytes of captures that the limits and the disk allow: `kept` bytes are there, the growing file included; `rotation` is
/// a file's full size.
pub fn allowance(limits: &Limits, space: Space, kept: u64, rotation: u64) -> u64 {
    let disk = (kept + space.free).saturating_sub(limits.min_free.bytes(space.total));
    let count = limits.count.map_or(u64::MAX, |count| (count + 1).saturating_mul(rotation));
    disk.min(limits.bytes.unwrap_or(u64::MAX)).min(count)
}

/// The largest size of a file with which retention by free space can work above its floor, since it must make room for a
/// whole file by removing whole files.
pub fn largest_rotation(limits: &Limits, allowance: u64) -> u64 {
    hundredths(allowance, 100 - limits.floor_percent.min(100)) / 2
}

/// The part of an allowance below which free-space eviction stops.
pub fn floor(limits: &Limits, allowance: u64) -> u64 {
    hundredths(allowance, limits.floor_percent)
}

fn hundredths(bytes: u64, percent: u8) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}

/// Why files may not be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HoldRefused {
    /// Too many files would be held.
    #[error(
        "{wanted} held files would take more than half of the {limit} that retention keeps; release some first"
    )]
    Count {
        /// Held then.
        wanted: u64,
        /// The limit.
        limit: u64,
    },
    /// Too many bytes would be held.
    #[error(
        "{wanted} bytes of held files would take more than half of the {limit} that retention allows; release some first"
    )]
    Bytes {
        /// Held then.
        wanted: u64,
        /// The limit.
        limit: u64,
    },
}

/// Whether `files` (with those to be held marked so) leave retention room to work: held files take at most half of each
/// limit. `allowance` as of [`allowance()`].
pub fn may_hold(files: &[Candidate], limits: &Limits, allowance: u64) -> Result<(), HoldRefused> {
    let held = files.iter().filter(|file| file.held);
    let (count, bytes) = held.fold((0, 0), |(count, bytes), file| (count + 1, bytes + file.size));
    match limits.count {
        Some(limit) if count * 2 > limit => return Err(HoldRefused::Count { wanted: count, limit }),
        _ => {}
    }
    if bytes * 2 > allowance {
        return Err(HoldRefused::Bytes { wanted: bytes, limit: allowance });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits() -> impl Strategy<Value = Limits> {
        let free =
            prop_oneof![(0_u64..2000).prop_map(MinFree::Bytes), (0_u8..100).prop_map(MinFree::Percent)];
        let option = |max: u64| prop::option::of(1..max);
        (option(20), option(4000), option(50), free).prop_map(|(count, bytes, age, min_free)| Limits {
            count,
            bytes,
            age: age.map(Duration::from_secs),
            min_free,
            floor_percent: 50,
        })
    }

    fn files() -> impl Strategy<Value = Vec<Candidate>> {
        prop::collection::btree_map(0_u64..100, (0_u64..400, 0_u64..100, any::<bool>()), 0..30).prop_map(
            |map| {
                let file = |(number, (size, age, held))| Candidate {
                    number,
                    size,
                    age: Duration::from_secs(age),
                    held,
                };
                map.into_iter().map(file).collect()
            },
        )
    }

    fn room() -> impl Strategy<Value = Room> {
        (0_u64..4000, 0_u64..200, 0_u64..500, 0_u64..200, any::<bool>(), 0_u64..3000).prop_map(
            |(free, growing, other, needed, settled, floor)| Room {
                space: Space { total: 4000, free },
                growing,
                other,
                needed,
                settled,
                floor,
            },
        )
    }

    proptest! {
        #[test]
        fn a_plan_keeps_every_rule(files in files(), limits in limits(), room in room()) {
            let plan = plan(&files, &limits, &room);
            let find = |number| files.iter().find(|file| file.number == number).copied();
            let gone = |number| plan.iter().any(|eviction| eviction.number == number);
            let left: Vec<_> = files.iter().filter(|file| !gone(file.number)).collect();
            let bytes = |files: &[&Candidate]| files.iter().map(|file| file.size).sum::<u64>() + room.growing + room.other;

            prop_assert!(plan.is_sorted_by(|a, b| a.number < b.number), "oldest first, none twice");
            for eviction in &plan {
                let file = find(eviction.number).unwrap();
                prop_assert!(!file.held, "held files stay");
                match eviction.reason {
                    Reason::Age(limit) => prop_assert!(file.age > limit),
                    // Whatever went for another limit than age went oldest first: nothing older than it is left unheld.
                    _ => prop_assert!(left.iter().all(|kept| kept.held || kept.number > file.number)),
                }
                if let Reason::Free(_) = eviction.reason {
                    prop_assert!(room.settled);
                }
            }
            let free: Vec<_> = left.iter().filter(|file| !file.held).collect();
            if !free.is_empty() {
                prop_assert!(limits.count.is_none_or(|limit| left.len() as u64 <= limit), "count is kept");
                prop_assert!(limits.bytes.is_none_or(|limit| bytes(&left) + room.needed <= limit), "bytes are kept");
            }
            prop_assert!(limits.age.is_none_or(|limit| free.iter().all(|file| file.age <= limit)), "age is kept");
            if plan.iter().any(|eviction| matches!(eviction.reason, Reason::Free(_))) {
                let other = plan.iter().any(|eviction| !matches!(eviction.reason, Reason::Free(_)));
                prop_assert!(other || bytes(&left) >= room.floor, "free space stops at the floor");
            }
        }

        #[test]
        fn nothing_goes_when_every_limit_is_kept(files in files()) {
            let limits = Limits { count: None, bytes: None, age: None, min_free: MinFree::Bytes(0), floor_percent: 50 };
            let room = Room { space: Space { total: 10, free: 10 }, growing: 0, other: 0, needed: 10, settled: true, floor: 0 };
            prop_assert_eq!(plan(&files, &limits, &room), vec![]);
        }
    }

    #[test]
    fn the_growing_file_needs_its_room_before_it_takes_it() {
        let files: Vec<_> =
            (1..=3).map(|number| Candidate { number, size: 100, age: Duration::ZERO, held: false }).collect();
        let limits = Limits {
            count: None,
            bytes: Some(350),
            age: None,
            min_free: MinFree::Bytes(50),
            floor_percent: 0,
        };
        let room = Room {
            space: Space { total: 1000, free: 1000 },
            growing: 0,
            other: 0,
            needed: 100,
            settled: true,
            floor: 0,
        };
        assert_eq!(
            plan(&files, &limits, &room),
            [Eviction { number: 1, size: 100, reason: Reason::Bytes(350) }]
        );
        assert_eq!(plan(&files, &limits, &Room { other: 51, ..room }).len(), 2, "other files count");
        let limits = Limits { bytes: None, ..limits };
        let tight = Room { space: Space { total: 1000, free: 149 }, ..room };
        assert_eq!(
            plan(&files, &limits, &tight),
            [Eviction { number: 1, size: 100, reason: Reason::Free(50) }]
        );
        assert_eq!(plan(&files, &limits, &Room { settled: false, ..tight }), []);
        assert_eq!(plan(&files, &limits, &Room { floor: 201, ..tight }), []);
        assert_eq!(plan(&files, &limits, &Room { floor: 200, ..tight }).len(), 1);
    }

    proptest! {
        #[test]
        fn flow_files_keep_their_own_limits(
            files in files(), count in prop::option::of(1_u64..20), bytes in prop::option::of(1_u64..4000),
            growing in 0_u64..200, free in 0_u64..4000, wanted in prop::option::of(0_u64..2000),
        ) {
            let files: Vec<_> = files.into_iter().map(|file| Candidate { held: false, ..file }).collect();
            let limits = FlowLimits { count, bytes, age: Some(Duration::from_secs(50)), rotation_size: 100 };
            let space = Space { total: 4000, free };
            let plan = plan_flows(&files, &limits, growing, space, wanted.map(MinFree::Bytes));
            let gone = |number| plan.iter().any(|eviction| eviction.number == number);
            let left: Vec<_> = files.iter().filter(|file| !gone(file.number)).collect();
            let size = left.iter().map(|file| file.size).sum::<u64>() + growing.max(100);
            prop_assert!(left.is_empty() || count.is_none_or(|count| left.len() as u64 <= count));
            prop_assert!(left.is_empty() || bytes.is_none_or(|bytes| size <= bytes));
            prop_assert!(left.iter().all(|file| file.age <= Duration::from_secs(50)));
            for eviction in &plan {
                let younger = |file: &&Candidate| file.number > eviction.number;
                let by_age = matches!(eviction.reason, Reason::Age(_));
                prop_assert!(by_age || left.iter().all(younger), "oldest first");
                prop_assert!(wanted.is_some() || !matches!(eviction.reason, Reason::Free(_)));
            }
        }
    }

    #[test]
    fn a_small_disk_gives_a_tenth_to_flow_files() {
        assert_eq!(FlowLimits::for_disk(4_000_000_000, 1).bytes, Some(400_000_000));
        assert_eq!(FlowLimits::for_disk(u64::MAX, 1).bytes, Some(1_000_000_000));
    }

    #[test]
    fn half_of_a_limit_may_be_held() {
        let file = |number, held| Candidate { number, size: 10, age: Duration::ZERO, held };
        let limits =
            Limits { count: Some(4), bytes: None, age: None, min_free: MinFree::Bytes(0), floor_percent: 50 };
        let files = [file(1, true), file(2, true), file(3, false)];
        assert_eq!(may_hold(&files, &limits, 40), Ok(()));
        assert_eq!(may_hold(&files, &limits, 39), Err(HoldRefused::Bytes { wanted: 20, limit: 39 }));
        let files = [file(1, true), file(2, true), file(3, true)];
        assert_eq!(may_hold(&files, &limits, 400), Err(HoldRefused::Count { wanted: 3, limit: 4 }));
    }
}
