//! Counting by flow records, where the packets are gone or were never written: which packet came when is not known any more, so a
//! flow counts whole, and at its application with every packet.

use std::collections::BTreeMap;
use std::hash::Hash;

use crate::flow::key::Numbers;
use crate::flow::record::FlowRecord;
use crate::flow::summary::{Count, Identity, Merged, Rows, Summary, Talk, Traffic};
use crate::packet::addr::{Addr, Mac};
use crate::packet::app::Basis;
use crate::packet::level::{Level, Path};

/// Records gathered before they are merged.
const BATCH: usize = 4096;

/// Takes records, and adds what they amount to.
#[derive(Default)]
pub(super) struct FromFlows {
    records: Vec<FlowRecord>,
    /// Records taken.
    pub taken: u64,
}

impl FromFlows {
    /// Takes a record.
    pub(super) fn take(&mut self, record: FlowRecord, into: &mut Merged) {
        self.records.push(record);
        self.taken += 1;
        if self.records.len() >= BATCH {
            self.merge(into);
        }
    }

    /// Adds what has been taken.
    pub(super) fn merge(&mut self, into: &mut Merged) {
        if !self.records.is_empty() {
            into.add(&summary(&self.records));
            self.records.clear();
        }
    }
}

fn summary(records: &[FlowRecord]) -> Summary {
    let mut summary = Summary::default();
    let (mut protocols, mut endpoints, mut macs) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut conversations = BTreeMap::new();
    for record in records {
        let orig = Count { packets: record.orig_packets, bytes: record.orig_bytes };
        let resp = Count { packets: record.resp_packets, bytes: record.resp_bytes };
        let range = summary.range.get_or_insert((record.start, record.end));
        *range = (range.0.min(record.start), range.1.max(record.end));
        summary.total += orig + resp;
        *protocols.entry(path(record)).or_insert_with(Count::default) += orig + resp;
        exchange::<Addr>(&mut endpoints, (record.src_ip, record.dst_ip), orig, resp);
        if let (Some(src), Some(dst)) = (record.src_mac, record.dst_mac) {
            exchange::<Mac>(&mut macs, (src, dst), orig, resp);
        }
        let (key, forward) = record.key();
        let talk = conversations.entry(key.conversation()).or_insert_with(|| Talk {
            forward,
            identity: identity(record, forward),
            first: record.start,
            last: record.end,
            ..Talk::default()
        });
        let (by_orig, by_resp) = if talk.forward == forward { (orig, resp) } else { (resp, orig) };
        talk.orig += by_orig;
        talk.resp += by_resp;
        (talk.first, talk.last) = (talk.first.min(record.start), talk.last.max(record.end));
        let app = record.app.as_deref().and_then(Level::from_name);
        let told = app.map(|app| (app, record.app_basis.unwrap_or(Basis::Port)));
        if talk.app.map(|(_, basis)| basis) < told.map(|(_, basis)| basis) {
            talk.app = told;
        }
    }
    summary.protocols = rows(protocols);
    summary.endpoints = rows(endpoints);
    summary.macs = rows(macs);
    summary.conversations = rows(conversations);
    summary
}

fn rows<K: Ord, V>(map: BTreeMap<K, V>) -> Rows<K, V> {
    Rows { rows: map.into_iter().collect(), missed: Count::default() }
}

fn exchange<K: Ord + Hash + Copy>(
    rows: &mut BTreeMap<K, Traffic>,
    (src, dst): (K, K),
    orig: Count,
    resp: Count,
) {
    let source = rows.entry(src).or_default();
    source.tx += orig;
    source.rx += resp;
    let target = rows.entry(dst).or_default();
    target.tx += resp;
    target.rx += orig;
}

fn identity(record: &FlowRecord, forward: bool) -> Identity {
    match (record.icmp_type, record.icmp_code, record.key().0.numbers) {
        (Some(kind), Some(code), _) => Identity::Icmp { kind, code, from_a: forward },
        (.., Numbers::Ports) => Identity::Key,
        _ if record.community_id.is_some() => Identity::Key,
        _ => Identity::None,
    }
}

/// The levels that a record tells of.
fn path(record: &FlowRecord) -> Path {
    let mut path = Path::EMPTY;
    if record.src_mac.is_some() {
        path = path.with(Level::Eth);
    }
    for _ in [record.vlan.outer, record.vlan.inner].into_iter().filter(|&id| id > 0) {
        path = path.with(Level::Vlan);
    }
    path = path.with(if record.src_ip.is_v4() { Level::Ip } else { Level::Ipv6 });
    let transport = match record.proto {
        58 => Some(Level::Icmpv6),
        _ => record.transport.as_deref().and_then(Level::from_name),
    };
    path = path.with(transport.unwrap_or(Level::Data));
    let app = record.app.as_deref().and_then(Level::from_name);
    app.map_or(path, |app| path.with(app))
}
