//! What came lately and is not counted by target yet: while all of a kind together stay below what makes a flood of one
//! target, no target needs a rate.

use std::collections::VecDeque;

use super::rate::KEPT;
use crate::detect::Subject;
use crate::flow::table::Arrival;
use crate::packet::addr::Addr;
use crate::packet::{NANOS_PER_SEC, Nanos};

/// The most events of a kind that wait (about 100 bytes each).
const MOST: usize = 8192;

/// Something that counts in rates.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// So many came.
    Sent {
        arrival: Arrival,
        src: Subject,
        /// To whom; nobody if only the rate of all counts.
        dst: Option<(Addr, u16)>,
        by: u32,
        answers: Answers,
    },
    /// So many of those that came at `of` were answered, in one way and the other.
    Good { now: Nanos, of: Nanos, dst: (Addr, u16), by: [u32; 2] },
}

/// Which rates that what came is an answer in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// None.
    No,
    /// That of its sender.
    Sender,
    /// That of its sender, and that of all.
    All,
}

impl Event {
    fn time(&self) -> Nanos {
        match self {
            Self::Sent { arrival, .. } => arrival.now,
            Self::Good { now, .. } => *now,
        }
    }

    fn sent(&self) -> u64 {
        match self {
            Self::Sent { by, .. } => u64::from(*by),
            Self::Good { .. } => 0,
        }
    }
}

/// Events of one kind.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    events: VecDeque<Event>,
    sent: u64,
}

impl Waiting {
    /// Adds one; whether there are as many as may be.
    #[inline]
    pub(super) fn add(&mut self, event: Event) -> bool {
        self.sent += event.sent();
        self.events.push_back(event);
        self.events.len() >= MOST
    }

    /// Forgets those of which no rate would keep anything.
    pub(super) fn forget(&mut self, now: Nanos) {
        let old = self.events.partition_point(|event| now.saturating_sub(event.time()) > KEPT);
        self.sent -= self.events.drain(..old).map(|event| event.sent()).sum::<u64>();
    }

    /// How many came.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// How many came in the fullest second.
    pub(super) fn fullest(&self) -> u64 {
        let (mut most, mut within) = (0, 0);
        let mut first = self.events.iter();
        let mut start = self.events.front().map_or(0, Event::time);
        for event in &self.events {
            within += event.sent();
            while event.time().saturating_sub(start) >= NANOS_PER_SEC
                && let Some(gone) = first.next()
            {
                within -= gone.sent();
                start = first.clone().next().map_or(start, Event::time);
            }
            most = most.max(within);
        }
        most
    }

    /// All, in the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }

    /// Takes all.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Event> {
        self.sent = 0;
        self.events.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: Nanos = NANOS_PER_SEC / 10;

    fn sent(now: Nanos, by: u32) -> Event {
        let arrival = Arrival { at: now, now, ..Arrival::default() };
        Event::Sent { arrival, src: Subject::Anyone, dst: None, by, answers: Answers::No }
    }

    #[test]
    fn the_fullest_second_begins_anywhere() {
        let mut waiting = Waiting::default();
        for tenth in [0, 5, 9, 10, 14, 30] {
            waiting.add(sent(tenth * TENTH, 2));
        }
        waiting.add(Event::Good { now: 30 * TENTH, of: 0, dst: (Addr::v4([1; 4]), 1), by: [9; 2] });
        // From 0.5 to 1.4 s: four; a second later its first is out.
        assert_eq!((waiting.fullest(), waiting.sent()), (8, 12));
        waiting.add(sent(31 * TENTH, 7));
        assert_eq!((waiting.fullest(), waiting.sent()), (9, 19));
    }

    #[test]
    fn what_is_old_or_taken_is_not_counted_again() {
        let mut waiting = Waiting::default();
        waiting.add(sent(0, 3));
        waiting.add(sent(TENTH, 5));
        waiting.forget(KEPT);
        assert_eq!(waiting.sent(), 8);
        waiting.forget(KEPT + 1);
        assert_eq!((waiting.sent(), waiting.fullest()), (5, 5));
        assert_eq!(waiting.drain().count(), 1);
        assert_eq!((waiting.sent(), waiting.fullest()), (0, 0));
    }

    #[test]
    fn no_more_wait_than_may() {
        let mut waiting = Waiting::default();
        let full = (0..).find(|&number| waiting.add(sent(number, 1)));
        assert_eq!(full, Some(MOST as Nanos - 1));
    }
}
