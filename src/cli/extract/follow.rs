//! `extract --follow`: the live capture as one stream, across rotation and restart, until interrupted.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::super::output::{Exit, Output, UsageError};
use super::super::read_ledger;
use super::super::table::counted;
use super::super::terminal::is_unread;
use super::sink::Sink;
use super::{Extraction, Filter};
use crate::index::view::Viewer;
use crate::packet::LinkType;
use crate::store::follow::{FollowError, Follower, Missed};
use crate::store::format::Format;
use crate::sys::signals::stop_flag;

/// How often the growing file is looked at.
const LOOK: Duration = Duration::from_millis(250);

pub(super) fn follow(mut extraction: Extraction, expression: String, out: &mut Output) -> Result<Exit> {
    let stop = stop_flag().context("listen for signals")?;
    let mut follower = extraction.follower()?;
    let mut stream: Option<Stream> = None;
    while !stop.load(Ordering::Relaxed) && !is_unread() {
        if stream.is_none() {
            stream = follower.format().map(|format| Stream::begin(format, &expression, out)).transpose()?;
        }
        let looked = follower.poll(&extraction.fs, &extraction.layout, &mut |format, place, frame| {
            let Some(stream) = &mut stream else { return Ok(()) };
            let stamp = frame.nanos(format.precision);
            if format.link != stream.link {
                stream.strange += 1;
            } else if extraction.range.contains(stamp)
                && extraction.selection.matches(format.link, place, frame, stamp)
                && stream.filter.matches(frame)
            {
                return stream.sink.put(frame, format.precision);
            }
            Ok(())
        });
        tell(&mut follower, &extraction, out);
        match looked {
            Err(FollowError::Take(error)) => return Err(error.into()),
            looked => looked?,
        }
        if let Some(stream) = &mut stream {
            stream.tell_strange(out);
            stream.sink.flush()?;
        }
        std::thread::sleep(LOOK);
    }
    Ok(Exit::Ok)
}

/// What is written: a capture file has one link type.
struct Stream {
    link: LinkType,
    filter: Filter,
    sink: Sink,
    strange: u64,
}

impl Stream {
    /// Writes the file header, for which a reader waits.
    fn begin(format: Format, expression: &str, out: &mut Output) -> Result<Self> {
        let link = format.link;
        let filter = Filter::compile(expression, link).map_err(|error| UsageError(error.to_string()))?;
        let mut sink = Sink::new(out.take_bytes(), format)?;
        sink.flush()?;
        Ok(Self { link, filter, sink, strange: 0 })
    }

    fn tell_strange(&mut self, out: &mut Output) {
        let strange = std::mem::take(&mut self.strange);
        if strange > 0 {
            let packets = counted(strange, "packet");
            out.note(format_args!(
                "{packets} left out: their link type is not {}, with which this stream began",
                self.link.0
            ));
        }
    }
}

impl Extraction {
    /// Where to begin: with the first file that may hold packets of the range, or at the end of what is there.
    fn follower(&self) -> Result<Follower, FollowError> {
        let Self { fs, layout, range, .. } = self;
        if !range.is_bounded() {
            return Follower::at_end(fs, layout);
        }
        let ledger = || read_ledger(&layout.ledger());
        let view = Viewer { layout, fs, ledger: &ledger }.look();
        let rows = view.map(|view| view.rows).unwrap_or_default();
        let older = |last: Option<_>| last.is_some_and(|last| !range.touches(last, last));
        let first = rows.iter().filter(|row| row.evicted.is_none() && !older(row.facts.last));
        Follower::from(fs, layout, first.map(|row| row.facts.name.number()).min().unwrap_or_default())
    }

    /// How many of these files were evicted, and what was in them.
    fn evicted(&self, numbers: &Range<u64>) -> (u64, u64) {
        let Self { fs, layout, .. } = self;
        let ledger = || read_ledger(&layout.ledger());
        let rows = Viewer { layout, fs, ledger: &ledger }.look().map(|view| view.rows).unwrap_or_default();
        let evicted =
            rows.iter().filter(|row| row.evicted.is_some() && numbers.contains(&row.facts.name.number()));
        evicted.fold((0, 0), |(files, packets), row| (files + 1, packets + row.facts.packets))
    }
}

/// Says what the stream lacks.
fn tell(follower: &mut Follower, extraction: &Extraction, out: &mut Output) {
    for missed in follower.take_missed() {
        match missed {
            Missed::Gone(numbers) => {
                let (files, packets) = extraction.evicted(&numbers);
                if files > 0 {
                    let [files, packets] =
                        [(files, "file"), (packets, "packet")].map(|(n, of)| counted(n, of));
                    out.note(format_args!(
                        "the reader is too slow: {files} evicted before they were read, {packets}"
                    ));
                }
            }
            Missed::Damaged(name, end) => out.note(format_args!("{name} {}", end.as_str())),
        }
    }
}
