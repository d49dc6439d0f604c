//! Flows of captures that nobody here wrote against what tshark and pycommunityid make of them (see `corpora/README.md`), and flows
//! of a run that was cut against those of one that was not.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "helpers of tests")]

#[allow(unreachable_pub)]
#[path = "support/corpora.rs"]
mod corpora;
#[path = "support/made.rs"]
mod made;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use corpora::{captures, corpora};
use proptest::prelude::*;
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

/// By hand, after Zeek's documentation (`conn.log`: `conn_state`, `history`), from the segments that tshark prints.
#[test]
fn states_and_histories_of_real_connections_are_those_that_zeek_documents() {
    use ConnState::{REJ, RSTO, RSTR, S0, S1, S3, SF};
    let Some(corpora) = corpora() else { return };
    type Expected = &'static [(ConnState, &'static str, usize)];
    #[rustfmt::skip]
    let expected: &[(&str, Expected)] = &[
        // Every SYN unanswered; those of -445 are sent up to three times.
        ("atk-synflood.pcap", &[(S0, "S", 200)]),
        ("atk-portscan-vertical.pcap", &[(S0, "S", 10)]),
        ("atk-portscan-445.pcap", &[(S0, "S", 9)]),
        // Of 17 SYNs three are answered, and those connections reset by the scanner.
        ("atk-nmap-versions.pcap", &[(S0, "S", 8), (REJ, "Sr", 6), (RSTO, "ShAR", 3)]),
        // The client speaks first; frame 53 is sent again; the server closes first.
        ("cred-telnet.pcap", &[(SF, "ShADdaTfF", 1)]),
        // The server's FIN is the last frame.
        ("fmt-ns-be.pcap", &[(S3, "ShADadf", 1)]),
        // The server resets twice with the same number.
        ("fmt-ns-le.pcap", &[(RSTR, "ShADadr", 1)]),
        // One cut short; one closed by the server first.
        ("cid-combined.pcap.gz", &[(S1, "ShAdDa", 1), (SF, "ShADadfF", 1)]),
    ];
    for (name, expected) in expected {
        let notes = run(&read(&corpora.join(name)), LIMITS);
        let mut found: BTreeMap<(ConnState, String), usize> = BTreeMap::new();
        for record in notes.records.into_iter().filter(|record| record.proto == 6) {
            *found.entry((record.conn_state.unwrap(), record.history.unwrap())).or_default() += 1;
        }
        let found: Vec<_> =
            found.iter().map(|((state, history), count)| (*state, history.as_str(), *count)).collect();
        assert_eq!(found, *expected, "{name}");
    }
}

/// `tcp.analysis.initial_rtt` of tshark 4.0, and its `tcp.analysis.ack_lost_segment`.
#[test]
fn handshakes_take_as_long_as_tshark_says_and_lost_bytes_are_where_it_finds_them() {
    let Some(corpora) = corpora() else { return };
    let records = |name: &str| run(&read(&corpora.join(name)), LIMITS).records;
    for (name, expected) in [
        ("cred-telnet.pcap", &[2572][..]),
        ("fmt-ns-le.pcap", &[146_847]),
        ("cid-combined.pcap.gz", &[237_416, 143_803]),
        ("mix-office.pcap", &[16_903, 16_937, 18_451, 19_680, 21_080, 21_749]),
    ] {
        let mut records = records(name);
        records.sort_by_key(|record| record.id());
        let rtts: Vec<_> = records.iter().filter_map(|record| record.rtt_us).take(expected.len()).collect();
        assert_eq!(rtts, expected, "{name}");
    }
    // Nothing lost.
    for name in ["cred-telnet.pcap", "mix-office.pcap", "atk-ftp-bruteforce.pcap", "atk-ssh-hydra.pcap"] {
        assert_eq!(records(name).iter().filter_map(|record| record.missed_bytes).sum::<u64>(), 0, "{name}");
    }
    // Of six connections whose opening is there tshark flags four; of two only the FIN is missing, which is no byte.
    let records = records("atk-portscan-plc.pcap");
    let holes = records.iter().filter(|record| record.missed_bytes.is_some_and(|missed| missed > 0));
    let holes: Vec<_> = holes.map(|record| (record.src_port, record.missed_bytes)).collect();
    assert_eq!(holes, [(Some(60_018), Some(3798)), (Some(56_901), Some(2531))]);
}

/// Two million flows of one packet each, and ten thousand that stay.
#[test]
fn a_flood_of_flows_is_bounded_and_every_flow_is_counted() {
    const FLOOD: u32 = 2_000_000;
    let limits = FlowLimits { flows: 50_000, ..LIMITS };
    let mut table = FlowTable::new(limits);
    let mut tally = Tally::default();
    let mut arrival = Arrival { wire_len: 60, ..Arrival::default() };
    for connection in 0..FLOOD {
        arrival.now += 1000;
        arrival.place.offset += 76;
        table.packet(&made::segment(connection, 0, &[]), &arrival, &mut tally);
        assert!(table.counts().flows <= 50_000);
    }
    let counts = table.counts();
    assert_eq!((counts.flows, counts.begun, counts.evicted), (50_000, 2_000_000, 1_950_000));
    assert!(counts.memory < 50_000 * 560, "{}", counts.memory);
    table.finish(arrival.now, &mut tally);
    assert_eq!(
        (tally.begun, tally.ended, tally.packets, tally.bytes),
        (2_000_000, 2_000_000, 2_000_000, 120_000_000)
    );
}

/// A capture, and what it gives when nothing comes between.
struct Whole {
    name: String,
    packets: Vec<Packet>,
    sums: [BTreeMap<String, [u64; 6]>; 2],
}

/// So short that captures of seconds give parts.
const SHORT: FlowLimits = FlowLimits {
    tcp_idle: 3 * S,
    tcp_half_open: S,
    tcp_closed: S / 10,
    other_idle: 2 * S,
    active: S,
    ..LIMITS
};

/// Packets, bytes and payload of both sides, by flow; no part twice, none missing, none behind the last.
fn sums(records: &[FlowRecord]) -> BTreeMap<String, [u64; 6]> {
    let mut sums: BTreeMap<String, [u64; 6]> = BTreeMap::new();
    let mut parts: BTreeMap<&str, BTreeMap<u32, bool>> = BTreeMap::new();
    for record in records {
        let counts = [
            record.orig_packets,
            record.orig_bytes,
            record.resp_packets,
            record.resp_bytes,
            record.orig_payload_bytes,
            record.resp_payload_bytes,
        ];
        for (sum, count) in sums.entry(record.flow_id.clone()).or_default().iter_mut().zip(counts) {
            *sum += count;
        }
        let twice = parts.entry(&record.flow_id).or_default().insert(record.part, record.last_part);
        assert_eq!(twice, None, "{} part {} is there twice", record.flow_id, record.part);
        assert!(record.orig_packets + record.resp_packets > 0);
    }
    for (flow, parts) in parts {
        let last = parts.len() as u32 - 1;
        for (at, (part, last_part)) in parts.into_iter().enumerate() {
            assert_eq!((part, last_part), (at as u32, part == last), "{flow}");
        }
    }
    sums
}

fn wholes() -> &'static [Whole] {
    static WHOLES: OnceLock<Vec<Whole>> = OnceLock::new();
    WHOLES.get_or_init(|| {
        let captures = all().into_iter().map(|path| (name(&path), read(&path)));
        let small = captures.filter(|(_, packets)| packets.len() < 10_000);
        small
            .map(|(name, packets)| {
                let sums = [LIMITS, SHORT].map(|limits| sums(&run(&packets, limits).records));
                Whole { name, packets, sums }
            })
            .collect()
    })
}

/// Reads on from `from`, up to the packet `crash`; `checkpoint` packets earlier it was noted from where to read again. Returns that
/// place. Only records whose packets lie `lag` packets before the crash are written.
fn read_on(
    packets: &[Packet],
    limits: FlowLimits,
    written: &mut Vec<FlowRecord>,
    from: Place,
    (crash, checkpoint, lag): (usize, usize, usize),
) -> Place {
    let mut table = FlowTable::new(limits);
    table.resume(written);
    let mut notes = Notes::default();
    let mut again = from;
    let mut pending = 0;
    for (nth, packet) in packets.iter().enumerate().take(crash) {
        if packet.arrival.place >= from {
            let layers = decode(packet.link, &packet.data, packet.arrival.wire_len);
            table.packet(&layers, &packet.arrival, &mut notes);
        }
        let synced = packets[nth.saturating_sub(lag)].arrival.place;
        let next =
            notes.records[pending..].iter().take_while(|record| record.captures.last_place() <= Some(synced));
        pending += next.count();
        if nth + checkpoint <= crash {
            let first =
                |record: &FlowRecord| Place { file: record.captures.0[0].0, offset: record.captures.0[0].1 };
            let waiting = notes.records[pending..].iter().map(first).min();
            let behind = Place { offset: packet.arrival.place.offset + 1, ..packet.arrival.place };
            again = table.oldest_open().into_iter().chain(waiting).chain([behind.max(from)]).min().unwrap();
        }
    }
    notes.records.truncate(pending);
    written.extend(notes.records);
    again
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_crashes_cut_is_read_again_and_nothing_comes_twice(
        which: prop::sample::Index,
        short: bool,
        crashes in prop::collection::vec((0.0..1.0f64, 0usize..300, 0usize..100), 1..4),
    ) {
        if wholes().is_empty() {
            return Ok(());
        }
        let whole = which.get(wholes());
        let limits = if short { SHORT } else { LIMITS };
        let mut crashes = crashes;
        crashes.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut written = Vec::new();
        let mut from = Place::default();
        for (share, checkpoint, lag) in crashes {
            let crash = (share * whole.packets.len() as f64) as usize;
            from = read_on(&whole.packets, limits, &mut written, from, (crash, checkpoint, lag));
        }
        let mut table = FlowTable::new(limits);
        table.resume(&written);
        let mut notes = Notes { records: written, ..Notes::default() };
        for packet in whole.packets.iter().filter(|packet| packet.arrival.place >= from) {
            let layers = decode(packet.link, &packet.data, packet.arrival.wire_len);
            table.packet(&layers, &packet.arrival, &mut notes);
        }
        table.finish(0, &mut notes);
        prop_assert_eq!(&sums(&notes.records), &whole.sums[usize::from(short)], "{}", whole.name);
    }
}

/// Counts events, keeps nothing.
#[derive(Default)]
struct Tally {
    begun: u64,
    ended: u64,
    packets: u64,
    bytes: u64,
}

impl Watcher for Tally {
    fn event(&mut self, event: FlowEvent, flow: &Flow, _: Nanos) {
        match event {
            FlowEvent::Begun => self.begun += 1,
            FlowEvent::Ended(_) => {
                self.ended += 1;
                self.packets += flow.orig.packets + flow.resp.packets;
                self.bytes += flow.orig.bytes + flow.resp.bytes;
            }
            _ => {}
        }
    }
}
