//! Traceroutes: packets from one host to another with ever larger, tiny times to live, or routers' answers that such packets'
//! time was exceeded. An operator does that too, and so do `mtr` and monitoring; hence low.

use serde::{Deserialize, Serialize};

use super::bounded::{Bounded, Worth};
use super::finding::Evidence;
use super::{
    Alerts, Detector, Finding, Interest, Key, Saved, Scene, Seen, Severity, filter, local, restored,
};
use crate::packet::Nanos;
use crate::packet::addr::Addr;
use crate::packet::decode::{Icmp, Ip, Net, Transport};

const ID: &str = "traceroute";

/// System network configuration discovery: internet connection discovery, for which ATT&CK names `tracert`.
const TECHNIQUE: &str = "T1016.001";

/// Bounds of `traceroute`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Times to live below 10 within `window`, one after another. 4: a route that changes shows two or three.
    pub hops: u32,
    /// Routers that say time was exceeded, or so many answers about the ports that traceroute uses. 3.
    pub exceeded: u32,
    /// How long they are counted, nanoseconds. 60 s: a traceroute whose routers keep silent waits 15 s for each hop.
    pub window: Nanos,
    /// The most pairs of hosts remembered. 2,048.
    pub pairs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { hops: 4, exceeded: 3, window: 60_000_000_000, pairs: 2048 }
    }
}

/// The most routers of a pair remembered.
const MAX_ROUTERS: usize = 8;

/// What was seen of one host's way to another.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Way {
    began: Nanos,
    /// A bit for each time to live that was seen.
    hops: u16,
    /// Who said that time was exceeded.
    routers: Vec<Addr>,
    /// How often that was said about the ports that traceroute uses.
    probes: u32,
    evidence: Evidence,
}

impl Worth for Way {
    fn worth(&self) -> u32 {
        self.hops.count_ones() + self.routers.len() as u32
    }
}

impl Way {
    fn new(began: Nanos) -> Self {
        Self { began, hops: 0, routers: Vec::new(), probes: 0, evidence: Evidence::default() }
    }

    /// The longest run of times to live one after another.
    fn run(&self) -> u32 {
        let mut bits = self.hops;
        let mut run = 0;
        while bits != 0 {
            bits &= bits << 1;
            run += 1;
        }
        run
    }
}

/// Watches for traceroutes.
pub struct Traceroute {
    limits: Limits,
    ways: Bounded<(Addr, Addr), Way>,
}

impl Traceroute {
    /// Knows nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ways: Bounded::new(limits.pairs, limits.window) }
    }

    fn way(&mut self, src: Addr, dst: Addr, now: Nanos) -> &mut Way {
        let way = self.ways.entry((src, dst), now, || Way::new(now));
        if now.saturating_sub(way.began) > self.limits.window {
            *way = Way::new(now);
        }
        way
    }

    fn hop(&mut self, ip: &Ip<'_>, seen: &Seen<'_>, alerts: &mut Alerts) {
        if local::is_shared(ip.dst) {
            // What goes to a group stays near on purpose.
            return;
        }
        let bound = self.limits.hops;
        let way = self.way(ip.src, ip.dst, seen.arrival.now);
        let known = way.hops;
        way.hops |= 1 << ip.ttl.min(15);
        if known != way.hops {
            way.evidence.add(&seen.arrival);
        }
        let run = way.run();
        if run < bound {
            return;
        }
        let key = Key::new(ID, ip.src, ip.dst);
        if alerts.count_on(&key, &seen.arrival, 1, f64::from(run)) {
            return;
        }
        let ttl = if ip.src.is_v4() { "ip.ttl < 10" } else { "ipv6.hlim < 10" };
        let summary = format!("{} traces the route to {}: times to live 1, 2, 3…", ip.src, ip.dst);
        let finding = Finding::new(Severity::Low, TECHNIQUE, summary)
            .count(u64::from(run))
            .measure(f64::from(run), f64::from(bound))
            .evidence(&way.evidence)
            .filter(filter::all([filter::src(ip.src), filter::dst(ip.dst), ttl.to_owned()]));
        alerts.raise(key, &seen.arrival, finding);
    }

    fn exceeded(&mut self, ip: &Ip<'_>, icmp: Icmp, seen: &Seen<'_>, alerts: &mut Alerts) {
        let v4 = ip.src.is_v4();
        if (v4, icmp.kind, icmp.code) != (true, 11, 0) && (v4, icmp.kind, icmp.code) != (false, 3, 0) {
            return;
        }
        let Some(quoted) = quoted(ip.payload, v4) else { return };
        // An answer to who did not ask.
        if quoted.src != ip.dst {
            return;
        }
        let bound = self.limits.exceeded;
        let way = self.way(quoted.src, quoted.dst, seen.arrival.now);
        if !way.routers.contains(&ip.src) && way.routers.len() < MAX_ROUTERS {
            way.routers.push(ip.src);
        }
        way.probes += u32::from(quoted.is_probe);
        way.evidence.add(&seen.arrival);
        let observed = (way.routers.len() as u32).max(way.probes);
        if observed < bound {
            return;
        }
        let key = Key::new(ID, quoted.src, quoted.dst);
        if alerts.count_on(&key, &seen.arrival, 1, f64::from(observed)) {
            return;
        }
        let summary = format!("{} traces the route to {}: routers on it answer", quoted.src, quoted.dst);
        let kind = if v4 { "icmp.type == 11" } else { "icmpv6.type == 3" };
        let finding = Finding::new(Severity::Low, TECHNIQUE, summary)
            .count(u64::from(observed))
            .measure(f64::from(observed), f64::from(bound))
            .evidence(&way.evidence)
            .filter(filter::all([kind.to_owned(), filter::host(quoted.src), filter::host(quoted.dst)]));
        alerts.raise(key, &seen.arrival, finding);
    }
}

/// The beginning of a packet that an ICMP message quotes.
struct Quoted {
    src: Addr,
    dst: Addr,
    /// UDP to the ports that traceroute counts up from (33434; three for each of 30 hops).
    is_probe: bool,
}

fn quoted(bytes: &[u8], v4: bool) -> Option<Quoted> {
    let (src, dst, proto, header) = if v4 {
        let src = Addr::v4(*bytes.get(12..16)?.first_chunk()?);
        let dst = Addr::v4(*bytes.get(16..20)?.first_chunk()?);
        (src, dst, bytes[9], usize::from(bytes[0] & 15) * 4)
    } else {
        let src = Addr::v6(*bytes.get(8..24)?.first_chunk()?);
        let dst = Addr::v6(*bytes.get(24..40)?.first_chunk()?);
        (src, dst, bytes[6], 40)
    };
    let port = bytes.get(header + 2..header + 4).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]));
    Some(Quoted { src, dst, is_probe: proto == 17 && (33434..=33534).contains(&port) })
}

impl Detector for Traceroute {
    fn id(&self) -> &'static str {
        ID
    }

    fn interest(&self) -> Interest {
        Interest::LOW_TTL.and(Interest::ICMP)
    }

    fn packet(&mut self, seen: &Seen<'_>, _: &Scene, alerts: &mut Alerts) {
        let Net::Ip(ip) = &seen.packet.net else { return };
        if (1..10).contains(&ip.ttl) {
            self.hop(ip, seen, alerts);
        }
        if let Transport::Icmp(icmp) = ip.transport {
            self.exceeded(ip, icmp, seen, alerts);
        }
    }

    fn saturated(&self) -> u64 {
        self.ways.saturated()
    }

    fn save(&self) -> Saved<'_> {
        Box::new(&self.ways)
    }

    fn restore(&mut self, state: serde_json::Value) {
        if let Some(ways) = restored(state) {
            self.ways.take(ways);
        }
    }
}

#[cfg(test)]
#[path = "traceroute_tests.rs"]
mod tests;
