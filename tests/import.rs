//! Capture files that nobody here wrote, sound and damaged, against tshark, capinfos, editcap and tcpdump.
//! They lie where `TAPKEEP_CORPORA` points, else in a folder beside the checkout. Without them these tests say
//! that they skip; with `TAPKEEP_TEST_REQUIRE=1` they fail.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::corpora::{captures, corpora};
use tapkeep::capture::filter::Filter;
use tapkeep::capture::replay::{End, Import, ImportError};
use tapkeep::packet::{LinkType, NANOS_PER_SEC, Nanos};

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Packet {
    stamp: Nanos,
    wire_len: u32,
    data: Vec<u8>,
    link: LinkType,
}

#[derive(Debug)]
struct Read {
    packets: Vec<Packet>,
    clamped: u64,
    end: Result<Option<End>, ImportError>,
}

fn read(path: &Path) -> Read {
    let mut read = Read { packets: Vec::new(), clamped: 0, end: Ok(None) };
    let mut import = match Import::open(path) {
        Ok(import) => import,
        Err(error) => return Read { end: Err(error), ..read },
    };
    loop {
        match import.next() {
            Ok(Some(packet)) => read.packets.push(Packet {
                stamp: packet.frame.nanos(packet.precision),
                wire_len: packet.frame.wire_len,
                data: packet.frame.data.to_vec(),
                link: packet.link,
            }),
            Ok(None) => {
                read.end = Ok(import.end());
                assert_eq!(import.total(), Some(import.position()), "{}", path.display());
                break;
            }
            Err(error) => {
                read.end = Err(error);
                break;
            }
        }
    }
    read.clamped = import.clamped();
    read
}

/// Decimal seconds as tshark prints them; none for a packet without a stamp.
fn nanos(seconds: &str) -> Option<Nanos> {
    let (whole, fraction) = seconds.split_once('.')?;
    Some(whole.parse::<Nanos>().unwrap() * NANOS_PER_SEC + fraction.parse::<Nanos>().unwrap())
}

#[test]
fn every_sound_capture_counts_as_it_does_elsewhere() {
    let Some(corpora) = corpora() else { return };
    let mut wrong = Vec::new();
    for path in captures(&corpora) {
        let truth = json(&corpora.join("truth").join(format!("{}.json", name(&path))));
        let counters = &truth["counters"];
        let read = read(&path);
        let sum = |of: fn(&Packet) -> u64| read.packets.iter().map(of).sum::<u64>();
        let got = [
            read.packets.len() as u64,
            sum(|packet| packet.wire_len.into()),
            sum(|packet| packet.data.len() as u64),
        ];
        let expected = ["packets", "bytes", "captured_bytes"].map(|key| counters[key].as_u64().unwrap());
        if got != expected || !matches!(read.end, Ok(Some(End::Clean))) || read.clamped != 0 {
            wrong.push(format!("{}: {got:?} instead of {expected:?}, {:?}", name(&path), read.end));
        }
    }
    assert!(wrong.is_empty(), "packets, bytes, captured bytes:\n{}", wrong.join("\n"));
}

#[test]
fn every_stamp_and_length_is_what_tshark_reads() {
    let Some(corpora) = corpora() else { return };
    for path in captures(&corpora).into_iter().filter(|path| fs::metadata(path).unwrap().len() < 1_000_000) {
        let tshark = Command::new("tshark")
            .args([
                "-n",
                "-T",
                "fields",
                "-e",
                "frame.time_epoch",
                "-e",
                "frame.len",
                "-e",
                "frame.cap_len",
                "-r",
            ])
            .arg(&path)
            .stderr(Stdio::null())
            .output()
            .expect("tshark is needed");
        let theirs: Vec<(Nanos, u32, usize)> = String::from_utf8(tshark.stdout)
            .unwrap()
            .lines()
            .map(|line| {
                let mut fields = line.split('\t');
                let mut field = || fields.next().unwrap();
                (nanos(field()).unwrap_or(0), field().parse().unwrap(), field().parse().unwrap())
            })
            .collect();
        let ours: Vec<_> = read(&path)
            .packets
            .iter()
            .map(|packet| (packet.stamp, packet.wire_len, packet.data.len()))
            .collect();
        assert_eq!(ours, theirs, "{}", name(&path));
    }
}

/// What editcap makes of a file: a nanosecond PCAP of this machine's byte order; none if it has several link
/// types.
fn converted(path: &Path) -> Option<Vec<(Nanos, u32, Vec<u8>)>> {
    let out = tempfile::NamedTempFile::new().unwrap();
    let status = Command::new("editcap")
        .args(["-F", "nsecpcap"])
        .args([path, out.path()])
        .stderr(Stdio::null())
        .status()
        .expect("editcap is needed");
    let bytes = fs::read(out.path()).unwrap();
    let mut rest = bytes.get(24..).filter(|_| status.success())?;
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let word = |at: usize| u32::from_ne_bytes(rest[at..at + 4].try_into().unwrap());
        let end = 16 + word(8) as usize;
        let stamp = Nanos::from(word(0)) * NANOS_PER_SEC + Nanos::from(word(4));
        packets.push((stamp, word(12), rest[16..end].to_vec()));
        rest = &rest[end..];
    }
    Some(packets)
}

#[test]
fn every_byte_is_what_editcap_reads() {
    let Some(corpora) = corpora() else { return };
    let mut compared = 0;
    for path in captures(&corpora) {
        let Some(theirs) = converted(&path) else { continue };
        let ours: Vec<_> = read(&path)
            .packets
            .into_iter()
            .map(|packet| (packet.stamp, packet.wire_len, packet.data))
            .collect();
        assert!(ours == theirs, "{}", name(&path));
        compared += 1;
    }
    assert!(compared > 30, "only {compared} files compared");
}

#[test]
fn every_damaged_capture_gives_what_others_get_from_it_and_no_harm() {
    let Some(corpora) = corpora() else { return };
    let folder = corpora.join("bad");
    let expected = json(&folder.join("EXPECTED.json"));
    let mut wrong = Vec::new();
    for path in captures(&folder) {
        let name = name(&path);
        let started = Instant::now();
        let read = read(&path);
        let least = expected[&name]["min_packets"].as_u64().unwrap();
        let got = read.packets.len() as u64;
        let silent = expected[&name]["peers_refuse"] == true
            && matches!(read.end, Ok(Some(End::Clean)))
            // A link type that tshark does not know is none of an importer's business.
            && expected[&name]["tcpdump"]["rc"] != 0;
        if got < least || silent || started.elapsed() > Duration::from_secs(2) {
            let error = match &read.end {
                Ok(end) => format!("{end:?}"),
                Err(error) => error.to_string(),
            };
            wrong.push(format!("{name:50} {got:6} {least:6}  {error}"));
        }
    }
    assert!(wrong.is_empty(), "file, packets, at least expected, end:\n{}", wrong.join("\n"));
}

#[test]
fn a_stamp_beyond_2106_is_clamped() {
    let Some(corpora) = corpora() else { return };
    let read = read(&corpora.join("bad/tcpdump-time_2106_overflow.pcapng"));
    assert_eq!((read.packets.len(), read.clamped), (1, 1));
    assert_eq!(read.packets[0].stamp / NANOS_PER_SEC, Nanos::from(u32::MAX));
}

#[test]
fn a_gzip_bomb_grows_no_memory() {
    const UNPACKED: usize = 512 << 20;
    let peak = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    // Peak memory is of a whole process, so the reading has one of its own.
    if let Some(bomb) = std::env::var_os("TAPKEEP_TEST_BOMB") {
        let before = peak();
        let read = read(Path::new(&bomb));
        assert!(matches!(read.end, Ok(Some(End::Clean))) && read.packets.is_empty(), "{:?}", read.end);
        assert!(peak() - before <= 4, "from {before} to {} MiB", peak());
        return;
    }
    // Half a gigabyte in foreign blocks of 16 MiB, all zero inside.
    let bomb = tempfile::NamedTempFile::new().unwrap();
    let mut packer =
        flate2::write::GzEncoder::new(File::create(bomb.path()).unwrap(), flate2::Compression::default());
    let section = [0x0a0d_0d0a_u32, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28];
    section.iter().for_each(|word| packer.write_all(&word.to_le_bytes()).unwrap());
    let block = [vec![0xad, 0x0b, 0, 0, 0, 0, 0, 1], vec![0; (16 << 20) - 12], vec![0, 0, 0, 1]].concat();
    for _ in 0..UNPACKED / block.len() {
        packer.write_all(&block).unwrap();
    }
    packer.finish().unwrap();
    let reading = Command::new(std::env::current_exe().unwrap())
        .args(["a_gzip_bomb_grows_no_memory", "--exact", "--nocapture"])
        .env("TAPKEEP_TEST_BOMB", bomb.path())
        .output()
        .unwrap();
    assert!(reading.status.success(), "{}", String::from_utf8_lossy(&reading.stderr));
}

#[test]
fn filters_pass_what_tcpdump_passes() {
    let Some(corpora) = corpora() else { return };
    let mut differing = 0;
    // Without `vlan` on files without tags, with it on any: there our rule and tcpdump's agree.
    for (file, expressions) in [
        (
            "mix-office.pcap",
            &["tcp port 443", "udp and not port 53", "greater 1000", "tcp[tcpflags] & tcp-syn != 0"][..],
        ),
        ("link-sll.pcap", &["tcp", "udp port 53", "less 80"]),
        ("link-raw-ip.pcap", &["ip", "tcp", "icmp"]),
        ("encap-vlan-mpls.pcap", &["vlan", "vlan and mpls", "not vlan", "vlan and ip"]),
        ("encap-vlan-collisions.pcap", &["vlan and tcp", "vlan 10", "vlan and vlan"]),
        (
            "encap-qinq-pppoe-v6.pcap",
            &["vlan and vlan", "vlan and vlan and pppoes", "vlan and vlan and pppoes and ip6"],
        ),
        ("snap-96.pcap", &["greater 97", "tcp", "ip[2:2] > 96"]),
    ] {
        let path = corpora.join(file);
        let packets = read(&path).packets;
        for expression in expressions {
            let tcpdump = Command::new("tcpdump")
                .args(["-n", "-t", "--count", "-r"])
                .args([path.as_os_str(), expression.as_ref()])
                .stderr(Stdio::null())
                .output()
                .expect("tcpdump is needed");
            let text = String::from_utf8(tcpdump.stdout).unwrap();
            let theirs: usize = text.split(' ').next().unwrap().parse().expect("a count");
            let filter = Filter::compile(expression, packets[0].link).unwrap();
            let passed = |packet: &&Packet| {
                filter.matches(&tapkeep::packet::Frame {
                    sec: 0,
                    frac: 0,
                    wire_len: packet.wire_len,
                    data: &packet.data,
                })
            };
            assert_eq!(packets.iter().filter(passed).count(), theirs, "{file}: {expression}");
            differing += usize::from(theirs > 0 && theirs < packets.len());
        }
    }
    assert!(differing > 12, "only {differing} expressions part their file");
}
