//! The flow record: what is kept of a flow, or of a part of a long one.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::key::{FlowKey, Numbers};
use super::tcp::ConnState;
use crate::packet::addr::{Addr, Mac, Vlan};
use crate::packet::app::Basis;
use crate::packet::{Nanos, Place};

/// Why a record was written, as IPFIX's flowEndReason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndReason {
    /// Nothing came for the idle timeout.
    Idle,
    /// It lasts longer than the active timeout; more parts follow.
    Active,
    /// Its end was seen.
    End,
    /// The service, or the capture, ended.
    Forced,
    /// The table was full.
    Resources,
}

/// A stretch of a capture file: index number, offset of the first record and of the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub struct Stretch(pub u64, pub u64, pub u64);

/// The gap between two records from which a new [`Stretch`] begins, bytes.
pub const STRETCH_GAP: u64 = 1 << 20;

/// The most stretches of a record; the last one grows when there are more.
pub const MAX_STRETCHES: usize = 16;

impl Stretch {
    /// Of one record.
    pub(super) fn at(place: Place) -> Self {
        Self(place.file, place.offset, place.offset)
    }

    /// Takes in the record at `place`, if it lies in the same file, no further than [`STRETCH_GAP`] behind or, where `far`, anywhere
    /// behind.
    #[inline]
    pub(super) fn take(&mut self, place: Place, far: bool) -> bool {
        let fits = self.0 == place.file && (far || place.offset <= self.2.saturating_add(STRETCH_GAP));
        if fits {
            self.2 = self.2.max(place.offset);
        }
        fits
    }
}

/// A list of [`Stretch`]es that grows as packets come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stretches(pub Vec<Stretch>);

impl Stretches {
    /// Adds the record at `place`, which comes behind all before. `false` if it cannot be named: the list is full, and the record lies
    /// in another file than the last stretch.
    pub fn add(&mut self, place: Place) -> bool {
        let full = self.0.len() >= MAX_STRETCHES;
        if self.0.last_mut().is_some_and(|last| last.take(place, full)) {
            return true;
        }
        if !full {
            self.0.push(Stretch::at(place));
        }
        !full
    }

    /// Where the last packet lies.
    pub fn last_place(&self) -> Option<Place> {
        self.0.last().map(|&Stretch(file, _, offset)| Place { file, offset })
    }
}

/// [`Stretches`] that are being gathered. As there is but one as a rule, the last lies here, and only those before on the heap.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Stretches", into = "Stretches")]
pub struct Trail {
    last: Option<Stretch>,
    before: Option<Box<Stretches>>,
}

impl Trail {
    /// Adds the record at `place`, as [`Stretches::add`] does.
    #[inline]
    pub fn add(&mut self, place: Place) -> bool {
        let Some(last) = &mut self.last else {
            self.last = Some(Stretch::at(place));
            return true;
        };
        let full = self.before.as_ref().is_some_and(|before| before.0.len() + 1 >= MAX_STRETCHES);
        if last.take(place, full) {
            return true;
        }
        if !full {
            let done = std::mem::replace(last, Stretch::at(place));
            self.before.get_or_insert_default().0.push(done);
        }
        !full
    }

    /// Forgets all, but keeps the memory.
    pub fn clear(&mut self) {
        self.last = None;
        self.before.iter_mut().for_each(|before| before.0.clear());
    }

    /// As a list.
    pub fn stretches(&self) -> Stretches {
        let before = self.before.iter().flat_map(|before| &before.0);
        Stretches(before.chain(&self.last).copied().collect())
    }
}

impl From<Trail> for Stretches {
    fn from(trail: Trail) -> Self {
        trail.stretches()
    }
}

impl From<Stretches> for Trail {
    fn from(mut all: Stretches) -> Self {
        let last = all.0.pop();
        Self { last, before: (!all.0.is_empty()).then(|| Box::new(all)) }
    }
}

/// A flow record. Its keys, in this order, are the format of flow files (`docs/FORMAT.md`) and of `tapkeep flows --json`; what
/// is not known, or does not apply, is left out. Unknown keys are passed over when one is read.
///
/// Counts are of this part; flags, state, history and what is known of the application are of the flow up to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// Index number and offset of the flow's first packet, `NUMBER-OFFSET`: the same whenever the packets are read.
    pub flow_id: String,
    /// Number of this part, from 0.
    pub part: u32,
    /// Whether it is the last part.
    #[serde(rename = "final")]
    pub last_part: bool,
    /// Community ID, version 1, seed 0; none where ports were in a fragment that was not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub community_id: Option<String>,
    /// The earliest stamp of this part.
    #[serde(with = "stamp")]
    pub start: Nanos,
    /// The latest stamp of this part.
    #[serde(with = "stamp")]
    pub end: Nanos,
    /// The originator: sender of the first packet, or receiver of a first SYN-ACK.
    pub src_ip: Addr,
    /// Its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_port: Option<u16>,
    /// The responder.
    pub dst_ip: Addr,
    /// Its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dst_port: Option<u16>,
    /// Hardware addresses of the flow's first packet, from the originator's view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_mac: Option<Mac>,
    /// See `src_mac`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dst_mac: Option<Mac>,
    /// VLAN id; of frames with two tags both, outermost first.
    #[serde(default, skip_serializing_if = "is_untagged", with = "vlan")]
    pub vlan: Vlan,
    /// IP protocol number.
    pub proto: u8,
    /// Its name, if it has a well-known one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Cow<'static, str>>,
    /// ICMP type of the first packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// ICMP code of the first packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// Application protocol, by tshark's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<Cow<'static, str>>,
    /// How it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_basis: Option<Basis>,
    /// Packets that the originator sent.
    pub orig_packets: u64,
    /// Their bytes on the wire, whole frames.
    pub orig_bytes: u64,
    /// Packets that the responder sent.
    pub resp_packets: u64,
    /// Their bytes on the wire, whole frames.
    pub resp_bytes: u64,
    /// Payload bytes behind the transport header that the originator sent.
    pub orig_payload_bytes: u64,
    /// The same of the responder.
    pub resp_payload_bytes: u64,
    /// TCP payload bytes that were acknowledged and never seen; only where the handshake was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_bytes: Option<u64>,
    /// State of the TCP connection, in Zeek's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conn_state: Option<ConnState>,
    /// History of the TCP connection, in Zeek's alphabet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<String>,
    /// TCP flags of the originator, ORed: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orig_tcp_flags: Option<u8>,
    /// TCP flags of the responder, ORed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resp_tcp_flags: Option<u8>,
    /// From the SYN to the ACK that ends the handshake, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
    /// Smallest time to live, of both directions.
    pub min_ttl: u8,
    /// Largest time to live, of both directions.
    pub max_ttl: u8,
    /// Why the record was written.
    pub end_reason: EndReason,
    /// Server name that the TLS client asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// The application protocol that the TLS client named first (ALPN). What the server chose is encrypted since TLS 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpn: Option<String>,
    /// HTTP `Host` of the first request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_host: Option<String>,
    /// HTTP `User-Agent` of the first request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The first DNS name asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_query: Option<String>,
    /// JA4 fingerprint of the TLS client's hello.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ja4: Option<String>,
    /// Ids of findings that are about the flow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
    /// Where its packets lie.
    #[serde(default, skip_serializing_if = "is_nowhere")]
    pub captures: Stretches,
}

impl FlowRecord {
    /// The key of its flow, and whether the originator is the key's `a`.
    pub fn key(&self) -> (FlowKey, bool) {
        let numbers = match (self.src_port, self.dst_port, self.icmp_type, self.icmp_code) {
            (Some(src), Some(dst), ..) => (Numbers::Ports, src, dst),
            (_, _, Some(kind), Some(code)) => (Numbers::Icmp, kind.into(), code.into()),
            _ => (Numbers::None, 0, 0),
        };
        FlowKey::of(self.src_ip, self.dst_ip, self.proto, self.vlan, numbers)
    }

    /// Whether it tells of a whole flow of one packet.
    pub fn is_lone_packet(&self) -> bool {
        self.last_part && self.part == 0 && self.orig_packets.saturating_add(self.resp_packets) == 1
    }

    /// Where the flow's first packet lies: what `flow_id` says.
    pub fn id(&self) -> Option<Place> {
        let (file, offset) = self.flow_id.split_once('-')?;
        Some(Place { file: file.parse().ok()?, offset: offset.parse().ok()? })
    }
}

fn is_untagged(vlan: &Vlan) -> bool {
    *vlan == Vlan::NONE
}

fn is_nowhere(captures: &Stretches) -> bool {
    captures.0.is_empty()
}

/// The name of an IP protocol; of one that has no usual name, its number.
pub fn transport_name(proto: u8) -> Cow<'static, str> {
    usual_name(proto).map_or_else(|| proto.to_string().into(), Into::into)
}

/// The usual name of an IP protocol.
pub(super) fn usual_name(proto: u8) -> Option<&'static str> {
    Some(match proto {
        0 => "hopopt",
        1 => "icmp",
        2 => "igmp",
        4 => "ipip",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        41 => "ipv6",
        46 => "rsvp",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "icmp6",
        88 => "eigrp",
        89 => "ospf",
        103 => "pim",
        112 => "vrrp",
        115 => "l2tp",
        132 => "sctp",
        136 => "udplite",
        _ => return None,
    })
}

/// VLAN ids as a number, or as two where there are two tags.
mod vlan {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Vlan;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Ids {
        One(u16),
        Two(u16, u16),
    }

    pub(super) fn serialize<S: Serializer>(vlan: &Vlan, to: S) -> Result<S::Ok, S::Error> {
        if vlan.inner == 0 { to.serialize_u16(vlan.outer) } else { (vlan.outer, vlan.inner).serialize(to) }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vlan, D::Error> {
        Ok(match Ids::deserialize(from)? {
            Ids::One(outer) => Vlan { outer, inner: 0 },
            Ids::Two(outer, inner) => Vlan { outer, inner },
        })
    }
}

/// Stamps as RFC 3339 in UTC with nanoseconds: how records and findings write them.
pub mod stamp {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::packet::{NANOS_PER_SEC, Nanos};

    /// Writes.
    pub fn serialize<S: Serializer>(stamp: &Nanos, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(std::str::from_utf8(&text(*stamp)).unwrap_or_default())
    }

    /// `YYYY-MM-DDTHH:MM:SS.NNNNNNNNNZ`: each record has two, and a formatter for any form takes longer than all the rest of it.
    fn text(stamp: Nanos) -> [u8; 30] {
        let (secs, nanos) = (stamp.div_euclid(NANOS_PER_SEC), stamp.rem_euclid(NANOS_PER_SEC));
        let (year, month, day) = date(secs.div_euclid(86_400));
        let second = secs.rem_euclid(86_400);
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        let mut put = |at: std::ops::Range<usize>, mut number: i64| {
            for digit in text[at].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(0..4, year);
        put(5..7, month);
        put(8..10, day);
        put(11..13, second / 3600);
        put(14..16, second / 60 % 60);
        put(17..19, second % 60);
        put(20..29, nanos);
        text
    }

    /// Year, month and day of a day since 1970, after Howard Hinnant's `civil_from_days`
    /// (<https://howardhinnant.github.io/date_algorithms.html>): years begin in March, so that a leap day ends one.
    fn date(days: i64) -> (i64, i64, i64) {
        let days = days + 719_468;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        (year + era * 400 + i64::from(month <= 2), month, day)
    }

    /// Reads.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Nanos, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        let time = chrono::DateTime::parse_from_rfc3339(&text).map_err(serde::de::Error::custom)?;
        time.timestamp_nanos_opt().ok_or_else(|| serde::de::Error::custom("a time beyond 1677 to 2262"))
    }

    #[cfg(test)]
    mod tests {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn stamps_are_written_as_chrono_writes_them(stamp: Nanos) {
                let theirs = chrono::DateTime::from_timestamp_nanos(stamp).format("%Y-%m-%dT%H:%M:%S%.9fZ");
                let ours = text(stamp);
                prop_assert_eq!(std::str::from_utf8(&ours).unwrap(), theirs.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Steps of up to three stretches' gap, in files that change now and then.
        #[test]
        fn a_trail_is_the_list_that_it_stands_for(steps in prop::collection::vec((0_u64..3 << 20, 0_u8..8), 0..64)) {
            let (mut list, mut trail) = (Stretches::default(), Trail::default());
            let mut place = Place { file: 1, offset: 24 };
            for (step, turn) in steps {
                place.offset += step;
                if turn == 0 {
                    place = Place { file: place.file + 1, offset: 24 };
                }
                prop_assert_eq!(list.add(place), trail.add(place));
                prop_assert!(list == trail.stretches());
                prop_assert!(Trail::from(list.clone()) == trail);
            }
        }
    }
}
