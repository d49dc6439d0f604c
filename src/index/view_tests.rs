use std::cell::Cell;
use std::path::Path;

use super::*;
use crate::index::writer::IndexWriter;
use crate::packet::{Frame, LinkType, Precision};
use crate::store::catalog::tests::facts;
use crate::store::entry::Act;
use crate::store::format::{Format, RecordHeader};
use crate::store::losses::Losses;
use crate::sys::fs::RealFs;

/// Bytes of a capture file of `packets` packets of 60 bytes, a second apart from `sec` on.
pub(crate) fn pcap(sec: u32, packets: u32) -> Vec<u8> {
    let format = Format { link: LinkType::ETHERNET, precision: Precision::Micro, snaplen: 96 };
    let mut bytes = format.encode().to_vec();
    for n in 0..packets {
        let frame = Frame { sec: sec + n, frac: 0, wire_len: 60, data: &[1; 60] };
        bytes.extend(RecordHeader::of(&frame).encode());
        bytes.extend(frame.data);
    }
    bytes
}

/// A data directory, and what its ledger says.
pub(crate) struct House {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) entries: Vec<Entry>,
}

impl House {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("pcaps")).unwrap();
        Self { dir, entries: Vec::new() }
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::new(self.dir.path())
    }

    pub(crate) fn note(&mut self, act: Act) {
        self.entries.push(Entry { at: Some(1_735_660_000_000_000_000), up_ms: 0, synchronised: true, act });
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.dir.path().join("pcaps").join(name), bytes).unwrap();
    }

    /// Seals a file of `packets` packets whose first came at `sec`.
    pub(crate) fn seal(&mut self, number: u64, sec: u32, packets: u32) -> CaptureFacts {
        let bytes = pcap(sec, packets);
        let (first, last) = (i64::from(sec), i64::from(sec + packets - 1));
        let capture = CaptureFacts {
            name: CaptureName::new(number, sec),
            packets: packets.into(),
            bytes: u64::from(packets) * 60,
            size: bytes.len() as u64,
            first: Some(first * 1_000_000_000),
            last: Some(last * 1_000_000_000),
            losses: Losses { kernel: Some(number), ..Losses::NONE },
            ..facts(number, 0)
        };
        self.note(Act::Seal { capture: capture.clone() });
        self.write(&capture.name.to_string(), &bytes);
        capture
    }

    pub(crate) fn evict(&mut self, capture: &CaptureFacts) {
        self.note(Act::Evict { capture: capture.clone(), reason: "more than 10 files".to_owned() });
        std::fs::remove_file(self.dir.path().join("pcaps").join(capture.name.to_string())).unwrap();
    }

    /// Brings the index up to date, as a running service does.
    pub(crate) fn index(&self) {
        let listing = RealFs::default().read_dir(&self.layout().captures()).unwrap();
        let catalog = Catalog::new(&self.entries, &listing);
        IndexWriter::new(&self.layout().index()).recover(&catalog).unwrap();
    }

    fn look(&self) -> (View, u32) {
        let asked = Cell::new(0);
        let ledger = || {
            asked.set(asked.get() + 1);
            Ok(self.entries.clone())
        };
        let view = Viewer { layout: &self.layout(), fs: &RealFs::default(), ledger: &ledger }.look().unwrap();
        (view, asked.get())
    }
}

/// Four files, the first evicted, the third held, a fifth growing, and a gap; the index knows all but the
/// growing one.
pub(crate) fn house() -> House {
    let mut house = House::new();
    let sealed: Vec<_> =
        (1..5).map(|n| house.seal(n, 1_735_655_400 + n as u32 * 60, 10 * n as u32)).collect();
    house.evict(&sealed[0]);
    house.write(&sealed[2].name.file_name(Role::Hold), b"");
    let gap = Act::Gap {
        from: Some(1_735_655_565 * 1_000_000_000),
        duration_ms: 35_000,
        reason: "interface eth1 down".to_owned(),
    };
    house.note(gap);
    house.index();
    let mut growing = pcap(1_735_655_800, 3);
    growing.truncate(growing.len() - 5);
    house.write(&CaptureName::new(5, 1_735_655_800).file_name(Role::Part), &growing);
    house
}

fn numbers(view: &View) -> Vec<(u64, u64, State)> {
    view.rows.iter().map(|row| (row.facts.name.number(), row.facts.packets, row.facts.state)).collect()
}

#[test]
fn the_index_answers_and_the_directory_adds_what_is_young() {
    let (view, asked) = house().look();
    assert_eq!(asked, 0);
    use State::{Evicted, Recording, Sealed};
    assert_eq!(
        numbers(&view),
        [(1, 10, Evicted), (2, 20, Sealed), (3, 30, Sealed), (4, 40, Sealed), (5, 2, Recording)]
    );
    assert_eq!(view.rows.iter().map(|row| row.held).collect::<Vec<_>>(), [false, false, true, false, false]);
    assert_eq!(view.rows[4].facts.losses, Losses::UNKNOWN);
    assert_eq!((view.gaps.len(), view.notes), (1, vec![]));
}

#[test]
fn the_files_answer_the_same_whatever_became_of_the_index() {
    type Spoil = fn(&Path);
    let spoils: [(Spoil, usize); 4] = [
        (|index| std::fs::remove_file(index).unwrap(), 1),
        (
            |index| {
                std::fs::write(index, "no database at all, and more than a hundred bytes of it ".repeat(9))
                    .unwrap()
            },
            1,
        ),
        (
            |index| {
                rusqlite::Connection::open(index).unwrap().pragma_update(None, "user_version", 9).unwrap()
            },
            1,
        ),
        (|index| rusqlite::Connection::open(index).unwrap().execute_batch("DELETE FROM capture").unwrap(), 0),
    ];
    let (wanted, _) = house().look();
    for (case, (spoil, notes)) in spoils.into_iter().enumerate() {
        let house = house();
        spoil(&house.layout().index());
        let (view, asked) = house.look();
        assert_eq!((&view.rows, &view.gaps, asked), (&wanted.rows, &wanted.gaps, 1), "case {case}");
        assert_eq!(view.notes.len(), notes, "case {case}: {:?}", view.notes);
    }
}

#[test]
fn a_stale_index_is_seen_through() {
    let mut house = house();
    let sealed = house.seal(6, 1_735_655_900, 7);
    let listed = house.look().0.rows.into_iter().find(|row| row.facts.name == sealed.name).unwrap();
    assert_eq!(listed.facts, sealed);
    house.evict(&sealed);
    house.index();
    let again = house.seal(7, 1_735_655_999, 7);
    house.index();
    house.evict(&again);
    let (view, asked) = house.look();
    assert_eq!((view.rows.last().unwrap().facts.state, asked), (State::Evicted, 1));
}

#[test]
fn without_ledger_and_index_the_files_are_read() {
    let mut house = house();
    std::fs::remove_file(house.layout().index()).unwrap();
    house.entries.clear();
    house.write("capture_20241231_143052_0009.pcap.damaged", b"?");
    house.write("capture_20241231_143052_0010.pcap.part", b"");
    let (view, _) = house.look();
    use State::{Damaged, Recording, Sealed};
    assert_eq!(
        numbers(&view),
        [
            (2, 20, Sealed),
            (3, 30, Sealed),
            (4, 40, Sealed),
            (5, 2, Recording),
            (9, 0, Damaged),
            (10, 0, Recording)
        ]
    );
    assert!(view.rows.iter().all(|row| row.facts.losses == Losses::UNKNOWN));
}

#[test]
fn a_ledger_that_cannot_be_read_is_noted_and_the_index_still_helps() {
    let mut house = house();
    house.seal(6, 1_735_655_900, 7);
    let ledger = || Err("read ledger: no".to_owned());
    let view = Viewer { layout: &house.layout(), fs: &RealFs::default(), ledger: &ledger }.look().unwrap();
    assert!(view.notes[0].starts_with("read ledger: no; what was lost"), "{:?}", view.notes);
    let losses: Vec<_> = view.rows.iter().map(|row| row.facts.losses.kernel).collect();
    assert_eq!(losses, [Some(2), Some(3), Some(4), None, None]);
}

#[test]
fn a_directory_that_is_not_there_holds_nothing() {
    let layout = Layout::new("/no/such/directory");
    let ledger = || Ok(Vec::new());
    let view = Viewer { layout: &layout, fs: &RealFs::default(), ledger: &ledger }.look().unwrap();
    assert!(view.rows.is_empty());
}

#[test]
fn a_file_that_slips_through_one_reading_of_the_directory_is_found_by_the_next() {
    let listing = |names: &[&str]| {
        let entry = |name: &&str| fs::Entry { name: (*name).to_owned(), size: 1 };
        Ok(names.iter().map(entry).collect::<Vec<_>>())
    };
    let mut readings = [&["1", "3.part"][..], &["1", "2", "3.part"], &["2", "3.part", "1"]].into_iter();
    let found = agreed(|| listing(readings.next().unwrap())).unwrap();
    assert_eq!(found.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["2", "3.part", "1"]);
    let mut turn = 0;
    let restless = agreed(|| {
        turn += 1;
        listing(&[&turn.to_string()])
    });
    assert_eq!((restless.unwrap().len(), turn), (1, READINGS + 1), "it gives up");
}
