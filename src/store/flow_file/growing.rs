//! The growing file itself: what of it is in the file, what is known to be on the device, and what is yet to be written.

use std::io::ErrorKind::{QuotaExceeded, StorageFull};

use super::super::sequence::{SequenceError, SequenceWriter};
use super::outline::Kind;
use super::position::Position;
use super::tally::Tally;
use crate::flow::jsonb;
use crate::packet::Nanos;
use crate::sys::fs::{FsFile, sync_full, write_full};

/// Bytes written at once, unless a second has passed.
pub(super) const PIECE: usize = 64 << 10;

/// The growing file.
pub(super) struct Growing {
    pub(super) file: Box<dyn FsFile>,
    pub(super) number: u64,
    pub(super) began: Nanos,
    pub(super) sequence: SequenceWriter,
    /// Length in the file.
    pub(super) written: u64,
    /// Length known to be on the device; `tail` begins here.
    pub(super) synced: u64,
    /// Bytes behind `synced`, those not written yet included.
    pub(super) tail: Vec<u8>,
    /// Whether `tail` ends in a checkpoint, or is empty.
    pub(super) checkpointed: bool,
    pub(super) tally: Tally,
    /// The tally as of the last sync.
    pub(super) synced_tally: Tally,
    /// Position of the last synced checkpoint.
    pub(super) synced_position: Position,
    /// Position of the last checkpoint made.
    pub(super) checkpoint_position: Position,
}

impl Growing {
    /// Its length once all is written.
    pub(super) fn size(&self) -> u64 {
        self.synced + self.tail.len() as u64
    }

    /// Puts a checkpoint behind what is pending.
    pub(super) fn checkpoint(&mut self, position: Position) -> Result<(), SequenceError> {
        position.checkpoint(&mut self.sequence, &mut self.tail)?;
        (self.checkpointed, self.checkpoint_position) = (true, position);
        Ok(())
    }

    /// Writes what is pending. Bytes that a full disk did not take are written by the next call at the same place.
    pub(super) fn write(&mut self) -> Result<(), Trouble> {
        let done = usize::try_from(self.written - self.synced).unwrap_or(usize::MAX);
        let rest = self.tail.get(done..).unwrap_or_default();
        if let Err((some, error)) = write_full(self.file.as_ref(), rest, self.written) {
            self.written += some as u64;
            return Err(match error.kind() {
                StorageFull | QuotaExceeded => Trouble::Full(error),
                _ => Trouble::Latched("write", error),
            });
        }
        if rest.len() >= PIECE {
            // Only a hint: the sync that follows finds what is wrong with the disk.
            let _ = self.file.start_writeback(self.written, rest.len() as u64);
        }
        self.written += rest.len() as u64;
        Ok(())
    }

    /// Writes and syncs what is pending, which ends in a checkpoint.
    pub(super) fn sync(&mut self) -> Result<(), Trouble> {
        self.write()?;
        sync_full(self.file.as_ref()).map_err(|error| Trouble::Latched("sync", error))?;
        self.synced = self.written;
        self.tail.clear();
        self.synced_tally.clone_from(&self.tally);
        self.synced_position = self.checkpoint_position;
        Ok(())
    }
}

/// What went wrong with the growing file.
pub(super) enum Trouble {
    /// The disk is full: the same bytes are tried again.
    Full(std::io::Error),
    /// The file may not be written again.
    Latched(&'static str, std::io::Error),
    /// A checkpoint could not be made.
    Record(SequenceError),
}

impl From<SequenceError> for Trouble {
    fn from(error: SequenceError) -> Self {
        Self::Record(error)
    }
}

/// The objects in `bytes` that are neither checkpoint nor footer.
pub(super) fn records_of(bytes: &[u8]) -> Vec<u8> {
    let wanted = objects(bytes).filter(|object| !matches!(Kind::of(object), Kind::Checkpoint | Kind::Footer));
    wanted.flatten().copied().collect()
}

/// The objects that follow each other in `bytes`.
pub(super) fn objects(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let len = usize::try_from(jsonb::object_len(rest).ok()?).ok()?;
        let (object, after) = rest.split_at_checked(len)?;
        rest = after;
        Some(object)
    })
}
