//! Reading numbers out of bytes that may end anywhere.

/// The big-endian number of two bytes at an offset.
#[inline]
pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_be_bytes(*chunk))
}

/// The big-endian number of three bytes at an offset.
#[inline]
pub(super) fn be24(bytes: &[u8], at: usize) -> Option<u32> {
    let [a, b, c] = *bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes([0, a, b, c]))
}

/// The big-endian number of four bytes at an offset.
#[inline]
pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_be_bytes(*chunk))
}

/// The little-endian number of two bytes at an offset.
#[inline]
pub(super) fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_le_bytes(*chunk))
}

/// The little-endian number of four bytes at an offset.
#[inline]
pub(super) fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

/// Whether bytes begin with others, without regard to the case of ASCII letters.
#[inline]
pub(super) fn begins(bytes: &[u8], with: &[u8]) -> bool {
    bytes.get(..with.len()).is_some_and(|head| head.eq_ignore_ascii_case(with))
}

/// Whether bytes contain others, without regard to the case of ASCII letters; `what` is in lower case.
pub(super) fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window.eq_ignore_ascii_case(what))
}

/// The first line, without its end; at most 512 bytes are looked at. All there is, if it has no end.
pub(super) fn line(bytes: &[u8]) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(512)];
    let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    let line = &bytes[..end];
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whether all are printable ASCII, blanks and tabs included.
pub(super) fn printable(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

/// A value of the Basic Encoding Rules (ITU-T X.690): its tag, its declared length and where its content begins. Only
/// tags of one byte and definite lengths of at most four.
pub(super) struct Ber {
    pub(super) tag: u8,
    pub(super) len: usize,
    pub(super) at: usize,
}

impl Ber {
    /// The value at an offset; the content may reach past the bytes.
    pub(super) fn at(bytes: &[u8], at: usize) -> Option<Self> {
        let &tag = bytes.get(at)?;
        let &short = bytes.get(at + 1)?;
        if short < 0x80 {
            return Some(Self { tag, len: usize::from(short), at: at + 2 });
        }
        let count = usize::from(short & 0x7f);
        if !(1..=4).contains(&count) {
            return None;
        }
        let digits = bytes.get(at + 2..at + 2 + count)?;
        let len = digits.iter().fold(0, |len, &byte| len << 8 | usize::from(byte));
        Some(Self { tag, len, at: at + 2 + count })
    }

    /// Where what follows it begins.
    pub(super) fn end(&self) -> usize {
        self.at.saturating_add(self.len)
    }
}
