//! BPF words mean the same wherever they are given: to a live capture, to `extract`, to a file that was replayed. On untagged,
//! VLAN and QinQ frames, whose outer tag the kernel takes off before a live filter sees them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::path::Path;

use support::net::{NEEDS, Net, Pace};
use support::pcap::{Packet, Tag, assert_same_packets, frame, read_pcap, write_pcap};
use support::process::wait_until;
use support::recorded::{packets, sealed, wait_for_packets};
use support::require;
use support::service::{Setup, ask};

/// Frames sent: each combination of kinds several times.
const COUNT: u64 = 420;

/// One packet a number: what it is follows from the number alone, so that the expected ones can be told without BPF.
struct Kind {
    tags: Vec<Tag>,
    arp: bool,
    icmp: bool,
    host: u8,
    len: usize,
}

fn kind(seq: u64) -> Kind {
    let tag = |tpid, vid| Tag { tpid, vid };
    let tags = match seq % 7 {
        0..3 => vec![],
        3 => vec![tag(0x8100, 100)],
        4 => vec![tag(0x8100, 7)],
        5 => vec![tag(0x88a8, 100), tag(0x8100, 200)],
        _ => vec![tag(0x8100, 100), tag(0x8100, 200)],
    };
    Kind {
        tags,
        arp: seq % 5 == 1,
        icmp: seq % 5 == 2,
        host: (seq % 64) as u8,
        len: if seq.is_multiple_of(3) { 1_200 } else { 90 },
    }
}

fn packet(seq: u64) -> Packet {
    let kind = kind(seq);
    let mut data = frame(seq, kind.len, &kind.tags);
    let network = 12 + 4 * kind.tags.len();
    if kind.arp {
        data[network..network + 2].copy_from_slice(&[0x08, 0x06]);
        data[network + 2..network + 10].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    }
    if kind.icmp {
        data[network + 2 + 9] = 1;
        // Protocol 1 instead of 17: the checksum grows by the difference.
        let sum = u16::from_be_bytes([data[network + 12], data[network + 13]]);
        let (sum, carry) = sum.overflowing_add(16);
        data[network + 12..network + 14].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
    }
    Packet::whole(1_735_655_452, seq as u32, data)
}

fn sent() -> Vec<Packet> {
    (0..COUNT).map(packet).collect()
}

/// The numbers that pass, told by what a word means to a person: without the word `vlan` tags do not count; with it the frame
/// is taken as it lies in the file, where a `vlan` moves all that follows behind the tag.
fn expected(expression: &str) -> Vec<Packet> {
    let passes = |seq: &u64| {
        let kind = kind(*seq);
        let udp = !kind.arp && !kind.icmp;
        let outer = kind.tags.first().map(|tag| tag.vid);
        let inner = kind.tags.get(1).map(|tag| tag.vid);
        let len = kind.len - 4 * kind.tags.len();
        match expression {
            "" => true,
            "host 10.0.0.9" => kind.host == 9 && !kind.arp,
            "udp port 1033" => kind.host == 9 && udp,
            "vlan" => outer.is_some(),
            "vlan 100" => outer == Some(100),
            "vlan 100 and host 10.0.0.9" => {
                outer == Some(100) && inner.is_none() && kind.host == 9 && !kind.arp
            }
            "vlan 100 and vlan 200" => outer == Some(100) && inner == Some(200),
            "not vlan" => outer.is_none(),
            "arp" => kind.arp,
            "greater 1000" => len >= 1_000,
            "ether host 02:00:00:00:01:09" => kind.host == 9,
            "icmp or vlan 7" => outer == Some(7) || kind.icmp && outer.is_none(),
            "udp and not host 10.0.0.9" => udp && kind.host != 9,
            other => panic!("nobody said what {other} means"),
        }
    };
    (0..COUNT).filter(passes).map(packet).collect()
}

const EXPRESSIONS: [&str; 13] = [
    "",
    "host 10.0.0.9",
    "udp port 1033",
    "vlan",
    "vlan 100",
    "vlan 100 and host 10.0.0.9",
    "vlan 100 and vlan 200",
    "not vlan",
    "arp",
    "greater 1000",
    "ether host 02:00:00:00:01:09",
    "icmp or vlan 7",
    "udp and not host 10.0.0.9",
];

fn extract(data: &Path, dir: &Path, expression: &str) -> Vec<Packet> {
    let out = dir.join("extract.pcap");
    let mut args = vec!["extract", "-w", out.to_str().unwrap()];
    args.extend(expression.split_whitespace());
    let answer = ask(data, &args);
    assert_eq!(answer.code, Some(0), "{expression}: {}", answer.stderr);
    read_pcap(&out)
}

#[test]
fn tags_arrive_and_words_pass_the_same_live_extracted_and_replayed() {
    if !require(&NEEDS) {
        return;
    }
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let file = dir.path().join("send.pcap");
    write_pcap(&file, &sent());

    let replayed = dir.path().join("replayed");
    std::fs::create_dir(&replayed).unwrap();
    assert_eq!(ask(&replayed, &["replay", file.to_str().unwrap()]).code, Some(0));
    // One service a filter, all on the same port at once: they see the same frames.
    let mut services: Vec<_> = EXPRESSIONS
        .iter()
        .enumerate()
        .map(|(at, expression)| {
            let setup = Setup::new(dir.path().join(format!("live{at}"))).keep_all();
            setup
                .variable("TAPKEEP_CAPTURE_KERNEL_BUFFER", "4MiB")
                .variable("WIRESHARK_FILTER", expression)
                .start(&net)
        })
        .collect();
    services.iter_mut().for_each(support::service::Service::wait_until_capturing);
    assert_eq!(net.send(&file, Pace::PerSecond(5_000)), COUNT);
    wait_for_packets(services[0].data_dir(), COUNT as usize);
    let live: Vec<_> = services.iter().map(|service| service.data_dir().to_owned()).collect();
    for service in services {
        assert_eq!(service.stop().code, Some(0));
    }
    for (data, expression) in live.iter().zip(EXPRESSIONS) {
        let expected = expected(expression);
        assert!(!expected.is_empty(), "{expression} passes nothing");
        let check = |how: &str, got: &[Packet]| {
            let (found, wanted) = (got.len(), expected.len());
            assert_eq!(found, wanted, "packets that pass {expression:?} {how}");
            assert_same_packets(got, &expected);
        };
        check("live", &packets(&sealed(data)));
        check("extracted", &extract(&live[0], dir.path(), expression));
        check("replayed", &extract(&replayed, dir.path(), expression));
    }
}

#[test]
fn a_filter_outlives_a_reload_and_a_new_port() {
    if !require(&NEEDS) {
        return;
    }
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let file = dir.path().join("send.pcap");
    write_pcap(&file, &sent());
    let data = dir.path().join("data");
    let mut service = Setup::new(&data).keep_all().variable("WIRESHARK_FILTER", "arp").start(&net);
    service.wait_until_capturing();
    service.reload();
    net.delete();
    service.wait_for("waiting");
    net.create();
    service.wait_until_capturing();
    assert_eq!(net.send(&file, Pace::PerSecond(5_000)), COUNT);
    wait_until("the last", || support::recorded::visible_packets(&data).len() >= expected("arp").len());
    assert_eq!(service.stop().code, Some(0));
    assert_same_packets(&packets(&sealed(&data)), &expected("arp"));
}
