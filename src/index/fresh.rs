//! Capture files analysed afresh, as one stream, whether or not Tapkeep has recorded them: the same flows and findings as a replay
//! gives.

use std::path::PathBuf;

use super::analysis::{AnalysisError, Named, named};
use crate::capture::replay::Import;
use crate::detect::Settings;
use crate::detect::stream::{self, Stream};
use crate::packet::{Frame, LinkType, Place, Precision};
use crate::store::format::{FILE_HEADER, RECORD_HEADER};
use crate::store::layout::Layout;
use crate::store::progress::{Walk, Watch};
use crate::store::scan::{End, Reader, ScanError};
use crate::sys::fs::Fs;

/// Takes what a fresh analysis gives, as it comes. Places are index numbers of own files, of others the number of the file in the
/// list, from 1, and offsets as in a plain PCAP file.
pub trait Sink: stream::Sink {
    /// Whether it wants records; if not, none are made.
    const RECORDS: bool = true;
    /// A packet of the stream, for what rests on it.
    fn packet(&mut self, stamp: crate::packet::Nanos) {
        let _ = stamp;
    }
}

/// Analyses files in this order as one stream for whoever waits; returns notes on what could not be read. What was given up is worth
/// nothing.
///
/// # Errors
/// If a file is not there or is no capture file.
pub fn analyse<S: Sink>(
    layout: &Layout,
    fs: &dyn Fs,
    files: &[PathBuf],
    settings: &Settings,
    sink: &mut S,
    watch: Watch<'_>,
) -> Result<Vec<String>, AnalysisError> {
    let mut stream = Stream::new(settings);
    if !S::RECORDS {
        stream.leave_out_records();
    }
    let kinds = files.iter().map(|path| named(layout, fs, path)).collect::<Result<Vec<_>, _>>()?;
    let size = |kind: &Named| match kind {
        Named::Own(name) => layout.open_capture(fs, *name).and_then(|(file, _)| file.len()).unwrap_or(0),
        Named::Foreign { size } => *size,
    };
    let sizes: Vec<_> = kinds.iter().map(size).collect();
    let walk = Walk::new(sizes.iter().sum(), watch);
    let mut fresh = Fresh { stream, sink, notes: Vec::new(), walk };
    for (at, (path, (kind, size))) in files.iter().zip(kinds.into_iter().zip(sizes)).enumerate() {
        if !fresh.walk.begin(size) {
            break;
        }
        match kind {
            Named::Own(name) => {
                let opened = layout.open_capture(fs, name);
                match opened.map_err(|source| ScanError::Io { offset: 0, source }) {
                    Ok((file, _)) => fresh.own(name.number(), Reader::open(&*file), &name.to_string()),
                    Err(error) => fresh.notes.push(format!("read {name}: {error}")),
                }
            }
            Named::Foreign { .. } => fresh.foreign(at as u64 + 1, Import::open(path)?),
        }
    }
    fresh.stream.finish(fresh.sink);
    Ok(fresh.notes)
}

struct Fresh<'a, S> {
    stream: Stream,
    sink: &'a mut S,
    notes: Vec<String>,
    walk: Walk<'a>,
}

impl<S: Sink> Fresh<'_, S> {
    #[inline]
    fn packet(&mut self, link: LinkType, place: Place, frame: &Frame<'_>, precision: Precision) {
        self.sink.packet(frame.nanos(precision));
        self.stream.frame(link, place, frame, precision, self.sink);
    }

    fn own(&mut self, file: u64, reader: Result<Reader<'_>, ScanError>, name: &str) {
        let read = (|| {
            let mut reader = reader?;
            let format = reader.format();
            while let Some((offset, frame)) = reader.next_record()? {
                self.packet(format.link, Place { file, offset }, &frame, format.precision);
                if !self.walk.record(|| offset) {
                    break;
                }
            }
            Ok::<_, ScanError>((reader.end(), reader.offset()))
        })();
        match read {
            Ok((End::Clean | End::Cut, _)) => {}
            Ok((end, offset)) => self.notes.push(format!("{name} {} at byte {offset}", end.as_str())),
            Err(error) => self.notes.push(format!("read {name}: {error}")),
        }
    }

    fn foreign(&mut self, file: u64, mut import: Import) {
        let mut offset = FILE_HEADER as u64;
        loop {
            match import.next() {
                Ok(Some(packet)) => {
                    let place = Place { file, offset };
                    offset += (RECORD_HEADER + packet.frame.data.len()) as u64;
                    self.packet(packet.link, place, &packet.frame, packet.precision);
                }
                Ok(None) => return self.notes.extend(import.cut()),
                Err(error) => return self.notes.push(error.to_string()),
            }
            if !self.walk.record(|| import.position()) {
                return;
            }
        }
    }
}
