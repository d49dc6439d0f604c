//! Frames made by hand, and a stream that takes them.

use std::net::{IpAddr, Ipv4Addr};

use tapkeep::detect::stream::{Output, Stream};
use tapkeep::detect::{Finding, Settings};
use tapkeep::packet::{Frame, LinkType, Place, Precision};

use super::latest;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;
pub const URG: u8 = 32;

/// A network on which time passes.
pub struct Wire {
    pub stream: Stream,
    pub out: Output,
    /// Microseconds since 2026-01-01.
    pub now: u64,
    pub place: Place,
    identification: u16,
    /// Each frame comes so often.
    pub copies: u32,
}

pub fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// The `number`th host of a network of 65,536.
pub fn host(net: [u8; 2], number: u16) -> Ipv4Addr {
    let [c, d] = number.to_be_bytes();
    Ipv4Addr::new(net[0], net[1], c, d)
}

impl Wire {
    pub fn new() -> Self {
        Self::with(&Settings::default())
    }

    pub fn with(settings: &Settings) -> Self {
        let place = Place { file: 1, offset: 24 };
        Self {
            stream: Stream::new(settings),
            out: Output::default(),
            now: 0,
            place,
            identification: 0,
            copies: 1,
        }
    }

    pub fn wait(&mut self, micros: u64) {
        self.now += micros;
    }

    pub fn frame(&mut self, data: &[u8]) {
        for _ in 0..self.copies {
            let (sec, frac) = (1_767_225_600 + (self.now / 1_000_000) as u32, (self.now % 1_000_000) as u32);
            let frame = Frame { sec, frac, wire_len: data.len() as u32, data };
            self.stream.frame(LinkType::ETHERNET, self.place, &frame, Precision::Micro, &mut self.out);
            self.place.offset += 16 + data.len() as u64;
            self.now += 20;
        }
    }

    pub fn ipv4(&mut self, src: Ipv4Addr, dst: Ipv4Addr, proto: u8, fragment: u16, body: &[u8]) {
        self.identification = self.identification.wrapping_add(1);
        let mut data = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
        data.extend((20 + body.len() as u16).to_be_bytes());
        data.extend(self.identification.to_be_bytes());
        data.extend(fragment.to_be_bytes());
        data.extend([64, proto, 0, 0]);
        data.extend(src.octets());
        data.extend(dst.octets());
        data.extend(body);
        self.frame(&data);
    }

    pub fn tcp(
        &mut self,
        src: (Ipv4Addr, u16),
        dst: (Ipv4Addr, u16),
        flags: u8,
        numbers: (u32, u32),
        payload: &[u8],
    ) {
        let mut body = Vec::new();
        body.extend(src.1.to_be_bytes());
        body.extend(dst.1.to_be_bytes());
        body.extend(numbers.0.to_be_bytes());
        body.extend(numbers.1.to_be_bytes());
        body.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        body.extend(payload);
        self.ipv4(src.0, dst.0, 6, 0x4000, &body);
    }

    pub fn udp(&mut self, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), payload: &[u8]) {
        self.ipv4(src.0, dst.0, 17, 0, &udp(src.1, dst.1, payload));
    }

    pub fn icmp(&mut self, src: Ipv4Addr, dst: Ipv4Addr, kind: u8, code: u8, rest: &[u8]) {
        let mut body = vec![kind, code, 0, 0];
        body.extend(rest);
        self.ipv4(src, dst, 1, 0, &body);
    }

    pub fn arp(&mut self, operation: u8, sender: Ipv4Addr, target: Ipv4Addr) {
        let [.., last] = sender.octets();
        let mut data =
            vec![255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, last, 8, 6, 0, 1, 8, 0, 6, 4, 0, operation];
        data.extend([2, 0, 0, 0, 0, last]);
        data.extend(sender.octets());
        data.extend([0; 6]);
        data.extend(target.octets());
        data.resize(60, 0);
        self.frame(&data);
    }

    /// A try to connect that nobody answers.
    pub fn syn(&mut self, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) {
        self.tcp(src, dst, SYN, (1000, 0), &[]);
    }

    /// One that is refused.
    pub fn refused(&mut self, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) {
        self.syn(src, dst);
        self.tcp(dst, src, RST | ACK, (0, 1001), &[]);
    }

    /// A conversation of some packets.
    pub fn talk(&mut self, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), rounds: u32) {
        self.syn(src, dst);
        self.tcp(dst, src, SYN | ACK, (5000, 1001), &[]);
        self.tcp(src, dst, ACK, (1001, 5001), &[]);
        for round in 0..rounds {
            let (mine, theirs) = (1001 + 100 * round, 5001 + 1000 * round);
            self.tcp(src, dst, PSH | ACK, (mine, theirs), &[7; 100]);
            self.tcp(dst, src, PSH | ACK, (theirs, mine + 100), &[9; 1000]);
            self.tcp(src, dst, ACK, (mine + 100, theirs + 1000), &[]);
        }
        let (mine, theirs) = (1001 + 100 * rounds, 5001 + 1000 * rounds);
        self.tcp(src, dst, FIN | ACK, (mine, theirs), &[]);
        self.tcp(dst, src, FIN | ACK, (theirs, mine + 1), &[]);
        self.tcp(src, dst, ACK, (mine + 1, theirs + 1), &[]);
    }

    /// All findings as they are in the end.
    pub fn end(mut self) -> Vec<Finding> {
        self.stream.finish(&mut self.out);
        latest(self.out.findings)
    }

    /// Those of one detector.
    pub fn end_of(self, detector: &str) -> Vec<Finding> {
        self.end().into_iter().filter(|finding| finding.detector == detector).collect()
    }
}

pub fn udp(src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(src.to_be_bytes());
    body.extend(dst.to_be_bytes());
    body.extend((8 + payload.len() as u16).to_be_bytes());
    body.extend([0, 0]);
    body.extend(payload);
    body
}

/// What an ICMP error quotes: IP header and eight bytes.
pub fn quoted(src: Ipv4Addr, dst: Ipv4Addr, proto: u8, first: &[u8]) -> Vec<u8> {
    let mut quoted = vec![0, 0, 0, 0, 0x45, 0];
    quoted.extend((20 + first.len() as u16).to_be_bytes());
    quoted.extend([0, 9, 0, 0, 64, proto, 0, 0]);
    quoted.extend(src.octets());
    quoted.extend(dst.octets());
    quoted.extend(first);
    quoted
}

pub fn name(ip: impl Into<IpAddr>) -> Option<String> {
    Some(ip.into().to_string())
}
