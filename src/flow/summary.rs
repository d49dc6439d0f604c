//! What a capture file amounts to: protocol tree, endpoints, conversations, and a filter that tells which files cannot hold an
//! address or a Community ID. A pure function of the file's packets and of the bounds: it carries nothing over from the file
//! before.

use crate::packet::addr::{Addr, Mac};
use crate::packet::decode::Packet;
use crate::packet::level::Path;
use crate::packet::{Nanos, Place};

use super::key::FlowKey;

/// How many rows a summary holds exactly; from then on Space-Saving (Metwally et al. 2005) keeps the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SummaryLimits {
    /// IP addresses.
    pub endpoints: usize,
    /// Hardware addresses.
    pub macs: usize,
    /// Conversations.
    pub conversations: usize,
}

/// Packets and bytes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes on the wire.
    pub bytes: u64,
}

/// What an address sent and received, and by how much each may be too large at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Sent.
    pub tx: Count,
    /// Received.
    pub rx: Count,
    /// Of both together, what may belong to other rows.
    pub error: Count,
}

/// What a conversation's ends sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Talk {
    /// Whether the key's `a` is the originator.
    pub forward: bool,
    /// Community ID of its first packet that has one.
    pub community_id: Option<crate::packet::community_id::CommunityId>,
    /// By the originator.
    pub orig: Count,
    /// By the responder.
    pub resp: Count,
    /// Stamps of the earliest and the latest packet.
    pub first: Nanos,
    /// See `first`.
    pub last: Nanos,
    /// The application level, if one is known.
    pub app: Option<crate::packet::app::App>,
    /// Of both together, what may belong to other rows.
    pub error: Count,
}

/// Rows by key, sorted by key; `exact` unless the bound was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows<K, V> {
    /// The rows.
    pub rows: Vec<(K, V)>,
    /// Whether none is missing and each is exact.
    pub exact: bool,
}

/// A summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Earliest and latest stamp.
    pub range: Option<(Nanos, Nanos)>,
    /// All packets.
    pub total: Count,
    /// Frames by the whole path on which each was counted; inner nodes are sums over these.
    pub protocols: Vec<(Path, Count)>,
    /// IP addresses.
    pub endpoints: Rows<Addr, Traffic>,
    /// Hardware addresses.
    pub macs: Rows<Mac, Traffic>,
    /// Conversations.
    pub conversations: Rows<FlowKey, Talk>,
}

/// Makes a summary of packets in the order of their file.
#[derive(Debug)]
pub struct Summariser {
    limits: SummaryLimits,
}

impl Summariser {
    /// Nothing counted yet.
    pub fn new(limits: SummaryLimits) -> Self {
        Self { limits }
    }

    /// Counts a packet of `wire_len` bytes, stamped `at`.
    pub fn packet(&mut self, packet: &Packet<'_>, at: Nanos, wire_len: u32) {
        let _ = (packet, at, wire_len, &self.limits, Place::default());
        todo!("packet")
    }

    /// What it amounts to so far.
    pub fn summary(&self) -> Summary {
        todo!("summary")
    }
}
