//! A summary as blobs for the index, each for itself, so that a question reads only what it needs. Compact (an endpoint takes
//! about 11 bytes, a conversation about 26) and quick to decode, for a question reads those of a thousand files.
//!
//! A blob is a header (CRC-32C of what follows, version, kind, number of rows: ten bytes), a few numbers, and rows
//! sorted by key. A row is an array of numbers: first three bits for each that tell its length (0, 1, 2, 3, 4, 5, 6 or 8 bytes),
//! then their bytes, little-endian. Keys are differences to the row before. Decoding takes any bytes: what cannot have been
//! encoded is an error, and no more is allocated than the blob could hold.

mod conversations;
mod json;
mod row;

use conversations::encode_conversations;
use row::{Cursor, Row};

pub(super) use conversations::conversations;

use super::filter::{BLOCK, Filter};
use super::{Count, Rows, Summary, SummaryLimits, Traffic};
use crate::packet::Nanos;
use crate::packet::addr::{Addr, Mac};
use crate::packet::level::Path;

/// The version of the blobs *and* of what is counted in them: raised when either changes, so that older ones are made anew.
pub const CODEC_VERSION: u8 = 1;

/// Numbers of a row of protocols, endpoints or hardware addresses.
const NARROW: usize = 8;

/// A blob is not what [`Summary::encode`] gives.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum BlobError {
    /// Of another version.
    #[error("summary of version {0}; this Tapkeep makes version {CODEC_VERSION}")]
    Version(u8),
    /// Its checksum does not fit, or it is too short to have one.
    #[error("damaged summary")]
    Damaged,
    /// Its checksum fits but its content makes no sense.
    #[error("summary that makes no sense")]
    Nonsense,
}

/// What a blob holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Head = 1,
    Protocols,
    Endpoints,
    Macs,
    Conversations,
    Filter,
}

/// A summary's blobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoded {
    /// Range and totals: [`Head`].
    pub head: Vec<u8>,
    /// The protocol tree.
    pub protocols: Vec<u8>,
    /// IP addresses.
    pub endpoints: Vec<u8>,
    /// Hardware addresses.
    pub macs: Vec<u8>,
    /// Conversations.
    pub conversations: Vec<u8>,
    /// The filter.
    pub filter: Vec<u8>,
}

/// A summary without its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Earliest and latest stamp.
    pub range: Option<(Nanos, Nanos)>,
    /// All packets.
    pub total: Count,
    /// The bounds by which it was made.
    pub limits: SummaryLimits,
}

impl Encoded {
    /// Bytes of all.
    pub fn len(&self) -> usize {
        let Self { head, protocols, endpoints, macs, conversations, filter } = self;
        [head, protocols, endpoints, macs, conversations, filter].iter().map(|blob| blob.len()).sum()
    }

    /// Whether there is nothing, not even headers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The summary.
    ///
    /// # Errors
    /// If a blob is damaged, or of another version.
    pub fn decode(&self) -> Result<Summary, BlobError> {
        let head = Head::decode(&self.head)?;
        let mut summary = Summary { range: head.range, total: head.total, ..Summary::default() };
        summary.protocols.missed = protocols(&self.protocols, &mut summary.protocols.rows)?;
        summary.endpoints.missed = endpoints(&self.endpoints, &mut summary.endpoints.rows)?;
        summary.macs.missed = macs(&self.macs, &mut summary.macs.rows)?;
        summary.conversations.missed = conversations(&self.conversations, &mut summary.conversations.rows)?;
        summary.filter = Filter::decode(&self.filter)?;
        Ok(summary)
    }
}

impl Summary {
    /// Its blobs. `limits` are those by which it was made.
    pub fn encode(&self, limits: &SummaryLimits) -> Encoded {
        let head = Head { range: self.range, total: self.total, limits: *limits };
        Encoded {
            head: head.encode(),
            protocols: encode_protocols(&self.protocols),
            endpoints: encode_traffic(Kind::Endpoints, &self.endpoints, |addr| {
                u128::from_be_bytes(addr.to_bytes())
            }),
            macs: encode_traffic(Kind::Macs, &self.macs, |mac| mac_number(*mac)),
            conversations: encode_conversations(&self.conversations),
            filter: self.filter.encode(),
        }
    }
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let (first, last) = self.range.unwrap_or_default();
        let mut blob = begin(Kind::Head, usize::from(self.range.is_some()));
        let limit = |limit: usize| u64::try_from(limit).unwrap_or(u64::MAX);
        Row([
            first as u64,
            last as u64,
            self.total.packets,
            self.total.bytes,
            limit(self.limits.endpoints),
            limit(self.limits.macs),
            limit(self.limits.conversations),
            0,
        ])
        .write(&mut blob);
        finish(blob)
    }

    /// Reads it.
    ///
    /// # Errors
    /// If it is damaged, or of another version.
    pub fn decode(blob: &[u8]) -> Result<Self, BlobError> {
        let (ranges, mut cursor) = open(Kind::Head, blob)?;
        let Row([first, last, packets, bytes, endpoints, macs, conversations, _]) = cursor.row::<NARROW>()?;
        cursor.end()?;
        let limit = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(Self {
            range: (ranges > 0).then_some((first as Nanos, last as Nanos)),
            total: Count { packets, bytes },
            limits: SummaryLimits {
                endpoints: limit(endpoints),
                macs: limit(macs),
                conversations: limit(conversations),
            },
        })
    }
}

impl Filter {
    /// Its blob.
    pub fn encode(&self) -> Vec<u8> {
        let mut blob = begin(Kind::Filter, self.blocks.len());
        blob.extend(self.blocks.iter().flatten().flat_map(|word| word.to_le_bytes()));
        finish(blob)
    }

    /// Reads it.
    ///
    /// # Errors
    /// If it is damaged, or of another version.
    pub fn decode(blob: &[u8]) -> Result<Self, BlobError> {
        let (count, cursor) = open(Kind::Filter, blob)?;
        let (chunks, rest) = cursor.rest().as_chunks::<BLOCK>();
        if chunks.len() != count || !rest.is_empty() {
            return Err(BlobError::Nonsense);
        }
        let word = |block: &[u8; BLOCK], at: usize| {
            block.as_chunks::<8>().0.get(at).map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let blocks = chunks.iter().map(|block| std::array::from_fn(|at| word(block, at))).collect();
        Self::from_blocks(blocks).ok_or(BlobError::Nonsense)
    }
}

fn begin(kind: Kind, rows: usize) -> Vec<u8> {
    let mut blob = vec![0; 4];
    blob.extend([CODEC_VERSION, kind as u8]);
    // Limits are below; a table of four billion rows is not.
    blob.extend(u32::try_from(rows).unwrap_or(u32::MAX).to_le_bytes());
    blob
}

fn finish(mut blob: Vec<u8>) -> Vec<u8> {
    if let Some((sum, rest)) = blob.split_first_chunk_mut::<4>() {
        *sum = crc32c::crc32c(rest).to_le_bytes();
    }
    blob
}

/// The number of rows, and what follows the header.
fn open(kind: Kind, blob: &[u8]) -> Result<(usize, Cursor<'_>), BlobError> {
    let (sum, rest) = blob.split_first_chunk::<4>().ok_or(BlobError::Damaged)?;
    if crc32c::crc32c(rest) != u32::from_le_bytes(*sum) {
        return Err(BlobError::Damaged);
    }
    let (&[version, of], rest) = rest.split_first_chunk::<2>().ok_or(BlobError::Damaged)?;
    if version != CODEC_VERSION {
        return Err(BlobError::Version(version));
    }
    let (rows, rest) = rest.split_first_chunk::<4>().ok_or(BlobError::Damaged)?;
    if of != kind as u8 {
        return Err(BlobError::Nonsense);
    }
    Ok((u32::from_le_bytes(*rows) as usize, Cursor::new(rest)))
}

fn encode_count(blob: &mut Vec<u8>, count: Count) {
    Row([count.packets, count.bytes, 0, 0, 0, 0, 0, 0]).write(blob);
}

fn decode_count(cursor: &mut Cursor<'_>) -> Result<Count, BlobError> {
    let Row([packets, bytes, ..]) = cursor.row::<NARROW>()?;
    Ok(Count { packets, bytes })
}

fn encode_protocols(rows: &Rows<Path, Count>) -> Vec<u8> {
    let mut blob = begin(Kind::Protocols, rows.rows.len());
    encode_count(&mut blob, rows.missed);
    for (path, count) in &rows.rows {
        // Levels lie in the uppermost bytes; turned round, the number is as short as the path.
        let path = u128::from_le_bytes(path.to_bytes());
        Row([path as u64, (path >> 64) as u64, count.packets, count.bytes, 0, 0, 0, 0]).write(&mut blob);
    }
    finish(blob)
}

/// Reads a protocol tree behind what `to` holds; returns what was missed.
///
/// # Errors
/// If it is damaged, or of another version; `to` may hold a part of it then.
pub(super) fn protocols(blob: &[u8], to: &mut Vec<(Path, Count)>) -> Result<Count, BlobError> {
    let (rows, mut cursor) = open(Kind::Protocols, blob)?;
    let missed = decode_count(&mut cursor)?;
    to.reserve(cursor.possible(rows, NARROW));
    let mut before = None;
    for _ in 0..rows {
        let Row([low, high, packets, bytes, ..]) = cursor.row::<NARROW>()?;
        let bytes_of = (u128::from(low) | u128::from(high) << 64).to_le_bytes();
        let path = Path::from_bytes(bytes_of);
        // Levels that this version knows, without a gap, sorted.
        let sound =
            bytes_of.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1) == path.levels().count();
        if !sound || before.is_some_and(|before| before >= path) {
            return Err(BlobError::Nonsense);
        }
        before = Some(path);
        to.push((path, Count { packets, bytes }));
    }
    cursor.end()?;
    Ok(missed)
}

fn encode_traffic<K>(kind: Kind, rows: &Rows<K, Traffic>, number: impl Fn(&K) -> u128) -> Vec<u8> {
    let mut blob = begin(kind, rows.rows.len());
    encode_count(&mut blob, rows.missed);
    let mut before = 0;
    for (key, Traffic { tx, rx, error }) in &rows.rows {
        let number = number(key);
        let more = number.wrapping_sub(before);
        before = number;
        Row([
            more as u64,
            (more >> 64) as u64,
            tx.packets,
            tx.bytes,
            rx.packets,
            rx.bytes,
            error.packets,
            error.bytes,
        ])
        .write(&mut blob);
    }
    finish(blob)
}

/// Reads endpoints behind what `to` holds; returns the most that one without a row can have had.
///
/// # Errors
/// If it is damaged, or of another version; `to` may hold a part of it then.
pub(super) fn endpoints(blob: &[u8], to: &mut Vec<(Addr, Traffic)>) -> Result<Count, BlobError> {
    traffic(Kind::Endpoints, blob, to, |number| Some(Addr::from_bytes(number.to_be_bytes())))
}

/// Reads hardware addresses behind what `to` holds; returns the most that one without a row can have had.
///
/// # Errors
/// If it is damaged, or of another version; `to` may hold a part of it then.
pub(super) fn macs(blob: &[u8], to: &mut Vec<(Mac, Traffic)>) -> Result<Count, BlobError> {
    traffic(Kind::Macs, blob, to, |number| {
        let [zeros @ .., a, b, c, d, e, f] = number.to_be_bytes();
        (zeros == [0; 10]).then_some(Mac([a, b, c, d, e, f]))
    })
}

fn mac_number(Mac([a, b, c, d, e, f]): Mac) -> u128 {
    u128::from(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
}

#[inline]
fn traffic<K>(
    kind: Kind,
    blob: &[u8],
    to: &mut Vec<(K, Traffic)>,
    key: impl Fn(u128) -> Option<K>,
) -> Result<Count, BlobError> {
    let (rows, mut cursor) = open(kind, blob)?;
    let missed = decode_count(&mut cursor)?;
    to.reserve(cursor.possible(rows, NARROW));
    let mut number = 0_u128;
    for row in 0..rows {
        let Row([low, high, tx_packets, tx_bytes, rx_packets, rx_bytes, packets, bytes]) =
            cursor.row::<NARROW>()?;
        let more = u128::from(low) | u128::from(high) << 64;
        let sum = number.checked_add(more).filter(|_| more > 0 || row == 0);
        number = sum.ok_or(BlobError::Nonsense)?;
        to.push((
            key(number).ok_or(BlobError::Nonsense)?,
            Traffic {
                tx: Count { packets: tx_packets, bytes: tx_bytes },
                rx: Count { packets: rx_packets, bytes: rx_bytes },
                error: Count { packets, bytes },
            },
        ));
    }
    cursor.end()?;
    Ok(missed)
}
