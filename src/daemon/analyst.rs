//! The analyst thread: blocks to flow records, summaries and findings. The only owner of the flow files.
//!
//! It may lag behind as far as retention lets it: what it did not get in memory it reads back from the capture files, the same
//! bytes through the same code. Nobody waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::events::{damaged, event};
use super::handover::{Intake, Unread, Work};
use super::health::Health;
use super::hour::FindingCounts;
use super::index::Update;
use super::keep::Message;
use super::outlet::Outlet;
use super::readback::{ReadBack, Slice};
use super::record::Slot;
use super::saved;
use super::state::Ignored;
use crate::detect::IgnoreRule;
use crate::detect::stream::Stream;
use crate::flow::summary::{Encoded, Summariser, SummaryLimits};
use crate::packet::decode::decode;
use crate::packet::{Frame, Place};
use crate::store::block::Block;
use crate::store::flow_file::{Extras, Position, Told};
use crate::store::format::{FILE_HEADER, Format, records};
use crate::store::layout::Layout;
use crate::store::losses::Losses;
use crate::store::names::CaptureName;
use crate::store::recorder::Piece;
use crate::sys::fs::Fs;

/// How often the timers are looked at when nothing comes.
const TURN: Duration = Duration::from_millis(200);

/// How long a stopping service reads back what it has not analysed.
const DRAIN: Duration = Duration::from_secs(10);

/// The time over which the share of lost packets is judged.
const LOSSES: Duration = Duration::from_secs(10);

/// How often the state of the detectors is saved for a restart.
const SAVE: Duration = Duration::from_secs(300);

/// How soon it is saved after a finding, so that a restart does not raise that again; the ledger has it on the disk by then.
const SAVE_FOUND: Duration = Duration::from_secs(10);

/// The least time between saves, but at the end: each writes to flash.
const SAVES_APART: Duration = Duration::from_secs(60);

/// What the analyst thread works with.
pub(super) struct AnalystLoop {
    /// What comes from the recorder.
    pub intake: Intake,
    /// The file system.
    pub fs: Arc<dyn Fs>,
    /// The data directory.
    pub layout: Layout,
    /// Where the stretches of older files lie that no record covers yet, oldest first.
    pub left: VecDeque<Unread>,
    /// Where records and findings go.
    pub outlet: Outlet,
    /// Flows and detectors.
    pub stream: Stream,
    /// The bounds of a summary.
    pub limits: SummaryLimits,
    /// Whether capture files are written.
    pub saves: bool,
    /// New `[[ignore]]` rules.
    pub ignore: Slot<Vec<IgnoreRule>>,
    /// The index number that the next capture file would get.
    pub next_number: u64,
    /// Who is told of sealed flow files.
    pub keeper: Sender<Message>,
    /// Where summaries go.
    pub index: Sender<Update>,
    /// Counters.
    pub health: Arc<Health>,
    /// Set when the service is to end; what is still to be read back is then left to the next start, after a while.
    pub stop: Arc<AtomicBool>,
    /// Set when the rest is to be left to the next start.
    pub abandon: Arc<AtomicBool>,
}

/// Waits until what a crash left is salvaged, and may be read; `false` if the service ends before. What comes meanwhile waits in
/// the files.
pub(super) fn wait_for_salvage(salvaged: &Receiver<()>, abandon: &AtomicBool) -> bool {
    while let Err(RecvTimeoutError::Timeout) = salvaged.recv_timeout(TURN) {
        if abandon.load(Ordering::Relaxed) {
            return false;
        }
    }
    true
}

/// Lets everything go unanalysed.
pub(super) fn pass_by(intake: &Intake) {
    for work in &intake.works {
        if let Work::Block(block, _) = work {
            intake.put_back(block);
        }
    }
}

/// Analyses until the recorder is done and all it wrote is analysed.
pub(super) fn analyse(setup: AnalystLoop) {
    let mut running = Running::new(setup);
    while running.turn() {}
    running.finish();
}

/// The capture file that the packets at hand are in.
struct Current {
    name: CaptureName,
    /// Whether it is analysed from its first packet on, as a summary must be.
    whole: bool,
    /// Up to where it is analysed.
    to: u64,
}

struct Running {
    setup: AnalystLoop,
    /// `None` where no capture files are written.
    current: Option<Current>,
    summariser: Summariser,
    reading: Option<ReadBack>,
    /// The last packet that was analysed.
    analysed: Option<Place>,
    /// Where the next packet lies that is in no file.
    nowhere: Place,
    saved: Option<Place>,
    /// The summary of the flow file that is on its way to its final name, where no capture files are written.
    unsaved: Option<Box<Encoded>>,
    /// Packets lost, and packets, when it was last judged whether too many are lost.
    lost: (u64, u64),
    losses_due: Instant,
    look_due: Instant,
    /// The findings told when the next save was planned.
    found: FindingCounts,
    save_due: Instant,
    save_after: Instant,
    drain_until: Option<Instant>,
    /// Whether captures are left to be analysed by the next start.
    leaves_rest: bool,
}

impl Running {
    fn new(setup: AnalystLoop) -> Self {
        let now = Instant::now();
        let summariser = Summariser::new(setup.limits);
        let nowhere = Place { file: setup.next_number, offset: 0 };
        Self {
            setup,
            current: None,
            summariser,
            reading: None,
            analysed: None,
            nowhere,
            saved: None,
            unsaved: None,
            lost: (0, 0),
            losses_due: now,
            look_due: now,
            found: FindingCounts::default(),
            save_due: now + SAVE,
            save_after: now,
            drain_until: None,
            leaves_rest: false,
        }
    }

    /// Does what comes next; `false` when nothing will.
    fn turn(&mut self) -> bool {
        self.setup.health.turns.analyst.add(1);
        if self.setup.abandon.load(Ordering::Relaxed) {
            return false;
        }
        self.look();
        let behind = self.reading.is_some() || !self.setup.left.is_empty();
        if behind && self.has_drained() {
            self.leaves_rest = true;
            return false;
        }
        if self.setup.outlet.writer.is_full() {
            // The disk refuses, or the captures are not synced: what comes meanwhile waits in the files.
            std::thread::sleep(TURN);
        } else if self.reading.is_some() {
            self.read_on();
        } else if let Some(unread) = self.setup.left.pop_front() {
            self.read_back(unread);
        } else {
            match self.setup.intake.works.recv_timeout(TURN) {
                Ok(work) => self.take(work),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        self.mark();
        true
    }

    /// Whether a stopping service has tried long enough to catch up.
    fn has_drained(&mut self) -> bool {
        self.setup.stop.load(Ordering::Relaxed)
            && Instant::now() >= *self.drain_until.get_or_insert_with(|| Instant::now() + DRAIN)
    }

    fn take(&mut self, work: Work) {
        match work {
            Work::Block(block, pieces) => {
                if pieces.is_empty() {
                    self.unrecorded(&block);
                }
                for piece in &pieces {
                    self.recorded(&block, piece);
                }
                self.setup.intake.put_back(block);
            }
            Work::Unread(unread) => self.read_back(unread),
            Work::End(name) => {
                if self.current.as_ref().is_some_and(|current| current.name == name) {
                    self.end_file();
                }
            }
            Work::Tick(now) => {
                let up = i64::try_from(now.up.as_nanos()).unwrap_or(i64::MAX);
                self.setup.stream.tick(up, now.wall, &mut self.setup.outlet);
            }
            Work::Lost(losses) => self.setup.outlet.writer.book(losses),
        }
    }

    fn recorded(&mut self, block: &Block, piece: &Piece) {
        self.setup.outlet.synced.watch(piece.name.number(), Some(&piece.durability));
        self.enter(piece.name, piece.offset);
        let bytes = &block.bytes()[piece.run.clone()];
        for (at, frame) in records(bytes) {
            let place = Place { file: piece.name.number(), offset: piece.offset + at as u64 };
            self.packet(block.format(), place, &frame);
        }
        self.leave(piece.offset + bytes.len() as u64);
    }

    fn unrecorded(&mut self, block: &Block) {
        for (at, frame) in records(block.bytes()) {
            let place = Place { offset: self.nowhere.offset + at as u64, ..self.nowhere };
            self.packet(block.format(), place, &frame);
        }
        self.nowhere.offset += block.bytes().len() as u64;
        self.setup.outlet.captured += block.bytes().len() as u64;
        self.analysed = Some(self.nowhere);
    }

    #[inline]
    fn packet(&mut self, format: Format, place: Place, frame: &Frame<'_>) {
        let packet = decode(format.link, frame.data, frame.wire_len);
        self.summariser.packet(&packet, frame.nanos(format.precision), frame.wire_len);
        self.setup.stream.packet(&packet, place, frame, format.precision, &mut self.setup.outlet);
    }

    /// Goes on in a file, or begins another.
    fn enter(&mut self, name: CaptureName, offset: u64) {
        if self.current.as_ref().is_some_and(|current| current.name == name && current.to == offset) {
            return;
        }
        self.end_file();
        self.current = Some(Current { name, whole: offset == FILE_HEADER as u64, to: offset });
    }

    fn leave(&mut self, to: u64) {
        if let Some(current) = &mut self.current {
            self.setup.outlet.captured += to.saturating_sub(current.to);
            current.to = to;
            self.analysed = Some(Place { file: current.name.number(), offset: to });
        }
    }

    /// Hands the summary of a file on that is analysed to its end.
    fn end_file(&mut self) {
        let Some(Current { name, whole, to }) = self.current.take() else { return };
        let done = std::mem::replace(&mut self.summariser, Summariser::new(self.setup.limits));
        if whole {
            let summary = Box::new(done.summary().encode(&self.setup.limits));
            // An index that lags behind misses it, and makes it of the file later.
            let _ = self.setup.index.try_send(Update::Summary { number: name.number(), size: to, summary });
        }
    }

    fn read_back(&mut self, unread: Unread) {
        let name = unread.name;
        self.setup.outlet.synced.watch(name.number(), unread.durability.as_ref());
        match ReadBack::open(self.setup.fs.as_ref(), &self.setup.layout, unread.clone()) {
            Ok(reading) => {
                self.enter(name, unread.from);
                self.reading = Some(reading);
            }
            Err(error) => self.give_up(&unread, &error.to_string()),
        }
    }

    fn read_on(&mut self) {
        let Some(mut reading) = self.reading.take() else { return };
        let (number, left) = (reading.rest.name.number(), reading.rest.len());
        let slice = reading.slice(|format, offset, frame| {
            self.packet(format, Place { file: number, offset }, frame);
        });
        self.leave(reading.rest.from);
        self.setup.health.caught_up.add(left - reading.rest.len());
        match slice {
            Ok(Slice { over: true }) => self.setup.health.caught_up.add(reading.rest.len()),
            Ok(_) => self.reading = Some(reading),
            Err(error) => self.give_up(&reading.rest, &error.to_string()),
        }
    }

    /// Counts packets that can be read no more: most often because retention was faster.
    fn give_up(&mut self, unread: &Unread, why: &str) {
        let lost = Losses { analysis: unread.packets, ..Losses::NONE };
        let (name, packets) = (unread.name, unread.packets);
        let some = packets.map_or("some".to_owned(), |packets| packets.to_string());
        event!(
            UNANALYSED,
            TAPKEEP_FILE = %name,
            TAPKEEP_PACKETS = packets,
            TAPKEEP_REASON = why,
            "{name}: {some} packets could not be analysed: {why}"
        );
        self.setup.health.losses.add(&lost);
        self.setup.health.caught_up.add(unread.len());
        self.setup.outlet.writer.book(lost);
        // Told once: a restart need not look for them again.
        self.analysed = self.analysed.max(Some(Place { file: unread.name.number(), offset: unread.to }));
    }

    /// Tells the flow file how far the packets are covered by what it was given.
    fn mark(&mut self) {
        let AnalystLoop { stream, outlet, .. } = &mut self.setup;
        let oldest_open = stream.oldest_open().into_iter().chain(outlet.oldest_folded()).min();
        outlet.writer.set_position(Position { analysed: self.analysed, oldest_open });
    }

    /// Looks at the timers.
    fn look(&mut self) {
        let now = Instant::now();
        if now < self.look_due {
            return;
        }
        self.look_due = now + TURN;
        self.setup.outlet.turn(now);
        if self.setup.outlet.writer.wants_rotation() {
            let extras = self.extras();
            self.setup.outlet.writer.rotate(extras);
        }
        self.take_told();
        self.judge_losses(now);
        self.take_rules();
        self.tell();
        self.plan_save(now);
        if now >= self.save_due {
            (self.save_due, self.save_after) = (now + SAVE, now + SAVES_APART);
            self.save();
        }
    }

    /// Brings the next save forward if there is a new finding.
    fn plan_save(&mut self, now: Instant) {
        let found = self.setup.health.findings.get();
        if found != self.found {
            self.found = found;
            self.save_due = self.save_due.min(self.save_after.max(now + SAVE_FOUND));
        }
    }

    /// What the footer of the flow file gets: where no captures are written it alone can tell what there was.
    fn extras(&mut self) -> Extras {
        self.setup.outlet.captured = 0;
        if self.setup.saves {
            return Extras::default();
        }
        let done = std::mem::replace(&mut self.summariser, Summariser::new(self.setup.limits));
        let summary = done.summary().encode(&self.setup.limits);
        let json = summary.to_json();
        self.unsaved = Some(Box::new(summary));
        Extras { summary: Some(json), filter: None }
    }

    fn take_told(&mut self) {
        for told in self.setup.outlet.writer.take_told() {
            match told {
                Told::Sealed(entry) => {
                    self.setup.outlet.captured = 0;
                    if let (Some(facts), Some(summary)) = (entry.act.flows(), self.unsaved.take()) {
                        let (number, size) = (facts.name.number(), facts.size);
                        let _ = self.setup.index.try_send(Update::FlowSummary { number, size, summary });
                    }
                    let _ = self.setup.keeper.send(Message::Sealed(entry));
                }
                Told::Failed(error) => {
                    event!(FLOWS_TROUBLE, TAPKEEP_REASON = %error, "{error}; trying again");
                }
                Told::Recovered => event!(FLOWS_BACK, "flow records are written again"),
                Told::Aside(name) => {
                    damaged(&name, None, "it is no flow file, and was put aside under this name")
                }
            }
        }
    }

    /// Lets the detectors know when so much is being lost that a missing answer means nothing.
    fn judge_losses(&mut self, now: Instant) {
        if now < self.losses_due {
            return;
        }
        self.losses_due = now + LOSSES;
        let health = &self.setup.health;
        let lost: u64 = health.losses.get().by_cause().iter().filter_map(|(_, lost)| *lost).sum();
        let seen = health.packets.get() + lost;
        let (lost_before, seen_before) = std::mem::replace(&mut self.lost, (lost, seen));
        let (lost, seen) = (lost - lost_before, seen - seen_before);
        self.setup.stream.set_losing(lost * 100 > seen);
    }

    /// Puts new `[[ignore]]` rules in force. The same ones again change nothing: what they silence stays silent.
    fn take_rules(&mut self) {
        let Some(rules) = self.setup.ignore.take() else { return };
        if !self.setup.stream.ignored().map(|(rule, _)| rule).eq(&rules) {
            self.setup.stream.ignore(rules);
        }
    }

    /// Tells how far it is.
    fn tell(&self) {
        let counts = self.setup.stream.counts();
        self.setup.health.flows.set(counts.flows.flows);
        self.setup.health.flow_memory.set(counts.flows.memory);
        let paused = self.setup.stream.paused().map(str::to_owned);
        self.setup.health.set_tap(self.setup.stream.tap().texts(), paused);
        self.setup.health.analysed.set(counts.packets);
        self.setup
            .health
            .set_ignored(self.setup.stream.ignored().map(|(rule, hits)| Ignored::new(rule, hits)));
    }

    /// Saves the state of the detectors.
    fn save(&mut self) {
        if self.analysed == self.saved {
            return;
        }
        let AnalystLoop { stream, fs, layout, .. } = &self.setup;
        match saved::write(stream, self.analysed, fs.as_ref(), layout) {
            Ok(()) => self.saved = self.analysed,
            Err(error) => event!(
                DETECTORS_UNSAVED,
                TAPKEEP_REASON = %error,
                "save the state of the detectors: {error}; trying again in {SAVE:?}"
            ),
        }
    }

    /// Ends all flows, writes what there is, and seals.
    fn finish(mut self) {
        if self.setup.abandon.load(Ordering::Relaxed) {
            return;
        }
        if self.leaves_rest {
            event!(ANALYSIS_LEFT, "captures that are not analysed yet are left to the next start");
            pass_by(&self.setup.intake);
            self.save();
        } else {
            self.end_file();
            self.save();
            self.setup.stream.finish(&mut self.setup.outlet);
            self.mark();
        }
        self.setup.outlet.write_folds();
        let extras = self.extras();
        if !self.setup.outlet.writer.finish(extras) {
            let count: Option<u64> = None;
            event!(
                RECORDS_AGAIN,
                TAPKEEP_COUNT = count,
                "flow records that could not be written are made again at the next start"
            );
        }
        self.take_told();
    }
}
