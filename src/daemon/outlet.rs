//! Where what the analyst finds goes: flow records into the flow file, each or, in a flood, counted together; findings to the
//! keeper. What comes at once, when many flows end, is handed on one by one: memory holds what the flow file may hold back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::events::event;
use super::health::Health;
use super::keep::Message;
use super::synced::Synced;
use crate::detect::stream::Sink;
use crate::detect::{Finding, Severity};
use crate::flow::record::{FlowRecord, Stretches};
use crate::packet::Place;
use crate::store::entry::Act;
use crate::store::facts::rfc3339;
use crate::store::finding::KeptFinding;
use crate::store::flow_file::{FlowWriter, Folder, should_fold};

/// How often folded flows are written.
const FOLD: Duration = Duration::from_secs(5);

/// How long a record waits for room in the flow file, while the disk or the captures' syncs are slow, before it is lost.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// The flow file and the keeper, as the analyst's stream sees them.
pub(super) struct Outlet {
    /// The flow file.
    pub writer: FlowWriter,
    /// How far the captures are on the device.
    pub synced: Synced,
    /// Bytes of captures analysed since the flow file was begun.
    pub captured: u64,
    /// Whether capture files are written.
    saves: bool,
    /// Whether floods of one-packet flows are folded.
    fold: bool,
    folder: Folder,
    /// The first packet of what is in `folder`, and the last that lies in a file.
    folded: (Option<Place>, Option<Place>),
    fold_due: Instant,
    patient: bool,
    keeper: Sender<Message>,
    health: Arc<Health>,
    abandon: Arc<AtomicBool>,
}

impl Outlet {
    /// To this flow file and this keeper.
    pub(super) fn new(
        writer: FlowWriter,
        (saves, fold): (bool, bool),
        keeper: Sender<Message>,
        health: Arc<Health>,
        abandon: Arc<AtomicBool>,
    ) -> Self {
        Self {
            writer,
            synced: Synced::default(),
            captured: 0,
            saves,
            fold,
            folder: Folder::default(),
            folded: (None, None),
            fold_due: Instant::now() + FOLD,
            patient: true,
            keeper,
            health,
            abandon,
        }
    }

    /// Writes and syncs what is due.
    pub(super) fn turn(&mut self, now: Instant) {
        if now >= self.fold_due {
            self.write_folds();
            self.fold_due = now + FOLD;
        }
        self.write();
    }

    /// Writes what was folded, and lets go of what the captures' syncs held back.
    pub(super) fn write_folds(&mut self) {
        let (_, last) = std::mem::take(&mut self.folded);
        for fold in self.folder.take() {
            let _ = self.writer.append_fold(&fold, last);
        }
        self.writer.captures_synced(self.synced.upto());
    }

    /// The first packet of what is folded and not written yet: made again after a crash.
    pub(super) fn oldest_folded(&self) -> Option<Place> {
        self.folded.0
    }

    fn write(&mut self) {
        self.writer.captures_synced(self.synced.upto());
        self.writer.tick();
    }

    /// Waits until a record has room; not for ever, and not again while there is none.
    fn make_room(&mut self) {
        let until = Instant::now() + PATIENCE;
        while self.patient && !self.writer.has_room() && !self.abandon.load(Ordering::Relaxed) {
            self.health.turns.analyst.add(1);
            std::thread::sleep(PAUSE);
            self.write();
            self.patient = Instant::now() < until;
        }
        self.patient |= self.writer.has_room();
    }

    fn fold(&mut self, record: &FlowRecord) {
        self.folder.add(record.src_ip, record.orig_packets, record.orig_bytes, record.start, record.end);
        let (first, last) = self.folded;
        let first = first.into_iter().chain(record.id()).min();
        self.folded = (first, last.max(record.captures.last_place()));
    }
}

impl Sink for Outlet {
    fn record(&mut self, mut record: FlowRecord) {
        if !self.saves {
            record.captures = Stretches::default();
        }
        if self.fold && record.is_lone_packet() && should_fold(self.writer.coming_size(), self.captured) {
            return self.fold(&record);
        }
        if !self.writer.has_room() {
            self.make_room();
        }
        if self.writer.append(&record, record.captures.last_place()).is_err() {
            self.health.refused.add(1);
        }
    }

    fn finding(&mut self, finding: Finding) {
        tell(&finding);
        self.health.findings.add(finding.severity);
        match KeptFinding::new(&finding) {
            Ok(finding) => drop(self.keeper.send(Message::Note(Act::Finding { finding }))),
            Err(error) => {
                event!(LEDGER_TROUBLE, TAPKEEP_REASON = %error, "keep finding {}: {error}", finding.id);
            }
        }
    }
}

/// Those that are only worth knowing are told by nobody but `tapkeep suspicious --all`.
fn tell(finding: &Finding) {
    let Finding { detector, severity, summary, .. } = finding;
    if *severity == Severity::Info {
        return;
    }
    event!(
        FINDING,
        TAPKEEP_FINDING = finding.id,
        TAPKEEP_DETECTOR = detector,
        TAPKEEP_SEVERITY = format!("{severity:?}").to_lowercase(),
        TAPKEEP_TECHNIQUE = finding.technique,
        TAPKEEP_SRC = finding.src,
        TAPKEEP_DST = finding.dst,
        TAPKEEP_PORT = finding.port,
        TAPKEEP_COUNT = finding.count,
        TAPKEEP_FIRST = rfc3339(finding.first_seen),
        TAPKEEP_LAST = rfc3339(finding.last_seen),
        "{detector} ({severity:?}): {summary}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SharedLedger;
    use crate::store::flow_file::Settings;
    use crate::store::layout::Layout;
    use crate::store::ledger::Ledger;
    use crate::sys::clock::RealClock;
    use crate::sys::fs::{Fs, RealFs};

    fn outlet(root: &std::path::Path) -> Outlet {
        let fs: Arc<dyn Fs> = Arc::new(RealFs::default());
        let (layout, clock) = (Layout::new(root), Arc::new(RealClock));
        std::fs::create_dir(layout.flows()).unwrap();
        let (ledger, _) = Ledger::open(Arc::clone(&fs), layout.ledger(), clock.clone()).unwrap();
        let ledger = SharedLedger::new(ledger);
        let (writer, _) = FlowWriter::open(fs, layout, ledger, clock, &[], Settings::default()).unwrap();
        let (keeper, _) = crossbeam_channel::bounded(1);
        Outlet::new(writer, (true, false), keeper, Arc::default(), Arc::default())
    }

    fn record(offset: u64) -> FlowRecord {
        let stamp = "2024-12-31T14:30:52.000000000Z";
        serde_json::from_value(serde_json::json!({
            "flow_id": format!("1-{offset}"), "part": 0, "final": true, "start": stamp, "end": stamp,
            "src_ip": "10.0.0.1", "dst_ip": "10.0.0.2", "proto": 6, "orig_packets": 1, "orig_bytes": 60,
            "resp_packets": 0, "resp_bytes": 0, "orig_payload_bytes": 0, "resp_payload_bytes": 0, "min_ttl": 64,
            "max_ttl": 64, "end_reason": "forced", "http_host": "x".repeat(8_000), "captures": [[1, offset, offset]],
        }))
        .unwrap()
    }

    #[test]
    fn many_records_wait_for_a_capture_that_is_not_synced_and_none_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let mut outlet = outlet(dir.path());
        let capture = Arc::new(crate::store::part::Durability::default());
        outlet.synced.watch(1, Some(&capture));
        let filled = std::thread::scope(|scope| {
            let sealing = scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(500));
                drop(capture);
            });
            // 40 MB, of which 32 may wait.
            (0..5_000).for_each(|at| outlet.record(record(24 + at * 100)));
            sealing.is_finished()
        });
        assert!(filled, "what could not wait any more went on before the capture was synced");
        assert_eq!(outlet.health.refused.get(), 0);
        outlet.write_folds();
        assert_eq!(outlet.writer.counts().taken, 5_000);
        assert_eq!(outlet.writer.counts().refused, 0);
        assert!(outlet.writer.finish(crate::store::flow_file::Extras::default()));
    }
}
