//! Credentials that stand in one packet: HTTP Basic, LDAP, SNMP; and what they are written in. Pure and total; nothing here
//! returns a secret.

use std::sync::LazyLock;

use memchr::memchr;
use memchr::memmem::Finder;

/// The most characters that are kept of a name.
pub(super) const MAX_NAME: usize = 64;

/// A name as it may be told: other than printable ASCII as `\xNN`, cut at [`MAX_NAME`] characters.
pub(super) fn escaped(name: &[u8]) -> String {
    let mut text = String::new();
    for &byte in name {
        if text.len() >= MAX_NAME {
            break;
        }
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

/// Takes base64 (RFC 4648) character by character and gives bytes out; keeps no more than six bits of what it gave.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Base64 {
    bits: u32,
    held: u8,
}

impl Base64 {
    /// Takes a character; gives a byte when eight bits are there. Others than those of the alphabet are left out.
    pub(super) fn take(&mut self, character: u8) -> Option<u8> {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        self.bits = self.bits << 6 | u32::from(value);
        self.held += 6;
        if self.held < 8 {
            return None;
        }
        self.held -= 8;
        let byte = (self.bits >> self.held) as u8;
        self.bits &= (1 << self.held) - 1;
        Some(byte)
    }
}

/// What ends a request's head, and what begins a header that tells a login, less its first letter. Made once: to make them takes
/// longer than to search a request.
static HEAD_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));
static HEADERS: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new(b"uthorization:"), Finder::new(b"UTHORIZATION:")]);

/// Who logs in by HTTP Basic (RFC 7617) in the request that a payload begins with, if anybody: a name, or none that is told.
pub(in crate::detect) fn basic_credentials(payload: &[u8]) -> Option<Option<String>> {
    // A request begins with a method in capitals, or is the rest of one that began before.
    let head = &payload[..payload.len().min(16_384)];
    let end = HEAD_END.find(head).unwrap_or(head.len());
    let mut rest = &head[..end];
    while let Some(at) = HEADERS.iter().find_map(|header| header.find(rest)) {
        let name = &rest[..at];
        rest = &rest[at + b"uthorization:".len()..];
        let is_header = [&b"\nA"[..], b"\na", b"\nProxy-A", b"\nproxy-a", b"\nPROXY-A"];
        if !is_header.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        let value = rest.trim_ascii_start();
        let Some((scheme, value)) = value.split_at_checked(6) else { continue };
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            continue;
        }
        let value = value.trim_ascii_start();
        let mut base64 = Base64::default();
        let mut name = Vec::new();
        // Of what is decoded only what lies before the colon is kept.
        for &character in value {
            if matches!(character, b'\r' | b'\n' | b' ' | b'=') {
                break;
            }
            match base64.take(character) {
                Some(b':') => return Some((!name.is_empty()).then(|| escaped(&name))),
                Some(byte) if name.len() < MAX_NAME => name.push(byte),
                _ => {}
            }
        }
    }
    None
}

/// The contents of the BER element (X.690) of that tag that bytes begin with, as far as they were captured, and what follows it.
pub(in crate::detect) fn ber(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |len, &digit| len << 8 | usize::from(digit)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at(len.min(rest.len()));
    Some((contents, rest))
}

/// The name in an LDAP bind request with a simple password that is not empty (RFC 4511, 4.2), among the messages in a payload.
pub(super) fn ldap_simple(payload: &[u8]) -> Option<String> {
    let mut left = payload;
    for _ in 0..8 {
        let (message, rest) = ber(left, 0x30)?;
        left = rest;
        let bind = || {
            let (_, message) = ber(message, 2)?;
            let (request, _) = ber(message, 0x60)?;
            let (_, request) = ber(request, 2)?;
            let (name, request) = ber(request, 4)?;
            let (secret, _) = ber(request, 0x80)?;
            (!secret.is_empty()).then(|| escaped(name))
        };
        if let Some(name) = bind() {
            return Some(name);
        }
    }
    None
}

/// Whether a payload is an SNMP message of version 1 or 2c (RFC 1157, RFC 1901) with a community that is not empty.
pub(super) fn snmp_community(payload: &[u8]) -> bool {
    let community = || {
        let (message, _) = ber(payload, 0x30)?;
        let (version, message) = ber(message, 2)?;
        let (community, _) = ber(message, 4)?;
        Some(matches!(version, [0 | 1]) && !community.is_empty())
    };
    community().unwrap_or(false)
}

/// Where a line ends: the place of its newline.
pub(super) fn line_end(bytes: &[u8]) -> Option<usize> {
    memchr(b'\n', bytes)
}
