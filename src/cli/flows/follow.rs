//! `flows --follow`: records as they are written, across rotation and restart, until interrupted.

use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::Local;

use super::super::output::{Exit, Output};
use super::super::table::{bytes, counted};
use super::super::time::date_time;
use super::{Answer, FlowsArgs, end_text, name_of, proto_text, state_text};
use crate::flow::record::FlowRecord;
use crate::store::flow_file::{Follower, Kind};
use crate::store::layout::Layout;
use crate::store::range::TimeRange;
use crate::sys::fs::RealFs;
use crate::sys::signals::{Signal, Signals};
use crate::sys::wake::{Waker, wait};

/// How often the growing flow file is looked at.
const LOOK: Duration = Duration::from_millis(500);

pub(super) fn follow(args: &FlowsArgs, layout: &Layout, fs: &RealFs, out: &mut Output) -> Result<Exit> {
    let mut signals = Signals::new().context("listen for signals")?;
    let waker = Waker::new().context("listen for signals")?;
    let dir = || format!("follow the flow files in {}", layout.root().display());
    let mut follower = Follower::new(fs, layout).with_context(dir)?;
    let mut answer = Answer::new(args, TimeRange::ALL, out);
    answer.begin()?;
    if !args.json && !args.csv {
        answer.out.line(head())?;
    }
    // A head without rows, and thus a reader that has gone, is known at once.
    while answer.out.flush().map(|()| !answer.out.is_unread())? && !signals.pending().contains(&Signal::Stop)
    {
        let mut records = Vec::new();
        let looked = follower.poll(fs, layout, |_, object| {
            if object.kind == Kind::Record {
                records.extend(object.record().ok().filter(|record| args.fits(record)));
            }
        });
        for record in &records {
            if args.json || args.csv { answer.print(record)? } else { answer.out.line(line(record))? }
        }
        let overtaken = follower.take_overtaken();
        if overtaken > 0 {
            let files = counted(overtaken, "flow file");
            answer.out.note(format_args!("{files} evicted before they were read"));
        }
        looked.with_context(dir)?;
        answer.out.flush()?;
        wait(Some(signals.fd()), &waker, LOOK).context("wait for signals")?;
    }
    Ok(Exit::Ok)
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
        [&date_time(record.start, &Local), &proto_text(record), app, &sent, &received, &state_text(record)];
    row(cells, &format!("{} {from} -> {to} {}", record.flow_id, name_of(record)))
}
