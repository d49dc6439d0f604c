//! Replayed captures: the data directory answers as tshark does, and as the file itself does, into however many files it went.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::support::answers::{assert_same_flows, count, lines, packets_of};
use super::support::corpora::{captures, corpora};
use super::support::service::ask;
use super::{ask_file, flows, replay};

/// The answers that count packets.
const COUNTS: [&str; 3] = ["protocols", "endpoints", "conversations"];

/// Rows without what says where an answer comes from.
fn rows(answer: &Value, command: &str) -> Value {
    answer[command].clone()
}

fn all(data_dir: &Path, command: &str) -> Value {
    ask(data_dir, &[command, "--json", "--limit", "0"]).ok().json()
}

fn truth(capture: &Path) -> Value {
    let name = format!("{}.json", capture.file_name().unwrap().to_str().unwrap());
    let path = capture.with_file_name("truth").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// By address: packets, bytes, of them sent, of them received.
fn endpoints(answer: &Value) -> BTreeMap<String, [u64; 6]> {
    let keys = ["packets", "bytes", "tx_packets", "tx_bytes", "rx_packets", "rx_bytes"];
    let row = |row: &Value| (row["address"].as_str().unwrap().to_owned(), keys.map(|key| count(row, key)));
    answer["endpoints"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn every_capture_replayed_answers_as_the_file_and_as_tshark() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    for (at, capture) in captures(&corpora).iter().enumerate() {
        let (data, name) = (dir.path().join(at.to_string()), capture.display());
        replay(&data, std::slice::from_ref(capture), &[("TAPKEEP_FLOWS_FOLD", "false")]).ok();
        let truth = truth(capture);
        let counters = &truth["counters"];
        let protocols = all(&data, "protocols");
        for key in ["packets", "bytes"] {
            assert_eq!(protocols[key], counters[key], "{name}: {key}");
        }
        let theirs: BTreeMap<String, [u64; 6]> = serde_json::from_value(truth["l3"]["addr"].clone()).unwrap();
        assert_eq!(endpoints(&all(&data, "endpoints")), theirs, "{name}");
        for command in COUNTS {
            let of_file = ask_file(&[command, "--json", "--limit", "0"], std::slice::from_ref(capture));
            assert_eq!(
                rows(&all(&data, command), command),
                rows(&of_file.ok().json(), command),
                "{name}: {command}"
            );
        }
        let recorded = flows(&data);
        let ip = ["ipv4_packets", "ipv6_packets"].map(|key| counters[key].as_u64().unwrap_or(0));
        let bytes = ["ipv4_bytes", "ipv6_bytes"].map(|key| counters[key].as_u64().unwrap_or(0));
        let sum = |keys: [&str; 2]| keys.map(|key| recorded.iter().map(|flow| count(flow, key)).sum::<u64>());
        assert_eq!(
            sum(["orig_packets", "resp_packets"]).iter().sum::<u64>(),
            ip[0] + ip[1],
            "{name}: packets"
        );
        assert_eq!(
            sum(["orig_bytes", "resp_bytes"]).iter().sum::<u64>(),
            bytes[0] + bytes[1],
            "{name}: bytes"
        );
        let of_file = ask_file(&["flows", "--json", "--limit", "0"], std::slice::from_ref(capture));
        let of_file = lines(of_file);
        assert_eq!(without_places(&recorded), without_places(&of_file), "{name}: flows");
        let list = ask(&data, &["list", "--kind", "capture", "--json"]).ok().json();
        assert!(
            list["files"].as_array().unwrap().iter().all(|file| file["losses"]["analysis"] == 0),
            "{list}"
        );
    }
}

/// Records that differ at most in where the packets lie: a file of several link types goes into several.
fn without_places(records: &[Value]) -> Vec<String> {
    let mut texts: Vec<_> = records
        .iter()
        .map(|record| {
            let mut record = record.clone();
            for key in ["flow_id", "captures", "findings"] {
                record.as_object_mut().unwrap().remove(key);
            }
            record.to_string()
        })
        .collect();
    texts.sort();
    texts
}

#[test]
fn many_small_files_sum_up_to_the_same() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    for name in ["mix-office.pcap", "mix-many-protocols.pcap", "mix-emix.pcap"] {
        let capture = corpora.join(name);
        let [one, many] = ["one", "many"].map(|kind| dir.path().join(format!("{name}.{kind}")));
        replay(&one, std::slice::from_ref(&capture), &[]).ok();
        let small = [
            ("PCAP_ROTATION_SIZE", "70kB"),
            ("TAPKEEP_CAPTURE_SNAPLEN", "65535"),
            ("TAPKEEP_RECORDER_FLOW_ROTATION_SIZE", "64KiB"),
        ];
        replay(&many, std::slice::from_ref(&capture), &small).ok();
        let files = super::support::recorded::sealed(&many).len();
        assert!(files >= 5, "{name}: {files} files");
        // The application of a flow is known in a file only from the packets in it.
        let [a, b] = [&one, &many].map(|data| rows(&all(data, "endpoints"), "endpoints"));
        assert_eq!(a, b, "{name}");
        let sums = |data: &Path| -> BTreeMap<String, [u64; 2]> {
            let rows = all(data, "protocols");
            let rows = rows["protocols"].as_array().unwrap().clone();
            rows.iter()
                .filter(|row| row["path"].as_str().unwrap().split(':').count() <= 3)
                .map(|row| {
                    (
                        row["path"].as_str().unwrap().to_owned(),
                        ["packets", "bytes"].map(|key| count(row, key)),
                    )
                })
                .collect()
        };
        assert_eq!(sums(&one), sums(&many), "{name}");
        let talks = |data: &Path| -> BTreeMap<String, Vec<Value>> {
            let rows = all(data, "conversations");
            let rows = rows["conversations"].as_array().unwrap().clone();
            rows.iter()
                .map(|row| {
                    let key = ["src_ip", "src_port", "dst_ip", "dst_port", "proto", "vlan"];
                    let key = key.map(|key| row[key].to_string()).join(" ");
                    let counts = ["orig_packets", "orig_bytes", "resp_packets", "resp_bytes"];
                    (key, counts.map(|key| row[key].clone()).to_vec())
                })
                .collect()
        };
        assert_eq!(talks(&one), talks(&many), "{name}");
        assert_same_flows(&flows(&many), &flows(&one));
    }
}

/// What `suspicious` finds in a foreign file, it finds in the replayed one.
#[test]
fn findings_of_a_replay_are_those_of_the_file() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<PathBuf> = captures(&corpora);
    let attacks = all.iter().filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("atk-") || name.starts_with("cred-")
    });
    let mut found = 0;
    let ask_both = ["suspicious", "--all", "--json", "--limit", "0"];
    for (at, capture) in attacks.enumerate() {
        let data = dir.path().join(at.to_string());
        replay(&data, std::slice::from_ref(capture), &[]).ok();
        let of_file = ask_file(&ask_both, std::slice::from_ref(capture)).json();
        let of_dir = ask(&data, &ask_both).json();
        let brief = |answer: &Value| {
            let findings = answer["findings"].as_array().unwrap().iter();
            let mut brief: Vec<_> = findings
                .map(|finding| {
                    let mut finding = finding.clone();
                    finding["captures"] = finding["captures"].as_array().unwrap().len().into();
                    finding.as_object_mut().unwrap().remove("id");
                    finding.to_string()
                })
                .collect();
            brief.sort();
            brief
        };
        let (ours, theirs) = (brief(&of_dir), brief(&of_file));
        assert_eq!(ours, theirs, "{}", capture.display());
        found += ours.len();
    }
    assert!(found > 10, "{found} findings");
}

#[test]
fn a_replay_without_captures_waits_for_the_analyst() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    let files = ["load-echo-loopback.pcap.gz", "mix-office.pcap"].map(|name| corpora.join(name));
    let variables =
        [("SAVE_PCAP", "false"), ("TAPKEEP_RECORDER_QUEUE_SIZE", "1MiB"), ("TAPKEEP_FLOWS_FOLD", "false")];
    for _ in 0..2 {
        replay(dir.path(), &files, &variables).ok();
    }
    let packets = |records: &[Value]| records.iter().map(packets_of).sum::<u64>();
    let of_files = lines(ask_file(&["flows", "--json", "--limit", "0"], &files));
    let recorded = flows(dir.path());
    assert_eq!(packets(&recorded), 2 * packets(&of_files));
    assert_eq!(recorded.len(), 2 * of_files.len());
    let listed = ask(dir.path(), &["list", "--kind", "flows", "--json"]).ok().json();
    let lost = listed["files"].as_array().unwrap().iter().map(|file| file["losses"]["analysis"].as_u64());
    assert_eq!(lost.flatten().sum::<u64>(), 0, "{listed}");
}
