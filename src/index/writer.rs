//! The index being written. It belongs to one thread, and nobody waits for it: when it cannot be written it
//! is stale, says so, and catches up from the catalog later. Starting is the same as catching up.
//!
//! The invariant: while [`Health`] is `Current`, every change handed in is in the database; every call that
//! writes is one transaction.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, FileControl, OpenFlags, TransactionBehavior};

use super::files::{self, beside};
use super::schema::{self, Found};
use super::summaries::{self, Table};
use super::{IndexError, flow_rows, rows};
use crate::flow::summary::{Encoded, SummaryLimits};
use crate::store::catalog::{Catalog, Change};
use crate::store::facts::CaptureFacts;
use crate::store::range::TimeRange;

/// Bytes of log past which the index is left alone until its readers let it shrink.
const LOG_LIMIT: u64 = 16 << 20;
/// Bytes of log that stay on disk for reuse.
const LOG_KEPT: i64 = 4 << 20;
/// How long a write waits for another writer; there should be none.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the index says what the catalog says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Current,
    /// It lags behind, for this reason. Nothing is written until [`IndexWriter::recover`] succeeds.
    Stale(String),
}

/// What an index was when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Was {
    /// Sound, and of this schema.
    Ready,
    /// Not there; it is now, and empty.
    Missing,
    /// Of an older schema, and has this one now.
    Older(i64),
    /// Of no use, and renamed; an empty one took its place.
    PutAside {
        /// Its name now.
        to: PathBuf,
        /// What was wrong with it.
        why: String,
    },
}

/// What catching up came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// What the index was; `Ready` if it was open already.
    pub was: Was,
    /// What differed from the catalog, and no longer does.
    pub differed: Vec<Change>,
}

/// The writing end of the index.
#[derive(Debug)]
pub struct IndexWriter {
    path: PathBuf,
    db: Option<Connection>,
    health: Health,
}

impl IndexWriter {
    /// A writer for the index at `path`, stale and untouched until [`IndexWriter::recover`].
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), db: None, health: Health::Stale("it is not open yet".to_owned()) }
    }

    /// Whether the index says what the catalog says.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Opens the index if it is not open, puts aside one that is of no use, and makes every row equal to the
    /// catalog's. Files unknown to the catalog get no row: scan them first. May take long; to be called at
    /// the start, and every minute or so while stale.
    ///
    /// # Errors If it is still not to be written; it stays stale, and the files answer.
    pub fn recover(&mut self, catalog: &Catalog) -> Result<Recovery, IndexError> {
        self.close_if_replaced();
        let recovery = self.try_recover(catalog);
        match &recovery {
            Ok(_) => self.health = Health::Current,
            Err(error) => self.fail(error),
        }
        recovery
    }

    fn try_recover(&mut self, catalog: &Catalog) -> Result<Recovery, IndexError> {
        let was = match self.db {
            Some(_) => Was::Ready,
            None => {
                let (db, was) = open(&self.path)?;
                self.db = Some(db);
                was
            }
        };
        self.shrink_log(0)?;
        let differed = self.differences(catalog)?;
        self.commit(&differed)?;
        self.with("write", |db| summaries::forget_orphans(db))?;
        Ok(Recovery { was, differed })
    }

    /// Follows the catalog. While stale this does nothing: the changes are in the catalog already.
    pub fn write(&mut self, changes: &[Change]) -> &Health {
        if self.health == Health::Current && !changes.is_empty() {
            self.close_if_replaced();
            if let Err(error) = self.commit(changes).and_then(|()| self.shrink_log(LOG_LIMIT)) {
                self.fail(&error);
            }
        }
        &self.health
    }

    /// Takes in the summary of a finished file that is `size` bytes long. While stale this does nothing; see
    /// [`IndexWriter::lacking`].
    pub fn put_summary(&mut self, number: u64, size: u64, summary: &Encoded) -> &Health {
        self.put(Table::Captures, number, size, summary)
    }

    /// Takes in the summary of a finished flow file that is `size` bytes long; where capture files are written, only its filter.
    /// While stale this does nothing.
    pub fn put_flow_summary(&mut self, number: u64, size: u64, summary: &Encoded) -> &Health {
        self.put(Table::Flows, number, size, summary)
    }

    fn put(&mut self, of: Table, number: u64, size: u64, summary: &Encoded) -> &Health {
        if self.health == Health::Current {
            self.close_if_replaced();
            let put = self.with("write", |db| summaries::put(db, of, number, size, summary));
            if let Err(error) = put.and_then(|()| self.shrink_log(LOG_LIMIT)) {
                self.fail(&error);
            }
        }
        &self.health
    }

    /// The finished files that have no summary of their present length, of this version and by these limits, lowest index
    /// number first.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn lacking(
        &mut self,
        catalog: &Catalog,
        limits: &SummaryLimits,
    ) -> Result<Vec<CaptureFacts>, IndexError> {
        let has = self.with("read", |db| summaries::sizes_by(db, limits))?;
        let lacks = |facts: &&CaptureFacts| has.get(&facts.name.number()) != Some(&facts.size);
        Ok(catalog.captures().filter(lacks).cloned().collect())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), IndexError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.with("write", |db| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for change in changes {
                rows::write(&transaction, change)?;
            }
            transaction.commit()
        })
    }

    fn differences(&mut self, catalog: &Catalog) -> Result<Vec<Change>, IndexError> {
        let (rows, gaps) =
            self.with("read", |db| Ok((rows::captures(db, TimeRange::ALL, true)?, rows::gaps(db)?)))?;
        let (flows, findings) = self.with("read", |db| {
            Ok((flow_rows::files(db, TimeRange::ALL, true)?, flow_rows::findings(db, TimeRange::ALL)?))
        })?;
        let mut has: BTreeMap<_, _> = rows.into_iter().map(|row| (row.facts.name.number(), row)).collect();
        let mut changes = Vec::new();
        for row in catalog.rows() {
            if has.remove(&row.facts.name.number()).as_ref() != Some(&row) {
                changes.push(Change::Put(row));
            }
        }
        changes.extend(has.into_keys().map(Change::Drop));
        if !gaps.iter().eq(catalog.gaps()) {
            changes.push(Change::ClearGaps);
            changes.extend(catalog.gaps().cloned().map(Change::Gap));
        }
        let mut has: BTreeMap<_, _> = flows.into_iter().map(|row| (row.facts.name.number(), row)).collect();
        for row in catalog.flow_rows() {
            if has.remove(&row.facts.name.number()).as_ref() != Some(&row) {
                changes.push(Change::PutFlow(Box::new(row)));
            }
        }
        changes.extend(has.into_keys().map(Change::DropFlow));
        // They are in the order in which they came: from the first that differs on all are written anew.
        let same = findings.iter().zip(catalog.findings()).take_while(|(has, wanted)| has == wanted).count();
        changes.extend(findings.iter().skip(same).map(|finding| Change::DropFinding(finding.id().into())));
        changes.extend(catalog.findings().skip(same).cloned().map(Change::Finding));
        Ok(changes)
    }

    /// Empties the log if it is longer than `limit` bytes. Waits for no reader.
    fn shrink_log(&mut self, limit: u64) -> Result<(), IndexError> {
        let log = beside(&self.path, "-wal");
        let bytes = log.metadata().map_or(0, |meta| meta.len());
        if bytes <= limit {
            return Ok(());
        }
        let busy: i64 = self.with("checkpoint", |db| {
            db.busy_timeout(Duration::ZERO)?;
            let busy = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
            db.busy_timeout(PATIENCE)?;
            busy
        })?;
        if busy != 0 && bytes > LOG_LIMIT {
            return Err(IndexError::LogHeld { path: log, bytes });
        }
        Ok(())
    }

    /// Lets go of a database whose file somebody removed or replaced: what is written there nobody reads.
    fn close_if_replaced(&mut self) {
        let Some(db) = &self.db else { return };
        let mut moved = 0;
        let asked = db.file_control(Some(rusqlite::MAIN_DB), FileControl::HasMoved(&mut moved));
        if asked.is_err() || moved != 0 {
            self.db = None;
        }
    }

    fn with<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, IndexError> {
        let path = &self.path;
        let Some(db) = &mut self.db else { return Err(IndexError::Gone { path: path.clone() }) };
        work(db).map_err(|source| IndexError::of(action, path, source))
    }

    fn fail(&mut self, error: &IndexError) {
        if matches!(error, IndexError::Damaged { .. }) {
            // Closed, so that catching up checks it, and puts it aside.
            self.db = None;
        }
        self.health = Health::Stale(error.to_string());
    }

    #[cfg(test)]
    pub(super) fn db(&self) -> &Connection {
        self.db.as_ref().unwrap()
    }
}

/// Opens the index, whatever is found in its place.
fn open(path: &Path) -> Result<(Connection, Was), IndexError> {
    if !files::exists(path)? {
        return Ok((create(path)?, Was::Missing));
    }
    let (suffix, why) = match open_existing(path) {
        Err(error @ IndexError::Damaged { .. }) => (".damaged", error.to_string()),
        Err(error @ IndexError::Newer { .. }) => (".newer", error.to_string()),
        other => return other,
    };
    let to = files::put_aside(path, suffix)?;
    Ok((create(path)?, Was::PutAside { to, why }))
}

fn open_existing(path: &Path) -> Result<(Connection, Was), IndexError> {
    let fail = |source| IndexError::of("open", path, source);
    let damaged = |what| IndexError::Damaged { path: path.to_owned(), what };
    let mut db = connect(path)?;
    let was = match schema::check(&db).map_err(fail)? {
        Found::Empty => Was::Missing,
        Found::Current => Was::Ready,
        Found::Older(version) => Was::Older(version),
        Found::Newer(found) => {
            return Err(IndexError::Newer { path: path.to_owned(), found, known: schema::VERSION });
        }
        Found::Damaged(what) => return Err(damaged(what)),
    };
    if let Found::Damaged(what) = schema::quick_check(&db).map_err(fail)? {
        return Err(damaged(what));
    }
    keep_log(&db).map_err(fail)?;
    schema::migrate(&mut db).map_err(|source| IndexError::of("migrate", path, source))?;
    rows::probe(&db).map_err(fail)?;
    Ok((db, was))
}

/// Makes an empty index.
fn create(path: &Path) -> Result<Connection, IndexError> {
    let db = create_plain(path)?;
    keep_log(&db).map_err(|source| IndexError::of("create", path, source))?;
    Ok(db)
}

/// Makes an empty database without a log beside it.
pub(super) fn create_plain(path: &Path) -> Result<Connection, IndexError> {
    files::create(path)?;
    let mut db = connect(path)?;
    schema::migrate(&mut db).map_err(|source| IndexError::of("create", path, source))?;
    Ok(db)
}

fn connect(path: &Path) -> Result<Connection, IndexError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<_> {
        let db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(PATIENCE)?;
        let read_only = db.is_readonly(rusqlite::MAIN_DB)?;
        Ok((db, read_only))
    };
    match open().map_err(|source| IndexError::of("open", path, source))? {
        // SQLite settles for reading where it may not write.
        (_, true) => Err(IndexError::ReadOnly { path: path.to_owned() }),
        (db, false) => Ok(db),
    }
}

/// Write-ahead logging, with the log left in place for readers who may not create it.
fn keep_log(db: &Connection) -> rusqlite::Result<()> {
    let mut keep = 1;
    db.file_control(Some(rusqlite::MAIN_DB), FileControl::PersistWal(&mut keep))?;
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.pragma_update_and_check(None, "journal_size_limit", LOG_KEPT, |_| Ok(()))
}
