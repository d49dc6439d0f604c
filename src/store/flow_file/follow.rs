//! The flow files of a data directory in order, and following them across rotations and restarts of the service and of the reader.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use super::super::layout::Layout;
use super::super::names::{FlowName, FlowRole};
use super::cursor::{Cursor, Tail};
use super::reader::{FlowItem, FlowReader, Object, peek};
use crate::sys::fs::{Fs, FsFile, uninterrupted};

/// A flow file that is there.
pub struct FlowSource {
    /// Its final name; none of the growing one.
    pub name: Option<FlowName>,
    /// Its index number.
    pub number: u64,
    /// Its length when it was looked for, bytes.
    pub size: u64,
    path: PathBuf,
    /// The growing one is open from the start, for its name goes to another.
    file: Option<Box<dyn FsFile>>,
}

impl FlowSource {
    /// Opens it, and tells how much of it there is.
    pub fn open(self, fs: &dyn Fs) -> io::Result<(Box<dyn FsFile>, u64)> {
        let file = match self.file {
            Some(file) => file,
            None => uninterrupted(|| fs.open_read(&self.path))?,
        };
        Ok((file, self.size))
    }

    /// Where it lies, or lay when it was looked for.
    pub fn path(&self) -> &PathBuf {
        &self.path
    }
}

/// Every flow file, oldest first, the growing one last; each once, whatever is rotated meanwhile.
pub fn flow_sources(fs: &dyn Fs, layout: &Layout) -> io::Result<Vec<FlowSource>> {
    // The growing one first: should it be rotated now, it is found again in the listing, and left out there.
    let growing = growing(fs, layout)?;
    let mut sources = sealed(fs, layout)?;
    if let Some(Growing { number, file, .. }) = growing {
        sources.retain(|source| source.number != number);
        let size = uninterrupted(|| file.len())?;
        sources.push(FlowSource { name: None, number, size, path: layout.flow_file(), file: Some(file) });
    }
    Ok(sources)
}

fn sealed(fs: &dyn Fs, layout: &Layout) -> io::Result<Vec<FlowSource>> {
    let listing = match uninterrupted(|| fs.read_dir(&layout.flows())) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        listing => listing?,
    };
    let source = |file: &crate::sys::fs::Entry| match FlowName::parse(&file.name)? {
        (name, FlowRole::Sealed) => Some(FlowSource {
            name: Some(name),
            number: name.number(),
            size: file.size,
            path: layout.flows().join(&file.name),
            file: None,
        }),
        _ => None,
    };
    let mut sources: Vec<_> = listing.iter().filter_map(source).collect();
    sources.sort_by_key(|source| source.number);
    Ok(sources)
}

struct Growing {
    number: u64,
    /// That of its header: a service that ends leaves an empty file, for which the next one puts another of the same number.
    id: String,
    file: Box<dyn FsFile>,
}

/// The growing file; none if there is none, or none that can be read.
fn growing(fs: &dyn Fs, layout: &Layout) -> io::Result<Option<Growing>> {
    let file = match uninterrupted(|| fs.open_read(&layout.flow_file())) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let header = peek(file.as_ref()).header;
    Ok(header.and_then(|header| Some(Growing { number: header.number?, id: header.id, file })))
}

/// Follows the flow files.
pub struct Follower {
    at: At,
    missed: Missed,
}

/// What a follower could not tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Missed {
    /// Index numbers of files that retention took before they were read to their end.
    pub evicted: Range<u64>,
    /// How far the first of them was read, bytes.
    pub read: u64,
    /// Bytes that could not be believed.
    pub damaged: u64,
    /// Set if the files are not those of the cursor: all that there are were begun anew.
    pub others: bool,
    /// Set if the file is not as it was when the cursor was made: it was begun anew.
    pub rewritten: bool,
}

impl Missed {
    fn evicted(&mut self, files: Range<u64>, read: u64) {
        if files.is_empty() {
            return;
        }
        if self.evicted.is_empty() {
            (self.evicted, self.read) = (files, read);
        } else {
            self.evicted.end = files.end;
        }
    }
}

enum At {
    /// Before the first file from this place on.
    Before(Cursor),
    In(Following),
}

struct Following {
    file: Box<dyn FsFile>,
    cursor: Cursor,
}

impl Follower {
    /// Begins at the end of what is there; without a growing file, at the beginning of the first one to come.
    ///
    /// # Errors
    /// If the flow files cannot be listed or read.
    pub fn new(fs: &dyn Fs, layout: &Layout) -> io::Result<Self> {
        let last = sealed(fs, layout)?.last().map_or(0, |source| source.number + 1);
        let mut follower = Self::resume(Cursor::before(last));
        if let Some(growing) = growing(fs, layout)? {
            follower.at = At::In(growing.into());
            follower.poll(fs, layout, |_, _| {})?;
        }
        Ok(follower)
    }

    /// Begins with the oldest file.
    pub fn from_oldest() -> Self {
        Self::resume(Cursor::before(0))
    }

    /// Goes on where an earlier one stood.
    pub fn resume(cursor: Cursor) -> Self {
        Self { at: At::Before(cursor), missed: Missed::default() }
    }

    /// Where it stands: what was handed over lies before.
    pub fn cursor(&self) -> &Cursor {
        match &self.at {
            At::Before(cursor) | At::In(Following { cursor, .. }) => cursor,
        }
    }

    /// Hands over what came since the last time, each object with the number of its file.
    ///
    /// # Errors
    /// If the flow files cannot be listed or read.
    pub fn poll(
        &mut self,
        fs: &dyn Fs,
        layout: &Layout,
        mut take: impl FnMut(u64, &Object<'_>),
    ) -> io::Result<()> {
        self.poll_some(fs, layout, |number, object| {
            take(number, object);
            true
        })
        .map(drop)
    }

    /// The same until `take` says that this is enough for now; `true` if it did.
    ///
    /// # Errors
    /// As [`Follower::poll`].
    pub fn poll_some(
        &mut self,
        fs: &dyn Fs,
        layout: &Layout,
        mut take: impl FnMut(u64, &Object<'_>) -> bool,
    ) -> io::Result<bool> {
        loop {
            let growing = growing(fs, layout)?;
            let (number, id) = growing.as_ref().map_or((0, ""), |growing| (growing.number, &growing.id));
            let mut follows = growing.is_none();
            if let At::In(at) = &mut self.at {
                // Read after the growing one was looked for: a file that is no longer the growing one is complete by now.
                if at.read(&mut self.missed, &mut take)? {
                    return Ok(true);
                }
                follows |= number > at.cursor.file || id != at.cursor.header;
            } else {
                follows = true;
            }
            if !follows || !self.go_on(fs, layout)? {
                return Ok(false);
            }
        }
    }

    /// What it could not tell since it was last asked.
    pub fn take_missed(&mut self) -> Missed {
        std::mem::take(&mut self.missed)
    }

    /// To the file that the place is in, or else the next; `false` if it is yet to come.
    fn go_on(&mut self, fs: &dyn Fs, layout: &Layout) -> io::Result<bool> {
        let growing = growing(fs, layout)?;
        let mut sources = sealed(fs, layout)?;
        if let Some(growing) = &growing {
            sources.retain(|source| source.number < growing.number);
        }
        let read = matches!(self.at, At::In(_));
        let from = self.cursor().clone();
        let there = |number| sources.iter().any(|source| source.number == number);
        let is_last = growing.as_ref().is_some_and(|growing| growing.number == from.file);
        // Retention takes the oldest first, and numbers grow for ever.
        let older = sources.first().is_some_and(|source| source.number < from.file);
        let younger = growing.as_ref().is_some_and(|growing| growing.number >= from.file);
        let others = !read
            && from.file > 0
            && growing.is_some()
            && !there(from.file)
            && !is_last
            && (older || !younger);
        let first = if others { 0 } else { from.file };
        self.missed.others |= others;
        for source in sources.into_iter().filter(|source| source.number >= first) {
            let number = source.number;
            let Ok((file, _)) = source.open(fs) else { continue };
            let id = peek(file.as_ref()).header.map(|header| header.id).unwrap_or_default();
            // One of the number that was read last is another only if its header says so.
            if !read || number > from.file || id != from.header {
                self.enter(Growing { number, id, file }, &from, read, others);
                return Ok(true);
            }
        }
        let growing = growing.filter(|growing| growing.number >= first);
        let growing =
            growing.filter(|growing| !read || growing.number > from.file || growing.id != from.header);
        let is_there = growing.is_some();
        if let Some(growing) = growing {
            self.enter(growing, &from, read, others);
        }
        Ok(is_there)
    }

    /// Enters a file: that of the cursor where the cursor stands, another at its beginning.
    fn enter(&mut self, next: Growing, from: &Cursor, read: bool, others: bool) {
        if !others && from.file > 0 {
            let (first, at) = if read { (from.file + 1, 0) } else { (from.file, from.at()) };
            self.missed.evicted(first..next.number, at);
        }
        let mut following = Following::from(next);
        if following.cursor.is_in_file_of(from) {
            if from.holds(following.file.as_ref()) {
                following.cursor = from.clone();
            } else {
                self.missed.rewritten = true;
            }
        }
        self.at = At::In(following);
    }
}

impl From<Growing> for Following {
    fn from(Growing { number, id, file }: Growing) -> Self {
        Self { file, cursor: Cursor { header: id, ..Cursor::before(number) } }
    }
}

impl Following {
    /// Reads until `take` says that this is enough: then `true`.
    fn read(
        &mut self,
        missed: &mut Missed,
        take: &mut impl FnMut(u64, &Object<'_>) -> bool,
    ) -> io::Result<bool> {
        let len = uninterrupted(|| self.file.len())?;
        let mut reader = FlowReader::resume(self.file.as_ref(), len, &self.cursor.bookmark);
        let mut enough = false;
        while !enough && let Some(item) = reader.next() {
            match item {
                FlowItem::Object(object) => {
                    self.cursor.tail = Tail::of(object.bytes, object.at);
                    enough = !take(self.cursor.file, &object);
                }
                FlowItem::Lost(range) => missed.damaged += range.end - range.start,
                FlowItem::Header(..) | FlowItem::Cut(_) => {}
            }
        }
        self.cursor.bookmark = reader.bookmark();
        Ok(enough)
    }
}
