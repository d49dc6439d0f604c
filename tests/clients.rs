//! Other programs, and our own commands, read the files while they are written at speed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::path::Path;
use std::process::Command;

use support::net::Pace;
use support::pcap::{assert_same_packets, capinfos_count, mix, read_pcap, tcpdump_packets, tshark_packets};
use support::process::{Answer, PATIENCE, run, wait_until};
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
    let lines = |answer: &Answer| answer.stdout.iter().filter(|byte| **byte == b'\n').count() as u64;
    let tcpdump = run(Command::new("tcpdump").args(["-nn", "-q", "-t", "-r", path]));
    complains_at_most_of("truncated dump file", &tcpdump, "reading from file");
    let tshark = run(Command::new("tshark").args(["-n", "-r", path, "-T", "fields", "-e", "frame.number"]));
    complains_at_most_of("cut short in the middle of a packet", &tshark, "Running as user");
    let capinfos = run(Command::new("capinfos").args(["-T", "-r", "-M", "-c", path]));
    complains_at_most_of("cut short in the middle of a packet", &capinfos, "An error occurred after reading");
    let counted = capinfos.text().trim().rsplit('\t').next().unwrap().parse();
    let counted = counted.unwrap_or_else(|_| panic!("capinfos: {capinfos:?}"));
    [("tcpdump", lines(&tcpdump)), ("tshark", lines(&tshark)), ("capinfos", counted)]
}

fn complains_at_most_of(cut: &str, answer: &Answer, chatter: &str) {
    for line in answer.stderr.lines().filter(|line| !line.trim().is_empty()) {
        assert!(line.contains(cut) || line.contains(chatter) || line.contains("dropped privs"), "{line}");
    }
    assert!(answer.code == Some(0) || answer.stderr.contains(cut), "{:?}: {}", answer.code, answer.stderr);
}

#[test]
fn a_file_that_grows_at_speed_is_read_by_anyone() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let service = start(&stage, "1GB");
    let mut sending = stage.net.begin_to_send(&stage.file(&mix(0, 60_000)), Pace::PerSecond(20_000));
    wait_until("a growing file", || !growing(&stage.data_dir()).is_empty());
    let file = growing(&stage.data_dir()).remove(0);
    let mut before = look(&file);
    let mut looks = 1;
    while sending.is_running() {
        let now = look(&file);
        for (now, before) in now.iter().zip(before) {
            assert!(now.1 >= before.1, "{} saw {} packets after {}", now.0, now.1, before.1);
        }
        before = now;
        looks += 1;
    }
    assert!(looks >= 2, "{looks} looks only");
    assert_eq!(support::net::sent(sending.finish(PATIENCE)), 60_000);
    wait_for_packets(&stage.data_dir(), 60_000);
    assert_eq!(look(&file).map(|(_, packets)| packets), [60_000; 3]);
    assert_eq!(service.stop().code, Some(0));
}

#[test]
fn sealed_files_open_without_a_word_while_the_next_one_grows() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let service = start(&stage, "2MB");
    let mut sending = stage.net.begin_to_send(&stage.file(&mix(0, 40_000)), Pace::PerSecond(10_000));
    let mut looked = 0;
    while sending.is_running() {
        let Some(file) = sealed(&stage.data_dir()).pop() else { continue };
        let ours = read_pcap(&file);
        assert_eq!(capinfos_count(&file), ours.len() as u64);
        assert_eq!(tcpdump_packets(&file), ours);
        assert_eq!(tshark_packets(&file), ours);
        looked += 1;
    }
    assert!(looked >= 2, "{looked} looks only");
    assert_eq!(service.stop().code, Some(0));
    assert_same_packets(&packets(&sealed(&stage.data_dir())), &mix(0, 40_000));
}

#[test]
fn list_and_extract_answer_while_files_end_all_the_time() {
    let Some(stage) = Stage::new(&CLIENTS) else { return };
    let service = start(&stage, "50kB");
    let mut sending = stage.net.begin_to_send(&stage.file(&mix(0, 30_000)), Pace::PerSecond(6_000));
    let out = stage.dir.path().join("extract.pcap");
    let (mut listed, mut extracted, mut asked) = (0, 0, 0);
    wait_for_packets(&stage.data_dir(), 1);
    while sending.is_running() {
        let answer = service.ask(&["list", "--json"]).ok();
        let files = answer.json()["files"].take();
        let numbers: Vec<_> =
            files.as_array().unwrap().iter().map(|file| file["index"].as_u64().unwrap()).collect();
        assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{numbers:?}");
        assert!(numbers.len() >= listed, "{} files after {listed}; {}", numbers.len(), answer.stderr);
        listed = numbers.len();
        let answer = service.ask(&["extract", "-w", out.to_str().unwrap()]).ok();
        let got = read_pcap(&out);
        assert!(got.len() >= extracted, "{} packets after {extracted}; {}", got.len(), answer.stderr);
        assert_same_packets(&got, &mix(0, got.len() as u64));
        extracted = got.len();
        asked += 1;
    }
    assert!(asked >= 3, "asked {asked} times only");
    assert_eq!(support::net::sent(sending.finish(PATIENCE)), 30_000);
    wait_for_packets(&stage.data_dir(), 30_000);
    assert!(listed > 100, "{listed} files are no storm");
    service.ask(&["extract", "-w", out.to_str().unwrap()]).ok();
    assert_same_packets(&tcpdump_packets(&out), &mix(0, 30_000));
    let list = service.ask_json(&["list", "--json"]);
    let total: u64 =
        list["files"].as_array().unwrap().iter().map(|file| file["packets"].as_u64().unwrap()).sum();
    assert_eq!(total, 30_000);
    assert_eq!(service.stop().code, Some(0));
    assert_same_packets(&packets(&sealed(&stage.data_dir())), &mix(0, 30_000));
}
