//! What a query is about: the flow files as they were when it began, read in place as often as SQLite asks, and records that were
//! made from captures.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::super::flows::{Ends, FlowLook};
use super::plan::Wanted;
use crate::flow::record::FlowRecord;
use crate::store::flow_file::{flow_sources, peek};
use crate::store::layout::Layout;
use crate::store::range::TimeRange;
use crate::sys::fs::{Fs, FsFile, advice};

/// The most records made from captures.
pub const MAX_MADE: usize = 1_000_000;

/// The records that a query is about.
pub struct Snapshot {
    fs: Arc<dyn Fs>,
    pub(super) sources: Vec<Source>,
    /// Records of captures that were analysed for this query.
    pub(super) made: Vec<FlowRecord>,
    /// Only records that touch this time are there.
    pub(super) range: TimeRange,
    look: Mutex<FlowLook>,
}

/// A flow file.
pub(super) struct Source {
    /// What it is called.
    pub(super) name: String,
    path: PathBuf,
    /// Bytes of it that were there.
    pub(super) size: u64,
    sealed: bool,
    /// The growing one is held open, for its name goes to another.
    held: Option<Arc<dyn FsFile>>,
    ends: OnceLock<Ends>,
}

impl Snapshot {
    /// Nothing yet, and of what is added, that which touches `range`.
    pub fn new(fs: Arc<dyn Fs>, range: TimeRange) -> Self {
        Self { fs, sources: Vec::new(), made: Vec::new(), range, look: Mutex::default() }
    }

    /// Adds the flow files of a data directory, the growing one included.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn add_data_dir(&mut self, layout: &Layout) -> io::Result<()> {
        for source in flow_sources(&*self.fs, layout)? {
            let (path, size) = (source.path().clone(), source.size);
            let sealed = source.name.is_some();
            let name =
                source.name.map_or_else(|| "the growing flow file".to_owned(), |name| name.to_string());
            let held = if sealed { None } else { Some(Arc::from(source.open(&*self.fs)?.0)) };
            self.sources.push(Source { name, path, size, sealed, held, ends: OnceLock::new() });
        }
        Ok(())
    }

    /// Adds a flow file from anywhere.
    ///
    /// # Errors
    /// If it cannot be opened, or is none.
    pub fn add_file(&mut self, path: &Path) -> io::Result<()> {
        let file = self.fs.open_read(path)?;
        if peek(&*file).header.is_none() {
            return Err(io::Error::other("it is no flow file"));
        }
        let (name, size) = (path.display().to_string(), file.len()?);
        self.sources.push(Source {
            name,
            path: path.to_owned(),
            size,
            sealed: false,
            held: None,
            ends: OnceLock::new(),
        });
        Ok(())
    }

    /// Adds a record, which is held in memory: no more than [`MAX_MADE`] of them.
    pub fn add(&mut self, record: FlowRecord) {
        if !self.range.touches(record.start, record.end) {
        } else if self.made.len() < MAX_MADE {
            self.made.push(record);
        } else {
            self.note(format!("only the first {MAX_MADE} flow records of these captures are asked"));
            self.look().damaged = true;
        }
    }

    /// What reading has come to.
    pub(super) fn look(&self) -> MutexGuard<'_, FlowLook> {
        self.look.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes something, once.
    pub(super) fn note(&self, note: String) {
        let mut look = self.look();
        if !look.notes.contains(&note) {
            look.notes.push(note);
        }
    }

    /// Opens the file at `at` of [`Snapshot::sources`], unless its ends tell that it holds nothing that is wanted.
    pub(super) fn open(&self, at: usize, wanted: &Wanted) -> Option<Arc<dyn FsFile>> {
        let source = self.sources.get(at)?;
        let opened = self.open_source(source, wanted);
        match &opened {
            Ok(Some(_)) => self.look().files += 1,
            Ok(None) => self.look().skipped += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.note(format!("{} was evicted meanwhile", source.name));
            }
            Err(error) => {
                self.note(format!("read {}: {error}{}", source.name, advice(error)));
                self.look().damaged = true;
            }
        }
        opened.ok().flatten()
    }

    fn open_source(&self, source: &Source, wanted: &Wanted) -> io::Result<Option<Arc<dyn FsFile>>> {
        if source.ends.get().is_some_and(|ends| ends.rule_out(wanted.range, wanted.begun)) {
            return Ok(None);
        }
        let file = match &source.held {
            Some(file) => Arc::clone(file),
            None => Arc::from(self.fs.open_read(&source.path)?),
        };
        if source.sealed && !wanted.is_all() {
            let ends = source.ends.get_or_init(|| Ends::of(&peek(&*file)));
            if ends.rule_out(wanted.range, wanted.begun) {
                return Ok(None);
            }
        }
        Ok(Some(file))
    }
}
