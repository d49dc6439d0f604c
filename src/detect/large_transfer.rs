//! `large_transfer`: much data sent out, as when somebody carries files away.
//!
//! What a sender sent to one receiver is summed over the parts of flows and over flows. Bounded: [`Limits::pairs`] pairs; the
//! half that sent least is forgotten first, and counted.

use serde::{Deserialize, Serialize};

use super::bounded::Worth;
use super::local::is_shared;
use super::talk::{self, HOUR};
use super::{Alerts, Bounded, Detector, Events, Evidence, Finding, Key, Scene, Severity};
use crate::flow::record::EndReason;
use crate::flow::table::{Flow, FlowEvent, Side};
use crate::packet::Nanos;
use crate::packet::addr::Addr;

const ID: &str = "large_transfer";

/// From when a transfer is large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Payload bytes. Malcolm's threshold for a large outbound transfer: 1 GB. Ten times as much is graver.
    pub bytes: u64,
    /// The time over which they are summed, from the pair's first byte, nanoseconds: a day, RITA's period of analysis.
    pub within: Nanos,
    /// The most pairs of sender and receiver remembered (about 600 bytes each at most).
    pub pairs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1_000_000_000, within: 24 * HOUR, pairs: 8192 }
    }
}

/// What was sent one way.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Sent {
    since: Nanos,
    bytes: u64,
    flows: u64,
    /// How many steps it has passed: 1 is the threshold, 2 ten times that.
    passed: u8,
    evidence: Evidence,
}

impl Worth for Sent {
    fn worth(&self) -> u32 {
        (self.bytes >> 10).try_into().unwrap_or(u32::MAX)
    }
}

/// The detector.
#[derive(Debug)]
pub struct LargeTransfers {
    limits: Limits,
    pairs: Bounded<(Addr, Addr), Sent>,
}

impl LargeTransfers {
    /// Nothing seen yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, pairs: Bounded::new(limits.pairs, limits.within) }
    }

    fn sent(
        &mut self,
        way: (Addr, Addr),
        side: &Side,
        flow: &Flow,
        reason: EndReason,
        scene: &Scene,
        alerts: &mut Alerts,
    ) {
        // Not the time of now: an end may be noticed long after it.
        let now = flow.seen;
        let (from, to) = way;
        let inward = !scene.is_local(from) && scene.is_local(to);
        if side.payload == 0 || inward || is_shared(from) {
            return;
        }
        let arrival = alerts.of_flow(flow);
        let sent = self.pairs.entry(way, now, || Sent { since: now, ..Sent::default() });
        if now.saturating_sub(sent.since) > self.limits.within {
            *sent = Sent { since: now, ..Sent::default() };
        }
        sent.bytes = sent.bytes.saturating_add(side.payload);
        sent.flows += u64::from(flow.part == 0 || sent.flows == 0);
        // One place a flow is enough for small ones; evidence of what never becomes large costs memory for nothing.
        if sent.bytes >= self.limits.bytes / 1024 {
            sent.evidence.add(&arrival);
        }
        let passed = match sent.bytes / self.limits.bytes.max(1) {
            0 => 0,
            1..10 => 1,
            _ => 2,
        };
        if passed <= sent.passed {
            return;
        }
        sent.passed = passed;
        let severity = match passed {
            _ if scene.is_local(to) || is_shared(to) => Severity::Info,
            1 => Severity::Low,
            _ => Severity::Medium,
        };
        let threshold = self.limits.bytes.saturating_mul(if passed == 1 { 1 } else { 10 });
        let gigabytes = sent.bytes as f64 / 1e9;
        let (flows, took) = (sent.flows, talk::span(now.saturating_sub(sent.since.min(flow.began))));
        let summary = format!("{from} sent {gigabytes:.2} GB to {to} within {took}, in {flows} flows");
        let port = flow.ports().map(|(_, port)| port);
        let mut finding = Finding::new(severity, "T1048", summary)
            .count(flows)
            .measure(sent.bytes as f64, threshold as f64)
            .evidence(&sent.evidence)
            .filter(format!("{} && {}", super::filter::src(from), super::filter::dst(to)));
        finding.port = port;
        let arrival = talk::at_end(flow, reason, alerts);
        alerts.raise(Key::new(ID, from, to).extra(u32::from(passed)), &arrival, finding);
    }
}

impl Detector for LargeTransfers {
    fn id(&self) -> &'static str {
        ID
    }

    fn events(&self) -> Events {
        Events::ENDED
    }

    fn flow(&mut self, event: FlowEvent, flow: &Flow, _: Nanos, scene: &Scene, alerts: &mut Alerts) {
        let FlowEvent::Ended(reason) = event else { return };
        let (orig, resp) = (flow.originator().0, flow.responder().0);
        self.sent((orig, resp), &flow.orig, flow, reason, scene, alerts);
        self.sent((resp, orig), &flow.resp, flow, reason, scene, alerts);
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
#[path = "large_transfer_tests.rs"]
mod tests;
