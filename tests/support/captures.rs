//! A data directory as others see it: its files by name, their packets by readers that are not ours, and what `list` says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::pcap::{Packet, read_pcap};
use super::process::{PATIENCE, Signal, run};
use super::service::{Service, ask};

/// Where a data directory has its capture files.
pub fn pcaps(data_dir: &Path) -> PathBuf {
    data_dir.join("pcaps")
}

/// The names in `pcaps/` that end in `suffix`, in the order of their index numbers.
pub fn names(data_dir: &Path, suffix: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(pcaps(data_dir)) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(suffix)).collect();
    names.sort_by_key(|name| number(name));
    names
}

/// The index number in a name.
pub fn number(name: &str) -> Option<u64> {
    let stem = name.strip_prefix("capture_")?.split_once(".pcap")?.0;
    stem.get(16..)?.parse().ok()
}

/// The finished capture files.
pub fn finished(data_dir: &Path) -> Vec<PathBuf> {
    names(data_dir, ".pcap").into_iter().map(|name| pcaps(data_dir).join(name)).collect()
}

/// The packets of all finished files, in order; every file must end with a whole one.
pub fn packets(data_dir: &Path) -> Vec<Packet> {
    finished(data_dir).iter().flat_map(|file| read_pcap(file)).collect()
}

/// What `list --all --json` says.
pub fn listed(data_dir: &Path) -> Value {
    ask(data_dir, &["list", "--all", "--json", "--kind", "capture"]).ok().json()
}

/// The files of a `list --json` that are in this state.
pub fn in_state<'a>(list: &'a Value, state: &str) -> Vec<&'a Value> {
    list["files"].as_array().unwrap().iter().filter(|file| file["state"] == state).collect()
}

/// The name of a listed file.
pub fn name(file: &Value) -> &str {
    file["name"].as_str().unwrap()
}

/// Requires that `list` names the finished files and no other, each with the packets that capinfos counts and the size that
/// it has.
pub fn assert_list_is_right(data_dir: &Path) {
    let list = listed(data_dir);
    let there = list["files"].as_array().unwrap().iter().filter(|file| file["state"] != "evicted");
    let told: BTreeMap<_, _> = there
        .map(|file| {
            (name(file).to_owned(), (file["packets"].as_u64().unwrap(), file["size"].as_u64().unwrap()))
        })
        .collect();
    let files = finished(data_dir);
    let counts = capinfos_counts(&files);
    let seen: BTreeMap<_, _> = files
        .iter()
        .zip(counts)
        .map(|(path, count)| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, (count, path.metadata().unwrap().len()))
        })
        .collect();
    assert_eq!(told, seen);
}

/// How many packets capinfos counts in each of these files.
pub fn capinfos_counts(files: &[PathBuf]) -> Vec<u64> {
    if files.is_empty() {
        return Vec::new();
    }
    let answer = run(Command::new("capinfos").args(["-T", "-r", "-M", "-c"]).args(files)).ok();
    let counts: Vec<_> =
        answer.text().lines().map(|line| line.rsplit('\t').next().unwrap().parse().unwrap()).collect();
    assert_eq!(counts.len(), files.len(), "{}", answer.stderr);
    counts
}

/// Packets that all listed files miss by one cause.
pub fn lost(list: &Value, cause: &str) -> u64 {
    let files = list["files"].as_array().unwrap().iter();
    files.map(|file| file["losses"][cause].as_u64().unwrap_or_else(|| panic!("{cause} of {file}"))).sum()
}

/// Ends a service in an orderly way; returns what it said.
pub fn stop(mut service: Service) -> String {
    service.process.signal(Signal::TERM);
    service.process.finish(PATIENCE).ok().stderr
}
