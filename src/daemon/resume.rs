//! Where the analyst goes on after a restart: what the flow files cover already, and which stretches of the captures they do not.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use super::events::{damaged, event};
use super::handover::Unread;
use super::pipeline::Analysis;
use super::saved;
use crate::detect::stream::Stream;
use crate::packet::Place;
use crate::store::SharedLedger;
use crate::store::entry::{Act, Entry};
use crate::store::facts::CaptureFacts;
use crate::store::flow_facts::FlowFacts;
use crate::store::flow_file::{FlowFileError, FlowWriter, Position, Resumed};
use crate::store::format::FILE_HEADER;
use crate::store::layout::Layout;
use crate::store::names::{CaptureName, Role};
use crate::sys::clock::Clock;
use crate::sys::fs::{self, Fs};

/// What is needed to find out.
pub(super) struct Resume {
    pub fs: Arc<dyn Fs>,
    pub layout: Layout,
    pub ledger: SharedLedger,
    pub clock: Arc<dyn Clock>,
    pub entries: Vec<Entry>,
    /// The index number of the first capture file of this start.
    pub next_number: u64,
}

/// Where the analyst goes on.
pub(super) struct Begin {
    /// The flow file.
    pub writer: FlowWriter,
    /// Flows and detectors.
    pub stream: Stream,
    /// The stretches to be read again, oldest first.
    pub left: VecDeque<Unread>,
}

impl Resume {
    /// Takes over the flow files, and tells the stream what is written already.
    pub(super) fn begin(self, analysis: &Analysis) -> Result<Begin, FlowFileError> {
        let Self { fs, layout, ledger, clock, entries, next_number } = self;
        let files = analysis.flow_files;
        let (writer, resumed) =
            FlowWriter::open(Arc::clone(&fs), layout.clone(), ledger, clock, &entries, files)?;
        tell(&resumed);
        let mut stream = Stream::new(&analysis.stream);
        stream.resume(&resumed.records);
        saved::restore(&mut stream, fs.as_ref(), &layout);
        let captures = layout.captures();
        let listing = match fs.read_dir(&captures) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            listing => listing.map_err(|source| FlowFileError::Io {
                operation: "list the captures for",
                path: captures,
                source,
            })?,
        };
        Ok(Begin { writer, stream, left: stretches(&listing, &entries, resumed.position, next_number) })
    }
}

fn tell(resumed: &Resumed) {
    let (salvaged, missing) = (resumed.salvaged.as_ref(), resumed.missing);
    if let Some(FlowFacts { name, records, .. }) = salvaged {
        event!(
            FLOW_SALVAGE,
            TAPKEEP_FILE = %name,
            TAPKEEP_RECORDS = records,
            "salvaged {name}: {records} records"
        );
    }
    if missing > 0 {
        event!(
            RECORDS_AGAIN,
            TAPKEEP_COUNT = missing,
            "{missing} flow records are too many to remember; their flows may be recorded again"
        );
    }
    let file = salvaged.map_or_else(|| "a flow file".to_owned(), |facts| facts.name.to_string());
    for range in &resumed.lost {
        damaged(&file, Some(range), "these bytes are left out");
    }
}

/// The captures that were there before this start, from where they are to be read again; and those that are gone before they
/// were analysed, so that reading them fails and is counted.
fn stretches(
    listing: &[fs::Entry],
    entries: &[Entry],
    position: Position,
    next_number: u64,
) -> VecDeque<Unread> {
    let known: HashMap<_, _> = entries.iter().filter_map(|entry| capture(&entry.act)).collect();
    let stretch = |name: CaptureName, begin: Place, size: u64| {
        let number = name.number();
        if !(begin.file..next_number).contains(&number) {
            return None;
        }
        let from = if number == begin.file { begin.offset } else { 0 }.max(FILE_HEADER as u64);
        let all = known.get(&number).filter(|facts| from == FILE_HEADER as u64 && facts.size == size);
        let packets = all.map(|facts| facts.packets);
        let unread = Unread { name, durability: None, from, to: size, packets };
        Some(unread).filter(|unread| unread.len() > 0)
    };
    let there: HashMap<_, _> = listing
        .iter()
        .filter_map(|file| Some((CaptureName::parse(&file.name)?, file.size)))
        .filter(|((_, role), _)| matches!(role, Role::Sealed | Role::Part))
        .map(|((name, _), size)| (name, size))
        .collect();
    let begin = position.read_from().unwrap_or_default();
    let left = there.iter().filter_map(|(name, size)| stretch(*name, begin, *size));
    let gone = known.values().filter(|facts| !there.contains_key(&facts.name));
    // Where nothing was analysed yet, what is gone was evicted by a Tapkeep that had no analyst.
    let gone = gone.filter_map(|facts| stretch(facts.name, position.analysed?, facts.size));
    let mut stretches: Vec<_> = left.chain(gone).collect();
    stretches.sort_by_key(|unread| unread.name.number());
    stretches.into()
}

fn capture(act: &Act) -> Option<(u64, &CaptureFacts)> {
    match act {
        Act::Seal { capture } | Act::Salvage { capture, .. } | Act::Found { capture } => {
            Some((capture.name.number(), capture))
        }
        _ => None,
    }
}
