//! `long_connection`: a connection that lasts for hours, as remote control and tunnels do.
//!
//! Judged when a part of a flow ends (every active timeout, 300 s) and when it ends. Bounded: [`Limits::flows`] connections
//! whose last step is remembered; a forgotten one is told once more.

use serde::{Deserialize, Serialize};

use super::bounded::Worth;
use super::local::is_shared;
use super::talk::{self, HOUR};
use super::{Alerts, Bounded, Detector, Events, Evidence, Finding, Key, Scene, Severity};
use crate::flow::table::{Flow, FlowEvent};
use crate::packet::{Nanos, Place};

const ID: &str = "long_connection";

/// What the steps amount to. RITA calls the last one high; that a connection is long proves nothing by itself.
const SEVERITIES: [Severity; 4] = [Severity::Info, Severity::Low, Severity::Medium, Severity::Medium];

/// From when a connection is long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Durations that each make a new finding, ascending, nanoseconds: info, low, medium, medium. RITA's
    /// `long_connection_score_thresholds`: 1, 4, 8 and 12 h.
    pub steps: [Nanos; 4],
    /// The most connections remembered (24 bytes and their key each).
    pub flows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: [HOUR, 4 * HOUR, 8 * HOUR, 12 * HOUR], flows: 8192 }
    }
}

/// How many steps a connection has passed.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Passed(u8);

impl Worth for Passed {
    fn worth(&self) -> u32 {
        u32::from(self.0)
    }
}

/// The detector.
#[derive(Debug)]
pub struct LongConnections {
    limits: Limits,
    told: Bounded<(u64, u64), Passed>,
}

impl LongConnections {
    /// Nothing seen yet.
    pub fn new(limits: Limits) -> Self {
        // A connection that is alive gives a part each active timeout; an hour without one, it is gone.
        Self { limits, told: Bounded::new(limits.flows, HOUR) }
    }
}

impl Detector for LongConnections {
    fn id(&self) -> &'static str {
        ID
    }

    fn events(&self) -> Events {
        Events::ENDED
    }

    fn flow(&mut self, event: FlowEvent, flow: &Flow, now: Nanos, scene: &Scene, alerts: &mut Alerts) {
        let FlowEvent::Ended(reason) = event else { return };
        let lasted = flow.seen.saturating_sub(flow.began);
        let steps = self.limits.steps.iter().take_while(|&&step| lasted >= step).count();
        // An answer is what makes it a connection; a ping or a routing protocol is none.
        if steps == 0 || flow.answered == 0 || !matches!(flow.key.proto, 6 | 17 | 132) {
            return;
        }
        let ((src, _), (dst, port)) = (flow.originator(), flow.responder());
        if is_shared(dst) || is_shared(src) {
            return;
        }
        let Place { file, offset } = flow.id;
        let passed = self.told.entry((file, offset), now, Passed::default);
        if usize::from(passed.0) >= steps {
            return;
        }
        passed.0 = steps as u8;
        let both_local = scene.is_local(src) && scene.is_local(dst);
        let severity = if both_local { Severity::Info } else { SEVERITIES[steps - 1] };
        let (sent, received) = talk::bytes(flow);
        let name = talk::transport(flow.key.proto).unwrap_or_default();
        let app = flow.app.map_or("unknown protocol", |(app, _)| app.name());
        let lasts = talk::span(lasted);
        let summary = format!(
            "{src} is connected to {dst} {name} port {port} ({app}) for {lasts}; sent {sent} bytes, received {received}"
        );
        // Each step is a finding of its own, so that a graver one is told though a lesser one is counted on.
        let key = Key::new(ID, src, dst).extra(u32::from(port) | (steps as u32) << 16);
        let finding = Finding::new(severity, "T1071", summary)
            .port(port)
            .measure(lasted as f64 / 1e9, self.limits.steps[steps - 1] as f64 / 1e9)
            .filter(talk::flow(flow));
        let mut evidence = Evidence::default();
        evidence.add(&alerts.of_flow(flow));
        let finding = finding.evidence(&evidence).since(flow.began.min(flow.start));
        alerts.raise(key, &talk::at_end(flow, reason, alerts), finding);
    }

    fn saturated(&self) -> u64 {
        self.told.saturated()
    }

    fn save(&self) -> super::Saved<'_> {
        Box::new(&self.told)
    }

    fn restore(&mut self, state: serde_json::Value) {
        if let Some(told) = super::restored(state) {
            self.told.take(told);
        }
    }
}

#[cfg(test)]
#[path = "long_connection_tests.rs"]
mod tests;
