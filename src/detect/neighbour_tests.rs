use super::super::wire::{M, MS, S, Wire, brief, in_corpus, loud, mac};
use super::*;
use crate::detect::saved;
use Severity::{High, Info, Medium};

type A = [u8; 16];

const GROUP: M = [0x33, 0x33, 0, 0, 0, 1];
const EVIL: u8 = 0x66;

/// The link-local address of the machine of that number.
fn ll(number: u8) -> A {
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number]
}

fn all_nodes() -> A {
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
}

fn found(wire: &Wire) -> Vec<Finding> {
    wire.found_by(&mut NeighbourSpoof::new(Limits::default()), &["nd_spoof", "rogue_ra"])
}

/// A solicitation for `target`; from nobody if it is one's own that one is about to take.
fn solicit(wire: &mut Wire, at: Nanos, from: u8, target: A, is_probe: bool) {
    let mut message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target].concat();
    if !is_probe {
        message.extend([1, 1]);
        message.extend(mac(from));
    }
    let src = if is_probe { [0; 16] } else { ll(from) };
    wire.icmp6(at, (mac(from), GROUP), src, all_nodes(), 255, &message);
}

/// An advertisement of `target` by a machine, that overrides; to all or to one.
fn advertise(wire: &mut Wire, at: Nanos, from: u8, target: A, to: Option<u8>) {
    let message = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &target, &[2, 1], &mac(from)].concat();
    let (mac_to, dst) = to.map_or((GROUP, all_nodes()), |to| (mac(to), ll(to)));
    wire.icmp6(at, (mac(from), mac_to), target, dst, 255, &message);
}

/// A router's advertisement: flags, lifetime, the third byte of its prefix (0: none).
fn router(wire: &mut Wire, at: Nanos, from: M, src: A, flags: u8, lifetime: u16, prefix: u8) {
    let [l0, l1] = lifetime.to_be_bytes();
    let mut message = vec![134, 0, 0, 0, 64, flags, l0, l1, 0, 0, 0, 0, 0, 0, 0, 0];
    if prefix != 0 {
        message.extend([3, 4, 64, 0xc0, 0, 0, 7, 8, 0, 0, 7, 8, 0, 0, 0, 0]);
        message.extend([0x20, 1, 0x0d, 0xb8, prefix, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    wire.icmp6(at, (from, GROUP), src, all_nodes(), 255, &message);
}

#[test]
fn unasked_advertisements_of_anothers_address_are_found() {
    let mut wire = Wire::default();
    solicit(&mut wire, 0, 5, ll(1), false);
    advertise(&mut wire, MS, 1, ll(1), Some(5));
    for at in 1..6 {
        advertise(&mut wire, (10 + at) * S, EVIL, ll(1), Some(5));
    }
    let found = loud(found(&wire));
    assert_eq!(brief(&found), [("nd_spoof", High, Some("52:54:00:12:34:66"), Some("fe80::1"))]);
    assert_eq!((found[0].threshold, found[0].observed, found[0].count), (3.0, 5.0, 5));
}

#[test]
fn who_denies_others_their_addresses_is_found() {
    let mut wire = Wire::default();
    for number in 10..14 {
        solicit(&mut wire, i64::from(number) * S, 5, ll(number), true);
        advertise(&mut wire, i64::from(number) * S + MS, EVIL, ll(number), None);
    }
    let found = found(&wire);
    assert_eq!(brief(&loud(found.clone())), [("nd_spoof", High, Some("52:54:00:12:34:66"), None)]);
    // One is a duplicate address, no more.
    assert_eq!(found[0].severity, Info);
}

#[test]
fn a_router_for_other_prefixes_and_one_that_wants_to_be_preferred_are_found() {
    let mut wire = Wire::default();
    router(&mut wire, 0, mac(1), ll(1), 0, 1800, 1);
    router(&mut wire, 60 * S, mac(EVIL), ll(EVIL), 0, 1800, 2);
    assert_eq!(brief(&found(&wire)), [("rogue_ra", Medium, Some("fe80::66"), None)]);
    let mut wire = Wire::default();
    router(&mut wire, 0, mac(1), ll(1), 0, 1800, 1);
    router(&mut wire, 60 * S, mac(EVIL), ll(EVIL), 0x08, 1800, 1);
    assert_eq!(brief(&found(&wire)), [("rogue_ra", Medium, Some("fe80::66"), None)]);
}

#[test]
fn who_resigns_in_a_routers_name_is_found_and_not_believed() {
    let mut wire = Wire::default();
    router(&mut wire, 0, mac(1), ll(1), 0, 1800, 1);
    router(&mut wire, 60 * S, mac(EVIL), ll(1), 0, 0, 1);
    router(&mut wire, 61 * S, mac(EVIL), ll(1), 0, 0, 1);
    let found = found(&wire);
    assert_eq!(brief(&found), [("rogue_ra", High, Some("52:54:00:12:34:66"), Some("fe80::1"))]);
    assert_eq!(found[0].count, 2);
}

#[test]
fn a_flood_of_routers_is_found() {
    let mut wire = Wire::default();
    for number in 1..=40 {
        router(&mut wire, i64::from(number) * MS, mac(number), ll(number), 0, 1800, number);
    }
    let found = found(&wire);
    let flood: Vec<_> = found.iter().filter(|finding| finding.severity == High).collect();
    assert_eq!(flood.len(), 1);
    assert_eq!((flood[0].src.as_deref(), flood[0].count, flood[0].threshold), (None, 40, 10.0));
}

#[test]
fn what_comes_from_afar_is_no_neighbour() {
    let mut wire = Wire::default();
    let message = [&[134, 0, 0, 0, 64, 0, 7, 8][..], &[0; 8]].concat();
    wire.icmp6(0, (mac(1), GROUP), ll(1), all_nodes(), 64, &message);
    assert_eq!(brief(&found(&wire)), [("rogue_ra", Medium, Some("fe80::1"), None)]);
}

#[test]
fn what_a_normal_network_does_is_info_at_most() {
    let mut wire = Wire::default();
    // Two routers of one network; one resigns, by itself, and comes back.
    router(&mut wire, 0, mac(1), ll(1), 0, 1800, 1);
    router(&mut wire, S, mac(2), ll(2), 0, 1800, 1);
    router(&mut wire, 2 * S, mac(2), ll(2), 0, 0, 1);
    router(&mut wire, 3 * S, mac(2), ll(2), 0, 1800, 1);
    // A border router of a home's sensors: it is no default router.
    router(&mut wire, 4 * S, mac(3), ll(3), 0, 0, 9);
    // Virtual addresses move to and fro; machines look for each other, and for doubles of themselves.
    for at in 0..8 {
        let holder = if at % 2 == 0 { [0, 0, 0x5e, 0, 2, 7] } else { mac(2) };
        let message = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &ll(7), &[2, 1], &holder].concat();
        wire.icmp6((10 + at) * S, (holder, GROUP), ll(7), all_nodes(), 255, &message);
        solicit(&mut wire, (20 + at) * S, 5, ll(5), true);
        solicit(&mut wire, (30 + at) * S, 5, ll(6), false);
        advertise(&mut wire, (30 + at) * S + MS, 6, ll(6), Some(5));
    }
    // One takes over another's address, once, and tells all.
    advertise(&mut wire, 60 * S, 8, ll(6), None);
    advertise(&mut wire, 61 * S, 8, ll(6), None);
    let found = found(&wire);
    assert!(found.iter().all(|finding| finding.severity == Info), "{found:#?}");
    assert!(found.len() >= 3);
}

#[test]
fn the_corpora_are_quiet() {
    for name in [
        "mix-home-lan.pcapng",
        "mix-emix.pcap",
        "atk-beacon-rat.pcap",
        "cid-combined.pcap.gz",
        "encap-qinq-pppoe-v6.pcap",
    ] {
        let Some(found) = in_corpus(name, &mut NeighbourSpoof::new(Limits::default())) else { return };
        assert_eq!(found, [], "{name}");
    }
}

#[test]
fn random_routers_and_targets_fill_no_more_than_the_bound() {
    let claims = ClaimLimits { addresses: 64, ..ClaimLimits::default() };
    let mut detector = NeighbourSpoof::new(Limits { tracked: 32, claims, ..Limits::default() });
    let mut wire = Wire::default();
    for number in 0..2000_u16 {
        let [a, b] = number.to_be_bytes();
        let addr = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, a, b];
        router(&mut wire, i64::from(number) * MS, [2, 0, 0, 0, a, b], addr, 0, 1800, b);
        solicit(&mut wire, i64::from(number) * MS, 5, addr, false);
        advertise(&mut wire, i64::from(number) * MS, b, addr, Some(5));
    }
    wire.watched_by(&mut detector);
    assert!(detector.state.routers.len() <= 32 && detector.state.asked.len() <= 32);
    assert!(detector.state.claims.len() <= 64);
    assert!(detector.saturated() > 3000);
    let mut again = NeighbourSpoof::new(Limits::default());
    again.restore(saved(&detector.save()));
    assert_eq!(again.state.routers.len(), detector.state.routers.len());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_taken(kind in 134_u8..137, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..120)) {
        let mut wire = Wire::default();
        let message = [&[kind, 0, 0, 0, 0x20, 0, 1, 0][..], &bytes].concat();
        wire.icmp6(0, (mac(1), GROUP), ll(1), all_nodes(), 255, &message);
        wire.watched_by(&mut NeighbourSpoof::new(Limits::default()));
        proptest::prop_assert!(options(&bytes).count() <= bytes.len() / 8 + 1);
    }
}
