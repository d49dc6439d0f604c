//! Captures that nobody here wrote. They lie where `TAPKEEP_CORPORA` points, else in a folder beside the checkout.
#![allow(clippy::explicit_write, reason = "the test harness swallows `eprintln!`")]

use std::io::Write;
use std::path::{Path, PathBuf};

/// Where the corpora are, if they are.
pub fn corpora() -> Option<PathBuf> {
    let path = std::env::var_os("TAPKEEP_CORPORA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora"), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    let text = format!("SKIPPED: no corpora at {}; set TAPKEEP_CORPORA", path.display());
    assert!(std::env::var("TAPKEEP_TEST_REQUIRE").as_deref() != Ok("1"), "{text}");
    writeln!(std::io::stderr(), "{text}").unwrap();
    None
}

/// The captures in a folder, sorted; there must be some.
pub fn captures(folder: &Path) -> Vec<PathBuf> {
    let is_capture = |path: &PathBuf| {
        let name = path.to_string_lossy();
        [".pcap", ".pcapng", ".pcap.gz"].iter().any(|ending| name.ends_with(ending))
    };
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(is_capture).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}
