//! Read-only SQL over flow records where they lie: an SQLite without a file, whose only table is `flows`.
//!
//! Nothing is copied and nothing is written: SQLite asks for records one by one, and conditions on time, address, flow id and
//! Community ID spare files and records that cannot fulfil them. Statements that would do more than read are refused before they
//! begin, whatever they are.

mod columns;
mod cursor;
mod plan;
mod raw;
mod snapshot;

use std::borrow::Cow;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, ErrorCode, OpenFlags};

pub use columns::KEYS;
pub use snapshot::{MAX_MADE, Snapshot};

use super::flows::FlowLook;

/// The most memory that SQLite takes, bytes: what it sorts and groups is held in memory, for nothing is written to a disk.
pub const MAX_MEMORY: u64 = 256 << 20;

/// The longest text or blob of a query, bytes; a record has no longer one.
const MAX_LENGTH: i32 = 16 << 20;

/// Steps of SQLite's machine after which the clock is looked at; each may read all files, where a query joins the table to itself.
const STEPS: i32 = 1000;

/// How often is asked whether anyone waits for the answer.
const PAUSE: Duration = Duration::from_millis(100);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The SQL is wrong; in SQLite's words.
    #[error("{0}")]
    Wrong(String),
    /// It would do more than read.
    #[error("{0} is refused: only what reads is run, on the table flows")]
    Refused(String),
    /// There is nothing to be run, or more than one statement.
    #[error("{0} in the SQL; one SELECT is expected")]
    Statements(&'static str),
    /// It needs too much memory.
    #[error(
        "the query needs more than {} MB of memory: let it sort, group or join less at once",
        MAX_MEMORY >> 20
    )]
    Memory,
    /// Nobody waits for the answer any more.
    #[error("the query was stopped")]
    Stopped,
    /// The answer cannot be handed on.
    #[error(transparent)]
    Answer(#[from] io::Error),
    /// SQLite failed.
    #[error("run the query: {0}")]
    Failed(rusqlite::Error),
}

/// One value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// None.
    Null,
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
    /// A text; what was no UTF-8 in it is replaced.
    Text(Cow<'a, str>),
    /// Bytes.
    Blob(&'a [u8]),
}

/// Takes an answer row by row.
pub trait Answer {
    /// The names of the columns; told once, before any row.
    ///
    /// # Errors
    /// If it cannot be handed on, here as below; that ends the query.
    fn columns(&mut self, names: Vec<String>) -> io::Result<()>;

    /// A row; `false` if no more are wanted.
    ///
    /// # Errors
    /// As above.
    fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<bool>;
}

/// What a query came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// Rows of the answer.
    pub rows: u64,
    /// What was read for it.
    pub look: FlowLook,
}

/// Runs `sql` over the records and hands its rows to `answer`. `stop` is asked now and then whether to give up.
///
/// # Errors
/// If the SQL is wrong or does more than read, or needs too much memory; if the answer cannot be handed on, or was stopped.
pub fn query(
    sql: &str,
    records: Snapshot,
    stop: impl FnMut() -> bool + Send + 'static,
    answer: &mut impl Answer,
) -> Result<Asked, SqlError> {
    let records = Arc::new(records);
    let refused = Arc::new(Mutex::new(None));
    let db = connect(&records, &refused, stop).map_err(SqlError::Failed)?;
    let refusal = || refused.lock().unwrap_or_else(PoisonError::into_inner).take();
    let error = |error: rusqlite::Error| match (refusal(), error.sqlite_error_code()) {
        (Some(what), _) => SqlError::Refused(what),
        (_, Some(ErrorCode::OutOfMemory)) => SqlError::Memory,
        (_, Some(ErrorCode::OperationInterrupted)) => SqlError::Stopped,
        // All there is to fail is the query: there are no files of SQLite's, and reading ours does not fail.
        _ => SqlError::Wrong(words(&error)),
    };
    let mut batch = Batch::new(&db, sql);
    let Some(mut statement) = batch.next().map_err(error)? else {
        return Err(SqlError::Statements("no statement"));
    };
    // A second statement need not be right to be one too many.
    if !matches!(batch.next(), Ok(None)) {
        return Err(SqlError::Statements("more than one statement"));
    }
    answer.columns(distinct(statement.column_names().map(str::to_owned).collect()))?;
    let columns = statement.column_count();
    let mut rows = statement.query([]).map_err(error)?;
    let mut told = 0;
    while let Some(row) = rows.next().map_err(error)? {
        let cells: Vec<_> = (0..columns).map(|at| row.get_ref(at).map_or(Cell::Null, cell)).collect();
        told += 1;
        if !answer.row(&cells)? {
            break;
        }
    }
    let look = records.look().clone();
    Ok(Asked { rows: told, look })
}

/// A connection that has the table, and can do nothing but read it.
fn connect(
    records: &Arc<Snapshot>,
    refused: &Arc<Mutex<Option<String>>>,
    mut stop: impl FnMut() -> bool + Send + 'static,
) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_in_memory_with_flags(flags)?;
    raw::register(&db, Arc::clone(records))?;
    db.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_LENGTH)?;
    db.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    db.execute_batch(&format!(
        "PRAGMA temp_store = memory; PRAGMA trusted_schema = off; PRAGMA query_only = on; PRAGMA hard_heap_limit = {MAX_MEMORY}"
    ))?;
    let refused = Arc::clone(refused);
    db.authorizer(Some(move |context: AuthContext<'_>| match judge(&context.action) {
        None => Authorization::Allow,
        Some(what) => {
            refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
            Authorization::Deny
        }
    }))?;
    let mut asked = Instant::now();
    db.progress_handler(
        STEPS,
        Some(move || {
            let due = asked.elapsed() >= PAUSE;
            if due {
                asked = Instant::now();
            }
            due && stop()
        }),
    )?;
    Ok(db)
}

/// What is refused of a statement, if it does this; all but reading is.
fn judge(action: &AuthAction<'_>) -> Option<String> {
    Some(match action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => return None,
        AuthAction::Function { function_name } => match function_name.to_ascii_lowercase().as_str() {
            // These load code; there are none here that touch files.
            "load_extension" | "fts3_tokenizer" => format!("{function_name}()"),
            _ => return None,
        },
        AuthAction::Pragma { pragma_name, .. } => match pragma_name.to_ascii_lowercase().as_str() {
            "table_info" | "table_xinfo" => return None,
            _ => format!("PRAGMA {pragma_name}"),
        },
        // VACUUM attaches too.
        AuthAction::Attach { .. } => "opening another database".to_owned(),
        AuthAction::Insert { .. } | AuthAction::Update { .. } | AuthAction::Delete { .. } => {
            "writing".to_owned()
        }
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => "a transaction".to_owned(),
        _ => "this statement".to_owned(),
    })
}

/// What SQLite says, without what it was about.
fn words(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqlInputError { msg, .. } | rusqlite::Error::SqliteFailure(_, Some(msg)) => {
            msg.clone()
        }
        other => other.to_string(),
    }
}

/// Names that can be keys: one that came before has a number added, as SQLite does for subqueries.
fn distinct(names: Vec<String>) -> Vec<String> {
    let mut told: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        let again = |n: &u32| if *n == 0 { name.clone() } else { format!("{name}:{n}") };
        let new = (0_u32..).map(|n| again(&n)).find(|name| !told.contains(name));
        told.push(new.unwrap_or(name));
    }
    told
}

fn cell(value: ValueRef<'_>) -> Cell<'_> {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Real(number) => Cell::Real(number),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => Cell::Blob(bytes),
    }
}

#[cfg(test)]
mod tests;
