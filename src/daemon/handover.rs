//! The way from the recorder to the analyst. Never waits: what the analyst has no room for is told by where it lies, and read
//! back from the file later; so analysis that falls behind costs no packet. Only where no files are written there is nothing to
//! read back, and packets are counted as lost to analysis.
//!
//! The invariant: what is handed over describes every recorded packet once, in the order of the stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, SendError, Sender, TrySendError, bounded};

use super::health::Health;
use crate::packet::Nanos;
use crate::store::block::{Block, BlockReturn, Tally};
use crate::store::losses::Losses;
use crate::store::names::CaptureName;
use crate::store::part::Durability;
use crate::store::recorder::Piece;
use crate::sys::clock::Now;

/// What the analyst gets, in the order of the stream.
#[derive(Debug)]
pub(super) enum Work {
    /// Packets in memory, and where they lie; no pieces where no files are written.
    Block(Block, Vec<Piece>),
    /// Packets to be read back.
    Unread(Unread),
    /// Nothing more will be in that capture file.
    End(CaptureName),
    /// The clocks.
    Tick(Now),
    /// Packets lost, where no capture file can tell of them.
    Lost(Losses),
}

/// A stretch of a capture file that was not analysed when it was written.
#[derive(Debug, Clone)]
pub(super) struct Unread {
    /// The file.
    pub name: CaptureName,
    /// How much of it is on the device; `None` if it was sealed before.
    pub durability: Option<Arc<Durability>>,
    /// Offset of its first record.
    pub from: u64,
    /// Offset behind its last.
    pub to: u64,
    /// Packets in it; `None` if nobody knows.
    pub packets: Option<u64>,
}

impl Unread {
    /// Its length, bytes.
    pub(super) fn len(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }
}

/// Works that may wait in the channel beside blocks.
const SPARE: usize = 64;

/// A jump of the wall clock against the running one that must not be forgotten.
const STEP: Nanos = 1_000_000_000;

/// The recorder's end.
pub(super) struct Handover {
    works: Sender<Work>,
    /// Whether what cannot be read back waits for room, as in a replay.
    patient: bool,
    /// Blocks that the analyst holds, in the channel or in hand.
    held: Arc<AtomicUsize>,
    allowed: usize,
    waiting: VecDeque<Work>,
    growing: Option<CaptureName>,
    /// The last tick, and whether it tells of a step.
    tick: Option<(Now, bool)>,
    back: BlockReturn,
    health: Arc<Health>,
}

/// The analyst's end.
pub(super) struct Intake {
    /// What comes.
    pub works: Receiver<Work>,
    held: Arc<AtomicUsize>,
    back: BlockReturn,
}

/// Both ends, for a pool of `blocks`, of which the analyst may hold a quarter. `patient` if the recorder may wait for the analyst where
/// there is nothing to read back: in a replay.
pub(super) fn channel(
    blocks: usize,
    back: BlockReturn,
    health: Arc<Health>,
    patient: bool,
) -> (Handover, Intake) {
    let allowed = (blocks / 4).max(1);
    let (sender, works) = bounded(allowed + SPARE);
    let held = Arc::new(AtomicUsize::new(0));
    let intake = Intake { works, held: Arc::clone(&held), back: back.clone() };
    let handover = Handover {
        works: sender,
        patient,
        held,
        allowed,
        waiting: VecDeque::new(),
        growing: None,
        tick: None,
        back,
        health,
    };
    (handover, intake)
}

impl Intake {
    /// Gives a block back to the pool.
    pub(super) fn put_back(&self, block: Block) {
        self.held.fetch_sub(1, Ordering::Relaxed);
        self.back.put(block);
    }
}

impl Handover {
    /// Hands a recorded block on, or only tells where it lies.
    pub(super) fn recorded(&mut self, block: Block, pieces: Vec<Piece>) {
        if let Some(last) = pieces.last() {
            self.growing = Some(last.name);
        }
        self.flush();
        if self.has_room() && !pieces.is_empty() {
            return self.send_block(block, pieces);
        }
        for piece in pieces {
            let bytes = &block.bytes()[piece.run.clone()];
            let packets = Tally::of(bytes, &block.format()).packets;
            let (name, from) = (piece.name, piece.offset);
            let to = from + bytes.len() as u64;
            self.leave(Unread { name, durability: Some(piece.durability), from, to, packets: Some(packets) });
        }
        self.back.put(block);
    }

    /// Hands a block on that is in no file, or counts its packets as lost to analysis.
    pub(super) fn unrecorded(&mut self, block: Block) {
        self.lost(block.losses);
        if self.has_room() {
            return self.send_block(block, Vec::new());
        }
        if self.patient {
            return self.send_patiently(block);
        }
        let lost = Losses { analysis: Some(block.tally().packets), ..Losses::NONE };
        self.health.losses.add(&lost);
        self.lost(lost);
        self.back.put(block);
    }

    /// Tells of losses where no capture file does.
    pub(super) fn lost(&mut self, losses: Losses) {
        if losses == Losses::NONE {
            return;
        }
        match self.waiting.back_mut() {
            Some(Work::Lost(before)) => *before += losses,
            _ => self.waiting.push_back(Work::Lost(losses)),
        }
        self.flush();
    }

    /// Tells which file grows now; the one before has ended.
    pub(super) fn growing(&mut self, name: Option<CaptureName>) {
        if let Some(before) = self.growing.filter(|before| Some(*before) != name) {
            self.growing = name;
            self.queue(Work::End(before));
        }
    }

    /// Tells the time.
    pub(super) fn tick(&mut self, now: Now) {
        let stepped = self.tick.is_none_or(|(before, _)| steps(&before, &now));
        self.tick = Some((now, stepped));
        match self.waiting.back_mut() {
            Some(Work::Tick(before)) if !stepped => *before = now,
            _ => self.waiting.push_back(Work::Tick(now)),
        }
        self.flush();
    }

    /// Waits until all is handed over, or nobody takes it any more.
    pub(super) fn finish(mut self) {
        for work in self.waiting.drain(..) {
            if self.works.send(work).is_err() {
                break;
            }
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.is_empty() && self.held.load(Ordering::Relaxed) < self.allowed && !self.works.is_full()
    }

    fn send_block(&mut self, block: Block, pieces: Vec<Piece>) {
        self.held.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.works.try_send(Work::Block(block, pieces)) {
            // The analyst is gone; the pool must not run dry by it.
            let (TrySendError::Full(work) | TrySendError::Disconnected(work)) = error;
            self.held.fetch_sub(1, Ordering::Relaxed);
            if let Work::Block(block, _) = work {
                self.back.put(block);
            }
        }
    }

    /// Waits for room, for nothing that waits too can be lost by it.
    fn send_patiently(&mut self, block: Block) {
        for work in self.waiting.drain(..) {
            if self.works.send(work).is_err() {
                break;
            }
        }
        self.held.fetch_add(1, Ordering::Relaxed);
        if let Err(SendError(work)) = self.works.send(Work::Block(block, Vec::new())) {
            self.held.fetch_sub(1, Ordering::Relaxed);
            if let Work::Block(block, _) = work {
                let lost = Losses { analysis: Some(block.tally().packets), ..Losses::NONE };
                self.health.losses.add(&lost);
                self.back.put(block);
            }
        }
    }

    fn queue(&mut self, work: Work) {
        self.waiting.push_back(work);
        self.flush();
    }

    /// Leaves a stretch for later. One that follows on the last lengthens it, and a tick between them that tells of no step is
    /// dropped: so that what waits is bounded by files and steps, whatever the delay.
    fn leave(&mut self, unread: Unread) {
        self.health.left.add(unread.len());
        if let [.., Work::Unread(before), Work::Tick(_)] = self.waiting.make_contiguous()
            && follows(before, &unread)
            && self.tick.is_some_and(|(_, stepped)| !stepped)
        {
            self.waiting.pop_back();
        }
        match self.waiting.back_mut() {
            Some(Work::Unread(before)) if follows(before, &unread) => {
                before.to = unread.to;
                before.packets = before.packets.zip(unread.packets).map(|(before, more)| before + more);
            }
            _ => self.waiting.push_back(Work::Unread(unread)),
        }
    }

    fn flush(&mut self) {
        while let Some(work) = self.waiting.pop_front() {
            if let Err(TrySendError::Full(work) | TrySendError::Disconnected(work)) =
                self.works.try_send(work)
            {
                self.waiting.push_front(work);
                break;
            }
        }
        self.health.works.set(self.works.len() as u64);
    }
}

fn follows(before: &Unread, after: &Unread) -> bool {
    before.name == after.name && before.to == after.from
}

fn steps(before: &Now, after: &Now) -> bool {
    let ran = i64::try_from(after.up.saturating_sub(before.up).as_nanos()).unwrap_or(i64::MAX);
    (after.wall - before.wall - ran).abs() > STEP
}
