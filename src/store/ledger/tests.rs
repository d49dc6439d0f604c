use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::facts::{CaptureFacts, State};
use super::super::finding::KeptFinding;
use super::super::flow_facts::FlowFacts;
use super::super::losses::Losses;
use super::super::names::{CaptureName, FlowName};
use super::*;
use crate::packet::Place;
use crate::sys::clock::Now;
use crate::sys::fs::{Entry as DirEntry, RealFs, Space};

struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Now {
        let second = self.0.fetch_add(1, Ordering::Relaxed);
        Now {
            up: Duration::from_secs(second),
            wall: 1_735_655_452_000_000_000 + second as i64 * 1_000_000_000,
        }
    }
    fn synchronised(&self) -> bool {
        true
    }
    fn boot_id(&self) -> String {
        "boot".to_owned()
    }
}

/// The real file system, except that one call fails, and a write then after half of its bytes.
#[derive(Clone)]
struct Faulty {
    left: Arc<AtomicI64>,
    errno: i32,
}

impl Faulty {
    fn new(call: i64, errno: i32) -> Self {
        Self { left: Arc::new(AtomicI64::new(call)), errno }
    }
    fn call<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            0 => Err(io::Error::from_raw_os_error(self.errno)),
            _ => act(),
        }
    }
    fn file(&self, file: io::Result<Box<dyn FsFile>>) -> io::Result<Box<dyn FsFile>> {
        Ok(Box::new(FaultyFile(file?, self.clone())))
    }
}

impl Fs for Faulty {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        self.call(|| self.file(RealFs::default().create(path)))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        self.call(|| self.file(RealFs::default().open(path)))
    }
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        self.call(|| self.file(RealFs::default().open_read(path)))
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|| RealFs::default().link(from, to))
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|| RealFs::default().rename_new(from, to))
    }
    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|| RealFs::default().replace(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(|| RealFs::default().remove(path))
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.call(|| RealFs::default().sync_dir(path))
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call(|| RealFs::default().create_dir(path))
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.call(|| RealFs::default().read_dir(path))
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        self.call(|| RealFs::default().space(path))
    }
}

struct FaultyFile(Box<dyn FsFile>, Faulty);

impl FsFile for FaultyFile {
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        // The call before the one to fail is cut short, so that the failure leaves half of the bytes in the file.
        let short = self.1.left.load(Ordering::Relaxed) == 1;
        self.1.call(|| self.0.write_at(if short { &buf[..buf.len().div_ceil(2)] } else { buf }, offset))
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn start_writeback(&self, offset: u64, len: u64) -> io::Result<()> {
        self.1.call(|| self.0.start_writeback(offset, len))
    }
    fn sync(&self) -> io::Result<()> {
        self.1.call(|| self.0.sync())
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.1.call(|| self.0.truncate(len))
    }
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.1.call(|| self.0.reserve(offset, len))
    }
    fn len(&self) -> io::Result<u64> {
        self.1.call(|| self.0.len())
    }
}

fn capture(number: u64) -> CaptureFacts {
    CaptureFacts {
        name: CaptureName::new(number, 1_735_655_452),
        state: State::Sealed,
        packets: 10,
        bytes: 1000,
        size: 1184,
        first: Some(1_735_655_452_000_000_000),
        last: Some(1_735_655_460_000_000_000),
        losses: Losses::NONE,
        clock_synchronised: Some(true),
        doubtful_from: None,
    }
}

fn seal(number: u64) -> Act {
    Act::Seal { capture: capture(number) }
}

fn evict(number: u64) -> Act {
    Act::Evict { capture: capture(number), reason: "count".to_owned() }
}

fn open(fs: impl Fs + 'static, dir: &TempDir) -> Result<(Ledger, Loaded), LedgerError> {
    Ledger::open(Arc::new(fs), dir.path().join("ledger.jsonb"), Arc::new(TestClock(AtomicU64::new(1))))
}

fn reload(dir: &TempDir) -> Loaded {
    load(&RealFs::default(), &dir.path().join("ledger.jsonb")).unwrap()
}

fn acts(loaded: &Loaded) -> Vec<Act> {
    loaded.entries.iter().map(|entry| entry.act.clone()).collect()
}

fn is_sound(loaded: &Loaded) -> bool {
    loaded.unverified == 0 && loaded.lost.is_empty() && loaded.cut.is_none() && loaded.not_replaced.is_none()
}

#[test]
fn entries_are_stamped_kept_and_gone_on_with() {
    let dir = TempDir::new().unwrap();
    let (mut ledger, loaded) = open(RealFs::default(), &dir).unwrap();
    assert!(is_sound(&loaded) && loaded.entries.is_empty());
    ledger.append(seal(7)).unwrap();
    ledger.append_all([seal(9), evict(7)]).unwrap();
    let (mut again, loaded) = open(RealFs::default(), &dir).unwrap();
    assert_eq!((acts(&loaded), loaded.highest), (vec![seal(7), seal(9), evict(7)], 9));
    assert_eq!(loaded.entries[0].at, Some(1_735_655_453_000_000_000));
    assert_eq!((loaded.entries[0].up_ms, loaded.entries[0].synchronised), (1000, true));
    let before = std::fs::read(dir.path().join("ledger.jsonb")).unwrap();
    again.append(seal(10)).unwrap();
    let after = std::fs::read(dir.path().join("ledger.jsonb")).unwrap();
    assert_eq!(after[..before.len()], before);
    assert_eq!(acts(&reload(&dir)).len(), 4);
    assert_eq!(again.highest(), 10);
    assert!(load(&RealFs::default(), &dir.path().join("none")).unwrap().entries.is_empty());
}

#[test]
fn a_ledger_cut_anywhere_is_replaced_and_loses_only_what_was_cut() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ledger.jsonb");
    let (mut ledger, _) = open(RealFs::default(), &dir).unwrap();
    ledger.append(seal(1)).unwrap();
    let synced = std::fs::metadata(&path).unwrap().len() as usize;
    ledger.append_all([seal(2), seal(3)]).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for len in synced..whole.len() {
        for zeros in [0, 300] {
            std::fs::write(&path, [&whole[..len], &vec![0; zeros]].concat()).unwrap();
            let (mut ledger, loaded) = open(RealFs::default(), &dir).unwrap();
            let all = [seal(1), seal(2), seal(3)];
            let kept = acts(&loaded);
            assert!(!kept.is_empty() && kept == all[..kept.len()], "cut at {len}");
            ledger.append(seal(4)).unwrap();
            let loaded = reload(&dir);
            assert!(is_sound(&loaded), "cut at {len}");
            assert_eq!(acts(&loaded), [kept, vec![seal(4)]].concat());
        }
    }
    assert!(dir.path().join("ledger.jsonb.damaged").exists());
}

#[test]
fn damage_is_told_and_the_damaged_file_kept() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ledger.jsonb");
    let (mut ledger, _) = open(RealFs::default(), &dir).unwrap();
    (1..=3).for_each(|number| _ = ledger.append(seal(number)).unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (_, loaded) = open(RealFs::default(), &dir).unwrap();
    assert_eq!(acts(&loaded), [seal(1), seal(3)]);
    assert!(loaded.lost.len() == 1 && loaded.lost[0].contains(&(middle as u64)));
    assert_eq!(std::fs::read(dir.path().join("ledger.jsonb.damaged")).unwrap(), bytes);
    assert!(is_sound(&reload(&dir)));

    for foreign in [b"no ledger at all".to_vec(), later_format()] {
        std::fs::write(&path, &foreign).unwrap();
        let (_, loaded) = open(RealFs::default(), &dir).unwrap();
        assert!(loaded.entries.is_empty() && loaded.unknown == 0);
        assert!(loaded.foreign || loaded.cut.is_some());
        assert!(is_sound(&reload(&dir)));
    }
    assert_eq!(std::fs::read(dir.path().join("ledger.jsonb.damaged")).unwrap(), later_format());
}

fn later_format() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = SequenceWriter::begin(FORMAT, VERSION + 1, 5, &mut bytes).unwrap();
    writer.record(&serde_json::json!({"whatever": 1}), &mut bytes).unwrap();
    writer.checkpoint(&mut bytes).unwrap();
    bytes
}

#[test]
fn acts_of_a_later_version_are_counted_and_kept() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ledger.jsonb");
    let mut bytes = Vec::new();
    let mut writer = SequenceWriter::begin(FORMAT, VERSION, 5, &mut bytes).unwrap();
    let entry = Entry { at: None, up_ms: 1, synchronised: false, act: Act::ClockStep { by_ms: -5 } };
    let mut wider = serde_json::to_value(&entry).unwrap();
    wider["added_later"] = true.into();
    writer.record(&wider, &mut bytes).unwrap();
    writer.record(&serde_json::json!({"act": "teleport", "at": null, "to": 7}), &mut bytes).unwrap();
    writer.checkpoint(&mut bytes).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    let (mut ledger, loaded) = open(RealFs::default(), &dir).unwrap();
    assert_eq!((loaded.entries, loaded.unknown), (vec![entry], 1));
    ledger.compact(&[], &[]).unwrap();
    assert_eq!(reload(&dir).unknown, 1);
    let kept = std::fs::read(&path).unwrap();
    for word in [&b"added_later"[..], b"teleport"] {
        assert!(kept.windows(word.len()).any(|w| w == word));
    }
}

#[test]
fn whatever_fails_no_acknowledged_entry_is_lost_and_the_next_ones_get_through() {
    for errno in [libc::EIO, libc::ENOSPC, libc::EINTR] {
        for call in 0.. {
            let dir = TempDir::new().unwrap();
            let fs = Faulty::new(call, errno);
            let mut entered = Vec::new();
            let first = open(fs.clone(), &dir).map(|(ledger, _)| ledger);
            let mut ledger = first.unwrap_or_else(|_| open(fs.clone(), &dir).unwrap().0);
            for number in 1..=6 {
                if ledger.append(seal(number)).is_ok() {
                    entered.push(seal(number));
                }
                if number == 3 {
                    let _ = ledger.compact(&[(1, 10), (2, 10), (3, 10)], &[]);
                }
                let loaded = reload(&dir);
                assert!(loaded.lost.is_empty(), "{errno} at {call}: {loaded:?}");
                let acts = acts(&loaded);
                assert!(entered.iter().all(|act| acts.contains(act)), "{errno} at {call}: {acts:?}");
            }
            assert!(entered.len() >= 5, "{errno} at {call}: one failure costs at most one entry");
            assert!(errno != libc::EINTR || entered.len() == 6, "{call}: an interruption is no failure");
            ledger.append(seal(7)).or_else(|_| ledger.append(seal(8))).unwrap();
            let loaded = reload(&dir);
            assert!(is_sound(&loaded), "{errno} at {call}: {loaded:?}");
            if fs.left.load(Ordering::Relaxed) >= 0 {
                assert!(call > 20, "the fault test touches too few calls");
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_is_gone_on_with_where_it_cut() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ledger.jsonb");
    let fs = Faulty::new(i64::MAX, libc::ENOSPC);
    let (mut ledger, _) = open(fs.clone(), &dir).unwrap();
    ledger.append(seal(1)).unwrap();
    fs.left.store(1, Ordering::Relaxed);
    ledger.append(seal(2)).unwrap_err();
    let cut = std::fs::read(&path).unwrap();
    assert!(reload(&dir).cut.is_some());
    ledger.append(seal(3)).unwrap();
    assert_eq!(std::fs::read(&path).unwrap()[..cut.len()], cut);
    let loaded = reload(&dir);
    assert!(is_sound(&loaded));
    assert_eq!(acts(&loaded), [seal(1), seal(2), seal(3)]);
}

#[test]
fn space_is_reserved_ahead() {
    use std::os::unix::fs::MetadataExt;
    let dir = TempDir::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let (mut ledger, _) = open(RealFs::default(), &dir).unwrap();
    for number in 0..600 {
        ledger.append_all((0..10).map(|n| seal(number + n))).unwrap();
        let meta = std::fs::metadata(dir.path().join("ledger.jsonb")).unwrap();
        if number % 100 == 0 {
            assert!(
                meta.blocks() * 512 >= meta.len() + RESERVE,
                "{} for {}",
                meta.blocks() * 512,
                meta.len()
            );
        }
    }
    assert!(ledger.wants_compaction());
    ledger.compact(&[(5, 1), (1_000_000, 1)], &[]).unwrap();
    assert!(!ledger.wants_compaction());
    assert!(std::fs::metadata(dir.path().join("ledger.jsonb")).unwrap().len() < 2000);
}

#[test]
fn a_compaction_keeps_the_seal_of_a_file_on_its_way() {
    let dir = TempDir::new().unwrap();
    let (mut ledger, _) = open(RealFs::default(), &dir).unwrap();
    let told = [seal(1), seal(2), seal(4), seal(5), evict(5), seal(6)];
    ledger.append_all(told).unwrap();
    ledger.compact(&[(2, 1), (3, 1)], &[]).unwrap();
    let left: Vec<_> =
        acts(&reload(&dir)).into_iter().filter(|act| matches!(act, Act::Seal { .. })).collect();
    assert_eq!(
        left,
        [seal(2), seal(4), seal(6)],
        "1 is gone, 5 evicted; 4 and 6 may not be in the catalog yet"
    );
}

/// What a rebuild makes of a ledger: seals, holds and damage of the files that exist, the last 1,000 evictions, the highest
/// number.
fn listing(
    loaded: &Loaded,
    existing: &BTreeSet<u64>,
) -> (BTreeMap<u64, Act>, BTreeMap<u64, Act>, Vec<Act>, u64) {
    let (mut sealed, mut held, mut evicted) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for act in acts(loaded) {
        let number = act.highest();
        match act {
            Act::Seal { .. } | Act::Salvage { .. } if existing.contains(&number) => {
                sealed.insert(number, act);
            }
            Act::Hold { .. } | Act::Release { .. } if existing.contains(&number) => {
                held.insert(number, act);
            }
            Act::Evict { .. } => {
                evicted.retain(|act: &Act| act.highest() != number);
                evicted.push(act);
            }
            _ => {}
        }
    }
    let old = evicted.len().saturating_sub(1000);
    (sealed, held, evicted.split_off(old), loaded.highest)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_compacted_ledger_lists_as_before(
        story in prop::collection::vec((0_u8..9, 1_u64..3000), 0..400),
        many in any::<bool>(),
        existing in prop::collection::btree_set(1_u64..3000, 0..200),
    ) {
        let dir = TempDir::new().unwrap();
        let (mut ledger, _) = open(RealFs::default(), &dir).unwrap();
        if many {
            ledger.append_all((1..2500).map(evict)).unwrap();
        }
        let damage = |file: String| Act::Damage { file, what: "x".to_owned() };
        ledger.append_all(story.into_iter().map(|(kind, n)| match kind {
            0 | 1 => seal(n),
            2 => Act::Salvage { capture: capture(n), cut: 3, reason: "cut".to_owned() },
            3 => evict(n),
            4 => Act::Hold { name: capture(n).name },
            5 => Act::Release { name: capture(n).name },
            6 => damage(capture(n).name.to_string()),
            7 => damage("index.sqlite3".to_owned()),
            _ => Act::Start { version: "1".to_owned(), boot: n.to_string(), source: None },
        })).unwrap();
        let before = reload(&dir);
        let starts = |loaded: &Loaded| acts(loaded).into_iter().rfind(|a| matches!(a, Act::Start { .. }));
        let ages: Vec<_> = existing.iter().map(|&number| (number, number * 7)).collect();
        ledger.compact(&ages, &[]).unwrap();
        let after = reload(&dir);
        prop_assert!(is_sound(&after));
        let highest = before.highest.max(existing.last().copied().unwrap_or(0));
        let expected = listing(&Loaded { highest, ..reload_as(&before) }, &existing);
        prop_assert_eq!(listing(&after, &existing), expected);
        prop_assert_eq!(starts(&after), starts(&before));
        // A young file that was not evicted may be on its way; whatever is told of it stays.
        let young = before.highest.saturating_sub(existing.last().copied().unwrap_or(0)) as usize;
        prop_assert!(after.entries.len() <= 12 * (existing.len() + young.min(400)) + 1102);
        let told: Vec<_> = acts(&after).into_iter().filter_map(|act| match act {
            Act::Compacted { ages, .. } => Some(ages),
            _ => None,
        }).collect();
        prop_assert_eq!(told, vec![ages]);
    }
}

fn reload_as(loaded: &Loaded) -> Loaded {
    Loaded { entries: loaded.entries.clone(), ..Loaded::default() }
}

#[test]
fn a_compaction_keeps_flow_files_that_exist_and_each_finding_once() {
    let dir = TempDir::new().unwrap();
    let (mut ledger, _) = open(RealFs::default(), &dir).unwrap();
    let facts = |number: u64| FlowFacts {
        analysed: Some(Place { file: 40 + number, offset: 24 }),
        ..FlowFacts::bare(FlowName::new(number, 5), State::Sealed)
    };
    let seal = |number| Act::FlowSeal { flows: facts(number) };
    let evict = |number| Act::FlowEvict { flows: facts(number), reason: "count".to_owned() };
    let finding = |n: u64, count: u64| {
        let finding =
            serde_json::json!({"id": n.to_string(), "count": count, "threshold": 10.0, "dst": null});
        Act::Finding { finding: KeptFinding::new(&finding).unwrap() }
    };
    // 1 is evicted, 2 is gone, 3 exists, 4 is on its way.
    let told = [seal(1), seal(2), finding(7, 1), seal(3), evict(1), finding(8, 1), finding(7, 2), seal(4)];
    ledger.append_all(told).unwrap();
    assert_eq!(ledger.highest(), 44, "numbers of captures that only flows tell of are not given again");
    ledger.compact(&[], &[(3, 5)]).unwrap();
    let loaded = reload(&dir);
    let left: Vec<_> =
        acts(&loaded).into_iter().filter(|act| !matches!(act, Act::Compacted { .. })).collect();
    assert_eq!(left, [seal(3), evict(1), finding(8, 1), finding(7, 2), seal(4)]);
    assert!(
        acts(&loaded)
            .iter()
            .any(|act| matches!(act, Act::Compacted { flow_ages, .. } if flow_ages == &[(3, 5)]))
    );
}

#[test]
fn a_ledger_of_before_flow_files_is_read() {
    let old = serde_json::json!({"at": null, "up_ms": 1, "synchronised": false, "act": "compacted", "boot": "b",
        "ages": [[1, 2]], "highest": 3});
    let entry: Entry = serde_json::from_value(old).unwrap();
    let compacted =
        Act::Compacted { boot: "b".to_owned(), ages: vec![(1, 2)], flow_ages: Vec::new(), highest: 3 };
    assert_eq!(entry.act, compacted);
}

#[test]
fn findings_are_followed_across_compaction_and_restarts_of_the_reader() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ledger.jsonb");
    let (mut ledger, _) =
        Ledger::open(Arc::new(RealFs::default()), &path, Arc::new(TestClock(AtomicU64::new(0)))).unwrap();
    let finding = |id: u64, count: u64| Act::Finding {
        finding: KeptFinding::new(&serde_json::json!({"id": format!("beacon-{id}"), "count": count}))
            .unwrap(),
    };
    let poll = |cursor: &mut String| {
        let place =
            if cursor.is_empty() { FindingCursor::default() } else { serde_json::from_str(cursor).unwrap() };
        let mut follower = FindingFollower::resume(place);
        let mut told = Vec::new();
        follower.poll(&RealFs::default(), &path, |finding| told.push(finding.json().to_owned())).unwrap();
        *cursor = serde_json::to_string(follower.cursor()).unwrap();
        (told, follower.take_lost_place())
    };
    let (mut cursor, mut told, mut written) = (String::new(), Vec::new(), Vec::new());
    // One that stays, and asks again and again.
    let mut staying = FindingFollower::new(&RealFs::default(), &path).unwrap();
    let mut stayed = Vec::new();
    for step in 0..60 {
        // Every third is one of before that has grown: compaction drops what it was.
        let (id, count) = if step % 3 == 2 { (step - 2, 9) } else { (step, 1) };
        let act = finding(id, count);
        let Act::Finding { finding } = &act else { unreachable!() };
        written.push(finding.json().to_owned());
        ledger.append(act).unwrap();
        ledger.append(Act::ClockStep { by_ms: 5 }).unwrap();
        if step % 4 == 1 {
            let (new, lost) = poll(&mut cursor);
            assert!(!lost);
            told.extend(new);
        }
        if step % 5 == 4 {
            staying
                .poll(&RealFs::default(), &path, |finding| stayed.push(finding.json().to_owned()))
                .unwrap();
        }
        if step % 7 == 6 {
            ledger.compact(&[], &[]).unwrap();
        }
    }
    told.extend(poll(&mut cursor).0);
    staying.poll(&RealFs::default(), &path, |finding| stayed.push(finding.json().to_owned())).unwrap();
    // What was told again before a reader came, it is told once, as it is by then.
    let latest: BTreeMap<_, _> = written.iter().map(|json| (json.split(',').next(), json)).collect();
    for told in [&told, &stayed] {
        assert!(latest.values().all(|json| told.contains(json)));
        let mut all = written.iter();
        assert!(told.iter().all(|json| all.any(|written| written == json)), "each once, in order: {told:?}");
    }
    assert!(!staying.take_lost_place());
    assert_eq!(poll(&mut cursor), (Vec::new(), false));
    // Another ledger: all of it is told, and that the place is lost.
    std::fs::remove_file(&path).unwrap();
    let (mut ledger, _) =
        Ledger::open(Arc::new(RealFs::default()), &path, Arc::new(TestClock(AtomicU64::new(0)))).unwrap();
    ledger.append(finding(7, 1)).unwrap();
    let (new, lost) = poll(&mut cursor);
    assert_eq!((new.len(), lost), (1, true));
}
