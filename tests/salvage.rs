//! What a crash left, made by hand: each kind of unfinished file, each way in which ledger or index can be missing or wrong.
//! A start deals with all of it beside recording, and never asks for a person.

// A test that cannot go on fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::captures::{self, assert_list_is_right, finished, listed, name, names, pcaps};
use support::pcap::{
    Packet, Shape, assert_same_packets, capinfos_count, frame, mix, parse_pcap, pcap_bytes, read_pcap,
    tcpdump_packets, write_pcap,
};
use support::process::{must, run, wait_until};
use support::require;
use support::service::{Service, Setup, ask, tapkeep};

const TOOLS: [&str; 3] = ["capinfos", "tcpdump", "sqlite3"];

/// A data directory with `count` recorded files of 200 packets, by `replay`.
fn recorded(count: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    replay(dir.path(), &mix(0, 200 * count), count);
    dir
}

/// Replays packets into about so many files.
fn replay(data_dir: &Path, packets: &[Packet], files: u64) {
    let source = tempfile::NamedTempFile::new().unwrap();
    write_pcap(source.path(), packets);
    let size = (source.path().metadata().unwrap().len() / files + 1600).to_string() + "B";
    let mut command = tapkeep(&["replay"]);
    command.arg(source.path()).arg("--data-dir").arg(data_dir).env("PCAP_ROTATION_SIZE", size);
    command.env("TAPKEEP_CAPTURE_SNAPLEN", "1600");
    run(&mut command).ok();
}

/// A service on a port that is not there: it salvages, keeps and lists, and records nothing.
fn serve(data_dir: &Path) -> Service {
    let setup = Setup::new(data_dir).variable("PCAP_RETENTION_COUNT", "0");
    let mut service = setup.variable("NETWORK_INTERFACE", "nowhere0").start_here();
    service.wait_for("waiting");
    service
}

/// Starts a service, waits until nothing is left to salvage, and stops it; returns what it said.
fn restart(data_dir: &Path) -> String {
    let service = serve(data_dir);
    wait_until("the end of salvage", || {
        service.state().is_some_and(|state| state["busy_with"].is_null() && state["index_stale"] == false)
    });
    captures::stop(service)
}

/// Writes a `.part` with this index number; returns its final name.
fn leave(data_dir: &Path, number: u64, bytes: &[u8]) -> String {
    std::fs::create_dir_all(pcaps(data_dir)).unwrap();
    let name = format!("capture_20241231_143052_{number:04}.pcap");
    std::fs::write(pcaps(data_dir).join(format!("{name}.part")), bytes).unwrap();
    name
}

fn state_of<'a>(list: &'a Value, wanted: &str) -> Option<&'a Value> {
    list["files"].as_array().unwrap().iter().find(|file| name(file) == wanted)
}

fn bytes_of(packets: &[Packet]) -> Vec<u8> {
    pcap_bytes(packets, Shape::default())
}

#[test]
fn every_unfinished_file_is_sealed_up_to_its_last_sound_record() {
    if !require(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let packets = mix(0, 300);
    let whole = bytes_of(&packets);
    let cut = &whole[..whole.len() - 10];
    let in_header = &whole[..whole.len() - packets[299].data.len() - 9];
    let garbage = [&whole[..], &[0xff; 64]].concat();
    // What delayed allocation leaves: the length is there, the pages are not.
    let page = whole.len() / 2 / 4096 * 4096;
    let mut zeros = whole.clone();
    zeros[page..].fill(0);
    let kept = parse_pcap(&whole[..page]).0.len();
    let behind = [whole.clone(), vec![0; 3 * 4096]].concat();
    // A payload that ends in zeros of its own, on a page of its own, is no such tail.
    let mut padded = packets[..2].to_vec();
    let mut last = frame(7, 1400, &[]);
    last[60..].fill(0);
    padded.push(Packet::whole(1_735_655_460, 0, last));
    let cases: [(&str, Vec<u8>, &[Packet]); 7] = [
        ("whole", whole.clone(), &packets),
        ("cut within a record", cut.to_vec(), &packets[..299]),
        ("cut within a record header", in_header.to_vec(), &packets[..299]),
        ("bytes that are no record", garbage, &packets),
        ("pages that were never written", zeros, &packets[..kept]),
        ("a tail behind the last record", behind, &packets),
        ("zeros of its own", bytes_of(&padded), &padded),
    ];
    let left: Vec<_> =
        (1..).zip(&cases).map(|(number, (_, bytes, _))| leave(dir.path(), number, bytes)).collect();
    let said = restart(dir.path());
    assert!(said.contains("zeros that were never written"), "{said}");
    assert_eq!(names(dir.path(), ".part"), Vec::<String>::new());
    let list = listed(dir.path());
    for ((what, _, wanted), name) in cases.iter().zip(&left) {
        let path = pcaps(dir.path()).join(name);
        assert_same_packets(&read_pcap(&path), wanted);
        assert_same_packets(&tcpdump_packets(&path), wanted);
        let row = state_of(&list, name).unwrap();
        assert_eq!((&row["state"], &row["packets"]), (&"salvaged".into(), &wanted.len().into()), "{what}");
        assert_eq!(row["losses"]["kernel"], Value::Null, "{what}: nobody counted what it misses");
    }
    assert_list_is_right(dir.path());
}

#[test]
fn a_file_without_packets_goes_and_one_without_a_header_is_put_aside() {
    if !require(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let header = bytes_of(&[]);
    let mut damaged = bytes_of(&mix(0, 20));
    damaged[..4].fill(0x11);
    leave(dir.path(), 1, &[]);
    leave(dir.path(), 2, &header[..10]);
    leave(dir.path(), 3, &header);
    leave(dir.path(), 4, &[&header[..], &[0; 9000]].concat());
    leave(dir.path(), 5, &[0; 20_000]);
    let aside = leave(dir.path(), 6, &damaged);
    restart(dir.path());
    assert_eq!(names(dir.path(), ""), [format!("{aside}.damaged")]);
    assert_eq!(std::fs::read(pcaps(dir.path()).join(format!("{aside}.damaged"))).unwrap(), damaged);
    let check = || {
        let list = listed(dir.path());
        let row = state_of(&list, &format!("{aside}.damaged"))
            .unwrap_or_else(|| panic!("{aside} is not in {list}"));
        assert_eq!((&row["state"], &row["size"]), (&"damaged".into(), &damaged.len().into()));
    };
    check();
    // The next start knows it from the ledger, and the number is not given again.
    restart(dir.path());
    check();
    replay(dir.path(), &mix(0, 5), 1);
    assert!(names(dir.path(), ".pcap")[0].ends_with("_0007.pcap"));
}

#[test]
fn a_seal_whose_rename_did_not_happen_is_completed() {
    if !require(&TOOLS) {
        return;
    }
    let dir = recorded(3);
    let before = listed(dir.path());
    let files = finished(dir.path());
    let (last, part) = (&files[2], PathBuf::from(format!("{}.part", files[2].display())));
    std::fs::rename(last, &part).unwrap();
    let said = restart(dir.path());
    assert!(said.contains("completed the interrupted sealing"), "{said}");
    assert_eq!(listed(dir.path())["files"], before["files"], "as sealed as it was, losses and all");
    // A file system that cannot rename without replacing links first: both names are there.
    std::fs::hard_link(last, &part).unwrap();
    restart(dir.path());
    assert_eq!(names(dir.path(), ".part"), Vec::<String>::new());
    assert_eq!(listed(dir.path())["files"], before["files"]);
}

#[test]
fn a_finished_file_unknown_to_the_ledger_is_taken_in_and_a_vanished_one_told() {
    if !require(&TOOLS) {
        return;
    }
    let dir = recorded(2);
    let stranger = pcaps(dir.path()).join("capture_20250101_000000_0042.pcap");
    write_pcap(&stranger, &mix(900, 30));
    let gone = finished(dir.path())[0].clone();
    std::fs::remove_file(&gone).unwrap();
    let said = restart(dir.path());
    assert!(said.contains("took in capture_20250101_000000_0042.pcap"), "{said}");
    assert!(said.contains("is gone, and not by retention"), "{said}");
    assert_list_is_right(dir.path());
    let list = listed(dir.path());
    let row = state_of(&list, "capture_20250101_000000_0042.pcap").unwrap();
    assert_eq!((&row["packets"], &row["losses"]["queue"]), (&30.into(), &Value::Null));
    replay(dir.path(), &mix(0, 5), 1);
    assert!(names(dir.path(), ".pcap").last().unwrap().ends_with("_0043.pcap"), "numbers go on behind it");
}

/// Everything that `list` has to tell of: sealed, salvaged, damaged, held, evicted.
fn rich() -> tempfile::TempDir {
    let dir = recorded(6);
    leave(dir.path(), 20, &bytes_of(&mix(5000, 40))[..2000]);
    leave(dir.path(), 21, &[7; 5000]);
    restart(dir.path());
    let mut command = tapkeep(&["replay", "--retention"]);
    let source = tempfile::NamedTempFile::new().unwrap();
    write_pcap(source.path(), &mix(9000, 10));
    command.arg(source.path()).arg("--data-dir").arg(dir.path()).env("PCAP_RETENTION_COUNT", "4");
    run(&mut command).ok();
    let held = names(dir.path(), ".pcap")[0].clone();
    ask(dir.path(), &["hold", &held]).ok();
    restart(dir.path());
    dir
}

#[test]
fn the_index_may_be_lost_broken_or_of_another_time() {
    if !require(&TOOLS) {
        return;
    }
    let dir = rich();
    let before = listed(dir.path());
    for state in ["sealed", "salvaged", "damaged", "evicted"] {
        assert!(!captures::in_state(&before, state).is_empty(), "no {state} file in {before}");
    }
    let index = dir.path().join("index.sqlite3");
    let remove = || {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", index.display()));
        }
    };
    let sql = |text: &str| must("sqlite3", &[index.to_str().unwrap(), text]);
    // Each start adds the gap in which the port was not there; all else stays.
    let latest = std::cell::RefCell::new(before.clone());
    let check = |what: &str, aside: Option<&str>| {
        assert_eq!(listed(dir.path()), *latest.borrow(), "{what}, before the start");
        let said = restart(dir.path());
        latest.replace(listed(dir.path()));
        assert_eq!(latest.borrow()["files"], before["files"], "{what}, after the start");
        if let Some(aside) = aside {
            assert!(said.contains("put the index aside"), "{what}: {said}");
            assert!(dir.path().join(aside).exists(), "{what}");
        }
    };
    remove();
    check("no index", None);
    remove();
    ask(dir.path(), &["index", "rebuild"]).ok();
    check("rebuilt by hand", None);
    std::fs::write(&index, "not a database at all, but long enough to be looked at").unwrap();
    check("no database", Some("index.sqlite3.damaged"));
    let len = index.metadata().unwrap().len();
    std::fs::OpenOptions::new()
        .write(true)
        .open(&index)
        .unwrap()
        .write_all_at(&[0x55; 4096], len / 2)
        .unwrap();
    check("a broken page", None);
    sql("PRAGMA user_version = 99");
    check("a newer schema", Some("index.sqlite3.newer"));
    sql("DELETE FROM capture WHERE number % 2 = 0; UPDATE capture SET packets = 1 WHERE number = 21");
    restart(dir.path());
    assert_eq!(listed(dir.path())["files"], before["files"], "rows that differ from the truth");
    latest.replace(listed(dir.path()));
    remove();
    sql("CREATE TABLE other (a); INSERT INTO other VALUES (1); PRAGMA user_version = 1");
    check("another program's database", Some("index.sqlite3.damaged"));
}

#[test]
fn a_ledger_damaged_in_the_middle_loses_what_was_hit_and_no_more() {
    if !require(&TOOLS) {
        return;
    }
    let dir = recorded(6);
    let before = listed(dir.path());
    let ledger = dir.path().join("ledger.jsonb");
    let intact = std::fs::read(&ledger).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&ledger).unwrap();
    file.write_all_at(&[0xa5; 40], intact.len() as u64 / 2).unwrap();
    drop(file);
    let damaged = std::fs::read(&ledger).unwrap();
    let said = restart(dir.path());
    assert!(said.contains("ledger.jsonb is damaged, bytes ") && said.contains("the rest is kept"), "{said}");
    assert_eq!(std::fs::read(dir.path().join("ledger.jsonb.damaged")).unwrap(), damaged);
    let after = listed(dir.path());
    assert_list_is_right(dir.path());
    let pairs = before["files"].as_array().unwrap().iter().zip(after["files"].as_array().unwrap());
    let (same, other): (Vec<_>, Vec<_>) = pairs.partition(|(before, after)| before == after);
    assert_eq!((same.len(), other.len()), (5, 1), "one entry was hit: {before}\n{after}");
    assert_eq!(other[0].1["losses"]["queue"], Value::Null, "what it lost is not known any more");
    assert_eq!(other[0].0["packets"], other[0].1["packets"]);
    assert!(!restart(dir.path()).contains("damaged"), "told once");
}

#[test]
fn without_its_ledger_a_directory_answers_everything_but_losses_and_evictions() {
    if !require(&TOOLS) {
        return;
    }
    let dir = rich();
    let before = listed(dir.path());
    std::fs::remove_file(dir.path().join("ledger.jsonb")).unwrap();
    restart(dir.path());
    assert_list_is_right_but_for_damaged(dir.path());
    let after = listed(dir.path());
    assert!(captures::in_state(&after, "evicted").is_empty());
    let there: Vec<_> =
        before["files"].as_array().unwrap().iter().filter(|file| file["state"] != "evicted").collect();
    assert_eq!(after["files"].as_array().unwrap().len(), there.len());
    for (was, is) in there.iter().zip(after["files"].as_array().unwrap()) {
        for key in ["name", "index", "packets", "bytes", "size", "first", "last", "held"] {
            assert_eq!(was[key], is[key], "{key} of {}", was["name"]);
        }
        assert_eq!(is["losses"]["kernel"], Value::Null);
    }
    assert!(there.iter().any(|file| file["held"] == true), "the marker outlives the ledger");
}

fn assert_list_is_right_but_for_damaged(data_dir: &Path) {
    let list = listed(data_dir);
    for path in finished(data_dir) {
        let row = state_of(&list, path.file_name().unwrap().to_str().unwrap()).unwrap().clone();
        assert_eq!(row["packets"], capinfos_count(&path));
    }
}

#[test]
fn files_that_are_none_of_ours_are_left_alone() {
    if !require(&TOOLS) {
        return;
    }
    let dir = recorded(2);
    let strangers =
        ["notes.txt", "capture_1.pcap", "capture_20241231_143052_0001.pcap.bak", "x.pcap.part", ".hidden"];
    let look = |name: &str| {
        let path = pcaps(dir.path()).join(name);
        (std::fs::read(&path).unwrap(), path.metadata().unwrap().modified().unwrap())
    };
    for stranger in strangers {
        std::fs::write(pcaps(dir.path()).join(stranger), stranger).unwrap();
    }
    let link = pcaps(dir.path()).join("capture_20241231_143052_0099.pcap");
    std::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
    let before: Vec<_> = strangers.iter().map(|name| look(name)).collect();
    restart(dir.path());
    let after: Vec<_> = strangers.iter().map(|name| look(name)).collect();
    assert_eq!(before, after);
    assert!(link.is_symlink());
}
