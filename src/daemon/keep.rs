//! The keeper thread: salvage at the start, then retention, markers and the ledger, and every change of the catalog to the
//! index. Beside capture and recorder, never before them.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::events::{damaged, event};
use super::health::Health;
use super::index::Update;
use crate::store::entry::{Act, Entry};
use crate::store::facts::CaptureFacts;
use crate::store::flow_facts::FlowFacts;
use crate::store::keeper::{KeepError, Keeper, Kept};
use crate::store::losses::Losses;
use crate::store::pause::Pause;
use crate::store::retention::{FlowLimits, Limits, Reason};
use crate::store::salvage::Salvaged;

/// What the keeper is told.
#[derive(Debug)]
pub(super) enum Message {
    /// A file has its final name.
    Sealed(Box<Entry>),
    /// Something to be written down.
    Note(Act),
    /// The disk took no more.
    RoomWanted,
    /// Other limits, and the size at which files end.
    Limits(Option<Limits>, u64),
    /// Other limits of flow files.
    FlowLimits(Option<FlowLimits>),
    /// The recorder is done; losses that belong to no file.
    Unbooked(Losses),
}

/// How often retention and markers are looked at when nothing happens.
const LOOK: Duration = Duration::from_secs(5);

/// How often an index that has stopped following is given the whole catalog.
const CATCH_UP: Duration = Duration::from_secs(30);

/// How often a `.part` that could not be salvaged is tried again.
const SALVAGE_AGAIN: Duration = Duration::from_secs(60);

/// The shortest time between two looks that a full disk asks for.
const HASTE: Duration = Duration::from_millis(100);

/// What the keeper thread works with.
pub(super) struct KeepLoop {
    /// The files.
    pub keeper: Keeper,
    /// Where changes of the catalog go.
    pub index: Sender<Update>,
    /// What it tells.
    pub health: Arc<Health>,
    /// Salvage is given up when this is set.
    pub stop: Arc<AtomicBool>,
    /// Whether capture files are written.
    pub saves: bool,
    /// Whether the index missed an update, and needs the whole catalog.
    pub behind: bool,
    /// When the index was last given the whole catalog.
    pub caught_up: Instant,
    /// When salvage was last tried.
    pub salvaged: Instant,
    /// The time before this run, until it is written down.
    pub pause: Option<Pause>,
    /// What keeps retention from its work, as it was told last.
    pub trouble: Option<String>,
    /// Dropped when what a crash left may be read.
    pub readable: Option<Sender<()>>,
}

/// Salvages, then keeps until there are no more messages.
pub(super) fn keep(mut running: KeepLoop, messages: &Receiver<Message>) {
    let mut looked = Instant::now();
    running.salvage(messages, &mut looked);
    running.readable = None;
    loop {
        let (due, over) = match messages.recv_timeout(LOOK.saturating_sub(looked.elapsed())) {
            Ok(message) => (running.follow(message, looked), false),
            Err(RecvTimeoutError::Timeout) => (true, false),
            Err(RecvTimeoutError::Disconnected) => (false, true),
        };
        if over {
            break;
        }
        if due {
            running.salvage_again(messages, &mut looked);
            running.enforce();
            looked = Instant::now();
        }
        running.publish();
    }
}

impl KeepLoop {
    /// Salvages, then takes in what the ledger does not know, one file a step.
    fn salvage(&mut self, messages: &Receiver<Message>, looked: &mut Instant) {
        let parts = self.keeper.parts();
        for (done, part) in parts.iter().enumerate() {
            self.health.set_busy_with(Some(format!("salvaging {} of {} files", done + 1, parts.len())));
            if !self.may_go_on(messages, looked) {
                return;
            }
            say(&self.keeper.salvage(part));
        }
        self.readable = None;
        loop {
            let unread = self.keeper.unread();
            self.health.set_busy_with(Some(format!(
                "reading files that the ledger does not know, {unread} are left"
            )));
            if !self.may_go_on(messages, looked) {
                return;
            }
            let Some(kept) = self.keeper.reconcile() else { break };
            say(&kept);
        }
        self.health.set_busy_with(None);
        self.note_pause();
        self.enforce();
        self.send_catalog();
    }

    /// Writes down that nothing was captured before this run.
    fn note_pause(&mut self) {
        if let Some(gap) = self.pause.take().and_then(|pause| pause.gap(self.keeper.catalog())) {
            self.note(gap);
        }
    }

    /// Between two steps of long work: does what came meanwhile and carries retention out when it is time; says whether to
    /// go on.
    fn may_go_on(&mut self, messages: &Receiver<Message>, looked: &mut Instant) -> bool {
        let mut due = looked.elapsed() >= LOOK;
        for message in messages.try_iter() {
            due |= self.follow(message, *looked);
        }
        if due {
            self.enforce();
            *looked = Instant::now();
        }
        self.publish();
        let stopped = self.stop.load(Ordering::Relaxed);
        if stopped {
            self.health.set_busy_with(None);
        }
        !stopped
    }

    /// Tries once more, now and then, what could not be salvaged at the start: the disk may have been full.
    fn salvage_again(&mut self, messages: &Receiver<Message>, looked: &mut Instant) {
        if self.keeper.parts().is_empty() || self.salvaged.elapsed() < SALVAGE_AGAIN {
            return;
        }
        for part in self.keeper.parts() {
            if !self.may_go_on(messages, looked) {
                break;
            }
            say(&self.keeper.salvage(&part));
        }
        self.salvaged = Instant::now();
    }

    /// Does as told; says whether it is time to look at the limits.
    fn follow(&mut self, message: Message, looked: Instant) -> bool {
        match message {
            Message::Sealed(entry) => {
                sealed(&entry);
                self.keeper.follow(&entry);
                true
            }
            Message::Note(act) => {
                self.note(act);
                false
            }
            Message::RoomWanted => looked.elapsed() >= HASTE,
            Message::Limits(limits, rotation_size) => {
                self.keeper.set_limits(limits, rotation_size);
                true
            }
            Message::FlowLimits(limits) => {
                self.keeper.set_flow_limits(limits);
                true
            }
            Message::Unbooked(losses) => {
                self.note(Act::Stop { losses });
                false
            }
        }
    }

    fn note(&mut self, act: Act) {
        if let Err(error) = self.keeper.note(act) {
            event!(LEDGER_TROUBLE, TAPKEEP_REASON = %error, "{error}");
        }
    }

    fn enforce(&mut self) {
        let more = self.saves && !self.stop.load(Ordering::Relaxed);
        match self.keeper.enforce(self.health.growing.get(), more) {
            Ok(kept) => {
                self.trouble = None;
                kept.iter().for_each(say);
            }
            Err(error) => {
                let reason = error.to_string();
                if self.trouble.as_ref() != Some(&reason) {
                    event!(RETENTION_TROUBLE, TAPKEEP_REASON = reason, "retention: {reason}");
                }
                self.trouble = Some(reason);
            }
        }
        let growing = self.health.growing.get();
        self.health.set_retention(if self.saves { self.keeper.reach(growing) } else { None });
        if let Err(error) = self.keeper.compact() {
            event!(LEDGER_TROUBLE, TAPKEEP_REASON = %error, "{error}");
        }
    }

    /// Lets the index start over from the whole catalog.
    fn send_catalog(&mut self) {
        self.keeper.take_changes();
        self.caught_up = Instant::now();
        self.send(Update::Catalog(Box::new(self.keeper.catalog().clone())));
    }

    /// An index that is behind gets nothing more until it has taken what it was sent, and then the whole catalog.
    fn publish(&mut self) {
        let stale = self.behind || self.health.index_stale.load(Ordering::Relaxed);
        if stale && self.index.is_empty() && self.caught_up.elapsed() >= CATCH_UP {
            self.send_catalog();
        }
        let changes = self.keeper.take_changes();
        if self.behind {
            self.health.index_stale.store(true, Ordering::Relaxed);
        } else if !changes.is_empty() {
            self.send(Update::Changes(changes));
        }
    }

    /// Never waits: an index that cannot take it is behind.
    fn send(&mut self, update: Update) {
        self.behind = self.index.try_send(update).is_err();
        if self.behind {
            self.health.index_stale.store(true, Ordering::Relaxed);
        }
    }
}

fn sealed(entry: &Entry) {
    match &entry.act {
        Act::Seal { capture } => capture_sealed(capture),
        Act::FlowSeal { flows: FlowFacts { name, records, size, .. } } => event!(
            FLOW_SEAL,
            TAPKEEP_FILE = %name,
            TAPKEEP_RECORDS = records,
            TAPKEEP_SIZE = size,
            "sealed {name}: {records} records, {size} bytes"
        ),
        _ => {}
    }
}

fn capture_sealed(capture: &CaptureFacts) {
    let CaptureFacts { name, packets, size, .. } = capture;
    let lost = capture.losses.total();
    let missing = lost.map_or_else(|| "an unknown number".to_owned(), |lost| lost.to_string());
    match capture.doubtful_from {
        None => event!(
            SEAL,
            TAPKEEP_FILE = %name,
            TAPKEEP_PACKETS = packets,
            TAPKEEP_SIZE = size,
            TAPKEEP_LOST = lost,
            "sealed {name}: {packets} packets, {size} bytes, {missing} lost"
        ),
        Some(from) => event!(
            DAMAGE,
            TAPKEEP_FILE = %name,
            TAPKEEP_FROM = from,
            TAPKEEP_TO = size,
            TAPKEEP_REASON = "it was not synced",
            "sealed {name}: {packets} packets, {missing} lost, doubtful from byte {from}"
        ),
    }
}

fn say(kept: &Kept) {
    match kept {
        Kept::Evicted(name, size, reason) => evicted(name, *size, *reason),
        Kept::FlowEvicted(name, size, reason) => evicted(name, *size, *reason),
        Kept::NotEvicted(name, error) => not_evicted(name, error),
        Kept::FlowNotEvicted(name, error) => not_evicted(name, error),
        Kept::Held(name) => event!(HOLD, TAPKEEP_FILE = %name, "{name} is held"),
        Kept::Released(name) => event!(RELEASE, TAPKEEP_FILE = %name, "{name} is released"),
        Kept::Salvaged(salvaged) => say_salvaged(salvaged),
        Kept::NotSalvaged(error) => {
            event!(SALVAGE_FAILED, TAPKEEP_REASON = %error, "{error}; it is tried again in a minute");
        }
        Kept::Found(name) => found(name),
        Kept::FlowFound(name) => found(name),
        Kept::Clash(file) => event!(
            CLASH,
            TAPKEEP_FILE = file,
            "{file} has the index number of another file; it is left alone"
        ),
        Kept::Vanished(name) => vanished(name),
        Kept::FlowVanished(name) => vanished(name),
    }
}

fn say_salvaged(salvaged: &Salvaged) {
    match salvaged {
        Salvaged::Kept(facts, cut, end) => {
            let (CaptureFacts { name, packets, .. }, why) = (facts.as_ref(), end.as_str());
            event!(
                SALVAGE,
                TAPKEEP_FILE = %name,
                TAPKEEP_PACKETS = packets,
                TAPKEEP_CUT = cut,
                TAPKEEP_REASON = why,
                "salvaged {name}: {packets} packets, {cut} bytes cut, {why}"
            );
        }
        Salvaged::Completed(facts) => {
            let name = facts.name;
            event!(
                SEAL_COMPLETED,
                TAPKEEP_FILE = %name,
                "completed the interrupted sealing of {name}"
            );
        }
        Salvaged::Empty(name) => {
            event!(EMPTY, TAPKEEP_FILE = %name, "{name} held no packet and is gone");
        }
        Salvaged::Aside(_, aside) => {
            damaged(aside, None, "it cannot be read as a capture file, and was put aside under this name");
        }
    }
}

fn evicted(name: &dyn Display, size: u64, reason: Reason) {
    event!(
        EVICT,
        TAPKEEP_FILE = %name,
        TAPKEEP_SIZE = size,
        TAPKEEP_REASON = %reason,
        "evicted {name} ({size} bytes): {reason}"
    );
}

fn not_evicted(name: &dyn Display, error: &KeepError) {
    event!(EVICT_FAILED, TAPKEEP_FILE = %name, TAPKEEP_REASON = %error, "evict {name}: {error}");
}

fn found(name: &dyn Display) {
    event!(FOUND, TAPKEEP_FILE = %name, "took in {name}, which the ledger did not know");
}

fn vanished(name: &dyn Display) {
    event!(VANISHED, TAPKEEP_FILE = %name, "{name} is gone, and not by retention");
}
