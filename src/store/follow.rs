//! Following the capture files: records as they are written, in order, across rotations and restarts.

use std::io;
use std::ops::Range;

use super::format::{FILE_HEADER, Format};
use super::layout::Layout;
use super::names::{CaptureName, Role};
use super::scan::{End, Reader, ScanError};
use crate::packet::{Frame, Place};
use crate::sys::fs::{Fs, FsFile, uninterrupted};

/// The capture file cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The directory of captures cannot be listed.
    #[error("list the capture files: {0}")]
    List(#[source] io::Error),
    /// A file cannot be read.
    #[error("read {name}: {source}")]
    Read {
        /// Which.
        name: CaptureName,
        /// Why.
        #[source]
        source: ScanError,
    },
    /// What came could not be handed on.
    #[error(transparent)]
    Take(io::Error),
}

/// What stands between two packets that it hands over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missed {
    /// There are no files of these index numbers, any more or at all.
    Gone(Range<u64>),
    /// This file ends in something that is no record.
    Damaged(CaptureName, End),
}

/// Where it is.
struct At {
    name: CaptureName,
    file: Box<dyn FsFile>,
    format: Format,
    offset: u64,
}

/// Follows the capture files of a data directory. Nobody waits for it: what retention takes before it was read is missed.
pub struct Follower {
    at: Option<At>,
    /// The next file is the first one that can be read with a higher index number.
    after: u64,
    missed: Vec<Missed>,
}

impl Follower {
    /// Begins with the file of that number, or the first one after it.
    pub fn from(fs: &dyn Fs, layout: &Layout, number: u64) -> Result<Self, FollowError> {
        let mut follower = Self { at: None, after: number.saturating_sub(1), missed: Vec::new() };
        follower.go_on(fs, layout, &files(fs, layout)?)?;
        Ok(follower)
    }

    /// Begins behind the last packet that is there; without a file, with the first one to come.
    pub fn at_end(fs: &dyn Fs, layout: &Layout) -> Result<Self, FollowError> {
        let newest = files(fs, layout)?.last().map_or(0, |name| name.number());
        let mut follower = Self::from(fs, layout, newest)?;
        if let Some(at) = &mut follower.at {
            at.read(&mut |_, _, _| Ok(()))?;
        }
        Ok(follower)
    }

    /// The format of the file that is being read, once there is one.
    pub fn format(&self) -> Option<Format> {
        self.at.as_ref().map(|at| at.format)
    }

    /// Hands over the records that came since the last time; none, but then [`Follower::format`] is known, when the first file
    /// was found.
    pub fn poll(&mut self, fs: &dyn Fs, layout: &Layout, take: &mut Take<'_>) -> Result<(), FollowError> {
        loop {
            // Listed before it is read: what is not the newest one by then is complete.
            let names = files(fs, layout)?;
            let Some(at) = &mut self.at else { return self.go_on(fs, layout, &names).map(drop) };
            let (name, end) = (at.name, at.read(take)?);
            if !self.go_on(fs, layout, &names)? {
                return Ok(());
            }
            // What a crash cut off is no packet.
            if matches!(end, End::Implausible | End::LostPage) {
                self.missed.push(Missed::Damaged(name, end));
            }
        }
    }

    /// What was missed since last asked.
    pub fn take_missed(&mut self) -> Vec<Missed> {
        std::mem::take(&mut self.missed)
    }

    /// To the next file, if there is one.
    fn go_on(&mut self, fs: &dyn Fs, layout: &Layout, names: &[CaptureName]) -> Result<bool, FollowError> {
        for &name in names.iter().filter(|name| name.number() > self.after) {
            let Some(at) = At::open(fs, layout, name)? else { continue };
            let gone = self.after + 1..name.number();
            if self.at.is_some() && !gone.is_empty() {
                self.missed.push(Missed::Gone(gone));
            }
            (self.at, self.after) = (Some(at), name.number());
            return Ok(true);
        }
        Ok(false)
    }
}

/// Takes a record and where it lies.
pub type Take<'a> = dyn FnMut(&Format, Place, &Frame<'_>) -> io::Result<()> + 'a;

/// The names of all captures, growing ones included, lowest index number first.
fn files(fs: &dyn Fs, layout: &Layout) -> Result<Vec<CaptureName>, FollowError> {
    let listing = match uninterrupted(|| fs.read_dir(&layout.captures())) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        listing => listing.map_err(FollowError::List)?,
    };
    let name = |entry: &crate::sys::fs::Entry| match CaptureName::parse(&entry.name)? {
        (name, Role::Sealed | Role::Part) => Some(name),
        _ => None,
    };
    let mut names: Vec<_> = listing.iter().filter_map(name).collect();
    names.sort_by_key(|name| name.number());
    // Sealed while the directory was listed, a file may be in it twice.
    names.dedup();
    Ok(names)
}

impl At {
    /// `None` if it is gone by now, or has no header, as one that has just been created.
    fn open(fs: &dyn Fs, layout: &Layout, name: CaptureName) -> Result<Option<Self>, FollowError> {
        let failed = |source| FollowError::Read { name, source };
        let file = match uninterrupted(|| layout.open_capture(fs, name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|source| failed(ScanError::Io { offset: 0, source }))?.0,
        };
        let format = match Reader::open(file.as_ref()) {
            Err(ScanError::Short | ScanError::Header) => return Ok(None),
            reader => reader.map_err(failed)?.format(),
        };
        Ok(Some(Self { name, file, format, offset: FILE_HEADER as u64 }))
    }

    /// Hands on what there is; tells why there is no more.
    fn read(&mut self, take: &mut Take<'_>) -> Result<End, FollowError> {
        let Self { name, file, format, offset } = self;
        let failed = |source| FollowError::Read { name: *name, source };
        let mut reader = Reader::open(file.as_ref()).map_err(failed)?;
        reader.seek(*offset);
        while let Some((at, frame)) = reader.next_record().map_err(failed)? {
            take(format, Place { file: name.number(), offset: at }, &frame).map_err(FollowError::Take)?;
        }
        *offset = reader.offset();
        Ok(reader.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{LinkType, MAX_SNAPLEN, Precision};
    use crate::store::format::RecordHeader;
    use crate::sys::fs::RealFs;

    #[test]
    fn from_nothing_it_misses_not_the_first_record_and_tells_of_files_that_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, fs) = (Layout::new(dir.path()), RealFs::default());
        let mut follower = Follower::at_end(&fs, &layout).unwrap();
        let mut told = Vec::new();
        let mut poll = |follower: &mut Follower| {
            let mut take = |_: &Format, place: Place, _: &Frame<'_>| {
                told.push((place.file, place.offset));
                Ok(())
            };
            follower.poll(&fs, &layout, &mut take).unwrap();
            told.clone()
        };
        assert_eq!(poll(&mut follower), []);
        std::fs::create_dir(layout.captures()).unwrap();
        for number in [1, 4] {
            let format =
                Format { link: LinkType::ETHERNET, precision: Precision::Micro, snaplen: MAX_SNAPLEN };
            let frame = Frame { sec: 1, frac: 1, wire_len: 60, data: &[7; 60] };
            let bytes = [&format.encode()[..], &RecordHeader::of(&frame).encode(), frame.data].concat();
            let name = CaptureName::new(number, 1).file_name(Role::Part);
            std::fs::write(layout.captures().join(name), bytes).unwrap();
            poll(&mut follower);
        }
        assert_eq!(poll(&mut follower), [(1, 24), (4, 24)]);
        assert_eq!(follower.take_missed(), [Missed::Gone(2..4)]);
    }
}
