//! `tapkeep list`: the capture files and the flow files, the growing ones and on request the evicted ones included.

mod flows;
mod order;
mod strip;

use std::path::Path;

use anyhow::Result;
use chrono::TimeZone;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::order::Key;
use super::absence;
use super::output::{Exit, Output};
use super::sort::SortArgs;
use super::table::{Align, Cell, Look, Table, bytes, count, counted, duration};
use super::time::{RangeArgs, date_time, end_time};
use super::zone::Here;
use crate::daemon::ServiceState;
use crate::index::flow_view::flow_files;
use crate::index::view::{View, Viewer};
use crate::packet::Nanos;
use crate::store::catalog::{FlowRow, Gap, Row};
use crate::store::entry::Entry;
use crate::store::facts::{State, rfc3339};
use crate::store::layout::Layout;
use crate::store::losses::Losses;
use crate::store::names::Role;
use crate::store::range::TimeRange;
use crate::sys::clock::{Clock, Now, RealClock};
use crate::sys::fs::RealFs;

/// Files in a table unless told otherwise.
const TABLE_LIMIT: usize = 20;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Packets
    Capture,
    /// Flow records
    Flows,
}

/// What `list` is asked.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
The line above the table is traffic over time, each file's bytes spread evenly over its time;
tapkeep report looks at the packets.

LOST counts packets that a file misses, by cause; ? is what nobody counted. ~ marks files that were
recorded while the clock was not synchronised.

Examples:
  tapkeep list
  tapkeep list --last 1h
  tapkeep list --all --limit 0
  tapkeep list --kind capture --json | jq -r '.files[] | select(.state == \"sealed\") | .name'")]
pub struct ListArgs {
    /// Also show files that retention has evicted
    #[arg(long)]
    pub all: bool,
    /// Show only files of this kind
    #[arg(long, value_enum)]
    pub kind: Option<Kind>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Show only the N latest files, or the first N of the order asked for; 0 = all [default: 20 in a table, all in JSON]
    #[arg(long, value_name = "N", value_parser = absence::rows, allow_negative_numbers = true)]
    pub limit: Option<usize>,
    /// In which order.
    #[command(flatten)]
    pub(super) sort: SortArgs<Key>,
    /// Which time.
    #[command(flatten)]
    pub range: RangeArgs,
}

/// Where the answer is to be found.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The data directory.
    pub data_dir: &'a Path,
    /// Why that one, in words.
    pub why: &'a str,
    /// Where a running service tells its state.
    pub runtime_dir: &'a Path,
}

/// Answers. `ledger` reads the ledger at a path; it is called only if the index does not answer, and fails in
/// words.
///
/// # Errors
/// A contradictory range, a directory that cannot be read, an answer that cannot be written.
pub fn list(
    args: &ListArgs,
    place: &Place<'_>,
    ledger: &dyn Fn(&Path) -> Result<Vec<Entry>, String>,
    out: &mut Output,
) -> Result<Exit> {
    let now = RealClock.now();
    let answer = gather(args, place, ledger, now)?;
    if args.json {
        out.json(&answer.json(args.sort, args.limit.unwrap_or(0)))?;
    }
    for note in &answer.view.notes {
        out.note(note);
    }
    if answer.view.rows.is_empty() && answer.flows.is_empty() {
        out.note(answer.nothing(place));
        return Ok(if answer.range.is_bounded() { Exit::NothingLeft } else { Exit::Ok });
    }
    if !args.json {
        let zone = Here.name(answer.times());
        let limit = args.limit.unwrap_or(TABLE_LIMIT);
        if !answer.view.rows.is_empty() {
            out.line(format_args!("Capture files in {}; times in {zone}", place.data_dir.display()))?;
            answer.show(args.sort, limit, &Here, out)?;
        }
        if !answer.flows.is_empty() {
            if !answer.view.rows.is_empty() {
                out.line("")?;
            }
            out.line(format_args!("Flow files in {}; times in {zone}", place.data_dir.display()))?;
            let shown = order::flows(&answer.flows, args.sort, limit);
            out.table(&flows::table(&shown, &answer.flows, &Here))?;
            if shown.len() < answer.flows.len() {
                out.line(absence::cut(shown.len(), answer.flows.len()))?;
            }
        }
        if answer.left > 0 {
            out.line(format_args!("{} recorded and not analysed yet", bytes(answer.left)))?;
        }
        answer.tap.iter().try_for_each(|what| out.line(format_args!("the tap: {what}")))?;
    }
    Ok(Exit::Ok)
}

/// The answer of no files, in JSON.
pub(super) fn empty() -> Value {
    let mut document = Answer::default().json(SortArgs::default(), 0);
    document["losses"] = json!(Losses::UNKNOWN);
    document
}

#[derive(Default)]
pub(super) struct Answer {
    /// What is left of it.
    pub(super) view: View,
    /// The same of the flow files.
    flows: Vec<FlowRow>,
    range: TimeRange,
    /// From the first to the last stamp of the files that are there, whatever the range.
    kept: Option<(Nanos, Nanos)>,
    /// What the service says is odd about the tap.
    tap: Vec<String>,
    /// Bytes that it has recorded and not analysed yet.
    left: u64,
}

pub(super) fn gather(
    args: &ListArgs,
    place: &Place<'_>,
    ledger: &dyn Fn(&Path) -> Result<Vec<Entry>, String>,
    now: Now,
) -> Result<Answer> {
    let range = args.range.resolve(now.wall, &Here)?;
    let layout = Layout::new(place.data_dir);
    let ledger = || ledger(&layout.ledger());
    let mut view = Viewer { layout: &layout, fs: &RealFs::default(), ledger: &ledger }.look()?;
    let up_ms = now.up_ms();
    let service = ServiceState::find(place.runtime_dir, place.data_dir)
        .ok()
        .flatten()
        .filter(|state| state.is_fresh(up_ms));
    let tap = service.as_ref().map_or_else(Vec::new, |state| state.analysis.tap.clone());
    let left = service.as_ref().map_or(0, |state| state.analysis.left);
    if let Some(told) = service.and_then(|state| state.recording) {
        let told_of =
            |row: &&mut Row| (row.facts.state, row.facts.name.number()) == (State::Recording, told.index);
        if let Some(row) = view.rows.iter_mut().find(told_of) {
            row.facts.losses = told.losses;
            row.facts.clock_synchronised = told.clock_synchronised;
        }
    }
    let wanted = |kind| args.kind.is_none_or(|only| only == kind);
    view.rows.retain(|row| wanted(Kind::Capture) && (args.all || row.evicted.is_none()));
    let kept = view.kept();
    let touched = |first: Option<Nanos>, last| {
        !range.is_bounded() || first.zip(last).is_some_and(|(first, last)| range.touches(first, last))
    };
    view.rows.retain(|row| touched(row.facts.first, row.facts.last));
    view.gaps.retain(|gap| touched(gap.from, end_of(gap)));
    let mut flows = flow_files(&layout, &RealFs::default(), &ledger).unwrap_or_default();
    flows.retain(|row| wanted(Kind::Flows) && (args.all || row.evicted.is_none()));
    flows.retain(|row| touched(row.facts.first, row.facts.last));
    Ok(Answer { view, flows, range, kept, tap, left })
}

/// When a gap ended, by the clock at its beginning.
pub(super) fn end_of(gap: &Gap) -> Option<Nanos> {
    gap.from?.checked_add(i64::try_from(gap.duration_ms).ok()?.checked_mul(1_000_000)?)
}

impl Answer {
    /// Those that the tables show.
    fn times(&self) -> impl Iterator<Item = Nanos> + '_ {
        let captures = self.view.rows.iter().flat_map(|row| [row.facts.first, row.facts.last]);
        let flows = self.flows.iter().flat_map(|row| [row.facts.first, row.facts.last]);
        captures.chain(flows).flatten()
    }

    fn losses(&self) -> Losses {
        self.view.rows.iter().fold(Losses::NONE, |sum, row| sum + row.facts.losses)
    }

    fn nothing(&self, place: &Place<'_>) -> String {
        let (dir, why) = (place.data_dir.display(), place.why);
        if !place.data_dir.exists() {
            return format!("no capture files: {dir} does not exist ({why})");
        }
        let what = if self.kept.is_some() { "packets" } else { "capture files" };
        absence::nothing(what, self.range, format_args!("{dir} ({why})"), self.kept)
    }

    /// What a file is called now; an evicted one, what it was called last.
    pub(super) fn present_name(&self, row: &Row) -> String {
        let name = row.facts.name;
        name.file_name(match row.facts.state {
            State::Recording => Role::Part,
            State::Damaged if self.view.aside.contains(&name) => Role::Damaged,
            _ => Role::Sealed,
        })
    }

    fn json(&self, order: SortArgs<Key>, limit: usize) -> Value {
        let rows = &self.view.rows;
        let captures = order::captures(rows, order, limit);
        let captures = captures.into_iter().map(|row| file_json(row, self.present_name(row)));
        let flows = order::flows(&self.flows, order, limit).into_iter().map(flows::json);
        let files: Vec<_> = captures.chain(flows).collect();
        json!({
            "files": files,
            "matched": rows.len() + self.flows.len(),
            "gaps": self.view.gaps.iter().map(gap_json).collect::<Vec<_>>(),
            "from": rows.iter().filter_map(|row| row.facts.first).min().map(rfc3339),
            "to": rows.iter().filter_map(|row| row.facts.last).max().map(rfc3339),
            "losses": self.losses(),
            "tap": self.tap,
            "left": self.left,
        })
    }

    fn show<Z: TimeZone>(
        &self,
        order: SortArgs<Key>,
        limit: usize,
        zone: &Z,
        out: &mut Output,
    ) -> Result<()> {
        let shown = order::captures(&self.view.rows, order, limit);
        strip::strip(&self.view, zone).iter().try_for_each(|cells| out.row(cells))?;
        let mut table = Table::new(&[
            (" FIRST", Align::Left),
            ("LAST", Align::Left),
            ("STATE", Align::Left),
            ("PACKETS", Align::Right),
            ("BYTES", Align::Right),
            ("SIZE", Align::Right),
            ("LOST", Align::Right),
            ("NAME", Align::Left),
            ("", Align::Left),
        ]);
        // Gaps before the first file shown belong to files that are not.
        let begin = shown.iter().find_map(|row| row.facts.first);
        let belongs = |gap: &&Gap| !order.is_asked() && gap.from.is_some() && end_of(gap) >= begin;
        let mut gaps = self.view.gaps.iter().filter(belongs).peekable();
        for row in &shown {
            while let Some(gap) =
                gaps.next_if(|gap| row.facts.first.is_some_and(|first| gap.from < Some(first)))
            {
                table.span(gap_cell(gap, zone));
            }
            table.row(cells(row, self.present_name(row), zone));
        }
        gaps.for_each(|gap| table.span(gap_cell(gap, zone)));
        table.row(self.totals());
        out.table(&table)?;
        if shown.iter().any(|row| row.facts.clock_synchronised == Some(false)) {
            out.line("~ the clock was not synchronised: times may be wrong")?;
        }
        if shown.len() < self.view.rows.len() {
            out.line(absence::cut(shown.len(), self.view.rows.len()))?;
        }
        Ok(())
    }

    /// How long nothing could be captured, all in all.
    fn gaps(&self) -> Cell {
        match self.view.gaps.len() as u64 {
            0 => Cell::from(""),
            n => {
                let lasted = duration(self.view.gaps.iter().map(|gap| gap.duration_ms).sum());
                Cell::new(format!("{}, {lasted}", counted(n, "gap")), Look::Warning)
            }
        }
    }

    /// The last row: the files that are there.
    fn totals(&self) -> Vec<Cell> {
        let there = || self.view.rows.iter().filter(|row| row.evicted.is_none()).map(|row| &row.facts);
        let evicted = self.view.rows.len() - there().count();
        let without = without_evicted(evicted);
        let bold = |text: String| Cell::new(text, Look::Bold);
        vec![
            bold(format!(" {}", counted(there().count() as u64, "file"))),
            Cell::from(""),
            Cell::from(""),
            bold(count(there().map(|facts| facts.packets).sum())),
            bold(bytes(there().map(|facts| facts.bytes).sum())),
            bold(bytes(there().map(|facts| facts.size).sum())),
            lost(&there().fold(Losses::NONE, |sum, facts| sum + facts.losses)),
            bold(format!("total{without}")),
            self.gaps(),
        ]
    }
}

/// What a total leaves out.
fn without_evicted(evicted: usize) -> String {
    if evicted > 0 { format!(", without {} evicted", count(evicted as u64)) } else { String::new() }
}

fn file_json(row: &Row, name: String) -> Value {
    let facts = &row.facts;
    let mut file = json!({
        "name": name,
        "kind": "capture",
        "state": facts.state,
        "index": facts.name.number(),
        "first": facts.first.map(rfc3339),
        "last": facts.last.map(rfc3339),
        "packets": facts.packets,
        "bytes": facts.bytes,
        "size": facts.size,
        "losses": facts.losses,
        "held": row.held,
        "clock_synchronised": facts.clock_synchronised,
    });
    if let Some(offset) = facts.doubtful_from {
        file["doubtful_from"] = offset.into();
    }
    if let Some(eviction) = &row.evicted {
        file["evicted_at"] = eviction.at.map(rfc3339).into();
        file["reason"] = eviction.reason.as_str().into();
    }
    file
}

fn gap_json(gap: &Gap) -> Value {
    json!({
        "from": gap.from.map(rfc3339),
        "to": end_of(gap).map(rfc3339),
        "duration_ms": gap.duration_ms,
        "reason": gap.reason,
    })
}

fn cells<Z: TimeZone>(row: &Row, name: String, zone: &Z) -> Vec<Cell> {
    let facts = &row.facts;
    let mark = if row.facts.clock_synchronised == Some(false) { '~' } else { ' ' };
    let (first, last) = match (facts.first, facts.last) {
        (Some(first), Some(last)) => {
            (format!("{mark}{}", date_time(first, zone)), end_time(first, last, zone))
        }
        _ => (format!("{mark}–"), "–".to_owned()),
    };
    let look = match facts.state {
        State::Evicted => Look::Dim,
        State::Damaged => Look::Bad,
        State::Salvaged => Look::Warning,
        State::Sealed | State::Recording => Look::Plain,
    };
    vec![
        Cell::from(first),
        Cell::from(last),
        Cell::new(state_word(facts.state), look),
        Cell::from(count(facts.packets)),
        Cell::from(bytes(facts.bytes)),
        Cell::from(bytes(facts.size)),
        lost(&facts.losses),
        Cell::new(name, if row.evicted.is_some() { Look::Dim } else { Look::Plain }),
        Cell::from(remark(row, zone)),
    ]
}

fn gap_cell<Z: TimeZone>(gap: &Gap, zone: &Z) -> Cell {
    let from = gap.from.unwrap_or_default();
    let (begin, end) = (date_time(from, zone), end_time(from, end_of(gap).unwrap_or(from), zone));
    let text = format!("—  gap {begin}–{end} ({}): {}", duration(gap.duration_ms), gap.reason);
    Cell::new(text, Look::Warning)
}

pub(super) fn state_word(state: State) -> &'static str {
    match state {
        State::Recording => "recording",
        State::Sealed => "sealed",
        State::Salvaged => "salvaged",
        State::Damaged => "damaged",
        State::Evicted => "evicted",
    }
}

/// What is missing, by cause: `0`, `12 kernel, ? nic`, or `?` where nobody counted.
fn lost(losses: &Losses) -> Cell {
    let (text, look) = lost_text(losses);
    Cell::new(text, look)
}

/// The same, and how it looks.
pub(super) fn lost_text(losses: &Losses) -> (String, Look) {
    let by_cause = losses.by_cause();
    if by_cause.iter().all(|(_, lost)| lost.is_none()) {
        return ("?".to_owned(), Look::Warning);
    }
    let known = by_cause.iter().filter_map(|(cause, lost)| lost.filter(|n| *n > 0).map(|n| (cause, n)));
    let known: Vec<_> = known.map(|(cause, n)| format!("{} {cause}", count(n))).collect();
    let unknown = by_cause.iter().filter(|(_, lost)| lost.is_none()).map(|(cause, _)| format!("? {cause}"));
    let look = match (known.is_empty(), losses.total()) {
        (true, Some(_)) => return ("0".to_owned(), Look::Plain),
        (true, None) => Look::Warning,
        (false, _) => Look::Bad,
    };
    (known.into_iter().chain(unknown).collect::<Vec<_>>().join(", "), look)
}

pub(super) fn remark<Z: TimeZone>(row: &Row, zone: &Z) -> String {
    let mut remarks = Vec::new();
    if row.held {
        remarks.push("held".to_owned());
    }
    if let Some(offset) = row.facts.doubtful_from {
        remarks.push(format!("doubtful from {} on", bytes(offset)));
    }
    if let Some(eviction) = &row.evicted {
        let at = eviction.at.map(|at| format!(" {}", date_time(at, zone))).unwrap_or_default();
        remarks.push(format!("evicted{at}: {}", eviction.reason));
    }
    remarks.join(", ")
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
