//! What the streams are if they are terminals: their size, a page or a line in the place of the one before, whether anybody is there.

use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use unicode_width::UnicodeWidthChar as _;

use super::escape::Escaped;

/// Whether the terminal says that it can do nothing but lines.
pub(super) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|value| value == "dumb")
}

/// To the upper left corner; to the end of the line; to the end of the page (ECMA-48: CUP, EL, ED).
const HOME: &str = "\x1b[H";
const TO_END_OF_LINE: &str = "\x1b[K";
const TO_END_OF_PAGE: &str = "\x1b[J";

/// Columns and rows of a terminal.
fn size_of(terminal: impl AsFd) -> (usize, usize) {
    let told = rustix::termios::tcgetwinsize(terminal).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
    told.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()))
}

/// A page in the place of the one before, in one piece, so that nothing flickers; what does not fit is left out.
pub(super) fn page(lines: &[String]) -> String {
    let (columns, rows) = size_of(io::stdout());
    let mut page = String::from(HOME);
    // The last row stays free, for the line break behind the one before it.
    for line in lines.iter().take(rows.saturating_sub(1)) {
        let line = Escaped(line).to_string();
        page.extend(fitting(&line, columns).chars().chain(TO_END_OF_LINE.chars()).chain(['\n']));
    }
    page.push_str(TO_END_OF_PAGE);
    page
}

/// Whether there is a line on standard error that is drawn over and over.
static DRAWN: AtomicBool = AtomicBool::new(false);

/// Draws a line on standard error in the place of the one before; the cursor stays at its end.
pub(super) fn draw_beside(line: &str) {
    DRAWN.store(true, Ordering::SeqCst);
    let _ = io::stderr().write_all(format!("\r{}{TO_END_OF_LINE}", Escaped(line)).as_bytes());
}

/// Takes the drawn line away, if there is one: before anything else is written there.
pub(super) fn clear_beside() {
    if DRAWN.swap(false, Ordering::SeqCst) {
        let _ = io::stderr().write_all(format!("\r{TO_END_OF_LINE}").as_bytes());
    }
}

/// Columns of a terminal.
pub(super) fn columns_of(terminal: impl AsFd) -> usize {
    size_of(terminal).0
}

/// As much of a line as fits into so many columns.
pub(super) fn fitting(line: &str, columns: usize) -> &str {
    let mut width = 0;
    let too_far = line.char_indices().find(|(_, c)| {
        width += c.width().unwrap_or(0);
        width > columns
    });
    too_far.map_or(line, |(at, _)| &line[..at])
}

/// Whether nobody reads the process's standard output any more: the reader of a pipe has gone, or a terminal was hung up.
pub(super) fn is_unread() -> bool {
    crate::sys::wake::is_hung_up(io::stdout().as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_before_the_character_that_has_no_room() {
        assert_eq!((fitting("ü日本", 3), fitting("ü日本", 5), fitting("abc", 2)), ("ü日", "ü日本", "ab"));
    }
}
