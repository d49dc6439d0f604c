//! `icmp_tunnel`: echo messages that carry something else than what a ping carries.
//!
//! RFC 792 and RFC 4443 have a reply return the data of its request, with the request's identifier and sequence number; a ping
//! counts the latter up and fills the data with a pattern behind a time. Per pair of ends these are odd:
//! a reply whose data differ; a further request of the same identifier and number with other data; a reply that nobody asked for
//! (of a pair that asks); large data, different each time, without a pattern.
//!
//! Bounded: [`Limits::pairs`] pairs, of each the latest `KEPT` requests as hashes.

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};
use std::hash::BuildHasher;

use super::bounded::Worth;
use super::talk::{self, HOUR};
use super::{Alerts, Bounded, Detector, Evidence, Finding, Interest, Key, Scene, Seen, Severity, filter};
use crate::packet::Nanos;
use crate::packet::addr::Addr;
use crate::packet::decode::{Net, Transport};

const ID: &str = "icmp_tunnel";

/// How many requests of a pair are remembered.
const KEPT: usize = 8;

/// Bytes at the beginning of an echo in which a ping puts the time: 8 or 16.
const STAMP: usize = 16;

/// Bytes that a reply has at least in common with the request that it repeats in part (some hosts cut long ones).
const HEAD: usize = 32;

/// From when echoes are a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Data bytes from which an echo is large; nDPI's bound is 256 too.
    pub large: u32,
    /// Replies that differ from their request, and requests that repeat a number with other data. A ping makes none; a few
    /// allow for a host that is broken.
    pub altered: u32,
    /// Large echoes, each different, without a pattern.
    pub varied: u32,
    /// Replies more than requests; twice as many as requests at that.
    pub unasked: u32,
    /// The time over which they are counted, nanoseconds.
    pub within: Nanos,
    /// The most pairs remembered (about 900 bytes each at most).
    pub pairs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { large: 256, altered: 3, varied: 8, unasked: 10, within: HOUR, pairs: 4096 }
    }
}

/// A request, without its data.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Asked {
    by_lower: bool,
    number: u32,
    data: Data,
    answered: bool,
}

/// What is kept of an echo's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Data {
    len: u32,
    captured: u32,
    hash: u64,
    head: u64,
}

impl Data {
    fn of(payload: &[u8], len: u32) -> Self {
        // The hash is not keyed, so that it means the same after a restart; whoever forges equal ones hides from this count only.
        let hash = |bytes: &[u8]| FixedState::with_seed(0).hash_one(bytes);
        let head = &payload[..payload.len().min(HEAD)];
        Self { len, captured: payload.len() as u32, hash: hash(payload), head: hash(head) }
    }

    /// Whether another differs, as far as what was captured can tell; one that is cut short does not.
    fn differs(&self, request: &Self) -> bool {
        if self.len < request.len && self.len as usize >= HEAD && self.head == request.head {
            return false;
        }
        self.len != request.len || (self.captured == request.captured && self.hash != request.hash)
    }
}

/// What two ends said to each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Pair {
    since: Nanos,
    client: Addr,
    requests: u32,
    replies: u32,
    altered: u32,
    unasked: u32,
    varied: u32,
    latest_large: u64,
    largest: u32,
    asked: Vec<Asked>,
    evidence: Evidence,
}

impl Pair {
    fn new(client: Addr, since: Nanos) -> Self {
        Self {
            since,
            client,
            requests: 0,
            replies: 0,
            altered: 0,
            unasked: 0,
            varied: 0,
            latest_large: 0,
            largest: 0,
            asked: Vec::new(),
            evidence: Evidence::default(),
        }
    }

    /// Counts a request; whether it is odd.
    fn request(&mut self, by_lower: bool, number: u32, data: Data) -> bool {
        self.requests = self.requests.saturating_add(1);
        let known = self.asked.iter_mut().find(|asked| asked.by_lower == by_lower && asked.number == number);
        if let Some(known) = known {
            let odd = data.differs(&known.data);
            (known.data, known.answered) = (data, known.answered && !odd);
            self.altered += u32::from(odd);
            return odd;
        }
        if self.asked.len() >= KEPT {
            self.asked.remove(0);
        }
        self.asked.push(Asked { by_lower, number, data, answered: false });
        false
    }

    /// Counts a reply; whether it is odd.
    fn reply(&mut self, by_lower: bool, number: u32, data: Data) -> bool {
        self.replies = self.replies.saturating_add(1);
        let of = self.asked.iter_mut().find(|asked| asked.by_lower != by_lower && asked.number == number);
        let Some(asked) = of else {
            // Without requests we see one direction only.
            let odd = self.requests > 0;
            self.unasked += u32::from(odd);
            return odd;
        };
        // The same reply again is a doubled frame; another one is not.
        let odd = data.differs(&asked.data);
        asked.answered = true;
        self.altered += u32::from(odd);
        odd
    }

    /// Counts large data; whether they are odd.
    fn large(&mut self, payload: &[u8]) -> bool {
        let tail = payload.get(STAMP..).unwrap_or_default();
        if is_pattern(tail) {
            return false;
        }
        let hash = FixedState::with_seed(1).hash_one(tail);
        let odd = hash != self.latest_large;
        self.latest_large = hash;
        self.varied += u32::from(odd);
        odd
    }

    /// Every bound that is reached: what it is called, observed, bound.
    fn excess(&self, limits: &Limits) -> Option<(&'static str, u32, u32)> {
        let more = self.replies.saturating_sub(self.requests);
        let unasked = if self.unasked >= more && more >= self.requests { more } else { 0 };
        [
            ("echoes whose data differ from those of the same number", self.altered, limits.altered),
            ("large echoes, each different", self.varied, limits.varied),
            ("replies more than requests", unasked, limits.unasked),
        ]
        .into_iter()
        .find(|(_, observed, bound)| observed >= bound)
    }
}

impl Worth for Pair {
    fn worth(&self) -> u32 {
        self.altered.saturating_add(self.varied).saturating_add(self.unasked)
    }
}

/// Whether bytes follow a pattern as pings do: nearly all of them at one distance from the byte before (constant, counting), or
/// equal to the byte two or four before.
fn is_pattern(bytes: &[u8]) -> bool {
    let bytes = &bytes[..bytes.len().min(256)];
    let most = bytes.len().saturating_sub(4) * 85 / 100;
    let repeats = |lag: usize| bytes.iter().zip(bytes.iter().skip(lag)).filter(|(a, b)| a == b).count();
    let counts = |by: u8| bytes.windows(2).filter(|two| two[1] == two[0].wrapping_add(by)).count();
    repeats(1) >= most || counts(1) >= most || counts(255) >= most || repeats(2) >= most || repeats(4) >= most
}

/// The detector.
#[derive(Debug)]
pub struct IcmpTunnels {
    limits: Limits,
    pairs: Bounded<(Addr, Addr), Pair>,
}

impl IcmpTunnels {
    /// Nothing seen yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, pairs: Bounded::new(limits.pairs, limits.within) }
    }
}

impl Detector for IcmpTunnels {
    fn id(&self) -> &'static str {
        ID
    }

    fn interest(&self) -> Interest {
        Interest::ICMP
    }

    fn packet(&mut self, seen: &Seen<'_>, _: &Scene, alerts: &mut Alerts) {
        let Net::Ip(ip) = &seen.packet.net else { return };
        let Transport::Icmp(icmp) = ip.transport else { return };
        let is_request = match (ip.proto, icmp.kind) {
            (1, 8) | (58, 128) => true,
            (1, 0) | (58, 129) => false,
            _ => return,
        };
        if super::local::is_shared(ip.dst) || super::local::is_shared(ip.src) {
            return;
        }
        let now = seen.arrival.now;
        let by_lower = ip.src < ip.dst;
        let ends = if by_lower { (ip.src, ip.dst) } else { (ip.dst, ip.src) };
        let client = if is_request { ip.src } else { ip.dst };
        let pair = self.pairs.entry(ends, now, || Pair::new(client, now));
        if now.saturating_sub(pair.since) > self.limits.within {
            *pair = Pair::new(client, now);
        }
        // The length of a fragmented one is in another packet.
        if ip.fragment.is_none() {
            pair.largest = pair.largest.max(ip.payload_len);
        }
        let data = Data::of(ip.payload, ip.payload_len);
        let mut odd = match (ip.fragment, is_request) {
            (Some(_), true) => {
                pair.requests = pair.requests.saturating_add(1);
                false
            }
            (Some(_), false) => {
                pair.replies = pair.replies.saturating_add(1);
                false
            }
            (None, true) => pair.request(by_lower, icmp.rest, data),
            (None, false) => pair.reply(by_lower, icmp.rest, data),
        };
        if is_request && ip.payload_len >= self.limits.large {
            odd |= pair.large(ip.payload);
        }
        if !odd {
            return;
        }
        pair.evidence.add(&seen.arrival);
        let Some((what, observed, bound)) = pair.excess(&self.limits) else { return };
        let client = pair.client;
        let server = if client == ends.0 { ends.1 } else { ends.0 };
        let key = Key::new(ID, client, server);
        if alerts.count_on(&key, &seen.arrival, 1, f64::from(observed)) {
            return;
        }
        let (requests, replies, largest) = (pair.requests, pair.replies, pair.largest);
        let took = talk::span(now.saturating_sub(pair.since));
        let summary = format!(
            "ICMP echo between {client} and {server} carries data: {observed} {what}, in {requests} requests and \
             {replies} replies of up to {largest} data bytes within {took}"
        );
        let severity =
            if pair.worth() >= 10 * self.limits.altered { Severity::High } else { Severity::Medium };
        let echo = if client.is_v4() { "icmp.type in {0, 8}" } else { "icmpv6.type in {128, 129}" };
        let finding = Finding::new(severity, "T1095", summary)
            .count(u64::from(pair.worth()))
            .measure(f64::from(observed), f64::from(bound))
            .evidence(&pair.evidence)
            .filter(filter::all([filter::between(client, server), echo.to_owned()]));
        alerts.raise(key, &seen.arrival, finding);
    }

    fn saturated(&self) -> u64 {
        self.pairs.saturated()
    }

    fn save(&self) -> super::Saved<'_> {
        Box::new(&self.pairs)
    }

    fn restore(&mut self, state: serde_json::Value) {
        if let Some(pairs) = super::restored(state) {
            self.pairs.take(pairs);
        }
    }
}

#[cfg(test)]
#[path = "icmp_tunnel_tests.rs"]
mod tests;
