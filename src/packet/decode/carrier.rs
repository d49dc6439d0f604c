//! What carries packets below IP, beside Ethernet: LLC and SNAP, PPP and PPPoE, MPLS.

use super::super::level::Level;
use super::span::Span;
use super::tunnel::is_ethernet;
use super::{Flaws, Next, Walk};

impl<'a> Walk<'_, 'a> {
    /// IEEE 802.2: service access points and a control field of one or two bytes; then what the destination's names.
    pub(super) fn llc(&mut self, span: Span<'a>) -> Next<'a> {
        const UNNUMBERED: u8 = 3;
        const UI: u8 = 0x03;
        const XID: u8 = 0xaf;
        const XID_FINAL: u8 = 0xbf;
        if span.wire == 0 {
            return Next::End;
        }
        if span.bytes.is_empty() {
            return self.short(span, 3);
        }
        self.level(Level::Llc);
        let Some(&[dsap, ssap, control]) = span.first() else {
            return self.short(span, 3);
        };
        let rest = span.skip(if control & UNNUMBERED == UNNUMBERED { 3 } else { 4 });
        if rest.wire == 0 {
            return Next::End;
        }
        let informs = control & 1 == 0 || control == UI;
        match (dsap, ssap) {
            (0xaa, 0xaa) if informs => self.snap(rest),
            (0x04, _) if informs => self.last(Level::Sna),
            (0x06, _) if informs => Next::Ipv4(rest),
            (0x42, _) if informs => self.last(Level::Stp),
            (0xe0, _) if informs => self.last(Level::Ipx),
            (0xf0, _) if informs => self.last(Level::Netbios),
            (0xfe, _) if informs => self.osi(rest),
            _ if matches!(control, XID | XID_FINAL) && rest.bytes.first() == Some(&0x81) => {
                self.last(Level::BasicXid)
            }
            _ => self.data(rest),
        }
    }

    /// SNAP (IEEE 802, 10.4): an organisation and its protocol.
    fn snap(&mut self, span: Span<'a>) -> Next<'a> {
        let (Some([o0, o1, o2]), Some(kind)) = (span.at(0), span.u16(3)) else {
            return self.short(span, 5);
        };
        let rest = span.skip(5);
        match ([o0, o1, o2], kind) {
            // Encapsulated Ethernet (RFC 1042), and of old Cisco's.
            ([0, 0, 0] | [0, 0, 0xf8], _) => Next::EtherType(kind, rest),
            ([0, 0, 0x0c], 0x0104) => self.last(Level::Pagp),
            ([0, 0, 0x0c], 0x010b | 0x010c) => self.last(Level::Stp),
            ([0, 0, 0x0c], 0x0111) => self.last(Level::Udld),
            ([0, 0, 0x0c], 0x2000) => self.last(Level::Cdp),
            ([0, 0, 0x0c], 0x2003) => self.last(Level::Vtp),
            ([0, 0, 0x0c], 0x2004) => self.last(Level::Dtp),
            ([0x08, 0, 0x07], 0x809b) => self.last(Level::Ddp),
            ([0, 0xe0, 0x2b], 0x00bb) => self.last(Level::Edp),
            // Bridged frames (RFC 2684, 5.2): without a checksum behind, and spanning tree.
            ([0, 0x80, 0xc2], 0x0007) => Next::Eth(rest),
            ([0, 0x80, 0xc2], 0x000e) => self.last(Level::Stp),
            _ => self.data(rest),
        }
    }

    /// ISO network layer protocols (ISO/IEC TR 9577).
    pub(super) fn osi(&mut self, span: Span<'a>) -> Next<'a> {
        match span.bytes.first() {
            Some(0x82) => self.last(Level::Esis),
            Some(0x83) => self.last(Level::Isis),
            Some(0x00 | 0x81) => self.last(Level::Clnp),
            Some(&nlpid) => {
                self.level(Level::Osi);
                match nlpid {
                    0xcc => Next::Ipv4(span.skip(1)),
                    0x8e => Next::Ipv6(span.skip(1)),
                    _ => Next::End,
                }
            }
            None => self.short(span, 1),
        }
    }

    /// RFC 2516, 4: of a session, PPP follows.
    pub(super) fn pppoe(&mut self, level: Level, span: Span<'a>) -> Next<'a> {
        let Some(&[_, _, _, _, l0, l1]) = span.first() else {
            return self.short(span, 6);
        };
        self.level(level);
        if level == Level::PppoeD {
            return Next::End;
        }
        let len = u32::from(u16::from_be_bytes([l0, l1]));
        let rest = span.skip(6);
        if len > rest.wire {
            self.packet.flaws.add(Flaws::LENGTH);
        }
        Next::Ppp(rest.limit(len))
    }

    /// PPP (RFC 1661, 2; RFC 1662, 3.1): address and control where present, a protocol of two bytes, or one if it is odd.
    pub(super) fn ppp(&mut self, span: Span<'a>) -> Next<'a> {
        let span = if span.bytes.starts_with(&[0xff, 0x03]) { span.skip(2) } else { span };
        let (kind, rest) = match (span.bytes.first(), span.u16(0)) {
            (Some(&first), _) if first & 1 == 1 => (u16::from(first), span.skip(1)),
            (_, Some(kind)) => (kind, span.skip(2)),
            (_, None) => return self.short(span, 2),
        };
        self.level(Level::Ppp);
        match kind {
            0x0021 => Next::Ipv4(rest),
            0x0057 => Next::Ipv6(rest),
            0x0281 | 0x0283 => Next::Mpls(rest),
            // Bridged frames (RFC 3518, 4.2): two bytes, then of type 1 Ethernet.
            0x0031 => {
                self.level(Level::BcpBpdu);
                if rest.bytes.get(1) == Some(&1) { Next::Eth(rest.skip(2)) } else { self.data(rest) }
            }
            _ => match Level::of_ppp(kind) {
                Some(level) => self.last(level),
                None => self.data(rest),
            },
        }
    }

    /// MPLS (RFC 3032, 2.1), one label. Nothing says what follows the last but its own first bits.
    pub(super) fn mpls(&mut self, span: Span<'a>) -> Next<'a> {
        let Some(&[_, _, bottom, _]) = span.first() else {
            return self.short(span, 4);
        };
        self.level(Level::Mpls);
        let rest = span.skip(4);
        if bottom & 1 == 0 {
            return Next::Mpls(rest);
        }
        match rest.bytes.first().map(|first| first >> 4) {
            Some(4) => Next::Ip(rest),
            Some(6) => Next::Ipv6(rest),
            // Pseudowires (RFC 4385, 3 and 5): a control word, or an associated channel.
            Some(0) if is_ethernet(rest.skip(4)) => self.pseudowire(Level::PwethCw, rest.skip(4)),
            Some(1) => {
                self.level(Level::Pwach);
                match rest.u16(2) {
                    Some(0x0021) => Next::Ipv4(rest.skip(4)),
                    Some(0x0057) => Next::Ipv6(rest.skip(4)),
                    _ => Next::End,
                }
            }
            Some(_) if is_ethernet(rest) => self.pseudowire(Level::Pweth, rest),
            Some(_) => self.data(rest),
            None => self.short(rest, 1),
        }
    }

    fn pseudowire(&mut self, level: Level, rest: Span<'a>) -> Next<'a> {
        self.level(level);
        Next::Eth(rest)
    }
}

impl Level {
    /// The level of a PPP protocol whose payload is not followed: <https://www.iana.org/assignments/ppp-numbers>.
    fn of_ppp(kind: u16) -> Option<Self> {
        Some(match kind {
            0x0029 => Self::Ddp,
            0x002b => Self::Ipx,
            0x002d | 0x002f => Self::Vjc,
            0x003d => Self::Mlppp,
            0x00fd => Self::CompData,
            0x0207 => Self::Cdp,
            0x8021 => Self::Ipcp,
            0x8031 => Self::BcpNcp,
            0x8057 => Self::Ipv6cp,
            0x80fd => Self::Ccp,
            0x8207 => Self::Cdpcp,
            0x8281 => Self::Mplscp,
            0xc021 => Self::Lcp,
            0xc023 => Self::Pap,
            0xc02b => Self::Bacp,
            0xc02d => Self::Bap,
            0xc223 => Self::Chap,
            0xc227 => Self::Eap,
            _ => return None,
        })
    }
}
