//! What a datagram tells of its protocol on any port: forms that random bytes have in less than one of a million tries.

use super::Way;
use super::bytes::{Ber, be16, be32, begins, le32, line, printable};
use super::dns::Message;
use super::{lines, tcp};
use crate::packet::level::Level;

/// The protocol of a datagram.
pub(super) fn tell(way: Way, p: &[u8]) -> Option<Level> {
    let &first = p.first()?;
    let by_first = match first {
        b'A'..=b'Z' => text(way, p),
        b'<' => is_syslog(p).then_some(Level::Syslog),
        b'd' => is_dht(p).then_some(Level::BtDht),
        b'{' => begins(p, b"{\"host_int\":").then_some(Level::DbLsp),
        0xff => is_wake_on_lan(p).then_some(Level::Wol),
        _ => None,
    };
    by_first.or_else(|| binary(way, first, p))
}

fn text(way: Way, p: &[u8]) -> Option<Level> {
    if p.starts_with(b"BT-SEARCH * HTTP/1.1") {
        return Some(Level::Lsd);
    }
    let told = lines::like_http(p)?;
    // HTTP in datagrams is SSDP, on its port or in what answers it.
    Some(match told {
        Level::Http
            if p.starts_with(b"M-SEARCH")
                || p.starts_with(b"NOTIFY")
                || way.src_port == 1900
                || way.dst_port == 1900 =>
        {
            Level::Ssdp
        }
        Level::Http if p.starts_with(b"HTTP/1.1 200") => Level::Ssdp,
        told => told,
    })
}

fn binary(way: Way, first: u8, p: &[u8]) -> Option<Level> {
    if p.len() < 8 {
        return None;
    }
    let told = match first {
        0..=3 if is_stun(p) => Some(Level::Stun),
        0 => {
            if is_tftp(p) {
                Some(Level::Tftp)
            } else {
                ike_behind_marker(p)
            }
        }
        1..=4 if is_wireguard(p) => Some(Level::Wireguard),
        1 | 2 if is_dhcp(p) => Some(Level::Dhcp),
        1..=5 | 11 | 12 | 40..=45 if is_radius(p) => Some(Level::Radius),
        5 if tcp::is_dnp3(p) => Some(Level::Dnp3),
        0x10..=0x16 if is_nbdgm(p) => Some(Level::Nbdgm),
        0x14..=0x19 if is_dtls(p) => Some(Level::Dtls),
        0x1b..=0x24 if is_ntp(p) => Some(Level::Ntp),
        0x30 => {
            if is_snmp(p) {
                Some(Level::Snmp)
            } else {
                tcp::is_ldap(p).then_some(Level::Cldap)
            }
        }
        0x38 | 0x40 if is_openvpn_reset(p) => Some(Level::OpenVpn),
        0x6a..=0x6d | 0x7e if tcp::is_kerberos(p) => Some(Level::Kerberos),
        0x80 | 0x81 | 0xa0 | 0xa1 if is_rtcp(p) => Some(Level::Rtcp),
        0x81 if is_bacnet(p) => Some(Level::Bacnet),
        0xc0..=0xff if is_quic(p) => Some(Level::Quic),
        _ => is_gquic(p).then_some(Level::Gquic),
    };
    told.or_else(|| if is_isakmp(p) { Some(Level::Isakmp) } else { tcp::rpc(p) })
        .or_else(|| tcp::is_enip(p).then_some(Level::Enip))
        .or_else(|| dns(way, p))
}

/// DNS and its kin, by their ports and by the form of their names.
fn dns(way: Way, p: &[u8]) -> Option<Level> {
    // A quick look at the counts, which nearly all other bytes do not pass.
    let mdns = way.src_port == 5353 || way.dst_port == 5353;
    let &[_, _, _, _, questions_high, questions, answers_high, ..] = p.first_chunk::<12>()?;
    if questions_high != 0 || answers_high > 1 || questions > 32 {
        return None;
    }
    let has = |port: u16| way.src_port == port || way.dst_port == port;
    // Only mDNS, and NBNS registrations' answers, leave out the question.
    if questions == 0 && !mdns && !has(137) && !has(53) {
        return None;
    }
    let message = Message::read(p).filter(|message| message.is_plain())?;
    let name = message
        .question
        .map(|question| question.name)
        .or_else(|| message.records().next().map(|record| record.name));
    let is_nbns = name.is_some_and(|name| name.netbios().is_some())
        && (message
            .question
            .map(|question| question.kind)
            .or_else(|| message.records().next().map(|record| record.kind)))
        .is_some_and(|kind| matches!(kind, 32 | 33));
    if is_nbns {
        return Some(Level::Nbns);
    }
    if has(137) {
        return None;
    }
    Some(if mdns {
        Level::Mdns
    } else if has(5355) {
        Level::Llmnr
    } else {
        Level::Dns
    })
}

/// `<` priority `>` and a version or a month (RFC 5424, RFC 3164).
fn is_syslog(p: &[u8]) -> bool {
    let Some(end) = p.iter().take(5).position(|&byte| byte == b'>') else { return false };
    let rest = &p[end + 1..];
    let is_month = |word: &[u8]| {
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"]
            .iter()
            .any(|&month| month == word)
    };
    (2..=4).contains(&end)
        && p[1..end].iter().all(u8::is_ascii_digit)
        && ((rest.starts_with(b"1 ") && matches!(rest.get(2), Some(b'-' | b'1'..=b'9')))
            || (rest.get(..3).is_some_and(is_month) && rest.get(3) == Some(&b' ')))
}

/// A dictionary of the mainline DHT (BEP 5).
fn is_dht(p: &[u8]) -> bool {
    [&b"d1:ad2:id20:"[..], b"d1:rd2:id20:", b"d1:eli2", b"d2:ip4:", b"d2:ip6:"]
        .iter()
        .any(|head| p.starts_with(head))
}

/// Six ones, then sixteen times the same address.
fn is_wake_on_lan(p: &[u8]) -> bool {
    p.len() >= 102
        && p[..6] == [0xff; 6]
        && p[6..12] != [0xff; 6]
        && p[6..102].chunks_exact(6).all(|mac| mac == &p[6..12])
}

/// RFC 8489, 5: two zero bits, the cookie, an exact length.
fn is_stun(p: &[u8]) -> bool {
    be32(p, 4) == Some(0x2112_a442)
        && p.len() >= 20
        && be16(p, 2).is_some_and(|len| usize::from(len) + 20 == p.len() && len % 4 == 0)
}

/// A request (RFC 1350, 5): a name and a mode, each ended by zero; or what answers it from
/// another port: a first whole block of data, an error, options.
fn is_tftp(p: &[u8]) -> bool {
    match p.get(1) {
        Some(1 | 2) => {
            let mut parts = p[2..].splitn(3, |&byte| byte == 0);
            let name = parts.next().is_some_and(|name| !name.is_empty() && printable(name));
            let mode = parts.next().is_some_and(|mode| {
                [&b"octet"[..], b"netascii", b"mail"].iter().any(|known| mode.eq_ignore_ascii_case(known))
            });
            name && mode && parts.next().is_some()
        }
        Some(3) => p[2..4] == [0, 1] && p.len() == 516,
        // An error, ended by zero; options granted (RFC 2347).
        Some(5) => {
            p[2] == 0 && p[3] <= 8 && p.len() > 5 && p.last() == Some(&0) && printable(&p[4..p.len() - 1])
        }
        Some(6) => {
            let options = [&b"blksize\0"[..], b"tsize\0", b"timeout\0", b"windowsize\0", b"multicast\0"];
            options.iter().any(|option| begins(&p[2..], option)) && p.last() == Some(&0)
        }
        _ => false,
    }
}

/// Messages of WireGuard: types with three zero bytes, of fixed length; data with a counter that fits a life of the key.
fn is_wireguard(p: &[u8]) -> bool {
    p[1..4] == [0; 3]
        && match p[0] {
            1 => p.len() == 148,
            2 => p.len() == 92,
            3 => p.len() == 64,
            4 => p.len() >= 32 && p.len().is_multiple_of(16) && p[13..16] == [0; 3] && le32(p, 4) != Some(0),
            _ => false,
        }
}

/// BOOTP with DHCP's cookie (RFC 2131, 3).
fn is_dhcp(p: &[u8]) -> bool {
    be32(p, 236) == Some(0x6382_5363) && p[2] <= 16
}

/// An exact length, and attributes that fill it (RFC 2865, 3).
fn is_radius(p: &[u8]) -> bool {
    if p.len() < 22 || be16(p, 2).is_none_or(|len| usize::from(len) != p.len()) {
        return false;
    }
    let mut rest = &p[20..];
    while let [_, len @ 2..=0xff, ..] = *rest {
        let Some(next) = rest.get(usize::from(len)..) else { return false };
        rest = next;
    }
    rest.is_empty()
}

/// A NetBIOS datagram (RFC 1002, 4.4.1), which names its port.
fn is_nbdgm(p: &[u8]) -> bool {
    p[1] & 0xf0 == 0 && be16(p, 8) == Some(138)
}

/// A DTLS record (RFC 9147, 4.1): a type, a version, a length within the datagram.
fn is_dtls(p: &[u8]) -> bool {
    matches!(p[1..3], [0xfe, 0xff | 0xfd])
        && be16(p, 11).is_some_and(|len| len > 0 && usize::from(len) + 13 <= p.len())
        && (p[0] != 22 || p[3..5] != [0, 0] || matches!(p[13], 0..=24))
}

/// NTP (RFC 5905, 7.3) whose stamps agree: an empty request, or an answer that was sent within a second of the question.
fn is_ntp(p: &[u8]) -> bool {
    if p.len() != 48 {
        return false;
    }
    match p[0] & 7 {
        3 => {
            p[1..40].iter().all(|&byte| byte == 0)
                && be32(p, 40).is_some_and(|sent| sent == 0 || sent > 1 << 31)
        }
        4 => {
            let (Some(received), Some(sent)) = (be32(p, 32), be32(p, 40)) else { return false };
            (1..=15).contains(&p[1]) && p[3] >= 0xe0 && sent.wrapping_sub(received) <= 1 && received > 1 << 31
        }
        _ => false,
    }
}

/// SNMP (RFC 3416, RFC 3412): a version, a community and a request, or the header of version 3.
fn is_snmp(p: &[u8]) -> bool {
    let Some(all) = Ber::at(p, 0).filter(|all| all.end() == p.len() || p.len() >= 64) else { return false };
    if p.get(all.at..all.at + 2) != Some(&[2, 1]) {
        return false;
    }
    let (version, Some(next)) = (p.get(all.at + 2), Ber::at(p, all.at + 3)) else { return false };
    match version {
        Some(0 | 1) => next.tag == 4 && p.get(next.end()).is_some_and(|tag| matches!(tag, 0xa0..=0xa8)),
        Some(3) => next.tag == 0x30 && p.get(next.at) == Some(&2) && p.get(next.end()) == Some(&4),
        _ => false,
    }
}

/// The first message of either side of OpenVPN: opcode, session, no acknowledgements but one, message 0; with the
/// authentication of `tls-auth` between them or without.
pub(super) fn is_openvpn_reset(p: &[u8]) -> bool {
    let (is_client, is_server) = (p.first() == Some(&0x38), p.first() == Some(&0x40));
    if !is_client && !is_server {
        return false;
    }
    // Sizes of the HMAC: none, SHA-1, SHA-256, SHA-512; with it come a packet number, here the first, and a time.
    [0, 20, 32, 64].into_iter().any(|hmac| {
        let head = if hmac == 0 { 9 } else { 9 + hmac + 8 };
        let is_first = hmac == 0 || matches!(be32(p, 9 + hmac), Some(1..=3));
        // A server acknowledges the client's message and repeats the client's session.
        let acks = if is_server { 12 } else { 0 };
        is_first
            && p.get(head) == Some(&u8::from(is_server))
            && p.len() == head + 1 + acks + 4
            && be32(p, head + 1 + acks) == Some(0)
    })
}

/// RTCP (RFC 3550, 6.4): sender or receiver reports whose lengths fill the datagram.
fn is_rtcp(p: &[u8]) -> bool {
    if !matches!(p[1], 200 | 201) {
        return false;
    }
    let mut rest = p;
    while let [first, 192..=223, high, low, ..] = *rest {
        let len = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        if first >> 6 != 2 {
            return false;
        }
        let Some(next) = rest.get(len..) else { return false };
        rest = next;
    }
    rest.is_empty()
}

/// BACnet/IP (ASHRAE 135, annex J): function, exact length, version 1 of the network layer.
fn is_bacnet(p: &[u8]) -> bool {
    let npdu = if p[1] == 4 { 10 } else { 4 };
    p[1] <= 0x0c && be16(p, 2).is_some_and(|len| usize::from(len) == p.len()) && p.get(npdu) == Some(&1)
}

/// A long header of QUIC (RFC 8999, 5.1; RFC 9000, 17.2): a known version, or a negotiation, and ids of possible lengths.
fn is_quic(p: &[u8]) -> bool {
    let Some(version) = be32(p, 1) else { return false };
    let is_version = match version {
        1 | 0x6b33_43cf => true,
        // Of no protocol: it asks for the versions that the server knows (RFC 9000, 15).
        version if version & 0x0f0f_0f0f == 0x0a0a_0a0a => true,
        0 => p.len() >= 11 && p.len() % 2 == 1,
        // Drafts, Google's and Facebook's.
        _ => {
            (0xff00_0011..=0xff00_0022).contains(&version)
                || (version & 0xffff_0000 == 0xface_0000 && version & 0xffff < 0x10)
                || (version.to_be_bytes().starts_with(b"Q0")
                    && p[3].is_ascii_digit()
                    && p[4].is_ascii_digit())
        }
    };
    let Some(&dcid) = p.get(5).filter(|&&len| len <= 20) else { return false };
    is_version && p.get(6 + usize::from(dcid)).is_some_and(|&scid| scid <= 20)
}

/// Google's QUIC up to Q043: flags, a connection id of eight bytes, the version.
fn is_gquic(p: &[u8]) -> bool {
    p[0] & 0x89 == 0x09
        && p.get(9..13)
            .is_some_and(|v| v.starts_with(b"Q0") && v[2].is_ascii_digit() && v[3].is_ascii_digit())
}

/// ISAKMP (RFC 2408, 3.1; RFC 7296, 3.1): a version, an exchange, an exact length.
fn is_isakmp(p: &[u8]) -> bool {
    p.len() >= 28
        && matches!(p[17], 0x10 | 0x20)
        && (matches!(p[18], 0..=6 | 32..=37) && p[16] <= 54)
        && p[..8] != [0; 8]
        && be32(p, 24).is_some_and(|len| len as usize == p.len())
}

/// ISAKMP behind the marker that tells it from ESP (RFC 3948, 2.2).
fn ike_behind_marker(p: &[u8]) -> Option<Level> {
    (p[..4] == [0; 4] && is_isakmp(&p[4..])).then_some(Level::Isakmp)
}

/// What is kept of a datagram that may be RTP's: its source and its number, to be held against the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stream {
    /// The lower bits of the synchronisation source, the lowest replaced by the direction.
    source: u16,
    /// The sequence number; with `source` 0, nothing is kept.
    number: u16,
}

impl Stream {
    /// Whether a datagram goes on a stream of RTP (RFC 3550, 5.1): the same source as one before it in the same
    /// direction, and a number that follows it closely.
    pub(super) fn goes_on(&mut self, way: Way, p: &[u8]) -> bool {
        let Some(&[first, kind, high, low, _, _, _, _, a, b, c, d]) = p.first_chunk::<12>() else {
            return false;
        };
        let is_kind = matches!(kind & 0x7f, 0..=34 | 96..=127);
        if first >> 6 != 2 || !is_kind || p.len() < 12 + 4 * usize::from(first & 15) || [a, b] == [0; 2] {
            return false;
        }
        let source =
            (u16::from_be_bytes([c, d]) ^ u16::from_be_bytes([a, b])) & !1 | u16::from(way.from_originator);
        let number = u16::from_be_bytes([high, low]);
        let follows = self.source == source && (1..=16).contains(&number.wrapping_sub(self.number));
        if *self == Self::default() || self.source == source {
            *self = Self { source, number };
        }
        follows
    }
}

/// The first line of a datagram, for those that are text.
pub(super) fn is_text_line(p: &[u8]) -> bool {
    let line = line(p);
    !line.is_empty() && printable(line)
}
