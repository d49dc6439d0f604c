//! From a data directory on disk to one that is ours to write: made, locked, its ledger read, this start written down.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs2::FileExt;

use super::events::{damaged, event};
use crate::packet::Nanos;
use crate::store::SharedLedger;
use crate::store::entry::{Act, Entry};
use crate::store::flow_file::highest_capture;
use crate::store::layout::Layout;
use crate::store::ledger::{Ledger, LedgerError, Loaded};
use crate::store::names::CaptureName;
use crate::sys::clock::{Clock, RealClock};
use crate::sys::fs::{Fs, RealFs};

/// Why a data directory cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// It cannot be made or looked at.
    #[error("{what} {}: {source}; check that it exists, is mounted, and may be written by this user", path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// The object.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process writes it.
    #[error("data directory {} is in use by another tapkeep; stop it, or give this one another --data-dir", .0.display())]
    Locked(PathBuf),
    /// Its ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A data directory that is ours to write.
pub struct DataDirectory {
    /// Its file system.
    pub fs: Arc<dyn Fs>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Its paths.
    pub layout: Layout,
    /// Its ledger.
    pub ledger: SharedLedger,
    /// What the ledger holds, this start included.
    pub entries: Vec<Entry>,
    /// The index number of the next capture file.
    pub next_number: u64,
    /// What is recorded.
    pub source: Option<String>,
    /// Since when, by the clock on the wall: nothing is captured before.
    pub since: Nanos,
    _lock: Option<File>,
}

/// A data directory that nobody else writes, not looked at yet.
pub struct Locked {
    layout: Layout,
    fs: Arc<RealFs>,
    lock: File,
    since: Nanos,
}

impl DataDirectory {
    /// What [`Locked::open`] does once nobody else can write, on any file system and clock.
    pub fn begin(
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        layout: Layout,
        source: Option<String>,
        save: bool,
    ) -> Result<Self, SetupError> {
        let (captures, since) = (layout.captures(), clock.now().wall);
        if save {
            fs.create_dir(&captures).map_err(failed("create directory", &captures))?;
            fs.sync_dir(layout.root()).map_err(failed("sync data directory", layout.root()))?;
        }
        let (ledger, loaded) = Ledger::open(Arc::clone(&fs), layout.ledger(), Arc::clone(&clock))?;
        tell_damage(&layout, &loaded);
        let highest = highest_number(fs.as_ref(), &captures).map_err(failed("list directory", &captures))?;
        // Where no captures are written, only flow records tell which numbers were given.
        let highest = highest.max(highest_capture(fs.as_ref(), &layout));
        let next_number = highest.max(ledger.highest()) + 1;
        let (ledger, mut entries) = (SharedLedger::new(ledger), loaded.entries);
        let start = Act::Start {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot: clock.boot_id(),
            source: source.clone(),
        };
        entries.push(ledger.append(start)?);
        Ok(Self { fs, clock, layout, ledger, entries, next_number, source, since, _lock: None })
    }

    /// Makes `root` if need be, and locks it. Files that this process makes from now on are readable for their group and
    /// nobody else, whatever its umask was.
    pub fn lock(root: &Path) -> Result<Locked, SetupError> {
        make(root).map_err(failed("create data directory", root))?;
        Self::lock_existing(root)
    }

    /// Locks `root`, which must be there.
    pub fn lock_existing(root: &Path) -> Result<Locked, SetupError> {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
        let root = root.canonicalize().map_err(failed("find data directory", root))?;
        let (layout, fs) = (Layout::new(&root), Arc::new(RealFs::for_dir(&root)));
        let lock = lock(&layout, &fs)?;
        Ok(Locked { layout, fs, lock, since: RealClock.now().wall })
    }
}

impl Locked {
    /// Reads the ledger and writes this start into it. `source` is what is recorded, for the ledger; `save` whether there
    /// will be capture files.
    pub fn open(self, source: Option<String>, save: bool) -> Result<DataDirectory, SetupError> {
        let Self { layout, fs, lock, since } = self;
        let data = DataDirectory::begin(fs, Arc::new(RealClock), layout, source, save)?;
        Ok(DataDirectory { since, _lock: Some(lock), ..data })
    }
}

fn tell_damage(layout: &Layout, loaded: &Loaded) {
    let ledger = layout.ledger().display().to_string();
    if loaded.foreign {
        damaged(&ledger, None, "it is no ledger of this version; a new one is begun");
    }
    for range in &loaded.lost {
        damaged(&ledger, Some(range), "these bytes are lost, the rest is kept");
    }
    if let Some(error) = &loaded.not_replaced {
        event!(LEDGER_TROUBLE, TAPKEEP_REASON = %error, "{error}");
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SetupError {
    let path = path.to_owned();
    move |source| SetupError::Io { what, path, source }
}

/// Makes a directory, readable for its group, in one that must exist already unless it is the current one's `output`: an
/// external disk that is not mounted must not be written to.
fn make(root: &Path) -> io::Result<()> {
    if root.is_dir() {
        return Ok(());
    }
    RealFs::default().create_dir(root)
}

fn lock(layout: &Layout, fs: &RealFs) -> Result<File, SetupError> {
    let path = layout.lock();
    let fail = |source| SetupError::Io { what: "open lock file", path: path.clone(), source };
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(fail)?;
    // What root has locked once, the directory's own user must be able to lock again.
    fs.give(&file).map_err(fail)?;
    match file.try_lock_exclusive() {
        Ok(()) => Ok(file),
        Err(e) if e.kind() == fs2::lock_contended_error().kind() => {
            Err(SetupError::Locked(layout.root().to_owned()))
        }
        Err(source) => Err(SetupError::Io { what: "lock", path, source }),
    }
}

/// The highest index number in names. Were it guessed low, a number would be given twice.
fn highest_number(fs: &dyn Fs, captures: &Path) -> io::Result<u64> {
    let listing = match fs.read_dir(captures) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        listing => listing?,
    };
    let names = listing.iter().filter_map(|file| CaptureName::parse(&file.name));
    Ok(names.map(|(name, _)| name.number()).max().unwrap_or(0))
}
