//! What makes packets one flow: addresses, ports, protocol and VLAN, the same for both directions.

use std::hash::{Hash, Hasher};

use super::fragments::{First, Fragments, Whole};
use crate::packet::addr::{Addr, Vlan};
use crate::packet::community_id::endpoints;
use crate::packet::decode::{Ip, Net, Packet, Transport};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

impl Hash for FlowKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.a.0.hash(state);
        self.b.0.hash(state);
        let (first, second) = (u64::from(self.a.1), u64::from(self.b.1));
        let (outer, inner) = (u64::from(self.vlan.outer), u64::from(self.vlan.inner));
        state.write_u64(first << 48 | second << 32 | outer << 16 | inner);
        state.write_u16(u16::from(self.proto) << 8 | self.numbers as u16);
    }
}

impl FlowKey {
    /// The key of a packet from `src` to `dst`, and whether it goes from `a` to `b`. `both`: whether both directions are one flow.
    #[inline]
    pub(super) fn new(
        src: (Addr, u16),
        dst: (Addr, u16),
        both: bool,
        vlan: Vlan,
        proto: u8,
        numbers: Numbers,
    ) -> (Self, bool) {
        let forward = !both || src.0 < dst.0 || (src.0 == dst.0 && src.1 <= dst.1);
        let (a, b) = if forward { (src, dst) } else { (dst, src) };
        (Self { a, b, vlan, proto, numbers }, forward)
    }

    /// The key of a packet that goes from `src` to `dst` with those ports, or that ICMP type and code.
    pub(super) fn of(
        src: Addr,
        dst: Addr,
        proto: u8,
        vlan: Vlan,
        (numbers, first, second): (Numbers, u16, u16),
    ) -> (Self, bool) {
        let (first, second, both) = match numbers {
            Numbers::None => (0, 0, true),
            Numbers::Ports => (first, second, true),
            Numbers::Icmp => endpoints(proto, first, second),
        };
        Self::new((src, first), (dst, second), both, vlan, proto, numbers)
    }

    /// The key of the conversation that the flow belongs to: all ICMP between two ends is one.
    #[must_use]
    pub fn conversation(self) -> Self {
        if self.numbers == Numbers::Icmp {
            let (src, dst) = ((self.a.0, 0), (self.b.0, 0));
            Self::new(src, dst, true, self.vlan, self.proto, Numbers::None).0
        } else {
            self
        }
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
    /// time, nanoseconds, and does not run backwards.
    #[inline]
    pub fn key(&mut self, packet: &Packet<'_>, now: i64) -> Option<(FlowKey, bool)> {
        let Net::Ip(ip) = &packet.net else { return None };
        let mut first = at_sight(ip);
        if ip.fragment.is_some() {
            first = self.fragment(packet, ip, first, now);
        }
        let (src, dst) = ((ip.src, first.src), (ip.dst, first.dst));
        Some(FlowKey::new(src, dst, first.both, packet.vlan, first.proto, first.numbers))
    }

    #[cold]
    fn fragment(&mut self, packet: &Packet<'_>, ip: &Ip<'_>, first: First, now: i64) -> First {
        let Some(whole) = whole(packet, ip) else { return first };
        if ip.transport == Transport::Later {
            return self.fragments.find(&whole, now).unwrap_or(first);
        }
        let begins = ip.fragment.is_some_and(|fragment| fragment.offset == 0 && fragment.more);
        // What the first fragment does not tell is no loss.
        if begins && first != nothing(ip) {
            self.fragments.remember(whole, first, now);
        }
        first
    }

    /// The memory of fragments.
    pub(super) fn fragments(&self) -> &Fragments {
        &self.fragments
    }

    /// Lets it forget what is too old by `now`.
    pub(super) fn grow_old(&mut self, now: i64) {
        self.fragments.grow_old(now);
    }
}

/// What a packet shows by itself.
#[inline]
fn at_sight(ip: &Ip<'_>) -> First {
    match ip.transport {
        Transport::Tcp(tcp) => ports(ip, tcp.ports.src, tcp.ports.dst),
        Transport::Udp(both) | Transport::Sctp(both) => ports(ip, both.src, both.dst),
        Transport::Icmp(icmp) => {
            let (src, dst, both) = endpoints(ip.proto, icmp.kind.into(), icmp.code.into());
            First { src, dst, both, numbers: Numbers::Icmp, proto: ip.proto }
        }
        Transport::Later | Transport::Portless | Transport::Cut => nothing(ip),
    }
}

#[inline]
fn ports(ip: &Ip<'_>, src: u16, dst: u16) -> First {
    First { src, dst, both: true, numbers: Numbers::Ports, proto: ip.proto }
}

#[inline]
fn nothing(ip: &Ip<'_>) -> First {
    First { src: 0, dst: 0, both: true, numbers: Numbers::None, proto: ip.proto }
}

fn whole(packet: &Packet<'_>, ip: &Ip<'_>) -> Option<Whole> {
    let proto = if ip.src.is_v4() { ip.proto } else { 0 };
    ip.fragment.map(|fragment| Whole { src: ip.src, dst: ip.dst, vlan: packet.vlan, id: fragment.id, proto })
}
