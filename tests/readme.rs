//! What the README and the scripts beside the program promise: the searches it prints work as printed, and the traffic of
//! `scripts/traffic`, on which the demo, the bench and live tests rely, is sound by another tool's judgement.

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

/// The capture file that the README speaks of; generated traffic begins at that time.
const CAPTURE: &str = "capture_20241231_143052_0001.pcap";

fn readme() -> String {
    std::fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap()
}

/// A data directory that holds generated traffic.
fn replayed(dir: &Path) -> PathBuf {
    let (input, data) = (traffic(dir, "input.pcap", &["--count", "10000"]), dir.join("data"));
    let mut replay = Command::new(env!("CARGO_BIN_EXE_tapkeep"));
    let done = replay.arg("replay").arg(&input).arg("--data-dir").arg(&data).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    data
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

#[test]
fn the_searches_of_the_readme_work_as_printed() {
    if !require(&["python3", "tshark", "bash"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = replayed(dir.path());
    std::fs::copy(data.join("pcaps").join(CAPTURE), dir.path().join("FILE")).unwrap();
    let readme = readme();
    let blocks = readme.lines().filter_map(|line| line.strip_prefix("    tshark "));
    let cells =
        readme.lines().flat_map(|line| line.split('`')).filter_map(|cell| cell.strip_prefix("tshark "));
    let mut tried = 0;
    for search in blocks.chain(cells) {
        let search = search.replace(CAPTURE, "FILE");
        assert!(search.contains("-r "), "tshark {search}: reads no file");
        let answer = shell(&format!("cd {} && tshark {search}", dir.path().display()));
        for expected in ["-z io,phs", "-Y http ", "tcp.len > 1400"] {
            assert!(
                !search.contains(expected) || !answer.trim().is_empty(),
                "tshark {search}: found nothing"
            );
        }
        tried += 1;
    }
    assert!(tried >= 3, "only {tried} searches found in README.md");
}

/// Every whole `tapkeep` command that the README prints, in a block or between backticks, without pipes and remarks.
fn commands(readme: &str) -> Vec<String> {
    let mut found = Vec::new();
    let readme = &readme.replace("sudo -u tapkeep ", "");
    let joined = readme.replace("\\\n", " ");
    let blocks = joined.lines().filter(|line| line.starts_with("    ")).map(str::to_owned);
    let spans = readme.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " "));
    let spans = spans.filter(|span| span.starts_with("tapkeep "));
    for text in blocks.chain(spans) {
        let Some(at) = text.find("tapkeep ").filter(|at| *at == 0 || text[..*at].ends_with(' ')) else {
            continue;
        };
        let command = text[at..].split(['|', '#']).next().unwrap().trim();
        let word = command.split_whitespace().nth(1).unwrap_or_default();
        let known = [
            "run",
            "replay",
            "list",
            "extract",
            "hold",
            "release",
            "status",
            "check",
            "config",
            "index",
            "protocols",
            "endpoints",
            "conversations",
            "flows",
            "suspicious",
        ];
        if known.contains(&word) && !command.contains('…') {
            found.push(command.to_owned());
        }
    }
    found
}

#[test]
fn the_commands_of_the_readme_are_understood_and_do_what_they_can_here() {
    if !require(&["python3", "bash"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = replayed(dir.path());
    let program = Path::new(env!("CARGO_BIN_EXE_tapkeep")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    std::fs::copy(data.join("pcaps").join(CAPTURE), dir.path().join("FILE")).unwrap();
    let commands = commands(&readme());
    for command in &commands {
        let line = command.replace("/srv/backup/tapkeep", data.to_str().unwrap());
        // These would go on for ever, need what is not there, or judge this machine.
        let stays = ["run", "replay", "check"].iter().any(|word| line.split(' ').nth(1) == Some(word));
        let line = if stays { format!("{line} --help") } else { line };
        let mut bash = Command::new("bash");
        bash.args(["-c", &line]).current_dir(dir.path()).env("PATH", &path).env("TZ", "UTC");
        bash.env("TAPKEEP_SERVICE_RUNTIME_DIR", dir.path().join("run")).env("TAPKEEP_DATA_DIR", &data);
        let said = bash.output().unwrap();
        let told = String::from_utf8_lossy(&said.stderr);
        let code = said.status.code().unwrap();
        let expected = if line == "tapkeep status" { &[2][..] } else { &[0, 3] };
        assert!(expected.contains(&code) && !told.contains("Usage:"), "{line}: {code}\n{told}");
    }
    assert!(commands.len() >= 15, "only {commands:?}");
    assert!(
        dir.path().join("evidence.pcap").metadata().unwrap().len() > 24,
        "the printed range finds packets"
    );
}

#[test]
fn the_settings_table_of_the_readme_is_that_of_the_program() {
    let readme = readme();
    let mut told: Vec<Vec<String>> = readme
        .lines()
        .skip_while(|line| !line.starts_with("| environment | key"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').skip(1).take(3).map(|cell| cell.trim().replace('`', "")).collect())
        .collect();
    let cell = |text: Option<&str>, none: &str| text.filter(|t| !t.is_empty()).unwrap_or(none).to_owned();
    let mut known: Vec<Vec<String>> = tapkeep::config::keys::KEYS
        .iter()
        // The detectors' are in docs/DETECTORS.md.
        .filter(|key| !key.toml().is_some_and(|path| path.starts_with("detect.")))
        .map(|key| {
            let none = if key.env() == "WIRESHARK_FILTER" { "empty" } else { "none" };
            vec![key.env().to_owned(), cell(key.toml(), "—"), cell(Some(&key.default_text()), none)]
        })
        .collect();
    told.sort();
    known.sort();
    assert_eq!(told, known);
}
