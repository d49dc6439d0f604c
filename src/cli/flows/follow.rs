//! `flows --follow` and `--cursor-file`: records as they are written, across rotation and restart.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::super::output::{Exit, Output};
use super::super::read_ledger;
use super::super::table::{bytes, count, counted};
use super::super::tail::{self, Of, Source};
use super::super::time::date_time;
use super::super::zone::Here;
use super::{Answer, FlowsArgs, end_text, name_of, proto_text, state_text};
use crate::flow::record::FlowRecord;
use crate::store::entry::Act;
use crate::store::flow_file::{Cursor, Follower, Kind, Missed, Object};
use crate::store::layout::Layout;
use crate::store::range::TimeRange;
use crate::sys::fs::RealFs;

/// The least time between two notes of flows that were only counted.
const MINUTE: Duration = Duration::from_secs(60);

/// Objects after which is looked whether the place is to be saved, or the end has come.
const BATCH: usize = 4096;

pub(super) fn follow(args: &FlowsArgs, layout: &Layout, fs: &RealFs, out: &mut Output) -> Result<Exit> {
    let continues = args.tail.cursor_file.is_some() && out.continues_file()?;
    let follower = match tail::saved(&args.tail, Of::Flows)? {
        Some(cursor) => Follower::resume(cursor),
        None if !args.tail.follow => Follower::from_oldest(),
        None => Follower::new(fs, layout).with_context(|| failed(layout))?,
    };
    let mut answer = Answer::new(args, TimeRange::ALL, out);
    if !continues {
        answer.begin()?;
    }
    if answer.lines.is_none() {
        answer.out.line(head())?;
    }
    drop(answer);
    let mut flows = Flows { args, layout, fs, follower, folded: 0, folded_told: None };
    tail::tail(&mut flows, &args.tail, Of::Flows, out)
}

fn failed(layout: &Layout) -> String {
    format!("follow the flow files in {}", layout.root().display())
}

struct Flows<'a> {
    args: &'a FlowsArgs,
    layout: &'a Layout,
    fs: &'a RealFs,
    follower: Follower,
    /// Flows that were only counted, of which nobody was told yet.
    folded: u64,
    folded_told: Option<Instant>,
}

impl Flows<'_> {
    /// Tells of flows that were only counted, at most once a minute: a flood has some each second.
    fn tell_folded(&mut self, more: bool, out: &mut Output) {
        let is_last = !more && !self.args.tail.follow;
        if self.folded > 0 && (is_last || self.folded_told.is_none_or(|told| told.elapsed() >= MINUTE)) {
            out.note(super::folded(std::mem::take(&mut self.folded)));
            self.folded_told = Some(Instant::now());
        }
    }
}

impl Source for Flows<'_> {
    type Place = Cursor;

    fn tell(&mut self, out: &mut Output) -> Result<bool> {
        let mut batch =
            Batch { answer: Answer::new(self.args, TimeRange::ALL, out), left: BATCH, unread: 0, folded: 0 };
        let more = self.follower.poll_some(self.fs, self.layout, |_, object| batch.take(object));
        let Batch { answer, unread, folded, .. } = batch;
        self.folded += folded;
        if let Some(error) = answer.failed {
            return Err(error.into());
        }
        let missed = self.follower.take_missed();
        notes(&missed, self.layout).iter().for_each(|note| out.note(note));
        if unread > 0 {
            out.note(format_args!("{} not understood and left out", counted(unread, "flow record")));
        }
        let more = more.with_context(|| failed(self.layout))?;
        self.tell_folded(more, out);
        Ok(more)
    }

    fn place(&self) -> &Cursor {
        self.follower.cursor()
    }
}

struct Batch<'a> {
    answer: Answer<'a>,
    left: usize,
    /// Records that could not be read.
    unread: u64,
    /// Flows that were only counted.
    folded: u64,
}

impl Batch<'_> {
    fn take(&mut self, object: &Object<'_>) -> bool {
        match object.kind {
            Kind::Record => self.record(object),
            Kind::Fold => self.folded += object.fold().map_or(0, |fold| fold.flows),
            Kind::Footer | Kind::Checkpoint | Kind::Other => {}
        }
        self.left -= 1;
        self.left > 0 && self.answer.failed.is_none()
    }

    fn record(&mut self, object: &Object<'_>) {
        match object.record() {
            Ok(record) if self.answer.args.fits(&record) => {
                let printed = match self.answer.lines {
                    Some(_) => self.answer.print(&record),
                    None => self.answer.out.line(line(&record)),
                };
                self.answer.failed = printed.err();
            }
            Ok(_) => {}
            Err(_) => self.unread += 1,
        }
    }
}

/// What was not told, each a sentence.
fn notes(missed: &Missed, layout: &Layout) -> Vec<String> {
    let mut notes = Vec::new();
    if missed.others {
        notes.push(
            "these are not the flow files that the cursor is of; all that are there are told".to_owned(),
        );
    }
    if missed.rewritten {
        notes.push(
            "the flow file is not as it was when the cursor was saved; it is told from its beginning"
                .to_owned(),
        );
    }
    notes.extend(evicted(missed, layout));
    if missed.damaged > 0 {
        notes.push(format!("{} of flow files are damaged and left out", bytes(missed.damaged)));
    }
    notes
}

/// What retention took before it was told. A file that was read to its end is no loss.
fn evicted(missed: &Missed, layout: &Layout) -> Option<String> {
    let Missed { evicted, read, .. } = missed;
    let entries =
        if evicted.is_empty() { Vec::new() } else { read_ledger(&layout.ledger()).unwrap_or_default() };
    let mut told: Vec<_> = entries
        .iter()
        .filter_map(|entry| if let Act::FlowEvict { flows, .. } = &entry.act { Some(flows) } else { None })
        .filter(|flows| evicted.contains(&flows.name.number()))
        .collect();
    told.sort_by_key(|flows| flows.name.number());
    told.dedup_by_key(|flows| flows.name.number());
    let files = evicted.end - evicted.start;
    let known = told.len() as u64 == files;
    let is_whole = |number, size| number == evicted.start && size <= *read;
    told.retain(|flows| !is_whole(flows.name.number(), flows.size));
    if files == 0 || (known && told.is_empty()) {
        return None;
    }
    let files = if known { told.len() as u64 } else { files };
    let records = count(told.iter().map(|flows| flows.records).sum());
    let records = match (known, *read > 0) {
        (true, false) => format!("{records} records"),
        (true, true) => format!("at most {records} records"),
        (false, _) => "an unknown number of records".to_owned(),
    };
    Some(format!("{} evicted before they were told, with {records}", counted(files, "flow file")))
}

/// A line for people: columns of fixed width, for nobody knows what comes.
fn row(cells: [&str; 6], rest: &str) -> String {
    let [start, proto, app, sent, received, state] = cells;
    format!("{start:19}  {proto:5}  {app:8}  {sent:>8}  {received:>8}  {state:6}  {rest}")
        .trim_end()
        .to_owned()
}

fn head() -> String {
    row(["START", "PROTO", "APP", "SENT", "RECEIVED", "STATE"], "FLOW")
}

fn line(record: &FlowRecord) -> String {
    let (from, to) = (end_text(record.src_ip, record.src_port), end_text(record.dst_ip, record.dst_port));
    let app = record.app.as_deref().unwrap_or("");
    let (sent, received) = (bytes(record.orig_bytes), bytes(record.resp_bytes));
    let cells =
        [&date_time(record.start, &Here), &proto_text(record), app, &sent, &received, &state_text(record)];
    row(cells, &format!("{} {from} -> {to} {}", record.flow_id, name_of(record)))
}
