//! What the analyst is told: limits of flows, networks, rules, and the limits of each detector.

use super::{scan, Detector, IgnoreRule, Nets};
use crate::flow::table::FlowLimits;
use crate::packet::{NANOS_PER_SEC, Nanos};

/// Settings of a [`Stream`](super::stream::Stream).
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// When flows end and how many there may be.
    pub flows: FlowLimits,
    /// Networks that are ours.
    pub local_nets: Nets,
    /// What is known and harmless.
    pub ignore: Vec<IgnoreRule>,
    /// Limits of `port_scan`, `host_sweep` and `stealth_scan`.
    pub scan: scan::Limits,
}

impl Default for Settings {
    fn default() -> Self {
        const S: Nanos = NANOS_PER_SEC;
        let flows = FlowLimits {
            flows: 200_000,
            tcp_idle: 300 * S,
            tcp_half_open: 30 * S,
            tcp_closed: 5 * S,
            other_idle: 60 * S,
            active: 300 * S,
        };
        Self { flows, local_nets: Nets::default(), ignore: Vec::new(), scan: scan::Limits::default() }
    }
}

/// Every detector. One line each; a detector's file has its `Limits`, which is a field of [`Settings`].
pub(super) fn all(settings: &Settings) -> Vec<Box<dyn Detector>> {
    vec![
        Box::new(scan::Scan::new(settings.scan.clone())),
    ]
}
