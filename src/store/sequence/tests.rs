use std::io;
use std::ops::Range;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::flow::jsonb;
use crate::sys::fs::FsFile;

/// A file in memory; one of its pages may be unreadable.
struct Bytes(Vec<u8>, Option<u64>);

impl FsFile for Bytes {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.1.is_some_and(|bad| offset < bad + 4096 && bad < offset + buf.len() as u64) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let rest = &self.0[self.0.len().min(offset as usize)..];
        let n = rest.len().min(buf.len()).min(5000);
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
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

/// A file of segments, each with a checkpoint at its end, and records behind the last.
#[derive(Debug)]
struct Sample {
    bytes: Vec<u8>,
    segments: Vec<(Range<u64>, Vec<Value>)>,
    tail: Vec<Value>,
}

fn sample(segments: &[Vec<Vec<u8>>], tail: &[Vec<u8>]) -> Sample {
    let mut bytes = Vec::new();
    let mut writer = SequenceWriter::begin("test", 1, 0x0123_4567_89ab_cdef, &mut bytes).unwrap();
    let mut number = 0;
    let mut write = |writer: &mut SequenceWriter, bytes: &mut Vec<u8>, filler: &Vec<u8>| {
        number += 1;
        let record = json!({"n": number, "text": String::from_utf8_lossy(filler)});
        writer.record(&record, bytes).unwrap();
        record
    };
    let mut sample = Sample { bytes: Vec::new(), segments: Vec::new(), tail: Vec::new() };
    let mut start = 0;
    for segment in segments {
        let records = segment.iter().map(|filler| write(&mut writer, &mut bytes, filler)).collect();
        writer.checkpoint(&mut bytes).unwrap();
        sample.segments.push((start..writer.offset(), records));
        start = writer.offset();
    }
    sample.tail = tail.iter().map(|filler| write(&mut writer, &mut bytes, filler)).collect();
    assert_eq!(writer.offset(), bytes.len() as u64);
    Sample { bytes, ..sample }
}

fn any_sample() -> impl Strategy<Value = Sample> {
    // No object ends in a zero: behind the last checkpoint that would be taken for what a crash left.
    let bytes = || prop::collection::vec(any::<u8>(), 0..300);
    let filler = || {
        prop_oneof![
            8 => bytes().prop_map(|bytes| [bytes, vec![1]].concat()),
            1 => (60_000_usize..70_000).prop_map(|len| vec![b'x'; len]),
        ]
    };
    let segments = prop::collection::vec(prop::collection::vec(filler(), 0..6), 0..6);
    (segments, prop::collection::vec(filler(), 0..3)).prop_map(|(segments, tail)| sample(&segments, &tail))
}

#[derive(Debug, Default, PartialEq)]
struct Told {
    header: Option<Trust>,
    verified: Vec<Value>,
    unverified: Vec<Value>,
    lost: Vec<Range<u64>>,
    cut: Option<Range<u64>>,
    end: Option<End>,
}

fn tell(file: &Bytes) -> Told {
    let mut reader = SequenceReader::new(file, file.0.len() as u64, 1 << 20);
    let mut told = Told::default();
    while let Some(item) = reader.next() {
        match item {
            Item::Header(header, trust) => {
                assert!(header.version == 1 || trust == Trust::Unverified);
                told.header = Some(trust);
            }
            Item::Record { object, trust, .. } => {
                let value = jsonb::decode(object).map_or(Value::Null, |(value, _)| value);
                match trust {
                    Trust::Verified => told.verified.push(value),
                    Trust::Unverified => told.unverified.push(value),
                }
            }
            Item::Lost(range) => told.lost.push(range),
            Item::Cut(range) => assert_eq!(told.cut.replace(range), None),
        }
    }
    told.end = reader.end();
    told
}

/// What must be told, and verified, of a file of which only the bytes in `damage` differ.
fn sound_records(sample: &Sample, damage: &Range<u64>) -> Vec<Value> {
    let hit = |range: &Range<u64>| range.start < damage.end && damage.start < range.end;
    let sound = sample.segments.iter().filter(|(range, _)| !hit(range));
    sound.flat_map(|(_, records)| records.clone()).collect()
}

proptest! {
    #[test]
    fn a_sound_file_is_told_in_full(sample in any_sample()) {
        let told = tell(&Bytes(sample.bytes.clone(), None));
        let trust = if sample.segments.is_empty() { Trust::Unverified } else { Trust::Verified };
        let end = End { id: "0123456789abcdef".to_owned(), offset: sample.bytes.len() as u64 };
        prop_assert_eq!(told, Told {
            header: Some(trust),
            verified: sound_records(&sample, &(0..0)),
            unverified: sample.tail.clone(),
            end: (!sample.segments.is_empty() && sample.tail.is_empty()).then_some(end),
            ..Told::default()
        });
    }

    #[test]
    fn a_prefix_is_told_up_to_its_last_whole_object(sample in any_sample(), cut in any::<prop::sample::Index>()) {
        let len = cut.index(sample.bytes.len()) as u64;
        let told = tell(&Bytes(sample.bytes[..len as usize].to_vec(), None));
        prop_assert_eq!(told.lost, vec![]);
        prop_assert_eq!(&told.verified, &sound_records(&sample, &(len..u64::MAX)));
        let all: Vec<_> = sample.segments.iter().flat_map(|(_, r)| r).chain(&sample.tail).cloned().collect();
        let both = [told.verified, told.unverified].concat();
        prop_assert_eq!(&both[..], &all[..both.len()]);
        prop_assert!(told.cut.is_none_or(|cut| cut.end == len));
    }

    #[test]
    fn a_flipped_byte_costs_its_segment(
        sample in any_sample(),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let at = at.index(sample.bytes.len());
        let mut bytes = sample.bytes.clone();
        bytes[at] ^= flip;
        let damage = at as u64..at as u64 + 1;
        let told = tell(&Bytes(bytes, None));
        prop_assert_eq!(told.verified, sound_records(&sample, &damage));
        let told_tail = sample.tail.is_empty() || told.cut.is_some() || !told.unverified.is_empty();
        prop_assert!(told_tail);
        prop_assert_eq!(told.end, None);
    }

    #[test]
    fn a_zeroed_or_unreadable_page_costs_its_segments(
        sample in any_sample(),
        at in any::<prop::sample::Index>(),
        readable in any::<bool>(),
    ) {
        let start = at.index(sample.bytes.len()) / 4096 * 4096;
        let end = (start + 4096).min(sample.bytes.len());
        let damage = start as u64..end as u64;
        let told = if readable {
            let mut bytes = sample.bytes.clone();
            bytes[start..end].fill(0);
            tell(&Bytes(bytes, None))
        } else {
            tell(&Bytes(sample.bytes.clone(), Some(start as u64)))
        };
        prop_assert_eq!(told.verified, sound_records(&sample, &damage));
        for lost in told.lost {
            prop_assert!(lost.start <= damage.start && damage.start < lost.end, "{lost:?} {damage:?}");
        }
    }

    #[test]
    fn no_bytes_panic(mut bytes in any::<Vec<u8>>(), sample in any_sample(), at in any::<prop::sample::Index>()) {
        let at = at.index(sample.bytes.len());
        let moved = bytes.len() != at;
        bytes.extend(&sample.bytes[at..]);
        let told = tell(&Bytes(bytes, None));
        prop_assert!(!moved || told.verified.is_empty());
    }
}

#[test]
fn a_checkpoint_is_as_the_format_says() {
    let sample = sample(&[vec![b"x".to_vec()], vec![]], &[]);
    let (first, second) = (sample.segments[0].0.end as usize, sample.segments[1].0.end as usize);
    let crc = format!("{:08x}", crc32c::crc32c(&sample.bytes[first..second - 8]));
    let mut expected = b"\xcc\x5f\xa7checkpoint\xc7\x100123456789abcdef".to_vec();
    expected.extend(b"\x27at");
    expected.extend(b"\xc7\x14");
    expected.extend(format!("{first:020}\x57since").bytes());
    expected.extend(b"\xc7\x14");
    expected.extend(format!("{first:020}\x37crc").bytes());
    expected.push(0x87);
    expected.extend(crc.bytes());
    assert_eq!(sample.bytes[first..], expected);
    assert_eq!(second - first, 97);
}

#[test]
fn fields_may_be_added_to_a_checkpoint() {
    #[derive(Serialize)]
    struct Later<'a> {
        checkpoint: &'a str,
        at: &'a str,
        since: &'a str,
        through: [&'a str; 2],
        crc: &'a str,
    }
    let mut sample = sample(&[vec![]], &[vec![]]);
    let start = sample.segments[0].0.end as usize;
    let (at, since) = (offset_text(sample.bytes.len() as u64), offset_text(start as u64));
    let through = [since.as_str(), &at];
    let later = Later { checkpoint: "0123456789abcdef", at: &at, since: &since, through, crc: "........" };
    jsonb::encode(&later, &mut sample.bytes).unwrap();
    let digits = sample.bytes.len() - 8;
    let crc = crc_text(crc32c::crc32c(&sample.bytes[start..digits]));
    sample.bytes[digits..].copy_from_slice(crc.as_bytes());
    let told = tell(&Bytes(sample.bytes, None));
    assert_eq!((told.verified, told.unverified), (sample.tail, vec![]));
    assert!(told.end.is_some());
}

#[test]
fn what_another_file_left_behind_is_not_believed() {
    let mut bytes = sample(&[vec![b"x".to_vec()]], &[]).bytes;
    let start = bytes.len() as u64;
    let mut other = SequenceWriter::resume(End { id: "fedcba9876543210".to_owned(), offset: start });
    other.record(&json!({"stale": true}), &mut bytes).unwrap();
    other.checkpoint(&mut bytes).unwrap();
    let told = tell(&Bytes(bytes, None));
    assert_eq!((told.verified.len(), told.unverified), (1, vec![json!({"stale": true})]));
    assert_eq!(told.end, None);
}

#[test]
fn records_are_objects_of_bounded_length() {
    let mut bytes = Vec::new();
    let writer = SequenceWriter::begin("test", 1, 1, &mut bytes).unwrap();
    let (mut writer, before) = (writer.with_limit(100), bytes.clone());
    assert!(matches!(writer.record(&[1], &mut bytes), Err(SequenceError::NotAnObject)));
    let long = writer.record(&json!({"k": "x".repeat(100)}), &mut bytes);
    assert!(matches!(long, Err(SequenceError::TooLong { len: 106, limit: 100 })), "{long:?}");
    assert_eq!((bytes.len() as u64, &bytes), (writer.offset(), &before));

    let sample = sample(&[vec![vec![b'x'; 200_000]], vec![vec![]]], &[]);
    let file = Bytes(sample.bytes, None);
    let mut reader = SequenceReader::new(&file, file.0.len() as u64, 100_000);
    assert!(matches!(reader.next(), Some(Item::Header(..))));
    assert!(matches!(reader.next(), Some(Item::Lost(_))));
    assert!(matches!(reader.next(), Some(Item::Record { trust: Trust::Verified, .. })));
    assert_eq!(reader.next(), None);
}
