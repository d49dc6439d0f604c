//! `dns_tunnel`: names that carry data to whoever answers for their parent domain.
//!
//! Counted per client and registered domain, or client and server where a name has no parent: distinct names within a sliding
//! window. Two signs: long names of high entropy, or very many distinct names that are hardly ever asked twice. Left alone: `*.arpa`, local suffixes,
//! lists of addresses (see `domains`), mDNS, LLMNR, NBNS. Bounded: [`Limits::parents`], the latest `KEPT`
//! names of each.

use serde::{Deserialize, Serialize};

use super::bounded::Worth;
use super::domains::{self, Split};
use super::talk::{self, HOUR, MINUTE};
use super::{Alerts, Bounded, Detector, Evidence, Finding, Interest, Key, Scene, Seen, Severity, filter};
use crate::packet::Nanos;
use crate::packet::addr::Addr;
use crate::packet::app::dns::{Message, kind};
use crate::packet::decode::{Net, Transport};
use crate::packet::level::Level;

const ID: &str = "dns_tunnel";

/// How many names of a parent are remembered.
const KEPT: usize = 128;

/// From when names are a tunnel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Bytes below the parent from which a name is long. Elastic's rule looks for labels of 50; tunnels that spread over several labels
    /// send as much in shorter ones.
    pub long: usize,
    /// Bits a character from which its entropy is high: hexadecimal has nearly 4, host names of words about 3.
    pub entropy: f64,
    /// Distinct long names, and queries for any names of the parent, within [`Limits::within`]. Elastic: 15 names, 25 queries, 5 min.
    pub names: u32,
    /// See `names`.
    pub queries: u32,
    /// Nanoseconds.
    pub within: Nanos,
    /// Distinct names of any length within an hour, hardly any asked twice. RITA's low threshold: 100 subdomains.
    pub distinct: u32,
    /// The most parents remembered (about 5 KB each at most).
    pub parents: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            long: 40,
            entropy: 3.3,
            names: 15,
            queries: 25,
            within: 5 * MINUTE,
            distinct: 100,
            parents: 2048,
        }
    }
}

/// A name that was asked.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Asked {
    at: Nanos,
    hash: u64,
    /// Bytes below the parent.
    len: u16,
    /// Whether it is long and of high entropy.
    dense: bool,
    /// Whether the type asked for is one that holds much.
    roomy: bool,
    queries: u16,
}

/// What a client asked of a parent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Names {
    asked: Vec<Asked>,
    evidence: Evidence,
}

impl Worth for Names {
    fn worth(&self) -> u32 {
        self.asked.len() as u32
    }
}

/// What names amount to.
struct Sum {
    names: u32,
    queries: u32,
    bytes: u32,
    longest: u16,
    roomy: u32,
}

impl Names {
    /// Those that `fit`, since a time.
    fn sum(&self, since: Nanos, fit: impl Fn(&Asked) -> bool) -> Sum {
        let mut sum = Sum { names: 0, queries: 0, bytes: 0, longest: 0, roomy: 0 };
        for asked in self.asked.iter().filter(|asked| asked.at >= since && fit(asked)) {
            sum.names += 1;
            sum.queries += u32::from(asked.queries);
            sum.bytes += u32::from(asked.len);
            sum.longest = sum.longest.max(asked.len);
            sum.roomy += u32::from(asked.roomy);
        }
        sum
    }
}

/// The detector.
#[derive(Debug)]
pub struct DnsTunnels {
    limits: Limits,
    names: Bounded<(Addr, u64), Names>,
}

impl DnsTunnels {
    /// Nothing seen yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, names: Bounded::new(limits.parents, HOUR) }
    }
}

/// The DNS message of a packet, if its flow is DNS.
pub(super) fn message<'a>(seen: &Seen<'a>) -> Option<(Message<'a>, Addr, Addr)> {
    let (app, _) = seen.flow?.app?;
    let Net::Ip(ip) = &seen.packet.net else { return None };
    if app != Level::Dns {
        return None;
    }
    let message = match ip.transport {
        Transport::Udp(_) => Message::read(ip.payload)?,
        Transport::Tcp(_) => Message::read_tcp(ip.payload)?,
        _ => return None,
    };
    Some((message, ip.src, ip.dst))
}

impl Detector for DnsTunnels {
    fn id(&self) -> &'static str {
        ID
    }

    fn interest(&self) -> Interest {
        Interest::NAMES
    }

    fn packet(&mut self, seen: &Seen<'_>, _: &Scene, alerts: &mut Alerts) {
        let Some((message, src, dst)) = message(seen) else { return };
        let Some((question, split)) =
            message.question.and_then(|asked| Some((asked, Split::of(asked.name)?)))
        else {
            return;
        };
        let len: usize = split.below().map(|label| label.len() + 1).sum();
        if message.opcode != 0 || len == 0 {
            return;
        }
        let (client, server) = if message.is_response { (dst, src) } else { (src, dst) };
        let parent = if split.has_parent() {
            split.parent_hash()
        } else {
            let bytes = server.to_bytes();
            u64::from_le_bytes(std::array::from_fn(|at| bytes[at] ^ bytes[at + 8]))
        };
        let now = seen.arrival.now;
        let limits = self.limits;
        let names = self.names.entry((client, parent), now, Names::default);
        let hash = split.hash();
        let roomy = matches!(
            question.kind,
            kind::TXT | kind::NULL | kind::CNAME | kind::MX | kind::SRV | 25 | 65_280..
        );
        match names.asked.iter().rposition(|asked| asked.hash == hash) {
            Some(at) => {
                // To the end: the list is in the order of time.
                let mut asked = names.asked.remove(at);
                asked.at = now;
                asked.queries = asked.queries.saturating_add(u16::from(!message.is_response));
                names.asked.push(asked);
                return;
            }
            None => {
                let dense = len >= limits.long
                    && domains::information(split.below())
                        >= limits.entropy * (len - split.below().count()) as f64;
                if names.asked.len() >= KEPT {
                    names.asked.remove(0);
                }
                names.asked.push(Asked { at: now, hash, len: len as u16, dense, roomy, queries: 1 });
                names.evidence.add(&seen.arrival);
            }
        }
        if names.asked.len() < limits.names as usize {
            return;
        }
        let since = now.saturating_sub(limits.within);
        let (dense, all) = (names.sum(since, |asked| asked.dense), names.sum(since, |_| true));
        let many = names.sum(now.saturating_sub(HOUR), |_| true);
        // Who looks up hosts asks for two or three types of each name, and again later.
        let unlike_hosts = many.names * 10 >= many.queries * 8 && many.bytes >= 8 * many.names;
        let (what, sum, bound, severity) = if dense.names >= limits.names && all.queries >= limits.queries {
            let severity = if dense.roomy * 2 >= dense.names { Severity::High } else { Severity::Medium };
            ("long names of high entropy", dense, limits.names, severity)
        } else if many.names >= limits.distinct && unlike_hosts {
            let severity = if split.is_of_a_cloud() { Severity::Info } else { Severity::Low };
            ("distinct names, hardly any asked twice", many, limits.distinct, severity)
        } else {
            return;
        };
        let key = Key::new(ID, client, server).extra((parent as u32 & !7) | severity as u32);
        let observed = f64::from(sum.names);
        if alerts.count_on(&key, &seen.arrival, 1, observed) {
            return;
        }
        let parent =
            if split.has_parent() { format!("below {}", split.parent()) } else { "without a parent".into() };
        let took = talk::span(if bound == limits.distinct { HOUR } else { limits.within });
        let summary = format!(
            "{client} asks {server} for {} {what} {parent} within {took}: {} bytes in names, up to {} in one",
            sum.names, sum.bytes, sum.longest
        );
        let mut parts = vec![filter::between(client, server), "dns".to_owned()];
        if split.has_parent() && !split.parent().contains('?') {
            parts.push(format!("dns.qry.name contains \"{}\"", split.parent()));
        }
        // What Wireshark does not take for DNS by its port, or writes otherwise, it cannot filter by name.
        let port = seen.flow.and_then(|flow| Some(talk::roles(flow).port).filter(|_| flow.ports().is_some()));
        if port != Some(53) {
            parts.truncate(1);
            parts.extend(port.map(|port| filter::port("udp", port)));
        }
        let mut finding = Finding::new(severity, "T1071.004", summary)
            .count(u64::from(sum.names))
            .measure(observed, f64::from(bound))
            .evidence(&names.evidence)
            .filter(filter::all(parts));
        finding.port = port;
        alerts.raise(key, &seen.arrival, finding);
    }

    fn saturated(&self) -> u64 {
        self.names.saturated()
    }

    fn save(&self) -> super::Saved<'_> {
        Box::new(&self.names)
    }

    fn restore(&mut self, state: serde_json::Value) {
        if let Some(names) = super::restored(state) {
            self.names.take(names);
        }
    }
}

#[cfg(test)]
#[path = "dns_tunnel_tests.rs"]
mod tests;
