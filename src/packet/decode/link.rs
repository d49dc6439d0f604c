//! The link's headers: Ethernet, VLAN tags, ARP, raw, loopback, cooked.

use super::super::LinkType;
use super::super::addr::{Addr, Mac};
use super::super::level::Level;
use super::span::Span;
use super::{Arp, Flaws, Macs, Net, Next, Walk};

/// EtherTypes: <https://www.iana.org/assignments/ieee-802-numbers>.
pub(super) mod ether_type {
    pub(in super::super) const IPV4: u16 = 0x0800;
    pub(in super::super) const ARP: u16 = 0x0806;
    pub(in super::super) const TRANSPARENT_ETHERNET: u16 = 0x6558;
    pub(in super::super) const RARP: u16 = 0x8035;
    pub(in super::super) const VLAN: u16 = 0x8100;
    pub(in super::super) const IPX: u16 = 0x8137;
    pub(in super::super) const IPV6: u16 = 0x86dd;
    pub(in super::super) const QINQ: u16 = 0x88a8;
    pub(in super::super) const QINQ_OLD: u16 = 0x9100;
}

/// The largest length field of an 802.3 frame; above `MIN_TYPE` it is a type.
const MAX_802_3: u16 = 1500;
const MIN_TYPE: u16 = 0x0600;

impl<'a> Walk<'a> {
    /// The frame by its link type.
    #[inline]
    pub(super) fn link(&mut self, link: LinkType, span: Span<'a>) -> Next<'a> {
        match link {
            LinkType::ETHERNET => self.eth(span),
            LinkType::RAW | LinkType::IPV4 | LinkType::IPV6 => {
                self.level(Level::Raw);
                Next::Ip(span)
            }
            LinkType::NULL | LinkType::LOOP => self.loopback(span),
            LinkType::SLL => self.cooked(span, 14, 2, 16),
            LinkType::SLL2 => self.cooked(span, 0, 8, 20),
            _ => {
                self.packet.flaws.add(Flaws::UNKNOWN);
                self.last(Level::Unknown)
            }
        }
    }

    /// Ethernet (IEEE 802.3-2022, 3.1.1), without a checksum behind.
    #[inline]
    pub(super) fn eth(&mut self, span: Span<'a>) -> Next<'a> {
        if !self.level(Level::Eth) {
            return Next::End;
        }
        let Some(&[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1]) = span.first() else {
            return self.short(span, 14);
        };
        if self.packet.path.depth() == 1 {
            self.packet.macs =
                Some(Macs { src: Mac([s0, s1, s2, s3, s4, s5]), dst: Mac([d0, d1, d2, d3, d4, d5]) });
        }
        let rest = span.skip(14);
        match u16::from_be_bytes([t0, t1]) {
            ether_type::IPV4 => Next::Ip(rest),
            kind => self.type_or_length(kind, rest),
        }
    }

    /// What follows a field that is a type or, in 802.3, a length.
    pub(super) fn type_or_length(&mut self, kind: u16, rest: Span<'a>) -> Next<'a> {
        if kind >= MIN_TYPE {
            return Next::EtherType(kind, rest);
        }
        if kind > MAX_802_3 {
            self.packet.flaws.add(Flaws::FIELD);
            return Next::End;
        }
        if u32::from(kind) > rest.wire {
            self.packet.flaws.add(Flaws::LENGTH);
        }
        let rest = rest.limit(u32::from(kind));
        // Novell's "raw" 802.3: IPX without LLC begins with a checksum of all ones, which no LLC does.
        if rest.bytes.starts_with(&[0xff, 0xff]) {
            return self.last(Level::Ipx);
        }
        Next::Llc(rest)
    }

    /// What an EtherType names.
    pub(super) fn ether_type(&mut self, kind: u16, span: Span<'a>) -> Next<'a> {
        match kind {
            ether_type::IPV4 => Next::Ip(span),
            ether_type::IPV6 => Next::Ipv6(span),
            ether_type::ARP | ether_type::RARP => self.arp(span),
            ether_type::VLAN => self.vlan(Level::Vlan, span),
            ether_type::QINQ | ether_type::QINQ_OLD => self.vlan(Level::QinQ, span),
            ether_type::TRANSPARENT_ETHERNET => Next::Eth(span),
            ether_type::IPX => self.last(Level::Ipx),
            _ => self.data(span),
        }
    }

    /// IEEE 802.1Q, 9.6: an id of 12 bits, then what is tagged.
    fn vlan(&mut self, level: Level, span: Span<'a>) -> Next<'a> {
        if !self.level(level) {
            return Next::End;
        }
        let Some(&[c0, c1, t0, t1]) = span.first() else {
            return self.short(span, 4);
        };
        let id = u16::from_be_bytes([c0, c1]) & 0x0fff;
        // The frame's own tags lie before any address; those of a frame in a tunnel are not the frame's.
        if matches!(self.packet.net, Net::None) {
            let (tags, vlan) = (self.packet.path.depth() - 1, &mut self.packet.vlan);
            match tags {
                1 => vlan.outer = id,
                2 => vlan.inner = id,
                _ => {}
            }
        }
        self.type_or_length(u16::from_be_bytes([t0, t1]), span.skip(4))
    }

    /// ARP (RFC 826) and RARP (RFC 903).
    fn arp(&mut self, span: Span<'a>) -> Next<'a> {
        // Over ATM (RFC 2225) the header has other fields.
        let level = if span.u16(0) == Some(19) { Level::Atmarp } else { Level::Arp };
        if !self.level(level) {
            return Next::End;
        }
        let Some(bytes) = span.first::<28>() else {
            return self.short(span, 28);
        };
        let [0, 1, 8, 0, 6, 4, o0, o1, who @ .., _, _, _, _, _, _, _, _, _, _] = *bytes else {
            return Next::End;
        };
        let whom = span.at::<10>(18).unwrap_or_default();
        if matches!(self.packet.net, Net::None) {
            let operation = u16::from_be_bytes([o0, o1]);
            self.packet.net = Net::Arp(Arp { operation, sender: ends(who), target: ends(whom) });
        }
        Next::End
    }

    /// BSD loopback: an address family in an unknown byte order.
    fn loopback(&mut self, span: Span<'a>) -> Next<'a> {
        self.level(Level::Null);
        let Some(&family) = span.first::<4>() else {
            return self.short(span, 4);
        };
        let rest = span.skip(4);
        // A family is below 65536, so that the order can be told.
        let family = match u32::from_be_bytes(family) {
            family @ 0..=0xffff => family,
            other => other.swap_bytes(),
        };
        match family {
            2 => Next::Ip(rest),
            // AF_INET6 of Linux; NetBSD and OpenBSD; FreeBSD; Darwin.
            10 | 24 | 28 | 30 => Next::Ipv6(rest),
            _ => self.data(rest),
        }
    }

    /// Linux cooked headers, version 1 and 2: the offsets of protocol and ARP hardware type, and the header's length.
    fn cooked(&mut self, span: Span<'a>, protocol: usize, _hardware: usize, len: u32) -> Next<'a> {
        self.level(Level::Sll);
        if (span.bytes.len() as u64) < u64::from(len) {
            return self.short(span, len);
        }
        let rest = span.skip(len);
        match span.u16(protocol) {
            Some(kind @ MIN_TYPE..) => Next::EtherType(kind, rest),
            Some(4) => Next::Llc(rest),
            _ => self.data(rest),
        }
    }
}

/// A hardware and an IPv4 address, side by side.
fn ends([a, b, c, d, e, f, i0, i1, i2, i3]: [u8; 10]) -> (Mac, Addr) {
    (Mac([a, b, c, d, e, f]), Addr::v4([i0, i1, i2, i3]))
}
