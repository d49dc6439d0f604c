//! A summary as blobs for the index, each for itself, so that a question reads only what it needs. Compact (an endpoint takes
//! about 11 bytes, a conversation about 26) and quick to decode, for a question reads those of a thousand files.
//!
//! A blob is a header of [`HEADER`] bytes (CRC-32C of what follows, version, kind, number of rows), a few numbers, and rows
//! sorted by key. A row is an array of numbers: first three bits for each that tell its length (0, 1, 2, 3, 4, 5, 6 or 8 bytes),
//! then their bytes, little-endian. Keys are differences to the row before. Decoding takes any bytes: what is not exactly what was
//! encoded is an error, and no more is allocated than the blob could hold.

mod row;

use std::mem::size_of;

use row::{Cursor, Row};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::filter::{BLOCK, Filter};
use super::{Count, Identity, Rows, Summary, SummaryLimits, Talk, Traffic};
use crate::flow::key::{FlowKey, Numbers};
use crate::packet::Nanos;
use crate::packet::addr::{Addr, Mac, Vlan};
use crate::packet::app::{App, Basis};
use crate::packet::level::{Level, Path};

/// The version of the blobs *and* of what is counted in them: raised when either changes, so that older ones are made anew.
pub const CODEC_VERSION: u8 = 1;

/// Checksum, version, kind and number of rows.
const HEADER: usize = 4 + 1 + 1 + 4;

/// Numbers of a row of protocols, endpoints or hardware addresses.
const NARROW: usize = 8;
/// Numbers of a conversation's row.
const WIDE: usize = 14;

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

    fn named(&self) -> [(&'static str, &Vec<u8>); 6] {
        let Self { head, protocols, endpoints, macs, conversations, filter } = self;
        [
            ("head", head),
            ("protocols", protocols),
            ("endpoints", endpoints),
            ("macs", macs),
            ("conversations", conversations),
            ("filter", filter),
        ]
    }

    /// The blobs as texts in base64, for a place that holds JSON.
    pub fn to_json(&self) -> serde_json::Value {
        self.named().into_iter().map(|(name, blob)| (name.to_owned(), BASE64.encode(blob))).collect()
    }

    /// From what [`Encoded::to_json`] gave; `None` if it is something else.
    pub fn from_json(json: &serde_json::Value) -> Option<Self> {
        let blob = |name| BASE64.decode(json.get(name)?.as_str()?).ok();
        Some(Self {
            head: blob("head")?,
            protocols: blob("protocols")?,
            endpoints: blob("endpoints")?,
            macs: blob("macs")?,
            conversations: blob("conversations")?,
            filter: blob("filter")?,
        })
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
    fn encode(&self) -> Vec<u8> {
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

/// Addresses as conversations name them: by their place in a sorted list.
fn encode_addresses(blob: &mut Vec<u8>, rows: &[(FlowKey, Talk)]) -> Vec<Addr> {
    let mut addrs: Vec<_> = rows.iter().flat_map(|(key, _)| [key.a.0, key.b.0]).collect();
    addrs.sort_unstable();
    addrs.dedup();
    Row([addrs.len() as u64, 0, 0, 0, 0, 0, 0, 0]).write(blob);
    let mut before = 0;
    for addr in &addrs {
        let number = u128::from_be_bytes(addr.to_bytes());
        let more: u128 = number.wrapping_sub(before);
        before = number;
        Row([more as u64, (more >> 64) as u64]).write(blob);
    }
    addrs
}

fn decode_addresses(cursor: &mut Cursor<'_>) -> Result<Vec<Addr>, BlobError> {
    let Row([count, ..]) = cursor.row::<NARROW>()?;
    let count = usize::try_from(count).map_err(|_| BlobError::Nonsense)?;
    let mut addrs = Vec::with_capacity(cursor.possible(count, 2));
    let mut number = 0_u128;
    for row in 0..count {
        let Row([low, high]) = cursor.row::<2>()?;
        let more = u128::from(low) | u128::from(high) << 64;
        let sum = number.checked_add(more).filter(|_| more > 0 || row == 0);
        number = sum.ok_or(BlobError::Nonsense)?;
        addrs.push(Addr::from_bytes(number.to_be_bytes()));
    }
    Ok(addrs)
}

fn encode_conversations(rows: &Rows<FlowKey, Talk>) -> Vec<u8> {
    let mut blob = begin(Kind::Conversations, rows.rows.len());
    encode_count(&mut blob, rows.missed);
    let addrs = encode_addresses(&mut blob, &rows.rows);
    let place = |addr| addrs.binary_search(&addr).unwrap_or_default() as u64;
    // Stamps of most files are whole microseconds.
    let origin = rows.rows.iter().map(|(_, talk)| talk.first).min().unwrap_or_default();
    let since = |stamp: Nanos| stamp.wrapping_sub(origin) as u64;
    let whole = |(_, talk): &(_, Talk)| since(talk.first) % 1000 == 0 && since(talk.last) % 1000 == 0;
    let unit = if rows.rows.iter().all(whole) { 1000 } else { 1 };
    Row([origin as u64, unit]).write(&mut blob);
    let mut before = 0;
    for (key, talk) in &rows.rows {
        let a = place(key.a.0);
        Row([
            a.wrapping_sub(before),
            place(key.b.0),
            u64::from(key.a.1),
            u64::from(key.b.1),
            u64::from(key.vlan.outer) | u64::from(key.vlan.inner) << 16,
            encode_nature(key, talk),
            since(talk.first) / unit,
            talk.last.wrapping_sub(talk.first) as u64 / unit,
            talk.orig.packets,
            talk.orig.bytes,
            talk.resp.packets,
            talk.resp.bytes,
            talk.error.packets,
            talk.error.bytes,
        ])
        .write(&mut blob);
        before = a;
    }
    finish(blob)
}

/// Reads conversations behind what `to` holds; returns the most that one without a row can have had.
///
/// # Errors
/// If it is damaged, or of another version; `to` may hold a part of it then.
pub(super) fn conversations(blob: &[u8], to: &mut Vec<(FlowKey, Talk)>) -> Result<Count, BlobError> {
    let (rows, mut cursor) = open(Kind::Conversations, blob)?;
    let missed = decode_count(&mut cursor)?;
    let addrs = decode_addresses(&mut cursor)?;
    let addr = |place: u64| {
        let addr = usize::try_from(place).ok().and_then(|place| addrs.get(place));
        addr.copied().ok_or(BlobError::Nonsense)
    };
    let Row([origin, unit]) = cursor.row::<2>()?;
    to.reserve(cursor.possible(rows, WIDE));
    let mut place = 0_u64;
    let mut before = None;
    for _ in 0..rows {
        let Row(
            [
                more,
                b,
                a_port,
                b_port,
                vlan,
                nature,
                first,
                lasted,
                orig_packets,
                orig_bytes,
                resp_packets,
                resp_bytes,
                packets,
                bytes,
            ],
        ) = cursor.row::<WIDE>()?;
        place = place.checked_add(more).ok_or(BlobError::Nonsense)?;
        let port = |port: u64| u16::try_from(port).map_err(|_| BlobError::Nonsense);
        let vlan = Vlan { outer: vlan as u16, inner: port(vlan >> 16)? };
        let nature = Nature::decode(nature).ok_or(BlobError::Nonsense)?;
        let key = FlowKey {
            a: (addr(place)?, port(a_port)?),
            b: (addr(b)?, port(b_port)?),
            vlan,
            proto: nature.proto,
            numbers: nature.numbers,
        };
        let stamp = |from: u64, units: u64| from.wrapping_add(units.wrapping_mul(unit));
        let first = stamp(origin, first);
        if before.is_some_and(|before| before >= key) {
            return Err(BlobError::Nonsense);
        }
        before = Some(key);
        let talk = Talk {
            forward: nature.forward,
            identity: nature.identity,
            orig: Count { packets: orig_packets, bytes: orig_bytes },
            resp: Count { packets: resp_packets, bytes: resp_bytes },
            first: first as Nanos,
            last: stamp(first, lasted) as Nanos,
            app: nature.app,
            error: Count { packets, bytes },
        };
        to.push((key, talk));
    }
    cursor.end()?;
    Ok(missed)
}

/// The small things of a conversation, in one number: from the lowest bit protocol (8), numbers (2), direction (1), kind of identity (2),
/// basis of the application (1), application plus one (8), ICMP type (8), code (8) and whether it came from `a` (1).
struct Nature {
    proto: u8,
    numbers: Numbers,
    forward: bool,
    identity: Identity,
    app: Option<(App, Basis)>,
}

fn encode_nature(key: &FlowKey, talk: &Talk) -> u64 {
    let (identity, icmp) = match talk.identity {
        Identity::None => (0, 0),
        Identity::Key => (1, 0),
        Identity::Icmp { kind, code, from_a } => {
            (2, u64::from(kind) | u64::from(code) << 8 | u64::from(from_a) << 16)
        }
    };
    let (basis, app) = match talk.app {
        None => (0, 0),
        Some((app, basis)) => (u64::from(basis == Basis::Payload), u64::from(app as u8) + 1),
    };
    u64::from(key.proto)
        | (key.numbers as u64) << 8
        | u64::from(talk.forward) << 10
        | identity << 11
        | basis << 13
        | app << 14
        | icmp << 23
}

impl Nature {
    fn decode(number: u64) -> Option<Self> {
        let bits = |from: u32, count: u32| number >> from & ((1 << count) - 1);
        let numbers = match bits(8, 2) {
            0 => Numbers::None,
            1 => Numbers::Ports,
            2 => Numbers::Icmp,
            _ => return None,
        };
        let icmp = bits(23, 41);
        let identity = match (bits(11, 2), icmp) {
            (0, 0) => Identity::None,
            (1, 0) => Identity::Key,
            (2, 0..0x2_0000) => {
                Identity::Icmp { kind: icmp as u8, code: (icmp >> 8) as u8, from_a: icmp >> 16 != 0 }
            }
            _ => return None,
        };
        let basis = if bits(13, 1) == 1 { Basis::Payload } else { Basis::Port };
        let app = match bits(14, 9) {
            0 => None,
            app => Some((Level::from_number(u8::try_from(app - 1).ok()?)?, basis)),
        };
        Some(Self { proto: bits(0, 8) as u8, numbers, forward: bits(10, 1) == 1, identity, app })
    }
}

const _: () = assert!(size_of::<u64>() == 8);
