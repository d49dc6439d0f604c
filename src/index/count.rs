//! Packets of a capture file on their way into its summary.

use crate::flow::summary::{Encoded, Summariser, Summary, SummaryLimits};
use crate::packet::decode::decode;
use crate::packet::{Frame, LinkType, Precision};
use crate::store::facts::CaptureFacts;
use crate::store::layout::Layout;
use crate::store::progress::Walk;
use crate::store::range::TimeRange;
use crate::store::scan::{End, Reader, ScanError};
use crate::sys::fs::{Fs, FsFile};

/// Packets of one file on their way into its summary.
pub(super) struct Counter {
    pub(super) summariser: Summariser,
    range: TimeRange,
}

impl Counter {
    pub(super) fn new(limits: SummaryLimits, range: TimeRange) -> Self {
        Self { summariser: Summariser::new(limits), range }
    }

    #[inline]
    pub(super) fn packet(&mut self, link: LinkType, frame: &Frame<'_>, precision: Precision) {
        let at = frame.nanos(precision);
        let packet = decode(link, frame.data, frame.wire_len);
        if self.range.contains(at) {
            self.summariser.packet(&packet, at, frame.wire_len);
        } else {
            self.summariser.context(&packet, at);
        }
    }
}

/// What the packets of a range amount to that a capture file of ours holds, and why reading it ended.
///
/// # Errors
/// If the file cannot be read, or is none of ours.
pub fn summarise(
    file: &dyn FsFile,
    limits: SummaryLimits,
    range: TimeRange,
) -> Result<(Summary, End), ScanError> {
    count_beside(file, limits, range, &mut Walk::alone())
}

/// The same for somebody who waits; worth nothing if the walk was given up.
pub(super) fn count_beside(
    file: &dyn FsFile,
    limits: SummaryLimits,
    range: TimeRange,
    walk: &mut Walk<'_>,
) -> Result<(Summary, End), ScanError> {
    let mut reader = Reader::open(file)?;
    let format = reader.format();
    let mut count = Counter::new(limits, range);
    while let Some((offset, frame)) = reader.next_record()? {
        count.packet(format.link, &frame, format.precision);
        if !walk.record(|| offset) {
            break;
        }
    }
    Ok((count.summariser.summary(), reader.end()))
}

/// The summary of a finished file of the data directory as the index keeps it; `None` if the file cannot be read: a question then
/// finds out why.
pub fn summary_of(
    layout: &Layout,
    fs: &dyn Fs,
    facts: &CaptureFacts,
    limits: SummaryLimits,
) -> Option<Encoded> {
    summary_beside(layout, fs, facts, limits, &mut Walk::alone())
}

/// The same for somebody who waits; worth nothing if the walk was given up.
pub fn summary_beside(
    layout: &Layout,
    fs: &dyn Fs,
    facts: &CaptureFacts,
    limits: SummaryLimits,
    walk: &mut Walk<'_>,
) -> Option<Encoded> {
    let (file, _) = layout.open_capture(fs, facts.name).ok()?;
    let (summary, _) = count_beside(&*file, limits, TimeRange::ALL, walk).ok()?;
    Some(summary.encode(&limits))
}
