//! Readers are other users of the data directory's group: they are answered while the service runs, after it stopped, after
//! it was killed. Whoever is not in the group is told so, once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::net::{NEEDS, Net, Pace};
use support::pcap::{Packet, assert_same_packets, mix, parse_pcap, write_pcap};
use support::process::{Answer, PATIENCE, Process, Signal, run, wait_until};
use support::recorded::{sealed, wait_for_packets};
use support::require;
use support::service::{RUNTIME_DIR, Setup, ask, in_clean_environment, program_for_all};

/// Who owns the data directory: a service's own user.
const OWNER: u32 = 54_320;
/// The directory's group.
const GROUP: u32 = 54_321;
/// A user of that group, and one of another.
const READER: (u32, u32) = (54_322, GROUP);
const OUTSIDER: (u32, u32) = (54_323, 54_323);

struct Place {
    dir: tempfile::TempDir,
    program: PathBuf,
    runtime: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let (program, runtime) = (program_for_all(dir.path()), dir.path().join("no-runtime-dir"));
        let place = Self { dir, program, runtime };
        std::fs::create_dir(place.data()).unwrap();
        chown(place.data(), Some(OWNER), Some(GROUP)).unwrap();
        std::fs::set_permissions(place.data(), PermissionsExt::from_mode(0o750)).unwrap();
        place
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn ask_as(&self, (user, group): (u32, u32), args: &[&str]) -> Answer {
        let mut command = Command::new("setpriv");
        in_clean_environment(&mut command);
        command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
        command.arg(&self.program).args(args).arg("--data-dir").arg(self.data());
        run(command.env(RUNTIME_DIR, &self.runtime).current_dir("/"))
    }

    /// A member of the group is answered without a complaint.
    fn check_reader(&self, sent: &[Packet], running: bool) {
        let list = self.ask_as(READER, &["list", "--json", "--kind", "capture"]).ok();
        assert_eq!(list.stderr, "");
        let files = list.json()["files"].take();
        let total: u64 = files.as_array().unwrap().iter().map(|file| file["packets"].as_u64().unwrap()).sum();
        assert_eq!(total, sent.len() as u64);
        assert!(self.ask_as(READER, &["list"]).ok().text().contains("capture_"));
        let extract = self.ask_as(READER, &["extract"]).ok();
        assert_eq!(extract.stderr.lines().count(), 1, "{}", extract.stderr);
        assert_same_packets(&parse_pcap(&extract.stdout).0, sent);
        let status = self.ask_as(READER, &["status", "--json"]);
        assert_eq!(
            (status.code, &status.json()["running"]),
            (Some(if running { 0 } else { 2 }), &running.into())
        );
    }

    fn check_outsider(&self) {
        for args in [["list", "--json"], ["protocols", "--json"], ["suspicious", "--json"]] {
            let answer = self.ask_as(OUTSIDER, &args);
            assert_eq!(answer.code, Some(1), "{args:?}: {answer:?}");
            assert_eq!(answer.json()["losses"]["kernel"], serde_json::Value::Null, "{args:?}: {answer:?}");
        }
        for args in [&["list"][..], &["extract"]] {
            let answer = self.ask_as(OUTSIDER, args);
            assert_eq!(answer.code, Some(1), "{args:?}: {answer:?}");
            assert!(answer.stdout.is_empty(), "{}", answer.text());
            let lines: Vec<_> = answer.stderr.lines().collect();
            assert!(
                matches!(lines[..], [line] | [line, ..] if line.contains("Permission denied") && line.contains("/data")),
                "{args:?}: {}",
                answer.stderr
            );
        }
    }
}

fn check_ownership(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let Ok(meta) = path.symlink_metadata() else { continue };
        let wanted = match path.file_name().and_then(|name| name.to_str()) {
            Some("tapkeep.lock") => 0o600,
            _ if meta.is_dir() => 0o750,
            _ => 0o640,
        };
        assert_eq!((meta.uid(), meta.gid()), (OWNER, GROUP), "{}", path.display());
        assert_eq!(meta.mode() & 0o7777, wanted, "{}", path.display());
        if meta.is_dir() {
            check_ownership(&path);
        }
    }
}

#[test]
fn the_group_reads_whatever_the_service_does_and_nobody_else() {
    if !require(&NEEDS) || !require(&["setpriv"]) {
        return;
    }
    let (net, mut place) = (Net::new(), Place::new());
    let data = place.data();
    let setup = || Setup::new(&data).keep_all().variable("PCAP_ROTATION_SIZE", "300kB");
    let mut sent = Vec::new();
    for end_by_kill in [false, true] {
        let mut service = setup().start(&net);
        service.wait_until_capturing();
        let frames = mix(sent.len() as u64, 2_000);
        let file = place.dir.path().join("send.pcap");
        write_pcap(&file, &frames);
        assert_eq!(net.send(&file, Pace::PerSecond(20_000)), 2_000);
        sent.extend(frames);
        wait_for_packets(&place.data(), sent.len());
        wait_until("the index to follow", || !place.ask_as(READER, &["list"]).stderr.contains("index"));
        place.runtime = service.runtime_dir().to_owned();
        wait_until("the state to follow", || place.ask_as(READER, &["status"]).code == Some(0));
        place.check_reader(&sent, true);
        place.check_outsider();
        check_ownership(&place.data());
        if end_by_kill {
            assert_eq!(service.kill().signal, Some(9));
        } else {
            assert_eq!(service.stop().code, Some(0));
        }
        place.runtime = place.dir.path().join("no-runtime-dir");
        place.check_reader(&sent, false);
        place.check_outsider();
        check_ownership(&place.data());
    }
    // What root does by hand leaves nothing that the owner could not touch.
    let first = sealed(&data)[0].file_name().unwrap().to_str().unwrap().to_owned();
    for args in [&["hold", &first][..], &["index", "rebuild"]] {
        ask(&data, args).ok();
        check_ownership(&data);
    }
    std::fs::remove_file(data.join("index.sqlite3")).unwrap();
    ask(&data, &["index", "rebuild"]).ok();
    check_ownership(&data);
    place.check_reader(&sent, false);
}

#[test]
fn who_may_list_files_and_not_read_them_is_told_so_by_every_question() {
    if !require(&["root", "setpriv"]) {
        return;
    }
    let place = Place::new();
    let file = place.dir.path().join("send.pcap");
    write_pcap(&file, &mix(0, 100));
    ask(&place.data(), &["replay", file.to_str().unwrap()]).ok();
    for path in [place.data().join("flows"), place.data().join("pcaps")] {
        for entry in std::fs::read_dir(path).unwrap() {
            std::fs::set_permissions(entry.unwrap().path(), PermissionsExt::from_mode(0o600)).unwrap();
        }
    }
    let capture = sealed(&place.data())[0].file_name().unwrap().to_str().unwrap().to_owned();
    for args in [
        &["flows"][..],
        &["flows", "--sql", "SELECT flow_id FROM flows"],
        &["flows", &capture],
        &["suspicious", "--fresh", &capture],
        &["extract"],
        &["extract", "-w", "/dev/null"],
    ] {
        let answer = place.ask_as(READER, args);
        assert!(matches!(answer.code, Some(1 | 4)), "{args:?}: {answer:?}");
        let told =
            answer.stderr.split_once(": Permission denied (os error 13); the data directory's group may");
        assert!(told.is_some_and(|(before, _)| before.contains("_0001.")), "{args:?}: {}", answer.stderr);
        let rest = answer.stderr.lines().skip(1).all(|line| line.contains("in what could be read of"));
        assert!(rest, "{args:?}: {}", answer.stderr);
    }
}

/// Keeps namespaces of mounts and network alive in which the usual directories are new.
const USUAL: &str = "mount -t tmpfs -o mode=755 none /run && mount -t tmpfs -o mode=755 none /var/lib
if test -d /etc/tapkeep; then mount -t tmpfs none /etc/tapkeep; fi
install -d -o $0 -g $1 -m 0750 /run/tapkeep /var/lib/tapkeep && echo ready && exec sleep 600";

#[test]
fn a_fresh_login_of_the_group_is_answered_without_a_flag_or_variable() {
    if !require(&NEEDS) || !require(&["setpriv", "unshare", "nsenter", "install"]) {
        return;
    }
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = program_for_all(dir.path());
    let mut unshare = net.tap_command("unshare");
    let (owner, group) = (OWNER.to_string(), GROUP.to_string());
    let holder = Process::start(unshare.args(["--mount", "sh", "-ec", USUAL, &owner, &group]));
    wait_until("the namespaces", || holder.stdout().starts_with(b"ready"));
    let within = |user: u32, more: &[&str]| {
        let mut command = Command::new("nsenter");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("LANG", "C.UTF-8");
        command.args([format!("--target={}", holder.id()), "--mount".to_owned(), "--net".to_owned()]);
        let ids = [format!("--reuid={user}"), format!("--regid={GROUP}"), "--clear-groups".to_owned()];
        command.arg("setpriv").args(ids).args(more).arg(&program).current_dir("/");
        command
    };
    let ask = |args: &[&str]| {
        let answer = run(within(READER.0, &[]).args(args));
        assert!(!answer.stderr.contains("error"), "{args:?}: {answer:?}");
        answer
    };
    let rights = ["--inh-caps=+net_raw", "--ambient-caps=+net_raw"];
    let mut service = Process::start(within(OWNER, &rights).args(["run", "--interface", "tap0"]));
    wait_until("a service that is ready", || {
        assert!(service.is_running(), "{}", service.last_words());
        run(within(READER.0, &[]).arg("status")).code == Some(0)
    });
    let sent = mix(0, 100);
    let file = dir.path().join("send.pcap");
    write_pcap(&file, &sent);
    net.send(&file, Pace::PerSecond(20_000));
    wait_until("the packets", || ask(&["status", "--json"]).json()["service"]["written"] == 100);

    assert!(ask(&["list"]).ok().text().contains("recording"));
    assert!(ask(&["status"]).ok().text().contains("Data directory  /var/lib/tapkeep\n"));
    ask(&["suspicious"]).ok();
    service.signal(Signal::TERM);
    assert_eq!(service.finish(PATIENCE).code, Some(0));
    assert!(ask(&["list"]).ok().text().contains("sealed"));
    assert_eq!(ask(&["list", "--json", "--kind", "capture"]).ok().json()["files"][0]["packets"], 100);
    ask(&["suspicious"]).ok();
    let status = ask(&["status"]);
    assert_eq!(status.code, Some(2));
    let told = "no service that records into /var/lib/tapkeep (the usual place; none is configured) tells its state in /run/tapkeep";
    assert_eq!(status.stderr, format!("tapkeep: note: {told}\n"));
}
