use super::super::wire::{M, MS, Wire, brief, in_corpus, mac};
use super::*;
use crate::detect::saved;
use Severity::{High, Medium};

const MACS: (M, M) = ([0x52, 0x54, 0, 0x12, 0x34, 5], [0x52, 0x54, 0, 0x12, 0x34, 9]);

fn dns_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}

/// An LLMNR answer (RFC 4795).
fn llmnr(name: &str, addr: [u8; 4]) -> Vec<u8> {
    let name = dns_name(name);
    [
        &[0, 1, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0][..],
        &name,
        &[0, 1, 0, 1],
        &name,
        &[0, 1, 0, 1, 0, 0, 0, 30, 0, 4],
        &addr,
    ]
    .concat()
}

/// A NetBIOS answer (RFC 1002 4.2.13) for a name and a service.
fn nbns(name: &str, service: u8, flags: u16, addr: [u8; 4]) -> Vec<u8> {
    let mut plain = format!("{name:15}").into_bytes();
    plain.push(service);
    let coded: Vec<u8> = plain.iter().flat_map(|byte| [b'A' + (byte >> 4), b'A' + (byte & 15)]).collect();
    let [f0, f1] = flags.to_be_bytes();
    let head = [0, 1, f0, f1, 0, 0, 0, 1, 0, 0, 0, 0, 32];
    [&head[..], &coded, &[0, 0, 32, 0, 1, 0, 0, 1, 44, 0, 6, 0, 0], &addr].concat()
}

fn found(wire: &Wire) -> Vec<Finding> {
    wire.found_by(&mut NamePoisoning::new(Limits::default()), &["name_poisoning"])
}

fn answer(wire: &mut Wire, at: i64, from: u8, port: u16, payload: &[u8]) {
    wire.udp4(
        at * MS,
        MACS,
        ([192, 168, 1, from], port),
        ([192, 168, 1, 9], if port == 137 { 137 } else { 50_000 }),
        payload,
    );
}

#[test]
fn who_answers_for_many_names_is_found() {
    let mut wire = Wire::default();
    for (at, name) in ["fileserver", "fielserver", "intranet.corp", "PRINTER"].into_iter().enumerate() {
        answer(&mut wire, at as i64, 66, 5355, &llmnr(name, [192, 168, 1, 66]));
        answer(&mut wire, at as i64, 67, 137, &nbns(name, 0x20, 0x8500, [192, 168, 1, 67]));
    }
    let found = found(&wire);
    assert_eq!(
        brief(&found),
        [
            ("name_poisoning", High, Some("192.168.1.66"), None),
            ("name_poisoning", High, Some("192.168.1.67"), None),
        ]
    );
    assert!(found[0].summary.ends_with("fileserver, fielserver, intranet, printer"), "{}", found[0].summary);
    assert_eq!((found[0].threshold, found[0].observed, found[0].technique.as_str()), (4.0, 4.0, "T1557.001"));
}

#[test]
fn who_answers_for_wpad_is_found_at_once() {
    let mut wire = Wire::default();
    answer(&mut wire, 0, 66, 5355, &llmnr("WPAD", [192, 168, 1, 66]));
    assert_eq!(brief(&found(&wire)), [("name_poisoning", Medium, Some("192.168.1.66"), None)]);
}

#[test]
fn who_answers_for_itself_and_a_name_server_are_left_alone() {
    let mut wire = Wire::default();
    for at in 0..50 {
        let name = format!("pc{at}");
        // One machine, by its name, with its domain, in capitals, by all its services, and for its workgroup.
        answer(&mut wire, at, 5, 5355, &llmnr(["pc5", "pc5.corp", "PC5"][at as usize % 3], [192, 168, 1, 5]));
        answer(&mut wire, at, 5, 137, &nbns("PC5", at as u8, 0x8500, [192, 168, 1, 5]));
        answer(&mut wire, at, 5, 137, &nbns("WORKGROUP", 0, 0x8500, [192, 168, 1, 5]));
        // A name server (recursion available), which knows everybody.
        answer(&mut wire, at, 2, 137, &nbns(&name, 0, 0x8580, [192, 168, 1, 5]));
        // Questions, refusals, registrations.
        answer(&mut wire, at, 6, 137, &nbns(&name, 0, 0x0110, [192, 168, 1, 6]));
        answer(&mut wire, at, 6, 137, &nbns(&name, 0, 0x8503, [192, 168, 1, 6]));
        answer(&mut wire, at, 6, 137, &nbns(&name, 0, 0xad80, [192, 168, 1, 6]));
        answer(&mut wire, at, 6, 137, &nbns("*", 0, 0x8400, [192, 168, 1, 6]));
    }
    assert_eq!(found(&wire), []);
}

#[test]
fn the_corpora_are_quiet() {
    for name in [
        "mix-home-lan.pcapng",
        "mix-emix.pcap",
        "atk-beacon-rat.pcap",
        "link-sll.pcap",
        "mix-many-protocols.pcap",
    ] {
        let Some(found) = in_corpus(name, &mut NamePoisoning::new(Limits::default())) else { return };
        assert_eq!(found, [], "{name}");
    }
}

#[test]
fn random_answers_fill_no_more_than_the_bound() {
    let mut detector = NamePoisoning::new(Limits { machines: 16, ..Limits::default() });
    let mut wire = Wire::default();
    for number in 0..1000_u16 {
        let [a, b] = number.to_be_bytes();
        let from = ([10, 0, a, b], 5355);
        wire.udp4(
            i64::from(number),
            (mac(1), mac(2)),
            from,
            ([10, 0, 0, 1], 5000),
            &llmnr(&format!("a{number}"), from.0),
        );
        answer(&mut wire, 0, 1, 5355, &llmnr(&format!("b{number}"), from.0));
    }
    wire.watched_by(&mut detector);
    assert!(
        detector.machines.len() <= 16
            && detector.machines.iter().all(|(_, answers)| answers.names.len() <= 4)
    );
    assert!(detector.saturated() > 900);
    let mut again = NamePoisoning::new(Limits::default());
    again.restore(saved(&detector.save()));
    assert_eq!(again.machines.len(), detector.machines.len());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80), netbios: bool) {
        let _ = answered(&bytes, netbios);
        let head = [0, 1, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        let name = answered(&[&head[..], &bytes].concat(), netbios);
        proptest::prop_assert!(name.is_none_or(|name| name.len() <= 3 * 63));
    }
}
