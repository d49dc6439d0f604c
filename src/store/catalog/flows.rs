//! The flow files and the findings of a catalog. Pure.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::{Change, Eviction, remember};
use crate::store::facts::State;
use crate::store::finding::{KeptFinding, MAX_FINDINGS};
use crate::store::flow_facts::FlowFacts;
use crate::store::names::{FlowName, FlowRole};
use crate::sys::fs;

/// One flow file as a listing tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowRow {
    /// What is known of it.
    pub facts: FlowFacts,
    /// Set when it is no longer there; its state is then [`State::Evicted`].
    pub evicted: Option<Eviction>,
}

/// The flow files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Flows {
    there: BTreeMap<u64, FlowFacts>,
    evicted: VecDeque<(FlowFacts, Eviction)>,
    /// There, and nobody knows more of them than name and size.
    unknown: Vec<(FlowName, u64)>,
}

impl Flows {
    pub(super) fn put(&mut self, facts: FlowFacts) -> Vec<Change> {
        let number = facts.name.number();
        self.unknown.retain(|(name, _)| name.number() != number);
        self.evicted.retain(|(gone, _)| gone.name.number() != number);
        self.there.insert(number, facts.clone());
        vec![Change::PutFlow(Box::new(FlowRow { facts, evicted: None }))]
    }

    pub(super) fn evict(&mut self, facts: FlowFacts, eviction: Eviction) -> Vec<Change> {
        let number = facts.name.number();
        self.there.remove(&number);
        self.unknown.retain(|(name, _)| name.number() != number);
        self.evicted.retain(|(gone, _)| gone.name.number() != number);
        let put = Change::PutFlow(Box::new(evicted_row(&facts, &eviction)));
        let dropped = remember(&mut self.evicted, (facts, eviction));
        let dropped = dropped.map(|(gone, _)| Change::DropFlow(gone.name.number()));
        std::iter::once(put).chain(dropped).collect()
    }

    /// Holds what the ledger said against what is there; returns the facts of files that are gone without an eviction.
    pub(super) fn settle(&mut self, listing: &[fs::Entry]) -> Vec<FlowFacts> {
        let mut told = std::mem::take(&mut self.there);
        self.unknown.clear();
        let parsed = listing.iter().filter_map(|file| Some((FlowName::parse(&file.name)?, file.size)));
        let sealed = parsed.filter(|((_, role), _)| *role == FlowRole::Sealed);
        for (name, size) in sealed.map(|((name, _), size)| (name, size)) {
            let known = told.get(&name.number()).or_else(|| {
                let evicted = self.evicted.iter().map(|(facts, _)| facts);
                evicted.rev().find(|facts| facts.name.number() == name.number())
            });
            let known = known.filter(|facts| facts.name == name && facts.size == size).cloned();
            told.remove(&name.number());
            // An eviction that was written down, and then the power went.
            self.evicted.retain(|(gone, _)| gone.name.number() != name.number());
            match known {
                Some(facts) => _ = self.there.insert(name.number(), facts),
                None => self.unknown.push((name, size)),
            }
        }
        self.unknown.sort_by_key(|(name, _)| name.number());
        // What is told of and younger than all that is there may be on its way.
        let youngest = listing
            .iter()
            .filter_map(|file| FlowName::parse(&file.name))
            .map(|(name, _)| name.number())
            .max();
        told.into_values().filter(|facts| Some(facts.name.number()) < youngest).collect()
    }

    pub(super) fn take_unknown(&mut self) -> Vec<(FlowName, u64)> {
        std::mem::take(&mut self.unknown)
    }

    pub(super) fn there(&self) -> impl DoubleEndedIterator<Item = &FlowFacts> {
        self.there.values()
    }

    pub(super) fn get(&self, number: u64) -> Option<&FlowFacts> {
        self.there.get(&number)
    }

    pub(super) fn rows(&self) -> Vec<FlowRow> {
        let there = self.there.values().map(|facts| FlowRow { facts: facts.clone(), evicted: None });
        let gone = self.evicted.iter().map(|(facts, eviction)| evicted_row(facts, eviction));
        let mut rows: Vec<_> = there.chain(gone).collect();
        rows.sort_by_key(|row| row.facts.name.number());
        rows
    }
}

fn evicted_row(facts: &FlowFacts, eviction: &Eviction) -> FlowRow {
    let facts = FlowFacts { state: State::Evicted, ..facts.clone() };
    FlowRow { facts, evicted: Some(eviction.clone()) }
}

/// The latest findings, each once.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    by_age: BTreeMap<u64, KeptFinding>,
    ages: HashMap<Box<str>, u64>,
    next: u64,
}

/// What counts is which findings there are, and in which order they came or grew last.
impl PartialEq for Findings {
    fn eq(&self, other: &Self) -> bool {
        self.by_age.values().eq(other.by_age.values())
    }
}

impl Eq for Findings {}

impl Findings {
    /// Takes in a finding in the place of the one that has its id; the oldest goes if there are too many.
    pub(super) fn put(&mut self, finding: KeptFinding) -> Vec<Change> {
        let age = self.next;
        self.next += 1;
        if let Some(before) = self.ages.insert(finding.id().into(), age) {
            self.by_age.remove(&before);
        }
        let change = Change::Finding(finding.clone());
        self.by_age.insert(age, finding);
        let oldest = if self.by_age.len() > MAX_FINDINGS { self.by_age.pop_first() } else { None };
        if let Some((_, gone)) = &oldest {
            self.ages.remove(gone.id());
        }
        let dropped = oldest.map(|(_, gone)| Change::DropFinding(gone.id().into()));
        std::iter::once(change).chain(dropped).collect()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &KeptFinding> {
        self.by_age.values()
    }
}
