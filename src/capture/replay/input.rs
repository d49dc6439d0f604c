//! The bytes of an imported file, unpacked, through one buffer of fixed size: whatever a file says of its own
//! lengths, nothing grows. Knows gzip, no capture format.

use std::fs::File;
use std::io::{self, Chain, Cursor, ErrorKind, Read};

use flate2::read::MultiGzDecoder;

/// Bytes that can be looked at in one piece: the longest packet with room for the options of its block.
pub(super) const BUFFER: usize = 512 * 1024;

/// Bytes that are read at a time: what lies in a processor's own cache when it is looked at, and not much of which waits before
/// the rest of it is moved.
const READ: usize = 128 * 1024;

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A file's bytes after unpacking, with a window that moves forward only.
#[derive(Debug)]
pub(super) struct Input {
    reader: Reader,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    offset: u64,
    ended: bool,
    cut: bool,
}

#[derive(Debug)]
enum Reader {
    Plain(Counted),
    Gzip(Box<MultiGzDecoder<Counted>>),
}

/// The file's own bytes, counted.
#[derive(Debug)]
struct Counted {
    inner: Chain<Cursor<Vec<u8>>, File>,
    count: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count += read as u64;
        Ok(read)
    }
}

impl Input {
    /// Starts at the beginning of a file or pipe.
    pub(super) fn new(mut file: File) -> io::Result<Self> {
        let mut head = Vec::new();
        file.by_ref().take(GZIP.len() as u64).read_to_end(&mut head)?;
        let packed = head == GZIP;
        let counted = Counted { inner: Cursor::new(head).chain(file), count: 0 };
        let reader = if packed {
            Reader::Gzip(Box::new(MultiGzDecoder::new(counted)))
        } else {
            Reader::Plain(counted)
        };
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Ok(Self { reader, buffer, start: 0, end: 0, offset: 0, ended: false, cut: false })
    }

    /// Whether the file is gzip'd.
    pub(super) fn is_gzip(&self) -> bool {
        matches!(self.reader, Reader::Gzip(_))
    }

    /// Whether the gzip stream ended before its end mark; known once the end is reached.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Bytes read of the file as it lies on the disk.
    pub(super) fn position(&self) -> u64 {
        match &self.reader {
            Reader::Plain(counted) => counted.count,
            Reader::Gzip(decoder) => decoder.get_ref().count,
        }
    }

    /// Unpacked bytes before the window.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The window: at least `len` bytes, at most [`BUFFER`], unless the input ends before.
    #[inline]
    pub(super) fn peek(&mut self, len: usize) -> io::Result<&[u8]> {
        if self.end - self.start < len {
            self.fill(len)?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// The window as it is, be it empty.
    #[inline]
    pub(super) fn window(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Moves the window past `len` bytes of it and hands them out.
    #[inline]
    pub(super) fn take(&mut self, len: usize) -> &[u8] {
        let from = self.start;
        self.start = self.end.min(from.saturating_add(len));
        self.offset += (self.start - from) as u64;
        &self.buffer[from..self.start]
    }

    /// Moves the window past `len` bytes; whether there were as many.
    pub(super) fn skip(&mut self, len: u64) -> io::Result<bool> {
        let mut left = len;
        while left > 0 {
            let step = self.peek(1)?.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if step == 0 {
                return Ok(false);
            }
            self.take(step);
            left -= step as u64;
        }
        Ok(true)
    }

    #[cold]
    fn fill(&mut self, len: usize) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        while self.end < len.min(BUFFER) && !self.ended {
            let until = BUFFER.min(self.end + READ);
            let space = &mut self.buffer[self.end..until];
            let read = match &mut self.reader {
                Reader::Plain(reader) => reader.read(space),
                Reader::Gzip(reader) => reader.read(space),
            };
            match read {
                Ok(0) => self.ended = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof && self.is_gzip() => {
                    (self.ended, self.cut) = (true, true);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
