//! Findings over captures that nobody here wrote: offenders are named, traps are left alone, and whatever else is found is
//! listed, so that a false alarm shows. Offenders and traps are those of the corpora's `EXPECT.json`.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "helpers of tests")]

#[path = "detect/made.rs"]
mod made;
mod support;
#[path = "detect/wire.rs"]
mod wire;

use std::fmt::Write as _;
use std::path::Path;

use support::corpora::{captures, corpora};
use tapkeep::capture::replay::Import;
use tapkeep::detect::stream::{Output, Stream};
use tapkeep::detect::{Finding, Settings, Severity};
use tapkeep::packet::Place;

/// The findings of a capture as they are in the end, in the order in which they were raised.
fn findings(path: &Path) -> Vec<Finding> {
    let mut stream = Stream::new(&Settings::default());
    let mut out = Output::default();
    each(path, |link, place, frame, precision| stream.frame(link, place, frame, precision, &mut out));
    stream.finish(&mut out);
    latest(out.findings)
}

/// What is said of the tap behind a capture.
fn tap(path: &Path) -> Vec<String> {
    let mut stream = Stream::new(&Settings::default());
    let mut out = Output::default();
    each(path, |link, place, frame, precision| stream.frame(link, place, frame, precision, &mut out));
    stream.finish(&mut out);
    stream.tap().texts()
}

fn each(
    path: &Path,
    mut take: impl FnMut(
        tapkeep::packet::LinkType,
        Place,
        &tapkeep::packet::Frame<'_>,
        tapkeep::packet::Precision,
    ),
) {
    let Ok(mut import) = Import::open(path) else { return };
    let mut offset = 24;
    while let Ok(Some(packet)) = import.next() {
        take(packet.link, Place { file: 1, offset }, &packet.frame, packet.precision);
        offset += 16 + packet.frame.data.len() as u64;
    }
}

/// With what was observed rounded: JSON does not keep the last bit of a fraction.
fn rounded(found: Vec<Finding>) -> Vec<Finding> {
    found.into_iter().map(|f| Finding { observed: (f.observed * 1e9).round() / 1e9, ..f }).collect()
}

/// Of findings that were told more than once, the last telling.
fn latest(told: Vec<Finding>) -> Vec<Finding> {
    let mut latest: Vec<Finding> = Vec::new();
    for finding in told {
        match latest.iter_mut().find(|old| old.id == finding.id) {
            Some(old) => *old = finding,
            None => latest.push(finding),
        }
    }
    latest
}

fn line(finding: &Finding) -> String {
    let Finding { detector, severity, src, dst, port, .. } = finding;
    let severity = serde_json::to_value(severity).unwrap();
    let name = |who: &Option<String>| who.clone().unwrap_or_else(|| "*".to_owned());
    let mut line = format!("{detector} {} {} > {}", severity.as_str().unwrap(), name(src), name(dst));
    if let Some(port) = port {
        write!(line, " :{port}").unwrap();
    }
    line
}

/// Findings over a stream that is stopped in the middle and goes on with the state that was saved there. As after a crash it is read
/// again from before that place.
fn interrupted(path: &Path) -> Vec<Finding> {
    let mut number = 0_u64;
    each(path, |_, _, _, _| number += 1);
    let (mut first, mut second) = (Stream::new(&Settings::default()), Stream::new(&Settings::default()));
    let (mut out, mut at) = (Output::default(), 0);
    let mut state = None;
    each(path, |link, place, frame, precision| {
        at += 1;
        if at <= number / 2 {
            first.frame(link, place, frame, precision, &mut out);
        } else if state.is_none() {
            state = Some((first.save().to_string(), place));
        }
    });
    if let Some((state, place)) = state {
        second.restore(serde_json::from_str(&state).unwrap(), Some(place));
    }
    each(path, |link, place, frame, precision| second.frame(link, place, frame, precision, &mut out));
    second.finish(&mut out);
    latest(out.findings)
}

#[test]
fn a_restart_with_saved_state_gives_the_same_findings() {
    let Some(corpora) = corpora() else { return };
    for path in captures(&corpora) {
        assert_eq!(rounded(interrupted(&path)), rounded(findings(&path)), "{}", path.display());
    }
}

/// What is found in the corpora, of severity `low` and above, and what is said of the tap behind each, in the order in which it was raised.
const KNOWN: &str = include_str!("detect/corpora.txt");

#[test]
fn every_finding_in_the_corpora_is_one_that_we_know() {
    let Some(corpora) = corpora() else { return };
    let mut found = String::new();
    for path in captures(&corpora) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for text in tap(&path) {
            writeln!(found, "{name}: tap: {text}").unwrap();
        }
        for finding in findings(&path).iter().filter(|finding| finding.severity >= Severity::Low) {
            writeln!(found, "{name}: {}", line(finding)).unwrap();
        }
    }
    if std::env::var_os("TAPKEEP_UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/detect/corpora.txt"), &found)
            .unwrap();
        return;
    }
    let missing: Vec<_> = KNOWN.lines().filter(|known| !found.lines().any(|line| line == *known)).collect();
    let new: Vec<_> = found.lines().filter(|line| !KNOWN.lines().any(|known| known == *line)).collect();
    assert!(missing.is_empty() && new.is_empty(), "not found: {missing:#?}\nnot known: {new:#?}");
    assert_eq!(found, KNOWN);
}

/// The detector of a class of `EXPECT.json`.
fn detector(class: &str) -> &str {
    match class {
        "portscan_vertical" => "port_scan",
        "portscan_horizontal" => "host_sweep",
        "flood_other" => "flood",
        "bruteforce" => "brute_force",
        "plaintext_credentials" => "cleartext_credentials",
        "arp_anomaly" => "arp_spoof",
        other => other,
    }
}

/// The addresses in a text, in their order.
fn addresses(text: &str) -> Vec<String> {
    let words = text.split([' ', ',', ':', ';', '(']).chain(text.split([' ', ',']));
    words.filter(|word| word.parse::<std::net::IpAddr>().is_ok()).map(str::to_owned).collect()
}

#[test]
fn offenders_are_named_and_traps_are_left_alone() {
    let Some(corpora) = corpora() else { return };
    let expect = std::fs::read(corpora.join("EXPECT.json")).unwrap();
    let expect: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&expect).unwrap();
    let mut checked = 0_usize;
    for (class, files) in &expect {
        for (file, texts) in files.as_object().unwrap() {
            let found = findings(&corpora.join(file));
            for text in texts.as_array().unwrap().iter().map(|text| text.as_str().unwrap()) {
                let who = addresses(text);
                let names = |finding: &Finding, who: &String| {
                    finding.src.as_ref() == Some(who) || finding.dst.as_ref() == Some(who)
                };
                checked += 1;
                match (class.as_str(), file.as_str()) {
                    ("backscatter_not_a_scan", _) => {
                        assert!(
                            !found.iter().any(|f| f.severity > Severity::Info && names(f, &who[0])),
                            "{found:?}"
                        );
                    }
                    // A harmless poll of a router.
                    ("beacon", "mix-home-alerts.pcap") => {
                        assert!(found.iter().all(|f| f.severity == Severity::Info), "{found:?}");
                    }
                    // Anonymous: no secret.
                    ("plaintext_credentials", "mix-emix.pcap") => {}
                    _ => {
                        let of = found
                            .iter()
                            .filter(|f| f.detector == detector(class) && f.severity > Severity::Info);
                        let of: Vec<_> = of.collect();
                        assert!(!of.is_empty(), "{class} in {file}: {text}");
                        if let [one, ..] = &who[..] {
                            assert!(of.iter().any(|f| names(f, one)), "{class} in {file}: {text}: {of:?}");
                        }
                    }
                }
            }
        }
    }
    assert_eq!(
        checked,
        expect
            .values()
            .flat_map(|f| f.as_object().unwrap().values())
            .map(|t| t.as_array().unwrap().len())
            .sum::<usize>()
    );
    assert!(checked >= 21, "{checked}");
}

#[test]
fn counts_are_those_of_other_tools() {
    let Some(corpora) = corpora() else { return };
    // tshark: different ports (hosts) to which a SYN went and from which no SYN-ACK came; addresses
    // asked for by ARP; SYNs; echo requests.
    for (file, detector, count) in [
        ("atk-portscan-plc.pcap", "port_scan", 973),
        ("atk-portscan-vertical.pcap", "port_scan", 10),
        ("atk-portscan-445.pcap", "host_sweep", 9),
        ("atk-nmap-versions.pcap", "host_sweep", 245),
        ("atk-synflood.pcap", "syn_flood", 200),
        ("atk-smurf6.pcap", "flood", 1000),
    ] {
        let found = findings(&corpora.join(file));
        let of: Vec<_> = found.iter().filter(|finding| finding.detector == detector).collect();
        let [one] = of[..] else { panic!("{file}: {of:?}") };
        assert_eq!((one.count, one.observed), (count, count as f64), "{file}");
        assert!(
            one.observed >= one.threshold && !one.captures.0.is_empty() && !one.filter.is_empty(),
            "{one:?}"
        );
    }
}

#[test]
fn packets_lost_before_the_tap_port_are_told_in_percent() {
    let Some(corpora) = corpora() else { return };
    for lost in [0, 3] {
        let mut stream = Stream::new(&Settings::default());
        let (mut out, mut number) = (Output::default(), 0_u64);
        each(&corpora.join("mix-office.pcap"), |link, place, frame, precision| {
            // Every thirty-third frame that is large enough to carry data.
            if frame.data.len() > 100 {
                number += 1;
                if lost > 0 && number % 33 == 0 {
                    return;
                }
            }
            stream.frame(link, place, frame, precision, &mut out);
        });
        stream.finish(&mut out);
        let texts = stream.tap().texts();
        if lost == 0 {
            assert!(texts.is_empty(), "{texts:?}");
        } else {
            assert_eq!(texts, ["about 3 % lost before the tap port"], "{:?}", stream.tap());
        }
    }
}
