//! Tunnels directly over IP: GRE, EtherIP, PIM registers; and what an authentication header covers.

use super::super::level::Level;
use super::link::ether_type;
use super::span::Span;
use super::{Flaws, Net, Next, Walk};

impl<'a> Walk<'_, 'a> {
    /// Enters a tunnel.
    #[inline]
    pub(super) fn tunnel(&mut self, next: Next<'a>, rest: Span<'a>) -> Next<'a> {
        self.enter(rest);
        next
    }

    /// Notes that what the outermost transport carries has been told: a tunnel's own control messages.
    pub(super) fn control(&mut self, rest: Span<'a>) -> Next<'a> {
        self.enter(rest.limit(0));
        Next::End
    }

    /// GRE (RFC 2784, RFC 2890, with the routing of RFC 1701), and version 1 as PPTP has it (RFC 2637, 4.1).
    pub(super) fn gre(&mut self, span: Span<'a>) -> Next<'a> {
        let (Some(bits), Some(kind)) = (span.u16(0), span.u16(2)) else {
            return self.short(span, 4);
        };
        self.level(Level::Gre);
        let has = |bit: u16| bits & bit != 0;
        let (checksum, routing, key, sequence, acknowledged) =
            (has(0x8000), has(0x4000), has(0x2000), has(0x1000), has(0x0080));
        let enhanced = bits & 7 == 1;
        if bits & 7 > 1 {
            self.packet.flaws.add(Flaws::FIELD);
            return Next::End;
        }
        let mut len = 4;
        for present in [checksum || routing, key, sequence, enhanced && acknowledged] {
            len += if present { 4 } else { 0 };
        }
        let mut rest = span.skip(len);
        if enhanced {
            // The key's upper half is the length of what follows; only packets with a number have any.
            match span.u16(4) {
                Some(payload) if key && sequence => rest = rest.limit(u32::from(payload)),
                _ => return self.control(rest),
            }
        } else if routing {
            match behind_routes(rest) {
                Some(behind) => rest = behind,
                None => return self.short(rest, 4),
            }
        }
        self.enter(rest);
        match kind {
            ether_type::IPV4
            | ether_type::IPV6
            | ether_type::ARP
            | ether_type::TRANSPARENT_ETHERNET
            | ether_type::MPLS
            | ether_type::MPLS_UPSTREAM => Next::EtherType(kind, rest),
            ether_type::PPP => Next::Ppp(rest),
            // With a sequence number there is a header (type II, of 8 bytes), without there is none.
            ether_type::ERSPAN => self.erspan(if sequence { 8 } else { 0 }, rest),
            ether_type::ERSPAN_3 => {
                let more = rest.bytes.get(11).is_some_and(|last| last & 1 != 0);
                self.erspan(if more { 20 } else { 12 }, rest)
            }
            // Version 2 has a header of four bytes, version 1 has none.
            ether_type::WCCP => match rest.bytes.first() {
                Some(first) if first >> 4 != 4 => Next::Ip(rest.skip(4)),
                _ => Next::Ip(rest),
            },
            ether_type::CDP => self.last(Level::Cdp),
            ether_type::NHRP => self.last(Level::Nhrp),
            0x00fe => self.osi(rest),
            _ => {
                self.packet.flaws.add(Flaws::UNKNOWN);
                Next::End
            }
        }
    }

    /// ERSPAN: draft-foschiano-erspan.
    fn erspan(&mut self, header: u32, span: Span<'a>) -> Next<'a> {
        if span.bytes.is_empty() {
            return self.short(span, header);
        }
        self.level(Level::Erspan);
        Next::Eth(span.skip(header))
    }

    /// RFC 3378: two bytes, then a frame.
    pub(super) fn ether_ip(&mut self, span: Span<'a>) -> Next<'a> {
        self.level(Level::EtherIp);
        let rest = span.skip(2);
        self.tunnel(Next::Eth(rest), rest)
    }

    /// PIM (RFC 7761, 4.9); a register that is not null carries a packet.
    pub(super) fn pim(&mut self, span: Span<'a>) -> Next<'a> {
        const NULL_REGISTER: u8 = 0x40;
        self.level(Level::Pim);
        let rest = span.skip(8);
        match span.at(0) {
            Some([0x21, _, _, _, bits]) if bits & NULL_REGISTER == 0 && is_ip(rest) => {
                self.tunnel(Next::Ip(rest), rest)
            }
            _ => Next::End,
        }
    }

    /// The authentication header (RFC 4302, 2): a level of its own in IPv4, an extension header in IPv6.
    pub(super) fn authenticated(&mut self, span: Span<'a>) -> Next<'a> {
        let Some([next, words]) = span.at(0) else {
            return self.short(span, 12);
        };
        if !self.is_behind(Level::Ipv6) {
            self.level(Level::Ah);
        }
        let rest = span.skip(4 * (u32::from(words) + 2));
        self.tunnel(Next::Proto(next, rest), rest)
    }

    /// Notes that what follows is in a tunnel, if the frame has an IP header already.
    #[inline]
    pub(super) fn enter(&mut self, span: Span<'a>) {
        if matches!(self.packet.net, Net::Ip(_)) {
            self.packet.inner = Some(super::Inner {
                addrs: None,
                transport: super::Transport::Portless,
                payload: span.bytes,
            });
        }
    }
}

/// Whether a packet begins here, by its version and, of IPv4, its header's length.
pub(super) fn is_ip(span: Span<'_>) -> bool {
    matches!(span.bytes.first(), Some(0x45..=0x4f | 0x60..=0x6f))
}

/// Whether a frame begins here whose EtherType is a common one.
pub(super) fn is_ethernet(span: Span<'_>) -> bool {
    matches!(
        span.u16(12),
        Some(
            ether_type::IPV4
                | ether_type::IPV6
                | ether_type::ARP
                | ether_type::VLAN
                | ether_type::QINQ
                | ether_type::MPLS
                | ether_type::PPPOE_DISCOVERY
                | ether_type::PPPOE_SESSION
        )
    )
}

/// Behind the source routes of RFC 1701.
fn behind_routes(mut span: Span<'_>) -> Option<Span<'_>> {
    for _ in 0..16 {
        let [family0, family1, _, len] = span.at(0)?;
        span = span.skip(4 + u32::from(len));
        if (family0, family1, len) == (0, 0, 0) {
            return Some(span);
        }
    }
    None
}
