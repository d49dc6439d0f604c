use proptest::prelude::*;

use super::super::dialogue::{MS, Made, S, brief, in_corpus, loud, random};
use super::*;
use crate::detect::saved;

const A: [u8; 4] = [192, 168, 1, 5];
const B: [u8; 4] = [203, 0, 113, 9];

/// What `ping` of Linux sends: a time, and a pattern.
fn ping(number: u16, len: usize) -> Vec<u8> {
    let stamp = (0..16).map(|at| (number as u8).wrapping_mul(31).wrapping_add(at * 7));
    stamp.chain((16..=255).cycle()).take(len).collect()
}

#[test]
fn the_tunnels_of_the_corpora_are_named() {
    let Some(found) = in_corpus("atk-icmp-c2.pcap", ID) else { return };
    assert_eq!(brief(&found), [(Severity::Medium, "192.168.38.131", "192.168.38.172", None)], "{found:#?}");
    let Some(found) = in_corpus("encap-tunnel-zoo.pcap", ID) else { return };
    let found = loud(found);
    let named: Vec<_> = brief(&found).into_iter().map(|(_, src, dst, _)| (src, dst)).collect();
    assert_eq!(named, [("192.168.5.208", "192.168.5.217")]);
}

#[test]
fn encrypted_data_in_well_formed_echoes_are_found() {
    let mut random = random(1);
    let mut made = Made::default();
    for number in 0..20 {
        let data: Vec<u8> = (0..600).map(|_| random(256) as u8).collect();
        made.echo(i64::from(number) * S, A, B, false, number, &data);
        made.echo(i64::from(number) * S + MS, B, A, true, number, &data);
    }
    let found = made.found(ID);
    assert_eq!(brief(&found), [(Severity::Medium, "192.168.1.5", "203.0.113.9", None)]);
    assert!(found[0].observed >= found[0].threshold);
}

#[test]
fn replies_with_other_data_are_found() {
    let mut made = Made::default();
    for number in 0..5 {
        made.echo(i64::from(number) * S, A, B, false, number, b"poll");
        made.echo(i64::from(number) * S + MS, B, A, true, number, format!("whoami {number} ").as_bytes());
    }
    assert_eq!(brief(&made.found(ID)).len(), 1);
}

#[test]
fn pings_are_quiet_large_cut_lost_doubled_and_swept() {
    let mut made = Made::default();
    for number in 0..600 {
        let at = i64::from(number) * S;
        // Large; of each length once, as path MTU discovery does; of letters, as Windows does; of zeros.
        let letters: Vec<u8> = (b'a'..=b'w').cycle().take(1400).collect();
        let all = [ping(number, 1400), ping(number, 300 + usize::from(number)), letters, vec![0; 1000]];
        for (host, data) in (10..).zip(all) {
            let host = [203, 0, 113, host];
            made.echo(at, A, host, false, number, &data);
            if number % 3 > 0 {
                made.echo(at + MS, host, A, true, number, &data);
                made.echo(at + 2 * MS, host, A, true, number, &data);
            }
        }
        // One that answers with no more than 64 bytes; one whose requests do not pass here.
        made.echo(at, A, [203, 0, 113, 20], false, number, &ping(number, 1000));
        made.echo(at + MS, [203, 0, 113, 20], A, true, number, &ping(number, 1000)[..64]);
        made.echo(at + MS, [203, 0, 113, 21], A, true, number, &ping(number, 1000));
    }
    assert_eq!(made.found(ID), []);
}

#[test]
fn pairs_are_bounded_and_survive_a_restart() {
    let mut detector = IcmpTunnels::new(Limits { pairs: 16, ..Limits::default() });
    for number in 0..100 {
        let ends = (Addr::v4(A), Addr::v4([203, 0, 113, number]));
        let pair = detector.pairs.entry(ends, 0, || Pair::new(ends.0, 0));
        for number in 0..100 {
            pair.request(true, number, Data::of(&[number as u8], 1));
        }
        assert!(pair.asked.len() <= KEPT);
    }
    assert!(detector.pairs.len() <= 16 && detector.saturated() >= 84);
    let mut other = IcmpTunnels::new(Limits::default());
    other.restore(saved(&detector.save()));
    assert_eq!(other.pairs.len(), detector.pairs.len());
}

proptest! {
    #[test]
    fn any_bytes_have_a_pattern_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..600), lag in 1_usize..5) {
        let _ = is_pattern(&bytes);
        // Constant and counting bytes always have one.
        let first = bytes.first().copied().unwrap_or_default();
        prop_assert!(is_pattern(&vec![first; bytes.len()]));
        let counting: Vec<u8> = (0..bytes.len()).map(|at| first.wrapping_add(at as u8)).collect();
        prop_assert!(is_pattern(&counting));
        let cut = Data::of(&bytes[..bytes.len() / lag], bytes.len() as u32);
        prop_assert!(!cut.differs(&Data::of(&bytes, bytes.len() as u32)));
    }
}
