//! From one growing file to the next: the old gets its final name beside the one it has, the new, complete and synced, then
//! takes that one over.
//!
//! Order: write and sync the new → ledger → link the old into `flows/` → sync `flows/` → rename the new over the old → sync the
//! data directory. Each step is done once; after a failure the next try goes on. Stopped anywhere, the next start finds a sound
//! file under the growing one's name; if that has its final name already, it is not sealed again.

use std::io;
use std::io::ErrorKind::{AlreadyExists, CrossesDevices, NotFound, PermissionDenied, Unsupported};
use std::path::PathBuf;

use super::super::entry::{Act, Entry};
use super::super::facts::State;
use super::super::flow_facts::FlowFacts;
use super::super::names::{FlowName, FlowRole};
use super::super::sequence::{Header, SequenceWriter};
use super::growing::{Growing, objects};
use super::settings::Told;
use super::tally::Tally;
use super::writer::FlowWriter;
use super::{FORMAT, FlowFileError, MAX_OBJECT, VERSION, failed, peek};
use crate::sys::fs::{Fs, FsFile, sync_full, uninterrupted, write_full};
use crate::sys::random::random_u64;

/// How often another number is tried, should a name be taken.
const CLASHES: usize = 8;

/// The old file on its way to its final name.
pub(super) struct Old {
    facts: FlowFacts,
    how: How,
    entry: Option<Entry>,
    linked: bool,
}

/// How the old file ended.
enum How {
    /// In order, with a footer, synced.
    Ended,
    /// At its last sync, since a later write or sync failed.
    GivenUp(Box<dyn FsFile>),
    /// By a crash.
    Salvaged { unverified: u64, lost: u64 },
    /// It has its final name already.
    Linked,
    /// It is no flow file.
    Foreign,
}

impl Old {
    pub(super) fn ended(facts: FlowFacts) -> Self {
        Self { facts, how: How::Ended, entry: None, linked: false }
    }

    pub(super) fn given_up(file: Box<dyn FsFile>, facts: FlowFacts) -> Self {
        Self { facts, how: How::GivenUp(file), entry: None, linked: false }
    }

    pub(super) fn salvaged(facts: FlowFacts, unverified: u64, lost: u64) -> Self {
        Self { facts, how: How::Salvaged { unverified, lost }, entry: None, linked: false }
    }

    pub(super) fn linked(name: FlowName) -> Self {
        let facts = FlowFacts::bare(name, State::Sealed);
        Self { facts, how: How::Linked, entry: None, linked: true }
    }

    pub(super) fn foreign(name: FlowName) -> Self {
        let facts = FlowFacts::bare(name, State::Damaged);
        Self { facts, how: How::Foreign, entry: None, linked: false }
    }

    fn role(&self) -> FlowRole {
        if matches!(self.how, How::Foreign) { FlowRole::Damaged } else { FlowRole::Sealed }
    }

    /// Makes sure that all that is kept of it is on the device, and notes its length.
    fn settle(&mut self, writer: &FlowWriter) -> Result<(), FlowFileError> {
        let path = writer.layout.flow_file();
        match &self.how {
            How::Ended | How::Linked => {}
            How::GivenUp(file) => {
                // What is behind goes into the next file. Should the device refuse this too, readers know where to stop.
                let _ = uninterrupted(|| file.truncate(self.facts.doubtful_from.unwrap_or(self.facts.size)));
                self.facts.size = file.len().unwrap_or(self.facts.size);
            }
            How::Salvaged { .. } | How::Foreign => {
                let file = uninterrupted(|| writer.fs.open(&path)).map_err(failed("open", &path))?;
                sync_full(file.as_ref()).map_err(failed("sync", &path))?;
            }
        }
        Ok(())
    }

    fn act(&self) -> Act {
        let flows = self.facts.clone();
        match self.how {
            How::Ended | How::GivenUp(_) | How::Linked => Act::FlowSeal { flows },
            How::Salvaged { unverified, lost } => Act::FlowSalvage { flows, unverified, lost },
            How::Foreign => {
                let aside = self.facts.name.file_name(self.role());
                let file = super::super::layout::FLOW_FILE.to_owned();
                Act::Damage { file, what: format!("not a flow file; put aside as flows/{aside}") }
            }
        }
    }

    fn path(&self, writer: &FlowWriter) -> PathBuf {
        writer.layout.flows().join(self.facts.name.file_name(self.role()))
    }

    /// Gives it its final name, durably. `false` if that is taken by another file.
    fn put_in_place(&mut self, writer: &FlowWriter) -> Result<bool, FlowFileError> {
        if self.entry.is_none() && !matches!(self.how, How::Linked) {
            self.settle(writer)?;
            self.entry = Some(writer.ledger.append(self.act())?);
        }
        let (from, to) = (writer.layout.flow_file(), self.path(writer));
        if !self.linked {
            match uninterrupted(|| writer.fs.link(&from, &to)) {
                Ok(()) => {}
                Err(e) if e.kind() == AlreadyExists => {
                    let same = writer.fs.open_read(&to).is_ok_and(|file| self.is(file.as_ref()));
                    if !same {
                        return Ok(false);
                    }
                }
                // Somebody has removed it. There is nothing to keep, and the next file must come to be.
                Err(e) if e.kind() == NotFound => {}
                // There are file systems without second names: there the growing file is missing for a moment.
                Err(e) if matches!(e.kind(), PermissionDenied | Unsupported | CrossesDevices) => {
                    uninterrupted(|| writer.fs.rename_new(&from, &to)).map_err(failed("rename", &from))?;
                }
                Err(e) => return Err(failed("link into flows/", &from)(e)),
            }
            self.linked = true;
        }
        let flows = writer.layout.flows();
        uninterrupted(|| writer.fs.sync_dir(&flows)).map_err(failed("make durable the name of", &to))?;
        Ok(true)
    }

    fn is(&self, file: &dyn FsFile) -> bool {
        let there = peek(file).header.map(|header| header.id);
        there.is_some() && there == self.facts.id
    }
}

/// The way from one file to the next.
#[derive(Default)]
pub(super) struct Handover {
    old: Option<Old>,
    told: Option<Told>,
}

impl Handover {
    pub(super) fn new(old: Option<Old>) -> Self {
        Self { old, told: None }
    }

    /// Goes through the steps that are left; returns the new file, which holds all of the writer's `next`.
    pub(super) fn run(&mut self, writer: &mut FlowWriter) -> Result<Growing, FlowFileError> {
        let (root, flows) = (writer.layout.root().to_owned(), writer.layout.flows());
        uninterrupted(|| writer.fs.create_dir(&flows)).map_err(failed("make the directory of", &flows))?;
        let mut growing = prepare(writer)?;
        for _ in 0..CLASHES {
            let Some(old) = &mut self.old else { break };
            if old.put_in_place(writer)? {
                break;
            }
            old.facts.name = FlowName::new(writer.next_number, old.facts.first.unwrap_or(growing.began));
            old.entry = None;
            writer.next_number += 1;
            growing = prepare(writer)?;
        }
        let (next, path) = (writer.layout.next_flow_file(), writer.layout.flow_file());
        uninterrupted(|| writer.fs.replace(&next, &path)).map_err(failed("put in place", &path))?;
        uninterrupted(|| writer.fs.sync_dir(&root)).map_err(failed("make durable the name of", &path))?;
        writer.next_number += 1;
        self.told = self.old.take().and_then(|old| match old.how {
            How::Foreign => Some(Told::Aside(old.facts.name.file_name(FlowRole::Damaged))),
            _ => old.entry.map(|entry| Told::Sealed(Box::new(entry))),
        });
        Ok(growing)
    }

    pub(super) fn take_told(&mut self) -> Option<Told> {
        self.told.take()
    }
}

/// Makes the next file beside the growing one: complete and synced, only its name is not yet the right one.
fn prepare(writer: &FlowWriter) -> Result<Growing, FlowFileError> {
    let path = writer.layout.next_flow_file();
    match uninterrupted(|| writer.fs.remove(&path)) {
        Err(e) if e.kind() != NotFound => return Err(failed("clear the way for", &path)(e)),
        _ => {}
    }
    let id = random_u64().map_err(failed("name", &path))?;
    let began = writer.clock.now().wall;
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        id: format!("{id:016x}"),
        number: Some(writer.next_number),
        began: Some(began),
    };
    let mut bytes = Vec::new();
    let mut sequence = SequenceWriter::begin_with(&header, &mut bytes)?.with_limit(MAX_OBJECT);
    let mut tally = Tally::default();
    for object in objects(&writer.next) {
        sequence.copy(object, &mut bytes);
        tally.absorb(object);
    }
    let position = writer.position;
    position.checkpoint(&mut sequence, &mut bytes)?;
    let file = create(writer.fs.as_ref(), &path, &bytes).inspect_err(|_| {
        // It is in nobody's way, but it fills a disk that may be full.
        let _ = writer.fs.remove(&path);
    });
    let len = bytes.len() as u64;
    Ok(Growing {
        file: file?,
        number: writer.next_number,
        began,
        sequence,
        written: len,
        synced: len,
        tail: Vec::new(),
        checkpointed: true,
        synced_tally: tally.clone(),
        tally,
        synced_position: position,
        checkpoint_position: position,
    })
}

fn create(fs: &dyn Fs, path: &std::path::Path, bytes: &[u8]) -> Result<Box<dyn FsFile>, FlowFileError> {
    let file = uninterrupted(|| fs.create(path)).map_err(failed("create", path))?;
    write_full(file.as_ref(), bytes, 0).map_err(|(_, e): (usize, io::Error)| failed("write", path)(e))?;
    sync_full(file.as_ref()).map_err(failed("sync", path))?;
    Ok(file)
}
