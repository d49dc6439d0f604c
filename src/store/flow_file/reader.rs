//! Reads a flow file, growing, sealed or damaged.

use std::ops::Range;

use memchr::memmem;

use super::super::sequence::{Bookmark, Header, Item, MARKER, SequenceReader, Trust};
use super::fold::Fold;
use super::outline::{Footer, Kind, Outline};
use super::position::Position;
use super::{FORMAT, MAX_OBJECT, VERSION};
use crate::flow::jsonb::{self, DecodeError};
use crate::flow::record::FlowRecord;
use crate::sys::fs::{FsFile, read_full};

/// What a medium loses at once, bytes.
const PAGE: u64 = 4096;
/// How many checkpoints are tried from the end before the search is given up.
const MAX_TRIES: usize = 4;
/// How much of a file's end is read to find its last checkpoint, bytes.
const PEEK: u64 = 64 << 10;

/// One object of a flow file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object<'a> {
    /// Its offset.
    pub at: u64,
    /// Its JSONB.
    pub bytes: &'a [u8],
    /// How far it can be believed.
    pub trust: Trust,
    /// What it is.
    pub kind: Kind,
}

impl<'a> Object<'a> {
    /// The flow record that it is.
    pub fn record(&self) -> Result<FlowRecord, DecodeError> {
        jsonb::decode(self.bytes).map(|(record, _)| record)
    }

    /// The few keys of a flow record that tell whether the rest is wanted.
    pub fn outline(&self) -> Option<Outline<'a>> {
        Outline::read(self.bytes)
    }

    /// The counted flows that it is.
    pub fn fold(&self) -> Option<Fold> {
        Fold::read(self.bytes)
    }

    /// The footer that it is.
    pub fn footer(&self) -> Option<Footer> {
        Footer::read(self.bytes)
    }
}

/// What a flow file holds, in the order of the file.
#[derive(Debug, PartialEq, Eq)]
pub enum FlowItem<'a> {
    /// The header; not told if it lies in a lost range.
    Header(Header, Trust),
    /// A record, counted flows, the footer, or what a later version has.
    Object(Object<'a>),
    /// Damaged bytes.
    Lost(Range<u64>),
    /// What is left behind the last whole object.
    Cut(Range<u64>),
}

/// Reads what a flow file held when the reading began. Holds one object and no more.
///
/// Beyond what [`SequenceReader`] asks of an object that no checkpoint vouches for, here it must not hold a page that was never
/// written: from a page's beginning in it to the page's or its own end nothing but zeros. No object of a flow file ends in a
/// zero, so none is refused that was written whole.
pub struct FlowReader<'a> {
    sequence: SequenceReader<'a>,
    len: u64,
    /// Set where an object cannot be believed.
    stopped: Option<u64>,
}

impl<'a> FlowReader<'a> {
    /// Reads the first `len` bytes of `file`: its length, or where its facts say that it is doubtful.
    pub fn new(file: &'a dyn FsFile, len: u64) -> Self {
        Self { sequence: SequenceReader::new(file, len, MAX_OBJECT), len, stopped: None }
    }

    /// Goes on where an earlier reading of the same file stopped. What was told as unverified is not told again.
    pub fn resume(file: &'a dyn FsFile, len: u64, bookmark: &Bookmark) -> Self {
        Self { sequence: SequenceReader::resume(file, len, MAX_OBJECT, bookmark), len, stopped: None }
    }

    /// The next item. Not an iterator, for the item borrows the reader's buffer.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<FlowItem<'_>> {
        if self.stopped.is_some() {
            return None;
        }
        Some(match self.sequence.next()? {
            Item::Header(header, trust) => FlowItem::Header(header, trust),
            Item::Record { at, object, trust } => {
                if trust == Trust::Unverified && holds_lost_page(at, object) {
                    self.stopped = Some(at);
                    return Some(FlowItem::Cut(at..self.len));
                }
                FlowItem::Object(Object { at, bytes: object, trust, kind: Kind::of(object) })
            }
            Item::Lost(range) => FlowItem::Lost(range),
            Item::Cut(range) => FlowItem::Cut(range),
        })
    }

    /// Where the reading is; to be asked at its end, to go on once the file is longer.
    pub fn bookmark(&self) -> Bookmark {
        let mut read = self.sequence.bookmark();
        read.at = self.stopped.unwrap_or(read.at);
        read
    }

    /// The position in the last checkpoint believed so far that has nothing lost before it: what damage has taken lies behind.
    pub fn position(&self) -> Option<Position> {
        Position::of_checkpoint(self.sequence.checkpoint()?)
    }

    /// The id of the checkpoints believed so far.
    pub fn id(&self) -> Option<&str> {
        self.sequence.id()
    }

    /// Once all is read: whether a checkpoint vouches for every byte.
    pub fn is_sound(&self) -> bool {
        self.stopped.is_none() && self.sequence.end().is_some()
    }
}

/// Whether `header` is that of a flow file which this version can read.
pub(super) fn is_ours(header: &Header) -> bool {
    header.format == FORMAT && header.version <= VERSION
}

/// Whether an object at this offset holds the beginning of a page of zeros.
fn holds_lost_page(at: u64, object: &[u8]) -> bool {
    let mut page = at.next_multiple_of(PAGE) - at;
    while let Some(rest) = usize::try_from(page).ok().and_then(|page| object.get(page..)) {
        let rest = &rest[..rest.len().min(PAGE as usize)];
        if !rest.is_empty() && rest.iter().all(|&byte| byte == 0) {
            return true;
        }
        page += PAGE;
    }
    false
}

/// What the two ends of a flow file tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peek {
    /// The header, if it is that of a flow file.
    pub header: Option<Header>,
    /// The position in the last checkpoint, if that is near the end.
    pub position: Option<Position>,
    /// The footer, if the file was sealed in order.
    pub footer: Option<Footer>,
    /// Where the last checkpoint ends, if that is near the end of the file.
    pub end: Option<Bookmark>,
}

/// Looks at both ends of a flow file; of what lies in between it reads only what the last checkpoint covers, which in a sealed
/// file is the footer. A checkpoint whose CRC is wrong is as none.
pub fn peek(file: &dyn FsFile) -> Peek {
    let Ok(len) = file.len() else { return Peek::default() };
    let mut bytes = vec![0; usize::try_from(len.min(PAGE)).unwrap_or(0)];
    let read = read_full(file, &mut bytes, 0).unwrap_or(0);
    let header = jsonb::decode::<Header>(&bytes[..read]).ok().map(|(header, _)| header).filter(is_ours);
    let Some(id) = header.as_ref().map(|header| header.id.clone()) else { return Peek::default() };
    let Some(last) = last_checkpoint(file, len, &id) else { return Peek { header, ..Peek::default() } };
    let footer = footer_at(file, last.since, len).filter(|_| last.end == len);
    Peek { header, position: last.position, footer, end: Some(Bookmark::behind(last.end, id)) }
}

#[derive(serde::Deserialize)]
struct Placed<'a> {
    checkpoint: &'a str,
    at: &'a str,
    since: &'a str,
}

struct Last {
    position: Option<Position>,
    /// The first byte that it covers.
    since: u64,
    end: u64,
}

/// The last checkpoint near the end that stands where it says and vouches for what it covers.
fn last_checkpoint(file: &dyn FsFile, len: u64, id: &str) -> Option<Last> {
    let start = len.saturating_sub(PEEK);
    let mut tail = vec![0; usize::try_from(len - start).ok()?];
    let read = read_full(file, &mut tail, start).ok()?;
    let tail = &tail[..read];
    let placed = memmem::rfind_iter(tail, MARKER).filter_map(|marker| {
        let at = marker.checked_sub(2)?;
        let (placed, size) = jsonb::decode::<Placed<'_>>(&tail[at..]).ok()?;
        let offset = start + at as u64;
        let here = placed.checkpoint == id && placed.at.parse() == Ok(offset);
        let since = placed.since.parse().ok()?;
        let position = Position::of_checkpoint(&tail[at..]);
        here.then(|| Last { position, since, end: offset + size as u64 })
    });
    placed.take(MAX_TRIES).find(|last| vouches(file, last))
}

/// Whether the CRC in a checkpoint's last bytes is that of what it covers.
fn vouches(file: &dyn FsFile, last: &Last) -> bool {
    let Some(digits) = last.end.checked_sub(8).filter(|&digits| last.since <= digits) else { return false };
    let (mut at, mut crc) = (last.since, 0);
    let mut bytes = vec![0; PEEK as usize];
    while at < digits {
        let want = usize::try_from(digits - at).map_or(bytes.len(), |left| left.min(bytes.len()));
        match read_full(file, &mut bytes[..want], at) {
            Ok(read) if read == want => crc = crc32c::crc32c_append(crc, &bytes[..want]),
            _ => return false,
        }
        at += want as u64;
    }
    let mut told = [0; 8];
    read_full(file, &mut told, digits).is_ok_and(|read| read == 8) && told == format!("{crc:08x}").as_bytes()
}

/// The footer that begins at `since` and ends, with its checkpoint, at `len`.
fn footer_at(file: &dyn FsFile, since: u64, len: u64) -> Option<Footer> {
    let size = len.checked_sub(since).filter(|&size| size <= MAX_OBJECT as u64 + PAGE)?;
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    let read = read_full(file, &mut bytes, since).ok()?;
    let bytes = &bytes[..read];
    let footer = usize::try_from(jsonb::object_len(bytes).ok()?).ok()?;
    let alone = Kind::of(bytes.get(footer..)?) == Kind::Checkpoint;
    alone.then(|| Footer::read(&bytes[..footer])).flatten()
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
