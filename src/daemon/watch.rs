//! What the main thread does each second: the clocks, the state file, the threads' signs of life, the service manager.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::events::bounds::Bounds;
use super::events::{event, tell_left_out};
use super::health::Health;
use super::hour::{Counts, History};
use super::losses::LossWatch;
use super::metrics::MetricsFile;
use super::notifier::Notifier;
use super::pipeline::Pipeline;
use super::recent::Step;
use super::service::{Describe, Service};
use super::setup::DataDirectory;
use super::state::{Activity, Disk, Queue, ServiceState, StateFile};
use super::watchdog::{Change, Watchdog};
use crate::store::entry::Act;
use crate::store::facts::rfc3339;
use crate::sys::clock::{Clock, Now};
use crate::sys::process::written_bytes;

/// A jump of the wall clock against the running one that is worth a word.
const STEP_NS: i64 = 1_000_000_000;

/// How often the state is told.
const SECOND: Duration = Duration::from_secs(1);

/// The main thread's watch.
pub(super) struct Watch<'a> {
    clock: Arc<dyn Clock>,
    file: Option<StateFile>,
    /// Whether the state could not be told the last time.
    silent: bool,
    state: ServiceState,
    history: History,
    step: Step,
    losses: LossWatch,
    lines: Arc<Bounds>,
    metrics: Option<MetricsFile>,
    due: Instant,
    last: Now,
    root: PathBuf,
    fs: Arc<dyn crate::sys::fs::Fs>,
    watchdog: Watchdog,
    notifier: Notifier<'a>,
}

impl<'a> Watch<'a> {
    /// Begins to watch.
    pub(super) fn new(
        service: &Service,
        data: &DataDirectory,
        pipeline: &Pipeline,
        describe: &'a Describe<'a>,
    ) -> Self {
        let now = data.clock.now();
        let root = data.layout.root().to_owned();
        let state = ServiceState {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            data_dir: root.clone(),
            interface: service.tap.interface.clone(),
            started: rfc3339(now.wall),
            kernel_buffer: service.tap.kernel_buffer,
            queue: Queue {
                waiting: 0,
                blocks: pipeline.blocks,
                bytes: service.plan.queue_size,
                seconds: None,
            },
            ..ServiceState::default()
        };
        let file = StateFile::claim(&service.runtime_dir, &root, now.up_ms()).map_err(|error| {
            let dir = service.runtime_dir.display();
            event!(
                STATE_UNTOLD,
                TAPKEEP_REASON = %error,
                "tell the state in {dir}: {error}; `tapkeep status` will not find this service"
            );
        });
        let (clock, fs) = (Arc::clone(&data.clock), Arc::clone(&data.fs));
        let begun = Instant::now();
        let metrics = service.metrics_file.clone().and_then(|path| {
            let file = path.display().to_string();
            MetricsFile::new(path)
                .inspect_err(|error| {
                    event!(
                        METRICS_UNWRITTEN,
                        TAPKEEP_FILE = file,
                        TAPKEEP_REASON = %error,
                        "write metrics to {file}: {error}"
                    );
                })
                .ok()
        });
        Self {
            clock,
            file: file.ok(),
            silent: false,
            history: History::new(now.up_ms(), Counts { flash: written_bytes(), ..Counts::default() }),
            step: Step::new(now.up_ms()),
            losses: LossWatch::default(),
            lines: Arc::clone(&service.lines),
            metrics,
            state,
            due: begun,
            last: now,
            root,
            fs,
            watchdog: Watchdog::new(begun),
            notifier: Notifier::new(describe),
        }
    }

    /// How long nothing is to be done.
    pub(super) fn until_due(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    /// What the service manager is told.
    pub(super) fn notifier(&mut self) -> &mut Notifier<'a> {
        &mut self.notifier
    }

    /// Does what is due.
    pub(super) fn look(&mut self, pipeline: &Pipeline) {
        let now = Instant::now();
        let begins = self.notifier.is_starting() && pipeline.health.activity() != Activity::Starting;
        if now < self.due && !begins {
            return;
        }
        if now >= self.due {
            self.due += SECOND;
        }
        self.look_at_all(pipeline);
        self.notifier.look(&self.state, self.watchdog.stuck());
    }

    /// Does a reload.
    pub(super) fn reload(&self, reload: impl FnOnce()) {
        self.notifier.reload(&self.state, reload);
    }

    /// Tells what is left to tell when all threads have ended.
    pub(super) fn rest(&mut self, health: &Health) {
        self.losses.rest(health);
        tell_left_out(&self.lines.rest());
    }

    fn look_at_all(&mut self, pipeline: &Pipeline) {
        let now = self.clock.now();
        self.find_step(&now, pipeline);
        self.look_at_threads(pipeline);
        self.tell(&now, pipeline);
        self.losses.look(&pipeline.health, now.up);
        tell_left_out(&self.lines.due(Instant::now()));
        self.last = now;
    }

    /// A service that ends lets its threads end.
    fn look_at_threads(&mut self, pipeline: &Pipeline) {
        if self.notifier.is_stopping() {
            return;
        }
        for change in self.watchdog.look(Instant::now(), &pipeline.health) {
            tell_thread(change);
            if matches!(change, Change::Stuck(_)) {
                self.notifier.hurry();
            }
        }
    }

    fn find_step(&self, now: &Now, pipeline: &Pipeline) {
        let ran = i64::try_from(now.up.saturating_sub(self.last.up).as_nanos()).unwrap_or(i64::MAX);
        let step = now.wall - self.last.wall - ran;
        if step.abs() > STEP_NS {
            let by_ms = step / 1_000_000;
            event!(CLOCK_STEP, TAPKEEP_STEP_MS = by_ms, "the wall clock has stepped by {by_ms} ms");
            pipeline.note(Act::ClockStep { by_ms });
        }
    }

    fn tell(&mut self, now: &Now, pipeline: &Pipeline) {
        let (packets, bytes, lost) = (self.state.packets, self.state.bytes, self.state.losses);
        let state = &mut self.state;
        pipeline.health.fill(state, now.up_ms());
        state.still = self.watchdog.still().map(|(name, still)| (name.to_owned(), still.as_secs())).collect();
        (state.updated, state.updated_up_ms) = (rfc3339(now.wall), now.up_ms());
        state.flash = written_bytes();
        self.history.fill(state, &lost);
        let ran = now.up.saturating_sub(self.last.up).as_secs_f64().max(1e-3);
        state.packet_rate = (state.packets - packets) as f64 / ran;
        state.byte_rate = (state.bytes - bytes) as f64 / ran;
        self.step.fill(state);
        state.queue.seconds = (state.byte_rate > 0.0).then(|| state.queue.bytes as f64 / state.byte_rate);
        state.disk =
            self.fs.space(&self.root).ok().map(|space| Disk { total: space.total, free: space.free });
        if let Some(metrics) = &mut self.metrics {
            metrics.look(state);
        }
        let Some(file) = &mut self.file else { return };
        if let Err(error) = file.write(state) {
            if !std::mem::replace(&mut self.silent, true) {
                event!(
                    STATE_UNTOLD,
                    TAPKEEP_REASON = %error,
                    "tell the state: {error}; trying again each second"
                );
            }
        } else if std::mem::take(&mut self.silent) {
            event!(STATE_TOLD, "the state is told again");
        }
    }
}

fn tell_thread(change: Change) {
    let (Change::Slow(still) | Change::Stuck(still) | Change::Turns(still)) = change;
    let (thread, seconds) = (still.thread, still.still.as_secs());
    match change {
        Change::Slow(_) => {
            event!(THREAD_STALLED, TAPKEEP_THREAD = thread, TAPKEEP_SECONDS = seconds, "{still}");
        }
        Change::Stuck(_) => event!(
            THREAD_STUCK,
            TAPKEEP_THREAD = thread,
            TAPKEEP_SECONDS = seconds,
            "{still}: the watchdog is left to act"
        ),
        Change::Turns(_) => event!(
            THREAD_MOVES,
            TAPKEEP_THREAD = thread,
            TAPKEEP_SECONDS = seconds,
            "thread {thread} moves again after {seconds} s"
        ),
    }
}
