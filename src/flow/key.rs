//! What makes packets one flow: addresses, ports, protocol and VLAN, the same for both directions.

use super::fragments::Fragments;
use crate::packet::addr::{Addr, Vlan};
use crate::packet::community_id::{CommunityId, Tuple};
use crate::packet::decode::Packet;

/// What the two numbers beside the addresses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Numbers {
    /// There are none: the protocol has none, or they were in a fragment that was not seen, or cut off.
    None,
    /// Ports.
    Ports,
    /// ICMP types as Community ID pairs them.
    Icmp,
}

/// A flow's key. The end that sorts first is `a`; but where an ICMP type has no counterpart `a` is the sender, so that the two
/// directions are two flows, as they are two Community IDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// One end: address and number.
    pub a: (Addr, u16),
    /// The other.
    pub b: (Addr, u16),
    /// The VLAN.
    pub vlan: Vlan,
    /// IP protocol number.
    pub proto: u8,
    /// What the numbers are.
    pub numbers: Numbers,
}

impl FlowKey {
    /// The key of the conversation that the flow belongs to: all ICMP between two ends is one.
    #[must_use]
    pub fn conversation(self) -> Self {
        todo!("conversation")
    }
}

/// Finds keys; remembers where fragments belong.
#[derive(Debug)]
pub struct Keyer {
    fragments: Fragments,
}

impl Keyer {
    /// A keyer that remembers at most so many fragmented packets.
    pub fn new(fragments: usize) -> Self {
        Self { fragments: Fragments::new(fragments) }
    }

    /// The key of a packet's flow, and whether the packet goes from `a` to `b`; `None` if it is not IP. `now` is the packet's
    /// time, nanoseconds.
    pub fn key(&mut self, packet: &Packet<'_>, now: i64) -> Option<(FlowKey, bool)> {
        let _ = (packet, now, &mut self.fragments);
        todo!("key")
    }
}

/// The Community ID of what a packet shows; `None` if it is not IP or the ID's parts are in another fragment.
pub fn community_id(tuple: &Tuple) -> CommunityId {
    tuple.id()
}
