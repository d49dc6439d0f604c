//! Where commands of the book are run: a data directory with what the book speaks of, the files it names, and stand-ins for the
//! programs that reach beyond this machine (`ssh`, `sudo`, `docker`) or draw windows (`wireshark`).

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::page::ROOT;
use super::shell;
use super::support::pcap::write_pcap;
use super::support::process::{Answer, PATIENCE, Process, must, wait_until};
use super::support::scan::scan;
use super::support::service::{RUNTIME_DIR, Service, TAPKEEP, ask, in_clean_environment};

/// Programs of the book that are run as they stand; everything else is listed in `elsewhere`.
#[rustfmt::skip]
pub(crate) const RUN: &[&str] = &[
    "tapkeep", "tshark", "wireshark", "tcpdump", "capinfos", "jq", "sha256sum", "stat", "cd", "export", "echo", "sort", "uniq",
    "head", "tr", "test",
];

/// The capture file that the book speaks of; generated traffic begins at that time.
const CAPTURE: &str = "capture_20241231_143052_0001.pcap";

const SUDO: &str = "#!/bin/sh\n[ \"$1\" != -u ] || shift 2\nexec env \"$@\"\n";
const SSH: &str =
    "#!/bin/sh\nwhile :; do case $1 in -*) shift ;; *) break ;; esac; done\nshift\nexec sh -c \"exec $*\"\n";
const DOCKER: &str = "#!/bin/sh\nshift 2\n[ \"$1\" != -T ] || shift\nshift\nexec \"$@\"\n";
/// Takes the stream to its end, and fails on anything that is none; what is ended early may have none yet.
const WIRESHARK: &str =
    "#!/bin/sh\ntrap '' TERM\ncat >stream.$$\n[ ! -s stream.$$ ] || exec tshark -n -r stream.$$ >/dev/null\n";

/// A place of its own for the commands of one page.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    data: PathBuf,
    runtime: PathBuf,
    /// What the book calls so, and what it is here.
    names: Vec<(&'static str, String)>,
}

impl Place {
    /// An empty place.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::Builder::new().prefix("tapkeep-docs-").tempdir().unwrap();
        let bin = dir.path().join("bin");
        std::fs::create_dir_all(dir.path().join("work")).unwrap();
        std::fs::create_dir(&bin).unwrap();
        for (name, text) in [("sudo", SUDO), ("ssh", SSH), ("docker", DOCKER), ("wireshark", WIRESHARK)] {
            std::fs::write(bin.join(name), text).unwrap();
            std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::os::unix::fs::symlink(TAPKEEP, bin.join("tapkeep")).unwrap();
        let (data, runtime) = (dir.path().join("data"), dir.path().join("run"));
        Self { dir, data, runtime, names: Vec::new() }
    }

    /// A place where this service runs, and `host` has sent something.
    pub(crate) fn of_service(service: &Service, host: &str) -> Self {
        let names = vec![("10.0.0.7", host.to_owned())];
        let (data, runtime) = (service.data_dir().to_owned(), service.runtime_dir().to_owned());
        Self { data, runtime, names, ..Self::empty() }
    }

    /// A place where traffic of the time that the book speaks of was recorded, traffic of the last minutes, and a port scan.
    pub(crate) fn recorded() -> Self {
        let mut place = Self::empty();
        let data = place.data.clone();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 120;
        let work = place.work();
        let input = |name: &str| work.join(name).to_str().unwrap().to_owned();
        traffic(&input("suspect.pcap"), &["--count", "3000"]);
        traffic(&input("now.pcap"), &["--count", "3000", "--seed", "2", "--start", &now.to_string()]);
        let mut packets = scan(100);
        packets.iter_mut().for_each(|packet| packet.sec = now as u32);
        write_pcap(&work.join("scan.pcap"), &packets);
        for name in ["suspect.pcap", "now.pcap", "scan.pcap"] {
            ask(&data, &["replay", &input(name)]).ok();
        }
        std::fs::copy(work.join("suspect.pcap"), work.join("suspect.pcapng")).unwrap();
        let asked = |args: &[&str]| ask(&data, args).ok().text();
        let tls =
            ["flows", "--json", "--last", "10m", "--app", "tls", "--port", "443", "--net", "10.0.0.0/8"];
        let flow: serde_json::Value = serde_json::from_str(asked(&tls).lines().next().unwrap()).unwrap();
        let findings: serde_json::Value = serde_json::from_str(&asked(&["suspicious", "--json"])).unwrap();
        let scans =
            findings["findings"].as_array().unwrap().iter().filter(|found| found["detector"] == "port_scan");
        let id = scans.map(|found| found["id"].as_str().unwrap()).next().expect("a scan is found");
        let of_flow = |key: &str| flow[key].as_str().unwrap().to_owned();
        place.names = vec![
            ("port_scan-42-1048600", id.to_owned()),
            ("42-1048600", of_flow("flow_id")),
            ("1:wCb3OG7yAFWelaUydu0D+125CLM=", of_flow("community_id")),
            ("10.0.0.7", of_flow("src_ip")),
            ("10.20.0.7", of_flow("src_ip")),
            ("10.0.0.6", of_flow("src_ip")),
            ("10.0.0.138", of_flow("dst_ip")),
            ("/srv/backup/tapkeep", data.to_str().unwrap().to_owned()),
            ("/var/lib/tapkeep", data.to_str().unwrap().to_owned()),
        ];
        assert!(data.join("pcaps").join(CAPTURE).is_file());
        place
    }

    /// The folder in which commands are run.
    pub(crate) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// A script of bash, in an environment of this place alone.
    pub(crate) fn bash(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        in_clean_environment(&mut command);
        let path = format!("{}:{}", self.dir.path().join("bin").display(), std::env::var("PATH").unwrap());
        command.args(["--norc", "-c", script]).current_dir(self.work()).env("PATH", path);
        command.env("HOME", self.dir.path()).env(RUNTIME_DIR, &self.runtime);
        command
    }

    /// Runs a line of the book behind those that only prepare the shell for it; one that would never end is ended by SIGTERM.
    pub(crate) fn run(&self, prepared: &[String], line: &str) -> Answer {
        let here =
            |line: &String| self.names.iter().fold(line.clone(), |line, (told, is)| line.replace(told, is));
        let prepared: String = prepared.iter().map(|line| here(line) + "\n").collect();
        let line = here(&line.to_owned());
        let kind = Kind::of(&line);
        let line = match kind {
            Kind::Screen => {
                format!(
                    "(while sleep 1; do printf q; done) | script -qec 'stty cols 120 rows 40; {line}' /dev/null"
                )
            }
            Kind::Port if rustix::process::geteuid().is_root() => with_port(&line),
            Kind::Port => format!("{line} --help"),
            Kind::Plain | Kind::Endless => line,
        };
        // The reader of a pipe may go before the writer: that is status 141.
        let script = format!(
            "trap : TERM\n{prepared}{line}\n\
             for status in \"${{PIPESTATUS[@]}}\"; do [ $status = 141 ] || [ $status = 0 ] || exit $status; done"
        );
        let mut command = self.bash(&script);
        command.env("TAPKEEP_DATA_DIR", &self.data);
        command.process_group(0);
        let mut process = Process::start(&mut command);
        if kind == Kind::Endless || kind == Kind::Port {
            end(&mut process);
        }
        process.finish(PATIENCE)
    }
}

/// How a line is to be run.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// It ends by itself.
    Plain,
    /// It goes on until it is told to stop.
    Endless,
    /// It draws on a terminal until `q`.
    Screen,
    /// It wants a tap port eth1.
    Port,
}

impl Kind {
    fn of(line: &str) -> Self {
        let commands = shell::commands(line);
        let Some(words) = commands.iter().map(|words| shell::bare(words)).find(|words| words[0] == "tapkeep")
        else {
            return Self::Plain;
        };
        let has = |word: &str| words.iter().any(|other| other == word);
        match words.get(1).map(String::as_str) {
            Some("top") => Self::Screen,
            Some("run") => Self::Port,
            Some("check") if has("--interface") => Self::Port,
            _ if has("--follow") || has("--watch") => Self::Endless,
            _ => Self::Plain,
        }
    }
}

/// The line in a network of its own that has the port.
fn with_port(line: &str) -> String {
    let line = line.replace('\'', "'\\''");
    format!(
        "unshare --net bash -c 'ip link add eth1 type veth peer name wire && ip link set wire up && ip link set eth1 up && trap : TERM && {line}'"
    )
}

/// Ends the group of processes once a `tapkeep` of it listens to SIGTERM, or has ended.
fn end(process: &mut Process) {
    let group = process.id();
    wait_until("a command that goes on", || !process.is_running() || listens(group));
    // What it begins with is what the book shows; how much it gets to do is nobody's business here.
    std::thread::sleep(Duration::from_millis(500));
    if process.is_running() {
        let group = rustix::process::Pid::from_raw(group as i32).unwrap();
        rustix::process::kill_process_group(group, rustix::process::Signal::TERM).unwrap();
    }
}

/// Whether a `tapkeep` of that process group has a handler for SIGTERM.
fn listens(group: u32) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.map(|entry| entry.path()).any(|path| {
        let Ok(stat) = std::fs::read_to_string(path.join("stat")) else { return false };
        let Some((name, rest)) = stat.split_once(") ") else { return false };
        let ours = rest.split(' ').nth(2) == Some(&group.to_string()) && name.ends_with("(tapkeep");
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
        ours && u64::from_str_radix(caught.trim(), 16).unwrap() & 1 << 14 != 0
    })
}

fn traffic(file: &str, options: &[&str]) {
    let script = Path::new(ROOT).join("scripts/traffic");
    must(script.to_str().unwrap(), &[&[file][..], options].concat());
}
