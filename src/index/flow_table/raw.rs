//! The only unsafe code beside `sys::raw`: a table that SQLite asks for its rows is a C structure with ours behind it, and
//! `rusqlite` cannot check that it lies so. There is no way to it without the two promises below; loading the records into a
//! table of SQLite's own would need none, and memory for all of them. The promises are about layout alone: whatever happens
//! behind them is safe code in [`super::cursor`].
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::ffi::{CStr, c_int};
use std::sync::Arc;

use rusqlite::vtab::{
    Context, Filters, IndexInfo, Module, VTab, VTabConfig, VTabConnection, VTabCursor, sqlite3_vtab,
    sqlite3_vtab_cursor,
};
use rusqlite::{Connection, Result};

use super::columns;
use super::cursor::Cursor;
use super::plan::Plan;
use super::snapshot::Snapshot;

/// Makes the table `flows` known to a connection.
pub(super) fn register(db: &Connection, snapshot: Arc<Snapshot>) -> Result<()> {
    const MODULE: Module<'_, Table> = Module::eponymous_only_module();
    db.create_module(c"flows", &MODULE, Some(snapshot))
}

#[repr(C)]
struct Table {
    base: sqlite3_vtab,
    snapshot: Arc<Snapshot>,
}

// SAFETY: the structure is laid out as C does, and SQLite's part comes first.
unsafe impl VTab<'_> for Table {
    type Aux = Arc<Snapshot>;
    type Cursor = Rows;

    fn connect(
        db: &mut VTabConnection,
        aux: Option<&Self::Aux>,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: &[&[u8]],
    ) -> Result<(Cow<'static, CStr>, Self)> {
        db.config(VTabConfig::Innocuous)?;
        let Some(snapshot) = aux.cloned() else { return Err(rusqlite::Error::InvalidQuery) };
        Ok((Cow::Owned(columns::declaration()?), Self { base: sqlite3_vtab::default(), snapshot }))
    }

    fn best_index(&self, info: &mut IndexInfo) -> Result<bool> {
        Plan::choose(info)
    }

    fn open(&mut self) -> Result<Rows> {
        let cursor = Cursor::new(Arc::clone(&self.snapshot));
        Ok(Rows { base: sqlite3_vtab_cursor::default(), cursor })
    }
}

#[repr(C)]
struct Rows {
    base: sqlite3_vtab_cursor,
    cursor: Cursor,
}

// SAFETY: as above.
unsafe impl VTabCursor for Rows {
    fn filter(&mut self, _: c_int, plan: Option<&str>, values: &Filters<'_>) -> Result<()> {
        self.cursor.begin(Plan::parse(plan.unwrap_or_default()).wanted(values)?);
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        self.cursor.advance();
        Ok(())
    }

    fn eof(&self) -> bool {
        self.cursor.record().is_none()
    }

    fn column(&self, context: &mut Context, column: c_int) -> Result<()> {
        match self.cursor.record() {
            Some(record) => context.set_result(columns::value(record, column)),
            None => Ok(()),
        }
    }

    fn rowid(&self) -> Result<i64> {
        Ok(self.cursor.row_id())
    }
}
