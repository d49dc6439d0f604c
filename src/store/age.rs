//! How long ago something happened, on a board whose wall clock cannot be trusted.
//!
//! Age is running time: what passed on the clock of each boot, as far as the ledger saw it, plus the time between two boots
//! where the wall clock was believable on both sides: synchronised, and not stepped, for an hour. One forged time answer
//! therefore ages nothing, and a clock that is never set only makes files younger than they are.

use std::time::Duration;

use super::entry::{Act, Entry};

/// How long a synchronised clock must run without a step before the time between boots is taken from it, milliseconds.
const PROVEN_MS: u64 = 3_600_000;

/// A moment as the ledger stamps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Wall clock, nanoseconds since 1970.
    pub wall: i64,
    /// Milliseconds since boot.
    pub up_ms: u64,
    /// Whether the wall clock was synchronised.
    pub synchronised: bool,
}

impl Stamp {
    /// The stamp of a ledger entry.
    pub fn of(entry: &Entry) -> Self {
        Self { wall: entry.at.unwrap_or(0), up_ms: entry.up_ms, synchronised: entry.synchronised }
    }

    /// When the boot began by this stamp's wall clock, milliseconds since 1970.
    fn boot_wall_ms(&self) -> i64 {
        self.wall / 1_000_000 - self.up_ms as i64
    }
}

/// One boot, as far as it was seen.
#[derive(Debug, Clone)]
struct Boot {
    id: String,
    /// Running time of all boots before it, without the gaps that are not proven yet.
    base_ms: u64,
    last: Stamp,
    /// Since when, on this boot's clock, the wall clock has been synchronised without a step.
    steady_since: Option<u64>,
    /// The wall clock at the beginning of this boot, once proven, milliseconds since 1970.
    proven: Option<i64>,
    /// The proven wall clock at the end of the boot before, if this boot has yet to prove its own.
    before: Option<i64>,
}

/// Running time over all boots; fed with the ledger's entries in order.
#[derive(Debug, Clone, Default)]
pub struct RunningClock {
    boot: Option<Boot>,
}

impl RunningClock {
    /// Takes note of an entry; returns the running time, milliseconds, at which it was written.
    pub fn note(&mut self, entry: &Entry) -> u64 {
        let stamp = Stamp::of(entry);
        match &entry.act {
            Act::Start { boot, .. } | Act::Compacted { boot, .. } => self.enter(boot, stamp),
            _ => {}
        }
        self.advance(stamp, matches!(entry.act, Act::ClockStep { .. }))
    }

    /// The running time now, milliseconds; `stamp` must be of the boot that was entered last.
    pub fn now(&mut self, stamp: Stamp) -> u64 {
        self.advance(stamp, false)
    }

    fn enter(&mut self, id: &str, stamp: Stamp) {
        let old = self.boot.take_if(|boot| boot.id != id || id.is_empty() || stamp.up_ms < boot.last.up_ms);
        if self.boot.is_some() {
            return;
        }
        let (base_ms, before) = old.map_or((0, None), |old| {
            let end = old.proven.map(|wall| wall + old.last.up_ms as i64);
            (old.base_ms + old.last.up_ms, end)
        });
        self.boot =
            Some(Boot { id: id.to_owned(), base_ms, last: stamp, steady_since: None, proven: None, before });
    }

    fn advance(&mut self, stamp: Stamp, stepped: bool) -> u64 {
        let boot = self.boot.get_or_insert_with(|| Boot {
            id: String::new(),
            base_ms: 0,
            last: stamp,
            steady_since: None,
            proven: None,
            before: None,
        });
        // A step that nobody has seen shows in the clocks having run apart; a clock may only drift.
        let (ran, apart) =
            (stamp.up_ms.abs_diff(boot.last.up_ms), stamp.boot_wall_ms().abs_diff(boot.last.boot_wall_ms()));
        let stepped = stepped || apart > 1000 + ran / 1000;
        if !stamp.synchronised {
            boot.steady_since = None;
        } else if stepped || boot.steady_since.is_none() {
            boot.steady_since = Some(stamp.up_ms);
        }
        if boot.steady_since.is_some_and(|since| stamp.up_ms.saturating_sub(since) >= PROVEN_MS) {
            boot.proven = Some(stamp.boot_wall_ms());
            if let Some(gap) = boot.before.take().map(|end| stamp.boot_wall_ms() - end) {
                boot.base_ms += u64::try_from(gap).unwrap_or(0);
            }
        }
        let up_ms = boot.last.up_ms.max(stamp.up_ms);
        boot.last = Stamp { up_ms, ..stamp };
        boot.base_ms + up_ms
    }
}

/// The time between two readings of a [`RunningClock`].
pub fn between(then_ms: u64, now_ms: u64) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(then_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::losses::Losses;

    const HOUR: u64 = 3_600_000;
    const DAY: u64 = 24 * HOUR;

    struct Story {
        clock: RunningClock,
    }

    impl Story {
        fn new() -> Self {
            Self { clock: RunningClock::default() }
        }

        /// `wall` in milliseconds since some day in 2024.
        fn note(&mut self, act: Act, wall: u64, up_ms: u64, synchronised: bool) -> u64 {
            let at = Some(1_700_000_000_000_000_000 + wall as i64 * 1_000_000);
            self.clock.note(&Entry { at, up_ms, synchronised, act })
        }

        fn boot(&mut self, id: &str, wall: u64, up_ms: u64, synchronised: bool) -> u64 {
            let act = Act::Start { version: String::new(), boot: id.to_owned(), source: None };
            self.note(act, wall, up_ms, synchronised)
        }

        fn later(&mut self, wall: u64, up_ms: u64, synchronised: bool) -> u64 {
            self.note(Act::Stop { losses: Losses::NONE }, wall, up_ms, synchronised)
        }
    }

    #[test]
    fn within_a_boot_only_the_running_clock_counts() {
        let mut story = Story::new();
        let sealed = story.boot("a", 0, 5000, false);
        let step = story.note(Act::ClockStep { by_ms: 9 * DAY as i64 }, 9 * DAY, 6000, true);
        assert_eq!(between(sealed, step), Duration::from_secs(1));
        assert_eq!(between(sealed, story.later(9 * DAY, 5000 + HOUR, true)), Duration::from_secs(3600));
    }

    #[test]
    fn a_step_in_either_direction_neither_ages_nor_rejuvenates() {
        for (wall, synchronised) in [(9 * DAY, true), (9 * DAY, false), (20 * DAY, true), (20 * DAY, false)] {
            let mut story = Story::new();
            story.boot("a", 10 * DAY, 1000, true);
            let sealed = story.later(10 * DAY + 2 * HOUR, 2 * HOUR, true);
            let by_ms = wall as i64 - 10 * DAY as i64;
            story.note(Act::ClockStep { by_ms }, wall, 2 * HOUR + 1000, synchronised);
            let later = story.later(wall + 5 * HOUR, 7 * HOUR, synchronised);
            assert_eq!(between(sealed, later), Duration::from_secs(5 * 3600), "{by_ms}");
            // Nor does a step that nobody noticed, while the clock shows another year.
            let unseen = story.later(900 * DAY, 8 * HOUR, synchronised);
            assert_eq!(between(sealed, unseen), Duration::from_secs(6 * 3600), "{by_ms}");
        }
    }

    #[test]
    fn boots_that_are_never_synchronised_count_their_own_time_alone() {
        let mut story = Story::new();
        let sealed = story.boot("a", 0, 0, false);
        story.later(3 * HOUR, 3 * HOUR, false);
        // Without a clock of its own every boot begins at the same time, or years later.
        for (id, wall) in [("b", 0), ("c", 3650 * DAY), ("d", 0)] {
            story.boot(id, wall, 0, false);
            story.later(wall + 2 * HOUR, 2 * HOUR, false);
        }
        let now = story.later(9000 * DAY, 3 * HOUR, false);
        assert_eq!(between(sealed, now), Duration::from_secs((3 + 2 + 2 + 3) * 3600));
    }

    #[test]
    fn a_gap_that_would_be_negative_is_none() {
        let mut story = Story::new();
        story.boot("a", 10 * DAY, 0, true);
        let sealed = story.later(10 * DAY + 2 * HOUR, 2 * HOUR, true);
        story.boot("b", 3 * DAY, 0, true);
        let now = story.later(3 * DAY + 2 * HOUR, 2 * HOUR, true);
        assert_eq!(between(sealed, now), Duration::from_secs(2 * 3600));
    }

    #[test]
    fn a_night_without_power_counts_once_both_clocks_are_proven() {
        let mut story = Story::new();
        story.boot("a", 0, 0, true);
        let sealed = story.later(2 * HOUR, 2 * HOUR, true);
        // The next boot begins in 1970 and is set right after a minute.
        let boot = story.boot("b", 0, 1000, false);
        assert_eq!(between(sealed, boot), Duration::from_secs(1));
        story.note(Act::ClockStep { by_ms: 1 }, 12 * HOUR + 60_000, 60_000, true);
        let early = story.later(13 * HOUR, HOUR, true);
        assert_eq!(between(sealed, early), Duration::from_secs(3600));
        let proven = story.later(14 * HOUR, 2 * HOUR, true);
        assert_eq!(between(sealed, proven), Duration::from_secs(12 * 3600));
    }

    #[test]
    fn a_forged_answer_that_no_step_tells_of_ages_nothing() {
        let mut story = Story::new();
        story.boot("a", 0, 0, true);
        let sealed = story.later(2 * HOUR, 2 * HOUR, true);
        story.boot("b", 3 * HOUR, 0, true);
        // The service stops, the clock is set ten years ahead, and the service starts again in the same boot.
        let now = story.boot("b", 3650 * DAY, 2 * HOUR, true);
        assert_eq!(between(sealed, now), Duration::from_secs(2 * 3600));
    }

    #[test]
    fn one_forged_answer_ages_nothing() {
        let mut story = Story::new();
        story.boot("a", 0, 0, true);
        let sealed = story.later(2 * HOUR, 2 * HOUR, true);
        story.boot("b", 3650 * DAY, 1000, true);
        assert_eq!(
            between(sealed, story.later(3650 * DAY + HOUR / 2, HOUR / 2, true)),
            Duration::from_secs(1800)
        );
        // The boot began half an hour after the end of the first.
        story.note(Act::ClockStep { by_ms: -1 }, 3 * HOUR, HOUR / 2, true);
        let now = story.later(4 * HOUR + HOUR / 2, 2 * HOUR, true);
        assert_eq!(between(sealed, now), Duration::from_secs(9000), "the true gap, once proven");
    }

    #[test]
    fn an_unproven_boot_in_between_only_makes_files_younger() {
        let mut story = Story::new();
        story.boot("a", 0, 0, true);
        let sealed = story.later(2 * HOUR, 2 * HOUR, true);
        story.boot("b", 5 * HOUR, 0, true);
        story.later(5 * HOUR + 1000, 1000, true);
        story.boot("c", 50 * HOUR, 0, true);
        let now = story.later(52 * HOUR, 2 * HOUR, true);
        assert_eq!(between(sealed, now), Duration::from_millis(1000 + 2 * HOUR));
    }
}
