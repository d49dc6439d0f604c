//! What is told to other tools: every field is one of the published lists (`tests/siem/*.tsv`) with a value of its type, rows and columns
//! are those of the records, what a packet holds stays within its field, and other programs read it: Python, SQLite, DuckDB, rsyslog.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "a test may fail by panicking")]

mod support;

#[path = "siem/ship.rs"]
mod ship;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::corpora::corpora;
use support::pcap::{Packet, write_pcap};
use support::process::run;
use support::service::tapkeep;
use support::{python, require};

/// Names, VLANs, ICMP, IPv6, long flows and findings of several kinds.
const CAPTURES: [&str; 7] = [
    "mix-office.pcap",
    "mix-many-protocols.pcap",
    "encap-vlan-collisions.pcap",
    "mix-tls-v4-v6.pcap",
    "atk-portscan-vertical.pcap",
    "atk-arp-many-macs.pcap",
    "cred-http-basic.pcap",
];

fn of(corpora: &Path) -> Vec<PathBuf> {
    CAPTURES.iter().map(|name| corpora.join(name)).collect()
}

fn ask(command: &str, format: &str, files: &[PathBuf]) -> String {
    let mut asked = tapkeep(&[command, "--format", format]);
    if command == "suspicious" {
        asked.arg("--all");
    }
    run(asked.args(files)).ok().text()
}

fn documents(command: &str, format: &str, files: &[PathBuf]) -> Vec<Value> {
    ask(command, format, files).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The lines of a list of fields, in cells.
fn list(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect())
}

/// The fields of a document by their whole names; arrays are values.
fn fields(document: &Value) -> Vec<(String, &Value)> {
    let Value::Object(object) = document else { panic!("{document} is no object") };
    object
        .iter()
        .flat_map(|(key, value)| match value {
            Value::Object(_) => {
                fields(value).into_iter().map(|(below, value)| (format!("{key}.{below}"), value)).collect()
            }
            value => vec![(key.clone(), value)],
        })
        .collect()
}

fn is_time(text: &str) -> bool {
    chrono::DateTime::parse_from_rfc3339(text).is_ok()
}

fn is_of_ecs(value: &Value, kind: &str) -> bool {
    match kind {
        "date" => value.as_str().is_some_and(is_time),
        "ip" => value.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok()),
        "long" => value.is_i64() || value.is_u64(),
        "keyword" | "match_only_text" | "wildcard" => value.is_string(),
        "object" => value.is_object(),
        "boolean" => value.is_boolean(),
        other => panic!("no type {other}"),
    }
}

#[test]
fn ecs_fields_are_published_and_of_their_types() {
    let Some(corpora) = corpora() else { return };
    let published: BTreeMap<_, _> =
        list(include_str!("siem/ecs.tsv")).map(|row| (row[0], (row[1], row.get(2).is_some()))).collect();
    let mut seen = BTreeSet::new();
    for (command, kind) in [("flows", "event"), ("suspicious", "alert")] {
        let documents = documents(command, "ecs", &of(&corpora));
        assert!(documents.len() > 5, "{command}: {}", documents.len());
        for document in &documents {
            assert_eq!(document["event"]["kind"], kind);
            // ECS's own categories and types.
            for (name, allowed) in [
                ("category", &["network", "intrusion_detection"][..]),
                ("type", &["connection", "start", "end", "info"]),
            ] {
                let words = document["event"][name].as_array().unwrap();
                assert!(
                    !words.is_empty() && words.iter().all(|word| allowed.contains(&word.as_str().unwrap()))
                );
            }
            for (name, value) in fields(document) {
                if name.starts_with("tapkeep.") {
                    continue;
                }
                let Some(&(kind, many)) = published.get(&*name) else { panic!("{name} is no field of ECS") };
                let values = if many { value.as_array().unwrap().iter().collect() } else { vec![value] };
                assert!(values.iter().all(|value| is_of_ecs(value, kind)), "{name}: {value} is no {kind}");
                seen.insert(name);
            }
        }
        let ids: BTreeSet<_> =
            documents.iter().map(|document| document["event"]["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), documents.len(), "an id is unique");
    }
    for name in [
        "tls.client.server_name",
        "url.domain",
        "user_agent.original",
        "dns.question.name",
        "network.vlan.id",
        "network.community_id",
        "source.mac",
        "threat.technique.subtechnique.id",
    ] {
        assert!(seen.contains(name), "no {name} in {seen:?}");
    }
}

#[test]
fn eve_fields_are_published_and_of_their_types() {
    let Some(corpora) = corpora() else { return };
    let published: BTreeMap<_, _> = list(include_str!("siem/eve.tsv")).map(|row| (row[0], row[1])).collect();
    let is_of = |value: &Value, kind: &str| match kind {
        "string" => value.is_string(),
        "integer" | "number" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        other => panic!("no type {other}"),
    };
    let mut seen = BTreeSet::new();
    for (command, event) in [("flows", "flow"), ("suspicious", "alert")] {
        let documents = documents(command, "eve", &of(&corpora));
        for document in &documents {
            assert_eq!(document["event_type"], event);
            for time in [&document["timestamp"], &document["flow"]["start"], &document["flow"]["end"]] {
                // The schema's pattern, with Suricata's microseconds.
                let text = time.as_str().unwrap();
                assert!(
                    text.len() == 31 && text.ends_with("+0000") && is_time(&text.replace("+0000", "Z")),
                    "{text}"
                );
            }
            for (name, value) in fields(document) {
                let Some(kind) = published.get(&*name) else { panic!("{name} is no field of EVE") };
                match kind.strip_prefix("array of ") {
                    Some(kind) => {
                        assert!(value.as_array().unwrap().iter().all(|value| is_of(value, kind)), "{name}")
                    }
                    None => assert!(is_of(value, kind), "{name}: {value} is no {kind}"),
                }
                seen.insert(name);
            }
        }
    }
    for name in [
        "flow.state",
        "tcp.tcp_flags_ts",
        "tls.sni",
        "http.hostname",
        "vlan",
        "alert.signature_id",
        "icmp_type",
    ] {
        assert!(seen.contains(name), "no {name} in {seen:?}");
    }
}

/// A log of Zeek's: names and types of its columns, and its rows, read as zeek-cut does: nothing is known beforehand but that the first
/// line tells the separator.
struct Log {
    path: String,
    columns: Vec<(String, String)>,
    rows: Vec<Vec<String>>,
}

fn zeek(text: &str) -> Log {
    let (first, rest) = text.split_once('\n').unwrap();
    let separator = first.strip_prefix("#separator ").unwrap();
    let separator = separator.strip_prefix("\\x").and_then(|code| u8::from_str_radix(code, 16).ok()).unwrap();
    let cells = |line: &str| line.split(char::from(separator)).map(str::to_owned).collect::<Vec<_>>();
    let (head, rows): (Vec<_>, Vec<_>) = rest.lines().map(cells).partition(|line| line[0].starts_with('#'));
    let of = |name: &str| head.iter().find(|line| line[0] == name).unwrap()[1..].to_vec();
    for (name, value) in [("#set_separator", ","), ("#empty_field", "(empty)"), ("#unset_field", "-")] {
        assert_eq!(of(name), [value]);
    }
    let (names, types) = (of("#fields"), of("#types"));
    assert_eq!(names.len(), types.len());
    Log { path: of("#path").remove(0), columns: names.into_iter().zip(types).collect(), rows }
}

/// What Zeek's `get_unescaped_string` makes of a text.
fn unescaped(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut out = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        out.push(u8::from_str_radix(&part[..2], 16).unwrap());
        out.extend(&part.as_bytes()[2..]);
    }
    out
}

fn is_of_zeek(text: &str, kind: &str) -> bool {
    match kind {
        "time" | "interval" => {
            text.split_once('.').is_some_and(|(_, digits)| digits.len() == 6) && text.parse::<f64>().is_ok()
        }
        "double" => text.parse::<f64>().is_ok(),
        "count" | "int" => text.parse::<u64>().is_ok(),
        "port" => text.parse::<u16>().is_ok(),
        "addr" => text.parse::<IpAddr>().is_ok(),
        "bool" => text == "T" || text == "F",
        "string" => !text.is_empty(),
        "enum" => text.chars().all(|c| c.is_ascii_alphanumeric() || "_:".contains(c)),
        set => {
            let of = set.strip_prefix("set[").and_then(|set| set.strip_suffix(']')).unwrap();
            text == "(empty)" || text.split(',').all(|text| is_of_zeek(text, of))
        }
    }
}

#[test]
fn zeek_logs_have_zeeks_columns_first_and_values_of_their_types() {
    let Some(corpora) = corpora() else { return };
    for (command, path) in [("flows", "conn"), ("suspicious", "notice")] {
        let log = zeek(&ask(command, "zeek", &of(&corpora)));
        assert_eq!(log.path, path);
        let published: Vec<_> = list(include_str!("siem/zeek.tsv"))
            .filter(|row| row[0] == path)
            .map(|row| (row[1].to_owned(), row[2].to_owned()))
            .collect();
        assert_eq!(log.columns[..published.len()], published);
        assert!(log.columns[published.len()..].iter().all(|(name, _)| name.starts_with("tapkeep.")));
        let mut set = BTreeSet::new();
        for row in &log.rows {
            assert_eq!(row.len(), log.columns.len(), "{row:?}");
            for ((name, kind), cell) in log.columns.iter().zip(row).filter(|(_, cell)| *cell != "-") {
                assert!(is_of_zeek(cell, kind), "{name}: {cell:?} is no {kind}");
                set.insert(name.as_str());
            }
        }
        let wanted: &[&str] = match path {
            "conn" => &[
                "service",
                "duration",
                "conn_state",
                "history",
                "community_id",
                "vlan",
                "inner_vlan",
                "tapkeep.sni",
            ],
            _ => &["note", "msg", "src", "dst", "p", "n", "tapkeep.finding"],
        };
        assert!(wanted.iter().all(|name| set.contains(name)), "{path}: {set:?}");
    }
}

#[test]
fn every_format_tells_the_same_flows_and_findings() {
    let Some(corpora) = corpora() else { return };
    let files = of(&corpora);
    let records = documents("flows", "json", &files);
    let (ecs, eve) = (documents("flows", "ecs", &files), documents("flows", "eve", &files));
    let conn = zeek(&ask("flows", "zeek", &files));
    assert!(
        records.len() > 100
            && [ecs.len(), eve.len(), conn.rows.len()].iter().all(|&rows| rows == records.len())
    );
    let at = |name: &str| conn.columns.iter().position(|column| column.0 == name).unwrap();
    for (n, record) in records.iter().enumerate() {
        let (ecs, eve, row) = (&ecs[n], &eve[n], &conn.rows[n]);
        let cell = |name: &str| row[at(name)].as_str();
        assert_eq!(ecs["tapkeep"]["flow_id"], record["flow_id"]);
        assert_eq!(cell("uid"), record["flow_id"]);
        assert_eq!(ecs["network"]["community_id"], record["community_id"]);
        assert_eq!(eve["community_id"], record["community_id"]);
        assert_eq!(cell("community_id"), record["community_id"].as_str().unwrap_or("-"));
        assert_eq!(ecs["source"]["bytes"], record["orig_bytes"]);
        assert_eq!(eve["flow"]["bytes_toclient"], record["resp_bytes"]);
        assert_eq!(cell("orig_bytes"), record["orig_payload_bytes"].to_string());
        assert_eq!(ecs["event"]["start"], record["start"]);
        // The same time, in Zeek's seconds and Suricata's microseconds.
        let start = chrono::DateTime::parse_from_rfc3339(record["start"].as_str().unwrap()).unwrap();
        let micros = start.timestamp_micros();
        assert_eq!(cell("ts"), format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000));
        assert_eq!(eve["flow"]["start"], start.format("%Y-%m-%dT%H:%M:%S%.6f+0000").to_string());
        let seconds = ecs["event"]["duration"].as_i64().unwrap() / 1_000_000_000;
        assert_eq!(eve["flow"]["age"], seconds);
    }
    let ids: BTreeSet<_> = eve.iter().map(|event| event["flow_id"].as_u64().unwrap()).collect();
    let flows: BTreeSet<_> = records.iter().map(|record| record["flow_id"].as_str().unwrap()).collect();
    assert!(ids.len() == flows.len() && ids.iter().all(|&id| id < 1 << 53));

    let mut all = tapkeep(&["suspicious", "--all", "--json"]);
    let document = run(all.args(&files)).ok().json();
    let findings = document["findings"].as_array().unwrap();
    let alerts = documents("suspicious", "ecs", &files);
    assert!(findings.len() > 3 && alerts.len() == findings.len());
    for (alert, finding) in alerts.iter().zip(findings) {
        assert_eq!(alert["event"]["id"], finding["id"]);
        assert_eq!(alert["message"], finding["summary"]);
        assert_eq!(alert["tapkeep"]["count"], finding["count"]);
    }
}

/// One TCP segment of a connection that was never seen to begin.
fn segment(sport: u16, payload: &[u8]) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend(sport.to_be_bytes());
    tcp.extend(80_u16.to_be_bytes());
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 2, 0, 0, 0, 0, 0]);
    tcp.extend(payload);
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let len = (20 + tcp.len()) as u16;
    frame.extend([0x45, 0]);
    frame.extend(len.to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend(tcp);
    frame
}

#[test]
fn what_a_packet_holds_stays_within_its_field() {
    if !require(&["python3"]) {
        return;
    }
    // Agents that would break a line, a column, a quotation, a document or a terminal.
    let agents: [&[u8]; 9] = [
        b"a\tb",
        b"\"},{\"x\":\"",
        b"x\",\"y,z",
        b"\x1b[2J\x1b]0;owned\x07",
        b"-",
        b"(empty)",
        b"\\x09\\t\\",
        "\u{202e}\u{9b}31m\u{2028}".as_bytes(),
        b"# fields\xff\xfe\x00\x7f",
    ];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hostile.pcap");
    let packets: Vec<_> = agents
        .iter()
        .zip(1..)
        .map(|(agent, n)| {
            let request = [&b"GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: "[..], agent, b"\r\n\r\n"].concat();
            Packet::whole(1_735_655_452 + u32::from(n), 0, segment(40_000 + n, &request))
        })
        .collect();
    write_pcap(&file, &packets);
    let files = [file];
    for format in ["json", "ecs", "eve", "zeek", "csv"] {
        let text = ask("flows", format, &files);
        let active = |c: char| (c.is_control() && c != '\n' && c != '\t') || "\u{202e}\u{2028}".contains(c);
        assert!(!text.contains(active), "{format}: {text:?}");
        let heads = match format {
            "csv" => 1,
            "zeek" => 8,
            _ => 0,
        };
        assert_eq!(text.lines().count(), agents.len() + heads, "{format}: {text}");
        assert!(format == "zeek" || !text.contains('\t'));
    }
    let records = documents("flows", "json", &files);
    let kept: Vec<_> = records.iter().map(|record| record["user_agent"].as_str().unwrap()).collect();
    assert!(kept.iter().zip(agents).all(|(kept, agent)| unescaped(kept) == agent), "{kept:?}");
    let of_ecs = documents("flows", "ecs", &files);
    assert!(of_ecs.iter().zip(&kept).all(|(flow, kept)| flow["user_agent"]["original"] == *kept));
    let of_eve = documents("flows", "eve", &files);
    assert!(of_eve.iter().zip(&kept).all(|(flow, kept)| flow["http"]["http_user_agent"] == *kept));
    let script = "import csv, json, sys; print(json.dumps([row['user_agent'] for row in csv.DictReader(open(sys.argv[1], newline=''))]))";
    let csv = dir.path().join("flows.csv");
    std::fs::write(&csv, ask("flows", "csv", &files)).unwrap();
    let read = run(Command::new("python3").args(["-c", script]).arg(&csv)).ok();
    assert_eq!(read.json(), serde_json::json!(kept));
    // Zeek has no column for the agent; the rows are whole.
    let conn = zeek(&ask("flows", "zeek", &files));
    assert!(conn.rows.len() == agents.len() && conn.rows.iter().all(|row| row.len() == conn.columns.len()));
}

#[test]
fn sqlite_and_duckdb_read_what_was_written() {
    let Some(corpora) = corpora().filter(|_| require(&["python3", "sqlite3"])) else { return };
    let dir = tempfile::tempdir().unwrap();
    let files = of(&corpora);
    for (command, format) in
        [("flows", "csv"), ("flows", "ecs"), ("flows", "eve"), ("flows", "zeek"), ("suspicious", "ecs")]
    {
        std::fs::write(dir.path().join(format!("{command}.{format}")), ask(command, format, &files)).unwrap();
    }
    let records = documents("flows", "json", &files);
    let bytes: u64 = records.iter().map(|record| record["orig_bytes"].as_u64().unwrap()).sum();
    let wanted = format!("{}|{bytes}", records.len());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let import = format!(".import --csv {} f", path("flows.csv"));
    let answer =
        run(Command::new("sqlite3").args([":memory:", &import, "SELECT count(*), sum(orig_bytes) FROM f"]));
    assert_eq!(answer.ok().text().trim(), wanted);

    let Some(modules) = python::with("duckdb", "import duckdb") else { return };
    let findings = documents("suspicious", "ecs", &files).len();
    for (query, wanted) in [
        (format!("SELECT count(*), sum(orig_bytes) FROM read_csv('{}')", path("flows.csv")), wanted.clone()),
        (
            format!(
                "SELECT count(*), sum(source.bytes) FROM read_json('{}', format='newline_delimited')",
                path("flows.ecs")
            ),
            wanted.clone(),
        ),
        (
            format!(
                "SELECT count(*), sum(flow.bytes_toserver) FROM read_json('{}', format='newline_delimited')",
                path("flows.eve")
            ),
            wanted.clone(),
        ),
        (
            format!(
                "SELECT count(*), sum(column29::BIGINT) FROM read_csv('{}', delim='\\t', skip=8, header=false, all_varchar=true, quote='', escape='')",
                path("flows.zeek")
            ),
            wanted,
        ),
        (
            format!(
                "SELECT count(*), count(DISTINCT event.id) FROM read_json('{}', format='newline_delimited')",
                path("suspicious.ecs")
            ),
            format!("{findings}|{findings}"),
        ),
    ] {
        let script =
            "import duckdb, sys; print('|'.join(str(int(x)) for x in duckdb.sql(sys.argv[1]).fetchall()[0]))";
        let answer =
            run(Command::new("python3").args(["-c", script, &query]).env("PYTHONPATH", &modules)).ok();
        assert_eq!(answer.text().trim(), wanted, "{query}");
    }
}
