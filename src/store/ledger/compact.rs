//! What a compaction keeps: a pure choice.

use std::collections::{BTreeMap, BTreeSet};

use super::super::catalog::HISTORY;
use super::super::entry::Act;
use super::super::finding::MAX_FINDINGS;
use super::super::names::CaptureName;
use super::load::Contents;

/// Evictions that stay listed; likewise.
const EVICTIONS: usize = HISTORY;
/// Gaps that stay listed; as many as a catalog remembers.
const GAPS: usize = HISTORY;
/// Clock steps, stops and damage to other than capture files, together.
const NOTES: usize = 100;
/// Entries of one capture file's damage.
const DAMAGES: usize = 10;
/// Entries that this version cannot read.
const UNKNOWN: usize = 1000;

/// Which lines to keep, by their place, if the capture files and the flow files with these index numbers exist.
pub(super) fn survivors(contents: &Contents, existing: &BTreeSet<u64>, flows: &BTreeSet<u64>) -> Vec<bool> {
    let mut choice = Choice::new(existing, flows);
    let mut kept: Vec<_> = contents
        .lines
        .iter()
        .rev()
        .map(|line| choice.keeps(line.entry.as_ref().map(|entry| &entry.act)))
        .collect();
    kept.reverse();
    kept
}

/// What was kept so far, from the latest entry backwards.
struct Choice<'a> {
    existing: &'a BTreeSet<u64>,
    start: bool,
    highest: u64,
    sealed: BTreeSet<u64>,
    held: BTreeSet<u64>,
    evicted: BTreeSet<u64>,
    evictions: usize,
    damages: BTreeMap<u64, usize>,
    gaps: usize,
    notes: usize,
    unknown: usize,
    flows: &'a BTreeSet<u64>,
    flows_sealed: BTreeSet<u64>,
    flows_evicted: BTreeSet<u64>,
    flow_evictions: usize,
    findings: BTreeSet<Box<str>>,
}

impl<'a> Choice<'a> {
    fn new(existing: &'a BTreeSet<u64>, flows: &'a BTreeSet<u64>) -> Self {
        Self {
            existing,
            start: false,
            highest: existing.last().copied().unwrap_or(0),
            sealed: BTreeSet::new(),
            held: BTreeSet::new(),
            evicted: BTreeSet::new(),
            evictions: 0,
            damages: BTreeMap::new(),
            gaps: 0,
            notes: 0,
            unknown: 0,
            flows,
            flows_sealed: BTreeSet::new(),
            flows_evicted: BTreeSet::new(),
            flow_evictions: 0,
            findings: BTreeSet::new(),
        }
    }

    fn keeps(&mut self, act: Option<&Act>) -> bool {
        match act {
            None => within(&mut self.unknown, UNKNOWN),
            Some(Act::Start { .. }) => !std::mem::replace(&mut self.start, true),
            Some(Act::Seal { capture } | Act::Salvage { capture, .. } | Act::Found { capture }) => {
                self.may_exist(capture.name.number()) && self.sealed.insert(capture.name.number())
            }
            Some(Act::Hold { name } | Act::Release { name }) => {
                self.may_exist(name.number()) && self.held.insert(name.number())
            }
            Some(Act::Evict { capture, .. }) => {
                self.evicted.insert(capture.name.number()) && within(&mut self.evictions, EVICTIONS)
            }
            Some(Act::Damage { file, .. }) => match CaptureName::parse(file) {
                Some((name, _)) => {
                    self.may_exist(name.number())
                        && within(self.damages.entry(name.number()).or_default(), DAMAGES)
                }
                None => within(&mut self.notes, NOTES),
            },
            Some(Act::Gap { .. }) => within(&mut self.gaps, GAPS),
            Some(Act::Stop { .. } | Act::ClockStep { .. }) => within(&mut self.notes, NOTES),
            Some(Act::Compacted { .. }) => false,
            Some(Act::FlowSeal { flows } | Act::FlowSalvage { flows, .. } | Act::FlowFound { flows }) => {
                self.flows_may_exist(flows.name.number()) && self.flows_sealed.insert(flows.name.number())
            }
            Some(Act::FlowEvict { flows, .. }) => {
                self.flows_evicted.insert(flows.name.number()) && within(&mut self.flow_evictions, EVICTIONS)
            }
            Some(Act::Finding { finding }) => {
                !self.findings.contains(finding.id())
                    && self.findings.len() < MAX_FINDINGS
                    && self.findings.insert(finding.id().into())
            }
        }
    }

    /// As [`Choice::may_exist`], of flow files.
    fn flows_may_exist(&self, number: u64) -> bool {
        let younger = self.flows.last().is_none_or(|&last| number > last);
        self.flows.contains(&number) || (younger && !self.flows_evicted.contains(&number))
    }

    /// Whether there is such a file, or it is on its way to its final name: told of, and younger than any that
    /// is known to exist.
    fn may_exist(&self, number: u64) -> bool {
        self.existing.contains(&number) || (number > self.highest && !self.evicted.contains(&number))
    }
}

/// Counts one more if there are fewer than `limit`.
fn within(count: &mut usize, limit: usize) -> bool {
    let keeps = *count < limit;
    *count += usize::from(keeps);
    keeps
}
