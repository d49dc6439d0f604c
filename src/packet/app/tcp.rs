//! What a TCP payload tells of its protocol on any port: forms that random bytes have in less than one of a million tries.
//! A segment may begin in the middle of a flow, but is believed only where a message begins with it.

use super::bytes::{Ber, be16, be24, be32, contains, le16, le32, printable};
use super::dns::Message;
use super::lines;
use crate::packet::level::Level;

/// The protocol of a segment's payload.
pub(super) fn tell(p: &[u8]) -> Option<Level> {
    let &first = p.first()?;
    let by_first = match first {
        0x13 => p.starts_with(b"\x13BitTorrent protocol").then_some(Level::BitTorrent),
        0x14..=0x18 => is_tls(p).then_some(Level::Tls),
        b'*' | b'+' | b'-' | b':' | b'<' | b'@' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => lines::tell(p),
        0xff => of_ff(p),
        _ => None,
    };
    by_first.or_else(|| binary(first, p))
}

fn binary(first: u8, p: &[u8]) -> Option<Level> {
    let told = match first {
        0x00 => nbss(p),
        0x01 => is_diameter(p).then_some(Level::Diameter),
        0x03 => tpkt(p),
        0x05 => {
            if p.starts_with(b"\x05\x64") && is_dnp3(p) {
                Some(Level::Dnp3)
            } else {
                is_dcerpc(p).then_some(Level::Dcerpc)
            }
        }
        0x10 => is_mqtt_connect(p).then_some(Level::Mqtt),
        0x12 => {
            if p.starts_with(b"\x12\x34") {
                is_ajp(p).then_some(Level::Ajp13)
            } else {
                is_tds_prelogin(p).then_some(Level::Tds)
            }
        }
        0x30 => is_ldap(p).then_some(Level::Ldap),
        0x68 => is_iec104_control(p).then_some(Level::Iec104),
        0x80..=0x9f => {
            if is_sslv2_hello(p) {
                Some(Level::Tls)
            } else if first == 0x81 && is_nbss_request(p) {
                Some(Level::Nbss)
            } else {
                rpc(p.get(4..)?).filter(|_| is_rpc_mark(p))
            }
        }
        _ => None,
    };
    told.or_else(|| counted(p))
}

/// Forms that begin with a length or another free number.
fn counted(p: &[u8]) -> Option<Level> {
    if p.len() < 8 {
        return None;
    }
    if is_modbus(p) {
        Some(Level::Modbus)
    } else if p[0] == 0 && p[1] == 0 && is_kerberos_tcp(p) {
        Some(Level::Kerberos)
    } else if p[0] == 0 && is_postgres_startup(p) {
        Some(Level::Postgres)
    } else if p[3] == 0 && p[4] == 0x0a && is_mysql_greeting(p) {
        Some(Level::Mysql)
    } else if be32(p, 4) == Some(0x1a2b_3c4d) && be16(p, 2) == Some(1) {
        Some(Level::Pptp)
    } else if p[0] == 0 && is_http2_settings(p) {
        Some(Level::Http2)
    } else if is_openvpn_tcp(p) {
        Some(Level::OpenVpn)
    } else if is_mongo(p) {
        Some(Level::Mongo)
    } else if is_enip(p) {
        Some(Level::Enip)
    } else if is_dns_tcp(p) {
        Some(Level::Dns)
    } else {
        None
    }
}

/// A TLS record (RFC 8446, 5.1): a known type and version, a possible length, and a body or a next record that fits.
fn is_tls(p: &[u8]) -> bool {
    let Some(&[kind, 3, minor, high, low]) = p.first_chunk::<5>() else { return false };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if minor > 4 || len == 0 || len > 16384 + 2048 {
        return false;
    }
    if let Some(&[kind, major, minor]) = p.get(5 + len..).and_then(|next| next.first_chunk::<3>())
        && !(matches!(kind, 20..=24) && major == 3 && minor <= 4)
    {
        return false;
    }
    let body = &p[5..];
    match kind {
        20 => len == 1 && body.first().is_none_or(|&byte| byte == 1),
        21 => {
            (len == 2 && body.first().is_none_or(|level| matches!(level, 1 | 2))) || (16..=96).contains(&len)
        }
        22 => match body.first() {
            Some(1 | 2) => {
                body.get(4).is_none_or(|&major| major == 3) && body.get(1).is_none_or(|&byte| byte == 0)
            }
            // Other messages in the clear; after the change of the cipher any byte.
            Some(0 | 3..=24) => true,
            _ => (40..=0x200).contains(&len),
        },
        23 => len >= 16,
        _ => len >= 3,
    }
}

/// A hello in the form of SSL 2.0 (RFC 5246, E.2).
pub(super) fn is_sslv2_hello(p: &[u8]) -> bool {
    let Some(&[_, len, 1, major, minor, ch, cl, sh, sl, nh, nl]) = p.first_chunk::<11>() else {
        return false;
    };
    let [ciphers, session, nonce] = [[ch, cl], [sh, sl], [nh, nl]].map(u16::from_be_bytes);
    p[0] == 0x80
        && ((major == 3 && minor <= 3) || (major == 0 && minor == 2))
        && ciphers > 0
        && ciphers.is_multiple_of(3)
        && (session == 0 || session == 16)
        && (16..=32).contains(&nonce)
        && u16::from(len) == 9 + ciphers + session + nonce
}

fn of_ff(p: &[u8]) -> Option<Level> {
    // Two options or more in a row (RFC 854).
    let is_option = |at: usize| matches!(p.get(at..at + 3), Some([0xff, 0xfb..=0xfe, 0..=49]));
    if is_option(0) && (is_option(3) || matches!(p.get(3..6), Some([0xff, 0xfa, 0..=49]))) {
        return Some(Level::Telnet);
    }
    // RFC 4271, 4.1.
    let is_bgp = p.len() >= 19
        && p[..16].iter().all(|&byte| byte == 0xff)
        && (19..=4096).contains(&be16(p, 16)?)
        && matches!(p[18], 1..=5);
    is_bgp.then_some(Level::Bgp)
}

/// A message header of OPC UA TCP (OPC 10000-6, 7.1.2): type, chunk, length.
pub(super) fn is_opcua(p: &[u8]) -> bool {
    let Some(head) = p.first_chunk::<4>() else { return false };
    let is_type = matches!(
        head,
        b"HELF" | b"ACKF" | b"ERRF" | b"RHEF" | b"OPNF" | b"CLOF" | b"MSGF" | b"MSGC" | b"MSGA"
    );
    is_type && le32(p, 4).is_some_and(|len| (8..=1 << 24).contains(&len))
}

/// SMB in a NetBIOS session message (RFC 1002, 4.3.1; MS-SMB2, 2.1).
fn nbss(p: &[u8]) -> Option<Level> {
    match p.get(4..8)? {
        b"\xffSMB" => Some(Level::Smb),
        b"\xfeSMB" | b"\xfdSMB" | b"\xfcSMB" => Some(Level::Smb2),
        _ => None,
    }
}

/// A NetBIOS session request: two encoded names (RFC 1002, 4.3.2).
fn is_nbss_request(p: &[u8]) -> bool {
    p.starts_with(b"\x81\0\0")
        && p.get(4) == Some(&32)
        && p.get(5..37).is_some_and(|name| name.iter().all(|byte| matches!(byte, b'A'..=b'P')))
}

fn is_diameter(p: &[u8]) -> bool {
    // RFC 6733, 3: version 1, length, flags with four spare bits, a command of the base protocol or of 3GPP.
    let (Some(len), Some(command)) = (be24(p, 1), be24(p, 5)) else { return false };
    len >= 20
        && len.is_multiple_of(4)
        && len as usize >= p.len().min(64)
        && p.get(4).is_some_and(|flags| flags & 0x0f == 0)
        && matches!(command, 257 | 258 | 265 | 268 | 271 | 272 | 274 | 275 | 280 | 282 | 300..=305 | 316..=324)
}

/// TPKT and COTP (RFC 1006, X.224), and what they carry.
fn tpkt(p: &[u8]) -> Option<Level> {
    let len = usize::from(be16(p, 2)?);
    if p[1] != 0 || len < 7 || (len > p.len() && p.len() < 64) {
        return None;
    }
    match (p.get(5)? & 0xf0, p.get(6..)?) {
        (0xf0, [0x80, 0x32, 1..=3 | 7, ..]) if p[4] == 2 => Some(Level::S7comm),
        // MCS connect initial and response (T.125).
        (0xf0, [0x80, 0x7f, 0x65 | 0x66, ..]) if p[4] == 2 => Some(Level::Rdp),
        // RDP negotiation (MS-RDPBCGR, 2.2.1.1): a cookie or a request of eight bytes.
        (0xe0, [_, _, _, _, _, rest @ ..]) => {
            let asks = rest.ends_with(&[0, 0, 0]) && rest.len() >= 8 && {
                let at = rest.len() - 8;
                rest[at] == 1 && rest[at + 2..at + 4] == [8, 0]
            };
            (rest.starts_with(b"Cookie: msts") || asks).then_some(Level::Rdp)
        }
        (0xd0, [_, _, _, _, _, 2 | 3, _, 8, 0, ..]) if len == 19 => Some(Level::Rdp),
        _ => None,
    }
}

/// A frame whose header has the right checksum (IEEE 1815).
pub(super) fn is_dnp3(p: &[u8]) -> bool {
    let Some(head) = p.first_chunk::<8>() else { return false };
    let crc = head.iter().fold(0u16, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xa6bc } else { crc >> 1 })
    });
    head[..2] == [5, 0x64] && head[2] >= 5 && le16(p, 8) == Some(!crc)
}

/// A connection-oriented DCE/RPC header (C706, 12.6.3): version, type, little-endian data, length.
fn is_dcerpc(p: &[u8]) -> bool {
    matches!(p, [5, 0 | 1, 0..=19, _, 0x10, 0, 0, 0, _, _, ..])
        && le16(p, 8).is_some_and(|len| len >= 16 && (usize::from(len) <= p.len() || p.len() >= 64))
        && le16(p, 10).is_some_and(|auth| usize::from(auth) < p.len().max(16))
}

fn is_mqtt_connect(p: &[u8]) -> bool {
    // The remaining length takes one to four bytes (MQTT 3.1.1, 2.2.3).
    let count = p[1..].iter().take(4).take_while(|&&byte| byte >= 0x80).count();
    p.get(2 + count..).is_some_and(|rest| {
        matches!(rest, [0, 4, b'M', b'Q', b'T', b'T', 3..=5, ..]) || rest.starts_with(b"\0\x06MQIsdp\x03")
    })
}

fn is_ajp(p: &[u8]) -> bool {
    p.len() >= 6
        && be16(p, 2).is_some_and(|len| usize::from(len) + 4 == p.len())
        && matches!(p[4], 2 | 7 | 8 | 10)
}

/// A pre-login message, whose first option is the version (MS-TDS, 2.2.6.5).
fn is_tds_prelogin(p: &[u8]) -> bool {
    p.get(1) == Some(&1)
        && be16(p, 2).is_some_and(|len| usize::from(len) == p.len())
        && p.len() > 16
        && p[8] == 0
        && p[11..13] == [0, 6]
}

/// A message of LDAP (RFC 4511, 4.1.1): its number, and one operation that fills it.
pub(super) fn is_ldap(p: &[u8]) -> bool {
    let Some(all) = Ber::at(p, 0).filter(|all| all.tag == 0x30 && all.len >= 5 && all.len < 1 << 24) else {
        return false;
    };
    let Some(id) = Ber::at(p, all.at).filter(|id| id.tag == 2 && (1..=4).contains(&id.len)) else {
        return false;
    };
    let Some(op) = Ber::at(p, id.end()) else { return false };
    let is_operation =
        matches!(op.tag, 0x42 | 0x4a | 0x50 | 0x60 | 0x61 | 0x63..=0x69 | 0x6b..=0x6f | 0x73 | 0x77..=0x79);
    let is_filled =
        op.end() == all.end() || (op.end() < all.end() && p.get(op.end()).is_none_or(|&tag| tag == 0xa0));
    is_operation && is_filled && (all.end() <= p.len() || p.len() >= 128)
}

/// The control functions of IEC 60870-5-104, six bytes each.
fn is_iec104_control(p: &[u8]) -> bool {
    matches!(p, [0x68, 4, 0x07 | 0x0b | 0x13 | 0x23 | 0x43 | 0x83, 0, 0, 0])
}

/// A record mark of ONC RPC (RFC 5531, 11), whose fragment is the last.
fn is_rpc_mark(p: &[u8]) -> bool {
    be32(p, 0).is_some_and(|mark| {
        let len = (mark & 0x7fff_ffff) as usize;
        mark >> 31 == 1 && len >= 24 && (len + 4 == p.len() || p.len() >= 128)
    })
}

/// A call or a reply of ONC RPC (RFC 5531, 9).
pub(super) fn rpc(p: &[u8]) -> Option<Level> {
    match be32(p, 4)? {
        0 => {
            let (version, program) = (be32(p, 8)?, be32(p, 12)?);
            let is_call = version == 2 && be32(p, 16)? < 16 && be32(p, 20)? < 256 && be32(p, 24)? < 16;
            match program {
                100_003 => is_call.then_some(Level::Nfs),
                100_000..=0x5fff_ffff => is_call.then_some(Level::Rpc),
                _ => None,
            }
        }
        1 => {
            let is_reply = be32(p, 8)? == 0 && be32(p, 12)? < 7 && be32(p, 16)? <= 400 && p.len() >= 24;
            is_reply.then_some(Level::Rpc)
        }
        _ => None,
    }
}

/// Modbus/TCP: protocol 0, an exact length and a function whose data have the length that they must have.
fn is_modbus(p: &[u8]) -> bool {
    let len = usize::from(p[4]) << 8 | usize::from(p[5]);
    if p[2..4] != [0, 0] || !(3..=254).contains(&len) || p.len() != len + 6 {
        return false;
    }
    let first = p.get(8).map_or(0, |&byte| usize::from(byte));
    match p[7] {
        1..=4 => len == 6 || first == len - 3,
        5 | 6 => len == 6,
        15 | 16 => len == 6 || p.get(12).is_some_and(|&count| usize::from(count) + 7 == len),
        0x81..=0x98 => len == 3 && (1..=11).contains(&first),
        _ => false,
    }
}

/// A message of Kerberos 5 (RFC 4120, 5.4): an application tag, version 5, the message type of the tag.
pub(super) fn is_kerberos(p: &[u8]) -> bool {
    let Some(app) = Ber::at(p, 0).filter(|app| matches!(app.tag, 0x6a..=0x6d | 0x7e)) else { return false };
    let Some(all) = Ber::at(p, app.at).filter(|all| all.tag == 0x30 && all.end() == app.end()) else {
        return false;
    };
    let kind = app.tag & 0x1f;
    match p.get(all.at..all.at + 10) {
        Some([a, 3, 2, 1, 5, b, 3, 2, 1, told]) => {
            matches!((a, b), (0xa1, 0xa2) | (0xa0, 0xa1)) && *told == kind
        }
        _ => false,
    }
}

fn is_kerberos_tcp(p: &[u8]) -> bool {
    be32(p, 0).is_some_and(|len| len as usize + 4 >= p.len()) && is_kerberos(&p[4..])
}

/// The first message of a PostgreSQL client: version 3.0 and a user, or a request for TLS, GSSAPI or cancellation.
fn is_postgres_startup(p: &[u8]) -> bool {
    let (Some(len), Some(code)) = (be32(p, 0), be32(p, 4)) else { return false };
    match code {
        0x0003_0000..=0x0003_0002 => len as usize == p.len() && contains(&p[8..p.len().min(256)], b"user\0"),
        80_877_103 | 80_877_104 => len == 8 && p.len() == 8,
        80_877_102 => len == 16 && p.len() == 16,
        _ => false,
    }
}

/// The first message of a MySQL server: packet 0, protocol 10, a version as text.
fn is_mysql_greeting(p: &[u8]) -> bool {
    let len = usize::from(p[0]) | usize::from(p[1]) << 8 | usize::from(p[2]) << 16;
    let version = &p[5..p.len().min(64)];
    len + 4 == p.len()
        && memchr::memchr(0, version)
            .is_some_and(|end| end >= 3 && version[0].is_ascii_digit() && printable(&version[..end]))
}

/// The first frame of an HTTP/2 server (RFC 9113, 6.5): settings of stream 0.
fn is_http2_settings(p: &[u8]) -> bool {
    let Some(len) = be24(p, 0) else { return false };
    p.get(3..9) == Some(&[4, 0, 0, 0, 0, 0])
        && len.is_multiple_of(6)
        && len <= 96
        && (p.len() >= 9 + len as usize)
}

fn is_openvpn_tcp(p: &[u8]) -> bool {
    be16(p, 0).is_some_and(|len| usize::from(len) + 2 == p.len()) && super::udp::is_openvpn_reset(&p[2..])
}

fn is_mongo(p: &[u8]) -> bool {
    le32(p, 0).is_some_and(|len| len as usize == p.len() && len >= 20)
        && matches!(le32(p, 12), Some(1 | 2001..=2007 | 2010..=2013))
}

/// An EtherNet/IP encapsulation header (ODVA CIP volume 2, 2-3.1): command, exact length, no error, no options.
pub(super) fn is_enip(p: &[u8]) -> bool {
    p.len() >= 24
        && matches!(le16(p, 0), Some(0x0001 | 0x0004 | 0x0063..=0x0066 | 0x006f | 0x0070))
        && le16(p, 2).is_some_and(|len| usize::from(len) + 24 == p.len())
        && be32(p, 8) == Some(0)
        && be32(p, 20) == Some(0)
}

fn is_dns_tcp(p: &[u8]) -> bool {
    let Some(len) = be16(p, 0) else { return false };
    len >= 17
        && (usize::from(len) + 2 == p.len() || (usize::from(len) + 2 > p.len() && p.len() >= 512))
        && Message::read_tcp(p).is_some_and(|message| message.is_plain() && message.question.is_some())
}
