//! Bounds, merging and the blobs by made-up rows; what packets amount to is held against tshark in `tests/summary.rs`.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::codec::{CODEC_VERSION, Encoded};
use super::space_saving::{Counted, NOWHERE, Table};
use super::*;
use crate::packet::addr::Vlan;
use crate::packet::level::Level;

fn addr(number: u32) -> Addr {
    Addr::v4(number.to_be_bytes())
}

/// Packets: who, whether it is sent, how long.
fn packets() -> impl Strategy<Value = Vec<(u32, bool, u32)>> {
    let skewed = prop_oneof![3 => 0_u32..4, 2 => 0_u32..20, 2 => 0_u32..200];
    prop::collection::vec((skewed, any::<bool>(), prop_oneof![Just(60_u32), 60_u32..1500]), 0..600)
}

fn count(table: &mut Table<Addr, Traffic>, packets: &[(u32, bool, u32)]) {
    let mut latest = NOWHERE;
    for &(who, sent, len) in packets {
        let (slot, _) = table.slot(&addr(who), latest);
        latest = slot;
        let traffic = table.get_mut(slot).unwrap();
        (if sent { &mut traffic.tx } else { &mut traffic.rx }).packet(len);
    }
}

fn truth(packets: &[(u32, bool, u32)]) -> BTreeMap<Addr, Traffic> {
    let mut truth = BTreeMap::<_, Traffic>::new();
    for &(who, sent, len) in packets {
        let traffic = truth.entry(addr(who)).or_default();
        (if sent { &mut traffic.tx } else { &mut traffic.rx }).packet(len);
    }
    truth
}

fn rows(table: &Table<Addr, Traffic>) -> BTreeMap<Addr, Traffic> {
    table.rows().map(|(key, traffic)| (*key, *traffic)).collect()
}

fn at_most(a: Count, b: Count) -> bool {
    a.packets <= b.packets && a.bytes <= b.bytes
}

proptest! {
    #[test]
    fn rows_are_off_by_their_error_at_most(packets in packets(), limit in 1_usize..40) {
        let mut table = Table::new(limit);
        count(&mut table, &packets);
        let (rows, truth) = (rows(&table), truth(&packets));
        prop_assert!(rows.len() <= limit);
        for (key, row) in &rows {
            let real = truth.get(key).copied().unwrap_or_default().total();
            let least = row.total().minus(row.error);
            prop_assert!(at_most(least, real) && at_most(real, row.total()), "{row:?} {real:?}");
            prop_assert!(at_most(row.error, table.most_evicted()));
        }
        for (key, real) in &truth {
            prop_assert!(rows.contains_key(key) || at_most(real.total(), table.most_evicted()));
        }
        // Nobody who has more than a share of the bytes is missed (Metwally et al., theorem 2).
        let bytes: u64 = truth.values().map(|real| real.total().bytes).sum();
        prop_assert!(table.most_evicted().bytes <= bytes / limit as u64);
        if truth.len() <= limit {
            prop_assert_eq!(rows, truth);
        }
    }

    #[test]
    fn the_rows_are_a_function_of_the_packets(packets in packets(), limit in 1_usize..20) {
        let of = || {
            let mut table = Table::new(limit);
            count(&mut table, &packets);
            (rows(&table), table.most_evicted())
        };
        // Each table has a hash of its own.
        prop_assert_eq!(of(), of());
    }

    #[test]
    fn summaries_of_many_files_are_off_by_their_error_at_most(
        files in prop::collection::vec(packets(), 1..5), limit in 1_usize..40, sum_limit in 1_usize..60,
    ) {
        let limits = SummaryLimits { endpoints: sum_limit, ..SummaryLimits::FOREIGN };
        let mut merged = Merged::new(Wanted::ALL, limits);
        for packets in &files {
            let mut table = Table::new(limit);
            count(&mut table, packets);
            let endpoints = Rows { rows: rows(&table).into_iter().collect(), missed: table.most_evicted() };
            merged.add(&Summary { endpoints, ..Summary::default() });
        }
        let (sums, truth) = (merged.endpoints(), truth(&files.concat()));
        for (key, row) in &sums.rows {
            let real = truth.get(key).copied().unwrap_or_default().total();
            let total = row.total();
            prop_assert!(at_most(real.minus(total), row.error) && at_most(total.minus(real), row.error), "{row:?} {real:?}");
        }
        let keys: BTreeSet<_> = sums.rows.iter().map(|(key, _)| *key).collect();
        for (key, real) in &truth {
            prop_assert!(keys.contains(key) || at_most(real.total(), sums.missed), "{key} {real:?} {:?}", sums.missed);
        }
        if limit.min(sum_limit) >= truth.len() {
            prop_assert_eq!(sums.rows.into_iter().collect::<BTreeMap<_, _>>(), truth);
            prop_assert_eq!(sums.missed, Count::default());
        } else {
            let sorted = sums.rows.is_sorted_by(|(a, x), (b, y)| {
                (y.total().bytes, *a) < (x.total().bytes, *b)
            });
            prop_assert!(sorted);
        }
    }
}

fn counts() -> impl Strategy<Value = Count> {
    let number = || prop_oneof![4 => 0_u64..300, 2 => any::<u32>().prop_map(u64::from), 1 => any::<u64>()];
    (number(), number()).prop_map(|(packets, bytes)| Count { packets, bytes })
}

fn addrs() -> impl Strategy<Value = Addr> {
    prop_oneof![3 => (0_u32..60).prop_map(addr), 1 => any::<u32>().prop_map(addr), 2 => any::<[u8; 16]>().prop_map(Addr::from_bytes)]
}

fn traffic() -> impl Strategy<Value = Traffic> {
    (counts(), counts(), prop_oneof![3 => Just(Count::default()), 1 => counts()])
        .prop_map(|(tx, rx, error)| Traffic { tx, rx, error })
}

fn levels() -> impl Strategy<Value = Level> {
    (0_u8..100).prop_map(|number| Level::from_number(number).unwrap())
}

fn paths() -> impl Strategy<Value = Path> {
    prop::collection::vec(levels(), 0..17).prop_map(|levels| levels.into_iter().fold(Path::EMPTY, Path::with))
}

fn keys() -> impl Strategy<Value = FlowKey> {
    let vlan = prop_oneof![2 => Just(Vlan::NONE), 1 => (any::<u16>(), any::<u16>()).prop_map(|(outer, inner)| Vlan { outer, inner })];
    let numbers = prop_oneof![Just(Numbers::None), Just(Numbers::Ports), Just(Numbers::Icmp)];
    ((addrs(), any::<u16>()), (addrs(), any::<u16>()), vlan, any::<u8>(), numbers)
        .prop_map(|(a, b, vlan, proto, numbers)| FlowKey { a, b, vlan, proto, numbers })
}

fn talks() -> impl Strategy<Value = Talk> {
    let identity = prop_oneof![
        Just(Identity::None),
        Just(Identity::Key),
        (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(kind, code, from_a)| Identity::Icmp {
            kind,
            code,
            from_a
        }),
    ];
    let app = prop::option::of((levels(), prop_oneof![Just(Basis::Port), Just(Basis::Payload)]));
    let stamp = || prop_oneof![any::<i64>(), (0_i64..4_000_000_000).prop_map(|micros| micros * 1000)];
    let sent = (counts(), counts(), counts());
    (any::<bool>(), identity, sent, stamp(), stamp(), app).prop_map(
        |(forward, identity, sent, first, last, app)| {
            let (orig, resp, error) = sent;
            Talk { forward, identity, orig, resp, first, last, app, error }
        },
    )
}

fn sorted<K, V>(rows: impl Strategy<Value = Vec<(K, V)>>) -> impl Strategy<Value = Rows<K, V>>
where
    K: Ord + std::fmt::Debug,
    V: std::fmt::Debug,
{
    (rows, prop_oneof![Just(Count::default()), counts()])
        .prop_map(|(rows, missed)| Rows { rows: BTreeMap::from_iter(rows).into_iter().collect(), missed })
}

fn summaries() -> impl Strategy<Value = Summary> {
    use prop::collection::vec;
    let filter = vec(addrs(), 0..200).prop_map(|addrs| {
        let mut builder = filter::FilterBuilder::new();
        addrs.into_iter().for_each(|addr| builder.add(addr));
        builder.filter(4096)
    });
    (
        prop::option::of((any::<i64>(), any::<i64>())),
        counts(),
        sorted(vec((paths(), counts()), 0..20)),
        sorted(vec((addrs(), traffic()), 0..50)),
        sorted(vec((any::<[u8; 6]>().prop_map(Mac), traffic()), 0..20)),
        sorted(vec((keys(), talks()), 0..50)),
        filter,
    )
        .prop_map(|(range, total, protocols, endpoints, macs, conversations, filter)| Summary {
            range,
            total,
            protocols,
            endpoints,
            macs,
            conversations,
            filter,
        })
}

fn blobs(encoded: &mut Encoded) -> [&mut Vec<u8>; 6] {
    let Encoded { head, protocols, endpoints, macs, conversations, filter } = encoded;
    [head, protocols, endpoints, macs, conversations, filter]
}

fn reseal(blob: &mut [u8]) {
    if let Some((sum, rest)) = blob.split_first_chunk_mut::<4>() {
        *sum = crc32c::crc32c(rest).to_le_bytes();
    }
}

proptest! {
    #[test]
    fn a_summary_is_read_as_it_was_written(summary in summaries()) {
        let encoded = summary.encode(&SummaryLimits::DEFAULT);
        prop_assert_eq!(Encoded::from_json(&encoded.to_json()), Some(encoded.clone()));
        prop_assert_eq!(Filter::from_text(&summary.filter.to_text()), Ok(summary.filter.clone()));
        prop_assert_eq!(encoded.decode(), Ok(summary));
        prop_assert_eq!(Head::decode(&encoded.head).map(|head| head.limits), Ok(SummaryLimits::DEFAULT));
    }

    #[test]
    fn a_blob_that_was_changed_is_refused(
        summary in summaries(), blob in 0_usize..6, at in any::<prop::sample::Index>(), by in 1_u8..,
    ) {
        let mut encoded = summary.encode(&SummaryLimits::DEFAULT);
        let bytes = &mut *blobs(&mut encoded)[blob];
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        prop_assert!(encoded.decode().is_err());
    }

    #[test]
    fn hostile_blobs_do_no_harm(
        summary in summaries(),
        blob in 0_usize..6,
        spoils in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
        random in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
    ) {
        let mut encoded = summary.encode(&SummaryLimits::DEFAULT);
        let bytes = &mut *blobs(&mut encoded)[blob];
        if let Some(random) = random {
            bytes.truncate(6);
            bytes.extend(random);
        }
        for (at, byte) in spoils {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        reseal(bytes);
        // Whatever it is, it is read or refused; and what is refused changes nothing.
        if let Ok(summary) = encoded.decode() {
            prop_assert!(summary.endpoints.rows.len() <= encoded.endpoints.len());
        }
        let mut merged = Merged::new(Wanted::ALL, SummaryLimits::DEFAULT);
        let Encoded { head, protocols, endpoints, macs, conversations, .. } = &encoded;
        if merged.add_blobs(&Blobs { head, protocols, endpoints, macs, conversations }).is_err() {
            prop_assert_eq!(merged.total(), Count::default());
            prop_assert!(merged.endpoints().rows.is_empty() && merged.conversations().rows.is_empty());
        }
    }

    #[test]
    fn blobs_and_summaries_merge_alike_in_any_order(summaries in prop::collection::vec(summaries(), 0..4)) {
        let mut merged = [(); 2].map(|()| Merged::new(Wanted::ALL, SummaryLimits::FOREIGN));
        summaries.iter().for_each(|summary| merged[0].add(summary));
        for summary in summaries.iter().rev() {
            let Encoded { head, protocols, endpoints, macs, conversations, .. } = &summary.encode(&SummaryLimits::DEFAULT);
            merged[1].add_blobs(&Blobs { head, protocols, endpoints, macs, conversations }).unwrap();
        }
        let [one, other] = &merged;
        prop_assert_eq!((one.range(), one.total()), (other.range(), other.total()));
        prop_assert_eq!(one.protocols(), other.protocols());
        prop_assert_eq!(one.endpoints(), other.endpoints());
        prop_assert_eq!(one.macs(), other.macs());
        prop_assert_eq!(one.conversations(), other.conversations());
    }

    #[test]
    fn the_protocol_tree_sums_what_lies_below(rows in sorted(prop::collection::vec((paths(), counts()), 0..30))) {
        let mut merged = Merged::new(Wanted::ALL, SummaryLimits::DEFAULT);
        merged.add(&Summary { protocols: rows.clone(), ..Summary::default() });
        let mut expected = BTreeMap::<Path, Count>::new();
        for (path, count) in &rows.rows {
            for depth in 1..=path.depth() {
                *expected.entry(path.prefix(depth)).or_default() += *count;
            }
        }
        prop_assert_eq!(merged.protocols().rows, expected.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_count_of_rows_that_the_blob_cannot_hold_is_refused_before_memory_is_taken() {
    let mut encoded = Summary::default().encode(&SummaryLimits::DEFAULT);
    for blob in blobs(&mut encoded) {
        assert_eq!(blob[4], CODEC_VERSION);
        blob[6..10].copy_from_slice(&u32::MAX.to_le_bytes());
        reseal(blob);
    }
    for read in [
        codec::protocols(&encoded.protocols, &mut Vec::new()),
        codec::endpoints(&encoded.endpoints, &mut Vec::new()),
        codec::macs(&encoded.macs, &mut Vec::new()),
        codec::conversations(&encoded.conversations, &mut Vec::new()),
    ] {
        assert_eq!(read, Err(BlobError::Nonsense));
    }
    assert_eq!(Filter::decode(&encoded.filter), Err(BlobError::Nonsense));
}

#[test]
fn another_version_is_told_from_damage() {
    let mut blob = Summary::default().encode(&SummaryLimits::DEFAULT).head;
    blob[4] = CODEC_VERSION + 1;
    assert_eq!(Head::decode(&blob), Err(BlobError::Damaged));
    reseal(&mut blob);
    assert_eq!(Head::decode(&blob), Err(BlobError::Version(CODEC_VERSION + 1)));
}

#[test]
fn paths_beyond_the_bound_count_above_and_the_total_stays() {
    let mut protocols = protocols::Protocols::new();
    let mut number = 0_u32;
    for a in 0..100 {
        for b in 0..100 {
            let level = |number| Level::from_number(number).unwrap();
            protocols.count(
                Path::EMPTY.with(Level::Eth).with(level(a)).with(level(b)),
                NOWHERE,
                Count::of(60),
            );
            number += 1;
        }
    }
    let rows = protocols.rows();
    assert!(rows.rows.len() < 4_400 && !rows.is_exact(), "{}", rows.rows.len());
    let total = rows.rows.iter().fold(Count::default(), |sum, (_, count)| sum + *count);
    assert_eq!(total.packets, u64::from(number));
    assert_eq!(rows.missed.packets + 4_096, u64::from(number));
}

#[test]
fn who_began_a_conversation_is_decided_by_the_earliest_file() {
    let key =
        FlowKey { a: (addr(1), 5), b: (addr(2), 6), vlan: Vlan::NONE, proto: 6, numbers: Numbers::Ports };
    let talk = |first, forward, orig| Talk {
        forward,
        identity: Identity::Key,
        orig: Count { packets: orig, bytes: 60 * orig },
        resp: Count { packets: 1, bytes: 60 },
        first,
        last: first + 5,
        app: (first > 50).then_some((Level::Tls, Basis::Payload)),
        ..Talk::default()
    };
    let mut merged = Merged::new(Wanted::ALL, SummaryLimits::DEFAULT);
    for talk in [talk(100, true, 10), talk(7, false, 20)] {
        let conversations = Rows { rows: vec![(key, talk)], missed: Count::default() };
        merged.add(&Summary { conversations, ..Summary::default() });
    }
    let (_, talk) = merged.conversations().rows[0];
    // Of file one `a` sent 10 and `b` 1; of file two `b` sent 20 and `a` 1.
    assert_eq!((talk.forward, talk.orig.packets, talk.resp.packets), (false, 21, 11));
    assert_eq!((talk.first, talk.last, talk.app), (7, 105, Some((Level::Tls, Basis::Payload))));
    assert_eq!(talk.ends(&key).0, (addr(2), 6));
}

#[test]
fn counts_know_the_whole_of_a_row() {
    let count = Traffic { tx: Count::of(60), rx: Count::of(100), error: Count::of(5) };
    assert_eq!(Counted::count(&count), Count { packets: 2, bytes: 160 });
}
