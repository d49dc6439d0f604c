//! Findings: who did what to whom, by what measure, and where the packets are.

use serde::{Deserialize, Serialize};

use crate::flow::record::Stretches;
use crate::packet::Nanos;
use crate::packet::addr::{Addr, Mac};

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

/// What makes two findings one: the second within an hour of the first is counted on, not raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The detector.
    pub detector: &'static str,
    /// Who.
    pub src: Subject,
    /// Whom.
    pub dst: Subject,
    /// What else tells them apart: a port, a protocol; 0 if nothing does.
    pub extra: u32,
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
