//! Weak TLS: what a server chose. Protocols before TLS 1.2 and ciphers that do not protect. Judged by the server's hello alone,
//! on any port and behind STARTTLS; one that spans segments is read as far as its first, which has all that is needed. Keeps
//! nothing.

use tls_parser::{TlsCipherAu, TlsCipherEnc, TlsCipherSuite};

use super::{Alerts, Detector, Finding, Interest, Key, Scene, Seen, Severity, Subject, filter};
use crate::packet::decode::{Net, Transport};

const ID: &str = "weak_tls";

/// Adversary-in-the-middle: what is weak can be read or changed on the way.
const TECHNIQUE: &str = "T1557";

/// What `weak_tls` leaves alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The oldest version that is fine, as in hellos: 0x0303 is TLS 1.2 (RFC 8996 deprecates 1.0 and 1.1, RFC 7568 SSL 3.0,
    /// RFC 6176 SSL 2.0).
    pub version: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self { version: 0x0303 }
    }
}

/// Watches servers' hellos.
pub struct WeakTls {
    limits: Limits,
}

impl WeakTls {
    /// With these limits.
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }
}

/// What a server chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Choice {
    /// 0x0002 is SSL 2.0, 0x0300 SSL 3.0, 0x0301 TLS 1.0 and so on.
    version: u16,
    cipher: Option<u16>,
}

/// The choice in a server's hello; `None` if the payload does not begin with one.
#[inline]
fn choice(bytes: &[u8]) -> Option<Choice> {
    match bytes {
        // A handshake record, and in it a server's hello: RFC 5246 6.2.1, 7.4.1.3.
        [0x16, 3, _, _, _, 2, _, _, _, v0 @ 3, v1, ..] => {
            // Version, then 32 bytes of random, then a session id with its length.
            let id = usize::from(*bytes.get(43)?);
            let cipher = bytes.get(44 + id..46 + id).map(|cipher| u16::from_be_bytes([cipher[0], cipher[1]]));
            // TLS 1.3 shows itself in an extension only, and has none of the ciphers below; 1.2 is as good as that here.
            (id <= 32).then_some(Choice { version: u16::from_be_bytes([*v0, *v1]), cipher })
        }
        // SSL 2.0's: two bytes of length, type, session hit, certificate type (X.509), version.
        [l0, l1, 4, 0 | 1, 0 | 1, 0, 2, ..] => {
            let whole = 2 + usize::from(u16::from_be_bytes([l0 & 0x7f, *l1])) >= bytes.len();
            (l0 & 0x80 != 0 && whole).then_some(Choice { version: 2, cipher: None })
        }
        _ => None,
    }
}

fn version_name(version: u16) -> &'static str {
    match version {
        0x0002 => "SSL 2.0",
        0x0300 => "SSL 3.0",
        0x0301 => "TLS 1.0",
        0x0302 => "TLS 1.1",
        0x0303 => "TLS 1.2",
        _ => "a later TLS",
    }
}

/// What is weak about a cipher, by whom that is said, and how bad it is.
fn weakness(cipher: &TlsCipherSuite) -> Option<(&'static str, Severity)> {
    if cipher.enc == TlsCipherEnc::Null {
        return Some(("does not encrypt", Severity::High));
    }
    if cipher.name.contains("EXPORT") {
        return Some(("has a key that was weak enough for export (RFC 7525 4.1)", Severity::High));
    }
    if matches!(cipher.au, TlsCipherAu::Null) && cipher.name.contains("anon") {
        return Some(("does not say who the server is (RFC 7525 4.1)", Severity::Medium));
    }
    match cipher.enc {
        TlsCipherEnc::Rc4 => Some(("uses RC4 (RFC 7465)", Severity::Medium)),
        TlsCipherEnc::Des | TlsCipherEnc::Rc2 => {
            Some(("has a key of 56 bits or less (RFC 5469)", Severity::Medium))
        }
        TlsCipherEnc::TripleDes | TlsCipherEnc::Idea => {
            Some(("has blocks of 64 bits (CVE-2016-2183)", Severity::Low))
        }
        _ => None,
    }
}

impl Detector for WeakTls {
    fn id(&self) -> &'static str {
        ID
    }

    fn interest(&self) -> Interest {
        Interest::TCP_EARLY
    }

    fn packet(&mut self, seen: &Seen<'_>, _: &Scene, alerts: &mut Alerts) {
        let Net::Ip(ip) = &seen.packet.net else { return };
        let Transport::Tcp(tcp) = ip.transport else { return };
        let Some(choice) = choice(ip.payload) else { return };
        let port = tcp.ports.src;
        let name = seen.flow.and_then(|flow| flow.facts()).and_then(|facts| facts.sni.as_deref());
        let server = match name {
            Some(name) => format!("{} ({name}) port {port}", ip.src),
            None => format!("{} port {port}", ip.src),
        };
        let of_port = [filter::src(ip.src), format!("tcp.srcport == {port}")];
        let hello = || filter::all(of_port.iter().map(String::as_str).chain(["tls.handshake.type == 2"]));
        // One finding for each server and port, not for each client.
        let key = Key::new(ID, ip.src, Subject::Anyone);
        if choice.version < self.limits.version {
            let severity = if choice.version < 0x0301 { Severity::Medium } else { Severity::Low };
            let summary = format!("{server} chose {}", version_name(choice.version));
            let finding = Finding::new(severity, TECHNIQUE, summary)
                .port(port)
                .filter(if choice.version == 2 { filter::all(&of_port) } else { hello() });
            alerts.raise(
                key.extra(u32::from(port) << 8 | u32::from(choice.version & 15)),
                &seen.arrival,
                finding,
            );
        }
        let Some(cipher) = choice.cipher.and_then(TlsCipherSuite::from_id) else { return };
        let Some((why, severity)) = weakness(cipher) else { return };
        let summary = format!("{server} chose {}, which {why}", cipher.name);
        let finding = Finding::new(severity, TECHNIQUE, summary).port(port).filter(hello());
        // Low bits that no version has.
        let kind = 0x80 | severity as u32;
        alerts.raise(key.extra(u32::from(port) << 8 | kind), &seen.arrival, finding);
    }
}

#[cfg(test)]
#[path = "weak_tls_tests.rs"]
mod tests;
