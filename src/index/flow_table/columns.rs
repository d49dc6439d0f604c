//! The columns of the table `flows`: the keys of a flow record, in their order, and two more to reckon with. Pure.

use std::ffi::{CString, NulError, c_int};
use std::fmt::Write as _;

use rusqlite::types::{Null, ToSqlOutput, ValueRef};
use serde::Serialize;

use crate::flow::record::FlowRecord;
use crate::packet::addr::Vlan;
use crate::store::facts::rfc3339;

type Get = for<'r> fn(&'r FlowRecord) -> ToSqlOutput<'r>;

/// The keys of a flow record, in their order.
pub const KEYS: [&str; 42] = {
    let mut keys = [""; 42];
    let mut at = 0;
    while at < keys.len() {
        keys[at] = COLUMNS[at].0;
        at += 1;
    }
    keys
};

/// Name, declared type (numbers compare as numbers by it), and how it is read.
const COLUMNS: [(&str, &str, Get); 44] = [
    ("flow_id", "TEXT", |r| text(&r.flow_id)),
    ("part", "INTEGER", |r| r.part.into()),
    ("final", "INTEGER", |r| r.last_part.into()),
    ("community_id", "TEXT", |r| maybe_text(r.community_id.as_deref())),
    ("start", "TEXT", |r| rfc3339(r.start).into()),
    ("end", "TEXT", |r| rfc3339(r.end).into()),
    ("src_ip", "TEXT", |r| r.src_ip.to_string().into()),
    ("src_port", "INTEGER", |r| maybe(r.src_port)),
    ("dst_ip", "TEXT", |r| r.dst_ip.to_string().into()),
    ("dst_port", "INTEGER", |r| maybe(r.dst_port)),
    ("src_mac", "TEXT", |r| maybe(r.src_mac.map(|mac| mac.to_string()))),
    ("dst_mac", "TEXT", |r| maybe(r.dst_mac.map(|mac| mac.to_string()))),
    ("vlan", "INTEGER", |r| match r.vlan {
        Vlan { outer: 0, inner: 0 } => Null.into(),
        Vlan { outer, inner: 0 } => outer.into(),
        Vlan { outer, inner } => json(&(outer, inner)),
    }),
    ("proto", "INTEGER", |r| r.proto.into()),
    ("transport", "TEXT", |r| maybe_text(r.transport.as_deref())),
    ("icmp_type", "INTEGER", |r| maybe(r.icmp_type)),
    ("icmp_code", "INTEGER", |r| maybe(r.icmp_code)),
    ("app", "TEXT", |r| maybe_text(r.app.as_deref())),
    ("app_basis", "TEXT", |r| r.app_basis.map_or(Null.into(), |basis| word(&basis))),
    ("orig_packets", "INTEGER", |r| count(r.orig_packets)),
    ("orig_bytes", "INTEGER", |r| count(r.orig_bytes)),
    ("resp_packets", "INTEGER", |r| count(r.resp_packets)),
    ("resp_bytes", "INTEGER", |r| count(r.resp_bytes)),
    ("orig_payload_bytes", "INTEGER", |r| count(r.orig_payload_bytes)),
    ("resp_payload_bytes", "INTEGER", |r| count(r.resp_payload_bytes)),
    ("missed_bytes", "INTEGER", |r| maybe_count(r.missed_bytes)),
    ("conn_state", "TEXT", |r| r.conn_state.map_or(Null.into(), |state| word(&state))),
    ("history", "TEXT", |r| maybe_text(r.history.as_deref())),
    ("orig_tcp_flags", "INTEGER", |r| maybe(r.orig_tcp_flags)),
    ("resp_tcp_flags", "INTEGER", |r| maybe(r.resp_tcp_flags)),
    ("rtt_us", "INTEGER", |r| maybe_count(r.rtt_us)),
    ("min_ttl", "INTEGER", |r| r.min_ttl.into()),
    ("max_ttl", "INTEGER", |r| r.max_ttl.into()),
    ("end_reason", "TEXT", |r| word(&r.end_reason)),
    ("sni", "TEXT", |r| maybe_text(r.sni.as_deref())),
    ("alpn", "TEXT", |r| maybe_text(r.alpn.as_deref())),
    ("http_host", "TEXT", |r| maybe_text(r.http_host.as_deref())),
    ("user_agent", "TEXT", |r| maybe_text(r.user_agent.as_deref())),
    ("dns_query", "TEXT", |r| maybe_text(r.dns_query.as_deref())),
    ("ja4", "TEXT", |r| maybe_text(r.ja4.as_deref())),
    ("findings", "TEXT", |r| if r.findings.is_empty() { Null.into() } else { json(&r.findings) }),
    ("captures", "TEXT", |r| if r.captures.0.is_empty() { Null.into() } else { json(&r.captures) }),
    ("start_ns", "INTEGER HIDDEN", |r| r.start.into()),
    ("end_ns", "INTEGER HIDDEN", |r| r.end.into()),
];

/// What SQLite is told of the table.
pub(super) fn declaration() -> Result<CString, NulError> {
    let mut declaration = "CREATE TABLE flows(".to_owned();
    for (at, (name, kind, _)) in COLUMNS.iter().enumerate() {
        let comma = if at > 0 { ", " } else { "" };
        // Nothing fails that is written to a string.
        let _ = write!(declaration, "{comma}\"{name}\" {kind}");
    }
    CString::new(declaration + ")")
}

/// The name of a column; none of the row id.
pub(super) fn name(column: c_int) -> Option<&'static str> {
    COLUMNS.get(usize::try_from(column).ok()?).map(|(name, ..)| *name)
}

/// What a record has in a column.
pub(super) fn value(record: &FlowRecord, column: c_int) -> ToSqlOutput<'_> {
    let column = usize::try_from(column).ok().and_then(|column| COLUMNS.get(column));
    column.map_or(Null.into(), |(.., get)| get(record))
}

fn text(text: &str) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()))
}

fn maybe_text(value: Option<&str>) -> ToSqlOutput<'_> {
    value.map_or(Null.into(), text)
}

fn maybe<'r>(value: Option<impl Into<ToSqlOutput<'r>>>) -> ToSqlOutput<'r> {
    value.map_or(Null.into(), Into::into)
}

/// SQLite counts to 2^63; no flow has so many.
fn count<'r>(count: u64) -> ToSqlOutput<'r> {
    i64::try_from(count).unwrap_or(i64::MAX).into()
}

fn maybe_count<'r>(value: Option<u64>) -> ToSqlOutput<'r> {
    value.map_or(Null.into(), count)
}

/// The word that stands for a value in JSON.
fn word<'r>(value: &impl Serialize) -> ToSqlOutput<'r> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word.into(),
        _ => Null.into(),
    }
}

fn json<'r>(value: &impl Serialize) -> ToSqlOutput<'r> {
    serde_json::to_string(value).map_or(Null.into(), Into::into)
}
