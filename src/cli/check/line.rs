//! What `check` says of one thing.

use serde::Serialize;

use crate::cli::output::Exit;
use crate::cli::table::{Align, Cell, Look, Table};

/// The width of what is printed, columns.
const WIDTH: usize = 80;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// Not looked at, or nothing that there is here.
    Skipped,
    /// Nobody can tell.
    Unknown,
    /// Tapkeep works, and something will be worse than it need be.
    Warning,
    /// Tapkeep does not work, or loses packets.
    Problem,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }

    const fn look(self) -> Look {
        match self {
            Self::Ok => Look::Plain,
            Self::Skipped => Look::Dim,
            Self::Unknown | Self::Warning => Look::Warning,
            Self::Problem => Look::Bad,
        }
    }
}

/// One thing, how it is, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    /// What it is about; fixed for ever.
    pub(super) id: &'static str,
    /// How that is.
    pub(super) result: Verdict,
    /// What was seen, a sentence without its full stop.
    pub(super) text: String,
    /// What to change, where no command does it, words.
    pub(super) advice: Vec<String>,
    /// Commands that mend it.
    pub(super) mend: Vec<String>,
}

impl Line {
    fn new(id: &'static str, result: Verdict, text: impl Into<String>) -> Self {
        Self { id, result, text: text.into(), advice: Vec::new(), mend: Vec::new() }
    }

    pub(super) fn ok(id: &'static str, text: impl Into<String>) -> Self {
        Self::new(id, Verdict::Ok, text)
    }

    pub(super) fn skipped(id: &'static str, text: impl Into<String>) -> Self {
        Self::new(id, Verdict::Skipped, text)
    }

    pub(super) fn unknown(id: &'static str, why: impl std::fmt::Display) -> Self {
        Self::new(id, Verdict::Unknown, format!("cannot tell: {why}"))
    }

    pub(super) fn warning(id: &'static str, text: impl Into<String>) -> Self {
        Self::new(id, Verdict::Warning, text)
    }

    pub(super) fn problem(id: &'static str, text: impl Into<String>) -> Self {
        Self::new(id, Verdict::Problem, text)
    }

    /// With one more command that mends it.
    pub(super) fn mend(mut self, command: impl Into<String>) -> Self {
        self.mend.push(command.into());
        self
    }

    /// With one more thing to do about it.
    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice.push(advice.into());
        self
    }
}

/// The worst of them, as monitoring says it. What cannot be told is less than what is known to be wrong.
pub(super) fn worst(lines: &[Line]) -> Exit {
    let has = |verdict| lines.iter().any(|line| line.result == verdict);
    match () {
        () if has(Verdict::Problem) => Exit::Critical,
        () if has(Verdict::Warning) => Exit::Warning,
        () if has(Verdict::Unknown) => Exit::Unknown,
        () => Exit::Ok,
    }
}

/// The word for [`worst`].
pub(super) fn summary(lines: &[Line]) -> Verdict {
    match worst(lines) {
        Exit::Critical => Verdict::Problem,
        Exit::Warning => Verdict::Warning,
        Exit::Unknown => Verdict::Unknown,
        _ => Verdict::Ok,
    }
}

/// All of them for people. Text is wrapped; a command, marked by `>`, never is.
pub(super) fn table(lines: &[Line]) -> Table {
    let mut table = Table::new(&[("RESULT", Align::Left), ("CHECK", Align::Left), ("FOUND", Align::Left)]);
    let name = |line: &Line| line.id.replace('_', " ");
    let indent = "problem".len() + 2 + lines.iter().map(|line| name(line).len()).max().unwrap_or(0) + 2;
    for line in lines {
        let mut head =
            [Cell::new(line.result.word(), line.result.look()), Cell::from(name(line))].into_iter();
        let width = WIDTH - indent;
        let texts = line.text.lines().flat_map(|text| textwrap::wrap(text, width)).map(Cell::from);
        let hanging = textwrap::Options::new(width).initial_indent("- ").subsequent_indent("  ");
        let advice = line.advice.iter().flat_map(|advice| textwrap::wrap(advice, &hanging)).map(Cell::from);
        let commands = line.mend.iter().map(|command| Cell::new(format!("> {command}"), Look::Bold));
        for cell in texts.chain(advice).chain(commands) {
            let mut next = || head.next().unwrap_or_else(|| Cell::from(""));
            table.row(vec![next(), next(), cell]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides_and_what_was_skipped_does_not() {
        let exit = |lines: &[Line]| worst(lines);
        let (ok, skipped, unknown) = (Line::ok("a", ""), Line::skipped("b", ""), Line::unknown("c", ""));
        let (warning, problem) = (Line::warning("d", ""), Line::problem("e", ""));
        assert_eq!(exit(&[]), Exit::Ok);
        assert_eq!(exit(&[ok.clone(), skipped]), Exit::Ok);
        assert_eq!(exit(&[ok, unknown.clone()]), Exit::Unknown);
        assert_eq!(exit(&[unknown, warning.clone()]), Exit::Warning);
        assert_eq!(exit(&[problem, warning]), Exit::Critical);
    }
}
