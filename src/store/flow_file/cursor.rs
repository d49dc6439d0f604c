//! Where a reader of the flow files stands, so that it can go on from there after a restart, its own or the service's.

use serde::{Deserialize, Serialize};

use super::super::sequence::Bookmark;
use crate::sys::fs::{FsFile, read_full};

/// A place in the flow files: all before it was told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// Index number of the file.
    pub file: u64,
    /// The id in its header; empty if it was not opened yet.
    pub header: String,
    #[serde(flatten)]
    pub(super) bookmark: Bookmark,
    pub(super) tail: Option<Tail>,
}

/// The last object told. What no sync had covered when it was told may be gone after a power cut, and other records may have
/// come to lie in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tail {
    at: u64,
    len: usize,
    crc: u32,
}

impl Tail {
    pub(super) fn of(object: &[u8], at: u64) -> Option<Self> {
        Some(Self { at, len: object.len(), crc: crc32c::crc32c(object) })
    }

    fn is_in(&self, file: &dyn FsFile) -> bool {
        if self.len > super::MAX_OBJECT {
            return false;
        }
        let mut bytes = vec![0; self.len];
        read_full(file, &mut bytes, self.at).is_ok_and(|read| read == self.len)
            && crc32c::crc32c(&bytes) == self.crc
    }
}

impl Cursor {
    /// Before the first object of this file.
    pub(super) fn before(file: u64) -> Self {
        Self { file, ..Self::default() }
    }

    /// How far the file was read, bytes.
    pub fn at(&self) -> u64 {
        self.bookmark.at
    }

    pub(super) fn is_in_file_of(&self, other: &Self) -> bool {
        self.file == other.file && self.header == other.header
    }

    /// Whether that file still holds what was told of it last.
    pub(super) fn holds(&self, file: &dyn FsFile) -> bool {
        self.tail.as_ref().is_none_or(|tail| tail.is_in(file))
    }
}
