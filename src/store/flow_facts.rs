//! What is known of a flow file: one value, the same in the ledger, in the index, in retention and in every listing.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::facts::{State, stamp_text};
use super::losses::Losses;
use super::names::FlowName;
use crate::packet::{Nanos, Place};

/// What is known of a flow file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowFacts {
    /// Its final name, whatever it is called now.
    #[serde(with = "name_text")]
    pub name: FlowName,
    /// The id in its header, if that can be read: what tells it from another file.
    pub id: Option<String>,
    /// How far it has come.
    pub state: State,
    /// Flow records in it.
    pub records: u64,
    /// Flows that are not among them, only counted, for there were too many.
    pub folded: u64,
    /// Packets of both.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Its length on disk, bytes.
    pub size: u64,
    /// Earliest beginning of a flow (or part of one); none without records.
    #[serde(with = "stamp_text")]
    pub first: Option<Nanos>,
    /// Latest end.
    #[serde(with = "stamp_text")]
    pub last: Option<Nanos>,
    /// Packets that its records miss: those lost before they were analysed, and, where no capture files are written, all.
    pub losses: Losses,
    /// The place up to which the captures were analysed when it ended.
    #[serde(default, with = "place_text", skip_serializing_if = "Option::is_none")]
    pub analysed: Option<Place>,
    /// Bytes from here on are not known to have reached the device; records in there are in the next file, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubtful_from: Option<u64>,
}

impl FlowFacts {
    /// Of a file that nothing is known of but its name and state.
    pub fn bare(name: FlowName, state: State) -> Self {
        Self {
            name,
            id: None,
            state,
            records: 0,
            folded: 0,
            packets: 0,
            bytes: 0,
            size: 0,
            first: None,
            last: None,
            losses: Losses::UNKNOWN,
            analysed: None,
            doubtful_from: None,
        }
    }
}

/// Serde form of a flow file's name: its text.
pub mod name_text {
    use super::*;

    /// Writes the final name.
    pub fn serialize<S: Serializer>(name: &FlowName, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(name)
    }

    /// Reads a name.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<FlowName, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Serde form of a place that may be missing: `NUMBER-OFFSET`, as in flow ids, or null.
pub mod place_text {
    use super::*;

    /// Writes `NUMBER-OFFSET` or null.
    pub fn serialize<S: Serializer>(place: &Option<Place>, to: S) -> Result<S::Ok, S::Error> {
        place.map(|place| format!("{}-{}", place.file, place.offset)).serialize(to)
    }

    /// Reads the same.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Place>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        let place =
            text.map(|text| parse_place(&text).ok_or_else(|| serde::de::Error::custom("not a place")));
        place.transpose()
    }
}

/// A place of its text `NUMBER-OFFSET`, leading zeros or not.
pub fn parse_place(text: &str) -> Option<Place> {
    let (file, offset) = text.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(file) && digits(offset)).then_some(())?;
    Some(Place { file: file.parse().ok()?, offset: offset.parse().ok()? })
}
