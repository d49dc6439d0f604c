//! The threads behind the source, wired: recorder, sealer, keeper, index. The same for a live port and for a replay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, bounded};

use super::analyst::{self, AnalystLoop};
use super::events::event;
use super::feed::{Feeder, Parcel, SPARE_PARCELS};
use super::handover::{self, Handover, Unread};
use super::health::Health;
use super::index::{self, IndexLoop};
use super::keep::{self, KeepLoop, Message};
use super::outlet::Outlet;
use super::record::{self, RecordLoop, Slot};
use super::resume::{Begin, Resume};
use super::setup::DataDirectory;
use crate::detect::{self, IgnoreRule};
use crate::flow::summary::SummaryLimits;
use crate::index::writer::IndexWriter;
use crate::store::block::{BLOCK_SIZE, BlockPool, BlockReturn};
use crate::store::entry::Act;
use crate::store::flow_file;
use crate::store::format::FILE_HEADER;
use crate::store::keeper::Keeper;
use crate::store::pause::Pause;
use crate::store::recorder::{MAX_JOBS, Recorder, Rotation};
use crate::store::retention::{self, FlowLimits, Limits};
use crate::store::sealer::Sealer;
use crate::sys::clock::Clock;
use crate::sys::fs::Space;

/// Messages that may wait for a thread behind the recorder.
const BACKLOG: usize = 1024;

/// The size below which no disk makes files smaller, bytes: room for the longest packet.
const SMALLEST_FILE: u64 = (BLOCK_SIZE + FILE_HEADER) as u64;

/// How packets are analysed.
#[derive(Debug, Clone, Default)]
pub struct Analysis {
    /// Flows and detectors.
    pub stream: detect::Settings,
    /// The bounds of a capture file's summary.
    pub summary: SummaryLimits,
    /// The flow files.
    pub flow_files: flow_file::Settings,
    /// Whether floods of one-packet flows are folded.
    pub fold: bool,
}

/// What the pipeline is to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whether packets come from a live port.
    pub live: bool,
    /// Whether capture files are written.
    pub save: bool,
    /// When they end.
    pub rotation: Rotation,
    /// What retention allows; `None` evicts nothing.
    pub limits: Option<Limits>,
    /// What retention allows flow files; `None` evicts none.
    pub flow_limits: Option<FlowLimits>,
    /// Bytes of blocks between source and recorder.
    pub queue_size: u64,
    /// How packets are analysed.
    pub analysis: Analysis,
}

impl Plan {
    /// The plan with files small enough for retention to make room for them on this disk.
    fn fitting(mut self, data: &DataDirectory) -> Self {
        let (Some(limits), Ok(space)) = (self.limits, data.fs.space(data.layout.root())) else { return self };
        let disk = Limits { count: None, bytes: None, ..limits };
        // What others have taken by now they may give back.
        let whole = Space { free: space.total, ..space };
        let allowed = |limits| retention::allowance(limits, whole, 0, self.rotation.size);
        let (allowed, wanted) = (allowed(&disk), allowed(&limits));
        // Where count or bytes evict before the disk is full, or the disk may never evict, files may have any size.
        if wanted < allowed || limits.floor_percent >= 100 {
            return self;
        }
        let largest = retention::largest_rotation(&disk, allowed).max(SMALLEST_FILE);
        if self.rotation.size > largest {
            let wanted = std::mem::replace(&mut self.rotation.size, largest);
            event!(
                FILES_SMALLER,
                TAPKEEP_SIZE = largest,
                TAPKEEP_WANTED = wanted,
                "files end at {largest} bytes instead of {wanted}: larger ones leave retention no room on this disk"
            );
        }
        self
    }
}

/// The running threads behind the source.
pub struct Pipeline {
    /// What they tell.
    pub health: Arc<Health>,
    /// Blocks there are.
    pub blocks: u64,
    stop: Arc<AtomicBool>,
    abandon: Arc<AtomicBool>,
    keeper: Option<Sender<Message>>,
    rotation: Slot<Rotation>,
    ignore: Slot<Vec<IgnoreRule>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pipeline {
    /// The feeding end of a pipeline that does not run yet. Packets may come before the data directory is ready.
    pub fn feeder(plan: &Plan, health: &Arc<Health>, clock: Arc<dyn Clock>) -> (Feeder, Intake) {
        let (pool, back) = BlockPool::new(plan.queue_size);
        let blocks = pool.limit();
        let (sender, parcels) = bounded(blocks + SPARE_PARCELS);
        (Feeder::new(pool, sender, Arc::clone(health), clock), Intake { parcels, back, blocks })
    }

    /// Starts the threads.
    pub fn start(
        plan: Plan,
        data: &DataDirectory,
        intake: Intake,
        health: Arc<Health>,
    ) -> anyhow::Result<Self> {
        let plan = plan.fitting(data);
        health.index_stale.store(true, Ordering::Relaxed);
        let (stop, abandon) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (keeper_sender, messages) = bounded(BACKLOG);
        let rotation = Slot::default();
        let blocks = intake.blocks as u64;
        let mut running = Self {
            health,
            blocks,
            stop,
            abandon,
            keeper: Some(keeper_sender.clone()),
            rotation: rotation.clone(),
            ignore: Slot::default(),
            threads: Vec::new(),
        };
        let updates = running.start_index(&plan, data)?;
        let (readable, salvaged) = bounded(0);
        running.start_keeper(&plan, data, messages, updates.clone(), readable)?;
        let health = Arc::clone(&running.health);
        let (handover, works) = handover::channel(intake.blocks, intake.back.clone(), health, !plan.live);
        running.start_analyst(&plan, data, works, salvaged, keeper_sender.clone(), updates)?;
        running.start_recorder(plan, data, intake, handover, rotation, keeper_sender)?;
        Ok(running)
    }

    /// Changes when files end, what retention allows, and which findings are ignored.
    pub fn change(&self, plan: Plan, data: &DataDirectory) {
        let Plan { rotation, limits, flow_limits, analysis, .. } = plan.fitting(data);
        self.rotation.put(rotation);
        self.ignore.put(analysis.stream.ignore);
        self.tell(Message::Limits(limits, rotation.size));
        self.tell(Message::FlowLimits(flow_limits));
    }

    /// Writes an act to the ledger.
    pub fn note(&self, act: Act) {
        self.tell(Message::Note(act));
    }

    fn tell(&self, message: Message) {
        let Some(keeper) = &self.keeper else { return };
        if keeper.try_send(message).is_err() {
            let reason = "the keeper is far behind";
            event!(
                LEDGER_TROUBLE,
                TAPKEEP_REASON = reason,
                "{reason}: something was not written into the ledger, or not reloaded"
            );
        }
    }

    /// Lets the threads end once they have run dry. The source must have ended.
    pub fn close(&mut self) {
        self.keeper = None;
    }

    /// Lets what only prepares the future end early.
    pub fn stopping(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether a thread has ended, as none does before the source has.
    pub fn is_broken(&self) -> bool {
        self.keeper.is_some() && self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Whether all that arrived has been dealt with.
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Gives up what is still to be written; salvage finds it.
    pub fn abandon(&self) {
        self.abandon.store(true, Ordering::Relaxed);
    }

    /// Waits for the threads to end, which they do once the source has; `false` if one has panicked.
    pub fn join(mut self) -> bool {
        self.close();
        let mut sound = true;
        for thread in self.threads {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                event!(
                    THREAD_PANICKED,
                    TAPKEEP_THREAD = name,
                    "thread {name} has panicked; what it held is left to salvage"
                );
                sound = false;
            }
        }
        sound
    }

    fn start_index(&mut self, plan: &Plan, data: &DataDirectory) -> anyhow::Result<Sender<index::Update>> {
        let (sender, updates) = bounded(BACKLOG);
        let setup = IndexLoop {
            index: IndexWriter::new(&data.layout.index()),
            fs: Arc::clone(&data.fs),
            layout: data.layout.clone(),
            limits: plan.analysis.summary,
            health: Arc::clone(&self.health),
            stop: Arc::clone(&self.stop),
        };
        self.spawn("index", move || index::follow(setup, &updates))?;
        Ok(sender)
    }

    fn start_keeper(
        &mut self,
        plan: &Plan,
        data: &DataDirectory,
        messages: Receiver<Message>,
        index: Sender<index::Update>,
        readable: Sender<()>,
    ) -> anyhow::Result<()> {
        let mut keeper = Keeper::new(
            Arc::clone(&data.fs),
            data.layout.clone(),
            data.ledger.clone(),
            Arc::clone(&data.clock),
            &data.entries,
            plan.limits,
            plan.rotation.size,
        )
        .with_context(|| format!("look through {}", data.layout.root().display()))?;
        keeper.set_flow_limits(plan.flow_limits);
        let (health, stop) = (Arc::clone(&self.health), Arc::clone(&self.stop));
        let now = Instant::now();
        let saves = plan.save;
        // Packets that are replayed are of another time.
        let pause = plan.live.then(|| Pause::before(&data.entries, data.since)).flatten();
        let keeping = KeepLoop {
            keeper,
            index,
            health,
            stop,
            saves,
            behind: false,
            caught_up: now,
            salvaged: now,
            pause,
            trouble: None,
            readable: Some(readable),
        };
        self.spawn("keeper", move || keep::keep(keeping, &messages))
    }

    fn start_analyst(
        &mut self,
        plan: &Plan,
        data: &DataDirectory,
        intake: handover::Intake,
        salvaged: Receiver<()>,
        keeper: Sender<Message>,
        index: Sender<index::Update>,
    ) -> anyhow::Result<()> {
        let resume = Resume {
            fs: Arc::clone(&data.fs),
            layout: data.layout.clone(),
            ledger: data.ledger.clone(),
            clock: Arc::clone(&data.clock),
            entries: data.entries.clone(),
            next_number: data.next_number,
        };
        let (fs, layout, next_number) = (Arc::clone(&data.fs), data.layout.clone(), data.next_number);
        let (analysis, saves) = (plan.analysis.clone(), plan.save);
        let (health, abandon) = (Arc::clone(&self.health), Arc::clone(&self.abandon));
        let stop = Arc::clone(&self.stop);
        let ignore = self.ignore.clone();
        self.spawn("analyst", move || {
            if !analyst::wait_for_salvage(&salvaged, &abandon) {
                return;
            }
            let Begin { writer, stream, left } = match resume.begin(&analysis) {
                Ok(begin) => begin,
                Err(error) => {
                    event!(
                        ANALYSIS_OFF,
                        TAPKEEP_REASON = %error,
                        "{error}; packets are recorded, and not analysed until the next start"
                    );
                    return analyst::pass_by(&intake);
                }
            };
            health.left.add(left.iter().map(Unread::len).sum());
            let (limits, fold) = (analysis.summary, analysis.fold);
            analyst::analyse(AnalystLoop {
                intake,
                fs,
                layout,
                left,
                outlet: Outlet::new(
                    writer,
                    (saves, fold),
                    keeper.clone(),
                    Arc::clone(&health),
                    Arc::clone(&abandon),
                ),
                stream,
                limits,
                saves,
                ignore,
                next_number,
                keeper,
                index,
                health,
                stop,
                abandon,
            });
        })
    }

    fn start_recorder(
        &mut self,
        plan: Plan,
        data: &DataDirectory,
        intake: Intake,
        analyst: Handover,
        rotation: Slot<Rotation>,
        keeper: Sender<Message>,
    ) -> anyhow::Result<()> {
        let (jobs, jobs_to_do) = bounded(MAX_JOBS);
        let (done, sealed) = bounded(MAX_JOBS);
        let recorder = plan.save.then(|| {
            let (fs, layout) = (Arc::clone(&data.fs), data.layout.clone());
            Recorder::new(fs, layout, plan.rotation, data.next_number, jobs)
        });
        let setup = RecordLoop {
            recorder,
            blocks: intake.blocks,
            analyst,
            keeper: keeper.clone(),
            health: Arc::clone(&self.health),
            clock: Arc::clone(&data.clock),
            live: plan.live,
            interface: data.source.clone(),
            stop: Arc::clone(&self.stop),
            abandon: Arc::clone(&self.abandon),
            rotation,
            rotation_size: plan.rotation.size,
        };
        if plan.save {
            let sealer = Sealer::new(Arc::clone(&data.fs), data.layout.clone(), data.ledger.clone());
            let abandon = Arc::clone(&self.abandon);
            self.spawn("sealer", move || record::seal(sealer, &jobs_to_do, &done, &keeper, &abandon))?;
        }
        self.spawn("recorder", move || record::record(setup, &intake.parcels, &sealed))
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
        let thread = Builder::new().name(name.to_owned()).spawn(work);
        self.threads.push(thread.with_context(|| format!("start the {name} thread"))?);
        Ok(())
    }
}

/// The receiving end for a feeder's parcels.
pub struct Intake {
    parcels: Receiver<Parcel>,
    back: BlockReturn,
    blocks: usize,
}
