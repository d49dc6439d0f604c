//! Neighbour discovery abused: an IPv6 address that two hardware addresses claim, a machine that denies others theirs
//! `nd_spoof`, and routers that should not be one `rogue_ra`. Only what a neighbour can have sent counts: hop limit 255
//! (RFC 4861 6.1.2, 7.1).

use serde::{Deserialize, Serialize};

use super::bounded::{Bounded, Worth};
use super::claims::{ClaimLimits, Claims, How, Reason, Verdict, is_machine, is_virtual, vlan_number};
use super::finding::Evidence;
use super::{
    Alerts, Detector, Finding, Interest, Key, Saved, Scene, Seen, Severity, Subject, filter, local, restored,
};
use crate::packet::Nanos;
use crate::packet::addr::{Addr, Mac};
use crate::packet::decode::{Ip, Net, Transport};

const SPOOF: &str = "nd_spoof";
const ROGUE: &str = "rogue_ra";

/// Adversary-in-the-middle.
const TECHNIQUE: &str = "T1557";

const SECOND: Nanos = 1_000_000_000;

/// The most prefixes of a router compared.
const MAX_PREFIXES: usize = 8;

/// Bounds of `nd_spoof` and `rogue_ra`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What is held against a claim.
    pub claims: ClaimLimits,
    /// How long after a solicitation its answer may come, nanoseconds. 5 s: three are sent, a second apart (RFC 4861 10).
    pub answer: Nanos,
    /// Addresses that one machine denied others who were about to take them, within the claims' window. 3.
    pub denied: u32,
    /// New routers, or new prefixes, within a minute. 10: flood_router26 sends thousands a second; no network has as many.
    pub routers: u32,
    /// How long a router is remembered that does not say for how long it is one, nanoseconds; no router for longer. 30 minutes:
    /// the longest interval between advertisements (RFC 4861 6.2.1).
    pub remembered: Nanos,
    /// The most solicitations and routers remembered, of each. 2,048.
    pub tracked: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            claims: ClaimLimits::default(),
            answer: 5 * SECOND,
            denied: 3,
            routers: 10,
            remembered: 1800 * SECOND,
            tracked: 2048,
        }
    }
}

/// Who asked for an address; `None` if it was somebody who has it already.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Asked(Option<Mac>);

impl Worth for Asked {}

/// Addresses that a machine denied.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Denied {
    last: Option<Addr>,
    count: u32,
    evidence: Evidence,
}

impl Worth for Denied {
    fn worth(&self) -> u32 {
        self.count
    }
}

/// What a router said of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Router {
    mac: Mac,
    /// Whether it offers itself as default router, with what preference (-1, 0, 1), and for how long.
    lifetime: Nanos,
    preference: i8,
    prefixes: Vec<(Addr, u8)>,
    seen: Nanos,
}

impl Worth for Router {
    fn worth(&self) -> u32 {
        u32::from(self.lifetime > 0)
    }
}

/// What is new within a minute.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Rush {
    began: Nanos,
    count: u32,
    evidence: Evidence,
}

impl Worth for Rush {
    fn worth(&self) -> u32 {
        self.count
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    claims: Claims,
    asked: Bounded<(u32, Addr), Asked>,
    denied: Bounded<(u32, Mac), Denied>,
    routers: Bounded<(u32, Addr), Router>,
    rushes: Bounded<u32, Rush>,
}

/// Watches neighbour discovery.
pub struct NeighbourSpoof {
    limits: Limits,
    state: State,
}

/// A neighbour discovery message.
struct Message<'a> {
    vlan: u32,
    ip: &'a Ip<'a>,
    /// Who sent the frame.
    mac: Mac,
    /// The four bytes behind the checksum.
    rest: u32,
    to_all: bool,
}

/// The options of a neighbour discovery message: type and value.
fn options(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let [kind, len, ..] = rest else { return None };
        // Zero would have no end (RFC 4861 4.6: such a packet is to be discarded).
        let (option, tail) =
            rest.split_at_checked(usize::from(*len) * 8).filter(|(option, _)| !option.is_empty())?;
        rest = tail;
        Some((*kind, &option[2..]))
    })
}

/// The link-layer address of an option: 1 is the sender's, 2 the target's.
fn link_address(bytes: &[u8], kind: u8) -> Option<Mac> {
    let value = options(bytes).find(|option| option.0 == kind)?.1;
    value.first_chunk().map(|mac| Mac(*mac))
}

impl NeighbourSpoof {
    /// Knows nobody yet.
    pub fn new(limits: Limits) -> Self {
        let state = State {
            claims: Claims::new(limits.claims),
            asked: Bounded::new(limits.tracked, limits.answer),
            denied: Bounded::new(limits.tracked, limits.claims.window),
            routers: Bounded::new(limits.tracked, limits.remembered),
            rushes: Bounded::new(limits.tracked, 60 * SECOND),
        };
        Self { limits, state }
    }

    fn solicitation(&mut self, message: &Message<'_>, seen: &Seen<'_>, alerts: &mut Alerts) {
        let Some(target) = message.ip.payload.first_chunk() else { return };
        let nobody = local::is_shared(message.ip.src);
        let asked = Asked(nobody.then_some(message.mac));
        *self.state.asked.entry((message.vlan, Addr::v6(*target)), seen.arrival.now, || asked) = asked;
        if let (false, Some(mac)) = (nobody, link_address(&message.ip.payload[16..], 1)) {
            self.claim(message.vlan, message.ip.src, mac, How::Told, seen, alerts);
        }
    }

    fn advertisement(&mut self, message: &Message<'_>, seen: &Seen<'_>, scene: &Scene, alerts: &mut Alerts) {
        let Some(target) = message.ip.payload.first_chunk() else { return };
        let target = Addr::v6(*target);
        let now = seen.arrival.now;
        let asked = self.state.asked.get(&(message.vlan, target), now).copied();
        if let Some(Asked(Some(asker))) = asked {
            if asker != message.mac {
                self.deny(message, target, asker, seen, alerts);
            }
            return;
        }
        // Without the override flag it is an answer for a group, or a proxy's, which others' take precedence of.
        if message.rest & 1 << 29 == 0 {
            return;
        }
        let how = match (message.to_all, asked) {
            (true, _) => How::Told,
            (false, Some(_)) => How::Answered,
            // Where solicitations may be missing, none can be said to be.
            (false, None) if !scene.sees_answers() => How::Answered,
            (false, None) => How::Unasked,
        };
        let mac = link_address(&message.ip.payload[16..], 2).unwrap_or(message.mac);
        self.claim(message.vlan, target, mac, how, seen, alerts);
    }

    /// An advertisement of an address that somebody else is about to take (RFC 4862 5.4).
    fn deny(
        &mut self,
        message: &Message<'_>,
        target: Addr,
        asker: Mac,
        seen: &Seen<'_>,
        alerts: &mut Alerts,
    ) {
        let denied = self.state.denied.entry((message.vlan, message.mac), seen.arrival.now, Denied::default);
        if denied.last == Some(target) {
            return;
        }
        denied.last = Some(target);
        denied.count += 1;
        denied.evidence.add(&seen.arrival);
        let (mac, bound) = (message.mac, self.limits.denied);
        let filter = format!("icmpv6.type == 136 && eth.src == {mac}");
        if denied.count < bound {
            let summary = format!("{mac} has the address {target} that {asker} was about to take");
            let finding = Finding::new(Severity::Info, TECHNIQUE, summary)
                .measure(f64::from(denied.count), f64::from(bound))
                .filter(filter);
            alerts.raise(Key::new(SPOOF, mac, target), &seen.arrival, finding);
            return;
        }
        let summary = format!("{mac} claims every address that another is about to take");
        let finding = Finding::new(Severity::High, "T1499", summary)
            .count(u64::from(denied.count))
            .measure(f64::from(denied.count), f64::from(bound))
            .evidence(&denied.evidence)
            .filter(filter);
        let key = Key::new(SPOOF, mac, Subject::Anyone).extra(136);
        if !alerts.count_on(&key, &seen.arrival, 1, f64::from(denied.count)) {
            alerts.raise(key, &seen.arrival, finding);
        }
    }

    fn claim(&mut self, vlan: u32, ip: Addr, mac: Mac, how: How, seen: &Seen<'_>, alerts: &mut Alerts) {
        if local::is_shared(ip) || !is_machine(mac) {
            return;
        }
        let verdict = self.state.claims.claim((vlan, ip), mac, how, &seen.arrival);
        if matches!(verdict, Verdict::Fine) {
            return;
        }
        let filter =
            || format!("icmpv6.nd.na.target_address == {ip} || (icmpv6.type == 135 && ipv6.src == {ip})");
        match verdict {
            Verdict::Fine => {}
            Verdict::Moved(former, reason) => {
                let key = Key::new(SPOOF, mac, ip);
                if alerts.count_on(&key, &seen.arrival, 1, 1.0) {
                    return;
                }
                let why = if reason == Reason::Silence { ", after a long silence" } else { "" };
                let summary = format!("{ip} moved from {former} to {mac}{why}");
                let finding = Finding::new(Severity::Info, TECHNIQUE, summary).filter(filter());
                alerts.raise(key, &seen.arrival, finding);
            }
            Verdict::Disputed(dispute) => {
                let limits = self.limits.claims;
                let suspect = dispute.suspect();
                let loud = dispute.unasked() >= limits.unasked;
                let severity = if loud { Severity::High } else { Severity::Medium };
                let (observed, bound) =
                    if loud { (dispute.unasked(), limits.unasked) } else { (dispute.moves, limits.moves) };
                let src = if loud { Subject::Mac(suspect) } else { Subject::Anyone };
                let key = Key::new(SPOOF, src, ip).extra(severity as u32);
                if alerts.count_on(&key, &seen.arrival, 1, f64::from(observed)) {
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
                let finding = Finding::new(severity, TECHNIQUE, summary)
                    .count(u64::from(observed))
                    .measure(f64::from(observed), f64::from(bound))
                    .evidence(&dispute.evidence)
                    .filter(filter());
                alerts.raise(key, &seen.arrival, finding);
            }
        }
    }

    fn router(&mut self, message: &Message<'_>, seen: &Seen<'_>, alerts: &mut Alerts) {
        // Behind reachable time and retransmission timer come the options.
        let Some(tail) = message.ip.payload.get(8..) else { return };
        let (src, mac, vlan, now) = (message.ip.src, message.mac, message.vlan, seen.arrival.now);
        let filter = filter::all(["icmpv6.type == 134", &filter::src(src)]);
        // Cur hop limit, flags, router lifetime: the rest of the header's first eight bytes.
        let lifetime = Nanos::from(message.rest & 0xffff) * SECOND;
        let preference = match message.rest >> 19 & 3 {
            1 => 1,
            3 => -1,
            _ => 0,
        };
        let is_prefix = |option: &(u8, &[u8])| option.0 == 3;
        let prefix = |(_, value): (u8, &[u8])| {
            let len = *value.first()?;
            Some((Addr::v6(*value.get(14..30)?.first_chunk()?), len))
        };
        let prefixes = options(tail).filter(is_prefix).filter_map(prefix).take(MAX_PREFIXES).collect();
        let router = Router { mac, lifetime, preference, prefixes, seen: now };
        if let Some(link) = link_address(tail, 1) {
            self.claim(vlan, src, link, How::Told, seen, alerts);
        }
        let known = self.state.routers.get(&(vlan, src), now).cloned();
        if let Some(known) = &known
            && router.lifetime == 0
            && known.lifetime > 0
            && known.mac != mac
            && !is_virtual(mac)
            && !is_virtual(known.mac)
        {
            let summary = format!(
                "{mac} says in the name of the router {src}, which is {}, that it is none any more",
                known.mac
            );
            let finding = Finding::new(Severity::High, TECHNIQUE, summary).filter(filter);
            alerts.raise(Key::new(ROGUE, mac, src).extra(2), &seen.arrival, finding);
            // What is said in its name is not to be believed.
            return;
        }
        let new_prefix = router
            .prefixes
            .iter()
            .any(|new| known.as_ref().is_none_or(|known| !known.prefixes.contains(new)));
        if known.is_none() || new_prefix {
            self.rush(vlan, seen, alerts);
        }
        if known.is_none() && router.lifetime > 0 {
            self.newcomer(vlan, src, &router, filter, seen, alerts);
        }
        let fresh = router.clone();
        *self.state.routers.entry((vlan, src), now, || fresh) = router;
    }

    /// A router that was not known: is it one more, or one against the others?
    fn newcomer(
        &self,
        vlan: u32,
        src: Addr,
        new: &Router,
        filter: String,
        seen: &Seen<'_>,
        alerts: &mut Alerts,
    ) {
        let now = seen.arrival.now;
        let alive = |other: &Router| {
            other.lifetime > 0 && now.saturating_sub(other.seen) <= other.lifetime.min(self.limits.remembered)
        };
        let others =
            self.state.routers.iter().filter(|(key, other)| key.0 == vlan && key.1 != src && alive(other));
        // The one that is longest known by address order, so that the answer does not hang on the table's.
        let Some((&(_, addr), other)) = others.min_by_key(|(key, _)| key.1) else { return };
        let elsewhere = !new.prefixes.is_empty()
            && !other.prefixes.is_empty()
            && !new.prefixes.iter().any(|prefix| other.prefixes.contains(prefix));
        let (severity, how) = if elsewhere {
            (Severity::Medium, "for other prefixes than")
        } else if new.preference > other.preference {
            (Severity::Medium, "and wants to be preferred to")
        } else {
            (Severity::Info, "beside")
        };
        let summary = format!("{src} ({}) offers itself as router {how} {addr} ({})", new.mac, other.mac);
        let finding = Finding::new(severity, TECHNIQUE, summary).measure(2.0, 2.0).filter(filter);
        alerts.raise(Key::new(ROGUE, src, Subject::Anyone), &seen.arrival, finding);
    }

    /// Something is advertised that was not known.
    fn rush(&mut self, vlan: u32, seen: &Seen<'_>, alerts: &mut Alerts) {
        let now = seen.arrival.now;
        let new = || Rush { began: now, count: 0, evidence: Evidence::default() };
        let rush = self.state.rushes.entry(vlan, now, new);
        if now.saturating_sub(rush.began) > 60 * SECOND {
            *rush = new();
        }
        rush.count += 1;
        rush.evidence.add(&seen.arrival);
        let (count, bound) = (rush.count, self.limits.routers);
        let key = Key::new(ROGUE, Subject::Anyone, Subject::Anyone).extra(134);
        if count < bound || alerts.count_on(&key, &seen.arrival, 1, f64::from(count)) {
            return;
        }
        let finding =
            Finding::new(Severity::High, "T1499", format!("{count} new routers or prefixes within a minute"))
                .count(u64::from(count))
                .measure(f64::from(count), f64::from(bound))
                .evidence(&rush.evidence)
                .filter("icmpv6.type == 134");
        alerts.raise(key, &seen.arrival, finding);
    }
}

impl Detector for NeighbourSpoof {
    fn id(&self) -> &'static str {
        SPOOF
    }

    fn interest(&self) -> Interest {
        Interest::ICMP
    }

    fn packet(&mut self, seen: &Seen<'_>, scene: &Scene, alerts: &mut Alerts) {
        let Net::Ip(ip) = &seen.packet.net else { return };
        let Transport::Icmp(icmp) = ip.transport else { return };
        if ip.proto != 58 || !matches!(icmp.kind, 134..=136) || icmp.code != 0 {
            return;
        }
        let Some(macs) = seen.packet.macs else { return };
        if ip.ttl != 255 || (icmp.kind == 134 && !is_link_local(ip.src)) {
            let id = if icmp.kind == 134 { ROGUE } else { SPOOF };
            let summary = format!(
                "{} tries to pass as a neighbour: {}",
                ip.src,
                if ip.ttl == 255 { "not a link-local address" } else { "its hop limit is not 255" }
            );
            let filter = filter::all([&format!("icmpv6.type == {}", icmp.kind), &filter::src(ip.src)]);
            let finding = Finding::new(Severity::Medium, TECHNIQUE, summary)
                .measure(f64::from(ip.ttl), 255.0)
                .filter(filter);
            alerts.raise(Key::new(id, ip.src, Subject::Anyone).extra(255), &seen.arrival, finding);
            return;
        }
        let to_all = macs.dst.0[0] & 1 == 1;
        let message =
            Message { vlan: vlan_number(seen.packet.vlan), ip, mac: macs.src, rest: icmp.rest, to_all };
        match icmp.kind {
            134 => self.router(&message, seen, alerts),
            135 => self.solicitation(&message, seen, alerts),
            _ => self.advertisement(&message, seen, scene, alerts),
        }
    }

    fn saturated(&self) -> u64 {
        let state = &self.state;
        state.claims.saturated()
            + state.asked.saturated()
            + state.denied.saturated()
            + state.routers.saturated()
            + state.rushes.saturated()
    }

    fn save(&self) -> Saved<'_> {
        Box::new(&self.state)
    }

    fn restore(&mut self, state: serde_json::Value) {
        if let Some(state) = restored::<State>(state) {
            self.state.claims.take(state.claims);
            self.state.asked.take(state.asked);
            self.state.denied.take(state.denied);
            self.state.routers.take(state.routers);
            self.state.rushes.take(state.rushes);
        }
    }
}

fn is_link_local(addr: Addr) -> bool {
    matches!(addr.to_bytes(), [0xfe, 0x80..=0xbf, ..])
}

#[cfg(test)]
#[path = "neighbour_tests.rs"]
mod tests;
