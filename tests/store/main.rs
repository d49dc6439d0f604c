//! Recorder, sealer, salvage and keeper, each by itself, on the simulated disk.

// A test may fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod keeper;
mod recorder;
mod salvage;

use std::path::PathBuf;
use std::sync::Arc;

use support::clock::FakeClock;
use support::pcap::Packet;
use support::rig::{captures, layout};
use support::sim::SimFs;
use tapkeep::daemon::setup::DataDirectory;
use tapkeep::packet::{Frame, LinkType, MAX_SNAPLEN, Precision};
use tapkeep::store::block::{Block, BlockPool};
use tapkeep::store::entry::Act;
use tapkeep::store::format::Format;
use tapkeep::store::ledger;
use tapkeep::sys::fs::Fs;

const FORMAT: Format = Format { link: LinkType::ETHERNET, precision: Precision::Micro, snaplen: MAX_SNAPLEN };

/// A data directory just begun.
struct Place {
    fs: SimFs,
    clock: FakeClock,
    data: DataDirectory,
}

impl Place {
    fn new() -> Self {
        Self::on(SimFs::new(64 << 20))
    }

    fn on(fs: SimFs) -> Self {
        let clock = FakeClock::new();
        let data = DataDirectory::begin(Arc::new(fs.clone()), Arc::new(clock.clone()), layout(), None, true);
        Self { data: data.unwrap(), fs, clock }
    }

    /// The acts in the ledger, the starts left out.
    fn acts(&self) -> Vec<Act> {
        let entries = ledger::load(&self.fs, &layout().ledger()).unwrap().entries;
        entries.into_iter().map(|entry| entry.act).filter(|act| !matches!(act, Act::Start { .. })).collect()
    }

    /// Names below `pcaps/`.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.fs.read_dir(&captures()).unwrap().into_iter().map(|file| file.name).collect();
        names.sort();
        names
    }
}

/// A file below `pcaps/`.
fn at(name: &str) -> PathBuf {
    captures().join(name)
}

/// A block of these packets.
fn block(packets: &[Packet], format: Format) -> Block {
    let mut block = BlockPool::new(0).0.take(format).unwrap();
    for packet in packets {
        let Packet { sec, frac, wire_len, data } = packet;
        assert!(block.push(&Frame { sec: *sec, frac: *frac, wire_len: *wire_len, data }));
    }
    block
}
