//! Capture files analysed afresh, as one stream, whether or not Tapkeep has recorded them: the same flows and findings as a replay
//! gives.

use std::path::PathBuf;

use super::analysis::{AnalysisError, Named, named};
use crate::capture::replay::Import;
use crate::detect::stream::{Output, Stream};
use crate::detect::{Finding, Settings};
use crate::flow::record::FlowRecord;
use crate::packet::{Frame, LinkType, Place, Precision};
use crate::store::format::{FILE_HEADER, RECORD_HEADER};
use crate::store::layout::Layout;
use crate::store::scan::{End, Reader, ScanError};
use crate::sys::fs::Fs;

/// What a fresh analysis gives, as it comes.
pub trait Sink {
    /// Whether it wants records; if not, none are made.
    const RECORDS: bool = true;
    /// A flow record; its places are index numbers of own files, of others the number of the file in the list, from 1, and offsets
    /// as in a plain PCAP file.
    fn record(&mut self, record: FlowRecord);
    /// A finding; one with the id of an earlier one takes its place.
    fn finding(&mut self, finding: Finding);
    /// A packet of the stream, for what rests on it.
    fn packet(&mut self, stamp: crate::packet::Nanos) {
        let _ = stamp;
    }
}

/// Analyses files in this order as one stream; returns notes on what could not be read.
///
/// # Errors
/// If a file is not there or is no capture file.
pub fn analyse<S: Sink>(
    layout: &Layout,
    fs: &dyn Fs,
    files: &[PathBuf],
    settings: &Settings,
    sink: &mut S,
) -> Result<Vec<String>, AnalysisError> {
    let mut stream = Stream::new(settings);
    if !S::RECORDS {
        stream.leave_out_records();
    }
    let mut fresh = Fresh { stream, out: Output::default(), sink, notes: Vec::new() };
    for (at, path) in files.iter().enumerate() {
        match named(layout, fs, path)? {
            Named::Own(name) => {
                let opened = layout.open_capture(fs, name);
                match opened.map_err(|source| ScanError::Io { offset: 0, source }) {
                    Ok((file, _)) => fresh.own(name.number(), Reader::open(&*file), &name.to_string()),
                    Err(error) => fresh.notes.push(format!("read {name}: {error}")),
                }
            }
            Named::Foreign => fresh.foreign(at as u64 + 1, Import::open(path)?),
        }
    }
    fresh.stream.finish(&mut fresh.out);
    fresh.hand_on();
    Ok(fresh.notes)
}

struct Fresh<'a, S> {
    stream: Stream,
    out: Output,
    sink: &'a mut S,
    notes: Vec<String>,
}

impl<S: Sink> Fresh<'_, S> {
    #[inline]
    fn packet(&mut self, link: LinkType, place: Place, frame: &Frame<'_>, precision: Precision) {
        self.sink.packet(frame.nanos(precision));
        self.stream.frame(link, place, frame, precision, &mut self.out);
        if !self.out.records.is_empty() || !self.out.findings.is_empty() {
            self.hand_on();
        }
    }

    fn hand_on(&mut self) {
        self.out.records.drain(..).for_each(|record| self.sink.record(record));
        self.out.findings.drain(..).for_each(|finding| self.sink.finding(finding));
    }

    fn own(&mut self, file: u64, reader: Result<Reader<'_>, ScanError>, name: &str) {
        let read = (|| {
            let mut reader = reader?;
            let format = reader.format();
            while let Some((offset, frame)) = reader.next_record()? {
                self.packet(format.link, Place { file, offset }, &frame, format.precision);
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
                Ok(None) => break,
                Err(error) => {
                    self.notes.push(error.to_string());
                    break;
                }
            }
        }
    }
}
