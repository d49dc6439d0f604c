//! Layers and Community IDs of captures that nobody here wrote, against tshark and pycommunityid. They lie where
//! `TAPKEEP_CORPORA` points, else in a folder beside the checkout. Without them these tests say that they skip.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path as FilePath;
use std::process::Command;

use proptest::prelude::*;
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

/// A table of `make_truth.py`: packets and bytes in all, sent and received.
type Table = BTreeMap<String, [u64; 6]>;

fn add(table: &mut Table, end: String, sent: bool, bytes: u64) {
    let row = table.entry(end).or_default();
    let at = if sent { 2 } else { 4 };
    for (at, more) in [(0, 1), (1, bytes), (at, 1), (at + 1, bytes)] {
        row[at] += more;
    }
}

/// What `make_truth.py` counts from the outermost header of each frame.
#[derive(Default)]
struct Counted {
    counters: BTreeMap<String, u64>,
    l2: Table,
    l3: Table,
    protocols: BTreeMap<String, [u64; 2]>,
    flags: BTreeMap<String, u64>,
    icmp: BTreeMap<String, u64>,
    icmpv6: BTreeMap<String, u64>,
    vlans: BTreeMap<String, u64>,
    claims: BTreeMap<String, BTreeMap<String, u64>>,
    ids: BTreeSet<String>,
    flows: BTreeMap<Flow, [u64; 4]>,
}

/// Source, destination and their ports, and the protocol.
type Flow = (Addr, Option<u16>, Addr, Option<u16>, u8);

impl Counted {
    fn count(&mut self, key: &str, more: u64) {
        if more > 0 {
            *self.counters.entry(key.to_owned()).or_default() += more;
        }
    }

    fn take(&mut self, link: LinkType, frame: Frame<'_>) {
        let packet = decode(link, frame.data, frame.wire_len);
        let bytes = u64::from(frame.wire_len);
        self.count("packets", 1);
        self.count("bytes", bytes);
        if let Some(macs) = packet.macs {
            add(&mut self.l2, macs.src.to_string(), true, bytes);
            add(&mut self.l2, macs.dst.to_string(), false, bytes);
        }
        // tshark's fields name tags and labels wherever they lie, in a tunnel too.
        let tags = packet.path.levels().filter(|level| matches!(level, Level::Vlan | Level::QinQ)).count();
        self.count("vlan_tagged_packets", (tags > 0).into());
        self.count("more_than_one_vlan_tag_packets", (tags > 1).into());
        self.count("mpls_packets", has(&packet, Level::Mpls).into());
        self.count("pppoe_packets", (has(&packet, Level::PppoeS) || has(&packet, Level::PppoeD)).into());
        self.count("arp_packets", has(&packet, Level::Arp).into());
        for vlan in
            BTreeSet::from([packet.vlan.outer, packet.vlan.inner]).into_iter().filter(|&vlan| vlan > 0)
        {
            *self.vlans.entry(vlan.to_string()).or_default() += 1;
        }
        if let Net::Arp(Arp { sender: (mac, ip), .. }) = packet.net
            && ip.to_string() != "0.0.0.0"
        {
            *self.claims.entry(ip.to_string()).or_default().entry(mac.to_string()).or_default() += 1;
        }
        let Net::Ip(ip) = packet.net else {
            return self.count("no_ip_packets", 1);
        };
        self.ip(&ip, bytes);
    }

    fn ip(&mut self, ip: &Ip<'_>, bytes: u64) {
        let version = if ip.src.is_v4() { "ipv4" } else { "ipv6" };
        self.count(&format!("{version}_packets"), 1);
        self.count(&format!("{version}_bytes"), bytes);
        self.count("fragment_packets", ip.fragment.is_some().into());
        self.count("later_fragment_packets", (ip.transport == Transport::Later).into());
        let [packets, sum] = self.protocols.entry(ip.proto.to_string()).or_default();
        (*packets, *sum) = (*packets + 1, *sum + bytes);
        add(&mut self.l3, ip.src.to_string(), true, bytes);
        add(&mut self.l3, ip.dst.to_string(), false, bytes);
        match ip.transport {
            Transport::Tcp(tcp) => self.tcp(tcp),
            Transport::Icmp(icmp) => {
                let table = if ip.proto == 1 { &mut self.icmp } else { &mut self.icmpv6 };
                *table.entry(format!("{}/{}", icmp.kind, icmp.code)).or_default() += 1;
            }
            _ => {}
        }
        self.ids.extend(id(ip).map(|id| id.to_string()));
        let ports = numbers(ip).filter(|_| matches!(ip.proto, 6 | 17 | 132)).unzip();
        let (there, back) =
            ((ip.src, ports.0, ip.dst, ports.1, ip.proto), (ip.dst, ports.1, ip.src, ports.0, ip.proto));
        let (flow, at) = if !self.flows.contains_key(&there) && self.flows.contains_key(&back) {
            (back, 2)
        } else {
            (there, 0)
        };
        let row = self.flows.entry(flow).or_default();
        (row[at], row[at + 1]) = (row[at] + 1, row[at + 1] + bytes);
    }

    fn tcp(&mut self, tcp: Tcp) {
        let set = match tcp.flags & 0x3f {
            0x02 => Some("syn"),
            0x12 => Some("synack"),
            0x00 => Some("null"),
            0x01 => Some("fin_only"),
            0x29 => Some("xmas"),
            _ => None,
        };
        let any = [(Tcp::RST, "any_rst"), (Tcp::FIN, "any_fin")];
        let any = any.into_iter().filter(|(flag, _)| tcp.flags & flag != 0).map(|(_, key)| key);
        for key in set.into_iter().chain(any) {
            *self.flags.entry(key.to_owned()).or_default() += 1;
        }
    }

    fn flows(&self) -> Value {
        let mut rows: Vec<_> = self.flows.iter().collect();
        let text = |port: Option<u16>| port.map_or("None".to_owned(), |port| port.to_string());
        rows.sort_by_key(|((src, sport, dst, dport, proto), _)| {
            (src.to_string(), text(*sport), dst.to_string(), text(*dport), proto.to_string())
        });
        let row = |((src, sport, dst, dport, proto), [p, b, q, c]): (&Flow, &[u64; 4])| {
            json!([src.to_string(), sport, dst.to_string(), dport, proto, p, b, q, c])
        };
        rows.into_iter().map(row).collect()
    }
}

#[test]
fn every_capture_counts_by_its_outermost_headers_as_tshark_does() {
    let Some(corpora) = corpora() else { return };
    for path in captures(&corpora) {
        let mut counted = Counted::default();
        each(&path, |link, frame| counted.take(link, frame));
        let truth = truth_of(&path);
        let name = name(&path);
        // The link type is not decoded, so that ARP in 802.11 is not seen; an unknown link type is never guessed.
        let opaque = name == "link-80211-radiotap.pcap";
        let mut counters = truth["counters"].as_object().unwrap().clone();
        // Of the record, not of its layers; and headers that ICMP quotes are counted there.
        for key in
            ["captured_bytes", "snap_truncated_packets", "time_goes_back", "more_than_one_ip_header_packets"]
        {
            counters.remove(key);
        }
        if opaque {
            counters.remove("arp_packets");
        }
        assert_eq!(
            json!(counted.counters),
            json!(counters.into_iter().collect::<BTreeMap<_, _>>()),
            "{name}"
        );
        for (key, ours, theirs) in [
            ("l2", json!(counted.l2), &truth["l2"]["addr"]),
            ("l3", json!(counted.l3), &truth["l3"]["addr"]),
            ("ip_protocols", json!(counted.protocols), &truth["ip_protocols"]),
            ("tcp_flags", json!(counted.flags), &truth["tcp_flags"]),
            ("icmp", json!(counted.icmp), &truth["icmp_type_code"]),
            ("icmpv6", json!(counted.icmpv6), &truth["icmpv6_type_code"]),
            ("ids", json!(counted.ids), &truth["community_ids_pycommunityid"]),
        ] {
            assert_eq!(ours, sorted(theirs), "{name}: {key}");
        }
        let flows: Value = truth["flows"]["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| json!(row.as_array().unwrap()[..9]))
            .collect();
        assert_eq!(counted.flows(), flows, "{name}: flows");
    }
}

/// With the keys of objects sorted, as ours are.
fn sorted(value: &Value) -> Value {
    match value.as_object() {
        Some(object) => json!(object.iter().collect::<BTreeMap<_, _>>()),
        None => value.clone(),
    }
}

/// Frames made by hand, with the levels that tshark 4.0 gives them: name, link type, bytes in hexadecimal, tshark's path; then
/// ours where it differs, and why.
const LEVELS: &str = include_str!("support/levels.tsv");

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).unwrap();
    (0..hexadecimal.len()).step_by(2).map(digits).collect()
}

/// A path up to what is above the levels that are told here.
fn below_applications(path: &str) -> String {
    let levels =
        path.split(':').take_while(|level| !level.starts_with("_ws") && !["data", "text"].contains(level));
    levels.collect::<Vec<_>>().join(":")
}

#[test]
fn levels_have_the_names_that_tshark_gives_them() {
    let mut wrong = Vec::new();
    for line in LEVELS.lines() {
        let row: Vec<_> = line.split('\t').collect();
        let data = bytes(row[2]);
        let packet = decode(LinkType(row[1].parse().unwrap()), &data, data.len() as u32);
        let expected = row.get(4).unwrap_or(&row[3]);
        assert!(row.len() == 4 || row.len() == 6 && !row[5].is_empty(), "{line}");
        if below_applications(&packet.path.to_string()) != below_applications(expected) {
            wrong.push(format!("{}: {} instead of {expected}", row[0], packet.path));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(LEVELS.lines().count() > 300);
}

/// Frames and bytes of every path of a protocol tree.
type Tree = BTreeMap<String, (u64, u64)>;

/// What tshark says with IP reassembly off, which we do not do; `None` without tshark.
fn tshark_tree(capture: &FilePath) -> Option<Tree> {
    let off = ["-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE"];
    let output = Command::new("tshark")
        .args(off)
        .args(["-n", "-q", "-z", "io,phs", "-r"])
        .arg(capture)
        .output()
        .ok()?;
    let (mut tree, mut path) = (Tree::new(), Vec::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((name, rest)) = line.split_once(" frames:") else { continue };
        let (frames, bytes) = rest.split_once(" bytes:").unwrap();
        path.truncate((name.len() - name.trim_start().len()) / 2);
        path.push(name.trim().to_owned());
        tree.insert(path.join(":"), (frames.trim().parse().unwrap(), bytes.trim().parse().unwrap()));
    }
    Some(tree)
}

fn recorded_tree(truth: &Value) -> Tree {
    let row = |row: &Value| {
        (row[0].as_str().unwrap().to_owned(), (row[1].as_u64().unwrap(), row[2].as_u64().unwrap()))
    };
    truth["tshark_phs"].as_array().unwrap().iter().map(row).collect()
}

fn our_tree(capture: &FilePath) -> Tree {
    let mut tree = Tree::new();
    each(capture, |link, frame| {
        let path = decode(link, frame.data, frame.wire_len).path;
        for depth in 1..=path.depth() {
            let (frames, bytes) = tree.entry(path.prefix(depth).to_string()).or_default();
            (*frames, *bytes) = (*frames + 1, *bytes + u64::from(frame.wire_len));
        }
    });
    tree
}

#[test]
fn every_capture_has_tsharks_protocol_tree_below_applications() {
    let Some(corpora) = corpora() else { return };
    // Every name that decoding can give, but those that applications share.
    let mut known = BTreeSet::new();
    for line in LEVELS.lines() {
        let row: Vec<_> = line.split('\t').collect();
        let data = bytes(row[2]);
        let packet = decode(LinkType(row[1].parse().unwrap()), &data, data.len() as u32);
        known.extend(packet.path.levels().map(Level::name));
    }
    for name in ["data", "isakmp"] {
        known.remove(name);
    }
    let mut compared = 0;
    for path in captures(&corpora) {
        let truth = truth_of(&path);
        let name = name(&path);
        // 802.11 is not decoded; see `unknown_link_types_are_never_guessed`.
        if name == "link-80211-radiotap.pcap" {
            continue;
        }
        let below = |tree: Tree| -> Tree {
            tree.into_iter().filter(|(path, _)| path.split(':').all(|level| known.contains(level))).collect()
        };
        let ours = below(our_tree(&path));
        // Reassembled, a packet's levels count where its last fragment came.
        let fragments = truth["counters"]["fragment_packets"].as_u64().unwrap_or(0);
        let theirs = if fragments == 0 { Some(recorded_tree(&truth)) } else { tshark_tree(&path) };
        let Some(theirs) = theirs else { continue };
        assert_eq!(ours, below(theirs), "{name}");
        compared += 1;
    }
    assert!(compared > 30, "{compared}");
}

#[test]
fn unknown_link_types_are_never_guessed() {
    let Some(corpora) = corpora() else { return };
    let mut frames = 0;
    each(&corpora.join("link-80211-radiotap.pcap"), |link, frame| {
        let packet = decode(link, frame.data, frame.wire_len);
        assert_eq!(packet.path.to_string(), "unknown");
        assert!(matches!(packet.net, Net::None) && packet.macs.is_none() && packet.flaws.has(Flaws::UNKNOWN));
        frames += 1;
    });
    assert_eq!(frames, 2);
}

/// An Ethernet frame with IPv4 and TCP: a total length, and what lies behind the TCP header.
fn segment(total: u16, behind: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    frame.extend(total.to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0x04, 0x57, 0x08, 0xae, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 0, 100, 0, 0, 0, 0]);
    frame.extend(behind);
    frame
}

fn payload(frame: &[u8], wire_len: usize) -> (usize, u32, Flaws) {
    let packet = decode(LinkType::ETHERNET, frame, wire_len as u32);
    let Net::Ip(ip) = packet.net else { panic!("{packet:?}") };
    (ip.payload.len(), ip.payload_len, packet.flaws)
}

#[test]
fn lengths_come_from_headers_where_they_are_sound() {
    // Padding to the least length of a frame is no payload.
    assert_eq!(payload(&segment(40, &[0; 6]), 60), (0, 0, Flaws::NONE));
    // A snaplen shortens what is captured, not what was sent.
    assert_eq!(payload(&segment(1500, &[1; 10]), 1514), (10, 1460, Flaws::NONE));
    // A total length of 0: a segment that the sender's card splits.
    assert_eq!(payload(&segment(0, &[1; 100]), 154), (100, 100, Flaws::NONE));
    // More than the frame had.
    assert_eq!(payload(&segment(1500, &[1; 10]), 64), (10, 10, Flaws::LENGTH));
    // A capture that says there was less than it has is believed in what it has.
    assert_eq!(payload(&segment(50, &[1; 10]), 20), (10, 10, Flaws::NONE));
}

/// The bytes of the whole frame that a part of it is.
fn lies_in(part: &[u8], whole: &[u8]) -> bool {
    part.is_empty()
        || whole.as_ptr_range().start <= part.as_ptr() && part.as_ptr_range().end <= whole.as_ptr_range().end
}

/// What holds of every answer.
fn check(packet: &Packet<'_>, data: &[u8], wire_len: u32) {
    assert!((1..=MAX_DEPTH).contains(&packet.path.depth()), "{packet:?}");
    let wire = u64::from(wire_len).max(data.len() as u64);
    if let Net::Ip(ip) = &packet.net {
        assert!(lies_in(ip.payload, data), "{packet:?}");
        assert!(
            ip.payload.len() as u64 <= u64::from(ip.payload_len) && u64::from(ip.payload_len) <= wire,
            "{packet:?}"
        );
        assert_eq!(ip.src.is_v4(), ip.dst.is_v4());
        if let Some(fragment) = ip.fragment {
            assert!(u64::from(fragment.len) <= wire && fragment.offset < 65_536, "{packet:?}");
            assert_eq!(fragment.offset > 0, ip.transport == Transport::Later, "{packet:?}");
        }
    }
    if let Some(inner) = &packet.inner {
        assert!(matches!(packet.net, Net::Ip(_)) && lies_in(inner.payload, data), "{packet:?}");
    }
    if let Some((_, payload)) = packet.innermost() {
        assert!(lies_in(payload, data), "{packet:?}");
    }
}

/// The link types that are decoded, and others.
const LINKS: [u16; 12] = [0, 1, 12, 14, 101, 108, 113, 228, 229, 276, 127, 9999];

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_of_any_link_type_give_an_answer(
        link in prop_oneof![prop::sample::select(&LINKS[..]), any::<u16>()],
        data in prop::collection::vec(any::<u8>(), 0..200),
        wire_len in prop_oneof![0..2000_u32, any::<u32>()],
    ) {
        check(&decode(LinkType(link), &data, wire_len), &data, wire_len);
    }

    /// Bytes that reach far: a frame of ours with a few bytes changed, of any link type.
    #[test]
    fn any_damage_to_a_frame_gives_an_answer(
        row in 0..LEVELS.lines().count(),
        link in prop::option::of(prop::sample::select(&LINKS[..])),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        more in 0..2000_u32,
        cut in any::<prop::sample::Index>(),
    ) {
        let row: Vec<_> = LEVELS.lines().nth(row).unwrap().split('\t').collect();
        let mut data = bytes(row[2]);
        for (at, byte) in damage.iter().filter(|_| !row[2].is_empty()) {
            let at = at.index(data.len());
            data[at] = *byte;
        }
        let wire_len = data.len() as u32 + more;
        data.truncate(cut.index(2 * data.len() + 1));
        let link = link.unwrap_or_else(|| row[1].parse().unwrap());
        check(&decode(LinkType(link), &data, wire_len), &data, wire_len);
    }

    #[test]
    fn both_directions_have_one_community_id_where_there_are_two(
        (a, b) in prop_oneof![any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (Addr::v4(a), Addr::v4(b))),
            any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (Addr::v6(a), Addr::v6(b)))],
        proto in prop_oneof![prop::sample::select(&[1_u8, 6, 17, 58, 132][..]), any::<u8>()],
        ports in prop::option::of(any::<(u8, u16)>()),
    ) {
        let ports = ports.map(|(first, second)| (u16::from(first), second));
        let there = Tuple { src: a, dst: b, proto, ports };
        let (back, both) = match ports {
            Some((first, second)) => {
                let (first, second, both) = endpoints(proto, first, second);
                (Some((second, first)), both)
            }
            None => (None, true),
        };
        let back = Tuple { src: b, dst: a, proto, ports: back };
        prop_assert!(!both || there.id() == back.id());
        let turned = Tuple { src: b, dst: a, ..there };
        prop_assert!(both || a == b || there.id() != turned.id());
        prop_assert_eq!(there.id().to_string().parse::<CommunityId>(), Ok(there.id()));
    }
}

/// Ports, or type and code, of a transport that shows them.
fn ends(ip: &Ip<'_>) -> (Addr, Addr, Option<(u16, u16)>) {
    (ip.src, ip.dst, numbers(ip))
}

#[test]
fn cutting_a_frame_never_changes_what_was_seen_before_the_cut() {
    let Some(corpora) = corpora() else { return };
    let mut cuts = 0_u64;
    for path in captures(&corpora) {
        let (mut number, every) = (0_u32, if fs::metadata(&path).unwrap().len() > 200_000 { 29 } else { 3 });
        each(&path, |link, frame| {
            number += 1;
            if number % every != 1 {
                return;
            }
            let whole = decode(link, frame.data, frame.wire_len);
            check(&whole, frame.data, frame.wire_len);
            for cut in 0..frame.data.len().min(160) {
                let data = &frame.data[..cut];
                let packet = decode(link, data, frame.wire_len);
                check(&packet, data, frame.wire_len);
                cuts += 1;
                assert!(packet.macs.is_none_or(|macs| Some(macs) == whole.macs), "{packet:?} of {whole:?}");
                assert!([0, whole.vlan.outer].contains(&packet.vlan.outer), "{packet:?} of {whole:?}");
                assert!([0, whole.vlan.inner].contains(&packet.vlan.inner), "{packet:?} of {whole:?}");
                match (&packet.net, &whole.net) {
                    (Net::None, _) => {}
                    (Net::Arp(part), Net::Arp(all)) => assert_eq!(part, all),
                    (Net::Ip(part), Net::Ip(all)) => {
                        let (seen, all_ends) = (ends(part), ends(all));
                        assert_eq!((seen.0, seen.1), (all_ends.0, all_ends.1), "{packet:?} of {whole:?}");
                        assert!(seen.2.is_none() || seen.2 == all_ends.2, "{packet:?} of {whole:?}");
                        // A snaplen does not shorten what was sent: but for an option's length that was cut off.
                        let cut_off = packet.flaws.has(Flaws::CUT) || part.transport == Transport::Cut;
                        assert!(cut_off || part.payload_len == all.payload_len, "{packet:?} of {whole:?}");
                    }
                    _ => panic!("{packet:?} of {whole:?}"),
                }
            }
        });
    }
    assert!(cuts > 500_000, "{cuts}");
}

#[test]
fn malformed_captures_give_an_answer_too() {
    let Some(corpora) = corpora() else { return };
    let mut frames = 0;
    for path in captures(&corpora.join("bad")) {
        let Ok(mut import) = Import::open(&path) else { continue };
        while let Ok(Some(packet)) = import.next() {
            let frame = packet.frame;
            check(&decode(packet.link, frame.data, frame.wire_len), frame.data, frame.wire_len);
            frames += 1;
        }
    }
    assert!(frames > 1000, "{frames}");
}
