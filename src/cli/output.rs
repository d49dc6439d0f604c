//! Everything that Tapkeep says, answers on standard output and all else on standard error; no other module
//! writes to either. What comes from packets, file names or the system is escaped before it can reach a
//! terminal.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use unicode_width::UnicodeWidthChar as _;

use super::escape::Escaped;
use super::table::Table;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// Done.
    Ok,
    /// Something failed.
    Failure,
    /// Wrong usage or configuration.
    Usage,
    /// A filter or a time range left nothing.
    NothingLeft,
    /// Data was found damaged.
    Damaged,
    /// What monitoring calls a warning; only of commands that speak its language.
    Warning,
    /// What monitoring calls critical; likewise.
    Critical,
    /// What monitoring calls unknown; likewise.
    Unknown,
}

impl Exit {
    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failure | Self::Warning => 1,
            Self::Usage | Self::Critical => 2,
            Self::NothingLeft | Self::Unknown => 3,
            Self::Damaged => 4,
        }
    }
}

impl From<&anyhow::Error> for Exit {
    fn from(error: &anyhow::Error) -> Self {
        if error.is::<UsageError>() { Self::Usage } else { Self::Failure }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A mistake of the caller's, or several, a line each; ends with [`Exit::Usage`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Bytes of answers that are written at a time.
const BUFFER: usize = 64 * 1024;

/// The two streams.
pub struct Output {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    colour: bool,
    terminal: bool,
    json: bool,
    /// The document being made: its many small pieces are cheaper to put here than to write.
    document: Vec<u8>,
    /// Whether it is the process's own.
    process: bool,
}

impl Output {
    /// The process's own; colour if standard output is a terminal and `NO_COLOR` (<https://no-color.org>) is
    /// not set.
    pub fn stdio() -> Self {
        let terminal = io::stdout().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self {
            out: Box::new(BufWriter::with_capacity(BUFFER, io::stdout())),
            err: Box::new(io::stderr()),
            colour: terminal && !no_colour && !dumb,
            terminal,
            json: false,
            document: Vec::new(),
            process: true,
        }
    }

    /// Two given streams, for tests.
    pub fn to(out: impl Write + 'static, err: impl Write + 'static, colour: bool) -> Self {
        Self {
            out: Box::new(out),
            err: Box::new(err),
            colour,
            terminal: false,
            json: false,
            document: Vec::new(),
            process: false,
        }
    }

    /// Whether standard output is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Standard output, for bytes that are no text; nothing else can be answered after that.
    pub fn take_bytes(&mut self) -> Box<dyn Write> {
        std::mem::replace(&mut self.out, Box::new(io::sink()))
    }

    /// A line of an answer.
    ///
    /// # Errors
    /// Those of writing, here as below; `BrokenPipe` if nobody reads any more.
    pub fn line(&mut self, line: impl Display) -> io::Result<()> {
        writeln!(self.out, "{}", Escaped(&line))
    }

    /// A page in the place of the one before, on a terminal; in one write, so that nothing flickers. What does not fit is left
    /// out.
    ///
    /// # Errors
    /// Those of writing.
    pub fn redraw(&mut self, page: &[String]) -> io::Result<()> {
        let (columns, rows) = terminal_size();
        let mut frame = String::from(HOME);
        // The last row stays free, for the line break behind the one before it.
        for line in page.iter().take(rows.saturating_sub(1)) {
            let line = Escaped(line).to_string();
            frame.extend(fitting(&line, columns).chars().chain(TO_END_OF_LINE.chars()).chain(['\n']));
        }
        frame.push_str(TO_END_OF_PAGE);
        self.out.write_all(frame.as_bytes())
    }

    /// A table.
    ///
    /// # Errors
    /// Those of writing.
    pub fn table(&mut self, table: &Table) -> io::Result<()> {
        table.write(&mut self.out, self.colour)
    }

    /// A JSON document on a line of its own.
    ///
    /// # Errors
    /// Those of writing.
    pub fn json(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        self.json = true;
        self.document.clear();
        serde_json::to_writer(&mut self.document, value)?;
        self.document.push(b'\n');
        self.out.write_all(&self.document)
    }

    /// Whether a JSON document was printed, or tried to be.
    pub fn has_answered_in_json(&self) -> bool {
        self.json
    }

    /// What the command line's own parser refuses, or prints when asked for help.
    pub fn parser(&mut self, error: &clap::Error) -> Exit {
        if !error.use_stderr() {
            // Nothing is to be done about a stream that cannot be written.
            let _ = error.print();
            return Exit::Ok;
        }
        let text = error.render().to_string();
        let _ = self.out.flush();
        let text = text.replacen("error: ", "tapkeep: error: ", 1);
        for line in text.lines() {
            let _ = writeln!(self.err, "{}", Escaped(line));
        }
        Exit::Usage
    }

    /// Whether nobody will read the answer any more, as far as that is known without writing.
    pub fn is_unread(&self) -> bool {
        self.process && is_unread()
    }

    /// Hands on what was written so far.
    ///
    /// # Errors
    /// Those of writing.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Something to know beside the answer.
    pub fn note(&mut self, note: impl Display) {
        self.say("note", note);
    }

    /// What failed, with its causes.
    pub fn error(&mut self, error: &anyhow::Error) {
        match error.downcast_ref() {
            Some(UsageError(lines)) => lines.lines().for_each(|line| self.say("error", line)),
            // Only the answer is written without a word on what is written.
            None if error.is::<io::Error>() && error.chain().count() == 1 => {
                self.say("error", format_args!("write the answer: {error}; look at where it goes"));
            }
            None => self.say("error", with_causes(error)),
        }
    }

    /// Nothing is to be done about a standard error that cannot be written.
    fn say(&mut self, kind: &str, text: impl Display) {
        let _ = self.out.flush();
        let _ = writeln!(self.err, "tapkeep: {kind}: {}", Escaped(&text));
        let _ = self.err.flush();
    }

    /// Ends a command: hands on the last of the answer, says what failed, and knows how to exit. That nobody
    /// reads the answer any more is no failure.
    pub fn finish(&mut self, result: anyhow::Result<Exit>) -> Exit {
        match result.and_then(|exit| Ok(self.out.flush().map(|()| exit)?)) {
            Ok(exit) => exit,
            Err(error) if is_broken_pipe(&error) => Exit::Ok,
            Err(error) => {
                self.error(&error);
                Exit::from(&error)
            }
        }
    }
}

/// To the upper left corner; to the end of the line; to the end of the page (ECMA-48: CUP, EL, ED).
const HOME: &str = "\x1b[H";
const TO_END_OF_LINE: &str = "\x1b[K";
const TO_END_OF_PAGE: &str = "\x1b[J";

/// Columns and rows of the terminal.
fn terminal_size() -> (usize, usize) {
    let told =
        rustix::termios::tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
    told.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()))
}

/// As much of a line as fits into so many columns.
fn fitting(line: &str, columns: usize) -> &str {
    let mut width = 0;
    let too_far = line.char_indices().find(|(_, c)| {
        width += c.width().unwrap_or(0);
        width > columns
    });
    too_far.map_or(line, |(at, _)| &line[..at])
}

/// Whether nobody reads the process's standard output any more: the reader of a pipe has gone, or a terminal was hung up.
pub fn is_unread() -> bool {
    crate::sys::wake::is_hung_up(io::stdout().as_fd())
}

/// An error and those of its causes that it does not tell of itself.
pub(super) fn with_causes(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match &*told {
        "" => cause,
        told if told.contains(&cause) => told.to_owned(),
        told => format!("{told}: {cause}"),
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let of = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<io::Error>() {
        Some(io) => io.kind() == ErrorKind::BrokenPipe,
        None => {
            cause.downcast_ref::<serde_json::Error>().and_then(|e| e.io_error_kind())
                == Some(ErrorKind::BrokenPipe)
        }
    };
    error.chain().any(of)
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::super::escape::is_active;
    use super::*;

    /// A stream that can be looked at.
    #[derive(Clone, Default)]
    pub(in crate::cli) struct Page(Rc<RefCell<Vec<u8>>>);

    impl Page {
        pub(in crate::cli) fn text(&self) -> String {
            String::from_utf8(self.0.borrow().clone()).unwrap()
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_reading_is_no_failure_and_a_full_disk_is() {
        let err = Page::default();
        let mut output = Output::to(Closed, err.clone(), false);
        let result = output.line("x").map_err(anyhow::Error::from).map(|()| Exit::Ok);
        assert_eq!(output.finish(result), Exit::Ok);
        let result = output.json(&[1]).map_err(anyhow::Error::from).map(|()| Exit::Ok);
        assert_eq!(output.finish(result), Exit::Ok);
        assert_eq!(err.text(), "");
        let full = io::Error::from(ErrorKind::StorageFull);
        let failed = anyhow::Error::from(full).context("write answer");
        assert_eq!(output.finish(Err(failed)), Exit::Failure);
        assert_eq!(err.text(), "tapkeep: error: write answer: no storage space\n");
    }

    #[test]
    fn exit_codes_are_a_contract() {
        let codes = [Exit::Ok, Exit::Failure, Exit::Usage, Exit::NothingLeft, Exit::Damaged].map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 4]);
        let mut output = Output::to(io::sink(), io::sink(), false);
        assert_eq!(output.finish(Err(UsageError("no".to_owned()).into())), Exit::Usage);
    }

    #[test]
    fn a_page_is_drawn_over_the_one_before_and_cut_to_its_columns() {
        let page = Page::default();
        let mut output = Output::to(page.clone(), io::sink(), false);
        output.redraw(&["State  \x1b[2J".to_owned(), "ü".to_owned()]).unwrap();
        assert_eq!(page.text(), "\x1b[HState  \\u{1b}[2J\x1b[K\nü\x1b[K\n\x1b[J");
        assert_eq!((fitting("ü日本", 3), fitting("ü日本", 5), fitting("abc", 2)), ("ü日", "ü日本", "ab"));
    }

    #[test]
    fn a_terminal_is_never_told_what_to_do() {
        let page = Page::default();
        let mut output = Output::to(page.clone(), page.clone(), false);
        output.line("a\x1b[31m\u{9b}b\u{202e}\r\tü–").unwrap();
        assert_eq!(page.text(), "a\\u{1b}[31m\\u{9b}b\\u{202e}\\r\\tü–\n");
    }

    proptest! {
        #[test]
        fn no_active_character_passes(text in any::<String>()) {
            let escaped = Escaped(&text).to_string();
            prop_assert!(!escaped.chars().any(is_active));
            prop_assert!(text.chars().any(is_active) || escaped == text);
        }
    }
}
