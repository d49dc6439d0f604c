//! Every flow file of a data directory, the growing one included: from the index where it agrees with the directory, else from the
//! ledger, else from the file itself.

use std::collections::HashMap;
use std::io;

use super::query::Reader;
use crate::store::catalog::{Catalog, FlowRow};
use crate::store::entry::Entry;
use crate::store::facts::State;
use crate::store::flow_facts::FlowFacts;
use crate::store::flow_file::{FlowSource, facts_of, flow_sources};
use crate::store::layout::Layout;
use crate::store::losses::Losses;
use crate::store::names::FlowName;
use crate::store::range::TimeRange;
use crate::sys::fs::Fs;

/// The flow files, lowest index number first, those evicted of late included; the growing one comes last. What is unknown of the losses
/// of the growing one is unknown here.
///
/// # Errors
/// If they cannot be listed.
pub fn flow_files(
    layout: &Layout,
    fs: &dyn Fs,
    ledger: &dyn Fn() -> Result<Vec<Entry>, String>,
) -> io::Result<Vec<FlowRow>> {
    let sources = flow_sources(fs, layout)?;
    let agrees = |rows: &[FlowRow]| {
        let known: HashMap<_, _> = rows.iter().map(|row| (row.facts.name, row.facts.size)).collect();
        sources
            .iter()
            .filter_map(|source| Some((source.name?, source.size)))
            .all(|(name, size)| known.get(&name) == Some(&size))
    };
    let indexed = Reader::open(&layout.index()).and_then(|index| index.flow_files(TimeRange::ALL, true));
    let mut rows = indexed.ok().filter(|rows| agrees(rows)).unwrap_or_else(|| from_ledger(ledger));
    let known: HashMap<_, _> = rows.iter().map(|row| (row.facts.name.number(), row.facts.size)).collect();
    for source in sources {
        if source.name.is_none() || known.get(&source.number) != Some(&source.size) {
            rows.retain(|row| row.facts.name.number() != source.number);
            rows.extend(read(source, fs).map(|facts| FlowRow { facts, evicted: None }));
        }
    }
    rows.sort_by_key(|row| row.facts.name.number());
    Ok(rows)
}

fn from_ledger(ledger: &dyn Fn() -> Result<Vec<Entry>, String>) -> Vec<FlowRow> {
    ledger().map(|entries| Catalog::new(&entries, &[]).flow_rows()).unwrap_or_default()
}

/// What the file itself tells.
fn read(source: FlowSource, fs: &dyn Fs) -> Option<FlowFacts> {
    let (number, name) = (source.number, source.name);
    let (file, size) = source.open(fs).ok()?;
    let mut facts = facts_of(&*file, name.unwrap_or_else(|| FlowName::new(number, 0)), size);
    if name.is_none() {
        (facts.state, facts.losses) = (State::Recording, Losses::UNKNOWN);
    }
    Some(facts)
}
