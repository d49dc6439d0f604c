use super::super::wire::{MS, S, Wire, all_select, brief, eth, in_corpus, ip4, ip6, loud, mac, tcp, udp};
use super::*;
use crate::detect::saved;
use Severity::{Info, Low, Medium};

fn detector() -> Malformed {
    Malformed::new(Limits::default())
}

fn found(wire: &Wire) -> Vec<Finding> {
    wire.found_by(&mut detector(), &["malformed"])
}

fn v4(wire: &mut Wire, at: Nanos, packet: &[u8]) {
    wire.push(at, eth(mac(1), mac(2), 0x0800, packet));
}

/// A fragment of 10.0.0.1's: identification, offset and length in bytes, whether more follow.
fn fragment(wire: &mut Wire, at: Nanos, id: u16, offset: u16, len: usize, more: bool) {
    let bits = (offset / 8) | (u16::from(more) << 13);
    v4(wire, at, &ip4([10, 0, 0, 1], [10, 0, 0, 2], 17, 64, id, bits, &vec![7; len]));
}

#[test]
fn each_impossible_packet_is_found_for_what_it_is() {
    let (here, there) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let syn = tcp(1000, 80, 2, &[]);
    let of = |src, dst, payload: &[u8]| ip4(src, dst, 6, 64, 1, 0, payload);
    let with = |flags| of(here, there, &tcp(1000, 80, flags, &[]));
    for (packet, severity, words, src) in [
        (of([224, 0, 0, 1], there, &syn), Low, "from an address", "224.0.0.1"),
        (of([127, 0, 0, 1], there, &syn), Low, "from an address", "127.0.0.1"),
        (of([0, 0, 0, 0], there, &syn), Low, "from an address", "0.0.0.0"),
        (of([255; 4], there, &syn), Low, "from an address", "255.255.255.255"),
        (of(here, [127, 0, 0, 1], &syn), Low, "to an address", "10.0.0.1"),
        (of(here, [0, 1, 2, 3], &syn), Low, "to an address", "10.0.0.1"),
        (of(here, here, &tcp(80, 80, 2, &[])), Medium, "LAND", "10.0.0.1"),
        (with(3), Low, "SYN and FIN", "10.0.0.1"),
        (with(6), Low, "SYN and RST", "10.0.0.1"),
        (with(0), Low, "without any", "10.0.0.1"),
        (with(0x29), Low, "FIN, PSH and URG", "10.0.0.1"),
        (with(1), Info, "acknowledges nothing", "10.0.0.1"),
        (of(here, there, &tcp(1000, 0, 2, &[])), Info, "port 0", "10.0.0.1"),
    ] {
        let mut wire = Wire::default();
        v4(&mut wire, 0, &packet);
        let found = found(&wire);
        assert_eq!(brief(&found), [("malformed", severity, Some(src), None)], "{words}");
        assert!(found[0].summary.contains(words), "{}", found[0].summary);
    }
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut wire = Wire::default();
    wire.push(0, eth(mac(1), mac(2), 0x86dd, &ip6(group, [1; 16], 17, 64, &udp(1, 2, &[]))));
    assert_eq!(found(&wire)[0].severity, Low);
}

#[test]
fn overlapping_and_overlong_fragments_are_found() {
    let mut wire = Wire::default();
    // Teardrop: the second lies within the first.
    fragment(&mut wire, 0, 1, 0, 40, true);
    fragment(&mut wire, MS, 1, 24, 8, false);
    let overlap = found(&wire);
    assert_eq!(brief(&overlap), [("malformed", Low, Some("10.0.0.1"), None)]);
    assert_eq!(overlap[0].captures.0.len(), 1);
    let mut wire = Wire::default();
    fragment(&mut wire, 0, 1, 65_528, 100, false);
    assert_eq!(brief(&found(&wire)), [("malformed", Medium, Some("10.0.0.1"), None)]);
    let mut wire = Wire::default();
    let tiny = ip4([10, 0, 0, 1], [10, 0, 0, 2], 6, 64, 9, 0x2000, &tcp(1, 80, 2, &[])[..8]);
    v4(&mut wire, 0, &tiny);
    assert!(loud(found(&wire))[0].summary.contains("not even"));
}

#[test]
fn what_a_normal_network_sends_is_possible() {
    let mut wire = Wire::default();
    // DHCP and IGMP from 0.0.0.0, and what has no address of its own yet.
    v4(&mut wire, 0, &ip4([0; 4], [255; 4], 17, 64, 1, 0, &udp(68, 67, &[0; 8])));
    v4(&mut wire, 0, &ip4([0; 4], [224, 0, 0, 1], 2, 1, 1, 0, &[0x11, 0, 0, 0, 0, 0, 0, 0]));
    wire.push(
        0,
        eth(mac(1), mac(2), 0x86dd, &ip6([0; 16], [0xff; 16], 58, 255, &[143, 0, 0, 0, 0, 0, 0, 0])),
    );
    v4(&mut wire, 0, &ip4([169, 254, 1, 2], [224, 0, 0, 251], 17, 255, 1, 0, &udp(5353, 5353, &[0; 12])));
    v4(&mut wire, 0, &ip4([169, 254, 1, 2], [169, 254, 255, 255], 17, 64, 1, 0, &udp(137, 137, &[0; 12])));
    // A BFD echo, which comes back to its sender; loopback traffic as a loopback capture has it.
    v4(&mut wire, 0, &ip4([10, 0, 0, 1], [10, 0, 0, 1], 17, 255, 1, 0, &udp(3785, 3785, &[0; 12])));
    wire.push(
        0,
        eth([0; 6], [0; 6], 0x0800, &ip4([127, 0, 0, 1], [127, 0, 0, 1], 6, 64, 1, 0, &tcp(9, 80, 2, &[]))),
    );
    // TCP from beginning to end, ECN and a reset included; a sender who wants no answer.
    for flags in [2, 0xc2, 0x12, 0x10, 0x18, 0x11, 4, 0x14, 0x38] {
        v4(&mut wire, S, &ip4([10, 0, 0, 1], [10, 0, 0, 2], 6, 64, 1, 0, &tcp(1000, 80, flags, &[])));
    }
    v4(&mut wire, S, &ip4([10, 0, 0, 1], [10, 0, 0, 2], 17, 64, 1, 0, &udp(0, 514, &[1])));
    // Fragments out of order, each twice, and the same identification again for a packet of other parts.
    for at in 0..4 {
        let cut = 800 + at * 8;
        for (offset, len, more) in [(cut, 100, false), (0, cut, true)] {
            for copy in 0..2 {
                fragment(&mut wire, i64::from(at) * 3 * S + copy, 7, offset, len.into(), more);
            }
        }
    }
    assert_eq!(found(&wire), []);
}

#[test]
fn the_corpora_have_only_what_is_known_of_them() {
    for (name, martians) in [
        ("mix-home-lan.pcapng", &[][..]),
        ("mix-emix.pcap", &[]),
        ("mix-office.pcap", &[]),
        ("mix-home-alerts.pcap", &[]),
        ("mix-many-protocols.pcap", &[]),
        ("mix-tls-v4-v6.pcap", &[]),
        ("load-echo-loopback.pcap.gz", &[]),
        ("link-null-opcua.pcap", &[]),
        ("link-raw-ip.pcap", &[]),
        ("frag-v4-sctp.pcap", &[]),
        ("frag-v6.pcap", &[]),
        ("atk-backscatter.pcap", &[]),
        // SOURCES.md: "source ff02::1", a thousand times.
        ("atk-smurf6.pcap", &["ff02::1"]),
    ] {
        let Some(found) = in_corpus(name, &mut detector()) else { return };
        let from: Vec<_> = found.iter().filter_map(|finding| finding.src.as_deref()).collect();
        assert_eq!(from, martians, "{name}: {found:#?}");
        assert!(martians.is_empty() || found[0].count == 1000);
    }
}

#[test]
fn random_senders_and_fragments_fill_no_more_than_the_bound() {
    let limits = Limits { packets: 64, fragments: 8, ..Limits::default() };
    let mut detector = Malformed::new(limits);
    let mut wire = Wire::default();
    for number in 0..1000_u16 {
        let [a, b] = number.to_be_bytes();
        v4(
            &mut wire,
            i64::from(number),
            &ip4([224, 0, a, b], [10, 0, 0, 1], 6, 64, 1, 0, &tcp(1, 2, 2, &[])),
        );
        fragment(&mut wire, i64::from(number), number, 8, 8, true);
        fragment(&mut wire, i64::from(number), 2000, 16 * (number % 100), 8, true);
    }
    let found = loud(wire.watched_by(&mut detector));
    // Thirty-two by name, and one for all others.
    assert_eq!(found.len(), 33);
    assert_eq!(
        found.iter().find(|finding| finding.src.is_none()).map(|finding| finding.count),
        Some(1000 - 32)
    );
    all_select(&wire, &found);
    assert!(detector.state.parts.len() <= 64);
    assert!(detector.state.parts.iter().all(|(_, parts)| parts.ranges.len() <= 8));
    assert!(detector.saturated() > 900);
    let mut again = Malformed::new(Limits::default());
    again.restore(saved(&detector.save()));
    assert_eq!(
        (again.state.parts.len(), &again.state.named),
        (detector.state.parts.len(), &detector.state.named)
    );
}
