//! Scans: many ports of one host, one port of many hosts, and tries that avoid connections. ATT&CK T1046, T1018.
//!
//! What counts is tries that **failed**: refused, or unanswered for [`Limits::unanswered`]. A try that is answered is forgotten,
//! so a busy client, a retransmission or a poller is no scan, and a victim of spoofing, which only answers, never tries.
//! A peer of a file-sharing network fails at many hosts, but at about one port of each and at ever another one.
//!
//! Where answers are not seen at all, nothing that rests on their absence is judged.

mod judge;
mod source;

use serde::{Deserialize, Serialize};

use super::local::is_shared;
use super::{Alerts, Bounded, Detector, Events, Interest, Saved, Scene, Seen, restored};
use crate::flow::key::Numbers;
use crate::flow::table::{Arrival, Flow, FlowEvent};
use crate::packet::addr::Addr;
use crate::packet::decode::{Net, Tcp};
use crate::packet::{NANOS_PER_SEC, Nanos};
use judge::Judge;
use source::{Aim, Kind, Source, Try};

/// When tries are a scan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Ports of one host that failed within [`Limits::fast`], if the host answered none; default 10 (tuned on bro-simple-scan's
    /// own vertical scan, which has ten).
    pub fast_ports: usize,
    /// Nanoseconds; default one minute.
    pub fast: Nanos,
    /// Pairs of host and port that failed within [`Limits::slow`]; default 25 (bro-simple-scan's for remote sources).
    pub slow_pairs: usize,
    /// Nanoseconds; default 15 minutes (bro-simple-scan).
    pub slow: Nanos,
    /// Hosts that failed on one port within [`Limits::long`], if none answered on it; default 8 (tuned on bro-simple-scan's
    /// scan of port 445, which has nine in two hours).
    pub few_hosts: usize,
    /// Nanoseconds; default two hours.
    pub long: Nanos,
    /// Hosts that failed on one port within [`Limits::slow`]; default 20 (bro-simple-scan).
    pub many_hosts: usize,
    /// Hosts asked for by ARP or echo that did not answer within [`Limits::fast`]; default 50.
    pub swept_hosts: usize,
    /// Pairs tried with flags that belong to no connection (none, FIN, FIN PSH URG, SYN FIN) within [`Limits::slow`]; default
    /// 5: no stack sends such, but bytes get damaged.
    pub odd_pairs: usize,
    /// Pairs tried with ACK or FIN ACK of no connection within [`Limits::fast`]; default 10, as for connections.
    pub ack_pairs: usize,
    /// How long a try waits for an answer, nanoseconds; default 3 s (the first retransmission comes after one, RFC 6298).
    pub unanswered: Nanos,
    /// The most sources that are remembered; default 2,048 of at most 30 kB each, usually less than one.
    pub sources: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const S: Nanos = NANOS_PER_SEC;
        Self {
            fast_ports: 10,
            fast: 60 * S,
            slow_pairs: 25,
            slow: 900 * S,
            few_hosts: 8,
            long: 7200 * S,
            many_hosts: 20,
            swept_hosts: 50,
            odd_pairs: 5,
            ack_pairs: 10,
            unanswered: 3 * S,
            sources: 2048,
        }
    }
}

/// The detector of `port_scan`, `host_sweep` and `stealth_scan`.
#[derive(Debug)]
pub struct Scan {
    limits: Limits,
    sources: Bounded<Addr, Source>,
}

impl Scan {
    /// Knowing nobody.
    pub fn new(limits: Limits) -> Self {
        let sources = Bounded::new(limits.sources, limits.long);
        Self { limits, sources }
    }

    fn tried(&mut self, src: Addr, aim: Aim, arrival: &Arrival) {
        if is_shared(aim.dst) || is_shared(src) || src == aim.dst {
            return;
        }
        let source = self.sources.entry(src, arrival.now, Source::default);
        source.tries(aim.kind).add(Try::new(aim, arrival), &self.limits);
    }

    fn refused(&mut self, src: Addr, aim: Aim, arrival: &Arrival) {
        if let Some(source) = self.sources.get_mut(&src, arrival.now) {
            let tries = source.tries(aim.kind);
            if let Some(old) = tries.get_mut(aim) {
                old.refused = true;
                tries.open = true;
                return;
            }
        }
        // Unanswered datagrams to high ports are no tries, but refused ones are.
        if aim.kind == Kind::Udp && !is_shared(aim.dst) && !is_shared(src) {
            let source = self.sources.entry(src, arrival.now, Source::default);
            source.connect.add(Try::new(aim, arrival).refused(), &self.limits);
        }
    }

    fn answered(&mut self, src: Addr, aim: Aim, now: Nanos) {
        if aim.kind == Kind::Tcp || aim.kind == Kind::Udp {
            let source = self.sources.entry(src, now, Source::default);
            source.answered(aim, now, self.limits.slow);
        } else if let Some(source) = self.sources.get_mut(&src, now) {
            source.answered(aim, now, self.limits.slow);
        }
    }

    fn judge_all(&mut self, now: Nanos, over: bool, scene: &Scene, alerts: &mut Alerts) {
        let Self { limits, sources } = self;
        let mut open: Vec<_> = sources.iter_mut().filter(|(_, source)| source.is_open()).collect();
        // The same order in every run.
        open.sort_unstable_by_key(|(src, _)| **src);
        for (&src, source) in open {
            Judge { limits, src, now, over, scene }.judge(source, alerts);
        }
    }
}

impl Detector for Scan {
    fn id(&self) -> &'static str {
        "port_scan"
    }

    fn interest(&self) -> Interest {
        Interest::ARP
    }

    fn packet(&mut self, seen: &Seen<'_>, _: &Scene, _: &mut Alerts) {
        let Net::Arp(arp) = seen.packet.net else { return };
        let aim = |dst| Aim { dst, port: 0, kind: Kind::Arp };
        match arp.operation {
            1 => self.tried(arp.sender.1, aim(arp.target.1), &seen.arrival),
            2 => self.answered(arp.target.1, aim(arp.sender.1), seen.arrival.now),
            _ => {}
        }
    }

    fn events(&self) -> Events {
        Events::BEGUN.and(Events::ANSWERED).and(Events::REFUSED)
    }

    fn flow(&mut self, event: FlowEvent, flow: &Flow, now: Nanos, _: &Scene, alerts: &mut Alerts) {
        if !matches!(event, FlowEvent::Begun | FlowEvent::Answered | FlowEvent::Refused) {
            return;
        }
        let Some(aim) = aim(flow) else { return };
        let (src, here) = (flow.originator().0, Arrival { now, ..alerts.here() });
        match event {
            FlowEvent::Begun if is_try(flow, aim) => self.tried(src, aim, &here),
            FlowEvent::Refused => self.refused(src, aim, &here),
            // The answer to a SYN may be a reset.
            FlowEvent::Answered if flow.key.proto == TCP && flow.resp.flags & Tcp::RST != 0 => {
                self.refused(src, aim, &here);
            }
            FlowEvent::Answered => self.answered(src, aim, now),
            _ => {}
        }
    }

    fn tick(&mut self, now: Nanos, scene: &Scene, alerts: &mut Alerts) {
        self.judge_all(now, false, scene, alerts);
    }

    fn finish(&mut self, now: Nanos, scene: &Scene, alerts: &mut Alerts) {
        self.judge_all(now, true, scene, alerts);
    }

    fn saturated(&self) -> u64 {
        self.sources.saturated()
    }

    fn save(&self) -> Saved<'_> {
        Box::new(&self.sources)
    }

    fn restore(&mut self, state: serde_json::Value) {
        if let Some(sources) = restored(state) {
            self.sources.take(sources);
        }
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// What a flow's originator tries; `None` if it is none of what scanners do, or the originator was not seen first.
fn aim(flow: &Flow) -> Option<Aim> {
    let dst = flow.responder().0;
    let aim = |kind, port| Some(Aim { dst, port, kind });
    if let Some((_, port)) = flow.ports() {
        return match flow.key.proto {
            TCP => aim(tcp_kind(flow.orig.flags)?, port),
            UDP => aim(Kind::Udp, port),
            _ => None,
        };
    }
    match (flow.key.proto, flow.key.numbers, flow.icmp) {
        (1 | 58, Numbers::Icmp, Some((8 | 128, _))) => aim(Kind::Echo, 0),
        // What has ports lost them in a fragment or to a snaplen; IGMP and what routers say among themselves is no try.
        (1 | 2 | TCP | UDP | 58 | 88 | 89 | 103 | 112 | 132 | 136, ..) => None,
        (proto, Numbers::None, _) => aim(Kind::Protocol, u16::from(proto)),
        _ => None,
    }
}

/// What the flags of a flow's first packet, or all flags of its originator, try. Later flags do not hide a SYN.
fn tcp_kind(flags: u8) -> Option<Kind> {
    const FIN_ACK: u8 = Tcp::FIN | Tcp::ACK;
    const XMAS: u8 = Tcp::FIN | Tcp::PSH | Tcp::URG;
    match flags & 0x3f {
        0 => Some(Kind::Null),
        Tcp::FIN => Some(Kind::Fin),
        XMAS => Some(Kind::Xmas),
        Tcp::ACK => Some(Kind::Ack),
        FIN_ACK => Some(Kind::Maimon),
        // A SYN, and what its sender sent later.
        flags
            if flags & (Tcp::SYN | Tcp::FIN) == Tcp::SYN
                || flags & (Tcp::SYN | Tcp::ACK) == Tcp::SYN | Tcp::ACK =>
        {
            Some(Kind::Tcp)
        }
        // A reset answers, it tries nothing.
        flags if flags & Tcp::RST != 0 => None,
        flags if flags & Tcp::ACK == 0 => Some(Kind::Odd),
        _ => None,
    }
}

/// Whether the first packet of a flow is a try.
fn is_try(flow: &Flow, aim: Aim) -> bool {
    let (src_port, dst_port) = flow.ports().unwrap_or_default();
    match aim.kind {
        // A flow that began with the responder's packet is no try that was seen.
        _ if flow.orig.packets == 0 => false,
        Kind::Tcp => flow.orig.flags & (Tcp::SYN | Tcp::ACK | Tcp::RST) == Tcp::SYN,
        // To high ports datagrams often go one way; only what is refused counts there.
        Kind::Udp => dst_port < 1024,
        // The middle of a connection that was open before we looked, seen from its server, looks the same.
        Kind::Ack | Kind::Maimon => {
            flow.orig.payload == 0
                && !(src_port < 1024 && dst_port >= 1024)
                && !(src_port < 32768 && dst_port >= 32768)
        }
        _ => true,
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
