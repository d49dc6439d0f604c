//! Any bytes, of any link type, of any length on the wire: two bytes of link type, two of what was cut off, then the frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapkeep::packet::LinkType;
use tapkeep::packet::community_id::Tuple;
use tapkeep::packet::decode::{Net, Transport, decode};

fuzz_target!(|input: &[u8]| {
    let Some((&[l0, l1, c0, c1], data)) = input.split_first_chunk() else { return };
    let link = LinkType(u16::from_be_bytes([l0, l1]));
    let wire_len = data.len() as u32 + u32::from(u16::from_be_bytes([c0, c1]));
    let packet = decode(link, data, wire_len);
    assert!(packet.path.depth() > 0);
    let lies_in = |part: &[u8]| {
        let (part, whole) = (part.as_ptr_range(), data.as_ptr_range());
        part.is_empty() || whole.start <= part.start && part.end <= whole.end
    };
    if let Some(inner) = &packet.inner {
        assert!(lies_in(inner.payload) && matches!(packet.net, Net::Ip(_)));
    }
    let Net::Ip(ip) = &packet.net else { return };
    assert!(lies_in(ip.payload) && ip.payload.len() as u32 <= ip.payload_len && ip.payload_len <= wire_len);
    assert_eq!(ip.src.is_v4(), ip.dst.is_v4());
    assert_eq!(ip.fragment.is_some_and(|fragment| fragment.offset > 0), ip.transport == Transport::Later);
    let ports = match ip.transport {
        Transport::Tcp(tcp) => Some((tcp.ports.src, tcp.ports.dst)),
        Transport::Udp(ports) | Transport::Sctp(ports) => Some((ports.src, ports.dst)),
        Transport::Icmp(icmp) => Some((icmp.kind.into(), icmp.code.into())),
        Transport::Portless | Transport::Later | Transport::Cut => None,
    };
    let id = Tuple { src: ip.src, dst: ip.dst, proto: ip.proto, ports }.id();
    assert_eq!(id.to_string().parse(), Ok(id));

    // What is cut off does not change what was seen.
    let cut = &data[..data.len() / 2];
    if let Net::Ip(part) = decode(link, cut, wire_len).net {
        assert_eq!((part.src, part.dst), (ip.src, ip.dst));
    }
});
