//! What the parts of the analysis cost by themselves: decoding, the flow table, the summary of a file, and merging the summaries of
//! a thousand. `cargo bench --bench parts -- CAPTURE…`; without captures only what can be made up is measured.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a program to look at")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path as FilePath;
use std::time::Instant;

use tapkeep::capture::replay::Import;
use tapkeep::flow::key::{FlowKey, Numbers};
use tapkeep::flow::summary::{
    Count, Identity, Merged, Summariser, Summary, SummaryLimits, Talk, Traffic, Wanted,
};
use tapkeep::flow::table::{Arrival, Flow, FlowEvent, FlowLimits, FlowTable, Watcher};
use tapkeep::index::query::Reader;
use tapkeep::index::writer::IndexWriter;
use tapkeep::packet::addr::{Addr, Vlan};
use tapkeep::packet::decode::decode;
use tapkeep::packet::level::{Level, Path};
use tapkeep::packet::{LinkType, NANOS_PER_SEC, Nanos};
use tapkeep::store::catalog::Catalog;
use tapkeep::store::entry::{Act, Entry};
use tapkeep::store::facts::{CaptureFacts, State};
use tapkeep::store::names::CaptureName;

#[path = "../tests/support/made.rs"]
mod made;

/// How often the packets of a capture are gone through; the best round counts.
const ROUNDS: usize = 20;

fn main() {
    // Cargo says `--bench`.
    for path in std::env::args().skip(1).filter(|word| !word.starts_with("--")) {
        measure_capture(FilePath::new(&path));
    }
    for flows in [1_000, 10_000, 100_000] {
        measure_table(flows);
    }
    for (endpoints, of) in [(200, 2_000), (1_000, 5_000), (4_096, 20_000)] {
        measure_merging(endpoints, of);
    }
}

/// CPU time of this thread.
fn cpu_nanos() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Of the best of some rounds, nanoseconds a piece.
fn best(pieces: usize, mut round: impl FnMut()) -> f64 {
    let rounds = (0..ROUNDS).map(|_| {
        let begin = cpu_nanos();
        round();
        cpu_nanos() - begin
    });
    rounds.min().unwrap_or_default() as f64 / pieces.max(1) as f64
}

struct Record {
    link: LinkType,
    at: Nanos,
    wire_len: u32,
    data: Vec<u8>,
}

fn measure_capture(path: &FilePath) {
    let (mut import, mut records) = (Import::open(path).unwrap(), Vec::new());
    while let Some(packet) = import.next().unwrap() {
        let at = packet.frame.nanos(packet.precision);
        let (wire_len, data) = (packet.frame.wire_len, packet.frame.data.to_vec());
        records.push(Record { link: packet.link, at, wire_len, data });
    }
    let decoding = best(records.len(), || {
        for record in &records {
            black_box(decode(record.link, black_box(&record.data), record.wire_len));
        }
    });
    let decoded: Vec<_> =
        records.iter().map(|record| decode(record.link, &record.data, record.wire_len)).collect();
    let summarise = || {
        let mut summariser = Summariser::new(SummaryLimits::DEFAULT);
        for (record, packet) in records.iter().zip(&decoded) {
            summariser.packet(packet, record.at, record.wire_len);
        }
        summariser.summary()
    };
    let summarising = best(records.len(), || drop(black_box(summarise())));
    let encoded = summarise().encode(&SummaryLimits::DEFAULT).len();
    let on_disk: usize = records.iter().map(|record| 16 + record.data.len()).sum();
    println!(
        "{}: {} frames, {decoding:.0} ns each to decode, {summarising:.0} ns to summarise; index {encoded} of {on_disk} bytes ({:.2} %)",
        path.display(),
        records.len(),
        100.0 * encoded as f64 / on_disk.max(1) as f64,
    );
}

/// What one load costs whose address the load before it gave, at random in so many words.
fn chase(words: usize) -> i64 {
    let mut next: Vec<usize> = (0..words).collect();
    let mut random = 1usize;
    // Sattolo's shuffle: one cycle through all.
    for at in (1..words).rev() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        next.swap(at, (random >> 33) % at);
    }
    let (begin, mut at) = (cpu_nanos(), 0);
    for _ in 0..1_000_000 {
        at = next[at];
    }
    std::hint::black_box(at);
    (cpu_nanos() - begin) / 1_000_000
}

struct Nobody;

impl Watcher for Nobody {
    fn event(&mut self, _: FlowEvent, _: &Flow, _: Nanos) {}
}

const LIMITS: FlowLimits = FlowLimits {
    flows: 200_000,
    tcp_idle: 300 * NANOS_PER_SEC,
    tcp_half_open: 30 * NANOS_PER_SEC,
    tcp_closed: 5 * NANOS_PER_SEC,
    other_idle: 60 * NANOS_PER_SEC,
    active: 300 * NANOS_PER_SEC,
};

/// Segments of so many connections, in turn and then at random.
fn measure_table(flows: usize) {
    let mut table = FlowTable::new(LIMITS);
    let payload = [7; 1000];
    let mut random = 1u64;
    let mut arrival = Arrival { wire_len: 1054, ..Arrival::default() };
    let mut nths = vec![0u32; flows];
    let mut send = |table: &mut FlowTable, connection: usize| {
        arrival.at += 500;
        arrival.now = arrival.at;
        arrival.place.offset += 1070;
        let packet = made::segment(connection as u32, nths[connection], &payload);
        nths[connection] += 1;
        std::hint::black_box(table.packet(&packet, &arrival, &mut Nobody));
    };
    let begin = cpu_nanos();
    for round in 0..12 * flows {
        send(&mut table, round % flows);
    }
    let warm = (cpu_nanos() - begin) / (12 * flows as i64);
    let memory = table.counts().memory / flows as u64;
    let order: Vec<u32> = (0..2_000_000)
        .map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((random >> 33) % flows as u64) as u32
        })
        .collect();
    let begin = cpu_nanos();
    for &connection in &order {
        send(&mut table, connection as usize);
    }
    let random = (cpu_nanos() - begin) / order.len() as i64;
    let chase = chase(flows * 480 / 8);
    println!(
        "{flows} flows, {chase} ns a dependent load of as much memory: {random} ns a packet in random order, {warm} with the beginnings, {memory} bytes a flow"
    );
}

/// A thousand files, each with so many of so many addresses, three conversations each.
fn measure_merging(endpoints: usize, of: u32) {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: u32| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((random >> 33) % u64::from(below)) as u32
    };
    let count = |packets: u32| Count { packets: packets.into(), bytes: u64::from(packets) * 700 };
    let dir = tempfile::tempdir().unwrap();
    let mut index = IndexWriter::new(&dir.path().join("index.sqlite3"));
    let mut catalog = Catalog::default();
    let mut sizes = BTreeMap::new();
    for number in 1..=1000 {
        let mut facts = CaptureFacts::bare(CaptureName::new(number, 1_700_000_000), State::Sealed);
        facts.size = 1 << 20;
        sizes.insert(number, facts.size);
        catalog.apply(&Entry { at: None, up_ms: 0, synchronised: true, act: Act::Seal { capture: facts } });
    }
    index.recover(&catalog).unwrap();
    let mut bytes = 0;
    for number in 1..=1000 {
        let mut summary = Summary { range: Some((0, 1)), total: count(1), ..Summary::default() };
        let mut addrs = BTreeMap::new();
        while addrs.len() < endpoints {
            let addr = Addr::v4((0x0a00_0000 + next(of) * 7).to_be_bytes());
            addrs.insert(
                addr,
                Traffic { tx: count(next(5000)), rx: count(next(5000)), error: Count::default() },
            );
        }
        let ends: Vec<_> = addrs.keys().copied().collect();
        summary.endpoints.rows = addrs.into_iter().collect();
        let paths = (0..40).map(|level| {
            let level = Level::from_number(54 + level).unwrap();
            (Path::EMPTY.with(Level::Eth).with(Level::Ip).with(Level::Tcp).with(level), count(1000))
        });
        summary.protocols.rows = paths.collect();
        let mut talks = BTreeMap::new();
        for _ in 0..endpoints * 3 {
            let (a, b) = (ends[next(ends.len() as u32) as usize], ends[next(ends.len() as u32) as usize]);
            let port = 32768 + next(28_000) as u16;
            let key = FlowKey {
                a: (a.min(b), 443),
                b: (a.max(b), port),
                vlan: Vlan::NONE,
                proto: 6,
                numbers: Numbers::Ports,
            };
            let (orig, resp, first) = (count(next(50)), count(next(90)), i64::from(next(60_000_000)) * 1000);
            talks.insert(
                key,
                Talk {
                    forward: true,
                    identity: Identity::Key,
                    orig,
                    resp,
                    first,
                    last: first + 5_000_000_000,
                    ..Talk::default()
                },
            );
        }
        summary.conversations.rows = talks.into_iter().take(4096).collect();
        let encoded = summary.encode(&SummaryLimits::DEFAULT);
        bytes += encoded.len();
        index.put_summary(number, 1 << 20, &encoded);
    }
    let reader = Reader::open(&dir.path().join("index.sqlite3")).unwrap();
    for (what, wanted) in [
        ("protocols", Wanted { protocols: true, ..Wanted::default() }),
        ("endpoints", Wanted { endpoints: true, ..Wanted::default() }),
        ("conversations", Wanted { conversations: true, ..Wanted::default() }),
    ] {
        let (begin, mut merged, mut files) = (Instant::now(), Merged::new(wanted, SummaryLimits::FOREIGN), 0);
        reader
            .summaries(&sizes, wanted, |_, blobs| {
                merged.add_blobs(blobs).unwrap();
                files += 1;
            })
            .unwrap();
        let read = begin.elapsed();
        let rows =
            merged.protocols().rows.len() + merged.endpoints().rows.len() + merged.conversations().rows.len();
        println!(
            "{files} files of {endpoints} endpoints, {} bytes each: {what} read and merged in {read:?}, {rows} rows after {:?}",
            bytes / 1000,
            begin.elapsed()
        );
    }
}
