//! How the service tells of itself while it runs: `status --watch`, and metrics for Prometheus.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::net::Pace;
use support::pcap::mix;
use support::process::{PATIENCE, Process, Signal, run, wait_until};
use support::python;
use support::recorded::wait_for_packets;
use support::service::{RUNTIME_DIR, Service, TAPKEEP, in_clean_environment};
use support::stage::Stage;

/// A `tapkeep status --watch` that looks at this service.
fn watch(service: &Service, more: &[&str]) -> Process {
    let mut command = Command::new(TAPKEEP);
    in_clean_environment(&mut command);
    command.args(["status", "--watch", "--data-dir"]).arg(service.data_dir()).args(more);
    Process::start(command.env(RUNTIME_DIR, service.runtime_dir()))
}

fn told_lines(process: &Process) -> Vec<String> {
    String::from_utf8(process.stdout()).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn whoever_watches_gets_a_line_each_second_until_they_go() {
    let Some(stage) = Stage::new(&["bash", "head"]) else { return };
    let service = stage.start(stage.setup());
    let mut plain = watch(&service, &[]);
    let mut json = watch(&service, &["--json"]);
    wait_until("three lines of each", || told_lines(&plain).len() >= 3 && told_lines(&json).len() >= 3);
    for line in told_lines(&plain) {
        assert!(line.contains("Z  tap0: 0 pps, 0 kb/s, 0 lost"), "{line}");
    }
    for line in &told_lines(&json)[..3] {
        let told: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&told["running"], &told["service"]["interface"]), (&true.into(), &"tap0".into()));
    }
    plain.signal(Signal::INT);
    json.signal(Signal::TERM);
    for process in [plain, json] {
        assert_eq!(process.finish(PATIENCE).code, Some(0));
    }
    let mut piped = Command::new("bash");
    in_clean_environment(&mut piped);
    let line = "set -o pipefail; \"$0\" status --watch --data-dir \"$1\" | head -2 | wc -l";
    piped.args(["-c", line, TAPKEEP]).arg(service.data_dir()).env(RUNTIME_DIR, service.runtime_dir());
    assert_eq!(run(&mut piped).ok().text().trim(), "2", "it ends when nobody reads any more");

    let mut waits = watch(&service, &[]);
    wait_until("a line", || !told_lines(&waits).is_empty());
    service.stop();
    wait_until("word of the end", || {
        assert!(waits.is_running(), "{}", waits.last_words());
        told_lines(&waits).last().is_some_and(|line| line.starts_with("no service that records into "))
    });
}

#[test]
fn on_a_terminal_the_page_is_drawn_over_the_one_before() {
    let Some(stage) = Stage::new(&["script"]) else { return };
    let service = stage.start(stage.setup());
    let mut script = Command::new("script");
    in_clean_environment(&mut script);
    let inner = format!(
        "stty rows 20 columns 60; exec {TAPKEEP} status --watch --data-dir {}",
        service.data_dir().display()
    );
    script.args(["--quiet", "--flush", "--return", "--command", &inner, "/dev/null"]).env("SHELL", "/bin/sh");
    let process = Process::start(script.env(RUNTIME_DIR, service.runtime_dir()));
    let frames = || {
        String::from_utf8_lossy(&process.stdout())
            .split("\x1b[H")
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    wait_until("three frames", || frames().len() >= 4);
    for frame in &frames()[..3] {
        assert!(frame.starts_with("State           tap0: capturing\x1b[K\r\n"), "{frame:?}");
        assert!(frame.ends_with("\x1b[J"), "{frame:?}");
        let lines: Vec<_> = frame.split("\x1b[K\r\n").collect();
        assert!(lines.len() <= 20 && lines.iter().all(|line| line.chars().count() <= 60), "{lines:?}");
    }
}

/// The names, types and labels of the table in `docs/METRICS.md`.
fn documented() -> BTreeMap<String, String> {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/METRICS.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `tapkeep_"));
    let cell = |row: &str, at: usize| row.split('|').nth(at).unwrap().trim().trim_matches('`').to_owned();
    rows.map(|row| (cell(row, 1), cell(row, 2))).collect()
}

/// What Prometheus' own client reads of a metric: its name as it is in the file, type, help, labels and value.
type Sample = (String, String, String, BTreeMap<String, String>, f64);

/// Has it read a file.
const READ: &str = "import json, sys
from prometheus_client.parser import text_string_to_metric_families
told = []
for family in text_string_to_metric_families(open(sys.argv[1]).read()):
    for sample in family.samples:
        told.append([sample.name, family.type, family.documentation, sample.labels, sample.value])
print(json.dumps(told))";

#[test]
fn metrics_are_read_by_prometheus_and_documented() {
    let Some(stage) = Stage::new(&["python3"]) else { return };
    let Some(modules) = python::with("prometheus-client", "import prometheus_client.parser") else { return };
    let folder = stage.dir.path().join("later");
    let file = folder.join("tapkeep.prom");
    let setup =
        stage.setup().variable("TAPKEEP_HEALTH_METRICS_FILE", &file).variable("PCAP_ROTATION_SIZE", "300kB");
    let mut service = stage.start(setup);
    service.process.wait_for_stderr("write metrics to ");
    std::fs::create_dir(&folder).unwrap();
    stage.send(&mix(0, 1_000), Pace::PerSecond(20_000));
    wait_for_packets(&stage.data_dir(), 1_000);
    let read = || {
        let mut python = Command::new("python3");
        let told = run(python.args(["-c", READ]).arg(&file).env("PYTHONPATH", &modules)).ok().json();
        serde_json::from_value::<Vec<Sample>>(told).unwrap()
    };
    let kept = |told: &[Sample]| {
        told.iter().any(|(name, .., value)| name == "tapkeep_kept_seconds" && *value >= 0.0)
            && told
                .iter()
                .any(|(name, .., value)| name == "tapkeep_received_packets_total" && *value == 1_000.0)
    };
    wait_until("metrics of what was sent", || file.exists() && kept(&read()));
    let told = read();
    assert_eq!(service.process.stderr().matches("write metrics to ").count(), 1, "told once");
    assert!(service.process.stderr().contains("metrics are written to "), "and that it works again");

    let documented = documented();
    let types: BTreeMap<_, _> = told.iter().map(|(name, kind, ..)| (name.clone(), kind.clone())).collect();
    let mut wanted = documented.clone();
    if !types.contains_key("tapkeep_flash_written_bytes_total") {
        // A kernel that does not account for it.
        assert!(!Path::new("/proc/self/io").exists());
        wanted.remove("tapkeep_flash_written_bytes_total");
    }
    assert_eq!(types, wanted);
    assert!(told.iter().all(|(_, _, help, labels, _)| !help.is_empty() && labels["interface"] == "tap0"));
    let labelled = |name: &str, label: &str| -> BTreeSet<String> {
        let ours = told.iter().filter(|(of, ..)| of == name);
        ours.map(|(_, _, _, labels, _)| labels[label].clone()).collect()
    };
    let known = labelled("tapkeep_lost_packets_total", "cause");
    assert!(["kernel", "queue", "write", "analysis"].iter().all(|cause| known.contains(*cause)), "{known:?}");
    assert_eq!(labelled("tapkeep_findings_total", "severity").len(), 4);
    assert_eq!(labelled("tapkeep_thread_still_seconds", "thread").len(), 3);

    let state = service.state().unwrap();
    let value = |name: &str| told.iter().find(|(of, ..)| of == name).unwrap().4;
    assert_eq!(value("tapkeep_written_packets_total"), state["written"].as_f64().unwrap());
    assert_eq!(value("tapkeep_recorded_bytes_total"), state["recorded"].as_f64().unwrap());
    assert_eq!((value("tapkeep_capturing"), value("tapkeep_info")), (1.0, 1.0));
    assert_eq!(service.stop().code, Some(0));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "metrics end with their service");
}
