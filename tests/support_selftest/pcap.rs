//! The capture files built for tests are sound to tools that we did not write, and are read back as they were built.

use std::process::Command;

use crate::support::pcap::{
    Packet, Shape, assert_same_packets, capinfos_count, mix, parse_pcap, pcap_bytes, read_pcap,
    tcpdump_packets, tshark_packets, write_pcap,
};
use crate::support::process::run;
use crate::support::require;

#[test]
fn other_tools_read_what_we_build() {
    if !require(&["tcpdump", "tshark", "capinfos"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mix.pcap");
    let packets = mix(1000, 500);
    write_pcap(&file, &packets);
    assert_eq!(read_pcap(&file), packets);
    assert_eq!(tcpdump_packets(&file), packets);
    assert_eq!(tshark_packets(&file), packets);
    assert_eq!(capinfos_count(&file), 500);
    let mut tshark = Command::new("tshark");
    let check = ["-o", "ip.check_checksum:TRUE", "-T", "fields", "-e", "ieee8021ad.id", "-e", "vlan.id"];
    let fields = run(tshark.arg("-r").arg(&file).args(check).args([
        "-e",
        "udp.dstport",
        "-e",
        "ip.checksum.status",
        "-e",
        "udp.payload",
    ]));
    let text = fields.ok().text();
    for (line, packet) in text.lines().zip(&packets) {
        let fields: Vec<&str> = line.split('\t').collect();
        let seq = packet.seq().unwrap();
        let (outer, inner) = match seq % 10 {
            2 | 6 => ("", "42"),
            9 => ("200", "42"),
            _ => ("", ""),
        };
        assert_eq!(fields[..4], [outer, inner, "9", "1"], "packet {seq}");
        assert!(fields[4].replace(':', "").starts_with(&format!("{seq:016x}")), "packet {seq}: {line}");
    }
    assert_eq!(text.lines().count(), 500);
}

#[test]
fn every_byte_order_and_unit_reads_back() {
    let packets = mix(0, 20);
    for nano in [false, true] {
        for big_endian in [false, true] {
            let bytes = pcap_bytes(&packets, Shape { nano, big_endian, ..Shape::default() });
            assert_eq!(parse_pcap(&bytes), (packets.clone(), 0));
            assert_eq!(parse_pcap(&bytes[..bytes.len() - 1]).0, packets[..19]);
        }
    }
}

#[test]
fn numbers_are_found_behind_any_tags() {
    for (packet, seq) in mix(77, 40).iter().zip(77..) {
        assert_eq!(packet.seq(), Some(seq));
        assert!(!packet.data[packet.data.len() - 10..].contains(&0) || packet.data.len() < 80);
    }
    assert_eq!(Packet::whole(0, 0, vec![1, 2]).seq(), None);
}

#[test]
#[should_panic(
    expected = "2 packets instead of 3; the first 1 are the same, then there is Some(0.0 seq Some(2)"
)]
fn a_missing_packet_is_named() {
    let numbered = |seq| Packet::whole(0, 0, mix(seq, 1).remove(0).data);
    let all = [numbered(0), numbered(1), numbered(2)];
    assert_same_packets(&[all[0].clone(), all[2].clone()], &all);
}
