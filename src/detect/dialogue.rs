//! For tests of detectors that watch flows: conversations made by hand and real captures, through the whole stream.
#![allow(clippy::explicit_write, reason = "the test harness swallows `eprintln!`")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::settings::Settings;
use super::stream::{Output, Stream};
use super::{Finding, Severity};
use crate::capture::replay::Import;
use crate::packet::{Frame, LinkType, Nanos, Place, Precision};

pub(super) const MS: Nanos = 1_000_000;
pub(super) const S: Nanos = 1000 * MS;

/// When captures made here begin, seconds.
const BEGIN: u32 = 1_700_000_000;

pub(super) type End = ([u8; 4], u16);

/// A capture made by hand: moments since its beginning, and Ethernet frames.
#[derive(Debug, Default, Clone)]
pub(super) struct Made(pub(super) Vec<(Nanos, Vec<u8>)>);

/// A TCP connection in the making.
pub(super) struct Session {
    client: End,
    server: End,
    sent: [u32; 2],
}

fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let bytes = parts.concat();
    let sum: u32 =
        bytes.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(*two.get(1).unwrap_or(&0))).sum();
    (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes()
}

impl Made {
    fn ip(&mut self, at: Nanos, src: [u8; 4], dst: [u8; 4], proto: u8, payload: &[u8]) {
        let len = (20 + payload.len()) as u16;
        let head = [&[0x45, 0][..], &len.to_be_bytes(), &[0, 1, 0, 0, 64, proto]].concat();
        let sum = checksum(&[&head, &src, &dst]);
        let macs = [2, 0, 0, 0, 0, dst[3], 2, 0, 0, 0, 0, src[3], 8, 0];
        self.0.push((at, [&macs[..], &head, &sum, &src, &dst, payload].concat()));
    }

    pub(super) fn udp(&mut self, at: Nanos, from: End, to: End, payload: &[u8]) {
        let len = (8 + payload.len()) as u16;
        let head = [from.1, to.1, len, 0].map(u16::to_be_bytes).concat();
        self.ip(at, from.0, to.0, 17, &[&head, payload].concat());
    }

    pub(super) fn echo(
        &mut self,
        at: Nanos,
        from: [u8; 4],
        to: [u8; 4],
        reply: bool,
        number: u16,
        data: &[u8],
    ) {
        let kind = if reply { 0 } else { 8 };
        let rest = [77_u16, number].map(u16::to_be_bytes).concat();
        let sum = checksum(&[&[kind, 0], &rest, data]);
        self.ip(at, from, to, 1, &[&[kind, 0], &sum[..], &rest, data].concat());
    }

    /// A connection that is opened.
    pub(super) fn open(&mut self, at: Nanos, client: End, server: End) -> Session {
        let mut session = Session { client, server, sent: [1000, 5000] };
        session.segment(self, at, true, 2, &[]);
        session.segment(self, at + MS, false, 0x12, &[]);
        session.segment(self, at + 2 * MS, true, 0x10, &[]);
        session
    }

    /// A try to connect that is refused.
    pub(super) fn refused(&mut self, at: Nanos, client: End, server: End) {
        let mut session = Session { client, server, sent: [1000, 5000] };
        session.segment(self, at, true, 2, &[]);
        session.segment(self, at + MS, false, 0x14, &[]);
    }

    /// As a capture file.
    pub(super) fn write(&self, path: &Path) {
        let mut bytes = Vec::new();
        for word in [0xa1b2_3c4d_u32, 2 | 4 << 16, 0, 0, 262_144, 1] {
            bytes.extend(word.to_le_bytes());
        }
        for (at, frame) in self.sorted() {
            let len = frame.len() as u32;
            for word in [BEGIN + (at / S) as u32, (at % S) as u32, len, len] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(frame);
        }
        std::fs::write(path, bytes).unwrap();
    }

    fn sorted(&self) -> Vec<&(Nanos, Vec<u8>)> {
        let mut frames: Vec<_> = self.0.iter().collect();
        frames.sort_by_key(|(at, _)| *at);
        frames
    }

    /// Gives it to a stream.
    pub(super) fn play(&self, stream: &mut Stream, out: &mut Output) {
        let mut offset = 24;
        for (at, data) in self.sorted() {
            let (sec, frac) = (BEGIN + (at / S) as u32, (at % S) as u32);
            let frame = Frame { sec, frac, wire_len: data.len() as u32, data };
            stream.frame(LinkType::ETHERNET, Place { file: 1, offset }, &frame, Precision::Nano, out);
            offset += 16 + data.len() as u64;
        }
    }

    /// What a detector finds in it, each once as it was told last; each filter selects packets of it.
    pub(super) fn found(&self, detector: &str) -> Vec<Finding> {
        self.found_with(detector, &Settings::default())
    }

    pub(super) fn found_with(&self, detector: &str, settings: &Settings) -> Vec<Finding> {
        let (mut stream, mut out) = (Stream::new(settings), Output::default());
        self.play(&mut stream, &mut out);
        stream.finish(&mut out);
        let found: Vec<_> = latest(out).into_iter().filter(|finding| finding.detector == detector).collect();
        if !found.is_empty() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("made.pcap");
            self.write(&path);
            found.iter().for_each(|finding| selects(&path, finding));
        }
        found
    }
}

impl Session {
    fn segment(&mut self, to: &mut Made, at: Nanos, by_client: bool, flags: u8, payload: &[u8]) {
        let (from, dest) = if by_client { (self.client, self.server) } else { (self.server, self.client) };
        let (own, other) = (usize::from(!by_client), usize::from(by_client));
        let ack = if flags & 0x10 == 0 { 0 } else { self.sent[other] };
        let mut head = [from.1, dest.1].map(u16::to_be_bytes).concat();
        head.extend([self.sent[own], ack].map(u32::to_be_bytes).concat());
        head.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        to.ip(at, from.0, dest.0, 6, &[&head, payload].concat());
        self.sent[own] += payload.len() as u32 + u32::from(flags & 3 != 0);
    }

    pub(super) fn client(&mut self, to: &mut Made, at: Nanos, payload: impl AsRef<[u8]>) {
        self.segment(to, at, true, 0x18, payload.as_ref());
    }

    pub(super) fn server(&mut self, to: &mut Made, at: Nanos, payload: impl AsRef<[u8]>) {
        self.segment(to, at, false, 0x18, payload.as_ref());
    }

    pub(super) fn close(mut self, to: &mut Made, at: Nanos) {
        self.segment(to, at, true, 0x11, &[]);
        self.segment(to, at + MS, false, 0x11, &[]);
        self.segment(to, at + 2 * MS, true, 0x10, &[]);
    }
}

/// Findings, each as it was told last, in the order in which they were first told.
fn latest(out: Output) -> Vec<Finding> {
    let mut found: BTreeMap<String, Finding> = BTreeMap::new();
    found.extend(out.findings.into_iter().map(|finding| (finding.id.clone(), finding)));
    found.into_values().collect()
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

/// All that comes of a capture, and what detectors save at its end.
pub(super) fn analyse(path: &Path) -> (Vec<Finding>, serde_json::Value) {
    let mut import = Import::open(path).unwrap();
    let (mut stream, mut out) = (Stream::new(&Settings::default()), Output::default());
    let mut offset = 24;
    while let Ok(Some(packet)) = import.next() {
        let place = Place { file: 1, offset };
        offset += 16 + packet.frame.data.len() as u64;
        stream.frame(packet.link, place, &packet.frame, packet.precision, &mut out);
    }
    stream.finish(&mut out);
    let state = stream.save();
    (latest(out), state)
}

/// What a detector finds in a capture of the corpora; each filter selects packets of it. `None` if they are not there.
pub(super) fn in_corpus(name: &str, detector: &str) -> Option<Vec<Finding>> {
    let path = corpora()?.join(name);
    let mut found = analyse(&path).0;
    found.retain(|finding| finding.detector == detector);
    found.iter().for_each(|finding| selects(&path, finding));
    Some(found)
}

/// Checks that tshark takes a finding's filter, and that it selects packets.
pub(super) fn selects(capture: &Path, finding: &Finding) {
    let filter = &finding.filter;
    let tshark = Command::new("tshark")
        .arg("-r")
        .arg(capture)
        .args(["-Y", filter, "-T", "fields", "-e", "frame.number"])
        .output();
    let Ok(out) = tshark else {
        skip::<()>("no tshark");
        return;
    };
    let frames = String::from_utf8_lossy(&out.stdout).lines().count();
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(!filter.is_empty() && out.status.success() && frames > 0, "{filter:?} selects {frames}: {told}");
}

/// Severity, source, destination and port of each: what tests compare.
pub(super) fn brief(found: &[Finding]) -> Vec<(Severity, &str, &str, Option<u16>)> {
    let text = |end: &Option<String>| end.as_deref().unwrap_or("-").to_owned().leak() as &str;
    found
        .iter()
        .map(|finding| (finding.severity, text(&finding.src), text(&finding.dst), finding.port))
        .collect()
}

/// Those from low up.
pub(super) fn loud(mut found: Vec<Finding>) -> Vec<Finding> {
    found.retain(|finding| finding.severity > Severity::Info);
    found
}

/// A DNS query or its answer (A record type unless said otherwise).
pub(super) fn dns(name: &str, kind: u16, answer: Option<u8>) -> Vec<u8> {
    let flags: u16 = answer.map_or(0x0100, |rcode| 0x8180 | u16::from(rcode));
    let mut bytes = [0x1234, flags, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend([kind, 1].map(u16::to_be_bytes).concat());
    bytes
}

/// Pseudo-random numbers, the same each time (Knuth's MMIX generator).
pub(super) fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below.max(1)
    }
}

/// The detectors that are tested with this.
const OURS: [&str; 8] = [
    "dns_tunnel",
    "dns_dga",
    "icmp_tunnel",
    "beacon",
    "brute_force",
    "cleartext_credentials",
    "long_connection",
    "large_transfer",
];

#[test]
fn the_captures_show_what_is_in_them_and_no_noise() {
    let Some(folder) = corpora() else { return };
    // EXPECT.json, and what was looked up with tshark: Windows's Telnet server in mix-emix asks for a password, and gets it.
    let known = [
        ("atk-beacon-rat.pcap", "beacon", "192.168.100.7", "86.136.67.231"),
        ("atk-dns-tunnel.pcap", "dns_tunnel", "10.30.28.90", "10.30.28.94"),
        ("atk-ftp-bruteforce.pcap", "brute_force", "192.168.56.1", "192.168.56.101"),
        ("atk-ftp-bruteforce.pcap", "cleartext_credentials", "192.168.56.1", "192.168.56.101"),
        ("atk-icmp-c2.pcap", "icmp_tunnel", "192.168.38.131", "192.168.38.172"),
        ("atk-portscan-plc.pcap", "cleartext_credentials", "10.200.1.174", "10.50.1.52"),
        ("atk-portscan-plc.pcap", "cleartext_credentials", "10.200.1.193", "10.50.1.52"),
        ("atk-portscan-plc.pcap", "cleartext_credentials", "10.200.1.86", "10.50.1.52"),
        ("atk-ssh-hydra.pcap", "brute_force", "192.168.1.2", "192.168.1.3"),
        ("cred-http-basic.pcap", "cleartext_credentials", "172.24.133.205", "172.24.133.205"),
        ("cred-pop3.pcap", "cleartext_credentials", "192.168.0.4", "212.227.15.166"),
        ("cred-telnet.pcap", "cleartext_credentials", "192.168.0.2", "192.168.0.1"),
        ("encap-tunnel-zoo.pcap", "icmp_tunnel", "192.168.5.208", "192.168.5.217"),
        ("mix-emix.pcap", "cleartext_credentials", "192.168.122.1", "192.168.122.145"),
    ];
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.contains(".pcap") {
            continue;
        }
        for finding in loud(analyse(&path).0) {
            if OURS.contains(&finding.detector.as_str()) {
                seen.push((name.clone(), finding.detector, finding.src.unwrap(), finding.dst.unwrap()));
            }
        }
    }
    seen.sort_unstable();
    let seen: Vec<_> = seen
        .iter()
        .map(|(name, id, src, dst)| (name.as_str(), id.as_str(), src.as_str(), dst.as_str()))
        .collect();
    assert_eq!(seen, known);
}
