//! The process is killed while it records: whatever could be seen by then is in exactly one file afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::collections::HashSet;
use std::time::Duration;

use support::net::Pace;
use support::pcap::{Packet, capinfos_count, mix, tshark_packets};
use support::process::wait_until;
use support::recorded::{growing, number, packets, sealed, visible_packets};
use support::sim::Rng;
use support::stage::Stage;

const ROUNDS: usize = 12;
const SEED: u64 = 20_241_231;

fn numbers(packets: &[Packet]) -> Vec<u64> {
    packets.iter().map(|packet| packet.seq().expect("one of our frames")).collect()
}

#[test]
fn what_could_be_seen_when_it_was_killed_is_in_one_file_afterwards() {
    let Some(stage) = Stage::new(&["tshark", "capinfos"]) else { return };
    let data = stage.data_dir();
    let setup = || stage.setup().variable("PCAP_ROTATION_SIZE", "700kB");
    let sending = stage.file(&mix(0, 400_000));
    let mut rng = Rng::new(SEED);
    let traffic = stage.net.begin_to_send(&sending, Pace::PerSecond(8_000));
    let mut seen = Vec::new();
    let mut highest = 0;
    for round in 0..ROUNDS {
        let mut service = stage.start(setup());
        std::thread::sleep(Duration::from_millis(rng.below(700)));
        // Stopped first, so that nothing changes between the look and the end.
        service.process.stand_still();
        let visible = visible_packets(&data);
        assert_eq!(service.kill().signal, Some(9));
        assert_eq!(visible_packets(&data), visible, "round {round}: a dead process wrote");
        let now = numbers(&visible);
        assert!(now.starts_with(&seen), "round {round}: what was seen before is not there any more");
        seen = now;
        let last = support::recorded::all(&data).last().map_or(0, |file| number(file));
        assert!(last >= highest, "round {round}: number {last} after {highest}");
        highest = last;
    }
    drop(traffic);
    let service = stage.start(setup());
    wait_until("salvage", || growing(&data).iter().all(|part| number(part) > highest));
    assert!(growing(&data).len() <= 1);
    assert_eq!(service.stop().code, Some(0));

    let files = sealed(&data);
    assert!(growing(&data).is_empty());
    let kept = numbers(&packets(&files));
    assert!(kept.starts_with(&seen), "{} packets seen, {} kept", seen.len(), kept.len());
    assert_eq!(kept.iter().collect::<HashSet<_>>().len(), kept.len(), "a packet is in two files");
    assert!(kept.is_sorted(), "packets are out of order");
    let indices: Vec<_> = files.iter().map(|file| number(file)).collect();
    assert!(indices.windows(2).all(|pair| pair[0] < pair[1]), "{indices:?}");

    let list = support::service::ask(&data, &["list", "--json", "--kind", "capture"]).ok().json();
    let listed = list["files"].as_array().unwrap();
    assert_eq!(listed.len(), files.len());
    assert!(listed.iter().any(|file| file["state"] == "salvaged"));
    for (file, listed) in files.iter().zip(listed) {
        assert_eq!(listed["name"], file.file_name().unwrap().to_str().unwrap());
        assert_eq!(listed["packets"], capinfos_count(file));
        if listed["state"] == "salvaged" {
            assert_eq!(listed["packets"], tshark_packets(file).len());
        }
        assert_eq!(listed["size"], file.metadata().unwrap().len());
    }
}
