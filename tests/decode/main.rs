//! Layers and Community IDs of captures that nobody here wrote, against tshark and pycommunityid. They lie where
//! `TAPKEEP_CORPORA` points, else in a folder beside the checkout. Without them these tests say that they skip.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "helpers of tests")]

#[path = "../support/mod.rs"]
mod support;

mod levels;
mod properties;
mod truth;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path as FilePath;
use std::process::Command;

use serde_json::{Value, json};
use support::corpora::{captures, corpora};
use tapkeep::capture::replay::Import;
use tapkeep::packet::addr::Addr;
use tapkeep::packet::community_id::{CommunityId, Tuple, endpoints};
use tapkeep::packet::decode::{Arp, Flaws, Ip, Net, Packet, Tcp, Transport, decode};
use tapkeep::packet::level::{Level, MAX_DEPTH};
use tapkeep::packet::{Frame, LinkType};

fn read_json(path: &FilePath) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn name(path: &FilePath) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn truth_of(capture: &FilePath) -> Value {
    read_json(&capture.with_file_name("truth").join(format!("{}.json", name(capture))))
}

fn each(path: &FilePath, mut take: impl FnMut(LinkType, Frame<'_>)) {
    let mut import = Import::open(path).unwrap();
    while let Some(packet) = import.next().unwrap() {
        take(packet.link, packet.frame);
    }
}

fn has(packet: &Packet<'_>, level: Level) -> bool {
    packet.path.levels().any(|one| one == level)
}

/// The two numbers of a flow's ends, as `make_truth.py` reads them: ports, or type and code.
fn numbers(ip: &Ip<'_>) -> Option<(u16, u16)> {
    match ip.transport {
        Transport::Tcp(Tcp { ports, .. }) | Transport::Udp(ports) | Transport::Sctp(ports) => {
            Some((ports.src, ports.dst))
        }
        Transport::Icmp(icmp) => Some((icmp.kind.into(), icmp.code.into())),
        Transport::Portless | Transport::Later | Transport::Cut => None,
    }
}

fn id(ip: &Ip<'_>) -> Option<CommunityId> {
    let tuple = Tuple { src: ip.src, dst: ip.dst, proto: ip.proto, ports: numbers(ip) };
    (ip.transport != Transport::Later).then(|| tuple.id())
}

#[test]
fn every_reference_vector_gives_its_community_id() {
    let Some(corpora) = corpora() else { return };
    let vectors = read_json(&corpora.join("community-id/baseline_deflt.json"));
    let vectors = vectors.as_array().unwrap();
    assert_eq!(vectors.len(), 23);
    for vector in vectors {
        let addr = |key: &str| vector[key].as_str().unwrap().parse::<std::net::IpAddr>().unwrap().into();
        let port = |key: &str| vector[key].as_u64().map(|port| port as u16);
        let tuple = Tuple {
            src: addr("saddr"),
            dst: addr("daddr"),
            proto: vector["proto"].as_u64().unwrap() as u8,
            ports: port("sport").zip(port("dport")),
        };
        let text = vector["communityid"].as_str().unwrap();
        assert_eq!(tuple.id().to_string(), text, "{vector}");
        assert_eq!(text.parse::<CommunityId>(), Ok(tuple.id()));
    }
    for text in ["", "1:", "2:wCb3OG7yAFWelaUydu0D+125CLM=", "1:wCb3OG7yAFWelaUydu0D+125CLM", "1:AAAA"] {
        assert!(text.parse::<CommunityId>().is_err(), "{text}");
    }
}

/// Frames made by hand, with the levels that tshark 4.0 gives them: name, link type, bytes in hexadecimal, tshark's path; then
/// ours where it differs, and why.
const LEVELS: &str = include_str!("../support/levels.tsv");

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).unwrap();
    (0..hexadecimal.len()).step_by(2).map(digits).collect()
}
