//! Everything that Tapkeep says, answers on standard output and all else on standard error; no other module
//! writes to either. What comes from packets, file names or the system is escaped before it can reach a
//! terminal.

use std::cell::OnceCell;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Read as _, Seek as _, SeekFrom, Write};
use std::process::ExitCode;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::escape::{Escaped, is_active};
use super::table::{Cell, Table, write_line};
use super::terminal::{clear_beside, columns_of, is_dumb, is_unread, page};
use crate::sys::signals::Interrupts;

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
    /// The signal of this number ended it.
    Interrupted(i32),
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
            // As a shell tells it, where the process does not end by it in earnest.
            Self::Interrupted(signal) => 128_u8.saturating_add(signal as u8),
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

/// Whoever waited for a command has ended it by a signal.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(super) struct Interrupted;

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
    interrupts: OnceCell<Option<Interrupts>>,
}

impl Output {
    /// The process's own; colour if standard output is a terminal and `NO_COLOR` (<https://no-color.org>) is
    /// not set.
    pub fn stdio() -> Self {
        let terminal = io::stdout().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            out: Box::new(BufWriter::with_capacity(BUFFER, io::stdout())),
            err: Box::new(io::stderr()),
            colour: terminal && !no_colour && !is_dumb(),
            terminal,
            json: false,
            document: Vec::new(),
            process: true,
            interrupts: OnceCell::new(),
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
            interrupts: OnceCell::new(),
        }
    }

    /// What is done for it ends by these, and not by the process's own.
    pub fn ended_by(self, interrupts: Interrupts) -> Self {
        Self { interrupts: OnceCell::from(Some(interrupts)), ..self }
    }

    /// Whether standard output is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether standard output is a terminal on which text can be placed.
    pub fn is_drawable(&self) -> bool {
        self.terminal && !is_dumb()
    }

    /// Whether standard error is the process's own, and a terminal on which text can be placed.
    pub fn is_drawable_beside(&self) -> bool {
        self.process && io::stderr().is_terminal() && !is_dumb()
    }

    /// The signals that end the process, for who has work to clear away before; none where the process is somebody else's, or cannot
    /// listen.
    pub fn interrupts(&self) -> Option<Interrupts> {
        self.interrupts.get_or_init(|| if self.process { Interrupts::new().ok() } else { None }).clone()
    }

    /// The signal that has come while somebody waited.
    pub fn interrupted_by(&self) -> Option<i32> {
        self.interrupts.get()?.as_ref()?.came()
    }

    /// Whether answers have colour.
    pub fn has_colour(&self) -> bool {
        self.colour
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

    /// A line of cells with tabs between them.
    ///
    /// # Errors
    /// Those of writing.
    pub fn cells(&mut self, cells: &[impl Display]) -> io::Result<()> {
        for (at, cell) in cells.iter().enumerate() {
            let tab = if at > 0 { "\t" } else { "" };
            write!(self.out, "{tab}{}", Escaped(cell))?;
        }
        self.out.write_all(b"\n")
    }

    /// A page in the place of the one before, on a terminal.
    ///
    /// # Errors
    /// Those of writing.
    pub fn redraw(&mut self, lines: &[String]) -> io::Result<()> {
        self.out.write_all(page(lines).as_bytes())
    }

    /// A table.
    ///
    /// # Errors
    /// Those of writing.
    pub fn table(&mut self, table: &Table) -> io::Result<()> {
        let room = self.terminal.then(|| columns_of(io::stdout()));
        if table.write(&mut self.out, self.colour, room)? {
            self.line("… addresses shortened to fit; a wider window, a pipe or --json shows them whole")?;
        }
        Ok(())
    }

    /// A line of cells that stand one behind the other.
    ///
    /// # Errors
    /// Those of writing.
    pub fn row(&mut self, cells: &[Cell]) -> io::Result<()> {
        write_line(&mut self.out, cells, self.colour)
    }

    /// A JSON document on a line of its own.
    ///
    /// # Errors
    /// Those of writing.
    pub fn json(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        self.json = true;
        self.document.clear();
        serde_json::to_writer(&mut self.document, value)?;
        harmless(&mut self.document);
        self.document.push(b'\n');
        self.out.write_all(&self.document)
    }

    /// Whether a JSON document was printed, or tried to be.
    pub fn has_answered_in_json(&self) -> bool {
        self.json
    }

    /// What the command line's own parser refuses, or prints when asked for help.
    ///
    /// # Errors
    /// Those of writing.
    pub fn parser(&mut self, error: &clap::Error) -> io::Result<Exit> {
        if !error.use_stderr() {
            let help = error.render();
            let help = if self.colour { help.ansi().to_string() } else { help.to_string() };
            self.out.write_all(help.as_bytes())?;
            return Ok(Exit::Ok);
        }
        let text = error.render().to_string();
        let _ = self.out.flush();
        let text = text.replacen("error: ", "tapkeep: error: ", 1);
        for line in text.lines() {
            let _ = writeln!(self.err, "{}", Escaped(line));
        }
        Ok(Exit::Usage)
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

    /// Hands on what was written so far and, where it goes into a file, waits until it is on the device.
    ///
    /// # Errors
    /// Those of writing.
    pub fn sync(&mut self) -> io::Result<()> {
        self.out.flush()?;
        match rustix::fs::fdatasync(io::stdout()) {
            // No file: a pipe, a socket, a terminal.
            Err(Errno::INVAL | Errno::ROFS | Errno::NOTSUP) => Ok(()),
            _ if !self.process => Ok(()),
            synced => Ok(synced?),
        }
    }

    /// Whether the answer is appended to a file that holds something already. Its last line, should a crash have cut it, is ended.
    ///
    /// # Errors
    /// Those of writing.
    pub fn continues_file(&mut self) -> io::Result<bool> {
        let stat = rustix::fs::fstat(io::stdout())?;
        if !self.process || !FileType::from_raw_mode(stat.st_mode).is_file() || stat.st_size == 0 {
            return Ok(false);
        }
        self.out.write_all(end_of_cut_line(u64::try_from(stat.st_size).unwrap_or(0)))?;
        Ok(true)
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
        clear_beside();
        let _ = self.out.flush();
        let _ = writeln!(self.err, "tapkeep: {kind}: {}", Escaped(&text));
        let _ = self.err.flush();
    }

    /// Ends a command: hands on the last of the answer, says what failed, and knows how to exit. That nobody
    /// reads the answer any more is no failure.
    pub fn finish(&mut self, result: anyhow::Result<Exit>) -> Exit {
        let exit = match result.and_then(|exit| Ok(self.out.flush().map(|()| exit)?)) {
            Ok(exit) => exit,
            Err(error) if is_broken_pipe(&error) => Exit::Ok,
            // Whoever pressed the key knows, unless there is more to say.
            Err(error) if error.is::<Interrupted>() && error.chain().count() == 1 => Exit::Failure,
            Err(error) => {
                self.error(&error);
                Exit::from(&error)
            }
        };
        self.interrupted_by().map_or(exit, Exit::Interrupted)
    }
}

/// JSON with the characters that a terminal acts upon as escapes; only texts have such, for all else is of printable ASCII.
fn harmless(json: &mut Vec<u8>) {
    if json.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return;
    }
    let mut escaped = String::with_capacity(json.len() + 64);
    for c in String::from_utf8_lossy(json).chars() {
        if is_active(c) {
            // All that are active are of the basic plane, and so one such escape. Nothing fails that is written to a string.
            let _ = std::fmt::Write::write_fmt(&mut escaped, format_args!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    *json = escaped.into_bytes();
}

/// The most bytes of a line that may have been cut.
const MAX_LINE: u64 = 1 << 20;

/// What ends the last line of the file that standard output is, of this size. A quote that was begun is ended too, lest it take in the
/// lines behind it. A file that may not be read gets an empty line.
fn end_of_cut_line(size: u64) -> &'static [u8] {
    let mut line = Vec::new();
    let read = File::open("/proc/self/fd/1").and_then(|mut file| {
        file.seek(SeekFrom::Start(size.saturating_sub(MAX_LINE)))?;
        file.take(MAX_LINE).read_to_end(&mut line)
    });
    let cut = line.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
    match cut.iter().filter(|&&byte| byte == b'"').count() {
        _ if read.is_ok() && cut.is_empty() => b"",
        quotes if quotes % 2 == 1 => b"\"\n",
        _ => b"\n",
    }
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
        fn json_of_any_text_reads_back_and_moves_no_terminal(text in any::<String>(), more in "[\u{80}-\u{a0}\u{2020}-\u{2070}\"\\\\\t]*") {
            let page = Page::default();
            let mut output = Output::to(page.clone(), io::sink(), false);
            let text = text + &more;
            output.json(&text).unwrap();
            let json = page.text();
            prop_assert!(!json.trim_end_matches('\n').chars().any(is_active));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn no_active_character_passes(text in any::<String>()) {
            let escaped = Escaped(&text).to_string();
            prop_assert!(!escaped.chars().any(is_active));
            prop_assert!(text.chars().any(is_active) || escaped == text);
        }
    }
}
