//! What the service knows of itself: counters that its threads keep, and the state file that tells others once a second.
//!
//! Every counter is 64 bits wide, has one meaning and one writer, and never goes back.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::store::losses::Losses;
use crate::sys::fs::RealFs;

/// A count with one writer and any number of readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Sets a value that is a level, not a count.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Losses since the start; written without a lock, for capture waits for none.
#[derive(Debug, Default)]
pub struct LossCounters([(Counter, AtomicBool); 5]);

impl LossCounters {
    /// Adds to every cause; unknown stays unknown.
    pub fn add(&self, losses: &Losses) {
        for ((counter, unknown), (_, count)) in self.0.iter().zip(losses.by_cause()) {
            match count {
                Some(count) => counter.add(count),
                None => unknown.store(true, Ordering::Relaxed),
            }
        }
    }

    /// The sums.
    pub fn get(&self) -> Losses {
        let of = |cause: usize| {
            let (counter, unknown) = &self.0[cause];
            (!unknown.load(Ordering::Relaxed)).then(|| counter.get())
        };
        Losses { nic: of(0), kernel: of(1), queue: of(2), write: of(3), analysis: of(4) }
    }
}

/// What the threads tell.
#[derive(Debug, Default)]
pub struct Health {
    /// Packets taken from the source.
    pub packets: Counter,
    /// Their bytes on the wire.
    pub bytes: Counter,
    /// Packets that were written.
    pub written: Counter,
    /// Blocks waiting for the recorder.
    pub waiting: Counter,
    /// Length of the growing file, bytes.
    pub growing: Counter,
    /// Since when the block that is being written waits, milliseconds since boot; 0 while none is.
    pub writing_since_ms: Counter,
    /// Packets lost since the start.
    pub losses: LossCounters,
    /// Set while the index cannot follow.
    pub index_stale: AtomicBool,
    told: Mutex<Told>,
}

/// What changes as a whole.
#[derive(Debug, Clone, Default)]
struct Told {
    state: Activity,
    recording: Option<Recording>,
    unsynced_since_ms: Option<u64>,
    busy_with: Option<String>,
}

impl Health {
    /// Tells what the service does.
    pub fn set_activity(&self, state: Activity) {
        self.told().state = state;
    }

    /// Tells of the growing file, and since when (milliseconds since boot) its oldest unsynced packet waits.
    pub fn set_recording(&self, recording: Option<Recording>, unsynced_since_ms: Option<u64>) {
        self.growing.set(recording.as_ref().map_or(0, |recording| recording.size));
        let mut told = self.told();
        (told.recording, told.unsynced_since_ms) = (recording, unsynced_since_ms);
    }

    /// Tells what goes on beside recording.
    pub fn set_busy_with(&self, what: Option<String>) {
        self.told().busy_with = what;
    }

    /// Fills in what the threads have told.
    pub fn fill(&self, state: &mut ServiceState, up_ms: u64) {
        let told = self.told().clone();
        state.packets = self.packets.get();
        state.bytes = self.bytes.get();
        state.written = self.written.get();
        state.queue.waiting = self.waiting.get();
        state.losses = self.losses.get();
        state.activity = told.state;
        state.recording = told.recording;
        // A write may hang as long as the disk does, and then nobody tells of it but the one who began.
        let writing = Some(self.writing_since_ms.get()).filter(|&since| since > 0);
        let oldest = told.unsynced_since_ms.into_iter().chain(writing).min();
        state.oldest_unsynced_ms = oldest.map(|since| up_ms.saturating_sub(since));
        state.busy_with = told.busy_with;
        state.index_stale = self.index_stale.load(Ordering::Relaxed);
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the service does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case")]
pub enum Activity {
    /// Not there yet.
    #[default]
    Starting,
    /// Packets can arrive.
    Capturing,
    /// They cannot, for this reason.
    Waiting(String),
    /// What has arrived is being written.
    Stopping,
}

/// The growing file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// Its index number.
    pub index: u64,
    /// Its present name.
    pub name: String,
    /// Its length, bytes.
    pub size: u64,
    /// The length at which it ends, bytes.
    pub rotation_size: u64,
    /// Packets in it.
    pub packets: u64,
    /// Packets that it misses so far.
    pub losses: Losses,
    /// Whether the wall clock has been synchronised since it was begun; unknown in a replay.
    pub clock_synchronised: Option<bool>,
}

/// The queue between capture and recorder.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Queue {
    /// Blocks waiting.
    pub waiting: u64,
    /// Blocks there are.
    pub blocks: u64,
    /// Their bytes together.
    pub bytes: u64,
    /// How long the whole queue lasts at the present rate, seconds; unknown without traffic.
    pub seconds: Option<f64>,
}

/// Space on the file system of the data directory, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Its size.
    pub total: u64,
    /// What may still be written.
    pub free: u64,
}

/// The state file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ServiceState {
    /// Tapkeep's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// The data directory, absolute.
    pub data_dir: PathBuf,
    /// The interface.
    pub interface: Option<String>,
    /// What it does.
    #[serde(flatten)]
    pub activity: Activity,
    /// When it started, RFC 3339.
    pub started: String,
    /// When this was written, RFC 3339.
    pub updated: String,
    /// The same, milliseconds since boot.
    pub updated_up_ms: u64,
    /// Size of the kernel's ring, bytes.
    pub kernel_buffer: u64,
    /// Packets taken since the start.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Packets written since the start.
    pub written: u64,
    /// Packets a second, over the last second.
    pub packet_rate: f64,
    /// Bytes on the wire a second, over the last second.
    pub byte_rate: f64,
    /// Packets lost since the start.
    pub losses: Losses,
    /// The growing file; none before its first packet, and without saving.
    pub recording: Option<Recording>,
    /// Age of the oldest packet that is not known to be synced.
    pub oldest_unsynced_ms: Option<u64>,
    /// The queue between capture and recorder.
    pub queue: Queue,
    /// The disk.
    pub disk: Option<Disk>,
    /// Whether the index has stopped following.
    pub index_stale: bool,
    /// What goes on beside recording.
    pub busy_with: Option<String>,
}

/// The name of the state file of the service that has it to itself.
const STATE_FILE: &str = "state.json";

/// Age from which a state tells nothing of the present, milliseconds.
pub const STALE_MS: u64 = 10_000;

impl ServiceState {
    /// The state of the service that writes `data_dir`, as told below `runtime_dir`; `None` if there is none.
    pub fn find(runtime_dir: &Path, data_dir: &Path) -> Option<Self> {
        let data_dir = data_dir.canonicalize().ok()?;
        Self::all(runtime_dir).into_iter().find(|state| state.data_dir == data_dir)
    }

    /// Every state told below `runtime_dir`, the one of the plain name first.
    pub fn all(runtime_dir: &Path) -> Vec<Self> {
        let Ok(entries) = std::fs::read_dir(runtime_dir) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> =
            names.filter(|name| name.starts_with("state") && name.ends_with(".json")).collect();
        names.sort_by_key(|name| (name != STATE_FILE, name.clone()));
        names.iter().filter_map(|name| Self::read(&runtime_dir.join(name))).collect()
    }

    fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Whether it tells of the present, `up_ms` milliseconds after boot.
    pub fn is_fresh(&self, up_ms: u64) -> bool {
        up_ms.saturating_sub(self.updated_up_ms) <= STALE_MS && self.updated_up_ms <= up_ms
    }
}

/// The state file being kept up to date; removed when dropped. Whoever may read the data directory may read it.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    fs: RealFs,
}

impl StateFile {
    /// Takes `state.json` below `runtime_dir`, or, if a live service of another data directory has it, one with our process
    /// id in its name.
    pub(super) fn claim(runtime_dir: &Path, data_dir: &Path, up_ms: u64) -> std::io::Result<Self> {
        let fs = RealFs::for_dir(data_dir);
        if !runtime_dir.is_dir() {
            std::fs::create_dir_all(runtime_dir)?;
            fs.give(&File::open(runtime_dir)?)?;
        }
        let plain = runtime_dir.join(STATE_FILE);
        let taken = ServiceState::read(&plain).is_some_and(|s| s.is_fresh(up_ms) && s.data_dir != data_dir);
        let name = if taken { format!("state.{}.json", std::process::id()) } else { STATE_FILE.to_owned() };
        Ok(Self { path: runtime_dir.join(name), fs })
    }

    /// Replaces its contents.
    pub(super) fn write(&self, state: &ServiceState) -> std::io::Result<()> {
        let new = self.path.with_extension(format!("{}.new", std::process::id()));
        let mut file = File::create(&new)?;
        self.fs.give(&file)?;
        file.write_all(&serde_json::to_vec_pretty(state)?)?;
        std::fs::rename(new, &self.path)
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
