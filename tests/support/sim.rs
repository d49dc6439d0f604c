//! A file system in memory that knows what a disk keeps, modelled on ext4 with delayed allocation at its
//! legal worst.
//!
//! Readers see every write and name at once; a power cut ([`SimFs::crash`]) surely keeps only bytes that
//! `sync` and names that `sync_dir` made durable. Of the rest it keeps nothing, all, a first part, any pages
//! with zeros between, or zeros only; a directory's un-synced edits are done up to some point. Space is
//! counted in pages of 4 KiB; a removed file keeps its space while it is open; reserved space survives until
//! the file is truncated.
//!
//! Every call of [`Fs`] and [`FsFile`] is an operation, numbered from 1; a test can stop the world at one, or
//! make it fail. The world after a crash begins with no operations, no faults and the outsider's files.

mod content;
mod file;
mod names;
pub mod rng;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use content::Content;
pub use content::{PAGE, Survival};
use file::SimFile;
use names::{Edit, Names, Node};
pub use rng::Rng;
use rustix::io::Errno;
use tapkeep::sys::fs::{Entry, Fs, FsFile, Space};
pub use world::{Fault, is_frozen};
use world::{Planned, When, World};

/// A simulated file system; clones share it.
#[derive(Clone)]
pub struct SimFs(Arc<Mutex<World>>);

impl SimFs {
    /// The directory that is there from the beginning.
    pub const ROOT: &'static str = "/data";
    /// The seed of a power cut that takes everything un-synced.
    pub const LOSE_ALL: u64 = 0;
    /// The seed of a power cut that takes nothing.
    pub const LOSE_NOTHING: u64 = 1;
    /// The seed of a power cut that keeps every name and loses every byte that was not synced.
    pub const KEEP_NAMES: u64 = 2;

    /// An empty file system of `total` bytes with the directory [`Self::ROOT`].
    pub fn new(total: u64) -> Self {
        let dirs = ["/", Self::ROOT].map(|dir| (PathBuf::from(dir), Node::Dir));
        Self::of(World { total, names: Names::durable(dirs.into()), ..World::default() })
    }

    fn of(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// Puts a durable file there, uncounted; its directory must be there.
    pub fn plant(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let mut world = self.world();
        let number = world.new_number();
        world.files.insert(number, Content::durable(bytes));
        world.names.plant(path.as_ref(), Node::File(number));
    }

    /// Stops the world: operation `n` and all after it fail with an error that [`is_frozen`] knows, and
    /// change nothing.
    pub fn freeze_at(&self, n: usize) {
        self.world().frozen_from = Some(n);
    }

    /// Stops the world now.
    pub fn freeze(&self) {
        self.freeze_at(0);
    }

    /// Lets operation `n` fail.
    pub fn fail_at(&self, n: usize, fault: Fault) {
        self.world().faults.push(Planned { when: When::At(n), fault, times: 1 });
    }

    /// Lets the next `times` operations fail whose line in [`Self::operations`] contains `text`.
    pub fn fail_when(&self, text: &str, fault: Fault, times: usize) {
        self.world().faults.push(Planned { when: When::Contains(text.to_owned()), fault, times });
    }

    /// Forgets all faults that have not happened.
    pub fn heal(&self) {
        self.world().faults.clear();
    }

    /// What was done, one line each (`write PATH @OFFSET +LENGTH`, `sync PATH`, `rename FROM -> TO` …),
    /// failed ones with the fault.
    pub fn operations(&self) -> Vec<String> {
        self.world().log.clone()
    }

    /// How many operations there were.
    pub fn count(&self) -> usize {
        self.world().log.len()
    }

    /// An outsider takes or frees space until `free` bytes are free, or as many as can be.
    pub fn fill_to(&self, free: u64) {
        let mut world = self.world();
        world.outside = world.total.saturating_sub(world.used()).saturating_sub(free);
    }

    /// Bytes that are free, uncounted.
    pub fn free(&self) -> u64 {
        self.world().free()
    }

    /// What readers see in a file, uncounted.
    pub fn contents(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let world = self.world();
        match world.names.get(path.as_ref())? {
            Node::File(number) => Some(world.files[&number].cached.clone()),
            Node::Dir => None,
        }
    }

    /// What a power cut would surely leave under this name, uncounted.
    pub fn durable(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let world = self.world();
        match world.names.get_kept(path.as_ref())? {
            Node::File(number) => Some(world.files[&number].kept.clone()),
            Node::Dir => None,
        }
    }

    /// Paths of all files that readers see, in order, uncounted.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.world().names.files().map(|(path, _)| path.to_owned()).collect()
    }

    /// Writes what readers see below [`Self::ROOT`] into a real directory, for other tools to read.
    pub fn export(&self, to: &Path) {
        let world = self.world();
        for (path, number) in world.names.files() {
            let Ok(below) = path.strip_prefix(Self::ROOT) else { continue };
            let target = to.join(below);
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::write(target, &world.files[&number].cached).unwrap();
        }
    }

    /// The file system after a power cut now; the seed decides what happens to what was not synced. This one
    /// goes on.
    pub fn crash(&self, seed: u64) -> Self {
        let world = self.world();
        let mut rng = Rng::new(seed);
        let names = world.names.survive(|count| match seed {
            Self::LOSE_ALL => 0,
            Self::LOSE_NOTHING | Self::KEEP_NAMES => count,
            _ => rng.below(count + 1),
        });
        let numbers: BTreeSet<u64> = names.files().map(|(_, number)| number).collect();
        let files = numbers.into_iter().map(|number| {
            let survival = match seed {
                Self::LOSE_ALL | Self::KEEP_NAMES => Survival::Nothing,
                Self::LOSE_NOTHING => Survival::All,
                _ => survival(&mut rng),
            };
            (number, world.files[&number].survive(survival, &mut rng))
        });
        Self::of(World {
            total: world.total,
            outside: world.outside,
            files: files.collect(),
            last_number: world.last_number,
            names,
            ..World::default()
        })
    }

    /// The file system after every process was killed now: all that readers see, the un-synced still
    /// un-synced. This one goes on.
    pub fn kill(&self) -> Self {
        let world = self.world();
        let mut files = world.files.clone();
        files.values_mut().for_each(|file| file.handles = 0);
        let mut after = World {
            total: world.total,
            outside: world.outside,
            files,
            last_number: world.last_number,
            names: world.names.clone(),
            ..World::default()
        };
        after.forget_unreachable();
        Self::of(after)
    }

    /// Whether an operation has found the world stopped.
    pub fn has_stopped(&self) -> bool {
        self.world().stopped
    }

    fn opened(&self, path: &Path, number: u64, writable: bool) -> Box<dyn FsFile> {
        Box::new(SimFile { fs: self.clone(), path: path.to_owned(), number, writable })
    }

    fn open_as(&self, verb: &str, path: &Path, writable: bool) -> io::Result<Box<dyn FsFile>> {
        let mut world = self.world();
        world.operation(format_args!("{verb} {}", path.display()))?;
        let number = world.file(path)?;
        world.content(number).handles += 1;
        drop(world);
        Ok(self.opened(path, number, writable))
    }
}

fn survival(rng: &mut Rng) -> Survival {
    const KINDS: [Survival; 5] =
        [Survival::Nothing, Survival::All, Survival::Zeros, Survival::Prefix, Survival::Subset];
    KINDS[rng.below(KINDS.len() as u64) as usize]
}

impl Fs for SimFs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let mut world = self.world();
        world.operation(format_args!("create {}", path.display()))?;
        world.vacant(path)?;
        let number = world.new_number();
        world.files.insert(number, Content::opened());
        world.names.edit(Edit::Put(path.to_owned(), Node::File(number)));
        drop(world);
        Ok(self.opened(path, number, true))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        self.open_as("open", path, true)
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        self.open_as("open_read", path, false)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.operation(format_args!("link {} -> {}", from.display(), to.display()))?;
        let number = world.file(from)?;
        world.vacant(to)?;
        world.names.edit(Edit::Put(to.to_owned(), Node::File(number)));
        Ok(())
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.operation(format_args!("rename {} -> {}", from.display(), to.display()))?;
        let number = world.file(from)?;
        world.vacant(to)?;
        world.names.edit(Edit::Move(from.to_owned(), to.to_owned(), Node::File(number)));
        Ok(())
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.operation(format_args!("replace {} -> {}", from.display(), to.display()))?;
        let number = world.file(from)?;
        match world.file(to) {
            // POSIX: two names of one file stay as they are.
            Ok(there) if there == number => return Ok(()),
            Ok(_) => {}
            Err(_) => world.vacant(to)?,
        }
        world.names.edit(Edit::Move(from.to_owned(), to.to_owned(), Node::File(number)));
        world.forget_unreachable();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.operation(format_args!("remove {}", path.display()))?;
        world.file(path)?;
        world.names.edit(Edit::Take(path.to_owned()));
        world.forget_unreachable();
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.operation(format_args!("sync_dir {}", path.display()))?;
        world.dir(path)?;
        world.names.sync(path);
        world.forget_unreachable();
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.operation(format_args!("create_dir {}", path.display()))?;
        if world.names.get(path) != Some(Node::Dir) {
            world.vacant(path)?;
            world.names.edit(Edit::Put(path.to_owned(), Node::Dir));
        }
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut world = self.world();
        world.operation(format_args!("read_dir {}", path.display()))?;
        world.dir(path)?;
        let inside = world.names.files().filter(|(file, _)| file.parent() == Some(path));
        Ok(inside
            .filter_map(|(file, number)| {
                let name = file.file_name()?.to_str()?.to_owned();
                Some(Entry { name, size: world.files[&number].cached.len() as u64 })
            })
            .collect())
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let mut world = self.world();
        world.operation(format_args!("space {}", path.display()))?;
        world.names.get(path).ok_or(Errno::NOENT)?;
        Ok(Space { total: world.total, free: world.free() })
    }
}
