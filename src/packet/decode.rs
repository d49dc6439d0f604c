//! Bytes of a frame to its layers. Total: any bytes, cut anywhere, of any link type.
//!
//! The *outermost* IP header decides addresses, ports and flow; what a tunnel holds adds levels to the path, and its innermost
//! payload. Lengths come from the headers where they are sound, so that a snaplen does not shorten them.
//!
//! Not by etherparse's slices: they want a whole header where one that a snaplen cut still tells its ports, know of one length
//! where there are two (captured, on the wire), and end before the tunnels. The tests hold both to the same answers.

mod carrier;
mod link;
mod network;
mod span;
mod transport;
mod tunnel;
mod udp_tunnel;
mod wrap;

use super::LinkType;
use super::addr::{Addr, Mac, Vlan};
use super::level::{Level, MAX_DEPTH, Path};
use span::Span;

/// A frame's layers.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Its levels, from the link to the innermost transport; no application level but those that only lower layers carry
    /// (`arp`, `stp`, `ospf`…).
    pub path: Path,
    /// Its hardware addresses, where the link has both.
    pub macs: Option<Macs>,
    /// Its VLAN ids.
    pub vlan: Vlan,
    /// Its network layer.
    pub net: Net<'a>,
    /// What the innermost of its tunnels carries; `None` without a tunnel.
    pub inner: Option<Inner<'a>>,
    /// What is wrong with it.
    pub flaws: Flaws,
}

/// Sender and receiver on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Macs {
    /// From.
    pub src: Mac,
    /// To.
    pub dst: Mac,
}

/// The network layer.
#[derive(Debug, Clone, Copy)]
pub enum Net<'a> {
    /// None that counts by addresses.
    None,
    /// ARP for IPv4 over Ethernet, whole.
    Arp(Arp),
    /// IPv4 or IPv6.
    Ip(Ip<'a>),
}

/// An ARP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// 1 asks, 2 answers.
    pub operation: u16,
    /// Who sends it, as the ARP packet says.
    pub sender: (Mac, Addr),
    /// Whom it is about.
    pub target: (Mac, Addr),
}

/// The outermost IP header and what follows it.
#[derive(Debug, Clone, Copy)]
pub struct Ip<'a> {
    /// From.
    pub src: Addr,
    /// To.
    pub dst: Addr,
    /// The protocol behind all IPv6 extension headers; of a later fragment, the one its header names.
    pub proto: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Present if the packet is part of a fragmented one.
    pub fragment: Option<Fragment>,
    /// What follows.
    pub transport: Transport,
    /// The captured bytes behind the transport header; behind the IP headers where there is none.
    pub payload: &'a [u8],
    /// How many there were on the wire.
    pub payload_len: u32,
}

/// A part of a fragmented packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// The identification.
    pub id: u32,
    /// Where its data begin in the whole, bytes.
    pub offset: u32,
    /// The length of its data, bytes.
    pub len: u32,
    /// Whether more follow.
    pub more: bool,
}

/// The transport header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp(Ports),
    /// SCTP.
    Sctp(Ports),
    /// ICMP or ICMPv6.
    Icmp(Icmp),
    /// A protocol without ports, or whose ports no other tool counts by (DCCP, UDP-Lite).
    Portless,
    /// A later fragment: the header is in another packet.
    Later,
    /// A protocol that has a header, which was cut off or is broken.
    Cut,
}

/// Port numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ports {
    /// From.
    pub src: u16,
    /// To.
    pub dst: u16,
}

/// A TCP header. Cut behind the ports, it has zeros and [`Flaws::CUT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    /// Its ports.
    pub ports: Ports,
    /// The first byte's number.
    pub seq: u32,
    /// The number of the byte expected next.
    pub ack: u32,
    /// FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128.
    pub flags: u8,
    /// As sent, unscaled.
    pub window: u16,
}

/// TCP flags.
#[allow(missing_docs, reason = "the names say it")]
impl Tcp {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const PSH: u8 = 8;
    pub const ACK: u8 = 16;
    pub const URG: u8 = 32;
}

/// An ICMP or ICMPv6 header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp {
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// The four bytes behind the checksum: of an echo, identifier and sequence number.
    pub rest: u32,
}

/// What a tunnel carries innermost.
#[derive(Debug, Clone, Copy)]
pub struct Inner<'a> {
    /// Addresses, if it is IP.
    pub addrs: Option<(Addr, Addr)>,
    /// Its transport header; `Portless` if there is none.
    pub transport: Transport,
    /// The captured bytes behind it.
    pub payload: &'a [u8],
}

/// What is wrong with a frame; a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flaws(u16);

impl Flaws {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// A header reaches past the captured bytes, which a snaplen explains.
    pub const CUT: Self = Self(1);
    /// A length contradicts the frame's length on the wire, or a header's least.
    pub const LENGTH: Self = Self(2);
    /// The link type is not decoded, or an EtherType or another number of a protocol not known.
    pub const UNKNOWN: Self = Self(4);
    /// More levels or headers than are followed.
    pub const DEPTH: Self = Self(8);
    /// A version or another fixed field has a value that it must not have.
    pub const FIELD: Self = Self(16);

    /// Adds those of another set.
    #[inline]
    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether it has all of another set.
    #[inline]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl<'a> Packet<'a> {
    /// Of a frame without layers.
    #[inline]
    fn empty() -> Self {
        let (path, vlan, flaws) = (Path::EMPTY, Vlan::NONE, Flaws::NONE);
        Self { path, macs: None, vlan, net: Net::None, inner: None, flaws }
    }

    /// The transport header of what the innermost tunnel carries, or of the frame where there is none, and the captured bytes
    /// behind it; `None` without IP and without a tunnel.
    #[inline]
    pub fn innermost(&self) -> Option<(Transport, &'a [u8])> {
        match (&self.inner, &self.net) {
            (Some(inner), _) => Some((inner.transport, inner.payload)),
            (None, Net::Ip(ip)) => Some((ip.transport, ip.payload)),
            (None, _) => None,
        }
    }
}

/// Headers that are followed in one frame.
const MAX_HEADERS: usize = 64;

/// The layers of a frame of `wire_len` bytes on the wire, of which `data` was captured.
pub fn decode(link: LinkType, data: &[u8], wire_len: u32) -> Packet<'_> {
    let mut packet = Packet::empty();
    let mut path = [0; MAX_DEPTH];
    let mut walk = Walk { packet: &mut packet, path: &mut path, depth: 0 };
    if !walk.follow(link, Span::new(data, wire_len)) {
        packet.flaws.add(Flaws::DEPTH);
    }
    packet.path = Path::from_bytes(path);
    packet
}

/// What follows a header.
enum Next<'a> {
    /// Nothing that is followed.
    End,
    /// An Ethernet frame.
    Eth(Span<'a>),
    /// What an EtherType names.
    EtherType(u16, Span<'a>),
    /// IEEE 802.2.
    Llc(Span<'a>),
    /// PPP, from its protocol field.
    Ppp(Span<'a>),
    /// MPLS labels.
    Mpls(Span<'a>),
    /// IPv4 or IPv6, whichever its version says.
    Ip(Span<'a>),
    /// IPv4, and nothing else (RFC 1122, 3.2.1.1).
    Ipv4(Span<'a>),
    /// IPv6.
    Ipv6(Span<'a>),
    /// What an IP protocol number names.
    Proto(u8, Span<'a>),
}

/// A walk through a frame, and what it found.
struct Walk<'p, 'a> {
    packet: &'p mut Packet<'a>,
    /// The path, as [`Path::from_bytes`] takes it.
    path: &'p mut [u8; MAX_DEPTH],
    depth: usize,
}

impl<'a> Walk<'_, 'a> {
    /// Goes through a frame; `false` if it has too many headers.
    #[inline]
    fn follow(&mut self, link: LinkType, frame: Span<'a>) -> bool {
        let mut next = self.link(link, frame);
        for _ in 0..MAX_HEADERS {
            next = match next {
                Next::End => return true,
                Next::Proto(proto, span) => self.proto(proto, span),
                Next::EtherType(kind, span) => self.ether_type(kind, span),
                Next::Ip(span) => self.ip(span),
                Next::Ipv4(span) => self.ipv4(span),
                Next::Ipv6(span) => self.ipv6(span),
                Next::Eth(span) => self.eth(span),
                Next::Llc(span) => self.llc(span),
                Next::Ppp(span) => self.ppp(span),
                Next::Mpls(span) => self.mpls(span),
            };
        }
        false
    }

    /// Adds a level. Where there is no room it is left out, but the walk goes on: tags in heaps must not hide addresses.
    #[inline]
    fn level(&mut self, level: Level) {
        match self.path.get_mut(self.depth) {
            Some(at) => {
                *at = level.to_byte();
                self.depth += 1;
            }
            None => self.packet.flaws.add(Flaws::DEPTH),
        }
    }

    /// Whether this was the last level.
    fn is_behind(&self, level: Level) -> bool {
        self.depth.checked_sub(1).and_then(|at| self.path.get(at)) == Some(&level.to_byte())
    }

    /// Adds a level that nothing is followed behind.
    #[inline]
    fn last(&mut self, level: Level) -> Next<'a> {
        self.level(level);
        Next::End
    }

    /// Bytes that nothing is known of.
    fn data(&mut self, span: Span<'a>) -> Next<'a> {
        self.packet.flaws.add(Flaws::UNKNOWN);
        if span.wire > 0 {
            self.level(Level::Data);
        }
        Next::End
    }

    /// A header that should be here is not all here: cut by a snaplen, or by an end that another length sets.
    #[cold]
    fn short(&mut self, span: Span<'a>, len: u32) -> Next<'a> {
        self.packet.flaws.add(if span.wire < len { Flaws::LENGTH } else { Flaws::CUT });
        Next::End
    }

    /// Notes a transport header and what follows it.
    #[inline]
    fn transport(&mut self, transport: Transport, payload: Span<'a>) {
        if let Some(inner) = &mut self.packet.inner {
            (inner.transport, inner.payload) = (transport, payload.bytes);
        } else if let Net::Ip(ip) = &mut self.packet.net {
            (ip.transport, ip.payload, ip.payload_len) = (transport, payload.bytes, payload.wire);
        }
    }
}
