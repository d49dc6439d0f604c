//! What the writer is told, and what it tells.

use std::time::Duration;

use super::super::entry::Entry;
use super::FlowFileError;
use crate::packet::Nanos;

/// Bytes in memory beyond which a record is refused.
pub(super) const HARD: usize = 32 << 20;

/// How flow files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The size at which a file ends, bytes.
    pub rotation_size: u64,
    /// The time between two syncs.
    pub sync_interval: Duration,
    /// How long before the last record a flow may have given its last part and still not be over: the active timeout and the
    /// longest idle timeout.
    pub reach: Nanos,
    /// Whether footers get a summary from the analyst, since no captures are written. A file then ends only by
    /// `FlowWriter::rotate`, or at twice its size.
    pub summaries: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rotation_size: 16_000_000,
            sync_interval: Duration::from_secs(5),
            reach: 600 * crate::packet::NANOS_PER_SEC,
            summaries: false,
        }
    }
}

/// What the analyst adds to a footer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extras {
    /// The summary of the packets since the last footer.
    pub summary: Option<serde_json::Value>,
    /// A filter over addresses and Community IDs, as text.
    pub filter: Option<String>,
}

/// What the writer tells.
#[derive(Debug)]
pub enum Told {
    /// A file has its final name; the entry is in the ledger.
    Sealed(Box<Entry>),
    /// Something failed; it is tried again by itself.
    Failed(FlowFileError),
    /// After failures the writing goes on.
    Recovered,
    /// What stood where the growing file belongs was none, and is put aside under this name.
    Aside(String),
}

/// A record was not taken, since too many wait for a disk that refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} bytes of flow records wait to be written; this one is lost", HARD)]
pub struct Refused;

/// How the writing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowCounts {
    /// Bytes of the growing file.
    pub size: u64,
    /// Records in it.
    pub records: u64,
    /// Records taken since the start.
    pub taken: u64,
    /// Records refused since the start.
    pub refused: u64,
    /// Bytes of records that wait for captures to be synced, or for the disk.
    pub buffered: u64,
    /// Syncs, seals and the like that failed since the start.
    pub failures: u64,
}
