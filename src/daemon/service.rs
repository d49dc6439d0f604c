//! `tapkeep run`: the threads around a live tap port, and the main thread's own work: signals, clock steps, the state file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::events::bounds::Bounds;
use super::events::event;
use super::feed;
use super::health::Health;
use super::pipeline::{Pipeline, Plan};
use super::setup::DataDirectory;
use super::state::{Activity, ServiceState};
use super::watch::Watch;
use crate::capture::live::{Tap, TapConfig, TapError};
use crate::sys::clock::RealClock;
use crate::sys::signals::{Signal, Signals};
use crate::sys::wake::{Waker, wait};

/// What to run.
#[derive(Debug, Clone)]
pub struct Service {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where the state is told.
    pub runtime_dir: PathBuf,
    /// Where metrics are written.
    pub metrics_file: Option<PathBuf>,
    /// What to capture.
    pub tap: TapConfig,
    /// What to do with it.
    pub plan: Plan,
    /// How many lines of each event are logged.
    pub lines: Arc<Bounds>,
}

/// What a reload asks for: a new plan, or what is wrong with the configuration.
pub type Reload<'a> = dyn Fn() -> anyhow::Result<Plan> + 'a;

/// How the service says in a line how it is.
pub type Describe<'a> = dyn Fn(&ServiceState) -> String + 'a;

/// How often a starting or stopping service looks whether its threads have begun or ended.
const SOON: Duration = Duration::from_millis(20);

/// How long an abandoned service waits for its threads.
const LAST: Duration = Duration::from_secs(1);

/// Runs until a signal asks for the end. `Ok(false)` if a second one asked to leave the rest to salvage.
pub fn run(service: &Service, reload: &Reload<'_>, describe: &Describe<'_>) -> anyhow::Result<bool> {
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
    tell_start(service, &data);
    let mut pipeline = Pipeline::start(service.plan.clone(), &data, intake, health)?;
    let mut watch = Watch::new(service, &data, &pipeline, describe);
    while !capture.is_finished() || !pipeline.is_finished() {
        // The end of a thread behind capture wakes nobody, nor does its beginning.
        let notifier = watch.notifier();
        let patience =
            if notifier.is_stopping() || notifier.is_starting() { SOON } else { watch.until_due() };
        wait(Some(signals.fd()), &capture.ended, patience).context("wait for signals")?;
        for signal in signals.pending() {
            match signal {
                Signal::Reload => watch.reload(|| reload_plan(&pipeline, &data, reload)),
                Signal::Stop if watch.notifier().is_stopping() => {
                    event!(ABANDONED, "stopped again: what is not sealed yet is left to salvage");
                    return Ok(abandon(pipeline));
                }
                Signal::Stop => {
                    event!(STOPPING, "stopping: writing what has arrived");
                    end(&pipeline, &capture, &mut watch);
                }
            }
        }
        watch.look(&pipeline);
        if !watch.notifier().is_stopping() && (capture.is_finished() || pipeline.is_broken()) {
            end(&pipeline, &capture, &mut watch);
        }
        if capture.is_finished() {
            pipeline.close();
        }
    }
    let health = Arc::clone(&pipeline.health);
    let sound = pipeline.join();
    watch.rest(&health);
    capture.join()?;
    anyhow::ensure!(sound, "a thread has panicked; what it held is salvaged at the next start");
    let (packets, lost) = (health.packets.get(), health.losses.get().total());
    event!(STOPPED, TAPKEEP_PACKETS = packets, TAPKEEP_LOST = lost, "stopped");
    Ok(true)
}

fn tell_start(service: &Service, data: &DataDirectory) {
    let (version, interface) = (env!("CARGO_PKG_VERSION"), service.tap.interface.as_deref());
    let (dir, port) = (data.layout.root().display(), interface.unwrap_or("no interface"));
    event!(
        START,
        TAPKEEP_VERSION = version,
        TAPKEEP_INTERFACE = interface,
        TAPKEEP_DATA_DIR = %dir,
        "tapkeep {version} records {port} into {dir}"
    );
    if !service.plan.save {
        event!(SAVING_OFF, "saving is off: flows, summaries and findings are kept, and no packet");
    }
}

/// Lets capture end, and with it all the others.
fn end(pipeline: &Pipeline, capture: &Capture, watch: &mut Watch<'_>) {
    watch.notifier().stopping();
    pipeline.stopping();
    pipeline.health.set_activity(Activity::Stopping);
    capture.stop();
}

/// Leaves the rest to salvage. A thread that waits for a disk cannot be waited for; `false`, for it is no orderly end.
fn abandon(mut pipeline: Pipeline) -> bool {
    pipeline.abandon();
    pipeline.close();
    let until = Instant::now() + LAST;
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
            event!(RELOADED, "the configuration is reloaded");
        }
        Err(error) => {
            let reason = format!("{error:#}");
            event!(RELOAD_REFUSED, TAPKEEP_REASON = reason, "the configuration is not reloaded: {reason}");
        }
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
