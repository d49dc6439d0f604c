//! Files made byte by byte: what real ones do not show.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::*;

/// What is compared: seconds, fraction, length on the wire, bytes, link type.
type Packet = (u32, u32, u32, Vec<u8>, u16);

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn open(bytes: &[u8]) -> Result<Import, ImportError> {
    Import::open(file(bytes).path())
}

fn read(bytes: &[u8]) -> (Vec<Packet>, Result<End, ImportError>) {
    let mut import = match open(bytes) {
        Ok(import) => import,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let mut packets = Vec::new();
    loop {
        match import.next() {
            Ok(Some(Imported { frame, link, .. })) => {
                packets.push((frame.sec, frame.frac, frame.wire_len, frame.data.to_vec(), link.0));
            }
            Ok(None) => return (packets, Ok(import.end().unwrap())),
            Err(error) => {
                assert!(import.next().unwrap().is_none() && import.end().is_none());
                return (packets, Err(error));
            }
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// Numbers in one byte order.
#[derive(Clone, Copy)]
struct Writer {
    big: bool,
}

impl Writer {
    fn half(self, number: u16) -> [u8; 2] {
        if self.big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn words(self, numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|n| if self.big { n.to_be_bytes() } else { n.to_le_bytes() }).collect()
    }

    fn pcap_header(self, magic: u32, minor: u16, network: u32) -> Vec<u8> {
        let versions = [self.half(2), self.half(minor)].concat();
        [self.words(&[magic]), versions, self.words(&[0, 0, 65_535, network])].concat()
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let total = body.len() as u32 + 12;
        [self.words(&[kind, total]), body, self.words(&[total])].concat()
    }

    fn section(self) -> Vec<u8> {
        let versions = [self.half(1), self.half(0)].concat();
        self.block(0x0a0d_0d0a, &[self.words(&[0x1a2b_3c4d]), versions, vec![0xff; 8]].concat())
    }

    fn interface(self, link: u16, snaplen: u32, resolution: Option<u8>, offset: i64) -> Vec<u8> {
        let mut body = [self.half(link).to_vec(), vec![0; 2], self.words(&[snaplen])].concat();
        // A name that is no UTF-8.
        body.extend([self.half(2).to_vec(), self.half(3).to_vec(), vec![0xff, 0xfe, 0xfd, 0]].concat());
        if let Some(resolution) = resolution {
            body.extend([self.half(9).to_vec(), self.half(1).to_vec(), vec![resolution, 0, 0, 0]].concat());
        }
        if offset != 0 {
            let eight = if self.big { offset.to_be_bytes() } else { offset.to_le_bytes() };
            body.extend([self.half(14).to_vec(), self.half(8).to_vec(), eight.to_vec()].concat());
        }
        body.extend([0; 4]);
        self.block(1, &body)
    }

    fn packet(self, interface: u32, ticks: u64, wire_len: u32, data: &[u8]) -> Vec<u8> {
        let head = [interface, (ticks >> 32) as u32, ticks as u32, data.len() as u32, wire_len];
        self.block(6, &[&self.words(&head)[..], data].concat())
    }
}

const LITTLE: Writer = Writer { big: false };
const BIG: Writer = Writer { big: true };

#[test]
fn pcap_of_every_byte_order_and_precision_is_read() {
    for write in [LITTLE, BIG] {
        for (magic, precision, patch) in [
            (0xa1b2_c3d4, Precision::Micro, 0),
            (0xa1b2_3c4d, Precision::Nano, 0),
            (0xa1b2_cd34, Precision::Micro, 8),
        ] {
            let mut bytes = write.pcap_header(magic, 4, 0x1000_0071);
            for data in [&b"abc"[..], b""] {
                bytes.extend(write.words(&[7, 8, data.len() as u32, 90]));
                bytes.extend(vec![0xee; patch]);
                bytes.extend(data);
            }
            let import = open(&bytes).unwrap();
            assert_eq!(import.precision(), precision);
            assert_eq!(import.link_types(), [LinkType(113)]);
            let (packets, end) = read(&bytes);
            assert_eq!(packets, [(7, 8, 90, b"abc".to_vec(), 113), (7, 8, 90, vec![], 113)]);
            assert_eq!(end.unwrap(), End::Clean);
            assert_eq!(read(&gzip(&bytes)).0, packets);
        }
    }
}

#[test]
fn odd_numbers_in_records_are_made_to_fit() {
    let mut bytes = LITTLE.pcap_header(0xa1b2_c3d4, 4, 1);
    for head in [[7, 2_500_000, 1, 1], [7, 1, 1, 0], [u32::MAX, 1_000_000, 1, 1]] {
        bytes.extend(LITTLE.words(&head));
        bytes.push(b'x');
    }
    let (packets, _) = read(&bytes);
    let expected = [(9, 500_000, 1), (7, 1, 1), (u32::MAX, 999_999, 1)];
    assert_eq!(packets.iter().map(|p| (p.0, p.1, p.2)).collect::<Vec<_>>(), expected);
    // Before version 2.4 the two lengths came in either order.
    let mut old = LITTLE.pcap_header(0xa1b2_c3d4, 3, 1);
    old.extend(LITTLE.words(&[7, 1, 60, 2]));
    old.extend(b"xy");
    assert_eq!(read(&old).0, [(7, 1, 60, b"xy".to_vec(), 1)]);
}

#[test]
fn pcapng_sections_interfaces_and_packet_blocks_are_read() {
    let mut bytes = Vec::new();
    for write in [BIG, LITTLE] {
        bytes.extend(write.section());
        bytes.extend(write.block(0xbad, b"passed over"));
        bytes.extend(write.interface(1, 0, None, 0));
        bytes.extend(write.interface(101, 4, Some(3), -10));
        bytes.extend(write.packet(0, 5_000_001, 60, b"abcde"));
        bytes.extend(write.packet(1, 15_002, 3, b"xyz"));
        bytes.extend(write.block(3, &[&write.words(&[6])[..], b"simple"].concat()));
        let obsolete = [write.half(1).to_vec(), write.half(9).to_vec(), write.words(&[0, 12_000, 2, 2])];
        bytes.extend(write.block(2, &[&obsolete.concat()[..], b"ob"].concat()));
    }
    let section: [Packet; 4] = [
        (5, 1, 60, b"abcde".to_vec(), 1),
        (5, 2_000, 3, b"xyz".to_vec(), 101),
        (0, 0, 6, b"simple".to_vec(), 1),
        (2, 0, 2, b"ob".to_vec(), 101),
    ];
    let (packets, end) = read(&bytes);
    assert_eq!(packets, [section.clone(), section].concat());
    assert_eq!(end.unwrap(), End::Clean);
    let import = open(&bytes).unwrap();
    assert_eq!(
        (import.precision(), import.link_types()),
        (Precision::Micro, vec![LinkType(1), LinkType(101)])
    );
    assert_eq!(import.total(), Some(bytes.len() as u64));
}

#[test]
fn stamps_of_every_resolution_keep_their_nanoseconds() {
    // Expected: Python, `int(ticks * 10**9 // units)` and so on.
    for (resolution, ticks, sec, frac, precision) in [
        (0, 5, 5, 0, Precision::Micro),
        (6, 1_735_654_242_123_456, 1_735_654_242, 123_456, Precision::Micro),
        (7, 12_345_678_901, 1_234, 567_890_100, Precision::Nano),
        (9, 1_735_654_242_123_456_789, 1_735_654_242, 123_456_789, Precision::Nano),
        (12, 5_000_000_001_999, 5, 1, Precision::Nano),
        (19, u64::MAX, 1, 844_674_407, Precision::Nano),
        (30, u64::MAX, 0, 0, Precision::Nano),
        (127, u64::MAX, 0, 0, Precision::Nano),
        (0x80 | 6, 65, 1, 15_625, Precision::Micro),
        (0x80 | 10, 1_025, 1, 976_562, Precision::Nano),
        (0x80 | 32, 0x7_8000_0000, 7, 500_000_000, Precision::Nano),
        (0xff, u64::MAX, 0, 0, Precision::Nano),
    ] {
        let bytes =
            [LITTLE.section(), LITTLE.interface(1, 0, Some(resolution), 0), LITTLE.packet(0, ticks, 1, b"x")];
        let bytes = bytes.concat();
        assert_eq!(open(&bytes).unwrap().precision(), precision, "resolution {resolution:#x}");
        let (packets, _) = read(&bytes);
        assert_eq!((packets[0].0, packets[0].1), (sec, frac), "resolution {resolution:#x}");
    }
}

#[test]
fn an_interface_with_finer_stamps_changes_the_precision_from_there_on() {
    let bytes = [
        LITTLE.section(),
        LITTLE.interface(1, 0, None, 0),
        LITTLE.packet(0, 1_000_007, 1, b"x"),
        LITTLE.interface(1, 0, Some(9), 0),
        LITTLE.packet(1, 1_000_000_009, 1, b"x"),
        LITTLE.packet(0, 1_000_007, 1, b"x"),
    ];
    let mut import = open(&bytes.concat()).unwrap();
    for (frac, precision) in [(7, Precision::Micro), (9, Precision::Nano), (7_000, Precision::Nano)] {
        let packet = import.next().unwrap().unwrap();
        assert_eq!((packet.frame.frac, packet.precision), (frac, precision));
    }
    assert_eq!(import.precision(), Precision::Nano);
}

#[test]
fn stamps_outside_of_pcap_are_clamped_and_counted() {
    let bytes = [
        LITTLE.section(),
        LITTLE.interface(1, 0, None, -100),
        LITTLE.interface(1, 0, None, i64::MAX),
        LITTLE.packet(0, 99_000_000, 1, b"x"),
        LITTLE.packet(1, u64::MAX, 1, b"x"),
        LITTLE.packet(0, 100_000_001, 1, b"x"),
    ];
    let bytes = bytes.concat();
    let (packets, _) = read(&bytes);
    let stamps: Vec<_> = packets.iter().map(|packet| (packet.0, packet.1)).collect();
    assert_eq!(stamps, [(0, 0), (u32::MAX, 999_999), (0, 1)]);
    let mut import = open(&bytes).unwrap();
    while import.next().unwrap().is_some() {}
    assert_eq!(import.clamped(), 2);
}

fn sound_pcap() -> Vec<u8> {
    let mut bytes = LITTLE.pcap_header(0xa1b2_c3d4, 4, 1);
    for number in 1..=5 {
        bytes.extend(LITTLE.words(&[number, 0, 40, 40]));
        bytes.extend([number as u8; 40]);
    }
    bytes
}

fn sound_pcapng() -> Vec<u8> {
    let mut bytes = [LITTLE.section(), LITTLE.interface(1, 0, None, 0)].concat();
    for number in 1..=5 {
        bytes.extend(LITTLE.packet(0, number, 41, &[number as u8; 41]));
    }
    bytes
}

#[test]
fn a_file_cut_anywhere_gives_its_whole_packets_and_no_error() {
    for (bytes, header) in [(sound_pcap(), 24), (sound_pcapng(), 12)] {
        let (all, _) = read(&bytes);
        for len in header..bytes.len() {
            let (packets, end) = read(&bytes[..len]);
            assert!(all.starts_with(&packets), "cut at {len}");
            match end.unwrap() {
                End::Cut { offset } => assert!(offset < len as u64),
                End::Clean => assert!(len == 24 || (len - 24) % 56 == 0 || header == 12),
            }
        }
        let packed = gzip(&bytes);
        for len in 60..packed.len() {
            let (packets, end) = read(&packed[..len]);
            assert!(all.starts_with(&packets));
            assert!(
                matches!(end, Ok(End::Cut { .. })) || packets.is_empty(),
                "packed, cut at {len}: {end:?}"
            );
        }
    }
    assert_eq!(read(&sound_pcap()[..24 + 2 * 56 + 3]).1.unwrap(), End::Cut { offset: 24 + 2 * 56 });
}

#[test]
fn damage_is_told_once_with_its_place_behind_the_packets_before_it() {
    let mut long = sound_pcap();
    long[24 + 2 * 56 + 8..][..4].copy_from_slice(&262_145_u32.to_le_bytes());
    let second_packet = LITTLE.section().len() + LITTLE.interface(1, 0, None, 0).len() + 76;
    let damaged = |at: usize, value: u32| {
        let mut bytes = sound_pcapng();
        bytes[second_packet + at..][..4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let version = |at: usize, value: u8| {
        let mut bytes = sound_pcapng();
        bytes[at] = value;
        bytes
    };
    for (bytes, packets, offset, text) in [
        (version(12, 2), 0, 0, "of version 2.0"),
        (version(14, 1), 0, 0, "of version 1.1"),
        (long, 2, 136, "a packet of 262145 bytes"),
        (damaged(4, 8), 1, second_packet, "length as 8"),
        (damaged(4, 77), 1, second_packet, "length as 77"),
        (damaged(4, 0xffff_fff0), 1, second_packet, "length as 4294967280"),
        (damaged(4, 72), 1, second_packet, "behind it"),
        (damaged(8, 1), 1, second_packet, "interface 1, of which there are 1"),
        (damaged(20, 45), 1, second_packet, "does not fit"),
        (damaged(20, u32::MAX), 1, second_packet, "does not fit"),
        (damaged(0, 0x0a0d_0d0a), 1, second_packet, "byte-order mark"),
    ] {
        for (bytes, unpacked) in [(gzip(&bytes), true), (bytes, false)] {
            let (got, end) = read(&bytes);
            let error = end.unwrap_err();
            assert_eq!(got.len(), packets, "{error}");
            let shown = error.to_string();
            assert!(shown.contains(text) && shown.contains(&format!("at byte {offset}")), "{shown}");
            assert_eq!(shown.contains("unpacked"), unpacked, "{shown}");
        }
    }
}

#[test]
fn damaged_gzip_is_told_behind_the_packets_before_it() {
    let mut packed = gzip(&sound_pcap());
    let checksum = packed.len() - 8;
    packed[checksum] ^= 1;
    let (packets, end) = read(&packed);
    assert_eq!(packets.len(), 5);
    assert!(end.unwrap_err().to_string().contains("gzip: "));
}

#[test]
fn a_section_of_version_1_2_is_one_of_1_0() {
    let mut bytes = sound_pcapng();
    bytes[14] = 2;
    assert_eq!(read(&bytes).0, read(&sound_pcapng()).0);
}

#[test]
fn too_many_interfaces_are_refused() {
    let interface = LITTLE.interface(1, 0, None, 0);
    let bytes = [LITTLE.section(), interface.repeat(20_000)].concat();
    assert!(read(&bytes).1.unwrap_err().to_string().contains("more than 16384 interfaces"));
}

#[test]
fn what_is_no_capture_is_named() {
    for (bytes, looks) in [
        (b"".to_vec(), "is empty"),
        (b"hello, world\n".to_vec(), "looks like text"),
        (gzip(b"hello, world\n"), "looks like text"),
        (gzip(&gzip(b"")), "gzip'd twice"),
        (b"\x1f\x8bnonsense".to_vec(), "cannot be unpacked"),
        (vec![0; 100], "begins with zeros"),
        (b"\x7fELF\x02\x01".to_vec(), "is a program"),
        (b"PK\x03\x04".to_vec(), "zip archive"),
        (vec![1, 2, 3, 4, 5], "no magic number"),
        (vec![1, 2], "too short"),
        (LITTLE.pcap_header(0xa1b2_34cd, 4, 1), "private kind"),
        (LITTLE.pcap_header(0xa1b2_c3d4, 4, 0x2_0000), "link type is 0x20000"),
        ([BIG.words(&[0xa1b2_c3d4, 0x0001_0004]), vec![0; 16]].concat(), "PCAP of version 1.4"),
        ([LITTLE.words(&[0xa1b2_c3d4, 0x0004_0001]), vec![0; 16]].concat(), "PCAP of version 1.4"),
        (
            sound_pcap()[..20].to_vec(),
            "is not a capture file: it is too short: it ends within the file header;",
        ),
        (sound_pcap()[..10].to_vec(), "is not a capture file: it is too short"),
    ] {
        let shown = open(&bytes).unwrap_err().to_string();
        assert!(shown.contains(looks), "{shown}");
    }
    let directory = Import::open(Path::new("/")).unwrap_err().to_string();
    assert!(directory.contains("is a directory"), "{directory}");
    let missing = Import::open(Path::new("/no/such")).unwrap_err().to_string();
    assert!(missing.contains("open /no/such: No such file"), "{missing}");
}

#[test]
fn the_longest_packet_fits_with_its_options_and_a_long_foreign_block_is_passed_over() {
    let data = vec![0xab; MAX_SNAPLEN as usize];
    let mut packet = LITTLE.words(&[0, 0, 7, MAX_SNAPLEN, MAX_SNAPLEN]);
    packet.extend(&data);
    packet.extend([&LITTLE.half(1)[..], &LITTLE.half(60_000), &[b'c'; 60_000], &[0; 4]].concat());
    let bytes = [
        LITTLE.section(),
        LITTLE.interface(1, 0, None, 0),
        LITTLE.block(0xbad, &vec![0; 3 << 20]),
        LITTLE.block(6, &packet),
    ];
    let (packets, end) = read(&bytes.concat());
    assert_eq!(packets, [(0, 7, MAX_SNAPLEN, data, 1)]);
    assert_eq!(end.unwrap(), End::Clean);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_damage_panics_or_invents_packets(
        ng in any::<bool>(),
        packed in any::<bool>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = if ng { sound_pcapng() } else { sound_pcap() };
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let len = bytes.len();
        let (packets, _) = read(&if packed { gzip(&bytes) } else { bytes });
        prop_assert!(packets.len() * 16 <= len);
    }
}
