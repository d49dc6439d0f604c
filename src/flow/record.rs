//! The flow record: what is kept of a flow, or of a part of a long one.

use serde::{Deserialize, Serialize};

/// Why a record was written, as IPFIX's flowEndReason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndReason {
    /// Nothing came for the idle timeout.
    Idle,
    /// It lasts longer than the active timeout; more parts follow.
    Active,
    /// Its end was seen.
    End,
    /// The service, or the capture, ended.
    Forced,
    /// The table was full.
    Resources,
}

/// A stretch of a capture file: index number, offset of the first record and of the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stretch(pub u64, pub u64, pub u64);

/// The gap between two records from which a new [`Stretch`] begins, bytes.
pub const STRETCH_GAP: u64 = 1 << 20;

/// The most stretches of a record; the last one grows when there are more.
pub const MAX_STRETCHES: usize = 16;

/// A list of [`Stretch`]es that grows as packets come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stretches(pub Vec<Stretch>);

/// A flow record. Its keys, in this order, are the format of flow files (`docs/FORMAT.md`) and of `tapkeep flows --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// Index number and offset of the flow's first packet, `NUMBER-OFFSET`: the same whenever the packets are read.
    pub flow_id: String,
    /// Number of this part, from 0.
    pub part: u32,
    /// Whether it is the last part.
    #[serde(rename = "final")]
    pub last_part: bool,
    /// The rest.
    #[serde(flatten)]
    pub body: std::collections::BTreeMap<String, serde_json::Value>,
}

impl Stretches {
    /// Adds the record at `place`, which comes behind all before.
    pub fn add(&mut self, place: crate::packet::Place) {
        let _ = place;
        todo!("add")
    }
}

/// Stamps as RFC 3339 in UTC with nanoseconds: how records and findings write them.
pub mod stamp {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::packet::Nanos;

    /// Writes.
    pub fn serialize<S: Serializer>(stamp: &Nanos, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&chrono::DateTime::from_timestamp_nanos(*stamp).format("%Y-%m-%dT%H:%M:%S%.9fZ"))
    }

    /// Reads.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Nanos, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        let time = chrono::DateTime::parse_from_rfc3339(&text).map_err(serde::de::Error::custom)?;
        time.timestamp_nanos_opt().ok_or_else(|| serde::de::Error::custom("a time beyond 1677 to 2262"))
    }
}
