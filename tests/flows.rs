//! Flows of captures that nobody here wrote against what tshark and pycommunityid make of them (see `corpora/README.md`), and flows
//! of a run that was cut against those of one that was not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[allow(unreachable_pub)]
#[path = "support/corpora.rs"]
mod corpora;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use corpora::{captures, corpora};
use serde_json::Value;
use tapkeep::capture::replay::Import;
use tapkeep::flow::key::Numbers;
use tapkeep::flow::record::FlowRecord;
use tapkeep::flow::table::{Arrival, Flow, FlowEvent, FlowLimits, FlowTable, Watcher};
use tapkeep::flow::tcp::ConnState;
use tapkeep::flow::time::StreamClock;
use tapkeep::packet::decode::{Net, Transport, decode};
use tapkeep::packet::{LinkType, NANOS_PER_SEC, Nanos, Place};

const S: Nanos = NANOS_PER_SEC;

const LIMITS: FlowLimits = FlowLimits {
    flows: 200_000,
    tcp_idle: 300 * S,
    tcp_half_open: 30 * S,
    tcp_closed: 5 * S,
    other_idle: 60 * S,
    active: 300 * S,
};

/// A packet of a capture, with its stream time and where it would lie.
struct Packet {
    link: LinkType,
    data: Vec<u8>,
    arrival: Arrival,
}

fn read(path: &Path) -> Vec<Packet> {
    let mut import = Import::open(path).unwrap();
    let mut clock = StreamClock::default();
    let mut packets = Vec::new();
    let mut place = Place { file: 1, offset: 24 };
    while let Some(packet) = import.next().unwrap() {
        let at = packet.frame.nanos(packet.precision);
        let arrival = Arrival { at, now: clock.packet(at), place, wire_len: packet.frame.wire_len };
        packets.push(Packet { link: packet.link, data: packet.frame.data.to_vec(), arrival });
        place.offset += 16 + packet.frame.data.len() as u64;
    }
    packets
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn truth(path: &Path) -> Value {
    let truth = path.with_file_name("truth").join(format!("{}.json", name(path)));
    serde_json::from_slice(&std::fs::read(truth).unwrap()).unwrap()
}

fn all() -> Vec<PathBuf> {
    corpora().map_or_else(Vec::new, |corpora| captures(&corpora))
}

/// Keeps records, and events by flow.
#[derive(Default)]
struct Notes {
    records: Vec<FlowRecord>,
    events: Vec<(FlowEvent, Place)>,
}

impl Watcher for Notes {
    fn event(&mut self, event: FlowEvent, flow: &Flow, _: Nanos) {
        if let FlowEvent::Ended(reason) = event {
            self.records.push(flow.record(reason));
        } else {
            self.events.push((event, flow.id));
        }
    }
}

fn run(packets: &[Packet], limits: FlowLimits) -> Notes {
    let mut table = FlowTable::new(limits);
    let mut notes = Notes::default();
    for packet in packets {
        let layers = decode(packet.link, &packet.data, packet.arrival.wire_len);
        table.packet(&layers, &packet.arrival, &mut notes);
    }
    table.finish(0, &mut notes);
    assert_eq!((table.counts().flows, table.oldest_open()), (0, None));
    notes
}

/// Two ends and a protocol, the lesser end first.
type Tuple = ((String, Option<u16>), (String, Option<u16>), u8);

/// Packets and bytes from the lesser end, and from the other.
type Sums = BTreeMap<Tuple, [u64; 4]>;

fn add(sums: &mut Sums, src: (String, Option<u16>), dst: (String, Option<u16>), proto: u8, counts: [u64; 4]) {
    let [packets, bytes, back_packets, back_bytes] = counts;
    let (key, counts) = if src == dst {
        // Of who talks to himself there is no other direction.
        ((src, dst, proto), [packets + back_packets, bytes + back_bytes, 0, 0])
    } else if src < dst {
        ((src, dst, proto), counts)
    } else {
        ((dst, src, proto), [back_packets, back_bytes, packets, bytes])
    };
    let sum = sums.entry(key).or_default();
    for (sum, count) in sum.iter_mut().zip(counts) {
        *sum += count;
    }
}

fn true_sums(truth: &Value) -> Sums {
    let mut sums = Sums::new();
    for row in truth["flows"]["rows"].as_array().unwrap() {
        let end = |at: usize| {
            let port = row[at + 1].as_u64().map(|port| port as u16);
            (row[at].as_str().unwrap().to_owned(), port)
        };
        let counts = [5, 6, 7, 8].map(|at: usize| row[at].as_u64().unwrap());
        add(&mut sums, end(0), end(2), row[4].as_u64().unwrap() as u8, counts);
    }
    sums
}

fn end_of(flow: &Flow, originator: bool) -> (String, Option<u16>) {
    let (addr, port) = if originator { flow.originator() } else { flow.responder() };
    (addr.to_string(), (flow.key.numbers == Numbers::Ports).then_some(port))
}

#[test]
fn packets_and_bytes_of_every_five_tuple_are_those_of_tshark() {
    // Later fragments that we know to belong to a flow with ports; tshark's rows have them without ports.
    let mut moved = BTreeMap::new();
    for path in all() {
        let mut table = FlowTable::new(LIMITS);
        let mut notes = Notes::default();
        // By packet, as the table says at the time; later fragments where tshark has them.
        let mut by_packet = Sums::new();
        for packet in read(&path) {
            let layers = decode(packet.link, &packet.data, packet.arrival.wire_len);
            let Some((flow, from_orig)) = table.packet(&layers, &packet.arrival, &mut notes) else {
                assert!(!matches!(layers.net, Net::Ip(_)));
                continue;
            };
            let Net::Ip(ip) = layers.net else { panic!("a flow without addresses") };
            let (mut src, mut dst, mut proto) =
                (end_of(flow, from_orig), end_of(flow, !from_orig), flow.key.proto);
            assert_eq!((&src.0, &dst.0), (&ip.src.to_string(), &ip.dst.to_string()));
            if ip.transport == Transport::Later && flow.key.numbers == Numbers::Ports {
                *moved.entry(name(&path)).or_insert(0) += 1;
                (src.1, dst.1, proto) = (None, None, ip.proto);
            }
            add(&mut by_packet, src, dst, proto, [1, packet.arrival.wire_len.into(), 0, 0]);
        }
        let truth = true_sums(&truth(&path));
        assert_eq!(by_packet, truth, "{}", name(&path));

        // By record: the same, where no fragments were moved.
        table.finish(0, &mut notes);
        let mut by_record = Sums::new();
        for record in &notes.records {
            let (src, dst) = (record.src_ip.to_string(), record.dst_ip.to_string());
            let counts = [record.orig_packets, record.orig_bytes, record.resp_packets, record.resp_bytes];
            add(&mut by_record, (src, record.src_port), (dst, record.dst_port), record.proto, counts);
        }
        if moved.contains_key(&name(&path)) {
            let total = |sums: &Sums| {
                sums.values().fold((0, 0), |(packets, bytes), row| {
                    (packets + row[0] + row[2], bytes + row[1] + row[3])
                })
            };
            assert_eq!(total(&by_record), total(&truth), "{}", name(&path));
            assert_ne!(by_record, truth);
        } else {
            assert_eq!(by_record, truth, "{}", name(&path));
        }
    }
    if !all().is_empty() {
        let expected = [("encap-tunnel-zoo.pcap", 86), ("frag-v4-sctp.pcap", 1549), ("frag-v6.pcap", 32)];
        assert_eq!(moved.iter().map(|(name, count)| (name.as_str(), *count)).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn community_ids_are_those_of_pycommunityid() {
    for path in all() {
        let truth = truth(&path);
        let expected: BTreeSet<_> = truth["community_ids_pycommunityid"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_str().unwrap())
            .collect();
        let notes = run(&read(&path), LIMITS);
        let ours: BTreeSet<_> =
            notes.records.iter().filter_map(|record| record.community_id.as_deref()).collect();
        assert_eq!(ours, expected, "{}", name(&path));
    }
}

#[test]
fn print_states() {
    for path in all() {
        let notes = run(&read(&path), LIMITS);
        let mut counts: BTreeMap<(Option<ConnState>, Option<String>), u64> = BTreeMap::new();
        for record in notes.records.iter().filter(|record| record.proto == 6) {
            *counts.entry((record.conn_state, record.history.clone())).or_default() += 1;
        }
        println!("{} {counts:?}", name(&path));
    }
}
