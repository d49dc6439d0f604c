//! The index's files: the database and what SQLite keeps beside it. A log never outlives its database, for
//! SQLite would play it into the next one of the same name.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::IndexError;
use crate::sys::fs::{FILE_MODE, Fs, RealFs};

const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The path with `suffix` appended to its file name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Whether there is a file.
pub(super) fn exists(path: &Path) -> Result<bool, IndexError> {
    path.try_exists().map_err(|source| failed("look at", path, source))
}

/// Creates an empty file for SQLite to open, so that it and what SQLite puts beside it get our mode and
/// owner.
pub(super) fn create(path: &Path) -> Result<(), IndexError> {
    remove_companions(path)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    RealFs::for_dir(dir)
        .create(path)
        .and_then(|_| std::fs::set_permissions(path, PermissionsExt::from_mode(FILE_MODE)))
        .map_err(|source| failed("create", path, source))
}

/// Renames a database and its log, over those renamed before.
pub(super) fn put_aside(path: &Path, suffix: &str) -> Result<PathBuf, IndexError> {
    let to = beside(path, suffix);
    remove_companions(&to)?;
    rename(path, &to)?;
    let log = beside(path, "-wal");
    if exists(&log)? {
        rename(&log, &beside(&to, "-wal"))?;
    }
    remove_companions(path)?;
    Ok(to)
}

/// Lets the database at `new` take the place of the one at `path`, and makes that durable.
pub(super) fn replace(new: &Path, path: &Path) -> Result<(), IndexError> {
    remove_companions(path)?;
    rename(new, path)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    RealFs::default().sync_dir(dir).map_err(|source| failed("sync the directory of", path, source))
}

/// Removes a database with all that belongs to it.
pub(super) fn remove(path: &Path) -> Result<(), IndexError> {
    remove_companions(path)?;
    remove_if_there(path)
}

fn remove_companions(path: &Path) -> Result<(), IndexError> {
    COMPANIONS.iter().try_for_each(|suffix| remove_if_there(&beside(path, suffix)))
}

fn remove_if_there(path: &Path) -> Result<(), IndexError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, e)),
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), IndexError> {
    std::fs::rename(from, to).map_err(|source| failed("rename", from, source))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> IndexError {
    IndexError::Io { action, path: path.to_owned(), source }
}
