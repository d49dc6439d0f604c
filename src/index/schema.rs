//! The tables, and how an older index becomes the present one. The invariant: a database that [`check`]
//! accepts has every table and column of this module.

use rusqlite::{Connection, ErrorCode, Result};

/// "TPKP": tells an index from any other SQLite database.
const APPLICATION_ID: i64 = 0x5450_4b50;

/// One step per schema version, the first from nothing. Never change one that was released: append.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE capture (
        number INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        state TEXT NOT NULL,
        packets INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        size INTEGER NOT NULL,
        first INTEGER,
        last INTEGER,
        lost_nic INTEGER,
        lost_kernel INTEGER,
        lost_queue INTEGER,
        lost_write INTEGER,
        lost_analysis INTEGER,
        clock_synchronised INTEGER,
        doubtful_from INTEGER,
        held INTEGER NOT NULL,
        evicted_at INTEGER,
        evicted_reason TEXT
    ) STRICT;
    CREATE TABLE gap (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        since INTEGER,
        duration_ms INTEGER NOT NULL,
        reason TEXT NOT NULL
    ) STRICT;
",
    "
    -- What is asked for most comes first: what lies behind it in a row need not be read.
    CREATE TABLE summary (
        number INTEGER PRIMARY KEY,
        size INTEGER NOT NULL,
        version INTEGER NOT NULL,
        head BLOB NOT NULL,
        protocols BLOB NOT NULL,
        endpoints BLOB NOT NULL,
        filter BLOB NOT NULL,
        macs BLOB NOT NULL,
        conversations BLOB NOT NULL
    ) STRICT;
    CREATE TABLE flow_file (
        number INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        id TEXT,
        state TEXT NOT NULL,
        records INTEGER NOT NULL,
        folded INTEGER NOT NULL,
        packets INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        size INTEGER NOT NULL,
        first INTEGER,
        last INTEGER,
        lost_nic INTEGER,
        lost_kernel INTEGER,
        lost_queue INTEGER,
        lost_write INTEGER,
        lost_analysis INTEGER,
        analysed_file INTEGER,
        analysed_offset INTEGER,
        doubtful_from INTEGER,
        evicted_at INTEGER,
        evicted_reason TEXT
    ) STRICT;
    -- Of flow files; only the filter, unless there were no capture files.
    CREATE TABLE flow_summary (
        number INTEGER PRIMARY KEY,
        size INTEGER NOT NULL,
        version INTEGER NOT NULL,
        head BLOB NOT NULL,
        protocols BLOB NOT NULL,
        endpoints BLOB NOT NULL,
        filter BLOB NOT NULL,
        macs BLOB NOT NULL,
        conversations BLOB NOT NULL
    ) STRICT;
    -- In the order in which they came or grew last. The body is JSON.
    CREATE TABLE finding (
        turn INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        first INTEGER,
        last INTEGER,
        severity TEXT,
        body TEXT NOT NULL
    ) STRICT;
",
];

/// The schema version of this Tapkeep.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// What a database turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing in it yet.
    Empty,
    /// Ours and of the present version.
    Current,
    /// Ours, of this older version.
    Older(i64),
    /// Of this newer version.
    Newer(i64),
    /// Not ours, or broken.
    Damaged(String),
}

/// Looks at the header of a database. Reads a page, no more.
///
/// # Errors
/// Those of SQLite that do not tell damage.
pub(super) fn check(db: &Connection) -> Result<Found> {
    damage_found(|| {
        let number = |pragma| db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let (id, version, tables) = (number("application_id")?, number("user_version")?, tables(db)?);
        Ok(match version {
            0 if tables == 0 => Found::Empty,
            _ if id != APPLICATION_ID => Found::Damaged("it is another program's database".to_owned()),
            VERSION => Found::Current,
            ..VERSION => Found::Older(version),
            _ => Found::Newer(version),
        })
    })
}

fn tables(db: &Connection) -> Result<i64> {
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
}

/// Reads every page.
///
/// # Errors
/// Those of SQLite that do not tell damage.
pub(super) fn quick_check(db: &Connection) -> Result<Found> {
    damage_found(|| {
        let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok(if verdict == "ok" { Found::Current } else { Found::Damaged(verdict) })
    })
}

fn damage_found(look: impl Fn() -> Result<Found>) -> Result<Found> {
    look().or_else(
        |error| if tells_damage(&error) { Ok(Found::Damaged(error.to_string())) } else { Err(error) },
    )
}

/// Whether an error says that the file, not its surroundings, is at fault.
pub(super) fn tells_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    match error {
        // A statement that does not compile meets a table that is not ours.
        rusqlite::Error::SqliteFailure(e, _) | rusqlite::Error::SqlInputError { error: e, .. } => {
            matches!(e.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown)
        }
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) => true,
        _ => false,
    }
}

/// Brings the tables up to [`VERSION`], all or nothing.
///
/// # Errors
/// Those of SQLite.
pub(super) fn migrate(db: &mut Connection) -> Result<()> {
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(version).unwrap_or(0);
    for step in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}
