//! Flow records of a data directory: every flow file in order, the growing one included, read in place.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use memchr::memmem::Finder;

use crate::flow::record::FlowRecord;
use crate::packet::{Nanos, Place};
use crate::store::flow_file::{
    FlowItem, FlowReader, FlowSource, Fold, Kind, Object, Peek, flow_sources, peek,
};
use crate::store::layout::Layout;
use crate::store::progress::{Walk, Watch};
use crate::store::range::TimeRange;
use crate::sys::fs::{Fs, FsFile, advice};

/// Which records are asked for.
pub struct FlowQuestion<'a> {
    /// Where the data directory is.
    pub layout: &'a Layout,
    /// Through what it is read.
    pub fs: &'a dyn Fs,
    /// Records that touch this time.
    pub range: TimeRange,
    /// Texts of which a record must hold at least one in its bytes, unless there are none: what spares decoding the others.
    pub needles: Vec<String>,
    /// The first packet of the flows asked for, if they are of one flow: what spares reading files that end before it.
    pub begun: Option<Place>,
    /// Index numbers of flow files that are left out.
    pub without: HashSet<u64>,
    /// Who waits for it: whoever gives up gets no more records.
    pub watch: Watch<'a>,
}

/// What a look at the flow files came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlowLook {
    /// Files that were read.
    pub files: usize,
    /// Files that could be left out.
    pub skipped: usize,
    /// Flow records in the files that were read, wanted or not.
    pub records: u64,
    /// Whether bytes of a file could not be believed.
    pub damaged: bool,
    /// What whoever asked should know, each a sentence.
    pub notes: Vec<String>,
}

/// What is handed out.
#[derive(Debug)]
pub enum Item {
    /// A record.
    Record(Box<FlowRecord>),
    /// Flows that were only counted.
    Fold(Fold),
}

/// What the end of a sealed file tells of the rest.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ends {
    range: Option<(Nanos, Nanos)>,
    /// The last packet that a record names.
    reach: Option<Place>,
}

impl Ends {
    pub(super) fn of(seen: &Peek) -> Self {
        let footer = seen.footer.as_ref();
        Self {
            range: footer.and_then(|footer| footer.first.zip(footer.last)),
            reach: footer.and_then(|footer| footer.reach),
        }
    }

    /// Whether the file holds no record of this time, or of the flow that began there.
    pub(super) fn rule_out(&self, range: TimeRange, begun: Option<Place>) -> bool {
        let outside = self.range.is_some_and(|(first, last)| !range.touches(first, last));
        // A record names its flow's packets, none of which lies before the first. How far was analysed does not tell: a checkpoint
        // may say less of that than the records before it show.
        let before = begun.zip(self.reach).is_some_and(|(begun, reach)| reach < begun);
        outside || before
    }
}

/// Hands the records asked for to `take`, as they were written, until it says `false`.
///
/// # Errors
/// If the flow files cannot be listed.
pub fn flows(question: &FlowQuestion<'_>, mut take: impl FnMut(Item) -> bool) -> io::Result<FlowLook> {
    let finders: Vec<_> = question.needles.iter().map(|needle| Finder::new(needle.as_bytes())).collect();
    let mut look = FlowLook::default();
    let mut sources = flow_sources(question.fs, question.layout)?;
    sources.retain(|source| !question.without.contains(&source.number));
    let mut walk = Walk::new(sources.iter().map(|source| source.size).sum(), question.watch);
    for source in sources {
        if !walk.begin(source.size) {
            break;
        }
        let name = source.name.map_or_else(|| "the growing flow file".to_owned(), |name| name.to_string());
        match read(question, source, &name, &finders, &mut look, &mut walk, &mut take) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                look.notes.push(format!("{name} was evicted meanwhile"));
            }
            Err(error) => {
                look.damaged = true;
                look.notes.push(format!("read {name}: {error}{}", advice(&error)));
            }
        }
    }
    Ok(look)
}

fn read(
    question: &FlowQuestion<'_>,
    source: FlowSource,
    name: &str,
    finders: &[Finder<'_>],
    look: &mut FlowLook,
    walk: &mut Walk<'_>,
    take: &mut impl FnMut(Item) -> bool,
) -> io::Result<bool> {
    let sealed = source.name.is_some();
    let (file, len) = source.open(question.fs)?;
    if sealed && Ends::of(&peek(&*file)).rule_out(question.range, question.begun) {
        look.skipped += 1;
        return Ok(true);
    }
    read_all(question, (&*file, name, len), finders, look, walk, take)
}

/// Reads a flow file from elsewhere.
///
/// # Errors
/// If it cannot be read.
pub fn flows_of(
    question: &FlowQuestion<'_>,
    path: &Path,
    mut take: impl FnMut(Item) -> bool,
) -> io::Result<FlowLook> {
    let finders: Vec<_> = question.needles.iter().map(|needle| Finder::new(needle.as_bytes())).collect();
    let mut look = FlowLook::default();
    let file = question.fs.open_read(path)?;
    if peek(&*file).header.is_none() {
        return Err(io::Error::other("it is no flow file"));
    }
    let len = file.len()?;
    let mut walk = Walk::new(len, question.watch);
    walk.begin(len);
    let name = path.display().to_string();
    read_all(question, (&*file, &name, len), &finders, &mut look, &mut walk, &mut take)?;
    Ok(look)
}

fn read_all(
    question: &FlowQuestion<'_>,
    (file, name, len): (&dyn FsFile, &str, u64),
    finders: &[Finder<'_>],
    look: &mut FlowLook,
    walk: &mut Walk<'_>,
    take: &mut impl FnMut(Item) -> bool,
) -> io::Result<bool> {
    look.files += 1;
    let mut reader = FlowReader::new(file, len);
    let mut position = 0;
    while let Some(item) = reader.next() {
        match item {
            FlowItem::Object(object) => {
                position += object.bytes.len() as u64;
                look.records += u64::from(object.kind == Kind::Record);
                if let Some(item) = wanted(question, &object, finders)
                    && !take(item)
                {
                    return Ok(false);
                }
            }
            FlowItem::Lost(range) => {
                look.damaged = true;
                let (from, to) = (range.start, range.end);
                look.notes.push(format!("bytes {from} to {to} of {name} are damaged and left out"));
            }
            FlowItem::Header(..) | FlowItem::Cut(_) => {}
        }
        if !walk.record(|| position) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where the first packet of the flow of this id lies.
pub fn place_of(flow_id: &str) -> Option<Place> {
    let (file, offset) = flow_id.split_once('-')?;
    Some(Place { file: file.parse().ok()?, offset: offset.parse().ok()? })
}

fn wanted(question: &FlowQuestion<'_>, object: &Object<'_>, finders: &[Finder<'_>]) -> Option<Item> {
    if !finders.is_empty() && !finders.iter().any(|finder| finder.find(object.bytes).is_some()) {
        return None;
    }
    match object.kind {
        Kind::Record => {
            let record = object.record().ok()?;
            question.range.touches(record.start, record.end).then(|| Item::Record(Box::new(record)))
        }
        Kind::Fold => {
            let fold = object.fold()?;
            let within = fold.first.zip(fold.last).is_none_or(|(a, b)| question.range.touches(a, b));
            within.then_some(Item::Fold(fold))
        }
        Kind::Footer | Kind::Checkpoint | Kind::Other => None,
    }
}
