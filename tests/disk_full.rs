//! A disk that others fill: the service goes on, drops and counts to the packet, never leaves a cut record in a finished
//! file, takes part again as soon as there is room, and gives away of its own captures only down to a floor.

// A test that cannot go on fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;
use support::captures::{self, assert_list_is_right, in_state, listed, lost, packets};
use support::disk::{self, Disk};
use support::net::{self, Net};
use support::pcap::{mix, write_pcap};
use support::process::{PATIENCE, Process, must, wait_until};
use support::require;
use support::service::{Service, Setup};

const MIB: u64 = 1 << 20;
const RATE: u32 = 2_000;
/// More than any of these tests takes.
const MANY: u64 = 90 * RATE as u64;

fn ready() -> bool {
    require(&disk::NEEDS) && require(&net::NEEDS) && require(&["capinfos", "tcpdump"])
}

/// A small disk, a wire, and frames for it.
struct Bench {
    disk: Disk,
    net: Net,
    scratch: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        write_pcap(&scratch.path().join("frames.pcap"), &mix(0, MANY / 10));
        Self { disk: Disk::new(40 * MIB), net: Net::new(), scratch }
    }

    fn data(&self) -> std::path::PathBuf {
        self.disk.path().join("data")
    }

    fn setup(&self) -> Setup {
        Setup::new(self.data())
            .variable("PCAP_ROTATION_SIZE", "1")
            .variable("PCAP_RETENTION_COUNT", "0")
            .variable("TAPKEEP_RETENTION_MIN_FREE", "0")
            .variable("TAPKEEP_RECORDER_QUEUE_SIZE", "1MiB")
            .variable("TAPKEEP_RECORDER_SYNC_INTERVAL", "200ms")
    }

    fn start(&self, setup: Setup) -> Service {
        let mut service = setup.start(&self.net);
        service.wait_until_capturing();
        service
    }

    /// Sends until it is told to end.
    fn send(&self) -> Process {
        let mut command = self.net.generator_command("tcpreplay");
        command.args(["--quiet", "--preload-pcap", "--loop=0", "--intf1", net::GENERATOR]);
        command.arg(format!("--pps={RATE}")).arg(self.scratch.path().join("frames.pcap"));
        Process::start(&mut command)
    }

    /// Ends the traffic, then the service; what it says must add up to what came in.
    fn settle(&self, mut sending: Process, service: Service) -> Value {
        sending.signal(support::process::Signal::INT);
        assert!(sending.wait(PATIENCE).is_some());
        let sent = self.net.delivered();
        wait_until("all that arrived to be counted", || {
            service.state().is_some_and(|state| taken(&state) + lost_by(&state, "queue") >= sent)
        });
        captures::stop(service);
        let list = listed(&self.data());
        let evicted = in_state(&list, "evicted").into_iter().map(|file| file["packets"].as_u64().unwrap());
        let written = packets(&self.data()).len() as u64 + evicted.sum::<u64>();
        let causes = ["nic", "kernel", "queue", "write"].map(|cause| (cause, lost(&list, cause)));
        let lost: u64 = causes.iter().map(|(_, lost)| lost).sum();
        assert_eq!(written + lost, sent, "{written} written, lost {causes:?}");
        for form in [&["--json", "--limit", "1"][..], &["--sql", "SELECT count(*) FROM flows"]] {
            let said = support::service::ask(&self.data(), &[&["flows"], form].concat()).ok().stderr;
            let told =
                said.strip_prefix("tapkeep: note: ").and_then(|said| said.split_once(" packets lost while"));
            let told = told.map_or(0, |(told, _)| told.replace(',', "").parse().unwrap());
            assert_eq!(told, lost, "{said}");
        }
        assert_list_is_right(&self.data());
        assert_eq!(captures::names(&self.data(), ".part"), Vec::<String>::new());
        list
    }
}

fn taken(state: &Value) -> u64 {
    state["packets"].as_u64().unwrap()
}

fn lost_by(state: &Value, cause: &str) -> u64 {
    state["losses"][cause].as_u64().unwrap_or(0)
}

fn written(service: &Service) -> u64 {
    service.state().map_or(0, |state| state["written"].as_u64().unwrap())
}

fn dropped(service: &Service) -> u64 {
    service.state().map_or(0, |state| lost_by(&state, "queue") + lost_by(&state, "write"))
}

/// Waits until this many more packets are written.
fn wait_for_more(service: &Service, more: u64) {
    let before = written(service);
    wait_until("more packets to be written", || written(service) >= before + more);
}

fn wait_for_drops(service: &Service) {
    let before = dropped(service);
    wait_until("packets to be dropped", || dropped(service) > before + 1_000);
}

#[test]
fn a_full_disk_costs_packets_and_their_number_is_known() {
    if !ready() {
        return;
    }
    let bench = Bench::new();
    let mut service = bench.start(bench.setup());
    let sending = bench.send();
    wait_for_more(&service, 1_000);
    for left in [700_000, 0] {
        bench.disk.fill_to(left);
        wait_for_drops(&service);
        assert!(service.process.is_running());
        // A full disk also stops the index; the files answer.
        let list = service.ask(&["list", "--json", "--kind", "capture"]).ok().json();
        let there: HashSet<_> = captures::finished(&bench.data()).into_iter().collect();
        assert!(there.len() <= list["files"].as_array().unwrap().len());
        bench.disk.unfill();
        wait_for_more(&service, 1_000);
    }
    let said = service.process.stderr();
    assert!(said.contains("trying again, packets wait in the queue"), "{said}");
    assert!(said.contains("the disk takes packets again"), "{said}");
    let list = bench.settle(sending, service);
    assert!(in_state(&list, "evicted").is_empty());
    bench.disk.check();
    assert_list_is_right(&bench.data());
}

#[test]
fn a_service_starts_on_a_full_disk_and_records_once_there_is_room() {
    if !ready() {
        return;
    }
    let bench = Bench::new();
    // It has been here before: its directories are made.
    let service = bench.start(bench.setup());
    captures::stop(service);
    bench.disk.fill_to(0);
    let service = bench.start(bench.setup());
    let sending = bench.send();
    wait_for_drops(&service);
    bench.disk.unfill();
    wait_for_more(&service, 2_000);
    bench.settle(sending, service);
}

#[test]
fn eviction_for_free_space_stops_at_the_floor() {
    if !ready() {
        return;
    }
    let bench = Bench::new();
    let setup = bench
        .setup()
        .variable("TAPKEEP_RETENTION_MIN_FREE", "4MiB")
        .variable("TAPKEEP_RETENTION_BYTES", "16MB")
        .variable("TAPKEEP_RETENTION_FLOOR", "50%");
    let mut service = bench.start(setup);
    let sending = bench.send();
    // As much as the limit allows, then others take the disk.
    wait_until("the limit by bytes", || service.process.stderr().contains("more than 16000000 bytes"));
    bench.disk.fill_to(MIB);
    wait_until("evictions for free space", || {
        service.process.stderr().contains("less than 4194304 bytes free")
    });
    // They take all that is given up, again and again.
    let kept = || -> u64 {
        captures::names(&bench.data(), "")
            .iter()
            .filter_map(|name| captures::pcaps(&bench.data()).join(name).metadata().ok())
            .map(|meta| meta.len())
            .sum()
    };
    wait_until("drops at the floor", || {
        bench.disk.fill_to(0);
        dropped(&service) > 1_000
    });
    for _ in 0..20 {
        bench.disk.fill_to(0);
        std::thread::sleep(Duration::from_millis(100));
        assert!(kept() >= 7_000_000, "{} bytes are left of 8,000,000", kept());
    }
    bench.disk.unfill();
    wait_for_more(&service, 1_000);
    assert!(service.process.is_running());
    let list = bench.settle(sending, service);
    let reasons: HashSet<_> =
        in_state(&list, "evicted").iter().map(|file| file["reason"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        reasons,
        HashSet::from(["more than 16000000 bytes".to_owned(), "less than 4194304 bytes free".to_owned()])
    );
}

#[test]
fn a_disk_that_turns_read_only_is_waited_for() {
    if !ready() {
        return;
    }
    let bench = Bench::new();
    let mut service = bench.start(bench.setup());
    let sending = bench.send();
    wait_until("a sealed file", || !captures::finished(&bench.data()).is_empty());
    let sealed = captures::finished(&bench.data());
    // What the kernel does after an error of the device. While files are open nothing less can make it read-only, and
    // nothing but a new mount can make it writable again.
    must("mount", &["-o", "remount,abort", bench.disk.path().to_str().unwrap()]);
    wait_for_drops(&service);
    let list = service.ask(&["list", "--json", "--kind", "capture"]).ok().json();
    assert!(list["files"].as_array().unwrap().len() >= sealed.len(), "it answers from what is there: {list}");
    assert!(service.process.is_running());
    drop(sending);
    service.kill();
    bench.disk.restore();
    let service = bench.start(bench.setup());
    wait_until("salvage", || captures::names(&bench.data(), ".part").is_empty());
    captures::stop(service);
    assert!(sealed.iter().all(|file| file.exists()));
    assert_list_is_right(&bench.data());
}
