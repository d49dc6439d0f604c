//! Summaries in the index: one row of blobs a file. A summary belongs to the file of its number *and* size: one that has another
//! size, or is of another version, is as good as none.

use std::collections::BTreeMap;

use rusqlite::types::FromSqlError;
use rusqlite::{Connection, Result, Row as SqlRow, Transaction, params};

use crate::flow::summary::{Blobs, CODEC_VERSION, Encoded, Filter, Head, SummaryLimits, Wanted};

/// Index numbers of files, and their sizes in bytes.
pub type Sizes = BTreeMap<u64, u64>;

/// Whose summaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    /// Those of capture files.
    Captures,
    /// Those of flow files.
    Flows,
}

impl Table {
    /// The table of summaries, and that of the files.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Captures => ("summary", "capture"),
            Self::Flows => ("flow_summary", "flow_file"),
        }
    }
}

/// Takes one in, over the one of before.
pub(super) fn put(to: &Connection, of: Table, number: u64, size: u64, summary: &Encoded) -> Result<()> {
    let (table, _) = of.names();
    let Encoded { head, protocols, endpoints, macs, conversations, filter } = summary;
    to.prepare_cached(&format!(
        "INSERT OR REPLACE INTO {table} (number, size, version, head, protocols, endpoints, filter, macs, conversations)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
    ))?
    .execute(params![
        number as i64,
        size as i64,
        CODEC_VERSION,
        head,
        protocols,
        endpoints,
        filter,
        macs,
        conversations
    ])?;
    Ok(())
}

/// Drops one.
pub(super) fn forget(from: &Transaction<'_>, of: Table, number: u64) -> Result<()> {
    let (table, _) = of.names();
    from.prepare_cached(&format!("DELETE FROM {table} WHERE number = ?1"))?.execute([number as i64])?;
    Ok(())
}

/// Drops the one of a row that is about to be written, unless it is of the same file.
pub(super) fn forget_unless(
    from: &Transaction<'_>,
    of: Table,
    number: u64,
    size: u64,
    name: &str,
) -> Result<()> {
    let (table, files) = of.names();
    from.prepare_cached(&format!(
        "DELETE FROM {table} WHERE number = ?1 AND (size <> ?2
            OR EXISTS (SELECT 1 FROM {files} WHERE number = ?1 AND name <> ?3))"
    ))?
    .execute(params![number as i64, size as i64, name])?;
    Ok(())
}

/// Drops those of files that are not there.
pub(super) fn forget_orphans(from: &Connection) -> Result<()> {
    for of in [Table::Captures, Table::Flows] {
        let (table, files) = of.names();
        from.prepare_cached(&format!(
            "DELETE FROM {table} WHERE number NOT IN (SELECT number FROM {files} WHERE evicted_reason IS NULL)"
        ))?
        .execute([])?;
    }
    Ok(())
}

/// Fails unless every table and column is there.
pub(super) fn probe(db: &Connection) -> Result<()> {
    for of in [Table::Captures, Table::Flows] {
        db.prepare_cached(&select(of, Wanted::ALL))?;
        db.prepare_cached(&select_filters(of))?;
    }
    Ok(())
}

/// The files that have one.
pub(super) fn sizes(from: &Connection, of: Table) -> Result<Sizes> {
    let (table, _) = of.names();
    // What has no head is a filter only.
    let sql = format!("SELECT number, size FROM {table} WHERE version = ?1 AND length(head) > 0");
    let mut statement = from.prepare_cached(&sql)?;
    let sizes = statement.query_map([CODEC_VERSION], |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))?;
    sizes.collect()
}

/// The capture files that have one made by these limits.
pub(super) fn sizes_by(from: &Connection, limits: &SummaryLimits) -> Result<Sizes> {
    let mut statement = from.prepare_cached("SELECT number, size, head FROM summary WHERE version = ?1")?;
    let mut rows = statement.query([CODEC_VERSION])?;
    let mut sizes = Sizes::new();
    while let Some(row) = rows.next()? {
        if Head::decode(blob(row, 2)?).is_ok_and(|head| head.limits == *limits) {
            sizes.insert(unsigned(row, 0)?, unsigned(row, 1)?);
        }
    }
    Ok(sizes)
}

/// Hands out what is wanted of those of `files`, lowest index number first.
pub(super) fn each(
    from: &Connection,
    of: Table,
    files: &Sizes,
    wanted: Wanted,
    mut take: impl FnMut(u64, &Blobs<'_>),
) -> Result<()> {
    let (Some((first, _)), Some((last, _))) = (files.first_key_value(), files.last_key_value()) else {
        return Ok(());
    };
    let mut statement = from.prepare_cached(&select(of, wanted))?;
    let mut rows = statement.query(params![CODEC_VERSION, *first as i64, *last as i64])?;
    while let Some(row) = rows.next()? {
        let number = unsigned(row, 0)?;
        if files.get(&number) != Some(&unsigned(row, 1)?) {
            continue;
        }
        let blobs = Blobs {
            head: blob(row, 2)?,
            protocols: blob(row, 3)?,
            endpoints: blob(row, 4)?,
            macs: blob(row, 5)?,
            conversations: blob(row, 6)?,
        };
        take(number, &blobs);
    }
    Ok(())
}

fn select(of: Table, wanted: Wanted) -> String {
    let (table, _) = of.names();
    let column = |name: &'static str, wanted: bool| if wanted { name } else { "x''" };
    format!(
        "SELECT number, size, head, {}, {}, {}, {} FROM {table}
         WHERE version = ?1 AND number BETWEEN ?2 AND ?3 ORDER BY number",
        column("protocols", wanted.protocols),
        column("endpoints", wanted.endpoints),
        column("macs", wanted.macs),
        column("conversations", wanted.conversations),
    )
}

/// The filters, with index number and size of their files. One that is damaged may hold anything.
pub(super) fn filters(from: &Connection, of: Table) -> Result<Vec<(u64, u64, Filter)>> {
    let mut statement = from.prepare_cached(&select_filters(of))?;
    let filters = statement.query_map([CODEC_VERSION], |row| {
        let filter = Filter::decode(blob(row, 2)?).unwrap_or_else(|_| Filter::saturated());
        Ok((unsigned(row, 0)?, unsigned(row, 1)?, filter))
    })?;
    filters.collect()
}

fn select_filters(of: Table) -> String {
    let (table, _) = of.names();
    format!("SELECT number, size, filter FROM {table} WHERE version = ?1 ORDER BY number")
}

fn unsigned(row: &SqlRow<'_>, column: usize) -> Result<u64> {
    row.get::<_, i64>(column).map(|number| number as u64)
}

fn blob<'a>(row: &'a SqlRow<'_>, column: usize) -> Result<&'a [u8]> {
    row.get_ref(column)?.as_blob().map_err(|error: FromSqlError| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, Box::new(error))
    })
}
