//! Following the ledger's findings across its replacements and restarts of the reader.
//!
//! An entry is kept byte for byte when the ledger is replaced, and entries stay in order. So the place of a reader is told by the
//! last findings that it has told, not by an offset: whatever stands behind the last of them that is still there is new. If none is
//! there any more, all that is there is told again.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::entry::{Act, Entry};
use super::super::finding::KeptFinding;
use super::super::sequence::{Bookmark, Header, Item, SequenceReader};
use super::{FORMAT, MAX_ENTRY, VERSION};
use crate::flow::jsonb;
use crate::sys::fs::{Fs, FsFile, read_full, uninterrupted};

/// How many of the last findings a place names: compaction drops those that were told again since.
const MARKS: usize = 64;

/// The most bytes of a header.
const HEADER: usize = 4096;

/// A place in the ledger's findings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FindingCursor {
    /// The last findings told, the latest last; none before the first.
    told: VecDeque<Mark>,
}

/// An entry that holds a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    finding: String,
    crc: u32,
}

impl FindingCursor {
    fn push(&mut self, mark: Mark) {
        if self.told.len() >= MARKS {
            self.told.pop_front();
        }
        self.told.push_back(mark);
    }
}

/// Follows the findings in a ledger.
pub struct FindingFollower {
    cursor: FindingCursor,
    /// The id of the ledger that is read, and how far.
    reading: Option<(String, Bookmark)>,
    lost_place: bool,
}

impl FindingFollower {
    /// Begins behind all that is there.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn new(fs: &dyn Fs, path: &Path) -> io::Result<Self> {
        let mut follower = Self::resume(FindingCursor::default());
        follower.poll(fs, path, |_| {})?;
        Ok(follower)
    }

    /// Goes on where an earlier one stood; from the default place, with the oldest finding.
    pub fn resume(cursor: FindingCursor) -> Self {
        Self { cursor, reading: None, lost_place: false }
    }

    /// Where it stands: what was handed over lies before.
    pub fn cursor(&self) -> &FindingCursor {
        &self.cursor
    }

    /// Whether, since last asked, none of the findings told last was there any more, so that all were told again.
    pub fn take_lost_place(&mut self) -> bool {
        std::mem::take(&mut self.lost_place)
    }

    /// Hands over the findings that came since the last time; one that has grown comes again.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn poll(&mut self, fs: &dyn Fs, path: &Path, mut take: impl FnMut(&KeptFinding)) -> io::Result<()> {
        let file = match uninterrupted(|| fs.open_read(path)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let len = uninterrupted(|| file.len())?;
        let Some(id) = id_of(file.as_ref()) else { return Ok(()) };
        let known = self.reading.take().filter(|(reading, mark)| *reading == id && mark.at <= len);
        let from = match known {
            Some((_, bookmark)) => bookmark,
            None => self.find(file.as_ref(), len),
        };
        let mut reader = SequenceReader::resume(file.as_ref(), len, MAX_ENTRY, &from);
        while let Some(item) = reader.next() {
            if let Some((finding, mark)) = finding_of(&item) {
                take(&finding);
                self.cursor.push(mark);
            }
        }
        self.reading = Some((id, reader.bookmark()));
        Ok(())
    }

    /// The place behind the last finding that was told.
    fn find(&mut self, file: &dyn FsFile, len: u64) -> Bookmark {
        if self.cursor.told.is_empty() {
            return Bookmark::default();
        }
        let mut reader = SequenceReader::new(file, len, MAX_ENTRY);
        let mut found = None;
        loop {
            let is_told = match reader.next() {
                None => break,
                Some(item) => finding_of(&item).is_some_and(|(_, mark)| self.cursor.told.contains(&mark)),
            };
            if is_told {
                found = Some(reader.bookmark());
            }
        }
        self.lost_place |= found.is_none();
        found.unwrap_or_default()
    }
}

fn id_of(file: &dyn FsFile) -> Option<String> {
    let mut bytes = vec![0; HEADER];
    let read = read_full(file, &mut bytes, 0).ok()?;
    let (header, _) = jsonb::decode::<Header>(&bytes[..read]).ok()?;
    (header.format == FORMAT && header.version <= VERSION).then_some(header.id)
}

fn finding_of(item: &Item<'_>) -> Option<(KeptFinding, Mark)> {
    let Item::Record { object, .. } = item else { return None };
    let (Entry { act, .. }, _) = jsonb::decode::<Entry>(object).ok()?;
    let Act::Finding { finding } = act else { return None };
    let mark = Mark { finding: finding.id().to_owned(), crc: crc32c::crc32c(object) };
    Some((finding, mark))
}
