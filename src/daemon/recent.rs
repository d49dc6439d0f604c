//! The last ten minutes, in steps of five seconds: what a graph is drawn of.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::state::ServiceState;

/// The length of a step, milliseconds.
const STEP_MS: u64 = 5_000;

/// How much early a step may end, milliseconds: half the time between two looks, so that it ends at the nearest.
const EARLY_MS: u64 = 500;

/// Steps that are told.
const STEPS: usize = 120;

/// What the last minutes brought, the oldest step first; all of one length.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Recent {
    /// The length of a step, milliseconds.
    pub step_ms: u64,
    /// Packets a second.
    pub packet_rate: VecDeque<u64>,
    /// Bytes on the wire a second.
    pub byte_rate: VecDeque<u64>,
    /// Packets lost in the step, all causes together that somebody counts.
    pub lost: VecDeque<u64>,
    /// Packets of the second of the step that had most; the last may be of the step that is not over.
    #[serde(default)]
    pub packet_peak: VecDeque<u64>,
    /// The same of bytes.
    #[serde(default)]
    pub byte_peak: VecDeque<u64>,
}

impl Recent {
    /// Takes the rates of the last second into the step that is not over.
    fn raise(&mut self, packet_rate: u64, byte_rate: u64) {
        let steps = self.packet_rate.len();
        for (peaks, rate) in [(&mut self.packet_peak, packet_rate), (&mut self.byte_peak, byte_rate)] {
            match peaks.get_mut(steps) {
                Some(peak) => *peak = rate.max(*peak),
                None => peaks.push_back(rate),
            }
        }
    }

    fn push(&mut self, packet_rate: u64, byte_rate: u64, lost: u64) {
        self.packet_rate.push_back(packet_rate);
        self.byte_rate.push_back(byte_rate);
        self.lost.push_back(lost);
        let steps = self.packet_rate.len();
        // Of a machine that slept nobody knows the seconds.
        self.packet_peak.resize(steps.max(self.packet_peak.len()), packet_rate);
        self.byte_peak.resize(steps.max(self.byte_peak.len()), byte_rate);
        for list in [
            &mut self.packet_rate,
            &mut self.byte_rate,
            &mut self.lost,
            &mut self.packet_peak,
            &mut self.byte_peak,
        ] {
            list.drain(..steps.saturating_sub(STEPS));
        }
    }
}

/// The step that is not over: when it began, and the counts then.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Step {
    up_ms: u64,
    packets: u64,
    bytes: u64,
    lost: u64,
}

impl Step {
    /// Begins, at `up_ms` milliseconds since boot.
    pub(super) fn new(up_ms: u64) -> Self {
        Self { up_ms, ..Self::default() }
    }

    /// Looks at the last second, whose rates the state tells, and ends the step if it is over. A machine that slept has as many steps as fit into its sleep; what it lost is told in the last.
    pub(super) fn fill(&mut self, state: &mut ServiceState) {
        state.recent.raise(state.packet_rate as u64, state.byte_rate as u64);
        let ran = state.updated_up_ms.saturating_sub(self.up_ms);
        let steps = (ran + EARLY_MS) / STEP_MS;
        if steps == 0 {
            return;
        }
        let lost = state.losses.by_cause().iter().filter_map(|(_, lost)| *lost).sum();
        let rate = |now: u64, before: u64| now.saturating_sub(before).saturating_mul(1_000) / ran.max(1);
        let rates = (rate(state.packets, self.packets), rate(state.bytes, self.bytes));
        state.recent.step_ms = STEP_MS;
        for step in 1..=steps.min(STEPS as u64) {
            let lost = if step == steps.min(STEPS as u64) { lost - self.lost.min(lost) } else { 0 };
            state.recent.push(rates.0, rates.1, lost);
        }
        *self = Self { up_ms: state.updated_up_ms, packets: state.packets, bytes: state.bytes, lost };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::losses::Losses;

    fn at(up_ms: u64, packets: u64, lost: u64, state: &mut ServiceState, step: &mut Step) {
        let ran = up_ms.saturating_sub(state.updated_up_ms).max(1);
        state.packet_rate = ((packets - state.packets) * 1_000 / ran) as f64;
        state.byte_rate = state.packet_rate * 100.0;
        (state.updated_up_ms, state.packets, state.bytes) = (up_ms, packets, packets * 100);
        state.losses = Losses { nic: None, ..Losses::unwritten(lost) };
        step.fill(state);
    }

    #[test]
    fn a_step_is_five_looks_even_if_they_are_not_quite_a_second_apart() {
        let (mut state, mut step) = (ServiceState::default(), Step::new(1_000));
        for look in 1..=1_000_u64 {
            at(1_000 + look * 999, look * 50, look / 6, &mut state, &mut step);
        }
        let Recent { step_ms, packet_rate, byte_rate, lost, .. } = state.recent;
        assert_eq!((step_ms, packet_rate.len(), byte_rate.len(), lost.len()), (5_000, 120, 120, 120));
        assert!(packet_rate.iter().all(|rate| *rate == 50) && byte_rate.iter().all(|rate| *rate == 5_005));
        assert_eq!(lost.iter().sum::<u64>(), 1_000 / 6 - 400 / 6);
    }

    #[test]
    fn a_machine_that_slept_has_steps_of_its_sleep_and_lost_at_its_end() {
        let (mut state, mut step) = (ServiceState::default(), Step::new(0));
        at(4_000, 10, 0, &mut state, &mut step);
        assert!(state.recent.packet_rate.is_empty());
        at(20_000, 2_000, 7, &mut state, &mut step);
        assert_eq!(state.recent.packet_rate, [100; 4]);
        assert_eq!(state.recent.lost, [0, 0, 0, 7]);
        at(10_000_000, 2_000, 7, &mut state, &mut step);
        assert_eq!(state.recent.packet_rate, [0; 120]);
        assert_eq!((state.recent.packet_peak.len(), state.recent.byte_peak.len()), (120, 120));
    }

    #[test]
    fn the_second_that_had_most_is_kept_while_its_step_grows_and_when_it_is_over() {
        let (mut state, mut step) = (ServiceState::default(), Step::new(0));
        let mut packets = 0;
        for second in 1..=12 {
            packets += if second == 3 { 1_000 } else { 10 };
            at(second * 1_000, packets, 0, &mut state, &mut step);
            if second >= 3 {
                assert_eq!(state.recent.packet_peak[0], 1_000, "second {second}");
                assert_eq!(state.recent.byte_peak[0], 100_000, "second {second}");
            }
        }
        assert_eq!(state.recent.packet_rate, [208, 10]);
        assert_eq!(state.recent.packet_peak, [1_000, 10, 10], "the last is not over");
    }
}
