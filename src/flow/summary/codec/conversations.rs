//! Conversations as a blob: a sorted list of addresses, then rows that name their ends by place in it.

use super::super::{Count, Identity, Rows, Talk};
use super::row::{Cursor, Row};
use super::{BlobError, Kind, NARROW, begin, decode_count, encode_count, finish, open};
use crate::flow::key::{FlowKey, Numbers};
use crate::packet::Nanos;
use crate::packet::addr::{Addr, Vlan};
use crate::packet::app::{App, Basis};
use crate::packet::level::Level;

/// Numbers of a conversation's row.
const WIDE: usize = 14;

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

pub(super) fn encode_conversations(rows: &Rows<FlowKey, Talk>) -> Vec<u8> {
    let mut blob = begin(Kind::Conversations, rows.rows.len());
    encode_count(&mut blob, rows.missed);
    let addrs = encode_addresses(&mut blob, &rows.rows);
    let place = |addr| addrs.binary_search(&addr).unwrap_or_default() as u64;
    // Stamps of most files are whole microseconds.
    let origin = rows.rows.iter().map(|(_, talk)| talk.first).min().unwrap_or_default();
    let since = |stamp: Nanos| stamp.wrapping_sub(origin) as u64;
    let lasted = |talk: &Talk| talk.last.wrapping_sub(talk.first) as u64;
    let whole =
        |(_, talk): &(_, Talk)| since(talk.first).is_multiple_of(1000) && lasted(talk).is_multiple_of(1000);
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
            lasted(talk) / unit,
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
pub(in super::super) fn conversations(
    blob: &[u8],
    to: &mut Vec<(FlowKey, Talk)>,
) -> Result<Count, BlobError> {
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
