//! `tapkeep check` finds what is wrong with a machine, and what it says mends it, does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::disk::{self, Disk, Mounted};
use support::net::{GENERATOR, NEEDS, Net, TAP};
use support::pcap::{Packet, frame, mix, write_pcap};
use support::process::{Answer, PATIENCE, Process, must, run, wait_until};
use support::require;
use support::service::{
    RUNTIME_DIR, Service, Setup, TAPKEEP, ask, in_clean_environment, program_for_all, tapkeep,
};

/// A user without rights.
const USER: u32 = 54_324;

/// The lines of an answer by their ids, and its exit code.
fn lines(answer: &Answer) -> BTreeMap<String, Value> {
    let told = answer.json();
    let checks = told["checks"].as_array().unwrap().iter();
    checks.map(|line| (line["id"].as_str().unwrap().to_owned(), line.clone())).collect()
}

fn result(lines: &BTreeMap<String, Value>, id: &str) -> String {
    lines.get(id).unwrap_or_else(|| panic!("no {id} in {lines:#?}"))["result"].as_str().unwrap().to_owned()
}

fn assert_results(lines: &BTreeMap<String, Value>, wanted: &[(&str, &str)]) {
    for (id, wanted) in wanted {
        assert_eq!(result(lines, id), *wanted, "{:#}", lines[*id]);
    }
}

/// A `tapkeep check` in the namespace of a tap port.
fn check_in(net: &Net, data: &Path, more: &[&str]) -> Answer {
    let mut command = net.tap_command(TAPKEEP);
    in_clean_environment(&mut command);
    command.args(["check", "--json", "--no-disk-test", "--data-dir"]).arg(data).args(more);
    run(command.env(RUNTIME_DIR, data.join("no-runtime-dir")))
}

/// Does what the line says, in the namespace.
fn mend(net: &Net, line: &Value) {
    for command in line["mend"].as_array().unwrap() {
        let mut shell = net.tap_command("sh");
        run(shell.args(["-c", command.as_str().unwrap()])).ok();
    }
}

#[test]
fn a_tap_port_is_mended_by_the_commands_that_check_prints() {
    if !require(&NEEDS) || !require(&["ethtool", "sysctl"]) {
        return;
    }
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let inside = |line: &str| run(net.tap_command("sh").args(["-ec", line])).ok();
    let check = || lines(&check_in(&net, dir.path(), &["--interface", TAP]));

    must("ip", &["-n", net.generator(), "link", "set", GENERATOR, "down"]);
    assert_results(&check(), &[("interface", "ok"), ("link", "problem")]);
    must("ip", &["-n", net.generator(), "link", "set", GENERATOR, "up"]);

    inside(&format!("ethtool -K {TAP} gro off tso on gso on tx on"));
    wait_until("the link", || result(&check(), "link") == "ok");
    let silent = [
        ("addresses", "ok"),
        ("send_offloads", "ok"),
        ("checksum_offloads", "ok"),
        ("receive_offloads", "ok"),
    ];
    assert_results(&check(), &silent);

    inside(&format!(
        "ethtool -K {TAP} gro on
         sysctl -qw net.ipv6.conf.{TAP}.disable_ipv6=0
         ip address add 192.0.2.1/24 dev {TAP}
         ip address add 2001:db8::1/64 dev {TAP} nodad
         ip link set {TAP} down"
    ));
    let bad = check();
    assert_results(&bad, &[("link", "problem"), ("addresses", "warning"), ("receive_offloads", "warning")]);
    assert_results(
        &bad,
        &[("send_offloads", "warning"), ("checksum_offloads", "warning"), ("card_ring", "skipped")],
    );
    assert!(bad["addresses"]["text"].as_str().unwrap().starts_with("192.0.2.1"), "{:#}", bad["addresses"]);
    inside(&format!("ip link set {TAP} up && ip route add default via 192.0.2.254 dev {TAP}"));
    let way_out = check();
    assert_results(&way_out, &[("addresses", "problem")]);
    assert_eq!(way_out["addresses"]["mend"], serde_json::json!([]), "nobody is to cut himself off");
    inside(&format!("ip route del default && ip link set {TAP} down"));
    for id in ["link", "addresses", "receive_offloads", "send_offloads", "checksum_offloads"] {
        mend(&net, &bad[id]);
    }
    wait_until("the link", || result(&check(), "link") == "ok");
    let good = check();
    assert_results(&good, &[("addresses", "ok"), ("receive_offloads", "ok"), ("send_offloads", "ok")]);
    assert_results(&good, &[("checksum_offloads", "ok"), ("kernel_ring", "ok"), ("promiscuous", "ok")]);
    assert_eq!(good["send_offloads"]["text"], "tso and gso off");
}

#[test]
fn what_is_configured_is_judged_too() {
    if !require(&NEEDS) {
        return;
    }
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let config = dir.path().join("t.toml");
    let check = |text: &str| {
        std::fs::write(&config, text).unwrap();
        check_in(&net, dir.path(), &["--config", config.to_str().unwrap()])
    };
    let answer =
        check("[capture]\ninterface = 'tap0'\npromiscuous = false\nkernel_buffer = '2MiB'\nsnaplan = 5\n");
    assert_eq!(answer.code, Some(1), "{answer:?}");
    let told = lines(&answer);
    assert_results(
        &told,
        &[("promiscuous", "warning"), ("kernel_ring", "warning"), ("configuration", "warning")],
    );
    for (text, interface) in [
        ("", "problem"),
        ("[capture]\ninterface = 'tap9'\n", "problem"),
        ("[capture]\ninterface = 'any'\n", "warning"),
    ] {
        let answer = check(text);
        assert_eq!(answer.code, Some(if interface == "problem" { 2 } else { 1 }), "{text}");
        assert_results(&lines(&answer), &[("interface", interface), ("configuration", "ok")]);
    }
    let answer = check("[recorder]\nrotation_size = 'large'\n");
    assert_eq!((answer.code, answer.json()["result"].as_str()), (Some(2), Some("problem")));
    assert_results(&lines(&answer), &[("configuration", "problem"), ("interface", "skipped")]);
    let unsaved = check("[capture]\ninterface = 'tap0'\n[recorder]\nsave_pcap = false\n");
    assert_results(&lines(&unsaved), &[("space", "skipped")]);
}

/// Confines itself as systemd does, and becomes what it is told: no new privileges, a filter of system calls that lets all pass.
const CONFINED: &str = "import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
rule = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000))
program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', 1, ctypes.addressof(rule)))
for call in ((38, 1, 0), (22, 2, program)):
    if libc.prctl(*call, 0, 0):
        raise OSError(ctypes.get_errno(), 'prctl')
os.execvp(sys.argv[1], sys.argv[1:])";

/// Asks in the namespace where the service runs; nothing but the service tells the interface.
fn check_beside(service: &Service, net: &Net) -> BTreeMap<String, Value> {
    let mut command = net.tap_command(TAPKEEP);
    in_clean_environment(&mut command);
    command.args(["check", "--json", "--no-disk-test", "--data-dir"]).arg(service.data_dir());
    lines(&run(command.env(RUNTIME_DIR, service.runtime_dir())))
}

#[test]
fn a_running_service_is_looked_at_and_what_a_crash_left() {
    if !require(&NEEDS) || !require(&["setpriv", "python3"]) {
        return;
    }
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let (program, data) = (program_for_all(dir.path()), dir.path().join("data"));
    std::fs::create_dir(&data).unwrap();
    chown(&data, Some(USER), Some(USER)).unwrap();
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o750)).unwrap();

    let mut service = Setup::new(&data).start(&net);
    service.wait_until_capturing();
    let told = check_beside(&service, &net);
    assert_results(
        &told,
        &[("service", "ok"), ("capture_right", "ok"), ("promiscuous", "ok"), ("hardening", "warning")],
    );
    assert_eq!(told["interface"]["text"], "tap0, which the running service uses; none is configured");
    assert_eq!(told["promiscuous"]["text"], "on");
    assert_eq!(told["capture_right"]["text"], "the running service captures");
    assert!(
        told["hardening"]["text"].as_str().unwrap().starts_with("the service runs as root, has more"),
        "{told:#?}"
    );
    let file = dir.path().join("send.pcap");
    write_pcap(&file, &mix(0, 10));
    net.send(&file, support::net::Pace::Top);
    support::recorded::wait_for_packets(&data, 10);
    assert_results(&check_beside(&service, &net), &[("leftovers", "ok")]);
    service.kill();

    let left = lines(&ask(&data, &["check", "--json", "--no-disk-test"]));
    assert_results(&left, &[("leftovers", "warning"), ("service", "skipped"), ("hardening", "skipped")]);

    let user = [format!("--reuid={USER}"), format!("--regid={USER}")];
    let rights = ["--clear-groups", "--inh-caps=+net_raw", "--ambient-caps=+net_raw"];
    let wrapper = [&["python3", "-c", CONFINED, "setpriv", &user[0], &user[1]][..], &rights].concat();
    let setup = Setup::new(&data).program(program).through(&wrapper).of_user(USER, USER);
    let mut service = setup.start(&net);
    service.wait_until_capturing();
    wait_until("salvage", || result(&check_beside(&service, &net), "leftovers") == "ok");
    let told = check_beside(&service, &net);
    assert_results(&told, &[("hardening", "ok"), ("capture_right", "ok"), ("data_directory", "ok")]);
    assert_eq!(service.stop().code, Some(0));
}

#[test]
fn whoever_may_not_is_told_so() {
    if !require(&["root", "setpriv"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let (program, data) = (program_for_all(dir.path()), dir.path().join("data"));
    std::fs::create_dir_all(data.join("pcaps")).unwrap();
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
    let check = || {
        let mut command = Command::new("setpriv");
        in_clean_environment(&mut command);
        command
            .args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"])
            .arg(&program);
        command.args(["check", "--json", "--interface", "lo", "--data-dir"]).arg(&data).current_dir("/");
        let answer = run(command.env(RUNTIME_DIR, dir.path().join("none")));
        lines(&answer)
    };
    let told = check();
    assert_results(
        &told,
        &[("capture_right", "problem"), ("data_directory", "problem"), ("leftovers", "unknown")],
    );
    assert_results(&told, &[("disk_speed", "skipped"), ("space", "ok")]);
    let command = told["data_directory"]["mend"][0].as_str().unwrap();
    assert!(command.starts_with("sudo chown -R "), "{command}");
    chown(&data, Some(USER), Some(USER)).unwrap();
    let told = check();
    assert_results(&told, &[("data_directory", "ok"), ("leftovers", "ok")]);
    // The runtime directory of a service whose group one has not joined.
    std::fs::create_dir(dir.path().join("none")).unwrap();
    std::fs::set_permissions(dir.path().join("none"), PermissionsExt::from_mode(0o700)).unwrap();
    let told = check();
    assert_results(&told, &[("service", "unknown"), ("capture_right", "skipped"), ("hardening", "skipped")]);
}

#[test]
fn file_systems_are_known_by_where_the_directory_lies() {
    if !require(&["root", "mount"]) || !require(&disk::NEEDS) {
        return;
    }
    let of = |dir: &Path| {
        std::fs::set_permissions(dir, PermissionsExt::from_mode(0o750)).unwrap();
        lines(&run(tapkeep(&["check", "--json", "--interface", "lo", "--data-dir"]).arg(dir)))
    };
    let disk = Disk::new(400 << 20);
    let told = of(disk.path());
    assert_results(&told, &[("file_system", "ok"), ("data_directory", "ok")]);
    assert_eq!(told["file_system"]["text"], format!("ext4 on {}", disk.path().display()));
    assert!(["ok", "warning"].contains(&&*result(&told, "disk_speed")), "{:#}", told["disk_speed"]);
    assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 1, "lost+found alone");

    let small = Mounted::new(&["-t", "tmpfs", "-o", "size=16m", "none"]);
    let told = of(&small.path());
    assert_results(&told, &[("file_system", "warning"), ("space", "problem"), ("disk_speed", "skipped")]);
    let overlay = "lowerdir=DIR/lower,upperdir=DIR/upper,workdir=DIR/work";
    let layered = Mounted::new(&["-t", "overlay", "-o", overlay, "none"]);
    let told = of(&layered.path());
    assert_results(&told, &[("file_system", "ok")]);
    assert!(told["file_system"]["text"].as_str().unwrap().contains("container"), "{told:#?}");
    must("mount", &["-o", "remount,ro", small.path().to_str().unwrap()]);
    let told = lines(&ask(&small.path(), &["check", "--json", "--interface", "lo"]));
    assert_results(&told, &[("file_system", "problem"), ("data_directory", "problem")]);
    for command in told["file_system"]["mend"].as_array().unwrap() {
        must("sh", &["-c", command.as_str().unwrap()]);
    }
    assert_results(&of(&small.path()), &[("file_system", "warning")]);
}

#[test]
fn the_rate_recorded_of_late_tells_how_long_the_room_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let (input, data) = (dir.path().join("input.pcap"), dir.path().join("data"));
    // Ten kilobytes a second for 100 seconds.
    let packets: Vec<_> = (0..1_000)
        .map(|n| Packet::whole(1_735_655_452 + n / 10, n % 10 * 100_000, frame(n.into(), 984, &[])))
        .collect();
    write_pcap(&input, &packets);
    ask(&data, &["replay", input.to_str().unwrap()]).ok();
    let check = |count: &str, size: &str| {
        let mut command = tapkeep(&["check", "--json", "--no-disk-test", "--interface", "lo", "--data-dir"]);
        command.arg(&data).env("PCAP_RETENTION_COUNT", count).env("PCAP_ROTATION_SIZE", size);
        lines(&run(command.env(RUNTIME_DIR, dir.path().join("none"))))["space"].clone()
    };
    let short = check("1", "900kB");
    assert_eq!(short["result"], "warning");
    let text = short["text"].as_str().unwrap();
    assert!(
        text.contains("retention.count (1 file of 900 kB)") && text.ends_with("this keeps 2 min 59 s"),
        "{text}"
    );
    assert_eq!(check("1000", "900kB")["result"], "ok");
}

#[test]
fn a_disk_test_leaves_nothing_when_it_is_killed_or_fails() {
    if !require(&disk::NEEDS) || !require(&["strace"]) {
        return;
    }
    let disk = Disk::new(400 << 20);
    let data = disk.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let free = disk.free();
    let args = ["check", "--json", "--interface", "lo", "--data-dir", data.to_str().unwrap()];
    let mut process = Process::start(&mut tapkeep(&args));
    wait_until("something to be written", || !process.is_running() || disk.free() < free);
    process.signal(support::process::Signal::KILL);
    process.finish(PATIENCE);
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
    wait_until("the space to be free again", || disk.free() + (1 << 20) > free);

    let inject = ["-f", "-qq", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO:when=2", TAPKEEP];
    let mut strace = Command::new("strace");
    in_clean_environment(&mut strace);
    let told = lines(&run(strace.args(inject).args(args)));
    assert_results(&told, &[("disk_speed", "problem")]);
    assert!(told["disk_speed"]["text"].as_str().unwrap().contains("Input/output error"), "{told:#?}");
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
}

#[test]
fn lines_fit_a_terminal_and_every_id_is_documented() {
    let dir = tempfile::tempdir().unwrap();
    let documented =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CLI.md")).unwrap();
    let words = ["check", "--interface", "lo", "--no-disk-test"];
    let told = ask(dir.path(), &[&words[..], &["--json"]].concat());
    let ids = lines(&told);
    assert!(ids.len() >= 20, "{ids:#?}");
    for id in ids.keys() {
        assert!(documented.contains(&format!("`{id}`")), "docs/CLI.md lacks {id}");
    }
    let table = ask(dir.path(), &words);
    assert_eq!(table.code, told.code);
    for line in table.text().lines() {
        let is_command = line.trim_start().starts_with("> ");
        assert!(line.chars().count() <= 80 || is_command, "{line}");
    }
    assert!(
        table.text().starts_with("RESULT   CHECK              FOUND\nok       configuration      valid\n"),
        "{}",
        table.text()
    );
}
