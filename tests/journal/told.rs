//! What a service has told the journal, and how it comes to tell.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tapkeep::daemon::events::{Priority, find};

use super::support::captures::{self, pcaps};
use super::support::disk;
use super::support::journal::{self, Journal};
use super::support::net::{self, Pace};
use super::support::process::PATIENCE;
use super::support::require;
use super::support::service::{Service, Setup};

pub const PACE: Pace = Pace::PerSecond(5_000);

/// How often the services here sync.
pub const SYNC: &str = "200ms";

pub fn ready() -> bool {
    require(&journal::NEEDS) && require(&net::NEEDS) && require(&disk::NEEDS)
}

/// What a service has told, held against the table.
pub struct Told(pub Vec<Value>);

impl Told {
    pub fn by(journal: &Journal, id: u32) -> Self {
        let told = Self(journal.entries(id));
        told.0.iter().for_each(assert_is_in_the_table);
        told
    }

    pub fn names(&self) -> BTreeSet<&str> {
        self.0.iter().map(|entry| text(entry, "TAPKEEP_EVENT")).collect()
    }

    pub fn of(&self, name: &str) -> Vec<&Value> {
        self.0.iter().filter(|entry| text(entry, "TAPKEEP_EVENT") == name).collect()
    }
}

pub fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry[field].as_str().unwrap_or_else(|| panic!("{field} of {entry}"))
}

pub fn number(entry: &Value, field: &str) -> u64 {
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
pub fn into(journal: &Journal, setup: Setup) -> Setup {
    let words = journal.wrapper();
    setup.through(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Waits until it has told of an event so often.
pub fn wait_for(journal: &Journal, service: &Service, name: &str, times: usize) {
    let id = service.process.id();
    let end = Instant::now() + PATIENCE;
    while Told(journal.entries(id)).of(name).len() < times {
        assert!(Instant::now() < end, "waited in vain for {name}: {:#?}", journal.entries(id));
        sleep(Duration::from_millis(20));
    }
}

/// Ends it, and takes what it has told.
pub fn stopped(journal: &Journal, service: Service) -> Told {
    let id = service.process.id();
    assert_eq!(captures::stop(service), "", "nothing beside the journal");
    Told::by(journal, id)
}

pub fn assert_all(wanted: &[&str], seen: &BTreeSet<&str>) {
    let missing: Vec<_> = wanted.iter().filter(|name| !seen.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?} are missing in {seen:?}");
}

/// Small files, of which two are kept.
pub fn small(setup: Setup) -> Setup {
    let setup = setup.variable("PCAP_ROTATION_SIZE", "100000B").variable("TAPKEEP_CAPTURE_SNAPLEN", "1600");
    setup.variable("PCAP_RETENTION_COUNT", "2")
}

/// Writes a file into `pcaps/`.
pub fn put(data: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(pcaps(data).join(name), bytes).unwrap();
}
