//! The facts kept of a flow: what its first payloads name. Text as in [`text`]; never a secret.

use std::mem::MaybeUninit;

use super::dns::Message;
use super::ja4::{self, Carrier};
use super::quic::Hello;
use super::tls::{self, ClientHello, Handshake, Reader};
use super::{App, Way, text};
use crate::packet::level::Level;

/// What is kept of a flow's application.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Server name that a TLS client asked for.
    pub sni: Option<Box<str>>,
    /// The application protocol that it offered first, those left out that are sent to be ignored (RFC 8701).
    pub alpn: Option<Box<str>>,
    /// JA4 fingerprint of the client's hello.
    pub ja4: Option<Box<str>>,
    /// HTTP `Host` of the first request.
    pub http_host: Option<Box<str>>,
    /// HTTP `User-Agent` of the first request.
    pub user_agent: Option<Box<str>>,
    /// The first name asked of DNS, mDNS, LLMNR or NBNS.
    pub dns_query: Option<Box<str>>,
}

impl Facts {
    /// Takes what a TLS client offers.
    fn offered(&mut self, hello: &ClientHello<'_>, carrier: Carrier) {
        self.sni = hello.server_name.map(text::kept);
        self.alpn = hello.protocol().map(text::kept);
        self.ja4 = Some(ja4::of(hello, carrier));
    }
}

/// Payloads that are looked at before a flow is held to have no facts.
const LOOKS: u8 = 16;

/// Reads facts from a flow's first payloads; keeps at most [`FactReader::MAX_KEPT`] bytes of a hello that spans packets.
#[derive(Debug, Default)]
pub struct FactReader {
    facts: Facts,
    looked: u8,
    /// Who sends what is open.
    from_originator: bool,
    open: Open,
}

/// A hello or a request whose end has not come.
#[derive(Debug, Default)]
enum Open {
    #[default]
    Nothing,
    Tls(Box<Reader>),
    Quic(Box<Hello>),
    Http(Vec<u8>),
}

impl FactReader {
    /// The most bytes kept.
    pub const MAX_KEPT: usize = 8192;

    /// Whether flows of that application have facts.
    pub fn is_for(app: App) -> bool {
        matches!(
            app,
            Level::Tls | Level::Quic | Level::Http | Level::Dns | Level::Mdns | Level::Llmnr | Level::Nbns
        )
    }

    /// Takes a payload in the order it came; `false` when it needs no more, and ever after.
    pub fn take(&mut self, app: App, way: Way, payload: &[u8]) -> bool {
        if self.looked >= LOOKS {
            return false;
        }
        self.looked += 1;
        // The flow's beginning may not have been seen, and its server be held for the originator.
        let is_asking = match (&self.open, app) {
            (Open::Nothing, Level::Tls) => {
                payload.first() == Some(&22) && payload.get(5).is_none_or(|&kind| kind == 1)
            }
            (Open::Nothing, Level::Http) => {
                payload.first().is_some_and(u8::is_ascii_uppercase) && !payload.starts_with(b"HTTP/")
            }
            (Open::Nothing, _) => true,
            _ => way.from_originator == self.from_originator,
        };
        let wants = match app {
            _ if !is_asking => true,
            Level::Tls => self.tls(payload),
            Level::Quic => self.quic(payload),
            Level::Http => self.http(payload),
            Level::Dns | Level::Mdns | Level::Llmnr | Level::Nbns => self.dns(app, way, payload),
            _ => false,
        };
        if !wants {
            self.looked = LOOKS;
        }
        if self.looked == LOOKS {
            self.open = Open::Nothing;
        } else if is_asking {
            self.from_originator = way.from_originator;
        }
        self.looked < LOOKS
    }

    fn tls(&mut self, payload: &[u8]) -> bool {
        if !matches!(self.open, Open::Tls(_)) {
            self.open = Open::Tls(Box::new(Reader::new(Self::MAX_KEPT)));
        }
        let Open::Tls(reader) = &mut self.open else { return false };
        let facts = &mut self.facts;
        let mut found = false;
        let wants = reader.take(payload, |message| {
            if let Handshake::Client(hello) = message
                && !found
            {
                found = true;
                facts.offered(&hello, Carrier::Tcp);
            }
        });
        wants && !found
    }

    fn quic(&mut self, payload: &[u8]) -> bool {
        let mut hello = match std::mem::take(&mut self.open) {
            Open::Quic(hello) => hello,
            _ => Box::new(Hello::new(Self::MAX_KEPT)),
        };
        let messages = hello.take(payload);
        if let Some(hello) = messages.as_deref().and_then(tls::client_hello) {
            self.facts.offered(&hello, Carrier::Quic);
            return false;
        }
        if hello.kept() > 0 {
            self.open = Open::Quic(hello);
        }
        true
    }

    fn http(&mut self, payload: &[u8]) -> bool {
        if let Open::Http(kept) = &mut self.open {
            if kept.len() + payload.len() > Self::MAX_KEPT {
                return false;
            }
            kept.reserve_exact(payload.len());
            kept.extend_from_slice(payload);
            return request(kept, &mut self.facts);
        }
        let wants = request(payload, &mut self.facts);
        if wants {
            if payload.len() > Self::MAX_KEPT {
                return false;
            }
            self.open = Open::Http(payload.to_vec());
        }
        wants
    }

    fn dns(&mut self, app: App, way: Way, payload: &[u8]) -> bool {
        let message = if way.proto == 6 { Message::read_tcp(payload) } else { Message::read(payload) };
        let Some(message) = message else { return true };
        // Answers repeat the question but for those of mDNS, which may answer nobody, and those of NBNS, which name it
        // as they answer it.
        let name = match message.question {
            Some(question) => question.name,
            None if app == Level::Nbns => match message.records().next() {
                Some(record) => record.name,
                None => return true,
            },
            None => return true,
        };
        let name = if app == Level::Nbns { name.netbios_text() } else { name.text() };
        self.facts.dns_query = Some(name);
        false
    }

    /// What was found.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What was found, for good.
    pub fn into_facts(self) -> Facts {
        self.facts
    }

    /// Whether nothing was found, and no hello or request is open.
    #[inline]
    pub fn is_idle(&self) -> bool {
        matches!(self.open, Open::Nothing) && self.facts == Facts::default()
    }

    /// Bytes held.
    pub fn kept(&self) -> usize {
        match &self.open {
            Open::Nothing => 0,
            Open::Tls(reader) => size_of::<Reader>() + reader.kept(),
            Open::Quic(hello) => size_of::<Hello>() + hello.kept(),
            Open::Http(kept) => kept.capacity(),
        }
    }
}

/// Header fields of a request that are looked at; one with more is read line by line.
const FIELDS: usize = 64;

/// Reads a request's header; `true` if it goes on in the next payload.
fn request(bytes: &[u8], facts: &mut Facts) -> bool {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Partial) => true,
        Ok(httparse::Status::Complete(_)) => {
            let field = |name: &str| {
                let found = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
                (!found.value.is_empty()).then(|| text::kept(found.value))
            };
            facts.http_host = field("Host");
            facts.user_agent = field("User-Agent");
            false
        }
        Err(_) => odd_request(bytes, facts),
    }
}

/// Reads a request's header that breaks the grammar, as those of scanners and exploits do: a field is a line that begins with its
/// name. `true` if the header goes on in the next payload.
fn odd_request(bytes: &[u8], facts: &mut Facts) -> bool {
    let mut lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let head: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let is_whole = lines.next().is_some();
    if is_whole {
        let field = |name: &str| {
            let found = head.iter().skip(1).find_map(|line| {
                let (field, value) = line.split_at_checked(name.len())?;
                let value = value.strip_prefix(b":")?.trim_ascii();
                (field.eq_ignore_ascii_case(name.as_bytes()) && !value.is_empty()).then_some(value)
            });
            found.map(text::kept)
        };
        facts.http_host = field("Host");
        facts.user_agent = field("User-Agent");
    }
    !is_whole
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
