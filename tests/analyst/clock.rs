//! A wall clock that steps neither ends flows nor keeps them.

use tapkeep::detect;
use tapkeep::detect::stream::{Output, Stream};
use tapkeep::packet::{Frame, LinkType, NANOS_PER_SEC, Nanos, Place, Precision};

use super::support::pcap::frame;

const START: Nanos = 1_735_655_452 * NANOS_PER_SEC;

/// How many packets the records tell of, and when they came: the wall clock is `step` seconds off from second 20 on; one flow has a
/// packet each second before 40, and ticks go on.
fn records(step: i64) -> Vec<(u64, i64)> {
    let mut stream = Stream::new(&detect::Settings::default());
    let (mut out, mut ended) = (Output::default(), Vec::new());
    let data = frame(1, 60, &[]);
    for second in 0..130_i64 {
        let wall = START + NANOS_PER_SEC * (second + if second >= 20 { step } else { 0 });
        stream.tick(second * NANOS_PER_SEC, wall, &mut out);
        if second < 40 {
            let sec = (wall / NANOS_PER_SEC) as u32;
            let frame = Frame { sec, frac: 1, wire_len: 60, data: &data };
            let place = Place { file: 1, offset: 24 + 76 * second as u64 };
            stream.frame(LinkType::ETHERNET, place, &frame, Precision::Micro, &mut out);
        }
        ended.extend(out.records.drain(..).map(|record| (record.orig_packets, second)));
    }
    ended
}

#[test]
fn a_step_of_the_wall_clock_neither_ends_a_flow_nor_keeps_it() {
    for step in [0, 3_600, -3_600, 86_400 * 365] {
        let ended = records(step);
        assert!(matches!(ended[..], [(40, 99..=101)]), "{step}: {ended:?}");
    }
}
