//! The reader on bytes that nobody vouches for.

use std::io;

use proptest::prelude::*;
use serde_json::json;

use super::super::outline::FooterObject;
use super::super::tally::Tally;
use super::*;
use crate::packet::Place;
use crate::store::losses::Losses;
use crate::store::sequence::SequenceWriter;

struct Bytes(Vec<u8>);

impl FsFile for Bytes {
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
    fn start_writeback(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn reserve(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

/// A file of segments with so many records each, and a footer if it is `sealed`; and where each object ends.
fn file(segments: &[usize], sealed: bool) -> (Vec<u8>, Vec<usize>) {
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        id: "0123456789abcdef".to_owned(),
        number: Some(7),
        began: Some(1),
    };
    let mut bytes = Vec::new();
    let mut writer = SequenceWriter::begin_with(&header, &mut bytes).unwrap();
    let mut ends = vec![bytes.len()];
    let mut n = 0;
    let mut tally = Tally::default();
    for &records in segments {
        for _ in 0..records {
            let start = bytes.len();
            let record = json!({"flow_id": format!("1-{n}"), "part": 0, "final": true, "start": "2024-12-31T14:30:52.000000000Z",
                "end": "2024-12-31T14:30:53.000000000Z", "orig_packets": 1, "orig_bytes": 60, "sni": "x".repeat(n * 37 % 900),
                "captures": [[1, n, n]]});
            writer.record(&record, &mut bytes).unwrap();
            tally.absorb(&bytes[start..]);
            ends.push(bytes.len());
            n += 1;
        }
        let analysed = Some(Place { file: 1, offset: n as u64 });
        Position { analysed, oldest_open: None }.checkpoint(&mut writer, &mut bytes).unwrap();
        ends.push(bytes.len());
    }
    if sealed {
        writer.record(&FooterObject { footer: tally.footer(Losses::NONE) }, &mut bytes).unwrap();
        Position::default().checkpoint(&mut writer, &mut bytes).unwrap();
    }
    (bytes, ends)
}

/// The ids of the flows told, with their trust; the ranges told must lie one behind the other.
fn read(bytes: &[u8]) -> Vec<(String, Trust)> {
    let file = Bytes(bytes.to_vec());
    let mut reader = FlowReader::new(&file, bytes.len() as u64);
    let (mut told, mut at) = (Vec::new(), 0);
    while let Some(item) = reader.next() {
        let range = match item {
            FlowItem::Header(..) => 0..0,
            FlowItem::Object(object) => {
                if object.kind == Kind::Record
                    && let Some(outline) = object.outline()
                {
                    told.push((outline.flow_id.into_owned(), object.trust));
                }
                let _ = (object.record(), object.fold(), object.footer());
                object.at..object.at + object.bytes.len() as u64
            }
            FlowItem::Lost(range) | FlowItem::Cut(range) => range,
        };
        assert!(range.start >= at || range == (0..0), "{range:?} behind {at}");
        at = at.max(range.end);
    }
    assert!(at <= bytes.len() as u64);
    told
}

fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("1-{n}")).collect()
}

proptest! {
    #[test]
    fn no_bytes_panic(noise in prop::collection::vec(any::<u8>(), 0..2_000), at in any::<prop::sample::Index>(), headed in any::<bool>()) {
        let (mut bytes, _) = file(&[3, 2], headed);
        let at = at.index(bytes.len());
        bytes.splice(at..bytes.len().min(at + noise.len() / 2), noise.iter().copied());
        read(&bytes);
        read(&noise);
        for bytes in [bytes, noise] {
            let file = Bytes(bytes);
            let seen = peek(&file);
            prop_assert!(seen.end.is_none_or(|end| end.at <= file.0.len() as u64));
        }
    }

    #[test]
    fn a_flipped_bit_costs_at_most_its_segment(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let (mut bytes, ends) = file(&[4, 4, 4], true);
        let at = at.index(bytes.len());
        let hit = ends.iter().filter(|end| **end <= at).count();
        bytes[at] ^= 1 << bit;
        let told = read(&bytes);
        // Header, four records and a checkpoint; then five objects a segment.
        let segment = if hit <= 5 { 0 } else { ((hit - 1) / 5).min(3) };
        let left = ids(0..12).into_iter().enumerate().filter(|(n, _)| n / 4 != segment).map(|(_, id)| (id, Trust::Verified));
        let left: Vec<_> = left.collect();
        prop_assert_eq!(told, left, "byte {}", at);
        // And no position is believed behind what is lost.
        let file = Bytes(bytes);
        let mut reader = FlowReader::new(&file, file.0.len() as u64);
        while reader.next().is_some() {}
        let upto = reader.position().and_then(|position| position.analysed).map(|place| place.offset);
        prop_assert_eq!(upto.unwrap_or(0), 4 * segment.min(3) as u64);
    }

    #[test]
    fn a_growing_file_is_read_on_where_the_reading_stopped(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let (bytes, _) = file(&[5, 0, 7, 3], true);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).chain([bytes.len()]).collect();
        cuts.sort_unstable();
        let (mut bookmark, mut told) = (Bookmark::default(), Vec::new());
        for cut in cuts {
            let file = Bytes(bytes[..cut].to_vec());
            let mut reader = FlowReader::resume(&file, cut as u64, &bookmark);
            while let Some(item) = reader.next() {
                match item {
                    FlowItem::Object(object) if object.kind == Kind::Record => {
                        told.push(object.outline().unwrap().flow_id.into_owned());
                    }
                    FlowItem::Lost(range) => panic!("{range:?} is told as lost"),
                    _ => {}
                }
            }
            bookmark = reader.bookmark();
        }
        prop_assert_eq!(told, ids(0..15));
    }

    #[test]
    fn a_lost_page_in_a_tail_leaves_no_half_record(page in 0_usize..4) {
        let (mut bytes, ends) = file(&[2, 40], false);
        // Nothing vouches for the second segment.
        bytes.truncate(ends[ends.len() - 2]);
        let page = page * 4096 + 4096;
        let end = bytes.len().min(page + 4096);
        if page < end {
            bytes[page..end].fill(0);
            let whole = ends.iter().filter(|end| **end <= page).count();
            let told: Vec<_> = read(&bytes).into_iter().map(|(id, _)| id).collect();
            // The header and a checkpoint are among the objects.
            prop_assert_eq!(told, ids(0..whole - 2));
        }
    }
}

#[test]
fn both_ends_tell_of_a_sealed_file() {
    let (bytes, _) = file(&[3, 4], true);
    let file = Bytes(bytes);
    let seen = peek(&file);
    assert_eq!(seen.header.and_then(|header| header.number), Some(7));
    let footer = seen.footer.expect("a footer");
    assert_eq!((footer.records, footer.packets, footer.bytes), (7, 7, 420));
    assert_eq!(footer.last.unwrap() - footer.first.unwrap(), 1_000_000_000);
    let mut damaged = file.0.clone();
    let at = damaged.len() - 250;
    damaged[at] ^= 1;
    let seen = peek(&Bytes(damaged));
    assert_eq!(seen.footer, None, "its checkpoint does not vouch for it");
    assert_eq!(seen.position.unwrap().analysed, Some(Place { file: 1, offset: 7 }), "that before it does");
}
