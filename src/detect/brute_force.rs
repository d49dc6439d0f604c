//! `brute_force`: logins tried over and over, from one host at one service.
//!
//! Two signs, each by the application that the flow is known as, on any port: a login that the server refuses in the clear (also
//! several in one session), and, where the answer is encrypted, short sessions of near-equal size in which the server sends no
//! more than an exchange of keys and a refusal. Bounded: [`Limits::pairs`] of (client, server, port), the latest
//! `KEPT` tries of each.

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::bounded::Worth;
use super::credentials::basic_credentials;
use super::talk::{self, MINUTE, Moments, Roles, SECOND};
use super::{Alerts, Bounded, Detector, Events, Evidence, Finding, Interest, Key, Scene, Seen, Severity};
use crate::flow::record::EndReason;
use crate::flow::table::{Arrival, Flow, FlowEvent};
use crate::packet::Nanos;
use crate::packet::addr::Addr;
use crate::packet::app::App;
use crate::packet::decode::{Net, Transport};
use crate::packet::level::Level;

const ID: &str = "brute_force";

/// How many tries of a pair are remembered, of each sign: as many as the slower bound asks for, twice.
const KEPT: usize = 40;

/// From when tries are an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tries, and the time in which they come, nanoseconds: quick, 6 in 30 s (tuned on captures of hydra and of a script).
    pub quick: (u32, Nanos),
    /// The same, slow: 20 in 15 min, as Zeek's `FTP::bruteforce_threshold` and `bruteforce_measurement_interval`.
    pub slow: (u32, Nanos),
    /// The longest that a session with failed logins lasts, nanoseconds. OpenSSH's `LoginGraceTime` is 120 s; one session tries a few times.
    pub session: Nanos,
    /// Payload bytes from the server from which on an SSH login is taken to have succeeded: Zeek's
    /// `SSH::authentication_data_size` of 4,000.
    pub ssh_bytes: u64,
    /// The same of other protocols whose answers are encrypted.
    pub other_bytes: u64,
    /// The most (client, server, port) remembered (about 1.6 KB each at most).
    pub pairs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            quick: (6, 30 * SECOND),
            slow: (20, 15 * MINUTE),
            session: MINUTE,
            ssh_bytes: 4000,
            other_bytes: 16_000,
            pairs: 4096,
        }
    }
}

/// Tries of one client at one service.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Tries {
    refused: Moments<()>,
    /// With the payload bytes that the client sent.
    sessions: Moments<u64>,
    /// The flow and the number of the byte of the latest refusal, so that a doubled frame counts once.
    latest: Option<(u64, u64, u32)>,
    count: u64,
    evidence: Evidence,
}

impl Worth for Tries {
    fn worth(&self) -> u32 {
        self.refused.len().max(self.sessions.len()) as u32
    }
}

/// How a try shows.
#[derive(Debug, Clone, Copy)]
enum Sign {
    /// Refused in the clear, by the payload that begins with byte number so and so.
    Refused(u32),
    /// A session in which the client sent so many payload bytes.
    Session(u64),
}

/// Marks a flow that sent HTTP Basic credentials.
#[derive(Debug, Clone, Copy, Default)]
struct Sent;

impl Worth for Sent {}

/// The detector.
#[derive(Debug)]
pub struct BruteForce {
    limits: Limits,
    tries: Bounded<(Addr, Addr, u16), Tries>,
    /// Flows in which HTTP Basic credentials await an answer.
    basic: Bounded<(u64, u64), Sent>,
}

/// Whether sizes are those of the same thing with another password: a tenth apart, or 64 bytes.
fn near(one: u64, other: u64) -> bool {
    one.abs_diff(other) <= (one.max(other) / 10).max(64)
}

impl BruteForce {
    /// Nothing seen yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, tries: Bounded::new(limits.pairs, limits.slow.1), basic: Bounded::new(1024, MINUTE) }
    }

    /// The bounds that tries reach: most observed, bound, time.
    fn excess<T>(&self, moments: &Moments<T>, like: impl Fn(&T) -> bool) -> Option<(u32, u32, Nanos)> {
        [self.limits.quick, self.limits.slow].into_iter().find_map(|(bound, window)| {
            let most = moments.most_within(window, &like) as u32;
            (most >= bound).then_some((most, bound, window))
        })
    }

    fn tried(&mut self, flow: &Flow, sign: Sign, arrival: &Arrival, alerts: &mut Alerts) {
        let Roles { client: src, server: dst, port, .. } = talk::roles(flow);
        let now = arrival.now;
        let tries = self.tries.entry((src, dst, port), now, Tries::default);
        match sign {
            // What was refused in the clear is counted already.
            Sign::Session(_) if tries.refused.len() > 0 => return,
            Sign::Session(size) => tries.sessions.add(flow.began, size, KEPT),
            Sign::Refused(seq) => {
                let this = (flow.id.file, flow.id.offset, seq);
                if tries.latest.replace(this) == Some(this) {
                    return;
                }
                tries.refused.add(now, (), KEPT);
            }
        }
        tries.count += 1;
        tries.evidence.add(arrival);
        let Some(tries) = self.tries.get(&(src, dst, port), now) else { return };
        let excess = match sign {
            Sign::Session(size) => self.excess(&tries.sessions, |&other| near(size, other)),
            Sign::Refused(_) => self.excess(&tries.refused, |()| true),
        };
        let Some((observed, bound, window)) = excess else { return };
        let key = Key::new(ID, src, dst).extra(u32::from(port));
        if alerts.count_on(&key, arrival, 1, f64::from(observed)) {
            return;
        }
        let app = flow.app.map_or("unknown", |(app, _)| app.name());
        let what = match sign {
            Sign::Session(_) => "short sessions of near-equal size",
            Sign::Refused(_) => "refused logins",
        };
        let window = talk::span(window);
        let summary =
            format!("{src} tries logins at {dst} port {port} ({app}): {observed} {what} within {window}");
        let finding = Finding::new(Severity::Medium, "T1110", summary)
            .port(port)
            .count(tries.count)
            .measure(f64::from(observed), f64::from(bound))
            .evidence(&tries.evidence)
            .filter(talk::service(src, dst, flow.key.proto, port));
        alerts.raise(key, arrival, finding);
    }
}

/// Whether the answer to a login is hidden, so that sessions are counted.
fn is_hidden(app: App) -> bool {
    matches!(app, Level::Ssh | Level::Rdp | Level::Telnet | Level::Vnc | Level::Rlogin)
}

/// Whether a server's payload refuses a login. Each reads a bounded number of bytes.
fn is_refusal(app: App, payload: &[u8]) -> bool {
    let head = &payload[..payload.len().min(512)];
    let says = |words: &[&str]| {
        let text = head.to_ascii_lowercase();
        words.iter().any(|word| memmem::find(&text, word.as_bytes()).is_some())
    };
    match app {
        // 530 also tells who sends another command first to log in (RFC 959).
        Level::Ftp => {
            (head.starts_with(b"530") && !says(&["please login", "log in with"])) || head.starts_with(b"430")
        }
        // RFC 4954.
        Level::Smtp => head.starts_with(b"535"),
        Level::Pop => {
            head.starts_with(b"-ERR")
                && says(&[
                    "password",
                    "login",
                    "authenticat",
                    "[auth]",
                    "invalid user",
                    "credential",
                    "denied",
                ])
        }
        Level::Imap => {
            let mut words = head.split(|&byte| byte == b' ');
            words.nth(1).is_some_and(|word| word.eq_ignore_ascii_case(b"NO"))
                && says(&["authenticat", "login", "password", "credential"])
        }
        Level::Telnet | Level::Rlogin => says(&[
            "login incorrect",
            "login failed",
            "authentication failed",
            "access denied",
            "login invalid",
            "bad password",
            "password incorrect",
            "invalid password",
            "incorrect password",
        ]),
        Level::Ldap => is_ldap_refusal(head),
        // STATUS_LOGON_FAILURE to a session setup (MS-SMB2 2.2.1, MS-CIFS 2.2.3.1), behind the four bytes of NetBIOS.
        Level::Smb2 => {
            head.get(4..8) == Some(b"\xfeSMB")
                && head.get(12..16) == Some(&0xc000_006d_u32.to_le_bytes())
                && head.get(16..18) == Some(&[1, 0])
        }
        Level::Smb | Level::Nbss => {
            head.get(4..9) == Some(b"\xffSMB\x73") && head.get(9..13) == Some(&0xc000_006d_u32.to_le_bytes())
        }
        // ERR packet 1045, access denied.
        Level::Mysql => head.get(4..7) == Some(&[0xff, 0x15, 0x04]),
        // invalid_password, invalid_authorization_specification.
        Level::Postgres => head.first() == Some(&b'E') && says(&["c28p01", "c28000"]),
        Level::Redis => says(&["-wrongpass", "-err invalid password"]),
        // ERROR token 18456, login failed.
        Level::Tds => head.get(8) == Some(&0xaa) && head.get(11..15) == Some(&18_456_u32.to_le_bytes()),
        _ => false,
    }
}

/// An LDAP bind response with result 49, invalidCredentials (RFC 4511, 4.2.2).
fn is_ldap_refusal(payload: &[u8]) -> bool {
    use super::credentials::ber;
    let result = || {
        let (message, _) = ber(payload, 0x30)?;
        let (_, rest) = ber(message, 2)?;
        let (response, _) = ber(rest, 0x61)?;
        let (code, _) = ber(response, 10)?;
        Some(code == [49])
    };
    result().unwrap_or(false)
}

impl Detector for BruteForce {
    fn id(&self) -> &'static str {
        ID
    }

    fn interest(&self) -> Interest {
        Interest::LOGIN.and(Interest::TCP_EARLY)
    }

    fn packet(&mut self, seen: &Seen<'_>, _: &Scene, alerts: &mut Alerts) {
        let Some(flow) = seen.flow else { return };
        let Some((app, _)) = flow.app else { return };
        let Net::Ip(ip) = &seen.packet.net else { return };
        let Transport::Tcp(tcp) = ip.transport else { return };
        if ip.payload.is_empty() {
            return;
        }
        let from_client = seen.from_originator != talk::roles(flow).originator_serves;
        let refused = if app == Level::Http {
            let id = (flow.id.file, flow.id.offset);
            if from_client {
                if basic_credentials(ip.payload).is_some() {
                    self.basic.entry(id, seen.arrival.now, Sent::default);
                }
                return;
            }
            let status = ip.payload.get(8..12) == Some(b" 401") && ip.payload.starts_with(b"HTTP/1.");
            status && self.basic.remove(&id).is_some()
        } else {
            !from_client && is_refusal(app, ip.payload)
        };
        if refused {
            self.tried(flow, Sign::Refused(tcp.seq), &seen.arrival, alerts);
        }
    }

    fn events(&self) -> Events {
        Events::ENDED
    }

    fn flow(&mut self, event: FlowEvent, flow: &Flow, _: Nanos, _: &Scene, alerts: &mut Alerts) {
        let FlowEvent::Ended(reason) = event else { return };
        let Some((app, _)) = flow.app.filter(|(app, _)| is_hidden(*app)) else { return };
        let most = if app == Level::Ssh { self.limits.ssh_bytes } else { self.limits.other_bytes };
        let lasted = flow.seen.saturating_sub(flow.began);
        if reason == EndReason::Active
            || flow.part > 0
            || flow.orig.payload == 0
            || !(1..=most).contains(&flow.resp.payload)
            || lasted > self.limits.session
        {
            return;
        }
        self.tried(flow, Sign::Session(flow.orig.payload), &alerts.of_flow(flow), alerts);
    }

    fn saturated(&self) -> u64 {
        self.tries.saturated() + self.basic.saturated()
    }

    fn save(&self) -> super::Saved<'_> {
        Box::new(&self.tries)
    }

    fn restore(&mut self, state: serde_json::Value) {
        if let Some(tries) = super::restored(state) {
            self.tries.take(tries);
        }
    }
}

#[cfg(test)]
#[path = "brute_force_tests.rs"]
mod tests;
