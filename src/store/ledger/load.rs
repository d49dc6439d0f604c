//! Reads a ledger, whoever may be writing it.

use std::io;
use std::ops::Range;
use std::path::Path;

use super::super::entry::{Act, Entry};
use super::super::sequence::{End, Item, SequenceReader, Trust};
use super::{FORMAT, LedgerError, MAX_ENTRY, VERSION};
use crate::flow::jsonb;
use crate::sys::fs::{Fs, uninterrupted};

/// What a ledger holds.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The entries, oldest first.
    pub entries: Vec<Entry>,
    /// How many of them, the last ones, no checkpoint vouches for.
    pub unverified: usize,
    /// Objects that this version cannot read: acts of a later one. They are kept when the ledger is replaced.
    pub unknown: usize,
    /// Bytes that are damaged.
    pub lost: Vec<Range<u64>>,
    /// Bytes behind the last whole object: one being written, or what a crash left.
    pub cut: Option<Range<u64>>,
    /// The file is whole, but it is no ledger or one of a later format: nothing in it was read.
    pub foreign: bool,
    /// The highest index number that any entry names; 0 if none does.
    pub highest: u64,
    /// Why a file that may not be appended to is still there; the next append tries again to replace it.
    pub not_replaced: Option<LedgerError>,
}

/// Reads the ledger at `path` as it is now, without a lock and while it is being appended to or replaced. None there reads as
/// an empty one.
pub fn load(fs: &dyn Fs, path: &Path) -> Result<Loaded, LedgerError> {
    Contents::read(fs, path).map(Into::into)
}

/// An object in the ledger, as it lies there.
pub(super) struct Line {
    pub(super) object: Vec<u8>,
    /// None if this version cannot read it.
    pub(super) entry: Option<Entry>,
}

/// A ledger in memory.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) lines: Vec<Line>,
    unverified: usize,
    lost: Vec<Range<u64>>,
    cut: Option<Range<u64>>,
    foreign: bool,
    end: Option<End>,
    /// The file's length when it was last compacted.
    pub(super) compacted: u64,
}

impl Contents {
    pub(super) fn read(fs: &dyn Fs, path: &Path) -> Result<Self, LedgerError> {
        let failed = |source| LedgerError::Read { path: path.to_owned(), source };
        let file = match uninterrupted(|| fs.open_read(path)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(failed(e)),
        };
        let len = uninterrupted(|| file.len()).map_err(failed)?;
        let mut contents = Self::default();
        let mut reader = SequenceReader::new(&*file, len, MAX_ENTRY);
        while let Some(item) = reader.next() {
            match item {
                Item::Header(header, _) if header.format == FORMAT && header.version <= VERSION => {}
                Item::Header(..) => return Ok(Self { foreign: true, ..Self::default() }),
                Item::Record { at, object, trust } => contents.take(at, object, trust),
                Item::Lost(range) => contents.lost.push(range),
                Item::Cut(range) => contents.cut = Some(range),
            }
        }
        contents.end = reader.end();
        Ok(contents)
    }

    fn take(&mut self, at: u64, object: &[u8], trust: Trust) {
        let entry = jsonb::decode::<Entry>(object).ok().map(|(entry, _)| entry);
        if let Some(Entry { act: Act::Compacted { .. }, .. }) = entry {
            self.compacted = at + object.len() as u64;
        }
        self.unverified += usize::from(entry.is_some() && trust == Trust::Unverified);
        self.lines.push(Line { object: object.to_vec(), entry });
    }

    /// Where to append; none if the file must be replaced first.
    pub(super) fn appendable(&self) -> Option<End> {
        self.end.clone()
    }

    /// Whether some bytes could not be read.
    pub(super) fn has_lost(&self) -> bool {
        self.foreign || self.cut.is_some() || !self.lost.is_empty()
    }

    /// Whether what could not be read is but the file's end, as after a power cut.
    pub(super) fn is_only_cut(&self) -> bool {
        !self.foreign && self.lost.is_empty()
    }

    pub(super) fn highest(&self) -> u64 {
        self.lines
            .iter()
            .filter_map(|line| line.entry.as_ref())
            .map(|entry| entry.act.highest())
            .max()
            .unwrap_or(0)
    }
}

impl From<Contents> for Loaded {
    fn from(contents: Contents) -> Self {
        let (highest, lines) = (contents.highest(), contents.lines.len());
        let entries: Vec<_> = contents.lines.into_iter().filter_map(|line| line.entry).collect();
        Self {
            unknown: lines - entries.len(),
            entries,
            unverified: contents.unverified,
            lost: contents.lost,
            cut: contents.cut,
            foreign: contents.foreign,
            highest,
            not_replaced: None,
        }
    }
}
