//! What the records of a flow file amount to; the same counting for the writer and for salvage. Pure.

use super::super::facts::State;
use super::super::flow_facts::FlowFacts;
use super::super::losses::Losses;
use super::super::names::FlowName;
use super::fold::Fold;
use super::outline::{Footer, Kind, Outline};
use super::position::Position;
use crate::packet::{Nanos, Place};

/// What was counted so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) records: u64,
    pub(super) folded: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) first: Option<Nanos>,
    pub(super) last: Option<Nanos>,
    /// The last packet that a record names.
    pub(super) reach: Option<Place>,
}

impl Tally {
    /// Counts an object.
    pub(super) fn absorb(&mut self, object: &[u8]) {
        match Kind::of(object) {
            Kind::Record => {
                let Some(outline) = Outline::read(object) else { return };
                self.records += 1;
                self.reach = self.reach.max(outline.last_place());
                let packets = outline.orig_packets.saturating_add(outline.resp_packets);
                let bytes = outline.orig_bytes.saturating_add(outline.resp_bytes);
                self.add(packets, bytes, outline.start, outline.end);
            }
            Kind::Fold => {
                let Some(fold) = Fold::read(object) else { return };
                self.folded = self.folded.saturating_add(fold.flows);
                self.add(fold.packets, fold.bytes, fold.first, fold.last);
            }
            Kind::Footer | Kind::Checkpoint | Kind::Other => {}
        }
    }

    fn add(&mut self, packets: u64, bytes: u64, first: Option<Nanos>, last: Option<Nanos>) {
        // Salvage counts what nobody vouches for.
        self.packets = self.packets.saturating_add(packets);
        self.bytes = self.bytes.saturating_add(bytes);
        self.first = self.first.into_iter().chain(first).min();
        self.last = self.last.max(last);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records == 0 && self.folded == 0
    }

    pub(super) fn footer(&self, losses: Losses) -> Footer {
        let Self { records, folded, packets, bytes, first, last, reach } = *self;
        Footer { records, folded, packets, bytes, first, last, losses, reach, summary: None, filter: None }
    }

    pub(super) fn facts(&self, name: FlowName, state: State, losses: Losses, at: Position) -> FlowFacts {
        let Self { records, folded, packets, bytes, first, last, reach } = *self;
        FlowFacts {
            records,
            folded,
            packets,
            bytes,
            first,
            last,
            losses,
            // A file may end in the middle of a block, before a position is told that covers its last records.
            analysed: at.analysed.max(reach),
            ..FlowFacts::bare(name, state)
        }
    }
}

impl From<&Footer> for Tally {
    fn from(footer: &Footer) -> Self {
        let Footer { records, folded, packets, bytes, first, last, reach, .. } = *footer;
        Self { records, folded, packets, bytes, first, last, reach }
    }
}
