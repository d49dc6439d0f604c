//! The command line as a contract: help texts, tables and messages by snapshot, exit codes, JSON in every case, and what never
//! reaches a terminal. `TAPKEEP_UPDATE_SNAPSHOTS=1` writes the snapshots anew.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod support;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use support::clock::FakeClock;
use support::corpora::corpora;
use support::pcap::{Packet, Shape, frame, mix, parse_pcap, pcap_bytes, read_pcap, write_pcap};
use support::process::{Answer, run};
use support::require;
use support::service::{ask, command_line, tapkeep};
use tapkeep::store::entry::Act;
use tapkeep::store::facts::{CaptureFacts, State};
use tapkeep::store::ledger::Ledger;
use tapkeep::store::losses::Losses;
use tapkeep::store::names::{CaptureName, Role};
use tapkeep::sys::fs::RealFs;

/// 2024-12-31 14:30:52 UTC.
const START: u32 = 1_735_655_452;

/// Compares with the snapshot of that name, or writes it.
fn snapshot(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(format!("{name}.txt"));
    if std::env::var_os("TAPKEEP_UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        return std::fs::write(path, text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(wanted == text, "{} differs; it is now:\n{text}", path.display());
}

fn packets(count: u32) -> Vec<Packet> {
    (0..count).map(|n| Packet::whole(START + n, 500, frame(n.into(), 100, &[]))).collect()
}

/// A data directory by replay of so many packets, a second apart.
fn recorded(dir: &Path, count: u32) -> PathBuf {
    let (input, data) = (dir.join("input.pcap"), dir.join("data"));
    write_pcap(&input, &packets(count));
    ask(&data, &["replay", input.to_str().unwrap()]).ok();
    data
}

fn only_file(data: &Path) -> String {
    let name = std::fs::read_dir(data.join("pcaps")).unwrap().next().unwrap().unwrap().file_name();
    name.into_string().unwrap()
}

/// An environment in which nothing but `HOME` and the current directory is there.
fn alone(dir: &Path, args: &[&str]) -> Command {
    let mut command = tapkeep(args);
    command.current_dir(dir).env("HOME", dir).env("TAPKEEP_SERVICE_RUNTIME_DIR", dir.join("run"));
    command
}

#[test]
fn help_is_as_it_was() {
    for words in [
        "",
        "run",
        "replay",
        "list",
        "protocols",
        "endpoints",
        "conversations",
        "flows",
        "suspicious",
        "extract",
        "report",
        "hold",
        "release",
        "status",
        "top",
        "check",
        "config",
        "config show",
        "config check",
        "index",
        "index rebuild",
    ] {
        let args: Vec<_> = words.split_whitespace().chain(["--help"]).collect();
        let said = run(tapkeep(&args).env("COLUMNS", "100")).ok();
        assert_eq!(said.stderr, "");
        snapshot(
            &format!("help{}{}", if words.is_empty() { "" } else { "-" }, words.replace(' ', "-")),
            &said.text(),
        );
    }
}

#[test]
fn list_is_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    constructed(&data);
    ask(&data, &["index", "rebuild"]).ok();
    let mut shown = String::new();
    for (args, code) in [
        (&["list"][..], 0),
        (&["list", "--all"], 0),
        (&["list", "--limit", "1"], 0),
        (&["list", "--since", "2024-12-31 14:31:52", "--until", "2024-12-31 14:32:00"], 3),
        (&["list", "--since", "2024-12-31 14:33:21", "--until", "2024-12-31 14:33:22"], 0),
        (&["list", "--since", "2025-01-02"], 3),
        (&["list", "--all", "--json", "--kind", "capture"], 0),
    ] {
        let said = ask(&data, args);
        assert_eq!(said.code, Some(code), "{args:?}: {}", said.stderr);
        shown += &format!("$ tapkeep {}\n{}{}\n", args.join(" "), said.text(), said.stderr);
    }
    snapshot("list", &shown.replace(data.to_str().unwrap(), "DATA"));
}

/// A data directory with a file of each kind, all times fixed.
fn constructed(data: &Path) {
    let pcaps = data.join("pcaps");
    std::fs::create_dir_all(&pcaps).unwrap();
    let clock = FakeClock::new();
    clock.set_wall(i64::from(START) * 1_000_000_000);
    let (mut ledger, _) =
        Ledger::open(Arc::new(RealFs::default()), data.join("ledger.jsonb"), Arc::new(clock.clone()))
            .unwrap();
    let make = |number: u64, count: u32, role: Role, losses, synchronised| {
        let sec = START + 60 * u32::try_from(number).unwrap();
        let name = CaptureName::new(number, sec);
        let packets: Vec<_> =
            (0..count).map(|n| Packet::whole(sec + n, 0, frame(n.into(), 1000, &[]))).collect();
        let path = pcaps.join(name.file_name(role));
        write_pcap(&path, &packets);
        let nanos = |sec: u32| Some(i64::from(sec) * 1_000_000_000);
        CaptureFacts {
            packets: count.into(),
            bytes: u64::from(count) * 1000,
            size: path.metadata().unwrap().len(),
            first: nanos(sec),
            last: nanos(sec + count - 1),
            losses,
            clock_synchronised: synchronised,
            ..CaptureFacts::bare(name, State::Sealed)
        }
    };
    let lossy = Losses { nic: None, kernel: Some(1_234), queue: Some(7), ..Losses::NONE };
    let gone = make(1, 20, Role::Sealed, Losses::NONE, Some(true));
    std::fs::remove_file(pcaps.join(gone.name.file_name(Role::Sealed))).unwrap();
    let acts = [
        Act::Seal { capture: gone.clone() },
        Act::Seal { capture: make(2, 30, Role::Sealed, lossy, Some(true)) },
        Act::Salvage {
            capture: CaptureFacts {
                state: State::Salvaged,
                ..make(3, 40, Role::Sealed, Losses::UNKNOWN, None)
            },
            cut: 80,
            reason: "zeros".to_owned(),
        },
        Act::Gap {
            from: Some(i64::from(START + 225) * 1_000_000_000),
            duration_ms: 14_000,
            reason: "interface eth1 down".to_owned(),
        },
        Act::Seal { capture: make(4, 50, Role::Sealed, Losses::NONE, Some(false)) },
    ];
    ledger.append_all(acts).unwrap();
    clock.set_wall(i64::from(START + 900) * 1_000_000_000);
    ledger.append(Act::Evict { capture: gone, reason: "more than 10 files".to_owned() }).unwrap();
    make(5, 3, Role::Part, Losses::NONE, None);
    std::fs::write(
        pcaps.join(format!("{}.hold", CaptureName::new(2, START + 120).file_name(Role::Sealed))),
        "",
    )
    .unwrap();
}

#[test]
fn errors_name_operation_object_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let data = recorded(dir.path(), 20);
    let own = only_file(&data);
    std::fs::write(dir.path().join("text"), "no capture\n").unwrap();
    let mut mixed = pcap_bytes(&packets(1), Shape::default());
    mixed.truncate(60);
    std::fs::write(dir.path().join("cut.pcap"), mixed).unwrap();
    std::fs::write(
        dir.path().join("raw.pcap"),
        pcap_bytes(&packets(1), Shape { link: 101, ..Shape::default() }),
    )
    .unwrap();
    let bad = "capture.snaplne = 3\n[recorder]\nrotation_size = \"x\"\nsync_interval = \"y\"\n";
    std::fs::write(dir.path().join("bad.toml"), bad).unwrap();
    let mut shown = String::new();
    for (line, code) in [
        ("nonsense", 2),
        ("list --since 99x", 2),
        ("list --since 14:30 --last 1h", 2),
        ("list --since 2024-12-31T14:30:00Z --until 2024-12-31T14:30:00Z", 2),
        ("list --config no.toml", 2),
        ("list --config bad.toml", 2),
        ("config show --config bad.toml", 2),
        ("config check --config bad.toml", 2),
        ("config check", 0),
        ("list --data-dir nowhere", 0),
        ("list --data-dir nowhere --last 1h", 3),
        ("list --data-dir data --since 2025-02-01", 3),
        ("extract --data-dir nowhere -w out.pcap", 0),
        ("extract --data-dir data -w out.pcap --since 2025-02-01", 3),
        ("extract --data-dir data -w out.pcap host 10.9.9.9", 3),
        ("extract --data-dir data -w out.pcap", 0),
        ("extract --data-dir data -w no/out.pcap", 1),
        ("extract --data-dir data -w out.pcap tcp.port == 443", 2),
        ("extract --data-dir data -w out.pcap (tcp", 2),
        ("extract --data-dir data -w out.pcap --file none.pcap", 1),
        ("extract --data-dir data -w out.pcap --file text", 1),
        ("extract --data-dir data -w out.pcap --file cut.pcap", 4),
        ("extract --data-dir data -w out.pcap --file OWN --file raw.pcap", 2),
        ("extract --data-dir data -w out.pcap --file /dev/null", 1),
        ("protocols cut.pcap", 4),
        ("flows cut.pcap", 4),
        ("suspicious cut.pcap", 4),
        ("flows --data-dir data --port http", 2),
        ("flows --data-dir data --app TLSS", 2),
        ("flows --data-dir data --app TLS", 3),
        ("flows --data-dir data --min-bytes 1.5MB", 2),
        ("flows --data-dir data --min-bytes 1MB", 3),
        ("flows --data-dir data --finding port_scan-1", 3),
        ("list --data-dir data --limit -1", 2),
        ("suspicious --data-dir data --detector port-scan", 2),
        ("replay --data-dir fresh none.pcap", 1),
        ("replay --data-dir fresh text", 1),
        ("replay --data-dir fresh cut.pcap", 4),
        ("replay --data-dir no/such raw.pcap", 1),
        ("replay", 2),
        ("hold --data-dir data", 2),
        ("hold --data-dir data text", 2),
        ("hold --data-dir data capture_20241231_143052_0099.pcap", 1),
        ("hold --data-dir data --since 2025-02-01", 3),
        ("hold --data-dir nowhere --last 1h", 3),
        ("hold --data-dir data OWN", 0),
        ("hold --data-dir data OWN", 0),
        ("release --data-dir data OWN", 0),
        ("release --data-dir data OWN", 0),
        ("release --data-dir data capture_20241231_143052_0099.pcap", 1),
        ("release --data-dir data --since 2025-02-01", 3),
        ("status --data-dir data", 2),
        ("status --config bad.toml", 3),
        ("index rebuild --data-dir nowhere", 1),
        ("index rebuild --data-dir data", 0),
        ("run --data-dir no/such", 1),
        ("run --config bad.toml", 2),
    ] {
        let args: Vec<_> = line.split(' ').map(|word| if word == "OWN" { &own } else { word }).collect();
        // However full the machine's own disk is.
        let said = run(alone(dir.path(), &args).env("TAPKEEP_RETENTION_MIN_FREE", "0"));
        assert_eq!(said.code, Some(code), "tapkeep {line}: {said:?}");
        let told = format!("{}{}", said.text(), said.stderr);
        shown += &format!("$ tapkeep {line}\n{told}[{code}]\n\n");
        if ![0, 3].contains(&code) && !line.starts_with("status --data-dir") {
            assert!(said.stderr.starts_with("tapkeep: "), "{told}");
        }
    }
    snapshot("messages", &shown.replace(dir.path().to_str().unwrap(), "DIR"));
}

#[test]
fn json_is_valid_in_every_case() {
    let dir = tempfile::tempdir().unwrap();
    let data = recorded(dir.path(), 3);
    std::fs::write(dir.path().join("bad.toml"), "[recorder]\nrotation_size = \"x\"\n").unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    for (line, code) in [
        ("list --json --data-dir data", 0),
        ("list --json --data-dir nowhere", 0),
        ("list --json --data-dir file", 1),
        ("list --json --data-dir data --last 1h", 3),
        ("list --json --data-dir data --since 14:30 --until 14:30", 2),
        ("list --json --config bad.toml", 2),
        ("list --json --since never", 2),
        ("list --json --nonsense", 2),
        ("status --json --data-dir data", 2),
        ("status --json --config bad.toml", 3),
        ("check --json --config bad.toml", 2),
        ("check --json --nonsense", 2),
        ("config show --json", 0),
        ("config show --json --config bad.toml", 2),
        ("config check --json", 0),
        ("config check --json --config bad.toml", 2),
        ("config check --json --config none.toml", 2),
    ] {
        let said = run(&mut alone(dir.path(), &line.split(' ').collect::<Vec<_>>()));
        assert_eq!(said.code, Some(code), "tapkeep {line}: {said:?}");
        assert!(said.json().is_object(), "{line}");
        assert_eq!(said.text().lines().count(), 1, "{line}: one document, on a line of its own");
    }
    let listed = ask(&data, &["list", "--json", "--kind", "capture"]).ok().json();
    assert_eq!((&listed["matched"], &listed["files"][0]["packets"]), (&json!(1), &json!(3)));
    let status = ask(&data, &["status", "--json"]).json();
    let losses = json!({ "nic": null, "kernel": null, "queue": null, "write": null, "analysis": null });
    let nothing = json!({ "running": false, "from": null, "to": null, "losses": losses, "warnings": [], "service": null });
    assert_eq!(status, nothing);
}

#[test]
fn the_command_of_a_finding_runs_as_printed() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("it's data");
    ask(&data, &["replay", corpora.join("cred-pop3.pcap").to_str().unwrap()]).ok();
    let told = ask(&data, &["suspicious"]).ok().text();
    let command = told.lines().find_map(|line| line.trim().strip_prefix("packets tapkeep ")).unwrap();
    let said = shell(&data, &format!("cd / && $T {command} | head -c 24 | wc -c"));
    assert_eq!((said.code, said.text().trim()), (Some(0), "24"), "{command}: {}", said.stderr);
}

/// Runs a shell line with `$T` as the program and `$D` as the data directory.
fn shell(data: &Path, line: &str) -> Answer {
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("set -o pipefail; {line}")])
        .env("T", command_line())
        .env("D", data)
        .env("TZ", "UTC");
    run(&mut bash)
}

#[test]
fn nobody_reading_is_no_failure_and_a_full_disk_is_one_error() {
    let dir = tempfile::tempdir().unwrap();
    let (input, data) = (dir.path().join("input.pcap"), dir.path().join("data"));
    write_pcap(&input, &mix(0, 4_000));
    ask(&data, &["replay", input.to_str().unwrap()]).ok();
    for line in [
        "$T extract --data-dir $D | true",
        "$T list --data-dir $D | true",
        "$T list --json --data-dir $D | true",
        "$T config show | true",
        "$T --help | true",
    ] {
        let said = shell(&data, line);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{line}");
    }
    let said = shell(&data, "$T extract --data-dir $D | head -c 100");
    assert_eq!((said.code, said.stderr.as_str(), said.stdout.len()), (Some(0), "", 100));
    for line in [
        "$T extract --data-dir $D >/dev/full",
        "$T list --data-dir $D >/dev/full",
        "$T list --help >/dev/full",
    ] {
        let said = shell(&data, line);
        assert_eq!(said.code, Some(1));
        assert!(
            said.stderr.starts_with("tapkeep: error: write the answer: No space left"),
            "{}",
            said.stderr
        );
        assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    }
}

#[test]
fn nothing_that_a_terminal_acts_on_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let data = recorded(dir.path(), 3);
    let evil = "\x1b]0;x\x07\x1b[2J\u{202e}";
    let evil_dir = dir.path().join(evil);
    std::fs::create_dir(&evil_dir).unwrap();
    std::fs::write(evil_dir.join("cut.pcap"), &pcap_bytes(&packets(2), Shape::default())[..200]).unwrap();
    let file = evil_dir.join("cut.pcap");
    let file = file.to_str().unwrap();
    std::fs::write(data.join("pcaps").join(evil), "").unwrap();
    std::fs::write(dir.path().join("evil.toml"), format!("\"{}\" = 1\n", "\\u001b[2J")).unwrap();
    let since = format!("--since={evil}");
    let config = dir.path().join("evil.toml");
    let config = config.to_str().unwrap();
    for args in [
        &["list"][..],
        &["replay", file],
        &["extract", "-w", "/dev/null", "--file", file],
        &["extract", "-w", "/dev/null", "--file", evil],
        &["extract", "-w", "/dev/null", evil],
        &["hold", evil],
        &["release", file],
        &["list", &since],
        &[evil],
        &["config", "check", "--config", config],
        &["config", "check", "--config", file],
        &["list", "--config", evil],
    ] {
        let said = ask(&data, args);
        let told = format!("{}{}", said.text(), said.stderr);
        assert!(
            !told.contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'),
            "{args:?}: {told:?}"
        );
    }
    let said = ask(&evil_dir.join("data"), &["list"]);
    assert!(said.stderr.contains("\\u{1b}[2J") && !said.stderr.contains('\x1b'), "{}", said.stderr);
}

#[test]
fn extract_writes_all_or_nothing_for_its_caller_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = recorded(dir.path(), 20);
    let out = dir.path().join("out.pcap");
    let written = |args: &[&str]| ask(&data, &[&["extract", "-w", out.to_str().unwrap()], args].concat());
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    std::fs::write(&out, "older, and world-readable").unwrap();
    std::fs::set_permissions(&out, PermissionsExt::from_mode(0o644)).unwrap();
    written(&[]).ok();
    assert_eq!((mode(&out), read_pcap(&out)), (0o600, packets(20)));

    let before = std::fs::read(&out).unwrap();
    assert_eq!(written(&["--file", "none.pcap"]).code, Some(1));
    assert_eq!(std::fs::read(&out).unwrap(), before, "a failed extract leaves the older one");

    let (link, target) = (dir.path().join("link.pcap"), dir.path().join("target.pcap"));
    std::fs::write(&target, vec![7; 100_000]).unwrap();
    symlink(&target, &link).unwrap();
    ask(&data, &["extract", "-w", link.to_str().unwrap()]).ok();
    assert_eq!(read_pcap(&target), packets(20), "all of what the link leads to is replaced");
    assert!(link.is_symlink());

    // A limit on file sizes stands for a full disk.
    let full =
        shell(&data, &format!("trap '' XFSZ; ulimit -f 1; $T extract --data-dir $D -w {}", out.display()));
    assert_eq!(full.code, Some(1), "{}", full.stderr);
    assert!(full.stderr.contains(&format!("write {}", out.display())), "{}", full.stderr);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains(".tmp")), "{left:?}");
    assert_eq!(std::fs::read(&out).unwrap(), before);

    if require(&["script"]) {
        let line = format!("{} extract --data-dir {}", command_line(), data.display());
        let said = run(Command::new("script").args(["-qec", &line, "/dev/null"]));
        assert_eq!(said.code, Some(2));
        assert!(said.text().contains("nothing for a terminal: give -w FILE"), "{}", said.text());
    }
}

#[test]
fn a_range_holds_its_beginning_and_not_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let data = recorded(dir.path(), 20);
    // Stamps are 14:30:52.0005 and every second after.
    for (since, until, expected) in [
        ("2024-12-31T14:30:55.0005Z", "2024-12-31T14:30:58.0005Z", 3..6),
        ("2024-12-31T14:30:55.000500001Z", "2024-12-31T14:30:58.000500001Z", 4..7),
        ("2024-12-31 14:30:55", "2024-12-31 14:30:56", 3..4),
        ("2024-12-31T15:30:52.0005+01:00", "2024-12-31T14:30:52.000501Z", 0..1),
        ("2024-12-31T14:31:11.0005Z", "2024-12-31T14:40:00Z", 19..20),
    ] {
        let said = ask(&data, &["extract", "--since", since, "--until", until]).ok();
        let (found, left) = parse_pcap(&said.stdout);
        assert_eq!((found, left), (packets(20)[expected].to_vec(), 0), "{since} to {until}");
    }
    let said = ask(&data, &["extract", "--until", "2024-12-31T14:30:52.0005Z"]);
    assert_eq!((said.code, parse_pcap(&said.stdout).0.len()), (Some(3), 0));
}

#[test]
fn a_file_may_be_named_in_every_way() {
    let dir = tempfile::tempdir().unwrap();
    let data = recorded(dir.path(), 20);
    let bare = only_file(&data);
    let part = format!("{bare}.part");
    let path = data.join("pcaps").join(&bare);
    let (foreign, packed) = (dir.path().join("foreign.pcapng"), dir.path().join("foreign.pcapng.gz"));
    let mut names = vec![bare.clone(), part.clone(), path.to_str().unwrap().to_owned()];
    if require(&["editcap", "gzip"]) {
        run(Command::new("editcap").args(["-F", "pcapng"]).args([&path, &foreign])).ok();
        run(Command::new("gzip").arg("-k").arg(&foreign)).ok();
        names.extend([&foreign, &packed].map(|path| path.to_str().unwrap().to_owned()));
    }
    let extracted = |name: &str| parse_pcap(&ask(&data, &["extract", "--file", name]).ok().stdout);
    for name in &names {
        let (found, _) = extracted(name);
        let nanos: Vec<_> = found.iter().map(|p| (p.sec, p.wire_len, p.data.clone())).collect();
        let wanted: Vec<_> = packets(20).iter().map(|p| (p.sec, p.wire_len, p.data.clone())).collect();
        assert_eq!(nanos, wanted, "{name}");
    }
    // While it grows it is found under either name as well.
    std::fs::rename(&path, path.with_extension("pcap.part")).unwrap();
    for name in [&bare, &part] {
        assert_eq!(extracted(name).0, packets(20), "{name}");
    }
}

#[test]
fn the_data_directory_is_the_first_that_is_set_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    let name = |path: &str| here.join(path).to_str().unwrap().to_owned();
    std::fs::write(here.join("t.toml"), format!("data_dir = {:?}\n", name("by-file"))).unwrap();
    std::fs::create_dir(here.join("run")).unwrap();
    std::fs::write(here.join("run/state.json"), format!("{{\"data_dir\":{:?}}}", name("by-service")))
        .unwrap();
    let asked = |args: &[&str], variables: &[(&str, String)]| {
        let mut command = alone(here, &[&["list"], args].concat());
        variables.iter().for_each(|(name, value)| _ = command.env(name, value));
        run(&mut command).ok().stderr
    };
    let output_file = ("OUTPUT_FILE", name("by-output/traffic_flows.jsonb"));
    let variable = ("TAPKEEP_DATA_DIR", name("by-variable"));
    let file = ["--config", "t.toml"];
    let all = [output_file.clone(), variable.clone()];
    let flagged = asked(&["--config", "t.toml", "--data-dir", "by-flag"], &all);
    assert!(flagged.contains("by-flag does not exist (from --data-dir)"), "{flagged}");
    let output = asked(&file, &all);
    assert!(
        output.contains(&format!("{} does not exist (the folder of OUTPUT_FILE)", name("by-output"))),
        "{output}"
    );
    let configured = asked(&file, &[variable]);
    assert!(
        configured.contains("by-variable does not exist (data_dir from environment TAPKEEP_DATA_DIR)"),
        "{configured}"
    );
    let by_file = asked(&file, &[]);
    assert!(by_file.contains("by-file does not exist (data_dir from t.toml:1)"), "{by_file}");
    let told = asked(&[], &[]);
    let state = name("run/state.json");
    assert!(
        told.contains(&format!("by-service does not exist (told by the running service in {state})")),
        "{told}"
    );
    std::fs::remove_file(here.join("run/state.json")).unwrap();
    let left = asked(&[], &[]);
    let usual = Path::new("/var/lib/tapkeep").is_dir();
    let wanted = if usual { "(the usual place" } else { "./output does not exist (none is configured" };
    assert!(left.contains(wanted), "{left}");
}

#[test]
fn an_unknown_key_warns_where_work_is_done_and_fails_the_check() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("t.toml"), "[capture]\nsnaplenn = 96\n").unwrap();
    let told = "t.toml:2: unknown key capture.snaplenn; did you mean capture.snaplen?";
    let listed = run(&mut alone(dir.path(), &["list", "--config", "t.toml"])).ok();
    assert!(listed.stderr.starts_with(&format!("tapkeep: note: {told}\n")), "{}", listed.stderr);
    let checked = run(&mut alone(dir.path(), &["config", "check", "--config", "t.toml"]));
    assert_eq!((checked.code, checked.stderr), (Some(2), format!("tapkeep: error: {told}\n")));
    // No interface: it starts, warns, and waits.
    let mut running = support::process::Process::start(
        alone(dir.path(), &["run", "--config", "t.toml", "--data-dir", "data"]).stdin(Stdio::null()),
    );
    running.wait_for_stderr(told);
    running.wait_for_stderr("records no interface into");
    running.signal(support::process::Signal::TERM);
    let ended = running.finish(support::process::PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn status_tells_what_the_state_file_tells() {
    let dir = tempfile::tempdir().unwrap();
    let data = recorded(dir.path(), 1);
    let mut running =
        support::process::Process::start(&mut alone(dir.path(), &["run", "--data-dir", "data"]));
    let status =
        |args: &[&str]| run(&mut alone(dir.path(), &[&["status", "--data-dir", "data"], args].concat()));
    let waits = |told: &Value| told["service"]["state"] == "waiting";
    support::process::wait_until("a waiting service", || waits(&status(&["--json"]).json()));
    let said = status(&["--json"]);
    let told = said.json();
    assert_eq!((said.code, &told["running"]), (Some(1), &json!(true)), "it waits for an interface");
    assert_eq!(told["service"]["state"], "waiting");
    assert_eq!(told["service"]["data_dir"], data.canonicalize().unwrap().to_str().unwrap());
    assert_eq!(told["service"]["pid"], running.id());
    let documented =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CLI.md")).unwrap();
    let undocumented: Vec<_> = told["service"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|key| !documented.contains(&format!("`{key}`")))
        .collect();
    assert!(undocumented.is_empty(), "docs/CLI.md lacks {undocumented:?}");
    let table = status(&[]).text();
    let starts: Vec<_> =
        table.lines().map(|line| line.as_bytes()[15] == b' ' && line.as_bytes()[16] != b' ').collect();
    assert!(starts.iter().all(|aligned| *aligned), "{table}");
    running.signal(support::process::Signal::KILL);
    running.finish(support::process::PATIENCE);
    // What a killed service leaves is stale in ten seconds; here it is made so.
    let file = dir.path().join("run/state.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    state["updated_up_ms"] = json!(0);
    std::fs::write(&file, state.to_string()).unwrap();
    std::fs::File::open(&file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let kept = format!("that records into {} told its state", data.canonicalize().unwrap().display());
    for args in [&["status", "--json"][..], &["status", "--json", "--data-dir", "data"]] {
        let said = run(&mut alone(dir.path(), args));
        assert_eq!((said.code, &said.json()["running"]), (Some(2), &json!(false)));
        assert!(said.stderr.contains("it has ended or hangs"), "{}", said.stderr);
        assert!(said.stderr.contains(&kept), "{}", said.stderr);
    }
    let other = run(&mut alone(dir.path(), &["status", "--data-dir", "other"]));
    assert_eq!(other.code, Some(2));
    assert!(
        other.stderr.contains("no service that records into other (from --data-dir)"),
        "{}",
        other.stderr
    );
}
