//! What detectors of conversations share: how a flow is shown in Wireshark, how much both sides sent in all its parts, times
//! that are counted in a sliding window. Pure.

use serde::{Deserialize, Serialize};

use super::{Alerts, filter};
use crate::flow::record::EndReason;
use crate::flow::table::{Arrival, Flow};
use crate::packet::Nanos;
use crate::packet::addr::Addr;

/// A second of stream time.
pub(super) const SECOND: Nanos = crate::packet::NANOS_PER_SEC;

/// A minute of stream time.
pub(super) const MINUTE: Nanos = 60 * SECOND;

/// An hour of stream time.
pub(super) const HOUR: Nanos = 60 * MINUTE;

/// What Wireshark calls the transport, if it has ports.
pub(super) fn transport(proto: u8) -> Option<&'static str> {
    match proto {
        6 => Some("tcp"),
        17 => Some("udp"),
        132 => Some("sctp"),
        _ => None,
    }
}

/// The display filter of all packets between two ends with the port of one of them (0: of any port).
pub(super) fn service(one: Addr, other: Addr, proto: u8, port: u16) -> String {
    match transport(proto) {
        Some(name) if port != 0 => filter::all([filter::between(one, other), filter::port(name, port)]),
        Some(name) => filter::all([filter::between(one, other), name.to_owned()]),
        None => filter::all([filter::between(one, other), format!("ip.proto == {proto}")]),
    }
}

/// The display filter of a flow.
pub(super) fn flow(flow: &Flow) -> String {
    let ((src, sport), (dst, dport)) = (flow.originator(), flow.responder());
    match (transport(flow.key.proto), flow.ports()) {
        (Some(name), Some(_)) => {
            filter::all([filter::between(src, dst), filter::port(name, sport), filter::port(name, dport)])
        }
        _ => filter::between(src, dst),
    }
}

/// Who asks and who serves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Roles {
    pub(super) client: Addr,
    pub(super) server: Addr,
    pub(super) port: u16,
    /// Whether the first packet seen was the server's, because the capture began in between.
    pub(super) originator_serves: bool,
}

/// The roles of a flow's ends: the responder serves, unless only the originator has a well-known port.
pub(super) fn roles(flow: &Flow) -> Roles {
    let (orig, resp) = (flow.originator(), flow.responder());
    let originator_serves = orig.1 < 1024 && resp.1 >= 1024;
    let (client, (server, port)) = if originator_serves { (resp.0, orig) } else { (orig.0, resp) };
    Roles { client, server, port, originator_serves }
}

/// Frame bytes that originator and responder sent in all parts of a flow so far.
pub(super) fn bytes(flow: &Flow) -> (u64, u64) {
    let [(_, orig), (_, resp)] = flow.before;
    (orig.saturating_add(flow.orig.bytes), resp.saturating_add(flow.resp.bytes))
}

/// The packet that a finding about a flow is raised at when a part of it ends: the packet that ended the part, which differs
/// from part to part and so gives each finding an id of its own; else the flow's first.
pub(super) fn at_end(flow: &Flow, reason: EndReason, alerts: &Alerts) -> Arrival {
    if reason == EndReason::Active { alerts.here() } else { alerts.of_flow(flow) }
}

/// `10 s`, `15 min`, `3.5 h`: for a summary.
pub(super) fn span(time: Nanos) -> String {
    let seconds = time as f64 / SECOND as f64;
    match time {
        ..MINUTE => format!("{seconds:.1} s"),
        MINUTE..HOUR => format!("{:.1} min", seconds / 60.0),
        HOUR.. => format!("{:.1} h", seconds / 3600.0),
    }
}

/// The latest so many moments with what was noted at each, in the order of time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Moments<T>(Vec<(Nanos, T)>);

impl<T> Moments<T> {
    /// Notes one; beyond `limit` the oldest is forgotten.
    pub(super) fn add(&mut self, at: Nanos, what: T, limit: usize) {
        let place = self.0.partition_point(|(other, _)| *other <= at);
        self.0.insert(place, (at, what));
        if self.0.len() > limit {
            self.0.remove(0);
        }
    }

    /// The most that fit into a window of that length and are `like`.
    pub(super) fn most_within(&self, window: Nanos, like: impl Fn(&T) -> bool) -> usize {
        let times: Vec<Nanos> = self.0.iter().filter(|(_, what)| like(what)).map(|(at, _)| *at).collect();
        let mut first = 0;
        let mut most = 0;
        for (last, at) in times.iter().enumerate() {
            while at.saturating_sub(times[first]) > window {
                first += 1;
            }
            most = most.max(last + 1 - first);
        }
        most
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
