//! Retention carried out, and the markers by which people hold files.

use std::sync::Arc;
use std::time::Duration;

use tapkeep::store::entry::Act;
use tapkeep::store::hold;
use tapkeep::store::keeper::{Keeper, Kept};
use tapkeep::store::names::CaptureName;
use tapkeep::store::retention::{Limits, MinFree};
use tapkeep::sys::fs::Fs;

use super::support::pcap::{Shape, mix, pcap_bytes};
use super::support::rig::layout;
use super::support::sim::SimFs;
use super::{Place, at};

const LIMITS: Limits =
    Limits { count: None, bytes: None, age: None, min_free: MinFree::Bytes(0), floor_percent: 0 };
const SECOND: Duration = Duration::from_secs(1);
/// Bytes of each file, about.
const SIZE: u64 = 40 << 10;

fn name(number: u64) -> CaptureName {
    CaptureName::new(number, 1_735_655_452)
}

/// A directory with the sealed files 1 to `count`, and its keeper.
fn keeper(count: u64, total: u64, limits: Limits) -> (Place, Keeper) {
    let fs = SimFs::new(total);
    fs.create_dir(&layout().captures()).unwrap();
    for number in 1..=count {
        fs.plant(at(&name(number).to_string()), &pcap_bytes(&mix(number * 100, 70), Shape::default()));
    }
    let place = Place::on(fs);
    let mut keeper = keeper_of(&place, limits);
    assert_eq!(reconcile(&mut keeper).len() as u64, count);
    (place, keeper)
}

fn keeper_of(place: &Place, limits: Limits) -> Keeper {
    Keeper::new(
        Arc::new(place.fs.clone()),
        layout(),
        place.data.ledger.clone(),
        Arc::new(place.clock.clone()),
        &place.data.entries,
        Some(limits),
        SIZE,
    )
    .unwrap()
}

fn reconcile(keeper: &mut Keeper) -> Vec<Kept> {
    std::iter::from_fn(|| keeper.reconcile()).collect()
}

/// The numbers of the files that went.
fn evicted(keeper: &mut Keeper) -> Vec<u64> {
    let kept = keeper.enforce(0, true).unwrap();
    let number = |kept: &Kept| if let Kept::Evicted(name, ..) = kept { Some(name.number()) } else { None };
    kept.iter().filter_map(number).collect()
}

#[test]
fn held_files_stay_until_they_are_given_back() {
    let (place, mut keeper) = keeper(5, 64 << 20, Limits { count: Some(3), ..LIMITS });
    assert!(hold::hold(&place.fs, &layout(), name(1)).unwrap());
    assert!(!hold::hold(&place.fs, &layout(), name(1)).unwrap());
    assert_eq!(evicted(&mut keeper), [2, 3]);
    assert!(keeper.catalog().is_held(name(1)));
    assert!(hold::release(&place.fs, &layout(), name(1)).unwrap());
    assert!(evicted(&mut keeper).is_empty(), "three files are within the limit");
    assert!(!keeper.catalog().is_held(name(1)));
    keeper.set_limits(Some(Limits { count: Some(2), ..LIMITS }), SIZE);
    assert_eq!(evicted(&mut keeper), [1]);
    let held = place.acts().into_iter().filter(|act| matches!(act, Act::Hold { .. } | Act::Release { .. }));
    assert_eq!(held.collect::<Vec<_>>(), [Act::Hold { name: name(1) }, Act::Release { name: name(1) }]);
}

#[test]
fn space_that_a_reader_keeps_is_waited_for() {
    let (place, mut keeper) = keeper(6, 2 << 20, Limits { min_free: MinFree::Bytes(SIZE), ..LIMITS });
    let reader = place.fs.open_read(&at(&name(1).to_string())).unwrap();
    place.fs.fill_to(2 * SIZE - 4096);
    assert_eq!(evicted(&mut keeper), [1]);
    assert!(evicted(&mut keeper).is_empty(), "the reader has not let go yet");
    drop(reader);
    place.fs.fill_to(2 * SIZE - 4096);
    place.clock.advance(59 * SECOND);
    assert!(evicted(&mut keeper).is_empty(), "others took what was freed");
    place.clock.advance(2 * SECOND);
    assert_eq!(evicted(&mut keeper), [2], "long enough");
}

#[test]
fn space_that_we_take_ourselves_is_not_waited_for() {
    let (place, mut keeper) = keeper(6, 2 << 20, Limits { min_free: MinFree::Bytes(SIZE), ..LIMITS });
    place.fs.fill_to(2 * SIZE - 4096);
    for number in 1..4 {
        assert_eq!(evicted(&mut keeper), [number]);
        // The next file takes the place of the evicted one.
        let bytes = pcap_bytes(&mix(number * 100 + 5000, 70), Shape::default());
        let next = name(number + 6);
        place.fs.plant(at(&next.to_string()), &bytes);
        let mut facts = keeper.catalog().capture(6).unwrap().clone();
        (facts.name, facts.size) = (next, bytes.len() as u64);
        keeper.note(Act::Seal { capture: facts }).unwrap();
    }
}

#[test]
fn when_others_fill_the_disk_eviction_stops_at_the_floor() {
    let limits = Limits { min_free: MinFree::Bytes(SIZE), floor_percent: 50, ..LIMITS };
    let (place, _) = keeper(10, 1 << 20, limits);
    place.fs.fill_to(0);
    let mut keeper = keeper_of(&place, limits);
    assert_eq!(reconcile(&mut keeper).len(), 10);
    let mut gone = 0;
    for _ in 0..20 {
        gone += evicted(&mut keeper).len();
        place.fs.fill_to(0);
        place.clock.advance(61 * SECOND);
    }
    assert!((1..=6).contains(&gone), "{gone} of 10 went");
    assert!(place.names().len() >= 4);
}

#[test]
fn a_reload_while_others_fill_the_disk_lowers_no_floor() {
    let limits = Limits { min_free: MinFree::Bytes(SIZE), floor_percent: 50, ..LIMITS };
    let (place, mut keeper) = keeper(10, 1 << 20, limits);
    place.fs.fill_to(0);
    let all_that_goes = |keeper: &mut Keeper| {
        let turn = |_| {
            let gone = evicted(keeper).len();
            place.fs.fill_to(0);
            place.clock.advance(61 * SECOND);
            gone
        };
        (0..10).map(turn).sum::<usize>()
    };
    assert!(all_that_goes(&mut keeper) < 6, "half of what was allowed stays");
    keeper.set_limits(Some(limits), SIZE);
    assert_eq!(all_that_goes(&mut keeper), 0, "others took the space, and not what was allowed");
    keeper.set_limits(Some(Limits { floor_percent: 20, ..limits }), SIZE);
    assert!(all_that_goes(&mut keeper) > 0, "the limit itself allows less");
}

#[test]
fn free_space_evicts_nothing_while_the_size_of_the_disk_is_not_known() {
    let limits = Limits { min_free: MinFree::Bytes(SIZE), floor_percent: 50, ..LIMITS };
    let (place, _) = keeper(10, 1 << 20, limits);
    place.fs.fill_to(0);
    place.fs.fail_when("space", super::support::sim::Fault::Errno(rustix::io::Errno::IO), 1);
    let mut keeper = keeper_of(&place, limits);
    assert_eq!(reconcile(&mut keeper).len(), 10);
    place.fs.fail_when("space", super::support::sim::Fault::Errno(rustix::io::Errno::IO), 1);
    assert!(keeper.enforce(0, true).is_err());
    assert!(!evicted(&mut keeper).is_empty(), "known by now");
}

#[test]
fn files_on_their_way_and_files_put_aside_count_as_bytes() {
    let limits = Limits { bytes: Some(8 * SIZE), ..LIMITS };
    let (place, mut keeper) = keeper(4, 64 << 20, limits);
    let file = pcap_bytes(&mix(1, 70), Shape::default());
    assert!(evicted(&mut keeper).is_empty());
    let plant = |name: String, size: u64| {
        let mut bytes = file.clone();
        bytes.resize(usize::try_from(size).unwrap(), 0);
        place.fs.plant(at(&name), &bytes);
    };
    plant(format!("{}.damaged", name(5)), SIZE);
    plant(format!("{}.part", name(6)), 3 * SIZE);
    let went = evicted(&mut keeper);
    assert!(!went.is_empty(), "the sum is above the limit");
    plant(format!("{}.part", name(7)), SIZE);
    let kept = keeper.enforce(SIZE, true).unwrap();
    let there: u64 = place.names().iter().map(|name| place.fs.contents(at(name)).unwrap().len() as u64).sum();
    assert!(there <= 8 * SIZE && there > 6 * SIZE, "{there} bytes are left, {went:?} and {kept:?} went");
}

#[test]
fn a_file_with_the_number_of_another_is_told_and_left_alone() {
    let fs = SimFs::new(64 << 20);
    fs.create_dir(&layout().captures()).unwrap();
    let other = CaptureName::new(1, 1_735_655_999);
    for name in [name(1), other] {
        fs.plant(at(&name.to_string()), &pcap_bytes(&mix(1, 70), Shape::default()));
    }
    let mut keeper = keeper_of(&Place::on(fs), LIMITS);
    let kept = reconcile(&mut keeper);
    let [Kept::Clash(clash), Kept::Found(found)] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!((clash.clone(), *found), (other.to_string(), name(1)));
    assert!(keeper.reconcile().is_none());
}

#[test]
fn an_eviction_that_a_power_cut_undid_makes_its_file_no_younger() {
    let limits = Limits { count: Some(1), ..LIMITS };
    let (place, mut keeper) = keeper(2, 64 << 20, limits);
    place.clock.advance(1000 * SECOND);
    place.fs.fail_when("sync_dir", super::support::sim::Fault::Errno(rustix::io::Errno::IO), 1);
    assert_eq!(evicted(&mut keeper), [1]);
    let undone = Place { clock: place.clock.clone(), ..Place::on(place.fs.crash(SimFs::LOSE_ALL)) };
    assert_eq!(undone.names().len(), 2);
    undone.clock.advance(10 * SECOND);
    let mut again = keeper_of(&undone, Limits { age: Some(900 * SECOND), ..LIMITS });
    assert_eq!(evicted(&mut again), [1, 2]);
}

#[test]
fn what_is_kept_is_told_with_how_far_back_it_reaches() {
    let (place, mut keeper) = keeper(5, 64 << 20, Limits { count: Some(9), ..LIMITS });
    assert!(hold::hold(&place.fs, &layout(), name(1)).unwrap());
    assert!(evicted(&mut keeper).is_empty());
    place.clock.advance(100 * SECOND);
    let facts: Vec<_> = keeper.catalog().captures().cloned().collect();
    let (first, last) = (facts[1].first.unwrap(), facts[1].last.unwrap());
    let span_ms = u64::try_from((last - first) / 1_000_000).unwrap();
    assert!(span_ms > 0);
    let reach = keeper.reach(1_000).unwrap();
    let bytes: u64 = facts.iter().map(|facts| facts.size).sum();
    assert_eq!((reach.files, reach.bytes, reach.held), (5, bytes + 1_000, facts[0].size));
    assert_eq!((reach.allowed, reach.age_limit_ms), (10 * SIZE, None));
    assert_eq!(reach.kept_ms, Some(100_000 + span_ms), "of the oldest that is not held");
    // A clock that stepped within the file makes its stamps no measure.
    place.clock.set_wall(last);
    keeper.note(Act::ClockStep { by_ms: 1 }).unwrap();
    assert_eq!(keeper.reach(0).unwrap().kept_ms, Some(100_000));
}
