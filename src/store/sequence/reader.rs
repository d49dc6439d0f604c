//! Reads a sequence, the file still growing or damaged.

use std::ops::Range;

use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};

use super::{CHECKPOINT_HEADER, CRC_DIGITS, Checkpoint, End, Header, MARKER, crc_text, offset_text};
use crate::flow::jsonb;
use crate::sys::fs::{FsFile, read_full};

/// The most bytes of a checkpoint.
const MAX_CHECKPOINT: usize = CHECKPOINT_HEADER + 255;
/// Bytes read at once.
const WINDOW: usize = 64 << 10;
/// What a medium loses at once.
const PAGE: usize = 4096;

/// How far an object can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// A checkpoint vouches for it.
    Verified,
    /// It lies whole behind the last checkpoint.
    Unverified,
}

/// What a sequence holds, in the order of the file.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// The header; not told if it lies in a lost range.
    Header(Header, Trust),
    /// An object that is neither header nor checkpoint.
    Record {
        /// Its offset.
        at: u64,
        /// Its bytes.
        object: &'a [u8],
        /// How far it can be believed.
        trust: Trust,
    },
    /// Bytes for which no checkpoint vouches, though one stands behind them: damaged. Records in there that look whole are
    /// not told, for their bytes are known to be wrong or have lost their CRC.
    Lost(Range<u64>),
    /// What is left behind the last whole object: an object being written, or what a crash left of one.
    Cut(Range<u64>),
}

enum Stage {
    /// Looking for the next checkpoint that can be believed.
    Search,
    /// Telling what a checkpoint covers.
    Covered {
        end: u64,
        next: u64,
    },
    /// Telling what lies behind the last checkpoint, up to the zeros that a crash may have left at the end: a zero is a
    /// valid element, so an object that was cut must not be completed by them.
    Tail {
        end: u64,
    },
    Done,
}

/// Reads what a sequence held when the reading began. Holds one object and no more; the work is linear in the file's length,
/// whatever is in it. A page that the medium will not give reads as zeros, that is, as damage.
pub struct SequenceReader<'a> {
    window: Window<'a>,
    finder: Finder<'static>,
    limit: usize,
    stage: Stage,
    /// All before is told.
    at: u64,
    /// Checkpoints that cover bytes before this are not believed: they were condemned or told.
    floor: u64,
    /// That of the first checkpoint believed; the others must have it too.
    id: Option<String>,
    sound: bool,
    /// The last checkpoint believed with nothing lost before it.
    believed: Option<Vec<u8>>,
}

/// Where a reading of a growing file stopped, to go on from there once the file is longer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bookmark {
    /// All before was told.
    pub at: u64,
    /// The end of the last checkpoint believed or condemned.
    floor: u64,
    id: Option<String>,
}

impl Bookmark {
    /// Behind a checkpoint of the file with this id.
    pub fn behind(checkpoint: u64, id: String) -> Self {
        Self { at: checkpoint, floor: checkpoint, id: Some(id) }
    }
}

impl<'a> SequenceReader<'a> {
    /// Reads `file`, which is `len` bytes long, taking no object of more than `limit` bytes.
    pub fn new(file: &'a dyn FsFile, len: u64, limit: usize) -> Self {
        Self {
            window: Window { file, len, start: 0, bytes: Vec::new() },
            finder: Finder::new(MARKER),
            limit,
            stage: Stage::Search,
            at: 0,
            floor: 0,
            id: None,
            sound: true,
            believed: None,
        }
    }

    /// Goes on where an earlier reading of the same file stopped. What was told as unverified is not told again once a
    /// checkpoint vouches for it.
    pub fn resume(file: &'a dyn FsFile, len: u64, limit: usize, bookmark: &Bookmark) -> Self {
        let Bookmark { at, floor, id } = bookmark.clone();
        Self { at, floor, id, ..Self::new(file, len, limit) }
    }

    /// Where the reading is.
    pub fn bookmark(&self) -> Bookmark {
        Bookmark { at: self.at, floor: self.floor, id: self.id.clone() }
    }

    /// The bytes of the last checkpoint believed so far that has nothing lost before it, for a format's own fields: two segments
    /// may have been written between two syncs, and a power cut may take the first of them alone.
    pub fn checkpoint(&self) -> Option<&[u8]> {
        self.believed.as_deref()
    }

    /// The id that the checkpoints believed so far have.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The next item. Not an iterator, for the item borrows the reader's buffer.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Item<'_>> {
        loop {
            match self.stage {
                Stage::Search => {
                    let (until, stage) = match self.find_checkpoint() {
                        Some(found) => (found.since, Stage::Covered { end: found.at, next: found.end }),
                        None => (self.floor, Stage::Tail { end: self.window.end_of_nonzero(self.floor) }),
                    };
                    self.stage = stage;
                    if self.at < until {
                        return Some(self.lose(until));
                    }
                }
                Stage::Covered { end, next } if self.at >= end => {
                    (self.at, self.floor, self.stage) = (next, next, Stage::Search);
                }
                Stage::Covered { end, .. } => match self.object_before(end) {
                    Some(len) => return Some(self.tell(len, Trust::Verified)),
                    None => return Some(self.lose(end)),
                },
                Stage::Tail { .. } if self.at >= self.window.len => self.stage = Stage::Done,
                Stage::Tail { end } => {
                    self.sound = false;
                    match self.object_before(end) {
                        Some(len) if self.is_checkpoint() => self.at += len as u64,
                        Some(len) => return Some(self.tell(len, Trust::Unverified)),
                        None => {
                            self.stage = Stage::Done;
                            return Some(Item::Cut(self.at..self.window.len));
                        }
                    }
                }
                Stage::Done => return None,
            }
        }
    }

    /// Where to append: only once all is read, a checkpoint vouches for every byte, and the last object is one.
    pub fn end(&self) -> Option<End> {
        let id = self.id.clone().filter(|_| self.sound && matches!(self.stage, Stage::Done))?;
        Some(End { id, offset: self.window.len })
    }

    fn lose<'i>(&mut self, until: u64) -> Item<'i> {
        let lost = self.at..until;
        (self.at, self.sound) = (until, false);
        Item::Lost(lost)
    }

    /// Tells the object of `len` bytes that lies here.
    fn tell(&mut self, len: usize, trust: Trust) -> Item<'_> {
        let at = self.at;
        self.at += len as u64;
        let object = self.window.bytes(at, len);
        match jsonb::decode::<Header>(object) {
            Ok((header, _)) if at == 0 => Item::Header(header, trust),
            _ => Item::Record { at, object, trust },
        }
    }

    /// Length of the object that lies here, if it ends before `end`.
    fn object_before(&mut self, end: u64) -> Option<usize> {
        let len = jsonb::object_len(self.window.bytes(self.at, jsonb::MAX_HEADER)).ok()?;
        let len = usize::try_from(len)
            .ok()
            .filter(|&len| len <= self.limit && len as u64 <= end.saturating_sub(self.at))?;
        (self.window.bytes(self.at, len).len() == len).then_some(len)
    }

    /// Whether what lies here looks like a checkpoint; here, one that is not believed.
    fn is_checkpoint(&mut self) -> bool {
        let head = self.window.bytes(self.at, CHECKPOINT_HEADER + MARKER.len());
        head.get(CHECKPOINT_HEADER..).is_some_and(|head| head == MARKER)
    }

    /// The next checkpoint that can be believed. One that stands where it says and cannot be believed condemns what it covers
    /// and whatever lies before it.
    fn find_checkpoint(&mut self) -> Option<Found> {
        let mut from = self.at.max(self.floor);
        loop {
            let marker = self.window.find(&self.finder, from)?;
            from = marker + MARKER.len() as u64;
            let Some(at) = marker.checked_sub(CHECKPOINT_HEADER as u64).filter(|&at| at >= self.floor) else {
                continue;
            };
            let Some((found, id, crc)) = self.read_checkpoint(at) else { continue };
            if found.since >= self.floor
                && found.since <= at
                && crc_text(self.window.crc(found.since..found.end - CRC_DIGITS as u64)) == crc
            {
                self.id = Some(id);
                if self.sound && found.since <= self.at {
                    let len = usize::try_from(found.end - at).unwrap_or(MAX_CHECKPOINT);
                    self.believed = Some(self.window.bytes(at, len).to_vec());
                }
                return Some(found);
            }
            self.floor = found.end;
            from = found.end;
        }
    }

    /// Reads a checkpoint that stands where it says and has the file's id; its CRC is yet to be looked at.
    fn read_checkpoint(&mut self, at: u64) -> Option<(Found, String, String)> {
        let bytes = self.window.bytes(at, MAX_CHECKPOINT);
        let (checkpoint, len) = jsonb::decode::<Checkpoint<'_>>(bytes).ok()?;
        let placed = checkpoint.at == offset_text(at)
            && jsonb::object_len(bytes) == Ok(len as u64)
            && bytes[..len].ends_with(checkpoint.crc.as_bytes())
            && checkpoint.crc.len() == CRC_DIGITS
            && self.id.as_ref().is_none_or(|id| id == checkpoint.checkpoint);
        let since = checkpoint.since.parse().ok()?;
        let found = Found { at, since, end: at + len as u64 };
        placed.then(|| (found, checkpoint.checkpoint.to_owned(), checkpoint.crc.to_owned()))
    }
}

/// A checkpoint, from `at` to `end`, that covers the bytes from `since`.
struct Found {
    at: u64,
    since: u64,
    end: u64,
}

/// A part of the file in memory.
struct Window<'a> {
    file: &'a dyn FsFile,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// Up to `want` bytes at `at`; fewer only at the end of the file.
    fn bytes(&mut self, at: u64, want: usize) -> &[u8] {
        let view = self.view(at, want);
        &view[..want.min(view.len())]
    }

    /// At least `want` bytes at `at`, or all there are, and what else is at hand.
    fn view(&mut self, at: u64, want: usize) -> &[u8] {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let skip = at.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        if let Some(skip) =
            skip.filter(|&skip| skip <= self.bytes.len() && self.bytes.len() - skip >= want.min(left))
        {
            return &self.bytes[skip..];
        }
        self.bytes.clear();
        self.bytes.resize(want.max(WINDOW).min(left), 0);
        self.start = at;
        let got = fill(self.file, &mut self.bytes, at);
        self.bytes.truncate(got);
        // The file was cut while we read.
        if got < want.min(left) {
            self.len = at + got as u64;
        }
        &self.bytes
    }

    fn find(&mut self, finder: &Finder<'_>, mut from: u64) -> Option<u64> {
        loop {
            let view = self.view(from, MARKER.len());
            if let Some(found) = finder.find(view) {
                return Some(from + found as u64);
            }
            from += view.len().checked_sub(MARKER.len()).map(|skip| skip + 1)? as u64;
        }
    }

    /// Where the zeros begin that reach to the end of the file; not before `from`.
    fn end_of_nonzero(&mut self, from: u64) -> u64 {
        let (mut at, mut end) = (from, from);
        while at < self.len {
            let view = self.view(at, 1);
            if let Some(last) = view.iter().rposition(|&byte| byte != 0) {
                end = at + last as u64 + 1;
            }
            if view.is_empty() {
                break;
            }
            at += view.len() as u64;
        }
        end
    }

    fn crc(&mut self, range: Range<u64>) -> u32 {
        let (mut at, mut crc) = (range.start, 0);
        while at < range.end {
            let view = self.view(at, 1);
            let take = usize::try_from(range.end - at).map_or(view.len(), |left| left.min(view.len()));
            if take == 0 {
                break;
            }
            crc = crc32c::crc32c_append(crc, &view[..take]);
            at += take as u64;
        }
        crc
    }
}

/// Reads `buf` at `at`, page by page where the medium fails: what it will not give stays zero.
fn fill(file: &dyn FsFile, buf: &mut [u8], at: u64) -> usize {
    if let Ok(got) = read_full(file, buf, at) {
        return got;
    }
    let mut done = 0;
    while done < buf.len() {
        let offset = at + done as u64;
        let left = PAGE - (offset % PAGE as u64) as usize;
        let end = buf.len().min(done + left);
        if read_full(file, &mut buf[done..end], offset).is_err() {
            buf[done..end].fill(0);
        }
        done = end;
    }
    buf.len()
}
