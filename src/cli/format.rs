//! Flow records and findings as other tools read them, a line each: in the words of ECS, of Suricata's EVE, of Zeek's logs, or in our
//! own as JSON and CSV.
//!
//! A format is pure: it knows its first lines and what a row is in it. `docs/SIEM.md` holds the fields, and the lists that they are
//! taken from.

pub(super) mod csv;
mod ecs;
mod eve;
mod json;
mod nested;
mod zeek;

use std::collections::BTreeMap;
use std::io;

use chrono::DateTime;
use clap::{Args, ValueEnum};

use super::output::Output;
use crate::detect::Finding;
use crate::flow::record::FlowRecord;
use crate::packet::{NANOS_PER_SEC, Nanos};
use crate::store::layout::Layout;
use crate::store::names::CaptureName;
use crate::sys::clock::{Clock, RealClock};
use crate::sys::fs::{Fs, RealFs};
use crate::sys::process::host_name;

pub(super) use json::finding as finding_json;

/// A form of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Elastic Common Schema, a JSON document a line
    Ecs,
    /// Suricata's EVE, a JSON document a line
    Eve,
    /// Zeek's conn.log and notice.log
    Zeek,
    /// CSV with a line of names
    Csv,
    /// Our own keys, a JSON document a line
    Json,
}

/// In which form the answer is wanted; a table for people unless told otherwise.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct FormatArgs {
    /// Print lines that other tools read; docs/SIEM.md tells their fields
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<Format>,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// The same as --format csv
    #[arg(long, conflicts_with_all = ["format", "json"])]
    csv: bool,
}

impl FormatArgs {
    /// The form of lines; none for a table.
    pub(super) fn get(&self) -> Option<Format> {
        match self {
            Self { json: true, .. } => Some(Format::Json),
            Self { csv: true, .. } => Some(Format::Csv),
            Self { format, .. } => *format,
        }
    }
}

/// What the rows of an answer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Flows,
    Findings,
}

/// A row, whatever the format.
#[derive(Debug, Clone, Copy)]
pub(super) enum Row<'a> {
    Flow(&'a FlowRecord),
    Finding(&'a Finding, &'a Places),
}

/// What is known of the capture files in which findings have their packets.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// Index numbers and names of the captures that are there.
    pub(super) names: BTreeMap<u64, CaptureName>,
    /// Whether they are captures of the data directory.
    pub(super) recorded: bool,
}

impl Places {
    /// The capture files of a data directory as they are now.
    pub(super) fn of(layout: &Layout) -> Self {
        let files = RealFs::default().read_dir(&layout.captures()).unwrap_or_default();
        let names = files.iter().filter_map(|file| CaptureName::parse(&file.name));
        Self { names: names.map(|(name, _)| (name.number(), name)).collect(), recorded: true }
    }

    /// Whether that capture is not there any more.
    pub(super) fn is_evicted(&self, number: u64) -> bool {
        self.recorded && !self.names.contains_key(&number)
    }
}

/// Prints rows in a format.
pub(super) struct Lines {
    format: Format,
    kind: Kind,
    host: String,
}

impl Lines {
    pub(super) fn new(format: Format, kind: Kind) -> Self {
        Self { format, kind, host: host_name() }
    }

    /// What comes before the first row.
    pub(super) fn head(&self, out: &mut Output) -> io::Result<()> {
        match self.format {
            Format::Csv => out.line(csv::head(self.kind)),
            Format::Zeek => {
                let open = RealClock.now().wall;
                zeek::head(self.kind, open).iter().try_for_each(|cells| out.cells(cells))
            }
            Format::Ecs | Format::Eve | Format::Json => Ok(()),
        }
    }

    pub(super) fn row(&self, row: Row<'_>, out: &mut Output) -> io::Result<()> {
        match (self.format, row) {
            (Format::Ecs, row) => out.json(&ecs::document(row, &self.host)),
            (Format::Eve, row) => out.json(&eve::document(row, &self.host)),
            (Format::Zeek, row) => out.cells(&zeek::cells(row, &self.host)),
            (Format::Csv, row) => out.line(csv::row(row)),
            (Format::Json, Row::Flow(record)) => out.json(record),
            (Format::Json, Row::Finding(finding, places)) => out.json(&json::finding(finding, places)),
        }
    }
}

/// A stamp in a form of chrono's.
fn stamp(stamp: Nanos, form: &str) -> String {
    DateTime::from_timestamp_nanos(stamp).format(form).to_string()
}

/// Seconds with six digits behind the point, cut.
fn seconds(nanos: Nanos) -> String {
    let micros = nanos.div_euclid(1000);
    let per_sec = NANOS_PER_SEC / 1000;
    if micros < 0 && micros % per_sec != 0 {
        return format!("-{}.{:06}", -(micros / per_sec), -(micros % per_sec));
    }
    format!("{}.{:06}", micros / per_sec, micros.rem_euclid(per_sec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_keep_their_sign_and_six_digits() {
        let texts =
            [0, 1_500_000_999, 1, -1_500_000_000, -500_000_000, 1_735_655_452_000_001_000].map(seconds);
        let wanted = ["0.000000", "1.500000", "0.000000", "-1.500000", "-0.500000", "1735655452.000001"];
        assert_eq!(texts, wanted);
    }
}
