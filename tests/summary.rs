//! What captures amount to, against tshark: every capture that nobody here wrote, whole, cut in two and over an index. They lie
//! where `TAPKEEP_CORPORA` points, else in a folder beside the checkout. Without them these tests say that they skip.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "helpers of tests")]

#[path = "support/corpora.rs"]
mod corpora;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path as FilePath, PathBuf};

use corpora::{captures, corpora};
use serde_json::Value;
use tapkeep::capture::replay::Import;
use tapkeep::flow::key::FlowKey;
use tapkeep::flow::key::Numbers;
use tapkeep::flow::summary::{
    Count, Merged, Probe, Summariser, Summary, SummaryLimits, Talk, Traffic, Wanted,
};
use tapkeep::index::analysis::{Analysis, AnalysisError, Question, over_data_dir, over_files};
use tapkeep::index::count::summary_of;
use tapkeep::index::rebuild;
use tapkeep::index::writer::{Health, IndexWriter};
use tapkeep::packet::addr::{Addr, Mac};
use tapkeep::packet::community_id::CommunityId;
use tapkeep::packet::decode::decode;
use tapkeep::packet::level::Level;
use tapkeep::packet::{Frame, LinkType, MAX_SNAPLEN, NANOS_PER_SEC, Nanos, Precision};
use tapkeep::store::block::Tally;
use tapkeep::store::catalog::Catalog;
use tapkeep::store::entry::{Act, Entry};
use tapkeep::store::facts::{CaptureFacts, State};
use tapkeep::store::flow_facts::FlowFacts;
use tapkeep::store::format::{Format, RecordHeader};
use tapkeep::store::layout::Layout;
use tapkeep::store::losses::Losses;
use tapkeep::store::names::{CaptureName, FlowName, Role};
use tapkeep::store::range::TimeRange;
use tapkeep::sys::fs::{Fs, RealFs};

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

/// What an answer says, by value.
#[derive(Debug, PartialEq, Eq)]
struct Rows {
    range: Option<(Nanos, Nanos)>,
    total: Count,
    protocols: Vec<(String, Count)>,
    endpoints: Vec<(Addr, Traffic)>,
    macs: Vec<(Mac, Traffic)>,
    conversations: Vec<(FlowKey, Talk)>,
}

fn rows(merged: &Merged) -> Rows {
    Rows {
        range: merged.range(),
        total: merged.total(),
        protocols: merged.protocols().rows.iter().map(|(path, count)| (path.to_string(), *count)).collect(),
        endpoints: merged.endpoints().rows,
        macs: merged.macs().rows,
        conversations: merged.conversations().rows,
    }
}

fn merged(summaries: &[Summary]) -> Merged {
    let mut merged = Merged::new(Wanted::ALL, SummaryLimits::FOREIGN);
    summaries.iter().for_each(|summary| merged.add(summary));
    merged
}

/// What one file's knowledge of the one before decides: the application, the flow of a fragment, who answered whom.
fn without_memory(mut rows: Rows) -> Rows {
    rows.protocols.retain(|(path, _)| is_lower(path));
    let mut conversations = BTreeMap::<_, Count>::new();
    for (key, talk) in &rows.conversations {
        // A fragment whose first is in another file has no ports.
        let ends = (key.a.0.min(key.b.0), key.a.0.max(key.b.0), key.vlan, key.proto);
        *conversations.entry(ends).or_default() += talk.total();
    }
    let key = |(a, b, vlan, proto)| FlowKey { a: (a, 0), b: (b, 0), vlan, proto, numbers: Numbers::None };
    let talk = |orig| Talk { orig, ..Talk::default() };
    rows.conversations = conversations.into_iter().map(|(ends, sum)| (key(ends), talk(sum))).collect();
    rows
}

fn is_lower(path: &str) -> bool {
    path.split(':').all(|level| LOWER.iter().any(|lower| lower.name() == level))
}

#[test]
fn the_parts_of_a_capture_add_up_to_the_whole() {
    let Some(corpora) = corpora() else { return };
    for path in captures(&corpora) {
        let (name, packets) = (name(&path), packets(&path));
        let whole = rows(&merged(&[summary(&packets, SummaryLimits::DEFAULT)]));
        for parts in [2, 3, 7] {
            let size = packets.len().div_ceil(parts);
            let files: Vec<_> =
                packets.chunks(size).map(|part| summary(part, SummaryLimits::DEFAULT)).collect();
            let sum = rows(&merged(&files));
            assert_eq!((&sum.endpoints, &sum.macs), (&whole.endpoints, &whole.macs), "{name}");
            let whole = rows(&merged(&[summary(&packets, SummaryLimits::DEFAULT)]));
            assert_eq!(without_memory(sum), without_memory(whole), "{name} in {parts} files");
        }
        // Of one file, what came before is known: stretches of it add up to all of it.
        let cut = |from: usize, to: usize| {
            let mut summariser = Summariser::new(SummaryLimits::DEFAULT);
            for (at, packet) in packets.iter().enumerate() {
                let layers = decode(packet.link, &packet.data, packet.wire_len);
                if (from..to).contains(&at) {
                    summariser.packet(&layers, packet.at, packet.wire_len);
                } else {
                    summariser.context(&layers, packet.at);
                }
            }
            summariser.summary()
        };
        let (third, all) = (packets.len() / 3, packets.len());
        let mut sum = rows(&merged(&[cut(0, third), cut(third, 2 * third), cut(2 * third, all)]));
        let mut whole = whole;
        for rows in [&mut sum, &mut whole] {
            // What comes behind the range tells of it, too; and the first ICMP packet of a part is another's.
            rows.conversations
                .iter_mut()
                .for_each(|(_, talk)| (talk.app, talk.identity) = Default::default());
        }
        assert_eq!(sum, whole, "{name} in three ranges");
    }
}

#[test]
fn what_is_above_the_bound_is_off_by_its_error_at_most() {
    let Some(corpora) = corpora() else { return };
    let mut inexact = 0;
    for path in captures(&corpora) {
        let (name, packets) = (name(&path), packets(&path));
        let exact = summary(&packets, SummaryLimits::DEFAULT);
        let few = summary(&packets, SummaryLimits { endpoints: 5, macs: 2, conversations: 5 });
        inexact += usize::from(!few.conversations.is_exact());
        let true_talks: BTreeMap<_, _> = exact.conversations.rows.iter().copied().collect();
        for (key, talk) in &few.conversations.rows {
            let (real, told) = (true_talks[key].total(), talk.total());
            assert!(
                real.bytes <= told.bytes && told.bytes - talk.error.bytes <= real.bytes,
                "{name}: {key:?}"
            );
            assert!(
                real.packets <= told.packets && told.packets <= real.packets + talk.error.packets,
                "{name}: {key:?}"
            );
        }
        let (most, missed) = (few.conversations.rows.len(), few.conversations.missed);
        let kept = |key| few.conversations.rows.iter().any(|(of, _)| of == key);
        let above = |talk: &Talk| talk.total().bytes > missed.bytes;
        assert!(true_talks.iter().all(|(key, talk)| kept(key) || !above(talk)), "{name}");
        // A conversation that lost its row has forgotten its application; but every frame is counted.
        let frames = |rows: &[(_, Count)]| rows.iter().map(|(_, count)| count.bytes).sum::<u64>();
        assert_eq!(frames(&few.protocols.rows), exact.total.bytes, "{name}");
        assert!(most <= 5 && few.total == exact.total, "{name}");
        // The filter forgets nobody.
        assert_eq!(few.filter, exact.filter, "{name}");
    }
    assert!(inexact > 20, "{inexact}");
}

/// A data directory of capture files made of a capture that nobody here wrote, cut into files, the last of them growing.
struct House {
    _dir: tempfile::TempDir,
    layout: Layout,
    entries: Vec<Entry>,
}

/// How many packets a file holds.
const PER_FILE: usize = 700;

fn house(capture: &FilePath) -> House {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    fs::create_dir(layout.captures()).unwrap();
    let packets = packets(capture);
    let files: Vec<_> = packets.chunks(PER_FILE).collect();
    let mut entries = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let format = Format { link: file[0].link, precision: Precision::Nano, snaplen: MAX_SNAPLEN };
        let mut bytes = format.encode().to_vec();
        let mut tally = Tally::default();
        for packet in *file {
            let (sec, frac) = (packet.at / NANOS_PER_SEC, packet.at % NANOS_PER_SEC);
            let frame =
                Frame { sec: sec as u32, frac: frac as u32, wire_len: packet.wire_len, data: &packet.data };
            bytes.extend(RecordHeader::of(&frame).encode());
            bytes.extend(&packet.data);
            tally.count(packet.at, packet.wire_len);
        }
        let name = CaptureName::new(number as u64 + 1, (file[0].at / NANOS_PER_SEC) as u32);
        let grows = number + 1 == files.len();
        let role = if grows { Role::Part } else { Role::Sealed };
        fs::write(layout.captures().join(name.file_name(role)), &bytes).unwrap();
        if !grows {
            let mut facts = CaptureFacts::bare(name, State::Sealed);
            facts.set_tally(&tally);
            facts.losses = Losses { kernel: Some(number as u64), ..Losses::NONE };
            facts.size = bytes.len() as u64;
            let act = Act::Seal { capture: facts };
            entries.push(Entry { at: None, up_ms: 0, synchronised: true, act });
        }
    }
    House { _dir: dir, layout, entries }
}

impl House {
    fn catalog(&self) -> Catalog {
        Catalog::new(&self.entries, &RealFs::default().read_dir(&self.layout.captures()).unwrap())
    }

    /// The index as the service keeps it up.
    fn index(&self) -> IndexWriter {
        let catalog = self.catalog();
        let mut index = IndexWriter::new(&self.layout.index());
        index.recover(&catalog).unwrap();
        for facts in index.lacking(&catalog, &SummaryLimits::DEFAULT).unwrap() {
            let summary =
                summary_of(&self.layout, &RealFs::default(), &facts, SummaryLimits::DEFAULT).unwrap();
            assert_eq!(index.put_summary(facts.name.number(), facts.size, &summary), &Health::Current);
        }
        assert_eq!(index.lacking(&catalog, &SummaryLimits::DEFAULT).unwrap(), []);
        index
    }

    fn ask(&self, range: TimeRange, only: Vec<Probe>, files: &[PathBuf]) -> Result<Analysis, AnalysisError> {
        self.ask_beside(range, only, files, &|| true)
    }

    fn ask_beside(
        &self,
        range: TimeRange,
        only: Vec<Probe>,
        files: &[PathBuf],
        meanwhile: &dyn Fn() -> bool,
    ) -> Result<Analysis, AnalysisError> {
        let ledger = || Ok(self.entries.clone());
        let fs = RealFs::default();
        let question = Question {
            layout: &self.layout,
            fs: &fs,
            ledger: &ledger,
            range,
            wanted: Wanted::ALL,
            only,
            limits: SummaryLimits::DEFAULT,
            recording: None,
            watch: &|_| meanwhile(),
        };
        if files.is_empty() { over_data_dir(&question) } else { over_files(&question, files) }
    }

    fn all(&self) -> Analysis {
        self.ask(TimeRange::ALL, vec![], &[]).unwrap()
    }
}

fn sqlite(house: &House, sql: &str) {
    rusqlite::Connection::open(house.layout.index()).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn an_answer_is_the_same_with_an_index_and_without_whatever_became_of_it() {
    let Some(corpora) = corpora() else { return };
    let capture = corpora.join("mix-office.pcap");
    let (house, truth) = (house(&capture), truth_of(&capture));
    let files = packets(&capture).len().div_ceil(PER_FILE);
    let bare = house.all();
    assert_eq!((bare.files, bare.read, bare.damaged), (files, files, false));
    let wanted = rows(&bare.merged);
    assert_eq!(wanted.total.packets, number(&truth["counters"]["packets"]));
    let endpoints: BTreeMap<_, _> =
        wanted.endpoints.iter().map(|(addr, traffic)| (addr.to_string(), row(traffic))).collect();
    assert_eq!(endpoints, table(&truth, "l3"));

    let index = house.index();
    let indexed = house.all();
    assert_eq!(
        (indexed.files, indexed.read, &indexed.notes),
        (files, 1, &vec![]),
        "only the growing file is read"
    );
    assert_eq!(rows(&indexed.merged), wanted);
    assert_eq!((indexed.from, indexed.to), (bare.from, bare.to));
    assert_eq!(indexed.from.zip(indexed.to), wanted.range);
    // The growing file's losses are the service's to tell.
    assert_eq!(indexed.losses, Losses::UNKNOWN);
    drop(index);

    // Spoiled, it is seen through; made anew, it answers as before.
    for (spoil, read) in [
        ("UPDATE summary SET endpoints = x'00112233445566778899' WHERE number = 2", 2),
        ("UPDATE summary SET size = size + 1 WHERE number IN (1, 3)", 3),
        ("UPDATE summary SET version = 99", files),
        ("DELETE FROM summary WHERE number = 1", 2),
    ] {
        sqlite(&house, spoil);
        let answer = house.all();
        assert_eq!((rows(&answer.merged) == wanted, answer.read), (true, read), "{spoil}");
        drop(fs::remove_file(house.layout.index()));
        let summarise = |facts: &CaptureFacts| {
            Ok(summary_of(&house.layout, &RealFs::default(), facts, SummaryLimits::DEFAULT))
        };
        rebuild::replace_with(&house.layout.index(), &house.catalog(), summarise).unwrap();
        let answer = house.all();
        assert_eq!((rows(&answer.merged) == wanted, answer.read), (true, 1), "{spoil}");
    }
}

#[test]
fn a_summary_is_a_function_of_its_file_alone() {
    let Some(corpora) = corpora() else { return };
    let capture = corpora.join("mix-many-protocols.pcap");
    let mut house = house(&capture);
    let live = packets(&capture);
    let live: Vec<_> = live.chunks(PER_FILE).map(|file| summary(file, SummaryLimits::DEFAULT)).collect();
    // The files before it are gone when each is read, and the index holds what the stream gave.
    let blobs = |facts: &CaptureFacts| {
        summary_of(&house.layout, &RealFs::default(), facts, SummaryLimits::DEFAULT).unwrap()
    };
    let facts: Vec<_> = house.catalog().captures().cloned().collect();
    for (facts, live) in facts.iter().zip(&live) {
        let alone = blobs(facts);
        assert_eq!(alone, live.encode(&SummaryLimits::DEFAULT), "{}", facts.name);
        assert_eq!(alone.decode().as_ref(), Ok(live));
        fs::remove_file(house.layout.captures().join(facts.name.to_string())).unwrap();
    }
    // Gone and told so: nothing is left of them but that they were.
    let evict = |facts: &CaptureFacts| {
        let act = Act::Evict { capture: facts.clone(), reason: "count".to_owned() };
        Entry { at: None, up_ms: 0, synchronised: true, act }
    };
    let evictions: Vec<_> = facts.iter().map(evict).collect();
    house.entries.extend(evictions);
    let answer = house.all();
    assert_eq!((answer.files, answer.evicted.len()), (1, facts.len()));
    let gone = house.ask(TimeRange::ALL, vec![], &[PathBuf::from(facts[0].name.to_string())]);
    assert!(matches!(gone, Err(AnalysisError::Evicted { .. })), "{gone:?}");
}

#[test]
fn a_range_counts_its_packets_and_ranges_that_meet_add_up() {
    let Some(corpora) = corpora() else { return };
    let house = house(&corpora.join("mix-office.pcap"));
    let _index = house.index();
    let all = house.all();
    let (first, last) = all.merged.range().unwrap();
    let mut total = Count::default();
    let mut protocols = BTreeMap::<String, Count>::new();
    let steps = 6;
    for step in 0..steps {
        let at = |step: i64| first + (last - first) * step / steps;
        let range = TimeRange {
            since: (step > 0).then(|| at(step)),
            until: (step + 1 < steps).then(|| at(step + 1)),
        };
        let answer = house.ask(range, vec![], &[]).unwrap();
        assert!(answer.read < all.files && answer.merged.total().packets > 0);
        assert_eq!(answer.from, Some(range.since.unwrap_or(first)));
        assert_eq!(answer.to, Some(range.until.unwrap_or(last)));
        total += answer.merged.total();
        for (path, count) in rows(&answer.merged).protocols {
            *protocols.entry(path).or_default() += count;
        }
    }
    assert_eq!(total, all.merged.total());
    assert_eq!(protocols, rows(&all.merged).protocols.into_iter().collect());
    let nothing = house.ask(TimeRange { since: Some(last + 1), until: None }, vec![], &[]).unwrap();
    assert_eq!((nothing.files, nothing.from, nothing.merged.total()), (0, None, Count::default()));
}

#[test]
fn a_question_is_given_up_when_whoever_asked_has_other_things_to_do() {
    let Some(corpora) = corpora() else { return };
    let house = house(&corpora.join("mix-office.pcap"));
    let files = house.all().files;
    let left = std::cell::Cell::new(3);
    let given_up =
        house.ask_beside(TimeRange::ALL, vec![], &[], &|| left.replace(left.get() - 1) > 1).unwrap();
    assert!(files > 3 && given_up.given_up);
    assert_eq!((given_up.read, left.get()), (2, 0), "nobody is asked again, and nothing read");
    assert!(!house.all().given_up);
}

#[test]
fn filters_leave_out_files_but_none_that_holds_what_is_asked_for() {
    let Some(corpora) = corpora() else { return };
    let house = house(&corpora.join("mix-office.pcap"));
    let all = house.all();
    let _index = house.index();
    let mut left_out = 0;
    for (key, talk) in &rows(&all.merged).conversations {
        let id = talk.community_id(key).unwrap();
        for probe in [Probe::from(id), Probe::from(key.a.0), Probe::from(key.b.0)] {
            let answer = house.ask(TimeRange::ALL, vec![probe], &[]).unwrap();
            let found = rows(&answer.merged).conversations;
            assert!(found.contains(&(*key, *talk)), "{key:?}");
            left_out += usize::from(answer.merged.total() != all.merged.total());
            assert_eq!((answer.from, answer.to, answer.files), (all.from, all.to, all.files));
        }
    }
    assert!(left_out > 100, "{left_out}");
}

#[test]
fn named_files_are_answered_from_the_data_directory_and_from_elsewhere() {
    let Some(corpora) = corpora() else { return };
    let house = house(&corpora.join("mix-office.pcap"));
    let _index = house.index();
    let own = house.catalog().captures().next().unwrap().name.to_string();
    let answer = house.ask(TimeRange::ALL, vec![], &[PathBuf::from(&own)]).unwrap();
    assert_eq!((answer.files, answer.read, answer.merged.total().packets), (1, 0, PER_FILE as u64));
    assert_eq!(answer.losses, Losses::NONE);
    // The same file by its path is one from elsewhere.
    let path = house.layout.captures().join(&own);
    let foreign = house.ask(TimeRange::ALL, vec![], &[path, corpora.join("encap-vxlan.pcap")]).unwrap();
    assert_eq!((foreign.files, foreign.read, foreign.losses), (2, 2, Losses::UNKNOWN));
    let other = summary(&packets(&corpora.join("encap-vxlan.pcap")), SummaryLimits::FOREIGN);
    assert_eq!(foreign.merged.total(), answer.merged.total() + other.total);
    for missing in ["capture_20241231_143052_9999.pcap", "no/such/file.pcap"] {
        let error = house.ask(TimeRange::ALL, vec![], &[PathBuf::from(missing)]).unwrap_err();
        assert!(matches!(error, AnalysisError::Missing { .. }), "{error}");
    }
    let bad = corpora.join("bad");
    let expected: Value = serde_json::from_slice(&fs::read(bad.join("EXPECTED.json")).unwrap()).unwrap();
    let mut told = 0;
    for (name, expected) in expected.as_object().unwrap() {
        match house.ask(TimeRange::ALL, vec![], &[bad.join(name)]) {
            Ok(answer) => {
                told += usize::from(answer.damaged);
                assert_eq!(answer.damaged, !answer.notes.is_empty(), "{name}");
                assert!(answer.merged.total().packets >= number(&expected["min_packets"]), "{name}");
            }
            Err(AnalysisError::Import(_)) => assert_eq!(expected["min_packets"], 0, "{name}"),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(told >= 2, "{told}");
}

#[test]
fn without_capture_files_the_summaries_of_flow_files_answer() {
    let Some(corpora) = corpora() else { return };
    let packets = packets(&corpora.join("mix-office.pcap"));
    let dir = tempfile::tempdir().unwrap();
    let house = House { layout: Layout::new(dir.path()), _dir: dir, entries: Vec::new() };
    let mut catalog = Catalog::default();
    let parts: Vec<_> = packets.chunks(PER_FILE).map(|part| summary(part, SummaryLimits::DEFAULT)).collect();
    let facts: Vec<_> = (1..)
        .zip(&parts)
        .map(|(number, part)| {
            let (first, last) = part.range.unwrap();
            FlowFacts {
                size: 5_000,
                first: Some(first),
                last: Some(last),
                losses: Losses::NONE,
                ..FlowFacts::bare(FlowName::new(number, first), State::Sealed)
            }
        })
        .collect();
    for flows in &facts {
        let act = Act::FlowSeal { flows: flows.clone() };
        catalog.apply(&Entry { at: None, up_ms: 0, synchronised: true, act });
    }
    let mut index = IndexWriter::new(&house.layout.index());
    index.recover(&catalog).unwrap();
    for (flows, part) in facts.iter().zip(&parts) {
        index.put_flow_summary(flows.name.number(), flows.size, &part.encode(&SummaryLimits::DEFAULT));
    }
    let answer = house.all();
    assert_eq!(rows(&answer.merged), rows(&merged(&parts)));
    assert_eq!((answer.from.zip(answer.to), answer.losses), (answer.merged.range(), Losses::NONE));
    assert_eq!((answer.files, answer.read, answer.cut_flows.len()), (parts.len(), 0, 0));
    // What a range cuts, a summary cannot part.
    let since = parts[1].range.unwrap().0 + 1;
    let answer = house.ask(TimeRange { since: Some(since), until: None }, vec![], &[]).unwrap();
    assert_eq!((answer.files, answer.cut_flows.len()), (parts.len() - 2, 1));
    assert_eq!(answer.from, Some(since));
}
