//! How far the captures are on the device, as the flow file must know before it names their bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::packet::Place;
use crate::store::part::Durability;

/// The capture files that records will name and that may not be sealed yet, lowest index number first.
#[derive(Default)]
pub(super) struct Synced {
    files: VecDeque<(u64, Arc<Durability>)>,
    /// Behind every file that was sealed before this start, or since.
    behind: Place,
}

impl Synced {
    /// Tells of a file; `None` if it was sealed before this start.
    pub(super) fn watch(&mut self, file: u64, durability: Option<&Arc<Durability>>) {
        match durability {
            Some(durability) if self.files.back().is_none_or(|(last, _)| *last < file) => {
                self.files.push_back((file, Arc::clone(durability)));
            }
            Some(_) => {}
            None => self.behind = self.behind.max(after(file)),
        }
    }

    /// All captured bytes before this place can become no more durable. Of a file that nobody else holds nothing is to come,
    /// and bytes in doubt stay in doubt.
    pub(super) fn upto(&mut self) -> Place {
        while let Some((file, durability)) = self.files.front() {
            if Arc::strong_count(durability) > 1 && !durability.is_doubtful() {
                return self.behind.max(Place { file: *file, offset: durability.synced() });
            }
            self.behind = self.behind.max(after(*file));
            self.files.pop_front();
        }
        self.behind
    }
}

fn after(file: u64) -> Place {
    Place { file: file.saturating_add(1), offset: 0 }
}
