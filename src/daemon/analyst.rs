//! The analyst thread: blocks to flow records, summaries and findings. The only owner of the flow files.
//!
//! It may lag behind as far as retention lets it: what it did not get in memory it reads back from the capture files, the same
//! bytes through the same code. Nobody waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tracing::{error, info, warn};

use super::handover::{Intake, Unread, Work};
use super::health::Health;
use super::index::Update;
use super::keep::Message;
use super::pending::Pending;
use super::readback::{ReadBack, Slice};
use crate::detect::stream::{Output, Stream};
use crate::flow::summary::{Summariser, SummaryLimits};
use crate::packet::decode::decode;
use crate::packet::{Frame, Nanos, Place};
use crate::store::block::Block;
use crate::store::entry::Act;
use crate::store::format::{Format, records};
use crate::store::layout::Layout;
use crate::store::losses::Losses;
use crate::store::names::CaptureName;
use crate::store::recorder::Piece;
use crate::sys::clock::{Clock, Now};
use crate::sys::fs::Fs;

/// How often the timers are looked at when nothing comes.
const TURN: Duration = Duration::from_millis(200);

/// How often what may be written is written.
const WRITE: Duration = Duration::from_secs(1);

/// How often the state of the detectors is saved for a restart.
const SAVE: Duration = Duration::from_secs(300);

/// What the analyst thread works with.
pub(super) struct AnalystLoop {
    /// What comes from the recorder.
    pub intake: Intake,
    /// Disconnected once what a crash left is salvaged, and may be read.
    pub salvaged: Receiver<()>,
    /// The file system.
    pub fs: Arc<dyn Fs>,
    /// The data directory.
    pub layout: Layout,
    /// Where the stretches of older files lie that no record covers yet, oldest first.
    pub left: VecDeque<Unread>,
    /// The flow file.
    pub writer: FlowWriter,
    /// Flows and detectors.
    pub stream: Stream,
    /// The bounds of a summary.
    pub limits: SummaryLimits,
    /// Time between two syncs.
    pub sync_interval: Duration,
    /// Where findings go.
    pub keeper: Sender<Message>,
    /// Where summaries go.
    pub index: Sender<Update>,
    /// Counters.
    pub health: Arc<Health>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Set when the rest is to be left to the next start.
    pub abandon: Arc<AtomicBool>,
}

/// Analyses until the recorder is done and all it wrote is analysed.
pub(super) fn analyse(setup: AnalystLoop) {
    // What a crash left is read only once it is salvaged; what comes meanwhile waits in the files.
    while let Err(RecvTimeoutError::Timeout) = setup.salvaged.recv_timeout(TURN) {
        if setup.abandon.load(Ordering::Relaxed) {
            return;
        }
    }
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
    out: Output,
    pending: Pending,
    /// `None` where no capture files are written.
    current: Option<Current>,
    summariser: Summariser,
    reading: Option<ReadBack>,
    /// The last packet that was analysed.
    analysed: Option<Place>,
    /// Where the next packet lies that is in no file.
    nowhere: Place,
    /// Bytes of captures analysed since the flow file was begun.
    captured: u64,
    folder: Folder,
    saved: Option<Place>,
    write_due: Instant,
    sync_due: Instant,
    save_due: Instant,
}

impl Running {
    fn new(setup: AnalystLoop) -> Self {
        let now = Instant::now();
        let (write_due, sync_due, save_due) = (now + WRITE, now + setup.sync_interval, now + SAVE);
        let summariser = Summariser::new(setup.limits);
        let nowhere = Place { file: setup.next_number, offset: 0 };
        Self {
            setup,
            out: Output::default(),
            pending: Pending::default(),
            current: None,
            summariser,
            reading: None,
            analysed: None,
            nowhere,
            captured: 0,
            folder: Folder::default(),
            saved: None,
            write_due,
            sync_due,
            save_due,
        }
    }

    /// Does what comes next; `false` when nothing will.
    fn turn(&mut self) -> bool {
        if self.setup.abandon.load(Ordering::Relaxed) {
            return false;
        }
        self.look();
        if self.pending.is_full() {
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
        self.collect();
        true
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
                self.setup.stream.tick(up, now.wall, &mut self.out);
            }
            Work::Lost(losses) => self.setup.writer.book(losses),
        }
    }

    fn recorded(&mut self, block: &Block, piece: &Piece) {
        self.pending.watch(piece.name.number(), &piece.durability);
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
    }

    #[inline]
    fn packet(&mut self, format: Format, place: Place, frame: &Frame<'_>) {
        let packet = decode(format.link, frame.data, frame.wire_len);
        self.summariser.packet(&packet, frame.nanos(format.precision), frame.wire_len);
        self.setup.stream.packet(&packet, place, frame, format.precision, &mut self.out);
        self.analysed = Some(place);
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
            self.captured += to.saturating_sub(current.to);
            current.to = to;
        }
    }

    /// Hands the summary of a file on that is analysed to its end.
    fn end_file(&mut self) {
        let Some(Current { name, whole, to }) = self.current.take() else { return };
        let done = std::mem::replace(&mut self.summariser, Summariser::new(self.setup.limits));
        if whole {
            let summary = Box::new(done.summary());
            // An index that lags behind misses it, and makes it of the file later.
            let _ = self.setup.index.try_send(Update::Summary { number: name.number(), size: to, summary });
        }
    }

    fn read_back(&mut self, unread: Unread) {
        if let Some(durability) = &unread.durability {
            self.pending.watch(unread.name.number(), durability);
        }
        let name = unread.name;
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
        let number = reading.rest.name.number();
        let slice = reading.slice(|format, offset, frame| {
            self.packet(format, Place { file: number, offset }, frame);
        });
        self.leave(reading.rest.from);
        match slice {
            Ok(Slice { over: true, .. }) => {}
            Ok(_) => self.reading = Some(reading),
            Err(error) => self.give_up(&reading.rest, &error.to_string()),
        }
    }

    /// Counts packets that can be read no more: most often because retention was faster.
    fn give_up(&mut self, unread: &Unread, why: &str) {
        let lost = Losses { analysis: Some(unread.packets), ..Losses::NONE };
        warn!("{}: {} packets could not be analysed: {why}", unread.name, unread.packets);
        self.setup.health.losses.add(&lost);
        self.setup.writer.book(lost);
    }

    /// Takes what the stream has given.
    fn collect(&mut self) {
        let fold = self.setup.fold && should_fold(self.setup.writer.size(), self.captured);
        for record in self.out.records.drain(..) {
            if fold && record.is_lone_packet() {
                self.folder.add_record(&record);
            } else {
                self.pending.push(record);
            }
        }
        for finding in self.out.findings.drain(..) {
            tell_finding(&finding);
            let _ = self.setup.keeper.send(Message::Note(Act::Finding { finding: finding.into() }));
        }
    }

    /// Looks at the timers.
    fn look(&mut self) {
        let now = Instant::now();
        if now >= self.write_due {
            self.write_due = now + WRITE;
            self.write();
            self.tell();
        }
        if now >= self.sync_due {
            self.sync_due = now + self.setup.sync_interval;
            self.sync();
        }
        if now >= self.save_due {
            self.save_due = now + SAVE;
            self.save();
        }
    }
}
