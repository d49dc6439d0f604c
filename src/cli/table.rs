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
    /// What stands in a narrow table, as [`SHORTER`] has it.
    short: [Option<String>; SHORTER.len()],
    look: Look,
}

impl Cell {
    /// A cell that looks so.
    pub fn new(text: impl AsRef<str>, look: Look) -> Self {
        Self { text: Escaped(text.as_ref()).to_string(), short: Default::default(), look }
    }

    /// An address, with or without a port. Where there is no room for a long one of IPv6, the middle of it goes.
    pub fn address(text: impl AsRef<str>) -> Self {
        Self { short: SHORTER.map(|ends| shortened(text.as_ref(), ends)), ..Self::from(text) }
    }

    fn text(&self, narrow: usize) -> &str {
        self.short[..narrow].iter().flatten().next_back().unwrap_or(&self.text)
    }
}

/// Groups that are left of the beginning and of the end of an address that is shortened, and shortened more.
const SHORTER: [(usize, usize); 3] = [(2, 2), (1, 2), (1, 1)];

/// An IPv6 address of more than four groups by its first and its last: `2001:db8:…:370:7334`.
fn shortened(text: &str, (first, last): (usize, usize)) -> Option<String> {
    let address = text.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or(text);
    address.parse::<std::net::Ipv6Addr>().ok()?;
    let groups: Vec<_> = address.split(':').collect();
    if groups.len() < 5 {
        return None;
    }
    let (head, tail) = (&groups[..first], &groups[groups.len() - last..]);
    let short = format!("{}:…:{}", head.join(":"), tail.join(":"));
    (short.width() < address.width()).then(|| text.replacen(address, &short, 1))
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

/// Blanks between two columns.
const GAP: usize = 2;

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
    /// The column that goes first where there is no room.
    spare: Option<usize>,
}

/// How a table was made to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fit {
    without_spare: bool,
    /// How much addresses are shortened; 0 if they are whole.
    narrow: usize,
}

impl Table {
    /// A table of these columns.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let columns = columns.iter().map(|&(name, align)| (name.to_owned(), align)).collect();
        Self { columns, lines: Vec::new(), spare: None }
    }

    /// The same; without this column, rather than too wide for the terminal.
    pub fn with_spare(self, column: usize) -> Self {
        Self { spare: Some(column), ..self }
    }

    /// Adds a row: a cell for each column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.lines.push(Line::Cells(cells));
    }

    /// Adds a line across all columns.
    pub fn span(&mut self, cell: Cell) {
        self.lines.push(Line::Span(cell));
    }

    /// Writes it for a terminal of so many columns, or for whoever has room. Tells whether addresses had to be shortened.
    pub(super) fn write(&self, out: &mut dyn Write, colour: bool, room: Option<usize>) -> io::Result<bool> {
        let fit = self.fit(room);
        let widths = self.widths(fit);
        let head: Vec<_> = self.columns.iter().map(|(name, _)| Cell::new(name, Look::Bold)).collect();
        self.write_row(out, &head, &widths, fit, colour)?;
        for line in &self.lines {
            match line {
                Line::Cells(cells) => self.write_row(out, cells, &widths, fit, colour)?,
                Line::Span(cell) => write_line(out, std::slice::from_ref(cell), colour)?,
            }
        }
        Ok(self.rows().flatten().any(|cell| cell.text(fit.narrow) != cell.text))
    }

    fn rows(&self) -> impl Iterator<Item = &Vec<Cell>> {
        self.lines.iter().filter_map(|line| if let Line::Cells(cells) = line { Some(cells) } else { None })
    }

    /// The first that fits: everything, all but the spare column, with shorter and shorter addresses. If none does, they are as
    /// long as may be.
    fn fit(&self, room: Option<usize>) -> Fit {
        let fits = |fit: &Fit| {
            let widths = self.widths(*fit);
            let width = widths.iter().filter(|width| **width > 0).map(|width| width + GAP).sum::<usize>();
            room.is_none_or(|room| width.saturating_sub(GAP) <= room)
        };
        let whole = Fit { without_spare: false, narrow: 0 };
        let narrowed = |narrow| Fit { without_spare: true, narrow };
        let mut ways = std::iter::once(whole).chain((0..=SHORTER.len()).map(narrowed));
        ways.find(fits).unwrap_or(narrowed(1))
    }

    /// Columns' widths; 0 for one to be left out.
    fn widths(&self, fit: Fit) -> Vec<usize> {
        let of = |(at, (name, _)): (usize, &(String, Align))| {
            let width = |cell: &Cell| cell.text(fit.narrow).width();
            let widest = self.rows().filter_map(|cells| cells.get(at)).map(width).max();
            let widest = widest.filter(|_| !fit.without_spare || self.spare != Some(at));
            widest.filter(|width| *width > 0).map_or(0, |width| width.max(name.width()))
        };
        self.columns.iter().enumerate().map(of).collect()
    }

    fn write_row(
        &self,
        out: &mut dyn Write,
        cells: &[Cell],
        widths: &[usize],
        fit: Fit,
        colour: bool,
    ) -> io::Result<()> {
        let mut owed = 0;
        for ((cell, width), (_, align)) in
            cells.iter().zip(widths).zip(&self.columns).filter(|((_, w), _)| **w > 0)
        {
            let text = cell.text(fit.narrow);
            let fill = width.saturating_sub(text.width());
            let (before, after) = if *align == Align::Right { (fill, 0) } else { (0, fill) };
            // Blanks are written before what follows them, so that no line ends in one.
            if !text.is_empty() {
                write!(out, "{:1$}", "", owed + before)?;
                write_text(out, text, cell.look, colour)?;
                owed = 0;
            } else {
                owed += before;
            }
            owed += after + GAP;
        }
        writeln!(out)
    }
}

/// Cells one behind the other.
pub(super) fn write_line(out: &mut dyn Write, cells: &[Cell], colour: bool) -> io::Result<()> {
    cells.iter().try_for_each(|cell| write_text(out, &cell.text, cell.look, colour))?;
    writeln!(out)
}

fn write_text(out: &mut dyn Write, text: &str, look: Look, colour: bool) -> io::Result<()> {
    match look.code() {
        code if colour && !code.is_empty() => write!(out, "{code}{text}\x1b[0m"),
        _ => write!(out, "{text}"),
    }
}

/// A bar as long as `part` is of `whole`, at most eight characters: `███▍`.
pub fn bar(part: u64, whole: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (part.min(whole) as f64 * 64.0 / whole.max(1) as f64).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

/// A character for each value, as high as it is of the highest: `▁▃█ ▂`. Only nothing is blank.
pub fn spark(values: &[u64]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().max().unwrap_or(0).max(1) as f64;
    let level = |value: u64| LEVELS[(value as f64 * 7.0 / most).round() as usize];
    values.iter().map(|value| if *value == 0 { ' ' } else { level(*value) }).collect()
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

/// A duration in its two largest units, the first tenths of them below ten seconds: `350 ms`, `2.5 s`, `35 s`, `2 min 5 s`,
/// `3 h 20 min`, `4 d 2 h`, `3 y 40 d`. A year has 365 days.
pub fn duration(ms: u64) -> String {
    const TENTHS_MS: u64 = 9_950;
    let (s, min, h, d) = (ms / 1_000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    let (large, small) = match () {
        () if s == 0 => return format!("{ms} ms"),
        () if ms < TENTHS_MS => {
            let text = format!("{:.1}", ms as f64 / 1e3);
            return format!("{} s", text.trim_end_matches(".0"));
        }
        () if min == 0 => return format!("{} s", s.max(10)),
        () if h == 0 => ((min, "min"), (s % 60, "s")),
        () if d == 0 => ((h, "h"), (min % 60, "min")),
        () if d < 365 => ((d, "d"), (h % 24, "h")),
        () => ((d / 365, "y"), (d % 365, "d")),
    };
    let rest = if small.0 > 0 { format!(" {} {}", small.0, small.1) } else { String::new() };
    format!("{} {}{rest}", count(large.0), large.1)
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
        let short = [999, 1_000, 1_049, 2_500, 9_949, 9_950, 10_999].map(duration);
        assert_eq!(short, ["999 ms", "1 s", "1 s", "2.5 s", "9.9 s", "10 s", "10 s"]);
        let days = |days: u64| duration(days * 86_400_000);
        assert_eq!([364, 365, 405, 1_460].map(days), ["364 d", "1 y", "1 y 40 d", "4 y"]);
        assert_eq!(duration(u64::MAX), "584,942,417 y 129 d");
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
            table.write(&mut out, colour, None).unwrap();
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

    #[test]
    fn where_there_is_no_room_a_column_goes_and_then_the_middle_of_addresses() {
        let mut table = Table::new(&[("ADDRESS", Align::Left), ("SHARE", Align::Left)]).with_spare(1);
        table.row(vec![Cell::address("[2001:db8:85a3::8a2e:370:7334]:443"), bar(1, 2).into()]);
        let text = |room| {
            let mut out = Vec::new();
            let shortened = table.write(&mut out, false, Some(room)).unwrap();
            (String::from_utf8(out).unwrap().lines().nth(1).unwrap().to_owned(), shortened)
        };
        let whole = "[2001:db8:85a3::8a2e:370:7334]:443";
        assert_eq!(text(41), (format!("{whole}  ████"), false));
        assert_eq!(text(40), (whole.to_owned(), false));
        assert_eq!(text(33), ("[2001:db8:…:370:7334]:443".to_owned(), true));
        assert_eq!(text(25).0, "[2001:db8:…:370:7334]:443");
        assert_eq!([text(24).0, text(21).0], ["[2001:…:370:7334]:443", "[2001:…:370:7334]:443"]);
        assert_eq!([text(20).0, text(17).0], ["[2001:…:7334]:443", "[2001:…:7334]:443"]);
        assert_eq!(text(16).0, "[2001:db8:…:370:7334]:443", "there is no use in it");
        let compact = SHORTER.map(|ends| shortened("2001:db8::370:7334", ends));
        assert_eq!(compact, [None, Some("2001:…:370:7334".to_owned()), Some("2001:…:7334".to_owned())]);
        for plain in ["10.0.0.1:443", "fe80::1", "2001:db8::1", "00:11:22:33:44:55", "", "::"] {
            assert_eq!(SHORTER.map(|ends| shortened(plain, ends)), [const { None }; 3], "{plain}");
        }
    }

    #[test]
    fn bars_and_sparks_show_the_least_thing() {
        assert_eq!(
            [bar(0, 9), bar(9, 9), bar(20, 9), bar(1, 64), bar(3, 16)],
            ["", "████████", "████████", "▏", "█▌"]
        );
        assert_eq!([spark(&[0, 1, 500, 1000]), spark(&[0, 0]), spark(&[])], [" ▁▅█", "  ", ""]);
    }
}
