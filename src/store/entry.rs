//! What the ledger says: one entry an act, written and synced before the act it describes.

use serde::{Deserialize, Serialize};

use super::facts::{CaptureFacts, name_text, stamp_text};
use super::finding::KeptFinding;
use super::flow_facts::FlowFacts;
use super::losses::Losses;
use super::names::CaptureName;
use crate::packet::Nanos;

/// One line of the ledger: when, by which clocks, and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The wall clock.
    #[serde(with = "stamp_text")]
    pub at: Option<Nanos>,
    /// Milliseconds since boot.
    pub up_ms: u64,
    /// Whether the wall clock was synchronised.
    pub synchronised: bool,
    /// What happened.
    #[serde(flatten)]
    pub act: Act,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// The service began; entries up to the next one belong to this boot.
    Start {
        /// Tapkeep's version.
        version: String,
        /// What tells this boot from others.
        boot: String,
        /// The interface, or the replayed file.
        source: Option<String>,
    },
    /// The service ended in order.
    Stop {
        /// Losses that belong to no file.
        losses: Losses,
    },
    /// A capture file is about to get its final name.
    Seal {
        /// What it holds.
        capture: CaptureFacts,
    },
    /// A file left by a crash is about to get its final name.
    Salvage {
        /// What was kept.
        capture: CaptureFacts,
        /// Bytes cut from its end.
        cut: u64,
        /// Why it ended there.
        reason: String,
    },
    /// A finished file that the ledger did not know was read.
    Found {
        /// What it holds.
        capture: CaptureFacts,
    },
    /// A capture file is about to be removed by retention.
    Evict {
        /// What it held.
        capture: CaptureFacts,
        /// Which limit asked for it.
        reason: String,
    },
    /// A capture file is kept from retention.
    Hold {
        /// Which.
        #[serde(with = "name_text")]
        name: CaptureName,
    },
    /// A capture file is given back to retention.
    Release {
        /// Which.
        #[serde(with = "name_text")]
        name: CaptureName,
    },
    /// Nothing could be captured for a while, or no service ran.
    Gap {
        /// Since when, wall clock.
        #[serde(with = "stamp_text")]
        from: Option<Nanos>,
        /// For how long, milliseconds of running time; of the clock on the wall where no service ran.
        duration_ms: u64,
        /// Why.
        reason: String,
    },
    /// The wall clock jumped against the running one.
    ClockStep {
        /// By how much, milliseconds; negative is back.
        by_ms: i64,
    },
    /// A file was found damaged.
    Damage {
        /// Which.
        file: String,
        /// What is wrong, and what was done.
        what: String,
    },
    /// A flow file is about to get its final name.
    FlowSeal {
        /// What it holds.
        flows: FlowFacts,
    },
    /// A flow file left by a crash is about to get its final name, as it is.
    FlowSalvage {
        /// What was kept.
        flows: FlowFacts,
        /// How many of its records no checkpoint vouches for.
        unverified: u64,
        /// Bytes of it that are no records: damaged, or of a record that was cut.
        lost: u64,
    },
    /// A finished flow file that the ledger did not know was read.
    FlowFound {
        /// What it holds.
        flows: FlowFacts,
    },
    /// A flow file is about to be removed by retention.
    FlowEvict {
        /// What it held.
        flows: FlowFacts,
        /// Which limit asked for it.
        reason: String,
    },
    /// A finding, or one of before that has grown: of those with one id the last counts.
    Finding {
        /// What `tapkeep suspicious` tells of it.
        finding: KeptFinding,
    },
    /// Entries of before were dropped, the starts that their `up_ms` belongs to among them: the age of a file sealed before
    /// this entry is the one told here plus what has passed since. Several follow each other if there are many files.
    Compacted {
        /// The boot in which that was.
        boot: String,
        /// Index numbers and age, milliseconds, of the files that exist.
        ages: Vec<(u64, u64)>,
        /// The same of flow files.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        flow_ages: Vec<(u64, u64)>,
        /// The highest index number ever given.
        highest: u64,
    },
}

impl Act {
    /// The highest index number of a capture file that it names; 0 if none.
    pub fn highest(&self) -> u64 {
        match self {
            Self::Seal { capture }
            | Self::Salvage { capture, .. }
            | Self::Found { capture }
            | Self::Evict { capture, .. } => capture.name.number(),
            Self::Hold { name } | Self::Release { name } => name.number(),
            Self::Damage { file, .. } => CaptureName::parse(file).map_or(0, |(name, _)| name.number()),
            Self::Compacted { highest, .. } => *highest,
            // Where no captures are written, flows are all that had their numbers.
            Self::FlowSeal { flows }
            | Self::FlowSalvage { flows, .. }
            | Self::FlowFound { flows }
            | Self::FlowEvict { flows, .. } => flows.analysed.map_or(0, |place| place.file),
            Self::Start { .. }
            | Self::Stop { .. }
            | Self::Gap { .. }
            | Self::ClockStep { .. }
            | Self::Finding { .. } => 0,
        }
    }

    /// The facts of the flow file that it names.
    pub fn flows(&self) -> Option<&FlowFacts> {
        match self {
            Self::FlowSeal { flows }
            | Self::FlowSalvage { flows, .. }
            | Self::FlowFound { flows }
            | Self::FlowEvict { flows, .. } => Some(flows),
            _ => None,
        }
    }
}
