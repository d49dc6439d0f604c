//! Blocks: buffers of whole PCAP records exactly as they will lie in the file, and the pool they come from.
//!
//! A packet is copied once, into a block; nothing on the way to the disk copies it again. The pool is fixed in bytes and
//! reused last-in-first-out, so that on a busy link the same few blocks stay in cache. Blocks come back over a channel and
//! are stacked by the one thread that fills them, which therefore never waits for a lock.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::format::{Format, RECORD_HEADER, RecordHeader, records};
use super::losses::Losses;
use crate::packet::{Frame, MAX_SNAPLEN, Nanos};

/// Bytes of records that a block holds: 256 KiB and one record header, so that the longest packet fits.
pub const BLOCK_SIZE: usize = MAX_SNAPLEN as usize + RECORD_HEADER;

/// What a run of packets amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Bytes on the wire.
    pub wire_bytes: u64,
    /// Earliest and latest stamp; they need not be the first and the last packet's.
    pub range: Option<(Nanos, Nanos)>,
}

impl Tally {
    /// Counts one packet.
    #[inline]
    pub fn count(&mut self, stamp: Nanos, wire_len: u32) {
        self.packets += 1;
        self.wire_bytes += u64::from(wire_len);
        self.range = Some(match self.range {
            None => (stamp, stamp),
            Some((from, to)) => (from.min(stamp), to.max(stamp)),
        });
    }

    /// Adds another run.
    pub fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.wire_bytes += other.wire_bytes;
        self.range = match (self.range, other.range) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
    }

    /// The tally of a run of whole records.
    pub fn of(bytes: &[u8], format: &Format) -> Self {
        let mut tally = Self::default();
        for (_, frame) in records(bytes) {
            tally.count(frame.nanos(format.precision), frame.wire_len);
        }
        tally
    }
}

/// A buffer of whole records of one format, and the losses counted since the block before it.
#[derive(Debug)]
pub struct Block {
    buf: Vec<u8>,
    format: Format,
    tally: Tally,
    /// Packets lost since the block before, up to the end of this one.
    pub losses: Losses,
    /// When its first packet was put in, time since boot.
    pub since: Duration,
}

impl Block {
    fn new(format: Format) -> Self {
        Self {
            buf: Vec::with_capacity(BLOCK_SIZE),
            format,
            tally: Tally::default(),
            losses: Losses::NONE,
            since: Duration::ZERO,
        }
    }

    fn emptied(mut self, format: Format) -> Self {
        self.buf.clear();
        self.format = format;
        self.tally = Tally::default();
        self.losses = Losses::NONE;
        self
    }

    /// Appends a packet; `false` if it does not fit, and then nothing has changed.
    #[inline]
    #[must_use]
    pub fn push(&mut self, frame: &Frame<'_>) -> bool {
        if RECORD_HEADER + frame.data.len() > BLOCK_SIZE - self.buf.len() {
            return false;
        }
        self.buf.extend_from_slice(&RecordHeader::of(frame).encode());
        self.buf.extend_from_slice(frame.data);
        self.tally.count(frame.nanos(self.format.precision), frame.wire_len);
        true
    }

    /// The records.
    pub fn bytes(&self) -> &[u8] {
        &self.buf
    }

    /// The format of its packets.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What it holds.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether it holds no packet.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }
}

/// The filling end of the pool; belongs to the thread that fills blocks.
#[derive(Debug)]
pub struct BlockPool {
    free: Vec<Block>,
    made: usize,
    limit: usize,
    returned: Receiver<Block>,
}

/// The returning end of the pool; anyone may hold one.
#[derive(Debug, Clone)]
pub struct BlockReturn(Sender<Block>);

impl BlockReturn {
    /// Gives a block back.
    pub fn put(&self, block: Block) {
        // The channel holds as many as there are blocks; it fails only when the filling end is gone.
        let _ = self.0.try_send(block);
    }
}

impl BlockPool {
    /// A pool of at most `bytes`, two blocks at the least. Memory is taken when it is first needed.
    pub fn new(bytes: u64) -> (Self, BlockReturn) {
        let limit = usize::try_from(bytes / BLOCK_SIZE as u64).unwrap_or(usize::MAX).max(2);
        let (sender, returned) = crossbeam_channel::bounded(limit);
        (Self { free: Vec::new(), made: 0, limit, returned }, BlockReturn(sender))
    }

    /// Blocks that the pool may hold.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// An empty block, the last one given back first; `None` when all are in use.
    pub fn take(&mut self, format: Format) -> Option<Block> {
        self.free.extend(self.returned.try_iter());
        match self.free.pop() {
            Some(block) => Some(block.emptied(format)),
            None if self.made < self.limit => {
                self.made += 1;
                Some(Block::new(format))
            }
            None => None,
        }
    }

    /// Like [`BlockPool::take`], but waits for a block while all are in use; `None` if nobody is left to give one back.
    pub fn wait(&mut self, format: Format) -> Option<Block> {
        self.take(format).or_else(|| Some(self.returned.recv().ok()?.emptied(format)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{LinkType, Precision};

    const FORMAT: Format =
        Format { link: LinkType::ETHERNET, precision: Precision::Micro, snaplen: MAX_SNAPLEN };

    fn frame(data: &[u8]) -> Frame<'_> {
        Frame { sec: 5, frac: 6, wire_len: data.len() as u32, data }
    }

    #[test]
    fn a_block_takes_the_longest_packet_and_refuses_what_does_not_fit() {
        let (mut pool, _back) = BlockPool::new(0);
        let mut block = pool.take(FORMAT).unwrap();
        let longest = vec![0; MAX_SNAPLEN as usize];
        assert!(block.push(&frame(&longest)));
        assert!(!block.push(&frame(&[])));
        assert_eq!(block.tally().packets, 1);
        assert_eq!(block.bytes().len(), BLOCK_SIZE);
    }

    #[test]
    fn the_pool_is_bounded_and_reuses_the_last_block_first() {
        let (mut pool, back) = BlockPool::new(3 * BLOCK_SIZE as u64);
        let blocks: Vec<_> = (0..3).map(|_| pool.take(FORMAT).unwrap()).collect();
        assert!(pool.take(FORMAT).is_none());
        let last = blocks[2].buf.as_ptr();
        for mut block in blocks {
            assert!(block.push(&frame(b"x")));
            block.losses = Losses::UNKNOWN;
            back.put(block);
        }
        let reused = pool.take(FORMAT).unwrap();
        assert_eq!(reused.buf.as_ptr(), last);
        assert!(reused.is_empty() && *reused.tally() == Tally::default() && reused.losses == Losses::NONE);
    }

    #[test]
    fn a_tally_knows_its_earliest_and_latest_stamp() {
        let mut tally = Tally::default();
        for stamp in [5, 3, 9] {
            tally.count(stamp, 10);
        }
        let mut sum = Tally::default();
        sum.add(&tally);
        sum.add(&Tally::default());
        assert_eq!(sum, Tally { packets: 3, wire_bytes: 30, range: Some((3, 9)) });
    }
}
