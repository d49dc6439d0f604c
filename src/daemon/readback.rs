//! Reading back what the analyst did not get in memory: a stretch of a capture file, a slice at a time, so that the timers turn
//! in between.

use std::io;

use super::handover::Unread;
use crate::packet::Frame;
use crate::store::format::{Format, RECORD_HEADER};
use crate::store::layout::Layout;
use crate::store::scan::{Reader, ScanError};
use crate::sys::fs::{Fs, FsFile};

/// Bytes after which a slice ends.
const SLICE: u64 = 4 << 20;

/// A stretch being read.
pub(super) struct ReadBack {
    /// What is left of it.
    pub rest: Unread,
    file: Box<dyn FsFile>,
}

/// What a slice came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slice {
    /// Whether the stretch is read to its end, or to where the file ends.
    pub over: bool,
}

impl ReadBack {
    /// Opens the file under whichever name it has by now.
    pub(super) fn open(fs: &dyn Fs, layout: &Layout, unread: Unread) -> io::Result<Self> {
        let (file, _) = layout.open_capture(fs, unread.name)?;
        Ok(Self { rest: unread, file })
    }

    /// Hands the records of one slice to `take`, each with its offset.
    pub(super) fn slice(
        &mut self,
        mut take: impl FnMut(Format, u64, &Frame<'_>),
    ) -> Result<Slice, ScanError> {
        let mut reader = Reader::open(self.file.as_ref())?;
        let (format, from) = (reader.format(), self.rest.from);
        reader.seek(from);
        let mut packets = 0;
        while reader.offset() < self.rest.to {
            let Some((offset, frame)) = reader.next_record()? else {
                self.rest.packets = self.rest.packets.map(|rest| rest.saturating_sub(packets));
                return Ok(Slice { over: true });
            };
            take(format, offset, &frame);
            packets += 1;
            self.rest.from = offset + (RECORD_HEADER + frame.data.len()) as u64;
            if self.rest.from - from >= SLICE {
                break;
            }
        }
        self.rest.packets = self.rest.packets.map(|rest| rest.saturating_sub(packets));
        Ok(Slice { over: self.rest.from >= self.rest.to })
    }
}
