//! Flow files: a [sequence](super::sequence) of one record a flow (or part of a long one), written by the analyst.
//!
//! The growing one is always [`FLOW_FILE`](super::layout::FLOW_FILE); rotation links it into `flows/` and renames a prepared one
//! over it, so that at every moment a sound file has that name. Every checkpoint also tells how far the captures were analysed
//! and the oldest packet that no record before it covers: after a crash the analyst reads on from there, and is told which
//! records it need not write again ([`Resumed`]).
//!
//! Knows the disk and the ledger; of a flow record it knows the few keys in [`Outline`]. Invariant: no record is appended
//! behind bytes that are not known to be sound, and none is in two files unless a device failed in between.

mod cursor;
mod fold;
mod follow;
mod growing;
mod handover;
mod outline;
mod position;
mod reader;
mod resume;
mod settings;
mod tally;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

use super::ledger::LedgerError;
use super::sequence::SequenceError;

pub use cursor::Cursor;
pub use fold::{Fold, Folder, MAX_SOURCES, should_fold};
pub use follow::{FlowSource, Follower, Missed, flow_sources};
pub use outline::{Footer, Kind, Outline};
pub use position::Position;
pub use reader::{FlowItem, FlowReader, Object, Peek, peek};
pub use resume::{Resumed, facts_of, highest_capture};
pub use settings::{Extras, FlowCounts, Refused, Settings, Told};
pub use writer::FlowWriter;

/// The format's name in the header.
pub const FORMAT: &str = "tapkeep-flows";
/// The format's version in the header.
pub const VERSION: u32 = 1;
/// The most bytes of an object: the footer of a file without captures holds a summary.
pub const MAX_OBJECT: usize = 4 << 20;

/// A flow file could not be read, written or put in place.
#[derive(Debug, thiserror::Error)]
pub enum FlowFileError {
    /// The disk refused.
    #[error("cannot {operation} the flow file {}: {source}", path.display())]
    Io {
        /// What failed.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The ledger could not be written first.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A record cannot be in a flow file.
    #[error("cannot write a flow record: {0}")]
    Record(#[from] SequenceError),
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FlowFileError {
    let path = path.to_owned();
    move |source| FlowFileError::Io { operation, path, source }
}
