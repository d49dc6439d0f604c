//! A flood of flows of one packet: bounded on the disk and in memory, and each of them counted.

use std::process::Command;

use super::support::answers::{count, packets_of};
use super::support::pcap::{Packet, frame, write_pcap};
use super::support::process::{Process, wait_until};
use super::support::service::{RUNTIME_DIR, ask, tapkeep};
use super::{flows, replay};

const FLOWS: u64 = 100_000;

/// Distinct addresses and ports, 10 µs apart.
fn flood() -> Vec<Packet> {
    let mut packets = Vec::new();
    for n in 0..FLOWS {
        let mut data = frame(n, 60, &[]);
        data[26..30].copy_from_slice(&[10, 1, ((n % 5_000) >> 8) as u8, (n % 5_000) as u8]);
        data[30..34].copy_from_slice(&(0x0b00_0000 + n as u32).to_be_bytes());
        data[34..36].copy_from_slice(&(1_024 + (n % 60_000) as u16).to_be_bytes());
        packets.push(Packet::whole(1_735_655_452 + (n / 100_000) as u32, (n % 100_000) as u32 * 10, data));
    }
    packets
}

/// Peak of the memory of a process, KiB.
fn peak(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_flood_of_one_packet_flows_is_bounded_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("flood.pcap"));
    write_pcap(&file, &flood());
    let mut command: Command = tapkeep(&["replay", "--data-dir"]);
    command.arg(&data).arg(&file).env(RUNTIME_DIR, dir.path()).env("TAPKEEP_FLOWS_TABLE_SIZE", "10000");
    command.env("TAPKEEP_RECORDER_QUEUE_SIZE", "8MiB");
    let mut process = Process::start(&mut command);
    let mut memory = 0;
    wait_until("the replay to end", || {
        memory = memory.max(peak(&process));
        !process.is_running()
    });
    assert!(memory > 0 && memory < 256 << 10, "{memory} KiB");
    let list = ask(&data, &["list", "--all", "--json"]).ok().json();
    let files = list["files"].as_array().unwrap();
    let sum = |kind: &str, key: &str| -> u64 {
        files.iter().filter(|file| file["kind"] == kind).map(|file| count(file, key)).sum()
    };
    let (flow_bytes, capture_bytes) = (sum("flows", "size"), sum("capture", "size"));
    assert!(flow_bytes < capture_bytes / 4 + (4 << 20) + (1 << 20), "{flow_bytes} for {capture_bytes}");
    assert_eq!(sum("flows", "packets"), FLOWS, "{list}");
    let recorded: u64 = flows(&data).iter().map(packets_of).sum();
    assert!(recorded < FLOWS && sum("flows", "folded") + recorded == FLOWS, "{list}");
    let cursor = dir.path().join("cursor");
    let told = ask(&data, &["flows", "--json", "--cursor-file", cursor.to_str().unwrap()]).ok();
    let folded = format!(
        "{} more flows of one packet were only counted",
        tapkeep::cli::table::count(FLOWS - recorded)
    );
    assert!(told.stderr.contains(&folded), "{folded}: {}", told.stderr);
    let protocols = ask(&data, &["protocols", "--json"]).ok().json();
    assert_eq!(protocols["packets"], FLOWS);

    // Without folding each has its record.
    let all = dir.path().join("all");
    replay(&all, &[file], &[("TAPKEEP_FLOWS_FOLD", "false"), ("TAPKEEP_FLOWS_TABLE_SIZE", "10000")]).ok();
    let list = ask(&all, &["list", "--all", "--json"]).ok().json();
    let records = list["files"].as_array().unwrap().iter().filter(|file| file["kind"] == "flows");
    assert_eq!(records.map(|file| count(file, "records")).sum::<u64>(), FLOWS);
}
