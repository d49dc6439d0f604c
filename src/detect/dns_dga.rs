//! `dns_dga`: many registered names that do not exist, as a host asks for that looks for its master by a domain generation
//! algorithm.
//!
//! Per client, distinct registered domains answered with NXDOMAIN within a sliding window; graver when most of them look
//! generated. Names within one registered domain count once, single labels (a browser's probes for a lying resolver) and local names not at all. Bounded:
//! [`Limits::clients`], the latest `KEPT` names of each.

use serde::{Deserialize, Serialize};

use super::bounded::Worth;
use super::dns_tunnel::message;
use super::domains::{self, Split};
use super::talk::{self, MINUTE};
use super::{Alerts, Bounded, Detector, Evidence, Finding, Interest, Key, Scene, Seen, Severity, filter};
use crate::packet::Nanos;
use crate::packet::addr::Addr;
use crate::packet::app::dns::NXDOMAIN;

const ID: &str = "dns_dga";

/// How many names of a client are remembered.
const KEPT: usize = 64;

/// From when names that do not exist are a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Distinct registered names within [`Limits::within`]. Maltrail: more than 20 an hour; of names that were mistyped or
    /// have expired nobody meets so many in ten minutes.
    pub names: usize,
    /// Nanoseconds.
    pub within: Nanos,
    /// The most clients remembered (about 2 KB each at most).
    pub clients: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { names: 20, within: 10 * MINUTE, clients: 4096 }
    }
}

/// Names that a client was told do not exist: when, hash, whether it looks generated; the latest last.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Missing {
    names: Vec<(Nanos, u64, bool)>,
    evidence: Evidence,
}

impl Worth for Missing {
    fn worth(&self) -> u32 {
        self.names.len() as u32
    }
}

/// The detector.
#[derive(Debug)]
pub struct DnsDga {
    limits: Limits,
    clients: Bounded<Addr, Missing>,
}

impl DnsDga {
    /// Nothing seen yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, clients: Bounded::new(limits.clients, limits.within) }
    }
}

impl Detector for DnsDga {
    fn id(&self) -> &'static str {
        ID
    }

    fn interest(&self) -> Interest {
        Interest::NAMES
    }

    fn packet(&mut self, seen: &Seen<'_>, _: &Scene, alerts: &mut Alerts) {
        let Some((message, server, client)) = message(seen) else { return };
        if !message.is_response || message.rcode != NXDOMAIN || message.opcode != 0 {
            return;
        }
        let Some(split) = message.question.and_then(|asked| Split::of(asked.name)) else { return };
        let Some(label) = split.registered_label().filter(|_| split.has_parent()) else { return };
        let now = seen.arrival.now;
        let missing = self.clients.entry(client, now, Missing::default);
        let hash = split.parent_hash();
        let before = missing.names.len();
        let since = now.saturating_sub(self.limits.within);
        missing.names.retain(|(at, other, _)| *at >= since && *other != hash);
        if missing.names.is_empty() && before > 0 {
            missing.evidence = Evidence::default();
        }
        if missing.names.len() >= KEPT {
            missing.names.remove(0);
        }
        missing.names.push((now, hash, domains::looks_generated(label)));
        missing.evidence.add(&seen.arrival);
        let count = missing.names.len();
        if count < self.limits.names {
            return;
        }
        let generated = missing.names.iter().filter(|(_, _, generated)| *generated).count();
        let severity = if generated * 2 >= count { Severity::Medium } else { Severity::Low };
        let key = Key::new(ID, client, server).extra(severity as u32);
        if alerts.count_on(&key, &seen.arrival, 1, count as f64) {
            return;
        }
        let within = talk::span(self.limits.within);
        let summary = format!(
            "{client} asked {server} for {count} registered names that do not exist within {within}; {generated} look \
             generated, like {}",
            split.parent()
        );
        let finding = Finding::new(severity, "T1568.002", summary)
            .count(count as u64)
            .measure(count as f64, self.limits.names as f64)
            .evidence(&missing.evidence)
            .filter(filter::all([filter::between(client, server), "dns.flags.rcode == 3".to_owned()]));
        alerts.raise(key, &seen.arrival, finding);
    }

    fn saturated(&self) -> u64 {
        self.clients.saturated()
    }

    fn save(&self) -> super::Saved<'_> {
        Box::new(&self.clients)
    }

    fn restore(&mut self, state: serde_json::Value) {
        if let Some(clients) = super::restored(state) {
            self.clients.take(clients);
        }
    }
}

#[cfg(test)]
#[path = "dns_dga_tests.rs"]
mod tests;
