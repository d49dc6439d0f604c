//! The tap port goes down, vanishes, comes back: one word per change, a gap written down, no spinning, no end, and not one
//! packet unaccounted for.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::time::{Duration, Instant};

use support::net::{GENERATOR, Pace, TAP, sent};
use support::pcap::{assert_same_packets, mix};
use support::process::{PATIENCE, must, wait_until};
use support::recorded::{packets, sealed, visible_packets, wait_for_packets};
use support::service::{Service, ask};
use support::stage::Stage;

/// How long a port is away, for what is measured meanwhile.
const AWAY: Duration = Duration::from_secs(3);

/// Processor time that waiting may take in [`AWAY`]; a spinning loop takes ten times as much.
const LITTLE: Duration = Duration::from_millis(300);

/// Frames that the kernel holds between two ends of a veth pair: `net.core.netdev_max_backlog`.
const BACKLOG: u64 = 1_000;

/// A rate at which nothing is lost.
const PACE: Pace = Pace::PerSecond(20_000);

/// Clock ticks a second in `/proc`: USER_HZ, fixed on Linux.
const CLOCK_TICKS: u64 = 100;

/// In the tap's namespace.
fn ip(stage: &Stage, args: &[&str]) {
    must("ip", &[&["-n", stage.net.namespace()][..], args].concat());
}

/// Processor time that a process has used so far, all threads.
fn cpu_time(service: &Service) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", service.process.id())).unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1_000 / CLOCK_TICKS)
}

fn wait_for_reason(service: &mut Service, reason: &str) {
    wait_until(&format!("{reason:?}"), || {
        assert!(service.process.is_running(), "{}", service.process.last_words());
        service.state().is_some_and(|state| state["reason"].as_str().is_some_and(|now| now.contains(reason)))
    });
}

/// Takes the port away by `away`, watches the service wait for `reason`, brings it back by `back`, and sees that it
/// captures again.
fn bounce(stage: &Stage, reason: &str, away: impl FnOnce(), back: impl FnOnce()) {
    let mut service = stage.setup().start(&stage.net);
    service.wait_until_capturing();
    stage.send(&mix(0, 500), PACE);
    wait_for_packets(&stage.data_dir(), 500);
    let gone = Instant::now();
    away();
    wait_for_reason(&mut service, reason);
    let before = cpu_time(&service);
    std::thread::sleep(AWAY);
    let used = cpu_time(&service) - before;
    assert!(used <= LITTLE, "{used:?} of processor time in {AWAY:?} of waiting");
    back();
    service.wait_until_capturing();
    let longest = gone.elapsed();
    stage.send(&mix(500, 500), PACE);
    wait_for_packets(&stage.data_dir(), 1_000);

    wait_until("the gap", || {
        service.ask_json(&["list", "--json", "--kind", "capture"])["gaps"].as_array().unwrap().len() == 1
    });
    let gap = service.ask_json(&["list", "--json", "--kind", "capture"])["gaps"][0].take();
    assert!(gap["reason"].as_str().unwrap().contains(reason), "{gap}");
    let duration = Duration::from_millis(gap["duration_ms"].as_u64().unwrap());
    assert!(duration >= AWAY && duration <= longest, "{duration:?} of at most {longest:?}");

    let words = service.process.stderr();
    let changes = words.lines().filter(|line| line.contains("waiting:") || line.contains("INFO capturing"));
    // A port that comes back is down at first, as a look in between may see.
    let changes: Vec<_> = changes.filter(|line| !line.ends_with("is down") || reason == "is down").collect();
    assert!(
        matches!(changes[..], [up, down, again]
            if up.ends_with("capturing") && down.contains(reason) && again.contains("capturing again after") && again.ends_with(down.split("waiting: ").last().unwrap())),
        "one line a change: {words}"
    );
    assert_eq!(service.stop().code, Some(0));
    assert_same_packets(&packets(&sealed(&stage.data_dir())), &mix(0, 1_000));
    let list = ask(&stage.data_dir(), &["list", "--json", "--kind", "capture"]).ok().json();
    assert_eq!((&list["losses"]["kernel"], &list["losses"]["queue"]), (&0.into(), &0.into()));
}

#[test]
fn a_port_that_goes_down_is_waited_for() {
    let Some(stage) = Stage::new(&[]) else { return };
    bounce(&stage, "is down", || stage.net.down(), || stage.net.up());
}

#[test]
fn a_port_that_is_deleted_and_made_again_is_waited_for() {
    let Some(stage) = Stage::new(&[]) else { return };
    bounce(&stage, "there is no interface tap0", || stage.net.delete(), || stage.net.create());
}

#[test]
fn a_cable_that_is_pulled_is_waited_for() {
    let Some(stage) = Stage::new(&[]) else { return };
    let other_end = |state| {
        must("ip", &["-n", stage.net.generator(), "link", "set", GENERATOR, state]);
    };
    bounce(&stage, "no carrier", || other_end("down"), || other_end("up"));
}

#[test]
fn a_port_that_moves_away_and_returns_is_waited_for() {
    let Some(stage) = Stage::new(&[]) else { return };
    let away = || ip(&stage, &["link", "set", TAP, "netns", stage.net.generator()]);
    let back = || {
        must("ip", &["-n", stage.net.generator(), "link", "set", TAP, "netns", stage.net.namespace()]);
        ip(&stage, &["link", "set", TAP, "arp", "off", "multicast", "off", "up"]);
    };
    bounce(&stage, "there is no interface tap0", away, back);
}

#[test]
fn a_port_that_appears_later_under_its_name_is_captured() {
    let Some(stage) = Stage::new(&[]) else { return };
    ip(&stage, &["link", "set", TAP, "down"]);
    ip(&stage, &["link", "set", TAP, "name", "other0"]);
    let mut service = stage.setup().start(&stage.net);
    wait_for_reason(&mut service, "there is no interface tap0");
    ip(&stage, &["link", "set", "other0", "name", TAP]);
    stage.net.up();
    service.wait_until_capturing();
    stage.send(&mix(0, 300), PACE);
    wait_for_packets(&stage.data_dir(), 300);
    assert_eq!(service.stop().code, Some(0));
    assert_same_packets(&packets(&sealed(&stage.data_dir())), &mix(0, 300));
}

#[test]
fn the_time_in_which_no_service_runs_is_a_gap() {
    let Some(stage) = Stage::new(&[]) else { return };
    let listed = |key| ask(&stage.data_dir(), &["list", "--json"]).ok().json()[key].take();
    let mut runs = Vec::new();
    for killed in [false, true, false] {
        let mut service = stage.setup().start(&stage.net);
        service.wait_until_capturing();
        wait_until("the gap before", || listed("gaps").as_array().unwrap().len() == runs.len());
        let begun = Instant::now();
        stage.send(&mix(0, 100), PACE);
        runs.push((killed, begun));
        wait_for_packets(&stage.data_dir(), runs.len() * 100);
        match killed {
            true => _ = service.kill(),
            false => assert_eq!(service.stop().code, Some(0)),
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    let (gaps, files) = (listed("gaps"), listed("files"));
    for (number, (killed, begun)) in runs[..2].iter().enumerate() {
        let gap = &gaps[number];
        let reason = gap["reason"].as_str().unwrap();
        assert!(reason.starts_with("no service ran"), "{gap}");
        assert_eq!(reason.contains("not stopped in order"), *killed, "{gap}");
        let longest = begun.elapsed().as_millis() as u64;
        assert!((1_000..=longest).contains(&gap["duration_ms"].as_u64().unwrap()), "{gap}");
        let (before, after) = (files[number]["last"].as_str(), files[number + 1]["first"].as_str());
        assert!(before <= gap["from"].as_str() && gap["to"].as_str() <= after, "{before:?} {gap} {after:?}");
    }
}

#[test]
fn a_port_that_is_deleted_at_full_rate_costs_nothing_uncounted() {
    let Some(stage) = Stage::new(&[]) else { return };
    let mut service = stage.setup().start(&stage.net);
    let frames = mix(0, 200_000);
    let file = stage.file(&frames);
    for round in 1..=3 {
        service.wait_until_capturing();
        let before = service.state().unwrap();
        let (had, lost) = (before["packets"].as_u64().unwrap(), kernel_losses(&before));
        let seen = visible_packets(&stage.data_dir()).len();
        let sending = stage.net.begin_to_send(&file, Pace::Top);
        wait_until("traffic", || stage.net.delivered() > 20_000);
        let delivered = stage.net.delivered();
        stage.net.delete();
        let left = sent(sending.finish(PATIENCE));
        wait_for_reason(&mut service, "there is no interface tap0");
        wait_until("all to be written", || {
            service.state().is_some_and(|state| state["packets"] == state["written"])
        });
        let after = service.state().unwrap();
        let (took, lost) = (after["packets"].as_u64().unwrap() - had, kernel_losses(&after) - lost);
        let accounted = took + lost;
        // Frames between the two ends are thrown away with the port, before anyone could see them.
        assert!(
            accounted >= delivered && accounted <= left && left - accounted <= BACKLOG,
            "round {round}: {took} taken, {lost} lost; {left} sent, {delivered} of them delivered before the end"
        );
        let recorded = visible_packets(&stage.data_dir()).split_off(seen);
        assert_eq!(recorded.len() as u64, took);
        if lost == 0 {
            assert_same_packets(&recorded, &frames[..recorded.len()]);
        }
        stage.net.create();
    }
    assert_eq!(service.stop().code, Some(0));
}

fn kernel_losses(state: &serde_json::Value) -> u64 {
    state["losses"]["kernel"].as_u64().unwrap()
}
