//! Folding: flows of one packet that are only counted, per source, when there are so many that their records would take more
//! of the disk than their packets. Pure.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use super::super::facts::stamp_text;
use crate::flow::jsonb;
use crate::packet::Nanos;
use crate::packet::addr::Addr;

/// The most sources counted by themselves; the rest is one row without an address.
pub const MAX_SOURCES: usize = 1024;

/// Bytes of the growing flow file below which nothing is folded.
const FOLD_FROM: u64 = 4 << 20;

/// Whether one-packet flows are to be folded, if the growing flow file has `flow_bytes` and the captures that its records
/// cover have `capture_bytes`.
pub fn should_fold(flow_bytes: u64, capture_bytes: u64) -> bool {
    flow_bytes > FOLD_FROM && flow_bytes > capture_bytes / 4
}

/// Flows of one source that were only counted: `{"folded": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fold {
    /// The source; none for all others together.
    pub src_ip: Option<String>,
    /// Flows.
    pub flows: u64,
    /// Their packets.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Stamp of the earliest packet.
    #[serde(with = "stamp_text")]
    pub first: Option<Nanos>,
    /// Of the latest.
    #[serde(with = "stamp_text")]
    pub last: Option<Nanos>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct FoldObject<F> {
    pub(super) folded: F,
}

impl Fold {
    /// Of an object's bytes.
    pub fn read(object: &[u8]) -> Option<Self> {
        jsonb::decode::<FoldObject<Self>>(object).ok().map(|(object, _)| object.folded)
    }
}

/// Counts flows per source; holds at most [`MAX_SOURCES`] and one.
#[derive(Debug, Default)]
pub struct Folder {
    sources: HashTable<(Addr, Sum)>,
    others: Option<Sum>,
    hasher: foldhash::quality::RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Sum {
    flows: u64,
    packets: u64,
    bytes: u64,
    first: Nanos,
    last: Nanos,
}

impl Sum {
    fn add(&mut self, other: &Self) {
        self.flows += other.flows;
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }

    fn fold(&self, src: Option<Addr>) -> Fold {
        let Self { flows, packets, bytes, first, last } = *self;
        Fold {
            src_ip: src.map(|src| src.to_string()),
            flows,
            packets,
            bytes,
            first: Some(first),
            last: Some(last),
        }
    }
}

impl Folder {
    /// Counts a flow from `src`.
    pub fn add(&mut self, src: Addr, packets: u64, bytes: u64, first: Nanos, last: Nanos) {
        let sum = Sum { flows: 1, packets, bytes, first, last };
        let hash = self.hasher.hash_one(src);
        if let Some((_, known)) = self.sources.find_mut(hash, |(of, _)| *of == src) {
            known.add(&sum);
        } else if self.sources.len() < MAX_SOURCES {
            let hasher = &self.hasher;
            self.sources.insert_unique(hash, (src, sum), |(of, _)| hasher.hash_one(of));
        } else if let Some(others) = &mut self.others {
            others.add(&sum);
        } else {
            self.others = Some(sum);
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// What was counted, by address, all others last; begins anew.
    pub fn take(&mut self) -> Vec<Fold> {
        let mut sources: Vec<_> = self.sources.drain().collect();
        sources.sort_unstable_by_key(|(src, _)| *src);
        let others = self.others.take().map(|sum| sum.fold(None));
        sources.iter().map(|(src, sum)| sum.fold(Some(*src))).chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_counted_up_to_the_bound_and_no_flow_is_forgotten() {
        let mut folder = Folder::default();
        assert!(folder.is_empty());
        for n in 0..5_000_u32 {
            folder.add(Addr::v4((n % 2_000).to_be_bytes()), 1, 60, i64::from(n), i64::from(n) + 1);
        }
        let folds = folder.take();
        assert_eq!(folds.len(), MAX_SOURCES + 1);
        assert_eq!(
            folds.iter().map(|fold| (fold.flows, fold.bytes)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
            (5_000, 300_000)
        );
        let first = Fold {
            src_ip: Some("0.0.0.0".to_owned()),
            flows: 3,
            packets: 3,
            bytes: 180,
            first: Some(0),
            last: Some(4_001),
        };
        assert_eq!(folds[0], first);
        let others = &folds[MAX_SOURCES];
        assert_eq!((others.src_ip.as_deref(), others.first, others.last), (None, Some(1024), Some(4_000)));
        assert!(folder.is_empty() && folder.take().is_empty());
    }

    #[test]
    fn flows_are_folded_only_where_they_outgrow_their_packets() {
        const MIB: u64 = 1 << 20;
        for (flows, captures, folds) in [
            (4 * MIB, 0, false),
            (4 * MIB + 1, 0, true),
            (5 * MIB, 20 * MIB, false),
            (5 * MIB + 1, 20 * MIB, true),
        ] {
            assert_eq!(should_fold(flows, captures), folds, "{flows} {captures}");
        }
    }
}
