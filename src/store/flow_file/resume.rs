//! What a start finds: the growing file that an earlier run left, and the records that the analyst need not write again.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::super::SharedLedger;
use super::super::entry::Entry;
use super::super::facts::State;
use super::super::flow_facts::FlowFacts;
use super::super::layout::Layout;
use super::super::losses::Losses;
use super::super::names::{FlowName, FlowRole};
use super::super::sequence::{Header, Trust};
use super::handover::Old;
use super::outline::{Footer, Kind, Outline};
use super::position::Position;
use super::reader::{FlowItem, FlowReader, Object, is_ours};
use super::settings::Settings;
use super::tally::Tally;
use super::writer::{Begin, FlowWriter};
use super::{FlowFileError, failed, peek};
use crate::flow::record::FlowRecord;
use crate::packet::{Nanos, Place};
use crate::sys::clock::Clock;
use crate::sys::fs::{Fs, FsFile, uninterrupted};

/// The most records that a start hands to the analyst.
const MAX_RECORDS: usize = 250_000;

/// Where the analyst goes on.
#[derive(Debug, Default)]
pub struct Resumed {
    /// Of the last checkpoint. Captures are to be read again from [`Position::read_from`].
    pub position: Position,
    /// The records written before that cover packets from there on, and those of flows that may not be over, in the order in
    /// which they were written.
    pub records: Vec<FlowRecord>,
    /// Records that should be among them and were too many.
    pub missing: u64,
    /// Facts of the file that a crash left, if one did.
    pub salvaged: Option<FlowFacts>,
    /// Ranges of that file that are damaged.
    pub lost: Vec<Range<u64>>,
}

/// A sealed flow file.
struct Sealed {
    name: FlowName,
    size: u64,
}

impl FlowWriter {
    /// Takes over the flow files of a data directory, whose ledger holds `entries`. What a crash left is sealed as it is, and a
    /// new growing file begun. Fails only if the disk cannot be read; what cannot be written is tried again by
    /// [`FlowWriter::tick`].
    pub fn open(
        fs: Arc<dyn Fs>,
        layout: Layout,
        ledger: SharedLedger,
        clock: Arc<dyn Clock>,
        entries: &[Entry],
        settings: Settings,
    ) -> Result<(Self, Resumed), FlowFileError> {
        let path = layout.flow_file();
        let (sealed, highest) = list(fs.as_ref(), &layout).map_err(failed("list", &layout.flows()))?;
        let known: HashMap<u64, &FlowFacts> = entries
            .iter()
            .filter_map(|entry| entry.act.flows())
            .map(|facts| (facts.name.number(), facts))
            .collect();
        let left = match uninterrupted(|| fs.open_read(&path)) {
            Ok(file) => Some(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(failed("read", &path)(e)),
        };
        let len = |file: &dyn FsFile| uninterrupted(|| file.len()).map_err(failed("read", &path));
        let len = left.as_deref().map(len).transpose()?;
        let mut found = left.as_deref().zip(len).map(|(file, len)| Found::read(file, len));
        let mut next_number = known.keys().copied().fold(highest, u64::max) + 1;
        let began = clock.now().wall;
        let name = found.as_ref().map(|found| found.name(next_number, began));
        // Linked into flows/, and then the power went.
        let linked = found.as_ref().zip(name).and_then(|(found, name)| {
            let same = sealed.iter().find(|file| file.name.number() == name.number())?;
            let there = fs.open_read(&layout.flows().join(same.name.to_string())).ok()?;
            let id = peek(there.as_ref()).header.map(|header| header.id);
            (id.is_some() && id == found.id).then_some(same.name)
        });
        let taken = |number| sealed.iter().any(|file| file.name.number() == number);
        let number = match (linked, name) {
            (None, Some(name)) if !taken(name.number()) => name.number(),
            _ => next_number,
        };
        let name = name.map(|name| name.renumbered(number));
        let mut resumed = Resumed::default();
        let old = match (&found, name, linked) {
            (.., Some(name)) => Some(Old::linked(name)),
            (Some(found), Some(name), None) => found.old(name, &mut resumed),
            _ => None,
        };
        next_number = next_number.max(if old.is_some() { number + 1 } else { number });
        if found.as_ref().is_some_and(|found| found.is_foreign) {
            found = None;
        }
        let files: Vec<_> = sealed.into_iter().filter(|file| Some(file.name) != linked).collect();
        let search = Search { fs: fs.as_ref(), layout: &layout, known, files, settings };
        search.run(found.as_ref().zip(left.as_deref()), &mut resumed);
        let position = resumed.position;
        let begin = Begin { fs, layout, ledger, clock, settings, next_number, position, old };
        Ok((Self::begin(begin), resumed))
    }
}

/// The highest index number of a capture file that flow records may name, so that no number is given twice where no captures
/// are written. Looks at the ends of the growing and of the last sealed file.
pub fn highest_capture(fs: &dyn Fs, layout: &Layout) -> u64 {
    let newest = list(fs, layout)
        .ok()
        .and_then(|(sealed, _)| sealed.into_iter().max_by_key(|file| file.name.number()));
    let newest = newest.map(|file| layout.flows().join(file.name.to_string()));
    let files = [Some(layout.flow_file()), newest];
    let highest = |path: std::path::PathBuf| {
        let file = fs.open_read(&path).ok()?;
        let seen = peek(file.as_ref());
        let analysed = seen.position.and_then(|position| position.analysed).map_or(0, |place| place.file);
        let mut reader = FlowReader::resume(file.as_ref(), file.len().ok()?, &seen.end?);
        let mut highest = analysed;
        while let Some(item) = reader.next() {
            if let FlowItem::Object(object) = item
                && let Some(place) = object.outline().and_then(|outline| outline.last_place())
            {
                highest = highest.max(place.file);
            }
        }
        Some(highest)
    };
    files.into_iter().flatten().filter_map(highest).max().unwrap_or(0)
}

/// What is known of a finished file by reading it.
pub fn facts_of(file: &dyn FsFile, name: FlowName, size: u64) -> FlowFacts {
    let found = Found::read(file, size);
    match found.footer.as_ref().filter(|_| found.sound) {
        _ if found.is_foreign => FlowFacts { size, ..FlowFacts::bare(name, State::Damaged) },
        Some(footer) => found.facts(name, &footer.into(), State::Sealed, footer.losses),
        None => found.facts(name, &found.tally, found.state(), Losses::UNKNOWN),
    }
}

/// The sealed files, and the highest number in names.
fn list(fs: &dyn Fs, layout: &Layout) -> io::Result<(Vec<Sealed>, u64)> {
    let listing = match uninterrupted(|| fs.read_dir(&layout.flows())) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        listing => listing?,
    };
    let names = listing.iter().filter_map(|file| Some((FlowName::parse(&file.name)?, file.size)));
    let highest = names.clone().map(|((name, _), _)| name.number()).max().unwrap_or(0);
    let sealed = names.filter(|((_, role), _)| *role == FlowRole::Sealed);
    Ok((sealed.map(|((name, _), size)| Sealed { name, size }).collect(), highest))
}

/// What stands where the growing file belongs.
#[derive(Default)]
struct Found {
    header: Option<Header>,
    id: Option<String>,
    is_foreign: bool,
    len: u64,
    tally: Tally,
    position: Position,
    unverified: u64,
    lost: Vec<Range<u64>>,
    sound: bool,
    objects: u64,
    /// Set if the last object is one.
    footer: Option<Footer>,
}

impl Found {
    fn read(file: &dyn FsFile, len: u64) -> Self {
        let mut found = Self { len, ..Self::default() };
        let mut reader = FlowReader::new(file, len);
        while let Some(item) = reader.next() {
            match item {
                FlowItem::Header(header, _) if is_ours(&header) => found.header = Some(header),
                FlowItem::Header(..) => found.is_foreign = true,
                FlowItem::Object(object) => found.take(&object),
                FlowItem::Lost(range) | FlowItem::Cut(range) => found.lost.push(range),
            }
        }
        found.sound = reader.is_sound();
        let position = reader.position();
        found.position = position.unwrap_or_default();
        found.id = found.header.as_ref().map(|header| header.id.clone()).or(reader.id().map(str::to_owned));
        found.is_foreign |= found.header.is_none() && position.is_none();
        found
    }

    fn take(&mut self, object: &Object<'_>) {
        self.objects += 1;
        self.tally.absorb(object.bytes);
        self.unverified += u64::from(object.trust == Trust::Unverified && object.kind != Kind::Footer);
        self.footer = object.footer();
    }

    fn name(&self, next: u64, began: Nanos) -> FlowName {
        let header = self.header.as_ref();
        let number = header.and_then(|header| header.number).unwrap_or(next);
        let began = header.and_then(|header| header.began).unwrap_or(began);
        FlowName::new(number, self.tally.first.unwrap_or(began))
    }

    fn facts(&self, name: FlowName, tally: &Tally, state: State, losses: Losses) -> FlowFacts {
        FlowFacts { id: self.id.clone(), size: self.len, ..tally.facts(name, state, losses, self.position) }
    }

    /// Of a file that was not ended in order.
    fn state(&self) -> State {
        let damaged = self.lost.iter().any(|range| range.end < self.len) || self.header.is_none();
        if damaged { State::Damaged } else { State::Salvaged }
    }

    /// How it gets its final name; `None` if it holds nothing to keep.
    fn old(&self, name: FlowName, resumed: &mut Resumed) -> Option<Old> {
        if self.is_foreign {
            return (self.len > 0).then(|| Old::foreign(name));
        }
        if self.sound && self.objects == 0 {
            return None;
        }
        if let Some(footer) = self.footer.as_ref().filter(|_| self.sound) {
            return Some(Old::ended(self.facts(name, &footer.into(), State::Sealed, footer.losses)));
        }
        let facts = self.facts(name, &self.tally, self.state(), Losses::UNKNOWN);
        let lost = self.lost.iter().map(|range| range.end - range.start).sum();
        resumed.salvaged = Some(facts.clone());
        resumed.lost.clone_from(&self.lost);
        Some(Old::salvaged(facts, self.unverified, lost))
    }
}

/// The search for what the analyst need not write again.
struct Search<'a> {
    fs: &'a dyn Fs,
    layout: &'a Layout,
    known: HashMap<u64, &'a FlowFacts>,
    files: Vec<Sealed>,
    settings: Settings,
}

impl Search<'_> {
    fn run(mut self, left: Option<(&Found, &dyn FsFile)>, resumed: &mut Resumed) {
        self.files.sort_unstable_by_key(|file| std::cmp::Reverse(file.name.number()));
        let mut last = left.and_then(|(found, _)| found.tally.last);
        let mut position =
            left.map(|(found, _)| found.position).filter(|position| *position != Position::default());
        let mut wanted = Vec::new();
        for file in &self.files {
            let Ok(open) = self.fs.open_read(&self.layout.flows().join(file.name.to_string())) else {
                continue;
            };
            let seen = self.look(file, open.as_ref());
            position = position.or(seen.position);
            last = last.or(seen.last);
            let from = position.unwrap_or_default().read_from();
            let touches = seen.analysed.is_none_or(|upto| from.is_none_or(|from| upto >= from));
            let horizon = last.map(|last| last.saturating_sub(self.settings.reach));
            let recent = seen.last.zip(horizon).is_none_or(|(last, horizon)| last >= horizon);
            if !touches && !recent {
                break;
            }
            wanted.push((open, seen.len));
        }
        resumed.position = position.unwrap_or_default();
        let mut gather = Gather {
            from: resumed.position.read_from(),
            horizon: last.map_or(Nanos::MIN, |last| last.saturating_sub(self.settings.reach)),
            touching: Vec::new(),
            open: HashMap::new(),
            missing: 0,
            order: 0,
        };
        for (file, len) in wanted.iter().rev() {
            gather.read(file.as_ref(), *len);
        }
        if let Some((found, file)) = left {
            gather.read(file, found.len);
        }
        gather.finish(resumed);
    }

    /// What is known of a sealed file without reading all of it, if possible.
    fn look(&self, file: &Sealed, open: &dyn FsFile) -> Seen {
        let facts = self.known.get(&file.name.number()).filter(|facts| facts.name == file.name);
        let doubtful = facts.and_then(|facts| facts.doubtful_from).unwrap_or(u64::MAX);
        let len = file.size.min(doubtful);
        let seen = peek(open);
        let in_order = facts.is_none_or(|facts| facts.state == State::Sealed);
        match (seen.footer.filter(|_| in_order), facts) {
            (Some(footer), _) => {
                let analysed = seen.position.and_then(|position| position.analysed).max(footer.reach);
                Seen { len, position: seen.position, analysed, last: footer.last }
            }
            (None, Some(facts)) => {
                let position = Some(Found::read(open, len).position);
                Seen { len, position, analysed: facts.analysed, last: facts.last }
            }
            (None, None) => {
                let found = Found::read(open, len);
                let analysed = found.position.analysed.max(found.tally.reach);
                Seen { len, position: Some(found.position), analysed, last: found.tally.last }
            }
        }
    }
}

/// What is known of a sealed file.
struct Seen {
    /// How much of it counts.
    len: u64,
    position: Option<Position>,
    analysed: Option<Place>,
    last: Option<Nanos>,
}

/// Collects records in the order in which they were written.
struct Gather {
    from: Option<Place>,
    horizon: Nanos,
    touching: Vec<(u64, FlowRecord)>,
    /// The last part, not final, of flows that may not be over, by flow id.
    open: HashMap<String, (u64, FlowRecord)>,
    missing: u64,
    order: u64,
}

impl Gather {
    fn read(&mut self, file: &dyn FsFile, len: u64) {
        let mut reader = FlowReader::new(file, len);
        while let Some(item) = reader.next() {
            if let FlowItem::Object(object) = item
                && object.kind == Kind::Record
                && let Some(outline) = object.outline()
            {
                self.take(&object, &outline);
            }
        }
    }

    fn take(&mut self, object: &Object<'_>, outline: &Outline<'_>) {
        let touches = match (self.from, outline.last_place()) {
            (Some(from), Some(last)) => last >= from,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let recent = outline.end.is_none_or(|end| end >= self.horizon);
        if !self.open.is_empty() {
            self.open.remove(outline.flow_id.as_ref());
        }
        if !touches && (outline.last_part || !recent) {
            return;
        }
        if self.touching.len() + self.open.len() >= MAX_RECORDS {
            self.missing += 1;
            return;
        }
        let Ok(record) = object.record() else { return };
        self.order += 1;
        if touches {
            self.touching.push((self.order, record));
        } else {
            self.open.insert(outline.flow_id.clone().into_owned(), (self.order, record));
        }
    }

    fn finish(self, resumed: &mut Resumed) {
        let mut records = self.touching;
        records.extend(self.open.into_values());
        records.sort_unstable_by_key(|(order, _)| *order);
        resumed.records = records.into_iter().map(|(_, record)| record).collect();
        resumed.missing = self.missing;
    }
}
