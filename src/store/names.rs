//! The grammar of file names in `pcaps/`; the only place that knows it. A file that does not match is none of ours and is
//! never touched.
//!
//! `capture_YYYYMMDD_HHMMSS_NNNN.pcap`, UTC of the first packet and the index number (four digits or more, growing for
//! ever), with `.part` while it is written, `.hold` for the marker that keeps it, `.damaged` for one whose header cannot be
//! read.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime};

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
        let rest = file_name.strip_prefix("capture_")?;
        let (stem, tail) = rest.split_once(".pcap")?;
        let role = Role::ALL.into_iter().find(|role| role.suffix() == tail)?;
        let (second, number) = (stem.get(..15)?, stem.get(15..)?.strip_prefix('_')?);
        let parsed = Self {
            number: number.parse().ok()?,
            second: NaiveDateTime::parse_from_str(second, "%Y%m%d_%H%M%S").ok()?,
        };
        // One name, one spelling: leading zeros, signs and two-digit months are refused by comparing.
        (parsed.file_name(role) == file_name).then_some((parsed, role))
    }
}

impl fmt::Display for CaptureName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "capture_{}_{:04}.pcap", self.second.format("%Y%m%d_%H%M%S"), self.number)
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

    proptest! {
        #[test]
        fn every_name_reads_back(number in any::<u64>(), sec in any::<u32>(), role in 0_usize..4) {
            let (name, role) = (CaptureName::new(number, sec), Role::ALL[role]);
            prop_assert_eq!(CaptureName::parse(&name.file_name(role)), Some((name, role)));
        }

        #[test]
        fn no_text_panics(text in "\\PC*|capture_[0-9_]{0,20}\\.pcap\\PC{0,8}") {
            if let Some((name, role)) = CaptureName::parse(&text) {
                prop_assert_eq!(name.file_name(role), text);
            }
        }
    }
}
