use super::super::dialogue::{MS, Made, S, brief, loud};
use super::*;
use crate::detect::saved;

const US: [u8; 4] = [192, 168, 1, 5];
const THEM: [u8; 4] = [203, 0, 113, 9];
const M: Nanos = 60 * S;

/// A connection in which each side says something every minute.
fn lasting(made: &mut Made, port: u16, to: [u8; 4], minutes: i64) {
    let mut session = made.open(0, (US, port), (to, 443));
    for minute in 0..minutes {
        session.client(made, minute * M + 10 * MS, b"ping");
        session.server(made, minute * M + 20 * MS, b"pong");
    }
    session.close(made, minutes * M);
}

#[test]
fn each_step_of_a_long_connection_is_told_once() {
    let mut made = Made::default();
    lasting(&mut made, 4000, THEM, 13 * 60);
    let found = made.found(ID);
    let severities: Vec<_> = found.iter().map(|finding| finding.severity).collect();
    let mut sorted = severities.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [Severity::Info, Severity::Low, Severity::Medium, Severity::Medium], "{found:#?}");
    assert!(found.iter().all(|finding| finding.observed >= finding.threshold && finding.count == 1));
    assert_eq!(brief(&found)[0].1, "192.168.1.5");
    let longest = found.iter().map(|finding| finding.observed).fold(0.0, f64::max);
    assert!((12.0 * 3600.0..13.0 * 3600.0).contains(&longest));
}

#[test]
fn short_local_and_unanswered_connections_are_quiet() {
    let mut made = Made::default();
    lasting(&mut made, 4001, THEM, 59);
    assert_eq!(made.found(ID), []);
    let mut made = Made::default();
    lasting(&mut made, 4002, [192, 168, 1, 9], 5 * 60);
    let found = made.found(ID);
    assert!(!found.is_empty() && loud(found).is_empty());
    // A stream to a group, and one that nobody answers.
    let mut made = Made::default();
    for second in 0..5 * 360 {
        made.udp(10 * second * S, (US, 5004), ([239, 1, 2, 3], 5004), &[0x80; 40]);
        made.udp(10 * second * S, (US, 5005), (THEM, 5005), &[0x80; 40]);
    }
    assert_eq!(made.found(ID), []);
}

#[test]
fn what_is_remembered_is_bounded_and_survives_a_restart() {
    let mut detector = LongConnections::new(Limits { flows: 16, ..Limits::default() });
    for number in 0..100 {
        detector.told.entry((1, number), 0, Passed::default).0 = 1;
    }
    assert!(detector.told.len() <= 16 && detector.saturated() >= 84);
    let mut other = LongConnections::new(Limits::default());
    other.restore(saved(&detector.save()));
    assert_eq!(other.told.len(), detector.told.len());
    other.restore(serde_json::json!("nonsense"));
}
