//! Frames as they were; `TAPKEEP_UPDATE_SNAPSHOTS=1` writes them anew.

use std::net::IpAddr;
use std::path::Path;

use chrono::DateTime;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use super::*;
use crate::cli::top::gather::{Conversation, Found, Kept, Shown};
use crate::cli::top::model::{Key, Message, Order, Pane, Zone};
use crate::daemon::{Disk, Hour, LossTimes, Recent};
use crate::detect::{Finding, Severity};
use crate::flow::key::{FlowKey, Numbers};
use crate::flow::record::{Stretch, Stretches};
use crate::flow::summary::{Count, Talk, Traffic};
use crate::packet::addr::{Addr, Vlan};
use crate::packet::app::{App, Basis};
use crate::store::keeper::Reach;
use crate::store::losses::Losses;

/// 2024-12-31 14:30:52 UTC.
const NOW: i64 = 1_735_655_452_000_000_000;

const COLOUR: Look = Look { colour: true };
const PLAIN: Look = Look { colour: false };

fn frame(model: &Model, look: Look, (width, height): (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, look)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let rows = buffer.content.chunks(width).map(|row| {
        let row: String = row.iter().map(|cell| cell.symbol()).collect();
        format!("{}\n", row.trim_end())
    });
    rows.collect()
}

fn snapshot(name: &str, model: &Model, size: (u16, u16)) {
    let text = text(&frame(model, PLAIN, size));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(format!("top-{name}.txt"));
    if std::env::var_os("TAPKEEP_UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        return std::fs::write(path, text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(wanted == text, "{} differs; it is now:\n{text}", path.display());
}

fn count(packets: u64, bytes: u64) -> Count {
    Count { packets, bytes }
}

fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

fn talk(from: (&str, u16), to: (&str, u16), proto: u8, app: Option<App>, n: u64) -> Conversation {
    let numbers = if proto == 1 { Numbers::None } else { Numbers::Ports };
    let key =
        FlowKey { a: (addr(from.0), from.1), b: (addr(to.0), to.1), vlan: Vlan::default(), proto, numbers };
    let talk = Talk {
        forward: true,
        orig: count(n, n * 80),
        resp: count(n * 3 / 2, n * 1_400),
        last: NOW - (n as i64 % 300) * 1_000_000_000,
        app: app.map(|app| (app, Basis::Payload)),
        ..Talk::default()
    };
    (key, talk)
}

fn shown(severity: Severity, detector: &str, src: &str, summary: &str, ago: i64) -> Shown {
    let finding = Finding {
        id: format!("{detector}-42-1048600"),
        detector: detector.to_owned(),
        src: Some(src.to_owned()),
        first_seen: NOW - 2 * ago,
        last_seen: NOW - ago,
        captures: Stretches(vec![Stretch(42, 24, 1_048_600)]),
        ..Finding::new(severity, "T1046", summary)
    };
    Shown {
        head: format!("HIGH    {detector}  T1046  2024-12-31 14:28:52 – 14:29:52"),
        details: vec![
            summary.to_owned(),
            format!("{src} -> many, port 445"),
            "observed 213, threshold 25; counted 213".to_owned(),
            format!(
                "filter  ip.addr == {src} && tcp.flags.syn == 1 && tcp.port == 445 && !(tcp.flags.ack == 1) && ip.dst == 10.20.0.0/16"
            ),
            format!("packets tapkeep extract --finding {detector}-42-1048600"),
        ],
        finding,
    }
}

fn found() -> Found {
    let traffic =
        |n: u64| Traffic { tx: count(n, n * 1_234), rx: count(n / 2, n * 321), error: Count::default() };
    let hosts = ["10.20.0.7", "192.168.100.200", "2001:db8:1234:5678:9abc:def0:1234:5678", "10.20.0.9"];
    let endpoints = hosts.iter().chain(&["10.20.0.11", "172.16.31.254", "10.20.0.12", "1.1.1.1", "fe80::1"]);
    let endpoints = endpoints.zip([1_904_000, 712_000, 81_000, 7_777, 612, 99, 12, 3, 1]);
    let (tls, dns, ssh) =
        (Some(App::from_name("tls").unwrap()), App::from_name("dns"), App::from_name("ssh"));
    let v6 = "2001:db8:1234:5678:9abc:def0:1234:5678";
    let mut found = Found {
        endpoints: endpoints.map(|(host, n)| (addr(host), traffic(n))).collect(),
        conversations: vec![
            talk(("192.168.100.200", 51_234), ("10.20.0.7", 443), 6, tls, 1_203_000),
            talk((v6, 40_000), ("2001:db8::53", 853), 6, tls, 30_100),
            talk(("10.20.0.9", 33_000), ("1.1.1.1", 53), 17, dns, 512),
            talk(("10.20.0.9", 50_022), ("10.20.0.7", 22), 6, ssh, 97),
            talk(("10.20.0.9", 50_023), ("10.20.0.7", 9), 6, None, 5),
            talk(("10.20.0.12", 0), ("10.20.0.7", 0), 1, None, 2),
        ],
        protocols: [("tls", 812), ("udp data", 120), ("tcp", 66), ("dns", 2), ("arp", 0)]
            .map(|(name, n)| (name.to_owned(), count(n + 1, n * 1_000_000 + 60)))
            .to_vec(),
        findings: vec![
            shown(
                Severity::High,
                "port_scan",
                "10.20.0.9",
                "10.20.0.9 tried port 445 of 213 hosts in 15 minutes, \u{1b}[2J",
                60_000_000_000,
            ),
            shown(
                Severity::Medium,
                "weak_tls",
                "10.20.0.7",
                "10.20.0.7 still speaks TLS 1.0",
                3_600_000_000_000,
            ),
            shown(Severity::Low, "odd_port", "10.20.0.9", "ssh on port 443", 90_000_000_000_000),
        ],
        ..Found::default()
    };
    found.sort([Order::Bytes; 2], false);
    found
}

fn state() -> ServiceState {
    let wave = |n: u64| 4_000 + (n * n * 37 % 8_000) + if n > 80 { 3_000 } else { 0 };
    ServiceState {
        interface: Some("eth1".to_owned()),
        activity: Activity::Capturing,
        started: "2024-12-31T11:10:22Z".to_owned(),
        updated: "2024-12-31T14:30:52Z".to_owned(),
        packet_rate: 12_340.4,
        byte_rate: 12_300_000.0,
        recent: Recent {
            step_ms: 5_000,
            packet_rate: (0..120).map(wave).collect(),
            byte_rate: (0..120).map(|n| wave(n) * 1_000).collect(),
            lost: (0..120).map(|n| u64::from(n == 100 || n == 101)).collect(),
            ..Recent::default()
        },
        disk: Some(Disk { total: 31_900_000_000, free: 3_100_000_000 }),
        retention: Some(Reach {
            files: 9,
            bytes: 900_000_000,
            held: 0,
            allowed: 1_100_000_000,
            age_limit_ms: None,
            kept_ms: Some(900_000),
        }),
        ..ServiceState::default()
    }
}

fn with_losses(mut state: ServiceState) -> ServiceState {
    state.losses = Losses { nic: None, kernel: Some(1_200), ..Losses::NONE };
    state.last_lost = LossTimes { kernel: Some("2024-12-31T14:30:50Z".to_owned()), ..LossTimes::default() };
    state.hour = Hour { ms: 3_600_000, ..state.hour };
    state.hour.counts.losses = Losses { kernel: Some(200), ..Losses::NONE };
    state
}

fn model(state: ServiceState, warnings: &[&str]) -> Model {
    let warnings = warnings.iter().map(|text| (*text).to_owned()).collect();
    let mut model = Model {
        service: Service::Running { state: Box::new(state), warnings },
        clock: "14:30:52 UTC".to_owned(),
        zone: Zone(|stamp| DateTime::from_timestamp_nanos(stamp).naive_utc()),
        window: "5 min".to_owned(),
        ..Model::default()
    };
    model.take(found());
    model
}

#[test]
fn what_passes_is_shown_on_a_small_and_on_a_large_screen() {
    let quiet = ServiceState { recent: Recent { lost: [0; 120].into(), ..state().recent }, ..state() };
    let mut quiet = model(quiet, &[]);
    snapshot("80x24", &quiet, (80, 24));
    snapshot("120x40", &quiet, (120, 40));
    let _ = [Key::Char('s'), Key::Tab].map(|key| quiet.key(key));
    (0..4).for_each(|_| _ = quiet.key(Key::Char('s')));
    assert_eq!(quiet.orders, [Order::Packets, Order::Last]);
    quiet.found.as_mut().unwrap().inexact = [false, true];
    quiet.hosts = Some("10.20.0.0/16".parse().unwrap());
    quiet.paused = true;
    snapshot("sorted", &quiet, (80, 24));
}

#[test]
fn the_peak_is_that_of_a_second_of_what_is_drawn() {
    let mut state = state();
    let (peaks, rates) = (&mut state.recent.packet_peak, &state.recent.packet_rate);
    peaks.extend(rates);
    (peaks[80], peaks[83]) = (99_999, 31_000);
    let caption = |state: &ServiceState| {
        let shown = text(&frame(&model(state.clone(), &[]), PLAIN, (80, 24)));
        shown.lines().nth(1).unwrap().split_at(41).1.to_owned()
    };
    assert_eq!(caption(&state), "12,340 packets/s   peak 31,000 in 3 min", "80 is one step too far back");
    state.recent.packet_peak.push_back(32_000);
    assert_eq!(caption(&state), "12,340 packets/s   peak 32,000 in 3 min", "of the step that is not over");
}

#[test]
fn losses_are_told_by_cause_in_words_and_where_there_is_colour_in_red() {
    let losing = model(with_losses(state()), &["200 packets lost in the last hour"]);
    snapshot("losing", &losing, (80, 24));
    let coloured = frame(&losing, COLOUR, (80, 24));
    let red: String =
        coloured.content.iter().filter(|cell| cell.fg == Color::Red).map(|cell| cell.symbol()).collect();
    assert!(red.contains("1,200 kernel, losing now"), "{red}");
    assert_eq!(red.matches('!').count(), 6, "{red}");
    let plain = frame(&losing, PLAIN, (80, 24));
    assert!(plain.content.iter().all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset)));
    assert!(coloured.content.iter().all(|cell| cell.bg == Color::Reset), "the background is the owner's");
    assert_eq!(text(&plain), text(&coloured), "nothing is said by colour alone");
}

#[test]
fn what_was_lost_long_ago_is_not_red_any_more() {
    let mut state = with_losses(state());
    state.recent.lost = [0; 120].into();
    state.last_lost.kernel = Some("2024-12-31T12:30:50Z".to_owned());
    state.hour.counts.losses = Losses::NONE;
    let frame = frame(&model(state, &[]), COLOUR, (80, 24));
    let row = |text: &str| text.lines().find(|line| line.starts_with("Lost")).unwrap().to_owned();
    assert_eq!(row(&text(&frame)), "Lost  1,200 kernel; 0 in the last hour; nic unknown");
    let reds = frame.content.iter().filter(|cell| cell.fg == Color::Red).map(|cell| cell.symbol());
    assert_eq!(reds.collect::<String>(), "high", "only the severity");
}

#[test]
fn pages_and_questions_take_the_place_of_the_lists() {
    let mut model = model(state(), &[]);
    model.key(Key::Char('?'));
    snapshot("help", &model, (80, 24));
    model.key(Key::Escape);
    model.key(Key::BackTab);
    model.key(Key::Enter);
    snapshot("finding", &model, (80, 24));
    model.key(Key::Char('w'));
    let asked = text(&frame(&model, PLAIN, (80, 24)));
    assert!(asked.contains("\nWrite its packets to: port_scan-42-1048600.pcap   Enter: do it"), "{asked}");
    model.key(Key::Kill);
    "evidence/of-the-nineteenth/port_scan.pcap".chars().for_each(|c| _ = model.key(Key::Char(c)));
    let asked = text(&frame(&model, PLAIN, (80, 24)));
    assert!(
        asked.contains("\nWrite its packets to: …nineteenth/port_scan.pcap   Enter: do it   Esc: leave it\n"),
        "{asked}"
    );
    model.key(Key::Escape);
    model.message = Some(Message { text: "a.pcap: 3 packets".to_owned(), bad: false });
    assert!(text(&frame(&model, PLAIN, (80, 24))).ends_with("\na.pcap: 3 packets\n"));
    model.key(Key::Escape);
    model.key(Key::Char('/'));
    "10.0.0.300".chars().for_each(|c| _ = model.key(Key::Char(c)));
    model.key(Key::Enter);
    let asked = text(&frame(&model, PLAIN, (80, 24)));
    assert!(
        asked.ends_with("\nHost or network: 10.0.0.300   no address or network like 10.0.0.7, 10.0.0.0/8\n"),
        "{asked}"
    );
}

#[test]
fn without_a_service_it_is_told_what_is_kept() {
    let mut model = model(state(), &[]);
    model.service = Service::Absent(
        "no service that records into /var/lib/tapkeep (it exists) tells its state in /run/tapkeep"
            .to_owned(),
    );
    let range = Some((NOW - 7_200_000_000_000, NOW));
    model.kept = Some(Kept { files: 9, size: 900_000_000, range });
    snapshot("no-service", &model, (80, 24));
    model.found = None;
    model.kept = None;
    assert!(text(&frame(&model, PLAIN, (80, 24))).contains("\nLooking at the last 5 min …\n"));
}

#[test]
fn nothing_to_show_is_said() {
    let mut model = model(ServiceState::default(), &["waiting, interface eth1 is down"]);
    model.take(Found::default());
    let shown = text(&frame(&model, PLAIN, (80, 24)));
    assert!(shown.contains("no interface  waiting, interface eth1 is down"), "{shown}");
    assert!(shown.contains("\nnothing suspicious\n"), "{shown}");
}

#[test]
fn a_screen_that_is_too_small_says_so_and_none_is_too_large() {
    let model = model(with_losses(state()), &[]);
    assert!(
        text(&frame(&model, PLAIN, (79, 24)))
            .starts_with("top takes 80 columns and 24 rows;\nthis terminal has 79 and 24.")
    );
    for size in [(1, 1), (80, 23), (20, 3), (80, 24), (109, 29), (110, 30), (132, 43), (300, 120)] {
        frame(&model, COLOUR, size);
    }
}

#[test]
fn what_packets_hold_does_nothing_to_the_terminal() {
    let mut model = model(state(), &[]);
    let shown = text(&frame(&model, COLOUR, (120, 40)));
    assert!(shown.contains("in 15 minutes, \\u{1b}[2J"), "{shown}");
    (model.pane, model.mode) = (Pane::Findings, Mode::Lists);
    model.key(Key::Enter);
    assert!(text(&frame(&model, COLOUR, (120, 40))).contains("in 15 minutes, \\u{1b}[2J"));
}

#[test]
fn texts_are_cut_where_they_tell_least() {
    assert_eq!(
        (fit("abcdef", 6), fit("abcdef", 4), fit("日本語", 5), fit("a", 0)),
        ("abcdef".into(), "abc…".into(), "日本…".into(), String::new())
    );
    assert_eq!(fit_ends("[2001:db8:1234::5678]:443", 16), "[2001:db…78]:443");
    assert_eq!((&*fit_tail("日本語", 5), &*fit_tail("abc", 3)), ("…本語", "abc"));
    assert_eq!(fit_ends("10.0.0.7:443", 16), "10.0.0.7:443");
}
