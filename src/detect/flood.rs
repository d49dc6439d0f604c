//! Floods: so many packets in a second that nothing but harm explains them. ATT&CK T1498, T1499.
//!
//! Rates are kept for each target, and for all together, so that random targets or sources do not hide a flood. Whether somebody
//! sent most of it is found by majority vote; else nobody is named.
//!
//! Floods are judged while packets are being lost too: a flood is what makes us lose them, and it does not turn
//! a server that answers into one that answers fewer than one in twenty.

mod rate;
mod waiting;

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use super::local::is_shared;
use super::{
    Alerts, Bounded, Detector, Events, Finding, Interest, Key, Saved, Scene, Seen, Severity, Subject, filter,
    restored,
};
use crate::flow::table::{Arrival, Flow, FlowEvent};
use crate::packet::addr::Addr;
use crate::packet::decode::{Ip, Net, Tcp, Transport};
use crate::packet::{NANOS_PER_SEC, Nanos};
use rate::{Peak, Rate};
use waiting::{Answers, Event, Waiting};

/// When packets are a flood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// SYN without completed handshake to one address and port in a second; default 150 (ntopng: 256, which a flood of 200 in
    /// the corpora does not reach).
    pub syn: u32,
    /// The same of all addresses together, where sources or targets are many; default 500.
    pub syn_total: u32,
    /// ICMP messages but errors and neighbour discovery to one address in a second; default 500.
    pub icmp: u32,
    /// The same with a source that no packet may have; default 100.
    pub icmp_impossible: u32,
    /// UDP flows to one address that begin in a second, of which fewer than one in twenty is answered; default 500.
    pub udp_flows: u32,
    /// UDP packets to one address in a second, with answers to fewer than one in twenty; default 10,000 (a plain video stream
    /// has at most 4,000).
    pub udp_packets: u32,
    /// IP fragments to one address in a second that do not make up whole packets; default 500.
    pub fragments: u32,
    /// DHCP messages of clients in a second; default 100 (starvation tools send hundreds).
    pub dhcp: u32,
    /// By how much all targets together must exceed what one must, but for SYN; default 4.
    pub total: u32,
    /// The most targets of which rates are kept; default 4,096 of about 1 kB each.
    pub targets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            syn: 150,
            syn_total: 500,
            icmp: 500,
            icmp_impossible: 100,
            udp_flows: 500,
            udp_packets: 10_000,
            fragments: 500,
            dhcp: 100,
            total: 4,
            targets: 4096,
        }
    }
}

/// Of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
enum Kind {
    Syn,
    Icmp,
    IcmpImpossible,
    UdpFlow,
    UdpPacket,
    Fragment,
    Dhcp,
}

const ALL: [Kind; KINDS] =
    [Kind::Syn, Kind::Icmp, Kind::IcmpImpossible, Kind::UdpFlow, Kind::UdpPacket, Kind::Fragment, Kind::Dhcp];

const KINDS: usize = 7;

/// To whom; nobody for the rate of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Target {
    kind: Kind,
    dst: Option<Addr>,
    port: u16,
}

impl Hash for Target {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Some(dst) = self.dst {
            dst.hash(state);
        }
        state.write_u32((self.kind as u32) << 16 | u32::from(self.port));
    }
}

/// How long a rate is kept after the last packet.
const KEEP: Nanos = 10 * NANOS_PER_SEC;

/// A flow's packets up to this are counted one by one, later ones by so many at a time.
const BULK: u64 = 64;

/// The detector of `syn_flood` and `flood`.
#[derive(Debug)]
pub struct Flood {
    limits: Limits,
    rates: Rates,
    /// By kind: what the rates do not know yet.
    waiting: [Waiting; KINDS],
}

/// Rates by target. Those of all lie apart, for each packet counts there too.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Rates {
    each: Bounded<Target, Rate>,
    /// By kind: when one was counted last, and the rate.
    all: [(Nanos, Rate); KINDS],
}

impl Rates {
    fn new(targets: usize) -> Self {
        Self { each: Bounded::new(targets, KEEP), all: Default::default() }
    }

    /// The rate of a target, begun anew if nothing came for long.
    fn entry(&mut self, target: Target, now: Nanos) -> &mut Rate {
        if target.dst.is_some() {
            return self.each.entry(target, now, Rate::default);
        }
        let (touched, rate) = &mut self.all[target.kind as usize];
        if now.saturating_sub(*touched) > KEEP {
            *rate = Rate::default();
        }
        *touched = now;
        rate
    }

    /// The rate of a target, if there is one that is not too old.
    fn get_mut(&mut self, target: &Target, now: Nanos) -> Option<&mut Rate> {
        if target.dst.is_some() {
            return self.each.get_mut(target, now);
        }
        let (touched, rate) = &mut self.all[target.kind as usize];
        (now.saturating_sub(*touched) <= KEEP).then(|| {
            *touched = now;
            rate
        })
    }

    /// Counts what came, or was answered.
    fn count(&mut self, kind: Kind, event: &Event) {
        let all = Target { kind, dst: None, port: 0 };
        let to = |(dst, port)| Target { kind, dst: Some(dst), port };
        match *event {
            Event::Sent { arrival, src, dst, by, answers } => {
                let now = arrival.now;
                let whom = dst.map_or(Subject::Anyone, |(dst, _)| Subject::Ip(dst));
                for target in dst.map(to).into_iter().chain([all]) {
                    self.entry(target, now).sent(&arrival, src, whom, by);
                }
                if answers != Answers::No
                    && let Subject::Ip(src) = src
                {
                    self.good(to((src, 0)), now, now, [by; 2]);
                }
                if answers == Answers::All {
                    self.good(all, now, now, [by; 2]);
                }
            }
            Event::Good { now, of, dst, by } => {
                self.good(to(dst), now, of, by);
                self.good(all, now, of, by);
            }
        }
    }

    fn good(&mut self, target: Target, now: Nanos, of: Nanos, by: [u32; 2]) {
        if let Some(rate) = self.get_mut(&target, now) {
            rate.good(of, by);
        }
    }

    /// Those that have something to judge.
    fn open(&mut self) -> impl Iterator<Item = (Target, &mut Rate)> {
        let each = self.each.iter_mut().map(|(&target, rate)| (target, rate));
        let all = ALL.into_iter().zip(&mut self.all);
        let all = all.map(|(kind, (_, rate))| (Target { kind, dst: None, port: 0 }, rate));
        each.chain(all).filter(|(_, rate)| rate.open)
    }
}

impl Flood {
    /// With nothing counted.
    pub fn new(limits: Limits) -> Self {
        let rates = Rates::new(limits.targets);
        Self { limits, rates, waiting: Default::default() }
    }

    fn sent(&mut self, kind: Kind, arrival: &Arrival, src: Subject, dst: (Addr, u16), by: u32) {
        self.note(kind, Event::Sent { arrival: *arrival, src, dst: Some(dst), by, answers: Answers::No });
    }

    fn good(&mut self, kind: Kind, now: Nanos, dst: (Addr, u16), of: Nanos, by: [u32; 2]) {
        self.note(kind, Event::Good { now, of, dst, by });
    }

    #[inline]
    fn note(&mut self, kind: Kind, event: Event) {
        let waiting = &mut self.waiting[kind as usize];
        if waiting.add(event) {
            waiting.drain().for_each(|event| self.rates.count(kind, &event));
        }
    }

    /// Counts what waits of the kinds of which so much came that one target may have got too much.
    fn count_many(&mut self, now: Nanos) {
        for (kind, waiting) in ALL.into_iter().zip(&mut self.waiting) {
            waiting.forget(now);
            let least = u64::from(self.limits.least(kind));
            // A second may lie in both.
            let counted = self.rates.all[kind as usize].1.fullest();
            if counted + waiting.sent() >= least && counted + waiting.fullest() >= least {
                waiting.drain().for_each(|event| self.rates.count(kind, &event));
            }
        }
    }

    fn judge(&mut self, now: Nanos, over: bool, scene: &Scene, alerts: &mut Alerts) {
        self.count_many(now);
        let Self { limits, rates, .. } = self;
        let mut full = Vec::new();
        for (target, rate) in rates.open() {
            let (threshold, share) = limits.of(target);
            // Where no answers are seen there is none to miss; a fragment's is the rest of its packet.
            if share > 0 && target.kind != Kind::Fragment && !scene.both_directions {
                continue;
            }
            let peak = rate.peak(now, over, share, threshold);
            if peak.sent < threshold {
                rate.put_by(now);
            } else if !rate.is_told() {
                // Else it is judged once more: a second is looked at each time it slides.
                full.push((target, rate, peak, threshold));
            }
        }
        // Targets before the total, and the same order in every run.
        full.sort_unstable_by_key(|(key, ..)| (key.dst.is_none(), *key));
        let mut told = BTreeSet::new();
        for (target, rate, peak, threshold) in full {
            let (src, dst) = rate.ends();
            // That of all is told where it is not one that was told, nor one host that tries one other.
            let one = matches!((src, dst), (Subject::Ip(_), Subject::Ip(_)));
            if target.dst.is_none() && target.kind != Kind::Dhcp && (one || told.contains(&target.kind)) {
                rate.put_by(now);
                continue;
            }
            told.insert(target.kind);
            target.tell(rate, peak, threshold, now, alerts);
        }
    }
}

impl Limits {
    /// How many there are at least if anything of a kind is a flood.
    fn least(&self, kind: Kind) -> u32 {
        let any = Some(Addr::v4([0; 4]));
        [any, None].map(|dst| self.of(Target { kind, dst, port: 0 }).0).into_iter().min().unwrap_or(0)
    }

    /// From how many in a second it is a flood, and how many there must be for one answer (0: answers do not matter).
    fn of(&self, target: Target) -> (u32, u32) {
        let (limit, share) = match target.kind {
            Kind::Syn if target.dst.is_none() => return (self.syn_total.max(1), 20),
            Kind::Syn => (self.syn, 20),
            Kind::Icmp => (self.icmp, 0),
            Kind::IcmpImpossible => (self.icmp_impossible, 0),
            Kind::UdpFlow => (self.udp_flows, 20),
            Kind::UdpPacket => (self.udp_packets, 20),
            Kind::Fragment => (self.fragments, 20),
            // Sent to everybody: there is but one target.
            Kind::Dhcp => return (self.dhcp.max(1), 0),
        };
        let limit = if target.dst.is_none() { limit.saturating_mul(self.total) } else { limit };
        (limit.max(1), share)
    }
}

impl Detector for Flood {
    fn id(&self) -> &'static str {
        "flood"
    }

    fn interest(&self) -> Interest {
        Interest::TCP_CONTROL
            .and(Interest::ICMP)
            .and(Interest::UDP)
            .and(Interest::FRAGMENT)
            .and(Interest::DHCP)
    }

    fn packet(&mut self, seen: &Seen<'_>, _: &Scene, _: &mut Alerts) {
        let (Net::Ip(ip), arrival) = (&seen.packet.net, &seen.arrival) else { return };
        let src = Subject::Ip(ip.src);
        if let Some(fragment) = ip.fragment {
            // Whole packets have a first and a last fragment, and one of either for at most 45 (64 kB in 1,480 bytes).
            let proper = !(fragment.more && fragment.len < 400);
            let (first, last) = (fragment.offset == 0 && proper, fragment.offset > 0 && !fragment.more);
            self.sent(Kind::Fragment, arrival, src, (ip.dst, 0), 1);
            let good = [u32::from(first) * 10, u32::from(last) * 10];
            self.good(Kind::Fragment, arrival.now, (ip.dst, 0), arrival.now, good);
        }
        match ip.transport {
            Transport::Tcp(tcp)
                if tcp.flags & (Tcp::SYN | Tcp::ACK | Tcp::RST | Tcp::FIN) == Tcp::SYN && is_new(seen) =>
            {
                self.sent(Kind::Syn, arrival, src, (ip.dst, tcp.ports.dst), 1);
            }
            Transport::Icmp(icmp) if !is_routine(ip, icmp.kind) => {
                let kind = if is_shared(ip.src) { Kind::IcmpImpossible } else { Kind::Icmp };
                self.sent(kind, arrival, src, (ip.dst, 0), 1);
            }
            Transport::Udp(ports) if ports.src == 68 && ports.dst == 67 => {
                let src = seen.packet.macs.map_or(src, |macs| Subject::Mac(macs.src));
                self.note(
                    Kind::Dhcp,
                    Event::Sent { arrival: *arrival, src, dst: None, by: 1, answers: Answers::No },
                );
            }
            Transport::Udp(_) if !is_shared(ip.dst) => self.datagram(seen, ip),
            _ => {}
        }
    }

    fn events(&self) -> Events {
        Events::BEGUN.and(Events::ANSWERED).and(Events::REFUSED).and(Events::ESTABLISHED)
    }

    fn flow(&mut self, event: FlowEvent, flow: &Flow, now: Nanos, _: &Scene, alerts: &mut Alerts) {
        let (src, dst) = (flow.originator(), flow.responder());
        match (flow.key.proto, event) {
            (6, FlowEvent::Established | FlowEvent::Refused) => {
                self.good(Kind::Syn, now, dst, flow.began, [1, 1])
            }
            (17, FlowEvent::Begun) if !is_shared(dst.0) => {
                let arrival = Arrival { now, ..alerts.here() };
                self.sent(Kind::UdpFlow, &arrival, Subject::Ip(src.0), (dst.0, 0), 1);
            }
            (17, FlowEvent::Answered) => self.good(Kind::UdpFlow, now, (dst.0, 0), flow.began, [1, 1]),
            _ => {}
        }
    }

    fn tick(&mut self, now: Nanos, scene: &Scene, alerts: &mut Alerts) {
        self.judge(now, false, scene, alerts);
    }

    fn finish(&mut self, now: Nanos, scene: &Scene, alerts: &mut Alerts) {
        self.judge(now, true, scene, alerts);
    }

    fn saturated(&self) -> u64 {
        self.rates.each.saturated()
    }

    fn save(&self) -> Saved<'_> {
        let mut rates = self.rates.clone();
        for (kind, waiting) in ALL.into_iter().zip(&self.waiting) {
            waiting.iter().for_each(|event| rates.count(kind, event));
        }
        Box::new(rates)
    }

    fn restore(&mut self, state: serde_json::Value) {
        if let Some(Rates { each, all }) = restored(state) {
            self.rates.each.take(each);
            self.rates.all = all;
        }
    }
}

impl Flood {
    /// A datagram: the first of a flow count each, later ones by the dozen, for most of them are of few flows.
    fn datagram(&mut self, seen: &Seen<'_>, ip: &Ip<'_>) {
        let nth = seen.flow.map_or(1, |flow| flow.orig.packets + flow.resp.packets);
        let by = match nth {
            0..BULK => 1,
            _ if nth.is_multiple_of(BULK) => BULK as u32,
            _ => return,
        };
        // Of the two one is the answer, whichever.
        let answers = if seen.from_originator { Answers::Sender } else { Answers::All };
        let (src, dst) = (Subject::Ip(ip.src), Some((ip.dst, 0)));
        self.note(Kind::UdpPacket, Event::Sent { arrival: seen.arrival, src, dst, by, answers });
    }
}

/// Whether a SYN is no mere retransmission: no stack sends more than eight of them.
fn is_new(seen: &Seen<'_>) -> bool {
    seen.flow.is_none_or(|flow| flow.orig.packets <= 1 || (flow.orig.packets > 8 && flow.answered == 0))
}

/// Errors, and what every IPv6 host says: neighbour discovery, multicast listeners.
fn is_routine(ip: &Ip<'_>, kind: u8) -> bool {
    if ip.src.is_v4() { matches!(kind, 3 | 4 | 5 | 11 | 12) } else { matches!(kind, 1..=4 | 130..=137 | 143) }
}

impl Target {
    fn tell(self, rate: &mut Rate, peak: Peak, threshold: u32, now: Nanos, alerts: &mut Alerts) {
        let (src, voted) = rate.ends();
        let dst = self.dst.map_or(voted, Subject::Ip);
        let detector = if self.kind == Kind::Syn { "syn_flood" } else { "flood" };
        let key = Key::new(detector, src, dst).extra((self.kind as u32) << 16 | u32::from(self.port));
        let (count, evidence, last) = rate.take();
        let last = Arrival { now, ..last };
        if alerts.is_active(&key) && alerts.count_on(&key, &last, count, f64::from(peak.sent)) {
            return;
        }
        let name = |subject: Subject| subject.text();
        let what = match self.kind {
            Kind::Syn => "SYNs",
            Kind::Icmp | Kind::IcmpImpossible => "ICMP messages",
            Kind::UdpFlow => "UDP flows",
            Kind::UdpPacket => "UDP packets",
            Kind::Fragment => "IP fragments of no whole packet",
            Kind::Dhcp => "DHCP requests",
        };
        let from = name(src).map_or("many sources".to_owned(), |src| src);
        let to = match (name(dst), self.kind) {
            (Some(dst), Kind::Syn) if self.dst.is_some() => format!("{dst} port {}", self.port),
            (Some(dst), _) => dst,
            (None, Kind::Dhcp) => "all".to_owned(),
            (None, _) => "many targets".to_owned(),
        };
        let answers = match self.kind {
            Kind::Syn => format!(", {} of them completed or refused", peak.good),
            Kind::UdpFlow => format!(", {} of them answered", peak.good),
            Kind::UdpPacket => format!(", {} packets back", peak.good),
            Kind::IcmpImpossible => ", from an address that no host may have".to_owned(),
            Kind::Icmp | Kind::Fragment | Kind::Dhcp => String::new(),
        };
        let summary = format!("{} {what} in a second from {from} to {to}{answers}", peak.sent);
        // A busy server that dies looks alike for a moment.
        let severity = match self.kind {
            Kind::Syn | Kind::IcmpImpossible if peak.sent >= 1000 => Severity::High,
            _ => Severity::Medium,
        };
        let technique = if self.kind == Kind::Syn { "T1499.001" } else { "T1498.001" };
        let finding = Finding::new(severity, technique, summary)
            .evidence(&evidence)
            .count(count)
            .measure(f64::from(peak.sent), f64::from(threshold))
            .filter(self.filter(src, dst));
        let finding = if self.port == 0 { finding } else { finding.port(self.port) };
        alerts.raise(key, &last, finding);
    }

    fn filter(self, src: Subject, dst: Subject) -> String {
        let of = |subject: Subject, addr: fn(Addr) -> String, field: &str| match subject {
            Subject::Anyone => None,
            Subject::Ip(of) => Some(addr(of)),
            Subject::Mac(mac) => Some(format!("{field} == {mac}")),
        };
        let what = match self.kind {
            Kind::Syn if self.port > 0 => {
                format!("tcp.dstport == {} && tcp.flags.syn == 1 && tcp.flags.ack == 0", self.port)
            }
            Kind::Syn => "tcp.flags.syn == 1 && tcp.flags.ack == 0".to_owned(),
            Kind::Icmp | Kind::IcmpImpossible => "(icmp || icmpv6)".to_owned(),
            Kind::UdpFlow | Kind::UdpPacket => "udp".to_owned(),
            Kind::Fragment => "(ip.flags.mf == 1 || ip.frag_offset > 0 || ipv6.fraghdr)".to_owned(),
            Kind::Dhcp => "dhcp.type == 1".to_owned(),
        };
        let ends = [of(src, filter::src, "eth.src"), of(dst, filter::dst, "eth.dst"), Some(what)];
        filter::all(ends.into_iter().flatten())
    }
}
