//! The flow files of `tapkeep list`.

use chrono::TimeZone;
use serde_json::{Value, json};

use super::super::table::{Align, Cell, Look, Table, bytes, count, counted};
use super::super::time::{date_time, end_time};
use super::{lost, state_word, without_evicted};
use crate::store::catalog::FlowRow;
use crate::store::facts::{State, rfc3339};
use crate::store::layout::FLOW_FILE;
use crate::store::losses::Losses;

fn name(row: &FlowRow) -> String {
    if row.facts.state == State::Recording { FLOW_FILE.to_owned() } else { row.facts.name.to_string() }
}

pub(super) fn json(row: &FlowRow) -> Value {
    let facts = &row.facts;
    let mut file = json!({
        "name": name(row),
        "kind": "flows",
        "state": facts.state,
        "index": facts.name.number(),
        "first": facts.first.map(rfc3339),
        "last": facts.last.map(rfc3339),
        "records": facts.records,
        "folded": facts.folded,
        "packets": facts.packets,
        "bytes": facts.bytes,
        "size": facts.size,
        "losses": facts.losses,
    });
    if let Some(eviction) = &row.evicted {
        file["evicted_at"] = eviction.at.map(rfc3339).into();
        file["reason"] = eviction.reason.as_str().into();
    }
    file
}

/// These rows, and what all that are there come to.
pub(super) fn table<Z: TimeZone>(rows: &[&FlowRow], all: &[FlowRow], zone: &Z) -> Table {
    let mut table = Table::new(&[
        (" FIRST", Align::Left),
        ("LAST", Align::Left),
        ("STATE", Align::Left),
        ("RECORDS", Align::Right),
        ("FOLDED", Align::Right),
        ("PACKETS", Align::Right),
        ("SIZE", Align::Right),
        ("LOST", Align::Right),
        ("NAME", Align::Left),
    ]);
    for row in rows {
        let facts = &row.facts;
        let (first, last) = match (facts.first, facts.last) {
            (Some(first), Some(last)) => {
                (format!(" {}", date_time(first, zone)), end_time(first, last, zone))
            }
            _ => (" –".to_owned(), "–".to_owned()),
        };
        let folded = if facts.folded > 0 { count(facts.folded) } else { String::new() };
        let look = if row.evicted.is_some() { Look::Dim } else { Look::Plain };
        table.row(vec![
            first.into(),
            last.into(),
            Cell::new(state_word(facts.state), look),
            count(facts.records).into(),
            folded.into(),
            count(facts.packets).into(),
            bytes(facts.size).into(),
            lost(&facts.losses),
            Cell::new(name(row), look),
        ]);
    }
    table.row(totals(all));
    table
}

/// The last row: the files that are there.
fn totals(rows: &[FlowRow]) -> Vec<Cell> {
    let there = || rows.iter().filter(|row| row.evicted.is_none()).map(|row| &row.facts);
    let folded: u64 = there().map(|facts| facts.folded).sum();
    let bold = |text: String| Cell::new(text, Look::Bold);
    vec![
        bold(format!(" {}", counted(there().count() as u64, "file"))),
        Cell::from(""),
        Cell::from(""),
        bold(count(there().map(|facts| facts.records).sum())),
        bold(if folded > 0 { count(folded) } else { String::new() }),
        bold(count(there().map(|facts| facts.packets).sum())),
        bold(bytes(there().map(|facts| facts.size).sum())),
        lost(&there().fold(Losses::NONE, |sum, facts| sum + facts.losses)),
        bold(format!("total{}", without_evicted(rows.len() - there().count()))),
    ]
}
