//! The simulated disk keeps what a disk keeps, and loses what a disk may lose.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::io::Errno;
use tapkeep::sys::fs::{Fs, write_full};

use crate::support::sim::{Fault, PAGE, SimFs, is_frozen};

const A: &str = "/data/a";
const B: &str = "/data/b";
const MIB: u64 = 1 << 20;

fn path(text: &str) -> &Path {
    Path::new(text)
}

fn written(fs: &SimFs, name: &str, bytes: &[u8]) -> Box<dyn tapkeep::sys::fs::FsFile> {
    let file = fs.create(path(name)).unwrap();
    write_full(&*file, bytes, 0).unwrap();
    file
}

#[test]
fn synced_bytes_under_a_synced_name_outlive_every_cut() {
    let fs = SimFs::new(MIB);
    let file = written(&fs, A, b"kept");
    file.sync().unwrap();
    fs.sync_dir(path("/data")).unwrap();
    write_full(&*file, &[7; 20_000], 4).unwrap();
    for seed in 0..200 {
        let after = fs.crash(seed).contents(A).unwrap();
        assert_eq!(&after[..4], b"kept", "seed {seed}");
        assert!(after.len() <= 20_004);
        assert!(after[4..].iter().all(|byte| [0, 7].contains(byte)));
    }
    assert_eq!(fs.crash(SimFs::LOSE_ALL).contents(A).unwrap(), b"kept");
    assert_eq!(fs.crash(SimFs::LOSE_NOTHING).contents(A), fs.contents(A));
}

#[test]
fn every_kind_of_tail_comes_about() {
    let fs = SimFs::new(MIB);
    let file = written(&fs, A, &[1; 4096]);
    file.sync().unwrap();
    fs.sync_dir(path("/data")).unwrap();
    write_full(&*file, &[7; 4 * 4096], 4096).unwrap();
    let ends: BTreeSet<String> = (0..3_000)
        .map(|seed| {
            let after = fs.crash(seed).contents(A).unwrap();
            after.chunks(4096).map(|page| if page[0] == 0 { '0' } else { 'x' }).collect()
        })
        .collect();
    for end in ["x", "x0000", "x00", "xxxxx", "xxx", "xxx00", "xx0x0", "x0x0x"] {
        assert!(ends.contains(end), "{end} never came about: {ends:?}");
    }
}

#[test]
fn names_need_their_directory_synced_and_keep_their_order() {
    let fs = SimFs::new(MIB);
    written(&fs, A, b"x").sync().unwrap();
    assert_eq!(fs.crash(SimFs::LOSE_ALL).paths(), Vec::<&Path>::new());
    fs.sync_dir(path("/data")).unwrap();
    fs.rename_new(path(A), path(B)).unwrap();
    written(&fs, A, b"second");
    let seen: BTreeSet<_> = (0..100).map(|seed| fs.crash(seed).paths()).collect();
    let of = |names: &[&str]| names.iter().map(|name| path(name).to_owned()).collect::<Vec<_>>();
    assert_eq!(seen, BTreeSet::from([of(&[A]), of(&[B]), of(&[A, B])]));
    assert_eq!(fs.durable(A).unwrap(), b"x");
    assert_eq!(fs.durable(B), None);
}

#[test]
fn a_rename_between_directories_happens_in_both_or_neither() {
    let fs = SimFs::new(MIB);
    fs.create_dir(path("/data/d")).unwrap();
    written(&fs, A, b"x").sync().unwrap();
    fs.sync_dir(path("/data")).unwrap();
    written(&fs, "/data/d/first", b"");
    fs.rename_new(path(A), path("/data/d/a")).unwrap();
    for seed in 0..100 {
        let after = fs.crash(seed);
        assert!(after.contents(A).is_some() != after.contents("/data/d/a").is_some(), "seed {seed}");
    }
    fs.sync_dir(path("/data")).unwrap();
    assert_eq!(fs.crash(SimFs::LOSE_ALL).contents("/data/d/a").unwrap(), b"x");
}

#[test]
fn a_lost_directory_takes_its_files_along() {
    let fs = SimFs::new(MIB);
    fs.create_dir(path("/data/d")).unwrap();
    fs.create_dir(path("/data/d")).unwrap();
    written(&fs, "/data/d/a", b"x").sync().unwrap();
    fs.sync_dir(path("/data/d")).unwrap();
    assert!(fs.crash(SimFs::LOSE_ALL).paths().is_empty());
    fs.sync_dir(path("/data")).unwrap();
    assert_eq!(fs.crash(SimFs::LOSE_ALL).contents("/data/d/a").unwrap(), b"x");
}

#[test]
fn links_and_replacing_follow_posix() {
    let fs = SimFs::new(MIB);
    fs.plant(A, b"old");
    fs.link(path(A), path(B)).unwrap();
    assert_eq!(fs.link(path(A), path(B)).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(fs.rename_new(path(A), path(B)).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    fs.replace(path(A), path(B)).unwrap();
    assert_eq!(fs.paths().len(), 2, "two names of one file stay");
    written(&fs, "/data/new", b"new").sync().unwrap();
    fs.replace(path("/data/new"), path(A)).unwrap();
    assert_eq!((fs.contents(A).unwrap(), fs.contents(B).unwrap()), (b"new".to_vec(), b"old".to_vec()));
    for seed in 0..20 {
        let after = fs.crash(seed).contents(A).unwrap();
        assert!(after == b"old" || after == b"new");
    }
    assert!(fs.create(path(A)).is_err() && fs.open(path("/data/none")).is_err());
    assert!(fs.create(path("/none/a")).is_err() && fs.read_dir(path(A)).is_err());
}

#[test]
fn an_undone_removal_gives_back_the_synced_bytes() {
    let fs = SimFs::new(MIB);
    fs.plant(A, b"kept");
    fs.remove(path(A)).unwrap();
    assert_eq!(fs.contents(A), None);
    assert_eq!(fs.crash(SimFs::LOSE_ALL).contents(A).unwrap(), b"kept");
    fs.sync_dir(path("/data")).unwrap();
    assert_eq!(fs.crash(SimFs::LOSE_ALL).contents(A), None);
}

#[test]
fn a_cut_file_shows_no_old_bytes_behind_new_ones() {
    let fs = SimFs::new(MIB);
    fs.plant(A, &[1; 10_000]);
    let file = fs.open(path(A)).unwrap();
    file.truncate(100).unwrap();
    write_full(&*file, &[2; 100], 9_000).unwrap();
    assert_eq!(fs.contents(A).unwrap()[100..9_000], [0; 8_900]);
    for seed in 0..200 {
        let after = fs.crash(seed).contents(A).unwrap();
        let undone = after == [1; 10_000];
        assert!(undone || !after[100..].contains(&1), "seed {seed}");
    }
    file.sync().unwrap();
    assert_eq!(fs.crash(SimFs::LOSE_ALL).contents(A), fs.contents(A));
}

#[test]
fn writeback_may_keep_bytes_and_promises_none() {
    let fs = SimFs::new(MIB);
    fs.plant(A, b"");
    let file = fs.open(path(A)).unwrap();
    write_full(&*file, &[7; 100], 0).unwrap();
    file.start_writeback(0, 100).unwrap();
    write_full(&*file, &[8; 100], 100).unwrap();
    let seen: BTreeSet<(usize, bool, bool)> = (0..300)
        .map(|seed| {
            let after = fs.crash(seed).contents(A).unwrap();
            (after.len(), after.contains(&7), after.contains(&8))
        })
        .collect();
    assert!(seen.contains(&(0, false, false)) && seen.contains(&(100, true, false)), "{seen:?}");
    assert!(seen.contains(&(200, true, true)) && seen.contains(&(200, true, false)), "{seen:?}");
}

#[test]
fn a_full_disk_takes_part_of_a_write_and_then_nothing() {
    let fs = SimFs::new(10 * PAGE);
    fs.fill_to(2 * PAGE + 100);
    let file = fs.create(path(A)).unwrap();
    assert_eq!(file.write_at(&[1; 20_000], 0).unwrap(), 8192);
    let error = file.write_at(&[1; 1], 8192).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::NOSPC.raw_os_error()));
    assert_eq!(fs.space(path("/data")).unwrap().free, 100);
    file.write_at(&[2; 8192], 0).unwrap();
    fs.fill_to(PAGE);
    assert_eq!(file.write_at(&[1; 20_000], 8192).unwrap(), 4096);
    fs.fill_to(u64::MAX);
    assert_eq!(fs.free(), 7 * PAGE);
}

#[test]
fn removed_files_and_reservations_take_space_until_they_are_let_go() {
    let fs = SimFs::new(10 * PAGE);
    let file = written(&fs, A, &[1; 5_000]);
    assert_eq!(fs.free(), 8 * PAGE);
    file.reserve(0, 4 * PAGE).unwrap();
    assert_eq!((fs.free(), file.len().unwrap()), (6 * PAGE, 5_000));
    file.sync().unwrap();
    fs.sync_dir(path("/data")).unwrap();
    assert_eq!(fs.crash(SimFs::LOSE_ALL).free(), 6 * PAGE, "a reservation survives");
    file.truncate(5_000).unwrap();
    assert_eq!(fs.free(), 8 * PAGE);
    fs.remove(path(A)).unwrap();
    assert_eq!(fs.free(), 8 * PAGE);
    drop(file);
    assert_eq!(fs.free(), 10 * PAGE);
    let file = fs.create(path(B)).unwrap();
    assert!(file.reserve(0, 11 * PAGE).is_err());
}

#[test]
fn a_frozen_world_changes_nothing() {
    let fs = SimFs::new(MIB);
    let file = written(&fs, A, b"x");
    fs.freeze_at(fs.count() + 2);
    file.sync().unwrap();
    let before = (fs.operations(), fs.contents(A));
    assert!(is_frozen(&file.write_at(b"y", 1).unwrap_err()));
    assert!(is_frozen(&fs.remove(path(A)).unwrap_err()));
    assert!(is_frozen(&fs.read_dir(path("/data")).unwrap_err()));
    assert_eq!((fs.operations(), fs.contents(A)), before);
    assert_eq!(before.0, ["create /data/a", "write /data/a @0 +1", "sync /data/a"]);
    fs.crash(9).create(path(B)).unwrap();
}

#[test]
fn faults_strike_where_they_are_planned() {
    let fs = SimFs::new(MIB);
    fs.fail_at(2, Fault::ShortWrite(3));
    fs.fail_at(3, Fault::Interrupted);
    fs.fail_when("sync /data/a", Fault::Errno(Errno::IO), 2);
    let file = fs.create(path(A)).unwrap();
    assert_eq!(file.write_at(b"abcdef", 0).unwrap(), 3);
    assert_eq!(file.write_at(b"def", 3).unwrap_err().kind(), std::io::ErrorKind::Interrupted);
    assert_eq!(file.write_at(b"def", 3).unwrap(), 3);
    assert!(file.sync().is_err() && file.sync().is_err() && file.sync().is_ok());
    assert_eq!(fs.operations()[1], "write /data/a @0 +6 => ShortWrite(3)");
    fs.fail_when("space", Fault::LostPages, usize::MAX);
    assert!(fs.space(path("/data")).is_err() && fs.space(path("/data")).is_err());
    fs.heal();
    assert!(fs.space(path("/data")).is_ok());
}

#[test]
fn a_failed_sync_lies_the_second_time() {
    let fs = SimFs::new(MIB);
    fs.plant(A, &[1; 4096]);
    let file = fs.open(path(A)).unwrap();
    write_full(&*file, &[2; 4096], 4096).unwrap();
    fs.fail_when("sync", Fault::LostPages, 1);
    assert!(file.sync().is_err());
    write_full(&*file, &[3; 4096], 8192).unwrap();
    file.sync().unwrap();
    assert_eq!(fs.contents(A).unwrap()[4096..8192], [2; 4096]);
    let after = fs.crash(SimFs::LOSE_ALL).contents(A).unwrap();
    assert_eq!((after[4096], after[8192], after.len()), (0, 3, 12_288));
}

#[test]
fn files_are_listed_and_exported_as_readers_see_them() {
    let fs = SimFs::new(MIB);
    fs.create_dir(path("/data/d")).unwrap();
    written(&fs, "/data/d/x", b"12");
    written(&fs, A, b"1");
    let names: Vec<_> = fs.read_dir(path("/data")).unwrap().into_iter().map(|e| (e.name, e.size)).collect();
    assert_eq!(names, [("a".to_owned(), 1)]);
    let dir = tempfile::tempdir().unwrap();
    fs.export(dir.path());
    assert_eq!(std::fs::read(dir.path().join("d/x")).unwrap(), b"12");
}
