//! Tunnels over UDP, by port and by what a header of theirs must be: VXLAN, Geneve, Teredo, GTP, L2TP, AYIYA, LISP, MPLS, and
//! IPsec behind address translation.

use super::super::level::Level;
use super::link::ether_type;
use super::span::Span;
use super::tunnel::{is_ethernet, is_ip};
use super::{Next, Ports, Walk};

/// A tunnel that has a port.
#[derive(Debug, Clone, Copy)]
enum Kind {
    L2tp,
    GtpControl,
    GtpUser,
    GtpPrime,
    Teredo,
    Lisp,
    IpsecNat,
    Vxlan,
    VxlanOfOld,
    VxlanGpe,
    Ayiya,
    Geneve,
    Mpls,
}

impl Kind {
    /// <https://www.iana.org/assignments/service-names-port-numbers>; 8472 is Linux's VXLAN of old.
    #[inline]
    fn of_port(port: u16) -> Option<Self> {
        Some(match port {
            1701 => Self::L2tp,
            2123 => Self::GtpControl,
            2152 => Self::GtpUser,
            3386 => Self::GtpPrime,
            3544 => Self::Teredo,
            4341 => Self::Lisp,
            4500 => Self::IpsecNat,
            4789 => Self::Vxlan,
            8472 => Self::VxlanOfOld,
            4790 => Self::VxlanGpe,
            5072 => Self::Ayiya,
            6081 => Self::Geneve,
            6635 => Self::Mpls,
            _ => return None,
        })
    }
}

impl<'a> Walk<'_, 'a> {
    /// What a UDP payload holds, if it is a tunnel. As in tshark the lower port has the say, and a port of a well-known
    /// service is not outvoted.
    #[inline]
    pub(super) fn behind_udp(&mut self, ports: Ports, span: Span<'a>) -> Next<'a> {
        const WELL_KNOWN: u16 = 1024;
        let (low, high) = (ports.src.min(ports.dst), ports.src.max(ports.dst));
        if low < WELL_KNOWN || span.bytes.is_empty() {
            return Next::End;
        }
        match Kind::of_port(low).or_else(|| Kind::of_port(high)) {
            Some(kind) => self.udp_tunnel(kind, span),
            None => Next::End,
        }
    }

    fn udp_tunnel(&mut self, kind: Kind, span: Span<'a>) -> Next<'a> {
        match kind {
            Kind::L2tp => self.l2tp(span),
            Kind::GtpControl | Kind::GtpUser | Kind::GtpPrime => self.gtp(kind, span),
            Kind::Teredo => self.teredo(span),
            Kind::Lisp => self.lisp(span),
            Kind::IpsecNat => self.ipsec_nat(span),
            Kind::Vxlan => self.vxlan(span),
            // The port is not its own, so that all reserved bits must be as they should.
            Kind::VxlanOfOld => match span.first() {
                Some(&[8, 0, 0, 0, _, _, _, 0]) => self.vxlan(span),
                _ => Next::End,
            },
            Kind::VxlanGpe => self.vxlan_gpe(span),
            Kind::Ayiya => self.ayiya(span),
            Kind::Geneve => self.geneve(span),
            Kind::Mpls => self.tunnel(Next::Mpls(span), span),
        }
    }

    /// RFC 7348, 5: the flag that says an identifier is there is always set.
    fn vxlan(&mut self, span: Span<'a>) -> Next<'a> {
        const HAS_ID: u8 = 0x08;
        if span.bytes.first().is_none_or(|flags| flags & HAS_ID == 0) {
            return Next::End;
        }
        self.level(Level::Vxlan);
        self.carried(8, span, Next::Eth)
    }

    /// draft-ietf-nvo3-vxlan-gpe: the last byte of the first word says what follows.
    fn vxlan_gpe(&mut self, span: Span<'a>) -> Next<'a> {
        self.level(Level::Vxlan);
        match span.bytes.get(3) {
            Some(1) => self.carried(8, span, Next::Ip),
            Some(2) => self.carried(8, span, Next::Ipv6),
            Some(3) => self.carried(8, span, Next::Eth),
            Some(4) => self.carried(8, span, |rest| Next::EtherType(ether_type::NSH, rest)),
            _ => self.control(span),
        }
    }

    /// RFC 8926, 3.4.
    fn geneve(&mut self, span: Span<'a>) -> Next<'a> {
        let Some(&first) = span.bytes.first().filter(|&first| first >> 6 == 0) else {
            return Next::End;
        };
        self.level(Level::Geneve);
        let kind = span.u16(2);
        let header = 8 + 4 * u32::from(first & 0x3f);
        self.carried(header, span, |rest| kind.map_or(Next::End, |kind| Next::EtherType(kind, rest)))
    }

    /// RFC 4380, 5.1.1: authentication and origin, where present, then IPv6.
    fn teredo(&mut self, span: Span<'a>) -> Next<'a> {
        let mut rest = span;
        if let Some([0, 1, id, value]) = rest.at(0) {
            rest = rest.skip(13 + u32::from(id) + u32::from(value));
        }
        if rest.bytes.starts_with(&[0, 0]) {
            rest = rest.skip(8);
        }
        match rest.bytes.first() {
            Some(0x60..=0x6f) => {
                self.level(Level::Teredo);
                self.tunnel(Next::Ipv6(rest), rest)
            }
            _ => Next::End,
        }
    }

    /// GTP: versions 0 and 1 (3GPP TS 29.060 and 29.281), which carry packets, and 2 (29.274), which does not.
    fn gtp(&mut self, kind: Kind, span: Span<'a>) -> Next<'a> {
        /// A packet of a user.
        const G_PDU: u8 = 255;
        let Some(&flags) = span.bytes.first() else { return Next::End };
        let is_gtp = flags & 0x10 != 0;
        let (level, header) = match (flags >> 5, kind) {
            (0 | 1, Kind::GtpPrime) if !is_gtp => (Level::GtpPrime, None),
            (0, _) if is_gtp => (Level::Gtp, Some(20)),
            (1, _) if is_gtp => (Level::Gtp, behind_gtp(span)),
            (2, Kind::GtpControl | Kind::GtpUser) => (Level::Gtpv2, None),
            _ => return Next::End,
        };
        self.level(level);
        let (Some(header), Some(&G_PDU)) = (header, span.bytes.get(1)) else {
            return self.control(span);
        };
        let rest = span.skip(header);
        match () {
            () if is_ip(rest) => self.tunnel(Next::Ip(rest), rest),
            () if is_ethernet(rest) => self.tunnel(Next::Eth(rest), rest),
            () => self.control(span),
        }
    }

    /// L2TP (RFC 2661, 3.1); control messages, and version 3 (RFC 3931), are not followed.
    fn l2tp(&mut self, span: Span<'a>) -> Next<'a> {
        let Some(bits) = span.u16(0).filter(|bits| matches!(bits & 0x0f, 2 | 3)) else {
            return Next::End;
        };
        self.level(Level::L2tp);
        let has = |bit: u16| bits & bit != 0;
        let (control, length, sequence, offset) = (has(0x8000), has(0x4000), has(0x0800), has(0x0200));
        if control || bits & 0x0f == 3 {
            return self.control(span);
        }
        let mut header = 6 + if length { 2 } else { 0 } + if sequence { 4 } else { 0 };
        if offset {
            match span.u16(header as usize) {
                Some(pad) => header += 2 + u32::from(pad),
                None => return self.short(span, header + 2),
            }
        }
        self.carried(header, span, Next::Ppp)
    }

    /// RFC 3948, 2: a byte of ones keeps the translation alive; four zeros precede IKE; else ESP.
    fn ipsec_nat(&mut self, span: Span<'a>) -> Next<'a> {
        self.level(Level::UdpEncap);
        match span.bytes {
            [0xff] => {}
            [0, 0, 0, 0, _, ..] => {
                self.level(Level::Isakmp);
            }
            [_, _, _, _, ..] => {
                self.level(Level::Esp);
            }
            _ => {}
        }
        self.control(span)
    }

    /// AYIYA: draft-massar-v6ops-ayiya-02, 3. Identity and signature have the lengths that the first two bytes say.
    fn ayiya(&mut self, span: Span<'a>) -> Next<'a> {
        const FORWARD: u8 = 1;
        let Some([identity, signature, operation, next]) = span.at(0) else {
            return Next::End;
        };
        self.level(Level::Ayiya);
        let header = 8 + (1 << (identity >> 4)) + 4 * u32::from(signature >> 4);
        if operation & 0x0f != FORWARD {
            return self.control(span);
        }
        self.carried(header, span, |rest| Next::Proto(next, rest))
    }

    /// RFC 9300, 5.1: eight bytes, then a packet.
    fn lisp(&mut self, span: Span<'a>) -> Next<'a> {
        let rest = span.skip(8);
        if !is_ip(rest) {
            return Next::End;
        }
        self.level(Level::LispData);
        self.tunnel(Next::Ip(rest), rest)
    }

    /// Enters the tunnel behind a header of `header` bytes.
    fn carried(&mut self, header: u32, span: Span<'a>, next: impl FnOnce(Span<'a>) -> Next<'a>) -> Next<'a> {
        let rest = span.skip(header);
        self.enter(rest);
        if rest.bytes.is_empty() {
            return if header > span.wire || rest.wire > 0 { self.short(span, header) } else { Next::End };
        }
        next(rest)
    }
}

/// The length of a header of GTP version 1 with its extensions (3GPP TS 29.281, 5.1 and 5.2); `None` if cut.
fn behind_gtp(span: Span<'_>) -> Option<u32> {
    let flags = *span.bytes.first()?;
    if flags & 0x07 == 0 {
        return Some(8);
    }
    let mut len = 12;
    // The last byte of each says the type of the next; their lengths are in words.
    for _ in 0..8 {
        if flags & 0x04 == 0 || *span.bytes.get(len as usize - 1)? == 0 {
            return Some(len);
        }
        let words = *span.bytes.get(len as usize)?;
        len += 4 * u32::from(words.max(1));
    }
    None
}
