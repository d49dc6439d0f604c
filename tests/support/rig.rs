//! The store without threads: recorder, sealer and keeper on a simulated disk and clock, driven as the
//! service's threads drive them, one operation after the other, so that a run is the same each time and can
//! be stopped at any of them.
//!
//! A [`Story`] remembers what the store has promised meanwhile; [`check`] holds a disk against it.

pub mod check;
mod story;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
pub use story::Story;
use tapkeep::daemon::setup::DataDirectory;
use tapkeep::packet::{Frame, LinkType, MAX_SNAPLEN, Precision};
use tapkeep::store::block::{Block, BlockPool, BlockReturn, Tally};
use tapkeep::store::format::Format;
use tapkeep::store::hold;
use tapkeep::store::keeper::{Keeper, Kept};
use tapkeep::store::layout::Layout;
use tapkeep::store::losses::Losses;
use tapkeep::store::names::{CaptureName, Role};
use tapkeep::store::recorder::{MAX_JOBS, Recorder, Refused, Rotation};
use tapkeep::store::retention::{Limits, MinFree};
use tapkeep::store::sealer::{Job, Report, Sealer};

use super::clock::FakeClock;
use super::sim::SimFs;
use tapkeep::sys::fs::Fs;

/// Time that passes with each step: the turn of the service's recorder.
const TURN: Duration = Duration::from_millis(200);

/// Blocks that wait while the disk refuses, before the oldest is given up.
const QUEUE: usize = 3;

/// Something that happens in a run.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// A block of so many packets arrives.
    Packets(u64),
    /// The same from a port of another link type.
    Foreign(u64),
    /// Time passes.
    Wait(Duration),
    /// A person holds the newest sealed file.
    Hold,
    /// The sealer, which lags in this run, catches up.
    CatchUp,
}

/// A run.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// For messages.
    pub name: &'static str,
    /// When files end.
    pub rotation: Rotation,
    /// What retention allows.
    pub limits: Limits,
    /// Whether the sealer works only at [`Step::CatchUp`], or when a file waits for it.
    pub lagging: bool,
    /// What happens.
    pub steps: Vec<Step>,
}

impl Schedule {
    /// Files of at most `size` bytes, a sync each second, the last `count` files kept.
    pub fn new(name: &'static str, size: u64, count: Option<u64>, steps: Vec<Step>) -> Self {
        let rotation = Rotation { size, interval: None, sync_interval: Duration::from_secs(1) };
        let limits = Limits { count, bytes: None, age: None, min_free: MinFree::Bytes(0), floor_percent: 50 };
        Self { name, rotation, limits, lagging: false, steps }
    }
}

/// A block that the disk has not taken, and how far it did.
struct Stalled {
    block: Block,
    from: usize,
}

/// The running store.
pub struct Rig {
    /// The disk.
    pub fs: SimFs,
    /// The clock.
    pub clock: FakeClock,
    /// Everything sealed.
    pub keeper: Keeper,
    /// What was promised.
    pub story: Story,
    layout: Layout,
    schedule: Schedule,
    recorder: Recorder,
    jobs: Receiver<Job>,
    sealer: Sealer,
    pool: BlockPool,
    back: BlockReturn,
    stalled: Option<Stalled>,
    queue: VecDeque<Block>,
}

/// Where everything lies.
pub fn layout() -> Layout {
    Layout::new(SimFs::ROOT)
}

/// Where the captures lie.
pub fn captures() -> PathBuf {
    layout().captures()
}

/// A disk of `total` bytes with strangers' files where the captures will lie. Takes two operations.
pub fn disk(total: u64) -> SimFs {
    let fs = SimFs::new(total);
    fs.create_dir(&captures()).unwrap();
    fs.sync_dir(layout().root()).unwrap();
    for name in story::STRANGERS {
        fs.plant(captures().join(name), story::STRANGE);
    }
    fs
}

impl Rig {
    /// Starts as the service does: what a crash left is salvaged, then the catalog settled and retention
    /// looked after. Fails as the service would fail to start; its supervisor then starts it again.
    pub fn start(fs: &SimFs, clock: &FakeClock, schedule: &Schedule, story: Story) -> Result<Self, String> {
        let shared: Arc<SimFs> = Arc::new(fs.clone());
        let data = DataDirectory::begin(shared.clone(), Arc::new(clock.clone()), layout(), None, true);
        let data = data.map_err(|e| e.to_string())?;
        let keeper = Keeper::new(
            shared.clone(),
            layout(),
            data.ledger.clone(),
            Arc::new(clock.clone()),
            &data.entries,
            Some(schedule.limits),
            schedule.rotation.size,
        );
        let (sender, jobs) = crossbeam_channel::unbounded();
        let (pool, back) = BlockPool::new(64 << 20);
        let mut rig = Self {
            fs: fs.clone(),
            clock: clock.clone(),
            keeper: keeper.map_err(|e| e.to_string())?,
            story,
            layout: layout(),
            schedule: schedule.clone(),
            recorder: Recorder::new(shared.clone(), layout(), schedule.rotation, data.next_number, sender),
            jobs,
            sealer: Sealer::new(shared, layout(), data.ledger),
            pool,
            back,
            stalled: None,
            queue: VecDeque::new(),
        };
        rig.keep_what_was_left();
        Ok(rig)
    }

    fn keep_what_was_left(&mut self) {
        self.salvage_again();
        while let Some(kept) = self.keeper.reconcile() {
            self.story.heard(&kept);
        }
        self.make_room();
        self.keep_ledger_short();
    }

    /// Runs the schedule to its end, or until the world stops.
    pub fn run(&mut self) {
        for step in self.schedule.steps.clone() {
            if self.fs.has_stopped() {
                return;
            }
            self.step(step);
        }
    }

    /// Does one step and what the threads do in a turn.
    pub fn step(&mut self, step: Step) {
        match step {
            Step::Packets(count) => self.packets(count, LinkType::ETHERNET),
            Step::Foreign(count) => self.packets(count, story::FOREIGN),
            Step::Wait(time) => self.clock.advance(time),
            Step::Hold => self.hold_newest(),
            Step::CatchUp => self.do_jobs(),
        }
        self.turn();
    }

    fn packets(&mut self, count: u64, link: LinkType) {
        let format = Format { link, precision: Precision::Micro, snaplen: MAX_SNAPLEN };
        let mut block = self.pool.take(format).expect("the pool is larger than the queue");
        block.since = self.clock.now_up();
        for _ in 0..count {
            let packet = self.story.send(link);
            let frame =
                Frame { sec: packet.sec, frac: packet.frac, wire_len: packet.wire_len, data: &packet.data };
            assert!(block.push(&frame), "a step's packets fit into a block");
        }
        self.queue.push_back(block);
        if self.stalled.is_some() && self.queue.len() > QUEUE {
            self.give_up_stalled();
        }
        self.take_queued();
    }

    fn take_queued(&mut self) {
        while self.stalled.is_none()
            && let Some(block) = self.queue.pop_front()
        {
            self.write(block, 0);
        }
    }

    fn write(&mut self, mut block: Block, from: usize) {
        let outcome = self.recorder.record(&mut block, from, self.clock.now_up());
        assert!(
            self.jobs.len() <= MAX_JOBS,
            "{} jobs wait: the recorder would wait for a device",
            self.jobs.len()
        );
        match outcome.refused {
            None => self.back.put(block),
            Some(refused) => {
                self.stalled = Some(Stalled { block, from: outcome.done });
                if matches!(refused, Refused::Sealing) {
                    self.do_jobs();
                } else {
                    self.make_room();
                }
            }
        }
    }

    fn give_up_stalled(&mut self) {
        let Some(Stalled { block, from }) = self.stalled.take() else { return };
        let lost = Tally::of(&block.bytes()[from..], &block.format()).packets;
        self.story.lost += lost;
        self.recorder.book(block.losses + Losses::unwritten(lost));
        self.back.put(block);
    }

    /// What the threads do when nothing arrives.
    pub fn turn(&mut self) {
        self.clock.advance(TURN);
        if let Some(Stalled { block, from }) = self.stalled.take() {
            self.write(block, from);
        }
        self.take_queued();
        self.recorder.set_synchronised(Some(true));
        self.recorder.tick(self.clock.now_up());
        if !self.schedule.lagging {
            self.do_jobs();
        }
    }

    fn do_jobs(&mut self) {
        for report in self.sealer.retry() {
            self.reported(report);
        }
        while let Ok(job) = self.jobs.try_recv() {
            self.job(job);
        }
    }

    fn job(&mut self, job: Job) {
        let synced = match &job {
            Job::Sync(part) => Some((Arc::clone(part), self.fs.contents(part.path()).unwrap_or_default())),
            _ => None,
        };
        let report = self.sealer.handle(job);
        if let Some((part, before)) = synced.filter(|(part, _)| report.is_none() && !part.is_doubtful()) {
            self.story.synced(part.name, &before);
        }
        report.into_iter().for_each(|report| self.reported(report));
    }

    fn reported(&mut self, report: Report) {
        match report {
            Report::Sealed(entry) => {
                self.keeper.follow(&entry);
                self.recorder.sealed();
                self.story.sealed(&entry, &self.fs);
                self.make_room();
                self.keep_ledger_short();
            }
            Report::Removed(_) | Report::Abandoned(..) => self.recorder.sealed(),
            Report::SyncFailed(..) | Report::Delayed(..) => {}
        }
    }

    /// Looks after retention and markers.
    pub fn make_room(&mut self) {
        let growing = self.recorder.progress().map_or(0, |progress| progress.size);
        for kept in self.keeper.enforce(growing, true).unwrap_or_default() {
            self.story.heard(&kept);
        }
    }

    /// Tries what could not be salvaged at the start, as the service does from time to time.
    pub fn salvage_again(&mut self) {
        for part in self.keeper.parts() {
            let kept = self.keeper.salvage(&part);
            self.story.heard(&kept);
        }
    }

    fn keep_ledger_short(&mut self) {
        let _ = self.keeper.compact();
    }

    fn hold_newest(&mut self) {
        let newest = self.keeper.catalog().captures().next_back().map(|facts| facts.name);
        if let Some(name) = newest
            && hold::hold(&self.fs, &self.layout, name).is_ok()
        {
            self.story.held.insert(name);
        }
    }

    /// Packets that the recorder counts as not written, and that no file has booked.
    pub fn unbooked(&self) -> u64 {
        self.recorder.unbooked().write.unwrap_or(0)
    }

    /// Arrival of the oldest packet that is not synced.
    pub fn oldest_unsynced(&self) -> Option<Duration> {
        self.recorder.oldest_unsynced()
    }

    /// Stops as the service does: writes what waits, seals what grows.
    pub fn finish(&mut self) {
        const TRIES: usize = 50;
        for _ in 0..TRIES {
            if self.stalled.is_none() || self.fs.has_stopped() {
                break;
            }
            self.do_jobs();
            self.turn();
        }
        while self.stalled.is_some() {
            self.give_up_stalled();
            self.take_queued();
        }
        self.recorder.rotate();
        for _ in 0..TRIES {
            self.do_jobs();
            if !self.recorder.is_sealing() || self.fs.has_stopped() {
                break;
            }
        }
        self.make_room();
    }

    /// Whether files wait to be sealed.
    pub fn is_sealing(&self) -> bool {
        self.recorder.is_sealing()
    }
}

/// A marker's and a capture's file name.
pub fn path(name: CaptureName, role: Role) -> PathBuf {
    captures().join(name.file_name(role))
}

/// What the keeper did to a file that is now gone.
fn evicted(kept: &Kept) -> Option<CaptureName> {
    match kept {
        Kept::Evicted(name, ..) => Some(*name),
        _ => None,
    }
}
