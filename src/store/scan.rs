//! Reading capture files of our own making: record by record, in large reads, up to the last sound record.
//! Serves salvage, listings of the growing file, rebuilds and extraction, so that all of them agree on where
//! a file ends.

use std::io;

use super::block::Tally;
use super::format::{FILE_HEADER, Format, RECORD_HEADER, RecordHeader};
use super::progress::Walk;
use crate::packet::{Frame, MAX_SNAPLEN};
use crate::sys::fs::{FsFile, advice, read_full};

/// Bytes asked of the disk at a time; holds any record whole.
const WINDOW: usize = 1 << 20;

/// Seconds from which a stamp is absurd: 2100-01-01.
const ABSURD_SEC: u32 = 4_102_444_800;

/// The granularity in which a file system loses bytes.
const PAGE: u64 = 4096;

/// Why reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// At the end of the file, after a whole record.
    Clean,
    /// The file ends within a record, as a growing one may for a moment.
    Cut,
    /// The bytes there are no record header.
    Implausible,
    /// Zeros that were never written reach to the end, as a power cut leaves them.
    ZeroTail,
    /// In a page of zeros that was never written, although later ones were.
    LostPage,
}

impl End {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "complete",
            Self::Cut => "ended within a record",
            Self::Implausible => "ended at bytes that are no record",
            Self::ZeroTail => "ended in zeros that were never written",
            Self::LostPage => "ended in a page that was never written",
        }
    }
}

/// The file cannot be read as a capture file of ours.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The first bytes are no file header that we write.
    #[error("no capture file header: the first {FILE_HEADER} bytes are not what Tapkeep writes")]
    Header,
    /// The file ends before its header does.
    #[error("the file ends within its header")]
    Short,
    /// The disk failed.
    #[error("read at offset {offset}: {source}{}", advice(source))]
    Io {
        /// Where.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
}

/// Reads records in order. Holds one window of a megabyte.
pub struct Reader<'a> {
    file: &'a dyn FsFile,
    format: Format,
    window: Vec<u8>,
    at: usize,
    base: u64,
    end: Option<End>,
    strict: bool,
}

impl<'a> Reader<'a> {
    /// Reads the file header.
    pub fn open(file: &'a dyn FsFile) -> Result<Self, ScanError> {
        let mut header = [0; FILE_HEADER];
        let read = read_full(file, &mut header, 0).map_err(|source| ScanError::Io { offset: 0, source })?;
        if read < FILE_HEADER {
            return Err(ScanError::Short);
        }
        let format = Format::decode(&header).ok_or(ScanError::Header)?;
        Ok(Self {
            file,
            format,
            window: Vec::new(),
            at: 0,
            base: FILE_HEADER as u64,
            end: None,
            strict: false,
        })
    }

    /// Takes only records that a live port can have given, for a file that a crash left.
    fn strict(self) -> Self {
        Self { strict: true, ..self }
    }

    /// What the header says.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Offset of the next record; after the last one, the length up to which the file is sound.
    pub fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// Continues at `offset`, which must be where a record begins.
    pub fn seek(&mut self, offset: u64) {
        (self.base, self.at, self.end) = (offset, 0, None);
        self.window.clear();
    }

    /// The next record and its offset; `None` when there is no further sound one, see [`Reader::end`].
    pub fn next_record(&mut self) -> Result<Option<(u64, Frame<'_>)>, ScanError> {
        if self.end.is_some() {
            return Ok(None);
        }
        if let Err(end) = self.ready()? {
            self.end = Some(end);
            return Ok(None);
        }
        let offset = self.offset();
        let bytes = self.window.get(self.at..).unwrap_or_default();
        let Some((header, data)) =
            RecordHeader::decode(bytes).and_then(|h| Some((h, bytes.get(RECORD_HEADER..h.record_len())?)))
        else {
            return Ok(None);
        };
        self.at += header.record_len();
        Ok(Some((offset, Frame { sec: header.sec, frac: header.frac, wire_len: header.wire_len, data })))
    }

    /// Why the last call of [`Reader::next_record`] found nothing more.
    pub fn end(&self) -> End {
        self.end.unwrap_or(End::Clean)
    }

    /// Sees to it that a whole record lies at the window's place.
    fn ready(&mut self) -> Result<Result<(), End>, ScanError> {
        if !self.holds(RECORD_HEADER) {
            self.fill()?;
        }
        let rest = &self.window[self.at..];
        if rest.is_empty() {
            return Ok(Err(End::Clean));
        }
        let Some(header) = RecordHeader::decode(rest) else { return Ok(Err(End::Cut)) };
        if !plausible(&header, &self.format) || self.strict && !is_live(&header) {
            return Ok(Err(End::Implausible));
        }
        if !self.holds(header.record_len()) {
            self.fill()?;
        }
        Ok(if self.holds(header.record_len()) { Ok(()) } else { Err(End::Cut) })
    }

    fn holds(&self, len: usize) -> bool {
        self.window.len() - self.at >= len
    }

    fn fill(&mut self) -> Result<(), ScanError> {
        let kept = self.window.len() - self.at;
        self.window.copy_within(self.at.., 0);
        self.base += self.at as u64;
        self.at = 0;
        self.window.resize(WINDOW, 0);
        let offset = self.base + kept as u64;
        let read = read_full(self.file, &mut self.window[kept..], offset);
        let read = read.map_err(|source| ScanError::Io { offset, source })?;
        self.window.truncate(kept + read);
        Ok(())
    }
}

/// Whether a record header can be one that we wrote. One of zeros is none, though it would be a legal empty packet.
fn plausible(header: &RecordHeader, format: &Format) -> bool {
    header.captured <= format.snaplen.min(MAX_SNAPLEN)
        && header.wire_len >= header.captured
        && header.frac < format.precision.per_second()
        && (header.wire_len > 0 || header.sec > 0)
}

/// Whether it can be of a packet from a live port. A replay may bring empty packets, and stamps of any time.
fn is_live(header: &RecordHeader) -> bool {
    header.captured > 0 && header.sec < ABSURD_SEC
}

/// What a scan of a whole file found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// What its header says.
    pub format: Format,
    /// What its sound records amount to.
    pub tally: Tally,
    /// Where its last sound record begins; none if it has none.
    pub last: Option<u64>,
    /// Length up to which it is sound, bytes.
    pub sound: u64,
    /// Its length, bytes.
    pub len: u64,
    /// Why it ends there.
    pub end: End,
}

/// Counts a file up to its last whole, plausible record.
pub fn scan(file: &dyn FsFile) -> Result<Scan, ScanError> {
    scan_beside(file, &mut Walk::alone())
}

/// Like [`scan`] for somebody who waits. A scan that is given up ends with an error of the kind `Interrupted`.
pub fn scan_beside(file: &dyn FsFile, walk: &mut Walk<'_>) -> Result<Scan, ScanError> {
    scan_below(Reader::open(file)?, u64::MAX, walk)
}

/// Like [`scan`] for a file that a crash left: a record into which bytes reach that were never written is not
/// sound.
///
/// Such bytes are zeros to the end of the file from a page boundary on (see `lost_tail`), or a page of
/// zeros in which the records end although the file goes on: pages reach a device in any order. What cannot
/// be told from a packet that really holds zeros is a lost page within one record, which takes a packet
/// longer than a page.
pub fn scan_after_crash(file: &dyn FsFile) -> Result<Scan, ScanError> {
    let mut walk = Walk::alone();
    let found = scan_below(Reader::open(file)?.strict(), u64::MAX, &mut walk)?;
    let tail = lost_tail(file, &found)?.map(|page| (page, End::ZeroTail));
    let hole = lost_page(file, &found)?.map(|page| (page, End::LostPage));
    let Some((page, end)) = tail.into_iter().chain(hole).min_by_key(|(page, _)| *page) else {
        return Ok(found);
    };
    let kept =
        if found.sound <= page { found } else { scan_below(Reader::open(file)?.strict(), page, &mut walk)? };
    Ok(Scan { end, ..kept })
}

/// Counts the records that lie wholly below `limit`.
fn scan_below(mut reader: Reader<'_>, limit: u64, walk: &mut Walk<'_>) -> Result<Scan, ScanError> {
    let format = reader.format();
    let (mut tally, mut last, mut sound) = (Tally::default(), None, reader.offset());
    while let Some((offset, frame)) = reader.next_record()? {
        let end = offset + (RECORD_HEADER + frame.data.len()) as u64;
        if end > limit {
            break;
        }
        tally.count(frame.nanos(format.precision), frame.wire_len);
        (last, sound) = (Some(offset), end);
        if !walk.record(|| end) {
            return Err(ScanError::Io { offset, source: io::ErrorKind::Interrupted.into() });
        }
    }
    let len = reader.file.len().map_err(|source| ScanError::Io { offset: sound, source })?;
    Ok(Scan { format, tally, last, sound, len, end: reader.end() })
}

/// Where zeros begin, on a page boundary, that were never written and go on to the end of the file.
///
/// Zeros at the end count as such from the first page boundary in them, if they fill a page, start on the
/// boundary, are all that the last record holds, or go on behind the records. What remains is a last record that
/// ends in zeros of its own (padding) which happen to cross a boundary; that one is kept.
fn lost_tail(file: &dyn FsFile, found: &Scan) -> Result<Option<u64>, ScanError> {
    let start = zeros_from(file, found.len)?;
    let page = start.next_multiple_of(PAGE);
    let bare = found.last.is_some_and(|last| start <= last + RECORD_HEADER as u64);
    let lost =
        page < found.len && (found.len - page >= PAGE || start == page || bare || found.sound < found.len);
    Ok(lost.then_some(page))
}

/// The page in which the records end, if it is nothing but zeros.
fn lost_page(file: &dyn FsFile, found: &Scan) -> Result<Option<u64>, ScanError> {
    if found.sound == found.len {
        return Ok(None);
    }
    let page = found.sound / PAGE * PAGE;
    let mut bytes = [0; PAGE as usize];
    let read = read_full(file, &mut bytes, page).map_err(|source| ScanError::Io { offset: page, source })?;
    Ok(bytes[..read].iter().all(|&byte| byte == 0).then_some(page))
}

/// Where the zeros at the end of a file of `len` bytes begin.
fn zeros_from(file: &dyn FsFile, len: u64) -> Result<u64, ScanError> {
    let mut window = vec![0; WINDOW];
    let mut start = len;
    while start > 0 {
        let from = start.saturating_sub(WINDOW as u64);
        let part = &mut window[..(start - from) as usize];
        let read = read_full(file, part, from).map_err(|source| ScanError::Io { offset: from, source })?;
        if let Some(last) = part[..read].iter().rposition(|&byte| byte != 0) {
            return Ok(from + last as u64 + 1);
        }
        start = from;
    }
    Ok(start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::{LinkType, Precision};

    struct Bytes(Vec<u8>);

    impl FsFile for Bytes {
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = self.0.get(offset as usize..).unwrap_or_default();
            let n = rest.len().min(buf.len()).min(70_000);
            buf[..n].copy_from_slice(&rest[..n]);
            Ok(n)
        }
        fn start_writeback(&self, _: u64, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
        fn truncate(&self, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn reserve(&self, _: u64, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn len(&self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }
    }

    const FORMAT: Format =
        Format { link: LinkType::ETHERNET, precision: Precision::Micro, snaplen: MAX_SNAPLEN };

    /// A file of records of the given lengths, each filled with one byte, and where each record ends.
    fn file(records: &[(usize, u8)]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = FORMAT.encode().to_vec();
        let mut ends = vec![bytes.len()];
        for &(len, fill) in records {
            let data = vec![fill; len];
            let frame = Frame { sec: 1_700_000_000, frac: 1, wire_len: len as u32, data: &data };
            bytes.extend(RecordHeader::of(&frame).encode());
            bytes.extend(data);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn records() -> impl Strategy<Value = Vec<(usize, u8)>> {
        prop::collection::vec(
            (prop_oneof![8 => 1_usize..1600, 1 => 60_000_usize..262_144], any::<u8>()),
            0..40,
        )
    }

    proptest! {
        #[test]
        fn any_prefix_keeps_every_whole_record(records in records(), at in any::<prop::sample::Index>()) {
            let (bytes, ends) = file(&records);
            let cut = 24 + at.index(bytes.len() - 23);
            let found = scan(&Bytes(bytes[..cut].to_vec())).unwrap();
            let whole = ends.iter().rposition(|&end| end <= cut).unwrap();
            prop_assert_eq!(found.sound, ends[whole] as u64);
            prop_assert_eq!(found.tally.packets, whole as u64);
            prop_assert_eq!(found.end, if found.sound == cut as u64 { End::Clean } else { End::Cut });
        }

        #[test]
        fn a_tail_of_lost_pages_is_cut_and_nothing_before_it(
            records in records(), lost in 1_usize..200, at in any::<prop::sample::Index>(),
        ) {
            let (mut bytes, ends) = file(&records.iter().map(|&(len, fill)| (len, fill | 1)).collect::<Vec<_>>());
            let page = 4096 * (1 + at.index(bytes.len() / 4096 + 1));
            bytes.truncate(page);
            let real = bytes.len();
            bytes.resize(page + lost * 4096 - 1, 0);
            let found = scan_after_crash(&Bytes(bytes)).unwrap();
            let whole = ends.iter().rposition(|&end| end <= real).unwrap();
            prop_assert_eq!(found.sound, ends[whole] as u64);
            prop_assert_eq!(found.end, End::ZeroTail);
        }

        #[test]
        fn a_record_into_which_a_lost_page_reaches_is_cut(
            records in prop::collection::vec((60_usize..1600, 1_u8..), 20..40),
            at in any::<prop::sample::Index>(),
        ) {
            let (mut bytes, ends) = file(&records);
            let page = 4096 * (1 + at.index(bytes.len() / 4096));
            let end = bytes.len().min(page + 4096);
            if page < end {
                bytes[page..end].fill(0);
                let found = scan_after_crash(&Bytes(bytes)).unwrap();
                let whole = ends.iter().rposition(|&end| end <= page).unwrap();
                prop_assert_eq!(found.sound, ends[whole] as u64);
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), headed in any::<bool>()) {
            let mut all = if headed { FORMAT.encode().to_vec() } else { Vec::new() };
            all.extend(bytes);
            if let Ok(found) = scan_after_crash(&Bytes(all.clone())) {
                prop_assert!(found.sound <= all.len() as u64);
            }
        }
    }

    #[test]
    fn padding_that_crosses_a_page_is_not_taken_for_a_lost_page() {
        let (mut bytes, _) = file(&[(3990, 7), (60, 7)]);
        let pad = bytes.len() - 18;
        bytes[pad..].fill(0);
        assert!(pad < 4096 && bytes.len() > 4096);
        let found = scan_after_crash(&Bytes(bytes.clone())).unwrap();
        assert_eq!((found.sound, found.end), (bytes.len() as u64, End::Clean));
        bytes.push(0);
        let found = scan_after_crash(&Bytes(bytes)).unwrap();
        assert_eq!((found.tally.packets, found.end), (1, End::ZeroTail));
    }

    #[test]
    fn a_record_of_nothing_but_a_lost_page_is_cut() {
        let (mut bytes, ends) = file(&[(4096 - 24 - 2 * RECORD_HEADER, 7), (60, 7)]);
        bytes[4096..].fill(0);
        // The record's header ends in zeros, too.
        assert_eq!((ends[1], bytes[4095]), (4096 - RECORD_HEADER, 0));
        let found = scan_after_crash(&Bytes(bytes)).unwrap();
        assert_eq!((found.sound, found.end), (ends[1] as u64, End::ZeroTail));
    }

    #[test]
    fn a_finished_file_may_hold_what_a_replay_brought() {
        let (mut bytes, _) = file(&[(9, 9)]);
        bytes.extend(RecordHeader { sec: ABSURD_SEC, frac: 0, captured: 0, wire_len: 60 }.encode());
        let len = bytes.len() as u64;
        let found = scan(&Bytes(bytes)).unwrap();
        assert_eq!((found.sound, found.tally.packets, found.end), (len, 2, End::Clean));
    }

    #[test]
    fn implausible_headers_end_the_scan() {
        let good = RecordHeader { sec: 1, frac: 1, captured: 4, wire_len: 4 };
        for bad in [
            RecordHeader { captured: 0, ..good },
            RecordHeader { captured: MAX_SNAPLEN + 1, wire_len: u32::MAX, ..good },
            RecordHeader { wire_len: 3, ..good },
            RecordHeader { frac: 1_000_000, ..good },
            RecordHeader { sec: ABSURD_SEC, ..good },
        ] {
            let (mut bytes, _) = file(&[(9, 9)]);
            let sound = bytes.len() as u64;
            bytes.extend(bad.encode());
            bytes.extend([1; 4]);
            let found = scan_after_crash(&Bytes(bytes)).unwrap();
            assert_eq!((found.sound, found.end), (sound, End::Implausible), "{bad:?}");
        }
    }
}
