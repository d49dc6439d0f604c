//! Scans, floods and innocents made by hand: what the corpora lack.

use std::net::Ipv4Addr;

use tapkeep::detect::{IgnoreRule, Settings, Severity};

use super::wire::{ACK, FIN, PSH, RST, SYN, URG, Wire, host, ip, name, quoted, udp};

const ME: &str = "192.168.7.1";
const YOU: &str = "192.168.7.2";

fn fnv(number: u64) -> u64 {
    number
        .to_le_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn stealth_scans_are_told_by_their_flags() {
    for (flags, words) in [
        (0, "no flags"),
        (FIN, "FIN alone"),
        (FIN | PSH | URG, "FIN, PSH and URG"),
        (FIN | ACK, "FIN and ACK to no connection"),
        (ACK, "ACK to no connection"),
        (SYN | FIN, "do not go together"),
    ] {
        let mut wire = Wire::new();
        for port in 1..=30 {
            wire.tcp((ip(ME), 40_000), (ip(YOU), port), flags, (1, 0), &[]);
            if port % 3 == 0 {
                wire.tcp((ip(YOU), port), (ip(ME), 40_000), RST | ACK, (0, 1), &[]);
            }
            wire.wait(50_000);
        }
        let all = wire.end();
        let found: Vec<_> = all.iter().filter(|finding| finding.detector == "stealth_scan").collect();
        let [scan] = found[..] else { panic!("{words}: {all:?}") };
        assert_eq!((&scan.src, &scan.dst, scan.count), (&name(ip(ME)), &name(ip(YOU)), 30), "{words}");
        assert!(scan.summary.contains(words), "{}", scan.summary);
        assert_eq!(scan.severity, Severity::Medium);
        // The victim, which answers some with resets, does nothing.
        assert!(!all.iter().any(|finding| finding.src == name(ip(YOU))), "{all:?}");
    }
}

#[test]
fn connections_that_were_open_before_we_looked_are_no_stealth_scan() {
    let mut wire = Wire::new();
    let server = (ip(YOU), 443);
    for port in 50_000..50_100 {
        wire.tcp(server, (ip(ME), port), ACK, (77, 99), &[]);
        wire.tcp((ip(ME), port), server, FIN | ACK, (99, 77), &[]);
    }
    wire.wait(10_000_000);
    let found = wire.end_of("stealth_scan");
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_fast_scan_is_counted_port_by_port_although_few_tries_are_remembered() {
    for refuses in [false, true] {
        let mut wire = Wire::new();
        for round in 0..2_u16 {
            for port in 1..=1000 {
                let me = (ip(ME), 40_000 + round);
                match port {
                    80 | 443 => wire.talk(me, (ip(YOU), port), 0),
                    _ if refuses => wire.refused(me, (ip(YOU), port)),
                    _ => wire.syn(me, (ip(YOU), port)),
                }
                wire.wait(2000);
            }
        }
        wire.wait(20_000_000);
        wire.arp(1, ip(ME), ip(YOU));
        // It is told while the stream goes on.
        assert!(wire.out.findings.iter().any(|finding| finding.detector == "port_scan"));
        let found = wire.end_of("port_scan");
        let [scan] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&scan.src, &scan.dst), (&name(ip(ME)), &name(ip(YOU))));
        assert_eq!((scan.count, scan.observed), (998, 998.0), "refuses: {refuses}");
    }
}

#[test]
fn nine_failed_ports_are_no_scan_and_neither_are_ten_of_a_host_that_answers() {
    let mut wire = Wire::new();
    for port in 1..=9 {
        wire.syn((ip(ME), 40_000), (ip(YOU), port));
    }
    assert!(wire.end_of("port_scan").is_empty());
    let mut wire = Wire::new();
    for port in 1..=24 {
        wire.syn((ip(ME), 40_000), (ip(YOU), port));
    }
    wire.talk((ip(ME), 41_000), (ip(YOU), 443), 1);
    assert!(wire.end_of("port_scan").is_empty());
}

#[test]
fn retransmissions_dead_servers_and_pollers_are_no_scans() {
    let mut wire = Wire::new();
    for round in 0..500_u16 {
        // Ever again the same three dead services, each SYN sent four times.
        for port in [80, 443, 8080] {
            for _ in 0..4 {
                wire.syn((ip(ME), 30_000 + round), (ip(YOU), port));
            }
        }
        wire.wait(5_000_000);
    }
    let found: Vec<_> = wire.end().into_iter().filter(|finding| finding.detector.contains("scan")).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn peers_of_a_file_sharing_network_are_no_scanners() {
    let mut wire = Wire::new();
    for peer in 0..400_u16 {
        let port = if peer % 3 == 0 { 6881 } else { 10_000 + (fnv(peer.into()) % 50_000) as u16 };
        let (me, it) = ((ip(ME), 20_000 + peer), (host([78, 3], peer), port));
        match peer % 5 {
            0 => wire.talk(me, it, 3),
            1 => wire.refused(me, it),
            _ => wire.syn(me, it),
        }
        let question = udp(6881, it.1, &[1; 60]);
        wire.udp((ip(ME), 6881), it, &[1; 60]);
        if peer % 2 == 0 {
            wire.icmp(it.0, ip(ME), 3, 3, &quoted(ip(ME), it.0, 17, &question[..8]));
        }
        wire.wait(1_000_000);
    }
    let found: Vec<_> =
        wire.end().into_iter().filter(|f| ["port_scan", "host_sweep"].contains(&&*f.detector)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_crawler_that_fails_here_and_there_is_no_sweep_and_one_that_mostly_fails_is() {
    for (fails, swept) in [(1, false), (9, true)] {
        let mut wire = Wire::new();
        for number in 0..300_u16 {
            let (me, it) = ((ip(ME), 20_000 + number), (host([78, 3], number), 443));
            if number % 10 < fails {
                wire.syn(me, it)
            } else {
                wire.talk(me, it, 1)
            }
            wire.wait(1_000_000);
        }
        assert_eq!(!wire.end_of("host_sweep").is_empty(), swept, "{fails} of ten");
    }
}

#[test]
fn udp_scans_show_by_unreachable_ports() {
    let mut wire = Wire::new();
    for port in 2000..2040 {
        wire.udp((ip(ME), 40_000), (ip(YOU), port), &[0; 10]);
        wire.icmp(ip(YOU), ip(ME), 3, 3, &quoted(ip(ME), ip(YOU), 17, &udp(40_000, port, &[])));
        wire.wait(100_000);
    }
    let found = wire.end_of("port_scan");
    let [scan] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&scan.src, &scan.dst, scan.count), (&name(ip(ME)), &name(ip(YOU)), 40));
}

#[test]
fn ip_protocol_scans_show() {
    let mut wire = Wire::new();
    for proto in 140..=160 {
        wire.ipv4(ip(ME), ip(YOU), proto, 0, &[0; 8]);
        wire.icmp(ip(YOU), ip(ME), 3, 2, &quoted(ip(ME), ip(YOU), proto, &[0; 8]));
        wire.wait(100_000);
    }
    let found = wire.end_of("port_scan");
    let [scan] = &found[..] else { panic!("{found:?}") };
    assert_eq!((scan.count, &scan.dst), (21, &name(ip(YOU))));
    assert!(scan.summary.contains("IP protocols"), "{}", scan.summary);
}

#[test]
fn sweeps_by_ping_and_arp_show_unless_everybody_answers() {
    for answers in [false, true] {
        let mut wire = Wire::new();
        for number in 1..=200_u16 {
            let it = host([192, 168], number);
            wire.arp(1, ip(ME), it);
            wire.icmp(ip(ME), it, 8, 0, &[0, 1, 0, number as u8]);
            if answers {
                wire.arp(2, it, ip(ME));
                wire.icmp(it, ip(ME), 0, 0, &[0, 1, 0, number as u8]);
            }
            wire.wait(100_000);
        }
        let found = wire.end_of("host_sweep");
        let techniques: Vec<_> =
            found.iter().map(|f| (f.technique.as_str(), f.count, f.src.clone())).collect();
        let swept = [("T1018", 200, name(ip(ME))), ("T1018", 200, name(ip(ME)))];
        assert_eq!(techniques, if answers { vec![] } else { swept.to_vec() });
    }
}

#[test]
fn a_victim_of_spoofing_is_no_scanner() {
    let mut wire = Wire::new();
    for number in 0..2000_u16 {
        let it = (host([78, 3], number), 1024 + number);
        let flags = if number % 2 == 0 { SYN | ACK } else { RST | ACK };
        wire.tcp((ip(YOU), 80), it, flags, (0, 1), &[]);
        wire.wait(1000);
    }
    let found = wire.end();
    assert!(found.iter().all(|f| f.severity == Severity::Info), "{found:?}");
}

#[test]
fn syn_floods_are_told_from_busy_servers() {
    for (server, flooded) in [("dead", true), ("half open", true), ("busy", false)] {
        let mut wire = Wire::new();
        for number in 0..2000_u16 {
            let (it, you) = ((host([78, 3], number), 1024 + number), (ip(YOU), 443));
            match server {
                "dead" => wire.syn(it, you),
                "half open" => {
                    wire.syn(it, you);
                    wire.tcp(you, it, SYN | ACK, (1, 1001), &[]);
                }
                _ => wire.talk(it, you, 1),
            }
            wire.wait(1000);
        }
        wire.wait(5_000_000);
        let found = wire.end_of("syn_flood");
        if !flooded {
            assert!(found.is_empty(), "{found:?}");
            continue;
        }
        let [flood] = &found[..] else { panic!("{server}: {found:?}") };
        assert_eq!((&flood.src, &flood.dst, flood.port), (&None, &name(ip(YOU)), Some(443)), "{server}");
        assert!(flood.observed >= 800.0 && flood.count >= 1900, "{flood:?}");
    }
}

#[test]
fn a_flood_of_random_targets_shows_by_its_rate() {
    let mut wire = Wire::new();
    for number in 0..5000_u64 {
        let (from, to) = (fnv(number) as u32 | 0x0100_0000, fnv(number + 1_000_000) as u32 | 0x0100_0000);
        wire.syn((Ipv4Addr::from(from & 0x7fff_ffff), 1234), (Ipv4Addr::from(to & 0x7fff_ffff), 80));
        wire.wait(300);
    }
    let found = wire.end_of("syn_flood");
    let [flood] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&flood.src, &flood.dst), (&None, &None));
}

#[test]
fn floods_of_icmp_udp_fragments_and_dhcp_show_and_honest_traffic_does_not() {
    let flooded = |make: &dyn Fn(&mut Wire, u16)| {
        let mut wire = Wire::new();
        for number in 0..6000 {
            make(&mut wire, number);
            wire.wait(200);
        }
        wire.end_of("flood")
    };
    let (me, you) = (ip(ME), ip(YOU));
    let pings = flooded(&|wire, number| wire.icmp(me, you, 8, 0, &[0, 1, (number >> 8) as u8, number as u8]));
    assert_eq!((pings.len(), &pings[0].src, &pings[0].dst), (1, &name(me), &name(you)));
    let datagrams = flooded(&|wire, number| wire.udp((me, number), (you, 53), &[0; 30]));
    assert_eq!((datagrams.len(), &datagrams[0].src, &datagrams[0].dst), (1, &name(me), &name(you)));
    let questions = flooded(&|wire, number| {
        wire.udp((me, number), (you, 53), &[0; 30]);
        wire.udp((you, 53), (me, number), &[0; 90]);
    });
    assert!(questions.is_empty(), "{questions:?}");
    let fragments = flooded(&|wire, _| wire.ipv4(me, you, 17, 0x2000 | 100, &[0; 80]));
    assert_eq!((fragments.len(), &fragments[0].src, &fragments[0].dst), (1, &name(me), &name(you)));
    let whole = flooded(&|wire, _| {
        wire.ipv4(me, you, 17, 0x2000, &[0; 1480]);
        wire.ipv4(me, you, 17, 185, &[0; 500]);
    });
    assert!(whole.is_empty(), "{whole:?}");
    let dhcp = flooded(&|wire, _| wire.udp((ip("0.0.0.0"), 68), (ip("255.255.255.255"), 67), &[1; 240]));
    assert!(dhcp.iter().any(|f| f.summary.contains("DHCP")), "{dhcp:?}");
}

#[test]
fn an_ignore_rule_silences_and_says_how_often() {
    let rule = IgnoreRule {
        detector: Some("port_scan".to_owned()),
        src: Some("192.168.7.0/24".parse().unwrap()),
        reason: "the scanner in the office".to_owned(),
        ..IgnoreRule::default()
    };
    let mut wire = Wire::with(&Settings { ignore: vec![rule.clone()], ..Settings::default() });
    let scan = |wire: &mut Wire| {
        for port in 1..=30 {
            wire.syn((ip(ME), 40_000), (ip(YOU), port));
        }
        wire.wait(5_000_000);
        wire.arp(1, ip(YOU), ip(ME));
    };
    scan(&mut wire);
    assert!(wire.out.findings.is_empty(), "{:?}", wire.out.findings);
    assert_eq!(
        wire.stream.ignored().map(|(rule, hits)| (rule.clone(), hits)).collect::<Vec<_>>(),
        [(rule, 1)]
    );
    // Without it, what it silenced is told with the next packet, and counted on.
    wire.stream.ignore(Vec::new());
    wire.arp(1, ip(YOU), ip(ME));
    assert_eq!(wire.out.findings.len(), 1, "{:?}", wire.out.findings);
    for port in 31..=60 {
        wire.syn((ip(ME), 40_000), (ip(YOU), port));
    }
    assert_eq!(wire.end_of("port_scan").len(), 1);
}

#[test]
fn memory_is_bounded_under_random_keys_and_a_slow_scanner_stays_known() {
    let settings = Settings::default();
    let mut wire = Wire::with(&settings);
    for number in 0..60_000_u64 {
        let (from, to) =
            (fnv(number) as u32 & 0x7fff_ffff | 0x0100_0000, fnv(number + 1_000_000) as u32 & 0x7fff_ffff);
        wire.syn(
            (Ipv4Addr::from(from), number as u16),
            (Ipv4Addr::from(to | 0x0100_0000), (number >> 3) as u16),
        );
        if number % 2000 == 0 {
            wire.syn((ip(ME), 40_000), (ip(YOU), 1 + (number / 2000) as u16));
        }
        wire.wait(4000);
    }
    assert!(wire.stream.counts().detectors_saturated > 0);
    let state = wire.stream.save();
    let sources = state["port_scan"].as_array().unwrap().len();
    let rates = state["flood"]["each"].as_array().unwrap().len();
    assert!(sources <= settings.scan.sources && rates <= settings.flood.targets, "{sources}, {rates}");
    let found = wire.end_of("port_scan");
    assert!(
        found.iter().any(|f| f.src == name(ip(ME)) && f.dst == name(ip(YOU)) && f.count == 30),
        "{found:?}"
    );
}

#[test]
fn one_direction_is_noticed_and_pauses_what_rests_on_answers() {
    let mut wire = Wire::new();
    for number in 0..50_u16 {
        let (me, it) = ((ip(ME), 20_000 + number), (host([78, 3], number), 443));
        wire.syn(me, it);
        for round in 0..6 {
            wire.tcp(me, it, PSH | ACK, (1001 + 100 * round, 5001), &[7; 100]);
        }
        wire.wait(200_000);
    }
    wire.wait(5_000_000);
    wire.arp(1, ip(ME), ip(YOU));
    assert_eq!(wire.stream.paused(), Some("only one direction seen"));
    assert_eq!(wire.stream.tap().texts(), ["only one direction seen"]);
    let found: Vec<_> = wire.end().into_iter().filter(|f| f.severity > Severity::Info).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_scan_does_not_look_like_one_direction() {
    let mut wire = Wire::new();
    for port in 1..=2000 {
        wire.syn((ip(ME), 40_000), (ip(YOU), port));
    }
    wire.wait(5_000_000);
    wire.arp(1, ip(ME), ip(YOU));
    assert_eq!((wire.stream.paused(), wire.stream.tap().texts()), (None, vec![]));
    assert_eq!(wire.stream.tap().syn_answered_permille, Some(0));
}

#[test]
fn frames_seen_twice_are_noticed_and_change_no_finding() {
    let play = |copies| {
        let mut wire = Wire::new();
        wire.copies = copies;
        for port in 1..=40 {
            wire.talk((ip(ME), 20_000 + port), (ip("192.168.7.5"), 443), 20);
            wire.refused((ip(ME), 40_000), (ip(YOU), port));
            wire.wait(100_000);
        }
        let doubled = wire.stream.tap().doubled;
        let found = wire.end_of("port_scan");
        (doubled, found.into_iter().map(|f| (f.src, f.dst, f.count)).collect::<Vec<_>>())
    };
    let (once, twice) = (play(1), play(2));
    assert_eq!((once.0, twice.0), (false, true));
    assert_eq!(once.1, [(name(ip(ME)), name(ip(YOU)), 40)]);
    assert_eq!(once.1, twice.1);
}
