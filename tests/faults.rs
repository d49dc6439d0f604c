//! Every operation of a run fails once, in each of the ways a disk knows; the run goes on, what was synced
//! stays, what is lost is counted exactly, what is doubtful is marked. And a full disk is survived.

// A test may fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use rustix::io::Errno;
use support::clock::FakeClock;
use support::rig::check::{self, goes_on, ledger_comes_first, promises};
use support::rig::{Rig, Schedule, Step, Story, disk};
use support::sim::{Fault, SimFs};
use tapkeep::store::retention::MinFree;
use tapkeep::sys::fs::Fs;

use Step::{CatchUp, Foreign, Hold, Packets, Wait};

const MIB: u64 = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);

/// The ways in which an operation fails.
const FAULTS: [Fault; 6] = [
    Fault::Errno(Errno::IO),
    Fault::Errno(Errno::NOSPC),
    Fault::Interrupted,
    Fault::ShortWrite(7),
    Fault::ShortWrite(1000),
    Fault::LostPages,
];

fn schedules() -> Vec<Schedule> {
    let steps =
        vec![Packets(20), Packets(9), Wait(SECOND), Packets(20), Hold, Packets(30), Foreign(9), Packets(25)];
    let rotating = Schedule::new("rotating", 20_000, Some(2), steps);
    let steps =
        vec![Packets(20), Packets(25), CatchUp, Packets(7), CatchUp, Packets(30), Packets(3), CatchUp];
    let mut lagging = Schedule::new("lagging", 20_000, None, steps);
    lagging.lagging = true;
    vec![rotating, lagging]
}

/// Starts, again and again if need be, as the service's supervisor does.
fn start(fs: &SimFs, clock: &FakeClock, schedule: &Schedule, story: &Story) -> Rig {
    for _ in 0..3 {
        if let Ok(rig) = Rig::start(fs, clock, schedule, story.clone()) {
            return rig;
        }
    }
    panic!("one fault keeps the service from starting three times");
}

fn log(fs: &SimFs) -> String {
    let lines = fs.operations().into_iter().enumerate();
    let from = fs.count().saturating_sub(120);
    lines.skip(from).map(|(at, line)| format!("{:5} {line}\n", at + 1)).collect()
}

/// What must hold once the disk is well again and the run is over.
fn holds(rig: &mut Rig, schedule: &Schedule) -> Result<(), String> {
    let unsealed = check::most_unsealed(&rig.fs);
    if unsealed > 2 {
        return Err(format!("{unsealed} unsealed files at once"));
    }
    if rig.is_sealing() {
        return Err("a file is still not sealed".to_owned());
    }
    promises(rig, schedule)?;
    check::every_packet_is_accounted_for(rig)?;
    ledger_comes_first(&rig.fs, &rig.story)?;
    goes_on(rig)?;
    check::every_packet_is_accounted_for(rig)
}

/// After a power cut at the end only what was marked doubtful may be missing.
fn holds_after_power_cut(rig: &Rig, schedule: &Schedule, seed: u64) -> Result<(), String> {
    let left = rig.fs.crash(seed);
    let again = Rig::start(&left, &rig.clock, schedule, rig.story.clone())?;
    promises(&again, schedule)
}

#[test]
fn any_operation_may_fail_once() {
    for schedule in schedules() {
        let (fs, clock) = (disk(8 * MIB), FakeClock::new());
        let mut rig = start(&fs, &clock, &schedule, &Story::default());
        rig.run();
        rig.finish();
        for n in 3..=fs.count() {
            for fault in FAULTS {
                fails_once(&schedule, n, fault);
            }
        }
    }
}

fn fails_once(schedule: &Schedule, n: usize, fault: Fault) {
    let (fs, clock) = (disk(8 * MIB), FakeClock::new());
    fs.fail_at(n, fault);
    let mut rig = start(&fs, &clock, schedule, &Story::default());
    rig.run();
    rig.finish();
    fs.heal();
    let checked = holds(&mut rig, schedule).and_then(|()| {
        [SimFs::LOSE_ALL, SimFs::KEEP_NAMES, n as u64 + 7].into_iter().try_for_each(|seed| {
            holds_after_power_cut(&rig, schedule, seed).map_err(|e| format!("after power cut {seed}: {e}"))
        })
    });
    if let Err(problem) = checked {
        panic!("{}: operation {n} fails with {fault:?}: {problem}\n{}", schedule.name, log(&fs));
    }
}

#[test]
fn any_operation_of_a_recovery_may_fail_once() {
    let schedule = &schedules()[0];
    for stop in [40, 70, 90] {
        let (fs, clock) = (disk(8 * MIB), FakeClock::new());
        fs.freeze_at(stop);
        let mut first = start(&fs, &clock, schedule, &Story::default());
        first.run();
        let recovered = fs.crash(SimFs::LOSE_NOTHING);
        drop(start(&recovered, &clock, schedule, &first.story));
        for n in 1..=recovered.count() {
            for fault in FAULTS {
                let left = fs.crash(SimFs::LOSE_NOTHING);
                left.fail_at(n, fault);
                let mut rig = start(&left, &clock, schedule, &first.story);
                rig.step(Packets(5));
                rig.finish();
                rig.salvage_again();
                let checked = promises(&rig, schedule)
                    .and_then(|()| holds_after_power_cut(&rig, schedule, SimFs::LOSE_ALL));
                if let Err(problem) = checked {
                    panic!(
                        "recovery from {stop}: operation {n} fails with {fault:?}: {problem}\n{}",
                        log(&left)
                    );
                }
            }
        }
    }
}

/// Sends packets while operations like `text` fail, and some more when they no longer do.
fn fails_for_long(text: &str, fault: Fault) -> Rig {
    let schedule = Schedule::new("for long", 20_000, Some(4), Vec::new());
    let (fs, clock) = (disk(8 * MIB), FakeClock::new());
    let mut rig = start(&fs, &clock, &schedule, &Story::default());
    rig.step(Packets(30));
    fs.fail_when(text, fault, usize::MAX);
    for _ in 0..12 {
        rig.step(Packets(10));
        rig.step(Wait(SECOND));
    }
    fs.heal();
    rig.step(Packets(10));
    rig.finish();
    if let Err(problem) = holds(&mut rig, &schedule) {
        panic!("`{text}` fails with {fault:?} for a while: {problem}\n{}", log(&fs));
    }
    rig
}

#[test]
fn what_fails_for_a_while_costs_only_what_is_counted() {
    for text in [
        "sync_dir",
        "sync /data/pcaps",
        "sync /data/ledger",
        "ledger",
        "rename",
        "create",
        "space",
        "read_dir",
    ] {
        for fault in
            [Fault::Errno(Errno::IO), Fault::Errno(Errno::NOSPC), Fault::Errno(Errno::ROFS), Fault::LostPages]
        {
            fails_for_long(text, fault);
        }
    }
    for text in ["write /data/pcaps", "remove", "truncate"] {
        fails_for_long(text, Fault::Errno(Errno::IO));
    }
    assert!(fails_for_long(".pcap.part", Fault::Errno(Errno::IO)).story.lost > 0);
}

#[test]
fn a_file_left_half_made_does_not_stop_recording() {
    let schedule = Schedule::new("half made", 20_000, None, Vec::new());
    let (fs, clock) = (disk(8 * MIB), FakeClock::new());
    let mut rig = start(&fs, &clock, &schedule, &Story::default());
    fs.fail_when("pcap.part @0", Fault::Errno(Errno::IO), 1);
    fs.fail_when("remove /data/pcaps", Fault::Errno(Errno::IO), 1);
    rig.step(Packets(20));
    rig.step(Wait(SECOND));
    rig.finish();
    assert_eq!(rig.story.lost, 0, "{}", log(&fs));
    assert_eq!(rig.story.sealed.len(), 1, "{}", log(&fs));
}

#[test]
fn a_file_taken_away_does_not_stop_recording() {
    let schedule = Schedule::new("taken away", 20_000, None, Vec::new());
    let (fs, clock) = (disk(8 * MIB), FakeClock::new());
    let mut rig = start(&fs, &clock, &schedule, &Story::default());
    for _ in 0..4 {
        rig.step(Packets(10));
        let part = fs.paths().into_iter().find(|path| path.to_string_lossy().ends_with(".part")).unwrap();
        fs.remove(&part).unwrap();
        rig.step(Packets(30));
    }
    rig.finish();
    assert_eq!(rig.story.lost, 0);
    assert!(!rig.is_sealing());
}

#[test]
fn a_full_disk_is_survived() {
    let mut schedule = Schedule::new("full", 20_000, Some(100), Vec::new());
    schedule.limits.floor_percent = 0;
    let (fs, clock) = (disk(2 * MIB), FakeClock::new());
    let mut rig = start(&fs, &clock, &schedule, &Story::default());
    for _ in 0..6 {
        rig.step(Packets(20));
    }
    fs.fill_to(0);
    for _ in 0..20 {
        rig.step(Packets(20));
        rig.step(Wait(SECOND));
        fs.fill_to(0);
    }
    assert!(rig.story.lost > 0, "a full disk takes no packets\n{}", log(&fs));
    fs.fill_to(MIB);
    let lost = rig.story.lost;
    for _ in 0..6 {
        rig.step(Wait(3 * SECOND));
        rig.step(Packets(20));
    }
    assert_eq!(rig.story.lost, lost, "with space again nothing is lost");
    rig.finish();
    schedule.limits.min_free = MinFree::Bytes(1);
    holds(&mut rig, &schedule).unwrap_or_else(|problem| panic!("{problem}\n{}", log(&fs)));
}

#[test]
fn files_are_evicted_for_room_on_a_full_disk() {
    let mut schedule = Schedule::new("evict when full", 20_000, None, Vec::new());
    schedule.limits.min_free = MinFree::Bytes(8 << 10);
    schedule.limits.floor_percent = 0;
    let (fs, clock) = (disk(2 * MIB), FakeClock::new());
    let mut rig = start(&fs, &clock, &schedule, &Story::default());
    for _ in 0..10 {
        rig.step(Packets(20));
    }
    let sealed = rig.story.sealed.len();
    assert!(sealed > 4 && rig.story.evicted.is_empty());
    fs.fill_to(0);
    for _ in 0..8 {
        rig.step(Packets(20));
        rig.step(Wait(SECOND));
    }
    assert!(!rig.story.evicted.is_empty(), "{:?}\n{}", rig.story.complaints, log(&fs));
    assert!(rig.story.sealed.len() > sealed, "recording goes on in the room that was made");
    rig.finish();
    holds(&mut rig, &schedule).unwrap_or_else(|problem| panic!("{problem}\n{}", log(&fs)));
}
