//! Flow files: what a completed sync covers is kept, no record is doubled or halved, the growing file is always there, and other
//! programs read what we write.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod support;

use std::collections::{BTreeSet, HashMap};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use serde_json::{Value, json};
use support::clock::FakeClock;
use support::rig::layout;
use support::sim::{Fault, SimFs};
use tapkeep::daemon::setup::DataDirectory;
use tapkeep::flow::record::{FlowRecord, Stretch, Stretches};
use tapkeep::packet::Place;
use tapkeep::store::entry::Act;
use tapkeep::store::facts::State;
use tapkeep::store::flow_file::{
    Extras, FlowItem, FlowReader, FlowWriter, Fold, Follower, Kind, Missed, Object, Position, Resumed,
    Settings, Told, flow_sources,
};
use tapkeep::store::keeper::{Keeper, Kept};
use tapkeep::store::ledger;
use tapkeep::store::retention::FlowLimits;
use tapkeep::store::sequence::Trust;
use tapkeep::sys::fs::{Fs, FsFile};

const SECOND: Duration = Duration::from_secs(1);

/// Where record `n` has its only packet.
fn place(n: u64) -> Place {
    Place { file: 1 + n / 100, offset: 24 + n % 100 * 80 }
}

/// The flow record of this number.
fn record(n: u64) -> FlowRecord {
    let Place { file, offset } = place(n);
    let stamp = |n: u64| {
        chrono::DateTime::from_timestamp_nanos(1_735_655_452_000_000_000 + n as i64 * 1_000_000)
            .to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
    };
    serde_json::from_value(json!({
        "flow_id": format!("{file}-{offset}"), "part": 0, "final": true,
        "community_id": "1:wCb3OG7yAFWelaUydu0D+125CLM=", "start": stamp(n), "end": stamp(n),
        "src_ip": "10.0.0.1", "src_port": n % 65_536, "dst_ip": "10.0.0.2", "dst_port": 53, "proto": 17,
        "transport": "udp", "orig_packets": 1, "orig_bytes": 64 + n % 100, "resp_packets": 0, "resp_bytes": 0,
        "orig_payload_bytes": 20, "resp_payload_bytes": 0, "min_ttl": 64, "max_ttl": 64, "end_reason": "idle",
        "captures": [[file, offset, offset]],
    }))
    .unwrap()
}

/// A data directory on a simulated disk.
struct World {
    fs: SimFs,
    clock: FakeClock,
}

impl World {
    fn new() -> Self {
        Self { fs: SimFs::new(64 << 20), clock: FakeClock::new() }
    }

    fn open(&self, settings: Settings) -> Result<(FlowWriter, Resumed), String> {
        let fs: Arc<SimFs> = Arc::new(self.fs.clone());
        let data = DataDirectory::begin(fs.clone(), Arc::new(self.clock.clone()), layout(), None, true);
        let data = data.map_err(|e| e.to_string())?;
        FlowWriter::open(fs, layout(), data.ledger, Arc::new(self.clock.clone()), &data.entries, settings)
            .map_err(|e| e.to_string())
    }

    fn acts(&self) -> Vec<Act> {
        let alone = SimFs::new(u64::MAX / 2);
        alone.plant("/data/ledger", &self.fs.contents(layout().ledger()).unwrap_or_default());
        let entries = ledger::load(&alone, Path::new("/data/ledger")).unwrap().entries;
        entries.into_iter().map(|entry| entry.act).collect()
    }
}

/// The records of a file of this length, with their trust.
fn records_below(file: &dyn FsFile, len: u64) -> Vec<(FlowRecord, Trust)> {
    let mut reader = FlowReader::new(file, len);
    let mut records = Vec::new();
    while let Some(item) = reader.next() {
        if let FlowItem::Object(object) = item
            && object.kind == Kind::Record
        {
            records.push((object.record().unwrap(), object.trust));
        }
    }
    records
}

fn records(fs: &SimFs, path: impl AsRef<Path>) -> Vec<(FlowRecord, Trust)> {
    let file = fs.open_read(path.as_ref()).unwrap();
    records_below(&*file, file.len().unwrap())
}

/// The numbers of the records in all flow files, in the order of the files; an error if one is not as it was written, or is
/// there twice.
fn all_numbers(world: &World) -> Result<Vec<u64>, String> {
    let doubtful: HashMap<_, _> = world
        .acts()
        .iter()
        .filter_map(|act| act.flows().map(|facts| (facts.name.number(), facts.doubtful_from)))
        .collect();
    let fs = world.fs.kill();
    let mut numbers = Vec::new();
    for source in flow_sources(&fs, &layout()).map_err(|e| e.to_string())? {
        let (number, growing) = (source.number, source.name.is_none());
        let (file, len) = source.open(&fs).map_err(|e| e.to_string())?;
        let known = doubtful.get(&number).copied();
        if !growing && known.is_none() {
            return Err(format!("file {number} is sealed, and the ledger does not know"));
        }
        for (found, _) in records_below(&*file, len.min(known.flatten().unwrap_or(u64::MAX))) {
            let n = u64::from(found.src_port.unwrap());
            if found != record(n) {
                return Err(format!("record {n} in file {number} is not as it was written: {found:?}"));
            }
            if numbers.contains(&n) {
                return Err(format!("record {n} is there twice, the second time in file {number}"));
            }
            numbers.push(n);
        }
    }
    Ok(numbers)
}

/// Records in a block, and blocks in a run.
const BLOCK: u64 = 10;
const BLOCKS: u64 = 14;
/// Small files, so that each operation of some rotations can be tried; and no file is looked into because it is young.
const SETTINGS: Settings =
    Settings { rotation_size: 16_000, sync_interval: SECOND, reach: 0, summaries: false };

/// What an analyst does: one record a packet, the first of each block only with the next, as if its flow lasted.
struct Run {
    world: World,
    writer: Option<FlowWriter>,
    /// Records that a completed sync covers.
    covered: BTreeSet<u64>,
    /// In the order in which they were taken.
    taken: Vec<u64>,
    /// Whether the growing file has been made, durably.
    begun: bool,
}

impl Run {
    /// Starts; what is there already is not written again.
    fn start(world: World) -> Result<(Self, u64, BTreeSet<u64>), String> {
        let (writer, resumed) = world.open(SETTINGS)?;
        let from = resumed.position.read_from().unwrap_or_default();
        let from = (0..=BLOCK * BLOCKS).find(|n| place(*n) >= from).unwrap_or(0);
        let written = resumed.records.iter().map(|record| u64::from(record.src_port.unwrap())).collect();
        let begun = !world.fs.has_stopped();
        let run = Self { world, writer: Some(writer), covered: BTreeSet::new(), taken: Vec::new(), begun };
        Ok((run, from, written))
    }

    /// Analyses the packets from `from` on, but those that `written` covers.
    fn analyse(&mut self, from: u64, written: &BTreeSet<u64>) {
        let mut open: Option<u64> = None;
        for block in from / BLOCK..BLOCKS {
            let first = block * BLOCK;
            let news = (first.max(from) + 1..first + BLOCK).chain(open);
            for n in news.filter(|n| !written.contains(n)).collect::<Vec<_>>() {
                self.append(n);
            }
            open = Some(first.max(from));
            let position = Position { analysed: Some(place(first + BLOCK)), oldest_open: open.map(place) };
            self.work(position, block);
        }
        if let Some(n) = open.filter(|n| !written.contains(n)) {
            self.append(n);
        }
        self.work(Position { analysed: Some(place(BLOCK * BLOCKS)), oldest_open: None }, BLOCKS);
    }

    fn append(&mut self, n: u64) {
        let Some(writer) = &mut self.writer else { return };
        writer.append(&record(n), Some(place(n))).unwrap();
        self.taken.push(n);
    }

    fn work(&mut self, position: Position, block: u64) {
        let Some(writer) = &mut self.writer else { return };
        writer.set_position(position);
        // The captures' sync lags behind by some packets.
        let synced = position.analysed.map(|at| Place { offset: at.offset.saturating_sub(300), ..at });
        writer.captures_synced(synced.unwrap());
        self.world.clock.advance(Duration::from_millis(700));
        writer.tick();
        if block % 3 == 2 && writer.sync() && !self.world.fs.has_stopped() {
            // They keep their order, so one that waits lets those behind it wait, too.
            self.covered.extend(self.taken.iter().take_while(|n| place(**n) < synced.unwrap()));
        }
        writer.take_told();
    }

    fn finish(&mut self) -> bool {
        let Some(mut writer) = self.writer.take() else { return false };
        writer.captures_synced(place(1_000_000));
        for _ in 0..40 {
            if writer.finish(Extras::default()) {
                if !self.world.fs.has_stopped() {
                    self.covered.extend(&self.taken);
                }
                return true;
            }
            self.world.clock.advance(61 * SECOND);
        }
        false
    }
}

/// Runs until operation `n`.
fn stop_at(n: usize) -> Run {
    let world = World::new();
    world.fs.freeze_at(n);
    let fs = world.fs.clone();
    let clock = world.clock.clone();
    match Run::start(world) {
        Ok((mut run, from, written)) => {
            run.analyse(from, &written);
            if !fs.has_stopped() {
                run.finish();
            }
            run
        }
        Err(_) => Run {
            world: World { fs, clock },
            writer: None,
            covered: BTreeSet::new(),
            taken: Vec::new(),
            begun: false,
        },
    }
}

impl Run {
    /// Starts again on what is left, and holds the promises against it.
    fn recovers(&self, left: SimFs) -> Result<(), String> {
        let there = left.contents(layout().flow_file()).is_some();
        if self.begun && !there {
            return Err("the growing file is gone".to_owned());
        }
        let clock = self.world.clock.clone();
        let (mut run, from, written) = Run::start(World { fs: left, clock })?;
        let numbers: BTreeSet<u64> = all_numbers(&run.world)?.into_iter().collect();
        if let Some(missing) = self.covered.difference(&numbers).next() {
            return Err(format!("record {missing}, covered by a sync, is gone"));
        }
        if let Some(missing) = (0..from).find(|n| !numbers.contains(n)) {
            return Err(format!("record {missing} is missing, and captures are read from {from} on"));
        }
        if let Some(untold) = numbers.iter().find(|n| **n >= from && !written.contains(n)) {
            return Err(format!("record {untold} is there, and the analyst is not told"));
        }
        if let Some(made_up) = written.difference(&numbers).next() {
            return Err(format!("record {made_up} is told of and not there"));
        }
        run.analyse(from, &written);
        if !run.finish() {
            return Err("it does not finish".to_owned());
        }
        let mut numbers = all_numbers(&run.world)?;
        numbers.sort_unstable();
        if numbers != (0..BLOCK * BLOCKS).collect::<Vec<_>>() {
            return Err(format!("in the end there are {numbers:?}"));
        }
        Ok(())
    }

    fn log(&self) -> String {
        let log = self.world.fs.operations();
        let from = log.len().saturating_sub(25);
        log.iter().enumerate().skip(from).map(|(at, line)| format!("{:5} {line}\n", at + 1)).collect()
    }
}

#[test]
fn every_operation_may_be_the_last() {
    let whole = stop_at(usize::MAX);
    let count = whole.world.fs.count();
    let numbers = all_numbers(&whole.world).unwrap();
    assert_eq!(numbers.len() as u64, BLOCK * BLOCKS);
    let replaced = whole.world.fs.operations().iter().filter(|line| line.starts_with("replace")).count();
    assert!(replaced > 4 && count > 80, "{replaced} rotations, {count} operations");
    for n in 1..=count + 1 {
        let stopped = stop_at(n);
        let fail = |what: &str, problem: String| -> ! {
            panic!("stopped at operation {n}, {what}: {problem}\nthe last operations were\n{}", stopped.log())
        };
        if let Err(problem) = all_numbers(&stopped.world) {
            fail("before any restart", problem);
        }
        stopped.recovers(stopped.world.fs.kill()).unwrap_or_else(|problem| fail("killed", problem));
        for seed in (0..3).chain((0..2).map(|i| 1000 * n as u64 + i)) {
            let left = stopped.world.fs.crash(seed);
            stopped.recovers(left).unwrap_or_else(|problem| fail(&format!("power cut {seed}"), problem));
        }
        // The recovery, too, is stopped somewhere.
        for k in (n % 11 + 1..).step_by(11) {
            let again = stopped.world.fs.crash((n * 31 + k) as u64);
            again.freeze_at(k);
            let clock = stopped.world.clock.clone();
            let second = Run::start(World { fs: again.clone(), clock });
            drop(second);
            if !again.has_stopped() {
                break;
            }
            for seed in [SimFs::LOSE_ALL, SimFs::KEEP_NAMES, k as u64 + 7] {
                let left = again.crash(seed);
                stopped
                    .recovers(left)
                    .unwrap_or_else(|problem| fail(&format!("stopped again at {k}"), problem));
            }
        }
    }
}

#[test]
fn whatever_fails_once_is_made_good() {
    let count = stop_at(usize::MAX).world.fs.count();
    let faults = [
        Fault::Errno(Errno::IO),
        Fault::Errno(Errno::NOSPC),
        Fault::Interrupted,
        Fault::ShortWrite(100),
        Fault::LostPages,
    ];
    for fault in faults {
        for n in 1..=count {
            let world = World::new();
            world.fs.fail_at(n, fault);
            let fs = world.fs.clone();
            let Ok((mut run, from, written)) = Run::start(world) else { continue };
            run.analyse(from, &written);
            assert!(run.finish(), "{fault:?} at {n}: it does not finish\n{}", run.log());
            let check = |what: &str, world: &World| {
                let numbers = all_numbers(world)
                    .unwrap_or_else(|e| panic!("{fault:?} at {n}, {what}: {e}\n{}", run.log()));
                let numbers: BTreeSet<_> = numbers.into_iter().collect();
                assert_eq!(numbers.len() as u64, BLOCK * BLOCKS, "{fault:?} at {n}, {what}\n{}", run.log());
            };
            check("finished", &run.world);
            check("power cut", &World { fs: fs.crash(SimFs::LOSE_ALL), clock: run.world.clock.clone() });
        }
    }
}

#[test]
fn records_are_written_once_their_captures_are_synced_and_rotated() {
    let world = World::new();
    let settings = Settings { rotation_size: 30_000, ..Settings::default() };
    let (mut writer, resumed) = world.open(settings).unwrap();
    assert_eq!((resumed.position, resumed.records.len()), (Position::default(), 0));
    for n in 0..200 {
        writer.append(&record(n), Some(place(n))).unwrap();
        writer.set_position(Position { analysed: Some(place(n + 1)), oldest_open: None });
    }
    world.clock.advance(6 * SECOND);
    writer.tick();
    assert_eq!(records(&world.fs, layout().flow_file()), [], "no capture is synced");
    writer.captures_synced(place(150));
    world.clock.advance(6 * SECOND);
    writer.tick();
    let sealed: Vec<_> = writer.take_told();
    assert!(matches!(&sealed[..], [Told::Sealed(_)]), "{sealed:?}");
    writer.captures_synced(place(1000));
    assert!(writer.finish(Extras::default()));
    let mut all = Vec::new();
    for path in world.fs.paths().iter().filter(|path| path.extension().is_some_and(|e| e == "jsonb")) {
        if path.starts_with(layout().flows()) {
            all.extend(records(&world.fs, path));
        }
    }
    assert_eq!(all, (0..200).map(|n| (record(n), Trust::Verified)).collect::<Vec<_>>());
    let (_, resumed) = world.open(settings).unwrap();
    assert_eq!(resumed.position, Position { analysed: Some(place(200)), oldest_open: None });
    assert!(resumed.records.is_empty() && resumed.salvaged.is_none());
}

/// A part of a long flow.
fn part(n: u64, part: u32, last: bool, at: Place) -> FlowRecord {
    let mut record = record(n);
    (record.part, record.last_part) = (part, last);
    record.captures = Stretches(vec![Stretch(at.file, at.offset, at.offset)]);
    record
}

#[test]
fn a_start_hears_of_flows_that_may_go_on_and_of_records_behind_its_position() {
    let world = World::new();
    let settings = Settings { rotation_size: 3_000, ..Settings::default() };
    let (mut writer, _) = world.open(settings).unwrap();
    writer.captures_synced(place(10_000));
    // A flow that has given two parts, one that is over since, and many that are over.
    writer.append(&part(1, 0, false, place(1)), None).unwrap();
    writer.append(&part(2, 0, false, place(2)), None).unwrap();
    for n in 10..30 {
        writer.append(&record(n), Some(place(n))).unwrap();
    }
    writer.append(&part(1, 1, false, place(31)), None).unwrap();
    writer.append(&part(2, 1, true, place(32)), None).unwrap();
    for n in 40..60 {
        writer.append(&record(n), Some(place(n))).unwrap();
    }
    writer.set_position(Position { analysed: Some(place(60)), oldest_open: Some(place(55)) });
    assert!(writer.sync());
    writer.tick();
    let rotations = writer.take_told().iter().filter(|told| matches!(told, Told::Sealed(_))).count();
    assert!(rotations > 0, "the parts lie in several files");
    drop(writer);
    let (_, resumed) = world.open(settings).unwrap();
    let told: Vec<_> = resumed.records.iter().map(|record| (record.flow_id.clone(), record.part)).collect();
    let expected: Vec<_> =
        std::iter::once((record(1).flow_id, 1)).chain((55..60).map(|n| (record(n).flow_id, 0))).collect();
    assert_eq!(told, expected);
    assert_eq!(resumed.missing, 0);
}

#[test]
fn a_stranger_in_the_growing_files_place_is_put_aside() {
    let world = World::new();
    world.fs.plant(layout().flow_file(), b"{\"my\": \"own file\"}\n");
    let (mut writer, resumed) = world.open(Settings::default()).unwrap();
    let told = writer.take_told();
    let [Told::Aside(name)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(world.fs.contents(layout().flows().join(name)).unwrap(), b"{\"my\": \"own file\"}\n");
    assert!(resumed.records.is_empty() && writer.finish(Extras::default()));
    assert!(world.fs.contents(layout().flow_file()).unwrap().len() > 200);
    assert!(world.acts().iter().any(|act| matches!(act, Act::Damage { .. })));
}

/// Writes records 0 to 199 across rotations and four starts, of which every other one ends like a crash of the process; `look` is
/// called now and then, with the number of the last record.
fn write_in_four_starts(world: &World, settings: Settings, mut look: impl FnMut(u64)) {
    for start in 0..4 {
        let (mut writer, _) = world.open(settings).unwrap();
        writer.captures_synced(place(10_000));
        for n in start * 50..start * 50 + 50 {
            writer.append(&record(n), Some(place(n))).unwrap();
            if n % 7 == 0 {
                world.clock.advance(2 * SECOND);
                writer.tick();
            }
            if n % 11 == 0 {
                look(n);
            }
        }
        if start % 2 == 0 {
            assert!(writer.finish(Extras::default()));
        } else {
            assert!(writer.sync());
        }
    }
}

#[test]
fn a_follower_misses_and_repeats_nothing_across_rotations_and_restarts() {
    let world = World::new();
    let settings = Settings { rotation_size: 5_000, ..Settings::default() };
    let mut follower = Follower::new(&world.fs, &layout()).unwrap();
    let mut told = Vec::new();
    write_in_four_starts(&world, settings, |_| {
        follower
            .poll(&world.fs, &layout(), |_, object| {
                told.extend(object.outline().map(|outline| outline.flow_id.into_owned()));
            })
            .unwrap();
    });
    follower
        .poll(&world.fs, &layout(), |_, object| {
            told.extend(object.outline().map(|outline| outline.flow_id.into_owned()));
        })
        .unwrap();
    assert_eq!(told, (0..200).map(|n| record(n).flow_id).collect::<Vec<_>>());
    assert_eq!(follower.take_missed(), Missed::default());
}

/// What a reader tells that has nothing but its cursor, as it was saved; at most so many objects.
fn told_from(world: &World, cursor: &mut String, most: usize) -> (Vec<u64>, Missed) {
    let saved = (!cursor.is_empty()).then(|| serde_json::from_str(cursor).unwrap());
    let mut follower = saved.map_or_else(Follower::from_oldest, Follower::resume);
    let (mut told, mut left) = (Vec::new(), most);
    let take = |_, object: &Object<'_>| {
        told.extend(object.record().ok().and_then(|record| record.src_port).map(u64::from));
        left -= 1;
        left > 0
    };
    follower.poll_some(&world.fs, &layout(), take).unwrap();
    *cursor = serde_json::to_string(follower.cursor()).unwrap();
    (told, follower.take_missed())
}

#[test]
fn a_reader_that_is_restarted_with_its_cursor_misses_and_repeats_nothing() {
    let world = World::new();
    let settings = Settings { rotation_size: 5_000, ..Settings::default() };
    let (mut told, mut cursor) = (Vec::new(), String::new());
    write_in_four_starts(&world, settings, |n| {
        told.extend(told_from(&world, &mut cursor, 1 + n as usize % 5).0);
    });
    let (rest, missed) = told_from(&world, &mut cursor, usize::MAX);
    assert!(rest.len() > 20 && missed == Missed::default(), "{missed:?}");
    told.extend(rest);
    assert_eq!(told, (0..200).collect::<Vec<_>>());
    assert_eq!(told_from(&world, &mut cursor, usize::MAX), (Vec::new(), Missed::default()));
}

#[test]
fn what_a_power_cut_leaves_is_told_though_other_records_lie_where_the_reader_stood() {
    let mut rewritten = 0;
    for seed in 0..60 {
        let mut world = World::new();
        let settings = Settings { rotation_size: 20_000, ..Settings::default() };
        let (mut told, mut cursor, mut n) = (BTreeSet::new(), String::new(), 0);
        for round in 0..4 {
            let (mut writer, _) = world.open(settings).unwrap();
            writer.captures_synced(place(10_000));
            for _ in 0..30 {
                writer.append(&record(n), Some(place(n))).unwrap();
                n += 1;
                if n % 4 == 0 {
                    world.clock.advance(2 * SECOND);
                    writer.tick();
                }
                if (n + seed) % 9 == 0 {
                    assert!(writer.sync());
                }
                if (n + seed) % 5 == 0 {
                    let (new, missed) = told_from(&world, &mut cursor, usize::MAX);
                    told.extend(new);
                    rewritten += u32::from(missed.rewritten);
                }
            }
            world.fs = world.fs.crash(seed * 31 + round);
        }
        let (mut writer, _) = world.open(settings).unwrap();
        assert!(writer.finish(Extras::default()));
        told.extend(told_from(&world, &mut cursor, usize::MAX).0);
        let there: BTreeSet<_> = all_numbers(&world).unwrap().into_iter().collect();
        let never: Vec<_> = there.difference(&told).collect();
        assert!(never.is_empty(), "seed {seed}: never told {never:?}");
    }
    assert!(rewritten > 0, "no cut has taken what was told");
}

#[test]
fn what_retention_took_before_it_was_told_is_told_by_number_and_other_files_are_begun_anew() {
    let world = World::new();
    let settings = Settings { rotation_size: 5_000, ..Settings::default() };
    let (mut writer, _) = world.open(settings).unwrap();
    for n in 0..60 {
        writer.append(&record(n), None).unwrap();
    }
    assert!(writer.finish(Extras::default()));
    let mut cursor = String::new();
    let (first, _) = told_from(&world, &mut cursor, 3);
    assert_eq!(first, [0, 1, 2]);
    let files: Vec<_> =
        flow_sources(&world.fs, &layout()).unwrap().iter().map(|file| file.path().clone()).collect();
    assert!(files.len() > 4, "{files:?}");
    world.fs.remove(&files[0]).unwrap();
    world.fs.remove(&files[1]).unwrap();
    let (rest, missed) = told_from(&world, &mut cursor, usize::MAX);
    assert_eq!(missed.evicted, 1..3);
    assert!(missed.read > 0 && !missed.others && !missed.rewritten);
    assert_eq!(rest.last(), Some(&59));
    assert!(rest.is_sorted() && rest[0] > 9, "{rest:?}");

    // A directory made anew: its numbers begin again.
    let other = World::new();
    let (mut writer, _) = other.open(settings).unwrap();
    for n in 0..5 {
        writer.append(&record(n), None).unwrap();
    }
    assert!(writer.finish(Extras::default()));
    let (all, missed) = told_from(&other, &mut cursor, usize::MAX);
    assert_eq!(all, (0..5).collect::<Vec<_>>());
    assert!(missed.others && missed.evicted.is_empty(), "{missed:?}");
}

#[test]
fn retention_takes_the_oldest_flow_files_and_the_ledger_knows() {
    let world = World::new();
    let settings = Settings { rotation_size: 5_000, ..Settings::default() };
    let (mut writer, _) = world.open(settings).unwrap();
    for n in 0..100 {
        writer.append(&record(n), None).unwrap();
    }
    assert!(writer.finish(Extras::default()));
    let fs: Arc<SimFs> = Arc::new(world.fs.clone());
    let clock = Arc::new(world.clock.clone());
    let data = DataDirectory::begin(fs.clone(), clock.clone(), layout(), None, true).unwrap();
    let new = |data: &DataDirectory| {
        Keeper::new(fs.clone(), layout(), data.ledger.clone(), clock.clone(), &data.entries, None, 1 << 20)
            .unwrap()
    };
    let mut keeper = new(&data);
    let files: Vec<_> = keeper.catalog().flows().cloned().collect();
    assert!(files.len() > 4 && files.iter().all(|facts| facts.state == State::Sealed), "{files:?}");
    assert_eq!(files.iter().map(|facts| facts.records).sum::<u64>(), 100);
    assert!(keeper.enforce(0, true).unwrap().is_empty(), "no limits yet");
    let limits = FlowLimits { count: Some(2), bytes: None, age: None, rotation_size: 5_000 };
    keeper.set_flow_limits(Some(limits));
    let evicted: Vec<_> = keeper
        .enforce(0, true)
        .unwrap()
        .iter()
        .map(|kept| if let Kept::FlowEvicted(name, ..) = kept { *name } else { panic!("{kept:?}") })
        .collect();
    assert_eq!(evicted, files[..files.len() - 2].iter().map(|facts| facts.name).collect::<Vec<_>>());
    assert!(evicted.iter().all(|name| world.fs.contents(layout().flows().join(name.to_string())).is_none()));
    let told = world.acts().iter().filter(|act| matches!(act, Act::FlowEvict { .. })).count();
    assert_eq!(told, evicted.len());
    let rows = keeper.catalog().flow_rows();
    let anew = DataDirectory::begin(fs.clone(), clock.clone(), layout(), None, true).unwrap();
    assert_eq!(new(&anew).catalog().flow_rows(), rows);
    // Without a ledger the files tell of themselves.
    drop(writer);
    world.fs.remove(&layout().ledger()).unwrap();
    let without = DataDirectory::begin(fs.clone(), clock.clone(), layout(), None, true).unwrap();
    let mut keeper = new(&without);
    while keeper.reconcile().is_some() {}
    let facts: Vec<_> = keeper.catalog().flows().cloned().collect();
    assert_eq!(facts, files[files.len() - 2..]);
}

/// The Python programs in the document: the reader of sequences, and SQL.
fn scripts() -> Vec<String> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/FORMAT.md");
    let document = std::fs::read_to_string(document).unwrap();
    document.split("```python\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

fn python(script: &str, modules: &Path, file: &Path) -> Result<Vec<Value>, String> {
    let run =
        Command::new("python3").arg("-c").arg(script).arg(file).env("PYTHONPATH", modules).output().unwrap();
    if !run.status.success() {
        return Err(String::from_utf8_lossy(&run.stderr).into_owned());
    }
    let text = String::from_utf8(run.stdout).unwrap();
    Ok(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// A real flow file of 500 records, and the directory that it lies in.
fn written() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDirectory::lock(dir.path()).unwrap().open(None, false).unwrap();
    let (fs, layout, clock) = (data.fs.clone(), data.layout.clone(), data.clock.clone());
    let (mut writer, _) =
        FlowWriter::open(fs, layout, data.ledger.clone(), clock, &data.entries, Settings::default()).unwrap();
    for n in 0..500 {
        writer.append(&record(n), None).unwrap();
    }
    let fold = Fold { src_ip: None, flows: 3, packets: 3, bytes: 180, first: Some(0), last: Some(1) };
    writer.append_fold(&fold, None).unwrap();
    assert!(writer.finish(Extras::default()));
    let files = std::fs::read_dir(dir.path().join("flows")).unwrap();
    let path = files.map(|file| file.unwrap().path()).next().unwrap();
    (dir, path)
}

#[test]
fn the_reader_in_the_document_reads_flow_files() {
    let scripts = scripts();
    assert!(scripts[0].lines().filter(|line| !line.is_empty()).count() < 40, "the reader is to be short");
    let (_dir, path) = written();
    let told = python(&scripts[0], Path::new(""), &path).unwrap();
    assert_eq!(told[0][2]["format"], "tapkeep-flows");
    for (n, line) in told[1..501].iter().enumerate() {
        assert_eq!((&line[1], &line[2]), (&json!(true), &serde_json::to_value(record(n as u64)).unwrap()));
    }
    assert_eq!(told[501][2]["folded"]["flows"], 3);
    let footer = &told[502][2]["footer"];
    assert_eq!(
        (&footer["records"], &footer["folded"], &footer["packets"]),
        (&json!(500), &json!(3), &json!(503))
    );
    assert_eq!(told.len(), 503);
}

#[test]
fn a_current_sqlite_answers_sql_from_flow_files() {
    if !support::require(&["python3"]) {
        return;
    }
    let modules = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let has = |modules: &Path| {
        python(
            "import apsw; apsw.Connection(':memory:').execute(\"SELECT jsonb('1')\")",
            modules,
            Path::new(""),
        )
    };
    if has(&modules).is_err() {
        let install = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"])
            .arg(&modules)
            .arg("apsw")
            .output();
        let _ = install;
    }
    if let Err(problem) = has(&modules) {
        let text = format!("SKIPPED: SQL over flow files needs apsw, and pip cannot install it: {problem}\n");
        assert!(
            std::env::var("TAPKEEP_TEST_REQUIRE").as_deref() != Ok("1") && std::env::var("CI").is_err(),
            "{text}"
        );
        let _ = std::io::stderr().write_all(text.as_bytes());
        return;
    }
    let (_dir, path) = written();
    let bytes: u64 = (0..500).map(|n| record(n).orig_bytes).sum();
    assert_eq!(python(&scripts()[1], &modules, &path).unwrap(), [json!(["10.0.0.1", 500, bytes])]);
}
