//! The kinds of objects in a flow file, and the few keys of each that the store itself looks at. Pure.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};

use super::super::facts::stamp_text;
use super::super::flow_facts::place_text;
use super::super::losses::Losses;
use crate::flow::jsonb;
use crate::flow::record::Stretches;
use crate::packet::{Nanos, Place};

/// What an object is, by its first key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A flow record.
    Record,
    /// Flows that were only counted.
    Fold,
    /// What the file amounts to; the last object of a sealed one.
    Footer,
    /// A checkpoint.
    Checkpoint,
    /// Of a later version.
    Other,
}

impl Kind {
    /// Of an object's bytes.
    pub fn of(object: &[u8]) -> Self {
        // The object's header, then the header and bytes of a text of less than twelve bytes.
        let width = match object.first().map_or(0, |first| first >> 4) {
            12 => 2,
            13 => 3,
            14 => 5,
            15 => 9,
            _ => 1,
        };
        let key = object.get(width..).and_then(|rest| {
            let (&first, rest) = rest.split_first()?;
            matches!(first & 15, 7 | 10).then(|| rest.get(..usize::from(first >> 4)))?
        });
        match key {
            Some(b"flow_id") => Self::Record,
            Some(b"folded") => Self::Fold,
            Some(b"footer") => Self::Footer,
            Some(b"checkpoint") => Self::Checkpoint,
            _ => Self::Other,
        }
    }
}

/// What the store looks at in a flow record.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Outline<'a> {
    /// What the flow is called.
    #[serde(borrow)]
    pub flow_id: Cow<'a, str>,
    /// The number of this part.
    #[serde(default)]
    pub part: u32,
    /// Whether it is the last part.
    #[serde(default, rename = "final")]
    pub last_part: bool,
    /// Stamp of the part's first packet.
    #[serde(default, deserialize_with = "stamp")]
    pub start: Option<Nanos>,
    /// Stamp of its last packet.
    #[serde(default, deserialize_with = "stamp")]
    pub end: Option<Nanos>,
    /// Packets of the originator.
    #[serde(default)]
    pub orig_packets: u64,
    /// Their bytes on the wire.
    #[serde(default)]
    pub orig_bytes: u64,
    /// Packets of the responder.
    #[serde(default)]
    pub resp_packets: u64,
    /// Their bytes on the wire.
    #[serde(default)]
    pub resp_bytes: u64,
    /// Where the part's packets lie.
    #[serde(default)]
    pub captures: Stretches,
}

impl<'a> Outline<'a> {
    /// Of a flow record's bytes.
    pub fn read(object: &'a [u8]) -> Option<Self> {
        jsonb::decode(object).ok().map(|(outline, _)| outline)
    }

    /// Where the part's last packet lies; `None` where no captures are written.
    pub fn last_place(&self) -> Option<Place> {
        self.captures.0.iter().map(|stretch| Place { file: stretch.0, offset: stretch.2 }).max()
    }
}

/// What a flow file amounts to: `{"footer": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// Flow records.
    pub records: u64,
    /// Flows that were only counted.
    pub folded: u64,
    /// Packets of both.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Earliest beginning of a flow.
    #[serde(with = "stamp_text")]
    pub first: Option<Nanos>,
    /// Latest end.
    #[serde(with = "stamp_text")]
    pub last: Option<Nanos>,
    /// Packets that the records miss.
    pub losses: Losses,
    /// The last packet that a record names.
    #[serde(default, with = "place_text", skip_serializing_if = "Option::is_none")]
    pub reach: Option<Place>,
    /// What else the analyst wants to keep of the file: where no captures are written, the summary of its packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<serde_json::Value>,
    /// A filter that tells which addresses and Community IDs the file cannot hold, in the form that the analyst gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// How a footer lies in a file.
#[derive(Serialize, Deserialize)]
pub(super) struct FooterObject<F> {
    pub(super) footer: F,
}

impl Footer {
    /// Of an object's bytes.
    pub fn read(object: &[u8]) -> Option<Self> {
        jsonb::decode::<FooterObject<Self>>(object).ok().map(|(object, _)| object.footer)
    }
}

fn stamp<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Nanos>, D::Error> {
    let text = Option::<Cow<'de, str>>::deserialize(from)?;
    let time = text.and_then(|text| chrono::DateTime::parse_from_rfc3339(&text).ok());
    Ok(time.and_then(|time| time.timestamp_nanos_opt()))
}
