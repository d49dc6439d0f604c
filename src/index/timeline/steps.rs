//! Counts in steps of time of equal width. Pure.

use crate::flow::summary::Count;
use crate::packet::Nanos;

/// How traffic is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// By packets that are there.
    Packets,
    /// By flow records alone: the packets are evicted, or were never written.
    Records,
}

/// What came in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step {
    /// By packets.
    pub packets: Count,
    /// By flow records.
    pub records: Count,
}

impl Step {
    /// Both.
    pub fn total(&self) -> Count {
        self.packets + self.records
    }

    fn of(&mut self, known: Known) -> &mut Count {
        match known {
            Known::Packets => &mut self.packets,
            Known::Records => &mut self.records,
        }
    }
}

/// Steps one behind the other; what comes before the first or behind the last is not counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps {
    from: Nanos,
    width: Nanos,
    steps: Vec<Step>,
}

impl Steps {
    /// So many steps of that width, which is more than 0.
    pub fn new(from: Nanos, width: Nanos, len: usize) -> Self {
        Self { from, width: width.max(1), steps: vec![Step::default(); len] }
    }

    /// How long a step is.
    pub fn width(&self) -> Nanos {
        self.width
    }

    /// The steps, each with the moment at which it begins.
    pub fn iter(&self) -> impl Iterator<Item = (Nanos, &Step)> {
        self.steps.iter().enumerate().map(|(at, step)| (self.begin(at), step))
    }

    fn begin(&self, step: usize) -> Nanos {
        self.from.saturating_add(self.width.saturating_mul(step as Nanos))
    }

    /// Counts what came at one moment.
    #[inline]
    pub fn add(&mut self, at: Nanos, count: Count, known: Known) {
        let step = at.checked_sub(self.from).filter(|after| *after >= 0).map(|after| after / self.width);
        if let Some(step) = step.and_then(|step| self.steps.get_mut(usize::try_from(step).ok()?)) {
            *step.of(known) += count;
        }
    }

    /// Counts what came from `first` to `last`, nobody knows when, as if it had come evenly. Nothing is lost by rounding.
    pub fn spread(&mut self, first: Nanos, last: Nanos, count: Count, known: Known) {
        if last <= first {
            return self.add(first, count, known);
        }
        let end = self.begin(self.steps.len());
        if last < self.from || first >= end {
            return;
        }
        let step_of = |at: Nanos| (at.saturating_sub(self.from).max(0) / self.width) as usize;
        let (begin, until) = (step_of(first), step_of(last).min(self.steps.len() - 1));
        let span = i128::from(last) - i128::from(first);
        let share = |n: u64, at: Nanos| {
            let passed = (i128::from(at) - i128::from(first)).clamp(0, span);
            (i128::from(n) * passed / span) as u64
        };
        for step in begin..=until {
            let (from, to) =
                (self.begin(step), if step == step_of(last) { last } else { self.begin(step + 1) });
            let part = |n: u64| share(n, to) - share(n, from);
            *self.steps[step].of(known) += Count { packets: part(count.packets), bytes: part(count.bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(n: u64) -> Count {
        Count { packets: n, bytes: 10 * n }
    }

    fn packets(steps: &Steps) -> Vec<u64> {
        steps.iter().map(|(_, step)| step.total().packets).collect()
    }

    #[test]
    fn moments_fall_into_their_step_and_times_are_shared_out() {
        let mut steps = Steps::new(100, 10, 4);
        for at in [99, 100, 109, 110, 139, 140, Nanos::MIN, Nanos::MAX] {
            steps.add(at, count(1), Known::Packets);
        }
        assert_eq!(packets(&steps), [2, 1, 0, 1]);
        steps.spread(115, 135, count(20), Known::Records);
        assert_eq!(packets(&steps), [2, 6, 10, 6]);
        assert_eq!(steps.iter().nth(1).unwrap(), (110, &Step { packets: count(1), records: count(5) }));
        // Half of it is outside; a moment has no length.
        steps.spread(90, 110, count(2), Known::Packets);
        steps.spread(120, 120, count(1), Known::Packets);
        assert_eq!(packets(&steps), [3, 6, 11, 6]);
        for (first, last) in [(0, 99), (140, 150)] {
            steps.spread(first, last, count(1), Known::Packets);
        }
        assert_eq!(packets(&steps), [3, 6, 11, 6]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_by_sharing_out(
            from in -1_000_i64..1_000, width in 1_i64..50, first in 0_i64..500, span in 0_i64..500, n in 0_u64..1_000_000,
        ) {
            let mut steps = Steps::new(from, width, 4_000);
            let (first, last) = (from + first, from + first + span);
            steps.spread(first, last, count(n), Known::Packets);
            if last < from + width * 4_000 {
                let sum = steps.iter().fold(Count::default(), |sum, (_, step)| sum + step.packets);
                prop_assert_eq!(sum, count(n));
            }
            steps.spread(i64::MIN, i64::MAX, count(n), Known::Packets);
        }
    }
}
