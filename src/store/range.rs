//! A range of time, as a question asks for it. Pure.

use crate::packet::Nanos;

/// From `since` on, up to but without `until`; a side that is not set is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeRange {
    /// The first stamp that counts.
    pub since: Option<Nanos>,
    /// The first stamp that no longer counts.
    pub until: Option<Nanos>,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { since: None, until: None };

    /// Whether it leaves anything out.
    pub fn is_bounded(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// Whether a packet of this stamp counts.
    pub fn contains(&self, stamp: Nanos) -> bool {
        self.touches(stamp, stamp)
    }

    /// Whether stamps from `first` to `last`, both included, may hold one that counts.
    pub fn touches(&self, first: Nanos, last: Nanos) -> bool {
        self.since.is_none_or(|since| last >= since) && self.until.is_none_or(|until| first < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_not_in_the_range() {
        let range = TimeRange { since: Some(10), until: Some(20) };
        assert_eq!([9, 10, 19, 20].map(|stamp| range.contains(stamp)), [false, true, true, false]);
        assert!(range.touches(0, 10) && range.touches(19, 30) && range.touches(0, 30));
        assert!(!range.touches(0, 9) && !range.touches(20, 30));
        assert!(range.is_bounded() && !TimeRange::ALL.is_bounded() && TimeRange::ALL.contains(Nanos::MIN));
    }
}
