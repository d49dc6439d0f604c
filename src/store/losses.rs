//! Packets that are missing, by cause. What nobody could count is unknown, never 0, and unknown plus anything is unknown.

use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

/// Packets lost, one counter a cause; `None` is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Dropped by the network card, its driver or the input queue behind it.
    pub nic: Option<u64>,
    /// Dropped by the kernel because its ring was full.
    pub kernel: Option<u64>,
    /// Dropped by us because every block was in use.
    pub queue: Option<u64>,
    /// Captured, but not to be written.
    pub write: Option<u64>,
    /// Recorded, but evicted before they were analysed.
    pub analysis: Option<u64>,
}

impl Losses {
    /// Nothing lost.
    pub const NONE: Self =
        Self { nic: Some(0), kernel: Some(0), queue: Some(0), write: Some(0), analysis: Some(0) };

    /// Nobody counted.
    pub const UNKNOWN: Self = Self { nic: None, kernel: None, queue: None, write: None, analysis: None };

    /// `count` packets that could not be written.
    pub const fn unwritten(count: u64) -> Self {
        Self { write: Some(count), ..Self::NONE }
    }

    /// What is unknown of it, and nothing else.
    pub fn unknown_part(&self) -> Self {
        let zero = |count: Option<u64>| count.map(|_| 0);
        Self {
            nic: zero(self.nic),
            kernel: zero(self.kernel),
            queue: zero(self.queue),
            write: zero(self.write),
            analysis: zero(self.analysis),
        }
    }

    /// The causes and their counts, in the order in which packets travel.
    pub const fn by_cause(&self) -> [(&'static str, Option<u64>); 5] {
        [
            ("nic", self.nic),
            ("kernel", self.kernel),
            ("queue", self.queue),
            ("write", self.write),
            ("analysis", self.analysis),
        ]
    }

    /// All causes together; unknown if one is.
    pub fn total(&self) -> Option<u64> {
        self.by_cause().into_iter().try_fold(0_u64, |sum, (_, count)| Some(sum + count?))
    }
}

impl Default for Losses {
    fn default() -> Self {
        Self::NONE
    }
}

impl Add for Losses {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let add = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
        Self {
            nic: add(self.nic, other.nic),
            kernel: add(self.kernel, other.kernel),
            queue: add(self.queue, other.queue),
            write: add(self.write, other.write),
            analysis: add(self.analysis, other.analysis),
        }
    }
}

impl AddAssign for Losses {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_stays_unknown_and_counts_add() {
        let known = Losses { kernel: Some(2), ..Losses::unwritten(3) };
        assert_eq!((known + known).total(), Some(10));
        assert_eq!((known + Losses::UNKNOWN), Losses::UNKNOWN);
        let half = Losses { nic: None, ..Losses::NONE };
        assert_eq!((half + known).kernel, Some(2));
        assert_eq!(half.total(), None);
        assert_eq!((half + known).unknown_part(), half);
    }
}
