//! Addresses as keys: small, uniform, quick to hash and to compare.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An IPv4 or IPv6 address in 16 bytes.
///
/// IPv4 addresses take the range whose upper 96 bits are all ones: multicast addresses of a reserved scope (RFC 4291, 2.7), which
/// no packet may carry; so that `::ffff:192.0.2.1` of an IPv6 packet is not taken for 192.0.2.1 of an IPv4 one. A forged packet
/// that carries one all the same is shown with its neighbour below that range, and is never taken for IPv4.
///
/// Two halves, the upper one first: what holds addresses needs no gaps to lie at multiples of 16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Addr(u64, u64);

impl Hash for Addr {
    /// As one number, which hashers mix at once.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.bits());
    }
}

/// The lower half of an IPv4 address without its four bytes.
const V4: u64 = u64::MAX << 32;

impl Addr {
    /// Of the four bytes of an IPv4 header.
    #[inline]
    pub fn v4(bytes: [u8; 4]) -> Self {
        Self(u64::MAX, V4 | u64::from(u32::from_be_bytes(bytes)))
    }

    /// Of the sixteen bytes of an IPv6 header.
    #[inline]
    pub fn v6(bytes: [u8; 16]) -> Self {
        let forged = Self::from_bytes(bytes);
        if forged.is_v4() { Self(forged.0, forged.1 ^ (1 << 32)) } else { forged }
    }

    /// Whether it is an IPv4 address.
    #[inline]
    pub fn is_v4(self) -> bool {
        self.0 == u64::MAX && self.1 & V4 == V4
    }

    /// The address as the standard library has it.
    pub fn ip(self) -> IpAddr {
        if self.is_v4() { Ipv4Addr::from(self.1 as u32).into() } else { Ipv6Addr::from(self.bits()).into() }
    }

    /// All 128 bits as one number.
    #[inline]
    pub fn bits(self) -> u128 {
        u128::from(self.0) << 64 | u128::from(self.1)
    }

    /// All 16 bytes, for storing.
    pub fn to_bytes(self) -> [u8; 16] {
        self.bits().to_be_bytes()
    }

    /// From what [`Addr::to_bytes`] gave.
    #[inline]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let bits = u128::from_be_bytes(bytes);
        Self((bits >> 64) as u64, bits as u64)
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::v4(ip.octets()),
            IpAddr::V6(ip) => Self::v6(ip.octets()),
        }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = NotAMac;

    /// Six hexadecimal numbers of two digits, colons between.
    fn from_str(text: &str) -> Result<Self, NotAMac> {
        let error = || NotAMac(text.to_owned());
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(error)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() { Err(error()) } else { Ok(Self(mac)) }
    }
}

/// The text is not a hardware address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a hardware address: {0:?} (expected like 02:00:5e:10:00:01)")]
pub struct NotAMac(String);

impl Serialize for Addr {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Addr {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        text.parse::<IpAddr>().map(Self::from).map_err(D::Error::custom)
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// The two VLAN ids of a frame, outermost first; 0 is none. Ordered and hashed as one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Vlan {
    /// The outermost tag's id.
    pub outer: u16,
    /// The tag's within it.
    pub inner: u16,
}

impl Vlan {
    /// No tag.
    pub const NONE: Self = Self { outer: 0, inner: 0 };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_ipv6_address_is_taken_for_an_ipv4_one() {
        let v4 = Addr::from(IpAddr::from([192, 0, 2, 1]));
        assert_eq!((v4.to_string(), v4.is_v4()), ("192.0.2.1".to_owned(), true));
        let text = |text: &str| Addr::from(text.parse::<IpAddr>().unwrap());
        for address in
            ["::ffff:192.0.2.1", "::", "2001:db8::1", "ff02::1", "ffff:ffff:ffff:ffff:ffff:fffe:0:1"]
        {
            assert_eq!((text(address).to_string(), text(address).is_v4()), (address.to_owned(), false));
        }
        let forged = text("ffff:ffff:ffff:ffff:ffff:ffff:c000:201");
        assert_eq!(
            (forged.to_string(), forged.is_v4()),
            ("ffff:ffff:ffff:ffff:ffff:fffe:c000:201".to_owned(), false)
        );
    }
}
