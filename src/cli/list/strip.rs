//! When something was recorded, at a glance: a line of traffic over time, and below it where packets are missing.

use std::ops::RangeInclusive;

use chrono::TimeZone;

use super::super::table::{Cell, Look, duration, spark};
use super::super::time::{date_time, end_time};
use super::end_of;
use crate::index::view::View;
use crate::packet::Nanos;
use crate::store::catalog::Row;

/// Steps of the line: what fits into a terminal of 80 columns.
const STEPS: usize = 64;

/// A line of so many steps of one length.
struct Line {
    first: Nanos,
    last: Nanos,
}

/// The lines, if there is more to be seen than the table shows by itself.
pub(super) fn strip<Z: TimeZone>(view: &View, zone: &Z) -> Vec<Vec<Cell>> {
    let there: Vec<_> = view.rows.iter().filter(|row| row.evicted.is_none()).collect();
    let Some((first, last)) = view.kept().filter(|(first, last)| first < last && there.len() > 1) else {
        return Vec::new();
    };
    let line = Line { first, last };
    let (from, to) = (date_time(first, zone), end_time(first, last, zone));
    let mut lines =
        vec![vec![Cell::from(format!(" {}", spark(&line.traffic(&there))))], line.marks(&there, view)];
    lines.retain(|cells| !cells.is_empty());
    let legend = format!(" {from} – {to}, {} a step", duration(line.step_ms()));
    let marked = if lines.len() > 1 { "; ! lost packets, - nothing could be captured" } else { "" };
    lines.push(vec![Cell::new(format!("{legend}{marked}"), Look::Dim)]);
    lines
}

impl Line {
    fn step_ms(&self) -> u64 {
        u64::try_from((self.last - self.first) / (STEPS as Nanos * 1_000_000)).unwrap_or(0)
    }

    /// When a step begins.
    fn begin(&self, step: usize) -> Nanos {
        let past = i128::from(self.last - self.first) * step as i128 / STEPS as i128;
        self.first.saturating_add(Nanos::try_from(past).unwrap_or(Nanos::MAX))
    }

    /// The steps that a time touches which lies, at least in part, on the line.
    fn steps(&self, from: Nanos, to: Nanos) -> RangeInclusive<usize> {
        let at = |stamp: Nanos| {
            let place = i128::from(stamp.clamp(self.first, self.last) - self.first) * STEPS as i128;
            let step = place / i128::from((self.last - self.first).max(1));
            usize::try_from(step).unwrap_or(0).min(STEPS - 1)
        };
        at(from)..=at(to.max(from))
    }

    /// Bytes of each step, those of a file spread evenly over its time; where there are packets, at least one.
    fn traffic(&self, rows: &[&Row]) -> Vec<u64> {
        let mut traffic = vec![0; STEPS];
        for facts in rows.iter().map(|row| &row.facts) {
            let Some((first, last)) = facts.first.zip(facts.last) else { continue };
            for step in self.steps(first, last) {
                let (begin, end) = (self.begin(step), self.begin(step + 1));
                let part = i128::from(end.min(last)) - i128::from(begin.max(first)) + 1;
                let bytes =
                    i128::from(facts.bytes) * part.max(0) / (i128::from(last) - i128::from(first) + 1);
                traffic[step] += u64::try_from(bytes).unwrap_or(0).max(1);
            }
        }
        traffic
    }

    /// A mark at each step that misses packets; none if no step does.
    fn marks(&self, rows: &[&Row], view: &View) -> Vec<Cell> {
        let mut marks = vec![None; STEPS];
        for gap in &view.gaps {
            if let Some((from, to)) = gap.from.zip(end_of(gap))
                && from <= self.last
                && to >= self.first
            {
                marks[self.steps(from, to)].fill(Some(('-', Look::Warning)));
            }
        }
        for facts in rows.iter().map(|row| &row.facts) {
            let lost = facts.losses.by_cause().iter().any(|(_, lost)| lost.is_some_and(|lost| lost > 0));
            if let Some((first, last)) = facts.first.zip(facts.last).filter(|_| lost) {
                marks[self.steps(first, last)].fill(Some(('!', Look::Bad)));
            }
        }
        let Some(end) = marks.iter().rposition(Option::is_some) else { return Vec::new() };
        let cell = |mark: &Option<(char, Look)>| {
            mark.map_or_else(|| Cell::from(" "), |(mark, look)| Cell::new(mark.to_string(), look))
        };
        std::iter::once(Cell::from(" ")).chain(marks[..=end].iter().map(cell)).collect()
    }
}
