//! Overload on purpose: every packet that was sent is either in a file or in a counter, to the packet, beside the file that
//! misses it and in `status`; and recording goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::path::Path;

use serde_json::Value;
use support::disk::{self, Disk};
use support::net::Pace;
use support::pcap::{Packet, assert_same_packets, mix};
use support::process::{Signal, must, wait_until};
use support::recorded::{packets, sealed, visible_packets, wait_for_packets};
use support::service::{Service, Setup, ask};
use support::stage::Stage;

const BEFORE: u64 = 100;
const FLOOD: u64 = 40_000;
const AFTER: u64 = 100;
const ALL: u64 = BEFORE + FLOOD + AFTER;
const PACE: Pace = Pace::PerSecond(20_000);

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// Waits until the service accounts for so many packets; its losses.
fn wait_for_account(service: &Service, sent: u64) -> Value {
    wait_until(&format!("an account of {sent} packets"), || {
        service.state().is_some_and(|state| {
            let lost: u64 =
                ["kernel", "queue", "write"].iter().map(|cause| number(&state["losses"][cause])).sum();
            let sum = number(&state["written"]) + lost;
            assert!(sum <= sent, "{sum} of {sent} packets: {state}");
            sum == sent
        })
    });
    service.state().unwrap()["losses"].take()
}

/// What holds after every kind of overload: `lost` packets are missing, all of the flood, and files, list and state agree.
fn check(data: &Path, losses: &Value, lost: u64) {
    let files = sealed(data);
    let kept = packets(&files);
    assert_eq!(kept.len() as u64, ALL - lost);
    let numbers: Vec<_> = kept.iter().map(|packet| packet.seq().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "a packet twice, or out of order");
    assert!((0..BEFORE).all(|seq| numbers[seq as usize] == seq));
    let sent = mix(0, ALL);
    let expected: Vec<Packet> = numbers.iter().map(|seq| sent[*seq as usize].clone()).collect();
    assert_same_packets(&kept, &expected);

    let list = ask(data, &["list", "--json", "--kind", "capture"]).ok().json();
    let listed = list["files"].as_array().unwrap();
    for cause in ["kernel", "queue", "write"] {
        let booked: u64 = listed.iter().map(|file| number(&file["losses"][cause])).sum();
        assert_eq!(booked, number(&losses[cause]), "{cause}");
        assert_eq!(list["losses"][cause], booked);
    }
}

#[test]
fn what_the_kernel_drops_is_counted_to_the_packet() {
    let Some(stage) = Stage::new(&[]) else { return };
    let data = stage.data_dir();
    let mut service = stage.start(stage.setup().variable("TAPKEEP_CAPTURE_KERNEL_BUFFER", "2MiB"));
    stage.send(&mix(0, BEFORE), PACE);
    wait_for_packets(&data, BEFORE as usize);
    service.process.stand_still();
    stage.send(&mix(BEFORE, FLOOD), PACE);
    service.process.signal(Signal::CONT);
    wait_for_account(&service, BEFORE + FLOOD);
    stage.send(&mix(BEFORE + FLOOD, AFTER), PACE);
    let losses = wait_for_account(&service, ALL);
    assert_eq!(stage.net.delivered(), ALL);
    let lost = number(&losses["kernel"]);
    assert!(lost > FLOOD / 2 && lost < FLOOD, "{lost} dropped: no overload, or nothing was kept");
    assert_eq!((&losses["queue"], &losses["write"]), (&0.into(), &0.into()));

    let status = service.ask(&["status"]);
    let digits: String =
        lost_line(&status.text()).chars().filter(|c| c.is_ascii_digit() || *c == ',').collect();
    assert_eq!(status.code, Some(1), "a warning");
    assert!(digits.replace(',', "").contains(&lost.to_string()), "{}", status.text());
    assert!(
        status.text().contains("in the last hour")
            && status.text().contains("\n                kernel: last at ")
    );
    let told = service.ask(&["status", "--json"]).json();
    assert_eq!(told["service"]["hour"]["losses"]["kernel"], lost);
    assert!(
        told["service"]["last_lost"]["kernel"].is_string() && told["service"]["last_lost"]["queue"].is_null()
    );
    assert!(
        told["warnings"][0].as_str().unwrap().ends_with(" packets lost in the last hour"),
        "{}",
        told["warnings"]
    );
    assert_eq!(service.stop().code, Some(0));
    check(&data, &losses, lost);
    let last: Vec<_> = packets(&sealed(&data)).split_off((ALL - lost - AFTER) as usize);
    assert_same_packets(&last, &mix(BEFORE + FLOOD, AFTER));
}

fn lost_line(status: &str) -> &str {
    status.lines().find(|line| line.starts_with("Lost")).unwrap_or_else(|| panic!("{status}"))
}

#[test]
fn a_disk_that_stands_still_costs_what_the_queue_cannot_hold() {
    let Some(stage) = Stage::new(&[&disk::NEEDS[..], &["fsfreeze"]].concat()) else { return };
    let disk = Disk::new(128 << 20);
    let data = disk.path().join("data");
    let setup = Setup::new(&data).keep_all();
    let service = stage.start(setup.variable("TAPKEEP_RECORDER_QUEUE_SIZE", "1MiB"));
    stage.send(&mix(0, BEFORE), PACE);
    wait_for_packets(&data, BEFORE as usize);

    let frozen = Frozen::new(disk.path());
    stage.send(&mix(BEFORE, FLOOD), PACE);
    // While the disk stands still the losses are told already.
    wait_until("a warning", || {
        service.state().is_some_and(|state| number(&state["losses"]["queue"]) > FLOOD / 2)
    });
    assert_eq!(service.ask(&["status"]).code, Some(1));
    drop(frozen);

    wait_for_account(&service, BEFORE + FLOOD);
    stage.send(&mix(BEFORE + FLOOD, AFTER), PACE);
    let losses = wait_for_account(&service, ALL);
    assert_eq!(visible_packets(&data).last().and_then(Packet::seq), Some(ALL - 1), "it goes on");
    let lost = number(&losses["queue"]) + number(&losses["kernel"]);
    assert_eq!(losses["write"], 0);
    assert!(number(&losses["queue"]) > FLOOD / 2 && lost < FLOOD, "{losses}");
    assert_eq!(service.stop().code, Some(0));
    check(&data, &losses, lost);
}

/// A file system on which every write waits, until dropped.
struct Frozen<'a>(&'a Path);

impl<'a> Frozen<'a> {
    fn new(path: &'a Path) -> Self {
        must("fsfreeze", &["--freeze", path.to_str().unwrap()]);
        Self(path)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        must("fsfreeze", &["--unfreeze", self.0.to_str().unwrap()]);
    }
}
