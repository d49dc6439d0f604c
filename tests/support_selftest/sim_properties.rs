//! Whatever is done to it, the simulated disk shows readers what the machine's file system shows them, and keeps in every
//! power cut what it has promised to keep.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tapkeep::sys::fs::{Fs, FsFile, RealFs, read_full};

use crate::support::sim::{PAGE, SimFs};

/// One call, on a name or on the last file that was opened.
#[derive(Debug, Clone)]
enum Call {
    Create(usize),
    Open(usize),
    Link(usize, usize),
    RenameNew(usize, usize),
    Replace(usize, usize),
    Remove(usize),
    CreateDir,
    List,
    Write(u64, usize, u8),
    Read(u64, usize),
    Truncate(u64),
    Reserve(u64, u64),
    Writeback(u64, u64),
    Sync,
    SyncDir,
    Close,
}

const NAMES: [&str; 5] = ["a", "b", "c", "d/a", "d/b"];
const LONGEST: u64 = 5 * PAGE;

fn call() -> impl Strategy<Value = Call> {
    let name = 0..NAMES.len();
    let at = prop_oneof![0..LONGEST, (0..5_u64).prop_map(|page| page * PAGE)];
    let len = prop_oneof![0..200_usize, 4_000..9_000_usize];
    prop_oneof![
        4 => name.clone().prop_map(Call::Create),
        3 => name.clone().prop_map(Call::Open),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Call::Link(from, to)),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Call::RenameNew(from, to)),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Call::Replace(from, to)),
        2 => name.prop_map(Call::Remove),
        1 => Just(Call::CreateDir),
        1 => Just(Call::List),
        8 => (at.clone(), len.clone(), 1..=255_u8).prop_map(|(at, len, byte)| Call::Write(at, len, byte)),
        3 => (at.clone(), len).prop_map(|(at, len)| Call::Read(at, len)),
        2 => at.clone().prop_map(Call::Truncate),
        1 => (at.clone(), 1..LONGEST).prop_map(|(at, len)| Call::Reserve(at, len)),
        2 => (at, 1..LONGEST).prop_map(|(at, len)| Call::Writeback(at, len)),
        3 => Just(Call::Sync),
        2 => Just(Call::SyncDir),
        1 => Just(Call::Close),
    ]
}

/// A file system under a root, and the file that is open there.
struct Place<'a> {
    fs: &'a dyn Fs,
    root: PathBuf,
    open: Option<Box<dyn FsFile>>,
}

impl Place<'_> {
    fn path(&self, name: usize) -> PathBuf {
        self.root.join(NAMES[name])
    }

    fn opened(&mut self, file: Box<dyn FsFile>) -> String {
        self.open = Some(file);
        String::new()
    }

    fn with_open(&self, act: impl FnOnce(&dyn FsFile) -> io::Result<String>) -> io::Result<String> {
        self.open.as_deref().map_or(Ok("nothing open".to_owned()), act)
    }

    /// Makes the call; what came of it, as text.
    fn make(&mut self, call: &Call) -> Result<String, io::ErrorKind> {
        let fs = self.fs;
        let done = |()| String::new();
        let outcome = match call {
            Call::Create(name) => fs.create(&self.path(*name)).map(|file| self.opened(file)),
            Call::Open(name) => fs.open(&self.path(*name)).map(|file| self.opened(file)),
            Call::Link(from, to) => fs.link(&self.path(*from), &self.path(*to)).map(done),
            Call::RenameNew(from, to) => fs.rename_new(&self.path(*from), &self.path(*to)).map(done),
            Call::Replace(from, to) => fs.replace(&self.path(*from), &self.path(*to)).map(done),
            Call::Remove(name) => fs.remove(&self.path(*name)).map(done),
            Call::CreateDir => fs.create_dir(&self.root.join("d")).map(done),
            Call::List => list(fs, &self.root),
            Call::Write(at, len, byte) => {
                self.with_open(|file| Ok(file.write_at(&vec![*byte; *len], *at)?.to_string()))
            }
            Call::Read(at, len) => self.with_open(|file| {
                let mut buf = vec![0; *len];
                let read = read_full(file, &mut buf, *at)?;
                Ok(format!("{:?}", &buf[..read]))
            }),
            Call::Truncate(len) => self.with_open(|file| file.truncate(*len).map(done)),
            Call::Reserve(at, len) => self.with_open(|file| {
                file.reserve(*at, *len)?;
                Ok(file.len()?.to_string())
            }),
            Call::Writeback(at, len) => self.with_open(|file| file.start_writeback(*at, *len).map(done)),
            Call::Sync => self.with_open(|file| file.sync().map(done)),
            Call::SyncDir => fs.sync_dir(&self.root).map(done),
            Call::Close => {
                self.open = None;
                Ok(String::new())
            }
        };
        outcome.map_err(|e| e.kind())
    }
}

fn list(fs: &dyn Fs, dir: &Path) -> io::Result<String> {
    let mut entries: Vec<_> = fs.read_dir(dir)?.into_iter().map(|entry| (entry.name, entry.size)).collect();
    entries.sort();
    Ok(format!("{entries:?}"))
}

/// What a disk has promised: for every file its bytes at its last sync, as long as nothing was done to it since.
#[derive(Default)]
struct Promises(BTreeMap<PathBuf, Vec<u8>>);

impl Promises {
    fn after(&mut self, call: &Call, sim: &SimFs, root: &Path) {
        match call {
            // All files are synced, then all names: what is there now must be there later.
            Call::SyncDir => {
                for path in sim.paths() {
                    sim.open(&path).unwrap().sync().unwrap();
                }
                let _ = sim.sync_dir(&root.join("d"));
                let paths = sim.paths().into_iter();
                self.0 = paths.map(|path| (path.clone(), sim.contents(&path).unwrap())).collect();
            }
            Call::Create(_) | Call::Open(_) | Call::CreateDir | Call::List | Call::Read(..) => {}
            Call::Writeback(..) | Call::Sync | Call::Reserve(..) | Call::Close => {}
            Call::Link(..) => {}
            // Such a name may be found as before or as after; and what it stood for before may be open and be written to.
            Call::Remove(name) => self.forget(root, [*name, *name]),
            Call::RenameNew(from, to) | Call::Replace(from, to) => self.forget(root, [*from, *to]),
            Call::Write(..) | Call::Truncate(_) => {
                self.0.retain(|path, bytes| sim.contents(path).as_ref() == Some(bytes));
            }
        }
    }

    fn forget(&mut self, root: &Path, names: [usize; 2]) {
        for name in names {
            self.0.remove(&root.join(NAMES[name]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn readers_see_what_the_machine_shows(calls in prop::collection::vec(call(), 1..60)) {
        let (sim, dir) = (SimFs::new(1 << 24), tempfile::tempdir().unwrap());
        let real = RealFs::for_dir(dir.path());
        let mut simulated = Place { fs: &sim, root: SimFs::ROOT.into(), open: None };
        let mut machine = Place { fs: &real, root: dir.path().to_owned(), open: None };
        for call in &calls {
            prop_assert_eq!(simulated.make(call), machine.make(call), "{:?}", call);
        }
        for name in NAMES {
            let shown = std::fs::read(dir.path().join(name)).ok();
            prop_assert_eq!(sim.contents(Path::new(SimFs::ROOT).join(name)), shown, "{}", name);
        }
    }

    #[test]
    fn promises_outlive_every_cut(
        calls in prop::collection::vec(call(), 1..80),
        seeds in prop::collection::vec(any::<u64>(), 8),
    ) {
        let sim = SimFs::new(1 << 24);
        let root = Path::new(SimFs::ROOT);
        let mut place = Place { fs: &sim, root: root.to_owned(), open: None };
        let mut promises = Promises::default();
        for call in &calls {
            let _ = place.make(call);
            promises.after(call, &sim, root);
        }
        for seed in seeds.into_iter().chain([SimFs::LOSE_ALL, SimFs::LOSE_NOTHING]) {
            let after = sim.crash(seed);
            for (path, bytes) in &promises.0 {
                prop_assert_eq!(after.contents(path), Some(bytes.clone()), "{:?} after {}", path, seed);
            }
            for path in after.paths() {
                prop_assert_eq!(after.durable(&path), after.contents(&path));
            }
        }
        let whole = sim.crash(SimFs::LOSE_NOTHING);
        prop_assert_eq!(whole.paths(), sim.paths());
        for path in sim.paths() {
            prop_assert_eq!(whole.contents(&path), sim.contents(&path));
        }
    }

    #[test]
    fn space_is_what_files_do_not_take(calls in prop::collection::vec(call(), 1..60)) {
        let total = 64 * PAGE;
        let sim = SimFs::new(total);
        let mut place = Place { fs: &sim, root: SimFs::ROOT.into(), open: None };
        for call in &calls {
            let _ = place.make(call);
            prop_assert!(sim.free() <= total && sim.free().is_multiple_of(PAGE));
        }
        drop(place);
        for path in sim.paths() {
            sim.remove(&path).unwrap();
        }
        prop_assert_eq!(sim.free(), total);
    }
}
