//! What a question about the data directory starts from: every capture file, the growing one included. Taken
//! from the index where it agrees with the directory, from the ledger and the files where it does not, so
//! that an answer is right whatever became of the index; only its speed differs.

use std::collections::{HashMap, HashSet};
use std::io;

use super::query::Reader;
use super::{IndexError, rebuild};
use crate::packet::Nanos;
use crate::store::catalog::{Catalog, Gap, Row, Unknown};
use crate::store::entry::Entry;
use crate::store::facts::{CaptureFacts, State};
use crate::store::layout::Layout;
use crate::store::names::{CaptureName, Role};
use crate::store::progress::{Walk, Watch};
use crate::store::range::TimeRange;
use crate::store::scan::{Scan, ScanError, scan_beside};
use crate::sys::fs::{self, Fs};

/// How often a look is repeated because files were renamed while it was taken.
const LOOKS: usize = 5;

/// How often a directory is read until two readings in a row show the same names.
const READINGS: usize = 20;

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// Every capture file, evicted ones too, lowest index number first. The losses of a growing file are
    /// unknown here.
    pub rows: Vec<Row>,
    /// The gaps recorded last, oldest first.
    pub gaps: Vec<Gap>,
    /// Files among them that salvage put aside: their names end in `.damaged`.
    pub aside: HashSet<CaptureName>,
    /// What whoever asked should know, each a sentence.
    pub notes: Vec<String>,
}

impl View {
    /// From the first to the last stamp of the files that are there.
    pub fn kept(&self) -> Option<(Nanos, Nanos)> {
        let there = self.rows.iter().filter(|row| row.evicted.is_none());
        let kept = there.filter_map(|row| row.facts.first.zip(row.facts.last));
        kept.reduce(|(from, to), (first, last)| (from.min(first), to.max(last)))
    }
}

/// The data directory could not be read.
#[derive(Debug, thiserror::Error)]
#[error("list capture files in {}: {source}{}", dir.display(), fs::advice(source))]
pub struct ViewError {
    dir: std::path::PathBuf,
    source: io::Error,
}

/// A look at a data directory.
pub struct Viewer<'a> {
    /// Where.
    pub layout: &'a Layout,
    /// Through what.
    pub fs: &'a dyn Fs,
    /// Reads the ledger; asked only when the index does not answer. A failure, in words, becomes a note.
    pub ledger: &'a dyn Fn() -> Result<Vec<Entry>, String>,
}

impl Viewer<'_> {
    /// Looks. Needs no right to write, and holds nothing open when it returns.
    ///
    /// # Errors
    /// If the directory of capture files cannot be listed. That it does not exist is no error: nothing is there then.
    pub fn look(&self) -> Result<View, ViewError> {
        self.look_beside(&|_| true)
    }

    /// The same for somebody who waits, where files must be read because there is no index; worth nothing if it was given up.
    ///
    /// # Errors
    /// Those of [`Self::look`].
    pub fn look_beside(&self, watch: Watch<'_>) -> Result<View, ViewError> {
        for _ in 1..LOOKS {
            if let Some(view) = self.try_look(false, watch)? {
                return Ok(view);
            }
        }
        Ok(self.try_look(true, watch)?.unwrap_or_default())
    }

    /// `None` if a growing file was renamed or removed meanwhile; at the last look such a one is taken as it then is.
    fn try_look(&self, last: bool, watch: Watch<'_>) -> Result<Option<View>, ViewError> {
        let indexed = self.indexed();
        let files = Files::of(&self.listing()?);
        let (mut view, files) = match indexed {
            Ok(view) if files.agree_with(&view.rows) => (view, files),
            Ok(view) => self.answer_by_files(view.rows, None, watch)?,
            Err(error) => self.answer_by_files(Vec::new(), Some(error), watch)?,
        };
        for part in &files.parts {
            let mut found = self.growing(part);
            if is_gone(&found) {
                if !last {
                    return Ok(None);
                }
                found = self.growing(&Unknown { role: Role::Sealed, ..*part });
                if is_gone(&found) {
                    continue;
                }
            }
            let facts = match found {
                Err(error) => {
                    view.notes.push(format!("{}: {error}", part.name.file_name(part.role)));
                    part.facts(None)
                }
                Ok(facts) => facts,
            };
            view.rows.push(Row { facts, held: false, evicted: None });
        }
        for row in &mut view.rows {
            row.held = row.evicted.is_none() && files.held.contains(&row.facts.name);
        }
        view.rows.sort_by_key(|row| row.facts.name.number());
        view.aside = files.aside;
        Ok(Some(view))
    }

    fn indexed(&self) -> Result<View, IndexError> {
        let reader = Reader::open(&self.layout.index())?;
        let (rows, gaps) = (reader.captures(TimeRange::ALL, true)?, reader.gaps()?);
        Ok(View { rows, gaps, ..View::default() })
    }

    fn listing(&self) -> Result<Vec<fs::Entry>, ViewError> {
        let dir = self.layout.captures();
        match agreed(|| self.fs.read_dir(&dir)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listing => listing.map_err(|source| ViewError { dir, source }),
        }
    }

    /// Folds the ledger and the directory. Of a file that the ledger does not know, what the index knows is
    /// good enough.
    fn answer_by_files(
        &self,
        indexed: Vec<Row>,
        why: Option<IndexError>,
        watch: Watch<'_>,
    ) -> Result<(View, Files), ViewError> {
        let mut notes = Vec::new();
        let entries = (self.ledger)().unwrap_or_else(|error| {
            notes.push(format!("{error}; what was lost, and when files were evicted, is unknown"));
            Vec::new()
        });
        let listing = self.listing()?;
        let mut catalog = Catalog::new(&entries, &listing);
        for row in indexed.into_iter().filter(|row| row.evicted.is_none()) {
            let known = |file: &Unknown| (file.name, file.size) == (row.facts.name, row.facts.size);
            if catalog.unknown().iter().any(known) {
                catalog.put(row.facts);
            }
        }
        let scanned = catalog.unknown().len();
        rebuild::complete(&mut catalog, |file, walk| self.scan(file.name, file.role, walk), watch);
        let (rows, gaps): (_, Vec<_>) = (catalog.rows(), catalog.gaps().cloned().collect());
        match why {
            // Nothing was ever recorded here: there is nothing to explain.
            Some(_) if rows.is_empty() => {}
            Some(error) => notes.push(format!("{error}; answered from the files")),
            None if scanned > 0 => {
                notes.push(format!("the index lacks {scanned} files; they were read instead"))
            }
            None => {}
        }
        Ok((View { rows, gaps, notes, ..View::default() }, Files::of(&listing)))
    }

    fn growing(&self, part: &Unknown) -> Result<CaptureFacts, ScanError> {
        let bare = CaptureFacts { size: part.size, ..CaptureFacts::bare(part.name, State::Recording) };
        match self.scan(part.name, part.role, &mut Walk::alone()) {
            Ok(found) => {
                let mut facts = CaptureFacts { size: found.len, ..bare };
                facts.set_tally(&found.tally);
                Ok(facts)
            }
            // Its header is still to be written.
            Err(ScanError::Short) => Ok(bare),
            Err(error) => Err(error),
        }
    }

    fn scan(&self, name: CaptureName, role: Role, walk: &mut Walk<'_>) -> Result<Scan, ScanError> {
        let path = self.layout.captures().join(name.file_name(role));
        let file = self.fs.open_read(&path).map_err(|source| ScanError::Io { offset: 0, source })?;
        scan_beside(&*file, walk)
    }
}

fn is_gone<T>(found: &Result<T, ScanError>) -> bool {
    matches!(found, Err(ScanError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound)
}

/// A listing that lacks nothing: a file that is renamed while its directory is read may be found under neither name, but not
/// twice in a row, since it is renamed once.
fn agreed(mut read: impl FnMut() -> io::Result<Vec<fs::Entry>>) -> io::Result<Vec<fs::Entry>> {
    let names = |listing: &[fs::Entry]| listing.iter().map(|file| file.name.clone()).collect::<HashSet<_>>();
    let mut before = names(&read()?);
    for _ in 1..READINGS {
        let listing = read()?;
        let now = names(&listing);
        if now == before {
            return Ok(listing);
        }
        before = now;
    }
    read()
}

/// The names in `pcaps/`, sorted by what they are.
#[derive(Default)]
struct Files {
    finished: HashMap<CaptureName, u64>,
    aside: HashSet<CaptureName>,
    held: HashSet<CaptureName>,
    parts: Vec<Unknown>,
}

impl Files {
    fn of(listing: &[fs::Entry]) -> Self {
        let mut files = Self::default();
        for entry in listing {
            let Some((name, role)) = CaptureName::parse(&entry.name) else { continue };
            match role {
                Role::Sealed => _ = files.finished.insert(name, entry.size),
                Role::Damaged => {
                    files.finished.insert(name, entry.size);
                    files.aside.insert(name);
                }
                Role::Hold => _ = files.held.insert(name),
                Role::Part => files.parts.push(Unknown { name, role, size: entry.size }),
            }
        }
        // Sealed a moment ago, or linked and not yet unlinked by a file system that cannot rename without
        // replacing.
        files.parts.retain(|part| !files.finished.contains_key(&part.name));
        files
    }

    /// Whether the rows tell of the finished files that are there, and of no other.
    fn agree_with(&self, rows: &[Row]) -> bool {
        let mut there = rows.iter().filter(|row| row.evicted.is_none()).map(|row| &row.facts);
        let all_there = there.clone().all(|facts| self.finished.get(&facts.name) == Some(&facts.size));
        all_there && there.by_ref().count() == self.finished.len()
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
pub(crate) mod tests;
