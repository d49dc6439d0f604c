//! The grammar of file names in `pcaps/` and `flows/`; the only place that knows it. A file that does not match is none of
//! ours and is never touched.
//!
//! `capture_YYYYMMDD_HHMMSS_NNNN.pcap`, UTC of the first packet and the index number (four digits or more, growing for
//! ever), with `.part` while it is written, `.hold` for the marker that keeps it, `.damaged` for one whose header cannot be
//! read.
//!
//! `flows_YYYYMMDD_HHMMSS_NNNN.jsonb`, UTC of the earliest record (of the file's beginning if it has none) and the index number,
//! which flow files count for themselves, with `.damaged` for one that is no flow file. While it is written a flow file has
//! another name, always the same one ([`super::layout::FLOW_FILE`]).

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime};

use crate::packet::Nanos;

/// What a file beside the captures is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// A finished capture file.
    Sealed,
    /// A capture file being written, or left by a crash.
    Part,
    /// The marker that keeps a capture file from retention.
    Hold,
    /// A file that salvage could not read, renamed aside.
    Damaged,
}

impl Role {
    const ALL: [Self; 4] = [Self::Sealed, Self::Part, Self::Hold, Self::Damaged];

    /// What it adds to the name of the finished file.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Sealed => "",
            Self::Part => ".part",
            Self::Hold => ".hold",
            Self::Damaged => ".damaged",
        }
    }
}

/// The name of a capture file, whatever its role; orders by index number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CaptureName {
    number: u64,
    second: NaiveDateTime,
}

impl CaptureName {
    /// The name of capture file `number` whose first packet came `sec` seconds after 1970, UTC.
    pub fn new(number: u64, sec: u32) -> Self {
        let second = DateTime::from_timestamp(i64::from(sec), 0).unwrap_or_default().naive_utc();
        Self { number, second }
    }

    /// The index number.
    pub fn number(self) -> u64 {
        self.number
    }

    /// The file name in this role.
    pub fn file_name(self, role: Role) -> String {
        format!("{self}{}", role.suffix())
    }

    /// Reads a file name back; `None` if it is none of ours.
    pub fn parse(file_name: &str) -> Option<(Self, Role)> {
        let (second, number, tail) = split(file_name, "capture_", ".pcap")?;
        let role = Role::ALL.into_iter().find(|role| role.suffix() == tail)?;
        let parsed = Self { number, second };
        // One name, one spelling: leading zeros, signs and two-digit months are refused by comparing.
        (parsed.file_name(role) == file_name).then_some((parsed, role))
    }
}

impl fmt::Display for CaptureName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "capture_{}_{:04}.pcap", self.second.format(SECOND), self.number)
    }
}

/// What a file in `flows/` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FlowRole {
    /// A finished flow file.
    Sealed,
    /// A file that stood where the growing flow file belongs and is none, put aside.
    Damaged,
}

impl FlowRole {
    /// What it adds to the name of the finished file.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Sealed => "",
            Self::Damaged => ".damaged",
        }
    }
}

/// The name of a finished flow file; index numbers of flow files are their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowName {
    number: u64,
    second: NaiveDateTime,
}

impl FlowName {
    /// The name of flow file `number` that begins at `stamp`.
    pub fn new(number: u64, stamp: Nanos) -> Self {
        let second = DateTime::from_timestamp(stamp.div_euclid(crate::packet::NANOS_PER_SEC), 0);
        Self { number, second: second.unwrap_or_default().naive_utc() }
    }

    /// The index number.
    pub fn number(self) -> u64 {
        self.number
    }

    /// The same with another index number.
    #[must_use]
    pub fn renumbered(self, number: u64) -> Self {
        Self { number, ..self }
    }

    /// The file name in this role.
    pub fn file_name(self, role: FlowRole) -> String {
        format!("{self}{}", role.suffix())
    }

    /// Reads a file name back; `None` if it is none of ours.
    pub fn parse(file_name: &str) -> Option<(Self, FlowRole)> {
        let (second, number, tail) = split(file_name, "flows_", ".jsonb")?;
        let role = [FlowRole::Sealed, FlowRole::Damaged].into_iter().find(|role| role.suffix() == tail)?;
        let parsed = Self { number, second };
        (parsed.file_name(role) == file_name).then_some((parsed, role))
    }
}

impl fmt::Display for FlowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flows_{}_{:04}.jsonb", self.second.format(SECOND), self.number)
    }
}

/// How a name tells a second.
const SECOND: &str = "%Y%m%d_%H%M%S";

/// The second, the number and what follows the extension of a name; spelling is for the caller to compare.
fn split<'a>(file_name: &'a str, prefix: &str, extension: &str) -> Option<(NaiveDateTime, u64, &'a str)> {
    let (stem, tail) = file_name.strip_prefix(prefix)?.split_once(extension)?;
    let (second, number) = (stem.get(..15)?, stem.get(15..)?.strip_prefix('_')?);
    Some((NaiveDateTime::parse_from_str(second, SECOND).ok()?, number.parse().ok()?, tail))
}

/// The text is not the name of a flow file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not the name of a flow file: {0:?} (expected flows_YYYYMMDD_HHMMSS_NNNN.jsonb)")]
pub struct NotAFlowName(String);

impl FromStr for FlowName {
    type Err = NotAFlowName;

    /// Takes the name in any role.
    fn from_str(text: &str) -> Result<Self, NotAFlowName> {
        Self::parse(text).map(|(name, _)| name).ok_or_else(|| NotAFlowName(text.to_owned()))
    }
}

/// The text is not the name of a capture file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not the name of a capture file: {0:?} (expected capture_YYYYMMDD_HHMMSS_NNNN.pcap)")]
pub struct NotACaptureName(String);

impl FromStr for CaptureName {
    type Err = NotACaptureName;

    /// Takes the name in any role.
    fn from_str(text: &str) -> Result<Self, NotACaptureName> {
        Self::parse(text).map(|(name, _)| name).ok_or_else(|| NotACaptureName(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_as_the_format_says() {
        let name = CaptureName::new(1, 1_735_655_452);
        assert_eq!(name.file_name(Role::Sealed), "capture_20241231_143052_0001.pcap");
        assert_eq!(name.file_name(Role::Part), "capture_20241231_143052_0001.pcap.part");
        assert_eq!(CaptureName::new(123_456, 0).to_string(), "capture_19700101_000000_123456.pcap");
    }

    #[test]
    fn strangers_are_none_of_ours() {
        for name in [
            "capture_20241231_143052_0001.pcap.bak",
            "capture_20241231_143052_001.pcap",
            "capture_20241231_143052_00001.pcap",
            "capture_20241231_143052_+001.pcap",
            "capture_20241331_143052_0001.pcap",
            "capture_20241231_143052_0001.pcapng",
            "capture_2024123€_143052_0001.pcap",
            "Capture_20241231_143052_0001.pcap",
            "capture_.pcap",
            "",
        ] {
            assert_eq!(CaptureName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn names_of_flow_files_are_as_the_format_says() {
        let name = FlowName::new(1, 1_735_655_452_999_999_999);
        assert_eq!(name.file_name(FlowRole::Sealed), "flows_20241231_143052_0001.jsonb");
        assert_eq!(name.file_name(FlowRole::Damaged), "flows_20241231_143052_0001.jsonb.damaged");
        assert_eq!(FlowName::new(10_000, -1).to_string(), "flows_19691231_235959_10000.jsonb");
        for stranger in [
            "flows_20241231_143052_0001.jsonb.part",
            "flows_20241231_143052_001.jsonb",
            "flows_20241231_143052_00001.jsonb",
            "flow_20241231_143052_0001.jsonb",
            "flows_20241231_143052_0001.json",
            "traffic_flows.jsonb",
            "",
        ] {
            assert_eq!(FlowName::parse(stranger), None, "{stranger}");
        }
    }

    proptest! {
        #[test]
        fn every_flow_name_reads_back(number in any::<u64>(), stamp in any::<i64>(), damaged in any::<bool>()) {
            let role = if damaged { FlowRole::Damaged } else { FlowRole::Sealed };
            let name = FlowName::new(number, stamp);
            prop_assert_eq!(FlowName::parse(&name.file_name(role)), Some((name, role)));
        }

        #[test]
        fn every_name_reads_back(number in any::<u64>(), sec in any::<u32>(), role in 0_usize..4) {
            let (name, role) = (CaptureName::new(number, sec), Role::ALL[role]);
            prop_assert_eq!(CaptureName::parse(&name.file_name(role)), Some((name, role)));
        }

        #[test]
        fn no_text_panics(text in "\\PC*|(capture|flows)_[0-9_]{0,20}\\.(pcap|jsonb)\\PC{0,8}") {
            if let Some((name, role)) = FlowName::parse(&text) {
                prop_assert_eq!(name.file_name(role), &text[..]);
            }
            if let Some((name, role)) = CaptureName::parse(&text) {
                prop_assert_eq!(name.file_name(role), text);
            }
        }
    }
}
