//! What `docs/FORMAT.md` says is what the program does: its reader, run by Python, reads our files as we read them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use tapkeep::flow::jsonb;
use tapkeep::store::entry::Act;
use tapkeep::store::ledger::Ledger;
use tapkeep::store::losses::Losses;
use tapkeep::store::sequence::{Item, MAX_OBJECT, SequenceReader, Trust};
use tapkeep::sys::clock::RealClock;
use tapkeep::sys::fs::{Fs, RealFs};

fn document() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/FORMAT.md")).unwrap()
}

fn script() -> String {
    let document = document();
    let (_, script) = document.split_once("```python\n").expect("FORMAT.md has a Python reader");
    script.split_once("```").unwrap().0.to_owned()
}

fn by_python(path: &Path) -> Vec<Value> {
    let run =
        Command::new("python3").arg("-c").arg(script()).arg(path).output().expect("python3 is installed");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn by_us(path: &Path) -> Vec<Value> {
    let file = RealFs::default().open_read(path).unwrap();
    let mut reader = SequenceReader::new(&*file, file.len().unwrap(), MAX_OBJECT);
    let mut told = Vec::new();
    while let Some(item) = reader.next() {
        told.push(match item {
            Item::Header(header, trust) => json!([0, trust == Trust::Verified, header]),
            Item::Record { at, object, trust } => {
                let (object, _): (Value, _) = jsonb::decode(object).unwrap();
                json!([at, trust == Trust::Verified, object])
            }
            Item::Lost(range) => json!(["lost", range.start, range.end]),
            Item::Cut(range) => json!(["cut", range.start, range.end]),
        });
    }
    told
}

#[test]
fn the_reader_in_the_document_reads_what_we_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonb");
    let (mut ledger, _) = Ledger::open(Arc::new(RealFs::default()), &path, Arc::new(RealClock)).unwrap();
    for text in ["", "quoted \"é\"\n\u{1}", &"x".repeat(300), &"😀".repeat(20_000)] {
        ledger
            .append_all([
                Act::Stop { losses: Losses { kernel: Some(u64::MAX), ..Losses::UNKNOWN } },
                Act::Gap { from: Some(-1), duration_ms: 5, reason: text.to_owned() },
                Act::ClockStep { by_ms: -1500 },
                Act::Compacted {
                    boot: String::new(),
                    ages: vec![(1, 2), (3, 4)],
                    flow_ages: vec![(5, 6)],
                    highest: 3,
                },
            ])
            .unwrap();
    }
    let whole = std::fs::read(&path).unwrap();
    let told = by_python(&path);
    assert_eq!(told.len(), 17);
    assert!(told.iter().all(|line| line[1] == true));
    assert_eq!(told, by_us(&path));

    for at in [5, 30, 300, whole.len() - 90, whole.len() - 60, whole.len() - 30, whole.len() - 3] {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        bytes.extend(b"\x7c\x17a\x4b\x131\x01\x00\x7c\x17");
        std::fs::write(&path, bytes).unwrap();
        let told = by_python(&path);
        assert_eq!(told, by_us(&path), "byte {at} is damaged");
        assert_eq!(told.last(), Some(&json!(["cut", whole.len() + 8, whole.len() + 10])));
    }
}

#[test]
fn the_document_names_every_act_and_key() {
    let document = document();
    let source =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/entry.rs")).unwrap();
    let body = source.split_once("pub enum Act {").unwrap().1.split_once("\nimpl ").unwrap().0;
    let names = body.lines().filter_map(|line| {
        let line = line.trim();
        let word = line.split([' ', ':', '{', ',']).next().unwrap_or("");
        let named = line.ends_with([',', '{']) && word.starts_with(char::is_alphabetic);
        named.then_some(word)
    });
    let mut count = 0;
    for name in names {
        let snake = name.char_indices().fold(String::new(), |mut snake, (at, c)| {
            snake.extend((at > 0 && c.is_uppercase()).then_some('_'));
            snake.extend(c.to_lowercase());
            snake
        });
        assert!(document.contains(&format!("`{snake}`")), "docs/FORMAT.md does not name {snake:?}");
        count += 1;
    }
    assert!(count > 25, "only {count} names found in entry.rs");
}
