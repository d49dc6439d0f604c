use super::super::wire::{ALL, M, MS, S, Wire, brief, in_corpus, loud, mac};
use super::*;
use crate::detect::saved;
use Severity::{High, Info, Medium};

const ROUTER: (M, [u8; 4]) = ([0x52, 0x54, 0, 0x12, 0x34, 1], [192, 168, 1, 1]);
const VICTIM: (M, [u8; 4]) = ([0x52, 0x54, 0, 0x12, 0x34, 5], [192, 168, 1, 5]);
const EVIL: M = [0x52, 0x54, 0, 0x12, 0x34, 0x66];

fn detector() -> ArpSpoof {
    ArpSpoof::new(Limits::default())
}

fn found(wire: &Wire) -> Vec<Finding> {
    wire.found_by(&mut detector(), &["arp_spoof"])
}

/// Two machines that talk, from `begin` seconds on, each asking again every 30 s.
fn talk(wire: &mut Wire, begin: i64, end: i64) {
    for at in (begin..end).step_by(30) {
        wire.asks(at * S, VICTIM, ROUTER.1);
        wire.answers(at * S + MS, ROUTER, VICTIM);
    }
}

#[test]
fn what_arpspoof_sends_is_found_on_both_sides() {
    let mut wire = Wire::default();
    talk(&mut wire, 0, 60);
    for at in 0..30 {
        wire.answers((60 + 2 * at) * S, (EVIL, ROUTER.1), VICTIM);
        wire.answers((60 + 2 * at) * S + MS, (EVIL, VICTIM.1), ROUTER);
    }
    let found = loud(found(&wire));
    let evil = Some("52:54:00:12:34:66");
    assert_eq!(
        brief(&found),
        [("arp_spoof", High, evil, Some("192.168.1.1")), ("arp_spoof", High, evil, Some("192.168.1.5"))]
    );
    // Three unasked answers are the bound; the finding began with the first of all thirty.
    assert_eq!((found[0].threshold, found[0].observed, found[0].count), (3.0, 30.0, 30));
    assert_eq!(found[0].technique, "T1557.002");
}

#[test]
fn the_race_for_an_answer_is_found() {
    // Each question is answered by both, the forger second.
    let mut wire = Wire::default();
    for at in 0..5 {
        wire.asks(at * 30 * S, VICTIM, ROUTER.1);
        wire.answers(at * 30 * S + MS, ROUTER, VICTIM);
        wire.answers(at * 30 * S + 2 * MS, (EVIL, ROUTER.1), VICTIM);
    }
    let found = loud(found(&wire));
    assert_eq!(brief(&found), [("arp_spoof", Medium, None, Some("192.168.1.1"))]);
    assert!(found[0].summary.contains("52:54:00:12:34:66"), "{}", found[0].summary);
}

#[test]
fn gratuitous_claims_against_a_holder_who_defends_are_found() {
    let mut wire = Wire::default();
    talk(&mut wire, 0, 30);
    for at in 0..5 {
        wire.arp((40 + 2 * at) * S, ALL, 2, (EVIL, ROUTER.1), (ALL, ROUTER.1));
        wire.arp((41 + 2 * at) * S, ALL, 1, ROUTER, ([0; 6], ROUTER.1));
    }
    assert_eq!(brief(&loud(found(&wire))), [("arp_spoof", Medium, None, Some("192.168.1.1"))]);
}

#[test]
fn unasked_answers_in_the_name_of_a_whole_network_are_found() {
    let mut wire = Wire::default();
    for host in 10..30 {
        wire.answers(i64::from(host) * S, (EVIL, [192, 168, 1, host]), VICTIM);
    }
    assert_eq!(brief(&found(&wire)), [("arp_spoof", Medium, Some("52:54:00:12:34:66"), None)]);
}

#[test]
fn what_a_normal_network_does_is_info_at_most() {
    // Routers that hand over a virtual address, to and fro.
    let mut vrrp = Wire::default();
    for at in 0..10 {
        let holder = if at % 2 == 0 { [0, 0, 0x5e, 0, 1, 7] } else { mac(2) };
        vrrp.arp(at * S, ALL, 1, (holder, ROUTER.1), ([0; 6], ROUTER.1));
    }
    // Probes for addresses that others have.
    let mut probes = Wire::default();
    talk(&mut probes, 0, 60);
    for at in 0..10 {
        probes.asks((61 + at) * S, (EVIL, [0; 4]), ROUTER.1);
    }
    // A standby machine that takes over with its own hardware address and says so ten times, as keepalived does.
    let mut failover = Wire::default();
    talk(&mut failover, 0, 60);
    for at in 0..10 {
        failover.arp((61 + at / 5 * 5) * S, ALL, 2, (mac(9), ROUTER.1), (ALL, ROUTER.1));
    }
    // A new machine under an old address after hours.
    let mut silence = Wire::default();
    talk(&mut silence, 0, 60);
    silence.asks(7200 * S, (mac(8), VICTIM.1), ROUTER.1);
    // A router that answers for everybody who is asked for: proxy ARP.
    let mut proxy = Wire::default();
    for host in 10..60 {
        proxy.asks(i64::from(host) * S, VICTIM, [192, 168, 1, host]);
        proxy.answers(i64::from(host) * S + MS, (ROUTER.0, [192, 168, 1, host]), VICTIM);
    }
    // A machine that sleeps and wakes, which a sleep proxy stands in for, twice in half an hour.
    let mut sleep = Wire::default();
    for at in 0..2 {
        sleep.arp(at * 900 * S, ALL, 1, VICTIM, ([0; 6], VICTIM.1));
        sleep.arp((at * 900 + 300) * S, ALL, 1, (mac(7), VICTIM.1), ([0; 6], VICTIM.1));
    }
    for (name, wire, infos) in [
        ("vrrp", vrrp, true),
        ("probes", probes, false),
        ("failover", failover, true),
        ("silence", silence, true),
        ("proxy", proxy, true),
        ("sleep", sleep, true),
    ] {
        let found = found(&wire);
        assert!(found.iter().all(|finding| finding.severity == Info), "{name}: {found:?}");
        assert_eq!(!found.is_empty(), infos, "{name}: {found:?}");
    }
}

#[test]
fn where_requests_are_missing_nothing_is_unasked() {
    let mut wire = Wire::default();
    talk(&mut wire, 0, 60);
    for at in 0..10 {
        wire.answers((60 + at) * S, (EVIL, ROUTER.1), VICTIM);
    }
    for scene in
        [Scene { losing: true, ..Scene::default() }, Scene { both_directions: false, ..Scene::default() }]
    {
        assert!(loud(wire.watched_in(&scene, &mut detector())).is_empty());
    }
    assert_eq!(loud(found(&wire)).len(), 1);
}

#[test]
fn an_address_may_move_to_whom_dhcp_gave_it() {
    let ack = super::super::dhcp::tests::server_says(5, [192, 168, 1, 5], mac(8), [192, 168, 1, 1], &[]);
    let mut wire = Wire::default();
    talk(&mut wire, 0, 60);
    wire.udp4(61 * S, (ROUTER.0, mac(8)), (ROUTER.1, 67), (VICTIM.1, 68), &ack);
    wire.arp(62 * S, ALL, 1, (mac(8), VICTIM.1), ([0; 6], VICTIM.1));
    let found = found(&wire);
    assert_eq!(brief(&found), [("arp_spoof", Info, Some("52:54:00:12:34:08"), Some("192.168.1.5"))]);
    assert!(found[0].summary.ends_with("given by DHCP"), "{}", found[0].summary);
}

#[test]
fn the_fuzzed_corpus_names_its_address_and_the_others_are_quiet() {
    let Some(found) = in_corpus("atk-arp-many-macs.pcap", &mut detector()) else { return };
    assert!(found.iter().any(|finding| finding.dst.as_deref() == Some("192.168.1.104")), "{found:#?}");
    for name in [
        "mix-home-lan.pcapng",
        "atk-beacon-rat.pcap",
        "mix-emix.pcap",
        "mix-home-alerts.pcap",
        "atk-nmap-versions.pcap",
    ] {
        assert_eq!(in_corpus(name, &mut detector()), Some(vec![]), "{name}");
    }
}

#[test]
fn random_senders_fill_no_more_than_the_bound_and_are_counted() {
    let limits = Limits {
        claims: ClaimLimits { addresses: 64, ..ClaimLimits::default() },
        requests: 64,
        ..Limits::default()
    };
    let mut detector = ArpSpoof::new(limits);
    let mut wire = Wire::default();
    for number in 0..5000_u16 {
        let [a, b] = number.to_be_bytes();
        wire.asks(i64::from(number) * MS, ([2, 0, 0, 0, a, b], [10, 0, a, b]), [10, 1, a, b]);
    }
    wire.watched_by(&mut detector);
    assert!(detector.state.claims.len() <= 64 && detector.state.asked.len() <= 64);
    assert!(detector.saturated() > 5000);
}

#[test]
fn a_restart_forgets_no_holder() {
    let (mut before, mut after) = (Wire::default(), Wire::default());
    talk(&mut before, 0, 60);
    for at in 0..3 {
        after.answers((60 + at) * S, (EVIL, ROUTER.1), VICTIM);
    }
    let mut first = detector();
    assert!(before.watched_by(&mut first).is_empty());
    let mut second = detector();
    second.restore(saved(&first.save()));
    assert_eq!(loud(after.watched_by(&mut second)).len(), 1);
    assert!(loud(after.watched_by(&mut detector())).is_empty());
    // What does not fit is left aside.
    second.restore(serde_json::json!({"claims": 5}));
}
