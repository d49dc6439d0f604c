//! Writes the growing flow file. Owned by the analyst.
//!
//! A record goes through three places: it **waits** until the captures that it names are synced; then it is **pending**, in the
//! growing file or about to be, until a sync of that file completes. What is pending is kept in memory as well, so that after a
//! failed write or sync it goes into the next file: the failed one ends at its last sync. Both together are bounded.
//!
//! Positions go through the same queue as the records, so a checkpoint never tells of a packet as covered while the record
//! that covers it still waits.

use std::collections::VecDeque;
use std::io::ErrorKind::{QuotaExceeded, StorageFull};
use std::sync::Arc;
use std::time::Duration;

use super::super::SharedLedger;
use super::super::entry::Entry;
use super::super::facts::State as FileState;
use super::super::flow_facts::FlowFacts;
use super::super::layout::Layout;
use super::super::losses::Losses;
use super::super::names::FlowName;
use super::super::sequence::{SequenceError, SequenceWriter};
use super::fold::{Fold, FoldObject};
use super::handover::{Handover, Old};
use super::outline::{Footer, FooterObject, Kind};
use super::position::Position;
use super::tally::Tally;
use super::{FlowFileError, MAX_OBJECT, failed};
use crate::flow::jsonb;
use crate::flow::record::FlowRecord;
use crate::packet::{Nanos, Place};
use crate::sys::clock::Clock;
use crate::sys::fs::{Fs, FsFile, sync_full, write_full};

/// Bytes written at once, unless a second has passed.
const PIECE: usize = 64 << 10;
/// Bytes in memory from which a sync begins early, and from which [`FlowWriter::is_full`].
const SOFT: usize = 8 << 20;
/// Bytes in memory beyond which a record is refused.
const HARD: usize = 32 << 20;
/// How often what is pending is written.
const FLUSH: Duration = Duration::from_secs(1);
/// How often a position is written down that no record comes with.
const IDLE_CHECKPOINT: Duration = Duration::from_secs(60);
/// The first and the longest time between two tries after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How flow files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The size at which a file ends, bytes.
    pub rotation_size: u64,
    /// The time between two syncs.
    pub sync_interval: Duration,
    /// How long before the last record a flow may have given its last part and still not be over: the active timeout and the
    /// longest idle timeout.
    pub reach: Nanos,
    /// Whether footers get a summary from the analyst, since no captures are written. A file then ends only by
    /// [`FlowWriter::rotate`], or at twice its size.
    pub summaries: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rotation_size: 16_000_000,
            sync_interval: Duration::from_secs(5),
            reach: 600 * crate::packet::NANOS_PER_SEC,
            summaries: false,
        }
    }
}

/// What the analyst adds to a footer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extras {
    /// The summary of the packets since the last footer.
    pub summary: Option<serde_json::Value>,
    /// A filter over addresses and Community IDs, as text.
    pub filter: Option<String>,
}

/// What the writer tells.
#[derive(Debug)]
pub enum Told {
    /// A file has its final name; the entry is in the ledger.
    Sealed(Box<Entry>),
    /// Something failed; it is tried again by itself.
    Failed(FlowFileError),
    /// After failures the writing goes on.
    Recovered,
    /// What stood where the growing file belongs was none, and is put aside under this name.
    Aside(String),
}

/// A record was not taken, since too many wait for a disk that refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} bytes of flow records wait to be written; this one is lost", HARD)]
pub struct Refused;

/// How the writing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowCounts {
    /// Bytes of the growing file.
    pub size: u64,
    /// Records in it.
    pub records: u64,
    /// Records taken since the start.
    pub taken: u64,
    /// Records refused since the start.
    pub refused: u64,
    /// Bytes of records that wait for captures to be synced, or for the disk.
    pub buffered: u64,
    /// Syncs, seals and the like that failed since the start.
    pub failures: u64,
}

/// What waits for captures to be synced, in order.
enum Waiting {
    Record { needs: Option<Place>, object: Vec<u8> },
    Mark(Position),
}

/// The growing file.
pub(super) struct Growing {
    pub(super) file: Box<dyn FsFile>,
    pub(super) number: u64,
    pub(super) began: Nanos,
    pub(super) sequence: SequenceWriter,
    /// Length in the file.
    pub(super) written: u64,
    /// Length known to be on the device; `tail` begins here.
    pub(super) synced: u64,
    /// Bytes behind `synced`, those not written yet included.
    pub(super) tail: Vec<u8>,
    /// Whether `tail` ends in a checkpoint, or is empty.
    pub(super) checkpointed: bool,
    pub(super) tally: Tally,
    /// The tally as of the last sync.
    pub(super) synced_tally: Tally,
    /// Position of the last synced checkpoint.
    pub(super) synced_position: Position,
    /// Position of the last checkpoint made.
    pub(super) checkpoint_position: Position,
}

impl Growing {
    /// Puts a checkpoint behind what is pending.
    fn checkpoint(&mut self, position: Position) -> Result<(), SequenceError> {
        position.checkpoint(&mut self.sequence, &mut self.tail)?;
        (self.checkpointed, self.checkpoint_position) = (true, position);
        Ok(())
    }

    /// Writes what is pending. Bytes that a full disk did not take are written by the next call at the same place.
    fn write(&mut self) -> Result<(), Trouble> {
        let done = usize::try_from(self.written - self.synced).unwrap_or(usize::MAX);
        let rest = self.tail.get(done..).unwrap_or_default();
        if let Err((some, error)) = write_full(self.file.as_ref(), rest, self.written) {
            self.written += some as u64;
            return Err(match error.kind() {
                StorageFull | QuotaExceeded => Trouble::Full(error),
                _ => Trouble::Latched("write", error),
            });
        }
        if rest.len() >= PIECE {
            // Only a hint: the sync that follows finds what is wrong with the disk.
            let _ = self.file.start_writeback(self.written, rest.len() as u64);
        }
        self.written += rest.len() as u64;
        Ok(())
    }

    /// Writes and syncs what is pending, which ends in a checkpoint.
    fn sync(&mut self) -> Result<(), Trouble> {
        self.write()?;
        sync_full(self.file.as_ref()).map_err(|error| Trouble::Latched("sync", error))?;
        self.synced = self.written;
        self.tail.clear();
        self.synced_tally.clone_from(&self.tally);
        self.synced_position = self.checkpoint_position;
        Ok(())
    }
}

enum State {
    Open(Growing),
    /// Its footer is in its tail.
    Ending(Growing, Box<FlowFacts>),
    Handing(Handover),
}

/// Writes flow files.
pub struct FlowWriter {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) layout: Layout,
    pub(super) ledger: SharedLedger,
    pub(super) clock: Arc<dyn Clock>,
    settings: Settings,
    state: State,
    pub(super) next_number: u64,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    captures_synced: Option<Place>,
    /// As of the last record that is pending or written.
    pub(super) position: Position,
    /// Objects for the next file.
    pub(super) next: Vec<u8>,
    losses: Losses,
    told: Vec<Told>,
    counts: FlowCounts,
    next_flush: Duration,
    next_sync: Duration,
    next_checkpoint: Duration,
    retry: Option<(Duration, Duration)>,
}

/// What [`FlowWriter::open`] has found out.
pub(super) struct Begin {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) layout: Layout,
    pub(super) ledger: SharedLedger,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: Settings,
    pub(super) next_number: u64,
    pub(super) position: Position,
    pub(super) old: Option<Old>,
}

impl FlowWriter {
    pub(super) fn begin(begin: Begin) -> Self {
        let Begin { fs, layout, ledger, clock, settings, next_number, position, old } = begin;
        let now = clock.now().up;
        let mut writer = Self {
            fs,
            layout,
            ledger,
            clock,
            settings,
            state: State::Handing(Handover::new(old)),
            next_number,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            captures_synced: None,
            position,
            next: Vec::new(),
            losses: Losses::NONE,
            told: Vec::new(),
            counts: FlowCounts::default(),
            next_flush: now + FLUSH,
            next_sync: now + settings.sync_interval,
            next_checkpoint: now + IDLE_CHECKPOINT,
            retry: None,
        };
        writer.advance(now);
        writer
    }

    /// Takes a flow record. `needs` is the place of the last packet that it covers, if that lies in a capture file: it is
    /// written once [`FlowWriter::captures_synced`] was told a place behind it.
    pub fn append(&mut self, record: &FlowRecord, needs: Option<Place>) -> Result<(), Refused> {
        self.take(record, needs)
    }

    /// Takes flows that were only counted.
    pub fn append_fold(&mut self, fold: &Fold, needs: Option<Place>) -> Result<(), Refused> {
        self.take(&FoldObject { folded: fold }, needs)
    }

    fn take(&mut self, record: &impl serde::Serialize, needs: Option<Place>) -> Result<(), Refused> {
        let mut object = Vec::new();
        let sound = jsonb::encode(record, &mut object).is_ok() && object.len() <= MAX_OBJECT;
        if !sound || self.buffered() + object.len() > HARD {
            self.counts.refused += 1;
            return Err(Refused);
        }
        self.counts.taken += 1;
        if self.waiting.is_empty() && self.is_free(needs) {
            self.put(&object);
        } else {
            self.waiting_bytes += object.len();
            self.waiting.push_back(Waiting::Record { needs, object });
        }
        self.keep_small();
        Ok(())
    }

    /// Tells how far the captures are analysed, as of the records taken so far. To be told after each block; what is told in
    /// the middle of one must hold for a restart as well.
    pub fn set_position(&mut self, position: Position) {
        match self.waiting.back_mut() {
            None => self.position = position,
            Some(Waiting::Mark(mark)) => *mark = position,
            Some(Waiting::Record { .. }) => self.waiting.push_back(Waiting::Mark(position)),
        }
    }

    /// Tells that all captured bytes before this place are on the device.
    pub fn captures_synced(&mut self, upto: Place) {
        self.captures_synced = self.captures_synced.max(Some(upto));
        self.release();
        self.keep_small();
    }

    /// Books packets that the records miss, to the growing file.
    pub fn book(&mut self, losses: Losses) {
        self.losses += losses;
    }

    /// Writes, syncs and tries again what is due. To be called a few times a second.
    pub fn tick(&mut self) {
        let now = self.clock.now().up;
        match &self.state {
            State::Open(_) => {
                if now >= self.next_sync {
                    self.next_sync = now + self.settings.sync_interval;
                    self.sync_at(now);
                } else if now >= self.next_flush {
                    self.flush(now);
                }
                self.rotate_if_large();
            }
            State::Ending(..) | State::Handing(_) => self.advance(now),
        }
    }

    /// Syncs now. Says whether everything that does not wait for captures is on the device.
    pub fn sync(&mut self) -> bool {
        let now = self.clock.now().up;
        self.sync_at(now);
        matches!(&self.state, State::Open(growing) if growing.tail.is_empty())
    }

    /// Whether the growing file has its full size, and [`FlowWriter::rotate`] is due.
    pub fn wants_rotation(&self) -> bool {
        matches!(&self.state, State::Open(growing) if size(growing) >= self.settings.rotation_size)
    }

    /// Ends the growing file, unless it holds nothing, and begins the next. If the disk refuses it is tried again by
    /// [`FlowWriter::tick`].
    pub fn rotate(&mut self, extras: Extras) {
        let holds = |growing: &Growing| !growing.tally.is_empty() || extras.summary.is_some();
        match &self.state {
            State::Open(growing) if holds(growing) || self.losses != Losses::NONE => {}
            _ => return,
        }
        let now = self.clock.now().up;
        let state = std::mem::replace(&mut self.state, State::Handing(Handover::default()));
        let State::Open(mut growing) = state else { return };
        let facts = self.end(&mut growing, extras);
        self.losses = Losses::NONE;
        self.state = State::Ending(growing, Box::new(facts));
        self.advance(now);
    }

    /// Ends the writing: seals what there is, and leaves an empty growing file. What still waits for captures is written if
    /// they are synced by now. Says whether all is done; what is not is left to the next start.
    pub fn finish(&mut self, extras: Extras) -> bool {
        self.release();
        self.retry = None;
        self.rotate(extras);
        self.retry = None;
        self.next_checkpoint = Duration::ZERO;
        self.sync() && self.waiting.is_empty()
    }

    /// What happened since last asked.
    pub fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// Bytes of the growing file.
    pub fn size(&self) -> u64 {
        match &self.state {
            State::Open(growing) | State::Ending(growing, _) => size(growing),
            State::Handing(_) => self.next.len() as u64,
        }
    }

    /// Whether so much waits that the analyst should take no more blocks for now.
    pub fn is_full(&self) -> bool {
        self.buffered() > SOFT
    }

    /// How it is.
    pub fn counts(&self) -> FlowCounts {
        let records = match &self.state {
            State::Open(growing) | State::Ending(growing, _) => growing.tally.records,
            State::Handing(_) => 0,
        };
        FlowCounts { size: self.size(), records, buffered: self.buffered() as u64, ..self.counts }
    }

    /// Facts of the growing file, for a listing.
    pub fn facts(&self) -> Option<FlowFacts> {
        let State::Open(growing) = &self.state else { return None };
        let mut facts = self.facts_of(growing, &growing.tally, FileState::Recording);
        facts.size = growing.written;
        Some(facts)
    }

    fn buffered(&self) -> usize {
        let tail = match &self.state {
            State::Open(growing) | State::Ending(growing, _) => growing.tail.len(),
            State::Handing(_) => 0,
        };
        self.waiting_bytes + self.next.len() + tail
    }

    /// Lets go of what waited for captures that are synced by now.
    fn release(&mut self) {
        while let Some(first) = self.waiting.pop_front() {
            match first {
                Waiting::Mark(position) => self.position = position,
                Waiting::Record { needs, object } => {
                    if !self.is_free(needs) {
                        self.waiting.push_front(Waiting::Record { needs, object });
                        return;
                    }
                    self.waiting_bytes -= object.len();
                    self.put(&object);
                }
            }
        }
    }

    /// Whether a record that needs the captures through this place may be written.
    fn is_free(&self, needs: Option<Place>) -> bool {
        needs.is_none_or(|needs| self.captures_synced.is_some_and(|upto| needs < upto))
    }

    fn put(&mut self, object: &[u8]) {
        match &mut self.state {
            State::Open(growing) => {
                growing.sequence.copy(object, &mut growing.tail);
                growing.tally.absorb(object);
                growing.checkpointed = false;
            }
            State::Ending(..) | State::Handing(_) => self.next.extend_from_slice(object),
        }
    }

    /// Writes, syncs and rotates before too much is in memory or in one file.
    fn keep_small(&mut self) {
        let State::Open(growing) = &self.state else { return };
        let behind = growing.tail.len() as u64 - (growing.written - growing.synced);
        let large = growing.tail.len() > SOFT;
        if self.retry.is_some() || behind < PIECE as u64 {
            return;
        }
        let now = self.clock.now().up;
        if large {
            self.sync_at(now)
        } else {
            self.flush(now)
        }
        self.rotate_if_large();
    }

    fn rotate_if_large(&mut self) {
        let limit = self.settings.rotation_size * if self.settings.summaries { 2 } else { 1 };
        if matches!(&self.state, State::Open(growing) if size(growing) >= limit) {
            self.rotate(Extras::default());
        }
    }

    fn flush(&mut self, now: Duration) {
        self.next_flush = now + FLUSH;
        if self.may_try(now) {
            self.on_open(now, Growing::write);
        }
    }

    fn sync_at(&mut self, now: Duration) {
        self.release();
        let (position, due) = (self.position, now >= self.next_checkpoint);
        let State::Open(growing) = &mut self.state else { return self.advance(now) };
        let moved = position != growing.synced_position;
        let idle = growing.tail.is_empty();
        if idle && !(moved && due) || !self.may_try(now) {
            return;
        }
        self.next_checkpoint = now + IDLE_CHECKPOINT;
        self.next_flush = now + FLUSH;
        self.on_open(now, |growing| {
            if idle || !growing.checkpointed {
                growing.checkpoint(position)?;
            }
            growing.sync()
        });
    }

    /// Does something to the growing file, and deals with its failure.
    fn on_open(&mut self, now: Duration, act: impl FnOnce(&mut Growing) -> Result<(), Trouble>) {
        let State::Open(growing) = &mut self.state else { return };
        match act(growing) {
            Ok(()) => self.succeeded(),
            Err(trouble) => self.trouble(trouble, now),
        }
    }

    fn trouble(&mut self, trouble: Trouble, now: Duration) {
        let path = self.layout.flow_file();
        match trouble {
            Trouble::Full(source) => self.note_failure(failed("write", &path)(source), now),
            Trouble::Record(error) => self.note_failure(error.into(), now),
            Trouble::Latched(operation, source) => {
                self.note_failure(failed(operation, &path)(source), now);
                self.give_up();
            }
        }
    }

    /// Ends the growing file at its last sync; what is behind goes into the next.
    fn give_up(&mut self) {
        let (growing, losses) = match std::mem::replace(&mut self.state, State::Handing(Handover::default()))
        {
            State::Open(growing) => (growing, std::mem::replace(&mut self.losses, Losses::NONE)),
            State::Ending(growing, facts) => (growing, facts.losses),
            handing => {
                self.state = handing;
                return;
            }
        };
        let mut again = records_of(&growing.tail);
        again.append(&mut self.next);
        self.next = again;
        let mut facts = self.facts_of(&growing, &growing.synced_tally, FileState::Damaged);
        facts.doubtful_from = Some(growing.synced);
        (facts.analysed, facts.losses) = (growing.synced_position.analysed, losses);
        let old = Old::given_up(growing.file, facts);
        self.state = State::Handing(Handover::new(Some(old)));
    }

    /// Puts the footer into the tail.
    fn end(&mut self, growing: &mut Growing, extras: Extras) -> FlowFacts {
        let Extras { summary, filter } = extras;
        let footer = Footer { summary, filter, ..growing.tally.footer(self.losses) };
        let footers = [footer.clone(), Footer { summary: None, filter: None, ..footer }];
        let put = |growing: &mut Growing, footer: &Footer| {
            growing.sequence.record(&FooterObject { footer }, &mut growing.tail)?;
            growing.checkpoint(self.position)
        };
        // The footer has a checkpoint of its own, so that one can read it without reading the file.
        let begun = growing.checkpointed || growing.checkpoint(self.position).is_ok();
        let _ = begun && footers.iter().any(|footer| put(growing, footer).is_ok());
        let mut facts = self.facts_of(growing, &growing.tally, FileState::Sealed);
        facts.size = growing.sequence.offset();
        facts
    }

    fn facts_of(&self, growing: &Growing, tally: &Tally, state: FileState) -> FlowFacts {
        let name = FlowName::new(growing.number, tally.first.unwrap_or(growing.began));
        let mut facts = tally.facts(name, state, self.losses, self.position);
        facts.id = Some(growing.sequence.id().to_owned());
        facts.size = growing.synced;
        facts
    }

    /// Goes on with the end of a file and the beginning of the next, if it is time to.
    fn advance(&mut self, now: Duration) {
        if !self.may_try(now) {
            return;
        }
        if let State::Ending(growing, facts) = &mut self.state {
            if let Err(trouble) = growing.sync() {
                return self.trouble(trouble, now);
            }
            let old = Old::ended(facts.as_ref().clone());
            self.state = State::Handing(Handover::new(Some(old)));
        }
        let State::Handing(handover) = &mut self.state else { return };
        let mut handover = std::mem::take(handover);
        let result = handover.run(self);
        self.told.extend(handover.take_told());
        match result {
            Ok(growing) => {
                self.next.clear();
                self.state = State::Open(growing);
                self.succeeded();
            }
            Err(error) => {
                self.state = State::Handing(handover);
                self.note_failure(error, now);
            }
        }
    }

    fn may_try(&self, now: Duration) -> bool {
        self.retry.is_none_or(|(at, _)| now >= at)
    }

    fn succeeded(&mut self) {
        if self.retry.take().is_some() {
            self.told.push(Told::Recovered);
        }
    }

    fn note_failure(&mut self, error: FlowFileError, now: Duration) {
        let delay = self.retry.map_or(RETRY.0, |(_, delay)| (delay * 2).min(RETRY.1));
        self.retry = Some((now + delay, delay));
        self.counts.failures += 1;
        self.told.push(Told::Failed(error));
    }
}

/// What went wrong with the growing file.
pub(super) enum Trouble {
    /// The disk is full: the same bytes are tried again.
    Full(std::io::Error),
    /// The file may not be written again.
    Latched(&'static str, std::io::Error),
    /// A checkpoint could not be made.
    Record(SequenceError),
}

impl From<SequenceError> for Trouble {
    fn from(error: SequenceError) -> Self {
        Self::Record(error)
    }
}

/// Length of the growing file once all is written.
fn size(growing: &Growing) -> u64 {
    growing.synced + growing.tail.len() as u64
}

/// The objects in `bytes` that are neither checkpoint nor footer.
fn records_of(bytes: &[u8]) -> Vec<u8> {
    let wanted = objects(bytes).filter(|object| !matches!(Kind::of(object), Kind::Checkpoint | Kind::Footer));
    wanted.flatten().copied().collect()
}

/// The objects that follow each other in `bytes`.
pub(super) fn objects(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let len = usize::try_from(jsonb::object_len(rest).ok()?).ok()?;
        let (object, after) = rest.split_at_checked(len)?;
        rest = after;
        Some(object)
    })
}
