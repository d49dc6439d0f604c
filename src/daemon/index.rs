//! The index thread: follows the catalog into the database. A commit may take a second and a broken disk for ever; nobody
//! waits for it, and when it cannot follow it says so and catches up from the whole catalog later. Between two updates it makes
//! the summaries that are missing: of files that the analyst did not see from their first packet on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tracing::debug;

use super::events::event;
use super::health::Health;
use crate::flow::summary::{Encoded, SummaryLimits};
use crate::index::count::summary_of;
use crate::index::writer::{self, IndexWriter, Recovery, Was};
use crate::store::catalog::{Catalog, Change};
use crate::store::facts::{CaptureFacts, State};
use crate::store::layout::Layout;
use crate::sys::fs::Fs;

/// How long a summary from the analyst is waited for before it is made of the file.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often it is looked whether one is due.
const LOOK: Duration = Duration::from_secs(5);

/// Files whose summary came before their row that are remembered.
const EARLY: usize = 16;

/// What the index is told.
#[derive(Debug)]
pub(super) enum Update {
    /// The catalog has changed.
    Changes(Vec<Change>),
    /// This is the catalog; whatever differs is to be made equal.
    Catalog(Box<Catalog>),
    /// What a capture file amounts to.
    Summary {
        /// Its index number.
        number: u64,
        /// Its length that this covers, bytes.
        size: u64,
        /// What it amounts to.
        summary: Box<Encoded>,
    },
    /// What the packets of a flow file amount to, where no capture files are written.
    FlowSummary {
        /// Its index number.
        number: u64,
        /// Its length, bytes.
        size: u64,
        /// What they amount to.
        summary: Box<Encoded>,
    },
}

/// What the index thread works with.
pub(super) struct IndexLoop {
    /// The database.
    pub index: IndexWriter,
    /// The file system.
    pub fs: Arc<dyn Fs>,
    /// The data directory.
    pub layout: Layout,
    /// The bounds of a summary.
    pub limits: SummaryLimits,
    /// What it tells.
    pub health: Arc<Health>,
    /// Summaries are given up when this is set.
    pub stop: Arc<AtomicBool>,
}

/// Follows until there are no more updates.
pub(super) fn follow(setup: IndexLoop, updates: &Receiver<Update>) {
    let mut running =
        Running { setup, lacking: BTreeMap::new(), early: VecDeque::new(), begun: false, stale: None };
    loop {
        match updates.recv_timeout(running.patience()) {
            Ok(update) => running.take(update),
            Err(RecvTimeoutError::Timeout) => running.summarise(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let stale = *running.setup.index.health() != writer::Health::Current;
        running.setup.health.index_stale.store(stale, Ordering::Relaxed);
    }
}

struct Running {
    setup: IndexLoop,
    /// Files without a summary, and when one is to be made.
    lacking: BTreeMap<u64, (Instant, CaptureFacts)>,
    early: VecDeque<(u64, u64)>,
    /// Whether it was tried to open the index.
    begun: bool,
    /// Why the index does not follow, as it was told last.
    stale: Option<String>,
}

impl Running {
    fn patience(&self) -> Duration {
        let due = self.lacking.values().map(|(due, _)| *due).min();
        due.map_or(LOOK, |due| due.saturating_duration_since(Instant::now())).min(LOOK)
    }

    fn take(&mut self, update: Update) {
        match update {
            Update::Changes(changes) => {
                self.write(&changes);
                self.expect(&changes);
            }
            Update::Catalog(catalog) => self.recover(&catalog),
            Update::FlowSummary { number, size, summary } => {
                self.setup.index.put_flow_summary(number, size, &summary);
                self.tell();
            }
            Update::Summary { number, size, summary } => {
                self.setup.index.put_summary(number, size, &summary);
                self.tell();
                if self.lacking.remove(&number).is_none() {
                    self.early.push_back((number, size));
                    if self.early.len() > EARLY {
                        self.early.pop_front();
                    }
                }
            }
        }
    }

    fn write(&mut self, changes: &[Change]) {
        self.setup.index.write(changes);
        self.tell();
    }

    /// Tells if the index has stopped following, for another reason than before, or follows again.
    fn tell(&mut self) {
        match self.setup.index.health() {
            writer::Health::Stale(why) if self.begun && self.stale.as_ref() != Some(why) => {
                event!(
                    INDEX_STALE,
                    TAPKEEP_REASON = why,
                    "the index cannot follow: {why}; recording goes on, the files answer"
                );
                self.stale = Some(why.clone());
            }
            writer::Health::Current if self.stale.take().is_some() => {
                event!(INDEX_CURRENT, "the index follows again");
            }
            _ => {}
        }
    }

    /// Notes which files should get a summary soon.
    fn expect(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Put(row) if row.evicted.is_none() && row.facts.state != State::Recording => {
                    let key = (row.facts.name.number(), row.facts.size);
                    if let Some(at) = self.early.iter().position(|early| *early == key) {
                        self.early.remove(at);
                    } else {
                        self.lacking.insert(key.0, (Instant::now() + PATIENCE, row.facts.clone()));
                    }
                }
                Change::Put(row) => {
                    self.lacking.remove(&row.facts.name.number());
                }
                Change::Drop(number) => {
                    self.lacking.remove(number);
                }
                _ => {}
            }
        }
    }

    fn recover(&mut self, catalog: &Catalog) {
        self.begun = true;
        if let Ok(recovery) = self.setup.index.recover(catalog) {
            tell_recovery(&recovery);
        }
        self.tell();
        // Of these the analyst knows nothing: they were there before this start, or it could not tell.
        let now = Instant::now();
        let lacking = self.setup.index.lacking(catalog, &self.setup.limits).unwrap_or_default();
        let due = |facts: CaptureFacts| (facts.name.number(), (now, facts));
        self.lacking = lacking.into_iter().map(due).collect();
    }

    /// Makes the summary that is due longest.
    fn summarise(&mut self) {
        let now = Instant::now();
        let due = self.lacking.iter().filter(|(_, (due, _))| *due <= now).min_by_key(|(_, (due, _))| *due);
        let Some(number) = due.map(|(number, _)| *number) else { return };
        let Some((_, facts)) = self.lacking.remove(&number) else { return };
        if self.setup.stop.load(Ordering::Relaxed) {
            return;
        }
        let IndexLoop { fs, layout, limits, .. } = &self.setup;
        if let Some(summary) = summary_of(layout, fs.as_ref(), &facts, *limits) {
            debug!("summarised {}", facts.name);
            self.setup.index.put_summary(number, facts.size, &summary);
        }
    }
}

fn tell_recovery(recovery: &Recovery) {
    match &recovery.was {
        Was::Ready => {}
        Was::Missing => event!(INDEX_NEW, "made a new index"),
        Was::Older(schema) => event!(
            INDEX_UPGRADED,
            TAPKEEP_SCHEMA = schema,
            "brought the index from schema {schema} up to date"
        ),
        Was::PutAside { to, why } => {
            let file = to.display();
            event!(
                INDEX_ASIDE,
                TAPKEEP_FILE = %file,
                TAPKEEP_REASON = why,
                "put the index aside as {file}: {why}"
            );
        }
    }
    let count = recovery.differed.len();
    if count > 0 {
        event!(INDEX_CORRECTED, TAPKEEP_COUNT = count, "brought {count} rows of the index up to date");
    }
}
