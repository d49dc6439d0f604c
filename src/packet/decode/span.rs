//! Bytes of a frame between two headers' bounds: those captured, and how many there were on the wire.

/// A stretch of a frame. Never fewer bytes on the wire than captured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span<'a> {
    /// The captured bytes.
    pub(super) bytes: &'a [u8],
    /// How many there were on the wire.
    pub(super) wire: u32,
}

impl<'a> Span<'a> {
    /// A frame.
    #[inline]
    pub(super) fn new(bytes: &'a [u8], wire: u32) -> Self {
        // A capture that says it has more than there was is believed in what it has.
        let wire = wire.max(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        Self { bytes, wire }
    }

    /// The bytes behind the first `len`; none if there are fewer.
    #[inline]
    pub(super) fn skip(self, len: u32) -> Self {
        Self {
            bytes: self.bytes.get(len as usize..).unwrap_or_default(),
            wire: self.wire.saturating_sub(len),
        }
    }

    /// The first `len` bytes; all if there are fewer.
    #[inline]
    pub(super) fn limit(self, len: u32) -> Self {
        Self { bytes: self.bytes.get(..len as usize).unwrap_or(self.bytes), wire: self.wire.min(len) }
    }

    /// The first `N` captured bytes.
    #[inline]
    pub(super) fn first<const N: usize>(self) -> Option<&'a [u8; N]> {
        self.bytes.first_chunk()
    }

    /// `N` captured bytes from an offset on.
    #[inline]
    pub(super) fn at<const N: usize>(self, offset: usize) -> Option<[u8; N]> {
        self.bytes.get(offset..)?.first_chunk().copied()
    }

    /// A number of two bytes in network order.
    #[inline]
    pub(super) fn u16(self, offset: usize) -> Option<u16> {
        self.at(offset).map(u16::from_be_bytes)
    }

    /// A number of four bytes in network order.
    #[inline]
    pub(super) fn u32(self, offset: usize) -> Option<u32> {
        self.at(offset).map(u32::from_be_bytes)
    }
}
