//! Time from left to right: steps, places and marks.

use chrono::{DateTime, Offset, TimeZone};

use crate::index::timeline::Steps;
use crate::packet::{NANOS_PER_SEC, Nanos};

/// Steps in a chart, at most.
const STEPS: i64 = 240;

/// Marks on an axis, at most.
const MARKS: i64 = 8;

pub(super) const MILLI: Nanos = NANOS_PER_SEC / 1_000;
pub(super) const MINUTE: Nanos = 60 * NANOS_PER_SEC;
pub(super) const HOUR: Nanos = 60 * MINUTE;
pub(super) const DAY: Nanos = 24 * HOUR;

/// Widths that a clock has.
const WIDTHS: [Nanos; 33] = [
    MILLI,
    2 * MILLI,
    5 * MILLI,
    10 * MILLI,
    20 * MILLI,
    50 * MILLI,
    100 * MILLI,
    200 * MILLI,
    500 * MILLI,
    NANOS_PER_SEC,
    2 * NANOS_PER_SEC,
    5 * NANOS_PER_SEC,
    10 * NANOS_PER_SEC,
    15 * NANOS_PER_SEC,
    30 * NANOS_PER_SEC,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    14 * DAY,
    28 * DAY,
    91 * DAY,
    364 * DAY,
];

/// The smallest width of a clock of which at most `most` cover `span`.
fn width(span: Nanos, most: i64) -> Nanos {
    WIDTHS.into_iter().find(|width| span / width < most).unwrap_or(span / most + 1)
}

/// The last moment up to `at` at which a step of that width begins, by the clock on the wall.
pub(super) fn floor<Z: TimeZone>(at: Nanos, width: Nanos, zone: &Z) -> Nanos {
    let ahead = DateTime::from_timestamp_nanos(at).with_timezone(zone).offset().fix().local_minus_utc();
    let ahead = Nanos::from(ahead) * NANOS_PER_SEC;
    at.saturating_sub(at.saturating_add(ahead).rem_euclid(width))
}

/// Steps for a chart of this time.
pub(super) fn steps<Z: TimeZone>(span: Option<(Nanos, Nanos)>, zone: &Z) -> Steps {
    let Some((from, to)) = span else { return Steps::new(0, NANOS_PER_SEC, 0) };
    let width = width(to.saturating_sub(from), STEPS);
    let begin = floor(from, width, zone);
    Steps::new(begin, width, (to.saturating_sub(begin) / width + 1) as usize)
}

/// From when to when a chart goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    from: Nanos,
    to: Nanos,
}

impl Axis {
    pub(super) fn of(steps: &Steps) -> Self {
        let from = steps.iter().next().map_or(0, |(at, _)| at);
        let last = steps.iter().last().map_or(0, |(at, _)| at);
        Self { from, to: last.saturating_add(steps.width()) }
    }

    /// Where a moment is, from 0 to 100; what is outside is at the end.
    pub(super) fn place(&self, at: Nanos) -> f64 {
        let (passed, all) = (at.saturating_sub(self.from), self.to.saturating_sub(self.from).max(1));
        (passed as f64 * 100.0 / all as f64).clamp(0.0, 100.0)
    }

    /// Whether some of that time is on it.
    pub(super) fn touches(&self, first: Nanos, last: Nanos) -> bool {
        last >= self.from && first < self.to
    }

    /// Moments to mark, and what to write there.
    pub(super) fn marks<Z: TimeZone>(&self, zone: &Z) -> Vec<(Nanos, String)>
    where
        Z::Offset: std::fmt::Display,
    {
        let width = width(self.to.saturating_sub(self.from), MARKS);
        let first = floor(self.from, width, zone);
        let moments = (0..=MARKS).map(|mark| first.saturating_add(mark * width));
        let moments = moments.filter(|at| *at >= self.from && *at < self.to);
        moments.map(|at| (at, mark(at, width, zone))).collect()
    }
}

fn mark<Z: TimeZone>(at: Nanos, width: Nanos, zone: &Z) -> String
where
    Z::Offset: std::fmt::Display,
{
    let time = DateTime::from_timestamp_nanos(at).with_timezone(zone);
    let midnight = time.format("%H%M%S").to_string() == "000000";
    let format = match width {
        width if width > 28 * DAY => "%b %Y",
        _ if midnight || width >= DAY => "%-d %b",
        width if width >= MINUTE => "%H:%M",
        width if width >= NANOS_PER_SEC => "%H:%M:%S",
        _ => "%H:%M:%S%.3f",
    };
    time.format(format).to_string()
}

/// A share of the whole width or height, as an attribute has it.
pub(super) fn percent(place: f64) -> String {
    format!("{}%", decimal(place))
}

/// A number to three places.
pub(super) fn decimal(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use chrono::{FixedOffset, Utc};

    use super::*;

    #[test]
    fn steps_and_marks_are_those_of_a_clock() {
        let from = 1_735_655_452 * NANOS_PER_SEC; // 2024-12-31 14:30:52
        for (span, width, marks) in [
            (0, MILLI, &["14:30:52.000"][..]),
            (DAY, 10 * MINUTE, &["18:00", "1 Jan", "06:00", "12:00"]),
            (40 * MINUTE, 15 * NANOS_PER_SEC, &["14:40", "14:50", "15:00", "15:10"]),
            (40 * DAY, 6 * HOUR, &["2 Jan", "9 Jan", "16 Jan", "23 Jan", "30 Jan", "6 Feb"]),
            (1_000 * DAY, 7 * DAY, &["Oct 2025", "Oct 2026"]),
        ] {
            let steps = steps(Some((from, from + span)), &Utc);
            assert_eq!(steps.width(), width, "{span}");
            assert!(steps.iter().count() <= STEPS as usize + 1);
            let axis = Axis::of(&steps);
            let told: Vec<_> = axis.marks(&Utc).into_iter().map(|(_, text)| text).collect();
            assert_eq!(told, marks);
            assert!(axis.place(from) < 1.0 && axis.place(from + span + width) == 100.0);
        }
        assert_eq!(steps(None, &Utc).iter().count(), 0);
        assert!(steps(Some((i64::MIN, i64::MAX)), &Utc).iter().count() <= STEPS as usize + 1);
    }

    #[test]
    fn days_begin_at_midnight_where_one_lives() {
        let zone = FixedOffset::east_opt(5 * 3_600 + 1_800).unwrap();
        let at = floor(1_735_655_452 * NANOS_PER_SEC, DAY, &zone);
        assert_eq!(super::super::super::time::date_time(at, &zone), "2024-12-31 00:00:00");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 12.5, 100.0, 0.12349].map(percent), ["0%", "12.5%", "100%", "0.123%"]);
    }
}
