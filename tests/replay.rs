//! Capture files in and out, with the real program: what `replay` takes in, `extract` gives back packet by packet, and
//! damaged files cost neither a panic nor time nor memory. The corpora lie where `TAPKEEP_CORPORA` points, else in a
//! folder beside the checkout. Without them these tests say that they skip; with `TAPKEEP_TEST_REQUIRE=1` they fail.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::corpora::captures;
use support::pcap::{Packet, frame, read_pcap, write_pcap};
use support::process::{Answer, Signal, must, run, wait_until};
use support::require;
use support::service::{ask, command_line, tapkeep};

/// Most resident memory of a command on a hostile file, bytes: pool, SQLite and buffers in a debug build.
const MEMORY: u64 = 150 << 20;

/// Where the corpora are, if they are and can be looked into.
fn corpora() -> Option<PathBuf> {
    support::corpora::corpora().filter(|_| require(&["python3", "editcap", "capinfos"]))
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(name)
}

fn lines(answer: &Answer) -> Vec<Value> {
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a reader of its own makes of files.
fn digests(files: &[PathBuf]) -> Vec<Value> {
    lines(&run(Command::new("python3").arg(script("digest.py")).args(files)).ok())
}

fn digest(file: &Path) -> Value {
    digests(&[file.to_owned()]).remove(0)
}

/// What editcap makes of a file, as nanosecond PCAP; none if it mixes link types.
fn by_editcap(file: &Path, out: &Path) -> Option<Value> {
    let done = run(Command::new("editcap").args(["-F", "nsecpcap"]).args([file, out]));
    (done.code == Some(0)).then(|| digest(out))
}

fn replay(data_dir: &Path, files: &[&Path]) -> Answer {
    let files: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
    ask(data_dir, &[&["replay"], &files[..]].concat())
}

fn listed(data_dir: &Path) -> Vec<Value> {
    ask(data_dir, &["list", "--json", "--kind", "capture"]).ok().json()["files"].as_array().unwrap().clone()
}

/// The sealed files, each judged sound by capinfos; nothing else is left.
fn sealed(data_dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        std::fs::read_dir(data_dir.join("pcaps")).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    assert!(paths.iter().all(|path| path.extension().unwrap() == "pcap"), "{paths:?}");
    if !paths.is_empty() {
        let said = run(Command::new("capinfos").arg("-c").args(&paths)).ok();
        assert_eq!(said.stderr, "");
    }
    paths
}

fn extract(data_dir: &Path, args: &[&str], out: &Path) -> Answer {
    ask(data_dir, &[&["extract", "-w", out.to_str().unwrap()], args].concat())
}

#[test]
fn every_capture_comes_back_packet_by_packet() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (mut mixed, mut nano) = (0, 0);
    for (at, capture) in captures(&corpora).iter().enumerate() {
        let [data, out, theirs] =
            ["data", "out.pcap", "theirs.pcap"].map(|n| dir.path().join(format!("{at}-{n}")));
        let name = capture.display();
        let said = replay(&data, &[capture]).ok();
        assert_eq!(said.stderr, "", "{name}: progress is for terminals");
        let files = sealed(&data);
        let input = digest(capture);
        match by_editcap(capture, &theirs) {
            Some(theirs) => {
                extract(&data, &[], &out).ok();
                run(Command::new("capinfos").arg("-c").arg(&out)).ok();
                let ours = digest(&out);
                assert_eq!(ours["links"], theirs["links"], "{name}");
                assert_eq!(ours["links"], input["links"], "{name}");
                assert!(input["unit"].is_null() || ours["unit"] == input["unit"], "{name}");
                nano += usize::from(ours["unit"] == "nano");
            }
            None => {
                let refused = extract(&data, &[], &out);
                assert_eq!(refused.code, Some(2), "{}", refused.stderr);
                assert!(!out.exists() && refused.stderr.contains("several link types"), "{}", refused.stderr);
                let mut links = serde_json::Map::new();
                for file in &files {
                    let bare = file.file_name().unwrap().to_str().unwrap();
                    extract(&data, &["--file", bare], &out).ok();
                    links.extend(digest(&out)["links"].as_object().unwrap().clone());
                }
                assert_eq!(Value::from(links), input["links"], "{name}");
                mixed += 1;
            }
        }
        let unknown = |file: &Value| file["losses"]["nic"].is_null() && file["losses"]["queue"] == 0;
        assert!(listed(&data).iter().all(unknown), "{name}: nobody counted what the card had lost");
    }
    assert!(mixed >= 1 && nano >= 2, "{mixed} mixed, {nano} nano");
}

#[test]
fn a_replay_filters_and_cuts_as_a_live_port_does() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (capture, data, out) =
        (corpora.join("mix-office.pcap"), dir.path().join("data"), dir.path().join("out"));
    let mut command = tapkeep(&["replay", "--data-dir", data.to_str().unwrap(), capture.to_str().unwrap()]);
    run(command.env("WIRESHARK_FILTER", "udp port 53").env("TAPKEEP_CAPTURE_SNAPLEN", "64")).ok();
    extract(&data, &[], &out).ok();
    let lengths = |file: &Path, filter: &str| {
        let fields = ["-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len"];
        must("tshark", &[&["-n", "-r", file.to_str().unwrap(), "-Y", filter], &fields[..]].concat()).text()
    };
    let wanted = lengths(&capture, "udp.port == 53");
    assert!(wanted.lines().count() > 10 && wanted == lengths(&out, "frame.cap_len <= 64"));
}

#[test]
fn rotation_loses_and_doubles_nothing() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    for (file, size, least) in [("load-echo-loopback.pcap.gz", "300kB", 20), ("mix-office.pcap", "263kB", 12)]
    {
        let (capture, data) = (corpora.join(file), dir.path().join(file));
        let mut command =
            tapkeep(&["replay", "--data-dir", data.to_str().unwrap(), capture.to_str().unwrap()]);
        run(command.env("PCAP_ROTATION_SIZE", size)).ok();
        let files = sealed(&data);
        assert!(files.len() >= least, "{file}: only {} files", files.len());
        let limit = size.trim_end_matches("kB").parse::<u64>().unwrap() * 1_000;
        assert!(files.iter().all(|file| file.metadata().unwrap().len() <= limit));
        let out = dir.path().join("out.pcap");
        extract(&data, &[], &out).ok();
        assert_eq!(digest(&out)["links"], digest(&capture)["links"], "{file}");
        let all_unknown = listed(&data).iter().all(|file| file["losses"]["kernel"].is_null());
        assert!(all_unknown, "{file}: unknown in one file of a capture is unknown in all");
    }
}

#[test]
fn several_files_are_replayed_in_their_order() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    let names = ["mix-emix.pcap", "cid-combined.pcap.gz", "cred-pop3.pcap"];
    let files = names.map(|name| corpora.join(name));
    let said = replay(dir.path(), &files.each_ref().map(PathBuf::as_path)).ok();
    let counts = digests(&files).iter().map(|d| d["links"]["1"][0].as_u64().unwrap()).sum::<u64>();
    let told = said.text().replace(',', "");
    assert!(told.starts_with(&format!("replayed {counts} packets ")), "{told}");
    let out = dir.path().join("out.pcap");
    extract(dir.path(), &[], &out).ok();
    let merged = dir.path().join("merged.pcap");
    run(Command::new("mergecap").args(["-a", "-F", "nsecpcap", "-w"]).arg(&merged).args(&files)).ok();
    assert_eq!(digest(&out)["links"], digest(&merged)["links"]);

    let missing = replay(dir.path(), &[&files[0], Path::new("/no/such.pcap")]);
    assert_eq!(missing.code, Some(1));
    assert!(
        missing.stderr.starts_with("tapkeep: error: open /no/such.pcap: No such file"),
        "{}",
        missing.stderr
    );
    assert_eq!(listed(dir.path()).len(), sealed(dir.path()).len(), "nothing is taken if one is missing");
}

/// A replay of what is written to its standard input.
fn replay_of_pipe(data_dir: &Path) -> std::process::Child {
    tapkeep(&["replay", "--data-dir", data_dir.to_str().unwrap(), "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn is_recording(data_dir: &Path) -> bool {
    std::fs::read_dir(data_dir.join("pcaps"))
        .is_ok_and(|entries| entries.flatten().any(|e| e.path().extension().is_some_and(|e| e == "part")))
}

#[test]
fn a_pipe_is_replayed_to_its_end() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    for name in ["mix-office.pcap", "cid-combined.pcap.gz"] {
        let (capture, data) = (corpora.join(name), dir.path().join(name));
        let mut child = replay_of_pipe(&data);
        child.stdin.take().unwrap().write_all(&std::fs::read(&capture).unwrap()).unwrap();
        let said = child.wait_with_output().unwrap();
        assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
        let out = dir.path().join("out.pcap");
        extract(&data, &[], &out).ok();
        assert_eq!(digest(&out)["links"], digest(&capture)["links"]);
    }
}

#[test]
fn one_replay_at_a_time_and_an_interrupted_one_seals_what_it_has() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let capture = corpora.join("load-echo-loopback.pcap.gz");
    let packed = std::fs::File::open(&capture).unwrap();
    let mut bytes = Vec::new();
    std::io::copy(&mut flate2::read::GzDecoder::new(packed), &mut bytes).unwrap();
    let mut child = replay_of_pipe(&data);
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(&bytes[..bytes.len() / 2]).unwrap();
    wait_until("a growing file", || is_recording(&data));

    let second = replay(&data, &[&corpora.join("cred-pop3.pcap")]);
    assert_eq!((second.code, second.text()), (Some(1), String::new()));
    let error = format!("tapkeep: error: data directory {} is in use", data.display());
    assert!(second.stderr.starts_with(&error) && second.stderr.lines().count() == 1, "{}", second.stderr);

    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::INT).unwrap();
    // It may have ended before all is written.
    let _ = pipe.write_all(&bytes[bytes.len() / 2..]);
    drop(pipe);
    let said = child.wait_with_output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(text.starts_with("stopped early: replayed "), "{text}");
    let kept: u64 = digests(&sealed(&data)).iter().map(|d| d["links"]["1"][0].as_u64().unwrap()).sum();
    let told = text.split(' ').nth(3).unwrap().replace(',', "").parse::<u64>().unwrap();
    assert_eq!(kept, told);
    assert!((1..82_582).contains(&kept), "{kept}");
}

/// Runs a command on each file; fails with all that panicked, hung, grew, or said the wrong thing.
fn ordeal(files: &[PathBuf], command: &[&str]) -> Vec<Value> {
    let nowhere = tempfile::tempdir().unwrap();
    let mut python = Command::new("python3");
    python
        .arg(script("ordeal.py"))
        .arg("30")
        .args(files)
        .arg("--")
        .args(command_line().split(' '))
        .args(command);
    python.env("TAPKEEP_SERVICE_RUNTIME_DIR", nowhere.path()).env("TZ", "UTC");
    let told = lines(&run(&mut python).ok());
    let wrong = told.iter().filter(|one| {
        let (code, stderr) = (one["code"].as_i64().unwrap(), one["stderr"].as_str().unwrap());
        let explained = code == 0 || stderr.contains("tapkeep: ");
        let active = |text: &Value| text.as_str().unwrap().contains(|c: char| c.is_control() && c != '\n');
        ![0, 1, 2, 4].contains(&code)
            || !explained
            || stderr.contains("panicked")
            || active(&one["stderr"])
            || active(&one["stdout"])
            || one["memory"].as_u64().unwrap() > MEMORY
    });
    let wrong: Vec<_> = wrong.map(Value::to_string).collect();
    assert!(wrong.is_empty(), "{command:?}:\n{}", wrong.join("\n"));
    assert_eq!(told.len(), files.len());
    told
}

/// The number before the word "packets" in what a command said.
fn packets(told: &Value) -> u64 {
    let said = format!("{} {}", told["stdout"].as_str().unwrap(), told["stderr"].as_str().unwrap());
    let line = said.lines().find(|line| line.contains("replayed ") || line.contains(" from 1 file"));
    let count = line.and_then(|line| {
        line.split(' ').zip(line.split(' ').skip(1)).find(|(_, thing)| thing.starts_with("packet"))
    });
    count.map_or(0, |(number, _)| number.replace(',', "").parse().unwrap())
}

const REPLAY: [&str; 4] = ["replay", "--data-dir", "{dir}", "{file}"];
const EXTRACT: [&str; 7] = ["extract", "--data-dir", "{dir}", "--file", "{file}", "-w", "{dir}/out.pcap"];

#[test]
fn damaged_files_do_no_harm_and_are_told() {
    let Some(corpora) = corpora() else { return };
    let folder = corpora.join("bad");
    let expected: Value =
        serde_json::from_slice(&std::fs::read(folder.join("EXPECTED.json")).unwrap()).unwrap();
    let files = captures(&folder);
    assert!(files.len() > 200, "only {} files", files.len());
    for command in [&REPLAY[..], &EXTRACT[..]] {
        let mut wrong = Vec::new();
        for told in ordeal(&files, command) {
            let name = Path::new(told["file"].as_str().unwrap()).file_name().unwrap().to_str().unwrap();
            let expected = &expected[name];
            // A link type that tshark does not know is none of our business.
            let damaged = expected["peers_refuse"] == true && expected["tcpdump"]["rc"] != 0;
            // Several link types do not fit into one extract; a replay parts them.
            let refused = told["code"] == 2 && told["stderr"].as_str().unwrap().contains("link types");
            let few = packets(&told) < expected["min_packets"].as_u64().unwrap() && !refused;
            if few || (damaged && told["code"] == 0) {
                wrong.push(told.to_string());
            }
        }
        assert!(wrong.is_empty(), "too few packets, or damage not told:\n{}", wrong.join("\n"));
    }
}

#[test]
fn hostile_files_do_no_harm() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    let victims =
        ["cred-pop3.pcap", "fmt-ns-be.pcap", "fmt-many-interfaces.pcapng"].map(|name| corpora.join(name));
    let mut python = Command::new("python3");
    run(python.arg(corpora.join("make_hostile.py")).arg("20241231").arg(dir.path()).args(victims)).ok();
    let mut files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e != "json" && e != "tsv"));
    files.sort();
    assert!(files.len() > 50, "only {} files", files.len());
    ordeal(&files, &REPLAY);
    ordeal(&files, &EXTRACT);
}

/// What a finding in a file from elsewhere says of its packets is a command that gives them.
#[test]
fn a_finding_elsewhere_ends_with_the_command_for_its_packets() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    let scan = dir.path().join("it's a scan.pcap");
    std::fs::copy(corpora.join("atk-portscan-plc.pcap"), &scan).unwrap();
    let told =
        ask(dir.path(), &["suspicious", scan.to_str().unwrap(), "--detector", "port_scan"]).ok().text();
    let command = told.lines().find_map(|line| line.trim().strip_prefix("packets tapkeep ")).unwrap();
    let script = format!("{} {command} | tcpdump -nr - 2>/dev/null | wc -l", command_line());
    let packets: u64 = run(Command::new("bash").args(["-c", &script])).ok().text().trim().parse().unwrap();
    assert!(packets >= 10, "{command}: {packets}");
}

/// A 32-bit `time_t`, as 32-bit ARM has it, ends in January 2038; captures count their seconds in 32 bits without a sign.
#[test]
fn times_after_2038_stay_what_they_are() {
    const NEW_YEAR_2039: u32 = 2_177_452_800;
    let dir = tempfile::tempdir().unwrap();
    let (input, data, out) =
        (dir.path().join("in.pcap"), dir.path().join("data"), dir.path().join("out.pcap"));
    let stamps = (0..3).map(|n| NEW_YEAR_2039 + n);
    let packets: Vec<_> = stamps.map(|sec| Packet::whole(sec, 5, frame(sec.into(), 60, &[]))).collect();
    write_pcap(&input, &packets);
    replay(&data, &[&input]).ok();

    let file = listed(&data).remove(0);
    assert_eq!(file["name"], "capture_20390101_000000_0001.pcap");
    assert!(file["first"].as_str().unwrap().starts_with("2039-01-01T00:00:00.000005"), "{file}");
    assert!(ask(&data, &["list"]).ok().text().contains("2039-01-01"));
    let flow = &ask(&data, &["flows", "--json"]).ok().text();
    assert!(flow.contains("\"start\":\"2039-01-01T00:00:00.000005000Z\""), "{flow}");
    ask(&data, &["extract", "--since", "2039-01-01T00:00:01Z", "-w", out.to_str().unwrap()]).ok();
    assert_eq!(read_pcap(&out), packets[1..]);

    // Files that were written then: no reader, and not SQLite either, stumbles over their times.
    for file in ["index.sqlite3", "ledger.jsonb", "traffic_flows.jsonb", "tapkeep.lock"] {
        must("touch", &["--date=2039-01-01", data.join(file).to_str().unwrap()]);
    }
    let protocols = ask(&data, &["protocols"]).ok();
    assert!(protocols.stderr.is_empty() && protocols.text().contains('3'), "{}", protocols.stderr);
    replay(&data, &[&input]).ok();
    assert_eq!(listed(&data).len(), 2);
    assert!(!data.join("index.sqlite3.damaged").exists());
}
