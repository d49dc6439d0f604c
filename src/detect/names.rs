//! Name poisoning: a machine that answers LLMNR or NetBIOS questions for names that are not its own, as Responder and Inveigh do.
//! A machine answers for its own name only (RFC 4795 2.3; RFC 1002 5.1.1.5), so that several names tell; so does `wpad`, which
//! browsers ask for and hardly anybody is called. Answers of NetBIOS name servers (recursion available) are left out.

use serde::{Deserialize, Serialize};

use super::bounded::{Bounded, Worth};
use super::finding::Evidence;
use super::{
    Alerts, Detector, Finding, Interest, Key, Saved, Scene, Seen, Severity, Subject, filter, restored,
};
use crate::packet::Nanos;
use crate::packet::addr::Addr;
use crate::packet::decode::{Net, Transport};

const ID: &str = "name_poisoning";

/// Adversary-in-the-middle: LLMNR/NBT-NS poisoning and SMB relay.
const TECHNIQUE: &str = "T1557.001";

/// Bounds of `name_poisoning`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Different names that one machine answers for within `window`. 4: its own, its domain's and an alias are three.
    pub names: usize,
    /// How long names are counted, nanoseconds. 10 minutes.
    pub window: Nanos,
    /// The most machines remembered. 1,024, with `names` names of 63 bytes each.
    pub machines: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { names: 4, window: 600_000_000_000, machines: 1024 }
    }
}

/// The names that a machine answers for; as many as the bound at most.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Answers {
    began: Nanos,
    names: Vec<String>,
    evidence: Evidence,
}

impl Worth for Answers {
    fn worth(&self) -> u32 {
        self.names.len() as u32
    }
}

/// Watches who answers for which names.
pub struct NamePoisoning {
    limits: Limits,
    machines: Bounded<Addr, Answers>,
}

impl NamePoisoning {
    /// Knows nobody yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, machines: Bounded::new(limits.machines, limits.window) }
    }

    fn answer(&mut self, src: Addr, name: &str, seen: &Seen<'_>, alerts: &mut Alerts) {
        let Limits { names: bound, window, .. } = self.limits;
        let now = seen.arrival.now;
        let filter = filter::all(["(llmnr || nbns)", &filter::src(src)]);
        if name == "wpad" {
            let summary = format!("{src} answers for wpad, the name under which browsers look for a proxy");
            let finding = Finding::new(Severity::Medium, TECHNIQUE, summary).filter(filter.clone());
            alerts.raise(Key::new(ID, src, Subject::Anyone), &seen.arrival, finding);
        }
        let new = || Answers { began: now, names: Vec::new(), evidence: Evidence::default() };
        let answers = self.machines.entry(src, now, new);
        if now.saturating_sub(answers.began) > window {
            *answers = new();
        }
        let key = Key::new(ID, src, Subject::Anyone).extra(1);
        if answers.names.iter().any(|known| known == name) {
            return;
        }
        if answers.names.len() >= bound {
            alerts.count_on(&key, &seen.arrival, 1, bound as f64);
            return;
        }
        answers.names.push(name.to_owned());
        answers.evidence.add(&seen.arrival);
        if answers.names.len() == bound {
            let summary =
                format!("{src} answers for {bound} different names and more: {}", answers.names.join(", "));
            let finding = Finding::new(Severity::High, TECHNIQUE, summary)
                .count(bound as u64)
                .measure(bound as f64, bound as f64)
                .evidence(&answers.evidence)
                .filter(filter);
            alerts.raise(key, &seen.arrival, finding);
        }
    }
}

/// The name that an LLMNR or NetBIOS name service message answers for, without domain and suffix, in lower case.
fn answered(bytes: &[u8], netbios: bool) -> Option<String> {
    let &[_, _, f0, f1, _, _, a0, a1] = bytes.first_chunk()?;
    let flags = u16::from_be_bytes([f0, f1]);
    // An answer, to a query, without error, that has one.
    if flags & 0xf80f != 0x8000 || (a0, a1) == (0, 0) {
        return None;
    }
    // Of NetBIOS: recursion available is a name server's.
    if netbios && flags & 0x0080 != 0 {
        return None;
    }
    let label = bytes.get(13..13 + usize::from(*bytes.get(12).filter(|&&len| (1..64).contains(&len))?))?;
    let name = if netbios { from_netbios(label)? } else { String::from_utf8_lossy(label).into_owned() };
    Some(name.to_lowercase())
}

/// A NetBIOS name from its first-level encoding (RFC 1001 14.1), without the sixteenth byte, which tells a service.
fn from_netbios(label: &[u8]) -> Option<String> {
    let nibble = |letter: u8| letter.checked_sub(b'A').filter(|&nibble| nibble < 16);
    let pairs = label.get(..30)?.chunks_exact(2);
    let bytes: Option<Vec<u8>> = pairs.map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect();
    let name = String::from_utf8_lossy(&bytes?).trim_end_matches([' ', '\0']).to_owned();
    // "*" is the question for a machine's status; names of workgroups and browsers are those of many.
    (!name.is_empty() && !name.starts_with(['*', '\u{1}'])).then_some(name)
}

impl Detector for NamePoisoning {
    fn id(&self) -> &'static str {
        ID
    }

    fn interest(&self) -> Interest {
        Interest::NAMES
    }

    fn packet(&mut self, seen: &Seen<'_>, _: &Scene, alerts: &mut Alerts) {
        let Net::Ip(ip) = &seen.packet.net else { return };
        let Transport::Udp(ports) = ip.transport else { return };
        let netbios = match ports.src {
            5355 => false,
            137 => true,
            _ => return,
        };
        if let Some(name) = answered(ip.payload, netbios) {
            self.answer(ip.src, &name, seen, alerts);
        }
    }

    fn saturated(&self) -> u64 {
        self.machines.saturated()
    }

    fn save(&self) -> Saved<'_> {
        Box::new(&self.machines)
    }

    fn restore(&mut self, state: serde_json::Value) {
        if let Some(machines) = restored(state) {
            self.machines.take(machines);
        }
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
