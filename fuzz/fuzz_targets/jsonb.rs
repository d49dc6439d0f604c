//! Any bytes that are said to be JSONB, one element or a sequence with checkpoints.
#![no_main]

use std::io;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tapkeep::flow::jsonb::{decode, encode, object_len};
use tapkeep::flow::record::FlowRecord;
use tapkeep::store::sequence::{Item, SequenceReader};
use tapkeep::sys::fs::FsFile;

/// A file in memory that can only be read.
struct Bytes(Vec<u8>);

impl FsFile for Bytes {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..)).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn start_writeback(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn reserve(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fuzz_target!(|input: &[u8]| {
    let _ = object_len(input);
    let _ = decode::<FlowRecord>(input);
    if let Ok((value, len)) = decode::<Value>(input) {
        assert!(len <= input.len());
        // What was read can be written, and reads the same.
        let mut written = Vec::new();
        if encode(&value, &mut written).is_ok() {
            let (again, len) = decode::<Value>(&written).expect("our own bytes");
            assert_eq!((again, len), (value, written.len()));
        }
    }

    let file = Bytes(input.to_vec());
    let mut reader = SequenceReader::new(&file, input.len() as u64, 1 << 16);
    let mut told = 0;
    while let Some(item) = reader.next() {
        let (from, to) = match item {
            Item::Header(..) => continue,
            Item::Record { at, object, .. } => (at, at + object.len() as u64),
            Item::Lost(range) | Item::Cut(range) => (range.start, range.end),
        };
        assert!(told <= from && from <= to && to <= input.len() as u64);
        told = to;
    }
});
