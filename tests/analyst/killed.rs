//! Killed at any moment, again and again: each packet is in exactly one record afterwards, and records name only what is there.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::answers::{assert_each_packet_in_one_record, packets_of};
use super::support::net::Pace;
use super::support::pcap::{Packet, frame, write_pcap};
use super::support::process::{PATIENCE, Process, Signal, wait_until};
use super::support::recorded::sealed;
use super::support::scan::scan;
use super::support::service::{RUNTIME_DIR, ask, tapkeep};
use super::support::sim::Rng;
use super::support::stage::Stage;
use super::{flows, replay};

const SEED: u64 = 20_261_123;

/// UDP packets of flows that last from the first to the last, of flows that come and go, and of flows of one packet.
pub(super) fn traffic(count: u64) -> Vec<Packet> {
    (0..count)
        .map(|seq| {
            let mut data = frame(seq, [60, 200, 1_000][(seq % 3) as usize], &[]);
            let port = match seq % 4 {
                0 => 5_000,
                1 => 30_000 + (seq / 64) as u16,
                _ => 10_000 + (seq / 2_000) as u16,
            };
            data[34..36].copy_from_slice(&port.to_be_bytes());
            // An answer now and then.
            if seq % 4 == 2 && seq % 64 >= 32 {
                let (head, ports) = data.split_at_mut(34);
                let (src, dst) = head[26..34].split_at_mut(4);
                src.swap_with_slice(dst);
                let (src, dst) = ports[..4].split_at_mut(2);
                src.swap_with_slice(dst);
            }
            Packet::whole(1_735_655_452 + (seq / 8_000) as u32, (seq % 8_000) as u32 * 125, data)
        })
        .collect()
}

#[test]
fn live_each_packet_is_in_one_record() {
    let Some(stage) = Stage::new(&[]) else { return };
    let data = stage.data_dir();
    let setup = || {
        let small = stage.setup().variable("PCAP_ROTATION_SIZE", "700kB");
        let small = small.variable("TAPKEEP_RECORDER_FLOW_ROTATION_SIZE", "64KiB");
        let quick = small.variable("TAPKEEP_FLOWS_OTHER_IDLE", "1s").variable("TAPKEEP_FLOWS_ACTIVE", "10s");
        quick.variable("TAPKEEP_RECORDER_SYNC_INTERVAL", "200ms")
    };
    let sending = stage.file(&traffic(400_000));
    let mut rng = Rng::new(SEED);
    let sender = stage.net.begin_to_send(&sending, Pace::PerSecond(6_000));
    for _ in 0..10 {
        let service = stage.start(setup());
        std::thread::sleep(Duration::from_millis(rng.below(2_500)));
        assert_eq!(service.kill().signal, Some(9));
    }
    let service = stage.start(setup());
    wait_until("what is left to be analysed", || {
        service
            .state()
            .is_some_and(|state| state["analysis"]["left"] == 0 && state["analysis"]["packets"] != 0)
    });
    drop(sender);
    service.stop().ok();
    let records = flows(&data);
    let total = assert_each_packet_in_one_record(&data, &records);
    assert!(total > 20_000, "{total} packets");
    assert!(records.iter().any(|record| record["part"] != 0), "no flow has two parts");
    let list = ask(&data, &["list", "--all", "--json"]).ok().json();
    let lost = |file: &&Value| file["losses"]["analysis"].as_u64().unwrap_or(0) != 0;
    assert_eq!(list["files"].as_array().unwrap().iter().find(lost), None);
}

#[test]
fn a_finding_told_before_a_kill_is_counted_on_after_it() {
    let Some(stage) = Stage::new(&[]) else { return };
    let data = stage.data_dir();
    let found = || {
        let findings = ask(&data, &["suspicious", "--json"]).json()["findings"].clone();
        findings.as_array().unwrap().iter().map(|found| found["id"].clone()).collect::<Vec<_>>()
    };
    let service = stage.start(stage.setup());
    stage.send(&scan(100), Pace::PerSecond(1_000));
    wait_until("what the detectors remember is saved", || data.join("detectors.jsonb.gz").exists());
    assert_eq!(service.kill().signal, Some(9));
    let before = found();
    assert_eq!(before.len(), 1, "{before:?}");
    let service = stage.start(stage.setup());
    stage.send(&scan(200), Pace::PerSecond(1_000));
    wait_until("the second scan is analysed", || {
        service.state().is_some_and(|state| state["analysis"]["packets"].as_u64() >= Some(60))
    });
    service.stop().ok();
    assert_eq!(found(), before);
}

#[test]
fn a_replay_too_and_a_second_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("traffic.pcap"));
    write_pcap(&file, &traffic(60_000));
    let variables = [
        ("PCAP_ROTATION_SIZE", "3000kB"),
        ("TAPKEEP_RECORDER_FLOW_ROTATION_SIZE", "400kB"),
        ("TAPKEEP_RECORDER_SYNC_INTERVAL", "100ms"),
        ("TAPKEEP_FLOWS_OTHER_IDLE", "1s"),
    ];
    let whole = Instant::now();
    replay(&dir.path().join("once"), std::slice::from_ref(&file), &variables).ok();
    let whole = whole.elapsed();
    let mut rng = Rng::new(SEED + 1);
    let nowhere = tempfile::tempdir().unwrap();
    for _ in 0..6 {
        let mut command = tapkeep(&["replay", "--data-dir"]);
        command.arg(&data).arg(&file).env(RUNTIME_DIR, nowhere.path()).envs(variables);
        command.env("PCAP_RETENTION_COUNT", "0");
        let mut process = Process::start(&mut command);
        std::thread::sleep(Duration::from_millis(rng.below(whole.as_millis() as u64)));
        process.signal(Signal::KILL);
        process.finish(PATIENCE);
    }
    replay(&data, std::slice::from_ref(&file), &variables).ok();
    let records = flows(&data);
    let total = assert_each_packet_in_one_record(&data, &records);
    assert!(total > 60_000, "{total} packets");
    assert_eq!(records.iter().map(packets_of).sum::<u64>(), total);
    assert!(sealed(&data).len() > 10);
}
