//! What the captures amount to: protocols, endpoints, conversations over the data directory or over named files. The one place
//! that answers this, for every command.
//!
//! Summaries from the index where there are; packets only of the growing file, of files that the time range cuts and of files
//! that have no summary. Both ways give the same answer, for a summary is what the packets give; so an index that is missing or
//! stale costs time, not truth. A file is counted by itself: what an earlier file told of a conversation is not known in the
//! next. The packets before a range, in the same file, are.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use super::count::{Counter, count_beside};
use super::flows::{FlowQuestion, Item, flows};
use super::from_flows::FromFlows;
use super::query::Reader as Index;
use super::summaries::Sizes;
use super::view::{View, ViewError, Viewer};
use crate::capture::replay::{Import, ImportError};
use crate::flow::summary::{Merged, Probe, SummaryLimits, Wanted};
use crate::packet::Nanos;
use crate::store::catalog::{FlowRow, Row};
use crate::store::entry::Entry;
use crate::store::facts::{CaptureFacts, State};
use crate::store::layout::Layout;
use crate::store::losses::Losses;
use crate::store::names::CaptureName;
use crate::store::progress::{Walk, Watch};
use crate::store::range::TimeRange;
use crate::store::scan::{End, ScanError};
use crate::sys::fs::Fs;

/// A question to the captures.
pub struct Question<'a> {
    /// Where the data directory is.
    pub layout: &'a Layout,
    /// Through what it is read.
    pub fs: &'a dyn Fs,
    /// Reads the ledger; asked only when the index does not answer. A failure, in words, becomes a note.
    pub ledger: &'a dyn Fn() -> Result<Vec<Entry>, String>,
    /// Which packets count.
    pub range: TimeRange,
    /// What is asked for.
    pub wanted: Wanted,
    /// Leaves out files that can hold none of these, unless there are none of these. Rows of others are not sorted out.
    pub only: Vec<Probe>,
    /// How exact the service counts a file of the data directory.
    pub limits: SummaryLimits,
    /// What the running service tells of the file that it records: its index number and what it misses.
    pub recording: Option<(u64, Losses)>,
    /// Who waits for it, or has more to do than that: called before each file whose packets are read and every few milliseconds
    /// while they are; `false` gives the answer up.
    pub watch: Watch<'a>,
}

/// An answer.
#[derive(Debug)]
pub struct Analysis {
    /// What was counted.
    pub merged: Merged,
    /// From when on the packets are there: the range's begin, or the first stamp of the first file.
    pub from: Option<Nanos>,
    /// To when: the range's end (which is not in it), or the last stamp of the last file.
    pub to: Option<Nanos>,
    /// What the files miss. Of a file from elsewhere nobody knows.
    pub losses: Losses,
    /// How many files were counted.
    pub files: usize,
    /// Of how many of these the packets had to be read.
    pub read: usize,
    /// Files of the range whose packets are evicted, lowest index number first: only flow records tell of them.
    pub evicted: Vec<Row>,
    /// Flow files of packets that no capture file was written of, and that the range cuts: only their records tell of these.
    pub cut_flows: Vec<FlowRow>,
    /// Flow records that were counted, since nothing else tells of their packets.
    pub flows: u64,
    /// From the first to the last stamp of all files of the data directory, whatever the range.
    pub kept: Option<(Nanos, Nanos)>,
    /// Whether a file, or a part of it, could not be read.
    pub damaged: bool,
    /// Whether it was given up, and is worth nothing.
    pub given_up: bool,
    /// What whoever asked should know, each a sentence.
    pub notes: Vec<String>,
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnalysisError {
    /// The data directory cannot be listed.
    #[error(transparent)]
    View(#[from] ViewError),
    /// A named file is not there.
    #[error("find {}: it is neither in {} nor a path to a file", path.display(), captures.display())]
    Missing {
        /// As it was named.
        path: PathBuf,
        /// Where files of that kind of name are.
        captures: PathBuf,
    },
    /// A named file is none that can be read to its end.
    #[error("read {}: it is no regular file; save it to one, or replay it", path.display())]
    NoFile {
        /// As it was named.
        path: PathBuf,
    },
    /// A named file is gone.
    #[error("{name} was evicted{}: {reason}; its packets are gone, `tapkeep flows` has its flows", at_text(*at))]
    Evicted {
        /// Its name.
        name: CaptureName,
        /// When.
        at: Option<Nanos>,
        /// Why.
        reason: String,
    },
    /// A file from elsewhere cannot be read.
    #[error(transparent)]
    Import(#[from] ImportError),
}

fn at_text(at: Option<Nanos>) -> String {
    at.map(|at| format!(" at {}", crate::store::facts::rfc3339(at))).unwrap_or_default()
}

/// Answers over all files of the data directory.
///
/// # Errors
/// If the directory cannot be listed. What else goes wrong is in the answer's notes.
pub fn over_data_dir(question: &Question<'_>) -> Result<Analysis, AnalysisError> {
    let view = question.look()?;
    let mut answer = Answer::new(question, view.notes.clone());
    answer.analysis.kept = view.kept();
    let touched =
        |row: &&Row| row.facts.first.zip(row.facts.last).is_some_and(|(a, b)| question.range.touches(a, b));
    answer.own(view.rows.iter().filter(touched));
    if !answer.analysis.given_up {
        let counted = answer.flow_files();
        answer.records(&counted);
    }
    Ok(answer.analysis)
}

/// Answers over these files, each a bare name from the data directory or the path of any capture file.
///
/// # Errors
/// If a file is not there or is no capture file. One that is damaged is counted up to there.
pub fn over_files(question: &Question<'_>, files: &[PathBuf]) -> Result<Analysis, AnalysisError> {
    let mut view = None;
    let mut answer = Answer::new(question, Vec::new());
    let kinds = files.iter().map(|path| named(question.layout, question.fs, path));
    let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
    answer.walk.extend(kinds.iter().map(Named::foreign_size).sum());
    for (path, named) in files.iter().zip(kinds) {
        match named {
            Named::Own(name) => {
                let view = match &mut view {
                    Some(view) => view,
                    none => {
                        let found = question.look()?;
                        answer.analysis.notes.extend(found.notes.iter().cloned());
                        none.insert(found)
                    }
                };
                answer.own_named(name, view)?;
            }
            Named::Foreign { size } => answer.foreign(path, size)?,
        }
    }
    Ok(answer.analysis)
}

/// What a file is that somebody has named.
pub(super) enum Named {
    Own(CaptureName),
    /// With its length, bytes.
    Foreign {
        size: u64,
    },
}

impl Named {
    /// Bytes of it if it is from elsewhere.
    pub(super) fn foreign_size(&self) -> u64 {
        match self {
            Self::Own(_) => 0,
            Self::Foreign { size } => *size,
        }
    }
}

/// A bare name of the data directory, or the path of any file.
pub(super) fn named(layout: &Layout, fs: &dyn Fs, path: &Path) -> Result<Named, AnalysisError> {
    if let Some(name) = layout.own_named(fs, path) {
        return Ok(Named::Own(name));
    }
    let (path_owned, captures) = (|| path.to_owned(), || layout.captures());
    match path.metadata() {
        Err(_) => Err(AnalysisError::Missing { path: path_owned(), captures: captures() }),
        Ok(meta) if !meta.is_file() && !meta.is_dir() => Err(AnalysisError::NoFile { path: path_owned() }),
        Ok(meta) => Ok(Named::Foreign { size: meta.len() }),
    }
}

impl Question<'_> {
    fn look(&self) -> Result<View, ViewError> {
        let Self { layout, fs, ledger, watch, .. } = *self;
        Viewer { layout, fs, ledger }.look_beside(watch)
    }

    /// Whether every packet from `first` to `last` counts.
    fn covers(&self, first: Nanos, last: Nanos) -> bool {
        self.range.contains(first) && self.range.contains(last)
    }
}

/// An answer in the making.
struct Answer<'a> {
    question: &'a Question<'a>,
    index: Option<Index>,
    /// The files whose summary the index has.
    summarised: Sizes,
    /// Through the files whose packets are read.
    walk: Walk<'a>,
    analysis: Analysis,
}

impl<'a> Answer<'a> {
    fn new(question: &'a Question<'a>, notes: Vec<String>) -> Self {
        // Why there is none the view has told already.
        let index = Index::open(&question.layout.index()).ok();
        let summarised = index.as_ref().and_then(|index| index.summarised().ok()).unwrap_or_default();
        let merged = Merged::new(question.wanted, SummaryLimits::FOREIGN);
        let analysis = Analysis {
            merged,
            from: None,
            to: None,
            losses: Losses::NONE,
            files: 0,
            read: 0,
            evicted: Vec::new(),
            cut_flows: Vec::new(),
            flows: 0,
            kept: None,
            damaged: false,
            given_up: false,
            notes,
        };
        Self { question, index, summarised, walk: Walk::new(0, question.watch), analysis }
    }

    /// Counts files of the data directory.
    fn own<'r>(&mut self, rows: impl Iterator<Item = &'r Row>) {
        let mut rows: Vec<_> = rows.collect();
        self.analysis
            .evicted
            .extend(rows.iter().filter(|row| row.evicted.is_some()).map(|row| (*row).clone()));
        rows.retain(|row| row.evicted.is_none());
        for row in &rows {
            self.note_file(row);
        }
        self.leave_out_strangers(&mut rows);
        let stored: Sizes =
            rows.iter().filter(|row| self.is_stored(&row.facts)).map(number_and_size).collect();
        let mut missing: HashMap<_, _> = rows.iter().map(|row| (row.facts.name.number(), *row)).collect();
        if let Some(index) = &self.index {
            let merged = &mut self.analysis.merged;
            let taken = index.summaries(&stored, self.question.wanted, |number, blobs| {
                // One that is damaged is made anew from its file.
                if merged.add_blobs(blobs).is_ok() {
                    missing.remove(&number);
                }
            });
            if let Err(error) = taken {
                self.analysis.notes.push(format!("{error}; answered from the files"));
            }
        }
        // In their order, so that where there are too many rows it is always the same that stay.
        rows.retain(|row| missing.contains_key(&row.facts.name.number()));
        self.walk.extend(rows.iter().map(|row| row.facts.size).sum());
        for row in rows {
            if self.analysis.given_up || !self.walk.begin(row.facts.size) {
                self.analysis.given_up = true;
                return;
            }
            self.read_own(row);
        }
    }

    fn is_stored(&self, facts: &CaptureFacts) -> bool {
        let whole =
            facts.first.zip(facts.last).is_some_and(|(first, last)| self.question.covers(first, last));
        whole
            && facts.state != State::Recording
            && self.summarised.get(&facts.name.number()) == Some(&facts.size)
    }

    /// Counts what flow files tell of packets that no capture file was written of.
    /// Tells which files that was.
    fn flow_files(&mut self) -> Sizes {
        let mut whole = Sizes::new();
        let Some(index) = &self.index else { return whole };
        let (Ok(stored), Ok(rows)) = (index.flows_summarised(), index.flow_files(self.question.range, false))
        else {
            return whole;
        };
        let number_and_size = |row: &FlowRow| (row.facts.name.number(), row.facts.size);
        let is_stored = |row: &FlowRow| {
            let (number, size) = number_and_size(row);
            stored.get(&number) == Some(&size)
        };
        for row in rows.into_iter().filter(is_stored) {
            let Some((first, last)) = row.facts.first.zip(row.facts.last) else { continue };
            self.note_range(first, last);
            if self.question.covers(first, last) {
                whole.extend([number_and_size(&row)]);
                self.analysis.losses += row.facts.losses;
                self.analysis.files += 1;
            } else {
                self.analysis.cut_flows.push(row);
            }
        }
        let Self { index: Some(index), analysis: Analysis { merged, damaged, notes, .. }, .. } = self else {
            return whole;
        };
        let taken = index.flow_summaries(&whole, self.question.wanted, |number, blobs| {
            if let Err(error) = merged.add_blobs(blobs) {
                *damaged = true;
                notes.push(format!("flow file {number}: {error}; its packets are not counted"));
            }
        });
        if let Err(error) = taken {
            notes.push(format!("{error}; what flow files tell of packets is not counted"));
        }
        whole
    }

    /// Counts the flows of whose packets nothing else tells: those in evicted captures of the range, and those of which no capture
    /// was written, in flow files that are not `counted`.
    fn records(&mut self, counted: &Sizes) {
        let Question { layout, fs, range, .. } = *self.question;
        let evicted: HashSet<_> = self.analysis.evicted.iter().map(|row| row.facts.name.number()).collect();
        let is_asked = range.is_bounded() && !evicted.is_empty();
        let is_unsaved =
            self.analysis.files == 0 || !counted.is_empty() || !self.analysis.cut_flows.is_empty();
        if !is_asked && !is_unsaved {
            return;
        }
        let without = counted.keys().copied().collect();
        let watch = self.question.watch;
        let question = FlowQuestion { layout, fs, range, needles: Vec::new(), begun: None, without, watch };
        let (mut sum, mut seen) = (FromFlows::default(), None::<(Nanos, Nanos)>);
        let merged = &mut self.analysis.merged;
        let look = flows(&question, |item| {
            if let Item::Record(record) = item
                && record.captures.last_place().is_none_or(|place| evicted.contains(&place.file))
            {
                let (first, last) = seen.unwrap_or((record.start, record.end));
                seen = Some((first.min(record.start), last.max(record.end)));
                sum.take(*record, merged);
            }
            true
        });
        sum.merge(merged);
        self.analysis.flows = sum.taken;
        if let Some((first, last)) = seen {
            self.note_range(first, last);
        }
        match look {
            Ok(look) => {
                self.analysis.damaged |= look.damaged;
                self.analysis.notes.extend(look.notes);
            }
            Err(error) => self.analysis.notes.push(format!("read the flow files: {error}")),
        }
    }

    fn note_range(&mut self, first: Nanos, last: Nanos) {
        let range = self.question.range;
        let from = range.since.map_or(first, |since| first.max(since));
        let to = range.until.map_or(last, |until| last.min(until));
        self.analysis.from = Some(self.analysis.from.map_or(from, |earliest| earliest.min(from)));
        self.analysis.to = Some(self.analysis.to.map_or(to, |latest| latest.max(to)));
    }

    /// Takes a file into account for what the answer says of itself.
    fn note_file(&mut self, row: &Row) {
        let facts = &row.facts;
        if let Some((first, last)) = facts.first.zip(facts.last) {
            self.note_range(first, last);
        }
        self.analysis.losses += match self.question.recording {
            Some((number, losses)) if (facts.state, facts.name.number()) == (State::Recording, number) => {
                losses
            }
            _ => facts.losses,
        };
        self.analysis.files += 1;
        self.analysis.damaged |= facts.state == State::Damaged;
    }

    /// Leaves out files that can hold nothing of what is asked for.
    fn leave_out_strangers(&self, rows: &mut Vec<&Row>) {
        let only = &self.question.only;
        let Some(index) = self.index.as_ref().filter(|_| !only.is_empty()) else { return };
        let Ok(filters) = index.filters() else { return };
        let strange: Sizes = filters
            .into_iter()
            .filter(|(_, _, filter)| !only.iter().any(|probe| filter.may_hold(*probe)))
            .map(|(number, size, _)| (number, size))
            .collect();
        rows.retain(|row| {
            let (number, size) = number_and_size(row);
            row.facts.state == State::Recording || strange.get(&number) != Some(&size)
        });
    }

    /// Counts the packets of a file of the data directory.
    fn read_own(&mut self, row: &Row) {
        let Question { layout, fs, range, limits, .. } = *self.question;
        let name = row.facts.name;
        let opened = layout.open_capture(fs, name).map_err(|source| ScanError::Io { offset: 0, source });
        let read = opened.and_then(|(file, _)| count_beside(&*file, limits, range, &mut self.walk));
        self.analysis.read += 1;
        match read {
            Ok(_) if self.walk.is_given_up() => self.analysis.given_up = true,
            Ok((summary, end)) => {
                self.analysis.merged.add(&summary);
                // The last record of a growing file may be on its way.
                let grows = row.facts.state == State::Recording;
                if end != End::Clean && !(grows && end == End::Cut) {
                    self.analysis.damaged = true;
                    self.analysis.notes.push(format!("{name} {}", end.as_str()));
                }
            }
            Err(ScanError::Short) if row.facts.state == State::Recording => {}
            Err(ScanError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.analysis
                    .notes
                    .push(format!("{name} was evicted meanwhile; its packets are not counted"));
            }
            Err(error) => {
                self.analysis.damaged = true;
                self.analysis.notes.push(format!("read {name}: {error}; its packets are not counted"));
            }
        }
    }

    fn own_named(&mut self, name: CaptureName, view: &View) -> Result<(), AnalysisError> {
        let Some(row) = view.rows.iter().find(|row| row.facts.name == name) else {
            let (path, captures) = (PathBuf::from(name.to_string()), self.question.layout.captures());
            return Err(AnalysisError::Missing { path, captures });
        };
        if let Some(eviction) = &row.evicted {
            return Err(AnalysisError::Evicted { name, at: eviction.at, reason: eviction.reason.clone() });
        }
        self.own(std::iter::once(row));
        Ok(())
    }

    /// Counts the packets of a file from elsewhere.
    fn foreign(&mut self, path: &Path, size: u64) -> Result<(), AnalysisError> {
        let mut import = Import::open(path)?;
        self.walk.begin(size);
        let mut count = Counter::new(SummaryLimits::FOREIGN, self.question.range);
        let failed = loop {
            match import.next() {
                Ok(Some(packet)) => count.packet(packet.link, &packet.frame, packet.precision),
                Ok(None) => break None,
                Err(error) => break Some(error.to_string()),
            }
            if !self.walk.record(|| import.position()) {
                break None;
            }
        };
        self.analysis.given_up = self.walk.is_given_up();
        if let Some(wrong) = failed.or_else(|| import.cut()) {
            self.analysis.damaged = true;
            self.analysis.notes.push(wrong);
        }
        let summary = count.summariser.summary();
        if let Some((first, last)) = summary.range {
            self.note_range(first, last);
        }
        self.analysis.merged.add(&summary);
        self.analysis.losses += Losses::UNKNOWN;
        self.analysis.files += 1;
        self.analysis.read += 1;
        Ok(())
    }
}

fn number_and_size(row: &&Row) -> (u64, u64) {
    (row.facts.name.number(), row.facts.size)
}
