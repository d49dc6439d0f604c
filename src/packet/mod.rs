//! What a packet is, before anyone asks what it means: its frame, stamp and link type. Pure and total; no I/O.

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
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
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
