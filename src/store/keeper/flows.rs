//! The keeper's part in flow files: reads those that the ledger does not know, and carries their retention out.

use std::collections::{BTreeSet, HashSet};
use std::io;

use super::{KeepError, Keeper, Kept, list};
use crate::store::age::between;
use crate::store::entry::Act;
use crate::store::flow_facts::FlowFacts;
use crate::store::flow_file::facts_of;
use crate::store::names::{FlowName, FlowRole};
use crate::store::retention::{self, Candidate, Eviction, FlowLimits, MinFree};
use crate::sys::fs::{Space, uninterrupted};

impl Keeper {
    /// Changes what retention allows of flow files; without limits none is evicted, as at the start.
    pub fn set_flow_limits(&mut self, limits: Option<FlowLimits>) {
        self.flow_limits = limits;
    }

    /// Takes in one more flow file that the ledger does not know.
    pub(super) fn reconcile_flows(&mut self) -> Option<Kept> {
        let (name, size) = self.unknown_flows.pop_front()?;
        if self.catalog.flow(name.number()).is_some_and(|facts| facts.name == name) {
            // Its seal has been told meanwhile.
            return Some(Kept::FlowFound(name));
        }
        let path = self.layout.flows().join(name.to_string());
        let facts = match uninterrupted(|| self.fs.open_read(&path)) {
            Ok(file) => facts_of(file.as_ref(), name, size),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Some(Kept::FlowVanished(name)),
            Err(_) => FlowFacts { size, ..FlowFacts::bare(name, crate::store::facts::State::Damaged) },
        };
        // Should the ledger refuse, the file is read again at the next start.
        let _ = self.ledger.append(Act::FlowFound { flows: facts.clone() });
        let now = self.running_now();
        self.flows_sealed_at.entry(name.number()).or_insert(now);
        self.changes.extend(self.catalog.put_flow(facts));
        Some(Kept::FlowFound(name))
    }

    /// Evicts the flow files that must go. `min_free` is set where there are no captures that could make room.
    pub(super) fn enforce_flows(&mut self, space: Space, min_free: Option<MinFree>) -> Vec<Kept> {
        let Some(limits) = self.flow_limits else { return Vec::new() };
        let Ok(names) = self.flow_names() else { return Vec::new() };
        let growing = uninterrupted(|| self.fs.open_read(&self.layout.flow_file()));
        let growing = growing.and_then(|file| file.len()).unwrap_or(0);
        let plan = retention::plan_flows(&self.flow_candidates(&names), &limits, growing, space, min_free);
        if plan.is_empty() {
            return Vec::new();
        }
        let kept = plan.iter().map(|eviction| self.evict_flow(eviction)).collect();
        // Should that fail, a power cut may bring files back, and the next plan chooses them again.
        let _ = uninterrupted(|| self.fs.sync_dir(&self.layout.flows()));
        kept
    }

    /// Index numbers and ages, milliseconds, of the flow files that exist, at the running time `now`.
    pub(super) fn flow_ages(&self, now: u64) -> io::Result<Vec<(u64, u64)>> {
        // What lies there may be on its way to the catalog, and what the ledger tells of it is needed.
        let there = self.flow_names()?;
        let numbers = there.iter().copied().chain(self.catalog.flows().map(|facts| facts.name));
        let numbers: BTreeSet<_> = numbers.map(FlowName::number).collect();
        let sealed_at = |number: &u64| self.flows_sealed_at.get(number).copied().unwrap_or(now);
        Ok(numbers.iter().map(|number| (*number, now.saturating_sub(sealed_at(number)))).collect())
    }

    fn flow_names(&self) -> io::Result<HashSet<FlowName>> {
        let listing = list(self.fs.as_ref(), &self.layout.flows())?;
        let names = listing.iter().filter_map(|file| FlowName::parse(&file.name));
        Ok(names.filter(|(_, role)| *role == FlowRole::Sealed).map(|(name, _)| name).collect())
    }

    fn flow_candidates(&mut self, there: &HashSet<FlowName>) -> Vec<Candidate> {
        let now = self.running_now();
        let files = self.catalog.flows().filter(|facts| there.contains(&facts.name));
        files
            .map(|facts| {
                let number = facts.name.number();
                let sealed_at = self.flows_sealed_at.get(&number).copied().unwrap_or(now);
                Candidate { number, size: facts.size, age: between(sealed_at, now), held: false }
            })
            .collect()
    }

    fn evict_flow(&mut self, eviction: &Eviction) -> Kept {
        let Some(facts) = self.catalog.flow(eviction.number).cloned() else {
            let source = io::ErrorKind::NotFound.into();
            let error = KeepError::Io { what: "find it".to_owned(), source };
            return Kept::FlowNotEvicted(FlowName::new(eviction.number, 0), error);
        };
        let (name, path) = (facts.name, self.layout.flows().join(facts.name.to_string()));
        let entry = self.ledger.append(Act::FlowEvict { flows: facts, reason: eviction.reason.to_string() });
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return Kept::FlowNotEvicted(name, error.into()),
        };
        match uninterrupted(|| self.fs.remove(&path)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Kept::FlowNotEvicted(name, KeepError::Io { what: format!("remove {name}"), source })
            }
            _ => {
                self.follow(&entry);
                self.flows_sealed_at.remove(&name.number());
                Kept::FlowEvicted(name, eviction.size, eviction.reason)
            }
        }
    }
}
