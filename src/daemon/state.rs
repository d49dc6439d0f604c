//! The state file: what the service tells others of itself, once a second.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::hour::{FindingCounts, Hour, LossTimes};
use super::recent::Recent;
use crate::detect::{End, IgnoreRule};
use crate::store::keeper::Reach;
use crate::store::losses::Losses;
use crate::sys::fs::{RealFs, replace_whole};

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

/// The analyst.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Analysing {
    /// Packets analysed.
    pub packets: u64,
    /// Bytes of captures that are recorded and not analysed yet.
    pub left: u64,
    /// Flows that are followed.
    pub flows: u64,
    /// Bytes of memory that they take, about.
    #[serde(default)]
    pub flow_memory: u64,
    /// Flow records that are lost, since too many waited for a disk that refuses.
    pub records_lost: u64,
    /// What is odd about the tap: only one direction seen, each frame seen twice, packets lost before the tap port.
    #[serde(default)]
    pub tap: Vec<String>,
    /// Why detectors that rest on failed tries pause, if they do.
    #[serde(default)]
    pub paused: Option<String>,
    /// The `[[ignore]]` rules, in the order of the configuration.
    #[serde(default)]
    pub ignored: Vec<Ignored>,
}

/// An `[[ignore]]` rule and what it did since the start. Texts, so that another version's rules can be read too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ignored {
    /// The detector; null for any.
    pub detector: Option<String>,
    /// Who: a network; null for anybody.
    pub src: Option<String>,
    /// Whom: a network; null for anybody.
    pub dst: Option<String>,
    /// The port; null for any.
    pub port: Option<u16>,
    /// Why.
    pub reason: String,
    /// Findings that were not raised for it.
    pub hits: u64,
}

impl Ignored {
    /// A rule that fitted so often.
    pub(super) fn new(rule: &IgnoreRule, hits: u64) -> Self {
        let text = |end: Option<End>| end.map(|end| end.to_string());
        Self {
            detector: rule.detector.clone(),
            src: text(rule.src),
            dst: text(rule.dst),
            port: rule.port,
            reason: rule.reason.clone(),
            hits,
        }
    }
}

impl fmt::Display for Ignored {
    /// What it fits, as [`IgnoreRule`] is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detector.as_deref().unwrap_or("*"))?;
        let ends = [(" from ", &self.src), (" to ", &self.dst)];
        for (word, end) in ends.iter().filter_map(|(word, end)| Some((word, end.as_ref()?))) {
            write!(f, "{word}{end}")?;
        }
        self.port.map_or(Ok(()), |port| write!(f, " port {port}"))
    }
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
    /// When some were lost last.
    #[serde(default)]
    pub last_lost: LossTimes,
    /// Bytes written to capture files since the start.
    #[serde(default)]
    pub recorded: u64,
    /// Bytes handed to disks since the start, all files together; unknown if the kernel does not say.
    #[serde(default)]
    pub flash: Option<u64>,
    /// Findings raised since the start.
    #[serde(default)]
    pub findings: FindingCounts,
    /// What the last hour brought.
    #[serde(default)]
    pub hour: Hour,
    /// What the last minutes brought, step by step.
    #[serde(default)]
    pub recent: Recent,
    /// The growing file; none before its first packet, and without saving.
    pub recording: Option<Recording>,
    /// Age of the oldest packet that is not known to be synced.
    pub oldest_unsynced_ms: Option<u64>,
    /// The queue between capture and recorder.
    pub queue: Queue,
    /// The analyst.
    #[serde(default)]
    pub analysis: Analysing,
    /// For how many seconds each thread has had work and stood still; 0 if it turns.
    #[serde(default)]
    pub still: BTreeMap<String, u64>,
    /// The disk.
    pub disk: Option<Disk>,
    /// What retention keeps; none without capture files, and until it has looked.
    #[serde(default)]
    pub retention: Option<Reach>,
    /// Whether the index has stopped following.
    pub index_stale: bool,
    /// What goes on beside recording.
    pub busy_with: Option<String>,
}

/// The name of the state file of the service that has it to itself.
const STATE_FILE: &str = "state.json";

/// The largest state that is read, bytes.
const MAX_STATE: u64 = 1 << 20;

/// States looked at, at most.
const MAX_STATES: usize = 64;

/// Age from which a state tells nothing of the present, milliseconds.
pub const STALE_MS: u64 = 10_000;

impl ServiceState {
    /// The state of the service that writes `data_dir`, as told below `runtime_dir`; `None` if there is none.
    ///
    /// # Errors
    /// If `runtime_dir` is there and cannot be listed.
    pub fn find(runtime_dir: &Path, data_dir: &Path) -> io::Result<Option<Self>> {
        let Ok(data_dir) = data_dir.canonicalize() else { return Ok(None) };
        Ok(Self::all(runtime_dir)?.into_iter().find(|state| state.data_dir == data_dir))
    }

    /// The state under the plain name, whichever directory its service writes and however old it is.
    ///
    /// # Errors
    /// If it is there and may not be read.
    pub fn last(runtime_dir: &Path) -> io::Result<Option<Self>> {
        Self::read(&runtime_dir.join(STATE_FILE))
    }

    /// Every state told below `runtime_dir`, the one of the plain name first.
    fn all(runtime_dir: &Path) -> io::Result<Vec<Self>> {
        let entries = match std::fs::read_dir(runtime_dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> =
            names.filter(|name| name.starts_with("state") && name.ends_with(".json")).collect();
        names.sort_by_key(|name| (name != STATE_FILE, name.clone()));
        names.truncate(MAX_STATES);
        let states = names.iter().map(|name| Self::read(&runtime_dir.join(name)));
        states.filter_map(Result::transpose).collect()
    }

    /// Reads with suspicion: what is no file, is large or makes no sense is as good as not there. Only what the caller may
    /// not read is an error.
    fn read(path: &Path) -> io::Result<Option<Self>> {
        if !path.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
            return Ok(None);
        }
        let mut text = Vec::new();
        match File::open(path).and_then(|file| file.take(MAX_STATE).read_to_end(&mut text)) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Err(e),
            Err(_) => Ok(None),
            Ok(_) => Ok(serde_json::from_slice(&text).ok()),
        }
    }

    /// Bytes a second that went into capture files in the last hour; `None` if there were none, or the service has run for less
    /// than a minute.
    pub fn record_rate(&self) -> Option<f64> {
        let Hour { ms, counts } = &self.hour;
        (*ms >= 60_000 && counts.recorded > 0).then(|| counts.recorded as f64 * 1e3 / *ms as f64)
    }

    /// Bytes that go to the disks in a day at the rate of the last hour; `None` if the kernel does not count them, or the
    /// service has run for less than a minute.
    pub fn flash_per_day(&self) -> Option<u64> {
        let Hour { ms, counts } = &self.hour;
        let written = counts.flash.filter(|_| *ms >= 60_000)?;
        Some((written as f64 * 86_400e3 / *ms as f64) as u64)
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
    data_dir: PathBuf,
    fs: RealFs,
}

impl StateFile {
    /// Takes `state.json` below `runtime_dir`, or, if a live service of another data directory has it, one with our process
    /// id in its name.
    pub(super) fn claim(runtime_dir: &Path, data_dir: &Path, up_ms: u64) -> io::Result<Self> {
        let fs = RealFs::for_dir(data_dir);
        if !runtime_dir.is_dir() {
            std::fs::create_dir_all(runtime_dir)?;
            fs.give(&File::open(runtime_dir)?)?;
        }
        let mut claimed = Self { path: runtime_dir.join(STATE_FILE), data_dir: data_dir.to_owned(), fs };
        claimed.give_way(up_ms);
        Ok(claimed)
    }

    /// Leaves the name to another live service that has it, as may be found out only when two have started together.
    fn give_way(&mut self, up_ms: u64) {
        let told = ServiceState::read(&self.path).ok().flatten();
        if told.is_some_and(|told| told.is_fresh(up_ms) && told.data_dir != self.data_dir) {
            self.path.set_file_name(format!("state.{}.json", std::process::id()));
        }
    }

    /// Replaces its contents.
    pub(super) fn write(&mut self, state: &ServiceState) -> io::Result<()> {
        self.give_way(state.updated_up_ms);
        replace_whole(&self.path, &serde_json::to_vec_pretty(state)?, |file| self.fs.give(file))
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        if ServiceState::read(&self.path).ok().flatten().is_some_and(|told| told.data_dir == self.data_dir) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(data_dir: &Path, updated_up_ms: u64) -> ServiceState {
        ServiceState { data_dir: data_dir.to_owned(), updated_up_ms, ..ServiceState::default() }
    }

    /// A runtime directory and the data directories of two services.
    fn place() -> (tempfile::TempDir, PathBuf, [PathBuf; 2]) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let data = ["a", "b"].map(|name| root.join(name));
        data.iter().for_each(|data| std::fs::create_dir(data).unwrap());
        (dir, root.join("run"), data)
    }

    #[test]
    fn a_live_service_keeps_its_state_file_and_both_are_found() {
        let (_dir, run, [a, b]) = place();
        let mut first = StateFile::claim(&run, &a, 1_000).unwrap();
        first.write(&state(&a, 1_000)).unwrap();
        let mut second = StateFile::claim(&run, &b, 2_000).unwrap();
        second.write(&state(&b, 2_000)).unwrap();
        assert_eq!(first.path, run.join("state.json"));
        assert_eq!(second.path, run.join(format!("state.{}.json", std::process::id())));
        let found = |data: &Path| ServiceState::find(&run, data).unwrap().map(|state| state.updated_up_ms);
        assert_eq!((found(&a), found(&b.join("../b"))), (Some(1_000), Some(2_000)));
        drop(first);
        assert_eq!((found(&a), found(&b)), (None, Some(2_000)));
        drop(second);
        assert_eq!(std::fs::read_dir(&run).unwrap().count(), 0);
    }

    #[test]
    fn two_that_start_together_part_at_the_first_write() {
        let (_dir, run, [a, b]) = place();
        let mut first = StateFile::claim(&run, &a, 1_000).unwrap();
        let mut second = StateFile::claim(&run, &b, 1_000).unwrap();
        first.write(&state(&a, 1_000)).unwrap();
        second.write(&state(&b, 1_001)).unwrap();
        assert_ne!(first.path, second.path);
        drop(second);
        assert_eq!(ServiceState::find(&run, &a).unwrap(), Some(state(&a, 1_000)));
    }

    #[test]
    fn a_stale_state_is_taken_over_and_ones_own_is_kept() {
        let (_dir, run, [a, b]) = place();
        let mut dead = StateFile::claim(&run, &a, 1_000).unwrap();
        dead.write(&state(&a, 1_000)).unwrap();
        let stale = 1_001 + STALE_MS;
        let plain = run.join(STATE_FILE);
        assert_eq!(StateFile::claim(&run, &b, stale).unwrap().path, plain);
        assert_eq!(StateFile::claim(&run, &a, 1_500).unwrap().path, plain, "a restart finds its own");
    }

    #[test]
    fn age_counts_and_a_state_of_the_future_is_of_another_boot() {
        let told = state(Path::new("/d"), 5_000);
        assert!(told.is_fresh(5_000) && told.is_fresh(5_000 + STALE_MS));
        assert!(!told.is_fresh(5_001 + STALE_MS) && !told.is_fresh(4_999));
    }

    #[test]
    fn what_makes_no_sense_is_not_there() {
        let (_dir, run, [a, _]) = place();
        assert_eq!(ServiceState::find(&run, &a).unwrap(), None, "no runtime directory");
        std::fs::create_dir_all(run.join("state.d.json")).unwrap();
        let good = serde_json::to_vec(&state(&a, 1)).unwrap();
        let padded = [&vec![b' '; MAX_STATE as usize], &good[..]].concat();
        for (name, text) in [
            ("state.json", &b"{"[..]),
            ("state.1.json", b"\xff"),
            ("state.2.json", &padded),
            ("notes.json", &good),
        ] {
            std::fs::write(run.join(name), text).unwrap();
        }
        assert_eq!(ServiceState::find(&run, &a).unwrap(), None);
        std::fs::write(run.join("state.3.json"), &good).unwrap();
        assert_eq!(ServiceState::find(&run, &a).unwrap(), Some(state(&a, 1)));
        assert!(ServiceState::find(&a.join("none"), &a).unwrap().is_none());
        std::fs::write(a.join("file"), "").unwrap();
        assert!(ServiceState::find(&a.join("file"), &a).is_err(), "not a directory");
    }
}
