//! Retention as people meet it: each limit evicts the oldest first and says why; what is growing, held or none of ours stays;
//! a hold outlives every index and leaves retention half of each limit.

// A test that cannot go on fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::captures::{self, assert_list_is_right, finished, in_state, listed, name, names, number, pcaps};
use support::disk::{self, Disk};
use support::net::{self, Net, Pace};
use support::pcap::{Packet, mix, write_pcap};
use support::process::{Answer, run, wait_until};
use support::require;
use support::service::{Service, Setup, ask, tapkeep};
use tapkeep::store::names::CaptureName;

const TOOLS: [&str; 2] = ["capinfos", "tcpdump"];
const MB: u64 = 1_000_000;

/// Records `count` files of almost `size` bytes by `replay`, under these settings.
fn record(data: &Path, count: u64, size: u64, settings: &[(&str, &str)], flags: &[&str]) {
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("source.pcap");
    let first = 10_000 * names(data, "").len() as u64;
    let (mut packets, mut bytes) = (Vec::<Packet>::new(), 0);
    for packet in mix(first, count * size / 500) {
        bytes += packet.data.len() as u64 + 16;
        if bytes > count * size - size / 2 {
            break;
        }
        packets.push(packet);
    }
    write_pcap(&source, &packets);
    let mut command = tapkeep(&["replay"]);
    command.args(flags).arg(&source).arg("--data-dir").arg(data);
    command.env("PCAP_ROTATION_SIZE", format!("{size}B")).env("TAPKEEP_CAPTURE_SNAPLEN", "1600");
    run(command.envs(settings.iter().copied())).ok();
}

/// A service whose port is not there: it keeps, and records nothing. `config` is its configuration file.
fn keep(data: &Path, config: &str) -> Service {
    let setup = Setup::new(data).variable("NETWORK_INTERFACE", "nowhere0");
    let mut service = setup.variable("TAPKEEP_CAPTURE_SNAPLEN", "1600").config(config).start_here();
    service.wait_for("waiting");
    wait_until("a look at what is there", || {
        service.state().is_some_and(|state| state["busy_with"].is_null())
    });
    service
}

fn numbers(data: &Path) -> Vec<u64> {
    names(data, ".pcap").iter().filter_map(|name| number(name)).collect()
}

fn reasons(list: &Value) -> Vec<(u64, String)> {
    let evicted = in_state(list, "evicted").into_iter();
    evicted
        .map(|file| (file["index"].as_u64().unwrap(), file["reason"].as_str().unwrap().to_owned()))
        .collect()
}

/// The same from the index, from the files and the ledger, and from an index made anew.
fn assert_told_alike(data: &Path) -> Value {
    let list = listed(data);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(data.join(format!("index.sqlite3{suffix}")));
    }
    assert_eq!(listed(data), list, "from the files");
    ask(data, &["index", "rebuild"]).ok();
    assert_eq!(listed(data), list, "from an index made anew");
    list
}

#[test]
fn count_evicts_the_oldest_and_tells_why() {
    if !require(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), 6, 100_000, &[("PCAP_RETENTION_COUNT", "2")], &[]);
    assert_eq!(numbers(dir.path()), [1, 2, 3, 4, 5, 6], "a replay evicts nothing");
    record(dir.path(), 1, 100_000, &[("PCAP_RETENTION_COUNT", "4")], &["--retention"]);
    assert_eq!(numbers(dir.path()), [4, 5, 6, 7], "unless told so");
    let told = reasons(&assert_told_alike(dir.path()));
    assert_eq!(told, [1, 2, 3].map(|number| (number, "more than 4 files".to_owned())));
    assert_list_is_right(dir.path());
    captures::stop(keep(dir.path(), "[retention]\ncount = 0\n"));
    assert_eq!(numbers(dir.path()), [4, 5, 6, 7], "0 is no limit");
}

#[test]
fn limits_change_while_the_service_runs() {
    if !require(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), 8, 100_000, &[], &[]);
    let config = |text: &str| format!("[recorder]\nrotation_size = \"100000B\"\n[retention]\n{text}\n");
    let mut service = keep(dir.path(), &config("count = 0"));
    let mut change = |text: &str, left: &[u64]| {
        std::fs::write(service.runtime_dir().join("tapkeep.toml"), config(text)).unwrap();
        service.reload();
        wait_until(&format!("{text} to leave {left:?}"), || numbers(dir.path()) == left);
    };
    change("count = 6", &[3, 4, 5, 6, 7, 8]);
    // Room for the growing file at its full size is part of it.
    change("count = 0\nbytes = \"510kB\"", &[5, 6, 7, 8]);
    change("count = 0\nage = \"1s\"", &[]);
    let words = captures::stop(service);
    assert!(!words.contains("takes effect at the next start"), "{words}");
    let list = assert_told_alike(dir.path());
    let told: Vec<_> = reasons(&list).into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(
        &told[..4],
        ["more than 6 files", "more than 6 files", "more than 510000 bytes", "more than 510000 bytes"]
    );
    assert!(told[4..].iter().all(|reason| reason == "older than 1 s"), "{told:?}");
    assert_eq!(told.len(), 8);
}

#[test]
fn a_file_grows_old_while_the_service_does_not_look_at_it() {
    if !require(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), 2, 100_000, &[], &[]);
    let service = keep(dir.path(), "[retention]\nage = \"4s\"\n");
    assert_eq!(numbers(dir.path()), [1, 2], "they are younger");
    wait_until("their age", || numbers(dir.path()).is_empty());
    captures::stop(service);
}

#[test]
fn free_space_is_the_real_one_and_a_reader_who_keeps_it_starts_no_storm() {
    if !require(&TOOLS) || !require(&disk::NEEDS) {
        return;
    }
    let disk = Disk::new(48 << 20);
    let data = disk.path().join("data");
    record(&data, 20, MB, &[("TAPKEEP_RETENTION_MIN_FREE", "0")], &[]);
    // Readers hold the three oldest open: their space does not come back.
    let readers: Vec<_> =
        finished(&data)[..3].iter().map(|file| std::fs::File::open(file).unwrap()).collect();
    let wanted = disk.free() + MB / 2;
    let config = |free: u64| {
        format!(
            "[recorder]\nrotation_size = 1\n[retention]\ncount = 0\nmin_free = \"{free}B\"\nfloor = \"0%\"\n"
        )
    };
    let mut service = keep(&data, &config(wanted));
    // A file's room and half a megabyte are wanting: two files.
    wait_until("evictions", || numbers(&data).len() <= 18);
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(numbers(&data).first(), Some(&3), "by its own sizes, then it waits: {:?}", numbers(&data));
    for mut reader in readers {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert!(bytes.len() > 900_000, "a reader reads on what is evicted");
    }
    service.reload();
    wait_until("the space to come back", || disk.free() >= wanted + MB);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(numbers(&data).first(), Some(&3), "there is nothing more to do");
    captures::stop(service);
    let told = reasons(&assert_told_alike(&data));
    let reason = format!("less than {wanted} bytes free");
    assert_eq!(told, [(1, reason.clone()), (2, reason)]);
    assert_list_is_right(&data);
}

#[test]
fn what_grows_is_held_or_unknown_is_never_evicted() {
    if !require(&TOOLS) || !require(&net::NEEDS) {
        return;
    }
    let (dir, net, scratch) = (tempfile::tempdir().unwrap(), Net::new(), tempfile::tempdir().unwrap());
    let data = dir.path().join("data");
    record_into_new(&data, 4);
    let strangers = ["notes.txt", "capture_1.pcap", "capture_20200101_000000_0001.pcap.bak", "other.pcap"];
    let look = || {
        strangers.map(|name| {
            let path = pcaps(&data).join(name);
            (std::fs::read(&path).unwrap(), path.metadata().unwrap().modified().unwrap())
        })
    };
    for stranger in strangers {
        std::fs::write(pcaps(&data).join(stranger), vec![1; 500_000]).unwrap();
    }
    let before = look();
    let held = names(&data, ".pcap").into_iter().find(|name| number(name) == Some(2)).unwrap();
    ask(&data, &["hold", &held]).ok();
    let setup = Setup::new(&data)
        .variable("PCAP_ROTATION_SIZE", "300kB")
        .variable("TAPKEEP_CAPTURE_SNAPLEN", "1600")
        .variable("PCAP_RETENTION_COUNT", "2");
    let mut service = setup.start(&net);
    service.wait_until_capturing();
    let frames = scratch.path().join("frames.pcap");
    write_pcap(&frames, &mix(50_000, 4_000));
    net.send(&frames, Pace::PerSecond(4_000));
    wait_until("what was sent to be written", || {
        service.state().is_some_and(|state| state["written"] == 4_000)
    });
    assert_eq!(names(&data, ".part").len(), 1, "the growing file is there");
    captures::stop(service);
    let left = names(&data, ".pcap");
    assert!(left.contains(&held), "{left:?}");
    let ours: Vec<_> = left.iter().filter(|name| name.parse::<CaptureName>().is_ok()).collect();
    assert_eq!(ours.len(), 2, "the held one counts: {ours:?}");
    assert_eq!(look(), before);
}

fn record_into_new(data: &Path, count: u64) {
    std::fs::create_dir(data).unwrap();
    record(data, count, 100_000, &[], &[]);
}

fn hold(data: &Path, args: &[&str]) -> Answer {
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = tapkeep(args);
    command.arg("--data-dir").arg(data).env("TAPKEEP_SERVICE_RUNTIME_DIR", nowhere.path());
    run(command.env("PCAP_RETENTION_COUNT", "6"))
}

fn held(data: &Path) -> Vec<u64> {
    let list = listed(data);
    let files = list["files"].as_array().unwrap().iter().filter(|file| file["held"] == true);
    files.map(|file| file["index"].as_u64().unwrap()).collect()
}

#[test]
fn a_hold_is_by_file_or_range_outlives_the_index_and_leaves_room() {
    if !require(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    record(data, 6, 100_000, &[], &[]);
    let list = listed(data);
    let row = |at: usize| &list["files"][at];
    hold(data, &["hold", name(row(0))]).ok();
    assert!(hold(data, &["hold", name(row(0))]).ok().text().contains("held already"));
    // [since, until): the second and third file have packets of it.
    let (since, until) = (row(1)["last"].as_str().unwrap(), row(3)["first"].as_str().unwrap());
    hold(data, &["hold", "--since", since, "--until", until]).ok();
    assert_eq!(held(data), [1, 2, 3]);
    let refused = hold(data, &["hold", name(row(3))]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("more than half of the 6"), "{}", refused.stderr);
    assert_eq!(held(data), [1, 2, 3], "all or none");
    assert_eq!(hold(data, &["hold", "capture_20241231_143052_0099.pcap"]).code, Some(1));
    assert_eq!(hold(data, &["hold", "notes.txt"]).code, Some(2));
    assert_eq!(hold(data, &["hold", "--until", "2001-01-01"]).code, Some(3));

    ask(data, &["index", "rebuild"]).ok();
    assert_eq!(held(data), [1, 2, 3], "a rebuild keeps it");
    assert_eq!(in_state(&assert_told_alike(data), "sealed").len(), 6);
    let service = keep(data, "[retention]\ncount = 3\n");
    wait_until("evictions", || numbers(data) == [1, 2, 3]);
    // Given back, they go as any other.
    hold(data, &["release", name(row(1))]).ok();
    std::fs::write(service.runtime_dir().join("tapkeep.toml"), "[retention]\ncount = 2\n").unwrap();
    let mut service = service;
    service.reload();
    wait_until("the released one to go", || numbers(data) == [1, 3]);
    let words = captures::stop(service);
    assert!(words.contains("is released"), "{words}");
    assert_eq!(held(data), [1, 3]);
    assert!(hold(data, &["release", name(row(1))]).code != Some(0), "it is not there any more");
    assert_list_is_right(data);
}

#[test]
fn a_held_file_survives_even_a_tiny_limit_and_a_deleted_index() {
    if !require(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), 6, 100_000, &[], &[]);
    let third = names(dir.path(), ".pcap")[2].clone();
    hold(dir.path(), &["hold", &third]).ok();
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(dir.path().join(format!("index.sqlite3{suffix}")));
    }
    std::fs::remove_file(dir.path().join("ledger.jsonb")).unwrap();
    let service = keep(dir.path(), "[retention]\ncount = 1\nage = \"1s\"\n");
    wait_until("evictions", || numbers(dir.path()) == [3]);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(numbers(dir.path()), [3]);
    captures::stop(service);
    assert_eq!(held(dir.path()), [3]);
}
