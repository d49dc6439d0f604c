//! The traffic of `scripts/traffic`, on which the demo, the bench and live tests rely, is sound by another tool's judgement.

// A test may fail by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[path = "support/requirements.rs"]
mod requirements;

use requirements::require;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Generates a capture with these options.
fn traffic(dir: &Path, name: &str, options: &[&str]) -> PathBuf {
    let file = dir.join(name);
    let script = Path::new(ROOT).join("scripts/traffic");
    let made = Command::new(script).arg(&file).args(options).stderr(Stdio::null()).status().unwrap();
    assert!(made.success());
    file
}

/// What `command`, a program or a pipe, prints by way of a shell; its first program must succeed.
fn shell(command: &str) -> String {
    let command = format!("{command}; exit ${{PIPESTATUS[0]}}");
    let answer = Command::new("bash").args(["-c", &command]).output().unwrap();
    let said = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success(), "{command}\n{said}");
    String::from_utf8(answer.stdout).unwrap()
}

/// How many packets a display filter finds.
fn found(file: &Path, filter: &str) -> usize {
    let checks = "-o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE -o udp.check_checksum:TRUE";
    shell(&format!("tshark -n -r {} {checks} -Y '{filter}'", file.display())).lines().count()
}

#[test]
fn generated_traffic_is_sound_and_of_every_kind() {
    if !require(&["python3", "tshark"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mixed = traffic(dir.path(), "mixed.pcap", &["--count", "10000"]);
    let bad = "_ws.malformed || tcp.analysis.flags || ip.checksum.status == 0 || tcp.checksum.status == 0 || \
               udp.checksum.status == 0 || icmp.checksum.status == 0 || icmpv6.checksum.status == 0 || \
               frame.len < 60 || frame.len > 1514";
    assert_eq!(found(&mixed, bad), 0);
    assert!(found(&mixed, "ip.checksum.status == 1") > 5_000, "tshark looks at checksums at all");
    let protocols =
        shell(&format!("tshark -n -r {} -T fields -e frame.protocols | sort -u", mixed.display()));
    for kind in ["http", "tls", "dns", "icmp", "icmpv6", "arp", "ipv6", "ethertype:vlan", "ieee8021ad"] {
        assert!(protocols.contains(&format!(":{kind}")), "no {kind} in\n{protocols}");
    }

    let scanned = traffic(dir.path(), "scanned.pcap", &["--count", "10000", "--scan", "20"]);
    assert_eq!((found(&scanned, bad), found(&scanned, "tcp.flags.reset == 1")), (0, 20));

    let small = traffic(dir.path(), "small.pcap", &["--count", "1000", "--size", "60"]);
    assert_eq!(found(&small, &format!("({bad}) || frame.len != 60")), 0);
}

#[test]
fn generated_frames_are_numbered_and_repeatable() {
    if !require(&["python3"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = traffic(dir.path(), "one.pcap", &["--bytes", "3000000"]);
    let bytes = std::fs::read(&file).unwrap();
    assert!((2_990_000..=3_000_000).contains(&bytes.len()), "{}", bytes.len());

    let (mut at, mut number) = (24, 0_u32);
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        at += 16 + length;
        assert_eq!(u32::from_be_bytes(bytes[at - 4..at].try_into().unwrap()), number);
        number += 1;
    }

    let same = traffic(dir.path(), "same.pcap", &["--bytes", "3000000"]);
    let other = traffic(dir.path(), "other.pcap", &["--bytes", "3000000", "--seed", "2"]);
    assert!(std::fs::read(same).unwrap() == bytes);
    assert!(std::fs::read(other).unwrap() != bytes);
}
