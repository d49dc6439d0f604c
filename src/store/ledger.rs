//! The ledger: what PCAP files cannot hold, one entry an act, durable before the act it describes.
//!
//! A [sequence](super::sequence) of [`Entry`] objects, each append one write of entries and a checkpoint, then a sync. The
//! file is appended to only while every byte of it is known to be sound; otherwise it is replaced by a new one that carries
//! all that could be read, and is itself kept aside as `….damaged` if anything could not. No byte is ever written at an
//! offset that held another: what a full disk cut off is finished first by the next append, and after any other failure to
//! write or sync the file is never written again.
//!
//! One [`Ledger`] at a time, whoever has the lock of the data directory; [`load`] reads at any time, without a lock.

mod compact;
mod follow;
mod load;

use std::ffi::OsString;
use std::io;
use std::io::ErrorKind::{
    AlreadyExists, NotFound, PermissionDenied, QuotaExceeded, StorageFull, Unsupported,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::load::Contents;
use super::entry::{Act, Entry};
use super::sequence::{SequenceError, SequenceWriter};
use crate::sys::clock::Clock;
use crate::sys::fs::{Fs, FsFile, sync_full, uninterrupted, write_full};
use crate::sys::random::random_u64;

pub use follow::{FindingCursor, FindingFollower};
pub use load::{Loaded, load};

/// The format's name in the header.
pub const FORMAT: &str = "tapkeep-ledger";
/// The format's version in the header.
pub const VERSION: u32 = 1;
/// The most bytes of an entry.
pub const MAX_ENTRY: usize = 1 << 20;
/// Bytes kept reserved ahead, so that seals and evictions can be entered on a full disk.
pub const RESERVE: u64 = 256 << 10;
/// A ledger shorter than this is not compacted, bytes.
const COMPACT_FROM: u64 = 1 << 20;
/// Bytes after which a rewritten ledger gets a checkpoint.
const SEGMENT: usize = 64 << 10;
/// Files whose ages one entry holds: far less than [`MAX_ENTRY`].
const AGES: usize = 10_000;

/// The ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It is there but cannot be opened.
    #[error("cannot read the ledger {}: {source}; check its owner and mode", path.display())]
    Read {
        /// The ledger.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The entries are not durable; the act must wait.
    #[error("cannot {operation} the ledger {}: {source}; the next entry tries again", path.display())]
    Write {
        /// What failed.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The entry cannot be written at all.
    #[error("cannot enter an act into the ledger: {0}")]
    Entry(#[from] SequenceError),
}

/// The ledger, open for appending.
pub struct Ledger {
    fs: Arc<dyn Fs>,
    clock: Arc<dyn Clock>,
    path: PathBuf,
    /// None if the file must be replaced before the next entry.
    open: Option<Open>,
    /// Its length after the last compaction, bytes.
    compacted: u64,
    highest: u64,
}

/// The ledger for all who act: each entry is written and synced before the next.
#[derive(Clone)]
pub struct SharedLedger(Arc<Mutex<Ledger>>);

impl SharedLedger {
    /// Shares it.
    pub fn new(ledger: Ledger) -> Self {
        Self(Arc::new(Mutex::new(ledger)))
    }

    /// See [`Ledger::append`].
    pub fn append(&self, act: Act) -> Result<Entry, LedgerError> {
        self.own().append(act)
    }

    /// See [`Ledger::wants_compaction`].
    pub fn wants_compaction(&self) -> bool {
        self.own().wants_compaction()
    }

    /// See [`Ledger::compact`].
    pub fn compact(&self, existing: &[(u64, u64)], flows: &[(u64, u64)]) -> Result<(), LedgerError> {
        self.own().compact(existing, flows)
    }

    fn own(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that may be appended to.
struct Open {
    file: Box<dyn FsFile>,
    /// Stands behind the bytes in `rest`.
    writer: SequenceWriter,
    /// Its length.
    written: u64,
    /// What must come next: the end of bytes whose beginning is in the file.
    rest: Vec<u8>,
    reserved: u64,
}

impl Ledger {
    /// Opens the ledger at `path`, making it if it is not there, and tells what it holds. Damage is told, not an error;
    /// that the file could not be replaced where it must be is told too, and tried again by the next append.
    pub fn open(
        fs: Arc<dyn Fs>,
        path: impl Into<PathBuf>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Loaded), LedgerError> {
        let path = path.into();
        let contents = Contents::read(&*fs, &path)?;
        let (compacted, highest) = (contents.compacted, contents.highest());
        let mut ledger = Self { fs, clock, path, open: None, compacted, highest };
        let opened = match contents.appendable() {
            Some(end) => ledger.append_to(SequenceWriter::resume(end)),
            None => ledger.replace(&contents, |_| true, &[]),
        };
        let loaded = Loaded { not_replaced: opened.err(), ..contents.into() };
        Ok((ledger, loaded))
    }

    /// Enters `act`; returns the entry once it is durable. On failure the act may have been entered or not, as after a
    /// crash.
    pub fn append(&mut self, act: Act) -> Result<Entry, LedgerError> {
        let entry = self.stamp(act);
        self.enter(std::slice::from_ref(&entry))?;
        Ok(entry)
    }

    /// Enters `acts` in this order with one write and one sync; returns once they are durable.
    pub fn append_all(&mut self, acts: impl IntoIterator<Item = Act>) -> Result<(), LedgerError> {
        let entries: Vec<_> = acts.into_iter().map(|act| self.stamp(act)).collect();
        self.enter(&entries)
    }

    fn enter(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        if self.open.is_none() {
            let contents = Contents::read(&*self.fs, &self.path)?;
            self.replace(&contents, |_| true, entries)?;
        } else {
            self.write(entries)?;
        }
        self.highest = entries.iter().map(|entry| entry.act.highest()).fold(self.highest, u64::max);
        Ok(())
    }

    /// The highest index number that any entry names; 0 if none does.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether the ledger has passed 1 MiB and twice its length after the last compaction.
    pub fn wants_compaction(&self) -> bool {
        let len = self.open.as_ref().map_or(0, |open| open.written);
        len > COMPACT_FROM && len / 2 > self.compacted
    }

    /// Replaces the ledger by what is still of use: of the `existing` capture files (index number, age in milliseconds)
    /// their last seal or salvage, hold or release, and damage; the last 1,000 evictions; the last start; the last 100
    /// gaps, clock steps, stops and other damage; and up to 1,000 entries of kinds unknown to this version. Of flow files the
    /// same, `flows` being those that exist; and the last 10,000 findings. On failure nothing is lost.
    pub fn compact(&mut self, existing: &[(u64, u64)], flows: &[(u64, u64)]) -> Result<(), LedgerError> {
        let contents = Contents::read(&*self.fs, &self.path)?;
        let numbers = |files: &[(u64, u64)]| files.iter().map(|&(number, _)| number).collect();
        let highest = existing.iter().map(|&(number, _)| number).fold(self.highest, u64::max);
        let boot = self.clock.boot_id();
        let compacted = |ages: &[(u64, u64)], flow_ages: &[(u64, u64)]| Act::Compacted {
            boot: boot.clone(),
            ages: ages.to_vec(),
            flow_ages: flow_ages.to_vec(),
            highest,
        };
        let mut acts: Vec<_> = existing.chunks(AGES).map(|ages| compacted(ages, &[])).collect();
        acts.extend(flows.chunks(AGES).map(|ages| compacted(&[], ages)));
        if acts.is_empty() {
            acts.push(compacted(&[], &[]));
        }
        let kept = compact::survivors(&contents, &numbers(existing), &numbers(flows));
        let entries: Vec<_> = acts.into_iter().map(|act| self.stamp(act)).collect();
        self.replace(&contents, |index| kept[index], &entries)?;
        self.compacted = self.open.as_ref().map_or(0, |open| open.written);
        self.highest = highest;
        Ok(())
    }

    fn stamp(&self, act: Act) -> Entry {
        let (now, synchronised) = (self.clock.now(), self.clock.synchronised());
        let up_ms = now.up_ms();
        Entry { at: Some(now.wall), up_ms, synchronised, act }
    }

    fn append_to(&mut self, writer: SequenceWriter) -> Result<(), LedgerError> {
        let file = uninterrupted(|| self.fs.open(&self.path)).map_err(failed("open", &self.path))?;
        self.open = Some(Open::new(file, writer.with_limit(MAX_ENTRY)));
        Ok(())
    }

    fn write(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        match open.append(entries) {
            Ok(()) => Ok(()),
            Err(AppendError::Entry(e)) => Err(e.into()),
            Err(AppendError::Full(e)) => Err(failed("write", &self.path)(e)),
            Err(AppendError::Latched(operation, e)) => {
                self.open = None;
                Err(failed(operation, &self.path)(e))
            }
        }
    }

    /// Replaces the file by one that holds the records that `keep` chooses by their place, then `entries`.
    fn replace(
        &mut self,
        contents: &Contents,
        keep: impl Fn(usize) -> bool,
        entries: &[Entry],
    ) -> Result<(), LedgerError> {
        let tmp = beside(&self.path, ".tmp");
        let fail = |operation| failed(operation, &tmp);
        let id = random_u64().map_err(fail("name"))?;
        let mut bytes = Vec::new();
        let mut writer = SequenceWriter::begin(FORMAT, VERSION, id, &mut bytes)?.with_limit(MAX_ENTRY);
        let mut checkpoint = SEGMENT;
        for (_, line) in contents.lines.iter().enumerate().filter(|&(index, _)| keep(index)) {
            writer.copy(&line.object, &mut bytes);
            if bytes.len() >= checkpoint {
                writer.checkpoint(&mut bytes)?;
                checkpoint = bytes.len() + SEGMENT;
            }
        }
        for entry in entries {
            writer.record(entry, &mut bytes)?;
        }
        writer.checkpoint(&mut bytes)?;

        absent_is_fine(uninterrupted(|| self.fs.remove(&tmp))).map_err(fail("clear the way for"))?;
        let file = uninterrupted(|| self.fs.create(&tmp)).map_err(fail("create"))?;
        let written = write_full(&*file, &bytes, 0).map_err(|(_, e)| fail("write")(e));
        if let Err(e) = written.and_then(|()| sync_full(&*file).map_err(fail("sync"))) {
            // It is in nobody's way, but it fills a disk that may be full.
            let _ = self.fs.remove(&tmp);
            return Err(e);
        }
        if contents.has_lost() {
            self.keep_aside(contents)?;
        }
        // From here on it is not known which file has the name.
        self.open = None;
        uninterrupted(|| self.fs.replace(&tmp, &self.path)).map_err(failed("replace", &self.path))?;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        uninterrupted(|| self.fs.sync_dir(dir)).map_err(failed("make durable the name of", &self.path))?;
        self.open = Some(Open::new(file, writer));
        Ok(())
    }

    /// Gives the damaged file a second name, under which it stays when the first goes to the new one. One that only lacks its
    /// end does not take the place of another.
    fn keep_aside(&self, contents: &Contents) -> Result<(), LedgerError> {
        let aside = beside(&self.path, ".damaged");
        let cleared = if contents.is_only_cut() { Ok(()) } else { uninterrupted(|| self.fs.remove(&aside)) };
        match absent_is_fine(cleared).and_then(|()| uninterrupted(|| self.fs.link(&self.path, &aside))) {
            // There are file systems without second names; what could be read of the file is in the new one.
            Err(e) if !matches!(e.kind(), AlreadyExists | PermissionDenied | Unsupported | NotFound) => {
                Err(failed("keep aside", &self.path)(e))
            }
            _ => Ok(()),
        }
    }
}

enum AppendError {
    Entry(SequenceError),
    Full(io::Error),
    Latched(&'static str, io::Error),
}

impl Open {
    fn new(file: Box<dyn FsFile>, writer: SequenceWriter) -> Self {
        let mut open = Self { file, written: writer.offset(), writer, rest: Vec::new(), reserved: 0 };
        open.reserve();
        open
    }

    fn append(&mut self, entries: &[Entry]) -> Result<(), AppendError> {
        let (mut writer, mut bytes) = (self.writer.clone(), self.rest.clone());
        for entry in entries {
            writer.record(entry, &mut bytes).map_err(AppendError::Entry)?;
        }
        writer.checkpoint(&mut bytes).map_err(AppendError::Entry)?;
        if let Err((done, e)) = write_full(&*self.file, &bytes, self.written) {
            self.written += done as u64;
            if done > self.rest.len() {
                (self.writer, self.rest) = (writer, bytes.split_off(done));
            } else {
                self.rest.drain(..done);
            }
            return Err(match e.kind() {
                StorageFull | QuotaExceeded => AppendError::Full(e),
                _ => AppendError::Latched("write", e),
            });
        }
        (self.written, self.writer) = (writer.offset(), writer);
        self.rest.clear();
        sync_full(&*self.file).map_err(|e| AppendError::Latched("sync", e))?;
        self.reserve();
        Ok(())
    }

    /// Keeps [`RESERVE`] ahead. A full disk is no failure yet: the next append asks again.
    fn reserve(&mut self) {
        if self.written + RESERVE > self.reserved && self.file.reserve(self.written, 2 * RESERVE).is_ok() {
            self.reserved = self.written + 2 * RESERVE;
        }
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerError {
    move |source| LedgerError::Write { operation, path: path.to_owned(), source }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
