//! `tapkeep report`: the page as who opens it meets it, in a real browser; and what whoever makes it is promised.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "a test may fail by panicking")]

mod support;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use etherparse::PacketBuilder;
use serde_json::{Value, json};
use support::browser::{Seen, look};
use support::clock::FakeClock;
use support::corpora::corpora;
use support::pcap::{Packet, frame, write_pcap};
use support::process::run;
use support::require;
use support::service::{ask, tapkeep};
use tapkeep::store::entry::Act;
use tapkeep::store::facts::{CaptureFacts, State};
use tapkeep::store::ledger::Ledger;
use tapkeep::store::losses::Losses;
use tapkeep::store::names::CaptureName;
use tapkeep::sys::fs::RealFs;

/// 2024-12-31 14:30:52 UTC.
const BEGIN: u32 = 1_735_655_452;

/// Below this a page of a day is to stay.
const MEGABYTE: u64 = 1_000_000;

fn replay(data_dir: &Path, capture: &Path) {
    let mut replay =
        tapkeep(&["replay", "--data-dir", data_dir.to_str().unwrap(), capture.to_str().unwrap()]);
    replay.env("PCAP_ROTATION_SIZE", "300kB").env("PCAP_RETENTION_COUNT", "0");
    run(&mut replay).ok();
}

/// Generated traffic and a scan, in several files.
fn recorded(dir: &Path) -> Option<PathBuf> {
    let (made, data) = (dir.join("made.pcap"), dir.join("data"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/traffic");
    run(Command::new(script).arg(&made).args(["--count", "3000"])).ok();
    replay(&data, &made);
    replay(&data, &corpora()?.join("atk-portscan-plc.pcap"));
    Some(data)
}

/// Makes a page of a data directory, in UTC.
fn page(dir: &Path, data: &Path, args: &[&str]) -> PathBuf {
    let path = dir.join("report.html");
    let mut command = vec!["report", "-o", path.to_str().unwrap(), "--data-dir", data.to_str().unwrap()];
    command.extend(args);
    run(tapkeep(&command).env("TZ", "UTC")).ok();
    path
}

/// A script that tells of each row of a table what the cells of these columns stand for.
fn cells(table: &str, columns: &[usize]) -> String {
    format!(
        "[...document.querySelectorAll('#{table} tbody tr')].map(row => {columns:?}.map(column => \
         row.cells[column].dataset.v ?? row.cells[column].textContent.trim()))"
    )
}

/// The same of an answer in JSON.
fn told(rows: &Value, keys: &[&str]) -> Value {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let row = |row: &Value| keys.iter().map(|key| text(&row[key])).collect::<Vec<_>>();
    rows.as_array().unwrap().iter().map(row).collect::<Vec<_>>().into()
}

/// The first rows; a page does not show all.
fn first(rows: &Value, count: usize) -> Value {
    rows.as_array().unwrap().iter().take(count).cloned().collect()
}

/// Requires that it looked for nothing but itself, and that nothing failed.
fn assert_quiet(seen: &Seen, page: &Path) {
    assert_eq!(seen.requests, [format!("file://{}", page.display())]);
    assert_eq!(seen.messages, [""; 0]);
}

#[test]
fn the_page_tells_what_the_answers_tell() {
    if !require(&["chromium", "python3"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(data) = recorded(dir.path()) else { return };
    let path = page(dir.path(), &data, &[]);
    let steps = json!([
        {"eval": "[document.getElementById('packets').dataset.v, document.getElementById('bytes').dataset.v]"},
        {"eval": cells("protocols-table", &[0, 1, 2])},
        {"eval": cells("endpoints-table", &[0, 2, 3, 4, 5])},
        {"eval": cells("conversations-table", &[0, 1, 4, 5, 6, 7])},
        {"eval": "[...document.querySelectorAll('article')].map(card => card.id)"},
        {"eval": cells("files-table", &[0, 4, 5, 6])},
    ]);
    let seen = look(&path, &steps);
    assert_quiet(&seen, &path);
    let answer = |command: &str| ask(&data, &[command, "--json"]).ok().json();

    let protocols = answer("protocols");
    assert_eq!(seen.results[0], json!([protocols["packets"].to_string(), protocols["bytes"].to_string()]));
    let sorted = |rows: &Value| {
        let rows = rows.as_array().unwrap().iter().map(Value::to_string);
        rows.collect::<BTreeSet<_>>()
    };
    let nodes = told(&protocols["protocols"], &["path", "packets", "bytes"]);
    assert_eq!(sorted(&seen.results[1]), sorted(&nodes));

    let endpoints =
        told(&answer("endpoints")["endpoints"], &["address", "bytes", "packets", "tx_bytes", "rx_bytes"]);
    assert_eq!(seen.results[2], first(&endpoints, 200));

    let end = |row: &Value, side: &str| {
        let (ip, port) = (row[format!("{side}_ip")].as_str().unwrap(), &row[format!("{side}_port")]);
        match port {
            Value::Null => ip.to_owned(),
            port if ip.contains(':') => format!("[{ip}]:{port}"),
            port => format!("{ip}:{port}"),
        }
    };
    let sum = |row: &Value, key: &str| {
        row[format!("orig_{key}")].as_u64().unwrap() + row[format!("resp_{key}")].as_u64().unwrap()
    };
    let rows = answer("conversations")["conversations"].clone();
    let rows = rows.as_array().unwrap().iter().take(200).map(|row| {
        let [sent, received] = ["orig_bytes", "resp_bytes"].map(|key| row[key].to_string());
        json!([
            end(row, "src"),
            end(row, "dst"),
            sum(row, "bytes").to_string(),
            sent,
            received,
            sum(row, "packets").to_string()
        ])
    });
    assert_eq!(seen.results[3], rows.collect::<Value>());

    let found = answer("suspicious")["findings"].clone();
    let ids = found.as_array().unwrap().iter().map(|finding| finding["id"].clone()).collect::<Value>();
    assert!(!ids.as_array().unwrap().is_empty());
    assert_eq!(sorted(&seen.results[4]), sorted(&ids));

    let files = ask(&data, &["list", "--json", "--kind", "capture"]).ok().json();
    let mut files = told(&files["files"], &["name", "packets", "bytes", "size"]);
    files.as_array_mut().unwrap().reverse();
    assert!(files.as_array().unwrap().len() > 3);
    assert_eq!(seen.results[5], files);
}

#[test]
fn a_click_sorts_a_click_filters_and_keys_go_through_the_chart() {
    if !require(&["chromium", "python3"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(data) = recorded(dir.path()) else { return };
    let path = page(dir.path(), &data, &[]);
    let shots = ["light", "dark", "narrow", "print"].map(|name| dir.path().join(name));
    let packets = cells("endpoints-table", &[3]);
    let visible = "[...document.querySelectorAll('#conversations-table tbody tr:not([hidden])')].map(row => row.dataset.k)";
    let steps = json!([
        {"shot": shots[0]},
        {"look": {"scheme": "dark"}}, {"shot": shots[1]},
        {"look": {"width": 390}}, {"shot": shots[2]},
        {"eval": "document.documentElement.scrollWidth"},
        {"look": {"media": "print"}}, {"shot": shots[3]},
        {"look": {}},
        {"click": "#endpoints-table th:nth-child(4) button"}, {"eval": packets},
        {"click": "#endpoints-table th:nth-child(4) button"}, {"eval": packets},
        {"eval": "document.querySelector('#endpoints-table th:nth-child(4)').getAttribute('aria-sort')"},
        {"eval": "document.querySelector('#endpoints-table tbody tr').dataset.k.split(' ').find(word => word.startsWith('host:'))"},
        {"click": "#endpoints-table tbody .host"}, {"eval": visible},
        {"click": "#clear"},
        {"click": ".icicle a[data-f=\"proto:dns\"] rect"}, {"eval": visible},
        {"click": "#clear"}, {"eval": visible},
        {"eval": "document.getElementById('traffic').focus()"},
        {"key": "ArrowRight"}, {"key": "ArrowRight"},
        {"eval": "[document.getElementById('traffic-value').textContent, document.querySelectorAll('.bar')[1].dataset.t]"},
    ]);
    let seen = look(&path, &steps);
    assert_quiet(&seen, &path);
    for shot in shots {
        assert!(std::fs::metadata(shot).unwrap().len() > 10_000);
    }
    let [width, down, up, order, host, of_host, of_dns, all, _, values] = &seen.results[..] else { panic!() };
    assert_eq!(width, 390, "nothing sticks out of a narrow screen");
    let numbers = |rows: &Value| {
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row[0].as_str().unwrap().parse::<u64>().unwrap()).collect::<Vec<_>>()
    };
    let (down, up) = (numbers(down), numbers(up));
    assert!(down.is_sorted_by(|a, b| a >= b) && up.is_sorted() && up[0] < down[0]);
    assert_eq!(order, "ascending");
    for (rows, word) in [(of_host, host.as_str().unwrap()), (of_dns, "proto:dns")] {
        let rows = rows.as_array().unwrap();
        let fits = |row: &Value| row.as_str().unwrap().split(' ').any(|own| own == word);
        assert!(!rows.is_empty() && rows.iter().all(fits), "{word}: {rows:?}");
    }
    assert_eq!(all.as_array().unwrap().len(), 15);
    assert!(values[0] == values[1] && values[0].as_str().unwrap().contains("b/s"), "{values}");
}

/// A segment of a connection between two hosts.
fn segment(second: u32, up: bool, (seq, ack): (u32, u32), flags: &str, payload: &[u8]) -> Packet {
    let (ours, theirs) = (([192, 168, 1, 5], 40_000), ([203, 0, 113, 9], 21));
    let (src, dst) = if up { (ours, theirs) } else { (theirs, ours) };
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(src.0, dst.0, 64).tcp(src.1, dst.1, seq, 512);
    let builder = if flags.contains('S') { builder.syn() } else { builder };
    let builder = if flags.contains('A') { builder.ack(ack) } else { builder };
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    Packet::whole(BEGIN + second, 0, frame)
}

/// A login by FTP under this name.
fn login(path: &Path, name: &[u8]) {
    let user = [b"USER ", name, b"\r\n"].concat();
    let after = 1 + user.len() as u32;
    write_pcap(
        path,
        &[
            segment(0, true, (0, 0), "S", b""),
            segment(0, false, (0, 1), "SA", b""),
            segment(0, true, (1, 1), "A", b""),
            segment(1, false, (1, 1), "A", b"220 ready\r\n"),
            segment(2, true, (1, 12), "A", &user),
            segment(3, true, (after, 12), "A", b"PASS secret\r\n"),
        ],
    );
}

#[test]
fn hostile_names_stay_text() {
    let dir = tempfile::tempdir().unwrap();
    let name = "<img src=x onerror=alert(1)>\u{202e}'\"&.pcap";
    let capture = dir.path().join(name);
    login(&capture, b"</script><script>alert(2)</script>\x1b[31m");
    let path = page(dir.path(), dir.path(), &[capture.to_str().unwrap()]);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("<img") && !text.contains("<script>alert"), "{text}");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n') && !text.contains('\u{202e}'));
    assert_eq!(text.matches("<script").count(), 1);
    if !require(&["chromium", "python3"]) {
        return;
    }
    let steps = json!([
        {"eval": "document.querySelector('header b').textContent"},
        {"eval": "document.querySelector('article').textContent"},
        {"eval": "document.querySelectorAll('img, script').length"},
    ]);
    let seen = look(&path, &steps);
    assert_eq!(seen.messages, [""; 0]);
    assert_eq!(seen.requests.len(), 1);
    assert!(seen.results[0].as_str().unwrap().contains("/<img src=x onerror=alert(1)>\\u{202e}'\"&.pcap"));
    assert!(seen.results[1].as_str().unwrap().contains("</script><script>alert(2)</script>"), "{seen:?}");
    assert_eq!(seen.results[2], 1);

    // Even what came in as markup could do nothing.
    let forbidden = json!([
        {"eval": "(() => { const script = document.createElement('script'); script.textContent = 'window.ran = 1'; \
                  document.body.append(script); return window.ran ?? 0 })()"},
        {"eval": "(() => { const mark = document.createElement('b'); mark.setAttribute('onclick', 'window.ran = 1'); \
                  document.body.append(mark); mark.click(); return window.ran ?? 0 })()"},
        {"eval": "fetch('http://127.0.0.1:9/').then(() => 1, () => 0)"},
    ]);
    let seen = look(&path, &forbidden);
    assert_eq!(seen.results, [0, 0, 0]);
    let refused = seen.messages.iter().filter(|text| text.contains("Content Security Policy"));
    assert!(refused.count() >= 3, "{:?}", seen.messages);
}

#[test]
fn a_page_of_nothing_is_a_page() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("pcaps")).unwrap();
    let path = page(dir.path(), dir.path(), &[]);
    if require(&["chromium", "python3"]) {
        let seen = look(&path, &json!([{"eval": "document.querySelectorAll('main section').length"}]));
        assert_quiet(&seen, &path);
        assert_eq!(seen.results, [4]);
    }
}

#[test]
fn a_day_stays_below_a_megabyte_and_says_what_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let capture = dir.path().join("day.pcap");
    let flow = |n: u32| {
        let [_, a, b, c] = n.to_be_bytes();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv6([0x20, 1, 0xd, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 9, a, b, c], [0x20; 16], 64)
            .udp(1024 + (n % 60_000) as u16, 53 + (n % 7) as u16);
        let mut frame = Vec::new();
        builder.write(&mut frame, &[0; 40]).unwrap();
        Packet::whole(BEGIN + n * 9, 0, frame)
    };
    write_pcap(&capture, &(0..9_600).map(flow).collect::<Vec<_>>());
    let data = dir.path().join("data");
    replay(&data, &capture);
    let path = page(dir.path(), &data, &[]);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(path.metadata().unwrap().len() < MEGABYTE, "{} bytes", text.len());
    let all = format!("tapkeep endpoints --data-dir {} --limit 0", data.display());
    for told in ["200 of 9,601 here", "200 of 9,600 here", &all, "A bar is 10 min"] {
        assert!(text.contains(told), "no {told:?}");
    }
}

#[test]
fn losses_and_gaps_are_marked_where_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let (pcaps, nanos) = (dir.path().join("pcaps"), |sec: u32| Some(i64::from(sec) * 1_000_000_000));
    std::fs::create_dir(&pcaps).unwrap();
    let file = |number: u64, losses| {
        let sec = BEGIN + 60 * u32::try_from(number).unwrap();
        let path = pcaps.join(CaptureName::new(number, sec).to_string());
        let packets: Vec<_> =
            (0..30).map(|n| Packet::whole(sec + n, 0, frame(n.into(), 1_000, &[]))).collect();
        write_pcap(&path, &packets);
        let bare = CaptureFacts::bare(CaptureName::new(number, sec), State::Sealed);
        let (first, last, size) = (nanos(sec), nanos(sec + 29), path.metadata().unwrap().len());
        Act::Seal { capture: CaptureFacts { packets: 30, bytes: 30_000, size, first, last, losses, ..bare } }
    };
    let lossy = Losses { nic: None, kernel: Some(1_234), ..Losses::NONE };
    let (from, reason) = (nanos(BEGIN + 95), "interface <b>eth1</b> down".to_owned());
    let acts = [file(1, Losses::NONE), Act::Gap { from, duration_ms: 20_000, reason }, file(2, lossy)];
    let path = dir.path().join("ledger.jsonb");
    let (mut ledger, _) =
        Ledger::open(Arc::new(RealFs::default()), path, Arc::new(FakeClock::new())).unwrap();
    ledger.append_all(acts).unwrap();
    drop(ledger);
    let text = std::fs::read_to_string(page(dir.path(), dir.path(), &[])).unwrap();
    for told in [
        "Gap 2024-12-31 14:32:27–14:32:47 (20 s): interface &lt;b&gt;eth1&lt;/b&gt; down",
        "Lost: 1,234 kernel, ? nic, between 2024-12-31 14:32:52 and 14:33:21 (capture_20241231_143252_0002.pcap)",
        "2 capture files, 61.0 kB on disk, 1 gap. Retention keeps at most 10 files",
        "A bar is 500 ms. Of 2 files every packet is placed by its own stamp.",
        "no service that records into",
        "<b>≥ 1,234</b><span>1,234 kernel; not counted: nic</span>",
    ] {
        assert!(text.contains(told), "no {told:?} in\n{text}");
    }
}

#[test]
fn it_is_its_callers_alone_and_whole_or_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let capture = dir.path().join("a.pcap");
    login(&capture, b"jane");
    let path = page(dir.path(), dir.path(), &[capture.to_str().unwrap()]);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let before = std::fs::read(&path).unwrap();

    let made = |args: &[&str]| run(&mut tapkeep(&[&["report"], args].concat()));
    let (report, capture) = (path.to_str().unwrap(), capture.to_str().unwrap());
    let missing = made(&["-o", report, "missing.pcap"]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(made(&[capture]).code, Some(2), "where to is to be said");
    let nowhere = dir.path().join("none/report.html");
    let nowhere = made(&["-o", nowhere.to_str().unwrap(), capture]);
    assert!(nowhere.code == Some(1) && nowhere.stderr.contains("name a file in a directory"), "{nowhere:?}");
    let piped = made(&["-o", "-", capture]).ok();
    assert!(piped.text().starts_with("<!DOCTYPE html>") && piped.text().ends_with("</html>"));
    // What was asked for is there, though nothing is in it.
    let empty = run(tapkeep(&["report", "--until", "2000-01-01", "-o", report, capture]).env("TZ", "UTC"));
    assert_eq!(empty.code, Some(3), "{empty:?}");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("There are no packets to tell of."));
    assert!(text.contains(" --until 2000-01-01T00:00:00Z "), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}
