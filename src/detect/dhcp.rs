//! DHCP abuse: a second server that tells clients other routers or name servers than the first, and starvation, many clients that
//! one machine plays or that come all at once. Two servers that tell the same are a pair, which is info.

use std::hash::{BuildHasher, Hasher};

use serde::{Deserialize, Serialize};

use super::bounded::{Bounded, Worth};
use super::claims::vlan_number;
use super::finding::{Evidence, span};
use super::{
    Alerts, Detector, Finding, Interest, Key, Saved, Scene, Seen, Severity, Subject, filter, restored,
};
use crate::packet::Nanos;
use crate::packet::addr::{Addr, Mac};
use crate::packet::decode::{Ip, Net, Transport};

const ID: &str = "dhcp_abuse";

/// Adversary-in-the-middle: DHCP spoofing.
const ROGUE: &str = "T1557.003";

/// Endpoint denial of service: service exhaustion flood, as ATT&CK has it for DHCP.
const STARVATION: &str = "T1499.002";

const SECOND: Nanos = 1_000_000_000;

/// The most name servers compared, and the most servers of one network.
const MAX_DNS: usize = 3;
const MAX_SERVERS: usize = 4;

/// Bounds of `dhcp_abuse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a server is remembered, nanoseconds. 24 h: a lease's common length, so that each client has asked once.
    pub remembered: Nanos,
    /// How long clients are counted, nanoseconds. 60 s.
    pub window: Nanos,
    /// Clients within `window` that one machine plays. 20: a repeater that puts its own address on frames brings about ten;
    /// dhcpstarv and DHCPig play one to ten a second, yersinia thousands.
    pub played: usize,
    /// Clients within `window`, of anybody. 200: more than come back to one network after a power cut within a minute.
    pub clients: usize,
    /// The most networks, machines and transactions remembered, of each. 1,024.
    pub tracked: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { remembered: 86_400 * SECOND, window: 60 * SECOND, played: 20, clients: 200, tracked: 1024 }
    }
}

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A client looks for a server, or asks one.
    Asks,
    /// A server offers.
    Offer,
    /// A server grants.
    Ack,
    /// Something else.
    Other,
}

/// A DHCP message (RFC 2131), or a DHCPv6 message of a server (RFC 8415).
#[derive(Debug, Clone)]
pub(super) struct Message<'a> {
    pub(super) kind: Kind,
    xid: u32,
    /// The client's hardware address, as many bytes as the message says it has.
    chaddr: &'a [u8],
    client_id: &'a [u8],
    /// The address given.
    pub(super) given: Option<Addr>,
    /// The relay that the message goes through.
    relay: Option<Addr>,
    server: Option<Addr>,
    router: Option<Addr>,
    dns: Vec<Addr>,
}

impl Message<'_> {
    /// The client's hardware address, if it is one of Ethernet.
    pub(super) fn client_mac(&self) -> Option<Mac> {
        self.chaddr.try_into().ok().map(Mac)
    }

    /// What tells one client from another.
    fn client(&self) -> u64 {
        // Not keyed: it is only compared with a few, and must be the same after a restart.
        let mut hasher = foldhash::fast::FixedState::default().build_hasher();
        hasher.write(self.chaddr);
        hasher.write(self.client_id);
        hasher.finish()
    }
}

/// The DHCP message that a packet carries.
pub(super) fn message<'a>(ip: &Ip<'a>) -> Option<Message<'a>> {
    let Transport::Udp(ports) = ip.transport else { return None };
    match (ports.src, ports.dst) {
        (67 | 68, _) | (_, 67 | 68) => v4(ip.payload),
        (547, _) => v6(ip.payload),
        _ => None,
    }
}

fn addr_at(bytes: &[u8], at: usize) -> Option<Addr> {
    let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    (bytes != [0; 4]).then(|| Addr::v4(bytes))
}

fn v4(bytes: &[u8]) -> Option<Message<'_>> {
    let options = bytes.get(240..)?;
    if bytes.get(236..240)? != [0x63, 0x82, 0x53, 0x63] {
        return None;
    }
    let hlen = usize::from(*bytes.get(2)?).min(16);
    let mut message = Message {
        kind: Kind::Other,
        xid: u32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?),
        chaddr: bytes.get(28..28 + hlen)?,
        client_id: &[],
        given: addr_at(bytes, 16),
        relay: addr_at(bytes, 24),
        server: None,
        router: None,
        dns: Vec::new(),
    };
    let mut rest = options;
    // Each option takes a byte at least, so that this ends.
    while let [code, tail @ ..] = rest {
        if *code == 0 {
            rest = tail;
            continue;
        }
        let Some((&len, tail)) = tail.split_first() else { break };
        let Some((value, tail)) = tail.split_at_checked(usize::from(len)) else { break };
        match *code {
            255 => break,
            3 => message.router = addr_at(value, 0),
            6 => {
                message.dns = value.chunks_exact(4).take(MAX_DNS).filter_map(|dns| addr_at(dns, 0)).collect()
            }
            53 => {
                message.kind = match value {
                    [1 | 3] => Kind::Asks,
                    [2] => Kind::Offer,
                    [5] => Kind::Ack,
                    _ => Kind::Other,
                }
            }
            54 => message.server = addr_at(value, 0),
            61 => message.client_id = value,
            _ => {}
        }
        rest = tail;
    }
    Some(message)
}

fn v6(bytes: &[u8]) -> Option<Message<'_>> {
    let kind = match *bytes.first()? {
        2 => Kind::Offer,
        7 => Kind::Ack,
        _ => return None,
    };
    let mut message = Message {
        kind,
        xid: u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) & 0x00ff_ffff,
        chaddr: &[],
        client_id: &[],
        given: None,
        relay: None,
        server: None,
        router: None,
        dns: Vec::new(),
    };
    let mut rest = bytes.get(4..)?;
    while let [c0, c1, l0, l1, tail @ ..] = rest {
        let Some((value, tail)) = tail.split_at_checked(usize::from(u16::from_be_bytes([*l0, *l1]))) else {
            break;
        };
        // Recursive name servers (RFC 3646).
        if u16::from_be_bytes([*c0, *c1]) == 23 {
            let addrs = value.chunks_exact(16).take(MAX_DNS).filter_map(|dns| dns.try_into().ok());
            message.dns = addrs.map(Addr::v6).collect();
        }
        rest = tail;
    }
    Some(message)
}

/// A server of a network, and what it tells clients.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Server {
    addr: Addr,
    seen: Nanos,
    router: Option<Addr>,
    dns: Vec<Addr>,
}

impl Server {
    /// Whether a client that believes the one is led elsewhere than one that believes the other.
    fn contradicts(&self, other: &Self) -> bool {
        let routers = matches!((self.router, other.router), (Some(a), Some(b)) if a != b);
        let names = !self.dns.is_empty()
            && !other.dns.is_empty()
            && !self.dns.iter().any(|dns| other.dns.contains(dns));
        routers || names
    }

    /// Takes what a later message tells; servers leave out what was not asked for.
    fn learn(&mut self, told: Self) {
        self.seen = told.seen;
        self.router = told.router.or(self.router);
        if !told.dns.is_empty() {
            self.dns = told.dns;
        }
    }
}

/// The servers of one network; at most [`MAX_SERVERS`], the oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Servers(Vec<Server>);

impl Worth for Servers {
    fn worth(&self) -> u32 {
        self.0.len() as u32
    }
}

/// Who answered a transaction first.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Answered(Addr);

impl Worth for Answered {}

/// Clients that were seen within a window; as many as the bound at most.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Clients {
    began: Nanos,
    clients: Vec<u64>,
    evidence: Evidence,
}

impl Worth for Clients {
    fn worth(&self) -> u32 {
        self.clients.len() as u32
    }
}

impl Clients {
    fn new(began: Nanos) -> Self {
        Self { began, clients: Vec::new(), evidence: Evidence::default() }
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    /// By VLAN, relay (or none) and whether it is DHCPv6.
    networks: Bounded<(u32, Option<Addr>, bool), Servers>,
    answered: Bounded<(u32, u32), Answered>,
    /// By VLAN and the machine that sends; `None` is any.
    clients: Bounded<(u32, Option<Mac>), Clients>,
}

/// Watches DHCP.
pub struct DhcpAbuse {
    limits: Limits,
    state: State,
}

impl DhcpAbuse {
    /// Knows no server yet.
    pub fn new(limits: Limits) -> Self {
        let state = State {
            networks: Bounded::new(limits.tracked, limits.remembered),
            answered: Bounded::new(limits.tracked, limits.window),
            clients: Bounded::new(limits.tracked, limits.window),
        };
        Self { limits, state }
    }

    fn answer(&mut self, message: &Message<'_>, vlan: u32, from: Addr, seen: &Seen<'_>, alerts: &mut Alerts) {
        if message.router.is_none() && message.dns.is_empty() {
            // A boot server beside the real one, or an answer that only confirms.
            return;
        }
        let now = seen.arrival.now;
        let addr = message.server.unwrap_or(from);
        let told = Server { addr, seen: now, router: message.router, dns: message.dns.clone() };
        let first = self.state.answered.entry((vlan, message.xid), now, || Answered(addr)).0;
        let network = (vlan, message.relay, !from.is_v4());
        let servers = self.state.networks.entry(network, now, Servers::default);
        let remembered = self.limits.remembered;
        servers.0.retain(|server| now.saturating_sub(server.seen) <= remembered);
        let opponent =
            servers.0.iter().find(|server| server.addr != addr && server.contradicts(&told)).cloned();
        let peer = servers.0.iter().find(|server| server.addr != addr).map(|server| server.addr);
        let at = servers.0.iter().position(|server| server.addr == addr);
        match at {
            Some(at) => {
                let earlier = opponent
                    .as_ref()
                    .is_some_and(|other| servers.0[..at].iter().all(|s| s.addr != other.addr));
                if let Some(server) = servers.0.get_mut(at) {
                    server.learn(told.clone());
                }
                // The one that was there first is not the rogue; its answers only show that both are alive.
                if earlier {
                    return;
                }
            }
            None if servers.0.len() < MAX_SERVERS => servers.0.push(told.clone()),
            None => {}
        }
        let filter = filter::all([if from.is_v4() { "dhcp" } else { "dhcpv6" }, &filter::src(from)]);
        if let Some(other) = opponent {
            let rivals = first != addr;
            let severity = if rivals { Severity::High } else { Severity::Medium };
            let summary = format!(
                "{addr} gives clients {}; {} gives {}",
                settings(&told),
                other.addr,
                settings(&other)
            );
            let finding = Finding::new(severity, ROGUE, summary).measure(2.0, 2.0).filter(filter);
            alerts.raise(Key::new(ID, addr, Subject::Anyone).extra(severity as u32), &seen.arrival, finding);
        } else if let (Some(peer), None) = (peer, at) {
            let summary = format!("{addr} serves DHCP beside {peer}, and tells clients the same");
            let finding = Finding::new(Severity::Info, ROGUE, summary).measure(2.0, 2.0).filter(filter);
            alerts.raise(Key::new(ID, addr, Subject::Anyone), &seen.arrival, finding);
        }
    }

    fn asks(&mut self, message: &Message<'_>, vlan: u32, seen: &Seen<'_>, alerts: &mut Alerts) {
        let sender = seen.packet.macs.map(|macs| macs.src).filter(|_| message.relay.is_none());
        let client = message.client();
        for (who, bound) in [(sender, self.limits.played), (None, self.limits.clients)] {
            if who.is_none() && bound == self.limits.played {
                continue;
            }
            let now = seen.arrival.now;
            let clients = self.state.clients.entry((vlan, who), now, || Clients::new(now));
            if now.saturating_sub(clients.began) > self.limits.window {
                *clients = Clients::new(now);
            }
            if clients.clients.contains(&client) {
                continue;
            }
            let subject = who.map_or(Subject::Anyone, Subject::Mac);
            let key = Key::new(ID, subject, Subject::Anyone).extra(67);
            if clients.clients.len() >= bound {
                alerts.count_on(&key, &seen.arrival, 1, bound as f64);
                continue;
            }
            clients.clients.push(client);
            clients.evidence.add(&seen.arrival);
            if clients.clients.len() < bound {
                continue;
            }
            let (severity, summary) = match who {
                Some(mac) => (
                    Severity::High,
                    format!("{mac} asks for addresses in the name of {bound} clients and more"),
                ),
                None => {
                    let within = span(self.limits.window);
                    (Severity::Medium, format!("{bound} clients and more ask for addresses within {within}"))
                }
            };
            let filter = who.map_or_else(String::new, |mac| format!(" && eth.src == {mac}"));
            let finding = Finding::new(severity, STARVATION, summary)
                .count(bound as u64)
                .measure(bound as f64, bound as f64)
                .evidence(&clients.evidence)
                .filter(format!("(dhcp.option.dhcp == 1 || dhcp.option.dhcp == 3){filter}"));
            alerts.raise(key, &seen.arrival, finding);
        }
    }
}

fn settings(server: &Server) -> String {
    let router = server.router.map(|router| format!("router {router}"));
    let dns = server.dns.first().map(|dns| format!("name server {dns}"));
    [router, dns].into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

impl Detector for DhcpAbuse {
    fn id(&self) -> &'static str {
        ID
    }

    fn interest(&self) -> Interest {
        Interest::DHCP
    }

    fn packet(&mut self, seen: &Seen<'_>, _: &Scene, alerts: &mut Alerts) {
        let Net::Ip(ip) = seen.packet.net else { return };
        let Some(message) = message(&ip) else { return };
        let vlan = vlan_number(seen.packet.vlan);
        match message.kind {
            Kind::Asks => self.asks(&message, vlan, seen, alerts),
            Kind::Offer | Kind::Ack => self.answer(&message, vlan, ip.src, seen, alerts),
            Kind::Other => {}
        }
    }

    fn saturated(&self) -> u64 {
        self.state.networks.saturated() + self.state.answered.saturated() + self.state.clients.saturated()
    }

    fn save(&self) -> Saved<'_> {
        Box::new(&self.state)
    }

    fn restore(&mut self, state: serde_json::Value) {
        if let Some(state) = restored::<State>(state) {
            self.state.networks.take(state.networks);
            self.state.answered.take(state.answered);
            self.state.clients.take(state.clients);
        }
    }
}

#[cfg(test)]
#[path = "dhcp_tests.rs"]
pub(super) mod tests;
