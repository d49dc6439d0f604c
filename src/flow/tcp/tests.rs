use proptest::prelude::*;

use super::*;
use crate::packet::decode::Ports;

const F: u8 = Tcp::FIN;
const R: u8 = Tcp::RST;
const A: u8 = Tcp::ACK;
const Y: u8 = Tcp::SYN;

/// From the originator: flags, number, acknowledgement, payload.
fn o(flags: u8, seq: u32, ack: u32, len: u32) -> (bool, Tcp, u32) {
    let ports = Ports { src: 1, dst: 2 };
    (true, Tcp { ports, seq, ack, flags, window: 100 }, len)
}

/// From the responder.
fn r(flags: u8, seq: u32, ack: u32, len: u32) -> (bool, Tcp, u32) {
    (false, o(flags, seq, ack, len).1, len)
}

fn follow(packets: &[(bool, Tcp, u32)]) -> (Tracker, u32) {
    let mut tracker = Tracker::default();
    let mut missed = 0;
    for (at, (from_orig, tcp, len)) in packets.iter().enumerate() {
        missed += tracker.packet(*from_orig, tcp, *len, at as Nanos * 1000).missed;
    }
    (tracker, missed)
}

/// What Zeek's documentation says of each state, as packets.
#[test]
fn states_and_histories_are_those_that_zeek_documents() {
    use ConnState::*;
    let open = [o(Y, 10, 0, 0), r(Y | A, 50, 11, 0), o(A, 11, 51, 0)];
    let after = |more: &[(bool, Tcp, u32)]| [&open[..], more].concat();
    let (fin, resp_fin) = (o(F | A, 11, 51, 0), r(F | A, 51, 11, 0));
    #[rustfmt::skip]
    type Case<'a> = (&'a str, Vec<(bool, Tcp, u32)>, ConnState, &'a str);
    let cases: &[Case<'_>] = &[
        ("an attempt without reply", vec![o(Y, 10, 0, 0)], S0, "S"),
        ("the same, sent again", vec![o(Y, 10, 0, 0), o(Y, 10, 0, 0)], S0, "S"),
        ("another attempt", vec![o(Y, 10, 0, 0), o(Y, 99, 0, 0)], S0, "SS"),
        ("established", after(&[]), S1, "ShA"),
        ("established by the SYN-ACK", open[..2].to_vec(), S1, "Sh"),
        (
            "ended in order",
            after(&[fin, r(A, 51, 12, 0), r(F | A, 51, 12, 0), o(A, 12, 52, 0)]),
            SF,
            "ShAFaf",
        ),
        (
            "data both ways",
            after(&[o(A, 11, 51, 5), r(A, 51, 16, 0), r(A, 51, 16, 7), o(F, 16, 58, 0), r(F, 58, 17, 0)]),
            SF,
            "ShADadFf",
        ),
        ("rejected", vec![o(Y, 10, 0, 0), r(R | A, 0, 11, 0)], REJ, "Sr"),
        ("closed by the originator only", after(&[fin]), S2, "ShAF"),
        ("closed by the responder only", after(&[resp_fin]), S3, "ShAf"),
        ("aborted by the originator", after(&[o(R, 11, 0, 0)]), RSTO, "ShAR"),
        ("aborted by the responder", after(&[r(R, 51, 0, 0)]), RSTR, "ShAr"),
        ("SYN, then RST", vec![o(Y, 10, 0, 0), o(R, 11, 0, 0)], RSTOS0, "SR"),
        ("SYN, then FIN", vec![o(Y, 10, 0, 0), o(F, 11, 0, 0)], SH, "SF"),
        ("midstream", vec![o(A, 11, 51, 5), r(A, 51, 16, 0)], OTH, "Da"),
        ("a lone RST", vec![o(R, 11, 0, 0)], OTH, "R"),
        ("FIN and RST in one", vec![o(F | R, 11, 0, 0)], OTH, "I"),
        ("SYN and FIN in one", vec![o(Y | F, 11, 0, 0)], SH, "Q"),
        ("a FIN with data is a FIN", after(&[o(F | A, 11, 51, 9)]), S2, "ShAF"),
        ("FINs with two numbers", after(&[fin, o(F | A, 11, 51, 4)]), S2, "ShAFF"),
        ("sent again", after(&[o(A, 11, 51, 5), o(A, 11, 51, 5)]), S1, "ShADT"),
        ("RST after both FINs", after(&[fin, r(F | A, 51, 12, 0), o(R, 12, 0, 0)]), SF, "ShAFfR"),
        (
            "FIN and RST of one side, then FIN of the other",
            after(&[fin, o(R, 12, 0, 0), r(F | A, 51, 12, 0)]),
            SF,
            "ShAFRf",
        ),
    ];
    for (what, packets, state, history) in cases {
        let (tracker, _) = follow(packets);
        assert_eq!((tracker.state(), tracker.history()), (*state, *history), "{what}");
    }
    // A SYN-ACK first: the other side is the originator.
    for (more, state, history) in [
        (&[][..], OTH, "^h"),
        (&[r(F, 51, 0, 0)], SHR, "^hf"),
        (&[r(R, 51, 0, 0)], RSTRH, "^hr"),
        (&[o(A, 11, 51, 0)], S1, "^hA"),
    ] {
        let mut tracker = Tracker::default();
        tracker.flip();
        for (from_orig, tcp, len) in [&open[1..2], more].concat() {
            tracker.packet(from_orig, &tcp, len, 0);
        }
        assert_eq!((tracker.state(), tracker.history()), (state, history));
    }
}

#[test]
fn repeated_events_are_noted_the_first_the_tenth_and_the_hundredth_time() {
    let mut packets = vec![o(Y, 10, 0, 0), r(Y | A, 50, 11, 0), o(A, 11, 51, 5)];
    packets.extend([o(A, 11, 51, 5)].repeat(100));
    assert_eq!(follow(&packets).0.history(), "ShDTTT");
    let closed = (true, Tcp { window: 0, ..o(A, 11, 51, 0).1 }, 0);
    let mut packets = packets[..2].to_vec();
    packets.extend([closed].repeat(9));
    assert_eq!(follow(&packets).0.history(), "ShAW");
    packets.push(closed);
    assert_eq!(follow(&packets).0.history(), "ShAWW");
}

#[test]
fn bytes_that_are_acknowledged_and_were_not_seen_are_missed() {
    let open = [o(Y, u32::MAX - 50, 0, 0), r(Y | A, 50, u32::MAX - 49, 0), o(A, u32::MAX - 49, 51, 0)];
    let seq = |at: u32| (u32::MAX - 49).wrapping_add(at);
    let missed = |more: &[(bool, Tcp, u32)]| {
        let (tracker, missed) = follow(&[&open[..], more].concat());
        (missed, tracker.history().contains('G'))
    };
    // 100 of 300 bytes are gone, over the end of the number space.
    assert_eq!(missed(&[o(A, seq(0), 51, 100), o(A, seq(200), 51, 100), r(A, 51, seq(300), 0)]), (100, true));
    // They come late.
    let late = [
        o(A, seq(0), 51, 100),
        o(A, seq(200), 51, 100),
        r(A, 51, seq(100), 0),
        o(A, seq(100), 51, 100),
        r(A, 51, seq(300), 0),
    ];
    assert_eq!(missed(&late), (0, false));
    // Nothing of them is ever seen.
    assert_eq!(missed(&[r(A, 51, seq(1000), 0)]), (1000, true));
    // A FIN is no byte, whether it comes late or never; a byte is one.
    let close = [o(A, seq(0), 51, 100), r(A, 51, seq(101), 0)];
    assert_eq!(missed(&close), (0, false));
    assert_eq!(
        missed(&[&close[..], &[o(F | A, seq(100), 51, 0), r(F | A, 51, seq(101), 0)]].concat()),
        (0, false)
    );
    assert_eq!(missed(&[&close[..], &[o(A, seq(101), 51, 9), r(A, 51, seq(110), 0)]].concat()), (1, true));
    // Not acknowledged, not missed.
    assert_eq!(missed(&[o(A, seq(500), 51, 100)]), (0, false));
    // Of a connection whose opening was not seen nothing is said.
    assert_eq!(follow(&[o(A, 5, 9, 1), r(A, 9, 6, 1), r(A, 10, 900, 0)]).1, 0);
}

#[test]
fn the_handshake_takes_from_the_syn_to_the_ack() {
    let open = [o(Y, 10, 0, 0), r(Y | A, 50, 11, 0), o(A, 11, 51, 0)];
    assert_eq!(follow(&open).0.rtt_us(), Some(2));
    assert_eq!(follow(&open[..2]).0.rtt_us(), None);
    assert_eq!(follow(&open[1..]).0.rtt_us(), None);
    let mut tracker = Tracker::default();
    let changes = [0, 500, 1500]
        .into_iter()
        .zip(open)
        .map(|(at, (from, tcp, len))| tracker.packet(from, &tcp, len, at));
    let changes: Vec<_> = changes.map(|change| change.established).collect();
    assert_eq!(changes, [false, false, true]);
    // A clock that was set back.
    let mut tracker = Tracker::default();
    for (at, (from, tcp, len)) in [9000, 500, 1500].into_iter().zip(open) {
        tracker.packet(from, &tcp, len, at);
    }
    assert_eq!(tracker.rtt_us(), None);
}

proptest! {
    #[test]
    fn any_packets_give_a_state_and_a_history(
        packets in prop::collection::vec((any::<bool>(), any::<[u32; 3]>(), any::<u8>(), any::<u16>(), any::<i64>()), 0..200)
    ) {
        let mut tracker = Tracker::default();
        for (from_orig, [seq, ack, len], flags, window, at) in packets {
            let tcp = Tcp { ports: Ports { src: 1, dst: 2 }, seq, ack, flags, window };
            tracker.packet(from_orig, &tcp, len, at);
            let _ = (tracker.state(), tracker.rtt_us(), tracker.is_half_open(), tracker.is_reopened_by(from_orig, &tcp));
        }
        prop_assert!(tracker.history().len() <= 24);
        let mut again = Tracker::default();
        again.restore(tracker.state(), tracker.history(), tracker.rtt_us());
        prop_assert_eq!(again.history(), tracker.history());
        if tracker.history().len() < 24 {
            // What a record tells is enough to tell the same again.
            prop_assert_eq!(again.state(), tracker.state());
        }
    }
}
