//! The last hour: what was counted in it, from counters that only grow.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::state::ServiceState;
use crate::store::losses::Losses;

/// The time that is told, milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// How often the counters are remembered, milliseconds.
const STEP_MS: u64 = 60_000;

/// Findings by severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FindingCounts {
    /// Worth knowing.
    pub info: u64,
    /// Of low severity.
    pub low: u64,
    /// Of medium severity.
    pub medium: u64,
    /// Of high severity.
    pub high: u64,
}

impl FindingCounts {
    /// The severities and their counts, the gravest first.
    pub const fn by_severity(&self) -> [(&'static str, u64); 4] {
        [("high", self.high), ("medium", self.medium), ("low", self.low), ("info", self.info)]
    }
}

/// What is counted since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Packets taken.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Bytes written to capture files.
    pub recorded: u64,
    /// Bytes that the service handed to disks, all files together; unknown if the kernel does not say.
    pub flash: Option<u64>,
    /// Packets lost.
    pub losses: Losses,
    /// Findings raised.
    pub findings: FindingCounts,
}

impl Counts {
    /// What came since `before`.
    fn since(&self, before: &Self) -> Self {
        let less = |now: Option<u64>, before: Option<u64>| Some(now?.saturating_sub(before?));
        let (now, was) = (&self.losses, &before.losses);
        Self {
            packets: self.packets - before.packets,
            bytes: self.bytes - before.bytes,
            recorded: self.recorded - before.recorded,
            flash: less(self.flash, before.flash),
            losses: Losses {
                nic: less(now.nic, was.nic),
                kernel: less(now.kernel, was.kernel),
                queue: less(now.queue, was.queue),
                write: less(now.write, was.write),
                analysis: less(now.analysis, was.analysis),
            },
            findings: FindingCounts {
                info: self.findings.info - before.findings.info,
                low: self.findings.low - before.findings.low,
                medium: self.findings.medium - before.findings.medium,
                high: self.findings.high - before.findings.high,
            },
        }
    }
}

/// What the last hour brought; less after a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hour {
    /// How long it is, milliseconds: an hour and up to a minute, or the time since the start.
    pub ms: u64,
    /// What was counted in it.
    #[serde(flatten)]
    pub counts: Counts,
}

/// When packets were last lost, by cause, RFC 3339; null for never.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LossTimes {
    /// Of [`Losses::nic`].
    pub nic: Option<String>,
    /// Of [`Losses::kernel`].
    pub kernel: Option<String>,
    /// Of [`Losses::queue`].
    pub queue: Option<String>,
    /// Of [`Losses::write`].
    pub write: Option<String>,
    /// Of [`Losses::analysis`].
    pub analysis: Option<String>,
}

impl LossTimes {
    /// Notes the causes whose count has grown.
    fn note(&mut self, before: &Losses, now: &Losses, at: &str) {
        let times = [&mut self.nic, &mut self.kernel, &mut self.queue, &mut self.write, &mut self.analysis];
        for ((time, (_, before)), (_, now)) in times.into_iter().zip(before.by_cause()).zip(now.by_cause()) {
            if now.unwrap_or(0) > before.unwrap_or(0) {
                *time = Some(at.to_owned());
            }
        }
    }

    /// The times, in the order of [`Losses::by_cause`].
    pub const fn by_cause(&self) -> [Option<&String>; 5] {
        [
            self.nic.as_ref(),
            self.kernel.as_ref(),
            self.queue.as_ref(),
            self.write.as_ref(),
            self.analysis.as_ref(),
        ]
    }
}

/// Counters of up to an hour ago.
#[derive(Debug)]
pub(super) struct History(VecDeque<(u64, Counts)>);

impl History {
    /// Begins to remember, at `up_ms` milliseconds since boot.
    pub(super) fn new(up_ms: u64, counts: Counts) -> Self {
        Self(VecDeque::from([(up_ms, counts)]))
    }

    /// Works out what hangs on the past, once the present is filled in. `lost` is what was lost the last time.
    pub(super) fn fill(&mut self, state: &mut ServiceState, lost: &Losses) {
        state.last_lost.note(lost, &state.losses, &state.updated);
        let counts = Counts {
            packets: state.packets,
            bytes: state.bytes,
            recorded: state.recorded,
            flash: state.flash,
            losses: state.losses,
            findings: state.findings,
        };
        state.hour = self.hour(state.updated_up_ms, &counts);
    }

    /// What came since an hour ago.
    fn hour(&mut self, up_ms: u64, counts: &Counts) -> Hour {
        if self.0.back().is_none_or(|(last, _)| up_ms.saturating_sub(*last) >= STEP_MS) {
            self.0.push_back((up_ms, *counts));
        }
        // The one before the second is old enough to be let go only once the second is an hour old itself.
        while self.0.get(1).is_some_and(|(second, _)| up_ms.saturating_sub(*second) >= HOUR_MS) {
            self.0.pop_front();
        }
        let (since, before) = self.0.front().copied().unwrap_or((up_ms, *counts));
        Hour { ms: up_ms.saturating_sub(since), counts: counts.since(&before) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(n: u64) -> Counts {
        Counts {
            packets: n,
            flash: Some(n),
            losses: Losses { nic: None, ..Losses::unwritten(n) },
            ..Counts::default()
        }
    }

    #[test]
    fn an_hour_forgets_what_is_older_and_a_short_life_is_told_as_it_is() {
        let mut history = History::new(5_000, counts(0));
        for second in 0..=3 * 3600 {
            let hour = history.hour(5_000 + second * 1000, &counts(second));
            assert_eq!(hour.ms, hour.counts.packets * 1000, "{second}");
            let whole = HOUR_MS..HOUR_MS + STEP_MS;
            assert!(
                if second < 3600 { hour.ms == second * 1000 } else { whole.contains(&hour.ms) },
                "{hour:?}"
            );
            assert_eq!(
                (hour.counts.flash, hour.counts.losses.write),
                (Some(hour.counts.packets), Some(hour.counts.packets))
            );
            assert_eq!(hour.counts.losses.nic, None);
            assert!(history.0.len() <= 62);
        }
    }

    #[test]
    fn a_machine_that_slept_has_a_long_hour() {
        let mut history = History::new(0, counts(0));
        history.hour(60_000, &counts(1));
        let hour = history.hour(10 * HOUR_MS, &counts(5));
        assert_eq!((hour.ms, hour.counts.packets), (10 * HOUR_MS - 60_000, 4));
    }

    #[test]
    fn losses_are_dated_by_cause() {
        let mut times = LossTimes::default();
        let lost = |kernel| Losses { kernel: Some(kernel), nic: None, ..Losses::NONE };
        times.note(&lost(0), &lost(2), "a");
        times.note(&lost(2), &lost(2), "b");
        assert_eq!(times, LossTimes { kernel: Some("a".to_owned()), ..LossTimes::default() });
        times.note(&lost(2), &Losses { nic: Some(1), ..lost(3) }, "c");
        assert_eq!((times.nic.as_deref(), times.kernel.as_deref()), (Some("c"), Some("c")));
    }
}
