//! What the store has promised in the course of a run, seen from outside: by what it said and by what readers
//! saw then.

use std::collections::{BTreeMap, BTreeSet};

use tapkeep::packet::LinkType;
use tapkeep::store::entry::{Act, Entry};
use tapkeep::store::keeper::Kept;
use tapkeep::store::names::{CaptureName, Role};

use super::super::pcap::{Packet, mix, parse_pcap};
use super::super::sim::SimFs;
use super::{captures, evicted, path};

/// The link type of another port: Linux cooked capture.
pub const FOREIGN: LinkType = LinkType(113);

/// Files in the directory that are none of ours, however much alike.
pub const STRANGERS: [&str; 4] = [
    "notes.txt",
    "capture_20241231_143052_0001.pcap.bak",
    "capture_20241231_143052_1.pcap",
    "capture_20241231_143052_0099.pcapng",
];

/// The bytes in each of [`STRANGERS`].
pub const STRANGE: &[u8] = b"somebody else's";

/// What was promised.
#[derive(Debug, Clone, Default)]
pub struct Story {
    /// The link type of each packet sent, by its number.
    pub links: Vec<u16>,
    /// Packets that a completed sync covers, and the file that has them.
    pub covered: BTreeMap<u64, CaptureName>,
    /// Files of which the sealing was reported.
    pub sealed: BTreeSet<CaptureNumber>,
    /// Files of which the eviction was reported.
    pub evicted: BTreeSet<CaptureNumber>,
    /// Files that a person was told are held.
    pub held: HeldNames,
    /// Packets given up since the disk refused them.
    pub lost: u64,
    /// What the keeper could not do.
    pub complaints: Vec<String>,
}

/// An index number.
type CaptureNumber = u64;

/// Names in the order in which they were held.
#[derive(Debug, Clone, Default)]
pub struct HeldNames(Vec<CaptureName>);

impl HeldNames {
    /// Adds one.
    pub fn insert(&mut self, name: CaptureName) {
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = CaptureName> + '_ {
        self.0.iter().copied()
    }
}

impl Story {
    /// The next packet to be sent.
    pub fn send(&mut self, link: LinkType) -> Packet {
        let seq = self.links.len() as u64;
        self.links.push(link.0);
        packet(seq)
    }

    /// How many were sent.
    pub fn sent(&self) -> u64 {
        self.links.len() as u64
    }

    /// A sync has completed which began when the file looked like this.
    pub fn synced(&mut self, name: CaptureName, before: &[u8]) {
        let (packets, _) = parse_pcap(before);
        let seqs = packets.iter().map(|packet| packet.seq().expect("ours are numbered"));
        self.covered.extend(seqs.map(|seq| (seq, name)));
    }

    /// A file was reported as sealed.
    pub fn sealed(&mut self, entry: &Entry, fs: &SimFs) {
        let Act::Seal { capture } = &entry.act else { return };
        self.sealed.insert(capture.name.number());
        if capture.doubtful_from.is_none() && !fs.has_stopped() {
            let bytes = fs.contents(path(capture.name, Role::Sealed)).expect("a sealed file is there");
            self.synced(capture.name, &bytes);
        }
    }

    /// The keeper reports.
    pub fn heard(&mut self, kept: &Kept) {
        if let Some(name) = evicted(kept) {
            self.evicted.insert(name.number());
        }
        if let Kept::NotEvicted(..) | Kept::NotSalvaged(..) = kept {
            self.complaints.push(format!("{kept:?}"));
        }
    }
}

/// The packet of this number.
pub fn packet(seq: u64) -> Packet {
    mix(seq, 1).remove(0)
}
