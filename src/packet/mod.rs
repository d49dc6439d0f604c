//! What a packet is: its frame, stamp and link type, its layers, its flow's Community ID, its application protocol. Pure and
//! total: any bytes of any link type give an answer; no I/O, no state across packets.

pub mod addr;
pub mod app;
pub mod community_id;
pub mod decode;
pub mod level;

/// Nanoseconds since 1970-01-01 00:00:00 UTC. Reaches from 1677 to 2262, which covers every stamp a PCAP file can hold
/// (32-bit unsigned seconds: 1970 to 2106).
pub type Nanos = i64;

/// Nanoseconds in a second.
pub const NANOS_PER_SEC: Nanos = 1_000_000_000;

/// The largest captured length a frame may have, bytes; libpcap's `MAXIMUM_SNAPLEN` for all but two exotic link types.
pub const MAX_SNAPLEN: u32 = 262_144;

/// The unit of a stamp's fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// Microseconds: what every tool reads.
    #[default]
    Micro,
    /// Nanoseconds.
    Nano,
}

impl Precision {
    /// Units in a second.
    pub const fn per_second(self) -> u32 {
        match self {
            Self::Micro => 1_000_000,
            Self::Nano => 1_000_000_000,
        }
    }

    /// Nanoseconds in one unit.
    pub const fn nanos(self) -> Nanos {
        NANOS_PER_SEC / self.per_second() as Nanos
    }
}

/// A data link type, by its number in <https://www.tcpdump.org/linktypes.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback: the address family in the byte order of the machine that captured.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// An IPv4 or IPv6 packet with nothing before it.
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback: the address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked, version 1.
    pub const SLL: Self = Self(113);
    /// An IPv4 packet with nothing before it.
    pub const IPV4: Self = Self(228);
    /// An IPv6 packet with nothing before it.
    pub const IPV6: Self = Self(229);
    /// Linux cooked, version 2.
    pub const SLL2: Self = Self(276);
}

/// One packet as a source hands it out: borrowed bytes, nothing decoded.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Seconds of the stamp since 1970, UTC.
    pub sec: u32,
    /// Fraction of the stamp, in the source's [`Precision`].
    pub frac: u32,
    /// Length on the wire, bytes; at least `data.len()` in a sound capture.
    pub wire_len: u32,
    /// The captured bytes.
    pub data: &'a [u8],
}

impl Frame<'_> {
    /// The stamp in nanoseconds.
    pub fn nanos(&self, precision: Precision) -> Nanos {
        Nanos::from(self.sec) * NANOS_PER_SEC + Nanos::from(self.frac) * precision.nanos()
    }
}

/// Where a packet's record lies: the index number of its capture file and the offset of the record header in it. Ordered as
/// the packets came. Where no capture file is written or known, a running number and a running offset stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Place {
    /// The index number of the capture file.
    pub file: u64,
    /// The offset of the record's header, bytes.
    pub offset: u64,
}
