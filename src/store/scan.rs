//! What a capture file holds, read from the file itself: for the one being written, and for files of which the ledger
//! knows nothing. Reads in pieces of 1 MiB whatever the file; never writes.

use std::io;

use super::block::Tally;
use super::catalog::Unknown;
use super::facts::{CaptureFacts, State};
use super::format::{FILE_HEADER, Format, RECORD_HEADER, RecordHeader};
use super::losses::Losses;
use super::names::Role;
use crate::packet::{Frame, MAX_SNAPLEN};
use crate::sys::fs::{FsFile, read_full};

/// Bytes read at a time; more than the longest record.
const PIECE: usize = 1 << 20;
const _: () = assert!(PIECE > MAX_SNAPLEN as usize + RECORD_HEADER);

/// Counts the records of a capture file that Tapkeep wrote, up to the first that is cut or cannot be one; returns the
/// file's format, what was counted, and the length up to which the file is sound.
///
/// # Errors
/// Those of reading; `UnexpectedEof` if the file ends within its header, `InvalidData` if the header is not ours.
pub fn tally(file: &dyn FsFile) -> io::Result<(Format, Tally, u64)> {
    let mut header = [0; FILE_HEADER];
    if read_full(file, &mut header, 0)? < FILE_HEADER {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let format = Format::decode(&header).ok_or(io::ErrorKind::InvalidData)?;
    let (mut tally, mut sound) = (Tally::default(), FILE_HEADER as u64);
    let mut piece = vec![0; PIECE];
    loop {
        let len = read_full(file, &mut piece, sound)?;
        let (used, ended) = count(&piece[..len], &format, &mut tally);
        sound += used as u64;
        if ended || used == 0 {
            return Ok((format, tally, sound));
        }
    }
}

/// Counts the whole records at the front of `bytes`; returns their length, and whether what follows cannot be a record.
fn count(bytes: &[u8], format: &Format, tally: &mut Tally) -> (usize, bool) {
    let mut at = 0;
    while let Some(header) = RecordHeader::decode(&bytes[at..]) {
        let plausible = (1..=format.snaplen).contains(&header.captured)
            && header.captured <= header.wire_len
            && header.frac < format.precision.per_second();
        if !plausible {
            return (at, true);
        }
        if bytes.len() - at < header.record_len() {
            break;
        }
        let frame = Frame { sec: header.sec, frac: header.frac, wire_len: header.wire_len, data: &[] };
        tally.count(frame.nanos(format.precision), header.wire_len);
        at += header.record_len();
    }
    (at, false)
}

/// The facts of a file of which nothing was known. What it misses nobody counted; where its records end before it does,
/// the rest is doubtful; a header that cannot be read leaves nothing but the size.
///
/// # Errors
/// Those of reading.
pub fn facts(unknown: &Unknown, file: &dyn FsFile) -> io::Result<CaptureFacts> {
    let mut facts = unreadable(unknown);
    if unknown.role == Role::Damaged {
        return Ok(facts);
    }
    match tally(file) {
        Ok((_, tally, sound)) => {
            facts.set_tally(&tally);
            if sound == unknown.size {
                facts.state = State::Sealed;
            } else {
                facts.doubtful_from = Some(sound);
            }
            Ok(facts)
        }
        Err(e) if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) => Ok(facts),
        Err(e) => Err(e),
    }
}

/// The facts of a file that cannot be read.
pub fn unreadable(unknown: &Unknown) -> CaptureFacts {
    CaptureFacts {
        name: unknown.name,
        state: State::Damaged,
        packets: 0,
        bytes: 0,
        size: unknown.size,
        first: None,
        last: None,
        losses: Losses::UNKNOWN,
        clock_synchronised: false,
        doubtful_from: None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::packet::{LinkType, Precision};
    use crate::store::names::CaptureName;
    use crate::sys::fs::{Fs, RealFs};

    const FORMAT: Format =
        Format { link: LinkType::ETHERNET, precision: Precision::Nano, snaplen: MAX_SNAPLEN };

    fn record(sec: u32, len: usize) -> Vec<u8> {
        let data = vec![7; len];
        let frame = Frame { sec, frac: 1, wire_len: len as u32 + 4, data: &data };
        [&RecordHeader::of(&frame).encode()[..], &data].concat()
    }

    fn open(bytes: &[u8]) -> Box<dyn FsFile> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        RealFs::default().open_read(file.path()).unwrap()
    }

    #[test]
    fn capinfos_counts_the_same() {
        let mut bytes = FORMAT.encode().to_vec();
        for i in 0..40 {
            bytes.extend(record(1_700_000_000 + i, 1 + (i as usize * 6_553) % MAX_SNAPLEN as usize));
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        let (format, tally, sound) = tally(&*RealFs::default().open_read(file.path()).unwrap()).unwrap();
        assert_eq!((format, sound), (FORMAT, bytes.len() as u64));
        let Ok(out) = std::process::Command::new("capinfos").args(["-Tmrcd"]).arg(file.path()).output()
        else {
            eprintln!("SKIPPED: capinfos is not installed");
            return;
        };
        let out = String::from_utf8(out.stdout).unwrap();
        let wanted = format!(",{},{}", tally.packets, tally.wire_bytes);
        assert!(out.trim_end().ends_with(&wanted), "capinfos says {out}, we {wanted}");
    }

    #[test]
    fn what_cannot_be_a_record_ends_the_count() {
        let sound = [&FORMAT.encode()[..], &record(5, 10)].concat();
        let header =
            |captured, wire_len, frac| RecordHeader { sec: 5, frac, captured, wire_len }.encode().to_vec();
        for tail in
            [vec![0; 4096], header(MAX_SNAPLEN + 1, u32::MAX, 0), header(9, 8, 0), header(9, 9, 1 << 30)]
        {
            let (_, tally, len) = tally(&*open(&[&sound[..], &tail, &record(6, 10)].concat())).unwrap();
            assert_eq!((tally.packets, len), (1, sound.len() as u64));
        }
    }

    #[test]
    fn an_unknown_file_gets_the_facts_it_can_have() {
        let sound = [&FORMAT.encode()[..], &record(5, 10)].concat();
        let facts_of = |bytes: &[u8]| {
            let unknown =
                Unknown { name: CaptureName::new(1, 5), role: Role::Sealed, size: bytes.len() as u64 };
            facts(&unknown, &*open(bytes)).unwrap()
        };
        let whole = facts_of(&sound);
        assert_eq!((whole.state, whole.packets, whole.losses), (State::Sealed, 1, Losses::UNKNOWN));
        let cut = facts_of(&[&sound[..], &[1, 2, 3]].concat());
        assert_eq!((cut.state, cut.doubtful_from), (State::Damaged, Some(sound.len() as u64)));
        for bytes in [&b""[..], &[0xff; 24]] {
            assert_eq!((facts_of(bytes).state, facts_of(bytes).packets), (State::Damaged, 0));
        }
    }

    proptest! {
        #[test]
        fn every_prefix_counts_its_whole_records(lens in prop::collection::vec(1_usize..3_000, 1..40), cut in any::<prop::sample::Index>()) {
            let mut bytes = FORMAT.encode().to_vec();
            let mut ends = vec![bytes.len()];
            for len in lens {
                bytes.extend(record(5, len));
                ends.push(bytes.len());
            }
            let len = FILE_HEADER + cut.index(bytes.len() - FILE_HEADER + 1);
            let (_, tally, sound) = tally(&*open(&bytes[..len])).unwrap();
            let whole = ends.iter().filter(|end| **end <= len).count() - 1;
            prop_assert_eq!((tally.packets, sound), (whole as u64, ends[whole] as u64));
        }
    }
}
