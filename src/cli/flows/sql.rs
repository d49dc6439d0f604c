//! `flows --sql`: a query's rows, with the query's own columns, as a table, JSON lines or CSV.

use std::io;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::super::format::{Format, csv};
use super::super::output::{Exit, Output, UsageError};
use super::super::progress::Waiting;
use super::super::table::{Align, Cell as TableCell, Look, Table, count};
use super::super::terminal::is_unread;
use super::super::{Context, settings};
use super::reach::Reach;
use super::{FlowsArgs, flow_file, is_flow_file, nothing};
use crate::detect::Finding;
use crate::detect::stream::Sink;
use crate::flow::record::FlowRecord;
use crate::index::flow_table::{self, Answer, Cell, Snapshot, SqlError};
use crate::index::fresh;
use crate::store::layout::Layout;
use crate::store::range::TimeRange;
use crate::sys::fs::RealFs;

/// Rows in a table unless told otherwise: they are held until all widths are known.
const TABLE_ROWS: usize = 1000;

pub(super) fn answer(
    query: &str,
    args: &FlowsArgs,
    range: TimeRange,
    context: &Context,
    out: &mut Output,
) -> Result<Exit> {
    if let Some(Format::Ecs | Format::Eve | Format::Zeek) = args.format.get() {
        let text = "--sql: a query has columns of its own; --format json and csv can hold them";
        return Err(UsageError(text.to_owned()).into());
    }
    let fs = RealFs::default();
    let (records, mut damaged) = records(args, range, context, &fs, out)?;
    let mut rows = Rows::new(args, out);
    let asked = flow_table::query(query, records, is_unread, &mut rows);
    let more = rows.finish()?;
    let asked = match asked {
        Ok(asked) => asked,
        Err(SqlError::Answer(error)) => return Err(error.into()),
        Err(SqlError::Stopped) => return Err(io::Error::from(io::ErrorKind::BrokenPipe).into()),
        Err(error @ (SqlError::Wrong(_) | SqlError::Refused(_) | SqlError::Statements(_))) => {
            return Err(UsageError(format!("--sql: {error}")).into());
        }
        Err(error) => return Err(error.into()),
    };
    asked.look.notes.iter().for_each(|note| out.note(note));
    damaged |= asked.look.damaged;
    if let Some(shown) = more {
        out.note(format_args!("only the first {} rows shown; --limit 0 shows all", count(shown)));
    }
    if args.files.is_empty()
        && let Some(missing) = Reach::of(range, context).missing()
    {
        out.note(missing);
    }
    // Conditions are in the SQL: they left nothing if there was something to leave out.
    let something = range.is_bounded() || asked.look.records > 0 || asked.look.skipped > 0;
    if asked.rows == 0 {
        out.note(nothing(args, range, context, damaged));
    }
    Ok(match asked.rows {
        _ if damaged => Exit::Damaged,
        0 if something => Exit::NothingLeft,
        _ => Exit::Ok,
    })
}

/// The records that are asked: flow files in place, and those of captures, made now.
fn records(
    args: &FlowsArgs,
    range: TimeRange,
    context: &Context,
    fs: &RealFs,
    out: &mut Output,
) -> Result<(Snapshot, bool)> {
    let layout = Layout::new(&context.data_dir.path);
    let mut records = Snapshot::new(Arc::new(*fs), range);
    if args.files.is_empty() {
        let dir = layout.root().display();
        records.add_data_dir(&layout).with_context(|| format!("list {dir}"))?;
    }
    for path in args.files.iter().filter(is_flow_file) {
        let found = flow_file(&layout, path);
        records.add_file(&found).with_context(|| format!("read {}", found.display()))?;
    }
    let captures: Vec<_> = args.files.iter().filter(|path| !is_flow_file(path)).cloned().collect();
    if captures.is_empty() {
        return Ok((records, false));
    }
    let settings = settings::analysis(&context.loaded.config).stream;
    let waiting = Waiting::new("analysing", out);
    let (mut made, watch) = (Made(&mut records), |at| waiting.at(at));
    let notes = fresh::analyse(&layout, fs, &captures, &settings, &mut made, &watch)?;
    waiting.over()?;
    notes.iter().for_each(|note| out.note(note));
    Ok((records, !notes.is_empty()))
}

struct Made<'a>(&'a mut Snapshot);

impl fresh::Sink for Made<'_> {}

impl Sink for Made<'_> {
    fn record(&mut self, record: FlowRecord) {
        self.0.add(record);
    }

    fn finding(&mut self, _: Finding) {}
}

/// The rows, printed as they come or kept for the table.
struct Rows<'a> {
    out: &'a mut Output,
    format: Option<Format>,
    limit: u64,
    names: Vec<String>,
    told: u64,
    /// Whether there are rows beyond the limit.
    more: bool,
    kept: Vec<Vec<TableCell>>,
    /// Of each column, whether it holds numbers alone.
    numbers: Vec<bool>,
}

impl<'a> Rows<'a> {
    fn new(args: &FlowsArgs, out: &'a mut Output) -> Self {
        let format = args.format.get();
        let limit = args.limit.unwrap_or(if format.is_none() { TABLE_ROWS } else { 0 }) as u64;
        Self {
            out,
            format,
            limit: if limit == 0 { u64::MAX } else { limit },
            names: Vec::new(),
            told: 0,
            more: false,
            kept: Vec::new(),
            numbers: Vec::new(),
        }
    }

    /// Prints what was kept; tells how many rows were shown, if there are more.
    fn finish(self) -> io::Result<Option<u64>> {
        if !self.kept.is_empty() {
            let align = |&number: &bool| if number { Align::Right } else { Align::Left };
            let columns: Vec<_> =
                self.names.iter().map(String::as_str).zip(self.numbers.iter().map(align)).collect();
            let mut table = Table::new(&columns);
            self.kept.into_iter().for_each(|row| table.row(row));
            self.out.table(&table)?;
        }
        Ok(self.more.then_some(self.told))
    }
}

impl Answer for Rows<'_> {
    fn columns(&mut self, names: Vec<String>) -> io::Result<()> {
        if self.format == Some(Format::Csv) {
            self.out.line(csv::line(names.clone()))?;
        }
        self.numbers = vec![true; names.len()];
        self.names = names;
        Ok(())
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<bool> {
        if self.told == self.limit {
            self.more = true;
            return Ok(false);
        }
        self.told += 1;
        if self.format == Some(Format::Json) {
            let row: Map<_, _> = self.names.iter().cloned().zip(cells.iter().map(value)).collect();
            self.out.json(&row)?;
        } else if self.format == Some(Format::Csv) {
            self.out.line(csv::line(cells.iter().map(text)))?;
        } else {
            for (number, cell) in self.numbers.iter_mut().zip(cells) {
                *number &= matches!(cell, Cell::Null | Cell::Integer(_) | Cell::Real(_));
            }
            self.kept.push(cells.iter().map(shown).collect());
        }
        Ok(true)
    }
}

/// In JSON. What JSON has no number for, and bytes, are texts.
fn value(cell: &Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(number) => json!(number),
        Cell::Real(number) if number.is_finite() => json!(number),
        other => Value::String(text(other)),
    }
}

/// In CSV: nothing for NULL, bytes in hexadecimal.
fn text(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => number.to_string(),
        Cell::Text(text) => text.clone().into_owned(),
        Cell::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// In a table, where NULL is seen, and no column is left out for being empty.
fn shown(cell: &Cell<'_>) -> TableCell {
    match cell {
        Cell::Null => TableCell::new("-", Look::Dim),
        other => text(other).into(),
    }
}
