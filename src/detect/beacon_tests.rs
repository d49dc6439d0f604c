use super::super::dialogue::{MS, Made, S, brief, in_corpus, loud, random};
use super::*;
use crate::detect::saved;
use crate::flow::record::Stretch;

const US: [u8; 4] = [192, 168, 1, 5];
const THEM: [u8; 4] = [203, 0, 113, 9];

/// Connections at these moments, in each so many bytes sent.
fn connect(made: &mut Made, from: [u8; 4], to: ([u8; 4], u16), calls: impl Iterator<Item = (Nanos, usize)>) {
    for (number, (at, bytes)) in calls.enumerate() {
        let mut session = made.open(at, (from, 20_000 + number as u16), to);
        session.client(made, at + 5 * MS, vec![b'x'; bytes]);
        session.server(made, at + 9 * MS, b"nothing to do");
        session.close(made, at + 12 * MS);
    }
}

#[test]
fn the_rat_of_the_corpora_is_named_and_the_harmless_poll_is_info() {
    let Some(found) = in_corpus("atk-beacon-rat.pcap", ID) else { return };
    let loud_ones = loud(found);
    assert_eq!(brief(&loud_ones).len(), 1, "{loud_ones:#?}");
    let (_, src, dst, port) = brief(&loud_ones)[0];
    assert_eq!((src, dst, port), ("192.168.100.7", "86.136.67.231", Some(1337)));
    let Some(found) = in_corpus("mix-home-alerts.pcap", ID) else { return };
    assert!(found.iter().any(|finding| finding.dst.as_deref() == Some("192.168.0.1")), "{found:#?}");
    assert_eq!(loud(found), []);
}

#[test]
fn a_call_every_minute_with_jitter_is_a_beacon() {
    let mut random = random(3);
    let mut made = Made::default();
    let calls: Vec<_> = (0..60).map(|n| (n * 60 * S + random(6000) as i64 * MS, 200)).collect();
    connect(&mut made, US, (THEM, 443), calls.into_iter());
    let found = loud(made.found(ID));
    assert_eq!(brief(&found), [(Severity::Medium, "192.168.1.5", "203.0.113.9", Some(443))], "{found:#?}");
    assert_eq!(found[0].count, 60);
    assert!(found[0].observed >= 0.9, "{}", found[0].summary);
}

#[test]
fn what_people_do_is_not_regular() {
    for seed in 0..8 {
        let mut random = random(seed);
        let mut made = Made::default();
        // A page: several connections at once; then nothing for a time that varies widely.
        let (mut at, mut calls) = (0, Vec::new());
        for _ in 0..30 {
            for _ in 0..1 + random(5) {
                calls.push((at + random(400) as i64 * MS, 100 + random(3000) as usize));
            }
            let gap = random(100);
            at += (gap * gap / 40) as i64 * S + S;
        }
        calls.sort_unstable();
        connect(&mut made, US, (THEM, 443), calls.into_iter());
        assert_eq!(loud(made.found(ID)), [], "seed {seed}");
    }
}

#[test]
fn time_servers_names_groups_and_services_of_many_are_info() {
    let every = |seconds: i64| (0..60).map(move |n| (n * seconds * S, 100));
    let mut made = Made::default();
    connect(&mut made, US, (THEM, 853), every(70));
    for (at, _) in every(70) {
        made.udp(at, (US, 123), (THEM, 123), &[0x23; 48]);
        made.udp(at, (US, 9999), ([239, 1, 2, 3], 9999), b"here I am");
    }
    // Five hosts that ask the same service.
    for host in 10..15 {
        connect(&mut made, [192, 168, 1, host], ([203, 0, 113, 50], 443), every(60));
    }
    // Somebody outside who asks whether our service is up; two of ours.
    connect(&mut made, THEM, (US, 443), every(60));
    connect(&mut made, US, ([192, 168, 1, 1], 80), every(60));
    let found = made.found(ID);
    assert!(found.len() >= 8, "{found:#?}");
    assert_eq!(loud(found), []);
}

#[test]
fn the_histogram_widens_and_slides() {
    let mut histogram = Histogram::new(0);
    for second in 0..3600 * 30 {
        histogram.add(second * S);
    }
    assert_eq!(histogram.width, HOUR);
    assert!(histogram.bins.iter().all(|&bin| bin == 3600), "{histogram:?}");
    assert!(histogram.evenness(3600 * 30 * S - 1) > 0.99);
    histogram.add(1_000_000 * HOUR);
    assert_eq!(histogram.bins.iter().sum::<u32>(), 1);
    histogram.add(-5);
}

#[test]
fn regularity_is_ritas() {
    // By hand: quartiles 59, 60, 61, median absolute deviation 1 of 60.
    let (score, median) = regularity(vec![58, 59, 60, 61, 62]);
    assert_eq!((score, median), ((1.0 + 59.0 / 60.0) / 2.0, 60.0));
    // Bowley (1 + 9 - 2·2) / (9 - 1) = 0.75, deviation 1 of 2.
    let (score, _) = regularity(vec![1, 1, 2, 9, 30]);
    assert!((score - (0.25 + 0.5) / 2.0).abs() < 1e-9, "{score}");
    assert_eq!(regularity(vec![]).0, 0.0);
    assert_eq!(regularity(vec![0, 0, 0]).0, 1.0);
}

#[test]
fn a_course_begun_late_knows_the_first_connection() {
    let at = |second: i64, offset| Arrival {
        at: second * S,
        now: second * S,
        place: Place { file: 1, offset },
        ..Arrival::default()
    };
    // The first may end before the second begins, or after.
    for early in [true, false] {
        let mut series = Series::new(7 * S);
        series.add(7 * S, 2 * S, &at(7, 24));
        if early {
            series.ended(10, 2 * S);
        }
        assert!(series.course.is_none());
        series.add(9 * S, 2 * S, &at(9, 99));
        if !early {
            series.ended(10, 2 * S);
        }
        series.ended(20, 2 * S);
        let course = series.course.as_deref().unwrap();
        assert_eq!((&course.starts[..], &course.sizes[..]), (&[7 * S, 9 * S][..], &[10, 20][..]));
        assert_eq!((course.evidence.first, course.evidence.last), (7 * S, 9 * S));
        assert_eq!(course.evidence.captures.stretches().0, [Stretch(1, 24, 99)]);
        assert_eq!(course.histogram.bins.iter().sum::<u32>(), 2);
    }
}

#[test]
fn series_are_bounded_and_survive_a_restart() {
    let mut detector = Beacons::new(Limits { pairs: 16, shared: 16, ..Limits::default() });
    let arrival = Arrival::default();
    for number in 0..100 {
        let other = Addr::v4([203, 0, 113, number]);
        let series = detector.series.entry((Addr::v4(US), other, 443, 6), 0, || Series::new(0));
        for at in 0..200 {
            series.add(at, 0, &arrival);
            series.ended(1, 0);
        }
        let course = series.course.as_ref().unwrap();
        assert_eq!((course.starts.len(), course.sizes.len()), (KEPT, KEPT));
        detector.users.entry(other, 0, Users::default);
    }
    assert!(detector.series.len() <= 16 && detector.users.len() <= 16 && detector.saturated() >= 168);
    let mut other = Beacons::new(Limits::default());
    other.restore(saved(&detector.save()));
    assert_eq!(other.series.len(), detector.series.len());
}
