//! Capture files of known frames, and readers that share no code with the product: one written here from the format's
//! description (draft-ietf-opsawg-pcap), and tcpdump, tshark and capinfos.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::process::{must, run};

/// Bytes of a file header.
const FILE_HEADER: usize = 24;
/// Bytes of a record header.
const RECORD_HEADER: usize = 16;
/// The shortest frame that [`frame`] builds without tags: headers and sequence number.
pub const SHORTEST: usize = 14 + 20 + 8 + 8;

/// One packet of a capture file.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    /// Seconds of its stamp since 1970.
    pub sec: u32,
    /// Fraction of its stamp, in the file's unit.
    pub frac: u32,
    /// Bytes on the wire.
    pub wire_len: u32,
    /// Bytes kept.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head: String = self.data.iter().take(24).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        let (kept, seq) = (self.data.len(), self.seq());
        write!(f, "{}.{} seq {seq:?}, {kept} of {} bytes: {head}…", self.sec, self.frac, self.wire_len)
    }
}

impl Packet {
    /// A packet kept in full.
    pub fn whole(sec: u32, frac: u32, data: Vec<u8>) -> Self {
        Self { sec, frac, wire_len: data.len() as u32, data }
    }

    /// The sequence number that [`frame`] put in; `None` if it is none of those frames.
    pub fn seq(&self) -> Option<u64> {
        let tags = self
            .data
            .get(12..)?
            .chunks(4)
            .take_while(|tag| matches!(tag, [0x81 | 0x88, 0 | 0xa8, ..]))
            .count();
        let payload = self.data.get(12 + 4 * tags + 2 + 28..)?;
        Some(u64::from_be_bytes(*payload.first_chunk::<8>()?))
    }
}

/// An 802.1Q tag.
#[derive(Debug, Clone, Copy)]
pub struct Tag {
    /// 0x8100, or 0x88a8 for the outer one of QinQ.
    pub tpid: u16,
    /// VLAN, 1 to 4094.
    pub vid: u16,
}

/// An Ethernet frame of `len` bytes (at least [`SHORTEST`] and 4 a tag): IPv4, UDP from 10.0.0.F:1024+F to 10.0.1.F:9 with
/// F = `seq` % 64, carrying `seq` and then bytes that follow from it, none of them zero.
pub fn frame(seq: u64, len: usize, tags: &[Tag]) -> Vec<u8> {
    assert!(len >= SHORTEST + 4 * tags.len() && len <= 65_535, "a frame of {len} bytes");
    let flow = (seq % 64) as u8;
    let mut bytes = vec![2, 0, 0, 0, 1, flow, 2, 0, 0, 0, 0, flow];
    for tag in tags {
        bytes.extend(tag.tpid.to_be_bytes());
        bytes.extend(tag.vid.to_be_bytes());
    }
    bytes.extend([8, 0]);
    let ip_len = (len - bytes.len()) as u16;
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, flow, 10, 0, 1, flow];
    ip[2..4].copy_from_slice(&ip_len.to_be_bytes());
    ip[4..6].copy_from_slice(&(seq as u16).to_be_bytes());
    let sum: u32 = ip.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    ip[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    bytes.extend(ip);
    bytes.extend((1024 + u16::from(flow)).to_be_bytes());
    bytes.extend(9_u16.to_be_bytes());
    bytes.extend((ip_len - 20).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(seq.to_be_bytes());
    let rest = len - bytes.len();
    bytes.extend((0..rest as u64).map(|i| (seq.wrapping_mul(31).wrapping_add(i) % 255) as u8 + 1));
    bytes
}

/// `count` packets numbered from `first`, of mixed sizes (60 to 1514 bytes untagged), one in five with a VLAN tag, one in
/// ten with two, a millisecond apart from 2024-12-31 14:30:52 UTC on.
pub fn mix(first: u64, count: u64) -> Vec<Packet> {
    const SIZES: [usize; 7] = [60, 1514, 60, 590, 1514, 128, 300];
    let outer = Tag { tpid: 0x88a8, vid: 200 };
    let inner = Tag { tpid: 0x8100, vid: 42 };
    (first..first + count)
        .map(|seq| {
            let tags: &[Tag] = match seq % 10 {
                2 | 6 => &[inner],
                9 => &[outer, inner],
                _ => &[],
            };
            let len = SIZES[(seq % 7) as usize] + 4 * tags.len();
            let (sec, milli) = (1_735_655_452 + (seq / 1000) as u32, (seq % 1000) as u32);
            Packet::whole(sec, milli * 1000, frame(seq, len, tags))
        })
        .collect()
}

/// How a capture file is laid out.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Stamps in nanoseconds instead of microseconds.
    pub nano: bool,
    /// Big-endian numbers instead of little-endian ones.
    pub big_endian: bool,
    /// The header's snaplen.
    pub snaplen: u32,
    /// The link type's number.
    pub link: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self { nano: false, big_endian: false, snaplen: 262_144, link: 1 }
    }
}

impl Shape {
    fn word(self, number: u32) -> [u8; 4] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn number(self, word: &[u8]) -> u32 {
        let word = word.try_into().unwrap();
        if self.big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
    }
}

/// The bytes of a capture file.
pub fn pcap_bytes(packets: &[Packet], shape: Shape) -> Vec<u8> {
    let magic = if shape.nano { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let version = if shape.big_endian { 0x0002_0004 } else { 0x0004_0002 };
    let mut bytes = Vec::new();
    for number in [magic, version, 0, 0, shape.snaplen, shape.link] {
        bytes.extend(shape.word(number));
    }
    for packet in packets {
        for number in [packet.sec, packet.frac, packet.data.len() as u32, packet.wire_len] {
            bytes.extend(shape.word(number));
        }
        bytes.extend(&packet.data);
    }
    bytes
}

/// Writes a little-endian Ethernet capture file with microseconds.
pub fn write_pcap(path: &Path, packets: &[Packet]) {
    std::fs::write(path, pcap_bytes(packets, Shape::default())).unwrap();
}

/// The packets of a capture file's bytes, and how many bytes behind the last whole one there are.
pub fn parse_pcap(bytes: &[u8]) -> (Vec<Packet>, usize) {
    let (nano, big_endian) = match *bytes.first_chunk::<4>().expect("a file header") {
        [0xd4, 0xc3, 0xb2, 0xa1] => (false, false),
        [0x4d, 0x3c, 0xb2, 0xa1] => (true, false),
        [0xa1, 0xb2, 0xc3, 0xd4] => (false, true),
        [0xa1, 0xb2, 0x3c, 0x4d] => (true, true),
        magic => panic!("no capture file: {magic:02x?}"),
    };
    let shape = Shape { nano, big_endian, ..Shape::default() };
    let mut rest = &bytes[FILE_HEADER..];
    let mut packets = Vec::new();
    while let Some((header, behind)) = rest.split_first_chunk::<RECORD_HEADER>() {
        let number = |at: usize| shape.number(&header[at..at + 4]);
        let Some((data, behind)) = behind.split_at_checked(number(8) as usize) else { break };
        packets.push(Packet { sec: number(0), frac: number(4), wire_len: number(12), data: data.to_vec() });
        rest = behind;
    }
    (packets, rest.len())
}

/// The packets of a capture file that must end with a whole one.
pub fn read_pcap(path: &Path) -> Vec<Packet> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (packets, left) = parse_pcap(&bytes);
    assert_eq!(left, 0, "{} ends in {left} bytes of a cut record", path.display());
    packets
}

/// The packets as tcpdump reads them; fails if it complains.
pub fn tcpdump_packets(path: &Path) -> Vec<Packet> {
    let answer = run(Command::new("tcpdump").arg("-r").arg(path).args(["-w", "-"])).ok();
    assert!(!answer.stderr.contains("truncated"), "{}", answer.stderr);
    parse_pcap(&answer.stdout).0
}

/// The packets as tshark reads them; fails if it complains.
pub fn tshark_packets(path: &Path) -> Vec<Packet> {
    let answer = run(Command::new("tshark").arg("-r").arg(path).args(["-F", "pcap", "-w", "-"])).ok();
    assert!(!answer.stderr.contains("cut short"), "{}", answer.stderr);
    parse_pcap(&answer.stdout).0
}

/// How many packets capinfos counts.
pub fn capinfos_count(path: &Path) -> u64 {
    let answer = must("capinfos", &["-T", "-r", "-M", "-c", path.to_str().unwrap()]);
    answer.text().trim().rsplit('\t').next().unwrap().parse().unwrap()
}

/// Requires the same bytes and lengths in the same order; stamps may differ.
pub fn assert_same_packets(got: &[Packet], wanted: &[Packet]) {
    let same = |a: &Packet, b: &Packet| a.wire_len == b.wire_len && a.data == b.data;
    let at = got.iter().zip(wanted).take_while(|(got, wanted)| same(got, wanted)).count();
    assert!(
        at == got.len() && at == wanted.len(),
        "{} packets instead of {}; the first {at} are the same, then there is {:?} instead of {:?}",
        got.len(),
        wanted.len(),
        got.get(at),
        wanted.get(at),
    );
}
