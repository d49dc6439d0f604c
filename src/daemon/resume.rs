//! Where the analyst goes on after a restart: what the flow files cover already, and which stretches of the captures they do not.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use tracing::warn;

use super::handover::Unread;
use super::pipeline::Analysis;
use super::saved::Saved;
use crate::detect::stream::Stream;
use crate::packet::Place;
use crate::store::SharedLedger;
use crate::store::entry::{Act, Entry};
use crate::store::flow_file::{FlowFileError, FlowWriter, Resumed};
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
        if let Some(saved) = Saved::read(fs.as_ref(), &layout) {
            let seen = saved.place();
            stream.restore(saved.detectors, seen);
        }
        let begin = resumed.position.read_from().unwrap_or_default();
        let captures = layout.captures();
        let listing = match fs.read_dir(&captures) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            listing => listing.map_err(|source| FlowFileError::Io {
                operation: "list the captures for",
                path: captures,
                source,
            })?,
        };
        Ok(Begin { writer, stream, left: stretches(&listing, &entries, begin, next_number) })
    }
}

fn tell(resumed: &Resumed) {
    if let Some(facts) = &resumed.salvaged {
        warn!("salvaged {}: {} records", facts.name, facts.records);
    }
    let lost: u64 = resumed.lost.iter().map(|range| range.end - range.start).sum();
    if lost > 0 {
        warn!("{lost} bytes of that flow file are damaged and left out");
    }
}

/// The captures from `begin` on that were there before this start.
fn stretches(listing: &[fs::Entry], entries: &[Entry], begin: Place, next_number: u64) -> VecDeque<Unread> {
    let packets: HashMap<_, _> = entries.iter().filter_map(|entry| packets(&entry.act)).collect();
    let unread = |file: &fs::Entry| {
        let (name, role) = CaptureName::parse(&file.name)?;
        let is_there = matches!(role, Role::Sealed | Role::Part);
        if !is_there || !(begin.file..next_number).contains(&name.number()) {
            return None;
        }
        let from = if name.number() == begin.file { begin.offset } else { 0 }.max(FILE_HEADER as u64);
        let packets = packets.get(&name.number()).copied().unwrap_or(0);
        Some(Unread { name, durability: None, from, to: file.size, packets })
    };
    let mut stretches: Vec<_> = listing.iter().filter_map(unread).filter(|unread| unread.len() > 0).collect();
    stretches.sort_by_key(|unread| unread.name.number());
    stretches.into()
}

fn packets(act: &Act) -> Option<(u64, u64)> {
    match act {
        Act::Seal { capture } | Act::Salvage { capture, .. } | Act::Found { capture } => {
            Some((capture.name.number(), capture.packets))
        }
        _ => None,
    }
}
