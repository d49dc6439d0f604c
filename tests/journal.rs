//! What the journal gets: services whose standard error is a real journald's, read back with journalctl. Each event of the table
//! is told by one of these runs, or it is said below why it is not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::captures::{self, names, pcaps};
use support::disk::{self, Disk};
use support::journal::{self, Journal};
use support::net::{self, GENERATOR, Pace};
use support::pcap::{Shape, mix, pcap_bytes};
use support::process::{PATIENCE, Process, Signal, must, wait_until};
use support::recorded::wait_for_packets;
use support::require;
use support::scan::scan;
use support::service::{Service, Setup};
use support::stage::Stage;
use tapkeep::daemon::events::{ALL, Priority, find};

const PACE: Pace = Pace::PerSecond(5_000);

/// How often the services here sync.
const SYNC: Duration = Duration::from_millis(200);
const SYNC_MS: &str = "200ms";

const HEALTHY: [&str; 14] = [
    "start",
    "saving_off",
    "files_smaller",
    "waiting",
    "capturing",
    "seal",
    "flow_seal",
    "evict",
    "hold",
    "release",
    "reloaded",
    "stopping",
    "stopped",
    "index_new",
];

const AROUND: [&str; 14] = [
    "setting_unknown",
    "reload_refused",
    "setting_waits",
    "failed",
    "state_untold",
    "state_told",
    "metrics_unwritten",
    "metrics_written",
    "still_waiting",
    "interface_gone",
    "link_lost",
    "link_back",
    "finding",
    "left_out",
];

const AFTER_A_CRASH: [&str; 11] = [
    "salvage",
    "flow_salvage",
    "seal_completed",
    "empty",
    "damage",
    "found",
    "vanished",
    "clash",
    "index_aside",
    "index_corrected",
    "index_upgraded",
];

const ON_A_FULL_DISK: [&str; 6] =
    ["disk_trouble", "disk_back", "loss", "loss_end", "index_stale", "index_current"];

/// Events that no run here brings about, and why.
const NOT_HERE: [(&str, &str); 6] = [
    ("thread_panicked", "no input makes a thread panic"),
    ("thread_stalled", "with the watchdog"),
    ("thread_stuck", "with the watchdog"),
    ("thread_moves", "with the watchdog"),
    ("clock_step", "it would set this machine's clock"),
    ("analysis_left", "wants more captures than are analysed within the time that a stopping service takes"),
];

#[test]
fn every_event_is_told_by_a_run_or_it_is_said_why_not() {
    let faults = FAULTS.iter().flat_map(|fault| fault.events.iter().chain(fault.after)).copied();
    let told = HEALTHY.iter().chain(&AROUND).chain(&AFTER_A_CRASH).chain(&ON_A_FULL_DISK).copied();
    let all: Vec<_> = told.chain(faults).chain(NOT_HERE.map(|(name, _)| name)).collect();
    let set: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!(set.len(), all.len(), "none twice");
    assert_eq!(set, ALL.iter().map(|kind| kind.name).collect());
}

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
    let end = Instant::now() + PATIENCE;
    while Told(journal.entries(id)).of(name).len() < times {
        assert!(Instant::now() < end, "waited in vain for {name}: {:#?}", journal.entries(id));
        sleep(Duration::from_millis(20));
    }
}

/// Ends it, and takes what it has told.
fn stopped(journal: &Journal, service: Service) -> Told {
    let id = service.process.id();
    assert_eq!(captures::stop(service), "", "nothing beside the journal");
    Told::by(journal, id)
}

fn assert_all(wanted: &[&str], seen: &BTreeSet<&str>) {
    let missing: Vec<_> = wanted.iter().filter(|name| !seen.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?} are missing in {seen:?}");
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
    assert_all(&HEALTHY, &seen);
}

#[test]
fn a_journal_that_hangs_stops_nothing_and_is_told_all_later() {
    if !ready() {
        return;
    }
    let (stage, mut journal) = (Stage::new(&[]).unwrap(), Journal::start());
    let mut service = into(&journal, small(stage.setup())).start(&stage.net);
    service.wait_until_capturing();
    journal.daemon().stand_still();
    stage.send(&mix(0, 8_000), PACE);
    // Each has a line when it is sealed and one when it is evicted: more than journald's socket takes while nobody reads it.
    let last = || names(&stage.data_dir(), ".pcap").last().and_then(|name| captures::number(name));
    wait_until("the files", || last() > Some(35));
    wait_until("the evictions", || names(&stage.data_dir(), ".pcap").len() <= 2);
    let updated = || service.state().unwrap()["updated"].clone();
    let before = updated();
    wait_until("the state", || updated() != before);
    journal.daemon().signal(Signal::CONT);
    wait_for(&journal, &service, "evict", 20);
    journal.daemon().stand_still();
    assert_eq!(service.stop().code, Some(0), "nor does it keep the service from its end");
}

#[test]
fn what_happens_around_a_service_is_told() {
    if !ready() {
        return;
    }
    let (stage, journal) = (Stage::new(&[]).unwrap(), Journal::start());
    let elsewhere = Setup::new(stage.dir.path().join("elsewhere")).variable("NETWORK_INTERFACE", "nowhere0");
    let patient = into(&journal, elsewhere).start_here();
    let metrics = stage.dir.path().join("metrics");
    std::fs::create_dir(&metrics).unwrap();
    let setup = small(stage.setup()).config("[capture]\nsnaplenn = 3\n");
    let setup = setup.variable("TAPKEEP_HEALTH_METRICS_FILE", metrics.join("tapkeep.prom"));
    let mut service = into(&journal, setup).start(&stage.net);
    service.wait_until_capturing();
    stage.net.delete();
    wait_for(&journal, &service, "interface_gone", 1);
    stage.net.create();
    wait_for(&journal, &service, "link_back", 1);
    let other_end = |state| must("ip", &["-n", stage.net.generator(), "link", "set", GENERATOR, state]);
    other_end("down");
    wait_for(&journal, &service, "link_lost", 1);
    other_end("up");
    wait_for(&journal, &service, "link_back", 2);
    stage.send(&scan(100), PACE);
    wait_for(&journal, &service, "finding", 1);
    service.configure("[recorder]\nrotation_size = \"0\"\n");
    service.reload();
    wait_for(&journal, &service, "reload_refused", 1);
    service.configure("[service]\nlog_level = \"warn\"\n");
    service.reload();
    wait_for(&journal, &service, "setting_waits", 1);
    let folders = [
        (service.runtime_dir().to_owned(), "state_untold", "state_told"),
        (metrics, "metrics_unwritten", "metrics_written"),
    ];
    for (folder, gone, back) in folders {
        let away = stage.dir.path().join("away");
        std::fs::rename(&folder, &away).unwrap();
        wait_for(&journal, &service, gone, 1);
        std::fs::rename(&away, &folder).unwrap();
        wait_for(&journal, &service, back, 1);
    }

    // Another one on the same data directory.
    let mut second = into(&journal, stage.setup()).start(&stage.net);
    let id = second.process.id();
    assert_eq!(second.wait(PATIENCE).and_then(|status| status.code()), Some(1));
    let refused = Told::by(&journal, id);
    assert!(text(refused.of("failed")[0], "TAPKEEP_REASON").contains("in use by another tapkeep"));

    // More files than a minute has lines for.
    stage.send(&mix(0, 8_000), PACE);
    wait_for_packets_recorded(&service, 8_000);
    let told = stopped(&journal, service);
    let (seals, bound) = (told.of("seal").len() as u64, find("seal").unwrap().per_minute);
    let left_out = told.of("left_out").into_iter().find(|entry| text(entry, "TAPKEEP_OF") == "seal").unwrap();
    assert_eq!(seals, u64::from(bound), "as many as the bound");
    let list = captures::listed(&stage.data_dir());
    assert_eq!(seals + number(left_out, "TAPKEEP_COUNT"), list["files"].as_array().unwrap().len() as u64);
    let finding = told.of("finding")[0];
    let of = ["TAPKEEP_DETECTOR", "TAPKEEP_SRC", "TAPKEEP_DST"].map(|field| text(finding, field));
    assert_eq!(of, ["port_scan", "192.168.7.1", "192.168.7.2"]);
    assert!(text(told.of("link_lost")[0], "TAPKEEP_REASON").contains("no carrier"));
    assert_eq!(text(told.of("setting_waits")[0], "TAPKEEP_SETTING"), "service.log_level");

    wait_for(&journal, &patient, "still_waiting", 1);
    let patient = stopped(&journal, patient);
    assert_eq!(text(patient.of("waiting")[0], "TAPKEEP_REASON"), "there is no interface nowhere0");
    let mut seen = told.names();
    seen.extend(patient.names());
    seen.extend(refused.names());
    assert_all(&AROUND, &seen);
}

fn wait_for_packets_recorded(service: &Service, count: u64) {
    wait_until("the packets to be written", || {
        service.state().is_some_and(|state| state["written"].as_u64() >= Some(count))
    });
}

/// Writes a file into `pcaps/`.
fn put(data: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(pcaps(data).join(name), bytes).unwrap();
}

#[test]
fn what_a_crash_left_and_what_others_did_is_told() {
    if !ready() {
        return;
    }
    let (stage, journal) = (Stage::new(&[]).unwrap(), Journal::start());
    let data = stage.data_dir();
    let setup = || {
        let setup = small(stage.setup()).variable("PCAP_RETENTION_COUNT", "0");
        let setup = setup
            .variable("TAPKEEP_FLOWS_OTHER_IDLE", "1s")
            .variable("TAPKEEP_RECORDER_SYNC_INTERVAL", SYNC_MS);
        into(&journal, setup)
    };
    let mut service = setup().start(&stage.net);
    service.wait_until_capturing();
    stage.send(&mix(0, 1_100), PACE);
    wait_for_packets(&data, 1_100);
    wait_for(&journal, &service, "seal", 3);
    wait_until("flow records", || {
        data.join("traffic_flows.jsonb").metadata().is_ok_and(|file| file.len() > 10_000)
    });
    service.kill();

    let sealed = names(&data, ".pcap");
    let unfinished = format!("{}.part", sealed[1]);
    std::fs::rename(pcaps(&data).join(&sealed[1]), pcaps(&data).join(unfinished)).unwrap();
    std::fs::remove_file(pcaps(&data).join(&sealed[2])).unwrap();
    let whole = pcap_bytes(&mix(0, 10), Shape::default());
    put(&data, "capture_20200101_000000_0001.pcap", &whole);
    put(&data, "capture_20241231_143052_9000.pcap", &whole);
    put(&data, "capture_20241231_143052_9001.pcap.part", &[0xff; 500]);
    put(&data, "capture_20241231_143052_9002.pcap.part", &whole[..24]);
    for suffix in ["", "-wal", "-shm"] {
        std::fs::write(data.join(format!("index.sqlite3{suffix}")), "no database").unwrap();
    }
    let mut service = setup().start(&stage.net);
    service.wait_until_capturing();
    wait_for(&journal, &service, "index_corrected", 1);
    let told = stopped(&journal, service);
    let mut seen = told.names();
    let file = |name| text(told.of(name)[0], "TAPKEEP_FILE").to_owned();
    assert_eq!((file("seal_completed"), file("vanished")), (sealed[1].clone(), sealed[2].clone()));
    assert_eq!(file("damage"), "capture_20241231_143052_9001.pcap.damaged");
    assert_eq!(file("found"), "capture_20241231_143052_9000.pcap");
    assert_eq!(file("clash"), "capture_20200101_000000_0001.pcap");

    // Damage within a file is told with its place.
    let ledger = data.join("ledger.jsonb");
    let mut bytes = std::fs::read(&ledger).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 40].fill(0xff);
    std::fs::write(&ledger, bytes).unwrap();
    // As the first schema was.
    let index = rusqlite::Connection::open(data.join("index.sqlite3")).unwrap();
    let later =
        ["summary", "flow_file", "flow_summary", "finding"].map(|table| format!("DROP TABLE {table};"));
    index.execute_batch(&(later.concat() + "PRAGMA user_version = 1")).unwrap();
    drop(index);
    let mut service = setup().start(&stage.net);
    service.wait_until_capturing();
    wait_for(&journal, &service, "index_upgraded", 1);
    let told = stopped(&journal, service);
    seen.extend(told.names());
    assert_all(&AFTER_A_CRASH, &seen);
    let (from, to) = ["TAPKEEP_FROM", "TAPKEEP_TO"].map(|field| number(told.of("damage")[0], field)).into();
    assert!(from <= middle as u64 && to >= middle as u64 + 40, "{from} to {to}, and {middle} was damaged");
    assert_eq!(text(told.of("damage")[0], "TAPKEEP_FILE"), ledger.to_str().unwrap());
}

#[test]
fn a_full_disk_its_losses_and_their_end_are_told() {
    if !ready() {
        return;
    }
    let disk = Disk::new(24 << 20);
    let (stage, journal) = (Stage::new(&[]).unwrap(), Journal::start());
    let setup = Setup::new(disk.path().join("data")).keep_all().variable("PCAP_ROTATION_SIZE", "1");
    let setup =
        setup.variable("TAPKEEP_RECORDER_QUEUE_SIZE", "1MiB").variable("TAPKEEP_CAPTURE_SNAPLEN", "1600");
    let mut service =
        into(&journal, setup.variable("TAPKEEP_RECORDER_SYNC_INTERVAL", SYNC_MS)).start(&stage.net);
    service.wait_until_capturing();
    let sending = stage.net.begin_to_send(&stage.file(&mix(0, 100_000)), Pace::PerSecond(1_000));
    wait_for(&journal, &service, "seal", 1);
    disk.fill_to(0);
    for event in ["disk_trouble", "loss", "index_stale"] {
        wait_for(&journal, &service, event, 1);
    }
    disk.unfill();
    for event in ["disk_back", "index_current", "loss_end"] {
        wait_for(&journal, &service, event, 1);
    }
    drop(sending);
    let told = stopped(&journal, service);
    let lost: u64 = told.of("loss").iter().map(|entry| number(entry, "TAPKEEP_COUNT")).sum();
    let ended: u64 = told.of("loss_end").iter().map(|entry| number(entry, "TAPKEEP_COUNT")).sum();
    assert!(lost > 0 && ended >= lost, "{ended} of {lost}");
    let in_all = number(told.of("stopped")[0], "TAPKEEP_LOST");
    assert_eq!(in_all, ended, "no more than was told");
}

/// A system call that fails, and what is told of it.
struct Fault {
    what: &'static str,
    /// What strace does to which calls.
    inject: &'static str,
    /// Only on this file of the data directory.
    path: Option<&'static str>,
    /// Whether it fails from the start on; else once it captures.
    from_start: bool,
    /// What is told of it.
    events: &'static [&'static str],
    /// What is told once it is over.
    after: &'static [&'static str],
}

const LEFT: &str = "pcaps/capture_20200101_000000_0001.pcap";

const FAULTS: [Fault; 10] = [
    Fault {
        what: "the device confirms nothing",
        inject: "fdatasync:error=EIO",
        path: None,
        from_start: false,
        events: &["sync_failed", "seal_delayed", "ledger_trouble", "abandoned"],
        after: &[],
    },
    Fault {
        what: "final names are taken",
        inject: "renameat2:error=EEXIST",
        path: None,
        from_start: false,
        events: &["seal_failed"],
        after: &[],
    },
    Fault {
        what: "nothing can be removed",
        inject: "unlink:error=EROFS",
        path: None,
        from_start: false,
        events: &["evict_failed"],
        after: &[],
    },
    Fault {
        what: "nobody knows the free space",
        inject: "statfs:error=EIO",
        path: None,
        from_start: false,
        events: &["retention_trouble"],
        after: &[],
    },
    Fault {
        what: "what the detectors remember cannot be written",
        inject: "openat:error=EIO",
        path: Some("detectors.jsonb.gz.new"),
        from_start: false,
        events: &["detectors_unsaved"],
        after: &[],
    },
    Fault {
        what: "flow records cannot be written",
        inject: "pwrite64:error=ENOSPC",
        path: Some("traffic_flows.jsonb"),
        from_start: false,
        events: &["flows_trouble"],
        after: &["flows_back"],
    },
    Fault {
        what: "the last flow records cannot be written",
        inject: "pwrite64:error=ENOSPC",
        path: Some("traffic_flows.jsonb"),
        from_start: false,
        events: &["records_again"],
        after: &[],
    },
    Fault {
        what: "what a crash left cannot be cut",
        inject: "ftruncate:error=EIO",
        path: None,
        from_start: true,
        events: &["salvage_failed"],
        after: &[],
    },
    Fault {
        what: "the growing flow file cannot be read",
        inject: "openat:error=EIO",
        path: Some("traffic_flows.jsonb"),
        from_start: true,
        events: &["analysis_off"],
        after: &[],
    },
    Fault {
        what: "a capture is gone before it is analysed",
        inject: "openat:error=ENOENT",
        path: Some(LEFT),
        from_start: true,
        events: &["unanalysed"],
        after: &[],
    },
];

impl Fault {
    /// strace's words, as far as they do not say whom it looks at.
    fn words(&self, data: &Path) -> Vec<String> {
        let inject = format!("inject={}", self.inject);
        let mut words = ["strace", "-qq", "-f", "-o", "/dev/null", "-e", &inject].map(str::to_owned).to_vec();
        if let Some(path) = self.path {
            words.extend(["-P".to_owned(), data.join(path).to_str().unwrap().to_owned()]);
        }
        words
    }

    /// Lets a service meet it, and returns what it has told.
    fn told(&self, stage: &Stage, journal: &Journal, data: &Path) -> Told {
        std::fs::create_dir_all(data.join("flows")).unwrap();
        std::fs::create_dir_all(pcaps(data)).unwrap();
        let whole = pcap_bytes(&mix(0, 10), Shape::default());
        std::fs::write(data.join(LEFT), &whole).unwrap();
        put(data, "capture_20200101_000000_0002.pcap.part", &[&whole[..], &[0xff; 50]].concat());
        let mut wrapper = journal.wrapper();
        if self.from_start {
            // As a grandchild: the service keeps the process id.
            wrapper.extend(self.words(data));
            wrapper.push("-D".to_owned());
        }
        let words: Vec<_> = wrapper.iter().map(String::as_str).collect();
        let setup = small(Setup::new(data)).variable("TAPKEEP_RECORDER_SYNC_INTERVAL", SYNC_MS);
        let setup = setup.variable("TAPKEEP_FLOWS_OTHER_IDLE", "1s");
        let mut service = setup.through(&words).start(&stage.net);
        service.wait_until_capturing();
        wait_until("the end of salvage", || {
            service.state().is_some_and(|state| state["busy_with"].is_null())
        });
        let id = service.process.id();
        let mut strace = (!self.from_start).then(|| {
            let words = self.words(data);
            let mut command = Command::new(&words[0]);
            let strace = Process::start(command.args(&words[1..]).arg("-p").arg(id.to_string()));
            wait_until("strace", || is_traced(id));
            strace
        });
        // A little, so that a file is synced before it is full; then enough for several.
        stage.send(&scan(100), Pace::PerSecond(300));
        sleep(5 * SYNC);
        stage.send(&mix(0, 1_000), PACE);
        let at_the_end = ["detectors_unsaved", "records_again", "abandoned"];
        for event in self.events.iter().filter(|event| !at_the_end.contains(event)) {
            wait_for(journal, &service, event, 1);
        }
        if !self.after.is_empty() {
            strace = None;
        }
        for event in self.after {
            wait_for(journal, &service, event, 1);
        }
        if self.events.iter().any(|event| at_the_end.contains(event)) {
            service.process.signal(Signal::TERM);
            if self.events.contains(&"abandoned") {
                wait_for(journal, &service, "stopping", 1);
                service.process.signal(Signal::TERM);
            }
            service.wait(PATIENCE);
        }
        drop((service, strace));
        Told::by(journal, id)
    }
}

/// Whether every thread of a process is traced.
fn is_traced(id: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let status = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap());
    status.into_iter().all(|status| !status.contains("TracerPid:\t0\n"))
}

#[test]
fn what_fails_on_the_disk_is_told() {
    if !ready() || !require(&["strace"]) {
        return;
    }
    let (stage, journal) = (Stage::new(&[]).unwrap(), Journal::start());
    for (at, fault) in FAULTS.iter().enumerate() {
        let told = fault.told(&stage, &journal, &stage.dir.path().join(at.to_string()));
        for event in fault.events.iter().chain(fault.after) {
            assert!(told.names().contains(event), "{}: no {event} in {:?}", fault.what, told.names());
        }
    }
}
