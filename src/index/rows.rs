//! Rows to SQL and back; the only place that names columns. Unsigned numbers are kept bit for bit in SQLite's
//! signed ones, so that no count is out of range.

use rusqlite::types::Type;
use rusqlite::{Connection, Result, Row as SqlRow, Transaction, named_params, params};

use super::columns::{count_of, losses_of, state_of, state_text};
use super::flow_rows;
use super::summaries::{self, Table};
use crate::packet::Nanos;
use crate::store::catalog::{Change, Eviction, Gap, HISTORY, Row};
use crate::store::facts::CaptureFacts;
use crate::store::range::TimeRange;

const SELECT_CAPTURES: &str = "
    SELECT number, name, state, packets, bytes, size, first, last, lost_nic, lost_kernel, lost_queue,
        lost_write, lost_analysis, clock_synchronised, doubtful_from, held, evicted_at, evicted_reason
    FROM capture
    WHERE (?1 IS NULL OR last >= ?1) AND (?2 IS NULL OR first < ?2) AND (?3 OR evicted_reason IS NULL)";

const SELECT_GAPS: &str = "SELECT since, duration_ms, reason FROM gap ORDER BY id";

/// Makes one change.
pub(super) fn write(to: &Transaction<'_>, change: &Change) -> Result<()> {
    match change {
        Change::Put(row) => put(to, row),
        Change::Drop(number) => {
            summaries::forget(to, Table::Captures, *number)?;
            to.prepare_cached("DELETE FROM capture WHERE number = ?1")?.execute([*number as i64])?;
            Ok(())
        }
        Change::Gap(gap) => {
            to.prepare_cached("INSERT INTO gap (since, duration_ms, reason) VALUES (?1, ?2, ?3)")?
                .execute(params![gap.from, gap.duration_ms as i64, gap.reason])?;
            to.prepare_cached(
                "DELETE FROM gap WHERE id <= (SELECT id FROM gap ORDER BY id DESC LIMIT 1 OFFSET ?1)",
            )?
            .execute([HISTORY as i64])?;
            Ok(())
        }
        Change::ClearGaps => to.prepare_cached("DELETE FROM gap")?.execute([]).map(|_| ()),
        Change::PutFlow(row) => flow_rows::put(to, row),
        Change::DropFlow(number) => flow_rows::forget(to, *number),
        Change::Finding(finding) => flow_rows::put_finding(to, finding),
        Change::DropFinding(id) => flow_rows::forget_finding(to, id),
    }
}

fn put(to: &Transaction<'_>, row: &Row) -> Result<()> {
    let CaptureFacts {
        name,
        state,
        packets,
        bytes,
        size,
        first,
        last,
        losses,
        clock_synchronised,
        doubtful_from,
    } = &row.facts;
    // The packets of an evicted file are gone, and what they amount to with them: its flows answer from then on.
    if row.evicted.is_some() {
        summaries::forget(to, Table::Captures, name.number())?;
    } else {
        summaries::forget_unless(to, Table::Captures, name.number(), *size, &name.to_string())?;
    }
    let count = |count: Option<u64>| count.map(|count| count as i64);
    let (at, reason) = row.evicted.as_ref().map(|e| (e.at, e.reason.as_str())).unzip();
    to.prepare_cached(
        "INSERT OR REPLACE INTO capture (number, name, state, packets, bytes, size, first, last, lost_nic,
            lost_kernel, lost_queue, lost_write, lost_analysis, clock_synchronised, doubtful_from, held,
            evicted_at, evicted_reason)
         VALUES (:number, :name, :state, :packets, :bytes, :size, :first, :last, :nic, :kernel, :queue,
            :write, :analysis, :clock, :doubtful, :held, :at, :reason)",
    )?
    .execute(named_params! {
        ":number": name.number() as i64,
        ":name": name.to_string(),
        ":state": state_text(*state),
        ":packets": *packets as i64,
        ":bytes": *bytes as i64,
        ":size": *size as i64,
        ":first": first,
        ":last": last,
        ":nic": count(losses.nic),
        ":kernel": count(losses.kernel),
        ":queue": count(losses.queue),
        ":write": count(losses.write),
        ":analysis": count(losses.analysis),
        ":clock": clock_synchronised,
        ":doubtful": count(*doubtful_from),
        ":held": row.held,
        ":at": at.flatten(),
        ":reason": reason,
    })?;
    Ok(())
}

/// Fails unless every table and column is there.
pub(super) fn probe(db: &Connection) -> Result<()> {
    db.prepare_cached(SELECT_CAPTURES)?;
    db.prepare_cached(SELECT_GAPS)?;
    flow_rows::probe(db)?;
    summaries::probe(db)
}

/// The rows that may hold packets of `range`, lowest index number first; files without packets only in all of
/// time.
pub(super) fn captures(from: &Connection, range: TimeRange, evicted: bool) -> Result<Vec<Row>> {
    let mut statement = from.prepare_cached(SELECT_CAPTURES)?;
    let rows = statement.query_map(params![range.since, range.until, evicted], capture)?;
    let mut rows = rows.collect::<Result<Vec<_>>>()?;
    rows.sort_by_key(|row| row.facts.name.number());
    Ok(rows)
}

fn capture(row: &SqlRow<'_>) -> Result<Row> {
    let unsigned = |column| row.get::<_, i64>(column).map(|n| n as u64);
    let count = |column| count_of(row, column);
    let name: String = row.get("name")?;
    let reason: Option<String> = row.get("evicted_reason")?;
    let at: Option<Nanos> = row.get("evicted_at")?;
    Ok(Row {
        facts: CaptureFacts {
            name: name
                .parse()
                .map_err(|e| rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(e)))?,
            state: state_of(row)?,
            packets: unsigned("packets")?,
            bytes: unsigned("bytes")?,
            size: unsigned("size")?,
            first: row.get("first")?,
            last: row.get("last")?,
            losses: losses_of(row)?,
            clock_synchronised: row.get("clock_synchronised")?,
            doubtful_from: count("doubtful_from")?,
        },
        held: row.get("held")?,
        evicted: reason.map(|reason| Eviction { at, reason }),
    })
}

/// Every gap, oldest first.
pub(super) fn gaps(from: &Connection) -> Result<Vec<Gap>> {
    let mut statement = from.prepare_cached(SELECT_GAPS)?;
    let gaps = statement.query_map([], |row| {
        Ok(Gap { from: row.get(0)?, duration_ms: row.get::<_, i64>(1)? as u64, reason: row.get(2)? })
    })?;
    gaps.collect()
}
