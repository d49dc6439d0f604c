use std::net::IpAddr;

use super::*;
use crate::cli::top::gather::Endpoint;
use crate::detect::{Finding, Severity};
use crate::flow::summary::Count;

fn endpoint(host: [u8; 4], bytes: u64, packets: u64) -> Endpoint {
    let tx = Count { packets, bytes };
    (IpAddr::from(host).into(), Traffic { tx, ..Traffic::default() })
}

/// A finding; what is new is less grave.
fn shown(id: &str) -> Shown {
    let (severity, last_seen) = match id {
        "newest" => (Severity::Low, 3),
        "new" => (Severity::Low, 2),
        _ => (Severity::High, 1),
    };
    let finding = Finding { id: id.to_owned(), last_seen, ..Finding::new(severity, "T1046", "x") };
    Shown { finding, head: String::new(), details: Vec::new() }
}

fn model() -> Model {
    let mut model = Model::default();
    model.take(Found {
        endpoints: vec![
            endpoint([10, 0, 0, 1], 10, 9),
            endpoint([10, 0, 0, 2], 30, 1),
            endpoint([10, 0, 0, 3], 20, 5),
        ],
        findings: vec![shown("new"), shown("old")],
        ..Found::default()
    });
    model
}

fn hosts(model: &Model) -> Vec<String> {
    model.found.as_ref().unwrap().endpoints.iter().map(|(addr, _)| addr.to_string()).collect()
}

fn type_in(model: &mut Model, text: &str) {
    text.chars().for_each(|c| assert_eq!(model.key(Key::Char(c)), None));
}

#[test]
fn s_sorts_the_list_that_is_chosen_and_comes_round() {
    let mut model = model();
    assert_eq!(hosts(&model), ["10.0.0.2", "10.0.0.3", "10.0.0.1"]);
    model.key(Key::Char('s'));
    assert_eq!(hosts(&model), ["10.0.0.1", "10.0.0.3", "10.0.0.2"]);
    for _ in 0..3 {
        model.key(Key::Char('s'));
    }
    assert_eq!((hosts(&model)[0].as_str(), model.orders), ("10.0.0.2", [Order::Bytes; 2]));
    model.key(Key::Tab);
    (0..4).for_each(|_| _ = model.key(Key::Char('s')));
    assert_eq!(model.orders, [Order::Bytes, Order::Last]);
    model.key(Key::Tab);
    let findings = |model: &Model| model.found.as_ref().unwrap().findings[0].finding.id.clone();
    assert_eq!(findings(&model), "new");
    model.key(Key::Char('s'));
    assert_eq!((findings(&model), model.orders), ("old".to_owned(), [Order::Bytes, Order::Last]));
    model.key(Key::Char('s'));
    assert_eq!(findings(&model), "new");
}

#[test]
fn what_is_chosen_stays_chosen_when_the_list_moves() {
    let mut model = model();
    model.key(Key::Down);
    let moved = Found {
        endpoints: vec![
            endpoint([10, 0, 0, 3], 900, 1),
            endpoint([10, 0, 0, 2], 30, 1),
            endpoint([10, 0, 0, 9], 40, 1),
        ],
        findings: vec![shown("newest"), shown("new"), shown("old")],
        ..Found::default()
    };
    model.key(Key::BackTab);
    model.key(Key::End);
    model.take(moved);
    assert_eq!(model.selected, [0, 0, 2], "10.0.0.3 and the old finding");
    model.take(Found::default());
    assert_eq!(model.selected, [0; 3]);
    model.key(Key::Down);
    assert_eq!(model.selected, [0; 3]);
}

#[test]
fn enter_shows_a_host_alone_and_escape_all_again() {
    let mut model = model();
    model.key(Key::Down);
    assert_eq!(model.key(Key::Enter), Some(Act::Ask));
    assert_eq!(model.hosts, Some("10.0.0.3".parse().unwrap()));
    assert_eq!(model.key(Key::Escape), Some(Act::Ask));
    assert_eq!((model.hosts, model.key(Key::Escape)), (None, None), "nothing to ask for");
}

#[test]
fn hosts_are_typed_and_what_makes_no_sense_is_refused() {
    let mut model = model();
    model.key(Key::Char('/'));
    type_in(&mut model, "10.0.0.0/33");
    assert_eq!(model.key(Key::Enter), None);
    assert!(matches!(&model.mode, Mode::Host(Prompt { wrong: Some(_), .. })));
    model.key(Key::Backspace);
    model.key(Key::Backspace);
    type_in(&mut model, "8q");
    model.key(Key::Backspace);
    assert_eq!((model.key(Key::Enter), model.hosts), (Some(Act::Ask), Some("10.0.0.0/8".parse().unwrap())));
    model.key(Key::Char('/'));
    model.key(Key::Kill);
    type_in(&mut model, " fd00::/8 ");
    assert_eq!(model.key(Key::Enter), Some(Act::Ask));
    assert_eq!((model.hosts, &model.mode), (Some("fd00::/8".parse().unwrap()), &Mode::Lists));
    model.key(Key::Char('f'));
    assert!(matches!(&model.mode, Mode::Host(Prompt { text, .. }) if text == "fd00::/8"));
    model.key(Key::Kill);
    assert_eq!((model.key(Key::Enter), model.hosts), (Some(Act::Ask), None));
}

#[test]
fn a_finding_is_opened_and_its_packets_go_where_they_are_told() {
    let mut model = model();
    model.key(Key::BackTab);
    model.key(Key::Enter);
    assert!(matches!(&model.mode, Mode::Finding(shown) if shown.finding.id == "new"));
    model.key(Key::Down);
    assert!(matches!(&model.mode, Mode::Finding(shown) if shown.finding.id == "old"));
    model.key(Key::Char('w'));
    assert!(matches!(&model.mode, Mode::Write(_, Prompt { text, .. }) if text == "old.pcap"));
    model.key(Key::Kill);
    assert_eq!(model.key(Key::Enter), None, "a file has a name");
    type_in(&mut model, "a b.pcap");
    let wanted = Act::Write { id: "old".to_owned(), path: "a b.pcap".to_owned() };
    assert_eq!(model.key(Key::Enter), Some(wanted));
    assert!(matches!(&model.mode, Mode::Finding(_)), "and it is still open");
    model.key(Key::Escape);
    assert_eq!(model.mode, Mode::Lists);
}

#[test]
fn q_and_control_c_quit_but_a_q_that_is_typed_does_not() {
    let mut model = model();
    assert_eq!(model.key(Key::Char('q')), Some(Act::Quit));
    model.key(Key::Char('/'));
    assert_eq!(model.key(Key::Char('q')), None);
    assert_eq!(model.key(Key::Interrupt), Some(Act::Quit));
    let mut model = self::model();
    model.key(Key::Char('?'));
    assert_eq!((model.key(Key::Char('q')), &model.mode), (None, &Mode::Lists), "any key leaves the help");
    model.key(Key::Char(' '));
    assert!(model.paused);
}
