//! ARP spoofing: an IP address that two hardware addresses claim, answers that nobody asked for, one hardware address that claims
//! many. Told by ARP alone; DHCP says which moves are right. What routers, proxies and machines that take over do is info.

use serde::{Deserialize, Serialize};

use super::bounded::{Bounded, Worth};
use super::claims::{ClaimLimits, Claims, How, Reason, Verdict, is_machine, vlan_number};
use super::dhcp::{self, Kind};
use super::{Alerts, Detector, Finding, Interest, Key, Saved, Scene, Seen, Severity, Subject, restored};
use crate::packet::Nanos;
use crate::packet::addr::{Addr, Mac};
use crate::packet::decode::{Arp, Net};

const ID: &str = "arp_spoof";

/// Adversary-in-the-middle: ARP cache poisoning.
const TECHNIQUE: &str = "T1557.002";

/// Bounds of `arp_spoof`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What is held against a claim.
    pub claims: ClaimLimits,
    /// How long after a request its answer may come, nanoseconds. 5 s: Linux asks three times, a second apart, and waits no longer.
    pub answer: Nanos,
    /// The most requests remembered. 4,096.
    pub requests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { claims: ClaimLimits::default(), answer: 5_000_000_000, requests: 4096 }
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Asked;

impl Worth for Asked {}

#[derive(Serialize, Deserialize)]
struct State {
    claims: Claims,
    /// By VLAN: who is asked for, and who asks.
    asked: Bounded<(u32, Addr, Addr), Asked>,
}

/// Watches ARP.
pub struct ArpSpoof {
    state: State,
}

impl ArpSpoof {
    /// Knows nobody yet.
    pub fn new(limits: Limits) -> Self {
        let asked = Bounded::new(limits.requests, limits.answer);
        Self { state: State { claims: Claims::new(limits.claims), asked } }
    }

    fn arp(&mut self, arp: &Arp, vlan: u32, seen: &Seen<'_>, scene: &Scene, alerts: &mut Alerts) {
        let (mac, ip) = arp.sender;
        let now = seen.arrival.now;
        let (_, target) = arp.target;
        let announces = target == ip;
        if arp.operation == 1 && !announces {
            self.state.asked.entry((vlan, target, ip), now, || Asked);
        }
        // A probe (RFC 5227) claims nothing, nor does who is not a machine.
        if is_nobody(ip) || !is_machine(mac) || !matches!(arp.operation, 1 | 2) {
            return;
        }
        let to_all = seen.packet.macs.is_some_and(|macs| macs.dst.0[0] & 1 == 1);
        let how = if arp.operation == 1 || announces || to_all {
            How::Told
        } else if self.state.asked.get(&(vlan, ip, target), now).is_some() || !scene.sees_answers() {
            // Where requests may be missing, none can be said to be.
            How::Answered
        } else {
            How::Unasked
        };
        match self.state.claims.claim((vlan, ip), mac, how, &seen.arrival) {
            Verdict::Fine => {}
            Verdict::Moved(former, reason) => {
                let key = Key::new(ID, mac, ip);
                if !alerts.count_on(&key, &seen.arrival, 1, 1.0) {
                    alerts.raise(key, &seen.arrival, moved(ip, former, mac, reason));
                }
            }
            Verdict::Disputed(dispute) => {
                let limits = self.state.claims.limits();
                let suspect = dispute.suspect();
                let loud = dispute.unasked() >= limits.unasked;
                let severity = if loud { Severity::High } else { Severity::Medium };
                // Fuzzed or random senders are one dispute, whoever comes to be suspected next.
                let key = Key::new(ID, if loud { Subject::Mac(suspect) } else { Subject::Anyone }, ip);
                let key = key.extra(severity as u32);
                if alerts.count_on(&key, &seen.arrival, 1, observed(&dispute, loud)) {
                    return;
                }
                let summary = match (loud, dispute.other()) {
                    (true, Some(other)) => {
                        format!("{suspect} tells others, unasked, that it has {ip}, which {other} claims too")
                    }
                    (true, None) => format!("{suspect} tells others, unasked, that it has {ip}"),
                    (false, other) => {
                        let other = other.map_or_else(|| "others".to_owned(), |other| other.to_string());
                        format!("{ip} is claimed by {suspect} and by {other}, in turns")
                    }
                };
                let threshold = if loud { limits.unasked } else { limits.moves };
                let finding = Finding::new(severity, TECHNIQUE, summary)
                    .count(u64::from(dispute.moves.max(dispute.unasked())))
                    .measure(observed(&dispute, loud), f64::from(threshold))
                    .evidence(&dispute.evidence)
                    .filter(format!("arp.src.proto_ipv4 == {ip}"));
                alerts.raise(key, &seen.arrival, finding);
            }
        }
        self.many(vlan, ip, mac, how, seen, alerts);
    }

    fn many(&mut self, vlan: u32, ip: Addr, mac: Mac, how: How, seen: &Seen<'_>, alerts: &mut Alerts) {
        let Some((holdings, unasked)) = self.state.claims.hold((vlan, ip), mac, how, &seen.arrival) else {
            return;
        };
        let many = self.state.claims.limits().many;
        let (severity, what) = if unasked >= many {
            (Severity::Medium, "tells others, unasked, that it has")
        } else {
            (Severity::Info, "claims, as a router, a proxy or a machine with several does,")
        };
        let finding = Finding::new(severity, TECHNIQUE, format!("{mac} {what} {many} addresses or more"))
            .count(many as u64)
            .measure(many as f64, many as f64)
            .evidence(&holdings.evidence)
            .filter(format!("arp.src.hw_mac == {mac}"));
        alerts.raise(Key::new(ID, mac, Subject::Anyone).extra(severity as u32), &seen.arrival, finding);
    }
}

fn observed(dispute: &super::claims::Dispute, loud: bool) -> f64 {
    f64::from(if loud { dispute.unasked() } else { dispute.moves })
}

fn moved(ip: Addr, from: Mac, to: Mac, reason: Reason) -> Finding {
    let why = match reason {
        Reason::Virtual => "as routers in a group do",
        Reason::Leased => "given by DHCP",
        Reason::Silence => "after a long silence",
        Reason::Unknown => "once",
    };
    Finding::new(Severity::Info, TECHNIQUE, format!("{ip} moved from {from} to {to}, {why}"))
        .filter(format!("arp.src.proto_ipv4 == {ip}"))
}

/// Whether an address is one that nobody holds: none, broadcast or multicast.
fn is_nobody(ip: Addr) -> bool {
    super::local::is_shared(ip)
}

impl Detector for ArpSpoof {
    fn id(&self) -> &'static str {
        ID
    }

    fn interest(&self) -> Interest {
        Interest::ARP.and(Interest::DHCP)
    }

    fn packet(&mut self, seen: &Seen<'_>, scene: &Scene, alerts: &mut Alerts) {
        let vlan = vlan_number(seen.packet.vlan);
        match seen.packet.net {
            Net::Arp(arp) => self.arp(&arp, vlan, seen, scene, alerts),
            Net::Ip(ip) => {
                let Some(message) = dhcp::message(&ip) else { return };
                if let (Kind::Ack, Some(mac), Some(given)) =
                    (message.kind, message.client_mac(), message.given)
                {
                    self.state.claims.leased((vlan, given), mac, seen.arrival.now);
                }
            }
            Net::None => {}
        }
    }

    fn saturated(&self) -> u64 {
        self.state.claims.saturated() + self.state.asked.saturated()
    }

    fn save(&self) -> Saved<'_> {
        Box::new(&self.state)
    }

    fn restore(&mut self, state: serde_json::Value) {
        if let Some(state) = restored::<State>(state) {
            self.state.claims.take(state.claims);
            self.state.asked.take(state.asked);
        }
    }
}

#[cfg(test)]
#[path = "arp_tests.rs"]
mod tests;
