//! One reading of the records, as SQLite asks for it: a row at a time, a stretch of a file in memory.

use std::ops::Range;
use std::sync::Arc;

use memchr::memmem::Finder;

use super::plan::Wanted;
use super::snapshot::Snapshot;
use crate::flow::jsonb;
use crate::flow::record::FlowRecord;
use crate::store::flow_file::{FlowItem, FlowReader, Kind};
use crate::store::range::TimeRange;
use crate::store::sequence::Bookmark;
use crate::sys::fs::FsFile;

/// Bytes of wanted records that are held before SQLite takes them. What a checkpoint covers is verified again for each such stretch,
/// so it is not small.
const STRETCH: usize = 1 << 20;

/// Offsets within a file take so many bits of a row id, its place in the list of files the others.
const OFFSET_BITS: u32 = 40;

/// Reads what the snapshot holds, file by file, then what was made.
pub(super) struct Cursor {
    snapshot: Arc<Snapshot>,
    wanted: Wanted,
    finders: Vec<Finder<'static>>,
    /// The file being read, with where the reading is.
    open: Option<(Arc<dyn FsFile>, Bookmark)>,
    /// Its place in the list.
    file: usize,
    /// Wanted records that were read, one behind the other.
    bytes: Vec<u8>,
    /// Where each lies in `bytes`, with its offset in the file; the next one last.
    held: Vec<(Range<usize>, u64)>,
    /// The file that they are of.
    held_of: usize,
    /// The next of the records that were made.
    made: usize,
    current: Current,
}

enum Current {
    None,
    Read(Box<FlowRecord>, u64),
    Made(usize),
}

impl Cursor {
    pub(super) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self {
            snapshot,
            wanted: Wanted::default(),
            finders: Vec::new(),
            open: None,
            file: 0,
            bytes: Vec::new(),
            held: Vec::new(),
            held_of: 0,
            made: 0,
            current: Current::None,
        }
    }

    /// Begins anew, at the first record that is wanted.
    pub(super) fn begin(&mut self, mut wanted: Wanted) {
        wanted.range = both(wanted.range, self.snapshot.range);
        self.finders =
            wanted.needles.iter().map(|needle| Finder::new(needle.as_bytes()).into_owned()).collect();
        self.wanted = wanted;
        (self.open, self.file, self.made) = (None, 0, 0);
        self.held.clear();
        self.advance();
    }

    /// Goes to the next record that is wanted.
    pub(super) fn advance(&mut self) {
        self.current = self.next_read().unwrap_or_else(|| self.next_made());
    }

    /// The record that it is at; none at the end.
    pub(super) fn record(&self) -> Option<&FlowRecord> {
        match &self.current {
            Current::None => None,
            Current::Read(record, _) => Some(record),
            Current::Made(at) => self.snapshot.made.get(*at),
        }
    }

    /// The same for the same record in every reading of a snapshot.
    pub(super) fn row_id(&self) -> i64 {
        let (file, offset) = match self.current {
            Current::None => (0, 0),
            Current::Read(_, offset) => (self.held_of, offset),
            Current::Made(at) => (self.snapshot.sources.len(), at as u64),
        };
        (file as i64) << OFFSET_BITS | (offset & ((1 << OFFSET_BITS) - 1)) as i64
    }

    fn next_read(&mut self) -> Option<Current> {
        loop {
            while let Some((range, at)) = self.held.pop() {
                let bytes = self.bytes.get(range)?;
                let record = jsonb::decode::<FlowRecord>(bytes).ok().map(|(record, _)| record);
                if let Some(record) = record.filter(|r| self.wanted.range.touches(r.start, r.end)) {
                    return Some(Current::Read(Box::new(record), at));
                }
            }
            match self.open.take() {
                Some((file, bookmark)) => self.read(file, &bookmark),
                None => self.next_file()?,
            }
        }
    }

    /// Opens the file at `self.file`, or passes it over.
    fn next_file(&mut self) -> Option<()> {
        if self.file >= self.snapshot.sources.len() {
            return None;
        }
        match self.snapshot.open(self.file, &self.wanted) {
            Some(file) => self.open = Some((file, Bookmark::default())),
            None => self.file += 1,
        }
        Some(())
    }

    /// Reads on in the file that is open.
    fn read(&mut self, file: Arc<dyn FsFile>, bookmark: &Bookmark) {
        let Some(source) = self.snapshot.sources.get(self.file) else { return };
        self.bytes.clear();
        self.held_of = self.file;
        let mut reader = FlowReader::resume(&*file, source.size, bookmark);
        let mut ended = true;
        let mut passed = 0;
        while let Some(item) = reader.next() {
            match item {
                FlowItem::Object(object) if object.kind == Kind::Record => {
                    if !self.finders.is_empty()
                        && !self.finders.iter().any(|f| f.find(object.bytes).is_some())
                    {
                        passed += 1;
                        continue;
                    }
                    let from = self.bytes.len();
                    self.bytes.extend_from_slice(object.bytes);
                    self.held.push((from..self.bytes.len(), object.at));
                    if self.bytes.len() >= STRETCH {
                        ended = false;
                        break;
                    }
                }
                FlowItem::Lost(range) => {
                    let (from, to) = (range.start, range.end);
                    let name = &source.name;
                    self.snapshot.note(format!("bytes {from} to {to} of {name} are damaged and left out"));
                    self.snapshot.look().damaged = true;
                }
                FlowItem::Object(_) | FlowItem::Header(..) | FlowItem::Cut(_) => {}
            }
        }
        self.snapshot.look().records += self.held.len() as u64 + passed;
        self.held.reverse();
        if ended {
            self.file += 1;
        } else {
            let bookmark = reader.bookmark();
            self.open = Some((file, bookmark));
        }
    }

    fn next_made(&mut self) -> Current {
        while let Some(record) = self.snapshot.made.get(self.made) {
            self.made += 1;
            self.snapshot.look().records += 1;
            if self.wanted.range.touches(record.start, record.end) {
                return Current::Made(self.made - 1);
            }
        }
        Current::None
    }
}

fn both(a: TimeRange, b: TimeRange) -> TimeRange {
    TimeRange { since: a.since.max(b.since), until: [a.until, b.until].into_iter().flatten().min() }
}
