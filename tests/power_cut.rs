//! Power cuts for real: the shutdown ioctl of ext4 on a loop-mounted disk, at random moments while the service records live
//! traffic, fifty times and more, salvage of the cut before included. What the service had called synced or sealed before a
//! cut is there afterwards, byte for byte, exactly once; the rest may be; and nobody lends a hand.

// A test that cannot go on fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::captures::{
    self, assert_list_is_right, finished, in_state, listed, name, names, number, packets, pcaps,
};
use support::disk::{self, Disk};
use support::net::{self, Net, Pace};
use support::pcap::{mix, tcpdump_packets, write_pcap};
use support::process::wait_until;
use support::require;
use support::service::{Service, Setup};
use support::sim::rng::Rng;

const CUTS: u64 = 52;
/// Packets sent in a round: more than can be before the cut.
const BURST: u64 = 5_000;
const RATE: u32 = 3_500;

/// Bytes that the service has called safe, by final name.
type Claims = BTreeMap<String, Vec<u8>>;

#[test]
fn what_was_synced_survives_any_power_cut() {
    if !require(&disk::NEEDS) || !require(&net::NEEDS) || !require(&["capinfos", "tcpdump"]) {
        return;
    }
    let seed = std::env::var("TAPKEEP_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(42);
    let mut rng = Rng::new(seed);
    let (disk, net, scratch) = (Disk::new(512 << 20), Net::new(), tempfile::tempdir().unwrap());
    let (data, burst) = (disk.path().join("data"), scratch.path().join("burst.pcap"));
    // Not looked at since the cut, and all others.
    let (mut fresh, mut claims) = (Claims::new(), Claims::new());
    let mut sum = Summary::default();
    let begun = Instant::now();
    for round in 0..CUTS {
        write_pcap(&burst, &mix(round * BURST, BURST));
        let (known, left) = (names(&data, ""), names(&data, ".part"));
        let mut service = start(&data, &net, 100 + rng.below(200));
        service.wait_until_capturing();
        let sending = net.begin_to_send(&burst, Pace::PerSecond(RATE));
        // Now and then the next cut comes while the last one is still being mended.
        if rng.below(4) != 0 {
            wait_until("salvage", || left.iter().all(|part| !pcaps(&data).join(part).exists()));
            verify(&data, &fresh, round);
            claims.append(&mut fresh);
            sum.verified += 1;
        }
        sleep(Duration::from_millis(150 + rng.below(900)));
        claim(&data, &service.process.stderr(), &mut fresh, &mut sum);
        numbers_went_on(&known, &names(&data, ""));
        disk.shutdown();
        drop(sending);
        let said = service.kill().stderr;
        sum.zeros += said.matches("zeros that were never written").count();
        sum.salvaged += said.matches("salvaged capture_").count();
        sum.completed += said.matches("completed the interrupted sealing").count();
        if round % 10 == 9 { disk.check() } else { disk.restore() }
    }
    let mut service = start(&data, &net, 100);
    service.wait_until_capturing();
    let idle = || service.state().is_some_and(|s| s["busy_with"].is_null() && s["index_stale"] == false);
    wait_until("salvage", || names(&data, ".part").is_empty() && idle());
    captures::stop(service);
    claims.append(&mut fresh);
    verify(&data, &claims, CUTS);
    let list = all_is_well(&data);
    sum.tell(seed, begun, claims.values().map(Vec::len).sum(), &list);
}

fn start(data: &Path, net: &Net, sync_ms: u64) -> Service {
    Setup::new(data)
        .variable("PCAP_ROTATION_SIZE", "1200kB")
        .variable("TAPKEEP_CAPTURE_SNAPLEN", "2000")
        .variable("TAPKEEP_CAPTURE_KERNEL_BUFFER", "4MiB")
        .variable("TAPKEEP_RECORDER_SYNC_INTERVAL", format!("{sync_ms}ms"))
        .variable("PCAP_RETENTION_COUNT", "0")
        .variable("TAPKEEP_SERVICE_LOG_LEVEL", "debug")
        .start(net)
}

/// Takes the service at its word: `synced NAME: N bytes` and `sealed NAME: P packets, N bytes`, said before the cut.
fn claim(data: &Path, said: &str, claims: &mut Claims, sum: &mut Summary) {
    for line in said.lines() {
        let (name, bytes, sealed) = match line.split_once("synced capture_").zip(Some(false)) {
            Some(((_, rest), sealed)) => (rest.split(':').next(), number_before(rest, " bytes"), sealed),
            None => match line.split_once("sealed capture_") {
                Some((_, rest)) => (rest.split(':').next(), number_before(rest, " bytes"), true),
                None => continue,
            },
        };
        let (name, bytes) = (format!("capture_{}", name.unwrap()), bytes.unwrap());
        let finished = pcaps(data).join(&name);
        assert!(finished.exists() || !sealed, "{name} is called sealed");
        let now =
            std::fs::read(&finished).or_else(|_| std::fs::read(pcaps(data).join(name.clone() + ".part")));
        // It may have been renamed between the two looks.
        let now = now.or_else(|_| std::fs::read(&finished)).unwrap();
        assert!(now.len() >= bytes, "{name} is said to have {bytes} bytes");
        let known = claims.entry(name).or_default();
        assert!(now.starts_with(known), "what was safe has changed");
        if bytes > known.len() {
            *known = now[..bytes].to_vec();
        }
        *if sealed { &mut sum.sealed } else { &mut sum.synced } += 1;
    }
}

/// Files that were not known before have higher numbers than all that were.
fn numbers_went_on(before: &[String], now: &[String]) {
    let highest = before.iter().filter_map(|name| number(name)).max();
    let known: HashSet<_> = before.iter().filter_map(|name| number(name)).collect();
    let new = now.iter().filter_map(|name| number(name)).filter(|number| !known.contains(number));
    assert!(new.min().is_none_or(|new| Some(new) > highest), "behind {highest:?}: {now:?}");
}

fn number_before(text: &str, unit: &str) -> Option<usize> {
    text.split_once(unit)?.0.rsplit(' ').next()?.parse().ok()
}

/// Everything claimed is there under its final name.
fn verify(data: &Path, claims: &Claims, round: u64) {
    for (name, bytes) in claims {
        let now = std::fs::read(pcaps(data).join(name))
            .unwrap_or_else(|e| panic!("before cut {round}: {name} is lost: {e}"));
        assert!(
            now.starts_with(bytes),
            "before cut {round}: {name} lost synced bytes: {} < {}",
            now.len(),
            bytes.len()
        );
    }
}

/// Every file is whole, every packet one that was sent, none twice, all in order; index, ledger and files say the same.
fn all_is_well(data: &Path) -> serde_json::Value {
    assert_eq!(names(data, ".part"), Vec::<String>::new());
    assert_list_is_right(data);
    let list = listed(data);
    let rows = list["files"].as_array().unwrap();
    assert!(rows.is_sorted_by_key(|row| row["index"].as_u64().unwrap()));
    let numbers: HashSet<_> =
        finished(data).iter().map(|f| number(f.file_name().unwrap().to_str().unwrap())).collect();
    assert_eq!(numbers.len(), rows.len(), "no number is given twice");
    assert!(in_state(&list, "damaged").is_empty() && in_state(&list, "evicted").is_empty(), "{list}");
    assert!(rows.iter().all(|row| name(row).ends_with(".pcap")));
    let seqs: Vec<_> = packets(data).iter().map(|packet| packet.seq().unwrap()).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "in order, none twice");
    let sent: Vec<_> = (0..CUTS).flat_map(|round| mix(round * BURST, BURST)).collect();
    for packet in finished(data).iter().flat_map(|file| tcpdump_packets(file)) {
        let seq = usize::try_from(packet.seq().unwrap()).unwrap();
        assert_eq!(packet.data, sent[seq].data);
    }
    // The same from the ledger and the files alone, and from an index made anew.
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(data.join(format!("index.sqlite3{suffix}")));
    }
    assert_eq!(listed(data), list);
    list
}

#[derive(Default)]
struct Summary {
    synced: usize,
    sealed: usize,
    salvaged: usize,
    completed: usize,
    zeros: usize,
    verified: usize,
}

impl Summary {
    /// A line that shows how much was put to the test; past the harness, which keeps what a passing test prints.
    fn tell(&self, seed: u64, begun: Instant, claimed: usize, list: &serde_json::Value) {
        let Self { synced, sealed, salvaged, completed, zeros, verified } = self;
        let (files, took) = (list["files"].as_array().unwrap().len(), begun.elapsed().as_secs());
        let text = format!(
            "power_cut: {CUTS} cuts in {took} s (seed {seed}), {verified} of them after salvage had ended; {synced} syncs and \
             {sealed} seals claimed, {claimed} bytes, all kept; {salvaged} salvaged ({zeros} with zero tails), \
             {completed} seals completed; {files} files at the end\n"
        );
        let _ = std::io::stderr().write_all(text.as_bytes());
        // Of what usually happens a half: how much the clock of a busy machine decides.
        assert!(synced + sealed >= 30 && *salvaged >= 10, "too little happened: {text}");
    }
}
