//! Display filters of Wireshark, as findings tell them.

use std::fmt::Display;

use crate::packet::addr::{Addr, Mac};

fn field(addr: Addr, of: &str) -> String {
    format!("{}.{of} == {addr}", if addr.is_v4() { "ip" } else { "ipv6" })
}

/// Packets from an address.
pub fn src(addr: Addr) -> String {
    field(addr, "src")
}

/// Packets to an address.
pub fn dst(addr: Addr) -> String {
    field(addr, "dst")
}

/// Packets from or to an address.
pub fn host(addr: Addr) -> String {
    field(addr, "addr")
}

/// Packets between two addresses, both ways.
pub fn between(one: Addr, other: Addr) -> String {
    format!("{} && {}", host(one), host(other))
}

/// Frames from or to a hardware address.
pub fn mac(mac: Mac) -> String {
    format!("eth.addr == {mac}")
}

/// Packets with a port at either end; `transport` is `tcp`, `udp` or `sctp`.
pub fn port(transport: &str, port: u16) -> String {
    format!("{transport}.port == {port}")
}

/// Packets that all of these show.
pub fn all<T: Display>(filters: impl IntoIterator<Item = T>) -> String {
    let mut text = String::new();
    for filter in filters {
        if !text.is_empty() {
            text.push_str(" && ");
        }
        text.push_str(&filter.to_string());
    }
    text
}
