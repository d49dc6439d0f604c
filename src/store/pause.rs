//! The time between two runs of the service, in which nothing could be captured. Pure.

use super::catalog::Catalog;
use super::entry::{Act, Entry};
use crate::packet::Nanos;

/// The time before a run of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    last_told: Nanos,
    in_order: bool,
    until: Nanos,
    synchronised: bool,
}

impl Pause {
    /// The time before the run whose start is the last of a ledger's entries; it began to capture at `until`, by the clock on the wall.
    /// `None` if nothing ran here before.
    pub fn before(entries: &[Entry], until: Nanos) -> Option<Self> {
        let (start, before) = entries.split_last()?;
        let mut run = before.iter().rev().take_while(|entry| !matches!(entry.act, Act::Start { .. }));
        // The analyst may have more to tell after the stop.
        let stop = run.find(|entry| matches!(entry.act, Act::Stop { .. }));
        let last_told = stop.or(before.last())?.at?;
        Some(Self { last_told, in_order: stop.is_some(), until, synchronised: start.synchronised })
    }

    /// What is to be written of it, once what a crash left has been salvaged. A service that was stopped in order recorded until
    /// it said so, another at least until the last packet that is kept. `None` if the clock tells of no time between.
    pub fn gap(&self, kept: &Catalog) -> Option<Act> {
        let from = if self.in_order { self.last_told } else { self.last_told.max(self.last_kept(kept)) };
        let duration_ms =
            u64::try_from(self.until.saturating_sub(from) / 1_000_000).ok().filter(|ms| *ms > 0)?;
        let mut reason = "no service ran".to_owned();
        if !self.in_order {
            reason += "; the one before was not stopped in order";
        }
        if !self.synchronised {
            reason += "; the clock was not synchronised then";
        }
        Some(Act::Gap { from: Some(from), duration_ms, reason })
    }

    /// The last stamp of before.
    fn last_kept(&self, kept: &Catalog) -> Nanos {
        let captures = kept.captures().filter_map(|facts| facts.last);
        let flows = kept.flows().filter_map(|facts| facts.last);
        captures.chain(flows).filter(|last| *last <= self.until).max().unwrap_or(self.last_told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::facts::{CaptureFacts, State};
    use crate::store::losses::Losses;
    use crate::store::names::CaptureName;

    const S: Nanos = 1_000_000_000;

    fn entry(at: Nanos, act: Act) -> Entry {
        Entry { at: Some(at), up_ms: 0, synchronised: true, act }
    }

    fn start(at: Nanos) -> Entry {
        entry(at, Act::Start { version: String::new(), boot: String::new(), source: None })
    }

    fn stop(at: Nanos) -> Entry {
        entry(at, Act::Stop { losses: Losses::NONE })
    }

    /// What is told of it where the last packet kept of before is of second 20, and one of the run itself of second 70.
    fn told(entries: &[Entry], until: Nanos) -> Option<(Nanos, u64, String)> {
        let mut kept = Catalog::default();
        for (number, last) in [(1, 20 * S), (2, 70 * S)] {
            let name = CaptureName::new(number, 0);
            kept.put(CaptureFacts { last: Some(last), ..CaptureFacts::bare(name, State::Salvaged) });
        }
        let Act::Gap { from, duration_ms, reason } = Pause::before(entries, until)?.gap(&kept)? else {
            unreachable!("a pause is told as a gap")
        };
        Some((from? / S, duration_ms, reason))
    }

    #[test]
    fn a_service_that_was_stopped_recorded_until_it_said_so() {
        let step = entry(31 * S, Act::ClockStep { by_ms: 1 });
        let told = |entries: &[Entry]| told(entries, 60 * S);
        let until_stop = Some((30, 30_000, "no service ran".to_owned()));
        assert_eq!(told(&[start(0), stop(30 * S), start(60 * S)]), until_stop);
        assert_eq!(told(&[start(0), stop(30 * S), step.clone(), start(60 * S)]), until_stop);
        let (_, _, reason) = told(&[start(0), stop(S), start(2 * S), step, start(60 * S)]).unwrap();
        assert!(reason.contains("not stopped in order"), "the stop is of an earlier run");
    }

    #[test]
    fn one_that_was_killed_recorded_until_its_last_packet() {
        let reason = "no service ran; the one before was not stopped in order".to_owned();
        assert_eq!(told(&[start(0), start(60 * S)], 60 * S), Some((20, 40_000, reason)));
    }

    #[test]
    fn a_clock_that_may_be_wrong_is_told() {
        let begun = Entry { synchronised: false, ..start(60 * S) };
        let (.., reason) = told(&[start(0), stop(30 * S), begun], 60 * S).unwrap();
        assert_eq!(reason, "no service ran; the clock was not synchronised then");
    }

    #[test]
    fn where_nothing_ran_before_or_the_clock_was_put_back_nothing_is_told() {
        assert_eq!(told(&[start(60 * S)], 60 * S), None);
        assert_eq!(told(&[start(0), stop(90 * S), start(60 * S)], 60 * S), None);
    }
}
