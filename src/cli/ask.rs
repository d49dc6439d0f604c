//! What the commands that analyse captures have in common: the files and the time asked about, and how an answer tells what it
//! rests on.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value, json};

use super::output::{Exit, Output};
use super::progress::Waiting;
use super::table::{bar, bytes, counted};
use super::time::{RangeArgs, date_time};
use super::zone::Here;
use super::{Context, absence, read_ledger, settings};
use crate::daemon::ServiceState;
use crate::detect::{Finding, SUPPRESSED};
use crate::flow::summary::{Count, Probe, Wanted};
use crate::index::analysis::{Analysis, Question, over_data_dir, over_files};
use crate::packet::Nanos;
use crate::packet::addr::Vlan;
use crate::store::facts::rfc3339;
use crate::store::layout::Layout;
use crate::store::losses::Losses;
use crate::store::range::TimeRange;
use crate::sys::clock::{Clock, Now, RealClock};
use crate::sys::fs::RealFs;

/// Rows in a table unless told otherwise.
pub(super) const TABLE_LIMIT: usize = 20;

/// Which packets, and how the answer is to look.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct AskArgs {
    /// Capture files: names from the data directory, or paths of any pcap or pcapng files [default: the whole data directory]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub range: RangeArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Show only the first N rows, 0 = all [default: 20 in a table but for protocols, else all]
    #[arg(long, value_name = "N", value_parser = absence::rows, allow_negative_numbers = true)]
    pub limit: Option<usize>,
}

/// An answer, and what was asked.
pub(super) struct Asked {
    pub analysis: Analysis,
    range: TimeRange,
    /// Whether files may have been left out that hold nothing of what is asked for: then nobody knows what all come to.
    filtered: bool,
    /// The directory or the files that were looked into.
    place: String,
    /// Whether that directory is not there.
    absent: bool,
}

impl AskArgs {
    /// Asks.
    pub(super) fn ask(
        &self,
        wanted: Wanted,
        only: Vec<Probe>,
        context: &Context,
        out: &mut Output,
    ) -> Result<Asked> {
        let now = RealClock.now();
        let range = self.range.resolve(now.wall, &Here)?;
        let filtered = !only.is_empty();
        let (layout, fs) = (Layout::new(&context.data_dir.path), RealFs::default());
        let waiting = Waiting::new("analysing", out);
        let question = Question {
            layout: &layout,
            fs: &fs,
            ledger: &|| read_ledger(&layout.ledger()),
            range,
            wanted,
            only,
            limits: settings::summary(&context.loaded.config),
            recording: recording(context, &now),
            watch: &|at| waiting.at(at),
        };
        let (analysis, place) = match &self.files[..] {
            [] => (over_data_dir(&question)?, context.data_dir.to_string()),
            files => (over_files(&question, files)?, names(files)),
        };
        waiting.over()?;
        for note in &analysis.notes {
            out.note(note);
        }
        let absent = self.files.is_empty() && !context.data_dir.path.exists();
        Ok(Asked { analysis, range, filtered, place, absent })
    }

    /// How many rows of so many are shown in a table.
    pub(super) fn rows_of_table(&self, rows: usize) -> usize {
        limited(self.limit.unwrap_or(TABLE_LIMIT), rows)
    }

    /// How many rows of so many are shown in JSON.
    pub(super) fn rows_of_json(&self, rows: usize) -> usize {
        limited(self.limit.unwrap_or(0), rows)
    }
}

fn limited(limit: usize, rows: usize) -> usize {
    if limit == 0 { rows } else { limit.min(rows) }
}

fn names(files: &[PathBuf]) -> String {
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    names.join(", ")
}

/// What the running service tells of the file that it records.
pub(super) fn recording(context: &Context, now: &Now) -> Option<(u64, Losses)> {
    let told = running(context, now)?.recording?;
    Some((told.index, told.losses))
}

/// The stamp from which on what a running service has found may have grown since it was told, for it is counted on.
pub(super) fn counted_on_since(context: &Context, now: &Now) -> Option<Nanos> {
    running(context, now).map(|_| now.wall.saturating_sub(SUPPRESSED))
}

/// Whether a finding may have grown since it was told; `since` is [`counted_on_since`].
pub(super) fn may_have_grown(finding: &Finding, since: Option<Nanos>) -> bool {
    since.is_some_and(|since| finding.last_seen > since)
}

/// The service that records into the data directory.
fn running(context: &Context, now: &Now) -> Option<ServiceState> {
    let runtime_dir = &context.loaded.config.service.runtime_dir;
    let state = ServiceState::find(runtime_dir, &context.data_dir.path).ok()??;
    Some(state).filter(|state| state.is_fresh(now.up_ms()))
}

impl Asked {
    /// The document: the answer, and what it rests on.
    pub(super) fn json(&self, answer: Value) -> Value {
        let mut document = match answer {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        let Analysis { from, to, losses, evicted, .. } = &self.analysis;
        document.insert("from".to_owned(), json!(from.map(rfc3339)));
        document.insert("to".to_owned(), json!(to.map(rfc3339)));
        document.insert("losses".to_owned(), json!(losses));
        let basis = if self.analysis.flows > 0 { "flows" } else { "packets" };
        document.insert("basis".to_owned(), json!(basis));
        document.insert("evicted".to_owned(), json!(evicted.len()));
        Value::Object(document)
    }

    /// Whether there are rows to tell of, each a `what`; if not, why not is told.
    pub(super) fn has_rows(&self, rows: usize, what: &str, out: &mut Output) -> bool {
        if rows > 0 {
            return true;
        }
        let packets = self.analysis.merged.total().packets > 0 || (self.filtered && self.analysis.files > 0);
        let what = match () {
            () if packets => format!("{what} that fit"),
            () if self.analysis.files == 0 && !self.range.is_bounded() => "capture files".to_owned(),
            () => "packets".to_owned(),
        };
        out.note(match self.absent {
            true => absence::no_place(what, &self.place),
            false => {
                let place = absence::readable(&self.place, self.analysis.damaged);
                absence::nothing(what, self.range, place, self.analysis.kept)
            }
        });
        false
    }

    /// The bytes of all packets asked about, if anybody knows.
    pub(super) fn whole(&self) -> Option<u64> {
        (!self.filtered).then(|| self.analysis.merged.total().bytes)
    }

    /// The line above a table: what was counted, from when to when.
    pub(super) fn head(&self, what: &str, out: &mut Output) -> Result<()> {
        let Analysis { from, to, files, .. } = &self.analysis;
        let total = self.analysis.merged.total();
        let zone = Here.name([*from, *to].into_iter().flatten());
        let range = match (from, to) {
            (Some(from), Some(to)) => {
                format!(", {} to {} ({zone})", date_time(*from, &Here), date_time(*to, &Here))
            }
            _ => String::new(),
        };
        let packets = match self.filtered {
            true => String::new(),
            false => format!("{}, {}, in ", counted(total.packets, "packet"), bytes(total.bytes)),
        };
        out.line(format_args!("{what}: {packets}{}{range}", counted(*files as u64, "file")))?;
        Ok(())
    }

    /// The lines below a table: what was not shown, not counted, or not exact.
    pub(super) fn foot(&self, shown: usize, rows: usize, exact: bool, out: &mut Output) -> Result<()> {
        if shown < rows {
            out.line(absence::cut(shown, rows))?;
        }
        if !exact {
            out.line("± more rows than are counted one by one: each may be too large by so much, small ones may be missing")?;
        }
        if let Some(lost) = self.analysis.losses.total().filter(|&lost| lost > 0) {
            out.line(format_args!(
                "{} lost while this was recorded; `tapkeep list` tells where",
                counted(lost, "packet")
            ))?;
        }
        if let [.., _] = &self.analysis.evicted[..] {
            let files = counted(self.analysis.evicted.len() as u64, "capture file");
            out.line(format_args!(
                "{files} of that time evicted since; `tapkeep flows` still tells of them"
            ))?;
        }
        Ok(())
    }

    /// How the command ends.
    pub(super) fn exit(&self, rows: usize, filtered: bool) -> Exit {
        match rows {
            _ if self.analysis.damaged => Exit::Damaged,
            0 if self.range.is_bounded() || filtered => Exit::NothingLeft,
            _ => Exit::Ok,
        }
    }
}

/// The document of no answer; `key` holds the rows.
pub(super) fn empty(key: &str, totals: bool) -> Value {
    let mut document = Map::new();
    if totals {
        document.insert("packets".to_owned(), json!(0));
        document.insert("bytes".to_owned(), json!(0));
    }
    document.insert(key.to_owned(), json!([]));
    for key in ["from", "to"] {
        document.insert(key.to_owned(), Value::Null);
    }
    document.insert("losses".to_owned(), json!(Losses::UNKNOWN));
    document.insert("basis".to_owned(), json!("packets"));
    Value::Object(document)
}

/// Adds by how much a row may be too large, if it may be.
pub(super) fn add_error(row: &mut Value, error: Count) {
    if let (Value::Object(row), true) = (row, error != Count::default()) {
        row.insert("error_packets".to_owned(), json!(error.packets));
        row.insert("error_bytes".to_owned(), json!(error.bytes));
    }
}

/// The same for a table.
pub(super) fn error_text(error: Count) -> String {
    if error == Count::default() { String::new() } else { format!("±{}", bytes(error.bytes)) }
}

/// Which part of all a row is, in a table.
pub(super) fn share_text(part: u64, whole: Option<u64>) -> String {
    // What an address sends to itself counts twice for it.
    let share = |whole: u64| format!("{:.1} %", part.min(whole) as f64 * 100.0 / whole.max(1) as f64);
    whole.map(share).unwrap_or_default()
}

/// The same, drawn.
pub(super) fn share_bar(part: u64, whole: Option<u64>) -> String {
    whole.map(|whole| bar(part, whole)).unwrap_or_default()
}

/// The VLAN ids, outermost first: a number, two in an array, or null.
pub(super) fn vlan_json(vlan: Vlan) -> Value {
    match (vlan.outer, vlan.inner) {
        (0, 0) => Value::Null,
        (outer, 0) => json!(outer),
        (outer, inner) => json!([outer, inner]),
    }
}

/// The same for a table.
pub(super) fn vlan_text(vlan: Vlan) -> String {
    match (vlan.outer, vlan.inner) {
        (0, 0) => String::new(),
        (outer, 0) => outer.to_string(),
        (outer, inner) => format!("{outer}.{inner}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_what_there_is() {
        assert_eq!(share_text(1, Some(8)), "12.5 %");
        assert_eq!(
            (share_text(16, Some(8)), share_text(0, Some(0))),
            ("100.0 %".to_owned(), "0.0 %".to_owned())
        );
        assert_eq!(share_text(1, None), "");
    }
}
