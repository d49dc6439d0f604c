//! Flow files: what a completed sync covers is kept, no record is doubled or halved, the growing file is always there, and other
//! programs read what we write.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use support::clock::FakeClock;
use support::rig::layout;
use support::sim::SimFs;
use tapkeep::daemon::setup::DataDirectory;
use tapkeep::flow::record::FlowRecord;
use tapkeep::packet::Place;
use tapkeep::store::flow_file::{FlowItem, FlowReader, FlowWriter, Kind, Position, Resumed, Settings, Told};
use tapkeep::store::sequence::Trust;
use tapkeep::sys::fs::Fs;

const SECOND: Duration = Duration::from_secs(1);

/// Where record `n` has its only packet.
fn place(n: u64) -> Place {
    Place { file: 1 + n / 100, offset: 24 + n % 100 * 80 }
}

/// The flow record of this number.
fn record(n: u64) -> FlowRecord {
    let Place { file, offset } = place(n);
    let stamp = |n: u64| {
        chrono::DateTime::from_timestamp_nanos(1_735_655_452_000_000_000 + n as i64 * 1_000_000)
            .to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
    };
    serde_json::from_value(json!({
        "flow_id": format!("{file}-{offset}"), "part": 0, "final": true, "community_id": "1:wCb3OG7yAFWelaUydu0D+125CLM=",
        "start": stamp(n), "end": stamp(n), "src_ip": "10.0.0.1", "src_port": n % 65_536, "dst_ip": "10.0.0.2",
        "dst_port": 53, "proto": 17, "transport": "udp", "orig_packets": 1, "orig_bytes": 64 + n % 100,
        "resp_packets": 0, "resp_bytes": 0, "captures": [[file, offset, offset]],
    }))
    .unwrap()
}

struct World {
    fs: SimFs,
    clock: FakeClock,
}

impl World {
    fn new() -> Self {
        Self { fs: SimFs::new(64 << 20), clock: FakeClock::new() }
    }

    fn open(&self, settings: Settings) -> Result<(FlowWriter, Resumed), String> {
        let fs: Arc<SimFs> = Arc::new(self.fs.clone());
        let data = DataDirectory::begin(fs.clone(), Arc::new(self.clock.clone()), layout(), None, true);
        let data = data.map_err(|e| e.to_string())?;
        FlowWriter::open(fs, layout(), data.ledger, Arc::new(self.clock.clone()), &data.entries, settings)
            .map_err(|e| e.to_string())
    }
}

/// The records of a file, with their trust.
fn records(fs: &SimFs, path: impl AsRef<std::path::Path>) -> Vec<(FlowRecord, Trust)> {
    let file = fs.open_read(path.as_ref()).unwrap();
    let mut reader = FlowReader::new(&*file, file.len().unwrap());
    let mut records = Vec::new();
    while let Some(item) = reader.next() {
        if let FlowItem::Object(object) = item
            && object.kind == Kind::Record
        {
            records.push((object.record().unwrap(), object.trust));
        }
    }
    records
}

#[test]
fn records_are_written_once_their_captures_are_synced_and_rotated() {
    let world = World::new();
    let settings = Settings { rotation_size: 20_000, ..Settings::default() };
    let (mut writer, resumed) = world.open(settings).unwrap();
    assert_eq!((resumed.position, resumed.records.len()), (Position::default(), 0));
    for n in 0..200 {
        writer.append(&record(n), Some(place(n))).unwrap();
        writer.set_position(Position { analysed: Some(place(n + 1)), oldest_open: None });
    }
    world.clock.advance(6 * SECOND);
    writer.tick();
    assert_eq!(records(&world.fs, layout().flow_file()), [], "no capture is synced");
    writer.captures_synced(place(150));
    world.clock.advance(6 * SECOND);
    writer.tick();
    let sealed: Vec<_> = writer.take_told();
    assert!(matches!(&sealed[..], [Told::Sealed(_)]), "{sealed:?}");
    writer.captures_synced(place(1000));
    assert!(writer.finish(tapkeep::store::flow_file::Extras::default()));
    let mut all = Vec::new();
    for path in world.fs.paths().iter().filter(|path| path.extension().is_some_and(|e| e == "jsonb")) {
        if path.starts_with(layout().flows()) {
            all.extend(records(&world.fs, path));
        }
    }
    assert_eq!(all, (0..200).map(|n| (record(n), Trust::Verified)).collect::<Vec<_>>());
    let (_, resumed) = world.open(settings).unwrap();
    assert_eq!(resumed.position, Position { analysed: Some(place(200)), oldest_open: None });
    assert!(resumed.records.is_empty() && resumed.salvaged.is_none());
}
