//! Shipping with `--cursor-file`: whatever is killed at whatever moment, every record and every finding that is kept in the end was told
//! at least once, and no line spoils another.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "a test may fail by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::corpora::corpora;
use support::net::Pace;
use support::pcap::{Packet, frame};
use support::process::{PATIENCE, Process, Signal, run, wait_until};
use support::require;
use support::service::{ask, command_line, in_clean_environment, tapkeep};
use support::sim::Rng;
use support::stage::Stage;

const ROUNDS: usize = 12;

/// A command that appends what it tells to a file, and keeps its place.
struct Shipper {
    command: &'static str,
    format: &'static str,
    data: PathBuf,
    dir: PathBuf,
    process: Option<Process>,
}

impl Shipper {
    fn new(command: &'static str, format: &'static str, data: &Path, dir: &Path) -> Self {
        Self { command, format, data: data.to_owned(), dir: dir.to_owned(), process: None }
    }

    fn file(&self, what: &str) -> PathBuf {
        self.dir.join(format!("{}.{}.{what}", self.command, self.format))
    }

    fn run(&self, args: &str) -> Command {
        let line = format!(
            "exec {} {} {args} --format {} --cursor-file {} --data-dir {} >> {}",
            command_line(),
            self.command,
            self.format,
            self.file("cursor").display(),
            self.data.display(),
            self.file("out").display()
        );
        let mut command = Command::new("bash");
        in_clean_environment(&mut command);
        command.args(["-c", &line]);
        command
    }

    fn follow(&mut self, args: &str) {
        self.process = Some(Process::start(&mut self.run(&format!("--follow {args}"))));
    }

    fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.signal(Signal::KILL);
        process.finish(PATIENCE);
    }

    /// What it has told, a line each, once it has caught up.
    fn told(&mut self, args: &str) -> Vec<String> {
        self.kill();
        let said = run(&mut self.run(args)).ok();
        assert_eq!(said.stderr, "");
        let bytes = std::fs::read(self.file("out")).unwrap();
        assert!(bytes.ends_with(b"\n"));
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }
}

/// UDP packets, each of a flow of its own.
fn flows(count: u64) -> Vec<Packet> {
    (0..count)
        .map(|seq| {
            let mut data = frame(seq, 60 + (seq % 40) as usize, &[]);
            data[34..36].copy_from_slice(&(1024 + (seq % 60_000) as u16).to_be_bytes());
            data[36..38].copy_from_slice(&(9 + (seq / 60_000) as u16).to_be_bytes());
            Packet::whole(1_735_655_452 + (seq / 1000) as u32, (seq % 1000) as u32 * 1000, data)
        })
        .collect()
}

#[test]
fn every_flow_is_told_whoever_is_killed() {
    let Some(stage) = Stage::new(&["bash", "python3"]) else { return };
    let data = stage.data_dir();
    let setup = || {
        let setup =
            stage.setup().variable("TAPKEEP_FLOWS_OTHER_IDLE", "1s").variable("TAPKEEP_FLOWS_FOLD", "false");
        let setup = setup
            .variable("TAPKEEP_RECORDER_SYNC_INTERVAL", "200ms")
            .variable("TAPKEEP_RETENTION_FLOW_COUNT", "0");
        setup.variable("TAPKEEP_RECORDER_FLOW_ROTATION_SIZE", "2MB")
    };
    let mut service = stage.start(setup());
    let mut shippers =
        ["ecs", "zeek", "csv"].map(|format| Shipper::new("flows", format, &data, stage.dir.path()));
    for shipper in &mut shippers {
        shipper.follow("");
        wait_until("the place is kept", || shipper.file("cursor").exists());
    }
    let mut rng = Rng::new(20_241_231);
    let sending = stage.file(&flows(50_000));
    let traffic = stage.net.begin_to_send(&sending, Pace::PerSecond(6_000));
    let mut kills = [0; 3];
    for _ in 0..ROUNDS {
        std::thread::sleep(Duration::from_millis(rng.below(900)));
        for (shipper, kills) in shippers.iter_mut().zip(&mut kills) {
            if rng.one_in(2) {
                shipper.kill();
                shipper.follow("");
                *kills += 1;
            }
        }
        if rng.one_in(3) {
            service.kill();
            service = stage.start(setup());
        }
    }
    drop(traffic);
    assert_eq!(service.stop().code, Some(0));

    let kept: Vec<Value> = ask(&data, &["flows", "--json"])
        .ok()
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kept: BTreeSet<_> = kept
        .iter()
        .map(|record| (record["flow_id"].as_str().unwrap().to_owned(), record["part"].as_u64().unwrap()))
        .collect();
    assert!(kept.len() > 10_000, "{} records", kept.len());
    for (shipper, kills) in shippers.iter_mut().zip(kills) {
        let lines = shipper.told("");
        let mut cut = 0;
        let mut told = BTreeSet::new();
        let number = |text: &str| text.parse::<u64>().ok();
        for line in &lines {
            let id = match shipper.format {
                "ecs" => serde_json::from_str::<Value>(line).ok().and_then(|flow| {
                    Some((flow["tapkeep"]["flow_id"].as_str()?.to_owned(), flow["tapkeep"]["part"].as_u64()?))
                }),
                "zeek" if line.starts_with('#') => continue,
                "zeek" => {
                    let cells: Vec<_> = line.split('\t').collect();
                    (cells.len() == 37).then(|| Some((cells[1].to_owned(), number(cells[27])?))).flatten()
                }
                _ => {
                    let mut cells = line.split(',');
                    cells.next().zip(cells.next()).and_then(|(id, part)| Some((id.to_owned(), number(part)?)))
                }
            };
            cut += u32::from(id.is_none());
            told.extend(id);
        }
        let heads = if shipper.format == "csv" { 1 } else { 0 };
        assert!(cut <= kills + heads, "{}: {cut} lines that say nothing, {kills} kills", shipper.format);
        let never: Vec<_> = kept.difference(&told).take(3).collect();
        assert!(never.is_empty(), "{}: never told {never:?}", shipper.format);
        assert!(told.len() == kept.len(), "{}: {} told, {} kept", shipper.format, told.len(), kept.len());
        if shipper.format == "csv" {
            // Rows that were cut are closed: no row takes in the ones behind it.
            let script = "import csv, sys; print(len({(r['flow_id'], r['part']) for r in csv.DictReader(open(sys.argv[1]))}))";
            let out = shipper.file("out");
            let read = run(Command::new("python3").args(["-c", script]).arg(&out)).ok().text();
            assert!(read.trim().parse::<usize>().unwrap() >= kept.len());
        }
    }
}

#[test]
fn every_finding_is_told_and_last_as_it_is_in_the_end() {
    let Some(corpora) = corpora().filter(|_| require(&["bash"])) else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut shipper = Shipper::new("suspicious", "json", &data, dir.path());
    let mut rng = Rng::new(7);
    shipper.follow("--all");
    wait_until("the place is kept", || shipper.file("cursor").exists());
    for capture in [
        "atk-portscan-vertical.pcap",
        "cred-http-basic.pcap",
        "atk-arp-many-macs.pcap",
        "atk-ssh-hydra.pcap",
        "cred-pop3.pcap",
        "atk-dns-tunnel.pcap",
    ] {
        let mut replay = tapkeep(&["replay", "--data-dir"]);
        let mut replay = replay.arg(&data).arg(corpora.join(capture)).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(rng.below(400)));
        if rng.one_in(2) {
            shipper.kill();
            shipper.follow("--all");
        }
        assert!(replay.wait().unwrap().success());
    }
    let kept = ask(&data, &["suspicious", "--all", "--json"]).ok().json();
    let kept = kept["findings"].as_array().unwrap();
    assert!(kept.len() > 5, "{}", kept.len());
    let told: Vec<Value> =
        shipper.told("--all").iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let last: BTreeMap<_, _> =
        told.iter().map(|finding| (finding["id"].as_str().unwrap(), finding)).collect();
    for finding in kept {
        let told = last.get(finding["id"].as_str().unwrap()).expect("told");
        assert_eq!(told["count"], finding["count"]);
    }
}

#[test]
fn a_line_that_a_crash_has_cut_spoils_no_other_and_a_file_has_one_head() {
    let Some(corpora) = corpora().filter(|_| require(&["bash", "python3"])) else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for (capture, cut) in
        [("cred-pop3.pcap", ""), ("cred-telnet.pcap", "1-24,0,\"cut, in a"), ("ics-modbus.pcap", "1-24,0")]
    {
        run(tapkeep(&["replay", "--data-dir"]).arg(&data).arg(corpora.join(capture))).ok();
        for format in ["csv", "ecs"] {
            let shipper = Shipper::new("flows", format, &data, dir.path());
            let before = std::fs::read_to_string(shipper.file("out")).unwrap_or_default();
            std::fs::write(shipper.file("out"), before + cut).unwrap();
            assert_eq!(run(&mut shipper.run("")).ok().stderr, "");
        }
    }
    let all = ask(&data, &["flows", "--json"]).ok().text().lines().count();
    let script =
        "import csv, sys; print(sum(r['end'] is not None for r in csv.DictReader(open(sys.argv[1]))))";
    let file = |format| Shipper::new("flows", format, &data, dir.path()).file("out");
    let rows = run(Command::new("python3").args(["-c", script]).arg(file("csv"))).ok().text();
    assert_eq!(rows.trim(), all.to_string());
    let lines = std::fs::read_to_string(file("ecs")).unwrap();
    let whole = lines.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count();
    assert_eq!((whole, lines.lines().count()), (all, all + 2));
}

#[test]
fn a_run_without_follow_tells_what_came_since_the_last() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (data, cursor) = (dir.path().join("data"), dir.path().join("cursor"));
    let record = |capture: &str| {
        run(tapkeep(&["replay", "--data-dir"]).arg(&data).arg(corpora.join(capture))).ok();
    };
    let since = || ask(&data, &["flows", "--csv", "--cursor-file", cursor.to_str().unwrap()]).ok();
    let all =
        || ask(&data, &["flows", "--csv"]).ok().text().lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    record("mix-office.pcap");
    let first = since().text();
    assert_eq!(first.lines().skip(1).collect::<Vec<_>>(), all());
    record("cred-pop3.pcap");
    let second = since().text();
    assert_eq!(first.lines().chain(second.lines().skip(1)).skip(1).collect::<Vec<_>>(), all());
    assert_eq!(since().text().lines().count(), 1, "the head alone");

    // What retention took meanwhile is told, with how much; what was told before is no loss.
    record("cred-telnet.pcap");
    record("ics-modbus.pcap");
    run(tapkeep(&["replay", "--retention", "--data-dir"])
        .arg(&data)
        .arg(corpora.join("cred-http-basic.pcap"))
        .env("TAPKEEP_RETENTION_FLOW_COUNT", "1"))
    .ok();
    let third = since();
    assert!(third.stderr.contains("evicted before they were told, with "), "{}", third.stderr);
    assert!(!third.stderr.contains("unknown"), "{}", third.stderr);

    let wrong = ask(&data, &["suspicious", "--csv", "--cursor-file", cursor.to_str().unwrap()]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("the cursor of another command"), "{}", wrong.stderr);
    std::fs::write(&cursor, "{").unwrap();
    let broken = ask(&data, &["flows", "--csv", "--cursor-file", cursor.to_str().unwrap()]);
    assert_eq!(broken.code, Some(1));
    assert!(broken.stderr.contains("remove it to begin anew"), "{}", broken.stderr);
}
