//! What the journal gets: services whose standard error is a real journald's, read back with journalctl. Each event of the table
//! is told by one of these runs, or it is said below why it is not.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "helpers of tests")]

#[path = "../support/mod.rs"]
mod support;

mod faults;
mod runs;
mod told;

use std::collections::BTreeSet;

use faults::FAULTS;
use tapkeep::daemon::events::ALL;

const HEALTHY: [&str; 14] = [
    "start",
    "saving_off",
    "files_smaller",
    "waiting",
    "capturing",
    "seal",
    "flow_seal",
    "evict",
    "hold",
    "release",
    "reloaded",
    "stopping",
    "stopped",
    "index_new",
];

const AROUND: [&str; 14] = [
    "setting_unknown",
    "reload_refused",
    "setting_waits",
    "failed",
    "state_untold",
    "state_told",
    "metrics_unwritten",
    "metrics_written",
    "still_waiting",
    "interface_gone",
    "link_lost",
    "link_back",
    "finding",
    "left_out",
];

const AFTER_A_CRASH: [&str; 11] = [
    "salvage",
    "flow_salvage",
    "seal_completed",
    "empty",
    "damage",
    "found",
    "vanished",
    "clash",
    "index_aside",
    "index_corrected",
    "index_upgraded",
];

const ON_A_FULL_DISK: [&str; 6] =
    ["disk_trouble", "disk_back", "loss", "loss_end", "index_stale", "index_current"];

/// Events that no run here brings about, and why.
const NOT_HERE: [(&str, &str); 6] = [
    ("thread_panicked", "no input makes a thread panic"),
    ("thread_stalled", "tests/service_manager.rs sticks threads"),
    ("thread_stuck", "tests/service_manager.rs sticks threads"),
    ("thread_moves", "tests/service_manager.rs sticks threads"),
    ("clock_step", "it would set this machine's clock"),
    ("analysis_left", "wants more captures than are analysed within the time that a stopping service takes"),
];

#[test]
fn every_event_is_told_by_a_run_or_it_is_said_why_not() {
    let faults = FAULTS.iter().flat_map(|fault| fault.events.iter().chain(fault.after)).copied();
    let told = HEALTHY.iter().chain(&AROUND).chain(&AFTER_A_CRASH).chain(&ON_A_FULL_DISK).copied();
    let all: Vec<_> = told.chain(faults).chain(NOT_HERE.map(|(name, _)| name)).collect();
    let set: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!(set.len(), all.len(), "none twice");
    assert_eq!(set, ALL.iter().map(|kind| kind.name).collect());
}
