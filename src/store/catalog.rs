//! What exists: the ledger and a listing of `pcaps/`, folded into one truth. Retention plans by it, the index
//! is filled from it, a reader without an index answers from it. Pure.
//!
//! The ledger says what happened to a file, the listing whether it is there: a file that is gone is not in
//! the catalog whatever the ledger says, and a file that is there is, even if nobody knows more of it than
//! its name. The catalog is as large as the directory, plus the last [`HISTORY`] evictions, gaps and clock
//! steps.

mod flows;

use std::collections::{BTreeMap, HashSet, VecDeque};

use self::flows::{Findings, Flows};
use super::entry::{Act, Entry};
use super::facts::{CaptureFacts, State};
use super::finding::KeptFinding;
use super::flow_facts::FlowFacts;
use super::names::{CaptureName, FlowName, Role};
use super::scan::Scan;
use crate::packet::Nanos;
use crate::sys::fs;

pub use flows::FlowRow;

/// How many evictions, gaps and clock steps are remembered.
pub const HISTORY: usize = 1_000;

/// When and why a file was evicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// The wall clock then.
    pub at: Option<Nanos>,
    /// Which limit asked for it.
    pub reason: String,
}

/// One capture file as a listing tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What is known of it.
    pub facts: CaptureFacts,
    /// Whether it is kept from retention.
    pub held: bool,
    /// Set when it is no longer there; its state is then [`State::Evicted`].
    pub evicted: Option<Eviction>,
}

/// A time in which nothing could be captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Since when, wall clock.
    pub from: Option<Nanos>,
    /// For how long, milliseconds of running time.
    pub duration_ms: u64,
    /// Why.
    pub reason: String,
}

/// A jump of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockStep {
    /// The wall clock after it.
    pub at: Option<Nanos>,
    /// By how much, milliseconds; negative is back.
    pub by_ms: i64,
}

/// A file that is there and whose facts nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown {
    /// Its name.
    pub name: CaptureName,
    /// Finished, or renamed aside as damaged.
    pub role: Role,
    /// Its length, bytes.
    pub size: u64,
}

impl Unknown {
    /// Its facts by what a scan found; none if it could not be read. What it misses nobody counted; where the
    /// sound records end before the file does, the rest is doubtful.
    pub fn facts(&self, found: Option<&Scan>) -> CaptureFacts {
        let mut facts = CaptureFacts { size: self.size, ..CaptureFacts::bare(self.name, State::Damaged) };
        let Some(found) = found else { return facts };
        facts.set_tally(&found.tally);
        if found.sound < self.size {
            facts.doubtful_from = Some(found.sound);
        } else if self.role == Role::Sealed {
            facts.state = State::Sealed;
        }
        facts
    }
}

/// A file that was not sealed: being written, or left by a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its final name.
    pub name: CaptureName,
    /// Its length, bytes.
    pub size: u64,
    /// What the ledger was told before the rename that did not happen. If `size` is the same, the rename is
    /// all that is missing, or, if the final name is there too, the removal of this one.
    pub seal: Option<CaptureFacts>,
}

/// A change of the catalog, for those who keep a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The row of its index number is now this one.
    Put(Row),
    /// There is no row of this index number any more.
    Drop(u64),
    /// One more gap, the latest.
    Gap(Gap),
    /// All gaps are forgotten.
    ClearGaps,
    /// The row of this flow file's index number is now this one.
    PutFlow(Box<FlowRow>),
    /// There is no row of a flow file of this index number any more.
    DropFlow(u64),
    /// One more finding, the latest, in the place of the one that has its id.
    Finding(KeptFinding),
    /// There is no finding of this id any more.
    DropFinding(Box<str>),
}

/// What exists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalog {
    captures: BTreeMap<u64, CaptureFacts>,
    held: HashSet<CaptureName>,
    evicted: VecDeque<(CaptureFacts, Eviction)>,
    gaps: VecDeque<Gap>,
    steps: VecDeque<ClockStep>,
    parts: Vec<Part>,
    unknown: Vec<Unknown>,
    vanished: Vec<CaptureFacts>,
    clashes: Vec<String>,
    highest: u64,
    flows: Flows,
    findings: Findings,
}

impl Catalog {
    /// Folds the ledger's entries, oldest first, and a listing of `pcaps/` made after they were read.
    pub fn new(ledger: &[Entry], listing: &[fs::Entry]) -> Self {
        let mut catalog = Self::default();
        for entry in ledger {
            catalog.apply(entry);
        }
        catalog.settle(listing);
        catalog
    }

    /// Follows one more act.
    pub fn apply(&mut self, entry: &Entry) -> Vec<Change> {
        match &entry.act {
            Act::Seal { capture } | Act::Salvage { capture, .. } | Act::Found { capture } => {
                self.put(capture.clone())
            }
            Act::Evict { capture, reason } => {
                self.evict(capture.clone(), Eviction { at: entry.at, reason: reason.clone() })
            }
            Act::Hold { name } => self.hold(*name, true),
            Act::Release { name } => self.hold(*name, false),
            Act::Gap { from, duration_ms, reason } => {
                let gap = Gap { from: *from, duration_ms: *duration_ms, reason: reason.clone() };
                remember(&mut self.gaps, gap.clone());
                vec![Change::Gap(gap)]
            }
            Act::ClockStep { by_ms } => {
                remember(&mut self.steps, ClockStep { at: entry.at, by_ms: *by_ms });
                Vec::new()
            }
            Act::Compacted { highest, .. } => {
                self.highest = self.highest.max(*highest);
                Vec::new()
            }
            Act::FlowSeal { flows } | Act::FlowSalvage { flows, .. } | Act::FlowFound { flows } => {
                self.put_flow(flows.clone())
            }
            Act::FlowEvict { flows, reason } => {
                self.flows.evict(flows.clone(), Eviction { at: entry.at, reason: reason.clone() })
            }
            Act::Finding { finding } => self.findings.put(finding.clone()),
            Act::Start { .. } | Act::Stop { .. } | Act::Damage { .. } => Vec::new(),
        }
    }

    /// Takes in a finished file: sealed, salvaged, scanned, or renamed aside. Whatever was held of its index
    /// number before is replaced.
    pub fn put(&mut self, facts: CaptureFacts) -> Vec<Change> {
        let number = facts.name.number();
        self.highest = self.highest.max(number);
        self.forget(facts.name);
        self.evicted.retain(|(gone, _)| gone.name.number() != number);
        let row = self.row(&facts);
        self.captures.insert(number, facts);
        vec![Change::Put(row)]
    }

    /// Takes in a finished flow file. Whatever was held of its index number before is replaced.
    pub fn put_flow(&mut self, facts: FlowFacts) -> Vec<Change> {
        self.flows.put(facts)
    }

    /// Holds what the ledger said of flow files against a listing of `flows/` made after it was read; returns those that the
    /// ledger knows and that are gone without an eviction. Until then the ledger is believed.
    pub fn settle_flows(&mut self, listing: &[fs::Entry]) -> Vec<FlowFacts> {
        self.flows.settle(listing)
    }

    /// Lets go of an unsealed or unknown file that is gone, or turned out to be.
    pub fn forget(&mut self, name: CaptureName) {
        self.parts.retain(|part| part.name != name);
        self.unknown.retain(|unknown| unknown.name != name);
    }

    fn evict(&mut self, facts: CaptureFacts, eviction: Eviction) -> Vec<Change> {
        let number = facts.name.number();
        self.highest = self.highest.max(number);
        self.captures.remove(&number);
        self.held.remove(&facts.name);
        self.forget(facts.name);
        self.evicted.retain(|(gone, _)| gone.name.number() != number);
        let put = Change::Put(evicted_row(&facts, &eviction));
        let dropped = remember(&mut self.evicted, (facts, eviction));
        let dropped = dropped.map(|(gone, _)| Change::Drop(gone.name.number()));
        std::iter::once(put).chain(dropped).collect()
    }

    fn hold(&mut self, name: CaptureName, held: bool) -> Vec<Change> {
        if held {
            self.held.insert(name);
        } else {
            self.held.remove(&name);
        }
        let facts = self.captures.get(&name.number()).filter(|facts| facts.name == name);
        facts.map(|facts| Change::Put(self.row(facts))).into_iter().collect()
    }

    /// Holds what the ledger said against what is there.
    fn settle(&mut self, listing: &[fs::Entry]) {
        let mut told = std::mem::take(&mut self.captures);
        self.held.clear();
        let mut files = Vec::new();
        for file in listing {
            let Some((name, role)) = CaptureName::parse(&file.name) else { continue };
            self.highest = self.highest.max(name.number());
            match role {
                Role::Hold => _ = self.held.insert(name),
                _ => files.push(Unknown { name, role, size: file.size }),
            }
        }
        // Of several finished files of one number the first is the capture: the one that the ledger names, if
        // it does.
        files.sort_by_cached_key(|file| {
            let number = file.name.number();
            let named = self.told(&told, file.name).is_some();
            (number, !named, file.role, file.name.to_string())
        });
        let mut taken = None;
        for file in files {
            let number = file.name.number();
            if file.role == Role::Part {
                let sealed = self.captures.get(&number).filter(|facts| facts.name == file.name);
                let seal = self.told(&told, file.name).or(sealed).cloned();
                self.parts.push(Part { name: file.name, size: file.size, seal });
                told.remove(&number);
            } else if taken == Some(number) {
                self.clashes.push(file.name.file_name(file.role));
            } else {
                taken = Some(number);
                self.settle_file(file, &mut told);
            }
        }
        self.vanished = told.into_values().collect();
        let held_parts = self.parts.iter().map(|part| part.name);
        let known: HashSet<_> = self.captures.values().map(|f| f.name).chain(held_parts).collect();
        let unknown: HashSet<_> = self.unknown.iter().map(|unknown| unknown.name).collect();
        self.held.retain(|name| known.contains(name) || unknown.contains(name));
    }

    fn settle_file(&mut self, file: Unknown, told: &mut BTreeMap<u64, CaptureFacts>) {
        let number = file.name.number();
        let facts = self.told(told, file.name).filter(|facts| facts.size == file.size).cloned();
        if told.get(&number).is_some_and(|facts| facts.name == file.name) {
            told.remove(&number);
        }
        // An eviction that was written down, and then the power went.
        self.evicted.retain(|(gone, _)| gone.name.number() != number);
        match facts {
            Some(mut facts) => {
                facts.state = match (file.role, facts.state) {
                    (Role::Damaged, _) => State::Damaged,
                    (_, State::Evicted | State::Recording) => State::Sealed,
                    (_, told) => told,
                };
                self.captures.insert(number, facts);
            }
            None => self.unknown.push(file),
        }
    }

    /// What the ledger told of a file, be it that it is gone.
    fn told<'a>(
        &'a self,
        told: &'a BTreeMap<u64, CaptureFacts>,
        name: CaptureName,
    ) -> Option<&'a CaptureFacts> {
        let evicted = || self.evicted.iter().map(|(facts, _)| facts).find(|facts| facts.name == name);
        told.get(&name.number()).filter(|facts| facts.name == name).or_else(evicted)
    }

    fn row(&self, facts: &CaptureFacts) -> Row {
        Row { facts: facts.clone(), held: self.held.contains(&facts.name), evicted: None }
    }

    /// The finished files that are there, lowest index number first.
    pub fn captures(&self) -> impl DoubleEndedIterator<Item = &CaptureFacts> {
        self.captures.values()
    }

    /// The finished file of an index number.
    pub fn capture(&self, number: u64) -> Option<&CaptureFacts> {
        self.captures.get(&number)
    }

    /// Whether a file is kept from retention.
    pub fn is_held(&self, name: CaptureName) -> bool {
        self.held.contains(&name)
    }

    /// The last evictions, oldest first, with what the files held.
    pub fn evicted(&self) -> impl DoubleEndedIterator<Item = &(CaptureFacts, Eviction)> {
        self.evicted.iter()
    }

    /// Every row, lowest index number first, evicted ones too.
    pub fn rows(&self) -> Vec<Row> {
        let there = self.captures.values().map(|facts| self.row(facts));
        let gone = self.evicted.iter().map(|(facts, eviction)| evicted_row(facts, eviction));
        let mut rows: Vec<_> = there.chain(gone).collect();
        rows.sort_by_key(|row| row.facts.name.number());
        rows
    }

    /// The finished flow files that are there, lowest index number first.
    pub fn flows(&self) -> impl DoubleEndedIterator<Item = &FlowFacts> {
        self.flows.there()
    }

    /// The finished flow file of an index number.
    pub fn flow(&self, number: u64) -> Option<&FlowFacts> {
        self.flows.get(number)
    }

    /// Every row of a flow file, lowest index number first, the last [`HISTORY`] evicted ones too.
    pub fn flow_rows(&self) -> Vec<FlowRow> {
        self.flows.rows()
    }

    /// Flow files to be read, with their sizes: unknown to the ledger, or of another size than it says. For one who puts
    /// each of them; there are none then.
    pub fn take_unknown_flows(&mut self) -> Vec<(FlowName, u64)> {
        self.flows.take_unknown()
    }

    /// The latest findings, those that came or grew last at the end.
    pub fn findings(&self) -> impl DoubleEndedIterator<Item = &KeptFinding> {
        self.findings.iter()
    }

    /// The last gaps, oldest first.
    pub fn gaps(&self) -> impl DoubleEndedIterator<Item = &Gap> {
        self.gaps.iter()
    }

    /// The last clock steps, oldest first.
    pub fn steps(&self) -> impl DoubleEndedIterator<Item = &ClockStep> {
        self.steps.iter()
    }

    /// Files that were not sealed when the listing was made and have not been dealt with since, lowest index
    /// number first.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Files to be scanned: unknown to the ledger, or of another size than it says. [`Catalog::put`] takes
    /// the result, [`Catalog::forget`] takes note that there is none.
    pub fn unknown(&self) -> &[Unknown] {
        &self.unknown
    }

    /// [`Catalog::unknown`], for one who puts or forgets each of them; there are none then.
    pub fn take_unknown(&mut self) -> Vec<Unknown> {
        std::mem::take(&mut self.unknown)
    }

    /// Files that the ledger knows and that are gone without an eviction: removed by hand.
    pub fn vanished(&self) -> &[CaptureFacts] {
        &self.vanished
    }

    /// Files whose index number another file has; they are left alone.
    pub fn clashes(&self) -> &[String] {
        &self.clashes
    }

    /// The highest index number ever seen, in names or in the ledger; 0 before the first.
    pub fn highest(&self) -> u64 {
        self.highest
    }
}

fn evicted_row(facts: &CaptureFacts, eviction: &Eviction) -> Row {
    let facts = CaptureFacts { state: State::Evicted, ..facts.clone() };
    Row { facts, held: false, evicted: Some(eviction.clone()) }
}

/// Appends, and returns what had to go for it.
fn remember<T>(history: &mut VecDeque<T>, item: T) -> Option<T> {
    history.push_back(item);
    (history.len() > HISTORY).then(|| history.pop_front()).flatten()
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
pub(crate) mod tests;
