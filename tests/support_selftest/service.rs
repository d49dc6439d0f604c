//! Services are started, watched, signalled and ended; shown with a stand-in that does what the real one promises.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::net::{NEEDS, Net, Pace};
use crate::support::pcap::{assert_same_packets, mix, read_pcap, write_pcap};
use crate::support::process::{Process, must, run, wait_until};
use crate::support::require;
use crate::support::service::{Setup, ask};

const STAND_IN: &str = r#"#!/usr/bin/env python3
import json, os, signal, sys, time
def end(number, frame):
    print(json.dumps({"signal": number}))
    sys.exit(7 if number == signal.SIGINT else 0)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
signal.signal(signal.SIGHUP, lambda number, frame: print("reloaded", file=sys.stderr, flush=True))
links = sorted(open("/proc/net/dev").read().split())
state = {"state": "capturing", "args": sys.argv[1:], "interface": os.environ["NETWORK_INTERFACE"],
         "tap": "tap0:" in links, "pid": os.getpid(), "surroundings": os.environ.get("CARGO_PKG_NAME")}
path = os.environ["TAPKEEP_SERVICE_RUNTIME_DIR"] + "/state.json"
json.dump(state, open(path + ".new", "w"))
os.rename(path + ".new", path)
while True:
    time.sleep(0.05)
"#;

/// Written by another process: a file that this one has ever had open for writing may be busy in a child just forked.
fn executable(dir: &Path, text: &str) -> PathBuf {
    let (source, program) = (dir.join("source"), dir.join("program"));
    std::fs::write(&source, text).unwrap();
    must("install", &["-m", "755", source.to_str().unwrap(), program.to_str().unwrap()]);
    program
}

#[test]
fn signals_reach_the_service_itself_inside_the_namespace() {
    if !require(&NEEDS) || !require(&["python3"]) {
        return;
    }
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let program = executable(dir.path(), STAND_IN);
    let setup = || Setup::new(dir.path()).program(&program);
    let mut service = setup().arg("--extra").start(&net);
    service.wait_until_capturing();
    let state = service.state().unwrap();
    assert_eq!(state["args"][0], "run");
    assert_eq!(state["args"][2], dir.path().to_str().unwrap());
    assert_eq!(state["args"][5], "--extra");
    assert_eq!((&state["tap"], &state["interface"]), (&true.into(), &"tap0".into()));
    assert_eq!(state["pid"], service.process.id());
    assert_eq!(state["surroundings"], serde_json::Value::Null);
    service.reload();
    service.process.wait_for_stderr("reloaded");
    assert_eq!(service.wait(Duration::from_millis(50)), None);
    let answer = service.stop();
    assert_eq!((answer.code, answer.json()["signal"].as_i64()), (Some(0), Some(15)));
    let mut service = setup().start(&net);
    service.wait_until_capturing();
    assert_eq!(service.interrupt().code, Some(7));
    let mut service = setup().start(&net);
    service.wait_until_capturing();
    assert_eq!(service.kill().signal, Some(9));
}

#[test]
#[should_panic(expected = "ended before \"capturing\": no such thing")]
fn a_service_that_ends_at_once_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let program = executable(dir.path(), "#!/bin/sh\necho no such thing >&2\nexit 1\n");
    Setup::new(dir.path()).program(program).start_here().wait_until_capturing();
}

#[test]
fn a_process_ends_with_its_owner() {
    let process = Process::start(Command::new("sleep").arg("600"));
    let entry = Path::new("/proc").join(process.id().to_string());
    assert!(entry.exists());
    drop(process);
    assert!(!entry.exists());
}

#[test]
fn answers_hold_all_that_was_said() {
    let script = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done; echo end >&2; exit 3";
    let answer = run(Command::new("sh").args(["-c", script]));
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(3), "end\n"));
    assert_eq!(answer.text().lines().count(), 20_000);
    assert_eq!(run(Command::new("echo").arg("{\"a\":1}")).json()["a"], 1);
}

#[test]
fn the_real_service_is_started_asked_and_stopped() {
    if !require(&NEEDS) {
        return;
    }
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let (data_dir, sending) = (dir.path().join("data"), dir.path().join("send.pcap"));
    let packets = mix(0, 300);
    write_pcap(&sending, &packets);
    let mut service = Setup::new(&data_dir).start(&net);
    service.wait_until_capturing();
    assert_eq!(net.send(&sending, Pace::PerSecond(3_000)), 300);
    wait_until("all packets in the growing file", || {
        service.ask(&["list", "--json", "--kind", "capture"]).ok().json()["files"][0]["packets"] == 300
    });
    let said = service.stop();
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let list = ask(&data_dir, &["list", "--json", "--kind", "capture"]).ok().json();
    assert_eq!(list["files"].as_array().unwrap().len(), 1, "{list}");
    let name = list["files"][0]["name"].as_str().unwrap();
    assert_same_packets(&read_pcap(&data_dir.join("pcaps").join(name)), &packets);
}
