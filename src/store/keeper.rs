//! The keeper: what happens to files once they are sealed. Salvages what a crash left, carries retention out,
//! follows the markers by which people hold files, and keeps the catalog of what exists. Every act is in the
//! ledger before it is done.

mod flows;
mod reach;

pub use reach::Reach;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::SharedLedger;
use super::age::{RunningClock, Stamp, between};
use super::catalog::{Catalog, Change, Part, Unknown};
use super::entry::{Act, Entry};
use super::facts::{CaptureFacts, State};
use super::layout::Layout;
use super::ledger::LedgerError;
use super::names::FlowName;
use super::names::{CaptureName, Role};
use super::retention::{self, Candidate, Eviction, FlowLimits, Limits, Reason, Room};
use super::salvage::{Salvage, SalvageError, Salvaged};
use super::scan::scan;
use crate::sys::clock::Clock;
use crate::sys::fs::{Fs, Space, uninterrupted};

/// How long an eviction's space may take to appear before free space is judged again: a reader may hold the
/// file open.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the keeper did, for the journal.
#[derive(Debug)]
pub enum Kept {
    /// A file was removed.
    Evicted(CaptureName, u64, Reason),
    /// A file was to be removed, and could not be.
    NotEvicted(CaptureName, KeepError),
    /// A person keeps a file.
    Held(CaptureName),
    /// A person gave a file back.
    Released(CaptureName),
    /// A `.part` was dealt with.
    Salvaged(Salvaged),
    /// A `.part` could not be dealt with; it stays among [`Keeper::parts`].
    NotSalvaged(SalvageError),
    /// A finished file that the ledger did not know was read and taken in.
    Found(CaptureName),
    /// A file is gone, and not by us.
    Vanished(CaptureName),
    /// A file has the index number of another; it is left alone.
    Clash(String),
    /// A flow file was removed.
    FlowEvicted(FlowName, u64, Reason),
    /// A flow file was to be removed, and could not be.
    FlowNotEvicted(FlowName, KeepError),
    /// A finished flow file that the ledger did not know was read and taken in.
    FlowFound(FlowName),
    /// A flow file is gone, and not by us.
    FlowVanished(FlowName),
}

/// Why something could not be kept or removed.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The ledger could not be written first.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The disk refused.
    #[error("{what}: {source}")]
    Io {
        /// The operation and its object.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Evicted bytes whose space has not appeared yet.
struct Awaited {
    /// Free bytes and those of captures together, once it has. What is recorded meanwhile takes from the one
    /// what it gives to the other.
    room: u64,
    until: Duration,
}

/// Owner of everything sealed.
pub struct Keeper {
    fs: Arc<dyn Fs>,
    layout: Layout,
    ledger: SharedLedger,
    clock: Arc<dyn Clock>,
    catalog: Catalog,
    /// What the ledger and the directory do not agree on, still to be told.
    differing: VecDeque<Kept>,
    /// Finished files still to be read, lowest index number first.
    unknown: VecDeque<Unknown>,
    running: RunningClock,
    sealed_at: BTreeMap<u64, u64>,
    limits: Option<Limits>,
    rotation_size: u64,
    /// The file system as it would be without capture files, at the start or, if larger, when limits last changed; `None`
    /// until it is known.
    empty: Option<Space>,
    awaited: Option<Awaited>,
    changes: Vec<Change>,
    /// Flow files still to be read, lowest index number first.
    unknown_flows: VecDeque<(FlowName, u64)>,
    flows_sealed_at: BTreeMap<u64, u64>,
    flow_limits: Option<FlowLimits>,
}

impl Keeper {
    /// Takes over a data directory as the ledger's `entries` and the directory tell of it. `limits` is `None`
    /// where nothing is to be evicted. The ledger's last entry must be of this boot.
    pub fn new(
        fs: Arc<dyn Fs>,
        layout: Layout,
        ledger: SharedLedger,
        clock: Arc<dyn Clock>,
        entries: &[Entry],
        limits: Option<Limits>,
        rotation_size: u64,
    ) -> io::Result<Self> {
        let listing = list(fs.as_ref(), &layout.captures())?;
        let mut catalog = Catalog::new(entries, &listing);
        let flows = catalog.settle_flows(&list(fs.as_ref(), &layout.flows())?);
        let vanished = catalog.vanished().iter().map(|facts| Kept::Vanished(facts.name));
        let vanished = vanished.chain(flows.iter().map(|facts| Kept::FlowVanished(facts.name)));
        let differing = vanished.chain(catalog.clashes().iter().cloned().map(Kept::Clash)).collect();
        let mut keeper = Self {
            differing,
            unknown: catalog.take_unknown().into(),
            unknown_flows: catalog.take_unknown_flows().into(),
            flows_sealed_at: BTreeMap::new(),
            flow_limits: None,
            catalog,
            fs,
            layout,
            ledger,
            clock,
            running: RunningClock::default(),
            sealed_at: BTreeMap::new(),
            limits,
            rotation_size,
            empty: None,
            awaited: None,
            changes: Vec::new(),
        };
        entries.iter().for_each(|entry| keeper.age(entry));
        // An eviction that a power cut has undone makes its file no younger.
        keeper.sealed_at.retain(|number, _| keeper.catalog.capture(*number).is_some());
        keeper.flows_sealed_at.retain(|number, _| keeper.catalog.flow(*number).is_some());
        keeper.measure(&listing);
        Ok(keeper)
    }

    /// Changes what retention allows.
    pub fn set_limits(&mut self, limits: Option<Limits>, rotation_size: u64) {
        (self.limits, self.rotation_size) = (limits, rotation_size);
        if let Ok(listing) = list(self.fs.as_ref(), &self.layout.captures()) {
            self.measure(&listing);
        }
    }

    /// Others who fill the disk make it no smaller.
    fn measure(&mut self, listing: &[crate::sys::fs::Entry]) {
        let space = uninterrupted(|| self.fs.space(self.layout.root())).ok();
        let empty = space.map(|space| without(space, kept_bytes(listing, false)));
        self.empty = self.empty.into_iter().chain(empty).max_by_key(|space| space.free);
    }

    /// Bytes of captures below which free space evicts nothing.
    fn floor(&self, limits: &Limits) -> u64 {
        let allowed = |space| retention::allowance(limits, space, 0, self.rotation_size);
        self.empty.map_or(u64::MAX, |space| retention::floor(limits, allowed(space)))
    }

    /// What exists.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// What changed in the catalog since last asked.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Takes note of an act that another has written to the ledger and done.
    pub fn follow(&mut self, entry: &Entry) {
        self.age(entry);
        let changes = self.catalog.apply(entry);
        self.changes.extend(changes);
    }

    /// Writes an act to the ledger.
    pub fn note(&mut self, act: Act) -> Result<(), LedgerError> {
        let entry = self.ledger.append(act)?;
        self.follow(&entry);
        Ok(())
    }

    /// The `.part` files that were there at the start and have not been dealt with.
    pub fn parts(&self) -> Vec<Part> {
        self.catalog.parts().to_vec()
    }

    /// Salvages one of [`Keeper::parts`].
    pub fn salvage(&mut self, part: &Part) -> Kept {
        let salvage = Salvage { fs: self.fs.as_ref(), layout: &self.layout, ledger: &self.ledger };
        match salvage.one(part) {
            Ok(salvaged) => {
                match &salvaged {
                    Salvaged::Kept(facts, ..) | Salvaged::Completed(facts) => {
                        self.take_in(facts.as_ref().clone());
                    }
                    Salvaged::Empty(name) => self.catalog.forget(*name),
                    Salvaged::Aside(name, _) => {
                        self.find(CaptureFacts {
                            size: part.size,
                            ..CaptureFacts::bare(*name, State::Damaged)
                        });
                    }
                }
                Kept::Salvaged(salvaged)
            }
            Err(error) => Kept::NotSalvaged(error),
        }
    }

    /// How many finished files the ledger does not know and [`Keeper::reconcile`] has yet to read.
    pub fn unread(&self) -> usize {
        self.unknown.len() + self.unknown_flows.len()
    }

    /// Tells of one more file that is gone or out of place, or takes in one more that the ledger does not know;
    /// `None` when all agrees. Reads at most one file.
    pub fn reconcile(&mut self) -> Option<Kept> {
        if let Some(kept) = self.differing.pop_front() {
            return Some(kept);
        }
        let Some(unknown) = self.unknown.pop_front() else { return self.reconcile_flows() };
        let path = self.layout.captures().join(unknown.name.file_name(unknown.role));
        let facts = match self.fs.open_read(&path) {
            Ok(file) => unknown.facts(scan(file.as_ref()).ok().as_ref()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Some(Kept::Vanished(unknown.name)),
            Err(_) => unknown.facts(None),
        };
        self.find(facts);
        Some(Kept::Found(unknown.name))
    }

    /// Carries retention out; `growing` is the length of the file being written, `more` whether there is anything to come.
    pub fn enforce(&mut self, growing: u64, more: bool) -> Result<Vec<Kept>, KeepError> {
        let listing = list(self.fs.as_ref(), &self.layout.captures())
            .map_err(|source| KeepError::Io { what: "list pcaps/".to_owned(), source })?;
        let names: Vec<_> = listing.iter().filter_map(|file| CaptureName::parse(&file.name)).collect();
        let mut kept = self.follow_markers(&names)?;
        if self.limits.is_none() && self.flow_limits.is_none() {
            return Ok(kept);
        }
        let space = uninterrupted(|| self.fs.space(self.layout.root()));
        let space =
            space.map_err(|source| KeepError::Io { what: "look at the free space".to_owned(), source })?;
        let Some(limits) = self.limits else {
            kept.extend(self.enforce_flows(space, None));
            return Ok(kept);
        };
        let now = self.clock.now();
        let kept_bytes = kept_bytes(&listing, growing > 0);
        let all = space.free.saturating_add(kept_bytes).saturating_add(growing);
        if self.awaited.as_ref().is_some_and(|awaited| all >= awaited.room || now.up >= awaited.until) {
            self.awaited = None;
        }
        self.empty.get_or_insert(without(space, kept_bytes.saturating_add(growing)));
        let candidates = self.candidates(&names);
        // What is still to be read is about to be offered, oldest first; nothing younger has to go for it.
        let offered =
            candidates.iter().map(|file| file.size).chain(self.unknown.iter().map(|file| file.size));
        let room = Room {
            space,
            growing,
            other: kept_bytes.saturating_sub(offered.sum()),
            needed: if more { self.rotation_size.saturating_sub(growing) } else { 0 },
            settled: self.awaited.is_none(),
            floor: self.floor(&limits),
        };
        let plan = retention::plan(&candidates, &limits, &room);
        let no_captures = kept_bytes == 0 && growing == 0 && room.settled;
        kept.extend(self.enforce_flows(space, no_captures.then_some(limits.min_free)));
        if plan.is_empty() {
            return Ok(kept);
        }
        let gone: u64 = plan.iter().map(|eviction| eviction.size).sum();
        for eviction in plan {
            kept.push(self.evict(&eviction));
        }
        // Should that fail, a power cut may bring files back, and the next plan chooses them again.
        let _ = uninterrupted(|| self.fs.sync_dir(&self.layout.captures()));
        // Half of it may be taken by others meanwhile.
        self.awaited = Some(Awaited { room: all.saturating_sub(gone / 2), until: now.up + PATIENCE });
        Ok(kept)
    }

    /// Whether the ledger has grown enough to be worth compacting; does it then.
    pub fn compact(&mut self) -> Result<bool, LedgerError> {
        if !self.ledger.wants_compaction() {
            return Ok(false);
        }
        let now = self.running_now();
        // What lies there under any name may be on its way to the catalog, and what the ledger tells of it is needed.
        let Ok(listing) = list(self.fs.as_ref(), &self.layout.captures()) else { return Ok(false) };
        let there = listing.iter().filter_map(|file| CaptureName::parse(&file.name));
        let captures = self.catalog.captures().map(|facts| facts.name.number());
        let existing: BTreeSet<_> = captures.chain(there.map(|(name, _)| name.number())).collect();
        let sealed_at = |number: &u64| self.sealed_at.get(number).copied().unwrap_or(now);
        let ages: Vec<_> =
            existing.iter().map(|number| (*number, now.saturating_sub(sealed_at(number)))).collect();
        let Ok(flow_ages) = self.flow_ages(now) else { return Ok(false) };
        self.ledger.compact(&ages, &flow_ages)?;
        Ok(true)
    }

    fn find(&mut self, facts: CaptureFacts) {
        // Should the ledger refuse, the file is read again at the next start.
        let _ = self.ledger.append(Act::Found { capture: facts.clone() });
        self.take_in(facts);
    }

    fn take_in(&mut self, facts: CaptureFacts) {
        let now = self.running_now();
        self.sealed_at.entry(facts.name.number()).or_insert(now);
        self.changes.extend(self.catalog.put(facts));
    }

    fn age(&mut self, entry: &Entry) {
        let now = self.running.note(entry);
        match &entry.act {
            Act::Seal { capture } | Act::Salvage { capture, .. } | Act::Found { capture } => {
                self.sealed_at.insert(capture.name.number(), now);
            }
            Act::FlowSeal { flows } | Act::FlowSalvage { flows, .. } | Act::FlowFound { flows } => {
                self.flows_sealed_at.insert(flows.name.number(), now);
            }
            Act::Compacted { ages, flow_ages, .. } => {
                let sealed_at = |&(number, age): &(u64, u64)| (number, now.saturating_sub(age));
                self.sealed_at.extend(ages.iter().map(sealed_at));
                self.flows_sealed_at.extend(flow_ages.iter().map(sealed_at));
            }
            _ => {}
        }
    }

    fn running_now(&mut self) -> u64 {
        let now = self.clock.now();
        let up_ms = now.up_ms();
        self.running.now(Stamp { wall: now.wall, up_ms, synchronised: self.clock.synchronised() })
    }

    /// The files that retention may choose from: finished, ours, and there.
    fn candidates(&mut self, names: &[(CaptureName, Role)]) -> Vec<Candidate> {
        let now = self.running_now();
        let there: HashSet<_> =
            names.iter().filter(|(_, role)| *role == Role::Sealed).map(|(name, _)| *name).collect();
        let files = self.catalog.captures().filter(|facts| there.contains(&facts.name));
        files
            .map(|facts| {
                let number = facts.name.number();
                let sealed_at = self.sealed_at.get(&number).copied().unwrap_or(now);
                Candidate {
                    number,
                    size: facts.size,
                    age: between(sealed_at, now),
                    held: self.catalog.is_held(facts.name),
                }
            })
            .collect()
    }

    /// Holds what people hold by now, and lets go of what they gave back.
    fn follow_markers(&mut self, names: &[(CaptureName, Role)]) -> Result<Vec<Kept>, KeepError> {
        let markers = names.iter().filter(|(_, role)| *role == Role::Hold);
        let marked: HashSet<_> = markers.map(|(name, _)| *name).collect();
        let files = names.iter().filter(|(_, role)| matches!(role, Role::Sealed | Role::Part));
        let mut kept = Vec::new();
        for &(name, _) in files {
            match (self.catalog.is_held(name), marked.contains(&name)) {
                (false, true) => {
                    self.note(Act::Hold { name })?;
                    kept.push(Kept::Held(name));
                }
                (true, false) => {
                    self.note(Act::Release { name })?;
                    kept.push(Kept::Released(name));
                }
                _ => {}
            }
        }
        Ok(kept)
    }

    fn evict(&mut self, eviction: &Eviction) -> Kept {
        let Some(facts) = self.catalog.capture(eviction.number).cloned() else {
            let name = CaptureName::new(eviction.number, 0);
            return Kept::NotEvicted(
                name,
                KeepError::Io { what: "find it".to_owned(), source: io::ErrorKind::NotFound.into() },
            );
        };
        let name = facts.name;
        self.remove(facts, eviction).unwrap_or_else(|error| Kept::NotEvicted(name, error))
    }

    fn remove(&mut self, capture: CaptureFacts, eviction: &Eviction) -> Result<Kept, KeepError> {
        let name = capture.name;
        let path = |role| self.layout.captures().join(name.file_name(role));
        let (sealed, marker) = (path(Role::Sealed), path(Role::Hold));
        let reason = eviction.reason;
        let entry = self.ledger.append(Act::Evict { capture, reason: reason.to_string() })?;
        // A person may have held it a moment ago; who holds it now looks whether it is still there.
        if self.fs.open_read(&marker).is_ok() {
            self.note(Act::Hold { name })?;
            return Ok(Kept::Held(name));
        }
        match uninterrupted(|| self.fs.remove(&sealed)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(KeepError::Io { what: format!("remove {name}"), source })
            }
            _ => {
                self.follow(&entry);
                self.sealed_at.remove(&name.number());
                Ok(Kept::Evicted(name, eviction.size, reason))
            }
        }
    }
}

/// The files of `pcaps/` or `flows/`; none where nothing was ever saved.
fn list(fs: &dyn Fs, dir: &Path) -> io::Result<Vec<crate::sys::fs::Entry>> {
    match uninterrupted(|| fs.read_dir(dir)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// A file system without these bytes of captures.
fn without(space: Space, captures: u64) -> Space {
    Space { free: space.free.saturating_add(captures), ..space }
}

/// Bytes of the capture files in a listing, the growing one left out, which is the last unfinished one, if there `is_growing`
/// one.
fn kept_bytes(listing: &[crate::sys::fs::Entry], is_growing: bool) -> u64 {
    let ours =
        || listing.iter().filter_map(|file| CaptureName::parse(&file.name).map(|name| (name, file.size)));
    let parts = ours().filter(|((_, role), _)| is_growing && *role == Role::Part);
    let growing = parts.max_by_key(|((name, _), _)| name.number()).map_or(0, |(_, size)| size);
    let captures = ours().filter(|((_, role), _)| *role != Role::Hold);
    captures.map(|(_, size)| size).sum::<u64>().saturating_sub(growing)
}
