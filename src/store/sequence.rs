//! A file that is a plain sequence of JSONB objects, and can tell which of them it may be believed.
//!
//! First the header `{"format","version","id"}`, then records, and at every sync a **checkpoint**
//! `{"checkpoint","at","since","crc"}`: the file's id, its own offset, the offset of the first byte that it covers (the
//! end of the checkpoint before it, or 0) and the CRC-32C of every byte from there up to the eight digits of the CRC, which
//! are its last. All are texts of fixed width, so every checkpoint of a file has the same length, at most 257 bytes:
//! a format may have fields of its own between `since` and `crc`. A checkpoint vouches for what it covers, itself included, whatever has
//! become of the bytes before; so damage costs the segment that it hits and no other.
//!
//! The bytes that a reader looks for, [`MARKER`], are in no record: they are not UTF-8, as all texts are.
//!
//! Uses the codec and, for reading, the file seam. Writing is pure: it makes bytes to append.

mod reader;
mod writer;

use serde::{Deserialize, Serialize, Serializer};

use super::facts::stamp_text;
use crate::packet::Nanos;

pub use reader::{Bookmark, Item, SequenceReader, Trust};
pub use writer::{SequenceError, SequenceWriter};

/// What every checkpoint has behind the two bytes of its object header: the key `checkpoint` and the header of a text of 16
/// bytes. The id follows.
pub const MARKER: &[u8; 13] = b"\xa7checkpoint\xc7\x10";

/// The most bytes of an object unless a format sets less.
pub const MAX_OBJECT: usize = 16 << 20;

/// The first object of a sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// What the records are.
    pub format: String,
    /// The format's version; a higher one cannot be read by a program that knows only lower ones.
    pub version: u32,
    /// What tells this file's bytes from another's: 16 hexadecimal digits, random.
    pub id: String,
    /// The file's index number, if files of this format have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// When the file was begun, wall clock, if the format tells it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "stamp_text")]
    pub began: Option<Nanos>,
}

/// Where a sequence ends that may be appended to: behind a checkpoint, all before it sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The file's id.
    pub id: String,
    /// The file's length, bytes.
    pub offset: u64,
}

/// Length of the object header in front of [`MARKER`]: a checkpoint's payload is 12 to 255 bytes.
const CHECKPOINT_HEADER: usize = 2;
/// Hexadecimal digits of a CRC, a checkpoint's last bytes.
const CRC_DIGITS: usize = 8;

/// What every checkpoint has; a format's own fields are passed over.
#[derive(Debug, Deserialize)]
struct Checkpoint<'a> {
    checkpoint: &'a str,
    at: &'a str,
    since: &'a str,
    crc: &'a str,
}

/// A checkpoint to be written: what every one has, and between `since` and `crc` the format's own fields.
struct Whole<'a> {
    common: Checkpoint<'a>,
    own: &'a [(&'static str, &'a str)],
}

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Checkpoint { checkpoint, at, since, crc } = self.common;
        let head = [("checkpoint", checkpoint), ("at", at), ("since", since)];
        to.collect_map(head.iter().chain(self.own).chain(&[("crc", crc)]).copied())
    }
}

/// An offset in a checkpoint.
fn offset_text(offset: u64) -> String {
    format!("{offset:020}")
}

/// A CRC in a checkpoint.
fn crc_text(crc: u32) -> String {
    format!("{crc:08x}")
}

#[cfg(test)]
mod tests;
