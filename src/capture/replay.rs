//! Capture files of any origin as a source of frames: PCAP and pcapng, plain or gzip'd, read once from front
//! to back through one buffer of half a megabyte. Whatever a file claims, memory stays there; every packet
//! before a damaged place is delivered, and the place is told.
//!
//! The parsing is our own: `pcap-file` keeps every interface of a pcapng file with all its options (memory
//! that a hostile file chooses), gives up a whole file for an odd comment or a fraction above a second, tells
//! no offsets, and takes 8 MB.
//!
//! Stamps are made to fit a PCAP record. A fraction of a second or more is carried into the seconds; what
//! lies outside of 1970 to 2106 gets the nearest stamp inside and is counted ([`Import::clamped`]); a packet
//! without a stamp (pcapng's simple packet block) gets 1970-01-01, as in libpcap. A length on the wire below
//! the captured one is raised to it.

mod input;
mod pcap;
mod pcapng;

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::packet::{Frame, LinkType, MAX_SNAPLEN, Precision};
use input::Input;

/// A packet of an imported file.
#[derive(Debug, Clone, Copy)]
pub struct Imported<'a> {
    /// The packet; its fraction is in `precision`.
    pub frame: Frame<'a>,
    /// Its link type; a pcapng file may mix them.
    pub link: LinkType,
    /// The unit of its fraction; changes at most once in a file, from micro to nano.
    pub precision: Precision,
}

/// How a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Behind a whole record.
    Clean,
    /// Within a record or its gzip stream: the file was cut, or is still growing. What was delivered is
    /// whole.
    Cut {
        /// Where the last, incomplete record begins, in bytes of the unpacked file.
        offset: u64,
    },
}

/// Why a file, or the rest of it, cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It cannot be opened.
    #[error("open {path}: {source}; check its name, and that you may read it")]
    Open {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The system refused to read on.
    #[error("read {path} on from byte {offset}: {source}; the packets before it were read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Bytes that were parsed.
        offset: u64,
        /// The reason.
        source: io::Error,
    },
    /// It is something else.
    #[error("{path} is not a capture file: it {looks}; give a pcap or pcapng file, plain or gzip'd")]
    NotACapture {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        looks: Cow<'static, str>,
    },
    /// A capture file of a kind that is not supported.
    #[error("import {path}: {what}; `editcap -F pcap` may convert it")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Which kind.
        what: String,
    },
    /// It makes no sense from some place on.
    #[error(
        "{path} is damaged at byte {offset}{}: {what}; the {packets} packets before it were read",
        if *.unpacked { " of its unpacked content" } else { "" }
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged record begins, in bytes of the unpacked file.
        offset: u64,
        /// Whether the file is gzip'd.
        unpacked: bool,
        /// What is wrong.
        what: String,
        /// Packets delivered before.
        packets: u64,
    },
}

/// What a format's reader ran into; [`Import`] adds file and place.
#[derive(Debug)]
enum Problem {
    Io(io::Error),
    Damaged(String),
    Unsupported(String),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Problem {
    fn too_long(captured: u32) -> Self {
        Self::Damaged(format!("a packet of {captured} bytes, where {MAX_SNAPLEN} is the most"))
    }

    fn cut_block(what: &str) -> Self {
        Self::Damaged(format!("{what} does not fit into its block"))
    }
}

/// What comes next in a file.
#[derive(Debug)]
enum Step {
    Record(Record),
    Clean,
    Cut,
}

/// A record that lies whole at the front of the input's window.
#[derive(Debug)]
struct Record {
    stamp: Stamp,
    wire_len: u32,
    /// The packet, from the window's start.
    data: Range<usize>,
    /// Bytes of the record.
    total: usize,
    link: LinkType,
    precision: Precision,
}

/// A stamp that fits a PCAP record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Stamp {
    sec: u32,
    frac: u32,
    clamped: bool,
}

impl Stamp {
    /// Carries a fraction of a second or more.
    #[inline]
    fn carried(sec: u32, frac: u32, precision: Precision) -> Self {
        let unit = precision.per_second();
        if frac < unit {
            return Self { sec, frac, clamped: false };
        }
        let nanos = (frac % unit) * precision.nanos() as u32;
        Self::clamped(i128::from(sec) + i128::from(frac / unit), nanos, precision)
    }

    /// The nearest stamp inside of 1970 to 2106.
    fn clamped(sec: i128, nanos: u32, precision: Precision) -> Self {
        match u32::try_from(sec) {
            Ok(sec) => Self { sec, frac: nanos / precision.nanos() as u32, clamped: false },
            Err(_) if sec < 0 => Self { sec: 0, frac: 0, clamped: true },
            Err(_) => Self { sec: u32::MAX, frac: precision.per_second() - 1, clamped: true },
        }
    }
}

/// Four bytes as a number.
#[inline]
fn word(bytes: &[u8], at: usize, big_endian: bool) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk()?;
    Some(if big_endian { u32::from_be_bytes(*four) } else { u32::from_le_bytes(*four) })
}

#[derive(Debug)]
enum Reader {
    Pcap(pcap::Reader),
    Pcapng(pcapng::Reader),
}

/// A capture file being imported.
#[derive(Debug)]
pub struct Import {
    path: PathBuf,
    input: Input,
    reader: Reader,
    total: Option<u64>,
    /// Found when the file was opened, for what it told of the packets to come.
    first: Option<Result<Step, Problem>>,
    packets: u64,
    clamped: u64,
    end: Option<End>,
    failed: bool,
}

impl Import {
    /// Opens a file or pipe and reads up to its first packet.
    ///
    /// # Errors
    /// If it cannot be opened or is no capture file. Damage, even at the first packet, is told by
    /// [`Import::next`].
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        let owned = || path.to_owned();
        let open = |source| ImportError::Open { path: owned(), source };
        let file = File::open(path).map_err(open)?;
        let meta = file.metadata().map_err(open)?;
        let not = |looks: &'static str| ImportError::NotACapture { path: owned(), looks: looks.into() };
        if meta.is_dir() {
            return Err(not("is a directory"));
        }
        let mut input = Input::new(file).map_err(open)?;
        let found = match pcap::Reader::open(&mut input) {
            Ok(Some(reader)) => Ok(Some(Reader::Pcap(reader))),
            Ok(None) => pcapng::Reader::open(&mut input).map(|reader| reader.map(Reader::Pcapng)),
            Err(problem) => Err(problem),
        };
        let mut reader = match found {
            Ok(Some(reader)) => reader,
            Ok(None) => return Err(not(looks_like(&mut input).map_err(open)?)),
            Err(Problem::Io(error)) if input.is_gzip() => {
                let looks = format!("begins like a gzip file and cannot be unpacked ({error})").into();
                return Err(ImportError::NotACapture { path: owned(), looks });
            }
            Err(Problem::Io(source)) => return Err(open(source)),
            Err(Problem::Damaged(what) | Problem::Unsupported(what)) => {
                return Err(ImportError::Unsupported { path: owned(), what });
            }
        };
        let first = Some(reader.locate(&mut input));
        Ok(Self {
            path: owned(),
            input,
            reader,
            total: meta.is_file().then_some(meta.len()),
            first,
            packets: 0,
            clamped: 0,
            end: None,
            failed: false,
        })
    }

    /// The next packet; none at the end, and see [`Import::end`] then.
    ///
    /// # Errors
    /// Once, if the file is damaged or cannot be read on; all packets before that place have been delivered,
    /// and none follow.
    #[expect(
        clippy::should_implement_trait,
        reason = "a packet borrows the buffer, so it cannot be an iterator"
    )]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Imported<'_>>, ImportError> {
        let record = match self.at_hand() {
            Some(record) => record,
            None => match self.locate()? {
                Some(record) => record,
                None => return Ok(None),
            },
        };
        self.packets += 1;
        self.clamped += u64::from(record.stamp.clamped);
        let data = &self.input.take(record.total)[record.data];
        let frame = Frame {
            sec: record.stamp.sec,
            frac: record.stamp.frac,
            wire_len: record.wire_len.max(data.len() as u32),
            data,
        };
        Ok(Some(Imported { frame, link: record.link, precision: record.precision }))
    }

    /// The next record, if it is sound and lies in memory: as most do.
    #[inline]
    fn at_hand(&self) -> Option<Record> {
        match &self.reader {
            Reader::Pcap(reader) if self.first.is_none() && !self.failed && self.end.is_none() => {
                reader.whole(self.input.window())
            }
            _ => None,
        }
    }

    /// The next record, whatever it takes to find it.
    #[inline(never)]
    fn locate(&mut self) -> Result<Option<Record>, ImportError> {
        if self.failed || self.end.is_some() {
            return Ok(None);
        }
        let step = match self.first.take() {
            Some(first) => first,
            None => self.reader.locate(&mut self.input),
        };
        let record = match step {
            Ok(Step::Record(record)) => record,
            Ok(Step::Clean) if !self.input.is_cut() => {
                self.end = Some(End::Clean);
                return Ok(None);
            }
            Ok(Step::Clean | Step::Cut) => {
                self.end = Some(End::Cut { offset: self.input.offset() });
                return Ok(None);
            }
            Err(problem) => {
                self.failed = true;
                return Err(self.error(problem));
            }
        };
        Ok(Some(record))
    }

    /// The unit of the stamps to come: micro, unless the file says nano or has shown an interface that is
    /// finer.
    pub fn precision(&self) -> Precision {
        match &self.reader {
            Reader::Pcap(reader) => reader.precision,
            Reader::Pcapng(reader) => reader.precision,
        }
    }

    /// The link types seen so far, each once; a pcapng file may show more later.
    pub fn link_types(&self) -> Vec<LinkType> {
        match &self.reader {
            Reader::Pcap(reader) => vec![reader.link],
            Reader::Pcapng(reader) => reader.links.iter().copied().map(LinkType).collect(),
        }
    }

    /// Bytes read of the file as it lies on the disk.
    pub fn position(&self) -> u64 {
        self.input.position()
    }

    /// Bytes of the file when it was opened; none for a pipe.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// How it ended; none before the end and after an error.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// What there is to say of a file that was cut within a record; none of one that was not.
    pub fn cut(&self) -> Option<String> {
        match self.end {
            Some(End::Cut { offset }) => {
                Some(format!("{}: cut within the record at byte {offset}", self.path.display()))
            }
            _ => None,
        }
    }

    /// Packets so far whose stamp lay outside of 1970 to 2106.
    pub fn clamped(&self) -> u64 {
        self.clamped
    }

    #[cold]
    fn error(&self, problem: Problem) -> ImportError {
        let (path, offset, unpacked) = (self.path.clone(), self.input.offset(), self.input.is_gzip());
        let packets = self.packets;
        match problem {
            Problem::Io(source) if unpacked && source.raw_os_error().is_none() => {
                ImportError::Damaged { path, offset, unpacked, what: format!("gzip: {source}"), packets }
            }
            Problem::Io(source) => ImportError::Read { path, offset, source },
            Problem::Damaged(what) | Problem::Unsupported(what) => {
                ImportError::Damaged { path, offset, unpacked, what, packets }
            }
        }
    }
}

impl Reader {
    #[inline]
    fn locate(&mut self, input: &mut Input) -> Result<Step, Problem> {
        match self {
            Self::Pcap(reader) => reader.locate(input),
            Self::Pcapng(reader) => reader.locate(input),
        }
    }
}

/// What a file that is no capture seems to be.
fn looks_like(input: &mut Input) -> io::Result<&'static str> {
    const MAGICS: [(&[u8], &str); 12] = [
        (b"\x28\xb5\x2f\xfd", "is compressed with zstd (unpack it first)"),
        (b"\xfd7zXZ\0", "is compressed with xz (unpack it first)"),
        (b"BZh", "is compressed with bzip2 (unpack it first)"),
        (b"\x04\x22\x4d\x18", "is compressed with lz4 (unpack it first)"),
        (b"PK\x03\x04", "is a zip archive (unpack it first)"),
        (b"7z\xbc\xaf\x27\x1c", "is a 7z archive (unpack it first)"),
        (b"\x1f\x8b", "is gzip'd twice (unpack it first)"),
        (b"snoop\0\0\0", "is a snoop capture (convert it with `editcap -F pcap`)"),
        (b"\x7fELF", "is a program"),
        (b"SQLite format 3\0", "is an SQLite database"),
        (b"\xab\x01\x1c\0", "is an IXIA capture (convert it with `editcap -F pcap`)"),
        (b"\xac\x01\x1c\0", "is an IXIA capture (convert it with `editcap -F pcap`)"),
    ];
    let head = input.peek(512)?;
    if head.is_empty() {
        return Ok("is empty");
    }
    if let Some((_, looks)) = MAGICS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Ok(looks);
    }
    if pcap::is_begun(head) {
        return Ok("is too short: it ends within the file header");
    }
    if head.iter().all(|byte| *byte == 0) {
        return Ok("begins with zeros");
    }
    let printable = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace() || *byte >= 0x80;
    if head.iter().all(printable) {
        return Ok("looks like text");
    }
    Ok(if head.len() < 4 { "is too short" } else { "has no magic number that is known" })
}

#[cfg(test)]
mod tests;
