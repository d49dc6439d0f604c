//! Rates: how many of something came in any second, and how many of those were answered.

use serde::{Deserialize, Serialize};

use crate::detect::{Evidence, Subject, Worth};
use crate::flow::record::Stretch;
use crate::flow::table::Arrival;
use crate::packet::{Nanos, Place};

/// The length of a slot: a second slides in tenths.
const SLOT: Nanos = 100_000_000;
const SLOTS_OF_SECOND: i64 = 10;

/// Slots that are kept: a second, the second in which its answers come, and the one until it is judged.
const SLOTS: i64 = 32;

/// The time that slots cover.
pub(super) const KEPT: Nanos = SLOTS * SLOT;

/// What came within a slot.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Slot {
    /// Which tenth of a second of stream time.
    epoch: i64,
    sent: u32,
    /// Two kinds of answers; what has but one counts it as both.
    good: [u32; 2],
}

/// The one that most of something is from, or to: the majority vote of Boyer and Moore (1981).
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Vote {
    who: Subject,
    votes: u64,
}

impl Vote {
    fn count(&mut self, who: Subject, by: u64) {
        if self.who == who {
            self.votes += by;
        } else if self.votes >= by {
            self.votes -= by;
        } else {
            *self = Self { who, votes: by };
        }
    }

    /// Who it is, if four of five are theirs.
    fn winner(self, of: u64) -> Subject {
        if self.votes * 10 >= of * 6 { self.who } else { Subject::Anyone }
    }
}

impl Default for Vote {
    fn default() -> Self {
        Self { who: Subject::Anyone, votes: 0 }
    }
}

/// What came within some seconds: how much, who sent most of it and to whom, when and where.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Lot {
    number: u64,
    src: Vote,
    dst: Vote,
    evidence: Evidence,
}

impl Lot {
    /// Begins anew, in the memory that it has.
    fn clear(&mut self) {
        let Self { number, src, dst, evidence } = self;
        (*number, *src, *dst) = (0, Vote::default(), Vote::default());
        evidence.clear();
    }
}

/// The rate at which something comes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Rate {
    /// Those in which something came, the latest last: most rates have few.
    slots: Vec<Slot>,
    /// What came in all of them, and the latest one's epoch: most rates are judged by these alone.
    #[serde(default)]
    all: u64,
    #[serde(default)]
    latest: i64,
    /// What came since a flood was told or the last lot was put by, and that lot: a flood is judged two seconds late.
    new: Lot,
    old: Lot,
    /// When the old lot was put by.
    since: Nanos,
    last: (Nanos, u64, u64),
    /// Whether something came since it was judged, or is still too young.
    pub(super) open: bool,
}

/// How long a lot is gathered.
const LOT: Nanos = 3_000_000_000;

/// The fullest second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Peak {
    pub(super) sent: u32,
    pub(super) good: u32,
}

fn epoch(time: Nanos) -> i64 {
    time.div_euclid(SLOT)
}

impl Rate {
    fn slot(&mut self, time: Nanos) -> &mut Slot {
        let epoch = epoch(time);
        if self.slots.last().is_none_or(|last| last.epoch != epoch) {
            let place = |epoch: i64| epoch.rem_euclid(SLOTS);
            let all = &mut self.all;
            self.slots.retain(|slot| {
                let stays = place(slot.epoch) != place(epoch);
                *all = all.saturating_sub(if stays { 0 } else { slot.sent.into() });
                stays
            });
            self.slots.push(Slot { epoch, ..Slot::default() });
            self.latest = epoch;
        }
        let last = self.slots.len() - 1;
        &mut self.slots[last]
    }

    /// So many came.
    pub(super) fn sent(&mut self, arrival: &Arrival, src: Subject, dst: Subject, by: u32) {
        let slot = self.slot(arrival.now);
        slot.sent = slot.sent.saturating_add(by);
        self.all += u64::from(by);
        let lot = &mut self.new;
        lot.number += u64::from(by);
        lot.src.count(src, u64::from(by));
        lot.dst.count(dst, u64::from(by));
        lot.evidence.add(arrival);
        self.last = (arrival.at, arrival.place.file, arrival.place.offset);
        self.open = true;
    }

    /// So many of those that came at `time` were answered, in one way and the other.
    pub(super) fn good(&mut self, time: Nanos, by: [u32; 2]) {
        let number = epoch(time);
        if let Some(slot) = self.slots.iter_mut().rev().find(|slot| slot.epoch == number) {
            for (good, by) in slot.good.iter_mut().zip(by) {
                *good = good.saturating_add(by);
            }
        }
    }

    /// The fullest second with fewer than one answer for `share` that came, whose answers have had a second to come; any
    /// second, if `over`. `share` 0 asks nothing of answers. Not looked for where all that came does not reach the threshold.
    pub(super) fn peak(&mut self, now: Nanos, over: bool, share: u32, threshold: u32) -> Peak {
        let mut peak = Peak::default();
        let ripe = if over { i64::MAX } else { epoch(now) - SLOTS_OF_SECOND };
        let starts = if self.all < u64::from(threshold) { &[] } else { &self.slots[..] };
        for start in starts {
            let (from, to) = (start.epoch, start.epoch + SLOTS_OF_SECOND);
            if start.sent == 0 || to > ripe {
                continue;
            }
            let within = self.slots.iter().filter(|slot| (from..to).contains(&slot.epoch));
            let (sent, good) = within.fold((0_u32, [0_u32; 2]), |(sent, good), slot| {
                let good = [good[0].saturating_add(slot.good[0]), good[1].saturating_add(slot.good[1])];
                (sent.saturating_add(slot.sent), good)
            });
            let good = good[0].min(good[1]);
            if sent > peak.sent && (share == 0 || u64::from(good) * u64::from(share) < u64::from(sent)) {
                peak = Peak { sent, good };
            }
        }
        self.open = self.latest + SLOTS_OF_SECOND > ripe;
        peak
    }

    /// Who sent most of it, and to whom.
    pub(super) fn ends(&self) -> (Subject, Subject) {
        let lot = if self.new.number >= self.old.number { &self.new } else { &self.old };
        (lot.src.winner(lot.number), lot.dst.winner(lot.number))
    }

    /// What came in the fullest second, answered or not.
    pub(super) fn fullest(&self) -> u64 {
        let of = |start: &Slot| {
            let second = start.epoch..start.epoch + SLOTS_OF_SECOND;
            let within = self.slots.iter().filter(|slot| second.contains(&slot.epoch));
            within.map(|slot| u64::from(slot.sent)).sum()
        };
        self.slots.iter().map(of).max().unwrap_or(0)
    }

    /// Whether nothing came since it was told or forgotten.
    pub(super) fn is_told(&self) -> bool {
        self.new.number + self.old.number == 0
    }

    /// How many there were since this was last asked, or for some seconds, and when and where.
    pub(super) fn take(&mut self) -> (u64, Evidence, Arrival) {
        let (at, file, offset) = self.last;
        let last = Arrival { at, place: Place { file, offset }, ..Arrival::default() };
        let (old, new) = (std::mem::take(&mut self.old), std::mem::take(&mut self.new));
        let mut evidence = old.evidence;
        evidence.first = evidence.first.min(new.evidence.first);
        evidence.last = evidence.last.max(new.evidence.last);
        for Stretch(file, from, to) in new.evidence.captures.stretches().0 {
            for offset in [from, to] {
                evidence.captures.add(Place { file, offset });
            }
        }
        (old.number + new.number, evidence, last)
    }

    /// Lets go what came some seconds ago without being a flood; rates go on.
    pub(super) fn put_by(&mut self, now: Nanos) {
        if now.saturating_sub(self.since) >= LOT {
            self.since = now;
            std::mem::swap(&mut self.old, &mut self.new);
            self.new.clear();
        }
    }
}

impl Worth for Rate {
    fn worth(&self) -> u32 {
        (self.new.number + self.old.number).min(u64::from(u32::MAX)) as u32
    }
}
