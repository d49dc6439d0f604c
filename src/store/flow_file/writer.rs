//! Writes the growing flow file. Owned by the analyst.
//!
//! A record goes through three places: it **waits** until the captures that it names are synced; then it is **pending**, in the
//! growing file or about to be, until a sync of that file completes. What is pending is kept in memory as well, so that after a
//! failed write or sync it goes into the next file: the failed one ends at its last sync. Both together are bounded.
//!
//! Positions go through the same queue as the records, so a checkpoint never tells of a packet as covered while the record
//! that covers it still waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::super::SharedLedger;
use super::super::facts::State as FileState;
use super::super::flow_facts::FlowFacts;
use super::super::layout::Layout;
use super::super::losses::Losses;
use super::super::names::FlowName;
use super::fold::{Fold, FoldObject};
use super::growing::{Growing, PIECE, Trouble, records_of};
use super::handover::{Handover, Old};
use super::outline::{Footer, FooterObject};
use super::position::Position;
use super::settings::{Extras, FlowCounts, HARD, Refused, Settings, Told};
use super::tally::Tally;
use super::{FlowFileError, MAX_OBJECT, failed};
use crate::flow::jsonb;
use crate::flow::record::FlowRecord;
use crate::packet::Place;
use crate::sys::clock::Clock;
use crate::sys::fs::Fs;

/// Bytes in memory from which a sync begins early, and from which [`FlowWriter::is_full`].
const SOFT: usize = 8 << 20;
/// How often what is pending is written.
const FLUSH: Duration = Duration::from_secs(1);
/// How often a position is written down that no record comes with.
const IDLE_CHECKPOINT: Duration = Duration::from_secs(60);
/// The first and the longest time between two tries after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What waits for captures to be synced, in order.
enum Waiting {
    Record { needs: Option<Place>, object: Box<[u8]>, tally: Tally },
    Mark(Position),
}

enum State {
    Open(Box<Growing>),
    /// Its footer is in its tail.
    Ending(Box<Growing>, Box<FlowFacts>),
    Handing(Box<Handover>),
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
    /// Where records are put together.
    scratch: Vec<u8>,
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
            state: State::Handing(Box::new(Handover::new(old))),
            next_number,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            scratch: Vec::new(),
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
        self.take(record, record.into(), needs)
    }

    /// Takes flows that were only counted.
    pub fn append_fold(&mut self, fold: &Fold, needs: Option<Place>) -> Result<(), Refused> {
        self.take(&FoldObject { folded: fold }, fold.into(), needs)
    }

    fn take(&mut self, record: &impl Serialize, tally: Tally, needs: Option<Place>) -> Result<(), Refused> {
        let mut object = std::mem::take(&mut self.scratch);
        object.clear();
        let sound = jsonb::encode(record, &mut object).is_ok() && object.len() <= MAX_OBJECT;
        let fits = sound && self.buffered() + object.len() <= HARD;
        if !fits {
            self.counts.refused += 1;
        } else if self.waiting.is_empty() && self.is_free(needs) {
            self.put(&object, &tally);
        } else {
            self.waiting_bytes += object.len();
            self.waiting.push_back(Waiting::Record { needs, object: object.as_slice().into(), tally });
        }
        self.scratch = object;
        if !fits {
            return Err(Refused);
        }
        self.counts.taken += 1;
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
        matches!(&self.state, State::Open(growing) if growing.size() >= self.settings.rotation_size)
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
        let state = std::mem::replace(&mut self.state, State::Handing(Box::default()));
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
            State::Open(growing) | State::Ending(growing, _) => growing.size(),
            State::Handing(_) => self.next.len() as u64,
        }
    }

    /// Bytes of the growing file once all is in it that was taken.
    pub fn coming_size(&self) -> u64 {
        self.size() + self.waiting_bytes as u64
    }

    /// Whether so much waits that the analyst should take no more blocks for now.
    pub fn is_full(&self) -> bool {
        self.buffered() > SOFT
    }

    /// Whether [`FlowWriter::append`] takes a record of any size.
    pub fn has_room(&self) -> bool {
        self.buffered() + MAX_OBJECT <= HARD
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
                Waiting::Record { needs, object, tally } => {
                    if !self.is_free(needs) {
                        self.waiting.push_front(Waiting::Record { needs, object, tally });
                        return;
                    }
                    self.waiting_bytes -= object.len();
                    self.put(&object, &tally);
                }
            }
        }
    }

    /// Whether a record that needs the captures through this place may be written.
    fn is_free(&self, needs: Option<Place>) -> bool {
        needs.is_none_or(|needs| self.captures_synced.is_some_and(|upto| needs < upto))
    }

    fn put(&mut self, object: &[u8], tally: &Tally) {
        match &mut self.state {
            State::Open(growing) => {
                growing.sequence.copy(object, &mut growing.tail);
                growing.tally.add(tally);
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
        if self.retry.is_some() {
            return;
        }
        if behind < PIECE as u64 {
            return self.rotate_if_large();
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
        if matches!(&self.state, State::Open(growing) if growing.size() >= limit) {
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
        let (growing, losses) = match std::mem::replace(&mut self.state, State::Handing(Box::default())) {
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
        facts.analysed = growing.synced_position.analysed.max(growing.synced_tally.reach);
        facts.losses = losses;
        let old = Old::given_up(growing.file, facts);
        self.state = State::Handing(Box::new(Handover::new(Some(old))));
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
            self.state = State::Handing(Box::new(Handover::new(Some(old))));
        }
        let State::Handing(handover) = &mut self.state else { return };
        let mut handover = std::mem::take(handover);
        let result = handover.run(self);
        self.told.extend(handover.take_told());
        match result {
            Ok(growing) => {
                self.next.clear();
                self.state = State::Open(Box::new(growing));
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
