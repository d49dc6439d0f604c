//! Recorded live: the same answers as from the recorded files, however far the analyst lags, and without any files at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::killed::traffic;
use super::support::answers::{
    assert_each_packet_in_one_record, assert_same_flows, count, lines, packets_of,
};
use super::support::corpora::corpora;
use super::support::held::Held;
use super::support::net::{Pace, sent};
use super::support::process::{PATIENCE, Signal, wait_until};
use super::support::recorded::{all, number, sealed};
use super::support::service::{Service, ask};
use super::support::stage::Stage;
use super::{ask_file, flows};

fn analysis(service: &Service, key: &str) -> u64 {
    service.state().and_then(|state| state["analysis"][key].as_u64()).unwrap_or_default()
}

fn told(service: &Service, key: &str) -> u64 {
    service.state().and_then(|state| state[key].as_u64()).unwrap_or_default()
}

fn wait_until_analysed(service: &Service, packets: u64) {
    wait_until(&format!("{packets} packets analysed"), || analysis(service, "packets") >= packets);
    assert_eq!(analysis(service, "packets"), packets);
}

/// The recorded captures under names that say nothing to a data directory.
fn as_foreign(data: &Path, to: &Path) -> Vec<PathBuf> {
    std::fs::create_dir(to).unwrap();
    let copy = |(at, file): (usize, &PathBuf)| {
        let copy = to.join(format!("{at:04}-copy.pcap"));
        std::fs::copy(file, &copy).unwrap();
        copy
    };
    sealed(data).iter().enumerate().map(copy).collect()
}

/// Requires that the data directory answers as its own files do.
fn assert_live_is_offline(data: &Path, to: &Path) {
    let files = as_foreign(data, to);
    for command in ["protocols", "endpoints", "conversations"] {
        let asked = [command, "--json", "--limit", "0"];
        let (live, offline) = (ask(data, &asked).ok().json(), ask_file(&asked, &files).ok().json());
        assert_eq!(live[command], offline[command], "{command}");
        assert!(!live[command].as_array().unwrap().is_empty(), "{command}");
    }
    assert_same_flows(&flows(data), &lines(ask_file(&["flows", "--json", "--limit", "0"], &files)));
}

#[test]
fn live_is_offline() {
    let Some(corpora) = corpora() else { return };
    let Some(stage) = Stage::new(&[]) else { return };
    let data = stage.data_dir();
    let setup = stage.setup().variable("PCAP_ROTATION_SIZE", "600kB");
    let service = stage.start(setup.variable("TAPKEEP_RECORDER_FLOW_ROTATION_SIZE", "64KiB"));
    let mut frames = 0;
    for name in ["mix-office.pcap", "mix-many-protocols.pcap", "atk-portscan-plc.pcap", "cred-telnet.pcap"] {
        frames += stage.net.send(&corpora.join(name), Pace::PerSecond(4_000));
    }
    wait_until_analysed(&service, frames);
    service.stop().ok();
    assert!(sealed(&data).len() >= 5);
    assert_live_is_offline(&data, &stage.dir.path().join("copies"));
    // Findings follow the stream: one stream of all files tells the same.
    let files = as_foreign(&data, &stage.dir.path().join("again"));
    let brief = |answer: Value| {
        let findings = answer["findings"].as_array().unwrap().clone();
        let brief = |finding: &Value| {
            ["detector", "src", "dst", "port", "severity", "count", "first_seen", "last_seen"]
                .map(|key| finding[key].to_string())
                .join(" ")
        };
        let mut brief: Vec<_> = findings.iter().map(brief).collect();
        brief.sort();
        brief
    };
    let asked = ["suspicious", "--all", "--json", "--limit", "0"];
    let (live, offline) = (brief(ask(&data, &asked).json()), brief(ask_file(&asked, &files).json()));
    assert_eq!(live, offline);
    assert!(live.iter().any(|finding| finding.contains("port_scan")), "{live:#?}");
}

/// Longer than flows of UDP may be idle: time must not pass for them while their packets wait.
#[test]
fn an_analyst_held_for_90_seconds_gives_the_same_flows() {
    let Some(stage) = Stage::new(&["python3"]) else { return };
    let data = stage.data_dir();
    let setup = stage.setup().variable("TAPKEEP_RECORDER_QUEUE_SIZE", "8MiB");
    let setup = setup.variable("PCAP_ROTATION_SIZE", "2MB").variable("TAPKEEP_FLOWS_FOLD", "false");
    let service = stage.start(setup);
    let file = stage.file(&traffic(20_000));
    let sending = stage.net.begin_to_send(&file, Pace::PerSecond(220));
    wait_until("the first packets to be analysed", || analysis(&service, "packets") > 0);
    let held = Held::new(&service.process, "analyst");
    let before = analysis(&service, "packets");
    assert_eq!(sent(sending.finish(PATIENCE * 3)), 20_000);
    wait_until("all to be recorded", || told(&service, "written") == 20_000);
    assert!(analysis(&service, "packets") < before + 10_000);
    drop(held);
    wait_until_analysed(&service, 20_000);
    service.stop().ok();
    assert_eq!(assert_each_packet_in_one_record(&data, &flows(&data)), 20_000);
    assert_live_is_offline(&data, &stage.dir.path().join("copies"));
}

#[test]
fn an_analyst_that_lags_reads_back_and_tells_how_far_it_is() {
    let Some(stage) = Stage::new(&["python3"]) else { return };
    let data = stage.data_dir();
    let setup = stage.setup().variable("TAPKEEP_RECORDER_QUEUE_SIZE", "8MiB");
    let setup = setup
        .variable("PCAP_ROTATION_SIZE", "2MB")
        .variable("TAPKEEP_FLOWS_FOLD", "false")
        .variable("TAPKEEP_FLOWS_OTHER_IDLE", "1s");
    let service = stage.start(setup);
    let file = stage.file(&traffic(40_000));
    let (first, second) = (stage.net.begin_to_send(&file, Pace::PerSecond(10_000)), 40_000);
    wait_until("the first packets to be analysed", || analysis(&service, "packets") > 0);
    let held = Held::new(&service.process, "analyst");
    let before = analysis(&service, "packets");
    assert_eq!(sent(first.finish(PATIENCE)), second);
    wait_until("all to be recorded", || told(&service, "written") == second);
    wait_until("the analyst to be seen behind", || analysis(&service, "left") > 0);
    assert!(analysis(&service, "packets") < before + 20_000);
    assert!(ask(&data, &["list"]).ok().text().contains("40,000"), "{}", ask(&data, &["list"]).text());
    drop(held);
    wait_until_analysed(&service, second);
    wait_until("nothing to be left", || analysis(&service, "left") == 0);
    let losses = service.state().unwrap()["losses"].clone();
    assert!(["kernel", "queue", "write", "analysis"].iter().all(|cause| losses[cause] == 0), "{losses}");
    service.stop().ok();
    assert_eq!(assert_each_packet_in_one_record(&data, &flows(&data)), second);
    assert_live_is_offline(&data, &stage.dir.path().join("copies"));
}

/// Packets and bytes by five-tuple, both directions together.
fn by_tuple(records: &[Value]) -> BTreeMap<String, [u64; 2]> {
    let mut sums = BTreeMap::<_, [u64; 2]>::new();
    for record in records {
        let mut ends = ["src", "dst"]
            .map(|side| format!("{} {}", record[format!("{side}_ip")], record[format!("{side}_port")]));
        ends.sort();
        let sum = sums.entry(format!("{ends:?} {}", record["proto"])).or_default();
        sum[0] += packets_of(record);
        sum[1] += count(record, "orig_bytes") + count(record, "resp_bytes");
    }
    sums
}

#[test]
fn without_captures_all_but_extract_is_answered_across_restarts() {
    let Some(corpora) = corpora() else { return };
    let Some(stage) = Stage::new(&[]) else { return };
    let (data, capture) = (stage.data_dir(), corpora.join("mix-office.pcap"));
    let scan = corpora.join("atk-portscan-plc.pcap");
    let mut sent = 0;
    for round in 0..3 {
        let service = stage.start(stage.setup().variable("SAVE_PCAP", "false"));
        let now =
            stage.net.send(&capture, Pace::PerSecond(4_000)) + stage.net.send(&scan, Pace::PerSecond(4_000));
        wait_until_analysed(&service, now);
        sent += now;
        if round == 1 {
            // Nothing is there to be read back; what was told is kept.
            wait_until("a sync", || flows(&data).len() > 100);
        }
        service.stop().ok();
        assert!(!data.join("pcaps").exists());
    }
    let records = flows(&data);
    let names: std::collections::HashSet<_> =
        records.iter().map(|record| (record["flow_id"].to_string(), record["part"].as_u64())).collect();
    assert_eq!(names.len(), records.len(), "a flow id is given twice");
    assert!(records.iter().all(|record| record["captures"].as_array().is_none_or(Vec::is_empty)));
    assert_eq!(records.iter().map(packets_of).sum::<u64>(), sent, "all of these are IP");
    let both = lines(ask_file(&["flows", "--json", "--limit", "0"], &[capture.clone(), scan.clone()]));
    let thrice: BTreeMap<_, _> =
        by_tuple(&both).into_iter().map(|(tuple, [a, b])| (tuple, [3 * a, 3 * b])).collect();
    assert_eq!(by_tuple(&records), thrice);
    let protocols = ask(&data, &["protocols", "--json", "--limit", "0"]).ok().json();
    assert_eq!(protocols["packets"], sent, "{protocols}");
    let of_file = ask_file(&["endpoints", "--json", "--limit", "0"], &[capture, scan]).ok().json();
    let endpoints = ask(&data, &["endpoints", "--json", "--limit", "0"]).ok().json();
    let packets = |answer: &Value, times: u64| -> BTreeMap<String, u64> {
        let rows = answer["endpoints"].as_array().unwrap().iter();
        rows.map(|row| (row["address"].to_string(), times * count(row, "packets"))).collect()
    };
    assert_eq!(packets(&endpoints, 1), packets(&of_file, 3));
    let found = ask(&data, &["suspicious", "--json"]).ok().json();
    let scans =
        found["findings"].as_array().unwrap().iter().filter(|finding| finding["detector"] == "port_scan");
    assert!(scans.count() > 0, "{found}");
    let extract = ask(&data, &["extract", "-w", "/dev/null"]);
    assert!(extract.stderr.contains("SAVE_PCAP=false"), "{}", extract.stderr);
}

/// Names, lengths and times of last change of all files below a directory.
fn all_files(dir: &Path) -> BTreeMap<PathBuf, (u64, std::time::SystemTime)> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            all.extend(all_files(&entry.path()));
        } else {
            all.insert(entry.path(), (meta.len(), meta.modified().unwrap()));
        }
    }
    all
}

#[test]
fn on_an_idle_link_flows_expire_and_then_nothing_is_written() {
    let Some(stage) = Stage::new(&[]) else { return };
    let data = stage.data_dir();
    let setup = stage.setup().variable("TAPKEEP_FLOWS_OTHER_IDLE", "1s");
    let service = stage.start(setup.variable("TAPKEEP_RECORDER_SYNC_INTERVAL", "500ms"));
    stage.send(&traffic(2_000), Pace::PerSecond(4_000));
    wait_until_analysed(&service, 2_000);
    wait_until("all flows to be recorded", || flows(&data).iter().map(packets_of).sum::<u64>() == 2_000);
    assert!(flows(&data).iter().all(|flow| flow["end_reason"] == "idle"));
    wait_until("no flow to be followed", || analysis(&service, "flows") == 0);
    // The last sync.
    std::thread::sleep(Duration::from_secs(2));
    let before = all_files(&data);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(all_files(&data), before);
    service.stop().ok();
    assert_eq!(assert_each_packet_in_one_record(&data, &flows(&data)), 2_000);
}

#[test]
fn what_is_evicted_before_it_is_analysed_is_counted() {
    let Some(stage) = Stage::new(&["python3"]) else { return };
    let data = stage.data_dir();
    let few = || {
        let setup = stage.setup().variable("TAPKEEP_RECORDER_QUEUE_SIZE", "8MiB");
        setup
            .variable("TAPKEEP_FLOWS_FOLD", "false")
            .variable("PCAP_ROTATION_SIZE", "1MB")
            .variable("PCAP_RETENTION_COUNT", "2")
    };
    let service = stage.start(few());
    stage.send(&traffic(100), Pace::PerSecond(1_000));
    wait_until_analysed(&service, 100);
    let held = Held::new(&service.process, "analyst");
    stage.send(&traffic(40_000), Pace::PerSecond(20_000));
    wait_until("all to be recorded", || told(&service, "written") == 40_100);
    let evicted = || {
        let list = ask(&data, &["list", "--all", "--json"]).ok().json();
        let files = list["files"].as_array().unwrap().clone();
        files.iter().filter(|file| file["state"] == "evicted").count()
    };
    wait_until("all but two files to be evicted", || {
        evicted() + 3 >= all(&data).last().map_or(0, |f| number(f)) as usize
    });
    drop(held);
    wait_until("all to be analysed or given up", || analysis(&service, "left") == 0);
    wait_until("the packets at the end", || {
        analysis(&service, "packets") + told_loss(&service).unwrap_or(0) == 40_100
    });
    let lost = told_loss(&service).unwrap();
    assert!(lost > 10_000, "{lost}");
    service.stop().ok();
    let records = flows(&data);
    assert_eq!(records.iter().map(packets_of).sum::<u64>() + lost, 40_100);
    assert_eq!(booked(&data), lost);

    // A restart does not count them again; one killed while it is behind is counted by the next.
    let mut service = stage.start(few());
    stage.send(&traffic(100), Pace::PerSecond(1_000));
    wait_until_analysed(&service, 100);
    assert_eq!(told_loss(&service), Some(0));
    wait_until("a sync", || service.state().is_some_and(|state| state["oldest_unsynced_ms"].is_null()));
    let held = Held::new(&service.process, "analyst");
    stage.send(&traffic(40_000), Pace::PerSecond(20_000));
    wait_until("all to be recorded", || told(&service, "written") == 40_100);
    wait_until("all but two files to be evicted", || {
        evicted() + 3 >= all(&data).last().map_or(0, |f| number(f)) as usize
    });
    // Its end is complete only when its tracer has gone.
    service.process.signal(Signal::KILL);
    drop(held);
    service.kill();
    let service = stage.start(few());
    wait_until("what is left to be analysed", || {
        analysis(&service, "packets") > 0 && analysis(&service, "left") == 0
    });
    let more = told_loss(&service).unwrap();
    service.stop().ok();
    // The first hundred of that start were in flows that no record told of yet.
    assert_eq!(flows(&data).iter().map(packets_of).sum::<u64>() + lost + more, 80_200);
    assert_eq!(booked(&data), lost + more);
}

/// Packets lost to analysis.
fn told_loss(service: &Service) -> Option<u64> {
    service.state().unwrap()["losses"]["analysis"].as_u64()
}

/// The same, as flow files tell.
fn booked(data: &Path) -> u64 {
    let list = ask(data, &["list", "--kind", "flows", "--json", "--limit", "0"]).ok().json();
    let files = list["files"].as_array().unwrap().iter();
    files.map(|file| file["losses"]["analysis"].as_u64().unwrap_or(0)).sum()
}
