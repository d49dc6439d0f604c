//! Community ID, version 1, seed 0: <https://github.com/corelight/community-id-spec>.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::addr::Addr;

/// What an ID is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// From.
    pub src: Addr,
    /// To.
    pub dst: Addr,
    /// IP protocol number.
    pub proto: u8,
    /// Ports; of ICMP and ICMPv6, type and code; `None` for protocols without.
    pub ports: Option<(u16, u16)>,
}

/// An ID: the SHA-1 that its text encodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommunityId(pub [u8; 20]);

/// The ports as the ID orders them: an ICMP type and its counterpart (echo and echo reply) are two ends; a type without
/// counterpart keeps its direction. `true` if both directions give the same ID.
#[inline]
pub fn endpoints(proto: u8, first: u16, second: u16) -> (u16, u16, bool) {
    let counterpart = match proto {
        1 => icmp_counterpart(first),
        58 => icmpv6_counterpart(first),
        _ => Some(second),
    };
    (first, counterpart.unwrap_or(second), counterpart.is_some())
}

/// The ICMP type that a type asks for, or answers.
fn icmp_counterpart(kind: u16) -> Option<u16> {
    Some(match kind {
        // Echo, router advertisement, timestamp, information and address mask.
        0 => 8,
        8 => 0,
        9 => 10,
        10 => 9,
        13 => 14,
        14 => 13,
        15 => 16,
        16 => 15,
        17 => 18,
        18 => 17,
        _ => return None,
    })
}

/// The ICMPv6 type that a type asks for, or answers.
fn icmpv6_counterpart(kind: u16) -> Option<u16> {
    Some(match kind {
        // Echo, multicast listener, router, neighbour, node information and home agent discovery.
        128 => 129,
        129 => 128,
        130 => 131,
        131 => 130,
        133 => 134,
        134 => 133,
        135 => 136,
        136 => 135,
        139 => 140,
        140 => 139,
        144 => 145,
        145 => 144,
        _ => return None,
    })
}

impl Tuple {
    /// The ID.
    pub fn id(&self) -> CommunityId {
        let (ports, both) = match self.ports {
            Some((first, second)) => {
                let (first, second, both) = endpoints(self.proto, first, second);
                (Some((first, second)), both)
            }
            None => (None, true),
        };
        let (first, second) = ports.unwrap_or_default();
        // The lesser end comes first, so that both directions give the same ID; not where there is but one direction.
        let swap = both && (self.src, first) > (self.dst, second);
        let (src, dst) = if swap { (self.dst, self.src) } else { (self.src, self.dst) };
        let (first, second) = if swap { (second, first) } else { (first, second) };

        let mut bytes = Bytes { bytes: [0; 40], len: 2 };
        bytes.address(src);
        bytes.address(dst);
        bytes.add(&[self.proto, 0]);
        if ports.is_some() {
            bytes.add(&first.to_be_bytes());
            bytes.add(&second.to_be_bytes());
        }
        CommunityId(Sha1::digest(bytes.as_slice()).into())
    }
}

/// What is hashed: two bytes of seed, addresses of four or sixteen bytes, the protocol, a zero, and two ports.
struct Bytes {
    bytes: [u8; 40],
    len: usize,
}

impl Bytes {
    fn add(&mut self, more: &[u8]) {
        for &byte in more {
            if let Some(at) = self.bytes.get_mut(self.len) {
                *at = byte;
                self.len += 1;
            }
        }
    }

    fn address(&mut self, addr: Addr) {
        match addr.ip() {
            IpAddr::V4(ip) => self.add(&ip.octets()),
            IpAddr::V6(ip) => self.add(&ip.octets()),
        }
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl fmt::Display for CommunityId {
    /// `1:` and base64.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 28];
        let len = STANDARD.encode_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str("1:")?;
        f.write_str(text.get(..len).and_then(|text| std::str::from_utf8(text).ok()).ok_or(fmt::Error)?)
    }
}

impl FromStr for CommunityId {
    type Err = NotACommunityId;

    fn from_str(text: &str) -> Result<Self, NotACommunityId> {
        let decode = |text: &str| STANDARD.decode(text).ok()?.try_into().ok().map(Self);
        text.strip_prefix("1:").and_then(decode).ok_or_else(|| NotACommunityId(text.to_owned()))
    }
}

/// The text is not a Community ID.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a Community ID: {0:?} (expected 1: and 28 characters of base64)")]
pub struct NotACommunityId(String);
