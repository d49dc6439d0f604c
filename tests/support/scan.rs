//! A port scan, as a detector must find it.

use super::pcap::Packet;

/// A TCP packet without payload between 192.168.7.1 and 192.168.7.2.
pub fn tcp(to_server: bool, port: u16, flags: u8) -> Packet {
    let (src, dst) = if to_server { (1, 2) } else { (2, 1) };
    let (from, to) = if to_server { (40_000, port) } else { (port, 40_000) };
    let mut data = [2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src, 8, 0].to_vec();
    data.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 168, 7, src, 192, 168, 7, dst]);
    data.extend(from.to_be_bytes());
    data.extend(to.to_be_bytes());
    data.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 4, 0, 0, 0, 0, 0]);
    data.resize(60, 0);
    Packet::whole(0, 0, data)
}

/// Thirty ports of 192.168.7.2, each refused.
pub fn scan(first: u16) -> Vec<Packet> {
    (first..first + 30).flat_map(|port| [tcp(true, port, 0x02), tcp(false, port, 0x14)]).collect()
}
