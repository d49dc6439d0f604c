//! What a capture file amounts to: protocol tree, endpoints, conversations, and a filter that tells which files cannot hold an
//! address or a Community ID. A pure function of the file's packets and of the bounds: it carries nothing over from the file
//! before.

mod codec;
mod conversation;
mod filter;
mod merge;
mod protocols;
mod space_saving;
mod summariser;

pub use codec::{BlobError, CODEC_VERSION, Encoded, Head};
pub use filter::{Filter, FilterBuilder, Probe};
pub use merge::{Blobs, Merged, Wanted};
pub use summariser::Summariser;

use std::ops::AddAssign;

use crate::packet::Nanos;
use crate::packet::addr::{Addr, Mac};
use crate::packet::app::{App, Basis};
use crate::packet::community_id::{CommunityId, Tuple};
use crate::packet::level::Path;

use super::key::{FlowKey, Numbers};

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

impl SummaryLimits {
    /// Of a capture file of the data directory, unless configured otherwise.
    pub const DEFAULT: Self = Self { endpoints: 4096, macs: 4096, conversations: 4096 };

    /// Of a file from elsewhere, and of answers merged from many files.
    pub const FOREIGN: Self = Self { endpoints: 1_000_000, macs: 1_000_000, conversations: 1_000_000 };
}

impl Default for SummaryLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Packets and bytes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes on the wire.
    pub bytes: u64,
}

impl Count {
    /// A packet.
    #[inline]
    pub fn of(wire_len: u32) -> Self {
        Self { packets: 1, bytes: u64::from(wire_len) }
    }

    /// Counts a packet.
    #[inline]
    pub fn packet(&mut self, wire_len: u32) {
        self.packets += 1;
        self.bytes += u64::from(wire_len);
    }

    fn minus(self, other: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(other.packets),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

impl AddAssign for Count {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        // Sums of what a damaged or hostile index claims may reach the end of numbers.
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl std::ops::Add for Count {
    type Output = Self;

    #[inline]
    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

/// What an address sent and received, and by how much both together may be off at most: in the summary of one file they can
/// only be too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Sent.
    pub tx: Count,
    /// Received.
    pub rx: Count,
    /// Of both together, what may belong to other rows.
    pub error: Count,
}

impl Traffic {
    /// Sent and received.
    pub fn total(&self) -> Count {
        self.tx + self.rx
    }
}

/// What a conversation's Community ID is made of, beside its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Identity {
    /// No packet of it showed one: later fragments, headers cut off.
    #[default]
    None,
    /// Nothing else.
    Key,
    /// Type and code of the first ICMP packet, and whether the key's `a` sent it.
    Icmp {
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
        /// Whether the key's `a` sent it.
        from_a: bool,
    },
}

/// What a conversation's ends sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Talk {
    /// Whether the key's `a` is the originator.
    pub forward: bool,
    /// What makes its Community ID; see [`Talk::community_id`].
    pub identity: Identity,
    /// By the originator.
    pub orig: Count,
    /// By the responder.
    pub resp: Count,
    /// Stamps of the earliest and the latest packet.
    pub first: Nanos,
    /// See `first`.
    pub last: Nanos,
    /// The application level, if one is known, and how.
    pub app: Option<(App, Basis)>,
    /// Of both together, what may belong to other rows.
    pub error: Count,
}

impl Talk {
    /// What both ends sent.
    pub fn total(&self) -> Count {
        self.orig + self.resp
    }

    /// Originator and responder: address, and port or 0.
    pub fn ends(&self, key: &FlowKey) -> ((Addr, u16), (Addr, u16)) {
        if self.forward { (key.a, key.b) } else { (key.b, key.a) }
    }

    /// The Community ID of the conversation of this key: of its first packet that has one.
    pub fn community_id(&self, key: &FlowKey) -> Option<CommunityId> {
        let (mut src, mut dst) = (key.a.0, key.b.0);
        let ports = match self.identity {
            Identity::None => return None,
            Identity::Key => (key.numbers == Numbers::Ports).then_some((key.a.1, key.b.1)),
            Identity::Icmp { kind, code, from_a } => {
                if !from_a {
                    (src, dst) = (dst, src);
                }
                Some((u16::from(kind), u16::from(code)))
            }
        };
        Some(Tuple { src, dst, proto: key.proto, ports }.id())
    }
}

/// Rows by key, sorted by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows<K, V> {
    /// The rows.
    pub rows: Vec<(K, V)>,
    /// The most that a key without a row can have had; nothing if all keys have one, and each row is exact then.
    pub missed: Count,
}

impl<K, V> Rows<K, V> {
    /// Whether no key is missing and every row is exact.
    pub fn is_exact(&self) -> bool {
        self.missed == Count::default()
    }
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self { rows: Vec::new(), missed: Count::default() }
    }
}

/// A summary.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Earliest and latest stamp.
    pub range: Option<(Nanos, Nanos)>,
    /// All packets.
    pub total: Count,
    /// Frames by the whole path on which each was counted; inner nodes are sums over these. Of hostile traffic with thousands of
    /// different paths further ones are counted at a node above, told by `missed`.
    pub protocols: Rows<Path, Count>,
    /// IP addresses.
    pub endpoints: Rows<Addr, Traffic>,
    /// Hardware addresses.
    pub macs: Rows<Mac, Traffic>,
    /// Conversations.
    pub conversations: Rows<FlowKey, Talk>,
    /// Addresses (of IP and ARP) and Community IDs of all packets, those without a row included.
    pub filter: Filter,
}

#[cfg(test)]
mod tests;
