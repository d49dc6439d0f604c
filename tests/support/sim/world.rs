//! The state of a simulated file system, and the gate through which every operation goes: counted, logged, perhaps frozen
//! or failed.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::content::{Content, PAGE};
use super::names::{Names, Node};

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It changes nothing and fails so.
    Errno(Errno),
    /// A signal came first.
    Interrupted,
    /// A write takes at most so many bytes; other operations succeed.
    ShortWrite(usize),
    /// A sync fails with EIO and the kernel calls the dirty pages clean, as Linux does: readers still see the bytes, the
    /// next sync succeeds, and a power cut shows that they never reached the device. Other operations fail with EIO.
    LostPages,
}

/// All there is.
#[derive(Default)]
pub struct World {
    /// Bytes of the disk.
    pub total: u64,
    /// Bytes that an outsider takes.
    pub outside: u64,
    /// The tree.
    pub names: Names,
    /// Files by number, unnamed ones that are open among them.
    pub files: BTreeMap<u64, Content>,
    /// The highest number given.
    pub last_number: u64,
    /// A line for every operation.
    pub log: Vec<String>,
    /// The first operation that finds the world stopped.
    pub frozen_from: Option<usize>,
    /// Whether an operation has found it stopped.
    pub stopped: bool,
    /// What is to fail; the first that fits strikes.
    pub faults: Vec<Planned>,
}

/// A fault to come.
pub struct Planned {
    /// Which operations it strikes.
    pub when: When,
    /// How.
    pub fault: Fault,
    /// How often yet.
    pub times: usize,
}

/// Which operations a fault strikes.
pub enum When {
    /// The one with this number.
    At(usize),
    /// Those whose line contains this.
    Contains(String),
}

/// Whether an error says that the world has stopped.
pub fn is_frozen(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|source| source.to_string() == FROZEN)
}

const FROZEN: &str = "frozen: the simulated world has stopped";

impl World {
    pub fn new_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Counts and logs an operation; a fault that it must take part in itself is handed back.
    pub fn operation(&mut self, line: impl Display) -> io::Result<Option<Fault>> {
        let n = self.log.len() + 1;
        if self.frozen_from.is_some_and(|from| n >= from) {
            self.stopped = true;
            return Err(io::Error::other(FROZEN));
        }
        let line = line.to_string();
        let planned = self.faults.iter_mut().find(|planned| {
            planned.times > 0
                && match &planned.when {
                    When::At(at) => *at == n,
                    When::Contains(text) => line.contains(text),
                }
        });
        let Some(planned) = planned else {
            self.log.push(line);
            return Ok(None);
        };
        planned.times -= 1;
        let fault = planned.fault;
        self.log.push(format!("{line} => {fault:?}"));
        match fault {
            Fault::Errno(errno) => Err(errno.into()),
            Fault::Interrupted => Err(Errno::INTR.into()),
            Fault::LostPages if !line.starts_with("sync ") => Err(Errno::IO.into()),
            Fault::ShortWrite(_) | Fault::LostPages => Ok(Some(fault)),
        }
    }

    pub fn content(&mut self, number: u64) -> &mut Content {
        self.files.get_mut(&number).unwrap()
    }

    pub fn used(&self) -> u64 {
        let takes_space = |number: &u64, file: &Content| file.handles > 0 || self.names.is_seen(*number);
        let used = self.files.iter().filter(|(number, file)| takes_space(number, file));
        used.map(|(_, file)| file.allocated() * PAGE).sum()
    }

    pub fn free(&self) -> u64 {
        self.total.saturating_sub(self.outside).saturating_sub(self.used())
    }

    pub fn forget_unreachable(&mut self) {
        let names = &self.names;
        self.files.retain(|number, file| file.handles > 0 || names.may_be_seen(*number));
    }

    pub fn file(&self, path: &Path) -> io::Result<u64> {
        match self.names.get(path) {
            Some(Node::File(number)) => Ok(number),
            Some(Node::Dir) => Err(Errno::ISDIR.into()),
            None => Err(Errno::NOENT.into()),
        }
    }

    pub fn dir(&self, path: &Path) -> io::Result<()> {
        match self.names.get(path) {
            Some(Node::Dir) => Ok(()),
            Some(Node::File(_)) => Err(Errno::NOTDIR.into()),
            None => Err(Errno::NOENT.into()),
        }
    }

    /// Checks that a new name may be made there.
    pub fn vacant(&self, path: &Path) -> io::Result<()> {
        self.dir(path.parent().unwrap_or(Path::new("")))?;
        match self.names.get(path) {
            Some(_) => Err(Errno::EXIST.into()),
            None => Ok(()),
        }
    }
}
