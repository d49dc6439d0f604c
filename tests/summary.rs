//! What captures amount to, against tshark: every capture that nobody here wrote, whole, cut in two and over an index. They lie
//! where `TAPKEEP_CORPORA` points, else in a folder beside the checkout. Without them these tests say that they skip.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[path = "support/corpora.rs"]
mod corpora;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path as FilePath;

use corpora::{captures, corpora};
use serde_json::Value;
use tapkeep::capture::replay::Import;
use tapkeep::flow::key::Numbers;
use tapkeep::flow::summary::{Count, Merged, Summariser, Summary, SummaryLimits, Traffic, Wanted};
use tapkeep::packet::addr::Addr;
use tapkeep::packet::community_id::CommunityId;
use tapkeep::packet::decode::decode;
use tapkeep::packet::level::Level;
use tapkeep::packet::{LinkType, Nanos};

fn name(path: &FilePath) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn truth_of(capture: &FilePath) -> Value {
    let path = capture.with_file_name("truth").join(format!("{}.json", name(capture)));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A packet of its own.
struct Packet {
    link: LinkType,
    at: Nanos,
    wire_len: u32,
    data: Vec<u8>,
}

fn packets(path: &FilePath) -> Vec<Packet> {
    let mut import = Import::open(path).unwrap();
    let mut packets = Vec::new();
    while let Some(packet) = import.next().unwrap() {
        packets.push(Packet {
            link: packet.link,
            at: packet.frame.nanos(packet.precision),
            wire_len: packet.frame.wire_len,
            data: packet.frame.data.to_vec(),
        });
    }
    packets
}

fn summary(packets: &[Packet], limits: SummaryLimits) -> Summary {
    let mut summariser = Summariser::new(limits);
    for packet in packets {
        summariser.packet(&decode(packet.link, &packet.data, packet.wire_len), packet.at, packet.wire_len);
    }
    summariser.summary()
}

fn row(traffic: &Traffic) -> [u64; 6] {
    let (all, Traffic { tx, rx, .. }) = (traffic.total(), traffic);
    [all.packets, all.bytes, tx.packets, tx.bytes, rx.packets, rx.bytes]
}

/// The rows of `l2` or `l3`.
fn table(truth: &Value, key: &str) -> BTreeMap<String, [u64; 6]> {
    let rows = truth[key]["addr"].as_object().unwrap();
    let row = |row: &Value| std::array::from_fn(|at| row[at].as_u64().unwrap());
    rows.iter().map(|(addr, counts)| (addr.clone(), row(counts))).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn stamp(text: &str) -> Nanos {
    let (sec, nanos) = text.split_once('.').unwrap();
    sec.parse::<Nanos>().unwrap() * 1_000_000_000 + nanos.parse::<Nanos>().unwrap()
}

#[test]
fn endpoints_macs_and_totals_are_those_of_tshark() {
    let Some(corpora) = corpora() else { return };
    for path in captures(&corpora) {
        let (name, truth) = (name(&path), truth_of(&path));
        let summary = summary(&packets(&path), SummaryLimits::DEFAULT);
        assert!(summary.endpoints.is_exact() && summary.macs.is_exact() && summary.conversations.is_exact());
        let counters = &truth["counters"];
        let total = Count { packets: number(&counters["packets"]), bytes: number(&counters["bytes"]) };
        assert_eq!(summary.total, total, "{name}");
        let range = ["first_ts", "last_ts"].map(|key| stamp(truth[key].as_str().unwrap()));
        assert_eq!(summary.range, Some(range.into()), "{name}");
        let endpoints: BTreeMap<_, _> =
            summary.endpoints.rows.iter().map(|(addr, traffic)| (addr.to_string(), row(traffic))).collect();
        assert_eq!(endpoints, table(&truth, "l3"), "{name}");
        let macs: BTreeMap<_, _> =
            summary.macs.rows.iter().map(|(mac, traffic)| (mac.to_string(), row(traffic))).collect();
        assert_eq!(macs, table(&truth, "l2"), "{name}");
    }
}

/// An end of a conversation, and what it sent: packets and bytes.
type End = (Addr, Option<u64>);

/// A conversation without its VLAN: ends in order and protocol.
type Tuple = (End, End, u64);

/// What the ends sent, packets and bytes; earliest and latest stamp; Community IDs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sent {
    counts: [u64; 4],
    range: Option<(Nanos, Nanos)>,
    ids: BTreeSet<String>,
}

fn put(
    to: &mut BTreeMap<Tuple, Sent>,
    ends: (End, End),
    proto: u64,
    counts: [u64; 4],
    range: (Nanos, Nanos),
) -> &mut Sent {
    let [a, b, c, d] = counts;
    let (tuple, counts) = if ends.0 <= ends.1 {
        ((ends.0, ends.1, proto), counts)
    } else {
        ((ends.1, ends.0, proto), [c, d, a, b])
    };
    let sent = to.entry(tuple).or_default();
    for (sum, more) in sent.counts.iter_mut().zip(counts) {
        *sum += more;
    }
    let (first, last) = sent.range.unwrap_or(range);
    sent.range = Some((first.min(range.0), last.max(range.1)));
    sent
}

/// Of tshark, frame by frame. `ports`: whether they count; later fragments have none there.
fn true_conversations(truth: &Value, ports: bool) -> BTreeMap<Tuple, Sent> {
    let mut flows = BTreeMap::new();
    for row in truth["flows"]["rows"].as_array().unwrap() {
        let addr = |at: usize| Addr::from(row[at].as_str().unwrap().parse::<IpAddr>().unwrap());
        let port = |at: usize| row[at].as_u64().filter(|_| ports);
        let stamp = |at: usize| stamp(row[at].as_str().unwrap());
        let counts = std::array::from_fn(|at| number(&row[5 + at]));
        let ends = ((addr(0), port(1)), (addr(2), port(3)));
        let sent = put(&mut flows, ends, number(&row[4]), counts, (stamp(9), stamp(10)));
        sent.ids.extend(row[11].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()));
    }
    flows
}

fn conversations(summary: &Summary, ports: bool) -> BTreeMap<Tuple, Sent> {
    let mut flows = BTreeMap::new();
    for (key, talk) in &summary.conversations.rows {
        let end =
            |(addr, port): (Addr, u16)| (addr, (ports && key.numbers == Numbers::Ports).then(|| port.into()));
        let (orig, resp) = talk.ends(key);
        let counts = [talk.orig.packets, talk.orig.bytes, talk.resp.packets, talk.resp.bytes];
        let ends = (end(orig), end(resp));
        let sent = put(&mut flows, ends, key.proto.into(), counts, (talk.first, talk.last));
        sent.ids.extend(talk.community_id(key).map(|id| id.to_string()));
    }
    flows
}

#[test]
fn conversations_are_those_of_tshark() {
    let Some(corpora) = corpora() else { return };
    let mut tagged = 0;
    for path in captures(&corpora) {
        let (name, truth) = (name(&path), truth_of(&path));
        let summary = summary(&packets(&path), SummaryLimits::DEFAULT);
        // A later fragment has no ports in the truth; here it belongs to the flow of the first.
        let ports = number(&truth["counters"]["later_fragment_packets"]) == 0;
        let (ours, theirs) = (conversations(&summary, ports), true_conversations(&truth, ports));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{name}");
        for (tuple, sent) in &ours {
            let real = &theirs[tuple];
            assert_eq!((sent.counts, sent.range), (real.counts, real.range), "{name}: {tuple:?}");
            // Of ICMP there are as many as types; ours is the first.
            let first = sent.ids.is_subset(&real.ids) && sent.ids.is_empty() == real.ids.is_empty();
            assert!(first, "{name}: {tuple:?} {:?} {:?}", sent.ids, real.ids);
            assert!(
                real.ids.iter().all(|id| summary.filter.may_hold(id.parse::<CommunityId>().unwrap())),
                "{name}"
            );
        }
        assert!(summary.endpoints.rows.iter().all(|(addr, _)| summary.filter.may_hold(*addr)), "{name}");
        if name.contains("vlan-collisions") {
            tagged = summary.conversations.rows.len();
        }
    }
    // One five-tuple in three VLANs.
    assert_eq!(tagged, 3);
}

#[test]
fn later_fragments_belong_to_the_conversation_of_the_first() {
    let Some(corpora) = corpora() else { return };
    // Of all fragments of the first capture only one came without the first of its packet: tshark finds none of its number.
    for (name, orphans) in [("frag-v4-sctp.pcap", 1), ("frag-v6.pcap", 0)] {
        let path = corpora.join(name);
        let (truth, summary) = (truth_of(&path), summary(&packets(&path), SummaryLimits::DEFAULT));
        let (ours, theirs) = (conversations(&summary, true), true_conversations(&truth, true));
        let without_ports = |flows: &BTreeMap<Tuple, Sent>| {
            let portless =
                flows.iter().filter(|((a, _, proto), _)| a.1.is_none() && matches!(proto, 6 | 17 | 132));
            portless.map(|(_, sent)| sent.counts[0] + sent.counts[2]).sum::<u64>()
        };
        let later = number(&truth["counters"]["later_fragment_packets"]);
        assert_eq!((without_ports(&ours), without_ports(&theirs)), (orphans, later), "{name}");
        let sum = |flows: &BTreeMap<Tuple, Sent>| flows.values().flat_map(|sent| sent.counts).sum::<u64>();
        assert_eq!(sum(&ours), sum(&theirs), "{name}");
    }
}

/// Levels from the link to the transport: those on which tshark and we must agree whatever the payload is.
const LOWER: &[Level] = &[
    Level::Eth,
    Level::Sll,
    Level::Raw,
    Level::Null,
    Level::Vlan,
    Level::QinQ,
    Level::Mpls,
    Level::PppoeS,
    Level::Ppp,
    Level::Llc,
    Level::Arp,
    Level::Ip,
    Level::Ipv6,
    Level::Tcp,
    Level::Udp,
    Level::Sctp,
    Level::Icmp,
    Level::Icmpv6,
    Level::Igmp,
    Level::Gre,
];

#[test]
fn the_lower_levels_of_the_protocol_tree_are_those_of_tshark() {
    let Some(corpora) = corpora() else { return };
    let mut compared = 0;
    for path in captures(&corpora) {
        let (name, truth) = (name(&path), truth_of(&path));
        let mut merged = Merged::new(Wanted::ALL, SummaryLimits::DEFAULT);
        merged.add(&summary(&packets(&path), SummaryLimits::DEFAULT));
        let is_lower =
            |path: &str| path.split(':').all(|level| LOWER.iter().any(|lower| lower.name() == level));
        let ours: BTreeMap<_, _> = merged
            .protocols()
            .rows
            .iter()
            .map(|(path, count)| (path.to_string(), (count.packets, count.bytes)))
            .filter(|(path, _)| is_lower(path))
            .collect();
        let theirs: BTreeMap<_, _> = truth["tshark_phs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row[0].as_str().unwrap().to_owned(), (number(&row[1]), number(&row[2]))))
            .filter(|(path, _)| is_lower(path))
            .collect();
        // Reassembled, fragments count on completion; see the corpora's README.
        if number(&truth["counters"]["fragment_packets"]) > 0 {
            continue;
        }
        assert_eq!(ours, theirs, "{name}");
        compared += ours.len();
    }
    assert!(compared > 200, "{compared}");
}
