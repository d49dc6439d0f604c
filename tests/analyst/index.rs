//! The index is a cache: made anew, or read around, every question is answered byte for byte as before.

use std::path::Path;

use super::replay;
use super::support::corpora::corpora;
use super::support::service::ask;

const QUESTIONS: [&[&str]; 12] = [
    &["list", "--json"],
    &["list", "--all", "--json"],
    &["protocols", "--json"],
    &["endpoints", "--json"],
    &["endpoints", "--layer", "eth", "--json"],
    &["conversations", "--json"],
    &["flows", "--json"],
    &["flows", "--json", "--host", "192.168.2.22"],
    &["suspicious", "--json"],
    &["suspicious", "--all", "--json"],
    &["protocols", "--json", "--since", "2013-05-02 20:20:35", "--until", "2013-05-02 20:20:40"],
    &["conversations", "--host", "10.0.0.6"],
];

fn answers(data: &Path) -> Vec<(Option<i32>, String)> {
    let answer = |question: &&[&str]| {
        let answer = ask(data, question);
        (answer.code, answer.text())
    };
    QUESTIONS.iter().map(answer).collect()
}

fn assert_answers(data: &Path, wanted: &[(Option<i32>, String)], when: &str) {
    for ((ours, wanted), question) in answers(data).iter().zip(wanted).zip(QUESTIONS) {
        assert_eq!(ours, wanted, "{when}: {question:?}");
    }
}

#[test]
fn without_the_index_and_with_a_new_one_all_is_answered_as_before() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    for evicting in [false, true] {
        let data = dir.path().join(format!("{evicting}"));
        let names = [
            "mix-office.pcap",
            "atk-portscan-vertical.pcap",
            "mix-home-lan.pcapng",
            "frag-v4-sctp.pcap",
            "atk-synflood.pcap",
        ];
        let count = if evicting { "4" } else { "0" };
        let variables = [
            ("PCAP_ROTATION_SIZE", "600kB"),
            ("TAPKEEP_RECORDER_FLOW_ROTATION_SIZE", "64KiB"),
            ("PCAP_RETENTION_COUNT", count),
        ];
        for name in names {
            replay(&data, &[corpora.join(name)], &variables).ok();
        }
        let before = answers(&data);
        for ((code, text), question) in before.iter().zip(QUESTIONS) {
            assert!(*code == Some(0) || evicting, "{question:?}: {code:?} {text}");
        }
        let index = data.join("index.sqlite3");
        let (kept, wal) =
            (data.join("kept"), ["-wal", "-shm"].map(|end| data.join(format!("index.sqlite3{end}"))));
        std::fs::rename(&index, &kept).unwrap();
        wal.iter().for_each(|file| drop(std::fs::remove_file(file)));
        assert_answers(&data, &before, "without an index");
        ask(&data, &["index", "rebuild"]).ok();
        assert!(index.exists());
        std::fs::remove_file(&kept).unwrap();
        assert_answers(&data, &before, "rebuilt");
    }
}
