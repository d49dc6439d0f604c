//! Tables for people, alike in all commands: the zone of their times, their order, what is not in them, and how they fit.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "helpers of tests")]

mod support;

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::corpora::corpora;
use support::pcap::{Packet, write_pcap};
use support::process::{Answer, run};
use support::require;
use support::service::{ask, tapkeep};
use support::terminal::Terminal;

/// A data directory of two captures of different years.
fn recorded(dir: &Path) -> Option<PathBuf> {
    let (corpora, data) = (corpora()?, dir.join("data"));
    let inputs = ["mix-office.pcap", "mix-home-lan.pcapng"].map(|name| corpora.join(name));
    ask(&data, &["replay", inputs[0].to_str().unwrap(), inputs[1].to_str().unwrap()]).ok();
    Some(data)
}

/// An answer to someone in Kolkata.
fn east(data: &Path, words: &[&str]) -> Answer {
    run(tapkeep(&[words, &["--data-dir", data.to_str().unwrap()]].concat()).env("TZ", "Asia/Kolkata"))
}

#[test]
fn times_are_local_or_with_utc_not_typed_and_shown_alike() {
    let dir = tempfile::tempdir().unwrap();
    let Some(data) = recorded(dir.path()) else { return };
    for words in
        [&["list"][..], &["protocols"], &["endpoints"], &["conversations"], &["flows"], &["suspicious"]]
    {
        let local = east(&data, words).ok().text();
        assert!(
            local.contains("Asia/Kolkata (UTC+05:30)") && !local.contains("20:20:33"),
            "{words:?}\n{local}"
        );
        let utc = east(&data, &[words, &["--utc"]].concat()).ok().text();
        let zone = if utc.contains("times in") { "times in UTC\n" } else { " (UTC)\n" };
        assert!(utc.contains(zone) && !utc.contains("Kolkata"), "{words:?}\n{utc}");
        assert_eq!(utc, ask(&data, words).ok().text(), "{words:?}");
    }
    let until = ["endpoints", "--json", "--until", "2013-05-02 20:20:40"];
    assert_eq!(east(&data, &until).code, Some(3));
    let answer = east(&data, &[&until[..], &["--utc"]].concat()).ok().json();
    assert_eq!(answer["to"], "2013-05-02T20:20:40.000000000Z");
    let page = dir.path().join("page.html");
    east(&data, &["report", "--utc", "-o", page.to_str().unwrap()]).ok();
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("2013-05-02 20:20:33") && !page.contains("2013-05-03 01:50"));
}

#[test]
fn a_zone_that_nobody_knows_is_told_once_and_times_are_in_utc() {
    let dir = tempfile::tempdir().unwrap();
    let (input, data) = (dir.path().join("input.pcap"), dir.path().join("data"));
    write_pcap(&input, &talk_of_long_addresses());
    ask(&data, &["replay", input.to_str().unwrap()]).ok();
    let list = |zone: &str, more: &[&str]| {
        let words = [&["list", "--data-dir", data.to_str().unwrap()], more].concat();
        run(tapkeep(&words).env("TZ", zone)).ok()
    };
    let told = list("Mars/Olympus\u{1b}", &[]);
    let note =
        "tapkeep: note: TZ=Mars/Olympus\\u{1b} names no zone that this machine knows; times are in UTC\n";
    assert_eq!(told.stderr, note);
    assert!(told.text().contains("2024-12-31 14:30:52"), "{}", told.text());
    assert_eq!(list("Mars/Olympus", &["--utc"]).stderr, "");
    let rule = list("JST-9", &[]);
    assert_eq!(rule.stderr, "");
    assert!(rule.text().contains("2024-12-31 23:30:52"), "{}", rule.text());
}

/// The values of a key in the rows that a command prints as JSON.
fn column(data: &Path, words: &[&str], rows: &str, key: &str) -> Vec<Value> {
    let answer = ask(data, &[words, &["--json"]].concat()).ok();
    let rows = match rows {
        "" => answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        rows => answer.json()[rows].as_array().unwrap().clone(),
    };
    rows.iter().map(|row: &Value| row[key].clone()).collect()
}

#[test]
fn rows_come_in_the_order_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let Some(data) = recorded(dir.path()) else { return };
    let captures = &["list", "--kind", "capture"][..];
    let files = ["cred-pop3.pcap", "atk-portscan-vertical.pcap", "atk-nmap-versions.pcap"]
        .map(|name| corpora().unwrap().join(name).to_str().unwrap().to_owned());
    let found = ["suspicious", "--all", &files[0], &files[1], &files[2]];
    for (words, rows, sort, key, falls) in [
        (captures, "files", "size", "size", true),
        (captures, "files", "packets", "packets", true),
        (&["endpoints"], "endpoints", "packets", "packets", true),
        (&["endpoints"], "endpoints", "sent", "tx_bytes", true),
        (&["endpoints"], "endpoints", "received", "rx_bytes", true),
        (&["conversations"], "conversations", "sent", "orig_bytes", true),
        (&["conversations"], "conversations", "first", "first", false),
        (&["conversations"], "conversations", "last", "last", true),
        (&["flows"], "", "received", "resp_bytes", true),
        (&["flows"], "", "start", "start", false),
        (&["flows", "--limit", "7"], "", "end", "end", true),
        (&found, "findings", "detector", "detector", false),
    ] {
        let order = |flags: &[&str]| {
            let values = column(&data, &[words, &["--sort", sort], flags].concat(), rows, key);
            assert!(values.len() > 1, "{words:?} {sort}");
            let numbers: Vec<_> = values.iter().map(Value::as_u64).collect();
            let texts: Vec<_> = values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
            let falls = numbers.is_sorted_by(|a, b| a >= b) && texts.is_sorted_by(|a, b| a >= b);
            (numbers.is_sorted() && texts.is_sorted(), falls)
        };
        let (usual, turned) = (order(&[]), order(&["--reverse"]));
        assert_eq!((usual, turned), ((!falls, falls), (falls, !falls)), "{words:?} by {sort}");
    }
    let severities = column(&data, &[&found[..], &["--sort", "severity"]].concat(), "findings", "severity");
    assert_eq!(severities, ["medium", "medium", "low"]);
    let addresses = column(&data, &["endpoints", "--sort", "address"], "endpoints", "address");
    let at = |address: &str| addresses.iter().position(|other| other == address).unwrap();
    assert!(at("10.0.0.6") < at("146.185.23.162"), "as numbers, not as text: {addresses:?}");
    let names = ask(&data, &["protocols", "--sort", "name", "--limit", "4"]).ok().text();
    let names: Vec<_> = names.lines().skip(2).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(names[..2], ["eth", "arp"], "siblings by name");
    let wrong = ask(&data, &["flows", "--follow", "--sort", "bytes"]);
    assert_eq!(wrong.code, Some(2));
}

#[test]
fn an_answer_without_rows_says_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let Some(data) = recorded(dir.path()) else { return };
    let place = format!("{} (from --data-dir)", data.display());
    let written = dir.path().join("x.pcap");
    let (before, after) = (["--until", "2001-01-01"], ["--since", "2020-05-06 07:08"]);
    for (words, what) in [
        (&["list"][..], "packets"),
        (&["protocols"], "packets"),
        (&["endpoints"], "packets"),
        (&["conversations"], "packets"),
        (&["flows"], "flow records"),
        (&["suspicious"], "findings"),
        (&["extract", "-w", written.to_str().unwrap()], "packets"),
        (&["hold"], "packets"),
    ] {
        let said = ask(&data, &[words, &before].concat());
        let wanted = format!(
            "no {what} before 2001-01-01 00:00:00 in {place}; the oldest kept is of 2013-05-02 20:20:33"
        );
        assert_eq!(
            (said.code, said.stderr.trim_end()),
            (Some(3), format!("tapkeep: note: {wanted}").as_str()),
            "{words:?}"
        );
        let said = ask(&data, &[words, &after].concat());
        let wanted = format!(
            "no {what} since 2020-05-06 07:08:00 in {place}; the latest kept is of 2017-10-01 19:16:3"
        );
        assert!(said.code == Some(3) && said.stderr.contains(&wanted), "{words:?} {}", said.stderr);
    }
    let hole = ask(&data, &["endpoints", "--since", "2015-01-01", "--until", "2015-01-01 06:00"]);
    assert!(
        hole.stderr.contains("no packets between 2015-01-01 00:00:00 and 06:00:00 in "),
        "{}",
        hole.stderr
    );
    assert!(hole.stderr.contains("; kept are 2013-05-02 20:20:33 to 2017-10-01 19:16:38"), "{}", hole.stderr);
    let nobody = ask(&data, &["conversations", "--host", "192.0.2.1"]);
    assert_eq!((nobody.code, nobody.text().as_str()), (Some(3), ""));
    assert!(nobody.stderr.contains("no conversations that fit in "), "{}", nobody.stderr);
}

#[test]
fn flows_of_one_size_come_as_they_began() {
    let dir = tempfile::tempdir().unwrap();
    let (input, data) = (dir.path().join("input.pcap"), dir.path().join("data"));
    let frames =
        ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1::3"].map(|end| udp([end, "2001:db8::9"]));
    write_pcap(&input, &frames.map(|frame| Packet::whole(1_735_655_452, 0, frame)));
    ask(&data, &["replay", input.to_str().unwrap()]).ok();
    let table = ask(&data, &["flows"]).ok().text();
    let ids: Vec<_> =
        table.lines().filter_map(|line| line.split(' ').find(|word| word.starts_with("1-"))).collect();
    assert_eq!(ids, ["1-24", "1-106", "1-188"], "{table}");
}

#[test]
fn a_narrow_terminal_shortens_addresses_and_says_so() {
    if !require(&["tmux"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (input, data) = (dir.path().join("input.pcap"), dir.path().join("data"));
    write_pcap(&input, &talk_of_long_addresses());
    ask(&data, &["replay", input.to_str().unwrap()]).ok();
    let (long, short) = ("2001:db8:85a3:1:2:8a2e:370:7334", "2001:db8:…:370:7334");
    let whole = ask(&data, &["conversations"]).ok().text();
    assert!(whole.contains(&format!("[{long}]:443")) && !whole.contains('…'), "{whole}");
    let show = format!("conversations --data-dir {}", data.display());
    for (columns, wanted, other) in [(80, short, long), (200, long, short)] {
        let terminal = Terminal::open(dir.path(), &dir.path().join("run"), columns, 24, &[]);
        terminal.tapkeep(&show);
        terminal.wait_for("ended 0");
        let screen = terminal.screen();
        assert!(screen.contains(wanted) && !screen.contains(other), "{columns} columns\n{screen}");
        assert_eq!(screen.contains("… addresses shortened to fit"), columns == 80, "{screen}");
    }
}

#[test]
fn endpoints_of_the_longest_addresses_fit_eighty_columns() {
    if !require(&["tmux"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (input, data) = (dir.path().join("input.pcap"), dir.path().join("data"));
    let ends = ["2a02:8109:9c40:1a2b:c0de:51ff:fe12:3456", "2606:4700:4700:1234:5678:9abc:def0:1111"];
    let [there, back] = [ends, [ends[1], ends[0]]].map(udp);
    let packets = (0..24_000).map(|n| if n % 2 == 0 { &there } else { &back });
    let packets: Vec<_> = packets.map(|frame| Packet::whole(1_735_655_452, 0, frame.clone())).collect();
    write_pcap(&input, &packets);
    ask(&data, &["replay", input.to_str().unwrap()]).ok();
    let terminal = Terminal::open(dir.path(), &dir.path().join("run"), 80, 24, &[]);
    terminal.tapkeep(&format!("endpoints --data-dir {}", data.display()));
    terminal.wait_for("ended 0");
    let screen = terminal.screen();
    for row in ["2a02:…:fe12:3456   24,000  ", "2606:…:def0:1111   24,000  "] {
        let line = screen.lines().find(|line| line.starts_with(row));
        assert!(line.is_some_and(|line| line.ends_with(" 12,000  792 kB")), "{screen}");
    }
}

/// UDP over IPv6 between two addresses of eight groups.
fn talk_of_long_addresses() -> Vec<Packet> {
    let frame = udp(["2001:db8:85a3:1:2:8a2e:370:7335", "2001:db8:85a3:1:2:8a2e:370:7334"]);
    vec![Packet::whole(1_735_655_452, 0, frame)]
}

/// A frame of UDP over IPv6 from one of them to the other.
fn udp(ends: [&str; 2]) -> Vec<u8> {
    let mut frame = [&[2; 12][..], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 12, 17, 64]].concat();
    frame.extend(ends.iter().flat_map(|end| end.parse::<Ipv6Addr>().unwrap().octets()));
    frame.extend([0xc0, 0, 1, 0xbb, 0, 12, 0, 0, 1, 2, 3, 4]);
    frame
}
