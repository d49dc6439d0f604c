//! The flow table.

use crate::packet::addr::{Addr, Mac, Vlan};
use crate::packet::app::{App, Basis, Facts};
use crate::packet::decode::Packet;
use crate::packet::{Nanos, Place};

use super::key::{FlowKey, Numbers};
use super::record::{EndReason, FlowRecord};
use super::tcp::ConnState;

/// When flows end, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowLimits {
    /// The most flows at a time.
    pub flows: usize,
    /// Idle time after which an established TCP flow ends.
    pub tcp_idle: Nanos,
    /// Of one that is half open.
    pub tcp_half_open: Nanos,
    /// Of one that is closed.
    pub tcp_closed: Nanos,
    /// Idle time after which any other flow ends.
    pub other_idle: Nanos,
    /// Time after which a long flow gives a record.
    pub active: Nanos,
}

/// One side of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Side {
    /// Packets sent since the last record.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Their payload bytes.
    pub payload: u64,
    /// TCP flags seen in the whole flow, ORed.
    pub flags: u8,
}

/// What has happened to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowEvent {
    /// Its first packet.
    Begun,
    /// The first packet of its responder.
    Answered,
    /// The responder reset a connection that was not open, or an ICMP message says that it cannot be reached.
    Refused,
    /// A TCP handshake is complete.
    Established,
    /// Its application became known, or better known.
    Named,
    /// It is over, or (`Active`) a part of it is.
    Ended(EndReason),
}

/// A flow as the table holds it.
#[derive(Debug)]
pub struct Flow {
    /// Its key.
    pub key: FlowKey,
    /// Where its first packet lies: what the flow is called.
    pub id: Place,
    /// The number of the part being counted, from 0.
    pub part: u32,
    /// Whether the originator is the key's `a`.
    pub forward: bool,
    /// Stamps of the first and the latest packet of this part, wall clock.
    pub start: Nanos,
    /// See `start`.
    pub last: Nanos,
    /// Stream time of the flow's first packet, of its first answer (0: none) and of its latest packet.
    pub began: Nanos,
    /// See `began`.
    pub answered: Nanos,
    /// See `began`.
    pub seen: Nanos,
    /// What the originator sent in this part.
    pub orig: Side,
    /// What the responder sent in this part.
    pub resp: Side,
    /// What both sent in the parts before, originator first: packets and bytes.
    pub before: [(u64, u64); 2],
    /// Hardware addresses of the first packet, originator first.
    pub macs: Option<(Mac, Mac)>,
    /// Type and code of the first ICMP packet.
    pub icmp: Option<(u8, u8)>,
    /// Smallest and largest time to live.
    pub ttl: (u8, u8),
    /// The application, and how it was told.
    pub app: Option<(App, Basis)>,
    /// What the sniffer, the TCP tracker and the fact reader keep; of no use elsewhere.
    pub(super) inner: Inner,
}

/// What only the table looks into.
#[derive(Debug)]
pub(super) struct Inner {}

impl Flow {
    /// The originator: address and port (0 where there are none).
    pub fn originator(&self) -> (Addr, u16) {
        if self.forward { self.key.a } else { self.key.b }
    }

    /// The responder: address and port (0 where there are none).
    pub fn responder(&self) -> (Addr, u16) {
        if self.forward { self.key.b } else { self.key.a }
    }

    /// The ports, originator's first, if it has any.
    pub fn ports(&self) -> Option<(u16, u16)> {
        (self.key.numbers == Numbers::Ports).then(|| (self.originator().1, self.responder().1))
    }

    /// The VLAN.
    pub fn vlan(&self) -> Vlan {
        self.key.vlan
    }

    /// State of a TCP connection, judged by what was seen so far.
    pub fn conn_state(&self) -> Option<ConnState> {
        todo!("conn_state")
    }

    /// History of a TCP connection.
    pub fn history(&self) -> &str {
        todo!("history")
    }

    /// What is known of its application.
    pub fn facts(&self) -> Option<&Facts> {
        todo!("facts")
    }

    /// The record of the part that ends now.
    pub fn record(&self, reason: EndReason) -> FlowRecord {
        let _ = reason;
        todo!("record")
    }
}

/// One packet on its way to a flow.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arrival {
    /// Its stamp, wall clock.
    pub at: Nanos,
    /// Stream time.
    pub now: Nanos,
    /// Where it lies.
    pub place: Place,
    /// Bytes on the wire.
    pub wire_len: u32,
}

/// Told of what happens to flows. `Ended` comes before the flow leaves the table or begins its next part.
pub trait Watcher {
    /// Something happened.
    fn event(&mut self, event: FlowEvent, flow: &Flow, now: Nanos);
}

/// What the table has done, for `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableCounts {
    /// Flows now.
    pub flows: u64,
    /// Flows begun.
    pub begun: u64,
    /// Flows evicted because the table was full.
    pub evicted: u64,
    /// Bytes of memory held, about.
    pub memory: u64,
}

/// All flows that are not over.
#[derive(Debug)]
pub struct FlowTable {
    limits: FlowLimits,
}

impl FlowTable {
    /// An empty table.
    pub fn new(limits: FlowLimits) -> Self {
        Self { limits }
    }

    /// Counts a packet, and tells `watcher` what that changes; returns its flow, and whether the packet is the originator's.
    /// `None` if the packet is not IP, or is covered by a record that is written already (see [`FlowTable::resume`]).
    pub fn packet(
        &mut self,
        packet: &Packet<'_>,
        arrival: &Arrival,
        watcher: &mut dyn Watcher,
    ) -> Option<(&Flow, bool)> {
        let _ = (packet, arrival, watcher, &self.limits);
        todo!("packet")
    }

    /// Lets time pass without packets: ends what is idle by stream time `now`, and gives parts of what is long.
    pub fn expire(&mut self, now: Nanos, watcher: &mut dyn Watcher) {
        let _ = (now, watcher);
        todo!("expire")
    }

    /// Ends every flow, in the order in which they began.
    pub fn finish(&mut self, now: Nanos, watcher: &mut dyn Watcher) {
        let _ = (now, watcher);
        todo!("finish")
    }

    /// Tells of records that were written before a restart. The stream is then read again from the oldest position that no
    /// record covers; packets that one of these covers are left out, and a flow whose last record is not final goes on under its
    /// `flow_id` with the next `part`.
    pub fn resume(&mut self, written: &[FlowRecord]) {
        let _ = written;
        todo!("resume")
    }

    /// The position of the oldest packet that no record covers yet; `None` if all are covered.
    pub fn oldest_open(&self) -> Option<Place> {
        todo!("oldest_open")
    }

    /// How it is.
    pub fn counts(&self) -> TableCounts {
        todo!("counts")
    }
}
