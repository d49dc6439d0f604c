//! Networks: which are ours (`local_nets`), and which an `[[ignore]]` rule means.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::packet::addr::Addr;

/// A network: an address and the length of its prefix.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Net {
    /// Bits as [`Addr`] has them, those behind the prefix zero.
    base: u128,
    /// Ones where the prefix is; of an IPv4 network the upper 96 bits belong to it.
    mask: u128,
}

impl Net {
    /// The network of an address with a prefix of so many bits; `None` if the address has not that many.
    pub fn new(addr: Addr, prefix: u8) -> Option<Self> {
        let (above, width) = if addr.is_v4() { (96, 32) } else { (0, 128) };
        if prefix > width {
            return None;
        }
        let mask = u128::MAX.checked_shl(128 - above - u32::from(prefix)).unwrap_or(0);
        Some(Self { base: addr.bits() & mask, mask })
    }

    /// Whether an address is in it. An IPv4 address is in no IPv6 network.
    #[inline]
    pub fn contains(self, addr: Addr) -> bool {
        (addr.bits() ^ self.base) & self.mask == 0 && (addr.is_v4() == self.is_v4())
    }

    fn is_v4(self) -> bool {
        Addr::from_bytes(self.base.to_be_bytes()).is_v4()
    }

    fn prefix(self) -> u32 {
        self.mask.leading_ones() - if self.is_v4() { 96 } else { 0 }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Addr::from_bytes(self.base.to_be_bytes()), self.prefix())
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a network.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an address or network: {0:?} (expected like 192.168.1.0/24 or 2001:db8::1)")]
pub struct NotANet(String);

impl FromStr for Net {
    type Err = NotANet;

    /// `ADDRESS/PREFIX`, or an address alone, which is a network of one.
    fn from_str(text: &str) -> Result<Self, NotANet> {
        let error = || NotANet(text.to_owned());
        let (addr, prefix) = match text.split_once('/') {
            Some((addr, prefix)) => (addr, Some(prefix)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| error())?;
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| error())?,
            None if addr.is_ipv4() => 32,
            None => 128,
        };
        Self::new(addr.into(), prefix).ok_or_else(error)
    }
}

impl Serialize for Net {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Net {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Networks that are ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nets(pub Vec<Net>);

impl Nets {
    /// Whether an address is in one of them.
    #[inline]
    pub fn contain(&self, addr: Addr) -> bool {
        self.0.iter().any(|net| net.contains(addr))
    }
}

impl Default for Nets {
    /// Private (RFC 1918), link-local (RFC 3927, RFC 4291), unique-local (RFC 4193), carriers' shared (RFC 6598) and loopback
    /// networks.
    fn default() -> Self {
        let v4 = |a, b, prefix| Net::new(Ipv4Addr::new(a, b, 0, 0).to_addr(), prefix);
        let v6 = |a, prefix| Net::new(Ipv6Addr::new(a, 0, 0, 0, 0, 0, 0, 0).to_addr(), prefix);
        let nets = [
            v4(10, 0, 8),
            v4(172, 16, 12),
            v4(192, 168, 16),
            v4(169, 254, 16),
            v4(100, 64, 10),
            v4(127, 0, 8),
            v6(0xfe80, 10),
            v6(0xfc00, 7),
            Net::new(Ipv6Addr::LOCALHOST.to_addr(), 128),
        ];
        Self(nets.into_iter().flatten().collect())
    }
}

trait ToAddr {
    fn to_addr(self) -> Addr;
}

impl<T: Into<IpAddr>> ToAddr for T {
    fn to_addr(self) -> Addr {
        Addr::from(self.into())
    }
}

/// Whether an address is one that no single host has: multicast or broadcast (255.255.255.255; that of a subnet does not show),
/// or none (`0.0.0.0`, `::`).
#[inline]
pub fn is_shared(addr: Addr) -> bool {
    match addr.ip() {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn what_is_local_by_default() {
        let nets = Nets::default();
        for ours in [
            "10.0.0.1",
            "172.31.255.255",
            "192.168.0.0",
            "169.254.3.4",
            "100.127.0.1",
            "127.0.0.1",
            "fe80::1",
            "fd00::1",
            "::1",
        ] {
            assert!(nets.contain(addr(ours)), "{ours}");
        }
        for theirs in [
            "11.0.0.1",
            "172.32.0.0",
            "192.169.0.0",
            "100.128.0.0",
            "8.8.8.8",
            "2001:db8::1",
            "::2",
            "::ffff:10.0.0.1",
        ] {
            assert!(!nets.contain(addr(theirs)), "{theirs}");
        }
    }

    #[test]
    fn a_network_is_written_as_it_is_read() {
        for (text, written) in [
            ("192.168.1.7/24", "192.168.1.0/24"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(text.parse::<Net>().unwrap().to_string(), written);
        }
        for wrong in ["", "x", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/", "10.0.0/8"] {
            assert!(wrong.parse::<Net>().is_err(), "{wrong}");
        }
        let all: Net = "::/0".parse().unwrap();
        assert!(all.contains(addr("::1")) && !all.contains(addr("10.0.0.1")));
        assert!("0.0.0.0/0".parse::<Net>().unwrap().contains(addr("10.0.0.1")));
    }
}
