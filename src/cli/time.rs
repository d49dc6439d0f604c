//! Times as people type them, and as tables show them. Pure: the present and the zone are handed in.
//!
//! A range holds its beginning and not its end. What a change of the clocks makes unclear is decided so that
//! the range leaves nothing out: a local time that came twice is the first one as a beginning and the last
//! one as an end; one that never came is the moment of the change.

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{
    DateTime, Days, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Timelike,
};
use clap::Args;

use super::output::UsageError;
use crate::packet::{NANOS_PER_SEC, Nanos};
use crate::store::range::TimeRange;

/// The flags that bound an answer in time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct RangeArgs {
    /// Only what is not older: RFC 3339, "2024-12-31 14:30", "14:30", "yesterday", "10m" or "2h ago"
    #[arg(long, value_name = "TIME")]
    pub since: Option<TimeSpec>,
    /// Only what is older; times as for --since
    #[arg(long, value_name = "TIME")]
    pub until: Option<TimeSpec>,
    /// Only the last 90s, 10m, 1h, 3d …
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["since", "until"])]
    pub last: Option<Ago>,
}

impl RangeArgs {
    /// What means exactly this range, whenever it is asked.
    pub fn exactly(range: TimeRange) -> Self {
        let moment = |at: Option<Nanos>| at.map(TimeSpec::Moment);
        Self { since: moment(range.since), until: moment(range.until), last: None }
    }

    /// The range meant at the moment `now` by someone who lives in `zone`.
    ///
    /// # Errors
    /// If it is empty by its own words, or reaches out of the time that a stamp can tell (1677 to 2262).
    pub fn resolve<Z: TimeZone>(&self, now: Nanos, zone: &Z) -> Result<TimeRange, UsageError> {
        let resolve = |flag, spec: &Option<TimeSpec>, edge| {
            let Some(spec) = spec else { return Ok(None) };
            let moment = spec.resolve(now, zone, edge);
            moment
                .map(Some)
                .ok_or_else(|| UsageError(format!("--{flag} is out of range: years 1678 to 2261 are in it")))
        };
        if let Some(last) = self.last {
            return Ok(TimeRange { since: Some(now.saturating_sub(last.0)), until: None });
        }
        let range = TimeRange {
            since: resolve("since", &self.since, Edge::Since)?,
            until: resolve("until", &self.until, Edge::Until)?,
        };
        if let (Some(since), Some(until)) = (range.since, range.until)
            && since >= until
        {
            let [since, until] = [since, until].map(|stamp| moment(stamp, zone));
            return Err(UsageError(format!(
                "nothing is between --since {since} and --until {until}: the first must be the earlier one"
            )));
        }
        Ok(range)
    }
}

/// Which end of a range a time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    Since,
    Until,
}

/// A time as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeSpec {
    /// A moment, the same everywhere.
    Moment(Nanos),
    /// By the clock on the wall.
    Local(NaiveDateTime),
    /// By the clock on the wall, so many days before today.
    Day(u64, NaiveTime),
    /// So long ago.
    Ago(Ago),
}

/// Nanoseconds back from now; not negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ago(Nanos);

impl Ago {
    /// That many.
    pub fn nanos(self) -> Nanos {
        self.0
    }
}

/// What was typed is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(r#"not a time; "2024-12-31T14:30:00Z", "2024-12-31 14:30", "14:30", "yesterday", "2h ago" are"#)]
pub struct NotATime;

/// What was typed is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(r#"not a duration; "90s", "10m", "1h 30m", "3d" and "2w" are"#)]
pub struct NotADuration;

impl FromStr for TimeSpec {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        match lower.as_str() {
            "now" => return Ok(Self::Ago(Ago(0))),
            "today" => return Ok(Self::Day(0, NaiveTime::MIN)),
            "yesterday" => return Ok(Self::Day(1, NaiveTime::MIN)),
            _ => {}
        }
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return time.timestamp_nanos_opt().map(Self::Moment).ok_or(NotATime);
        }
        let ago = lower.strip_suffix("ago").unwrap_or(&lower);
        if let Ok(ago) = ago.trim_end().parse() {
            return Ok(Self::Ago(ago));
        }
        if let Some(time) = clock(text) {
            return Ok(Self::Day(0, time));
        }
        let (day, time) = match text.split_once([' ', 'T', 't']) {
            Some((day, time)) => (day, clock(time.trim_start()).ok_or(NotATime)?),
            None => (text, NaiveTime::MIN),
        };
        let day = NaiveDate::parse_from_str(day, "%Y-%m-%d").map_err(|_| NotATime)?;
        Ok(Self::Local(day.and_time(time)))
    }
}

/// `14:30`, `14:30:05` or `14:30:05.123`.
fn clock(text: &str) -> Option<NaiveTime> {
    ["%H:%M", "%H:%M:%S%.f"].iter().find_map(|format| NaiveTime::parse_from_str(text, format).ok())
}

impl FromStr for Ago {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let (mut rest, mut sum) = (text.trim(), None);
        while !rest.is_empty() {
            let (number, after) = split_at(rest, |c| !c.is_ascii_digit());
            let (unit, after) = split_at(after.trim_start(), |c| !c.is_ascii_alphabetic());
            let part = number.parse::<Nanos>().ok().zip(seconds(unit)).and_then(|(n, s)| n.checked_mul(s));
            sum = Some(part.and_then(|part| part.checked_add(sum.unwrap_or(0))).ok_or(NotADuration)?);
            rest = after.trim_start();
        }
        let nanos = sum.and_then(|seconds: Nanos| seconds.checked_mul(NANOS_PER_SEC));
        nanos.map(Self).ok_or(NotADuration)
    }
}

fn split_at(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

fn seconds(unit: &str) -> Option<Nanos> {
    Some(match unit {
        "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 604_800,
        _ => return None,
    })
}

impl TimeSpec {
    fn resolve<Z: TimeZone>(&self, now: Nanos, zone: &Z, edge: Edge) -> Option<Nanos> {
        match *self {
            Self::Moment(moment) => Some(moment),
            Self::Ago(Ago(nanos)) => now.checked_sub(nanos),
            Self::Local(time) => from_local(time, zone, edge),
            Self::Day(back, time) => {
                let today = DateTime::from_timestamp_nanos(now).with_timezone(zone).date_naive();
                from_local(today.checked_sub_days(Days::new(back))?.and_time(time), zone, edge)
            }
        }
    }
}

fn from_local<Z: TimeZone>(time: NaiveDateTime, zone: &Z, edge: Edge) -> Option<Nanos> {
    let found = zone.from_local_datetime(&time);
    let found = match edge {
        Edge::Since => found.earliest(),
        Edge::Until => found.latest(),
    };
    found.or_else(|| after_skipped(time, zone))?.timestamp_nanos_opt()
}

/// The first moment after a local time that the clocks skipped. They skip whole minutes, and less than two
/// days.
fn after_skipped<Z: TimeZone>(time: NaiveDateTime, zone: &Z) -> Option<DateTime<Z>> {
    let minute = time.with_second(0)?.with_nanosecond(0)?;
    (1..2 * 24 * 60)
        .find_map(|n| zone.from_local_datetime(&minute.checked_add_signed(TimeDelta::minutes(n))?).earliest())
}

/// A stamp to the second, with its offset from UTC.
fn moment<Z: TimeZone>(stamp: Nanos, zone: &Z) -> String {
    DateTime::from_timestamp_nanos(stamp)
        .with_timezone(zone)
        .to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// A stamp to the second by the clock on the wall: `2024-12-31 14:30:52`.
pub fn date_time<Z: TimeZone>(stamp: Nanos, zone: &Z) -> String {
    let time = DateTime::from_timestamp_nanos(stamp).with_timezone(zone).naive_local();
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// The end of what began at `from`: only the time of day if that is on the same day.
pub fn end_time<Z: TimeZone>(from: Nanos, stamp: Nanos, zone: &Z) -> String {
    let [from, to] =
        [from, stamp].map(|stamp| DateTime::from_timestamp_nanos(stamp).with_timezone(zone).naive_local());
    let format = if from.date() == to.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    to.format(format).to_string()
}

/// The zone for the head of a table that shows these times: `Europe/Berlin (UTC+01:00)`, with each offset that they have. Its name
/// is the one that the local zone goes by: `TZ`, else the system's.
pub fn zone_name<Z: TimeZone>(
    shown: impl IntoIterator<Item = Nanos>,
    zone: &Z,
    tz: Option<String>,
) -> String {
    use chrono::Offset;
    let offset_of = |at| DateTime::from_timestamp_nanos(at).with_timezone(zone).offset().fix();
    let offsets: BTreeSet<_> = shown.into_iter().map(|at| offset_of(at).local_minus_utc()).collect();
    let words = offsets.into_iter().filter_map(FixedOffset::east_opt).map(|offset| match offset {
        utc if utc.local_minus_utc() == 0 => "UTC".to_owned(),
        other => format!("UTC{other}"),
    });
    let offset = words.collect::<Vec<_>>().join(" and ");
    let name = tz.map(|tz| tz.trim_start_matches(':').to_owned()).filter(|tz| !tz.is_empty());
    match name.or_else(|| iana_time_zone::get_timezone().ok()) {
        Some(name) if !["UTC", "Etc/UTC", offset.as_str()].contains(&name.as_str()) => {
            format!("{name} ({offset})")
        }
        _ => offset,
    }
}

#[cfg(test)]
#[path = "time_tests.rs"]
mod tests;
