//! `cleartext_credentials`: logins whose secret anybody on the way can read.
//!
//! **The secret is never kept**: readers see its bytes go by and remember only that there were some. No summary, filter or
//! saved state holds one; an SNMP community is a secret too. What may be told is the name of who logs in, escaped.
//!
//! Readers take only flows that are known as one of the protocols, their first [`Limits::budget`] bytes of each direction.
//! Bounded: [`Limits::flows`] readers.

mod reader;
mod text;

use super::bounded::Worth;
use super::talk::{self, MINUTE, Roles};
use super::{Alerts, Bounded, Detector, Finding, Interest, Key, Scene, Seen, Severity};
use crate::packet::addr::Addr;
use crate::packet::app::App;
use crate::packet::decode::{Net, Transport};
use crate::packet::level::Level;

use reader::Reader;
pub(super) use text::{basic_credentials, ber};

const ID: &str = "cleartext_credentials";

/// Bounds of the detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most flows read at a time (about 200 bytes each, and the name).
    pub flows: usize,
    /// Payload bytes of a direction after which a flow is read no more: logins come first.
    pub budget: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { flows: 4096, budget: 65_536 }
    }
}

/// A login that was seen: how, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Login {
    /// `FTP PASS`, `HTTP Basic`…
    how: &'static str,
    /// Escaped, at most [`text::MAX_NAME`] characters.
    name: Option<String>,
}

impl Login {
    /// Whether the secret opens nothing: anonymous FTP (RFC 1635).
    fn is_anonymous(&self) -> bool {
        self.how.starts_with("FTP")
            && self.name.as_deref().is_some_and(|name| {
                name.eq_ignore_ascii_case("anonymous") || name.eq_ignore_ascii_case("ftp")
            })
    }
}

impl Worth for Reader {}

/// The detector.
#[derive(Debug)]
pub struct Credentials {
    limits: Limits,
    readers: Bounded<(u64, u64), Reader>,
}

impl Credentials {
    /// Nothing seen yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, readers: Bounded::new(limits.flows, 30 * MINUTE) }
    }
}

fn tell(seen: &Seen<'_>, ends: (Addr, Addr, u16), proto: u8, login: &Login, alerts: &mut Alerts) {
    let (src, dst, port) = ends;
    let severity = match () {
        () if login.is_anonymous() => Severity::Info,
        () if login.how.starts_with("SNMP") => Severity::Low,
        () => Severity::Medium,
    };
    // An anonymous login must not hide another one that follows.
    let key = Key::new(ID, src, dst).extra(u32::from(port) | (severity as u32) << 16);
    if alerts.count_on(&key, &seen.arrival, 1, 1.0) {
        return;
    }
    let name = login.name.as_deref().map(|name| format!(" as \"{name}\"")).unwrap_or_default();
    let summary =
        format!("{} from {src} to {dst} port {port}{name}: the secret can be read on the way", login.how);
    let mut filter = talk::service(src, dst, proto, port);
    filter.push_str(if proto == 6 { " && tcp.len > 0" } else { "" });
    let finding = Finding::new(severity, "T1552", summary).port(port).filter(filter);
    alerts.raise(key, &seen.arrival, finding);
}

/// Whether an application's logins are read here.
fn is_read(app: App) -> bool {
    matches!(
        app,
        Level::Ftp
            | Level::Telnet
            | Level::Http
            | Level::Pop
            | Level::Imap
            | Level::Smtp
            | Level::Ldap
            | Level::Snmp
    )
}

impl Detector for Credentials {
    fn id(&self) -> &'static str {
        ID
    }

    fn interest(&self) -> Interest {
        Interest::LOGIN.and(Interest::TCP_EARLY).and(Interest::UDP_EARLY)
    }

    fn packet(&mut self, seen: &Seen<'_>, _: &Scene, alerts: &mut Alerts) {
        let Some(flow) = seen.flow else { return };
        let Some((app, _)) = flow.app.filter(|(app, _)| is_read(*app)) else { return };
        let Net::Ip(ip) = &seen.packet.net else { return };
        if ip.payload.is_empty() {
            return;
        }
        let Roles { client, server, port, originator_serves } = talk::roles(flow);
        let from_client = seen.from_originator != originator_serves;
        let (ends, proto) = ((client, server, port), flow.key.proto);
        let login = match (app, ip.transport) {
            (Level::Snmp, Transport::Udp(ports)) => {
                // An answer repeats what the request told.
                if !from_client || !text::snmp_community(ip.payload) {
                    return;
                }
                let how = if ports.dst == 162 { "SNMP trap with a community" } else { "SNMP community" };
                Some(Login { how, name: None })
            }
            (Level::Http, Transport::Tcp(_)) if from_client => {
                basic_credentials(ip.payload).map(|name| Login { how: "HTTP Basic login", name })
            }
            (Level::Ldap, Transport::Tcp(_)) if from_client => {
                text::ldap_simple(ip.payload).map(|name| Login { how: "LDAP simple bind", name: Some(name) })
            }
            (Level::Http | Level::Ldap | Level::Snmp, _) => return,
            (_, Transport::Tcp(tcp)) => {
                let now = seen.arrival.now;
                let id = (flow.id.file, flow.id.offset);
                let budget = self.limits.budget;
                let reader = self.readers.entry(id, now, || Reader::new(app, budget));
                if reader.app() != app {
                    *reader = Reader::new(app, budget);
                }
                let mut found = |login: Login| tell(seen, ends, proto, &login, alerts);
                reader.take(from_client, tcp.seq, ip.payload, &mut found);
                return;
            }
            _ => return,
        };
        if let Some(login) = login {
            tell(seen, ends, proto, &login, alerts);
        }
    }

    fn saturated(&self) -> u64 {
        self.readers.saturated()
    }

    /// Nothing: what a reader is in the midst of ends with the service, and might be half a secret.
    fn save(&self) -> super::Saved<'_> {
        Box::new(())
    }
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
