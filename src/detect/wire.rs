//! For tests of detectors: frames made by hand, real captures, and whether tshark takes a finding's filter.
#![allow(clippy::explicit_write, reason = "the test harness swallows `eprintln!`")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::stream::{Output, Stream};
use super::{Alerts, Detector, Finding, Scene, Seen, Severity};
use crate::capture::replay::Import;
use crate::flow::table::Arrival;
use crate::packet::decode::decode;
use crate::packet::{Frame, LinkType, Nanos, Place, Precision};

pub(super) const S: Nanos = 1_000_000_000;
pub(super) const MS: Nanos = 1_000_000;

/// When captures made here begin.
const BEGIN: Nanos = 1_700_000_000 * S;

/// A capture made by hand: stamps, counted from its beginning, and Ethernet frames.
#[derive(Default, Clone)]
pub(super) struct Wire(pub(super) Vec<(Nanos, Vec<u8>)>);

pub(super) type M = [u8; 6];
pub(super) const ALL: M = [0xff; 6];

/// The hardware address of the machine of that number.
pub(super) fn mac(number: u8) -> M {
    [0x52, 0x54, 0, 0x12, 0x34, number]
}

pub(super) fn eth(src: M, dst: M, kind: u16, payload: &[u8]) -> Vec<u8> {
    [&dst[..], &src, &kind.to_be_bytes(), payload].concat()
}

/// An IPv4 packet: `bits` are flags and fragment offset.
pub(super) fn ip4(
    src: [u8; 4],
    dst: [u8; 4],
    proto: u8,
    ttl: u8,
    id: u16,
    bits: u16,
    payload: &[u8],
) -> Vec<u8> {
    let len = (20 + payload.len()) as u16;
    let mut header = vec![0x45, 0];
    for word in [len, id, bits] {
        header.extend(word.to_be_bytes());
    }
    header.extend([ttl, proto, 0, 0]);
    [&header[..], &src, &dst, payload].concat()
}

pub(super) fn ip6(src: [u8; 16], dst: [u8; 16], proto: u8, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend((payload.len() as u16).to_be_bytes());
    header.extend([proto, ttl]);
    [&header[..], &src, &dst, payload].concat()
}

pub(super) fn udp(src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [src, dst, 8 + payload.len() as u16, 0] {
        bytes.extend(word.to_be_bytes());
    }
    [&bytes[..], payload].concat()
}

pub(super) fn tcp(src: u16, dst: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [src.to_be_bytes(), dst.to_be_bytes()].concat();
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    [&bytes[..], payload].concat()
}

impl Wire {
    pub(super) fn push(&mut self, at: Nanos, frame: Vec<u8>) {
        self.0.push((at, frame));
    }

    /// ARP: operation, sender, target.
    pub(super) fn arp(&mut self, at: Nanos, to: M, op: u8, sender: (M, [u8; 4]), target: (M, [u8; 4])) {
        let head = [0, 1, 8, 0, 6, 4, 0, op];
        let body = [&head[..], &sender.0, &sender.1, &target.0, &target.1].concat();
        self.push(at, eth(sender.0, to, 0x0806, &body));
    }

    /// Somebody asks who has an address.
    pub(super) fn asks(&mut self, at: Nanos, who: (M, [u8; 4]), whom: [u8; 4]) {
        self.arp(at, ALL, 1, who, ([0; 6], whom));
    }

    /// Somebody answers another.
    pub(super) fn answers(&mut self, at: Nanos, who: (M, [u8; 4]), whom: (M, [u8; 4])) {
        self.arp(at, whom.0, 2, who, whom);
    }

    pub(super) fn udp4(
        &mut self,
        at: Nanos,
        macs: (M, M),
        from: ([u8; 4], u16),
        to: ([u8; 4], u16),
        payload: &[u8],
    ) {
        let packet = ip4(from.0, to.0, 17, 64, 1, 0, &udp(from.1, to.1, payload));
        self.push(at, eth(macs.0, macs.1, 0x0800, &packet));
    }

    pub(super) fn tcp4(
        &mut self,
        at: Nanos,
        from: ([u8; 4], u16),
        to: ([u8; 4], u16),
        flags: u8,
        payload: &[u8],
    ) {
        let packet = ip4(from.0, to.0, 6, 64, 1, 0, &tcp(from.1, to.1, flags, payload));
        self.push(at, eth(mac(1), mac(2), 0x0800, &packet));
    }

    /// ICMPv6 from a machine, link-local, with its hop limit.
    pub(super) fn icmp6(
        &mut self,
        at: Nanos,
        macs: (M, M),
        src: [u8; 16],
        dst: [u8; 16],
        ttl: u8,
        message: &[u8],
    ) {
        self.push(at, eth(macs.0, macs.1, 0x86dd, &ip6(src, dst, 58, ttl, message)));
    }

    /// As a capture file.
    pub(super) fn write(&self, path: &Path) {
        let mut bytes = Vec::new();
        for word in [0xa1b2_c3d4_u32, 2 | 4 << 16, 0, 0, 262_144, 1] {
            bytes.extend(word.to_le_bytes());
        }
        for (at, frame) in &self.0 {
            let at = BEGIN + at;
            for word in [(at / S) as u32, (at % S / 1000) as u32, frame.len() as u32, frame.len() as u32] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(frame);
        }
        std::fs::write(path, bytes).unwrap();
    }

    /// What a detector finds; the latest of each.
    pub(super) fn watched_by(&self, detector: &mut dyn Detector) -> Vec<Finding> {
        self.watched_in(&Scene::default(), detector)
    }

    /// What a detector finds: shown to it alone and through the whole stream alike; each filter selects packets.
    pub(super) fn found_by(&self, detector: &mut dyn Detector, ids: &[&str]) -> Vec<Finding> {
        let found = self.watched_by(detector);
        all_select(self, &found);
        let (mut stream, mut out) = (Stream::new(&super::Settings::default()), Output::default());
        let mut offset = 24;
        for (at, data) in &self.0 {
            let at = BEGIN + at;
            let (sec, frac) = ((at / S) as u32, (at % S) as u32);
            let frame = Frame { sec, frac, wire_len: data.len() as u32, data };
            stream.frame(LinkType::ETHERNET, Place { file: 1, offset }, &frame, Precision::Nano, &mut out);
            offset += 16 + data.len() as u64;
        }
        stream.finish(&mut out);
        let told = out.findings.into_iter().filter(|finding| ids.contains(&finding.detector.as_str()));
        let whole: BTreeMap<String, Finding> = told.map(|finding| (finding.id.clone(), finding)).collect();
        let alone: BTreeMap<String, Finding> =
            found.iter().map(|one| (one.id.clone(), one.clone())).collect();
        assert_eq!(whole, alone);
        found
    }

    pub(super) fn watched_in(&self, scene: &Scene, detector: &mut dyn Detector) -> Vec<Finding> {
        let (mut alerts, mut found) = (Alerts::default(), BTreeMap::new());
        let mut offset = 24;
        for (at, frame) in &self.0 {
            let wire_len = frame.len() as u32;
            let arrival =
                Arrival { at: BEGIN + at, now: BEGIN + at, place: Place { file: 1, offset }, wire_len };
            offset += 16 + u64::from(wire_len);
            show((detector, scene), &mut alerts, LinkType::ETHERNET, frame, arrival, &mut found);
        }
        told(&mut alerts, found)
    }
}

fn show(
    (detector, scene): (&mut dyn Detector, &Scene),
    alerts: &mut Alerts,
    link: LinkType,
    frame: &[u8],
    arrival: Arrival,
    found: &mut BTreeMap<String, Finding>,
) {
    let packet = decode(link, frame, arrival.wire_len);
    let captured = frame.len() as u32;
    alerts.look_at(arrival);
    let seen = Seen { packet: &packet, arrival, captured, flow: None, from_originator: true };
    detector.packet(&seen, scene, alerts);
    found.extend(alerts.take_raised().map(|finding| (finding.id.clone(), finding)));
}

fn told(alerts: &mut Alerts, mut found: BTreeMap<String, Finding>) -> Vec<Finding> {
    alerts.tell_all();
    found.extend(alerts.take_raised().map(|finding| (finding.id.clone(), finding)));
    let mut found: Vec<_> = found.into_values().collect();
    found.sort_by_key(|finding| (finding.first_seen, finding.id.clone()));
    found
}

/// Where the corpora are, if they are.
pub(super) fn corpora() -> Option<PathBuf> {
    let path = std::env::var_os("TAPKEEP_CORPORA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora"), PathBuf::from);
    path.is_dir().then_some(path).or_else(|| skip("no corpora; set TAPKEEP_CORPORA"))
}

fn skip<T>(why: &str) -> Option<T> {
    assert!(std::env::var("TAPKEEP_TEST_REQUIRE").as_deref() != Ok("1"), "{why}");
    writeln!(std::io::stderr(), "SKIPPED: {why}").unwrap();
    None
}

/// What a detector finds in a capture of the corpora, low and above; `None` if they are not there.
pub(super) fn in_corpus(name: &str, detector: &mut dyn Detector) -> Option<Vec<Finding>> {
    let path = corpora()?.join(name);
    let found = in_corpus_all(name, detector);
    select(&path, &found);
    Some(found.into_iter().filter(|finding| finding.severity >= Severity::Low).collect())
}

fn in_corpus_all(name: &str, detector: &mut dyn Detector) -> Vec<Finding> {
    let path = corpora().unwrap().join(name);
    let mut import = Import::open(&path).unwrap();
    let (mut alerts, mut found) = (Alerts::default(), BTreeMap::new());
    let (mut now, mut offset) = (0, 24);
    while let Some(imported) = import.next().unwrap() {
        let (frame, at) = (imported.frame, imported.frame.nanos(imported.precision));
        now = at.max(now);
        let arrival = Arrival { at, now, place: Place { file: 1, offset }, wire_len: frame.wire_len };
        offset += 16 + frame.data.len() as u64;
        show((detector, &Scene::default()), &mut alerts, imported.link, frame.data, arrival, &mut found);
    }
    told(&mut alerts, found)
}

/// Checks that tshark takes the filter of each finding, and that each selects packets.
pub(super) fn select(capture: &Path, found: &[Finding]) {
    // One run for many: it takes a second to start.
    for some in found.chunks(40) {
        assert!(
            some.iter().all(|finding| !finding.filter.is_empty() && !finding.filter.contains(',')),
            "{some:#?}"
        );
        let filters: Vec<_> = some.iter().map(|finding| finding.filter.as_str()).collect();
        let stat = format!("io,stat,0,{}", filters.join(","));
        let Ok(out) = Command::new("tshark").arg("-r").arg(capture).args(["-q", "-z", &stat]).output() else {
            skip::<()>("no tshark");
            return;
        };
        assert!(out.status.success(), "{stat}: {}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8_lossy(&out.stdout);
        let row = text.lines().rfind(|line| line.contains("<>")).unwrap();
        // Frames and bytes of each.
        let numbers: Vec<u64> = row.split('|').filter_map(|cell| cell.trim().parse().ok()).collect();
        assert_eq!(numbers.len(), 2 * filters.len(), "{text}");
        for (filter, numbers) in filters.iter().zip(numbers.chunks(2)) {
            assert!(numbers[0] > 0, "{filter} selects nothing: {text}");
        }
    }
}

/// The same for findings in a capture made by hand.
pub(super) fn all_select(wire: &Wire, found: &[Finding]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made.pcap");
    // A capture of one moment has no intervals for tshark.
    let mut wire = wire.clone();
    let end = wire.0.last().map_or(0, |frame| frame.0);
    wire.push(end + S, eth(mac(1), mac(2), 0x88b5, &[0; 46]));
    wire.write(&path);
    select(&path, found);
}

/// Findings as detector, severity, source and destination: what tests compare.
pub(super) fn brief(found: &[Finding]) -> Vec<(&str, Severity, Option<&str>, Option<&str>)> {
    found.iter().map(|f| (f.detector.as_str(), f.severity, f.src.as_deref(), f.dst.as_deref())).collect()
}

/// Findings from low up.
pub(super) fn loud(found: Vec<Finding>) -> Vec<Finding> {
    found.into_iter().filter(|finding| finding.severity >= Severity::Low).collect()
}

#[test]
fn the_stream_shows_each_detector_what_it_wants() {
    use super::dialogue;
    let settings = super::Settings::default();
    for (name, id) in [
        ("atk-arp-many-macs.pcap", "arp_spoof"),
        ("atk-smurf6.pcap", "malformed"),
        ("mix-office.pcap", "weak_tls"),
        ("cid-combined.pcap.gz", "traceroute"),
        ("mix-emix.pcap", "dhcp_abuse"),
    ] {
        let mut all = super::settings::all(&settings);
        let detector = all.iter_mut().find(|detector| detector.id() == id).unwrap();
        let Some(alone) = in_corpus(name, detector.as_mut()) else { return };
        let mut whole = dialogue::analyse(&corpora().unwrap().join(name)).0;
        whole.retain(|finding| finding.detector == id && finding.severity >= Severity::Low);
        // Summaries may tell more where the flow is known.
        let counted = |found: &[Finding]| -> Vec<_> {
            let of = |f: &Finding| (f.severity, f.src.clone(), f.dst.clone(), f.count, f.filter.clone());
            let mut list: Vec<_> = found.iter().map(of).collect();
            list.sort();
            list
        };
        assert_eq!(counted(&whole), counted(&alone), "{name}");
    }
}
