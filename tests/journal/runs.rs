//! Services in good and in bad days.

use tapkeep::daemon::events::find;

use super::support::captures::{self, names, pcaps};
use super::support::disk::Disk;
use super::support::journal::Journal;
use super::support::net::{GENERATOR, Pace};
use super::support::pcap::{Shape, mix, pcap_bytes};
use super::support::process::{PATIENCE, Signal, must, wait_until};
use super::support::recorded::wait_for_packets;
use super::support::scan::scan;
use super::support::service::{Service, Setup};
use super::support::stage::Stage;
use super::told::*;
use super::{AFTER_A_CRASH, AROUND, HEALTHY, ON_A_FULL_DISK};

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
    // While it was made again it may have been seen without a cable.
    let lost = Told(journal.entries(service.process.id())).of("link_lost").len();
    other_end("down");
    wait_for(&journal, &service, "link_lost", lost + 1);
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
    assert!(text(told.of("link_lost")[lost], "TAPKEEP_REASON").contains("no carrier"));
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

#[test]
fn what_a_crash_left_and_what_others_did_is_told() {
    if !ready() {
        return;
    }
    let (stage, journal) = (Stage::new(&[]).unwrap(), Journal::start());
    let data = stage.data_dir();
    let setup = || {
        let setup = small(stage.setup()).variable("PCAP_RETENTION_COUNT", "0");
        let setup =
            setup.variable("TAPKEEP_FLOWS_OTHER_IDLE", "1s").variable("TAPKEEP_RECORDER_SYNC_INTERVAL", SYNC);
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
        into(&journal, setup.variable("TAPKEEP_RECORDER_SYNC_INTERVAL", SYNC)).start(&stage.net);
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
    assert_all(&ON_A_FULL_DISK, &told.names());
    let lost: u64 = told.of("loss").iter().map(|entry| number(entry, "TAPKEEP_COUNT")).sum();
    let ended: u64 = told.of("loss_end").iter().map(|entry| number(entry, "TAPKEEP_COUNT")).sum();
    assert!(lost > 0 && ended >= lost, "{ended} of {lost}");
    let in_all = number(told.of("stopped")[0], "TAPKEEP_LOST");
    assert_eq!(in_all, ended, "no more than was told");
}
