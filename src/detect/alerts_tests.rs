use super::*;
use crate::packet::addr::Addr;

const S: Nanos = 1_000_000_000;

fn at(second: Nanos) -> Arrival {
    Arrival {
        at: second * S + 7,
        now: second * S,
        place: Place { file: 3, offset: second as u64 },
        wire_len: 60,
    }
}

fn key(number: u8) -> Key {
    Key::new("flood", Addr::v4([10, 0, 0, number]), super::super::Subject::Anyone)
}

fn of(severity: Severity) -> Finding {
    Finding::new(severity, "T1498", "told\u{1b}[31m red").measure(5.0, 3.0)
}

#[test]
fn a_finding_is_raised_once_an_hour_and_told_again_with_its_final_count() {
    let mut alerts = Alerts::default();
    alerts.raise(key(1), &at(10), of(Severity::Low));
    let first: Vec<_> = alerts.take_raised().collect();
    assert_eq!(first.len(), 1);
    assert_eq!(
        (first[0].id.as_str(), first[0].src.as_deref(), &first[0].dst),
        ("flood-3-10", Some("10.0.0.1"), &None)
    );
    assert!(!first[0].summary.contains('\u{1b}'));
    for second in 11..3610 {
        alerts.raise(key(1), &at(second), of(Severity::Low));
        assert!(!alerts.has_raised());
    }
    alerts.raise(key(1), &at(3610), of(Severity::Low));
    let told: Vec<_> = alerts.take_raised().collect();
    let told: Vec<_> = told.iter().map(|f| (f.id.as_str(), f.count, f.first_seen, f.last_seen)).collect();
    assert_eq!(
        told,
        [("flood-3-10", 3600, 10 * S + 7, 3609 * S + 7), ("flood-3-3610", 1, 3610 * S + 7, 3610 * S + 7)]
    );
}

#[test]
fn time_alone_ends_the_hour() {
    let mut alerts = Alerts::default();
    alerts.raise(key(1), &at(0), of(Severity::Low));
    assert!(alerts.count_on(&key(1), &at(1), 4, 9.0));
    alerts.take_raised();
    alerts.expire(3599 * S);
    assert!(alerts.is_active(&key(1)) && !alerts.has_raised());
    alerts.expire(3600 * S);
    assert!(!alerts.is_active(&key(1)));
    assert_eq!(alerts.take_raised().map(|f| (f.count, f.observed)).collect::<Vec<_>>(), [(5, 9.0)]);
    assert!(!alerts.count_on(&key(1), &at(3601), 1, 1.0));
}

#[test]
fn two_of_one_packet_have_two_ids() {
    let mut alerts = Alerts::default();
    alerts.raise(key(1), &at(5), of(Severity::Low));
    alerts.raise(key(2), &at(5), of(Severity::Low));
    assert_eq!(alerts.take_raised().map(|f| f.id).collect::<Vec<_>>(), ["flood-3-5", "flood-3-5-2"]);
}

#[test]
fn when_full_the_graver_takes_the_place_of_the_least_grave() {
    let mut alerts = Alerts::default();
    for number in 0..MAX_ACTIVE as u32 + 10 {
        let place = Place { file: 3, offset: u64::from(number) };
        let arrival = Arrival { place, ..at(1 + Nanos::from(number) / 1000) };
        alerts.raise(key(1).extra(number), &arrival, of(Severity::Low));
    }
    assert_eq!((alerts.active().count(), alerts.saturated()), (MAX_ACTIVE, 10));
    alerts.raise(key(3), &at(6), of(Severity::High));
    assert!(alerts.is_active(&key(3)) && !alerts.is_active(&key(1)));
    assert_eq!((alerts.active().count(), alerts.saturated()), (MAX_ACTIVE, 11));
    // What is more than an hour old makes room without loss.
    alerts.raise(key(2), &at(5000), of(Severity::Info));
    assert_eq!((alerts.active().count(), alerts.saturated()), (1, 11));
}

#[test]
fn what_was_saved_is_counted_on() {
    let mut alerts = Alerts::default();
    alerts.raise(key(1), &at(5), of(Severity::Medium));
    let mut state = super::super::saved(&alerts.save());
    let mut next = Alerts::default();
    next.restore(state.clone());
    assert_eq!(next.active().collect::<Vec<_>>(), alerts.active().collect::<Vec<_>>());
    next.raise(key(1), &at(6), of(Severity::Medium));
    assert!(!next.has_raised());
    assert_eq!(next.count(&key(1)), Some(2));
    // One whose detector is gone is left aside, the others are not.
    state[0]["key"]["detector"] = "astrology".into();
    let mut next = Alerts::default();
    next.restore(state);
    assert_eq!(next.active().count(), 0);
    next.restore(serde_json::json!("nonsense"));
}

#[test]
fn what_was_silenced_is_told_when_its_rule_is_gone_after_a_restart_too() {
    let rule = || IgnoreRule { detector: Some("flood".to_owned()), ..IgnoreRule::default() };
    let mut alerts = Alerts::default();
    alerts.ignore(vec![rule()]);
    alerts.raise(key(1), &at(5), of(Severity::Medium));
    alerts.raise(key(1), &at(6), of(Severity::Medium));
    assert!(!alerts.has_raised());
    let state = super::super::saved(&alerts.save());

    let mut same = Alerts::default();
    same.ignore(vec![rule()]);
    same.restore(state.clone());
    assert!(!same.has_raised() && same.active().next().is_none());
    // Under other rules that fit it stays silent, under none it is told with its count.
    same.ignore(vec![IgnoreRule { src: "10.0.0.0/8".parse().ok(), ..IgnoreRule::default() }]);
    assert!(!same.has_raised());
    same.ignore(Vec::new());
    assert_eq!(same.take_raised().map(|f| f.count).collect::<Vec<_>>(), [2]);

    let mut without = Alerts::default();
    without.restore(state);
    assert_eq!(without.take_raised().map(|f| f.count).collect::<Vec<_>>(), [2]);
}
