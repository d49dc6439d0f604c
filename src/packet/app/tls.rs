//! A view of the handshake of TLS (RFC 5246, RFC 8446): what a client offers, what a server chooses. The bodies of hellos are
//! parsed by `tls-parser`; what joins records and segments is here, keeps bytes up to a bound and looks at nothing that is
//! encrypted.

use tls_parser::{parse_tls_handshake_client_hello, parse_tls_handshake_server_hello};

use super::bytes::{be16, be24};

/// Versions as hellos name them.
#[allow(missing_docs, reason = "the names say it")]
pub mod version {
    pub const SSL_2_0: u16 = 0x0002;
    pub const SSL_3_0: u16 = 0x0300;
    pub const TLS_1_0: u16 = 0x0301;
    pub const TLS_1_1: u16 = 0x0302;
    pub const TLS_1_2: u16 = 0x0303;
    pub const TLS_1_3: u16 = 0x0304;
}

pub(super) const SERVER_NAME: u16 = 0;
pub(super) const ALPN: u16 = 16;
const SIGNATURE_ALGORITHMS: u16 = 13;
const SUPPORTED_VERSIONS: u16 = 43;

/// Whether a number is one of those that are sent to be ignored (RFC 8701).
pub fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// What a client offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// The version in the hello itself, at most TLS 1.2's.
    pub legacy_version: u16,
    /// The versions that its extension lists, GREASE included; none before TLS 1.3.
    pub versions: Vec<u16>,
    /// The ciphers as sent, GREASE included.
    pub ciphers: Vec<u16>,
    /// The types of its extensions as sent, GREASE included.
    pub extensions: Vec<u16>,
    /// The server's name, as sent.
    pub server_name: Option<&'a [u8]>,
    /// Application protocols, as sent.
    pub alpn: Vec<&'a [u8]>,
    /// Signature algorithms, as sent.
    pub signatures: Vec<u16>,
}

/// What a server chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHello<'a> {
    /// The version that counts: the extension's if there is one, else the hello's.
    pub version: u16,
    /// The cipher.
    pub cipher: u16,
    /// The application protocol.
    pub alpn: Option<&'a [u8]>,
}

/// A handshake message that was sent in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handshake<'a> {
    /// The client's hello.
    Client(ClientHello<'a>),
    /// The server's hello.
    Server(ServerHello<'a>),
    /// Certificates in DER, the owner's first; before TLS 1.3 only, where they are in the clear.
    Certificates(Vec<&'a [u8]>),
    /// Any other type, or a body that could not be read.
    Other(u8),
}

/// Extensions by type, as far as they are whole.
fn extensions(bytes: Option<&[u8]>) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes.unwrap_or_default();
    std::iter::from_fn(move || {
        let (kind, len) = (be16(rest, 0)?, usize::from(be16(rest, 2)?));
        let body = rest.get(4..4 + len)?;
        rest = &rest[4 + len..];
        Some((kind, body))
    })
}

/// The numbers of two bytes in a list of bytes.
fn numbers(list: &[u8]) -> Vec<u16> {
    list.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
}

/// The bytes behind a length of two bytes, as many as there are.
fn behind_len(bytes: &[u8]) -> &[u8] {
    let len = be16(bytes, 0).map_or(0, usize::from);
    let rest = bytes.get(2..).unwrap_or_default();
    &rest[..rest.len().min(len)]
}

/// The protocols of an ALPN extension (RFC 7301, 3.1).
fn protocols(body: &[u8]) -> Vec<&[u8]> {
    let mut rest = behind_len(body);
    let mut found = Vec::new();
    while let Some((&len, tail)) = rest.split_first() {
        let Some((name, tail)) = tail.split_at_checked(usize::from(len)) else { break };
        found.push(name);
        rest = tail;
    }
    found
}

/// The host name of a server name extension (RFC 6066, 3).
fn host_name(body: &[u8]) -> Option<&[u8]> {
    let mut rest = behind_len(body);
    while let Some((&kind, tail)) = rest.split_first() {
        let name = behind_len(tail);
        if kind == 0 {
            return (!name.is_empty()).then_some(name);
        }
        rest = tail.get(2 + name.len()..)?;
    }
    None
}

impl<'a> ClientHello<'a> {
    /// The hello in a handshake message's body.
    fn read(body: &'a [u8]) -> Option<Self> {
        let (_, raw) = parse_tls_handshake_client_hello(body).ok()?;
        let mut hello = Self {
            legacy_version: raw.version.0,
            versions: Vec::new(),
            ciphers: raw.ciphers.iter().map(|cipher| cipher.0).collect(),
            extensions: Vec::new(),
            server_name: None,
            alpn: Vec::new(),
            signatures: Vec::new(),
        };
        for (kind, body) in extensions(raw.ext) {
            hello.extensions.push(kind);
            match kind {
                SERVER_NAME => hello.server_name = host_name(body),
                ALPN => hello.alpn = protocols(body),
                SIGNATURE_ALGORITHMS => hello.signatures = numbers(behind_len(body)),
                SUPPORTED_VERSIONS => hello.versions = numbers(body.get(1..).unwrap_or_default()),
                _ => {}
            }
        }
        Some(hello)
    }

    /// The application protocol offered first, none of those that are sent to be ignored (RFC 8701: two like bytes).
    pub fn protocol(&self) -> Option<&'a [u8]> {
        let is_grease = |name: &[u8]| name.try_into().is_ok_and(|two| is_grease(u16::from_be_bytes(two)));
        self.alpn.iter().copied().find(|name| !name.is_empty() && !is_grease(name))
    }

    /// The best version offered.
    pub fn version(&self) -> u16 {
        self.versions
            .iter()
            .copied()
            .filter(|&version| !is_grease(version))
            .max()
            .unwrap_or(self.legacy_version)
    }
}

impl<'a> ServerHello<'a> {
    /// The hello in a handshake message's body.
    fn read(body: &'a [u8]) -> Option<Self> {
        let (_, raw) = parse_tls_handshake_server_hello(body).ok()?;
        let mut hello = Self { version: raw.version.0, cipher: raw.cipher.0, alpn: None };
        for (kind, body) in extensions(raw.ext) {
            match kind {
                ALPN => hello.alpn = protocols(body).first().copied(),
                SUPPORTED_VERSIONS => hello.version = be16(body, 0).unwrap_or(hello.version),
                _ => {}
            }
        }
        Some(hello)
    }
}

/// The certificates of a message of TLS up to 1.2 (RFC 5246, 7.4.2).
fn certificates(body: &[u8]) -> Vec<&[u8]> {
    let mut rest = body.get(3..).unwrap_or_default();
    let mut found = Vec::new();
    while let Some(certificate) = be24(rest, 0).and_then(|len| rest.get(3..3 + len as usize)) {
        found.push(certificate);
        rest = &rest[3 + certificate.len()..];
    }
    found
}

/// The client's hello that the messages of a handshake begin with, once it is complete.
pub(super) fn client_hello(messages: &[u8]) -> Option<ClientHello<'_>> {
    let len = be24(messages, 1)? as usize;
    let body = messages.get(4..4 + len)?;
    (messages.first() == Some(&1)).then(|| ClientHello::read(body))?
}

fn handshake(kind: u8, body: &[u8]) -> Handshake<'_> {
    let read = match kind {
        1 => ClientHello::read(body).map(Handshake::Client),
        2 => ServerHello::read(body).map(Handshake::Server),
        11 => Some(Handshake::Certificates(certificates(body))),
        _ => None,
    };
    read.unwrap_or(Handshake::Other(kind))
}

/// Joins the handshake messages of one direction of a flow, whose payloads come in order. Keeps the message that is not
/// complete, at most `limit` bytes.
#[derive(Debug)]
pub struct Reader {
    limit: usize,
    header: [u8; 5],
    header_len: u8,
    left: u16,
    is_alert: bool,
    is_done: bool,
    message: Vec<u8>,
}

impl Reader {
    /// Nothing read.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            header: [0; 5],
            header_len: 0,
            left: 0,
            is_alert: false,
            is_done: false,
            message: Vec::new(),
        }
    }

    /// Takes a payload and hands out each message that is complete by it; `false` when no more can come: the rest is
    /// encrypted, is not TLS, or a message is larger than the bound.
    pub fn take(&mut self, payload: &[u8], mut each: impl FnMut(Handshake<'_>)) -> bool {
        let mut rest = payload;
        while !self.is_done && !rest.is_empty() {
            if self.left == 0 {
                rest = self.head(rest);
                continue;
            }
            let (part, tail) = rest.split_at(rest.len().min(usize::from(self.left)));
            self.left -= part.len() as u16;
            rest = tail;
            if !self.is_alert {
                self.feed(part, &mut each);
            }
        }
        if self.is_done {
            self.message = Vec::new();
        }
        !self.is_done
    }

    /// Bytes kept.
    pub fn kept(&self) -> usize {
        self.message.capacity()
    }

    /// Completes the header of a record; what is behind it.
    fn head<'p>(&mut self, bytes: &'p [u8]) -> &'p [u8] {
        let have = usize::from(self.header_len);
        let (part, tail) = bytes.split_at(bytes.len().min(5 - have));
        self.header[have..have + part.len()].copy_from_slice(part);
        self.header_len += part.len() as u8;
        if self.header_len == 5 {
            self.header_len = 0;
            let [kind, major, _, high, low] = self.header;
            self.left = u16::from_be_bytes([high, low]);
            self.is_alert = kind == 21;
            // From the change of the cipher on all is encrypted.
            self.is_done = !matches!(kind, 21 | 22) || major != 3 || self.left == 0;
        }
        tail
    }

    /// Takes bytes of handshake records.
    fn feed(&mut self, part: &[u8], each: &mut impl FnMut(Handshake<'_>)) {
        if self.message.is_empty() {
            let used = self.messages(part, each);
            self.keep(&part[used..]);
        } else {
            self.keep(part);
            let joined = std::mem::take(&mut self.message);
            let used = self.messages(&joined, each);
            self.message = joined;
            self.message.drain(..used);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.message.len() + bytes.len() > self.limit {
            self.is_done = true;
        } else {
            // Exactly, so that the bound is one of memory too.
            self.message.reserve_exact(bytes.len());
            self.message.extend_from_slice(bytes);
        }
    }

    /// Hands out the messages that are complete; how many bytes they had.
    fn messages(&mut self, bytes: &[u8], each: &mut impl FnMut(Handshake<'_>)) -> usize {
        let mut at = 0;
        while let Some(len) = be24(bytes, at + 1) {
            let end = at + 4 + len as usize;
            self.is_done |= 4 + len as usize > self.limit;
            let Some(body) = bytes.get(at + 4..end) else { break };
            each(handshake(bytes[at], body));
            at = end;
        }
        at
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
pub(super) mod tests;
