//! Holds a disk against what was promised. Reads files with a reader of its own, and says what is wrong in
//! words.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tapkeep::store::catalog::Catalog;
use tapkeep::store::entry::{Act, Entry};
use tapkeep::store::facts::{CaptureFacts, State};
use tapkeep::store::ledger;
use tapkeep::store::names::{CaptureName, Role};
use tapkeep::sys::fs::Fs;

use super::super::pcap::parse_pcap;
use super::super::sim::SimFs;
use super::story::{STRANGE, STRANGERS, Story, packet};
use super::{Rig, Schedule, captures, layout, path};

/// Fails the check with a text unless something holds.
macro_rules! ensure {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Err(format!($($text)+));
        }
    };
}

/// The disk as an outsider finds it.
#[derive(Debug)]
pub struct Found {
    /// Our files by role and name.
    files: Vec<(CaptureName, Role)>,
    /// What the ledger says.
    pub entries: Vec<Entry>,
}

impl Found {
    /// Looks; uses no operation of the disk that counts.
    pub fn on(fs: &SimFs) -> Result<Self, String> {
        let names = fs.paths();
        let names = names.iter().filter(|path| path.parent() == Some(&captures()));
        let names = names.filter_map(|path| CaptureName::parse(path.file_name()?.to_str()?));
        Ok(Self { files: names.collect(), entries: ledger_of(fs.contents(layout().ledger()))? })
    }

    fn of_role(&self, role: Role) -> impl Iterator<Item = CaptureName> + '_ {
        self.files.iter().filter(move |(_, other)| *other == role).map(|(name, _)| *name)
    }

    /// What the ledger was told last when this file was finished.
    fn finished(&self, name: CaptureName) -> Option<&CaptureFacts> {
        self.entries.iter().rev().find_map(|entry| match &entry.act {
            Act::Seal { capture } | Act::Salvage { capture, .. } if capture.name == name => Some(capture),
            _ => None,
        })
    }

    /// The evictions that the ledger knows, by index number.
    fn evictions(&self) -> BTreeMap<u64, &CaptureFacts> {
        let evict = |entry: &'_ Entry| matches!(entry.act, Act::Evict { .. });
        let entries = self.entries.iter().filter(|entry| evict(entry));
        entries
            .filter_map(|entry| match &entry.act {
                Act::Evict { capture, .. } => Some((capture.name.number(), capture)),
                _ => None,
            })
            .collect()
    }

    /// The highest index number in names and ledger.
    fn highest(&self) -> u64 {
        let told = self.entries.iter().map(|entry| entry.act.highest());
        self.files.iter().map(|(name, _)| name.number()).chain(told).max().unwrap_or(0)
    }
}

fn ledger_of(bytes: Option<Vec<u8>>) -> Result<Vec<Entry>, String> {
    let Some(bytes) = bytes else { return Ok(Vec::new()) };
    let alone = SimFs::new(u64::MAX / 2);
    alone.plant("/data/ledger", &bytes);
    Ok(ledger::load(&alone, Path::new("/data/ledger")).map_err(|e| e.to_string())?.entries)
}

/// Every act that readers can see is in the ledger as a power cut now would surely leave it.
pub fn ledger_comes_first(fs: &SimFs, story: &Story) -> Result<(), String> {
    let durable = ledger_of(fs.durable(layout().ledger()))?;
    let seen = Found::on(fs)?;
    let known = Found { files: Vec::new(), entries: durable };
    for name in seen.of_role(Role::Sealed) {
        ensure!(
            known.finished(name).is_some(),
            "{name} is sealed, and the ledger's durable part does not know"
        );
    }
    let evictions = known.evictions();
    let there: BTreeSet<_> = seen.files.iter().map(|(name, _)| name.number()).collect();
    for number in story.sealed.iter().filter(|number| !there.contains(number)) {
        ensure!(
            evictions.contains_key(number),
            "file {number} is gone, and the ledger's durable part does not know"
        );
    }
    Ok(())
}

/// The promises that hold on a disk on which all was brought in order: after a recovery, or when a run is
/// over.
pub fn promises(rig: &Rig, schedule: &Schedule) -> Result<(), String> {
    let found = Found::on(&rig.fs)?;
    strangers_are_untouched(&rig.fs)?;
    let packets = files_are_sound(&rig.fs, &found, &rig.story, schedule.rotation.size)?;
    synced_packets_are_kept(&found, &packets, &rig.story)?;
    evictions_are_justified(&rig.fs, &found, schedule)?;
    held_files_are_there(rig, &found)?;
    catalog_agrees(rig, &found, &packets)
}

fn strangers_are_untouched(fs: &SimFs) -> Result<(), String> {
    for name in STRANGERS {
        let bytes = fs.contents(captures().join(name));
        ensure!(bytes.as_deref() == Some(STRANGE), "{name}, which is none of ours, was touched");
    }
    let ours = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        CaptureName::parse(name).is_some() || STRANGERS.contains(&name) || name.starts_with("ledger.jsonb")
    };
    let left = fs.paths().into_iter().find(|path| !ours(path));
    ensure!(left.is_none(), "{left:?} should not be there");
    Ok(())
}

/// Every finished file holds whole records of packets that were sent, once each; returns the packets'
/// numbers.
fn files_are_sound(
    fs: &SimFs,
    found: &Found,
    story: &Story,
    size: u64,
) -> Result<BTreeMap<u64, Vec<u64>>, String> {
    let parts: Vec<_> = found.of_role(Role::Part).map(|name| name.to_string()).collect();
    ensure!(parts.is_empty(), "{parts:?} are not sealed");
    let mut all = BTreeSet::new();
    let mut packets = BTreeMap::new();
    for name in found.of_role(Role::Sealed) {
        let facts = found.finished(name).ok_or_else(|| format!("{name} is not in the ledger"))?;
        let bytes = fs.contents(path(name, Role::Sealed)).unwrap_or_default();
        ensure!(bytes.len() as u64 <= size, "{name} has {} bytes, more than {size}", bytes.len());
        let sure = facts.doubtful_from.map_or(bytes.len(), |from| bytes.len().min(from as usize));
        let seqs = sound_packets(&bytes[..sure], story).map_err(|e| format!("{name}: {e}"))?;
        if facts.doubtful_from.is_none() {
            let told = (facts.size, facts.packets);
            let is = (bytes.len() as u64, seqs.len() as u64);
            ensure!(told == is, "{name} has (bytes, packets) {is:?}, the ledger says {told:?}");
            ensure!(!seqs.is_empty(), "{name} holds no packet");
        }
        for seq in &seqs {
            ensure!(all.insert(*seq), "packet {seq} is there twice, the second time in {name}");
        }
        ensure!(packets.insert(name.number(), seqs).is_none(), "number {} was given twice", name.number());
    }
    Ok(packets)
}

/// The numbers of the packets in a file; an error if any is not as it was sent, or if there are other bytes.
pub fn sound_packets(bytes: &[u8], story: &Story) -> Result<Vec<u64>, String> {
    if bytes.len() < 24 {
        return Ok(Vec::new());
    }
    let link = u16::from_le_bytes([bytes[20], bytes[21]]);
    let (packets, left) = parse_pcap(bytes);
    ensure!(left == 0, "{left} bytes follow the last whole record");
    let mut seqs: Vec<u64> = Vec::new();
    for got in &packets {
        let seq = got.seq().filter(|seq| *seq < story.sent());
        let seq = seq.ok_or_else(|| format!("packet {got:?} behind {seqs:?} was never sent"))?;
        ensure!(*got == packet(seq), "packet {seq} is not as it was sent: {got:?}");
        ensure!(story.links[seq as usize] == link, "packet {seq} lies among those of link type {link}");
        ensure!(seqs.last().is_none_or(|last| *last < seq), "packet {seq} is out of order");
        seqs.push(seq);
    }
    Ok(seqs)
}

fn synced_packets_are_kept(
    found: &Found,
    packets: &BTreeMap<u64, Vec<u64>>,
    story: &Story,
) -> Result<(), String> {
    let evicted = found.evictions();
    for (seq, name) in &story.covered {
        let there = packets.get(&name.number());
        let kept = there.is_some_and(|seqs| seqs.binary_search(seq).is_ok());
        let gone = there.is_none() && evicted.contains_key(&name.number());
        ensure!(kept || gone, "packet {seq}, synced in {name}, is neither there nor in an evicted file");
    }
    Ok(())
}

/// Oldest first, and not one more than the limits ask for.
fn evictions_are_justified(fs: &SimFs, found: &Found, schedule: &Schedule) -> Result<(), String> {
    let held: Vec<_> = found.of_role(Role::Hold).map(CaptureName::number).collect();
    let sealed: Vec<_> = found.of_role(Role::Sealed).collect();
    let size = |name, role| fs.contents(path(name, role)).unwrap_or_default().len() as u64;
    let there: BTreeSet<_> = sealed.iter().map(|name| name.number()).collect();
    let evictions = found.evictions();
    let gone: Vec<_> = evictions.iter().filter(|(number, _)| !there.contains(number)).collect();
    let Some((newest, last)) = gone.last() else { return Ok(()) };
    let older = there.iter().find(|number| **number < **newest && !held.contains(number));
    ensure!(older.is_none(), "file {newest} was evicted before the older {older:?}");
    let count = schedule.limits.count.is_some_and(|count| there.len() as u64 >= count);
    let aside: u64 = found.of_role(Role::Damaged).map(|name| size(name, Role::Damaged)).sum();
    let kept = sealed.iter().map(|name| size(*name, Role::Sealed)).sum::<u64>() + aside;
    let bytes = schedule.limits.bytes.is_some_and(|bytes| kept + last.size + schedule.rotation.size > bytes);
    let free = schedule.limits.min_free.bytes(u64::MAX) > 0;
    ensure!(
        count || bytes || free,
        "{} files ({kept} bytes) are left: file {newest} need not have gone",
        there.len()
    );
    Ok(())
}

fn held_files_are_there(rig: &Rig, found: &Found) -> Result<(), String> {
    for name in rig.story.held.iter() {
        for role in [Role::Sealed, Role::Hold] {
            ensure!(found.files.contains(&(name, role)), "{name} is held, and its {role:?} file is gone");
        }
        ensure!(rig.keeper.catalog().is_held(name), "{name} is held, and the catalog does not know");
    }
    Ok(())
}

/// The catalog says what is there; one read anew from ledger and directory says the same.
fn catalog_agrees(rig: &Rig, found: &Found, packets: &BTreeMap<u64, Vec<u64>>) -> Result<(), String> {
    let catalog = rig.keeper.catalog();
    let told: Vec<_> = catalog.captures().map(|facts| facts.name.number()).collect();
    let there: Vec<_> = packets.keys().copied().collect();
    let damaged = found.of_role(Role::Damaged).count();
    ensure!(told == there || damaged > 0, "the catalog lists {told:?}, there are {there:?}");
    for facts in catalog.captures().filter(|facts| facts.state != State::Damaged) {
        let there = packets.get(&facts.name.number()).map_or(0, |seqs| seqs.len() as u64);
        ensure!(facts.packets == there, "{}: {} packets told, {there} there", facts.name, facts.packets);
    }
    ensure!(catalog.parts().is_empty() || damaged > 0, "the catalog still lists {:?}", catalog.parts());
    let listing = rig.fs.kill().read_dir(&captures()).map_err(|e| e.to_string())?;
    let anew = Catalog::new(&found.entries, &listing);
    ensure!(
        anew.rows() == catalog.rows(),
        "read anew the catalog is {:#?}\nnot {:#?}",
        anew.rows(),
        catalog.rows()
    );
    Ok(())
}

/// A recovered store goes on under a number that no file and no entry ever had.
pub fn goes_on(rig: &mut Rig) -> Result<(), String> {
    let before = Found::on(&rig.fs)?;
    let highest = rig.story.sealed.iter().copied().chain([before.highest()]).max().unwrap_or(0);
    let sent = rig.story.sent();
    rig.step(super::Step::Packets(3));
    rig.finish();
    let after = Found::on(&rig.fs)?;
    let new: Vec<_> =
        after.of_role(Role::Sealed).filter(|name| !before.files.contains(&(*name, Role::Sealed))).collect();
    let [name] = new[..] else { return Err(format!("three packets more made the files {new:?}")) };
    ensure!(name.number() > highest, "a new file got number {}, but {highest} was there", name.number());
    let bytes = rig.fs.contents(path(name, Role::Sealed)).unwrap_or_default();
    let seqs = sound_packets(&bytes, &rig.story)?;
    ensure!(seqs == [sent, sent + 1, sent + 2], "the new file holds {seqs:?}");
    Ok(())
}

/// Packets sent are in files, were in files that are evicted, or are counted as not written; not one more or
/// less.
pub fn every_packet_is_accounted_for(rig: &Rig) -> Result<(), String> {
    let found = Found::on(&rig.fs)?;
    let there: Vec<_> = found.of_role(Role::Sealed).collect();
    let evicted = found.evictions();
    let gone = evicted.values().filter(|facts| !there.contains(&facts.name)).copied();
    let kept = there.iter().filter_map(|name| found.finished(*name));
    let (mut packets, mut lost) = (0, rig.unbooked());
    for facts in kept.chain(gone) {
        packets += facts.packets;
        lost += facts.losses.write.ok_or_else(|| format!("{}: losses are unknown", facts.name))?;
    }
    let (sent, given_up) = (rig.story.sent(), rig.story.lost);
    ensure!(lost == given_up, "{given_up} packets were given up, {lost} are booked as lost");
    ensure!(packets + lost == sent, "{sent} packets were sent, {packets} are in files and {lost} lost");
    Ok(())
}

/// The most unsealed files that there were at once in the life of this disk.
pub fn most_unsealed(fs: &SimFs) -> usize {
    let (mut there, mut most) = (BTreeSet::new(), 0);
    let failed =
        |line: &str| line.split_once(" => ").is_some_and(|(_, fault)| !fault.starts_with("ShortWrite"));
    for line in fs.operations().iter().filter(|line| !failed(line)) {
        let mut words = line.split(' ');
        match (words.next(), words.next().filter(|path| path.ends_with(".part"))) {
            (Some("create"), Some(path)) => _ = there.insert(path.to_owned()),
            (Some("rename" | "remove"), Some(path)) => _ = there.remove(path),
            _ => {}
        }
        most = most.max(there.len());
    }
    most
}
