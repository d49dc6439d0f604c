//! What the flow records of a data directory rest on: from when to when they tell of all that was recorded, and what they miss.
//! What is missing is asked of the index, for each answer tells it; the files are looked at where there is none.

use std::collections::HashSet;

use super::super::table::{bytes, counted};
use super::super::time::date_time;
use super::super::zone::Here;
use super::super::{Context, read_ledger};
use crate::daemon::ServiceState;
use crate::index::flow_view::flow_files;
use crate::index::query::Reader;
use crate::index::view::Viewer;
use crate::packet::Nanos;
use crate::store::catalog::{FlowRow, Row};
use crate::store::layout::Layout;
use crate::store::losses::Losses;
use crate::store::names::{CaptureName, Role};
use crate::store::range::TimeRange;
use crate::sys::clock::{Clock, RealClock};
use crate::sys::fs::{Fs as _, RealFs};

/// How complete the records of a time are.
pub(super) struct Reach<'a> {
    range: TimeRange,
    context: &'a Context,
    layout: Layout,
}

impl<'a> Reach<'a> {
    /// Of the records of that time. What cannot be read tells nothing here: the answer itself tells that it could not.
    pub(super) fn of(range: TimeRange, context: &'a Context) -> Self {
        Self { range, context, layout: Layout::new(&context.data_dir.path) }
    }

    /// From when to when, as a table's head says it: the earliest and the latest packet of that time that a record tells of.
    pub(super) fn head(&self) -> String {
        let Some((from, to)) = extent(&self.files()) else { return String::new() };
        let from = self.range.since.map_or(from, |since| from.max(since));
        let to = self.range.until.map_or(to, |until| to.min(until));
        format!(", {} to {}", date_time(from, &Here), date_time(to, &Here))
    }

    /// From the first to the last packet that any record tells of, whatever the time.
    pub(super) fn kept(&self) -> Option<(Nanos, Nanos)> {
        extent(&self.all_files())
    }

    /// What is missing, in a line; none if nothing is known to be.
    pub(super) fn missing(&self) -> Option<String> {
        let (captures, flows) = self.indexed().unwrap_or_else(|| (self.captures(), self.files()));
        let state = self.state();
        let there = flows.iter().filter(|row| row.evicted.is_none());
        let in_files = captures.iter().map(|row| row.facts.losses).chain(there.map(|row| row.facts.losses));
        let recording = state.as_ref().and_then(|state| state.recording.as_ref()).filter(|recording| {
            self.range.until.is_none()
                && captures.iter().all(|row| row.facts.name.number() != recording.index)
        });
        let lost: u64 = in_files.chain(recording.map(|recording| recording.losses)).map(known).sum();
        let evicted = flows.iter().filter(|row| row.evicted.is_some()).count() as u64;
        let left = state.map_or(0, |state| state.analysis.left);
        let lost = (lost > 0).then(|| format!("{} lost while this was recorded", counted(lost, "packet")));
        let evicted =
            (evicted > 0).then(|| format!("{} of that time evicted since", counted(evicted, "flow file")));
        let left = (left > 0).then(|| format!("{} of captures still to be analysed", bytes(left)));
        let all: Vec<_> = [lost, evicted, left].into_iter().flatten().collect();
        (!all.is_empty()).then(|| format!("{}; `tapkeep list` tells more", all.join(", ")))
    }

    /// Finished files of that time, as the index knows them, if it knows all that are there.
    fn indexed(&self) -> Option<(Vec<Row>, Vec<FlowRow>)> {
        let index = Reader::open(&self.layout.index()).ok()?;
        let captures = index.captures(TimeRange::ALL, true).ok()?;
        let known = captures.iter().filter(|row| row.evicted.is_none()).map(|row| row.facts.name);
        let fs = RealFs::default();
        let there = fs.read_dir(&self.layout.captures()).unwrap_or_default().into_iter();
        let sealed = there.filter_map(|file| CaptureName::parse(&file.name));
        let sealed = sealed.filter(|(_, role)| *role == Role::Sealed).map(|(name, _)| name);
        if sealed.collect::<HashSet<_>>() != known.collect() {
            return None;
        }
        let touches = |row: &Row| self.touches(row.facts.first, row.facts.last);
        Some((captures.into_iter().filter(touches).collect(), index.flow_files(self.range, true).ok()?))
    }

    fn captures(&self) -> Vec<Row> {
        let ledger = || read_ledger(&self.layout.ledger());
        let view = Viewer { layout: &self.layout, fs: &RealFs::default(), ledger: &ledger }.look();
        let rows = view.unwrap_or_default().rows.into_iter();
        rows.filter(|row| self.touches(row.facts.first, row.facts.last)).collect()
    }

    fn all_files(&self) -> Vec<FlowRow> {
        let ledger = || read_ledger(&self.layout.ledger());
        flow_files(&self.layout, &RealFs::default(), &ledger).unwrap_or_default()
    }

    fn files(&self) -> Vec<FlowRow> {
        let rows = self.all_files().into_iter();
        rows.filter(|row| self.touches(row.facts.first, row.facts.last)).collect()
    }

    /// Whether a file may tell of that time; one without packets may have lost some.
    fn touches(&self, first: Option<Nanos>, last: Option<Nanos>) -> bool {
        let range = first.zip(last);
        range.map_or(!self.range.is_bounded(), |(first, last)| self.range.touches(first, last))
    }

    /// What a running service tells.
    fn state(&self) -> Option<ServiceState> {
        let runtime_dir = &self.context.loaded.config.service.runtime_dir;
        let state = ServiceState::find(runtime_dir, &self.context.data_dir.path).ok().flatten();
        let up_ms = RealClock.now().up_ms();
        state.filter(|state| state.is_fresh(up_ms))
    }
}

/// From the first to the last packet that the records of these files tell of, those evicted left out.
fn extent(files: &[FlowRow]) -> Option<(Nanos, Nanos)> {
    let there = files.iter().filter(|row| row.evicted.is_none());
    let ranges = there.filter_map(|row| row.facts.first.zip(row.facts.last));
    ranges.reduce(|(from, to), (first, last)| (from.min(first), to.max(last)))
}

fn known(losses: Losses) -> u64 {
    losses.by_cause().into_iter().filter_map(|(_, count)| count).sum()
}
