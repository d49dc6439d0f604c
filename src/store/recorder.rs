//! The recorder: blocks in, capture files out. It alone appends; it decides where one file ends and the next
//! begins, and hands every sync, seal and page push to the sealer, so that nothing here waits for a device to
//! confirm anything.
//!
//! No packet is lost or doubled across a rotation: a block is split at a record boundary. After a failed
//! write the file is handed over for sealing with the whole records it holds, and the caller keeps the block
//! to try again.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use super::block::{Block, Tally};
use super::facts::{CaptureFacts, State};
use super::format::{FILE_HEADER, Format, RECORD_HEADER, records};
use super::layout::Layout;
use super::losses::Losses;
use super::names::CaptureName;
use super::part::{Durability, PartFile};
use super::sealer::Job;
use crate::sys::fs::Fs;

/// When files end and syncs begin.
#[derive(Debug, Clone, Copy)]
pub struct Rotation {
    /// The most bytes a file may have; more only where a single packet does not fit.
    pub size: u64,
    /// The longest time from a file's first packet to its end.
    pub interval: Option<Duration>,
    /// The time from one sync to the next.
    pub sync_interval: Duration,
}

/// Unsealed files there may be: the growing one and one on its way to its final name.
const MAX_UNSEALED: usize = 2;

/// Bytes after which full pages are pushed at once; fewer wait for the next look at the timers.
const PUSH_FROM: u64 = 1 << 20;

/// Page pushes that may wait for the sealer.
const MAX_PUSHES: usize = 8;

/// Jobs that may wait for the sealer: pushes, and one sync and one seal for each unsealed file.
pub const MAX_JOBS: usize = MAX_PUSHES + 2 * MAX_UNSEALED;

/// Why records could not be written now.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The file before is not sealed yet; try again when the sealer has reported.
    #[error("the sealing of earlier files has not finished")]
    Sealing,
    /// No new file can be made.
    #[error("create capture file {name}: {source}")]
    Create {
        /// Which.
        name: CaptureName,
        /// What the system said.
        source: io::Error,
    },
    /// The growing file took no more.
    #[error("write to capture file {name}: {source}")]
    Write {
        /// Which.
        name: CaptureName,
        /// What the system said.
        source: io::Error,
    },
}

/// Where a run of a block's records lies.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The file.
    pub name: CaptureName,
    /// How much of it is on the device.
    pub durability: Arc<Durability>,
    /// The offset of the first record in the file.
    pub offset: u64,
    /// The run, bytes of the block.
    pub run: Range<usize>,
}

/// What became of a block.
#[derive(Debug)]
pub struct Outcome {
    /// Bytes of the block, from its beginning, that are dealt with; less than its length only if refused.
    pub done: usize,
    /// Where they lie.
    pub pieces: Vec<Piece>,
    /// Why the rest is not dealt with.
    pub refused: Option<Refused>,
}

struct Growing {
    part: Arc<PartFile>,
    format: Format,
    tally: Tally,
    losses: Losses,
    since: Duration,
    unsynced: Option<Duration>,
    syncing: Option<(u64, Option<Duration>)>,
    next_sync: Duration,
    pushed: u64,
    synchronised: Option<bool>,
}

impl Growing {
    fn oldest_unsynced(&self) -> Option<Duration> {
        self.syncing.and_then(|(_, oldest)| oldest).or(self.unsynced)
    }
}

/// Whether a sync is still to come that makes all of the file durable.
fn is_behind(part: &PartFile) -> bool {
    part.synced() < part.written() && !part.is_doubtful()
}

/// The growing file as others may see it.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Its name.
    pub name: CaptureName,
    /// Its length, bytes.
    pub size: u64,
    /// Packets in it.
    pub packets: u64,
    /// Packets that it misses so far.
    pub losses: Losses,
    /// Whether the wall clock has been synchronised since it was begun, if that matters.
    pub synchronised: Option<bool>,
}

/// The owner of the capture files being written.
pub struct Recorder {
    fs: Arc<dyn Fs>,
    layout: Layout,
    rotation: Rotation,
    jobs: Sender<Job>,
    next_number: u64,
    growing: Option<Growing>,
    sealing: usize,
    /// Files that were handed over with bytes that are not synced, and the arrival of the oldest packet among
    /// those.
    behind: Vec<(Arc<PartFile>, Duration)>,
    losses: Losses,
    synchronised: Option<bool>,
}

impl Recorder {
    /// A recorder that gives its first file `next_number`.
    pub fn new(
        fs: Arc<dyn Fs>,
        layout: Layout,
        rotation: Rotation,
        next_number: u64,
        jobs: Sender<Job>,
    ) -> Self {
        Self {
            fs,
            layout,
            rotation,
            jobs,
            next_number,
            growing: None,
            sealing: 0,
            behind: Vec::new(),
            losses: Losses::NONE,
            synchronised: None,
        }
    }

    /// Changes when files end; the growing file is judged by the new values.
    pub fn set_rotation(&mut self, rotation: Rotation) {
        self.rotation = rotation;
    }

    /// Tells whether the wall clock is synchronised; a file is marked synchronised if it was so throughout.
    /// Packets that another clock has stamped need no telling.
    pub fn set_synchronised(&mut self, synchronised: Option<bool>) {
        self.synchronised = synchronised;
        if let (Some(growing), Some(false)) = (&mut self.growing, synchronised) {
            growing.synchronised = Some(false);
        }
    }

    /// Books losses that arrived without a block: to the growing file, else to the next.
    pub fn book(&mut self, losses: Losses) {
        match &mut self.growing {
            Some(growing) => growing.losses += losses,
            None => self.losses += losses,
        }
    }

    /// Losses that belong to no file yet.
    pub fn unbooked(&self) -> Losses {
        self.losses
    }

    /// Tells that the sealer is done with a file, one way or another.
    pub fn sealed(&mut self) {
        self.sealing = self.sealing.saturating_sub(1);
        self.behind.retain(|(part, _)| is_behind(part));
    }

    /// Whether files are on their way to their final names.
    pub fn is_sealing(&self) -> bool {
        self.sealing > 0
    }

    /// The growing file.
    pub fn progress(&self) -> Option<Progress> {
        let growing = self.growing.as_ref()?;
        Some(Progress {
            name: growing.part.name,
            size: growing.part.written(),
            packets: growing.tally.packets,
            losses: growing.losses,
            synchronised: growing.synchronised,
        })
    }

    /// Arrival, time since boot, of the oldest packet that was written and is not known to be synced. What a
    /// failed sync has put in doubt for ever does not count: the ledger tells of it.
    pub fn oldest_unsynced(&self) -> Option<Duration> {
        let behind = self.behind.iter().filter(|(part, _)| is_behind(part)).map(|(_, oldest)| *oldest);
        behind.chain(self.growing.as_ref().and_then(Growing::oldest_unsynced)).min()
    }

    /// Writes the block's records from byte `from` on, which must be a record's beginning, and books its
    /// losses to the file that gets the first of them.
    pub fn record(&mut self, block: &mut Block, from: usize, now: Duration) -> Outcome {
        let (mut done, mut pieces) = (from, Vec::new());
        while done < block.bytes().len() {
            let rest = &block.bytes()[done..];
            if let Err(refused) = self.ensure_file(block, rest, now) {
                return Outcome { done, pieces, refused: Some(refused) };
            }
            // A count belongs to one file; what nobody counted may be missing in each that gets records of the block.
            let unknown = block.losses.unknown_part();
            self.book(std::mem::replace(&mut block.losses, unknown));
            let place = self.growing.as_ref().map(|growing| Arc::clone(&growing.part));
            let offset = place.as_ref().map_or(0, |part| part.written());
            let (written, refused) = match self.append(block, &block.bytes()[done..]) {
                Ok(written) => (written, None),
                Err((written, refused)) => (written, Some(refused)),
            };
            if let Some(part) = place.filter(|_| written > 0) {
                let durability = Arc::clone(part.durability());
                pieces.push(Piece { name: part.name, durability, offset, run: done..done + written });
            }
            done += written;
            if refused.is_some() {
                return Outcome { done, pieces, refused };
            }
        }
        Outcome { done, pieces, refused: None }
    }

    /// Looks at the timers: starts a sync that is due, ends a file whose time has come or whose sync has
    /// failed.
    pub fn tick(&mut self, now: Duration) {
        self.note_synced();
        let Some(growing) = &mut self.growing else { return };
        if growing.part.is_doubtful()
            || self.rotation.interval.is_some_and(|every| now >= growing.since + every)
        {
            return self.rotate();
        }
        if now >= growing.next_sync && growing.syncing.is_none() && growing.unsynced.is_some() {
            growing.next_sync = now + self.rotation.sync_interval;
            growing.syncing = Some((growing.part.written(), growing.unsynced.take()));
            let _ = self.jobs.send(Job::Sync(Arc::clone(&growing.part)));
        }
        self.push_pages(1);
    }

    /// Has the full pages pushed to the device, if at least so many bytes were written since the last time.
    fn push_pages(&mut self, from: u64) {
        let Some(growing) = &mut self.growing else { return };
        let written = growing.part.written();
        // A push left out is no loss: the next one covers its pages too. So syncs and seals always find room.
        if written >= growing.pushed + from && self.jobs.len() < MAX_PUSHES {
            growing.pushed = written;
            let _ = self.jobs.try_send(Job::Push(Arc::clone(&growing.part)));
        }
    }

    /// Ends the growing file and hands it over for sealing.
    pub fn rotate(&mut self) {
        let Some(growing) = self.growing.take() else { return };
        let mut facts = CaptureFacts {
            size: growing.part.written(),
            losses: growing.losses,
            clock_synchronised: growing.synchronised,
            ..CaptureFacts::bare(growing.part.name, State::Sealed)
        };
        facts.set_tally(&growing.tally);
        if facts.packets == 0 {
            self.losses += growing.losses;
        }
        self.sealing += 1;
        self.behind.retain(|(part, _)| is_behind(part));
        self.behind.extend(growing.oldest_unsynced().map(|oldest| (Arc::clone(&growing.part), oldest)));
        let _ = self.jobs.send(Job::Seal(growing.part, Box::new(facts)));
    }

    fn note_synced(&mut self) {
        let Some(growing) = &mut self.growing else { return };
        if growing.syncing.is_some_and(|(upto, _)| growing.part.synced() >= upto) {
            growing.syncing = None;
        }
    }

    /// Sees to it that a file is open that takes at least the first record of `rest`.
    fn ensure_file(&mut self, block: &Block, rest: &[u8], now: Duration) -> Result<(), Refused> {
        if let Some(growing) = &self.growing {
            let ended = growing.format != block.format()
                || first_record(rest) > self.room(growing, rest)
                || growing.part.is_doubtful()
                || self.rotation.interval.is_some_and(|every| now >= growing.since + every);
            if !ended {
                return Ok(());
            }
            self.rotate();
        }
        if self.sealing >= MAX_UNSEALED {
            return Err(Refused::Sealing);
        }
        self.open(block, rest, now)
    }

    fn open(&mut self, block: &Block, rest: &[u8], now: Duration) -> Result<(), Refused> {
        let sec = records(rest).next().map_or(0, |(_, frame)| frame.sec);
        let name = CaptureName::new(self.next_number, sec);
        let part = PartFile::create(self.fs.as_ref(), &self.layout, name, &block.format());
        // Should the name be taken, then by what an earlier try has left, and the number is spent.
        if part.as_ref().err().is_none_or(|error| error.kind() == io::ErrorKind::AlreadyExists) {
            self.next_number += 1;
        }
        let part = part.map_err(|source| Refused::Create { name, source })?;
        self.growing = Some(Growing {
            part: Arc::new(part),
            format: block.format(),
            tally: Tally::default(),
            losses: std::mem::replace(&mut self.losses, Losses::NONE),
            since: now,
            unsynced: None,
            syncing: None,
            next_sync: now + self.rotation.sync_interval,
            pushed: 0,
            synchronised: self.synchronised,
        });
        Ok(())
    }

    /// Bytes that the growing file still takes. A packet larger than a file may be, which only a replay or a reload can
    /// bring, gets a file of its own: it would wait for ever otherwise.
    fn room(&self, growing: &Growing, rest: &[u8]) -> u64 {
        let written = growing.part.written();
        let room = self.rotation.size.saturating_sub(written);
        if written == FILE_HEADER as u64 { room.max(first_record(rest)) } else { room }
    }

    /// Writes as many of the records as the growing file has room for; returns how many bytes.
    fn append(&mut self, block: &Block, rest: &[u8]) -> Result<usize, (usize, Refused)> {
        let room = self.growing.as_ref().map_or(0, |growing| self.room(growing, rest));
        let Some(growing) = &mut self.growing else { return Ok(0) };
        let take = if rest.len() as u64 <= room { rest.len() } else { whole_records(rest, room as usize) };
        let piece = &rest[..take];
        let written = growing.part.append(piece, |done| whole_records(piece, done));
        let kept = written.as_ref().map_or_else(|(kept, _)| *kept, |()| take);
        growing.unsynced = growing.unsynced.or((kept > 0).then_some(block.since));
        if kept == block.bytes().len() {
            growing.tally.add(block.tally());
        } else {
            growing.tally.add(&Tally::of(&piece[..kept], &growing.format));
        }
        let Err((kept, source)) = written else {
            self.push_pages(PUSH_FROM);
            return Ok(take);
        };
        let name = growing.part.name;
        self.rotate();
        Err((kept, Refused::Write { name, source }))
    }
}

/// The length of the first record.
fn first_record(bytes: &[u8]) -> u64 {
    records(bytes).next().map_or(bytes.len(), |(_, frame)| RECORD_HEADER + frame.data.len()) as u64
}

/// The length of the longest run of whole records in the first `limit` bytes.
fn whole_records(bytes: &[u8], limit: usize) -> usize {
    let ends = records(bytes).map(|(at, frame)| at + RECORD_HEADER + frame.data.len());
    ends.take_while(|&end| end <= limit).last().unwrap_or(0)
}
