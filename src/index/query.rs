//! Questions to the index, by anyone who may read it: while the service writes it, after it stopped, after it
//! was killed. Needs no right to write. Every answer is read to its end before it is returned, so that no
//! transaction outlives a call and no slow reader of ours keeps the writer's log from shrinking.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::schema::Found;
use super::summaries::{self, Sizes, Table};
use super::{IndexError, files, flow_rows, rows, schema};
use crate::flow::summary::{Blobs, Filter, Wanted};
use crate::store::catalog::{FlowRow, Gap, Row};
use crate::store::finding::KeptFinding;
use crate::store::range::TimeRange;

/// How long a question waits for a lock; SQLite takes one only for moments.
const PATIENCE: Duration = Duration::from_secs(1);

/// An index opened for reading.
#[derive(Debug)]
pub struct Reader {
    db: Connection,
    path: PathBuf,
}

impl Reader {
    /// Opens the index at `path`.
    ///
    /// # Errors
    /// If it is missing, unreadable, damaged, or of another schema version; then the files answer.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let fail = |source| IndexError::of("open", path, source);
        if !files::exists(path)? {
            return Err(IndexError::Missing { path: path.to_owned() });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags).map_err(fail)?;
        db.busy_timeout(PATIENCE).map_err(fail)?;
        let path = path.to_owned();
        match schema::check(&db).map_err(fail)? {
            Found::Current => Ok(Self { db, path }),
            Found::Empty => Err(IndexError::Older { path, found: 0 }),
            Found::Older(found) => Err(IndexError::Older { path, found }),
            Found::Newer(found) => Err(IndexError::Newer { path, found, known: schema::VERSION }),
            Found::Damaged(what) => Err(IndexError::Damaged { path, what }),
        }
    }

    /// Wraps a database in memory.
    pub(super) fn in_memory(db: Connection) -> Self {
        Self { db, path: PathBuf::from(":memory:") }
    }

    /// The capture files that may hold packets of `range`, lowest index number first; those without a packet
    /// only in [`TimeRange::ALL`]; evicted ones if asked for.
    ///
    /// # Errors Those of SQLite, and damage.
    pub fn captures(&self, range: TimeRange, include_evicted: bool) -> Result<Vec<Row>, IndexError> {
        self.read(|db| rows::captures(db, range, include_evicted))
    }

    /// The gaps recorded last, oldest first.
    ///
    /// # Errors
    /// Those of SQLite, and damage.
    pub fn gaps(&self) -> Result<Vec<Gap>, IndexError> {
        self.read(rows::gaps)
    }

    /// The flow files that may hold flows of `range`, lowest index number first; those without a flow only in
    /// [`TimeRange::ALL`]; evicted ones if asked for.
    ///
    /// # Errors
    /// Those of SQLite, and damage.
    pub fn flow_files(&self, range: TimeRange, include_evicted: bool) -> Result<Vec<FlowRow>, IndexError> {
        self.read(|db| flow_rows::files(db, range, include_evicted))
    }

    /// The findings whose evidence touches `range`, those that came or grew last at the end.
    ///
    /// # Errors
    /// Those of SQLite, and damage.
    pub fn findings(&self, range: TimeRange) -> Result<Vec<KeptFinding>, IndexError> {
        self.read(|db| flow_rows::findings(db, range))
    }

    /// The capture files that have a summary of this version, by index number, and how long each was when it was made.
    ///
    /// # Errors
    /// Those of SQLite, and damage.
    pub fn summarised(&self) -> Result<Sizes, IndexError> {
        self.read(|db| summaries::sizes(db, Table::Captures))
    }

    /// The same of flow files: their summaries tell of packets that no capture file was written of.
    ///
    /// # Errors
    /// Those of SQLite, and damage.
    pub fn flows_summarised(&self) -> Result<Sizes, IndexError> {
        self.read(|db| summaries::sizes(db, Table::Flows))
    }

    /// Hands out the summaries of capture files, lowest index number first, with what is wanted of them: of those files that have
    /// the index numbers and sizes of `files`.
    ///
    /// # Errors
    /// Those of SQLite, and damage. That a blob is damaged is for `take` to find.
    pub fn summaries(
        &self,
        files: &Sizes,
        wanted: Wanted,
        take: impl FnMut(u64, &Blobs<'_>),
    ) -> Result<(), IndexError> {
        self.read(|db| summaries::each(db, Table::Captures, files, wanted, take))
    }

    /// The same of flow files.
    ///
    /// # Errors
    /// Those of SQLite, and damage. That a blob is damaged is for `take` to find.
    pub fn flow_summaries(
        &self,
        files: &Sizes,
        wanted: Wanted,
        take: impl FnMut(u64, &Blobs<'_>),
    ) -> Result<(), IndexError> {
        self.read(|db| summaries::each(db, Table::Flows, files, wanted, take))
    }

    /// The filters of the capture files that have a summary, by index number, each with the size of the file that it is of.
    ///
    /// # Errors
    /// Those of SQLite, and damage.
    pub fn filters(&self) -> Result<Vec<(u64, u64, Filter)>, IndexError> {
        self.read(|db| summaries::filters(db, Table::Captures))
    }

    /// The same of flow files.
    ///
    /// # Errors
    /// Those of SQLite, and damage.
    pub fn flow_filters(&self) -> Result<Vec<(u64, u64, Filter)>, IndexError> {
        self.read(|db| summaries::filters(db, Table::Flows))
    }

    fn read<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, IndexError> {
        ask(&self.db).map_err(|e| IndexError::of("read", &self.path, e))
    }
}
