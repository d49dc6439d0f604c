//! Flow records that wait for the packets they name: a record is written only when those bytes can become no more durable, so
//! that no crash leaves a record of bytes that are not there.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::flow::record::{FlowRecord, Stretch};
use crate::packet::Place;
use crate::store::part::Durability;

/// Records that wait before the analyst takes no more work: what two full tables give.
const LIMIT: usize = 1 << 17;

/// Records in the order in which they were made.
#[derive(Default)]
pub(super) struct Pending {
    records: VecDeque<FlowRecord>,
    /// Files that are not sealed for all we know, lowest index number first.
    files: VecDeque<(u64, Arc<Durability>)>,
}

impl Pending {
    /// Tells of a file that records will name.
    pub(super) fn watch(&mut self, file: u64, durability: &Arc<Durability>) {
        if self.files.back().is_none_or(|(last, _)| *last < file) {
            // Of a sealed file no bytes are still to come; the recorder has at most two others.
            self.files.retain(|(_, durability)| Arc::strong_count(durability) > 1);
            self.files.push_back((file, Arc::clone(durability)));
        }
    }

    /// Takes a record.
    pub(super) fn push(&mut self, record: FlowRecord) {
        self.records.push_back(record);
    }

    /// Whether so many wait that nothing more should be analysed.
    pub(super) fn is_full(&self) -> bool {
        self.records.len() >= LIMIT
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The next record that may be written.
    pub(super) fn next(&mut self) -> Option<FlowRecord> {
        if let Some(&Stretch(file, _, last)) = self.records.front()?.captures.0.last()
            && !self.is_settled(file, last)
        {
            return None;
        }
        self.records.pop_front()
    }

    /// The first packet that a waiting record covers.
    pub(super) fn oldest(&self) -> Option<Place> {
        let first = |record: &FlowRecord| {
            let &Stretch(file, offset, _) = record.captures.0.first()?;
            Some(Place { file, offset })
        };
        self.records.iter().filter_map(first).min()
    }

    /// A file that nobody watches was sealed before this start, or long ago; of one that nobody else holds no more is to come.
    fn is_settled(&self, file: u64, offset: u64) -> bool {
        let durability = self.files.iter().find(|(number, _)| *number == file);
        durability.is_none_or(|(_, of)| of.is_settled(offset) || Arc::strong_count(of) == 1)
    }
}
