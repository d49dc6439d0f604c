//! What was synced is kept: the world stops at every operation of a run of record, rotate, sync, seal and
//! evict, and of the recovery after it, and the promises are held against what a power cut leaves.
//!
//! `TAPKEEP_CRASH_SEEDS=N` tries N random power cuts at each place instead of a few, and every operation of each
//! recovery.

// A test may fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use support::clock::{FakeClock, START};
use support::pcap::{capinfos_count, tcpdump_packets};
use support::require;
use support::rig::check::{goes_on, ledger_comes_first, most_unsealed, promises};
use support::rig::{Rig, Schedule, Step, Story, disk};
use support::sim::SimFs;
use tapkeep::sys::clock::Clock;

use Step::{CatchUp, Foreign, Hold, Packets, Wait};

const MIB: u64 = 1 << 20;
/// Random power cuts at each place, beside the three that are not random.
const SEEDS: u64 = 3;
const SECOND: Duration = Duration::from_secs(1);

/// The runs. Sizes are those of a model, so that each operation can be tried.
fn schedules() -> Vec<Schedule> {
    let rotating = Schedule::new("rotating", 20_000, Some(3), vec![Packets(20); 9]);
    let mut lagging = Schedule::new(
        "lagging",
        20_000,
        Some(2),
        vec![Packets(20), Packets(25), CatchUp, Packets(7), CatchUp, Packets(30), Packets(3), CatchUp],
    );
    lagging.lagging = true;
    let steps =
        vec![Packets(5), Wait(SECOND), Packets(9), Wait(SECOND), Packets(4), Wait(3 * SECOND), Packets(2)];
    let mut timed = Schedule::new("timed", 100_000, None, steps);
    timed.rotation.interval = Some(2 * SECOND);
    let steps = vec![Packets(12), Foreign(3), Wait(SECOND), Foreign(4), Packets(20), Foreign(20)];
    let mut mixed = Schedule::new("mixed", 15_000, None, steps);
    mixed.limits.bytes = Some(45_000);
    let steps = vec![Packets(20), Packets(20), Hold, Packets(20), Packets(20), Packets(20), Packets(20)];
    let held = Schedule::new("held", 15_000, Some(2), steps);
    let slow =
        vec![Packets(1), Wait(SECOND), Packets(1), Wait(SECOND), Packets(60), Wait(SECOND), Packets(1)];
    let syncing = Schedule::new("syncing", 60_000, Some(2), slow);
    vec![rotating, lagging, timed, mixed, held, syncing]
}

/// The random power cuts to try at each place, and how many operations of a recovery to leave out between
/// two.
fn effort() -> (u64, usize) {
    match std::env::var("TAPKEEP_CRASH_SEEDS") {
        Ok(text) => (text.parse().expect("TAPKEEP_CRASH_SEEDS is a number"), 1),
        Err(_) => (SEEDS, 11),
    }
}

/// What is left when the world stopped at one operation of a run.
struct Stopped {
    fs: SimFs,
    clock: FakeClock,
    story: Story,
}

/// Runs until operation `n`.
fn stop_at(schedule: &Schedule, n: usize) -> Stopped {
    let (fs, clock) = (disk(8 * MIB), FakeClock::new());
    fs.freeze_at(n);
    let story = match Rig::start(&fs, &clock, schedule, Story::default()) {
        Err(_) => Story::default(),
        Ok(mut rig) => {
            rig.run();
            if !fs.has_stopped() {
                rig.finish();
            }
            rig.story
        }
    };
    Stopped { fs, clock, story }
}

impl Stopped {
    /// Starts again on what is left, in another boot, and lets the promises be held against it.
    fn recovers(&self, left: &SimFs, schedule: &Schedule) -> Result<(), String> {
        let clock = self.next_boot();
        let mut rig = Rig::start(left, &clock, schedule, self.story.clone())?;
        promises(&rig, schedule)?;
        goes_on(&mut rig)?;
        promises(&rig, schedule)
    }

    fn next_boot(&self) -> FakeClock {
        let clock = self.clock.clone();
        clock.reboot("00000000-0000-4000-8000-000000000002", START + 3_600_000_000_000);
        clock
    }

    /// A recovery stopped at its operation `n`; `None` if it has fewer.
    fn stopped_again(&self, left: SimFs, schedule: &Schedule, n: usize) -> Option<SimFs> {
        left.freeze_at(n);
        let rig = Rig::start(&left, &self.next_boot(), schedule, self.story.clone());
        drop(rig);
        left.has_stopped().then_some(left)
    }
}

fn tail(fs: &SimFs) -> String {
    let log = fs.operations();
    let from = log.len().saturating_sub(25);
    let lines = log.iter().enumerate().skip(from).map(|(at, line)| format!("{:5} {line}\n", at + 1));
    lines.collect()
}

/// Stops the world everywhere in a run, and in some or all recoveries from it.
fn crash_everywhere(schedule: &Schedule) {
    let whole = stop_at(schedule, usize::MAX);
    assert!(whole.fs.count() > 30, "the run does something");
    let (seeds, stride) = effort();
    for n in 3..=whole.fs.count() + 1 {
        let stopped = stop_at(schedule, n);
        let fail = |what: &str, problem: &str, logs: &[&SimFs]| -> ! {
            let logs: Vec<_> = logs.iter().map(|fs| tail(fs)).collect();
            panic!(
                "{}: stopped at operation {n}, {what}: {problem}\nthe last operations were\n{}",
                schedule.name,
                logs.join("--- after the restart ---\n")
            )
        };
        if let Err(problem) = ledger_comes_first(&stopped.fs, &stopped.story) {
            fail("before any restart", &problem, &[&stopped.fs]);
        }
        let killed = stopped.fs.kill();
        if let Err(problem) = stopped.recovers(&killed, schedule) {
            fail("killed", &problem, &[&stopped.fs, &killed]);
        }
        for seed in (0..3).chain((0..seeds).map(|i| 1000 * n as u64 + i)) {
            let left = stopped.fs.crash(seed);
            if let Err(problem) = stopped.recovers(&left, schedule) {
                fail(&format!("power cut {seed}"), &problem, &[&stopped.fs, &left]);
            }
        }
        for (after, start) in [("killed", n % stride), ("power cut", (n + stride / 2) % stride)] {
            for k in (start + 1..).step_by(stride) {
                let seed = (n * 31 + k) as u64;
                let first = if after == "killed" { stopped.fs.kill() } else { stopped.fs.crash(seed) };
                let Some(again) = stopped.stopped_again(first, schedule, k) else { break };
                for seed in [SimFs::LOSE_ALL, SimFs::KEEP_NAMES, seed + 7] {
                    let left = again.crash(seed);
                    if let Err(problem) = stopped.recovers(&left, schedule) {
                        let what = format!("{after}, stopped again at {k}, power cut {seed}");
                        fail(&what, &problem, &[&stopped.fs, &again, &left]);
                    }
                }
            }
        }
    }
}

#[test]
fn every_operation_of_every_run_may_be_the_last() {
    let schedules = schedules();
    std::thread::scope(|scope| {
        let runs: Vec<_> =
            schedules.iter().map(|schedule| scope.spawn(|| crash_everywhere(schedule))).collect();
        for run in runs {
            run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

#[test]
fn undisturbed_runs_keep_every_promise() {
    for schedule in schedules() {
        let (fs, clock) = (disk(8 * MIB), FakeClock::new());
        let mut rig = Rig::start(&fs, &clock, &schedule, Story::default()).unwrap();
        for step in schedule.steps.clone() {
            rig.step(step);
            let now = clock.now().up;
            let age = rig.oldest_unsynced().map_or(Duration::ZERO, |since| now - since);
            let waited = if let Wait(time) = step { time } else { Duration::ZERO };
            assert!(schedule.lagging || age <= 2 * SECOND + waited, "{}: {age:?} un-synced", schedule.name);
        }
        rig.finish();
        assert_eq!(rig.oldest_unsynced(), None);
        promises(&rig, &schedule).unwrap_or_else(|e| panic!("{}: {e}\n{}", schedule.name, tail(&fs)));
        println!("{}: {} operations, {} sealed", schedule.name, fs.count(), rig.story.sealed.len());
        assert!(!rig.story.sealed.is_empty() && rig.story.lost == 0);
        assert!(most_unsealed(&fs) <= 2);
        assert_eq!(rig.story.covered.len() as u64, rig.story.sent());
    }
}

/// Files as they are after some power cuts, read by tools that share no code with the product.
#[test]
fn other_tools_read_what_is_recovered() {
    if !require(&["capinfos", "tcpdump"]) {
        return;
    }
    for schedule in schedules() {
        for (n, seed) in [(45, SimFs::LOSE_NOTHING), (38, 7), (52, 8), (64, 9)] {
            let stopped = stop_at(&schedule, n);
            let left = stopped.fs.crash(seed);
            let rig = Rig::start(&left, &stopped.next_boot(), &schedule, stopped.story.clone()).unwrap();
            let dir = tempfile::tempdir().unwrap();
            left.export(dir.path());
            for facts in rig.keeper.catalog().captures() {
                let file = dir.path().join("pcaps").join(facts.name.to_string());
                assert_eq!(capinfos_count(&file), facts.packets, "{}", file.display());
                assert_eq!(tcpdump_packets(&file).len() as u64, facts.packets, "{}", file.display());
            }
        }
    }
}
