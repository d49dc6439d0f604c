//! PCAP as the world writes it: both byte orders, micro- and nanoseconds, Kuznetzov's longer record headers,
//! and the swapped lengths of before version 2.4. Source:
//! <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html> and libpcap's `sf-pcap.c`.

use super::{Input, Problem, Record, Stamp, Step, word};
use crate::packet::{LinkType, MAX_SNAPLEN, Precision};

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const RECORD_HEADER_KUZNETZOV: usize = 24;

/// What a file's header says.
#[derive(Debug)]
pub(super) struct Reader {
    big_endian: bool,
    record_header: usize,
    lengths_may_be_swapped: bool,
    pub(super) precision: Precision,
    pub(super) link: LinkType,
}

impl Reader {
    /// Reads the file header; none if it is not a whole one.
    pub(super) fn open(input: &mut Input) -> Result<Option<Self>, Problem> {
        let head = input.peek(FILE_HEADER)?;
        let Some((big_endian, magic)) = magic_of(head) else { return Ok(None) };
        let (precision, record_header) = match magic {
            0xa1b2_c3d4 => (Precision::Micro, RECORD_HEADER),
            0xa1b2_3c4d => (Precision::Nano, RECORD_HEADER),
            0xa1b2_cd34 => (Precision::Micro, RECORD_HEADER_KUZNETZOV),
            _ => {
                return Err(Problem::Unsupported(format!(
                    "it is of a private kind of PCAP (magic {magic:08x})"
                )));
            }
        };
        let (Some(versions), Some(network)) = (word(head, 4, big_endian), word(head, 20, big_endian)) else {
            return Ok(None);
        };
        // Bytes 4 and 5 are the major version, 6 and 7 the minor.
        let (major, minor) = (versions >> 16, versions & 0xffff);
        let (major, minor) = if big_endian { (major, minor) } else { (minor, major) };
        if major < 2 {
            return Err(Problem::Unsupported(format!("it is PCAP of version {major}.{minor}, known is 2")));
        }
        let link = u16::try_from(network & 0x03ff_ffff)
            .map_err(|_| Problem::Unsupported(format!("its link type is {network:#x}")))?;
        input.take(FILE_HEADER);
        let lengths_may_be_swapped = minor < 4;
        let link = LinkType(link);
        Ok(Some(Self { big_endian, record_header, lengths_may_be_swapped, precision, link }))
    }

    /// Finds the next record.
    pub(super) fn locate(&mut self, input: &mut Input) -> Result<Step, Problem> {
        let head = input.peek(self.record_header)?;
        if head.len() < self.record_header {
            return Ok(if head.is_empty() { Step::Clean } else { Step::Cut });
        }
        let (captured, _) = self.lengths(head);
        if captured > MAX_SNAPLEN {
            return Err(Problem::too_long(captured));
        }
        let window = input.peek(self.record_header + captured as usize)?;
        Ok(self.whole(window).map_or(Step::Cut, Step::Record))
    }

    /// The record that these bytes begin with, if it is sound and all here.
    #[inline]
    pub(super) fn whole(&self, bytes: &[u8]) -> Option<Record> {
        let head = bytes.get(..self.record_header)?;
        let (captured, wire_len) = self.lengths(head);
        let total = self.record_header + captured as usize;
        if captured > MAX_SNAPLEN || bytes.len() < total {
            return None;
        }
        let word = |at| word(head, at, self.big_endian).unwrap_or(0);
        let stamp = Stamp::carried(word(0), word(4), self.precision);
        let data = self.record_header..total;
        Some(Record { stamp, wire_len, data, total, link: self.link, precision: self.precision })
    }

    /// Captured, and on the wire.
    #[inline]
    fn lengths(&self, head: &[u8]) -> (u32, u32) {
        let word = |at| word(head, at, self.big_endian).unwrap_or(0);
        let (captured, wire_len) = (word(8), word(12));
        if self.lengths_may_be_swapped && captured > wire_len {
            (wire_len, captured)
        } else {
            (captured, wire_len)
        }
    }
}

/// Whether this is the beginning of a file header.
pub(super) fn is_begun(head: &[u8]) -> bool {
    magic_of(head).is_some()
}

/// The magic number at the beginning, and whether its most significant byte comes first; none if there is none that is known.
fn magic_of(head: &[u8]) -> Option<(bool, u32)> {
    match u32::from_be_bytes(*head.first_chunk()?) {
        magic if known(magic) => Some((true, magic)),
        swapped if known(swapped.swap_bytes()) => Some((false, swapped.swap_bytes())),
        _ => None,
    }
}

fn known(magic: u32) -> bool {
    // Microseconds, nanoseconds, Kuznetzov's, and two that are known to be of others.
    [0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34, 0xa1b2_34cd, 0xa12b_3c4d].contains(&magic)
}
