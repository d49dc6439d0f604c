//! The recorder thread: blocks from capture into files, and the threads of those that wait for disks on its behalf.
//!
//! While the disk takes nothing, the block in hand is tried again with back-off and the queue behind it fills; only when it is
//! nearly full the block in hand is given up and counted as lost by write error, so that capture keeps a place for the newest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::events::event;
use super::feed::Parcel;
use super::handover::Handover;
use super::health::Health;
use super::keep::Message;
use super::port::Port;
use super::state::{Activity, Recording};
use crate::capture::live::Outage;
use crate::store::block::{Block, Tally};
use crate::store::entry::Act;
use crate::store::losses::Losses;
use crate::store::names::Role;
use crate::store::recorder::{Piece, Recorder, Refused, Rotation};
use crate::store::sealer::{Job, Report, Sealer};
use crate::sys::clock::{Clock, Now};

/// How often the timers are looked at when nothing arrives.
const TURN: Duration = Duration::from_millis(100);

/// How often the analyst is told the time.
const TICK: Duration = Duration::from_secs(1);

/// The shortest and the longest time between two tries to write.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// What the recorder thread works with.
pub(super) struct RecordLoop {
    /// The files; `None` passes blocks through without saving.
    pub recorder: Option<Recorder>,
    /// Blocks there are.
    pub blocks: usize,
    /// Where blocks go on to, written or not.
    pub analyst: Handover,
    /// Where gaps and losses without a file are written down.
    pub keeper: Sender<Message>,
    /// Counters.
    pub health: Arc<Health>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Whether packets come from a live port, and are stamped by this machine's clock.
    pub live: bool,
    /// The port's name.
    pub interface: Option<String>,
    /// Set when the service is to end; what the disk refuses is then tried for a while and no longer.
    pub stop: Arc<AtomicBool>,
    /// Set when the rest is to be left to salvage.
    pub abandon: Arc<AtomicBool>,
    /// New values for when files end.
    pub rotation: Slot<Rotation>,
    /// The size at which files end, as told in the state.
    pub rotation_size: u64,
}

/// A block that the disk did not take yet.
struct Stalled {
    block: Block,
    /// Where the part lies that it has taken.
    pieces: Vec<Piece>,
    from: usize,
    again: Duration,
    backoff: Duration,
    /// Whether it only waits for earlier files to be sealed: the disk is slow, and refuses nothing.
    sealing: bool,
}

struct Running {
    setup: RecordLoop,
    stalled: Option<Stalled>,
    port: Port,
    complained: bool,
    look_due: Duration,
    tick_due: Duration,
    room_asked: Duration,
    give_up_at: Option<Duration>,
}

/// A value for another thread, of which only the latest counts.
#[derive(Clone)]
pub(super) struct Slot<T>(Arc<Mutex<Option<T>>>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }
}

impl<T> Slot<T> {
    /// Puts a value in the place of what is there.
    pub(super) fn put(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    /// Takes what is there.
    pub(super) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Records until the parcels end and all files are sealed.
pub(super) fn record(setup: RecordLoop, parcels: &Receiver<Parcel>, sealed: &Receiver<()>) {
    let look_due = setup.clock.now().up;
    let port = Port::new(setup.interface.clone(), look_due);
    let mut running = Running {
        setup,
        stalled: None,
        port,
        complained: false,
        look_due,
        tick_due: look_due,
        room_asked: Duration::ZERO,
        give_up_at: None,
    };
    while running.turn(parcels, sealed) {}
    running.finish(sealed);
}

impl Running {
    /// Deals with what comes next; `false` when nothing will.
    fn turn(&mut self, parcels: &Receiver<Parcel>, sealed: &Receiver<()>) -> bool {
        self.setup.health.turns.recorder.add(1);
        if self.keeps_block(parcels.len()) {
            if self.wait_for_sealer(sealed, self.patience()) {
                self.retry();
            }
        } else {
            match parcels.recv_timeout(self.patience()) {
                Ok(parcel) => self.take(parcel),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        sealed.try_iter().for_each(|()| self.file_sealed());
        self.tick();
        if self.setup.live && parcels.is_empty() && self.stalled.is_none() {
            self.tell_time();
        }
        true
    }

    /// Whether the block in hand is kept, with so many parcels waiting behind it. On a disk that is only slow it is kept
    /// whatever waits: then capture drops, and a replay waits.
    fn keeps_block(&self, waiting: usize) -> bool {
        let place = |stalled: &Stalled| stalled.sealing || waiting < self.setup.blocks * 3 / 4;
        self.stalled.as_ref().is_some_and(place) && !self.is_over()
    }

    /// Whether a stopping service has tried long enough.
    fn is_over(&self) -> bool {
        self.setup.abandon.load(Ordering::Relaxed) || self.give_up_at.is_some_and(|at| self.now() >= at)
    }

    fn now(&self) -> Duration {
        self.setup.clock.now().up
    }

    fn patience(&self) -> Duration {
        let retry = self.stalled.as_ref().map_or(self.look_due, |stalled| stalled.again.min(self.look_due));
        retry.saturating_sub(self.now())
    }

    fn take(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Block(block) => {
                self.give_up_stalled();
                self.write(block, Vec::new(), 0, BACKOFF.0);
            }
            Parcel::Lost(losses) => self.book(losses),
            Parcel::Up(now) => self.port_up(now),
            Parcel::Down(now, outage) => self.port_down(now, outage),
        }
    }

    fn write(&mut self, mut block: Block, mut pieces: Vec<Piece>, from: usize, backoff: Duration) {
        let now = self.now();
        let Some(recorder) = &mut self.setup.recorder else {
            return self.setup.analyst.unrecorded(block);
        };
        self.setup.health.writing_since_ms.set(block.since.as_millis() as u64);
        let outcome = recorder.record(&mut block, from, now);
        pieces.extend(outcome.pieces);
        self.setup.health.written.add(count(&block, from, outcome.done));
        self.setup.health.recorded.add((outcome.done - from) as u64);
        let Some(refused) = outcome.refused else {
            if self.complained {
                event!(DISK_BACK, "the disk takes packets again");
            }
            self.complained = false;
            return self.setup.analyst.recorded(block, pieces);
        };
        self.complain(&refused);
        let again = now + backoff;
        let backoff = if outcome.done > from { BACKOFF.0 } else { (backoff * 2).min(BACKOFF.1) };
        let sealing = matches!(refused, Refused::Sealing);
        self.stalled = Some(Stalled { block, pieces, from: outcome.done, again, backoff, sealing });
    }

    /// Says once that the disk refuses, and has room made.
    fn complain(&mut self, refused: &Refused) {
        if !matches!(refused, Refused::Sealing) {
            let now = self.now();
            if now >= self.room_asked + TURN {
                self.room_asked = now;
                let _ = self.setup.keeper.try_send(Message::RoomWanted);
            }
            if !self.complained {
                event!(
                    DISK_TROUBLE,
                    TAPKEEP_REASON = %refused,
                    "{refused}; trying again, packets wait in the queue"
                );
            }
            self.complained = true;
        }
    }

    fn retry(&mut self) {
        if let Some(Stalled { block, pieces, from, backoff, .. }) = self.stalled.take() {
            self.write(block, pieces, from, backoff);
        }
    }

    /// Lets go of the block in hand, and counts what it loses.
    fn give_up_stalled(&mut self) {
        let Some(Stalled { block, pieces, from, .. }) = self.stalled.take() else { return };
        let lost = Losses::unwritten(count(&block, from, block.bytes().len()));
        self.setup.health.losses.add(&lost);
        self.book(block.losses + lost);
        self.setup.analyst.recorded(block, pieces);
    }

    fn book(&mut self, losses: Losses) {
        match &mut self.setup.recorder {
            Some(recorder) => recorder.book(losses),
            None => self.setup.analyst.lost(losses),
        }
    }

    /// Tells the analyst the time. Only when nothing waits before it: flows expire against what was seen. Packets that another
    /// clock has stamped tell the time themselves.
    fn tell_time(&mut self) {
        let now = self.setup.clock.now();
        if now.up >= self.tick_due {
            self.tick_due = now.up + TICK;
            self.setup.analyst.tick(now);
        }
    }

    fn file_sealed(&mut self) {
        if let Some(recorder) = &mut self.setup.recorder {
            recorder.sealed();
        }
    }

    fn port_up(&mut self, now: Now) {
        self.setup.health.set_activity(Activity::Capturing);
        self.port.up(now);
        self.end_gap(now);
    }

    fn port_down(&mut self, now: Now, outage: Outage) {
        self.port.down(now, &outage);
        self.setup.health.set_activity(Activity::Waiting(outage.reason));
    }

    fn end_gap(&mut self, now: Now) {
        let Some((since, reason)) = self.port.take_gap() else { return };
        let duration = now.up.saturating_sub(since.up);
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let _ =
            self.setup.keeper.send(Message::Note(Act::Gap { from: Some(since.wall), duration_ms, reason }));
    }

    fn tick(&mut self) {
        let now = self.now();
        if self.stalled.as_ref().is_some_and(|stalled| now >= stalled.again) {
            self.retry();
        }
        if now >= self.look_due {
            self.look_due = now + TURN;
            self.look(now);
        }
    }

    /// Looks at the timers and tells how far it is.
    fn look(&mut self, now: Duration) {
        self.port.look(now);
        if self.setup.stop.load(Ordering::Relaxed) {
            self.give_up_at.get_or_insert(now + DRAIN);
        }
        let synchronised = self.setup.live.then(|| self.setup.clock.synchronised());
        let Some(recorder) = &mut self.setup.recorder else { return };
        if let Some(rotation) = self.setup.rotation.take() {
            self.setup.rotation_size = rotation.size;
            recorder.set_rotation(rotation);
        }
        recorder.set_synchronised(synchronised);
        recorder.tick(now);
        let oldest = [recorder.oldest_unsynced(), self.stalled.as_ref().map(|stalled| stalled.block.since)];
        let oldest = oldest.into_iter().flatten().min().map(|since| since.as_millis() as u64);
        let recording = recorder.progress().map(|progress| Recording {
            index: progress.name.number(),
            name: progress.name.file_name(Role::Part),
            size: progress.size,
            rotation_size: self.setup.rotation_size,
            packets: progress.packets,
            losses: progress.losses,
            clock_synchronised: progress.synchronised,
        });
        self.setup.analyst.growing(recorder.progress().map(|progress| progress.name));
        self.setup.health.set_recording(recording, oldest);
        self.setup.health.writing_since_ms.set(0);
    }

    /// Writes what is left, seals, and waits for the sealer, as long as a stopping service tries.
    fn finish(mut self, sealed: &Receiver<()>) {
        let now = self.setup.clock.now();
        self.end_gap(now);
        self.give_up_at.get_or_insert(now.up + DRAIN);
        while self.keeps_block(0) {
            self.wait_for_sealer(sealed, TURN);
            self.retry();
        }
        self.give_up_stalled();
        if let Some(recorder) = &mut self.setup.recorder {
            recorder.rotate();
        }
        while self.setup.recorder.as_ref().is_some_and(Recorder::is_sealing) && !self.is_over() {
            self.wait_for_sealer(sealed, TURN);
        }
        let unbooked = self.setup.recorder.as_ref().map_or(Losses::NONE, Recorder::unbooked);
        let _ = self.setup.keeper.send(Message::Unbooked(unbooked));
        self.setup.health.set_recording(None, None);
        self.setup.analyst.growing(None);
        self.setup.analyst.finish();
    }

    /// Whether the sealer is done with a file within that time.
    fn wait_for_sealer(&mut self, sealed: &Receiver<()>, patience: Duration) -> bool {
        let done = sealed.recv_timeout(patience);
        match done {
            Ok(()) => self.file_sealed(),
            Err(RecvTimeoutError::Timeout) => {}
            // It has panicked: nothing will be sealed any more.
            Err(RecvTimeoutError::Disconnected) => self.setup.abandon.store(true, Ordering::Relaxed),
        }
        done.is_ok()
    }
}

/// How long a stopping service tries to write and seal on a disk that refuses.
const DRAIN: Duration = Duration::from_secs(30);

/// Packets in a part of a block.
fn count(block: &Block, from: usize, to: usize) -> u64 {
    if from == 0 && to == block.bytes().len() {
        return block.tally().packets;
    }
    Tally::of(&block.bytes()[from..to], &block.format()).packets
}

/// The sealer thread: does the recorder's jobs until there are no more, trying again what failed.
pub(super) fn seal(
    mut sealer: Sealer,
    jobs: &Receiver<Job>,
    done: &Sender<()>,
    keeper: &Sender<Message>,
    abandon: &AtomicBool,
) {
    let mut backoff = BACKOFF.0;
    let mut again = Instant::now();
    loop {
        let job =
            if sealer.has_delayed() { jobs.recv_deadline(again) } else { jobs.recv().map_err(Into::into) };
        match job {
            Ok(job) => sealer.handle(job).into_iter().for_each(|report| tell(report, done, keeper)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if !sealer.has_delayed() {
            backoff = BACKOFF.0;
            again = Instant::now() + backoff;
        } else if Instant::now() >= again {
            // Jobs that keep coming must not keep a delayed file from its turn. What is delayed still was told when it began.
            let news = sealer.retry().into_iter().filter(|report| !matches!(report, Report::Delayed(..)));
            news.for_each(|report| tell(report, done, keeper));
            backoff = (backoff * 2).min(BACKOFF.1);
            again = Instant::now() + backoff;
        }
        if abandon.load(Ordering::Relaxed) {
            break;
        }
    }
}

fn tell(report: Report, done: &Sender<()>, keeper: &Sender<Message>) {
    match report {
        Report::Sealed(entry) => {
            let _ = keeper.send(Message::Sealed(entry));
        }
        Report::Removed(name) => event!(EMPTY, TAPKEEP_FILE = %name, "{name} held no packet and is gone"),
        Report::Abandoned(name, error) => event!(
            SEAL_FAILED,
            TAPKEEP_FILE = %name,
            TAPKEEP_REASON = %error,
            "seal {name}: {error}; it is left as it is"
        ),
        Report::SyncFailed(name, error) => {
            return event!(
                SYNC_FAILED,
                TAPKEEP_FILE = %name,
                TAPKEEP_REASON = %error,
                "sync {name}: {error}; it is sealed with what was synced before, and a new file begun"
            );
        }
        Report::Delayed(name, error) => {
            return event!(
                SEAL_DELAYED,
                TAPKEEP_FILE = %name,
                TAPKEEP_REASON = %error,
                "seal {name}: {error}; trying again"
            );
        }
    }
    let _ = done.send(());
}
