//! What the records of a flow file amount to; the same counting for the writer and for salvage. Pure.

use super::super::facts::State;
use super::super::flow_facts::FlowFacts;
use super::super::losses::Losses;
use super::super::names::FlowName;
use super::fold::Fold;
use super::outline::{Footer, Kind, Outline};
use super::position::Position;
use crate::flow::record::FlowRecord;
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
            Kind::Record => Outline::read(object).iter().for_each(|outline| self.add(&outline.into())),
            Kind::Fold => Fold::read(object).iter().for_each(|fold| self.add(&fold.into())),
            Kind::Footer | Kind::Checkpoint | Kind::Other => {}
        }
    }

    /// Counts what another counted.
    pub(super) fn add(&mut self, other: &Self) {
        // Salvage counts what nobody vouches for.
        self.records = self.records.saturating_add(other.records);
        self.folded = self.folded.saturating_add(other.folded);
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.first = self.first.into_iter().chain(other.first).min();
        self.last = self.last.max(other.last);
        self.reach = self.reach.max(other.reach);
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

impl From<&FlowRecord> for Tally {
    fn from(record: &FlowRecord) -> Self {
        Self {
            records: 1,
            packets: record.orig_packets + record.resp_packets,
            bytes: record.orig_bytes + record.resp_bytes,
            first: Some(record.start),
            last: Some(record.end),
            reach: record.captures.last_place(),
            ..Self::default()
        }
    }
}

impl From<&Outline<'_>> for Tally {
    fn from(outline: &Outline<'_>) -> Self {
        Self {
            records: 1,
            packets: outline.orig_packets.saturating_add(outline.resp_packets),
            bytes: outline.orig_bytes.saturating_add(outline.resp_bytes),
            first: outline.start,
            last: outline.end,
            reach: outline.last_place(),
            ..Self::default()
        }
    }
}

impl From<&Fold> for Tally {
    fn from(fold: &Fold) -> Self {
        let Fold { flows: folded, packets, bytes, first, last, .. } = *fold;
        Self { folded, packets, bytes, first, last, ..Self::default() }
    }
}

impl From<&Footer> for Tally {
    fn from(footer: &Footer) -> Self {
        let Footer { records, folded, packets, bytes, first, last, reach, .. } = *footer;
        Self { records, folded, packets, bytes, first, last, reach }
    }
}
