//! Waiting for what takes longer than a second: a bar on standard error where a person looks at it, and interruption in order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::stderr;
use std::time::{Duration, Instant};

use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;
use unicode_width::UnicodeWidthStr as _;

use super::output::{Interrupted, Output};
use super::table::{bytes, duration};
use super::terminal::{clear_beside, columns_of, draw_beside, fitting};
use crate::store::progress::Progress;
use crate::sys::signals::Interrupts;

/// What takes no longer than this is answered without a bar.
const CALM: Duration = Duration::from_secs(1);

/// Time between two of its frames.
const TURN: Duration = Duration::from_millis(100);

/// Time over which its rate is taken.
const WINDOW: Duration = Duration::from_secs(10);

/// Columns that stay free at the end of its line: what a terminal shows of a key, `^C`, must not break it.
const SPARE: usize = 3;

/// Columns of a bar: none is drawn where there is no room for the fewest.
const FEWEST: usize = 5;
const MOST: usize = 30;

/// How fast work goes: over the last seconds, for it may read from a cache first and from a disk then.
#[derive(Debug, Default)]
struct Pace(VecDeque<(Duration, u64)>);

impl Pace {
    /// So far it had come by then.
    fn add(&mut self, at: Duration, done: u64) {
        // A second pass begins anew.
        if self.0.back().is_some_and(|(_, before)| *before > done) {
            self.0.clear();
        }
        self.0.push_back((at, done));
        while self.0.front().is_some_and(|(first, _)| at - *first > WINDOW) {
            self.0.pop_front();
        }
    }

    /// Bytes a second; 0 if nobody knows yet.
    fn per_second(&self) -> f64 {
        let Some(((from, before), (to, done))) = self.0.front().zip(self.0.back()) else { return 0.0 };
        let seconds = (*to - *from).as_secs_f64();
        if seconds > 0.0 { (done - before) as f64 / seconds } else { 0.0 }
    }
}

/// A bar of bytes; gone when dropped.
pub(super) struct Bar {
    what: &'static str,
    drawable: bool,
    begun: Instant,
    turn: Cell<Option<Instant>>,
    pace: RefCell<Pace>,
}

impl Bar {
    /// A bar that begins to show after a moment, where a person can see it.
    pub(super) fn new(what: &'static str, out: &Output) -> Self {
        let (begun, drawable) = (Instant::now(), out.is_drawable_beside());
        Self { what, drawable, begun, turn: Cell::default(), pace: RefCell::default() }
    }

    /// So far it has come.
    pub(super) fn at(&self, at: Progress) {
        let now = Instant::now();
        if !self.drawable || self.turn.get().is_some_and(|last| now - last < TURN) {
            return;
        }
        self.turn.set(Some(now));
        let mut pace = self.pace.borrow_mut();
        pace.add(now - self.begun, at.done);
        if now - self.begun >= CALM && is_in_foreground() {
            let columns = columns_of(stderr()).saturating_sub(SPARE);
            draw_beside(&line(self.what, at, pace.per_second(), columns));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        clear_beside();
    }
}

/// Whether standard error is a terminal that is this process's to write to.
fn is_in_foreground() -> bool {
    tcgetpgrp(stderr()).is_ok_and(|group| group == getpgrp())
}

/// A command that waits for its work. Until it is dropped, a signal that would end the process is [told](Self::at) to the work
/// instead, so that it can clear away what it has made by half.
pub(super) struct Waiting {
    bar: Option<Bar>,
    interrupts: Option<Interrupts>,
}

impl Waiting {
    /// Waits for what is called so. Nothing is shown, and no signal is caught, on behalf of what is not the process's own output.
    pub(super) fn new(what: &'static str, out: &Output) -> Self {
        let (interrupts, bar) = (out.interrupts(), Some(Bar::new(what, out)));
        if let Some(interrupts) = &interrupts {
            interrupts.hold();
        }
        Self { bar, interrupts }
    }

    /// Waits where text is written to the same terminal all the while.
    pub(super) fn without_bar(mut self) -> Self {
        self.bar = None;
        self
    }

    /// So far it has come; whether to go on.
    pub(super) fn at(&self, at: Progress) -> bool {
        if let Some(bar) = &self.bar {
            bar.at(at);
        }
        self.check().is_ok()
    }

    /// Fails if work was interrupted: what it came to is worth nothing then.
    pub(super) fn check(&self) -> Result<(), Interrupted> {
        let came = self.interrupts.as_ref().and_then(Interrupts::came);
        came.map_or(Ok(()), |_| Err(Interrupted))
    }

    /// Ends it; fails as [`Self::check`].
    pub(super) fn over(self) -> Result<(), Interrupted> {
        self.check()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(interrupts) = &self.interrupts {
            interrupts.release();
        }
    }
}

/// What is done, how far it has come, how fast, and for how long it goes on, in at most so many columns: first the bar gets shorter,
/// then it goes, then the name.
fn line(what: &str, at: Progress, per_second: f64, columns: usize) -> String {
    let Progress { done, total } = at;
    // What is as good as standing still ends nobody knows when.
    let pace = (per_second >= 1.0).then_some(per_second);
    let rate = pace.map_or_else(String::new, |pace| format!("  {:>9}", format!("{}/s", bytes(pace as u64))));
    let numbers = match total {
        Some(total) => format!("{:>7} of {}{rate}", bytes(done), bytes(total)),
        None => format!("{}{rate}", bytes(done)),
    };
    let left = total.zip(pace).map_or_else(String::new, |(total, pace)| {
        format!("  {} left", duration(((total.saturating_sub(done) as f64 / pace).ceil() * 1_000.0) as u64))
    });
    // The time left changes its length: the bar does not.
    let around = what.width() + numbers.width() + "  59 min 59 s left".len() + "  ".len();
    let room = columns.saturating_sub(around).min(MOST);
    let text = match total {
        Some(total) if room >= FEWEST => {
            format!("{what} {} {numbers}{left}", drawn(done, total, room))
        }
        _ => format!("{what} {numbers}{left}"),
    };
    let text = if text.width() > columns { format!("{}{left}", numbers.trim_start()) } else { text };
    fitting(&text, columns).to_owned()
}

/// A bar of so many columns.
fn drawn(done: u64, total: u64, columns: usize) -> String {
    let full = (done.min(total) as f64 / total.max(1) as f64 * columns as f64) as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(columns - full))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HALF: Progress = Progress { done: 600_000_000, total: Some(1_200_000_000) };

    #[test]
    fn a_line_tells_how_far_how_fast_and_how_long() {
        let bar = "███████████████░░░░░░░░░░░░░░░";
        let rest = " 600 MB of 1.20 GB  50.0 MB/s  12 s left";
        assert_eq!(line("analysing", HALF, 50e6, 100), format!("analysing {bar} {rest}"));
        assert_eq!(line("analysing", HALF, 50e6, 79), format!("analysing ██████████░░░░░░░░░░░ {rest}"));
        // A pipe tells no length.
        let pipe = Progress { done: 600, total: None };
        assert_eq!(line("replaying", pipe, 50.0, 80), "replaying 600 B     50 B/s");
    }

    #[test]
    fn where_there_is_little_room_the_bar_goes_first_and_then_the_name() {
        assert_eq!(line("analysing", HALF, 50e6, 60), "analysing  600 MB of 1.20 GB  50.0 MB/s  12 s left");
        assert_eq!(line("analysing", HALF, 50e6, 45), "600 MB of 1.20 GB  50.0 MB/s  12 s left");
        assert_eq!(line("analysing", HALF, 50e6, 17), "600 MB of 1.20 GB");
    }

    #[test]
    fn what_stands_still_has_no_end_that_anyone_knows() {
        let text = line("analysing", HALF, 0.0, 79);
        assert!(text.ends_with(" 600 MB of 1.20 GB"), "{text}");
        let aeons = line("analysing", Progress { done: 0, total: Some(u64::MAX) }, 1.0, 100);
        assert!(aeons.ends_with(" left"), "{aeons}");
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut pace = Pace::default();
        assert_eq!(pace.per_second(), 0.0);
        let mut second = |at: u64, done: u64| {
            pace.add(Duration::from_secs(at), done);
            pace.per_second()
        };
        assert_eq!([second(1, 100), second(2, 200), second(4, 400)], [0.0, 100.0, 100.0]);
        assert_eq!([second(20, 400), second(21, 430)], [0.0, 30.0]);
        assert_eq!([second(22, 0), second(23, 7)], [0.0, 7.0]);
    }

    #[test]
    fn who_is_told_to_end_gives_up() {
        let ending = Interrupts::untold();
        let out = Output::to(std::io::sink(), std::io::sink(), false).ended_by(ending.clone());
        let waiting = Waiting::new("extracting", &out);
        assert!(waiting.at(Progress::default()) && waiting.check().is_ok());
        ending.tell();
        assert!(!waiting.at(Progress::default()) && waiting.over().is_err());
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_its_terminal(
            done in any::<u64>(), total in any::<Option<u64>>(), per_second in any::<f64>(), columns in 0_usize..200,
        ) {
            let text = line("reading stamps", Progress { done, total }, per_second, columns);
            prop_assert!(text.width() <= columns, "{}", text);
        }
    }
}
