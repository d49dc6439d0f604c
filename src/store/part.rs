//! A capture file being written: shared by the recorder, who appends, and the sealer, who syncs it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::format::{FILE_HEADER, Format};
use super::layout::Layout;
use super::names::{CaptureName, Role};
use crate::sys::fs::{Fs, FsFile, uninterrupted, write_full};

/// The granularity in which pages are pushed to the device.
const PAGE: u64 = 4096;

/// How much of a capture file is on the device; shared with those who name its bytes elsewhere.
#[derive(Debug, Default)]
pub struct Durability {
    synced: AtomicU64,
    doubtful: AtomicBool,
}

impl Durability {
    /// Bytes known to be on the device.
    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Whether a sync has failed: bytes behind [`Durability::synced`] may or may not be on the device, for ever.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful.load(Ordering::Acquire)
    }

    /// Whether nothing that is still to come can make the byte at `offset` more durable.
    pub fn is_settled(&self, offset: u64) -> bool {
        self.synced() > offset || self.is_doubtful()
    }
}

/// A `.part` file.
pub struct PartFile {
    /// Its name.
    pub name: CaptureName,
    path: PathBuf,
    file: Box<dyn FsFile>,
    written: AtomicU64,
    pushed: AtomicU64,
    durability: Arc<Durability>,
    named: AtomicBool,
    overlong: AtomicBool,
}

impl PartFile {
    /// Creates the file and writes its header; leaves nothing behind if that fails.
    pub(super) fn create(
        fs: &dyn Fs,
        layout: &Layout,
        name: CaptureName,
        format: &Format,
    ) -> io::Result<Self> {
        let path = layout.captures().join(name.file_name(Role::Part));
        let file = uninterrupted(|| fs.create(&path))?;
        if let Err((_, error)) = write_full(file.as_ref(), &format.encode(), 0) {
            drop(file);
            let _ = fs.remove(&path);
            return Err(error);
        }
        Ok(Self {
            name,
            path,
            file,
            written: AtomicU64::new(FILE_HEADER as u64),
            pushed: AtomicU64::new(0),
            durability: Arc::default(),
            named: AtomicBool::new(false),
            overlong: AtomicBool::new(false),
        })
    }

    /// Where it lies.
    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Its length: whole records only.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Bytes known to be on the device.
    pub fn synced(&self) -> u64 {
        self.durability.synced()
    }

    /// Whether a sync has failed, see [`Durability::is_doubtful`].
    pub fn is_doubtful(&self) -> bool {
        self.durability.is_doubtful()
    }

    /// How much of it is on the device, for one who does not hold the file.
    pub fn durability(&self) -> &Arc<Durability> {
        &self.durability
    }

    /// Appends whole records. If the disk takes only some, the file keeps the whole ones among them, and the error says
    /// how many bytes that are.
    pub(super) fn append(
        &self,
        records: &[u8],
        whole: impl Fn(usize) -> usize,
    ) -> Result<(), (usize, io::Error)> {
        let offset = self.written();
        let Err((done, error)) = write_full(self.file.as_ref(), records, offset) else {
            self.written.store(offset + records.len() as u64, Ordering::Release);
            return Ok(());
        };
        let kept = whole(done);
        self.written.store(offset + kept as u64, Ordering::Release);
        self.overlong.store(done > kept, Ordering::Release);
        // What stays behind a failed cut is cut before the file is sealed, or by salvage.
        let _ = self.trim();
        Err((kept, error))
    }

    /// Cuts off a record that was only partly written. Such a file is never appended to.
    pub(super) fn trim(&self) -> io::Result<()> {
        if self.overlong.load(Ordering::Acquire) {
            uninterrupted(|| self.file.truncate(self.written()))?;
            self.overlong.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// Starts to push the full pages written since the last call to the device. Only the sealer calls this.
    pub(super) fn push_pages(&self) {
        let (from, to) = (self.pushed.load(Ordering::Relaxed), self.written() / PAGE * PAGE);
        if from < to {
            // Only a hint: the sync that follows finds what is wrong with the disk.
            let _ = self.file.start_writeback(from, to - from);
            self.pushed.store(to, Ordering::Relaxed);
        }
    }

    /// Makes name and bytes durable. After a failure the file is doubtful, and no later sync can mend that. Only the sealer
    /// calls this.
    pub(super) fn sync(&self, fs: &dyn Fs, layout: &Layout) -> io::Result<()> {
        let upto = self.written();
        if upto == self.synced() {
            return Ok(());
        }
        let synced = (|| {
            if !self.named.load(Ordering::Relaxed) {
                uninterrupted(|| fs.sync_dir(&layout.captures()))?;
                self.named.store(true, Ordering::Relaxed);
            }
            uninterrupted(|| self.file.sync())
        })();
        match &synced {
            Ok(()) if !self.is_doubtful() => self.durability.synced.store(upto, Ordering::Release),
            Ok(()) => {}
            Err(_) => self.durability.doubtful.store(true, Ordering::Release),
        }
        synced
    }
}
