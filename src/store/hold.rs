//! Holding capture files: a marker beside each, which retention respects from the moment it is there, and which outlives
//! every index.

use std::io;

use super::layout::Layout;
use super::names::{CaptureName, Role};
use crate::sys::fs::{Fs, uninterrupted};

/// Keeps a file from retention; `false` if it was held already. Fails with `NotFound`, and leaves no marker, if retention
/// was faster.
pub fn hold(fs: &dyn Fs, layout: &Layout, name: CaptureName) -> io::Result<bool> {
    let path = |role| layout.captures().join(name.file_name(role));
    let marker = path(Role::Hold);
    match uninterrupted(|| fs.create(&marker)) {
        Ok(_) => sync_names(fs, layout)?,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(e) => return Err(e),
    }
    // Retention looks for the marker right before it removes a file, so one that is still there now stays.
    let there = |role| fs.open_read(&path(role)).is_ok();
    if there(Role::Sealed) || there(Role::Part) || there(Role::Sealed) {
        return Ok(true);
    }
    uninterrupted(|| fs.remove(&marker))?;
    Err(io::Error::new(io::ErrorKind::NotFound, "retention has removed it just now"))
}

/// Gives a file back to retention; `false` if it was not held.
pub fn release(fs: &dyn Fs, layout: &Layout, name: CaptureName) -> io::Result<bool> {
    let marker = layout.captures().join(name.file_name(Role::Hold));
    match uninterrupted(|| fs.remove(&marker)) {
        Ok(()) => sync_names(fs, layout).map(|()| true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

fn sync_names(fs: &dyn Fs, layout: &Layout) -> io::Result<()> {
    uninterrupted(|| fs.sync_dir(&layout.captures()))
}
