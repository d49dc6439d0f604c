//! The analyst as a whole, with the real program: what it tells of packets recorded live, replayed or read from a file is the same,
//! and stays so when the process is killed, when it lags behind and when the index is gone. The corpora lie where
//! `TAPKEEP_CORPORA` points, else in a folder beside the checkout; without them some of these tests say that they skip.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "a test may fail by panicking")]

mod support;

#[path = "analyst/clock.rs"]
mod clock;
#[path = "analyst/flood.rs"]
mod flood;
#[path = "analyst/index.rs"]
mod index;
#[path = "analyst/killed.rs"]
mod killed;
#[path = "analyst/live.rs"]
mod live;
#[path = "analyst/offline.rs"]
mod offline;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::process::{Answer, run};
use support::service::{RUNTIME_DIR, ask, tapkeep};

/// What a command on no data directory answers.
fn ask_file(args: &[&str], files: &[PathBuf]) -> Answer {
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = tapkeep(args);
    command.args(files).env(RUNTIME_DIR, nowhere.path()).current_dir(nowhere.path());
    run(&mut command)
}

/// Replays files into a data directory, with these variables set.
fn replay(data_dir: &Path, files: &[PathBuf], variables: &[(&str, &str)]) -> Answer {
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = tapkeep(&["replay", "--data-dir"]);
    command.arg(data_dir).args(files).env(RUNTIME_DIR, nowhere.path());
    command.env("PCAP_RETENTION_COUNT", "0").env("TAPKEEP_RETENTION_MIN_FREE", "0");
    run(command.envs(variables.iter().copied()))
}

/// All flow records of a data directory.
fn flows(data_dir: &Path) -> Vec<Value> {
    support::answers::lines(ask(data_dir, &["flows", "--json", "--limit", "0"]))
}
