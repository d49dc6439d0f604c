//! Makes the bytes of a sequence.

use serde::Serialize;

use super::{
    CHECKPOINT_HEADER, CRC_DIGITS, Checkpoint, End, Header, MAX_OBJECT, Whole, crc_text, offset_text,
};
use crate::flow::jsonb::{self, EncodeError};

/// A record that cannot be in a sequence.
#[derive(Debug, thiserror::Error)]
pub enum SequenceError {
    /// JSONB cannot hold it.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// It is a number, a text, an array or the like.
    #[error("cannot write a record: it is not an object")]
    NotAnObject,
    /// It is longer than the sequence allows.
    #[error("cannot write a record: it has {len} bytes, more than the {limit} that readers take")]
    TooLong {
        /// Its length, bytes.
        len: usize,
        /// The most bytes of an object.
        limit: usize,
    },
}

/// Keeps the offset and the CRC of a sequence being written; the bytes go to a buffer, to be appended to the file as they
/// are. A clone taken before is the way back if they are not.
#[derive(Debug, Clone)]
pub struct SequenceWriter {
    id: String,
    offset: u64,
    since: u64,
    crc: u32,
    limit: usize,
}

impl SequenceWriter {
    /// Begins a file: appends its header to `out`. `id` is to be random.
    pub fn begin(format: &str, version: u32, id: u64, out: &mut Vec<u8>) -> Result<Self, SequenceError> {
        let id = format!("{id:016x}");
        Self::begin_with(&Header { format: format.to_owned(), version, id, number: None, began: None }, out)
    }

    /// Begins a file with this header.
    pub fn begin_with(header: &Header, out: &mut Vec<u8>) -> Result<Self, SequenceError> {
        let mut writer = Self::resume(End { id: header.id.clone(), offset: 0 });
        writer.record(header, out)?;
        Ok(writer)
    }

    /// Goes on with a file that may be appended to.
    pub fn resume(end: End) -> Self {
        Self { id: end.id, offset: end.offset, since: end.offset, crc: 0, limit: MAX_OBJECT }
    }

    /// Allows no object of more than `limit` bytes.
    #[must_use]
    pub fn with_limit(self, limit: usize) -> Self {
        Self { limit: limit.min(MAX_OBJECT), ..self }
    }

    /// Appends a record to `out`; on failure `out` is as it was.
    pub fn record<T: Serialize + ?Sized>(
        &mut self,
        record: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), SequenceError> {
        let start = out.len();
        jsonb::encode(record, out)?;
        let len = out.len() - start;
        let result = match jsonb::object_len(&out[start..]) {
            Err(_) => Err(SequenceError::NotAnObject),
            Ok(_) if len > self.limit => Err(SequenceError::TooLong { len, limit: self.limit }),
            Ok(_) => Ok(()),
        };
        match result {
            Ok(()) => self.count(&out[start..]),
            Err(_) => out.truncate(start),
        }
        result
    }

    /// Appends an object that a reader of another sequence returned.
    pub fn copy(&mut self, object: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(object);
        self.count(object);
    }

    /// Appends a checkpoint to `out`: vouches for all since the one before. To be written when a sync is due, in one write
    /// with the records before it.
    pub fn checkpoint(&mut self, out: &mut Vec<u8>) -> Result<(), SequenceError> {
        self.checkpoint_with(&[], out)
    }

    /// Appends a checkpoint with fields of the format's own: keys and texts, the texts of the same width in every checkpoint
    /// of the file, all together at most 160 bytes. On failure `out` is as it was.
    pub fn checkpoint_with(
        &mut self,
        own: &[(&'static str, &str)],
        out: &mut Vec<u8>,
    ) -> Result<(), SequenceError> {
        let start = out.len();
        let (at, since) = (offset_text(self.offset), offset_text(self.since));
        let common = Checkpoint { checkpoint: &self.id, at: &at, since: &since, crc: &crc_text(0) };
        jsonb::encode(&Whole { common, own }, out)?;
        let (len, limit) = (out.len() - start, CHECKPOINT_HEADER + 255);
        if len > limit {
            out.truncate(start);
            return Err(SequenceError::TooLong { len, limit });
        }
        let digits = out.len() - CRC_DIGITS;
        let crc = crc32c::crc32c_append(self.crc, &out[start..digits]);
        out[digits..].copy_from_slice(crc_text(crc).as_bytes());
        self.offset += (out.len() - start) as u64;
        (self.since, self.crc) = (self.offset, 0);
        Ok(())
    }

    /// The file's length once all bytes made so far are written.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The file's id, as in its header.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn count(&mut self, bytes: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.offset += bytes.len() as u64;
    }
}
