//! Traffic over time. The index knows of a capture file when it begins and ends, and how much is in it: as fine as a busy tap's
//! files are short. Where they are long the stamps of their packets are read, those first of which a byte tells of the most time, up
//! to a bound; the others count as if their packets had come evenly, and the answer tells how many and how long these are.

mod steps;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

pub use steps::{Known, Step, Steps};

use super::flows::{FlowQuestion, Item, flows};
use crate::capture::replay::Import;
use crate::flow::record::FlowRecord;
use crate::flow::summary::Count;
use crate::packet::Nanos;
use crate::store::catalog::Row;
use crate::store::facts::CaptureFacts;
use crate::store::layout::Layout;
use crate::store::progress::{Walk, Watch};
use crate::store::range::TimeRange;
use crate::store::scan::{Reader, ScanError};
use crate::sys::fs::Fs;

/// Bytes of capture files that are read only to tell more finely when their packets came.
const READ: u64 = 256_000_000;

/// Which traffic.
pub struct Traffic<'a> {
    /// Where the data directory is.
    pub layout: &'a Layout,
    /// Through what it is read.
    pub fs: &'a dyn Fs,
    /// Which packets count.
    pub range: TimeRange,
    /// Capture files of the data directory that are there.
    pub captures: Vec<&'a CaptureFacts>,
    /// Capture files from elsewhere.
    pub others: Vec<&'a Path>,
    /// Capture files that are evicted, if flow records are to stand for their packets and for those that were never written.
    pub evicted: Option<Vec<&'a Row>>,
}

/// What an answer rests on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Basis {
    /// Files of which every packet's stamp was read.
    pub read: usize,
    /// Files whose packets count as if they had come evenly.
    pub even: usize,
    /// The longest time of one of these.
    pub longest: Nanos,
    /// Flow records that were counted, each as if its packets had come evenly.
    pub records: u64,
}

impl Traffic<'_> {
    /// Counts into all of these; a step of the first is as fine as it needs to be. What cannot be read was told by the
    /// [analysis](super::analysis). What whoever waits has given up is worth nothing.
    pub fn count(&self, into: &mut [Steps], watch: Watch<'_>) -> Basis {
        let fine = into.first().map_or(Nanos::MAX, Steps::width);
        let (chosen, even) = choose(&self.captures, fine, self.range);
        let mut basis = Basis { even: even.len(), ..Basis::default() };
        for facts in even {
            let (Some(first), Some(last)) = (facts.first, facts.last) else { continue };
            basis.longest = basis.longest.max(last.saturating_sub(first));
            spread(into, (first, last), Count { packets: facts.packets, bytes: facts.bytes }, Known::Packets);
        }
        let size = |path: &&Path| path.metadata().map_or(0, |meta| meta.len());
        let own: u64 = chosen.iter().map(|facts| facts.size).sum();
        let mut walk = Walk::new(own + self.others.iter().map(size).sum::<u64>(), watch);
        for facts in chosen {
            walk.begin(facts.size);
            // What is damaged further on counts up to there, as it does in every other answer.
            let _ = self.own(facts, into, &mut walk);
            basis.read += 1;
        }
        for path in &self.others {
            walk.begin(size(path));
            self.other(path, into, &mut walk);
            basis.read += 1;
        }
        if let Some(evicted) = self.evicted.as_ref().filter(|_| !walk.is_given_up()) {
            basis.records = self.records(evicted, into, watch);
        }
        basis
    }

    fn packet(&self, at: Nanos, wire_len: u32, into: &mut [Steps]) {
        if self.range.contains(at) {
            into.iter_mut().for_each(|steps| steps.add(at, Count::of(wire_len), Known::Packets));
        }
    }

    fn own(&self, facts: &CaptureFacts, into: &mut [Steps], walk: &mut Walk<'_>) -> Result<(), ScanError> {
        let opened = self.layout.open_capture(self.fs, facts.name);
        let (file, _) = opened.map_err(|source| ScanError::Io { offset: 0, source })?;
        let mut reader = Reader::open(&*file)?;
        let precision = reader.format().precision;
        while let Some((offset, frame)) = reader.next_record()? {
            self.packet(frame.nanos(precision), frame.wire_len, into);
            if !walk.record(|| offset) {
                break;
            }
        }
        Ok(())
    }

    fn other(&self, path: &Path, into: &mut [Steps], walk: &mut Walk<'_>) {
        let Ok(mut import) = Import::open(path) else { return };
        while let Ok(Some(packet)) = import.next() {
            self.packet(packet.frame.nanos(packet.precision), packet.frame.wire_len, into);
            if !walk.record(|| import.position()) {
                break;
            }
        }
    }

    /// Counts flows of whose packets nothing else tells.
    fn records(&self, evicted: &[&Row], into: &mut [Steps], watch: Watch<'_>) -> u64 {
        let evicted: HashSet<_> = evicted.iter().map(|row| row.facts.name.number()).collect();
        let Self { layout, fs, range, .. } = *self;
        let without = HashSet::new();
        let question = FlowQuestion { layout, fs, range, needles: Vec::new(), begun: None, without, watch };
        let mut counted = 0;
        let is_gone = |record: &FlowRecord| {
            record.captures.last_place().is_none_or(|place| evicted.contains(&place.file))
        };
        let _ = flows(&question, |item| {
            if let Item::Record(record) = item
                && is_gone(&record)
            {
                let sum = Count {
                    packets: record.orig_packets + record.resp_packets,
                    bytes: record.orig_bytes + record.resp_bytes,
                };
                spread(into, (record.start, record.end), sum, Known::Records);
                counted += 1;
            }
            true
        });
        counted
    }
}

fn spread(into: &mut [Steps], (first, last): (Nanos, Nanos), count: Count, known: Known) {
    into.iter_mut().for_each(|steps| steps.spread(first, last, count, known));
}

/// Which files are read, and which count as if their packets had come evenly: those shorter than a step, and what the bound leaves.
/// A file that the range cuts is read in any case.
fn choose<'a>(
    files: &[&'a CaptureFacts],
    fine: Nanos,
    range: TimeRange,
) -> (Vec<&'a CaptureFacts>, Vec<&'a CaptureFacts>) {
    let span = |facts: &CaptureFacts| facts.first.zip(facts.last).map(|(a, b)| b.saturating_sub(a));
    let is_cut = |facts: &CaptureFacts| {
        facts.first.zip(facts.last).is_some_and(|(a, b)| !range.contains(a) || !range.contains(b))
    };
    let (mut read, whole): (Vec<_>, Vec<_>) = files.iter().copied().partition(|facts| is_cut(facts));
    let (mut long, mut even): (Vec<_>, Vec<_>) =
        whole.into_iter().partition(|facts| span(facts).is_some_and(|span| span > fine));
    long.sort_by(|a, b| {
        let per_time = |facts: &CaptureFacts| facts.size as f64 / span(facts).unwrap_or(1).max(1) as f64;
        per_time(a).total_cmp(&per_time(b)).then_with(|| a.name.number().cmp(&b.name.number()))
    });
    let mut left = READ;
    for facts in long {
        match left.checked_sub(facts.size) {
            Some(rest) => {
                left = rest;
                read.push(facts);
            }
            None => even.push(facts),
        }
    }
    (read, even)
}

/// Parts names into those of the data directory and others.
///
/// # Errors
/// If one is not there.
pub fn own_and_others<'a>(
    layout: &Layout,
    fs: &dyn Fs,
    files: &'a [PathBuf],
) -> Result<(HashSet<u64>, Vec<&'a Path>), super::analysis::AnalysisError> {
    let (mut own, mut others) = (HashSet::new(), Vec::new());
    for path in files {
        match super::analysis::named(layout, fs, path)? {
            super::analysis::Named::Own(name) => _ = own.insert(name.number()),
            super::analysis::Named::Foreign { .. } => others.push(path.as_path()),
        }
    }
    Ok((own, others))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::facts::State;
    use crate::store::names::CaptureName;

    fn facts(number: u64, size: u64, first: Nanos, last: Nanos) -> CaptureFacts {
        let bare = CaptureFacts::bare(CaptureName::new(number, 0), State::Sealed);
        CaptureFacts { size, first: Some(first), last: Some(last), ..bare }
    }

    fn numbers(files: &[&CaptureFacts]) -> Vec<u64> {
        files.iter().map(|facts| facts.name.number()).collect()
    }

    #[test]
    fn long_files_are_read_up_to_a_bound_quiet_ones_first() {
        let files = [
            facts(1, READ, 0, 5),
            facts(2, READ, 0, 100),
            facts(3, 10, 100, 200),
            facts(4, 10, 200, 300),
            facts(5, READ / 2, 300, 400),
        ];
        let files: Vec<_> = files.iter().collect();
        let (read, even) = choose(&files, 10, TimeRange::ALL);
        assert_eq!((numbers(&read), numbers(&even)), (vec![3, 4, 5], vec![1, 2]));
        // What the range cuts must be read.
        let (read, even) = choose(&files, 1_000, TimeRange { since: Some(50), until: None });
        assert_eq!((numbers(&read), numbers(&even)), (vec![1, 2], vec![3, 4, 5]));
    }
}
