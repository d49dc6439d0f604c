//! What the service manager hears, played by the test on a socket of its own: the start, how things are, signs of life, reloads,
//! the end; and that a thread which really stands still is warned of, or has the service started again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use support::held::Held;
use support::net::{Pace, sent};
use support::pcap::{assert_same_packets, mix};
use support::process::{PATIENCE, Signal, wait_until};
use support::recorded::{packets, sealed, visible_packets};
use support::service::{Service, Setup};
use support::stage::Stage;

/// The service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    heard: Vec<String>,
}

impl Manager {
    fn new(stage: &Stage) -> Self {
        let path = stage.dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, path, heard: Vec::new() }
    }

    /// The same with a watchdog of the shipped unit's interval.
    fn setup(&self, stage: &Stage) -> Setup {
        stage.setup().variable("NOTIFY_SOCKET", &self.path).variable("WATCHDOG_USEC", "60000000")
    }

    /// All that was heard, a message each.
    fn listen(&mut self) -> &[String] {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            self.heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        &self.heard
    }

    fn count(&mut self, line: &str) -> usize {
        self.listen().iter().filter(|message| message.lines().any(|heard| heard == line)).count()
    }

    fn wait_for(&mut self, line: &str, service: &mut Service) {
        wait_until(line, || {
            assert!(service.process.is_running(), "{}", service.process.last_words());
            self.count(line) > 0
        });
    }

    fn last_status(&mut self) -> String {
        let lines = self.listen().iter().rev().flat_map(|message| message.lines());
        lines.filter_map(|line| line.strip_prefix("STATUS=")).next().unwrap_or_default().to_owned()
    }
}

#[test]
fn the_start_the_state_a_reload_and_the_end_are_told() {
    let Some(stage) = Stage::new(&[]) else { return };
    let mut manager = Manager::new(&stage);
    let mut service = manager.setup(&stage).start(&stage.net);
    manager.wait_for("READY=1", &mut service);
    let ready = manager.heard.iter().find(|message| message.contains("READY=1")).unwrap();
    assert!(ready.starts_with("READY=1\nSTATUS=tap0: 0 pps, 0 kb/s, 0 lost; "), "{ready}");
    stage.send(&mix(0, 500), Pace::PerSecond(5_000));
    manager.wait_for("WATCHDOG=1", &mut service);
    wait_until("the file to be told of", || {
        manager.listen();
        manager.last_status().contains("capture 0001 at 0 %")
    });
    service.process.signal(Signal::HUP);
    manager.wait_for("RELOADING=1", &mut service);
    wait_until("the reload to end", || manager.count("READY=1") == 2);
    let at = |line: &str| {
        manager.heard.iter().position(|message| message.lines().any(|heard| heard == line)).unwrap()
    };
    let reloading = &manager.heard[at("RELOADING=1")];
    let stamp = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(stamp.parse::<u64>().unwrap() > 0);
    service.stop().ok();
    assert_eq!(manager.count("STOPPING=1"), 1);
    assert!(
        manager.heard.iter().all(|message| message.lines().filter(|l| l.starts_with("STATUS=")).count() <= 1)
    );
}

#[test]
fn an_interface_that_is_waited_for_is_a_start() {
    let Some(stage) = Stage::new(&[]) else { return };
    for (interface, reason) in [("none0", "there is no interface none0"), ("", "no interface is configured")]
    {
        let mut manager = Manager::new(&stage);
        let setup = manager.setup(&stage).variable("NETWORK_INTERFACE", interface);
        let mut service = setup.start(&stage.net);
        manager.wait_for("READY=1", &mut service);
        let status = manager.last_status();
        assert!(status.contains(&format!(": waiting, {reason}")), "{status}");
        service.stop().ok();
        std::fs::remove_file(&manager.path).unwrap();
    }
}

/// Holds a thread still for so long while packets come, and gives back the service, what the manager heard meanwhile and how
/// many packets were sent.
fn hold(stage: &Stage, thread: &str, time: Duration) -> (Service, Manager) {
    let mut manager = Manager::new(stage);
    let mut service = stage.start(manager.setup(stage).keep_all());
    manager.wait_for("READY=1", &mut service);
    let file = stage.file(&mix(0, PACKETS as u64));
    let sending = stage.net.begin_to_send(&file, Pace::PerSecond(500));
    wait_until("the first packets to be recorded", || !visible_packets(service.data_dir()).is_empty());
    let held = Held::new(&service.process, thread);
    let until = Instant::now() + time;
    while Instant::now() < until && manager.count("WATCHDOG=trigger") == 0 {
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(held);
    assert_eq!(sent(sending.finish(PATIENCE * 3)), PACKETS as u64);
    (service, manager)
}

/// Enough of them for the whole time that a thread is held.
const PACKETS: usize = 12_000;

/// As long as a card may stall.
const STALL: Duration = Duration::from_secs(30);

/// Tries it with each thread at once, each in a network of its own.
fn with_each_thread(check: fn(&'static str)) {
    std::thread::scope(|scope| {
        for thread in ["capture", "recorder", "analyst"] {
            scope.spawn(move || check(thread));
        }
    });
}

#[test]
fn a_thread_that_stands_still_for_30_seconds_costs_no_packet_and_no_restart() {
    with_each_thread(|thread| {
        let Some(stage) = Stage::new(&["python3"]) else { return };
        let (service, mut manager) = hold(&stage, thread, STALL);
        let data = stage.data_dir();
        wait_until("all to be recorded", || visible_packets(&data).len() == PACKETS);
        for words in ["has not moved for 1", "moves again after "] {
            wait_until(&format!("{thread}: {words}: {:?}", manager.heard), || {
                service.process.stderr().contains(words)
            });
        }
        let told = service.stop().ok().stderr;
        assert!(told.contains(&format!("WARN thread {thread} has not moved for 1")), "{told}");
        assert_eq!(manager.count("WATCHDOG=trigger"), 0);
        assert!(manager.count("WATCHDOG=1") >= 5, "{:?}", manager.heard);
        assert_same_packets(&packets(&sealed(&data)), &mix(0, PACKETS as u64));
    });
}

#[test]
fn a_stuck_thread_has_the_service_started_again() {
    with_each_thread(|thread| {
        let Some(stage) = Stage::new(&["python3"]) else { return };
        let (service, mut manager) = hold(&stage, thread, STALL * 3);
        let trigger = manager.listen().iter().position(|message| message.contains("WATCHDOG=trigger"));
        let message = &manager.heard[trigger.expect("the service asks to be started again")];
        assert!(message.contains(&format!("STATUS=thread {thread} has not moved for 4")), "{message}");
        let told = service.stop().ok().stderr;
        assert!(told.contains(&format!("ERROR thread {thread} has not moved for 4")), "{told}");
    });
}
