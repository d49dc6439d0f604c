//! pcapng: sections of either byte order, each with interfaces of their own link type and resolution, and
//! packets in enhanced, simple and obsolete packet blocks; all other blocks are passed over. Source:
//! <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-04.html>.
//!
//! Of an interface sixteen bytes or so are kept, and of interfaces a bounded number. Everything is delivered
//! in microseconds until an interface appears whose stamps are finer; from there on in nanoseconds. Hence
//! precision changes at most once in a file, and never loses anything down to a nanosecond.

use std::collections::BTreeSet;

use super::input::BUFFER;
use super::{Input, Problem, Record, Stamp, Step, word};
use crate::packet::{LinkType, MAX_SNAPLEN, NANOS_PER_SEC, Precision};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// Type and length, before the body.
const BLOCK_HEADER: usize = 8;
/// The length again, behind the body.
const BLOCK_TRAILER: usize = 4;
/// Body bytes before the packet in enhanced and obsolete packet blocks.
const PACKET_HEADER: usize = 20;
/// The longest block that is believed, as in Wireshark.
const MAX_BLOCK: u32 = 16 * 1024 * 1024;
/// Interfaces of a section at most.
const MAX_INTERFACES: usize = 16_384;

#[derive(Debug, Clone, Copy)]
struct Interface {
    link: LinkType,
    snaplen: u32,
    resolution: Resolution,
    /// Seconds to add to every stamp.
    offset: i64,
}

/// The unit of an interface's stamps.
#[derive(Debug, Clone, Copy)]
enum Resolution {
    /// Ticks of a whole number of nanoseconds: so many in a second.
    Decimal(u64),
    /// Any other number of ticks in a second; beyond 2^127 stamps are 0, as they cannot reach a nanosecond.
    Other(u128),
}

impl Resolution {
    /// By the option `if_tsresol`.
    fn of(option: u8) -> Self {
        let exponent = u32::from(option & 0x7f);
        match option & 0x80 {
            0 if exponent <= 9 => Self::Decimal(10_u64.pow(exponent)),
            0 => Self::Other(10_u128.pow(exponent.min(38))),
            _ => Self::Other(1 << exponent),
        }
    }

    /// Whether a microsecond is not enough to say its stamps.
    fn is_finer_than_micro(self) -> bool {
        match self {
            Self::Decimal(ticks) => ticks > 1_000_000,
            Self::Other(ticks) => 1_000_000 % ticks != 0,
        }
    }

    /// Whole seconds, and nanoseconds rounded down.
    fn split(self, stamp: u64) -> (u64, u32) {
        match self {
            Self::Decimal(ticks) => (stamp / ticks, (stamp % ticks * (NANOS_PER_SEC as u64 / ticks)) as u32),
            Self::Other(ticks) => {
                let stamp = u128::from(stamp);
                ((stamp / ticks) as u64, (stamp % ticks * NANOS_PER_SEC as u128 / ticks) as u32)
            }
        }
    }
}

/// What was said so far.
#[derive(Debug)]
pub(super) struct Reader {
    big_endian: bool,
    interfaces: Vec<Interface>,
    pub(super) precision: Precision,
    pub(super) links: BTreeSet<u16>,
}

/// A block's beginning.
#[derive(Debug, Clone, Copy)]
struct Block {
    kind: u32,
    total: usize,
}

impl Reader {
    /// Recognises a file by its first block, which is left to [`Reader::locate`].
    pub(super) fn open(input: &mut Input) -> Result<Option<Self>, Problem> {
        let head = input.peek(BLOCK_HEADER + 4)?;
        if head.first_chunk() != Some(&SECTION_HEADER.to_be_bytes()) {
            return Ok(None);
        }
        let reader = Self {
            big_endian: false,
            interfaces: Vec::new(),
            precision: Precision::Micro,
            links: BTreeSet::new(),
        };
        Ok(Some(reader))
    }

    /// Finds the next packet, taking in whatever lies before it.
    pub(super) fn locate(&mut self, input: &mut Input) -> Result<Step, Problem> {
        loop {
            let head = input.peek(BLOCK_HEADER + 4)?;
            if head.is_empty() {
                return Ok(Step::Clean);
            }
            let Some(block) = self.block(head)? else { return Ok(Step::Cut) };
            let is_packet = matches!(block.kind, ENHANCED_PACKET | SIMPLE_PACKET | OBSOLETE_PACKET);
            if !is_packet && !matches!(block.kind, SECTION_HEADER | INTERFACE) {
                if !self.pass_over(input, block)? {
                    return Ok(Step::Cut);
                }
                continue;
            }
            if block.total > BUFFER {
                return Err(Problem::Damaged(format!(
                    "a block of type {} is {} bytes long",
                    block.kind, block.total
                )));
            }
            let window = input.peek(block.total)?;
            let Some(bytes) = window.get(..block.total) else { return Ok(Step::Cut) };
            self.check_trailer(&bytes[block.total - BLOCK_TRAILER..], block)?;
            let body = &bytes[BLOCK_HEADER..block.total - BLOCK_TRAILER];
            match block.kind {
                SECTION_HEADER => self.section(body)?,
                INTERFACE => self.interface(body)?,
                _ => return self.packet(body, block).map(Step::Record),
            }
            input.take(block.total);
        }
    }

    /// Type and length of a block; `None` if they are cut. A section header sets the byte order.
    fn block(&mut self, head: &[u8]) -> Result<Option<Block>, Problem> {
        if head.len() < BLOCK_HEADER {
            return Ok(None);
        }
        if head.starts_with(&SECTION_HEADER.to_be_bytes()) {
            self.big_endian = match word(head, BLOCK_HEADER, true) {
                None => return Ok(None),
                Some(BYTE_ORDER_MAGIC) => true,
                Some(magic) if magic.swap_bytes() == BYTE_ORDER_MAGIC => false,
                Some(magic) => {
                    return Err(Problem::Damaged(format!(
                        "a section header has the byte-order mark {magic:08x}"
                    )));
                }
            };
        }
        let (kind, total) = (self.word(head, 0), self.word(head, 4));
        if total < (BLOCK_HEADER + BLOCK_TRAILER) as u32 || !total.is_multiple_of(4) || total > MAX_BLOCK {
            return Err(Problem::Damaged(format!("a block of type {kind:#x} gives its length as {total}")));
        }
        Ok(Some(Block { kind, total: total as usize }))
    }

    fn pass_over(&self, input: &mut Input, block: Block) -> Result<bool, Problem> {
        if !input.skip((block.total - BLOCK_TRAILER) as u64)? {
            return Ok(false);
        }
        let trailer = input.peek(BLOCK_TRAILER)?;
        if trailer.len() < BLOCK_TRAILER {
            return Ok(false);
        }
        self.check_trailer(trailer, block)?;
        input.take(BLOCK_TRAILER);
        Ok(true)
    }

    fn check_trailer(&self, trailer: &[u8], block: Block) -> Result<(), Problem> {
        match self.word(trailer, 0) {
            again if again as usize == block.total => Ok(()),
            again => {
                let total = block.total;
                Err(Problem::Damaged(format!(
                    "a block gives its length as {total} and, behind it, as {again}"
                )))
            }
        }
    }

    fn section(&mut self, body: &[u8]) -> Result<(), Problem> {
        let version = self.half(body, 4).zip(self.half(body, 6));
        let (major, minor) = version.ok_or_else(|| Problem::cut_block("section header"))?;
        // 1.2 is what some write and means 1.0.
        if !matches!((major, minor), (1, 0 | 2)) {
            return Err(Problem::Damaged(format!("a section is of version {major}.{minor}, known is 1.0")));
        }
        self.interfaces.clear();
        Ok(())
    }

    fn interface(&mut self, body: &[u8]) -> Result<(), Problem> {
        if self.interfaces.len() == MAX_INTERFACES {
            return Err(Problem::Damaged(format!("a section has more than {MAX_INTERFACES} interfaces")));
        }
        let link = self.half(body, 0).filter(|_| body.len() >= 8);
        let link = LinkType(link.ok_or_else(|| Problem::cut_block("interface description"))?);
        let mut interface =
            Interface { link, snaplen: self.word(body, 4), resolution: Resolution::of(6), offset: 0 };
        let mut rest = &body[8..];
        while let (Some(code), Some(len)) = (self.half(rest, 0), self.half(rest, 2)) {
            let len = usize::from(len);
            let value = rest.get(4..4 + len).ok_or_else(|| Problem::cut_block("option of an interface"))?;
            match (code, value) {
                (0, _) => break,
                (9, [resolution]) => interface.resolution = Resolution::of(*resolution),
                (14, value) => {
                    let eight = value.first_chunk().ok_or_else(|| Problem::cut_block("if_tsoffset"))?;
                    interface.offset =
                        if self.big_endian { i64::from_be_bytes(*eight) } else { i64::from_le_bytes(*eight) };
                }
                _ => {}
            }
            rest = rest.get(4 + len.next_multiple_of(4)..).unwrap_or_default();
        }
        if interface.resolution.is_finer_than_micro() {
            self.precision = Precision::Nano;
        }
        self.links.insert(link.0);
        self.interfaces.push(interface);
        Ok(())
    }

    fn packet(&self, body: &[u8], block: Block) -> Result<Record, Problem> {
        let short = || Problem::cut_block("packet");
        if block.kind == SIMPLE_PACKET {
            let interface = self.known_interface(0)?;
            let wire_len = word(body, 0, self.big_endian).ok_or_else(short)?;
            let kept = if interface.snaplen == 0 { wire_len } else { wire_len.min(interface.snaplen) };
            let captured = (kept as usize).min(body.len() - 4);
            return self.record(interface, Stamp::default(), wire_len, 4, captured, block);
        }
        if body.len() < PACKET_HEADER {
            return Err(short());
        }
        let number = match block.kind {
            OBSOLETE_PACKET => u32::from(self.half(body, 0).unwrap_or(0)),
            _ => self.word(body, 0),
        };
        let interface = self.known_interface(number)?;
        let ticks = u64::from(self.word(body, 4)) << 32 | u64::from(self.word(body, 8));
        let (captured, wire_len) = (self.word(body, 12), self.word(body, 16));
        if captured as usize > body.len() - PACKET_HEADER {
            return Err(short());
        }
        let (sec, nanos) = interface.resolution.split(ticks);
        let stamp = Stamp::clamped(i128::from(sec) + i128::from(interface.offset), nanos, self.precision);
        self.record(interface, stamp, wire_len, PACKET_HEADER, captured as usize, block)
    }

    fn record(
        &self,
        interface: Interface,
        stamp: Stamp,
        wire_len: u32,
        header: usize,
        captured: usize,
        block: Block,
    ) -> Result<Record, Problem> {
        if captured > MAX_SNAPLEN as usize {
            return Err(Problem::too_long(captured as u32));
        }
        let start = BLOCK_HEADER + header;
        Ok(Record {
            stamp,
            wire_len,
            data: start..start + captured,
            total: block.total,
            link: interface.link,
            precision: self.precision,
        })
    }

    fn known_interface(&self, number: u32) -> Result<Interface, Problem> {
        self.interfaces.get(number as usize).copied().ok_or_else(|| {
            let known = self.interfaces.len();
            Problem::Damaged(format!("a packet is from interface {number}, of which there are {known}"))
        })
    }

    fn word(&self, bytes: &[u8], at: usize) -> u32 {
        word(bytes, at, self.big_endian).unwrap_or(0)
    }

    fn half(&self, bytes: &[u8], at: usize) -> Option<u16> {
        let two = bytes.get(at..)?.first_chunk()?;
        Some(if self.big_endian { u16::from_be_bytes(*two) } else { u16::from_le_bytes(*two) })
    }
}
