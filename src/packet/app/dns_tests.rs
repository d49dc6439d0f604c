use proptest::prelude::*;

use super::*;

const QUERY: &[u8] = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x03www\x07example\x03org\0\0\x01\0\x01";

#[test]
fn a_query_is_read() {
    let message = Message::read(QUERY).unwrap();
    let question = message.question.unwrap();
    assert_eq!((message.id, message.is_response, message.wants_recursion), (0x1234, false, true));
    assert_eq!((&*question.name.text(), question.kind, question.class), ("www.example.org", kind::A, 1));
    assert_eq!((question.name.depth(), question.name.wire_len()), (3, 17));
    assert!(message.is_plain());
}

#[test]
fn an_answer_by_pointer_is_read_and_pointers_forward_or_round_are_not() {
    let mut bytes = QUERY.to_vec();
    bytes[2..4].copy_from_slice(&[0x81, 0x80]);
    bytes[7] = 1;
    bytes.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x06\x03web\xc0\x10");
    let message = Message::read(&bytes).unwrap();
    let records: Vec<_> = message.records().collect();
    assert_eq!(records.len(), 1);
    assert_eq!(&*records[0].name.text(), "www.example.org");
    assert_eq!(&*records[0].data_name().unwrap().text(), "web.example.org");
    assert_eq!((records[0].ttl, records[0].section), (60, Section::Answer));

    // The answer's name points at itself.
    let at = QUERY.len();
    bytes[at + 1] = at as u8;
    assert_eq!(Message::read(&bytes).unwrap().records().count(), 0);
    bytes[at + 1] = at as u8 + 2;
    assert_eq!(Message::read(&bytes).unwrap().records().count(), 0);
}

#[test]
fn odd_bytes_of_names_are_escaped() {
    let bytes = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x05a.b\\\x01\x01c\0\0\x10\0\x01";
    assert_eq!(&*Message::read(bytes).unwrap().question.unwrap().name.text(), "a\\x2eb\\x5c\\x01.c");
    let root = b"\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01";
    assert_eq!(&*Message::read(root).unwrap().question.unwrap().name.text(), ".");
}

#[test]
fn netbios_names_are_decoded() {
    // RFC 1001, 14.1 encodes "FRED" padded with blanks like this; the last pair is the suffix.
    let bytes = b"\0\0\x01\x10\0\x01\0\0\0\0\0\0\x20EGFCEFEECACACACACACACACACACACAAA\0\0\x20\0\x01";
    let name = Message::read(bytes).unwrap().question.unwrap().name;
    assert_eq!(&*name.netbios_text(), "FRED<00>");
}

proptest! {
    /// Whatever is read of arbitrary bytes ends, and keeps its bounds.
    #[test]
    fn reading_is_total(bytes in prop::collection::vec(any::<u8>(), 0..600), counts in any::<[u8; 4]>()) {
        let mut bytes = bytes;
        for (at, count) in [5, 7, 9, 11].into_iter().zip(counts) {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = count;
            }
            if let Some(byte) = bytes.get_mut(at - 1) {
                *byte = 0;
            }
        }
        if let Some(message) = Message::read(&bytes) {
            let _ = message.is_plain();
            for record in message.records() {
                prop_assert!(record.name.text().len() <= text::MAX_TEXT);
                let _ = record.data_name().map(|name| name.netbios_text());
            }
        }
        let _ = Message::read_tcp(&bytes);
    }

    /// Where another parser reads a message without complaint, this one reads the same names, types and times.
    #[test]
    fn it_agrees_with_another_parser(
        labels in prop::collection::vec("[a-zA-Z0-9_-]{1,20}", 1..6),
        kinds in prop::collection::vec((1u16..3, any::<u32>()), 0..5),
    ) {
        use simple_dns::{CLASS, Name as Other, Packet, QCLASS, QTYPE, Question as Q, ResourceRecord, TYPE, rdata};
        let name = labels.join(".");
        let other = Other::new(&name).unwrap();
        let mut packet = Packet::new_reply(7);
        packet.questions.push(Q::new(other.clone(), QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false));
        for &(kind, ttl) in &kinds {
            let data = if kind == 1 {
                rdata::RData::A(rdata::A { address: 1 })
            } else {
                rdata::RData::NS(rdata::NS(other.clone()))
            };
            packet.answers.push(ResourceRecord::new(other.clone(), CLASS::IN, ttl, data));
        }
        for bytes in [packet.build_bytes_vec().unwrap(), packet.build_bytes_vec_compressed().unwrap()] {
            let message = Message::read(&bytes).unwrap();
            prop_assert!(message.is_plain());
            prop_assert_eq!(&*message.question.unwrap().name.text(), &name);
            let records: Vec<_> = message.records().map(|record| (record.kind, record.ttl)).collect();
            prop_assert_eq!(&records, &kinds);
            for record in message.records().filter(|record| record.kind == kind::NS) {
                prop_assert_eq!(&*record.data_name().unwrap().text(), &name);
            }
        }
    }
}
