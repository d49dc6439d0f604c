//! Packets of a file, in order, to its summary. Memory is bounded by the limits; no allocation per packet once the rows are
//! there.

use super::conversation::Conversation;
use super::filter::FilterBuilder;
use super::protocols::Protocols;
use super::space_saving::{Found, NOWHERE, Table};
use super::{Count, Identity, Rows, Summary, SummaryLimits, Traffic};
use crate::flow::key::{FlowKey, Keyer, Numbers};
use crate::packet::Nanos;
use crate::packet::addr::{Addr, Mac};
use crate::packet::app::{self, Way};
use crate::packet::community_id::Tuple;
use crate::packet::decode::{Inner, Ip, Macs, Net, Packet, Tcp, Transport};
use crate::packet::level::Level;

/// Fragmented packets whose first fragment is remembered.
const FRAGMENTS: usize = 1024;

/// Bytes of capture for one byte of filter.
const FILTER_SHARE: u64 = 256;

/// The filter may always have this many bytes.
const FILTER_LEAST: u64 = 1024;

/// Makes a summary of packets in the order of their file.
#[derive(Debug)]
pub struct Summariser {
    keyer: Keyer,
    /// The latest stamp so far: time for the keyer, which must not run backwards.
    now: Nanos,
    range: Option<(Nanos, Nanos)>,
    total: Count,
    protocols: Protocols,
    endpoints: Table<Addr, Traffic>,
    macs: Table<Mac, Traffic>,
    conversations: Table<FlowKey, Conversation>,
    filter: FilterBuilder,
    /// Where the packet before was counted.
    latest: u32,
    latest_macs: [u32; 2],
}

impl Summariser {
    /// Nothing counted yet.
    pub fn new(limits: SummaryLimits) -> Self {
        Self {
            keyer: Keyer::new(FRAGMENTS),
            now: Nanos::MIN,
            range: None,
            total: Count::default(),
            protocols: Protocols::new(),
            endpoints: Table::new(limits.endpoints),
            macs: Table::new(limits.macs),
            conversations: Table::new(limits.conversations),
            filter: FilterBuilder::new(),
            latest: NOWHERE,
            latest_macs: [NOWHERE; 2],
        }
    }

    /// Counts a packet of `wire_len` bytes, stamped `at`.
    #[inline]
    pub fn packet(&mut self, packet: &Packet<'_>, at: Nanos, wire_len: u32) {
        self.take(packet, at, Some(wire_len));
    }

    /// Looks at a packet that the summary leaves out, for what it tells of those to come: who began a conversation, and what its
    /// application is. So the summaries of two stretches of a file add up to that of the file.
    pub fn context(&mut self, packet: &Packet<'_>, at: Nanos) {
        self.take(packet, at, None);
    }

    fn take(&mut self, packet: &Packet<'_>, at: Nanos, wire_len: Option<u32>) {
        self.now = self.now.max(at);
        if let Some(wire_len) = wire_len {
            self.total.packet(wire_len);
            let (first, last) = self.range.unwrap_or((at, at));
            self.range = Some((first.min(at), last.max(at)));
        }
        match &packet.net {
            Net::Ip(ip) => {
                if let Some((key, from_a)) = self.keyer.key(packet, self.now) {
                    return self.ip(packet, ip, &key, from_a, at, wire_len);
                }
            }
            Net::Arp(arp) if wire_len.is_some() => {
                self.filter.add(arp.sender.1);
                self.filter.add(arp.target.1);
            }
            Net::Arp(_) | Net::None => {}
        }
        let Some(wire_len) = wire_len else { return };
        self.protocols.count(packet.path, NOWHERE, Count::of(wire_len));
        if let Some(macs) = &packet.macs {
            count_macs(&mut self.macs, macs, &mut self.latest_macs, 0, wire_len);
        }
    }

    fn ip(
        &mut self,
        packet: &Packet<'_>,
        ip: &Ip<'_>,
        flow: &FlowKey,
        from_a: bool,
        at: Nanos,
        wire_len: Option<u32>,
    ) {
        let key = flow.conversation();
        // A flow's `a` may be the sender, whichever end sorts first.
        let from_a = if flow.numbers == Numbers::Ports { from_a } else { ip.src == key.a.0 };
        let (slot, _) = self.conversations.slot(&key, self.latest);
        self.latest = slot;
        let Some(talk) = self.conversations.get_mut(slot) else { return };
        if !talk.begun {
            let answers = matches!(ip.transport, Transport::Tcp(tcp) if is_syn_ack(&tcp));
            talk.forward = from_a != answers;
            talk.begun = true;
        }
        let level = if packet.inner.is_none() && flow.numbers == Numbers::Ports && ip.payload_len > 0 {
            let known =
                if talk.sniffer.is_settled() || ip.transport == Transport::Later || ip.payload.is_empty() {
                    talk.sniffer.app()
                } else {
                    talk.sniffer.look(way(&key, from_a, talk.forward), ip.payload)
                };
            match known {
                Some((app, _)) if ip.transport != Transport::Later => Some(app),
                _ => Some(Level::Data),
            }
        } else {
            innermost(packet.inner.as_ref(), ip)
        };
        let Some(wire_len) = wire_len else { return };

        let from = usize::from(!from_a);
        if !talk.counted {
            talk.counted = true;
            (talk.first, talk.last) = (at, at);
        }
        talk.first = talk.first.min(at);
        talk.last = talk.last.max(at);
        if let Some(sent) = talk.sent.get_mut(from) {
            sent.packet(wire_len);
        }
        identify(talk, &mut self.filter, (flow, &key), ip, from_a);

        let ends = [ip.src, ip.dst];
        for (side, addr) in ends.iter().enumerate() {
            let Some(hint) = talk.endpoints.get_mut(side ^ from) else { continue };
            let (slot, found) = self.endpoints.slot(addr, *hint);
            *hint = slot;
            if found == Found::New {
                self.filter.add(*addr);
            }
            if let Some(traffic) = self.endpoints.get_mut(slot) {
                (if side == 0 { &mut traffic.tx } else { &mut traffic.rx }).packet(wire_len);
            }
        }
        if let Some(macs) = &packet.macs {
            count_macs(&mut self.macs, macs, &mut talk.macs, from, wire_len);
        }
        let (path, kind) = match level {
            Some(Level::Data) if packet.path.last() == Some(Level::Data) => (packet.path, 1),
            Some(level) => (packet.path.with(level), 1),
            None => (packet.path, 0),
        };
        if let Some(hint) = talk.paths.get_mut(kind) {
            *hint = self.protocols.count(path, *hint, Count::of(wire_len));
        }
    }

    /// What it amounts to so far.
    pub fn summary(&self) -> Summary {
        let mut conversations: Vec<_> = self
            .conversations
            .rows()
            .filter(|(_, talk)| talk.counted)
            .map(|(key, talk)| (*key, talk.talk()))
            .collect();
        conversations.sort_unstable_by_key(|(key, _)| *key);
        Summary {
            range: self.range,
            total: self.total,
            protocols: self.protocols.rows(),
            endpoints: sorted(&self.endpoints),
            macs: sorted(&self.macs),
            conversations: Rows { rows: conversations, missed: self.conversations.most_evicted() },
            filter: self.filter.filter((self.total.bytes / FILTER_SHARE).max(FILTER_LEAST)),
        }
    }
}

fn sorted<K: Copy + Ord + Eq + std::hash::Hash>(table: &Table<K, Traffic>) -> Rows<K, Traffic> {
    let mut rows: Vec<_> = table.rows().map(|(key, traffic)| (*key, *traffic)).collect();
    rows.sort_unstable_by_key(|(key, _)| *key);
    Rows { rows, missed: table.most_evicted() }
}

#[inline]
fn is_syn_ack(tcp: &Tcp) -> bool {
    tcp.flags & (Tcp::SYN | Tcp::ACK | Tcp::RST | Tcp::FIN) == Tcp::SYN | Tcp::ACK
}

#[inline]
fn way(key: &FlowKey, from_a: bool, forward: bool) -> Way {
    let (src_port, dst_port) = if from_a { (key.a.1, key.b.1) } else { (key.b.1, key.a.1) };
    Way { proto: key.proto, src_port, dst_port, from_originator: from_a == forward }
}

/// The level that a frame's payload adds where its conversation tells nothing of it.
fn innermost(inner: Option<&Inner<'_>>, ip: &Ip<'_>) -> Option<Level> {
    let Some(inner) = inner else {
        return (ip.transport == Transport::Later).then_some(Level::Data);
    };
    let (proto, ports) = match inner.transport {
        Transport::Tcp(tcp) => (6, tcp.ports),
        Transport::Udp(ports) => (17, ports),
        Transport::Sctp(ports) => (132, ports),
        Transport::Later => return Some(Level::Data),
        Transport::Icmp(_) | Transport::Portless | Transport::Cut => return None,
    };
    if inner.payload.is_empty() {
        return None;
    }
    let way = Way { proto, src_port: ports.src, dst_port: ports.dst, from_originator: true };
    Some(app::identify(way, inner.payload).map_or(Level::Data, |(app, _)| app))
}

/// Sees to it that the filter holds the packet's Community ID, and the conversation the first.
#[inline]
fn identify(
    talk: &mut Conversation,
    filter: &mut FilterBuilder,
    (flow, key): (&FlowKey, &FlowKey),
    ip: &Ip<'_>,
    from_a: bool,
) {
    let ports = match ip.transport {
        Transport::Icmp(icmp) => {
            let shown = Some((flow.a.1, flow.b.1, flow.a.0 == key.a.0));
            if talk.icmp == shown {
                return;
            }
            talk.icmp = shown;
            if talk.identity == Identity::None {
                talk.identity = Identity::Icmp { kind: icmp.kind, code: icmp.code, from_a };
            }
            Some((u16::from(icmp.kind), u16::from(icmp.code)))
        }
        _ if talk.identity != Identity::None => return,
        Transport::Tcp(Tcp { ports, .. }) | Transport::Udp(ports) | Transport::Sctp(ports) => {
            talk.identity = Identity::Key;
            Some((ports.src, ports.dst))
        }
        Transport::Portless => {
            talk.identity = Identity::Key;
            None
        }
        Transport::Later | Transport::Cut => return,
    };
    filter.add(Tuple { src: ip.src, dst: ip.dst, proto: ip.proto, ports }.id());
}

/// Counts a frame for its hardware addresses; `hints` are of the ends in an order of which the frame's is the one beginning at `from`.
#[inline]
fn count_macs(
    table: &mut Table<Mac, Traffic>,
    macs: &Macs,
    hints: &mut [u32; 2],
    from: usize,
    wire_len: u32,
) {
    for (side, mac) in [macs.src, macs.dst].iter().enumerate() {
        let Some(hint) = hints.get_mut(side ^ from) else { continue };
        let (slot, _) = table.slot(mac, *hint);
        *hint = slot;
        if let Some(traffic) = table.get_mut(slot) {
            (if side == 0 { &mut traffic.tx } else { &mut traffic.rx }).packet(wire_len);
        }
    }
}
