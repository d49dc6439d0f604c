//! The sealer: everything that waits for a device on behalf of the recorder. Pushes pages, syncs, and gives
//! files their final names: sync → ledger → rename without replacing → sync the directory.
//!
//! A file whose sealing fails is kept and tried again; it stays readable under its `.part` name, and salvage
//! finds it should the service end before.

use std::io;
use std::sync::Arc;

use tracing::debug;

use super::SharedLedger;
use super::entry::{Act, Entry};
use super::facts::{CaptureFacts, State};
use super::layout::Layout;
use super::ledger::LedgerError;
use super::names::{CaptureName, Role};
use super::part::PartFile;
use crate::sys::fs::{Fs, uninterrupted};

/// What the recorder asks for.
pub enum Job {
    /// Push the file's full pages to the device.
    Push(Arc<PartFile>),
    /// Make the file's bytes durable.
    Sync(Arc<PartFile>),
    /// Give the file its final name, with what is known of it.
    Seal(Arc<PartFile>, Box<CaptureFacts>),
}

/// What the sealer reports.
#[derive(Debug)]
pub enum Report {
    /// A file has its final name.
    Sealed(Box<Entry>),
    /// A file without packets was removed.
    Removed(CaptureName),
    /// A sync failed; bytes behind the last good one are doubtful.
    SyncFailed(CaptureName, io::Error),
    /// A file could not be sealed; it is tried again.
    Delayed(CaptureName, SealError),
    /// A file cannot be sealed, since its final name is taken or it is no longer there; what is there stays
    /// for a person to look at.
    Abandoned(CaptureName, SealError),
}

/// Why a file could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The ledger could not be written first.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The disk refused.
    #[error("{what} {name}: {source}")]
    Io {
        /// The operation.
        what: &'static str,
        /// The file.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

impl SealError {
    /// Whether another try would end the same.
    fn is_final(&self) -> bool {
        use io::ErrorKind::{AlreadyExists, NotFound};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), AlreadyExists | NotFound))
    }
}

/// A file on its way; each step is done once.
struct Unsealed {
    part: Arc<PartFile>,
    facts: CaptureFacts,
    entry: Option<Entry>,
    renamed: bool,
}

/// Syncs and seals.
pub struct Sealer {
    fs: Arc<dyn Fs>,
    layout: Layout,
    ledger: SharedLedger,
    delayed: Vec<Unsealed>,
}

impl Sealer {
    /// A sealer for the files of `layout`.
    pub fn new(fs: Arc<dyn Fs>, layout: Layout, ledger: SharedLedger) -> Self {
        Self { fs, layout, ledger, delayed: Vec::new() }
    }

    /// Does one job.
    pub fn handle(&mut self, job: Job) -> Option<Report> {
        match job {
            Job::Push(part) => {
                part.push_pages();
                None
            }
            Job::Sync(part) => {
                let synced = part.sync(self.fs.as_ref(), &self.layout);
                if !part.is_doubtful() {
                    debug!("synced {}: {} bytes", part.name, part.synced());
                }
                synced.err().map(|source| Report::SyncFailed(part.name, source))
            }
            Job::Seal(part, facts) => {
                Some(self.try_seal(Unsealed { part, facts: *facts, entry: None, renamed: false }))
            }
        }
    }

    /// Whether files wait for another try.
    pub fn has_delayed(&self) -> bool {
        !self.delayed.is_empty()
    }

    /// Tries once more to seal what could not be sealed.
    pub fn retry(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.delayed).into_iter().map(|file| self.try_seal(file)).collect()
    }

    fn try_seal(&mut self, mut file: Unsealed) -> Report {
        let name = file.part.name;
        match self.seal(&mut file) {
            Ok(Some(entry)) => Report::Sealed(Box::new(entry)),
            Ok(None) => Report::Removed(name),
            Err(error) if error.is_final() => Report::Abandoned(name, error),
            Err(error) => {
                self.delayed.push(file);
                Report::Delayed(name, error)
            }
        }
    }

    /// Runs the steps that are left; `None` if the file held nothing and is gone.
    fn seal(&self, file: &mut Unsealed) -> Result<Option<Entry>, SealError> {
        let fail = |what| {
            let name = file.part.name.file_name(Role::Part);
            move |source| SealError::Io { what, name, source }
        };
        if file.facts.packets == 0 {
            match uninterrupted(|| self.fs.remove(file.part.path())) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail("remove empty")(e)),
                _ => return Ok(None),
            }
        }
        file.part.trim().map_err(fail("cut a partly written record off"))?;
        let entry = match &file.entry {
            Some(entry) => entry.clone(),
            None => {
                // A failure makes the file doubtful, which the ledger then says.
                let _ = file.part.sync(self.fs.as_ref(), &self.layout);
                if file.part.is_doubtful() {
                    file.facts.state = State::Damaged;
                    file.facts.doubtful_from = Some(file.part.synced());
                }
                self.ledger.append(Act::Seal { capture: file.facts.clone() })?
            }
        };
        file.entry = Some(entry.clone());
        if !file.renamed {
            let to = self.layout.captures().join(file.part.name.file_name(Role::Sealed));
            uninterrupted(|| self.fs.rename_new(file.part.path(), &to)).map_err(fail("rename"))?;
            file.renamed = true;
        }
        uninterrupted(|| self.fs.sync_dir(&self.layout.captures())).map_err(fail("sync the directory of"))?;
        Ok(Some(entry))
    }
}
