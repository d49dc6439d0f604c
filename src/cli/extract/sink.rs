//! Packets as one PCAP stream.

use std::io::{self, BufWriter, Write};

use crate::packet::{Frame, Precision};
use crate::store::format::{Format, RecordHeader};

/// A PCAP stream being written.
pub(super) struct Sink {
    out: BufWriter<Box<dyn Write>>,
    precision: Precision,
}

impl Sink {
    pub(super) fn new(out: Box<dyn Write>, format: Format) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 18, out);
        out.write_all(&format.encode())?;
        Ok(Self { out, precision: format.precision })
    }

    pub(super) fn put(&mut self, frame: &Frame<'_>, precision: Precision) -> io::Result<()> {
        let frac = i64::from(frame.frac) * precision.nanos() / self.precision.nanos();
        let frac = u32::try_from(frac).unwrap_or(u32::MAX);
        self.out.write_all(&RecordHeader::of(&Frame { frac, ..*frame }).encode())?;
        self.out.write_all(frame.data)
    }

    /// Hands on what was put so far.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
