//! `tapkeep run`: the threads around a live tap port, and the main thread's own work: signals, clock steps, the state file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use tracing::{info, warn};

use super::feed;
use super::health::Health;
use super::pipeline::{Pipeline, Plan};
use super::setup::DataDirectory;
use super::state::{Activity, Disk, Queue, ServiceState, StateFile};
use crate::capture::live::{Tap, TapConfig, TapError};
use crate::store::entry::Act;
use crate::store::facts::rfc3339;
use crate::sys::clock::{Clock, Now, RealClock};
use crate::sys::signals::{Signal, Signals};
use crate::sys::wake::{Waker, wait};

/// What to run.
#[derive(Debug, Clone)]
pub struct Service {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where the state is told.
    pub runtime_dir: PathBuf,
    /// What to capture.
    pub tap: TapConfig,
    /// What to do with it.
    pub plan: Plan,
}

/// What a reload asks for: a new plan, or what is wrong with the configuration.
pub type Reload<'a> = dyn Fn() -> anyhow::Result<Plan> + 'a;

/// A jump of the wall clock against the running one that is worth a word.
const STEP_NS: i64 = 1_000_000_000;

/// Runs until a signal asks for the end. `Ok(false)` if a second one asked to leave the rest to salvage.
pub fn run(service: &Service, reload: &Reload<'_>) -> anyhow::Result<bool> {
    let mut signals = Signals::new().context("listen for signals")?;
    let (health, clock) = (Arc::new(Health::default()), Arc::new(RealClock));
    let (feeder, intake) = Pipeline::feeder(&service.plan, &health, clock);
    let source = service.tap.interface.clone();
    let locked = DataDirectory::lock(&service.data_dir)?;
    let capture = Capture::start(service.tap.clone(), feeder)?;
    let data = locked.open(source, service.plan.save);
    let data = match data {
        Ok(data) => data,
        Err(error) => {
            capture.stop();
            return capture.join().and(Err(error.into()));
        }
    };
    info!(
        "tapkeep {} records {} into {}",
        env!("CARGO_PKG_VERSION"),
        service.tap.interface.as_deref().unwrap_or("no interface"),
        data.layout.root().display()
    );
    if !service.plan.save {
        warn!("saving is off: flows, summaries and findings are kept, and no packet");
    }
    let mut pipeline =
        Pipeline::start(service.plan.clone(), &data, intake, health).context("start a thread")?;
    let mut watch = Watch::new(service, &data, &pipeline);
    let mut stopping = false;
    while !capture.is_finished() || !pipeline.is_finished() {
        // The end of a thread behind capture wakes nobody.
        let patience = if stopping { SOON } else { watch.until_due() };
        wait(Some(signals.fd()), &capture.ended, patience).context("wait for signals")?;
        for signal in signals.pending() {
            match signal {
                Signal::Reload => reload_plan(&pipeline, &data, reload),
                Signal::Stop if stopping => {
                    warn!("stopped again: what is not sealed yet is left to salvage");
                    return Ok(abandon(pipeline));
                }
                Signal::Stop => {
                    info!("stopping: writing what has arrived");
                    stopping = true;
                    end(&pipeline, &capture);
                }
            }
        }
        watch.look(&pipeline);
        if !stopping && pipeline.is_broken() {
            stopping = true;
            end(&pipeline, &capture);
        }
        if capture.is_finished() {
            stopping = true;
            pipeline.close();
        }
    }
    let sound = pipeline.join();
    capture.join()?;
    anyhow::ensure!(sound, "a thread has panicked; what it held is salvaged at the next start");
    info!("stopped");
    Ok(true)
}

/// Lets capture end, and with it all the others.
fn end(pipeline: &Pipeline, capture: &Capture) {
    pipeline.stopping();
    pipeline.health.set_activity(Activity::Stopping);
    capture.stop();
}

/// Leaves the rest to salvage. A thread that waits for a disk cannot be waited for; `false`, for it is no orderly end.
fn abandon(mut pipeline: Pipeline) -> bool {
    pipeline.abandon();
    pipeline.close();
    let until = Instant::now() + SECOND;
    while !pipeline.is_finished() && Instant::now() < until {
        std::thread::sleep(SOON);
    }
    if pipeline.is_finished() {
        pipeline.join();
    }
    false
}

fn reload_plan(pipeline: &Pipeline, data: &DataDirectory, reload: &Reload<'_>) {
    match reload() {
        Ok(plan) => {
            pipeline.change(plan, data);
            info!("the configuration is reloaded");
        }
        Err(error) => warn!("the configuration is not reloaded: {error:#}"),
    }
}

/// The capture thread.
struct Capture {
    thread: JoinHandle<Result<(), TapError>>,
    waker: Waker,
    ended: Waker,
    stop: Arc<AtomicBool>,
}

impl Capture {
    fn start(config: TapConfig, feeder: feed::Feeder) -> anyhow::Result<Self> {
        let tap = Tap::new(config.clone())?;
        let (waker, ended) = (Waker::new()?, Waker::new()?);
        let stop = Arc::new(AtomicBool::new(false));
        let (their_waker, their_end, their_stop) = (waker.clone(), ended.clone(), Arc::clone(&stop));
        let thread = Builder::new().name("capture".to_owned()).spawn(move || {
            let result = feed::capture(tap, &config, feeder, &their_waker, &their_stop);
            their_end.wake();
            result
        })?;
        Ok(Self { thread, waker, ended, stop })
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    fn join(self) -> anyhow::Result<()> {
        match self.thread.join() {
            Ok(result) => Ok(result?),
            Err(_) => anyhow::bail!("the capture thread has panicked"),
        }
    }
}

/// What the main thread does each second.
struct Watch {
    clock: Arc<dyn Clock>,
    file: Option<StateFile>,
    /// Whether the state could not be told the last time.
    silent: bool,
    state: ServiceState,
    due: Instant,
    last: Now,
    root: PathBuf,
    fs: Arc<dyn crate::sys::fs::Fs>,
}

/// How often it is done.
const SECOND: Duration = Duration::from_secs(1);

/// How often a stopping service looks whether its threads have ended.
const SOON: Duration = Duration::from_millis(20);

impl Watch {
    fn new(service: &Service, data: &DataDirectory, pipeline: &Pipeline) -> Self {
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
        let file = StateFile::claim(&service.runtime_dir, &root, up_ms(&now)).map_err(|error| {
            let dir = service.runtime_dir.display();
            warn!("tell the state in {dir}: {error}; `tapkeep status` will not find this service");
        });
        let (clock, fs) = (Arc::clone(&data.clock), Arc::clone(&data.fs));
        Self { clock, file: file.ok(), silent: false, state, due: Instant::now(), last: now, root, fs }
    }

    fn until_due(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    fn look(&mut self, pipeline: &Pipeline) {
        if Instant::now() < self.due {
            return;
        }
        self.due += SECOND;
        let now = self.clock.now();
        self.find_step(&now, pipeline);
        self.tell(&now, pipeline);
        self.last = now;
    }

    fn find_step(&self, now: &Now, pipeline: &Pipeline) {
        let ran = i64::try_from(now.up.saturating_sub(self.last.up).as_nanos()).unwrap_or(i64::MAX);
        let step = now.wall - self.last.wall - ran;
        if step.abs() > STEP_NS {
            let by_ms = step / 1_000_000;
            warn!("the wall clock has stepped by {by_ms} ms");
            pipeline.note(Act::ClockStep { by_ms });
        }
    }

    fn tell(&mut self, now: &Now, pipeline: &Pipeline) {
        let (packets, bytes) = (self.state.packets, self.state.bytes);
        let state = &mut self.state;
        pipeline.health.fill(state, up_ms(now));
        (state.updated, state.updated_up_ms) = (rfc3339(now.wall), up_ms(now));
        let ran = now.up.saturating_sub(self.last.up).as_secs_f64().max(1e-3);
        state.packet_rate = (state.packets - packets) as f64 / ran;
        state.byte_rate = (state.bytes - bytes) as f64 / ran;
        state.queue.seconds = (state.byte_rate > 0.0).then(|| state.queue.bytes as f64 / state.byte_rate);
        state.disk =
            self.fs.space(&self.root).ok().map(|space| Disk { total: space.total, free: space.free });
        let Some(file) = &mut self.file else { return };
        if let Err(error) = file.write(state) {
            if !std::mem::replace(&mut self.silent, true) {
                warn!("tell the state: {error}; trying again each second");
            }
        } else {
            self.silent = false;
        }
    }
}

fn up_ms(now: &Now) -> u64 {
    u64::try_from(now.up.as_millis()).unwrap_or(u64::MAX)
}
