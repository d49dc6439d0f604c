//! What the flow records of a data directory rest on: from when to when they tell of all that was recorded, and what they miss.

use chrono::Local;

use super::super::table::{bytes, counted};
use super::super::time::date_time;
use super::super::{Context, read_ledger};
use crate::daemon::ServiceState;
use crate::index::flow_view::flow_files;
use crate::index::view::Viewer;
use crate::packet::Nanos;
use crate::store::layout::Layout;
use crate::store::losses::Losses;
use crate::store::range::TimeRange;
use crate::sys::clock::{Clock, RealClock};
use crate::sys::fs::RealFs;

/// How complete an answer is.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// The earliest and the latest packet that a flow record of that time tells of.
    range: Option<(Nanos, Nanos)>,
    /// Packets that were lost, as far as anybody counted.
    lost: u64,
    /// Flow files of that time that retention took.
    evicted: u64,
    /// Bytes of captures that are still to be analysed.
    left: u64,
}

impl Reach {
    /// Of the records of that time. What cannot be read tells nothing here: the answer itself tells that it could not.
    pub(super) fn of(range: TimeRange, context: &Context) -> Self {
        let (layout, fs) = (Layout::new(&context.data_dir.path), RealFs::default());
        let ledger = || read_ledger(&layout.ledger());
        // A file without packets may have lost some.
        let touches = |first: Option<Nanos>, last: Option<Nanos>| match first.zip(last) {
            Some((first, last)) => range.touches(first, last),
            None => !range.is_bounded(),
        };
        let mut reach = Self { left: left(context), ..Self::default() };
        for row in flow_files(&layout, &fs, &ledger).unwrap_or_default() {
            let facts = &row.facts;
            if !touches(facts.first, facts.last) {
                continue;
            }
            if row.evicted.is_some() {
                reach.evicted += 1;
                continue;
            }
            reach.lost += known(facts.losses);
            reach.range = match (reach.range, facts.first.zip(facts.last)) {
                (Some((from, to)), Some((first, last))) => Some((from.min(first), to.max(last))),
                (before, now) => before.or(now),
            };
        }
        let captures = Viewer { layout: &layout, fs: &fs, ledger: &ledger }.look().unwrap_or_default();
        let of_that_time = captures.rows.iter().filter(|row| touches(row.facts.first, row.facts.last));
        reach.lost += of_that_time.map(|row| known(row.facts.losses)).sum::<u64>();
        let within = |(from, to): (Nanos, Nanos)| {
            let until = range.until.map_or(to, |until| to.min(until));
            (range.since.map_or(from, |since| from.max(since)), until)
        };
        Self { range: reach.range.map(within), ..reach }
    }

    /// From when to when, as a table's head says it.
    pub(super) fn head(&self) -> String {
        let told = |(from, to)| format!(", {} to {}", date_time(from, &Local), date_time(to, &Local));
        self.range.map(told).unwrap_or_default()
    }

    /// What is missing, in a line; none if nothing is known to be.
    pub(super) fn missing(&self) -> Option<String> {
        let lost =
            (self.lost > 0).then(|| format!("{} lost while this was recorded", counted(self.lost, "packet")));
        let evicted = (self.evicted > 0)
            .then(|| format!("{} of that time evicted since", counted(self.evicted, "flow file")));
        let left = (self.left > 0).then(|| format!("{} of captures still to be analysed", bytes(self.left)));
        let all: Vec<_> = [lost, evicted, left].into_iter().flatten().collect();
        (!all.is_empty()).then(|| format!("{}; `tapkeep list` tells more", all.join(", ")))
    }
}

fn known(losses: Losses) -> u64 {
    losses.by_cause().into_iter().filter_map(|(_, count)| count).sum()
}

/// What a running service has still to analyse.
fn left(context: &Context) -> u64 {
    let runtime_dir = &context.loaded.config.service.runtime_dir;
    let state = ServiceState::find(runtime_dir, &context.data_dir.path).ok().flatten();
    let up_ms = u64::try_from(RealClock.now().up.as_millis()).unwrap_or(u64::MAX);
    state.filter(|state| state.is_fresh(up_ms)).map_or(0, |state| state.analysis.left)
}
