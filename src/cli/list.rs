//! `tapkeep list`: the capture files and the flow files, the growing ones and on request the evicted ones included.

mod flows;

use std::path::Path;

use anyhow::Result;
use chrono::{Local, TimeZone};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::output::{Exit, Output};
use super::table::{Align, Cell, Look, Table, bytes, count, duration};
use super::time::{RangeArgs, date_time, end_time, zone_name};
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
    /// Show only the N latest files, 0 = all [default: 20 in a table, all in JSON]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
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
/// # Errors A contradictory range, a directory that cannot be read, an answer that cannot be written. With
/// `--json` an empty document is printed all the same.
pub fn list(
    args: &ListArgs,
    place: &Place<'_>,
    ledger: &dyn Fn(&Path) -> Result<Vec<Entry>, String>,
    out: &mut Output,
) -> Result<Exit> {
    let now = RealClock.now();
    let answer = gather(args, place, ledger, now);
    if args.json {
        out.json(&answer.as_ref().unwrap_or(&Answer::default()).json(args.limit.unwrap_or(0)))?;
    }
    let answer = answer?;
    for note in &answer.view.notes {
        out.note(note);
    }
    if answer.view.rows.is_empty() && answer.flows.is_empty() {
        out.note(answer.nothing(place));
        return Ok(if answer.range.is_bounded() { Exit::NothingLeft } else { Exit::Ok });
    }
    if !args.json {
        let zone = zone_name(now.wall, &Local, std::env::var("TZ").ok());
        let limit = args.limit.unwrap_or(TABLE_LIMIT);
        if !answer.view.rows.is_empty() {
            out.line(format_args!("Capture files in {}; times in {zone}", place.data_dir.display()))?;
            answer.show(limit, &Local, out)?;
        }
        if !answer.flows.is_empty() {
            if !answer.view.rows.is_empty() {
                out.line("")?;
            }
            out.line(format_args!("Flow files in {}; times in {zone}", place.data_dir.display()))?;
            out.table(&flows::table(latest(&answer.flows, limit), &Local))?;
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
    Answer::default().json(0)
}

#[derive(Default)]
struct Answer {
    /// What is left of it.
    view: View,
    /// The same of the flow files.
    flows: Vec<FlowRow>,
    range: TimeRange,
    /// Files before the range was looked at.
    before: usize,
    /// What the service says is odd about the tap.
    tap: Vec<String>,
    /// Bytes that it has recorded and not analysed yet.
    left: u64,
}

fn gather(
    args: &ListArgs,
    place: &Place<'_>,
    ledger: &dyn Fn(&Path) -> Result<Vec<Entry>, String>,
    now: Now,
) -> Result<Answer> {
    let range = args.range.resolve(now.wall, &Local)?;
    let layout = Layout::new(place.data_dir);
    let ledger = || ledger(&layout.ledger());
    let mut view = Viewer { layout: &layout, fs: &RealFs::default(), ledger: &ledger }.look()?;
    let up_ms = u64::try_from(now.up.as_millis()).unwrap_or(u64::MAX);
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
    let before = view.rows.len();
    let touched = |first: Option<Nanos>, last| {
        !range.is_bounded() || first.zip(last).is_some_and(|(first, last)| range.touches(first, last))
    };
    view.rows.retain(|row| touched(row.facts.first, row.facts.last));
    view.gaps.retain(|gap| touched(gap.from, end_of(gap)));
    let mut flows = flow_files(&layout, &RealFs::default(), &ledger).unwrap_or_default();
    flows.retain(|row| wanted(Kind::Flows) && (args.all || row.evicted.is_none()));
    flows.retain(|row| touched(row.facts.first, row.facts.last));
    Ok(Answer { view, flows, range, before, tap, left })
}

/// The latest of them; 0 is all.
fn latest<T>(rows: &[T], limit: usize) -> &[T] {
    let skipped = if limit == 0 { 0 } else { rows.len().saturating_sub(limit) };
    &rows[skipped..]
}

/// When a gap ended, by the clock at its beginning.
fn end_of(gap: &Gap) -> Option<Nanos> {
    gap.from?.checked_add(i64::try_from(gap.duration_ms).ok()?.checked_mul(1_000_000)?)
}

impl Answer {
    fn latest(&self, limit: usize) -> &[Row] {
        latest(&self.view.rows, limit)
    }

    fn losses(&self) -> Losses {
        self.view.rows.iter().fold(Losses::NONE, |sum, row| sum + row.facts.losses)
    }

    fn nothing(&self, place: &Place<'_>) -> String {
        let dir = format!("{} ({})", place.data_dir.display(), place.why);
        match self.before {
            _ if !place.data_dir.exists() => {
                format!("no capture files: {} does not exist ({})", place.data_dir.display(), place.why)
            }
            0 => format!("no capture files in {dir}"),
            1 => format!("the one capture file in {dir} has no packets of that time"),
            n => format!("none of the {n} capture files in {dir} has packets of that time"),
        }
    }

    /// What a file is called now; an evicted one, what it was called last.
    fn present_name(&self, row: &Row) -> String {
        let name = row.facts.name;
        name.file_name(match row.facts.state {
            State::Recording => Role::Part,
            State::Damaged if self.view.aside.contains(&name) => Role::Damaged,
            _ => Role::Sealed,
        })
    }

    fn json(&self, limit: usize) -> Value {
        let rows = &self.view.rows;
        let captures = self.latest(limit).iter().map(|row| file_json(row, self.present_name(row)));
        let files: Vec<_> = captures.chain(latest(&self.flows, limit).iter().map(flows::json)).collect();
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

    fn show<Z: TimeZone>(&self, limit: usize, zone: &Z, out: &mut Output) -> Result<()> {
        let shown = self.latest(limit);
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
        let mut gaps =
            self.view.gaps.iter().filter(|gap| gap.from.is_some() && end_of(gap) >= begin).peekable();
        for row in shown {
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
            let (shown, all) = (count(shown.len() as u64), count(self.view.rows.len() as u64));
            out.line(format_args!("{shown} of {all} shown; --limit 0 shows all"))?;
        }
        Ok(())
    }

    /// The last row: the files that are there.
    fn totals(&self) -> Vec<Cell> {
        let there = || self.view.rows.iter().filter(|row| row.evicted.is_none()).map(|row| &row.facts);
        let evicted = self.view.rows.len() - there().count();
        let files =
            |n: usize| if n == 1 { "1 file".to_owned() } else { format!("{} files", count(n as u64)) };
        let without =
            if evicted > 0 { format!(", without {} evicted", count(evicted as u64)) } else { String::new() };
        let bold = |text: String| Cell::new(text, Look::Bold);
        vec![
            bold(format!(" {}", files(there().count()))),
            Cell::from(""),
            Cell::from(""),
            bold(count(there().map(|facts| facts.packets).sum())),
            bold(bytes(there().map(|facts| facts.bytes).sum())),
            bold(bytes(there().map(|facts| facts.size).sum())),
            lost(&there().fold(Losses::NONE, |sum, facts| sum + facts.losses)),
            bold(format!("total{without}")),
            Cell::from(""),
        ]
    }
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

fn state_word(state: State) -> &'static str {
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
    let by_cause = losses.by_cause();
    if by_cause.iter().all(|(_, lost)| lost.is_none()) {
        return Cell::new("?", Look::Warning);
    }
    let known = by_cause.iter().filter_map(|(cause, lost)| lost.filter(|n| *n > 0).map(|n| (cause, n)));
    let known: Vec<_> = known.map(|(cause, n)| format!("{} {cause}", count(n))).collect();
    let unknown = by_cause.iter().filter(|(_, lost)| lost.is_none()).map(|(cause, _)| format!("? {cause}"));
    let look = match (known.is_empty(), losses.total()) {
        (true, Some(_)) => return Cell::from("0"),
        (true, None) => Look::Warning,
        (false, _) => Look::Bad,
    };
    Cell::new(known.into_iter().chain(unknown).collect::<Vec<_>>().join(", "), look)
}

fn remark<Z: TimeZone>(row: &Row, zone: &Z) -> String {
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
