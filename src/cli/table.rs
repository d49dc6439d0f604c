//! Tables for people, and quantities as people read them. Pure but for the stream that a table is written to.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::escape::Escaped;

/// How a cell looks on a terminal with colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Look {
    /// As usual.
    #[default]
    Plain,
    /// Of less weight.
    Dim,
    /// A heading.
    Bold,
    /// To be looked at.
    Warning,
    /// Bad.
    Bad,
}

impl Look {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Dim => "\x1b[2m",
            Self::Bold => "\x1b[1m",
            Self::Warning => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }
}

/// One cell; its text is escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    look: Look,
}

impl Cell {
    /// A cell that looks so.
    pub fn new(text: impl AsRef<str>, look: Look) -> Self {
        Self { text: Escaped(text.as_ref()).to_string(), look }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Look::Plain)
    }
}

/// On which side a column's cells end together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

#[derive(Debug)]
enum Line {
    Cells(Vec<Cell>),
    Span(Cell),
}

/// A table: aligned columns under a head. A column that no row fills is left out.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    lines: Vec<Line>,
}

impl Table {
    /// A table of these columns.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let columns = columns.iter().map(|&(name, align)| (name.to_owned(), align)).collect();
        Self { columns, lines: Vec::new() }
    }

    /// Adds a row: a cell for each column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.lines.push(Line::Cells(cells));
    }

    /// Adds a line across all columns.
    pub fn span(&mut self, cell: Cell) {
        self.lines.push(Line::Span(cell));
    }

    pub(super) fn write(&self, out: &mut dyn Write, colour: bool) -> io::Result<()> {
        let widths = self.widths();
        let head: Vec<_> = self.columns.iter().map(|(name, _)| Cell::new(name, Look::Bold)).collect();
        self.write_row(out, &head, &widths, colour)?;
        for line in &self.lines {
            match line {
                Line::Cells(cells) => self.write_row(out, cells, &widths, colour)?,
                Line::Span(cell) => {
                    write_cell(out, cell, colour)?;
                    writeln!(out)?;
                }
            }
        }
        Ok(())
    }

    /// Columns' widths; 0 for one to be left out.
    fn widths(&self) -> Vec<usize> {
        let rows = || {
            self.lines
                .iter()
                .filter_map(|line| if let Line::Cells(cells) = line { Some(cells) } else { None })
        };
        let of = |(at, (name, _)): (usize, &(String, Align))| {
            let widest = rows().filter_map(|cells| cells.get(at)).map(|cell| cell.text.width()).max();
            widest.filter(|width| *width > 0).map_or(0, |width| width.max(name.width()))
        };
        self.columns.iter().enumerate().map(of).collect()
    }

    fn write_row(
        &self,
        out: &mut dyn Write,
        cells: &[Cell],
        widths: &[usize],
        colour: bool,
    ) -> io::Result<()> {
        let mut owed = 0;
        for ((cell, width), (_, align)) in
            cells.iter().zip(widths).zip(&self.columns).filter(|((_, w), _)| **w > 0)
        {
            let fill = width.saturating_sub(cell.text.width());
            let (before, after) = if *align == Align::Right { (fill, 0) } else { (0, fill) };
            // Blanks are written before what follows them, so that no line ends in one.
            if !cell.text.is_empty() {
                write!(out, "{:1$}", "", owed + before)?;
                write_cell(out, cell, colour)?;
                owed = 0;
            } else {
                owed += before;
            }
            owed += after + 2;
        }
        writeln!(out)
    }
}

fn write_cell(out: &mut dyn Write, cell: &Cell, colour: bool) -> io::Result<()> {
    match cell.look.code() {
        code if colour && !code.is_empty() => write!(out, "{code}{}\x1b[0m", cell.text),
        _ => write!(out, "{}", cell.text),
    }
}

/// A count with its thousands apart: `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count of things: `1 packet`, `4,631 packets`.
pub fn counted(n: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(n), if n == 1 { "" } else { "s" })
}

/// Bytes to three digits in decimal units: `999 B`, `1.25 kB`, `99.9 MB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if n < 1_000 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1_000.0;
    let mut unit = 0;
    // From here on it would be rounded to four digits.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    let places = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.places$} {}", UNITS[unit])
}

/// A duration in its two largest units: `350 ms`, `35 s`, `2 min 5 s`, `3 h 20 min`, `4 d 2 h`.
pub fn duration(ms: u64) -> String {
    let (s, min, h, d) = (ms / 1_000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    let (large, small) = match () {
        () if s == 0 => return format!("{ms} ms"),
        () if min == 0 => return format!("{s} s"),
        () if h == 0 => ((min, "min"), (s % 60, "s")),
        () if d == 0 => ((h, "h"), (min % 60, "min")),
        () => ((d, "d"), (h % 24, "h")),
    };
    let rest = if small.0 > 0 { format!(" {} {}", small.0, small.1) } else { String::new() };
    format!("{} {}{rest}", large.0, large.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_people_write_them() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1, 2_000].map(|n| counted(n, "file")), ["0 files", "1 file", "2,000 files"]);
        let sizes =
            [0, 999, 1_000, 9_994, 9_995, 99_949, 99_950, 999_499, 999_500, 100_000_000, u64::MAX].map(bytes);
        assert_eq!(
            sizes,
            [
                "0 B", "999 B", "1.00 kB", "9.99 kB", "10.0 kB", "99.9 kB", "100 kB", "999 kB", "1.00 MB",
                "100 MB", "18.4 EB"
            ]
        );
        let durations = [350, 35_000, 60_000, 125_000, 12_000_000, 352_800_000].map(duration);
        assert_eq!(durations, ["350 ms", "35 s", "1 min", "2 min 5 s", "3 h 20 min", "4 d 2 h"]);
    }

    #[test]
    fn columns_align_and_empty_ones_go() {
        let mut table = Table::new(&[
            ("NAME", Align::Left),
            ("N", Align::Right),
            ("NOTE", Align::Left),
            ("X", Align::Left),
        ]);
        table.row(vec!["ü\x1b".into(), "7".into(), "".into(), "end".into()]);
        table.span(Cell::new("— gap", Look::Warning));
        table.row(vec!["longer name".into(), "1,000".into(), "".into(), "".into()]);
        let text = |colour| {
            let mut out = Vec::new();
            table.write(&mut out, colour).unwrap();
            String::from_utf8(out).unwrap()
        };
        let wanted = "\
NAME             N  X
ü\\u{1b}          7  end
— gap
longer name  1,000
";
        assert_eq!(text(false), wanted);
        assert!(text(true).contains("\x1b[33m— gap\x1b[0m\n"));
    }
}
