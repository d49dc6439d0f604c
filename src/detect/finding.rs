//! Findings: who did what to whom, by what measure, and where the packets are.

use std::net::IpAddr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::flow::record::{Stretches, Trail};
use crate::flow::table::Arrival;
use crate::packet::addr::{Addr, Mac};
use crate::packet::{NANOS_PER_SEC, Nanos};

/// A window in words: whole minutes as such, others in seconds.
pub(super) fn span(window: Nanos) -> String {
    match (window / NANOS_PER_SEC, window / NANOS_PER_SEC % 60) {
        (60, _) => "a minute".to_owned(),
        (7200, _) => "two hours".to_owned(),
        (seconds, 0) if seconds > 0 => format!("{} minutes", seconds / 60),
        (seconds, _) => format!("{seconds} s"),
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing, no more; shown with `--all`.
    Info,
    /// Odd.
    Low,
    /// Probably an attack, or a serious weakness.
    Medium,
    /// Almost certainly an attack.
    High,
}

/// One end of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// Nobody in particular: many, random or unknown.
    Anyone,
    /// An address.
    Ip(Addr),
    /// A hardware address.
    Mac(Mac),
}

impl Subject {
    /// As it is written; `None` for [`Subject::Anyone`].
    pub fn text(self) -> Option<String> {
        match self {
            Self::Anyone => None,
            Self::Ip(addr) => Some(addr.to_string()),
            Self::Mac(mac) => Some(mac.to_string()),
        }
    }
}

impl From<Addr> for Subject {
    fn from(addr: Addr) -> Self {
        Self::Ip(addr)
    }
}

impl From<Mac> for Subject {
    fn from(mac: Mac) -> Self {
        Self::Mac(mac)
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.text().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(Self::Anyone) };
        if let Ok(addr) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(addr.into()));
        }
        text.parse().map(Self::Mac).map_err(D::Error::custom)
    }
}

/// What makes two findings one: the second within an hour of the first is counted on, not raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Key {
    /// The detector; one of [`super::IDS`].
    pub detector: &'static str,
    /// Who.
    pub src: Subject,
    /// Whom.
    pub dst: Subject,
    /// What else tells them apart: a port, a protocol; 0 if nothing does.
    pub extra: u32,
}

impl Key {
    /// Of a detector, somebody and somebody else.
    pub fn new(detector: &'static str, src: impl Into<Subject>, dst: impl Into<Subject>) -> Self {
        Self { detector, src: src.into(), dst: dst.into(), extra: 0 }
    }

    /// With what else tells it apart.
    #[must_use]
    pub fn extra(self, extra: u32) -> Self {
        Self { extra, ..self }
    }
}

impl<'de> Deserialize<'de> for Key {
    /// Refuses a detector that is not in [`super::IDS`] (any more).
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Owned {
            detector: String,
            src: Subject,
            dst: Subject,
            extra: u32,
        }
        let Owned { detector, src, dst, extra } = Owned::deserialize(from)?;
        match super::IDS.iter().find(|&&id| id == detector) {
            Some(id) => Ok(Self { detector: id, src, dst, extra }),
            None => Err(D::Error::custom(format_args!("no detector is called {detector:?}"))),
        }
    }
}

/// A finding. Its keys, in this order, are those of `tapkeep suspicious --json` (but `captures`, which tells names there) and
/// of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is called: `DETECTOR-NUMBER-OFFSET` of the packet that raised it, so that it is the same whenever the packets are
    /// read from the same state.
    pub id: String,
    /// The detector.
    pub detector: String,
    /// How bad it is.
    pub severity: Severity,
    /// ATT&CK technique, like `T1046`.
    pub technique: String,
    /// Stamps of the first and the latest packet that belong to it.
    #[serde(with = "crate::flow::record::stamp")]
    pub first_seen: Nanos,
    /// See `first_seen`.
    #[serde(with = "crate::flow::record::stamp")]
    pub last_seen: Nanos,
    /// Who, if it is one.
    pub src: Option<String>,
    /// Whom, if it is one.
    pub dst: Option<String>,
    /// The port that it is about, if it is about one.
    pub port: Option<u16>,
    /// How often it was observed: packets, tries, connections, as the summary says.
    pub count: u64,
    /// The bound from which it is a finding.
    pub threshold: f64,
    /// What was observed against that bound, at its worst.
    pub observed: f64,
    /// One sentence for a person, from bytes that are escaped.
    pub summary: String,
    /// A display filter for Wireshark that shows its packets.
    pub filter: String,
    /// Where its packets lie.
    pub captures: Stretches,
}

impl Finding {
    /// One that [`Alerts::raise`](super::Alerts::raise) completes: the key gives detector, source and destination, the packet
    /// that raises it the id, the last (and, where there is none earlier, the first) time, and one place.
    pub fn new(severity: Severity, technique: &str, summary: impl Into<String>) -> Self {
        Self {
            id: String::new(),
            detector: String::new(),
            severity,
            technique: technique.to_owned(),
            first_seen: Nanos::MAX,
            last_seen: Nanos::MIN,
            src: None,
            dst: None,
            port: None,
            count: 1,
            threshold: 1.0,
            observed: 1.0,
            summary: summary.into(),
            filter: String::new(),
            captures: Stretches::default(),
        }
    }

    /// The port that it is about.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        Self { port: Some(port), ..self }
    }

    /// How often it was observed so far.
    #[must_use]
    pub fn count(self, count: u64) -> Self {
        Self { count, ..self }
    }

    /// What was observed, and the bound from which that is a finding.
    #[must_use]
    pub fn measure(self, observed: f64, threshold: f64) -> Self {
        Self { observed, threshold, ..self }
    }

    /// The display filter that shows its packets; see [`super::filter`].
    #[must_use]
    pub fn filter(self, filter: impl Into<String>) -> Self {
        Self { filter: filter.into(), ..self }
    }

    /// When it began, if that was before the packet that raises it; a stamp, not stream time.
    #[must_use]
    pub fn since(self, first_seen: Nanos) -> Self {
        Self { first_seen, ..self }
    }

    /// When it was and where its packets lie.
    #[must_use]
    pub fn evidence(self, evidence: &Evidence) -> Self {
        Self {
            first_seen: evidence.first,
            last_seen: evidence.last,
            captures: evidence.captures.stretches(),
            ..self
        }
    }
}

/// When and where something happened that may become a finding: a detector keeps one for each suspect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Stamps of the first and the latest packet.
    pub first: Nanos,
    /// See `first`.
    pub last: Nanos,
    /// Where they lie.
    pub captures: Trail,
}

impl Evidence {
    /// Adds a packet.
    pub fn add(&mut self, arrival: &Arrival) {
        self.first = self.first.min(arrival.at);
        self.last = self.last.max(arrival.at);
        self.captures.add(arrival.place);
    }

    /// Forgets all, but keeps the memory.
    pub(super) fn clear(&mut self) {
        (self.first, self.last) = (Nanos::MAX, Nanos::MIN);
        self.captures.clear();
    }
}

impl Default for Evidence {
    fn default() -> Self {
        Self { first: Nanos::MAX, last: Nanos::MIN, captures: Trail::default() }
    }
}
