use super::super::dialogue::{MS, Made, S, brief, dns, in_corpus, loud, random};
use super::*;
use crate::detect::saved;

const US: ([u8; 4], u16) = ([192, 168, 1, 5], 40_000);
const RESOLVER: ([u8; 4], u16) = ([192, 168, 1, 1], 53);

fn ask(made: &mut Made, at: Nanos, name: &str, kind: u16) {
    made.udp(at, US, RESOLVER, &dns(name, kind, None));
    made.udp(at + MS, RESOLVER, US, &dns(name, kind, Some(0)));
}

/// A label of so many random characters of base32.
fn label(random: &mut impl FnMut(u64) -> u64, len: usize) -> String {
    (0..len).map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[random(32) as usize])).collect()
}

#[test]
fn the_tunnel_of_the_corpora_is_named() {
    let Some(found) = in_corpus("atk-dns-tunnel.pcap", ID) else { return };
    assert_eq!(brief(&found), [(Severity::High, "10.30.28.90", "10.30.28.94", Some(53))], "{found:#?}");
    assert!(found[0].summary.contains("tunnel.com") && found[0].observed >= 15.0, "{}", found[0].summary);
}

#[test]
fn long_names_are_found_with_and_without_a_parent() {
    let mut random = random(1);
    let mut made = Made::default();
    for number in 0..40 {
        let (one, two) = (label(&mut random, 50), label(&mut random, 50));
        ask(&mut made, number * S, &format!("{one}.{two}.t.evil.co.uk"), 1);
        ask(&mut made, 1000 * S + number * S, &label(&mut random, 60), 16);
    }
    let found = made.found(ID);
    let summaries: Vec<_> = found.iter().map(|finding| finding.summary.as_str()).collect();
    assert_eq!(found.len(), 2, "{summaries:?}");
    assert!(summaries.iter().any(|text| text.contains("evil.co.uk")));
    assert!(summaries.iter().any(|text| text.contains("without a parent")));
}

#[test]
fn very_many_short_names_are_low() {
    let mut random = random(2);
    let mut made = Made::default();
    for number in 0..120 {
        ask(&mut made, number * 20 * S, &format!("{}.evil.com", label(&mut random, 12)), 1);
    }
    assert_eq!(brief(&made.found(ID)), [(Severity::Low, "192.168.1.5", "192.168.1.1", Some(53))]);
}

#[test]
fn lookups_of_hosts_lists_and_local_names_are_quiet() {
    let mut random = random(3);
    let mut made = Made::default();
    for number in 0..200_i64 {
        let at = number * S;
        let code = label(&mut random, 50);
        let n = number as u8;
        // Long names in reverse, in lists, in local domains; hosts of a cloud, of two types, and again.
        ask(&mut made, at, &format!("{}ip6.arpa", format!("{:x}.{:x}.", n & 15, n >> 4).repeat(16)), 12);
        ask(&mut made, at, &format!("{n}.2.0.192.zen.spamhaus.org"), 1);
        ask(&mut made, at, &format!("{n}.2.0.192.some.other.list.net"), 1);
        ask(&mut made, at, &format!("{code}.corp"), 1);
        ask(&mut made, at, &format!("{code}.local"), 1);
        ask(&mut made, at, &format!("{}.{code}.avqs.mcafee.com", label(&mut random, 40)), 1);
        for kind in [1, 28] {
            ask(&mut made, at, &format!("host-{}-{n}.example-cdn.com", number / 2), kind);
        }
        // A few long names, each again and again.
        ask(
            &mut made,
            at,
            &format!("{}.{}.verify.example-ca.com", "a1b2c3d4e5f60718293a4b5c6d7e8f90", n % 9),
            1,
        );
    }
    assert_eq!(loud(made.found(ID)), []);
    // mDNS.
    let mut made = Made::default();
    for number in 0..100 {
        let name = format!("{}.{}._tcp.example.com", label(&mut random, 50), label(&mut random, 20));
        made.udp(number * S, ([192, 168, 1, 5], 5353), ([224, 0, 0, 251], 5353), &dns(&name, 12, None));
    }
    assert_eq!(made.found(ID), []);
}

#[test]
fn parents_are_bounded_and_survive_a_restart() {
    let mut detector = DnsTunnels::new(Limits { parents: 16, ..Limits::default() });
    for number in 0..100 {
        detector.names.entry((Addr::v4(US.0), number), 0, Names::default);
    }
    assert!(detector.names.len() <= 16 && detector.saturated() >= 84);
    let mut other = DnsTunnels::new(Limits::default());
    other.restore(saved(&detector.save()));
    assert_eq!(other.names.len(), detector.names.len());
}
