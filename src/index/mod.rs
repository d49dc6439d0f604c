//! The index: a cache in SQLite of what the files say, so that questions are answered at once. The only user
//! of `rusqlite`; uses [`crate::store`] for what there is to know.
//!
//! It gets rows per file, never per packet or flow. Whatever happens to it costs nothing but time: it is
//! rebuilt from the files and the ledger, and the rebuilt one answers the same. Nobody waits for it.

pub mod analysis;
mod columns;
pub mod count;
mod files;
mod flow_rows;
pub mod flow_table;
pub mod flow_view;
pub mod flows;
pub mod fresh;
mod from_flows;
pub mod query;
pub mod rebuild;
mod rows;
mod schema;
pub mod summaries;
pub mod timeline;
pub mod view;
pub mod writer;

use std::io;
use std::path::{Path, PathBuf};

/// What went wrong with the index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// There is none.
    #[error("there is no index {}; the service makes one, or `tapkeep index rebuild`", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// SQLite refused.
    #[error("{action} index {}: {source}", path.display())]
    Sqlite {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// The file system refused.
    #[error("{action} index file {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Whoever waited for it did not.
    #[error("given up; what was there before is there still")]
    GivenUp,
    /// Not an index, or one with broken pages.
    #[error("index {} is damaged: {what}; it is rebuilt when the service starts", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// Written by a Tapkeep that knows more.
    #[error("index {} has schema {found}, of a newer Tapkeep; this one knows {known}", path.display())]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Written by a Tapkeep that knew less, and opened only for reading.
    #[error("index {} has the older schema {found} until the service starts", path.display())]
    Older {
        /// Which.
        path: PathBuf,
        /// Its schema.
        found: i64,
    },
    /// It may be read, but not written.
    #[error("index {} may not be written: check its owner, mode and file system", path.display())]
    ReadOnly {
        /// Which.
        path: PathBuf,
    },
    /// Somebody removed or replaced the file while it was open.
    #[error("index {} was removed or replaced by somebody else; it is made anew", path.display())]
    Gone {
        /// Which.
        path: PathBuf,
    },
    /// A reader that does not end keeps the log growing.
    #[error(
        "index log {} has {bytes} bytes and a reader that does not end; find it with fuser, and end it",
        path.display()
    )]
    LogHeld {
        /// The log.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
}

impl IndexError {
    /// What SQLite said, told apart by whether the file is at fault.
    fn of(action: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        if schema::tells_damage(&source) {
            return Self::Damaged { path, what: source.to_string() };
        }
        Self::Sqlite { action, path, source }
    }
}

#[cfg(test)]
mod reader_tests;
#[cfg(test)]
mod tests;
