//! A real unprivileged user reads the index. These tests start this test binary again under other users: one
//! that owns the data directory and writes, one of its group that reads.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::query::Reader;
use super::tests::catalog;
use super::writer::{Health, IndexWriter};
use crate::store::range::TimeRange;

const OWNER: u32 = 4242;
const GROUP: u32 = 4343;
const NOBODY: u32 = 65_534;
const INDEX: &str = "TAPKEEP_TEST_INDEX";

/// Not a test of its own: what the writing child does. Writes, says so, and stays until its input ends.
#[test]
fn child_writes() {
    let Some(path) = std::env::var_os(INDEX) else { return };
    let mut writer = IndexWriter::new(Path::new(&path));
    writer.recover(&catalog()).unwrap();
    assert_eq!(writer.health(), &Health::Current);
    eprintln!("written");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Not a test of its own: what the reading child does.
#[test]
fn child_reads() {
    let Some(path) = std::env::var_os(INDEX).map(PathBuf::from) else { return };
    let refused = std::fs::File::create_new(path.with_file_name("mine")).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    assert!(std::fs::OpenOptions::new().write(true).open(&path).is_err());
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.captures(TimeRange::ALL, true).unwrap(), catalog().rows());
    assert!(IndexWriter::new(&path).recover(&catalog()).is_err());
}

fn child(binary: &Path, test: &str, uid: u32, index: &Path) -> Command {
    let mut command = Command::new(binary);
    command
        .args(["--exact", "--nocapture", &format!("index::reader_tests::{test}")])
        .env(INDEX, index)
        .current_dir("/")
        .uid(uid)
        .gid(GROUP)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn start_writer(binary: &Path, index: &Path) -> Child {
    let mut writer = child(binary, "child_writes", OWNER, index).spawn().unwrap();
    let mut lines = BufReader::new(writer.stderr.take().unwrap()).lines();
    let said = lines.by_ref().map_while(Result::ok).find(|line| line.contains("written"));
    assert!(said.is_some(), "the writer did not write");
    writer
}

#[track_caller]
fn assert_readable(binary: &Path, index: &Path, when: &str) {
    let output = child(binary, "child_reads", NOBODY, index).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{when}: {text}");
}

#[test]
fn a_group_member_reads_while_it_runs_after_it_stopped_and_after_it_was_killed() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root to become other users");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    mode(dir.path(), 0o755);
    // The build directory may be closed to others.
    let binary = dir.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    mode(&binary, 0o755);
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(OWNER), Some(GROUP)).unwrap();
    mode(&data, 0o750);
    let index = data.join("index.sqlite3");

    let mut writer = start_writer(&binary, &index);
    assert_readable(&binary, &index, "while it runs");
    writer.stdin.take().unwrap().flush().unwrap();
    assert!(writer.wait().unwrap().success());
    assert_readable(&binary, &index, "after it stopped");
    let mut writer = start_writer(&binary, &index);
    writer.kill().unwrap();
    writer.wait().unwrap();
    assert_readable(&binary, &index, "after it was killed");

    // Killed with all of its rows in the log.
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::create_dir(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(OWNER), Some(GROUP)).unwrap();
    mode(&data, 0o750);
    let mut writer = start_writer(&binary, &index);
    writer.kill().unwrap();
    writer.wait().unwrap();
    assert_readable(&binary, &index, "after its first run was killed");
}
