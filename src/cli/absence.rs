//! What an answer says of what is not in it: rows that were cut, and times of which there is nothing.

use std::fmt::Display;

use super::table::count;
use super::time::{date_time, end_time};
use super::zone::Here;
use crate::config::DataDir;
use crate::packet::Nanos;
use crate::store::range::TimeRange;

/// How many rows to show, as people type it.
pub(super) fn rows(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "not a number of rows; 20 is, and 0 for all".to_owned())
}

/// The line below a table that does not show all its rows.
pub(super) fn cut(shown: usize, all: usize) -> String {
    format!("{} of {} shown; --limit 0 shows all", count(shown as u64), count(all as u64))
}

/// A place, of which not all could be read if it is damaged.
pub(super) fn readable(place: impl Display, damaged: bool) -> String {
    if damaged { format!("what could be read of {place}") } else { place.to_string() }
}

/// That there is nothing of that time in that place, and of which times there is something, if anybody knows: from the first stamp to
/// the last.
pub(super) fn nothing(
    what: impl Display,
    range: TimeRange,
    place: impl Display,
    kept: Option<(Nanos, Nanos)>,
) -> String {
    let kept = kept.map_or_else(String::new, |kept| format!("; {}", nearest(range, kept)));
    format!("no {what}{} in {place}{kept}", of_time(range))
}

/// The same of the data directory, which may not even be there.
pub(super) fn nothing_kept(
    what: impl Display,
    range: TimeRange,
    (dir, damaged): (&DataDir, bool),
    kept: Option<(Nanos, Nanos)>,
) -> String {
    if dir.path.exists() { nothing(what, range, readable(dir, damaged), kept) } else { no_place(what, dir) }
}

/// That there is nothing because the place is not there.
pub(super) fn no_place(what: impl Display, place: impl Display) -> String {
    format!("no {what}: {place} does not exist")
}

/// A range in words that follow a noun.
fn of_time(range: TimeRange) -> String {
    match (range.since, range.until) {
        (Some(since), Some(until)) => {
            format!(" between {} and {}", date_time(since, &Here), end_time(since, until, &Here))
        }
        (Some(since), None) => format!(" since {}", date_time(since, &Here)),
        (None, Some(until)) => format!(" before {}", date_time(until, &Here)),
        (None, None) => String::new(),
    }
}

/// What is kept nearest to a range that holds nothing.
fn nearest(range: TimeRange, (first, last): (Nanos, Nanos)) -> String {
    match () {
        () if range.until.is_some_and(|until| until <= first) => {
            format!("the oldest kept is of {}", date_time(first, &Here))
        }
        () if range.since.is_some_and(|since| since > last) => {
            format!("the latest kept is of {}", date_time(last, &Here))
        }
        () => format!("kept are {} to {}", date_time(first, &Here), end_time(first, last, &Here)),
    }
}
