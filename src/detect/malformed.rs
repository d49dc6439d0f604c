//! Impossible packets: addresses that no packet may have (martians), LAND, flags that do not go together, fragments that overlap
//! or make too large a whole, lengths that contradict each other. One is odd, not an attack, so that all are low at most but
//! those that a system cannot send by mistake. Scans that are made of such packets are `stealth_scan`, floods `flood`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::bounded::{Bounded, Worth};
use super::finding::Evidence;
use super::{
    Alerts, Detector, Events, Finding, Interest, Key, Saved, Scene, Seen, Severity, Subject, filter, local,
    restored,
};
use crate::flow::table::{Flow, FlowEvent};
use crate::packet::Nanos;
use crate::packet::addr::Addr;
use crate::packet::decode::{Flaws, Fragment, Ip, Net, Tcp, Transport};

const ID: &str = "malformed";

/// Endpoint denial of service: application or system exploitation.
const CRASH: &str = "T1499.004";

/// Network service discovery: such packets ask what system answers.
const PROBE: &str = "T1046";

const SECOND: Nanos = 1_000_000_000;

/// Bounds of `malformed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long the fragments of a packet are held against one another, nanoseconds. 2 s: a fast sender has used all 65,536
    /// identifications once more by then (RFC 4963).
    pub reassembly: Nanos,
    /// The most fragmented packets looked at. 1,024, with `fragments` each: 512 kB.
    pub packets: usize,
    /// The most fragments of a packet looked at. 64: 65,535 bytes in Ethernet frames are 45.
    pub fragments: usize,
    /// Senders named in findings of one kind within an hour; what further ones send is one finding of nobody in particular. 32.
    pub senders: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { reassembly: 2 * SECOND, packets: 1024, fragments: 64, senders: 32 }
    }
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Source,
    Destination,
    Land,
    SynFin,
    SynRst,
    Null,
    Xmas,
    LoneFin,
    PortZero,
    Overlap,
    TooLong,
    Tiny,
    Length,
}

/// How many kinds there are.
const KINDS: usize = Kind::Length as usize + 1;

impl Kind {
    fn severity(self, v4: bool) -> Severity {
        match self {
            // A system that takes such a packet for its own connection hangs (CVE-1999-0016); a ping of death (CVE-1996-0001…).
            Self::Land | Self::TooLong => Severity::Medium,
            // An IPv6 sender must not (RFC 5722); of IPv4 a re-used identification may look so.
            Self::Overlap if !v4 => Severity::Medium,
            Self::LoneFin | Self::PortZero | Self::Length => Severity::Info,
            _ => Severity::Low,
        }
    }

    fn technique(self) -> &'static str {
        match self {
            Self::SynFin | Self::SynRst | Self::Null | Self::Xmas | Self::LoneFin | Self::PortZero => PROBE,
            _ => CRASH,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Source => "from an address that no packet may come from",
            Self::Destination => "to an address that no packet may go to",
            Self::Land => "from and to the same address and port (LAND)",
            Self::SynFin => "with SYN and FIN at once",
            Self::SynRst => "with SYN and RST at once",
            Self::Null => "without any TCP flag",
            Self::Xmas => "with FIN, PSH and URG and nothing else",
            Self::LoneFin => "with FIN, which acknowledges nothing",
            Self::PortZero => "to port 0",
            Self::Overlap => "of fragments that overlap",
            Self::TooLong => "of fragments that make more than 65,535 bytes",
            Self::Tiny => "of which the first fragment has not even all ports and flags",
            Self::Length => "with lengths that contradict each other",
        }
    }

    fn filter(self) -> &'static str {
        match self {
            Self::Source => {
                "(ip.src == 0.0.0.0/8 || ip.src == 127.0.0.0/8 || ip.src == 224.0.0.0/3 || ipv6.src == ff00::/8 || ipv6.src == ::1)"
            }
            Self::Destination => {
                "(ip.dst == 0.0.0.0/8 || ip.dst == 127.0.0.0/8 || ip.dst == 240.0.0.0/4 || ipv6.dst == ::/127)"
            }
            Self::Land => "(ip.src == ip.dst || ipv6.src == ipv6.dst)",
            Self::SynFin => "tcp.flags.syn == 1 && tcp.flags.fin == 1",
            Self::SynRst => "tcp.flags.syn == 1 && tcp.flags.reset == 1",
            Self::Null => {
                "tcp.flags.fin == 0 && tcp.flags.syn == 0 && tcp.flags.reset == 0 && tcp.flags.push == 0 && tcp.flags.ack == 0 \
                 && tcp.flags.urg == 0"
            }
            Self::Xmas => {
                "tcp.flags.fin == 1 && tcp.flags.push == 1 && tcp.flags.urg == 1 && tcp.flags.ack == 0"
            }
            Self::LoneFin => "tcp.flags.fin == 1 && tcp.flags.ack == 0",
            Self::PortZero => "(tcp.port == 0 || udp.dstport == 0)",
            Self::Overlap | Self::TooLong | Self::Tiny => {
                "(ip.flags.mf == 1 || ip.frag_offset > 0 || ipv6.fraghdr)"
            }
            Self::Length => "frame",
        }
    }
}

/// What a fragmented packet is told by: sender, receiver, protocol, identification.
type Whole = (Addr, Addr, u8, u32);

/// The fragments of a packet.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Parts {
    began: Nanos,
    /// First byte and the one behind the last of each.
    ranges: Vec<(u32, u32)>,
    /// Where the last one ends.
    end: Option<u32>,
    /// Bytes that do not overlap.
    covered: u32,
    evidence: Evidence,
}

impl Worth for Parts {}

#[derive(Serialize, Deserialize)]
struct State {
    parts: Bounded<Whole, Parts>,
    /// Since when senders are named, and how many are, of each kind.
    since: Nanos,
    named: Vec<u32>,
}

/// Watches for impossible packets.
pub struct Malformed {
    limits: Limits,
    state: State,
    /// Fragments not looked at because a packet has too many.
    left_out: u64,
}

impl Malformed {
    /// Knows nothing yet.
    pub fn new(limits: Limits) -> Self {
        let parts = Bounded::new(limits.packets, limits.reassembly);
        let state = State { parts, since: Nanos::MIN, named: vec![0; KINDS] };
        Self { limits, state, left_out: 0 }
    }

    fn raise(
        &mut self,
        kind: Kind,
        src: Subject,
        evidence: Option<&Evidence>,
        seen: &Seen<'_>,
        alerts: &mut Alerts,
    ) {
        let now = seen.arrival.now;
        if now.saturating_sub(self.state.since) > super::SUPPRESSED {
            self.state.since = now;
            self.state.named.fill(0);
        }
        let mut key = Key::new(ID, src, Subject::Anyone).extra(kind as u32);
        if alerts.count_on(&key, &seen.arrival, 1, 1.0) {
            return;
        }
        if let Some(named) = self.state.named.get_mut(kind as usize) {
            if *named >= self.limits.senders {
                key.src = Subject::Anyone;
                if alerts.count_on(&key, &seen.arrival, 1, 1.0) {
                    return;
                }
            } else {
                *named += 1;
            }
        }
        let (who, of) = match key.src {
            Subject::Ip(addr) => (addr.to_string(), Some(filter::src(addr))),
            Subject::Mac(mac) => (mac.to_string(), Some(format!("eth.src == {mac}"))),
            Subject::Anyone => ("many".to_owned(), None),
        };
        let v4 = !matches!(key.src, Subject::Ip(addr) if !addr.is_v4());
        let show = match (&of, kind) {
            // The address alone says it.
            (Some(of), Kind::Source | Kind::Length) => of.clone(),
            (Some(of), _) => filter::all([kind.filter(), of]),
            (None, _) => kind.filter().to_owned(),
        };
        let mut finding = Finding::new(
            kind.severity(v4),
            kind.technique(),
            format!("{who} sends packets {}", kind.words()),
        )
        .filter(show);
        if let Some(evidence) = evidence {
            finding = finding.evidence(evidence);
        }
        alerts.raise(key, &seen.arrival, finding);
    }

    fn addresses(&mut self, ip: &Ip<'_>, seen: &Seen<'_>, alerts: &mut Alerts) {
        let src = Subject::Ip(ip.src);
        // On a machine's own interface, as loopback captures have it, nothing is impossible about its addresses. Captures that
        // are put together from such ones give them hardware addresses; but a packet from a loopback address to another, or
        // to a group, can do no harm on a wire either.
        let on_wire = seen.packet.macs.is_some_and(|macs| macs.src.0 != [0; 6] || macs.dst.0 != [0; 6])
            && !(is_loopback(ip.src) && (is_loopback(ip.dst) || local::is_shared(ip.dst)));
        let port = match ip.transport {
            Transport::Udp(ports) => ports.dst,
            _ => 0,
        };
        if is_martian_source(ip.src, ip.proto, port, on_wire) {
            self.raise(Kind::Source, src, None, seen, alerts);
        }
        if is_martian_destination(ip.dst, on_wire) {
            self.raise(Kind::Destination, src, None, seen, alerts);
        }
        let ports = match ip.transport {
            Transport::Tcp(tcp) => (tcp.ports, tcp.ports.src == 0 || tcp.ports.dst == 0),
            // Port 0 of a sender means that he wants no answer (RFC 768).
            Transport::Udp(ports) => (ports, ports.dst == 0),
            _ => return,
        };
        if seen.packet.flaws.has(Flaws::CUT) {
            return;
        }
        let (ports, zero) = ports;
        // BFD's echo comes back to its sender (RFC 5881 4).
        if ip.src == ip.dst && ports.src == ports.dst && on_wire && ports.dst != 3785 {
            self.raise(Kind::Land, src, None, seen, alerts);
        }
        if zero {
            self.raise(Kind::PortZero, src, None, seen, alerts);
        }
    }

    fn flags(&mut self, ip: &Ip<'_>, tcp: Tcp, seen: &Seen<'_>, alerts: &mut Alerts) {
        const LIT: u8 = Tcp::FIN | Tcp::SYN | Tcp::RST | Tcp::PSH | Tcp::ACK | Tcp::URG;
        const SYN_FIN: u8 = Tcp::SYN | Tcp::FIN;
        const SYN_RST: u8 = Tcp::SYN | Tcp::RST;
        const XMAS: u8 = Tcp::FIN | Tcp::PSH | Tcp::URG;
        // Flags may be among what was cut off, or not be flags.
        if seen.packet.flaws != Flaws::NONE {
            return;
        }
        let kind = match tcp.flags & LIT {
            0 => Kind::Null,
            flags if flags & SYN_FIN == SYN_FIN => Kind::SynFin,
            flags if flags & SYN_RST == SYN_RST => Kind::SynRst,
            XMAS => Kind::Xmas,
            flags if flags & (Tcp::FIN | Tcp::ACK | Tcp::RST) == Tcp::FIN => Kind::LoneFin,
            _ => return,
        };
        self.raise(kind, Subject::Ip(ip.src), None, seen, alerts);
    }

    fn fragment(&mut self, ip: &Ip<'_>, fragment: Fragment, seen: &Seen<'_>, alerts: &mut Alerts) {
        let src = Subject::Ip(ip.src);
        let end = fragment.offset.saturating_add(fragment.len);
        if end > 65_535 {
            self.raise(Kind::TooLong, src, None, seen, alerts);
        }
        // Room for the ports and flags of TCP, which filters judge by (RFC 1858 3).
        if fragment.offset == 0 && fragment.more && ip.proto == 6 && fragment.len < 16 {
            self.raise(Kind::Tiny, src, None, seen, alerts);
        }
        let now = seen.arrival.now;
        let whole = (ip.src, ip.dst, ip.proto, fragment.id);
        let new = || Parts { began: now, ..Parts::default() };
        let parts = self.state.parts.entry(whole, now, new);
        if now.saturating_sub(parts.began) > self.limits.reassembly {
            *parts = new();
        }
        let range = (fragment.offset, end);
        // The same again is a retransmission, or a frame that was copied twice.
        if parts.ranges.contains(&range) || range.0 == range.1 {
            return;
        }
        if parts.ranges.len() >= self.limits.fragments {
            self.left_out += 1;
            return;
        }
        let overlaps = parts.ranges.iter().any(|other| range.0 < other.1 && other.0 < range.1);
        parts.ranges.push(range);
        parts.evidence.add(&seen.arrival);
        if overlaps {
            let evidence = parts.evidence.clone();
            self.raise(Kind::Overlap, src, Some(&evidence), seen, alerts);
            return;
        }
        parts.covered += fragment.len;
        if !fragment.more {
            parts.end = Some(end);
        }
        // Complete: the identification is free for another packet.
        if parts.end.is_some_and(|end| parts.covered >= end) {
            self.state.parts.remove(&whole);
        }
    }
}

/// Whether no packet may come from there: RFC 6890's "source: false", but for what has its own rules.
fn is_martian_source(src: Addr, proto: u8, udp_port: u16, on_wire: bool) -> bool {
    match src.ip() {
        IpAddr::V4(src) => match src.octets() {
            // Who has no address yet asks for one (RFC 2131), or for groups (RFC 3376 4.2.13, RFC 4541).
            [0, 0, 0, 0] => proto != 2 && (proto, udp_port) != (17, 67),
            [0, ..] | [224..=255, ..] => true,
            [127, ..] => on_wire,
            _ => false,
        },
        IpAddr::V6(src) => src.is_multicast() || (src.is_loopback() && on_wire),
    }
}

fn is_loopback(addr: Addr) -> bool {
    addr.ip().is_loopback()
}

/// Whether no packet may go there.
fn is_martian_destination(dst: Addr, on_wire: bool) -> bool {
    match dst.ip() {
        IpAddr::V4(dst) => match dst.octets() {
            [255, 255, 255, 255] => false,
            [0, ..] | [240..=255, ..] => true,
            [127, ..] => on_wire,
            _ => false,
        },
        IpAddr::V6(dst) => dst.is_unspecified() || (dst.is_loopback() && on_wire),
    }
}

impl Detector for Malformed {
    fn id(&self) -> &'static str {
        ID
    }

    fn interest(&self) -> Interest {
        Interest::FIRST.and(Interest::TCP_CONTROL).and(Interest::FRAGMENT).and(Interest::FLAWED)
    }

    fn packet(&mut self, seen: &Seen<'_>, _: &Scene, alerts: &mut Alerts) {
        let packet = seen.packet;
        let Net::Ip(ip) = &packet.net else { return };
        if seen.flow.is_none_or(|flow| flow.part == 0 && flow.orig.packets + flow.resp.packets == 1) {
            self.addresses(ip, seen, alerts);
        }
        if let Transport::Tcp(tcp) = ip.transport {
            self.flags(ip, tcp, seen, alerts);
        }
        if let Some(fragment) = ip.fragment {
            self.fragment(ip, fragment, seen, alerts);
        }
        // Of a tunnel's inside only a part may be there.
        if packet.flaws.has(Flaws::LENGTH) && packet.inner.is_none() {
            self.raise(Kind::Length, Subject::Ip(ip.src), None, seen, alerts);
        }
    }

    /// Counts what followed a flow's first packet, by which its addresses were judged.
    fn events(&self) -> Events {
        Events::ENDED
    }

    fn flow(&mut self, event: FlowEvent, flow: &Flow, _: Nanos, _: &Scene, alerts: &mut Alerts) {
        let FlowEvent::Ended(_) = event else { return };
        let further = flow.orig.packets.saturating_sub(u64::from(flow.part == 0));
        let ((src, _), (dst, port)) = (flow.originator(), flow.responder());
        if further == 0 {
            return;
        }
        let port = if flow.key.proto == 17 { port } else { 0 };
        let kinds = [
            (Kind::Source, is_martian_source(src, flow.key.proto, port, true)),
            (Kind::Destination, is_martian_destination(dst, true)),
            (Kind::Land, src == dst),
        ];
        for (kind, _) in kinds.into_iter().filter(|kind| kind.1) {
            // What was not raised is not counted.
            let key = Key::new(ID, src, Subject::Anyone).extra(kind as u32);
            let _ = alerts.count_on(&key, &alerts.of_flow(flow), further, 1.0);
        }
    }

    fn saturated(&self) -> u64 {
        self.state.parts.saturated() + self.left_out
    }

    fn save(&self) -> Saved<'_> {
        Box::new(&self.state)
    }

    fn restore(&mut self, state: serde_json::Value) {
        if let Some(state) = restored::<State>(state).filter(|state| state.named.len() == KINDS) {
            self.state.parts.take(state.parts);
            (self.state.since, self.state.named) = (state.since, state.named);
        }
    }
}

#[cfg(test)]
#[path = "malformed_tests.rs"]
mod tests;
