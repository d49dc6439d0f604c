//! Where things lie in a data directory.

use std::io;
use std::path::{Path, PathBuf};

use super::names::{CaptureName, Role};
use crate::sys::fs::{Fs, FsFile};

/// The name of the flow file being written; always this one.
pub const FLOW_FILE: &str = "traffic_flows.jsonb";

/// A data directory's paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The data directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of capture files.
    pub fn captures(&self) -> PathBuf {
        self.root.join("pcaps")
    }

    /// Opens a capture file under its final name or, while it grows, the other; tells under which.
    pub fn open_capture(&self, fs: &dyn Fs, name: CaptureName) -> io::Result<(Box<dyn FsFile>, Role)> {
        let open = |role| {
            let file = fs.open_read(&self.captures().join(name.file_name(role)));
            file.map(|file| (file, role))
        };
        // Sealed between the two looks, it is under its final name again.
        open(Role::Sealed).or_else(|_| open(Role::Part)).or_else(|_| open(Role::Sealed))
    }

    /// The capture file that a person means who names a file, if it is one of these: a bare name that no file of the working
    /// directory has, or that one of ours has.
    pub fn own_named(&self, fs: &dyn Fs, file: &Path) -> Option<CaptureName> {
        let bare = file.file_name().filter(|name| Path::new(name) == file)?;
        let (name, _) = CaptureName::parse(bare.to_str()?)?;
        (!file.exists() || self.open_capture(fs, name).is_ok()).then_some(name)
    }

    /// The flow file being written.
    pub fn flow_file(&self) -> PathBuf {
        self.root.join(FLOW_FILE)
    }

    /// The flow file that is to take its place.
    pub fn next_flow_file(&self) -> PathBuf {
        self.root.join(format!("{FLOW_FILE}.new"))
    }

    /// The directory of sealed flow files.
    pub fn flows(&self) -> PathBuf {
        self.root.join("flows")
    }

    /// The ledger.
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger.jsonb")
    }

    /// The state of the detectors.
    pub fn detectors(&self) -> PathBuf {
        self.root.join("detectors.jsonb.gz")
    }

    /// The state that is to take its place.
    pub fn next_detectors(&self) -> PathBuf {
        self.root.join("detectors.jsonb.gz.new")
    }

    /// The index.
    pub fn index(&self) -> PathBuf {
        self.root.join("index.sqlite3")
    }

    /// The file whose lock makes one writer.
    pub fn lock(&self) -> PathBuf {
        self.root.join("tapkeep.lock")
    }
}
