use super::super::wire::{MS, S, Wire, brief, eth, in_corpus, ip4, ip6, loud, mac, udp};
use super::*;
use crate::detect::saved;
use Severity::Low;

const HERE: [u8; 4] = [10, 0, 0, 1];
const THERE: [u8; 4] = [192, 0, 2, 7];

fn found(wire: &Wire) -> Vec<Finding> {
    wire.found_by(&mut Traceroute::new(Limits::default()), &["traceroute"])
}

fn probe(wire: &mut Wire, at: Nanos, to: [u8; 4], ttl: u8) {
    let packet = ip4(HERE, to, 17, ttl, 1, 0, &udp(40_000, 33_434 + u16::from(ttl), &[0; 8]));
    wire.push(at, eth(mac(1), mac(2), 0x0800, &packet));
}

/// A router says that the time of a packet to `there` and its port was exceeded.
fn exceeded(wire: &mut Wire, at: Nanos, router: [u8; 4], there: [u8; 4], port: u16) {
    let quoted = ip4(HERE, there, 17, 1, 1, 0, &udp(40_000, port, &[]));
    let message = [&[11, 0, 0, 0, 0, 0, 0, 0][..], &quoted].concat();
    wire.push(at, eth(mac(2), mac(1), 0x0800, &ip4(router, HERE, 1, 64, 1, 0, &message)));
}

#[test]
fn rising_times_to_live_are_found() {
    let mut wire = Wire::default();
    for ttl in 1..=8 {
        for _ in 0..3 {
            probe(&mut wire, i64::from(ttl) * 5 * S, THERE, ttl);
        }
    }
    let found = found(&wire);
    assert_eq!(brief(&found), [("traceroute", Low, Some("10.0.0.1"), Some("192.0.2.7"))]);
    assert_eq!((found[0].threshold, found[0].observed, found[0].technique.as_str()), (4.0, 8.0, "T1016.001"));
    // The first of all probes belongs to it.
    assert_eq!(found[0].first_seen, 1_700_000_005 * S);
}

#[test]
fn routers_answers_are_found_where_the_probes_are_not_seen_so_small() {
    let mut wire = Wire::default();
    for hop in 1..=3 {
        exceeded(&mut wire, i64::from(hop) * S, [10, 0, hop, 1], THERE, 80);
    }
    assert_eq!(brief(&found(&wire)), [("traceroute", Low, Some("10.0.0.1"), Some("192.0.2.7"))]);
    // By one router only, but about the ports of traceroute.
    let mut wire = Wire::default();
    for hop in 0..3_u8 {
        exceeded(&mut wire, i64::from(hop) * S, [10, 0, 1, 1], THERE, 33_434 + u16::from(hop));
    }
    assert_eq!(found(&wire).len(), 1);
}

#[test]
fn short_ways_loops_and_groups_are_no_traceroute() {
    let mut wire = Wire::default();
    for at in 0..100 {
        // A game that sends with a time to live of 3, whose route changes.
        probe(&mut wire, at * S, THERE, 2 + (at % 3 == 0) as u8);
        // Groups: mDNS, SSDP, routing.
        for ttl in 1..9 {
            probe(&mut wire, at * S, [239, 255, 255, 250], ttl);
        }
        // A loop of two routers, in which everything to one host dies.
        exceeded(&mut wire, at * S, [10, 0, (at % 2) as u8, 1], THERE, 443);
    }
    // Hop by hop, but over hours.
    for ttl in 1..9 {
        probe(&mut wire, 1000 * S + i64::from(ttl) * 600 * S, [192, 0, 2, 8], ttl);
    }
    assert_eq!(found(&wire), []);
}

#[test]
fn the_corpora_have_one() {
    // Frames 13 to 18 of it are a traceroute's answers.
    let Some(found) = in_corpus("cid-combined.pcap.gz", &mut Traceroute::new(Limits::default())) else {
        return;
    };
    let (src, dst) = ("3ffe:507:0:1:200:86ff:fe05:80da", "3ffe:501:410:0:2c0:dfff:fe47:33e");
    assert_eq!(brief(&found), [("traceroute", Low, Some(src), Some(dst))]);
    for name in [
        "mix-home-lan.pcapng",
        "mix-emix.pcap",
        "mix-office.pcap",
        "encap-tunnel-zoo.pcap",
        "atk-nmap-versions.pcap",
    ] {
        assert_eq!(in_corpus(name, &mut Traceroute::new(Limits::default())), Some(vec![]), "{name}");
    }
}

#[test]
fn random_pairs_fill_no_more_than_the_bound() {
    let mut detector = Traceroute::new(Limits { pairs: 32, ..Limits::default() });
    let mut wire = Wire::default();
    for number in 0..1000_u16 {
        let [a, b] = number.to_be_bytes();
        probe(&mut wire, i64::from(number) * MS, [192, 1, a, b], 3);
        exceeded(&mut wire, i64::from(number) * MS, [10, 1, a, b], THERE, 1);
    }
    loud(wire.watched_by(&mut detector));
    assert!(
        detector.ways.len() <= 32 && detector.ways.iter().all(|(_, way)| way.routers.len() <= MAX_ROUTERS)
    );
    assert!(detector.saturated() > 900);
    let mut again = Traceroute::new(Limits::default());
    again.restore(saved(&detector.save()));
    assert_eq!(again.ways.len(), detector.ways.len());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_taken(v4: bool, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
        let _ = quoted(&bytes, v4);
        let mut wire = Wire::default();
        let message = [&[3, 0, 0, 0, 0, 0, 0, 0][..], &bytes].concat();
        wire.push(0, eth(mac(1), mac(2), 0x86dd, &ip6([1; 16], [2; 16], 58, 3, &message)));
        wire.watched_by(&mut Traceroute::new(Limits::default()));
    }
}
