//! What the service knows of itself: what its threads count and tell.
//!
//! Every counter is 64 bits wide, has one meaning and one writer, and never goes back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::hour::FindingCounts;
use super::state::{Activity, Analysing, Ignored, Recording, ServiceState};
use crate::detect::Severity;
use crate::store::keeper::Reach;
use crate::store::losses::Losses;

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

/// Turns of the threads' loops: signs of life, at least one a second each, idle or not.
#[derive(Debug, Default)]
pub struct Turns {
    /// The capture thread's.
    pub capture: Counter,
    /// The recorder thread's.
    pub recorder: Counter,
    /// The analyst thread's, from when it has found its place after a start.
    pub analyst: Counter,
}

/// Findings since the start, by severity.
#[derive(Debug, Default)]
pub struct FindingCounters([Counter; 4]);

impl FindingCounters {
    /// Counts one.
    pub fn add(&self, severity: Severity) {
        self.0[severity as usize].add(1);
    }

    /// The sums.
    pub fn get(&self) -> FindingCounts {
        let of = |severity| self.0[severity as usize].get();
        FindingCounts {
            info: of(Severity::Info),
            low: of(Severity::Low),
            medium: of(Severity::Medium),
            high: of(Severity::High),
        }
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
    /// Bytes written to capture files.
    pub recorded: Counter,
    /// Parcels waiting for the recorder, when capture last looked.
    pub waiting: Counter,
    /// Works waiting for the analyst, when the recorder last looked.
    pub works: Counter,
    /// Turns of the threads' loops.
    pub turns: Turns,
    /// Length of the growing file, bytes.
    pub growing: Counter,
    /// Since when the block that is being written waits, milliseconds since boot; 0 while none is.
    pub writing_since_ms: Counter,
    /// Bytes of captures that were left to be read back, for the analyst lagged behind.
    pub left: Counter,
    /// The same that have been read back, or given up.
    pub caught_up: Counter,
    /// Packets analysed.
    pub analysed: Counter,
    /// Flows that are followed.
    pub flows: Counter,
    /// Bytes of memory that they take.
    pub flow_memory: Counter,
    /// Flow records that are lost, since too many waited for a disk that refuses.
    pub refused: Counter,
    /// Packets lost since the start.
    pub losses: LossCounters,
    /// Findings raised.
    pub findings: FindingCounters,
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
    ignored: Vec<Ignored>,
    busy_with: Option<String>,
    retention: Option<Reach>,
    tap: Vec<String>,
    paused: Option<String>,
}

impl Health {
    /// Tells what the service does.
    pub fn set_activity(&self, state: Activity) {
        self.told().state = state;
    }

    /// What the service does.
    pub fn activity(&self) -> Activity {
        self.told().state.clone()
    }

    /// Tells of the growing file, and since when (milliseconds since boot) its oldest unsynced packet waits.
    pub fn set_recording(&self, recording: Option<Recording>, unsynced_since_ms: Option<u64>) {
        self.growing.set(recording.as_ref().map_or(0, |recording| recording.size));
        let mut told = self.told();
        (told.recording, told.unsynced_since_ms) = (recording, unsynced_since_ms);
    }

    /// Tells of the `[[ignore]]` rules.
    pub fn set_ignored(&self, rules: impl Iterator<Item = Ignored>) {
        let mut told = self.told();
        told.ignored.clear();
        told.ignored.extend(rules);
    }

    /// Tells what goes on beside recording.
    pub fn set_busy_with(&self, what: Option<String>) {
        self.told().busy_with = what;
    }

    /// Tells what retention keeps.
    pub fn set_retention(&self, reach: Option<Reach>) {
        self.told().retention = reach;
    }

    /// Tells what is odd about the tap, and why detectors that rest on failed tries pause, if they do.
    pub fn set_tap(&self, tap: Vec<String>, paused: Option<String>) {
        let mut told = self.told();
        (told.tap, told.paused) = (tap, paused);
    }

    /// Fills in what the threads have told.
    pub fn fill(&self, state: &mut ServiceState, up_ms: u64) {
        let told = self.told().clone();
        state.packets = self.packets.get();
        state.bytes = self.bytes.get();
        state.written = self.written.get();
        state.recorded = self.recorded.get();
        state.findings = self.findings.get();
        state.queue.waiting = self.waiting.get();
        state.losses = self.losses.get();
        state.analysis = Analysing {
            packets: self.analysed.get(),
            left: self.left.get().saturating_sub(self.caught_up.get()),
            flows: self.flows.get(),
            flow_memory: self.flow_memory.get(),
            records_lost: self.refused.get(),
            tap: told.tap,
            paused: told.paused,
            ignored: told.ignored,
        };
        state.activity = told.state;
        state.recording = told.recording;
        // A write may hang as long as the disk does, and then nobody tells of it but the one who began.
        let writing = Some(self.writing_since_ms.get()).filter(|&since| since > 0);
        let oldest = told.unsynced_since_ms.into_iter().chain(writing).min();
        state.oldest_unsynced_ms = oldest.map(|since| up_ms.saturating_sub(since));
        state.busy_with = told.busy_with;
        state.retention = told.retention;
        state.index_stale = self.index_stale.load(Ordering::Relaxed);
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
