//! The link's headers: Ethernet, VLAN tags, ARP, raw, loopback, cooked.

use super::super::LinkType;
use super::super::addr::{Addr, Mac};
use super::super::level::Level;
use super::span::Span;
use super::{Arp, Flaws, Macs, Net, Next, Walk};

/// EtherTypes whose payload is followed: <https://www.iana.org/assignments/ieee-802-numbers>.
pub(super) mod ether_type {
    pub(in super::super) const IPV4: u16 = 0x0800;
    pub(in super::super) const ARP: u16 = 0x0806;
    pub(in super::super) const CDP: u16 = 0x2000;
    pub(in super::super) const NHRP: u16 = 0x2001;
    pub(in super::super) const ERSPAN_3: u16 = 0x22eb;
    pub(in super::super) const TRANSPARENT_ETHERNET: u16 = 0x6558;
    pub(in super::super) const RARP: u16 = 0x8035;
    pub(in super::super) const VLAN: u16 = 0x8100;
    pub(in super::super) const WCCP: u16 = 0x883e;
    pub(in super::super) const IPV6: u16 = 0x86dd;
    pub(in super::super) const PPP: u16 = 0x880b;
    pub(in super::super) const SLOW: u16 = 0x8809;
    pub(in super::super) const MPLS: u16 = 0x8847;
    pub(in super::super) const MPLS_UPSTREAM: u16 = 0x8848;
    pub(in super::super) const PPPOE_DISCOVERY: u16 = 0x8863;
    pub(in super::super) const PPPOE_SESSION: u16 = 0x8864;
    pub(in super::super) const EAPOL: u16 = 0x888e;
    pub(in super::super) const PROFINET: u16 = 0x8892;
    pub(in super::super) const QINQ: u16 = 0x88a8;
    pub(in super::super) const ERSPAN: u16 = 0x88be;
    pub(in super::super) const WAPI: u16 = 0x88c7;
    pub(in super::super) const MACSEC: u16 = 0x88e5;
    pub(in super::super) const FABRIC_PATH: u16 = 0x8903;
    pub(in super::super) const VN_TAG: u16 = 0x8926;
    pub(in super::super) const HSR: u16 = 0x892f;
    pub(in super::super) const E_TAG: u16 = 0x893f;
    pub(in super::super) const NSH: u16 = 0x894f;
    pub(in super::super) const LOOP: u16 = 0x9000;
    pub(in super::super) const QINQ_OLD: u16 = 0x9100;
    pub(in super::super) const ARISTA: u16 = 0xd28b;
}

/// The largest length field of an 802.3 frame; above `MIN_TYPE` it is a type.
const MAX_802_3: u16 = 1500;
const MIN_TYPE: u16 = 0x0600;

impl<'a> Walk<'_, 'a> {
    /// The frame by its link type.
    #[inline]
    pub(super) fn link(&mut self, link: LinkType, span: Span<'a>) -> Next<'a> {
        match link {
            LinkType::ETHERNET => self.eth(span),
            // In files of some systems the raw type has the number that it has within them.
            LinkType::RAW | LinkType(12 | 14) => {
                self.level(Level::Raw);
                self.raw(span)
            }
            LinkType::IPV4 if !span.bytes.is_empty() => self.ipv4(span),
            LinkType::IPV6 if !span.bytes.is_empty() => self.ipv6(span),
            LinkType::IPV4 => self.last(Level::Ip),
            LinkType::IPV6 => self.last(Level::Ipv6),
            LinkType::NULL | LinkType::LOOP => self.loopback(link, span),
            LinkType::SLL => self.cooked(span, (14, 2, 16)),
            LinkType::SLL2 => self.cooked(span, (0, 8, 20)),
            _ => {
                self.packet.flaws.add(Flaws::UNKNOWN);
                self.last(Level::Unknown)
            }
        }
    }

    /// An IP packet, or bytes that nothing is known of.
    fn raw(&mut self, span: Span<'a>) -> Next<'a> {
        match span.bytes.first().map(|first| first >> 4) {
            Some(4 | 6) | None => self.ip(span),
            Some(_) => self.data(span),
        }
    }

    /// Ethernet (IEEE 802.3-2022, 3.1.1), without a checksum behind.
    #[inline]
    pub(super) fn eth(&mut self, span: Span<'a>) -> Next<'a> {
        self.level(Level::Eth);
        let Some(&[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1]) = span.first() else {
            return self.short(span, 14);
        };
        if self.depth == 1 {
            self.packet.macs =
                Some(Macs { src: Mac([s0, s1, s2, s3, s4, s5]), dst: Mac([d0, d1, d2, d3, d4, d5]) });
        }
        let rest = span.skip(14);
        match u16::from_be_bytes([t0, t1]) {
            ether_type::IPV4 => self.ipv4(rest),
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
            return self.data(rest);
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
            ether_type::IPV4 => Next::Ipv4(span),
            ether_type::IPV6 => Next::Ipv6(span),
            ether_type::ARP | ether_type::RARP => self.arp(span),
            ether_type::VLAN | ether_type::QINQ_OLD => self.vlan(Level::Vlan, span),
            ether_type::QINQ => self.vlan(Level::QinQ, span),
            ether_type::TRANSPARENT_ETHERNET => Next::Eth(span),
            ether_type::MPLS | ether_type::MPLS_UPSTREAM => Next::Mpls(span),
            ether_type::PPPOE_DISCOVERY => self.pppoe(Level::PppoeD, span),
            ether_type::PPPOE_SESSION => self.pppoe(Level::PppoeS, span),
            ether_type::SLOW => self.slow(span),
            ether_type::EAPOL | ether_type::WAPI => self.eapol(span),
            ether_type::PROFINET => self.profinet(span),
            ether_type::VN_TAG => self.tag(Level::Vntag, 4, span),
            ether_type::E_TAG => self.tag(Level::Etag, 6, span),
            ether_type::HSR => self.tag(Level::Hsr, 4, span),
            // What follows is known to be bytes.
            ether_type::LOOP => self.opaque(Level::Loop, span.skip(6)),
            ether_type::MACSEC => self.macsec(span),
            ether_type::FABRIC_PATH => self.fabric_path(span),
            ether_type::NSH => self.nsh(span),
            ether_type::ARISTA => self.arista(span),
            _ => match Level::of_ether_type(kind) {
                Some(level) => self.last(level),
                None => self.data(span),
            },
        }
    }

    /// A level whose payload is bytes.
    fn opaque(&mut self, level: Level, rest: Span<'a>) -> Next<'a> {
        self.level(level);
        if rest.wire > 0 { self.last(Level::Data) } else { Next::End }
    }

    /// IEEE 802.1Q, 9.6: an id of 12 bits, then what is tagged.
    fn vlan(&mut self, level: Level, span: Span<'a>) -> Next<'a> {
        let Some([c0, c1]) = span.at(0) else {
            return self.short(span, 4);
        };
        self.level(level);
        let depth = self.depth;
        self.note_vlan(depth - 1, u16::from_be_bytes([c0, c1]) & 0x0fff);
        match (level, span.at(2)) {
            // A second service tag is no level of its own.
            (Level::QinQ, Some([0x88, 0xa8, c0, c1])) if span.bytes.len() >= 8 => {
                self.note_vlan(depth, u16::from_be_bytes([c0, c1]) & 0x0fff);
                self.type_or_length(span.u16(6).unwrap_or(0), span.skip(8))
            }
            (_, Some([t0, t1, ..])) => self.type_or_length(u16::from_be_bytes([t0, t1]), span.skip(4)),
            (_, None) => match span.u16(2) {
                Some(kind) => self.type_or_length(kind, span.skip(4)),
                None => self.short(span, 4),
            },
        }
    }

    /// Notes the id of the `tag`th level. The frame's own tags lie right behind its first header and what wraps it.
    fn note_vlan(&mut self, tag: usize, id: u16) {
        let tag = if tag > 1 { tag - self.wraps() } else { tag };
        let vlan = &mut self.packet.vlan;
        match tag {
            1 => vlan.outer = id,
            2 if vlan.inner == 0 => vlan.inner = id,
            _ => {}
        }
    }

    /// How many of the levels wrap a frame that they are not part of.
    fn wraps(&self) -> usize {
        const WRAPS: [Level; 6] =
            [Level::Cfp, Level::Avsp, Level::Macsec, Level::Vntag, Level::Etag, Level::Hsr];
        self.path.iter().filter(|byte| WRAPS.iter().any(|level| level.to_byte() == **byte)).count()
    }

    /// Another tag of `len` bytes before an EtherType.
    fn tag(&mut self, level: Level, len: u32, span: Span<'a>) -> Next<'a> {
        self.level(level);
        match span.u16(len as usize) {
            Some(kind) => self.type_or_length(kind, span.skip(len + 2)),
            None => self.short(span, len + 2),
        }
    }

    /// Slow protocols (IEEE 802.3, annex 57A): link aggregation and its kin.
    fn slow(&mut self, span: Span<'a>) -> Next<'a> {
        self.level(Level::Slow);
        match span.bytes.first() {
            Some(1) => self.last(Level::Lacp),
            Some(2) => self.last(Level::SlowMarker),
            Some(3) => self.last(Level::Oam),
            Some(10) => self.last(Level::Ossp),
            Some(_) => self.data(span),
            None => self.short(span, 1),
        }
    }

    /// IEEE 802.1X, 11.3: packet type 0 carries EAP.
    fn eapol(&mut self, span: Span<'a>) -> Next<'a> {
        self.level(Level::Eapol);
        match span.at(1) {
            Some([0, l0, l1]) if (l0, l1) != (0, 0) => self.last(Level::Eap),
            _ => Next::End,
        }
    }

    /// PROFINET real time: frame ids 0xfefc to 0xfeff are discovery and configuration.
    fn profinet(&mut self, span: Span<'a>) -> Next<'a> {
        self.level(Level::Profinet);
        match span.u16(0) {
            Some(0xfefc..=0xfeff) => self.last(Level::PnDcp),
            _ => Next::End,
        }
    }

    /// ARP (RFC 826) and RARP (RFC 903).
    fn arp(&mut self, span: Span<'a>) -> Next<'a> {
        // Over ATM (RFC 2225) the header has other fields.
        let level = if span.u16(0) == Some(19) { Level::Atmarp } else { Level::Arp };
        if span.bytes.is_empty() {
            return self.short(span, 28);
        }
        self.level(level);
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

    /// BSD loopback: an address family, in network order of `LOOP`, of `NULL` in the order of the machine that captured.
    fn loopback(&mut self, link: LinkType, span: Span<'a>) -> Next<'a> {
        self.level(Level::Null);
        let Some(&family) = span.first::<4>() else {
            return self.short(span, 4);
        };
        let rest = span.skip(4);
        let family = match u32::from_be_bytes(family) {
            // A family is below 65536, so that the order can be told.
            family @ 0x1_0000.. if link == LinkType::NULL => family.swap_bytes(),
            family => family,
        };
        match family {
            2 => Next::Ipv4(rest),
            // AF_INET6 of NetBSD and OpenBSD; of FreeBSD; of Darwin.
            24 | 28 | 30 => Next::Ipv6(rest),
            _ => self.data(rest),
        }
    }

    /// Linux cooked headers, version 1 and 2: the offsets of protocol and ARP hardware type, and the header's length.
    fn cooked(&mut self, span: Span<'a>, (protocol, hardware, len): (usize, usize, u32)) -> Next<'a> {
        self.level(Level::Sll);
        if (span.bytes.len() as u64) < u64::from(len) {
            return self.short(span, len);
        }
        let rest = span.skip(len);
        match (span.u16(hardware), span.u16(protocol)) {
            // Netlink and 802.11 with radiotap: the protocol field means something else.
            (Some(824 | 803), _) => self.data(rest),
            (_, Some(kind @ MIN_TYPE..)) => Next::EtherType(kind, rest),
            // Linux's own numbers, <linux/if_ether.h>.
            (_, Some(1)) => self.last(Level::Ipx),
            (_, Some(3)) => Next::Eth(rest),
            (_, Some(4)) => Next::Llc(rest),
            (_, Some(7)) => Next::Ppp(rest),
            _ => self.data(rest),
        }
    }
}

/// A hardware and an IPv4 address, side by side.
fn ends([a, b, c, d, e, f, i0, i1, i2, i3]: [u8; 10]) -> (Mac, Addr) {
    (Mac([a, b, c, d, e, f]), Addr::v4([i0, i1, i2, i3]))
}

impl Level {
    /// The level of an EtherType whose payload is not followed.
    fn of_ether_type(kind: u16) -> Option<Self> {
        Some(match kind {
            0x22ea => Self::Msrp,
            0x22f0 => Self::Ieee1722,
            0x6004 => Self::Lat,
            0x809b => Self::Llap,
            0x80f3 => Self::Aarp,
            0x8137 => Self::Ipx,
            0x886f => Self::Msnlb,
            0x8808 => Self::MacControl,
            0x887b => Self::Homeplug,
            0x8899 => Self::Realtek,
            0x88a2 => Self::Aoe,
            0x88a4 => Self::Ecat,
            0x88b8 => Self::Goose,
            0x88ba => Self::Sv,
            0x88cc => Self::Lldp,
            0x88d9 => Self::Lltd,
            0x88e1 => Self::HomeplugAv,
            0x88e3 => Self::Mrp,
            0x88f5 => Self::Mvrp,
            0x88f6 => Self::Mmrp,
            0x88f7 => Self::Ptp,
            0x88fb => Self::HsrSupervision,
            0x8902 => Self::Cfm,
            0x8906 => Self::Fcoe,
            0x8914 => Self::Fip,
            0x8915 => Self::Infiniband,
            0x893a => Self::Ieee1905,
            _ => return None,
        })
    }
}
