//! What the table says against the record's own JSON, and what is passed over against SQLite's comparison of texts.

use proptest::prelude::*;
use rusqlite::types::{ToSqlOutput, Value as SqlValue};
use serde_json::{Value, json};

use super::columns::{KEYS, value};
use super::plan::moments;
use crate::flow::record::FlowRecord;
use crate::store::facts::rfc3339;

/// A record that has every key.
fn full() -> Value {
    serde_json::from_str(
        r##"{
        "flow_id": "7-24", "part": 3, "final": true, "community_id": "1:wCb3OG7yAFWelaUydu0D+125CLM=",
        "start": "2024-12-31T14:30:52.000000001Z", "end": "2024-12-31T14:30:53.500000000Z",
        "src_ip": "10.0.0.1", "src_port": 1234, "dst_ip": "2001:db8::1", "dst_port": 443,
        "src_mac": "02:00:5e:10:00:01", "dst_mac": "02:00:5e:10:00:02", "vlan": [100, 200], "proto": 6,
        "transport": "tcp", "icmp_type": 8, "icmp_code": 1, "app": "tls", "app_basis": "payload", "orig_packets": 11, "orig_bytes": 12,
        "resp_packets": 13, "resp_bytes": 14, "orig_payload_bytes": 15, "resp_payload_bytes": 16,
        "missed_bytes": 17, "conn_state": "SF", "history": "ShADadFf", "orig_tcp_flags": 27,
        "resp_tcp_flags": 26, "rtt_us": 18, "min_ttl": 63, "max_ttl": 64, "end_reason": "end",
        "sni": "a.example", "alpn": "h2", "http_host": "b.example", "user_agent": "curl/8", "dns_query": "c.example", "ja4": "t13d", "findings": ["f1", "f2"],
        "captures": [[7, 24, 90], [8, 24, 24]]
    }"##,
    )
    .unwrap()
}

fn record(json: Value) -> FlowRecord {
    serde_json::from_value(json).unwrap()
}

/// What the table has in each column, as JSON would say it: texts as they are.
fn row(record: &FlowRecord) -> Vec<Value> {
    let cell = |column| match value(record, column) {
        ToSqlOutput::Owned(value) => value,
        ToSqlOutput::Borrowed(value) => SqlValue::try_from(value).unwrap(),
        _ => panic!("no value"),
    };
    let json = |value| match value {
        SqlValue::Null => Value::Null,
        SqlValue::Integer(number) => json!(number),
        SqlValue::Text(text) => json!(text),
        SqlValue::Real(_) | SqlValue::Blob(_) => panic!("no column holds {value:?}"),
    };
    (0..KEYS.len() as i32).map(|column| json(cell(column))).collect()
}

#[test]
fn columns_are_the_keys_of_a_record_in_their_order() {
    let record = record(full());
    let Value::Object(keys) = serde_json::to_value(&record).unwrap() else { panic!() };
    assert_eq!(keys.keys().collect::<Vec<_>>(), KEYS);
    let expected: Vec<_> = keys
        .into_iter()
        .map(|(_, value)| match value {
            Value::Bool(yes) => json!(i64::from(yes)),
            Value::Array(_) => json!(value.to_string()),
            plain => plain,
        })
        .collect();
    assert_eq!(row(&record), expected);
}

#[test]
fn what_a_record_does_not_say_is_null() {
    let mut least = full();
    let needed = |key: &str| {
        ["flow_id", "start", "end", "src_ip", "dst_ip", "part", "final", "proto", "end_reason"].contains(&key)
            || key.ends_with("_packets")
            || key.ends_with("_bytes") && key != "missed_bytes"
            || key.ends_with("_ttl")
    };
    least.as_object_mut().unwrap().retain(|key, _| needed(key));
    let record = record(least);
    for (key, value) in KEYS.iter().zip(row(&record)) {
        assert_eq!(value.is_null(), !needed(key), "{key}");
    }
    let tagged = serde_json::from_value::<FlowRecord>({
        let mut tagged = full();
        tagged["vlan"] = json!(100);
        tagged
    });
    assert_eq!(row(&tagged.unwrap())[12], json!(100));
}

/// Texts that somebody may compare a stamp with: whole, begun, and wrong ones.
fn compared() -> impl Strategy<Value = String> {
    let whole = any::<i64>().prop_map(rfc3339);
    let begun = (whole.clone(), 0..31_usize).prop_map(|(text, len)| text[..len.min(text.len())].to_owned());
    let other = (begun.clone(), ".{0,12}").prop_map(|(text, more)| text + &more);
    let calendar = "(19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?";
    prop_oneof![whole, begun, other, calendar, ".{0,31}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// A record passed over for its time is one that the comparison would not let through.
    #[test]
    fn moments_bound_what_compares_so(text in compared(), stamp in any::<i64>(), near in -100_000_i64..100_000) {
        let Some((first, last)) = moments(&text) else { return Ok(()) };
        prop_assert!(first <= last);
        let around = [first, last].into_iter().flat_map(|at| [at.saturating_sub(1), at, at.saturating_add(1), at.saturating_add(near)]);
        for stamp in around.chain([stamp]) {
            let told = rfc3339(stamp);
            prop_assert!(told < text || stamp >= first, "{told} is not before {text}");
            prop_assert!(told > text || stamp <= last, "{told} is not behind {text}");
        }
    }
}

#[test]
fn moments_are_no_wider_than_the_text() {
    let span = |text: &str| moments(text).map(|(first, last)| (rfc3339(first), last - first));
    let of = |first: &str, span| Some((first.to_owned(), span));
    assert_eq!(span("2024-12-31T14:30:52.123456789Z"), of("2024-12-31T14:30:52.123456789Z", 0));
    assert_eq!(span("2024-12-31T14:30"), of("2024-12-31T14:30:00.000000000Z", 59_999_999_999));
    assert_eq!(span("2024-12-31"), of("2024-12-31T00:00:00.000000000Z", 86_399_999_999_999));
    // A blank sorts before T: all of the day follows.
    assert_eq!(span("2024-12-31 14:30"), span("2024-12-31"));
    assert_eq!(span("2024-02-31"), span("2024-02"));
    assert_eq!(["yesterday", "", "9999"].map(moments), [None; 3]);
}
