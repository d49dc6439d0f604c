//! IPv4, IPv6 and its extension headers.

use super::super::addr::Addr;
use super::super::level::Level;
use super::span::Span;
use super::{Flaws, Fragment, Inner, Ip, Net, Next, Transport, Walk};

/// IP protocol numbers: <https://www.iana.org/assignments/protocol-numbers>.
pub(super) mod proto {
    pub(in super::super) const HOP_BY_HOP: u8 = 0;
    pub(in super::super) const ICMP: u8 = 1;
    pub(in super::super) const IPV4: u8 = 4;
    pub(in super::super) const TCP: u8 = 6;
    pub(in super::super) const UDP: u8 = 17;
    pub(in super::super) const IPV6: u8 = 41;
    pub(in super::super) const ROUTING: u8 = 43;
    pub(in super::super) const FRAGMENT: u8 = 44;
    pub(in super::super) const GRE: u8 = 47;
    pub(in super::super) const AH: u8 = 51;
    pub(in super::super) const ICMPV6: u8 = 58;
    pub(in super::super) const NONE: u8 = 59;
    pub(in super::super) const OPTIONS: u8 = 60;
    pub(in super::super) const ETHER_IP: u8 = 97;
    pub(in super::super) const PIM: u8 = 103;
    pub(in super::super) const SCTP: u8 = 132;
    pub(in super::super) const MOBILITY: u8 = 135;
    pub(in super::super) const MPLS: u8 = 137;
    pub(in super::super) const ETHERNET: u8 = 143;
}

/// Extension headers that are followed in one IPv6 header: more than a frame of 1,500 bytes can hold.
const MAX_EXTENSIONS: usize = 192;

impl<'a> Walk<'_, 'a> {
    /// IPv4, or IPv6, by the version.
    #[inline]
    pub(super) fn ip(&mut self, span: Span<'a>) -> Next<'a> {
        match span.bytes.first().map(|first| first >> 4) {
            Some(6) => self.ipv6(span),
            _ => self.ipv4(span),
        }
    }

    /// RFC 791.
    #[inline]
    pub(super) fn ipv4(&mut self, span: Span<'a>) -> Next<'a> {
        let Some(&first) = span.bytes.first() else {
            return self.short(span, 20);
        };
        self.level(Level::Ip);
        if first >> 4 != 4 {
            self.packet.flaws.add(Flaws::FIELD);
            return Next::End;
        }
        let Some(&[_, _, l0, l1, i0, i1, f0, f1, ttl, proto, _, _, s0, s1, s2, s3, d0, d1, d2, d3]) =
            span.first()
        else {
            return self.short(span, 20);
        };
        let header = u32::from(first & 0x0f) * 4;
        let total = u32::from(u16::from_be_bytes([l0, l1]));
        // A total length of 0 is a segment that the sender's network card splits: it is as long as the frame.
        if header < 20 || (total < header && total != 0) {
            self.packet.flaws.add(if header < 20 { Flaws::FIELD } else { Flaws::LENGTH });
            return Next::End;
        }
        if total > span.wire {
            self.packet.flaws.add(Flaws::LENGTH);
        }
        let rest = if total == 0 { span } else { span.limit(total) }.skip(header);
        let bits = u16::from_be_bytes([f0, f1]);
        let fragment = (bits & 0x3fff != 0).then(|| Fragment {
            id: u32::from(u16::from_be_bytes([i0, i1])),
            offset: u32::from(bits & 0x1fff) * 8,
            len: rest.wire,
            more: bits & 0x2000 != 0,
        });
        let (src, dst) = (Addr::v4([s0, s1, s2, s3]), Addr::v4([d0, d1, d2, d3]));
        self.behind_ip(Header { src, dst, proto, ttl, fragment }, rest)
    }

    /// RFC 8200.
    pub(super) fn ipv6(&mut self, span: Span<'a>) -> Next<'a> {
        self.level(Level::Ipv6);
        let Some(&[first, _, _, _, l0, l1, next, ttl, ref addrs @ ..]) = span.first::<40>() else {
            return self.short(span, 40);
        };
        if first >> 4 != 6 {
            self.packet.flaws.add(Flaws::FIELD);
            return Next::End;
        }
        let (src, dst) = addrs.split_at(16);
        let (src, dst) = (src.first_chunk().copied(), dst.first_chunk().copied());
        let (src, dst) = (Addr::v6(src.unwrap_or_default()), Addr::v6(dst.unwrap_or_default()));
        let len = u32::from(u16::from_be_bytes([l0, l1]));
        let rest = span.skip(40);
        if len > rest.wire {
            self.packet.flaws.add(Flaws::LENGTH);
        }
        // A length of 0 is a jumbogram (RFC 2675), a segment yet to be split, or a packet without a payload.
        let rest = if len == 0 && next != proto::NONE { rest } else { rest.limit(len) };
        let mut header = Header { src, dst, proto: next, ttl, fragment: None };
        match self.extensions(&mut header, rest) {
            Some(rest) => self.behind_ip(header, rest),
            None => {
                self.network(header, rest, Transport::Cut);
                Next::End
            }
        }
    }

    /// Goes behind the extension headers (RFC 8200, 4); `None` if one is cut off.
    fn extensions(&mut self, header: &mut Header, mut rest: Span<'a>) -> Option<Span<'a>> {
        for _ in 0..MAX_EXTENSIONS {
            let len = match header.proto {
                proto::HOP_BY_HOP | proto::ROUTING | proto::OPTIONS => {
                    rest.bytes.get(1).map(|&len| 8 * (u32::from(len) + 1))
                }
                proto::FRAGMENT => Some(8),
                _ => return Some(rest),
            };
            let (Some(len), Some(&[next, _, o0, o1, i0, i1, i2, i3])) = (len, rest.first()) else {
                // Of all but this one the first byte tells what follows, if not where.
                if let (true, Some(&next)) = (header.proto != proto::FRAGMENT, rest.bytes.first()) {
                    header.proto = next;
                }
                self.short(rest, 8);
                return None;
            };
            let fragments = header.proto == proto::FRAGMENT;
            if len > rest.wire {
                self.packet.flaws.add(Flaws::LENGTH);
            }
            header.proto = next;
            rest = rest.skip(len);
            if fragments {
                let bits = u16::from_be_bytes([o0, o1]);
                // An "atomic" fragment (RFC 6946) is a whole packet.
                if bits & 0xfff9 != 0 {
                    header.fragment = Some(Fragment {
                        id: u32::from_be_bytes([i0, i1, i2, i3]),
                        offset: u32::from(bits & 0xfff8),
                        len: rest.wire,
                        more: bits & 1 != 0,
                    });
                }
                if bits & 0xfff8 != 0 {
                    return Some(rest);
                }
            }
        }
        self.packet.flaws.add(Flaws::DEPTH);
        None
    }

    /// What follows all IP headers.
    #[inline]
    fn behind_ip(&mut self, header: Header, rest: Span<'a>) -> Next<'a> {
        let later = header.fragment.is_some_and(|fragment| fragment.offset > 0);
        let proto = header.proto;
        self.network(header, rest, if later { Transport::Later } else { Transport::Portless });
        if later { Next::End } else { self.proto(proto, rest) }
    }

    /// Notes an IP header: the frame's own if it is the first, else one in a tunnel.
    #[inline]
    fn network(&mut self, header: Header, payload: Span<'a>, transport: Transport) {
        let Header { src, dst, proto, ttl, fragment } = header;
        if matches!(self.packet.net, Net::Ip(_)) {
            self.packet.inner = Some(Inner { addrs: Some((src, dst)), transport, payload: payload.bytes });
        } else {
            let (payload, payload_len) = (payload.bytes, payload.wire);
            self.packet.net = Net::Ip(Ip { src, dst, proto, ttl, fragment, transport, payload, payload_len });
        }
    }
}

/// What IPv4 and IPv6 headers have in common.
struct Header {
    src: Addr,
    dst: Addr,
    proto: u8,
    ttl: u8,
    fragment: Option<Fragment>,
}
