//! Other programs, and our own commands, read the files while they are written at speed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::path::Path;
use std::process::Command;

use support::net::Pace;
use support::pcap::{
    Packet, assert_same_packets, capinfos_count, mix, parse_pcap, read_pcap, tcpdump_packets, tshark_packets,
};
use support::process::{Answer, Process, run, wait_until};
use support::recorded::{growing, packets, sealed, wait_for_packets};
use support::service::Service;
use support::stage::Stage;

const CLIENTS: [&str; 3] = ["tcpdump", "tshark", "capinfos"];

fn start(stage: &Stage, rotation_size: &str) -> Service {
    let setup = stage.setup().variable("PCAP_ROTATION_SIZE", rotation_size);
    stage.start(setup.variable("TAPKEEP_CAPTURE_SNAPLEN", "9200"))
}

/// How many packets each client finds in a file that grows. A cut last record is the only complaint that is allowed.
fn look(file: &Path) -> [(&'static str, u64); 3] {
    let path = file.to_str().unwrap();
    let tcpdump = run(Command::new("tcpdump").args(["-nn", "-q", "-t", "-r", path]));
    complains_at_most_of("truncated dump file", &tcpdump, "reading from file");
    let tshark = run(Command::new("tshark").args(["-r", path, "-F", "pcap", "-w", "-"]));
    complains_at_most_of("cut short in the middle of a packet", &tshark, "Running as user");
    let capinfos = run(Command::new("capinfos").args(["-T", "-r", "-M", "-c", path]));
    complains_at_most_of("cut short in the middle of a packet", &capinfos, "An error occurred after reading");
    let counted = capinfos.text().trim().rsplit('\t').next().unwrap().parse();
    let counted = counted.unwrap_or_else(|_| panic!("capinfos: {capinfos:?}"));
    [
        ("tcpdump", tcpdump.text().lines().count() as u64),
        ("tshark", parse_pcap(&tshark.stdout).0.len() as u64),
        ("capinfos", counted),
    ]
}

fn complains_at_most_of(cut: &str, answer: &Answer, chatter: &str) {
    for line in answer.stderr.lines().filter(|line| !line.trim().is_empty()) {
        assert!(line.contains(cut) || line.contains(chatter) || line.contains("dropped privs"), "{line}");
    }
    assert!(answer.code == Some(0) || answer.stderr.contains(cut), "{:?}: {}", answer.code, answer.stderr);
}

/// Begins to send numbered frames, more than anyone will wait for.
fn flood(stage: &Stage, rate: u32) -> Process {
    let sending = stage.net.begin_to_send(&stage.file(&mix(0, 200_000)), Pace::PerSecond(rate));
    wait_for_packets(&stage.data_dir(), 1);
    sending
}

/// Ends the flood; returns the frames that have arrived, all of which can be seen.
fn ebb(stage: &Stage, mut sending: Process) -> Vec<Packet> {
    assert!(sending.is_running(), "all was sent before all was tested: {}", sending.last_words());
    drop(sending);
    let arrived = stage.net.delivered();
    wait_for_packets(&stage.data_dir(), arrived as usize);
    mix(0, arrived)
}

#[test]
fn a_file_that_grows_at_speed_is_read_by_anyone() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let service = start(&stage, "1GB");
    let sending = flood(&stage, 6_000);
    let file = growing(&stage.data_dir()).remove(0);
    let mut before = look(&file);
    for _ in 0..3 {
        let now = look(&file);
        for (now, before) in now.iter().zip(before) {
            assert!(now.1 >= before.1, "{} saw {} packets after {}", now.0, now.1, before.1);
        }
        before = now;
    }
    let arrived = ebb(&stage, sending).len() as u64;
    assert_eq!(look(&file).map(|(_, packets)| packets), [arrived; 3]);
    assert_eq!(service.stop().code, Some(0));
}

#[test]
fn sealed_files_open_without_a_word_while_the_next_one_grows() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let service = start(&stage, "1MB");
    let sending = flood(&stage, 6_000);
    for round in 1..=3 {
        wait_until("one more sealed file", || sealed(&stage.data_dir()).len() >= round);
        let file = sealed(&stage.data_dir()).remove(round - 1);
        let ours = read_pcap(&file);
        assert_eq!(capinfos_count(&file), ours.len() as u64);
        assert_eq!(tcpdump_packets(&file), ours);
        assert_eq!(tshark_packets(&file), ours);
    }
    let arrived = ebb(&stage, sending);
    assert_eq!(service.stop().code, Some(0));
    assert_same_packets(&packets(&sealed(&stage.data_dir())), &arrived);
}

#[test]
fn list_and_extract_answer_while_files_end_all_the_time() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let service = start(&stage, "50kB");
    let sending = flood(&stage, 6_000);
    let out = stage.dir.path().join("extract.pcap");
    let (mut listed, mut extracted, mut asked) = (0, 0, 0);
    while asked < 5 || listed < 100 {
        let answer = service.ask(&["list", "--json", "--kind", "capture"]).ok();
        let numbers = indices(&answer.json());
        let whole = numbers.iter().copied().eq(1..=numbers.len() as u64);
        assert!(whole && numbers.len() >= listed, "{numbers:?} after {listed}: {}", answer.stderr);
        listed = numbers.len();
        let answer = service.ask(&["extract", "-w", out.to_str().unwrap()]).ok();
        let got = read_pcap(&out);
        assert!(got.len() >= extracted, "{} packets after {extracted}: {}", got.len(), answer.stderr);
        assert_same_packets(&got, &mix(0, got.len() as u64));
        extracted = got.len();
        asked += 1;
    }
    let arrived = ebb(&stage, sending);
    service.ask(&["extract", "-w", out.to_str().unwrap()]).ok();
    assert_same_packets(&tcpdump_packets(&out), &arrived);
    let list = service.ask_json(&["list", "--json", "--kind", "capture"]);
    let counts = list["files"].as_array().unwrap().iter().map(|file| file["packets"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), arrived.len() as u64);
    assert_eq!(service.stop().code, Some(0));
    assert_same_packets(&packets(&sealed(&stage.data_dir())), &arrived);
}

fn indices(list: &serde_json::Value) -> Vec<u64> {
    list["files"].as_array().unwrap().iter().map(|file| file["index"].as_u64().unwrap()).collect()
}
