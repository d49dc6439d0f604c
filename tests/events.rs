//! The table of events, `docs/JOURNAL.md` and the message catalog say the same, and journald takes the catalog.
//! `TAPKEEP_UPDATE_SNAPSHOTS=1` writes both anew from the table.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use support::process::must;
use support::require;
use tapkeep::daemon::events::{ALL, Priority, find};

const MARKS: [&str; 2] = ["<!-- events -->\n", "<!-- end of events -->\n"];

/// Columns of a catalog entry.
const WIDTH: usize = 78;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Holds a file to be this, or writes it.
fn hold(path: &str, wanted: &str) {
    if std::env::var_os("TAPKEEP_UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        return std::fs::write(root(path), wanted).unwrap();
    }
    let there = std::fs::read_to_string(root(path)).unwrap_or_default();
    assert!(there == wanted, "{path} differs from the table of events; TAPKEEP_UPDATE_SNAPSHOTS=1 writes it");
}

fn name(priority: Priority) -> &'static str {
    match priority {
        Priority::Err => "3 `err`",
        Priority::Warning => "4 `warning`",
        Priority::Notice => "5 `notice`",
        Priority::Info => "6 `info`",
    }
}

fn tables() -> String {
    let mut text = "| event | `MESSAGE_ID` | priority | a minute | what it means |\n".to_owned();
    text += "| --- | --- | --- | --- | --- |\n";
    for kind in ALL {
        let row = (kind.name, kind.id, name(kind.priority), kind.per_minute, kind.meaning);
        writeln!(text, "| `{}` | `{}` | {} | {} | {} |", row.0, row.1, row.2, row.3, row.4).unwrap();
    }
    text += "\n| event | a line of it | its fields |\n| --- | --- | --- |\n";
    for kind in ALL {
        let fields: Vec<_> = kind.fields.iter().map(|field| format!("`{field}`")).collect();
        writeln!(text, "| `{}` | {} | {} |", kind.name, kind.example, fields.join(" ")).unwrap();
    }
    text
}

/// A text in lines of at most [`WIDTH`] columns.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        if lines.last().is_some_and(|line| !line.is_empty() && line.len() + 1 + word.len() > WIDTH) {
            lines.push(String::new());
        }
        let line = lines.last_mut().unwrap();
        let space = if line.is_empty() { "" } else { " " };
        write!(line, "{space}{word}").unwrap();
    }
    lines.join("\n")
}

fn first_sentence(text: &str) -> &str {
    text.split(". ").next().unwrap_or_default().trim_end_matches('.')
}

fn catalog() -> String {
    let mut text =
        "# Explanations of Tapkeep's events for journalctl -x; made from the table of events.\n".to_owned();
    for kind in ALL {
        let (id, subject) = (kind.id, first_sentence(kind.meaning));
        writeln!(text, "\n-- {id}\nSubject: {subject}\nDefined-By: Tapkeep\n").unwrap();
        writeln!(text, "{}", wrapped(kind.meaning)).unwrap();
    }
    text
}

#[test]
fn the_documentation_has_the_table() {
    let there = std::fs::read_to_string(root("docs/JOURNAL.md")).unwrap();
    let (head, rest) = there.split_once(MARKS[0]).unwrap();
    let (_, tail) = rest.split_once(MARKS[1]).unwrap();
    hold("docs/JOURNAL.md", &[head, MARKS[0], &tables(), MARKS[1], tail].concat());
}

#[test]
fn every_field_is_documented_and_no_other() {
    let text = std::fs::read_to_string(root("docs/JOURNAL.md")).unwrap();
    let (_, fields) = text.split_once("\n## Fields\n").unwrap();
    let (fields, _) = fields.split_once("\n## Events\n").unwrap();
    let rows = fields.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | "));
    let told: BTreeSet<_> =
        rows.flat_map(|(names, _)| names.split(", ")).map(|name| name.trim_matches('`')).collect();
    let own = ALL.iter().flat_map(|kind| kind.fields).copied();
    assert_eq!(told, own.chain(["TAPKEEP_EVENT"]).collect());
}

#[test]
fn the_examples_are_of_the_event_that_they_name() {
    let text = std::fs::read_to_string(root("docs/JOURNAL.md")).unwrap();
    let finding = find("finding").unwrap();
    assert!(text.contains(&format!("journalctl MESSAGE_ID={} ", finding.id)), "{}", finding.id);
    let json: String =
        text.lines().skip_while(|line| *line != "    {").take_while(|line| !line.is_empty()).collect();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["TAPKEEP_EVENT"], &json["MESSAGE_ID"]), (&"finding".into(), &finding.id.into()));
    let fields = json.as_object().unwrap().keys().filter(|key| key.starts_with("TAPKEEP_"));
    let common = ["TAPKEEP_EVENT"];
    let strange: Vec<_> =
        fields.filter(|key| !finding.fields.iter().chain(&common).any(|field| field == key)).collect();
    assert!(strange.is_empty(), "{strange:?}");
    let names = text
        .split("TAPKEEP_EVENT=")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap_or_default());
    for name in names {
        assert!(find(name).is_some(), "no event is called {name:?}");
    }
}

#[test]
fn the_catalog_is_that_of_the_table_and_journald_takes_it() {
    hold("systemd/tapkeep.catalog", &catalog());
    if !require(&["journalctl"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("usr/lib/systemd/catalog");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::create_dir_all(dir.path().join("var/lib/systemd/catalog")).unwrap();
    std::fs::copy(root("systemd/tapkeep.catalog"), place.join("tapkeep.catalog")).unwrap();
    let tree = format!("--root={}", dir.path().display());
    let said = must("journalctl", &[&tree, "--update-catalog"]);
    assert_eq!(said.stderr, "");
    let listed = must("journalctl", &[&tree, "--list-catalog"]).text();
    assert_eq!(listed.lines().count(), ALL.len());
    for kind in ALL {
        assert!(listed.contains(kind.id), "{}: {listed}", kind.name);
    }
}
