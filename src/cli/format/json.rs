//! A finding with our own keys (a flow record is its own document). Pure.

use serde_json::{Map, Value, json};

use super::Places;
use crate::detect::Finding;
use crate::flow::record::Stretch;

/// A finding, with the names of the capture files that hold its packets.
pub(in crate::cli) fn finding(finding: &Finding, places: &Places) -> Value {
    let mut document = match serde_json::to_value(finding) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let captures: Vec<_> = finding.captures.0.iter().map(|stretch| capture(stretch, places)).collect();
    document.insert("captures".to_owned(), captures.into());
    Value::Object(document)
}

fn capture(&Stretch(file, first, last): &Stretch, places: &Places) -> Value {
    let name = places.names.get(&file).map(ToString::to_string);
    let state = places.is_evicted(file).then_some("evicted");
    json!({"index": file, "name": name, "state": state, "first_offset": first, "last_offset": last})
}
