//! The PCAP format as we write it: little-endian, microseconds unless told otherwise.
//! Source: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html>.

use crate::packet::{Frame, LinkType, MAX_SNAPLEN, Precision};

/// Length of a file header, bytes.
pub const FILE_HEADER: usize = 24;
/// Length of a record header, bytes.
pub const RECORD_HEADER: usize = 16;

const MAGIC_MICRO: u32 = 0xa1b2_c3d4;
const MAGIC_NANO: u32 = 0xa1b2_3c4d;

/// What a file header says; one file holds packets of one format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format {
    /// The data link type of every packet.
    pub link: LinkType,
    /// The unit of the stamps' fractions.
    pub precision: Precision,
    /// The most bytes kept of a packet.
    pub snaplen: u32,
}

impl Format {
    /// The file header.
    pub fn encode(&self) -> [u8; FILE_HEADER] {
        let magic = match self.precision {
            Precision::Micro => MAGIC_MICRO,
            Precision::Nano => MAGIC_NANO,
        };
        let mut header = [0; FILE_HEADER];
        header[..4].copy_from_slice(&magic.to_le_bytes());
        header[4..6].copy_from_slice(&2_u16.to_le_bytes());
        header[6..8].copy_from_slice(&4_u16.to_le_bytes());
        header[16..20].copy_from_slice(&self.snaplen.to_le_bytes());
        header[20..].copy_from_slice(&u32::from(self.link.0).to_le_bytes());
        header
    }

    /// Reads a header that [`Format::encode`] wrote; `None` for any other, be it a sound PCAP header of another machine.
    pub fn decode(header: &[u8; FILE_HEADER]) -> Option<Self> {
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let precision = match word(0) {
            MAGIC_MICRO => Precision::Micro,
            MAGIC_NANO => Precision::Nano,
            _ => return None,
        };
        let format = Self { link: LinkType(u16::try_from(word(20)).ok()?), precision, snaplen: word(16) };
        (format.encode() == *header && (1..=MAX_SNAPLEN).contains(&format.snaplen)).then_some(format)
    }
}

/// The header of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Seconds since 1970, UTC.
    pub sec: u32,
    /// Fraction in the file's precision.
    pub frac: u32,
    /// Bytes kept.
    pub captured: u32,
    /// Bytes on the wire.
    pub wire_len: u32,
}

impl RecordHeader {
    /// The header for `frame`.
    pub fn of(frame: &Frame<'_>) -> Self {
        Self { sec: frame.sec, frac: frame.frac, captured: frame.data.len() as u32, wire_len: frame.wire_len }
    }

    /// Its bytes.
    pub fn encode(&self) -> [u8; RECORD_HEADER] {
        let mut bytes = [0; RECORD_HEADER];
        bytes[..4].copy_from_slice(&self.sec.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.frac.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.captured.to_le_bytes());
        bytes[12..].copy_from_slice(&self.wire_len.to_le_bytes());
        bytes
    }

    /// Reads it back; `None` if there are too few bytes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (sec, rest) = bytes.split_first_chunk::<4>()?;
        let (frac, rest) = rest.split_first_chunk::<4>()?;
        let (captured, rest) = rest.split_first_chunk::<4>()?;
        let (wire_len, _) = rest.split_first_chunk::<4>()?;
        Some(Self {
            sec: u32::from_le_bytes(*sec),
            frac: u32::from_le_bytes(*frac),
            captured: u32::from_le_bytes(*captured),
            wire_len: u32::from_le_bytes(*wire_len),
        })
    }

    /// Bytes of the whole record.
    pub fn record_len(&self) -> usize {
        RECORD_HEADER + self.captured as usize
    }
}

/// The records of a run of bytes, each with its place; ends at the first that is not whole.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = (usize, Frame<'_>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let header = RecordHeader::decode(bytes.get(at..)?)?;
        let data = bytes.get(at + RECORD_HEADER..at.checked_add(header.record_len())?)?;
        let place = at;
        at += header.record_len();
        Some((place, Frame { sec: header.sec, frac: header.frac, wire_len: header.wire_len, data }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back() {
        for precision in [Precision::Micro, Precision::Nano] {
            let format = Format { link: LinkType(276), precision, snaplen: 96 };
            assert_eq!(Format::decode(&format.encode()), Some(format));
        }
        let mut swapped =
            Format { link: LinkType::ETHERNET, precision: Precision::Micro, snaplen: 96 }.encode();
        swapped[..4].reverse();
        assert_eq!(Format::decode(&swapped), None);
    }

    #[test]
    fn records_end_at_the_first_that_is_cut() {
        let frame = Frame { sec: 7, frac: 8, wire_len: 90, data: &[1, 2, 3] };
        let mut bytes = Vec::new();
        for _ in 0..2 {
            bytes.extend(RecordHeader::of(&frame).encode());
            bytes.extend(frame.data);
        }
        assert_eq!(records(&bytes).map(|(at, _)| at).collect::<Vec<_>>(), [0, 19]);
        assert_eq!(records(&bytes[..37]).count(), 1);
        let huge = RecordHeader { captured: u32::MAX, ..RecordHeader::of(&frame) };
        assert_eq!(records(&huge.encode()).count(), 0);
    }
}
