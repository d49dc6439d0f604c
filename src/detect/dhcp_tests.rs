use super::super::wire::{ALL, M, MS, S, Wire, brief, in_corpus, loud, mac};
use super::*;
use crate::detect::saved;
use Severity::{High, Info, Medium};

const GOOD: [u8; 4] = [192, 168, 1, 1];
const EVIL: [u8; 4] = [192, 168, 1, 66];

fn message(op: u8, kind: u8, xid: u32, given: [u8; 4], client: M, options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 236];
    bytes[..4].copy_from_slice(&[op, 1, 6, 0]);
    bytes[4..8].copy_from_slice(&xid.to_be_bytes());
    bytes[16..20].copy_from_slice(&given);
    bytes[28..34].copy_from_slice(&client);
    bytes.extend([0x63, 0x82, 0x53, 0x63, 53, 1, kind]);
    bytes.extend(options);
    bytes.push(255);
    bytes
}

/// An answer of a server.
pub(crate) fn server_says(kind: u8, given: [u8; 4], client: M, server: [u8; 4], options: &[u8]) -> Vec<u8> {
    message(2, kind, 7, given, client, &[&[54, 4], &server[..], options].concat())
}

fn option(code: u8, addr: [u8; 4]) -> Vec<u8> {
    [&[code, 4], &addr[..]].concat()
}

fn found(wire: &Wire) -> Vec<Finding> {
    wire.found_by(&mut DhcpAbuse::new(Limits::default()), &["dhcp_abuse"])
}

fn offer(wire: &mut Wire, at: Nanos, xid: u32, server: [u8; 4], router: [u8; 4], dns: [u8; 4]) {
    let options = [option(54, server), option(3, router), option(6, dns)].concat();
    let offer = message(2, 2, xid, [192, 168, 1, 100], mac(9), &options);
    wire.udp4(at, (mac(server[3]), ALL), (server, 67), ([255; 4], 68), &offer);
}

fn discover(wire: &mut Wire, at: Nanos, sender: M, client: M) {
    wire.udp4(at, (sender, ALL), ([0; 4], 68), ([255; 4], 67), &message(1, 1, 1, [0; 4], client, &[]));
}

#[test]
fn a_second_server_that_leads_elsewhere_is_found() {
    let mut wire = Wire::default();
    offer(&mut wire, 0, 1, GOOD, GOOD, GOOD);
    offer(&mut wire, 3600 * S, 2, GOOD, GOOD, GOOD);
    offer(&mut wire, 3600 * S + MS, 2, EVIL, EVIL, EVIL);
    let found = found(&wire);
    assert_eq!(brief(&found), [("dhcp_abuse", High, Some("192.168.1.66"), None)]);
    assert_eq!(found[0].technique, "T1557.003");
    // Only the name server differs, and the real one does not answer: still told, but with less certainty.
    let mut wire = Wire::default();
    offer(&mut wire, 0, 1, GOOD, GOOD, GOOD);
    offer(&mut wire, 60 * S, 2, EVIL, GOOD, [6, 6, 6, 6]);
    assert_eq!(brief(&self::found(&wire)), [("dhcp_abuse", Medium, Some("192.168.1.66"), None)]);
}

#[test]
fn starvation_by_one_machine_and_by_many_is_found() {
    let mut wire = Wire::default();
    for number in 0..50 {
        discover(&mut wire, i64::from(number) * 100 * MS, mac(66), [2, 0, 0, 0, 0, number]);
    }
    let found = found(&wire);
    assert_eq!(brief(&found), [("dhcp_abuse", High, Some("52:54:00:12:34:42"), None)]);
    assert_eq!((found[0].threshold, found[0].count), (20.0, 50));
    let mut wire = Wire::default();
    for number in 0..250 {
        discover(&mut wire, i64::from(number) * MS, [2, 0, 0, 0, 0, number], [2, 0, 0, 0, 0, number]);
    }
    assert_eq!(brief(&self::found(&wire)), [("dhcp_abuse", Medium, None, None)]);
    let limits = Limits { window: 90 * S, ..Limits::default() };
    let found = wire.watched_by(&mut DhcpAbuse::new(limits));
    assert_eq!(found[0].summary, "200 clients and more ask for addresses within 90 s");
}

#[test]
fn a_pair_of_servers_a_repeater_and_a_classroom_are_no_attack() {
    // Two servers that tell the same: a pair.
    let mut wire = Wire::default();
    offer(&mut wire, 0, 1, GOOD, GOOD, GOOD);
    offer(&mut wire, MS, 1, [192, 168, 1, 2], GOOD, GOOD);
    // A boot server that only says what to load.
    let boot = message(2, 2, 1, [0; 4], mac(9), &option(54, EVIL));
    wire.udp4(2 * MS, (mac(3), ALL), (EVIL, 67), ([255; 4], 68), &boot);
    // A server of long ago, when this was another network.
    offer(&mut wire, 100_000 * S, 3, EVIL, EVIL, EVIL);
    // A class of thirty, and ten behind a repeater; each asks again and again.
    for number in 0..300 {
        let client = [2, 0, 0, 0, 0, (number % 30) as u8];
        discover(&mut wire, (100_001 + number / 30) * S, client, client);
        discover(&mut wire, (100_001 + number / 30) * S, mac(1), [2, 0, 0, 0, 1, (number % 10) as u8]);
    }
    let found = found(&wire);
    assert_eq!(brief(&found), [("dhcp_abuse", Info, Some("192.168.1.2"), None)]);
}

#[test]
fn a_second_dhcpv6_server_with_its_own_name_server_is_found() {
    let says = |last: u8| {
        let mut dns = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last].to_vec();
        dns.splice(0..0, [0, 23, 0, 16]);
        [&[2, 0, 0, 9][..], &dns].concat()
    };
    let addr = |last: u8| [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let mut wire = Wire::default();
    for last in [1, 0x66] {
        let packet = super::super::wire::ip6(
            addr(last),
            addr(9),
            17,
            64,
            &super::super::wire::udp(547, 546, &says(last)),
        );
        wire.push(i64::from(last) * MS, super::super::wire::eth(mac(last), mac(9), 0x86dd, &packet));
    }
    assert_eq!(brief(&found(&wire)), [("dhcp_abuse", High, Some("fe80::66"), None)]);
}

#[test]
fn the_corpora_have_no_abuse() {
    for name in
        ["mix-home-lan.pcapng", "mix-emix.pcap", "atk-beacon-rat.pcap", "link-sll.pcap", "link-raw-ip.pcap"]
    {
        let Some(found) = in_corpus(name, &mut DhcpAbuse::new(Limits::default())) else { return };
        assert_eq!(found, [], "{name}");
    }
}

#[test]
fn random_clients_fill_no_more_than_the_bound() {
    let mut detector = DhcpAbuse::new(Limits { tracked: 32, ..Limits::default() });
    let mut wire = Wire::default();
    for number in 0..2000_u16 {
        let [a, b] = number.to_be_bytes();
        discover(&mut wire, i64::from(number) * MS, [2, 0, 0, 0, a, b], [2, 0, 0, 0, a, b]);
        let from = [10, 0, a, b];
        let offer =
            message(2, 2, u32::from(number), from, mac(1), &[option(54, from), option(3, from)].concat());
        wire.udp4(i64::from(number) * MS, (mac(1), ALL), (from, 67), ([255; 4], 68), &offer);
    }
    let found = loud(wire.watched_by(&mut detector));
    assert!(detector.state.clients.len() <= 32 && detector.state.answered.len() <= 32);
    assert!(detector.state.networks.iter().all(|(_, servers)| servers.0.len() <= MAX_SERVERS));
    assert!(detector.saturated() > 1000);
    assert!(found.iter().any(|finding| finding.technique == STARVATION));
    let mut again = DhcpAbuse::new(Limits::default());
    again.restore(saved(&detector.save()));
    assert_eq!(again.state.networks.len(), detector.state.networks.len());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let _ = v4(&bytes);
        let _ = v6(&bytes);
        // With the fixed part in place, so that the options are reached.
        let mut whole = message(1, 1, 1, [0; 4], mac(1), &bytes);
        whole.pop();
        proptest::prop_assert!(v4(&whole).is_some());
    }
}
