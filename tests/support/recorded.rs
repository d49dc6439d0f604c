//! What lies in a data directory, seen from outside: capture files by number, and the packets in them.

use std::path::{Path, PathBuf};

use super::pcap::{Packet, parse_pcap, read_pcap};
use super::process::wait_until;

/// Capture files under their final names, lowest index number first.
pub fn sealed(data_dir: &Path) -> Vec<PathBuf> {
    files(data_dir, ".pcap")
}

/// Capture files being written, or left by a crash.
pub fn growing(data_dir: &Path) -> Vec<PathBuf> {
    files(data_dir, ".pcap.part")
}

/// Both, lowest index number first.
pub fn all(data_dir: &Path) -> Vec<PathBuf> {
    sorted([sealed(data_dir), growing(data_dir)].concat())
}

/// The index number in a capture file's name.
pub fn number(path: &Path) -> u64 {
    let name = path.file_name().unwrap().to_str().unwrap();
    let digits = name.split('_').nth(3).and_then(|rest| rest.split('.').next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no number in {name}"))
}

/// The packets of files that must all end with a whole record, in order.
pub fn packets(files: &[PathBuf]) -> Vec<Packet> {
    files.iter().flat_map(|file| read_pcap(file)).collect()
}

/// The whole packets that can be seen in a file now, and in no file if there is none; the last record may be cut.
pub fn visible(file: &Path) -> Vec<Packet> {
    let bytes = std::fs::read(file).unwrap_or_default();
    if bytes.len() < 24 { Vec::new() } else { parse_pcap(&bytes).0 }
}

/// All packets that can be seen now. A file that is renamed meanwhile is looked for again.
pub fn visible_packets(data_dir: &Path) -> Vec<Packet> {
    loop {
        let files = all(data_dir);
        let packets = files.iter().flat_map(|file| visible(file)).collect();
        if all(data_dir) == files {
            return packets;
        }
    }
}

/// Waits until `count` packets can be seen.
pub fn wait_for_packets(data_dir: &Path, count: usize) {
    wait_until(&format!("{count} packets in {}", data_dir.display()), || {
        visible_packets(data_dir).len() >= count
    });
}

fn files(data_dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(data_dir.join("pcaps")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    sorted(paths.filter(|path| path.to_str().unwrap().ends_with(suffix)).collect())
}

fn sorted(mut files: Vec<PathBuf>) -> Vec<PathBuf> {
    files.sort_by_key(|file| number(file));
    files
}
