//! Salvage: sealing what a crash left. Every `.part` ends as a sealed file up to its last sound record;
//! nothing that holds a packet is ever deleted.
//!
//! Order: ledger → cut → sync → rename without replacing → sync the directory. Killed in between, the next start finds the
//! `.part` again and goes on.

use std::io;
use std::path::PathBuf;

use super::SharedLedger;
use super::catalog::Part;
use super::entry::Act;
use super::facts::{CaptureFacts, State};
use super::format::FILE_HEADER;
use super::layout::Layout;
use super::ledger::LedgerError;
use super::losses::Losses;
use super::names::{CaptureName, Role};
use super::scan::{End, Scan, ScanError, scan_after_crash};
use crate::sys::fs::{Fs, FsFile, read_full, sync_full, uninterrupted};

/// What became of one `.part`.
#[derive(Debug)]
pub enum Salvaged {
    /// Sealed with these facts; so many bytes were cut from its end, for this reason.
    Kept(Box<CaptureFacts>, u64, End),
    /// Its seal, begun before the crash, is complete.
    Completed(Box<CaptureFacts>),
    /// It held no packet and is gone.
    Empty(CaptureName),
    /// It could not be read as a capture file and is put aside under this name.
    Aside(CaptureName, String),
}

/// Why a `.part` could not be dealt with; it stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// The ledger could not be written first.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The disk refused.
    #[error("salvage {name}: {what}: {source}")]
    Io {
        /// The file.
        name: String,
        /// The operation.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The disk could not be read.
    #[error("salvage {name}: {source}")]
    Read {
        /// The file.
        name: String,
        /// What the system said.
        source: ScanError,
    },
}

/// Salvages one file at a time.
pub struct Salvage<'a> {
    /// The file system.
    pub fs: &'a dyn Fs,
    /// The data directory.
    pub layout: &'a Layout,
    /// Where it is written down first.
    pub ledger: &'a SharedLedger,
}

impl Salvage<'_> {
    /// Deals with one `.part`.
    pub fn one(&self, part: &Part) -> Result<Salvaged, SalvageError> {
        let name = part.name;
        let file = uninterrupted(|| self.fs.open(&self.path(name, Role::Part)));
        let file = file.map_err(self.fail(name, "open"))?;
        let len = file.len().map_err(self.fail(name, "look at"))?;
        if let Some(facts) = part.seal.as_ref().filter(|facts| is_synced(facts, len)) {
            return self.complete(facts, file.as_ref());
        }
        let found = match scan_after_crash(file.as_ref()) {
            Ok(found) => found,
            Err(ScanError::Short) => return self.drop_empty(name),
            Err(ScanError::Header) => {
                return if is_zero(file.as_ref(), len).map_err(self.fail(name, "read"))? {
                    self.drop_empty(name)
                } else {
                    self.put_aside(name, "no capture file header")
                };
            }
            Err(source) => return Err(SalvageError::Read { name: name.to_string(), source }),
        };
        if found.tally.packets == 0 {
            let rest = is_zero(file.as_ref(), found.len).map_err(self.fail(name, "read"))?;
            return if rest || found.end != End::Implausible {
                self.drop_empty(name)
            } else {
                self.put_aside(name, "its first record cannot be read")
            };
        }
        let facts = self.note(part, &found)?;
        if found.sound < found.len {
            uninterrupted(|| file.truncate(found.sound)).map_err(self.fail(name, "cut"))?;
        }
        sync_full(file.as_ref()).map_err(self.fail(name, "sync"))?;
        self.rename(name, Role::Sealed)?;
        Ok(Salvaged::Kept(Box::new(facts), found.len - found.sound, found.end))
    }

    /// Finishes a seal that lacks its rename, or the removal of the first of two names.
    fn complete(&self, facts: &CaptureFacts, file: &dyn FsFile) -> Result<Salvaged, SalvageError> {
        if self.is_linked(facts.name, file)? {
            self.unlink(facts.name)?;
        } else {
            self.rename(facts.name, Role::Sealed)?;
        }
        Ok(Salvaged::Completed(Box::new(facts.clone())))
    }

    fn note(&self, part: &Part, found: &Scan) -> Result<CaptureFacts, SalvageError> {
        let told = part.seal.clone();
        let mut capture = told.unwrap_or_else(|| CaptureFacts::bare(part.name, State::Salvaged));
        capture.losses += Losses::unwritten(capture.packets.saturating_sub(found.tally.packets));
        capture.set_tally(&found.tally);
        capture.size = found.sound;
        capture.doubtful_from = capture.doubtful_from.filter(|&from| from < found.sound);
        capture.state = if capture.doubtful_from.is_some() { State::Damaged } else { State::Salvaged };
        let (cut, reason) = (found.len - found.sound, found.end.as_str().to_owned());
        self.ledger.append(Act::Salvage { capture: capture.clone(), cut, reason })?;
        Ok(capture)
    }

    fn drop_empty(&self, name: CaptureName) -> Result<Salvaged, SalvageError> {
        uninterrupted(|| self.fs.remove(&self.path(name, Role::Part)))
            .map_err(self.fail(name, "remove empty"))?;
        Ok(Salvaged::Empty(name))
    }

    fn put_aside(&self, name: CaptureName, why: &str) -> Result<Salvaged, SalvageError> {
        let (file, aside) = (name.file_name(Role::Part), name.file_name(Role::Damaged));
        let what = format!("{why}; put aside as {aside}");
        self.ledger.append(Act::Damage { file, what })?;
        self.rename(name, Role::Damaged)?;
        Ok(Salvaged::Aside(name, aside))
    }

    fn rename(&self, name: CaptureName, to: Role) -> Result<(), SalvageError> {
        let (from, to) = (self.path(name, Role::Part), self.path(name, to));
        uninterrupted(|| self.fs.rename_new(&from, &to)).map_err(self.fail(name, "rename"))?;
        // Should that fail, a power cut may bring the `.part` back, and the next start salvages it again.
        let _ = uninterrupted(|| self.fs.sync_dir(&self.layout.captures()));
        Ok(())
    }

    /// Whether the final name is there already with the same bytes: a file system that cannot rename without replacing links
    /// first, and then the power went.
    fn is_linked(&self, name: CaptureName, part: &dyn FsFile) -> Result<bool, SalvageError> {
        match uninterrupted(|| self.fs.open_read(&self.path(name, Role::Sealed))) {
            Ok(sealed) => {
                same_bytes(part, sealed.as_ref()).map_err(self.fail(name, "compare with its final name"))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(self.fail(name, "look for the final name of")(e)),
        }
    }

    fn unlink(&self, name: CaptureName) -> Result<(), SalvageError> {
        uninterrupted(|| self.fs.sync_dir(&self.layout.captures()))
            .map_err(self.fail(name, "sync the directory"))?;
        uninterrupted(|| self.fs.remove(&self.path(name, Role::Part))).map_err(self.fail(name, "remove"))
    }

    fn path(&self, name: CaptureName, role: Role) -> PathBuf {
        self.layout.captures().join(name.file_name(role))
    }

    fn fail(&self, name: CaptureName, what: &'static str) -> impl FnOnce(io::Error) -> SalvageError {
        move |source| SalvageError::Io { name: name.file_name(Role::Part), what, source }
    }
}

/// Whether every one of `len` bytes was on the device before the ledger told of them. Only a seal is told after the sync: a
/// salvage was told before it, and the crash may have come between; the end of a file that a failed sync has put in
/// doubt was never on the device for sure.
fn is_synced(facts: &CaptureFacts, len: u64) -> bool {
    facts.state == State::Sealed && facts.doubtful_from.is_none() && facts.size == len
}

fn same_bytes(a: &dyn FsFile, b: &dyn FsFile) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut at = 0;
    loop {
        let (in_a, in_b) = (read_full(a, &mut left, at)?, read_full(b, &mut right, at)?);
        if left[..in_a] != right[..in_b] {
            return Ok(false);
        }
        if in_a == 0 {
            return Ok(true);
        }
        at += in_a as u64;
    }
}

/// Whether all that follows the file header is zeros, or the file is zeros from its beginning.
fn is_zero(file: &dyn FsFile, len: u64) -> io::Result<bool> {
    let mut window = vec![0; 1 << 16];
    let mut head = [0; FILE_HEADER];
    let read = read_full(file, &mut head, 0)?;
    let headed = super::format::Format::decode(&head).is_some();
    if !headed && head[..read].iter().any(|&byte| byte != 0) {
        return Ok(false);
    }
    let mut at = FILE_HEADER as u64;
    while at < len {
        let read = read_full(file, &mut window, at)?;
        if read == 0 || window[..read].iter().any(|&byte| byte != 0) {
            return Ok(read == 0);
        }
        at += read as u64;
    }
    Ok(true)
}
