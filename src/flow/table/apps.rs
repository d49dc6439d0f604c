//! What is known of a flow's application, bounded over all flows.

use super::*;

/// What is known of a flow's application, beside its name.
#[derive(Debug, Default)]
pub(super) struct Known {
    facts: Option<Box<Facts>>,
}

/// Bytes that facts take, and what could not be kept.
#[derive(Debug, Default)]
pub(super) struct Bound {
    bytes: u64,
    refused: u64,
}

impl Bound {
    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Flows whose facts could not be kept.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

impl Known {
    /// What is known.
    pub(super) fn facts(&self) -> Option<&Facts> {
        self.facts.as_deref()
    }

    /// Lets go of all.
    pub(super) fn clear(&mut self, bound: &mut Bound) {
        self.facts = None;
        let _ = bound;
    }
}

impl Flow {
    /// Looks at a payload that is not empty; whether the application is better known now.
    #[inline]
    pub(super) fn look(&mut self, from_orig: bool, ip: &Ip<'_>, bound: &mut Bound) -> bool {
        let _ = (from_orig, ip, bound);
        false
    }
}

/// What a record tells of a flow's application.
pub(super) fn from_record(record: &FlowRecord) -> (Option<(App, Basis)>, Known) {
    let _ = record;
    (None, Known::default())
}
