//! Rows of numbers: three bits of length for each, then the bytes.

use super::BlobError;

/// What a length of three bits means, bytes.
const LENGTHS: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 8];

/// Numbers of at most these bits are kept, by length.
const MASKS: [u64; 8] = [0, 0xff, 0xffff, 0xff_ffff, 0xffff_ffff, 0xff_ffff_ffff, 0xffff_ffff_ffff, u64::MAX];

/// Bytes of the lengths of `numbers` numbers.
const fn control(numbers: usize) -> usize {
    (numbers * 3).div_ceil(8)
}

/// An array of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row<const N: usize>(pub(super) [u64; N]);

impl<const N: usize> Row<N> {
    /// Appends it.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        let mut lengths = 0_u64;
        for (at, number) in self.0.iter().enumerate() {
            let bytes = (64 - number.leading_zeros()).div_ceil(8);
            lengths |= u64::from(bytes.min(7)) << (3 * at);
        }
        to.extend(lengths.to_le_bytes().iter().take(control(N)));
        for number in &self.0 {
            let bytes = (64 - number.leading_zeros()).div_ceil(8) as usize;
            let len = if bytes > 6 { 8 } else { bytes };
            to.extend(number.to_le_bytes().iter().take(len));
        }
    }
}

/// Where a blob is read.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Of `rows` claimed rows of so many numbers, how many what is left can hold.
    pub(super) fn possible(&self, rows: usize, numbers: usize) -> usize {
        rows.min(self.rest().len() / control(numbers).max(1))
    }

    /// The next row.
    #[inline]
    pub(super) fn row<const N: usize>(&mut self) -> Result<Row<N>, BlobError> {
        let mut lengths = self.number(control(N))?;
        let mut row = [0; N];
        for number in &mut row {
            let code = (lengths & 7) as usize;
            lengths >>= 3;
            // Both tables have eight entries.
            let (Some(&len), Some(&mask)) = (LENGTHS.get(code), MASKS.get(code)) else { continue };
            *number = self.word(len)? & mask;
        }
        Ok(Row(row))
    }

    /// A number of `len` bytes, at most 8.
    #[inline]
    fn number(&mut self, len: usize) -> Result<u64, BlobError> {
        let word = self.word(len)?;
        Ok(if len >= 8 { word } else { word & ((1 << (8 * len)) - 1) })
    }

    /// Eight bytes of which the first `len` count, and are gone then.
    #[inline]
    fn word(&mut self, len: usize) -> Result<u64, BlobError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let word = match rest.first_chunk::<8>() {
            Some(eight) => u64::from_le_bytes(*eight),
            None => last_word(rest, len)?,
        };
        self.at += len;
        Ok(word)
    }

    /// Fails unless all was read.
    pub(super) fn end(&self) -> Result<(), BlobError> {
        if self.rest().is_empty() { Ok(()) } else { Err(BlobError::Nonsense) }
    }
}

#[cold]
fn last_word(rest: &[u8], len: usize) -> Result<u64, BlobError> {
    let mut eight = [0; 8];
    let there = eight.get_mut(..rest.len()).filter(|there| there.len() >= len).ok_or(BlobError::Nonsense)?;
    there.copy_from_slice(rest);
    Ok(u64::from_le_bytes(eight))
}
