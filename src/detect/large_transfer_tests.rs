use super::super::dialogue::{MS, Made, S, brief};
use super::super::settings::Settings;
use super::*;
use crate::detect::saved;

const US: [u8; 4] = [192, 168, 1, 5];
const THEM: [u8; 4] = [203, 0, 113, 9];

fn settings() -> Settings {
    Settings { large_transfer: Limits { bytes: 1_000_000, ..Limits::default() }, ..Settings::default() }
}

/// Sends so many packets of 1,000 bytes in one connection, one each `every`; `from` the client or the server.
fn send(made: &mut Made, begin: Nanos, port: u16, to: [u8; 4], packets: i64, every: Nanos, by_client: bool) {
    let mut session = made.open(begin, (US, port), (to, 443));
    for number in 1..=packets {
        let at = begin + number * every;
        let data = vec![number as u8; 1000];
        if by_client { session.client(made, at, data) } else { session.server(made, at, data) }
    }
    session.close(made, begin + (packets + 1) * every);
}

#[test]
fn parts_of_a_flow_and_flows_of_a_pair_are_summed() {
    // One flow over several active timeouts, no part of which is large.
    let mut made = Made::default();
    send(&mut made, 0, 4000, THEM, 1100, S, true);
    let found = made.found_with(ID, &settings());
    assert_eq!(brief(&found), [(Severity::Low, "192.168.1.5", "203.0.113.9", Some(443))]);
    assert!(found[0].observed >= 1e6 && (found[0].threshold - 1e6).abs() < 1.0);
    // Many flows, none of which is large; ten times the bound is a second finding.
    let mut made = Made::default();
    for number in 0..105 {
        send(&mut made, i64::from(number) * 10 * S, 4000 + number, THEM, 100, MS, true);
    }
    let found = made.found_with(ID, &settings());
    let mut severities: Vec<_> = found.iter().map(|finding| finding.severity).collect();
    severities.sort_unstable();
    assert_eq!(severities, [Severity::Low, Severity::Medium], "{found:#?}");
}

#[test]
fn downloads_and_local_copies_are_quiet() {
    let mut made = Made::default();
    send(&mut made, 0, 4000, THEM, 1500, MS, false);
    send(&mut made, 5 * S, 4001, THEM, 900, MS, true);
    assert_eq!(made.found_with(ID, &settings()), []);
    let mut made = Made::default();
    send(&mut made, 0, 4000, [192, 168, 1, 9], 1500, MS, true);
    assert_eq!(brief(&made.found_with(ID, &settings()))[0].0, Severity::Info);
    // What was sent more than a day ago does not count.
    let mut made = Made::default();
    send(&mut made, 0, 4000, THEM, 900, MS, true);
    send(&mut made, 25 * 3600 * S, 4001, THEM, 900, MS, true);
    assert_eq!(made.found_with(ID, &settings()), []);
}

#[test]
fn pairs_are_bounded_and_survive_a_restart() {
    let mut detector = LargeTransfers::new(Limits { pairs: 16, ..Limits::default() });
    for number in 0..100 {
        let other = Addr::v4([203, 0, 113, number]);
        detector
            .pairs
            .entry((Addr::v4(US), other), 0, || Sent { bytes: 1 << (20 + number / 25), ..Sent::default() });
    }
    assert!(detector.pairs.len() <= 16 && detector.saturated() >= 84);
    let mut other = LargeTransfers::new(Limits::default());
    other.restore(saved(&detector.save()));
    assert_eq!(other.pairs.len(), detector.pairs.len());
}
