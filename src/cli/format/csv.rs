//! CSV (RFC 4180, but for the line's end, which is a line feed): a column for each of our own keys. Pure.

use serde::Serialize;
use serde_json::Value;

use super::{Kind, Row, json};
use crate::index::flow_table::KEYS;

/// The keys of a finding, in their order.
const FINDING_KEYS: [&str; 15] = [
    "id",
    "detector",
    "severity",
    "technique",
    "first_seen",
    "last_seen",
    "src",
    "dst",
    "port",
    "count",
    "threshold",
    "observed",
    "summary",
    "filter",
    "captures",
];

/// The line of names.
pub(super) fn head(kind: Kind) -> String {
    keys(kind).join(",")
}

fn keys(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Flows => &KEYS,
        Kind::Findings => &FINDING_KEYS,
    }
}

/// A row on a line.
pub(super) fn row(row: Row<'_>) -> String {
    match row {
        Row::Flow(record) => object(&KEYS, record),
        Row::Finding(finding, places) => object(&FINDING_KEYS, &json::finding(finding, places)),
    }
}

fn object(keys: &[&str], of: &impl Serialize) -> String {
    let Ok(Value::Object(object)) = serde_json::to_value(of) else { return String::new() };
    line(keys.iter().map(|key| match object.get(*key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }))
}

/// Values on a line.
pub(in crate::cli) fn line(values: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<_> = values.into_iter().map(quoted).collect();
    match &cells[..] {
        // An empty line is no row to most that read CSV.
        [only] if only.is_empty() => "\"\"".to_owned(),
        _ => cells.join(","),
    }
}

fn quoted(text: String) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}
