use proptest::prelude::*;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;

fn bytes_of<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = vec![0xee];
    encode(value, &mut out).unwrap();
    out.split_off(1)
}

fn value(bytes: &[u8]) -> Result<(Value, usize), DecodeError> {
    decode(bytes)
}

/// Any JSON value; with `exact`, only fractions that every reader reads alike.
fn any_value(exact: bool) -> impl Strategy<Value = Value> {
    let fraction = if exact {
        any::<i32>().prop_map(|n| f64::from(n) / 8.0).boxed()
    } else {
        any::<f64>().prop_filter("JSON has no others", |n| n.is_finite()).boxed()
    };
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        fraction.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z \"\\\\\u{1}\u{7f}é]{0,300}".prop_map(Value::from),
    ];
    scalar.prop_recursive(6, 64, 12, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..12).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..12)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_reads_back(value in any_value(false), behind in any::<Vec<u8>>()) {
        let mut bytes = bytes_of(&value);
        let len = bytes.len();
        bytes.extend(behind);
        prop_assert_eq!(decode(&bytes), Ok((value, len)));
    }

    #[test]
    fn a_cut_value_is_incomplete(value in any_value(false), at in any::<prop::sample::Index>()) {
        let bytes = bytes_of(&value);
        prop_assert_eq!(decode::<Value>(&bytes[..at.index(bytes.len())]), Err(DecodeError::Incomplete));
    }

    #[test]
    fn no_bytes_panic(bytes in any::<Vec<u8>>()) {
        if let Ok((value, len)) = decode::<Value>(&bytes) {
            prop_assert!(len <= bytes.len());
            prop_assert_eq!(decode(&bytes_of(&value)).map(|(value, _)| value), Ok(value));
        }
        let _ = object_len(&bytes);
    }

    #[test]
    fn no_damage_panics(value in any_value(false), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = bytes_of(&value);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode::<Value>(&bytes);
    }

    #[test]
    fn sqlite_reads_what_we_write_and_we_read_what_it_writes(value in any_value(true)) {
        thread_local!(static SQLITE: Connection = Connection::open_in_memory().unwrap());
        let ours = bytes_of(&value);
        let (text, valid, theirs): (String, bool, Vec<u8>) = SQLITE.with(|sqlite| {
            sqlite.query_row("SELECT json(?1), json_valid(?1, 8), jsonb(?2)", (&ours, value.to_string()), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
        }).unwrap();
        prop_assert!(valid);
        prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value.clone());
        prop_assert_eq!(decode(&theirs), Ok((value, theirs.len())));
    }
}

#[test]
fn bytes_are_those_of_the_specification() {
    assert_eq!(bytes_of(&json!({"a": [1, true, null]})), b"\x7c\x17a\x4b\x131\x01\x00");
    assert_eq!(bytes_of(&"x".repeat(12)), b"\xc7\x0cxxxxxxxxxxxx");
    assert_eq!(bytes_of(&"a\"b"), b"\x3aa\"b");
    assert_eq!(bytes_of(&"x".repeat(256))[..3], *b"\xd7\x01\x00");
    assert_eq!(bytes_of(&"x".repeat(65_536))[..5], *b"\xe7\x00\x01\x00\x00");
    assert_eq!(bytes_of(&f64::NAN), b"\x00");
}

#[test]
fn every_element_type_is_read() {
    let reads = |bytes: &[u8], expected: Value| {
        assert_eq!(value(bytes), Ok((expected, bytes.len())), "{bytes:x?}");
    };
    reads(b"\x00", Value::Null);
    reads(b"\x20??", Value::Null);
    reads(b"\x01", json!(true));
    reads(b"\x02", json!(false));
    reads(b"\x33-12", json!(-12));
    reads(b"\xc3\x1499999999999999999999", json!(99_999_999_999_999_999_999.0));
    reads(b"\x540x1ff", json!(0x1ff));
    reads(b"\x54-0x10", json!(-16));
    reads(b"\x351.5", json!(1.5));
    reads(b"\x561.e+3", json!(1000.0));
    reads(b"\x36-.5", json!(-0.5));
    reads(b"\x27ab", json!("ab"));
    reads(b"\x78a\\u00e9", json!("aé"));
    reads(b"\xc8\x0c\\ud83d\\ude00", json!("😀"));
    reads(b"\x68\\ud83d", json!("\u{fffd}"));
    reads(b"\x69\\x41\\'", json!("A'"));
    reads(b"\x3aa\"b", json!("a\"b"));
    reads(b"\x4b\x131\x132", json!([1, 2]));
    reads(b"\x4c\x17k\x131", json!({"k": 1}));
}

#[test]
fn headers_may_be_larger_than_need_be() {
    for header in
        [&b"\xc7\x01"[..], b"\xd7\x00\x01", b"\xe7\x00\x00\x00\x01", b"\xf7\x00\x00\x00\x00\x00\x00\x00\x01"]
    {
        let bytes = [header, b"x"].concat();
        assert_eq!(value(&bytes), Ok((json!("x"), bytes.len())));
    }
    assert_eq!(value(b"\xf7\xff\xff\xff\xff\xff\xff\xff\xffx"), Err(DecodeError::Incomplete));
}

#[test]
fn what_is_no_jsonb_is_refused() {
    for bytes in [
        &b"\x0d"[..],
        b"\x0e",
        b"\x0f",
        b"\x03",
        b"\x13-",
        b"\x231x",
        b"\x23+x",
        b"\x35inf",
        b"\x240x",
        b"\x17\xff",
        b"\x18\\",
        b"\x38\\u1",
        b"\x1b\x17",
        b"\x2c\x17k",
        b"\x4c\x131\x132",
    ] {
        let refused = value(bytes);
        assert!(matches!(refused, Err(DecodeError::Malformed(_))), "{bytes:x?}: {refused:?}");
    }
}

#[test]
fn nesting_is_bounded_both_ways() {
    let nest = |depth| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    let deepest = bytes_of(&nest(64));
    assert_eq!(value(&deepest), Ok((nest(64), deepest.len())));
    let mut out = b"kept".to_vec();
    assert_eq!(encode(&nest(65), &mut out), Err(EncodeError::TooDeep));
    assert_eq!(out, b"kept");

    let mut bytes = deepest.clone();
    let size = (bytes.len() as u32).to_be_bytes();
    bytes.splice(0..0, [[0xeb].as_slice(), &size].concat());
    assert_eq!(value(&bytes), Err(DecodeError::Malformed("nested deeper than 64")));
}

#[test]
fn typed_values_read_back() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Unit,
        New(u8),
        Tuple(u8, i8),
        Fields { a: f32, b: Option<char> },
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct All {
        shapes: Vec<Shape>,
        none: Option<u8>,
        unit: (),
        pair: (u64, i64),
    }
    let all = All {
        shapes: vec![Shape::Unit, Shape::New(1), Shape::Tuple(2, -3), Shape::Fields { a: 0.5, b: Some('é') }],
        none: None,
        unit: (),
        pair: (u64::MAX, i64::MIN),
    };
    let bytes = bytes_of(&all);
    assert_eq!(value(&bytes).unwrap().0, serde_json::to_value(&all).unwrap());
    assert_eq!(decode(&bytes), Ok((all, bytes.len())));
    assert!(matches!(decode::<(u8,)>(b"\x4b\x131\x132"), Err(DecodeError::Mismatch(_))));
    assert!(matches!(decode::<Shape>(b"\x131"), Err(DecodeError::Mismatch(_))));
    let keyed: std::collections::BTreeMap<u8, u8> = [(1, 2)].into();
    assert_eq!(encode(&keyed, &mut Vec::new()), Err(EncodeError::KeyNotText));
}
