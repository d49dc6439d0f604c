//! What is known of a capture file: one value, the same in the ledger, in the index, in retention and in every listing.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::block::Tally;
use super::losses::Losses;
use super::names::CaptureName;
use crate::packet::Nanos;

/// How far a file has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Being written.
    Recording,
    /// Complete, synced and under its final name.
    Sealed,
    /// Left by a crash, kept up to its last sound record.
    Salvaged,
    /// Some of its bytes are doubtful, or none can be read.
    Damaged,
    /// Removed by retention.
    Evicted,
}

/// What is known of a capture file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureFacts {
    /// Its final name, whatever it is called now.
    #[serde(with = "name_text")]
    pub name: CaptureName,
    /// How far it has come.
    pub state: State,
    /// Packets in it.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Its length on disk, bytes.
    pub size: u64,
    /// Earliest stamp; none without packets.
    #[serde(with = "stamp_text")]
    pub first: Option<Nanos>,
    /// Latest stamp.
    #[serde(with = "stamp_text")]
    pub last: Option<Nanos>,
    /// Packets that it misses.
    pub losses: Losses,
    /// Whether the wall clock was synchronised while it was recorded; unknown of what a crash left.
    pub clock_synchronised: Option<bool>,
    /// Bytes from here on are not known to have reached the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubtful_from: Option<u64>,
}

impl CaptureFacts {
    /// Of a file that nothing is known of but its name and state.
    pub fn bare(name: CaptureName, state: State) -> Self {
        Self {
            name,
            state,
            packets: 0,
            bytes: 0,
            size: 0,
            first: None,
            last: None,
            losses: Losses::UNKNOWN,
            clock_synchronised: None,
            doubtful_from: None,
        }
    }

    /// Takes over what a run of packets amounts to.
    pub fn set_tally(&mut self, tally: &Tally) {
        self.packets = tally.packets;
        self.bytes = tally.wire_bytes;
        (self.first, self.last) = tally.range.unzip();
    }
}

/// A stamp as RFC 3339, UTC, nanoseconds.
pub fn rfc3339(stamp: Nanos) -> String {
    chrono::DateTime::from_timestamp_nanos(stamp).to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
}

/// Serde form of an optional stamp: RFC 3339 text or null.
pub mod stamp_text {
    use super::*;

    /// Writes RFC 3339 or null.
    pub fn serialize<S: Serializer>(stamp: &Option<Nanos>, to: S) -> Result<S::Ok, S::Error> {
        stamp.map(rfc3339).serialize(to)
    }

    /// Reads RFC 3339 or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Nanos>, D::Error> {
        Option::<String>::deserialize(from)?
            .map(|text| {
                let time = chrono::DateTime::parse_from_rfc3339(&text).map_err(serde::de::Error::custom)?;
                time.timestamp_nanos_opt().ok_or_else(|| serde::de::Error::custom("time out of range"))
            })
            .transpose()
    }
}

/// Serde form of a capture file's name: its text.
pub mod name_text {
    use super::*;

    /// Writes the final name.
    pub fn serialize<S: Serializer>(name: &CaptureName, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(name)
    }

    /// Reads a name.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<CaptureName, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}
