//! What the journal gets: services whose standard error is a real journald's, read back with journalctl.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::captures::{self, names};
use support::disk::{self, Disk};
use support::journal::{self, Journal};
use support::net::{self, Pace};
use support::pcap::mix;
use support::process::wait_until;
use support::require;
use support::service::{Service, Setup};
use support::stage::Stage;
use tapkeep::daemon::events::{Priority, find};

const PACE: Pace = Pace::PerSecond(5_000);

const HEALTHY: [&str; 14] = [
    "start",
    "capturing",
    "index_new",
    "seal",
    "evict",
    "flow_seal",
    "hold",
    "release",
    "reloaded",
    "stopping",
    "stopped",
    "saving_off",
    "files_smaller",
    "waiting",
];

fn ready() -> bool {
    require(&journal::NEEDS) && require(&net::NEEDS) && require(&disk::NEEDS)
}

/// What a service has told, held against the table.
struct Told(Vec<Value>);

impl Told {
    fn by(journal: &Journal, id: u32) -> Self {
        let told = Self(journal.entries(id));
        told.0.iter().for_each(assert_is_in_the_table);
        told
    }

    fn names(&self) -> BTreeSet<&str> {
        self.0.iter().map(|entry| text(entry, "TAPKEEP_EVENT")).collect()
    }

    fn of(&self, name: &str) -> Vec<&Value> {
        self.0.iter().filter(|entry| text(entry, "TAPKEEP_EVENT") == name).collect()
    }
}

fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry[field].as_str().unwrap_or_else(|| panic!("{field} of {entry}"))
}

fn number(entry: &Value, field: &str) -> u64 {
    text(entry, field).parse().unwrap()
}

fn assert_is_in_the_table(entry: &Value) {
    assert_eq!(text(entry, "_TRANSPORT"), "journal", "{entry}");
    let kind = find(text(entry, "TAPKEEP_EVENT")).unwrap();
    let priority = match kind.priority {
        Priority::Err => "3",
        Priority::Warning => "4",
        Priority::Notice => "5",
        Priority::Info => "6",
    };
    assert_eq!((text(entry, "MESSAGE_ID"), text(entry, "PRIORITY")), (kind.id, priority), "{entry}");
    assert_eq!(text(entry, "SYSLOG_IDENTIFIER"), "tapkeep");
    let fields = entry
        .as_object()
        .unwrap()
        .keys()
        .filter(|key| key.starts_with("TAPKEEP_") && *key != "TAPKEEP_EVENT");
    for field in fields {
        assert!(kind.fields.contains(&field.as_str()), "{field} of {entry}");
    }
}

/// A service whose standard error is this journal's.
fn into(journal: &Journal, setup: Setup) -> Setup {
    let words = journal.wrapper();
    setup.through(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Waits until it has told of an event so often.
fn wait_for(journal: &Journal, service: &Service, name: &str, times: usize) {
    let id = service.process.id();
    wait_until(&format!("{name} in the journal"), || Told(journal.entries(id)).of(name).len() >= times);
}

/// Ends it, and takes what it has told.
fn stopped(journal: &Journal, service: Service) -> Told {
    let id = service.process.id();
    assert_eq!(captures::stop(service), "", "nothing beside the journal");
    Told::by(journal, id)
}

/// Small files, of which two are kept.
fn small(setup: Setup) -> Setup {
    let setup = setup.variable("PCAP_ROTATION_SIZE", "100000B").variable("TAPKEEP_CAPTURE_SNAPLEN", "1600");
    setup.variable("PCAP_RETENTION_COUNT", "2")
}

#[test]
fn a_healthy_day_is_told_and_has_no_warning() {
    if !ready() {
        return;
    }
    // A journal sees the disks that were there before it.
    let disk = Disk::new(24 << 20);
    let (stage, journal) = (Stage::new(&[]).unwrap(), Journal::start());
    let data = stage.data_dir();
    let mut service = into(&journal, small(stage.setup())).start(&stage.net);
    service.wait_until_capturing();
    stage.send(&mix(0, 2_000), PACE);
    wait_for(&journal, &service, "evict", 2);
    let held = names(&data, ".pcap").pop().unwrap();
    service.ask(&["hold", &held]).ok();
    wait_for(&journal, &service, "hold", 1);
    service.ask(&["release", &held]).ok();
    wait_for(&journal, &service, "release", 1);
    service.reload();
    wait_for(&journal, &service, "reloaded", 1);
    let told = stopped(&journal, service);
    let mut seen = told.names();
    let seals = told.of("seal");
    assert!(seals.iter().all(|seal| text(seal, "TAPKEEP_LOST") == "0"));
    assert_eq!(seals.iter().map(|seal| number(seal, "TAPKEEP_PACKETS")).sum::<u64>(), 2_000);
    assert_eq!(text(told.of("evict")[0], "TAPKEEP_FILE"), text(seals[0], "TAPKEEP_FILE"), "the oldest first");
    assert_eq!(text(told.of("evict")[0], "TAPKEEP_REASON"), "more than 2 files");
    assert_eq!(text(told.of("hold")[0], "TAPKEEP_FILE"), held);
    assert_eq!(number(told.of("stopped")[0], "TAPKEEP_PACKETS"), 2_000);

    // A second start, on a port that comes up a moment later, and one that keeps no packets.
    stage.net.down();
    let mut service = into(&journal, small(stage.setup())).start(&stage.net);
    service.wait_for("waiting");
    stage.net.up();
    service.wait_until_capturing();
    let again = stopped(&journal, service);
    let service = into(&journal, stage.setup().variable("SAVE_PCAP", "false")).start(&stage.net);
    wait_for(&journal, &service, "capturing", 1);
    let unsaved = stopped(&journal, service);
    // A disk on which files of the default size have no room.
    let setup = Setup::new(disk.path().join("data")).variable("PCAP_RETENTION_COUNT", "0");
    let mut service = into(&journal, setup).start(&stage.net);
    service.wait_until_capturing();
    let cramped = stopped(&journal, service);

    for told in [&told, &again, &unsaved, &cramped] {
        let trouble: Vec<_> = told.0.iter().filter(|entry| number(entry, "PRIORITY") <= 4).collect();
        assert!(trouble.is_empty(), "{trouble:?}");
        seen.extend(told.names());
    }
    for name in HEALTHY {
        assert!(seen.contains(name), "{name} is missing in {seen:?}");
    }
}
