//! Packets of TCP connections made up, without bytes of headers: what the flow table alone makes of them.

use std::net::Ipv4Addr;

use tapkeep::packet::addr::Mac;
use tapkeep::packet::addr::{Addr, Vlan};
use tapkeep::packet::decode::{Flaws, Ip, Macs, Net, Packet, Ports, Tcp, Transport};
use tapkeep::packet::level::{Level, Path};

/// The `nth` segment of a connection, the handshake first; every other one is the server's.
pub(crate) fn segment(connection: u32, nth: u32, payload: &[u8]) -> Packet<'_> {
    let client = (
        Addr::from(std::net::IpAddr::from(Ipv4Addr::from(0x0a00_0000 | connection >> 4))),
        1024 + (connection as u16 & 15),
    );
    let server = (Addr::v4([192, 0, 2, 1]), 9999);
    let back = nth % 2 == 1;
    let (src, dst) = if back { (server, client) } else { (client, server) };
    let flags = match nth {
        0 => Tcp::SYN,
        1 => Tcp::SYN | Tcp::ACK,
        _ => Tcp::ACK,
    };
    let payload = if nth > 2 { payload } else { &[] };
    let seq = 1000 + nth.saturating_sub(3) / 2 * payload.len() as u32 + u32::from(nth > 1);
    let tcp = Tcp {
        ports: Ports { src: src.1, dst: dst.1 },
        seq,
        ack: u32::from(nth > 0) * 1001,
        flags,
        window: 512,
    };
    let path = Path::EMPTY.with(Level::Eth).with(Level::Ip).with(Level::Tcp);
    Packet {
        path,
        macs: Some(Macs { src: Mac([2; 6]), dst: Mac([4; 6]) }),
        vlan: Vlan::NONE,
        net: Net::Ip(Ip {
            src: src.0,
            dst: dst.0,
            proto: 6,
            ttl: 64,
            fragment: None,
            transport: Transport::Tcp(tcp),
            payload,
            payload_len: payload.len() as u32,
        }),
        inner: None,
        flaws: Flaws::NONE,
    }
}
