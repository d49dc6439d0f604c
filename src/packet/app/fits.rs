//! Whether a payload has the form of the protocol that its port claims: weaker forms than those believed on any port.

use super::bytes::{Ber, be16, be24, be32, begins, le16, le32, line, printable};
use super::dns::Message;
use super::udp::is_text_line;
use super::{lines, tcp};
use crate::packet::level::Level;

/// Whether a payload fits a claim.
pub(super) fn fits(claim: Level, p: &[u8]) -> bool {
    let byte = |at: usize| p.get(at).copied();
    match claim {
        Level::Ftp => is_reply(p) || has_command(p, FTP),
        Level::Smtp => is_reply(p) || has_command(p, SMTP),
        Level::Pop => begins(p, b"+OK") || begins(p, b"-ERR") || has_command(p, POP),
        Level::Imap => begins(p, b"* ") || lines::is_imap_command(line(p)),
        Level::Nntp => is_reply(p),
        Level::Telnet => matches!(p, [0xff, 0xfa..=0xfe, _, ..]) || is_text_line(p),
        Level::Redis => matches!(byte(0), Some(b'+' | b'-' | b':' | b'$' | b'*')) && printable(line(p)),
        Level::Memcache => is_memcache(p),
        Level::Irc => {
            has_command(p, &[b"NICK", b"USER", b"PASS", b"PING", b"PONG", b"CAP", b"JOIN"]) || begins(p, b":")
        }
        Level::Whois | Level::Finger | Level::Xmpp => is_text_line(p),
        Level::Syslog => byte(0) == Some(b'<') && p.iter().take(5).any(|&byte| byte == b'>'),
        Level::Nbss => matches!(p, [0x82 | 0x83 | 0x85, 0, 0, 0..=6, ..]),
        Level::Modbus => be16(p, 2) == Some(0) && be16(p, 4).is_some_and(|len| (2..=254).contains(&len)),
        Level::S7comm | Level::Rdp => matches!(p, [3, 0, _, _, 2..=0xff, 0xe0 | 0xd0 | 0xf0 | 0x80, ..]),
        Level::Iec104 => matches!(p, [0x68, 4..=253, ..]),
        Level::Dnp3 => p.starts_with(b"\x05\x64"),
        Level::Mqtt => is_mqtt(p),
        Level::Ldap | Level::Cldap => Ber::at(p, 0).is_some_and(|all| all.tag == 0x30) && is_number_first(p),
        Level::Kerberos => tcp::is_kerberos(p) || matches!(p.get(4..), Some([0x6a..=0x6d | 0x7e, ..])),
        Level::Snmp => Ber::at(p, 0).is_some_and(|all| all.tag == 0x30) && is_number_first(p),
        Level::Tds => {
            matches!(p, [1..=4 | 7 | 8 | 14 | 16..=18, 0..=9, ..])
                && be16(p, 2).is_some_and(|len| usize::from(len) >= p.len().min(64))
        }
        Level::Mysql => {
            p.len() >= 5
                && le32(p, 0)
                    .is_some_and(|head| (head & 0x00ff_ffff) as usize + 4 <= p.len() && head >> 24 < 16)
        }
        Level::Postgres => {
            byte(0).is_some_and(|kind| kind.is_ascii_alphabetic())
                && be32(p, 1).is_some_and(|len| (4..1 << 24).contains(&len))
        }
        Level::Socks => is_socks(p),
        Level::Tacplus => {
            matches!(p, [0xc0 | 0xc1, 1..=3, _, 0..=5, ..])
                && be32(p, 8).is_some_and(|len| (len as usize).saturating_add(12) >= p.len())
        }
        Level::Vnc => false,
        Level::OpenVpn => {
            is_openvpn(p)
                || be16(p, 0).is_some_and(|len| usize::from(len) + 2 == p.len()) && is_openvpn(&p[2..])
        }
        Level::Rlogin => {
            p == b"\0"
                || (byte(0) == Some(0)
                    && printable(line(&p[1..]).split(|&byte| byte == 0).next().unwrap_or_default()))
        }
        Level::Dns => is_dns(p) || p.get(2..).is_some_and(is_dns),
        Level::Mdns | Level::Llmnr | Level::Nbns => is_dns(p),
        Level::Dhcp => matches!(p, [1 | 2, _, 0..=16, ..]) && p.len() >= 236,
        Level::Dhcpv6 => is_dhcpv6(p),
        Level::Ntp => is_ntp(p),
        Level::Tftp => matches!(p, [0, 1..=6, ..]) && p.len() >= 4,
        Level::Rip => {
            matches!(p, [1..=10, 1 | 2, 0, 0, ..]) && p.len() >= 24 && (p.len() - 4).is_multiple_of(20)
        }
        Level::Hsrp => matches!(p, [0, 0..=2, 0..=16, ..]) && p.len() >= 20 || matches!(p, [1, 40, 2, ..]),
        Level::Glbp => byte(0) == Some(1) && p.len() >= 12,
        Level::Bfd => {
            byte(0).is_some_and(|first| first >> 5 == 1)
                && byte(3).is_some_and(|len| len >= 24 && usize::from(len) <= p.len())
        }
        Level::Stun => {
            byte(0).is_some_and(|first| first < 4)
                && be16(p, 2).is_some_and(|len| usize::from(len) + 20 == p.len())
        }
        Level::Coap => {
            byte(0).is_some_and(|first| first >> 6 == 1 && first & 15 <= 8)
                && byte(1).is_some_and(|code| matches!(code >> 5, 0 | 2 | 4 | 5))
                && p.len() >= 4
        }
        Level::Quic => byte(0).is_some_and(|first| first & 0xc0 == 0xc0) && p.len() >= 64,
        Level::Wireguard => matches!(p, [1..=4, 0, 0, 0, ..]) && p.len() >= 32,
        Level::UdpEncap => p == b"\xff" || be32(p, 0).is_some_and(|spi| spi > 255) && p.len() >= 20,
        Level::Enip => p.len() >= 24 && le16(p, 2).is_some_and(|len| usize::from(len) + 24 >= p.len()),
        Level::Rpc | Level::Nfs => tcp::rpc(p).or_else(|| tcp::rpc(p.get(4..)?)).is_some(),
        Level::Diameter => byte(0) == Some(1) && be24(p, 1).is_some_and(|len| len >= 20 && len % 4 == 0),
        Level::Bacnet => byte(0) == Some(0x81),
        Level::BitTorrent => {
            be32(p, 0).is_some_and(|len| len < 1 << 18) && byte(4).is_some_and(|kind| kind <= 20)
        }
        _ => false,
    }
}

const FTP: &[&[u8]] = &[
    b"USER", b"PASS", b"QUIT", b"LIST", b"RETR", b"STOR", b"CWD", b"PWD", b"PORT", b"EPRT", b"NLST", b"SIZE",
    b"OPTS", b"NOOP", b"TYPE", b"MDTM", b"REST", b"DELE", b"MKD", b"CDUP", b"AUTH", b"HELP",
];
const SMTP: &[&[u8]] = &[
    b"QUIT",
    b"DATA",
    b"RSET",
    b"NOOP",
    b"AUTH",
    b"STARTTLS",
    b"VRFY",
    b"EXPN",
    b"HELP",
    b"BDAT",
    b"EHLO",
    b"HELO",
];
const POP: &[&[u8]] =
    &[b"USER", b"PASS", b"STAT", b"LIST", b"RETR", b"DELE", b"QUIT", b"NOOP", b"TOP", b"AUTH", b"UIDL"];

/// Three digits, and a blank or a dash.
fn is_reply(p: &[u8]) -> bool {
    matches!(p, [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9', b' ' | b'-', ..]) && printable(line(p))
}

/// A line whose first word is one of some.
fn has_command(p: &[u8], commands: &[&[u8]]) -> bool {
    let line = line(p);
    let word = line.split(|&byte| byte == b' ').next().unwrap_or_default();
    printable(line) && commands.iter().any(|command| word.eq_ignore_ascii_case(command))
}

/// A sequence that begins with a small number.
fn is_number_first(p: &[u8]) -> bool {
    Ber::at(p, 0)
        .and_then(|all| Ber::at(p, all.at))
        .is_some_and(|number| number.tag == 2 && (1..=4).contains(&number.len))
}

fn is_dns(p: &[u8]) -> bool {
    Message::read(p)
        .is_some_and(|message| (message.questions > 0 || message.answers > 0) && message.is_plain())
}

fn is_memcache(p: &[u8]) -> bool {
    has_command(
        p,
        &[
            b"get", b"gets", b"set", b"add", b"delete", b"stats", b"version", b"VALUE", b"STORED", b"END",
            b"STAT", b"ERROR",
        ],
    ) || (matches!(p, [0x80 | 0x81, 0..=0x2c, ..]) && p.len() >= 24)
}

/// A whole control packet (MQTT 3.1.1, 2).
fn is_mqtt(p: &[u8]) -> bool {
    let Some(&first) = p.first() else { return false };
    let (mut len, mut at) = (0usize, 1);
    loop {
        let Some(&byte) = p.get(at) else { return false };
        len |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte < 0x80 {
            break;
        }
        if at > 4 {
            return false;
        }
    }
    first >> 4 != 0 && len + at <= p.len()
}

fn is_socks(p: &[u8]) -> bool {
    match *p {
        [5, methods @ 1..=0xff, ..] => {
            p.len() == 2 + usize::from(methods) || (p.len() == 2 && matches!(methods, 0..=2))
        }
        [4, 1 | 2, _, _, _, _, _, _, .., 0] => true,
        _ => false,
    }
}

/// Any opcode of OpenVPN with key 0 to 7: data or control.
fn is_openvpn(p: &[u8]) -> bool {
    p.first().is_some_and(|&first| matches!(first >> 3, 1..=11)) && p.len() >= 14
}

/// Options that fill a message (RFC 8415, 8), or a relay's.
fn is_dhcpv6(p: &[u8]) -> bool {
    let mut at = match p.first() {
        Some(1..=11) => 4,
        Some(12 | 13) => 34,
        _ => return false,
    };
    while let (Some(_), Some(len)) = (be16(p, at), be16(p, at + 2)) {
        at += 4 + usize::from(len);
    }
    at >= p.len().min(4) && at > 4
}

fn is_ntp(p: &[u8]) -> bool {
    let Some(&first) = p.first() else { return false };
    let (version, mode) = (first >> 3 & 7, first & 7);
    matches!(version, 1..=4)
        && ((matches!(mode, 1..=5) && p.len() >= 48) || (matches!(mode, 6 | 7) && p.len() >= 8))
}
