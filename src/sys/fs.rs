//! The file system as Tapkeep uses it: a small trait that the crash test freezes at every call and the fault test fails
//! at every call, and the real thing.
//!
//! Writes name their offset, so that no byte once visible is ever overwritten by accident. Paths are absolute or relative
//! to the working directory; nothing here follows a symbolic link on creation.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{CWD, FallocateFlags, RenameFlags};

/// The mode of every file that Tapkeep writes for others to read: owner writes, group reads.
pub const FILE_MODE: u32 = 0o640;

/// Free and total bytes of a file system, as an unprivileged writer sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Size of the file system, bytes.
    pub total: u64,
    /// Bytes that may still be written.
    pub free: u64,
}

/// A regular file in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, if it is UTF-8; other names are none of ours and are left out.
    pub name: String,
    /// Its length, bytes.
    pub size: u64,
}

/// What the store does to files.
pub trait Fs: Send + Sync {
    /// Creates a file that must not exist, for writing and reading.
    fn create(&self, path: &Path) -> io::Result<Box<dyn FsFile>>;
    /// Opens an existing file for writing and reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn FsFile>>;
    /// Opens an existing file for reading.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn FsFile>>;
    /// Gives a file a second name, which must not exist.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames; fails with `AlreadyExists` rather than replace.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames over whatever has the new name.
    fn replace(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory (mode 0750) unless it is there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The regular files of a directory, in no order.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>>;
    /// Space on the file system that holds `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;
}

/// An open file.
pub trait FsFile: Send + Sync {
    /// Writes some of `buf` at `offset`; returns how many bytes, which may be fewer.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;
    /// Reads some bytes at `offset`; 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Begins to write back `len` bytes from `offset`, without waiting.
    fn start_writeback(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Waits until data and length are on the device.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Sets space aside for `len` bytes from `offset` without changing the file's length. A file system that cannot is no
    /// error.
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Length, bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file holds nothing.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Reads exactly `buf.len()` bytes at `offset`, fewer only at the end of the file; returns how many.
pub fn read_full(file: &dyn FsFile, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Writes all of `buf` at `offset`, retrying interrupted and short writes with the same bytes. On failure returns how many
/// bytes were written with the error.
pub fn write_full(file: &dyn FsFile, buf: &[u8], offset: u64) -> Result<(), (usize, io::Error)> {
    let mut done = 0;
    while done < buf.len() {
        match file.write_at(&buf[done..], offset + done as u64) {
            Ok(0) => return Err((done, io::ErrorKind::WriteZero.into())),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err((done, e)),
        }
    }
    Ok(())
}

/// Calls `sync` again for as long as a signal interrupts it.
pub fn sync_full(file: &dyn FsFile) -> io::Result<()> {
    uninterrupted(|| file.sync())
}

/// Puts a file with these bytes in the place of the one at `path`, by way of `new` beside it; after a crash it is the one or the
/// other, whole.
pub fn replace_synced(fs: &dyn Fs, new: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs.remove(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = fs.create(new)?;
    write_full(file.as_ref(), bytes, 0).map_err(|(_, error)| error)?;
    sync_full(file.as_ref())?;
    fs.replace(new, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs.sync_dir(dir)
}

/// What helps whom the system does not let read a data directory, to follow its words.
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; the data directory's group may: join it, and log in again",
        _ => "",
    }
}

/// Repeats `call` for as long as a signal interrupts it.
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFs {
    owner: Option<(u32, u32)>,
}

/// Replaces a file that others read, so that they see the old contents or the new, whole; nothing is synced. `prepare` sees to the
/// mode or the owner of the new one.
pub fn replace_whole(
    path: &Path,
    contents: &[u8],
    prepare: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    // Another ending: collectors know files by theirs.
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let written = File::create(&new).and_then(|mut file| {
        prepare(&file)?;
        io::Write::write_all(&mut file, contents)
    });
    written.and_then(|()| std::fs::rename(&new, path)).inspect_err(|_| {
        let _ = std::fs::remove_file(&new);
    })
}

impl RealFs {
    /// Files are created as the caller's own, except that root creates them as the owner and group of `dir`: what root
    /// writes into a data directory of user `tapkeep` stays readable for it.
    pub fn for_dir(dir: &Path) -> Self {
        let owner = dir.metadata().ok().map(|m| (m.uid(), m.gid()));
        Self { owner: owner.filter(|_| rustix::process::geteuid().is_root()) }
    }

    /// Makes a file just created the directory owner's, if root creates it.
    pub fn give(&self, file: &File) -> io::Result<()> {
        match self.owner {
            Some((uid, gid)) => std::os::unix::fs::fchown(file, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }
}

impl Fs for RealFs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)?;
        self.give(&file)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        Ok(Box::new(RealFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        Ok(Box::new(RealFile(File::open(path)?)))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // A file system without RENAME_NOREPLACE (some FUSE and network ones) has hard links or it has nothing.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                std::fs::hard_link(from, to)?;
                std::fs::remove_file(from)
            }
            other => Ok(other?),
        }
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match std::fs::DirBuilder::new().mode(0o750).create(path) {
            Ok(()) => self.give(&File::open(path)?),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            // A file may vanish between the listing and the look at it.
            let Ok(meta) = entry.metadata() else { continue };
            if let (true, Ok(name)) = (meta.is_file(), entry.file_name().into_string()) {
                entries.push(Entry { name, size: meta.len() });
            }
        }
        Ok(entries)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let vfs = rustix::fs::statvfs(path)?;
        Ok(Space { total: vfs.f_blocks * vfs.f_frsize, free: vfs.f_bavail * vfs.f_frsize })
    }
}

struct RealFile(File);

impl FsFile for RealFile {
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn start_writeback(&self, offset: u64, len: u64) -> io::Result<()> {
        super::raw::start_writeback(self.0.as_fd(), offset, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::KEEP_SIZE, offset, len) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
