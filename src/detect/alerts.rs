//! Where detectors raise findings. A finding with the key of one that is less than an hour old is counted on.

use std::collections::BTreeMap;

use super::finding::{Finding, Key};
use crate::flow::table::Arrival;
use crate::packet::{Nanos, Place};

/// How long after it was raised a finding is counted on instead of raised again, stream time.
pub const SUPPRESSED: Nanos = 3_600_000_000_000;

/// The most findings that are counted on at a time.
pub const MAX_ACTIVE: usize = 4096;

/// The findings that are counted on, and those to be told.
#[derive(Debug, Default)]
pub struct Alerts {
    active: BTreeMap<Key, (Nanos, Finding)>,
    raised: Vec<Finding>,
    closed: Vec<Finding>,
    /// Findings that could not be raised because too many are active.
    pub saturated: u64,
}

impl Alerts {
    /// Whether a finding of that key is counted on now.
    pub fn is_active(&self, key: &Key) -> bool {
        self.active.contains_key(key)
    }

    /// Counts on the finding of that key, adding the packet to its evidence; `false` if there is none.
    pub fn count_on(&mut self, key: &Key, arrival: &Arrival, by: u64, observed: f64) -> bool {
        let Some((_, finding)) = self.active.get_mut(key) else { return false };
        finding.count += by;
        finding.observed = finding.observed.max(observed);
        finding.last_seen = finding.last_seen.max(arrival.at);
        finding.captures.add(arrival.place);
        true
    }

    /// Raises a finding at the packet at `arrival`, unless one of that key is active, which is then counted on by the new one's count.
    /// The id, and what the key and the packet tell, are filled in here.
    pub fn raise(&mut self, key: Key, arrival: &Arrival, finding: Finding) {
        let _ = (
            key,
            arrival,
            finding,
            Place::default(),
            &mut self.raised,
            &mut self.closed,
            MAX_ACTIVE,
            SUPPRESSED,
        );
        todo!("raise")
    }
}
