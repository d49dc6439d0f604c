//! A disk that is slow or stands still costs time, not packets, and the state tells how much is at stake; a disk is written
//! no more than it must be, and not at all while the link is idle.

// A test that cannot go on fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use support::answers::{assert_each_packet_in_one_record, lines};
use support::captures::{self, assert_list_is_right, listed, lost, packets};
use support::disk::{self, Disk};
use support::net::{self, Net, Pace, sent};
use support::pcap::{Packet, assert_same_packets, frame, mix, write_pcap};
use support::process::{PATIENCE, must, run, wait_until};
use support::require;
use support::service::{Service, Setup, ask};

fn ready() -> bool {
    require(&disk::NEEDS) && require(&net::NEEDS) && require(&["capinfos", "fsfreeze", "sync"])
}

fn start(disk: &Disk, net: &Net) -> Service {
    let setup = Setup::new(disk.path().join("data"))
        .variable("PCAP_RETENTION_COUNT", "0")
        .variable("PCAP_ROTATION_SIZE", "8")
        .variable("TAPKEEP_FLOWS_FOLD", "false");
    let mut service = setup.variable("TAPKEEP_RECORDER_SYNC_INTERVAL", "500ms").start(net);
    service.wait_until_capturing();
    service
}

fn number(service: &Service, key: &str) -> Option<u64> {
    service.state().and_then(|state| state[key].as_u64())
}

/// A file system that takes nothing until this is dropped.
struct Frozen(PathBuf);

impl Frozen {
    fn new(disk: &Disk) -> Self {
        must("fsfreeze", &["--freeze", disk.path().to_str().unwrap()]);
        Self(disk.path().to_owned())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        run(std::process::Command::new("fsfreeze").arg("--unfreeze").arg(&self.0));
    }
}

#[test]
fn a_disk_that_stands_still_costs_no_packet_and_the_state_tells_of_it() {
    if !ready() {
        return;
    }
    let (disk, net, scratch) = (Disk::new(64 << 20), Net::new(), tempfile::tempdir().unwrap());
    let frames = scratch.path().join("frames.pcap");
    let wanted = mix(0, 20_000);
    write_pcap(&frames, &wanted);
    let service = start(&disk, &net);
    let sending = net.begin_to_send(&frames, Pace::PerSecond(2_000));
    wait_until("the first packets", || number(&service, "written") > Some(500));
    let frozen = Frozen::new(&disk);
    let (taken, written) = (number(&service, "packets").unwrap(), number(&service, "written").unwrap());
    wait_until("the age of what is not synced", || number(&service, "oldest_unsynced_ms") > Some(5_000));
    assert!(number(&service, "packets").unwrap() > taken + 4_000, "capture goes on");
    assert!(number(&service, "written").unwrap() <= written + 3_000, "although nothing is written");
    drop(frozen);
    wait_until("the backlog to be synced", || {
        number(&service, "oldest_unsynced_ms").is_none_or(|age| age < 3_000)
    });
    assert_eq!(sent(sending.finish(PATIENCE)), 20_000);
    wait_until("all to be taken", || number(&service, "packets") == Some(20_000));
    captures::stop(service);
    let list = listed(&disk.path().join("data"));
    assert_eq!(["nic", "kernel", "queue", "write"].map(|cause| lost(&list, cause)), [0; 4]);
    assert_eq!(lost(&list, "analysis"), 0);
    let data = disk.path().join("data");
    assert_same_packets(&packets(&data), &wanted);
    assert_list_is_right(&data);
    let flows = lines(ask(&data, &["flows", "--json", "--limit", "0"]));
    assert_eq!(assert_each_packet_in_one_record(&data, &flows), 20_000);
}

#[test]
fn the_first_write_may_hang_and_is_told_too() {
    if !ready() {
        return;
    }
    let (disk, net, scratch) = (Disk::new(64 << 20), Net::new(), tempfile::tempdir().unwrap());
    let frames = scratch.path().join("frames.pcap");
    write_pcap(&frames, &mix(0, 200));
    let service = start(&disk, &net);
    let frozen = Frozen::new(&disk);
    net.send(&frames, Pace::PerSecond(1_000));
    wait_until("the age of what is not synced", || number(&service, "oldest_unsynced_ms") > Some(3_000));
    drop(frozen);
    wait_until("all to be synced", || {
        number(&service, "written") == Some(200) && number(&service, "oldest_unsynced_ms").is_none()
    });
    let words = captures::stop(service);
    assert_eq!(packets(&disk.path().join("data")).len(), 200, "{words}");
}

#[test]
fn a_disk_is_written_once_and_an_idle_link_writes_nothing() {
    if !ready() || !require(&["findmnt"]) {
        return;
    }
    let (disk, net, scratch) = (Disk::new(128 << 20), Net::new(), tempfile::tempdir().unwrap());
    let frames = scratch.path().join("frames.pcap");
    let megabyte = |first: u64, count: u64| -> Vec<Packet> {
        (first..first + count).map(|seq| Packet::whole(1_735_655_452, 0, frame(seq, 1_000, &[]))).collect()
    };
    let mut service = Setup::new(disk.path().join("data")).start(&net);
    service.wait_until_capturing();
    // Its directories and tables are made.
    flush(&disk);
    let before = device_bytes(&disk);
    write_pcap(&frames, &megabyte(0, 15_000));
    net.send(&frames, Pace::PerSecond(1_000));
    wait_until("all to be synced", || {
        number(&service, "written") == Some(15_000) && number(&service, "oldest_unsynced_ms").is_none()
    });
    flush(&disk);
    let (kept, device) = (15_000 * 1_016 + 24, device_bytes(&disk) - before);
    let text = format!("{device} device bytes for {kept} kept: {:.4}\n", device as f64 / kept as f64);
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    assert!(device as f64 <= 1.02 * kept as f64, "{text}");

    let before = device_bytes(&disk);
    sleep(Duration::from_secs(11));
    assert_eq!(device_bytes(&disk) - before, 0, "written while the link was idle");
    captures::stop(service);
}

/// Whatever the file system still has in mind to write.
fn flush(disk: &Disk) {
    must("sync", &["--file-system", disk.path().to_str().unwrap()]);
}

/// Bytes that the device was given so far.
fn device_bytes(disk: &Disk) -> u64 {
    let device = must("findmnt", &["-n", "-o", "SOURCE", disk.path().to_str().unwrap()]).text();
    let name = device.trim().rsplit('/').next().unwrap().to_owned();
    let stat = std::fs::read_to_string(format!("/sys/block/{name}/stat")).unwrap();
    stat.split_whitespace().nth(6).unwrap().parse::<u64>().unwrap() * 512
}
