//! The flow files of a data directory in order, and following the growing one across rotations and restarts.

use std::io;
use std::path::PathBuf;

use super::super::layout::Layout;
use super::super::names::{FlowName, FlowRole};
use super::super::sequence::Bookmark;
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

/// Follows the flow files from now on.
#[derive(Default)]
pub struct Follower {
    at: Option<Following>,
    /// Index numbers of files that retention took before they were read.
    overtaken: u64,
}

struct Following {
    number: u64,
    id: String,
    file: Box<dyn FsFile>,
    bookmark: Bookmark,
}

impl Follower {
    /// Begins at the end of what is there; without a growing file, at the beginning of the first one to come.
    pub fn new(fs: &dyn Fs, layout: &Layout) -> io::Result<Self> {
        let mut follower = Self::default();
        if let Some(growing) = growing(fs, layout)? {
            follower.at = Some(Following::from(growing));
            follower.poll(fs, layout, |_, _| {})?;
        }
        Ok(follower)
    }

    /// Hands over what came since the last time, each object with the number of its file.
    pub fn poll(
        &mut self,
        fs: &dyn Fs,
        layout: &Layout,
        mut take: impl FnMut(u64, &Object<'_>),
    ) -> io::Result<()> {
        loop {
            let growing = growing(fs, layout)?;
            let Some(at) = &mut self.at else {
                let Some(growing) = growing else { return Ok(()) };
                self.at = Some(growing.into());
                continue;
            };
            // Read after the growing one was looked for: a file that is no longer the growing one is complete by now.
            at.read(&mut take)?;
            match growing {
                Some(growing) if growing.number > at.number => self.go_on(fs, layout, growing)?,
                Some(growing) if growing.id != at.id => self.at = Some(growing.into()),
                _ => return Ok(()),
            }
        }
    }

    /// Files that were gone before they were read, since last asked.
    pub fn take_overtaken(&mut self) -> u64 {
        std::mem::take(&mut self.overtaken)
    }

    /// To the next file: a sealed one, or the growing one.
    fn go_on(&mut self, fs: &dyn Fs, layout: &Layout, growing: Growing) -> io::Result<()> {
        let (before, id) = self.at.as_ref().map_or((0, ""), |at| (at.number, at.id.as_str()));
        let between = sealed(fs, layout)?
            .into_iter()
            .filter(|source| source.number >= before && source.number < growing.number);
        let mut next = None;
        for source in between {
            let number = source.number;
            let Ok((file, _)) = source.open(fs) else { continue };
            let found = peek(file.as_ref()).header.map(|header| header.id).unwrap_or_default();
            // One of the number that was read last is another only if its header says so.
            if number > before || found != id {
                next = Some(Growing { number, id: found, file });
                break;
            }
        }
        let next = next.unwrap_or(growing);
        self.overtaken += next.number.saturating_sub(before + 1);
        self.at = Some(next.into());
        Ok(())
    }
}

impl From<Growing> for Following {
    fn from(Growing { number, id, file }: Growing) -> Self {
        Self { number, id, file, bookmark: Bookmark::default() }
    }
}

impl Following {
    fn read(&mut self, take: &mut impl FnMut(u64, &Object<'_>)) -> io::Result<()> {
        let len = uninterrupted(|| self.file.len())?;
        let mut reader = FlowReader::resume(self.file.as_ref(), len, &self.bookmark);
        while let Some(item) = reader.next() {
            if let FlowItem::Object(object) = item {
                take(self.number, &object);
            }
        }
        self.bookmark = reader.bookmark();
        Ok(())
    }
}
