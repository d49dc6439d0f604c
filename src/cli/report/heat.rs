//! A heat map: when it is busy. Hours by days; of less than some hours minutes by hours, of some minutes seconds by minutes.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDateTime, TimeZone, Timelike};
use maud::{Markup, html};

use super::axis::{DAY, HOUR, MINUTE, floor, percent};
use crate::cli::table::{bytes, counted};
use crate::flow::summary::Count;
use crate::index::timeline::Steps;
use crate::packet::{NANOS_PER_SEC, Nanos};

/// Rows, at most: the latest.
const ROWS: Nanos = 35;

/// Shades of a cell that had traffic.
const SHADES: f64 = 7.0;

/// Height of a row.
const ROW: usize = 20;

/// What a row and a cell are.
#[derive(Debug, Clone, Copy)]
struct Grid {
    row: Nanos,
    cells: u32,
    /// Of the steps that are counted: whatever zone it is, one lies within one cell.
    step: Nanos,
    rows: &'static str,
    of: &'static str,
}

const HOURS: Grid = Grid { row: DAY, cells: 24, step: 15 * MINUTE, rows: "%a %-d %b", of: "Hours by days" };
const MINUTES: Grid = Grid { row: HOUR, cells: 60, step: MINUTE, rows: "%H:00", of: "Minutes by hours" };
const SECONDS: Grid =
    Grid { row: MINUTE, cells: 60, step: NANOS_PER_SEC, rows: "%H:%M", of: "Seconds by minutes" };

impl Grid {
    fn of(span: Nanos) -> Self {
        match span {
            span if span > 6 * HOUR => HOURS,
            span if span > 6 * MINUTE => MINUTES,
            _ => SECONDS,
        }
    }

    /// Row and cell of a moment.
    fn place(&self, time: NaiveDateTime) -> (NaiveDateTime, u32) {
        let (date, hour) = (time.date(), time.hour());
        let begin = |hour, minute| date.and_hms_opt(hour, minute, 0).unwrap_or(time);
        match self.row {
            DAY => (begin(0, 0), hour),
            HOUR => (begin(hour, 0), time.minute()),
            _ => (begin(hour, time.minute()), time.second()),
        }
    }

    fn cell_name(&self, row: NaiveDateTime, cell: u32) -> String {
        match self.row {
            DAY => format!("{}, {cell:02}:00–{:02}:00", row.format("%a %-d %b"), cell + 1),
            HOUR => format!("{}:{cell:02}", row.format("%a %-d %b, %H")),
            _ => format!("{}:{cell:02}", row.format("%H:%M")),
        }
    }
}

/// What is to be drawn.
pub(super) struct Heat {
    grid: Grid,
    span: Option<(Nanos, Nanos)>,
    /// Whether there is a time before the first row.
    cut: bool,
    /// Of the rows that are drawn.
    pub(super) steps: Steps,
}

impl Heat {
    pub(super) fn new<Z: TimeZone>(span: Option<(Nanos, Nanos)>, zone: &Z) -> Self {
        let (from, to) = span.unwrap_or_default();
        let grid = Grid::of(to.saturating_sub(from));
        let latest = floor(to, grid.row, zone).saturating_sub((ROWS - 1) * grid.row);
        let first = floor(from, grid.row, zone);
        let begin = first.max(latest);
        // A day can have 25 hours.
        let len = to.saturating_sub(begin) / grid.step + 1 + HOUR / grid.step;
        Self { grid, span, cut: begin > first, steps: Steps::new(begin, grid.step, len as usize) }
    }

    /// Cells by row; none where there is no time of the answer.
    fn cells<Z: TimeZone>(&self, zone: &Z) -> BTreeMap<NaiveDateTime, BTreeMap<u32, Count>> {
        let mut rows: BTreeMap<_, BTreeMap<_, Count>> = BTreeMap::new();
        let Some((from, to)) = self.span else { return rows };
        for (at, step) in self.steps.iter() {
            if at <= to && at.saturating_add(self.steps.width()) > from {
                let time = DateTime::from_timestamp_nanos(at).with_timezone(zone).naive_local();
                let (row, cell) = self.grid.place(time);
                *rows.entry(row).or_default().entry(cell).or_default() += step.total();
            }
        }
        rows
    }

    /// What it is called.
    pub(super) fn of(&self) -> &'static str {
        self.grid.of
    }

    pub(super) fn draw<Z: TimeZone>(&self, zone: &Z) -> Markup {
        let rows = self.cells(zone);
        let busiest =
            rows.iter().flat_map(|(row, cells)| cells.iter().map(move |(cell, at)| (at.bytes, *row, *cell)));
        let busiest = busiest.max();
        let most = busiest.map_or(0, |(bytes, ..)| bytes);
        let height = rows.len() * ROW;
        let told = busiest.map_or_else(String::new, |(most, row, cell)| {
            format!(
                "{}: {}. Busiest: {}, {}",
                self.grid.of,
                counted(rows.len() as u64, "row"),
                self.grid.cell_name(row, cell),
                bytes(most)
            )
        });
        let every = if self.grid.cells == 24 { 3 } else { 10 };
        html! {
            div.heat {
                svg.days height=(height) aria-hidden="true" {
                    @for (at, row) in rows.keys().enumerate() {
                        text x="100%" y=(at * ROW + 14) text-anchor="end" { (row.format(self.grid.rows)) }
                    }
                }
                svg.cells height=(height) role="img" aria-label=(told) {
                    @for (at, (row, cells)) in rows.iter().enumerate() {
                        @for (cell, count) in cells {
                            (self.cell(at, *row, *cell, *count, most))
                        }
                    }
                }
                span {}
                svg.marks height="16" aria-hidden="true" {
                    @for cell in (0..self.grid.cells).step_by(every) {
                        text x=(self.left(cell)) y="12" { (format!("{cell:02}")) }
                    }
                }
            }
            p.legend {
                "quiet "
                @for shade in 0..=SHADES as u8 { svg.key width="14" height="14" aria-hidden="true" { rect class=(format!("h{shade}")) width="14" height="14" rx="2" {} } }
                " " (bytes(most))
            }
            @if self.cut {
                p.dim { "Only the latest " (ROWS) " rows are drawn; what was before is in the traffic over time." }
            }
        }
    }

    fn left(&self, cell: u32) -> String {
        percent(f64::from(cell) * 100.0 / f64::from(self.grid.cells))
    }

    fn cell(&self, row: usize, begin: NaiveDateTime, cell: u32, count: Count, most: u64) -> Markup {
        let share = (count.bytes as f64 / most.max(1) as f64).sqrt();
        let class = format!("h{}", (share * SHADES).ceil());
        let wide = percent(100.0 / f64::from(self.grid.cells));
        html! {
            rect class=(class) x=(self.left(cell)) y=(row * ROW) width=(wide) height=(ROW) {
                title { (self.grid.cell_name(begin, cell)) ": " (bytes(count.bytes)) ", " (counted(count.packets, "packet")) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::FixedOffset;

    use super::*;
    use crate::index::timeline::Known;

    #[test]
    fn cells_are_hours_of_the_days_of_whoever_looks() {
        let zone = FixedOffset::east_opt(5 * 3_600 + 1_800).unwrap();
        let from = 1_735_655_452 * NANOS_PER_SEC; // 2024-12-31 20:00:52 there
        let mut heat = Heat::new(Some((from, from + 2 * DAY)), &zone);
        heat.steps.add(from, Count { packets: 1, bytes: 9 }, Known::Packets);
        heat.steps.add(from + DAY + HOUR, Count { packets: 2, bytes: 90 }, Known::Records);
        let cells = heat.cells(&zone);
        assert_eq!(cells.len(), 3);
        let told: Vec<_> = cells.values().flat_map(|row| row.iter().filter(|(_, at)| at.bytes > 0)).collect();
        assert_eq!(told, [(&20, &Count { packets: 1, bytes: 9 }), (&21, &Count { packets: 2, bytes: 90 })]);
        assert_eq!(cells.values().next().unwrap().len(), 4, "nothing is said of what was before");
        let drawn = heat.draw(&zone).into_string();
        assert!(drawn.contains("Busiest: Wed 1 Jan, 21:00–22:00, 90 B"), "{drawn}");
    }

    #[test]
    fn whatever_the_time_it_is_bounded() {
        for span in
            [None, Some((i64::MIN, i64::MAX)), Some((0, 0)), Some((0, 400 * DAY)), Some((i64::MAX, i64::MAX))]
        {
            let heat = Heat::new(span, &chrono::Utc);
            assert!(heat.cells(&chrono::Utc).len() <= ROWS as usize + 1, "{span:?}");
            let drawn = heat.draw(&chrono::Utc).into_string();
            let long = span.is_some_and(|(from, to)| to.saturating_sub(from) > ROWS * DAY);
            assert_eq!(drawn.contains("Only the latest 35 rows"), long, "{span:?}");
        }
    }
}
