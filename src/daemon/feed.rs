//! The capture thread: packets from a source into blocks, blocks to the recorder. Waits for nothing but packets: no disk, no
//! lock, no other thread. What it cannot place it drops and counts, and the count travels with the next block.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::health::Health;
use crate::capture::live::{Change, Outage, Tap, TapConfig, TapError};
use crate::packet::Frame;
use crate::store::block::{Block, BlockPool};
use crate::store::format::Format;
use crate::store::losses::Losses;
use crate::sys::clock::{Clock, Now};
use crate::sys::wake::Waker;

/// What travels from capture to the recorder, in order.
#[derive(Debug)]
pub enum Parcel {
    /// Packets.
    Block(Block),
    /// Packets lost, with no block to travel with.
    Lost(Losses),
    /// Packets can arrive.
    Up(Now),
    /// None can, for this reason.
    Down(Now, Outage),
}

/// Parcels without a block that may wait; more of them are held back until the recorder catches up.
pub(super) const SPARE_PARCELS: usize = 64;

/// The longest a packet stays in a part-filled block while the recorder is idle.
const HAND_ON: Duration = Duration::from_millis(500);

/// Nobody told us what the network card, the kernel and the program that recorded a capture file have lost.
const UNCOUNTED: Losses = Losses { nic: None, kernel: None, ..Losses::NONE };

/// How often the kernel's drop counters are read.
const COUNT_DROPS: Duration = Duration::from_millis(250);

/// Fills blocks and hands them on.
pub struct Feeder {
    pool: BlockPool,
    block: Option<Block>,
    /// Travels with the next block.
    lost: Losses,
    /// Not counted in `health` yet.
    fresh: Losses,
    untold: Vec<Parcel>,
    parcels: Sender<Parcel>,
    health: Arc<Health>,
    clock: Arc<dyn Clock>,
}

impl Feeder {
    /// A feeder of `parcels`, which must hold as many as the pool has blocks, and [`SPARE_PARCELS`].
    pub fn new(pool: BlockPool, parcels: Sender<Parcel>, health: Arc<Health>, clock: Arc<dyn Clock>) -> Self {
        let (lost, fresh) = (Losses::NONE, Losses::NONE);
        Self { pool, block: None, lost, fresh, untold: Vec::new(), parcels, health, clock }
    }

    /// Takes a packet, or drops and counts it.
    pub fn push(&mut self, frame: &Frame<'_>, format: Format) {
        if self.block.as_ref().is_some_and(|block| block.format() != format) {
            self.hand_on();
        }
        if !self.block.as_mut().is_some_and(|block| block.push(frame)) {
            self.hand_on();
            self.block = self.pool.take(format);
            let Some(block) = &mut self.block else {
                self.lose(Losses { queue: Some(1), ..Losses::NONE });
                return;
            };
            block.since = self.clock.now().up;
            let _ = block.push(frame);
        }
    }

    /// Takes a packet of a capture file, waiting for a block if all are in use; `false` if the recorder is gone.
    pub fn push_patiently(&mut self, frame: &Frame<'_>, format: Format) -> bool {
        if self.block.as_mut().is_some_and(|block| block.format() == format && block.push(frame)) {
            return true;
        }
        self.hand_on();
        let Some(mut block) = self.pool.wait(format) else { return false };
        self.lost += UNCOUNTED;
        block.since = self.clock.now().up;
        let taken = block.push(frame);
        self.block = Some(block);
        taken
    }

    /// Adds losses to be told with the next block.
    pub fn lose(&mut self, losses: Losses) {
        self.fresh += losses;
    }

    /// Counts what was lost, whether or not a block comes to tell the recorder.
    fn count_losses(&mut self) {
        let fresh = std::mem::replace(&mut self.fresh, Losses::NONE);
        self.health.losses.add(&fresh);
        self.lost += fresh;
    }

    /// Hands the block on as it is.
    pub fn hand_on(&mut self) {
        let Some(mut block) = self.block.take() else { return };
        self.count_losses();
        block.losses = std::mem::replace(&mut self.lost, Losses::NONE);
        self.health.packets.add(block.tally().packets);
        self.health.bytes.add(block.tally().wire_bytes);
        let packets = block.tally().packets;
        // The channel has a place for every block; it fails only when the recorder is gone.
        if self.parcels.try_send(Parcel::Block(block)).is_err() {
            self.health.losses.add(&Losses { queue: Some(packets), ..Losses::NONE });
        }
        self.health.waiting.set(self.parcels.len() as u64);
    }

    /// Hands on what would otherwise wait although the recorder is idle, and losses that no block came for.
    fn hand_on_if_idle(&mut self) {
        self.tell_untold();
        self.count_losses();
        self.health.waiting.set(self.parcels.len() as u64);
        if !self.parcels.is_empty() {
            return;
        }
        self.hand_on();
        if self.lost != Losses::NONE {
            let lost = std::mem::replace(&mut self.lost, Losses::NONE);
            let _ = self.parcels.try_send(Parcel::Lost(lost));
        }
    }

    /// Hands all on, and lets the recorder know that there is no more.
    pub fn finish(mut self) {
        self.hand_on();
        self.count_losses();
        for change in self.untold.drain(..) {
            let _ = self.parcels.send(change);
        }
        if self.lost != Losses::NONE {
            let _ = self.parcels.send(Parcel::Lost(self.lost));
        }
    }

    /// Tells of the port going up or down. While the recorder lags behind, only the first change and the last are kept.
    fn tell(&mut self, change: Parcel) {
        self.hand_on();
        self.untold.truncate(1);
        self.untold.push(change);
        self.tell_untold();
    }

    fn tell_untold(&mut self) {
        if self.parcels.len() < SPARE_PARCELS {
            for change in self.untold.drain(..) {
                let _ = self.parcels.try_send(change);
            }
        }
    }
}

/// Captures until `stop` is set and the waker called.
pub(super) fn capture(
    mut tap: Tap,
    config: &TapConfig,
    mut feeder: Feeder,
    waker: &Waker,
    stop: &AtomicBool,
) -> Result<(), TapError> {
    let (snaplen, precision) = (config.snaplen, config.precision);
    let (mut drops_due, mut hand_on_due) = (Instant::now() + COUNT_DROPS, Instant::now() + HAND_ON);
    let mut ended = Ok(());
    while !stop.load(Ordering::Relaxed) {
        feeder.health.turns.capture.add(1);
        let timeout = drops_due.min(hand_on_due).saturating_duration_since(Instant::now());
        let turn = tap.turn(waker, timeout, |link, frame| {
            feeder.push(&frame, Format { link, precision, snaplen });
        });
        let change = match turn {
            Ok((_, change)) => change,
            Err(error) => {
                ended = Err(error);
                break;
            }
        };
        if let Some(change) = change {
            let now = feeder.clock.now();
            feeder.tell(match change {
                Change::Up(_) => Parcel::Up(now),
                Change::Down(outage) => Parcel::Down(now, outage),
            });
        }
        let now = Instant::now();
        if now >= drops_due {
            drops_due = now + COUNT_DROPS;
            count_drops(&mut tap, &mut feeder);
        }
        if now >= hand_on_due {
            hand_on_due = now + HAND_ON;
            feeder.hand_on_if_idle();
        }
    }
    tap.drain(|link, frame| feeder.push(&frame, Format { link, precision, snaplen }));
    count_drops(&mut tap, &mut feeder);
    feeder.finish();
    ended
}

fn count_drops(tap: &mut Tap, feeder: &mut Feeder) {
    let dropped = tap.dropped();
    feeder.lose(Losses { kernel: Some(dropped.kernel), nic: dropped.nic, ..Losses::NONE });
}
