//! CSV (RFC 4180, but for the line's end, which is a line feed): of flow records a column for each key. Pure.

use serde_json::Value;

use crate::flow::record::FlowRecord;
use crate::index::flow_table::KEYS;

/// A record on a line.
pub(super) fn record(record: &FlowRecord) -> String {
    let Ok(Value::Object(record)) = serde_json::to_value(record) else { return String::new() };
    line(KEYS.iter().map(|key| match record.get(*key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }))
}

/// Values on a line.
pub(super) fn line(values: impl IntoIterator<Item = String>) -> String {
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
