//! Flow files and findings to SQL and back.

use rusqlite::types::Type;
use rusqlite::{Connection, Result, Row as SqlRow, Transaction, named_params, params};
use serde::Deserialize;

use super::columns::{count_of, losses_of, state_of, state_text};
use super::summaries::{self, Table};
use crate::packet::{Nanos, Place};
use crate::store::catalog::{Eviction, FlowRow};
use crate::store::facts::stamp_text;
use crate::store::finding::KeptFinding;
use crate::store::flow_facts::FlowFacts;
use crate::store::range::TimeRange;

const SELECT_FILES: &str = "
    SELECT name, id, state, records, folded, packets, bytes, size, first, last, lost_nic, lost_kernel, lost_queue,
        lost_write, lost_analysis, analysed_file, analysed_offset, doubtful_from, evicted_at, evicted_reason
    FROM flow_file
    WHERE (?1 IS NULL OR last >= ?1) AND (?2 IS NULL OR first < ?2) AND (?3 OR evicted_reason IS NULL)";

const SELECT_FINDINGS: &str = "
    SELECT id, body FROM finding
    WHERE (?1 IS NULL OR last >= ?1) AND (?2 IS NULL OR first < ?2)
    ORDER BY turn";

/// Writes a flow file's row.
pub(super) fn put(to: &Transaction<'_>, row: &FlowRow) -> Result<()> {
    let FlowFacts {
        name,
        id,
        state,
        records,
        folded,
        packets,
        bytes,
        size,
        first,
        last,
        losses,
        analysed,
        doubtful_from,
    } = &row.facts;
    if row.evicted.is_some() {
        summaries::forget(to, Table::Flows, name.number())?;
    } else {
        summaries::forget_unless(to, Table::Flows, name.number(), *size, &name.to_string())?;
    }
    let count = |count: Option<u64>| count.map(|count| count as i64);
    let (at, reason) = row.evicted.as_ref().map(|e| (e.at, e.reason.as_str())).unzip();
    to.prepare_cached(
        "INSERT OR REPLACE INTO flow_file (number, name, id, state, records, folded, packets, bytes, size, first,
            last, lost_nic, lost_kernel, lost_queue, lost_write, lost_analysis, analysed_file, analysed_offset,
            doubtful_from, evicted_at, evicted_reason)
         VALUES (:number, :name, :id, :state, :records, :folded, :packets, :bytes, :size, :first, :last, :nic,
            :kernel, :queue, :write, :analysis, :file, :offset, :doubtful, :at, :reason)",
    )?
    .execute(named_params! {
        ":number": name.number() as i64,
        ":name": name.to_string(),
        ":id": id,
        ":state": state_text(*state),
        ":records": *records as i64,
        ":folded": *folded as i64,
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
        ":file": count(analysed.map(|place| place.file)),
        ":offset": count(analysed.map(|place| place.offset)),
        ":doubtful": count(*doubtful_from),
        ":at": at.flatten(),
        ":reason": reason,
    })?;
    Ok(())
}

/// Drops a flow file's row.
pub(super) fn forget(from: &Transaction<'_>, number: u64) -> Result<()> {
    summaries::forget(from, Table::Flows, number)?;
    from.prepare_cached("DELETE FROM flow_file WHERE number = ?1")?.execute([number as i64])?;
    Ok(())
}

/// The flow files that may hold flows of `range`, lowest index number first; files without flows only in all of time.
pub(super) fn files(from: &Connection, range: TimeRange, evicted: bool) -> Result<Vec<FlowRow>> {
    let mut statement = from.prepare_cached(SELECT_FILES)?;
    let rows = statement.query_map(params![range.since, range.until, evicted], file)?;
    let mut rows = rows.collect::<Result<Vec<_>>>()?;
    rows.sort_by_key(|row| row.facts.name.number());
    Ok(rows)
}

fn file(row: &SqlRow<'_>) -> Result<FlowRow> {
    let unsigned = |column| row.get::<_, i64>(column).map(|n| n as u64);
    let name: String = row.get("name")?;
    let (file, offset) = (count_of(row, "analysed_file")?, count_of(row, "analysed_offset")?);
    let (at, reason): (Option<Nanos>, Option<String>) = (row.get("evicted_at")?, row.get("evicted_reason")?);
    Ok(FlowRow {
        facts: FlowFacts {
            name: name
                .parse()
                .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(e)))?,
            id: row.get("id")?,
            state: state_of(row)?,
            records: unsigned("records")?,
            folded: unsigned("folded")?,
            packets: unsigned("packets")?,
            bytes: unsigned("bytes")?,
            size: unsigned("size")?,
            first: row.get("first")?,
            last: row.get("last")?,
            losses: losses_of(row)?,
            analysed: file.zip(offset).map(|(file, offset)| Place { file, offset }),
            doubtful_from: count_of(row, "doubtful_from")?,
        },
        evicted: reason.map(|reason| Eviction { at, reason }),
    })
}

/// What a finding is found by.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Brief {
    #[serde(with = "stamp_text")]
    first_seen: Option<Nanos>,
    #[serde(with = "stamp_text")]
    last_seen: Option<Nanos>,
    severity: Option<String>,
}

/// Writes a finding behind all others, in the place of the one that has its id.
pub(super) fn put_finding(to: &Transaction<'_>, finding: &KeptFinding) -> Result<()> {
    // One that tells no times is in every range.
    let Brief { first_seen, last_seen, severity } = finding.read().unwrap_or_default();
    to.prepare_cached(
        "INSERT OR REPLACE INTO finding (id, first, last, severity, body) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        finding.id(),
        first_seen.unwrap_or(Nanos::MIN),
        last_seen.unwrap_or(Nanos::MAX),
        severity,
        finding.json()
    ])?;
    Ok(())
}

/// Drops a finding.
pub(super) fn forget_finding(from: &Transaction<'_>, id: &str) -> Result<()> {
    from.prepare_cached("DELETE FROM finding WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// The findings whose evidence touches `range`, those that came or grew last at the end.
pub(super) fn findings(from: &Connection, range: TimeRange) -> Result<Vec<KeptFinding>> {
    let mut statement = from.prepare_cached(SELECT_FINDINGS)?;
    let findings = statement.query_map(params![range.since, range.until], |row| {
        let body: String = row.get(1)?;
        serde_json::from_str(&body)
            .map_err(|e| rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(e)))
    })?;
    findings.collect()
}

/// Fails unless every table and column is there.
pub(super) fn probe(db: &Connection) -> Result<()> {
    db.prepare_cached(SELECT_FILES)?;
    db.prepare_cached(SELECT_FINDINGS)?;
    Ok(())
}
