//! `extract --follow`: the live capture as one stream, whatever happens to the files behind it and however slow its reader is.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::net::Pace;
use support::pcap::{Packet, assert_same_packets, mix, parse_pcap};
use support::process::{Answer, PATIENCE, Process, Signal, must, run, wait_until};
use support::recorded::{sealed, wait_for_packets};
use support::service::{RUNTIME_DIR, Service, TAPKEEP, tapkeep};
use support::stage::Stage;

const PACE: Pace = Pace::PerSecond(4_000);

/// Where Debian has Wireshark's ways to capture elsewhere.
const SSHDUMP: &str = "wireshark/extcap/sshdump";

fn follow(service: &Service, words: &[&str]) -> Command {
    let mut command = tapkeep(&["extract", "--follow"]);
    command.args(words).arg("--data-dir").arg(service.data_dir());
    command.env(RUNTIME_DIR, service.runtime_dir());
    command
}

/// The packets of a stream so far, which may not have begun.
fn so_far(stream: &Process) -> Vec<Packet> {
    let bytes = stream.stdout();
    if bytes.is_empty() { Vec::new() } else { parse_pcap(&bytes).0 }
}

fn wait_for(stream: &Process, packets: usize) {
    wait_until(&format!("{packets} packets in the stream"), || so_far(stream).len() >= packets);
}

/// Until the file header is there it may not have seen which packets are old.
fn wait_until_begun(stream: &Process) {
    wait_until("the stream begins", || !stream.stdout().is_empty());
}

fn end(mut stream: Process) -> Answer {
    stream.signal(Signal::INT);
    stream.finish(PATIENCE).ok()
}

#[test]
fn rotation_and_restart_do_not_show() {
    let Some(stage) = Stage::new(&[]) else { return };
    let small = || stage.setup().variable("PCAP_ROTATION_SIZE", "300kB");
    let service = stage.start(small());
    stage.send(&mix(0, 1_000), PACE);
    wait_for_packets(service.data_dir(), 1_000);
    let now = Process::start(&mut follow(&service, &[]));
    wait_until_begun(&now);
    let all = Process::start(&mut follow(&service, &["--last", "1h"]));
    let some =
        Process::start(&mut follow(&service, &["-w", "-", "--last", "1h", "udp", "and", "greater", "500"]));
    stage.send(&mix(1_000, 2_000), PACE);
    wait_for(&all, 3_000);
    service.kill();
    let service = stage.start(small());
    stage.send(&mix(3_000, 1_000), PACE);
    wait_for(&all, 4_000);
    wait_for(&now, 3_000);
    service.stop().ok();
    assert!(sealed(&stage.data_dir()).len() > 5);
    let sent = mix(0, 4_000);
    assert_same_packets(&so_far(&now), &sent[1_000..]);
    let large: Vec<_> = sent.iter().filter(|packet| packet.data.len() >= 500).cloned().collect();
    wait_for(&some, large.len());
    assert_same_packets(&so_far(&some), &large);
    let answer = end(all);
    assert_same_packets(&parse_pcap(&answer.stdout).0, &sent);
    assert_eq!(answer.stderr, "");
}

#[test]
fn it_waits_for_the_first_packet_there_will_be() {
    let Some(stage) = Stage::new(&[]) else { return };
    let service = stage.start(stage.setup());
    let stream = Process::start(&mut follow(&service, &["--last", "1h"]));
    stage.send(&mix(0, 50), PACE);
    wait_for(&stream, 50);
    let answer = end(stream);
    assert_same_packets(&parse_pcap(&answer.stdout).0, &mix(0, 50));
}

#[test]
fn a_reader_that_stands_still_costs_the_capture_nothing_and_is_told_what_it_missed() {
    let Some(stage) = Stage::new(&["mkfifo"]) else { return };
    let small = stage.setup().variable("PCAP_ROTATION_SIZE", "300kB").variable("PCAP_RETENTION_COUNT", "3");
    let service = stage.start(small);
    let fifo = stage.dir.path().join("fifo");
    must("mkfifo", &[fifo.to_str().unwrap()]);
    // Opened for both, the pipe is there before anyone reads.
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let mut command = follow(&service, &[]);
    command.stdin(Stdio::null()).stdout(reader.try_clone().unwrap()).stderr(Stdio::piped());
    let mut stream = command.spawn().unwrap();
    stage.send(&mix(0, 4_000), PACE);
    let state = || service.state().unwrap_or_default();
    wait_until("all is recorded", || state()["written"] == 4_000);
    assert!(state()["losses"].as_object().unwrap().values().all(|lost| lost.as_u64().unwrap_or(0) == 0));
    wait_until("files are evicted", || sealed(&stage.data_dir()).len() <= 3);
    let mut cat = Process::start(Command::new("cat").arg(&fifo));
    let last = || so_far(&cat).last().and_then(Packet::seq);
    wait_until("the last packet is in the stream", || last() == Some(3_999));
    let packets = so_far(&cat);
    assert!(packets.len() < 4_000, "nothing was missed");
    rustix::process::kill_process(rustix::process::Pid::from_child(&stream), Signal::INT).unwrap();
    let mut told = String::new();
    std::io::Read::read_to_string(&mut stream.stderr.take().unwrap(), &mut told).unwrap();
    assert!(stream.wait().unwrap().success());
    cat.signal(Signal::TERM);
    assert!(told.contains("the reader is too slow") && told.contains("evicted"), "{told}");
}

#[test]
fn tshark_reads_the_pipe_as_wireshark_does() {
    let Some(stage) = Stage::new(&["tshark"]) else { return };
    let service = stage.start(stage.setup().variable("PCAP_ROTATION_SIZE", "300kB"));
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        r#"exec 3>&1; { "$@"; echo "ended with $?" >&3; } | tshark -l -n -i - -c 400 -T fields -e frame.len"#,
        "sh",
    ]);
    let stream = follow(&service, &["--last", "1h"]);
    shell.arg(stream.get_program()).args(stream.get_args());
    let shown =
        Process::start(shell.envs(stream.get_envs().filter_map(|(name, value)| Some((name, value?)))));
    stage.send(&mix(0, 400), PACE);
    let answer = shown.finish(PATIENCE).ok();
    let mut wanted: Vec<_> = mix(0, 400).iter().map(|packet| packet.wire_len.to_string()).collect();
    // Its reader has gone, which it notices without a packet.
    wanted.push("ended with 0".to_owned());
    assert_eq!(answer.text().lines().collect::<Vec<_>>(), wanted, "{}", answer.stderr);
}

#[test]
fn wireshark_captures_over_ssh() {
    let Some(stage) = Stage::new(&["ssh-keygen", "sshd", "mkfifo"]) else { return };
    let Some(sshdump) = sshdump() else { panic!("wireshark-common has no {SSHDUMP}") };
    let service = stage.start(stage.setup());
    let home = stage.dir.path();
    let (key, fifo) = (home.join("key"), home.join("fifo"));
    let _sshd = sshd(&stage, &key);
    must("mkfifo", &[fifo.to_str().unwrap()]);
    let [key, fifo] = [&key, &fifo].map(|path| path.to_str().unwrap());
    let remote =
        format!("{TAPKEEP} extract --follow --data-dir {} not port 22", service.data_dir().display());
    let mut capture = stage.net.tap_command(&sshdump);
    capture.args(["--extcap-interface=sshdump", "--capture", "--fifo", fifo, "--remote-host", "127.0.0.1"]);
    capture.args(["--remote-port", "2222", "--remote-username", "root", "--sshkey", key]);
    let mut capture = Process::start(capture.args(["--remote-capture-command", &remote]).env("HOME", home));
    let mut reader = Process::start(Command::new("cat").arg(fifo));
    wait_until("the stream is there", || {
        assert!(capture.is_running(), "{}", capture.last_words());
        !reader.stdout().is_empty() || {
            stage.send(&mix(0, 1), PACE);
            false
        }
    });
    let before = wait_until_quiet(&reader);
    stage.send(&mix(1_000, 200), PACE);
    wait_until("200 packets over SSH", || so_far(&reader).len() >= before + 200);
    assert_same_packets(&so_far(&reader)[before..], &mix(1_000, 200));
    capture.signal(Signal::TERM);
    reader.signal(Signal::TERM);
}

/// The number of packets, once no more come.
fn wait_until_quiet(reader: &Process) -> usize {
    let count = || so_far(reader).len();
    let mut before = count();
    wait_until("no more come", || {
        std::thread::sleep(std::time::Duration::from_secs(2));
        std::mem::replace(&mut before, count()) == count()
    });
    before
}

fn sshdump() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    folders.map(|folder| folder.path().join(SSHDUMP)).find(|path| path.exists())
}

/// An SSH server on the namespace's own loopback, for that key alone.
fn sshd(stage: &Stage, key: &Path) -> Process {
    let home = stage.dir.path();
    let make =
        |path: &Path| must("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", path.to_str().unwrap()]);
    make(key);
    make(&home.join("host"));
    run(stage.net.tap_command("ip").args(["link", "set", "lo", "up"])).ok();
    std::fs::create_dir_all("/run/sshd").unwrap();
    let config = home.join("sshd_config");
    let text = format!(
        "ListenAddress 127.0.0.1:2222\nHostKey {0}/host\nAuthorizedKeysFile {0}/key.pub\nPermitRootLogin yes\nStrictModes no\n\
         UsePAM no\nPidFile none\n",
        home.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut sshd = stage.net.tap_command("/usr/sbin/sshd");
    let mut sshd = Process::start(sshd.args(["-D", "-e", "-f"]).arg(&config));
    sshd.wait_for_stderr("Server listening");
    sshd
}
