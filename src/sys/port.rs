//! What the kernel and the driver tell of a network interface beyond its link: flags, speed, addresses, offloads, rings.
//! Only asks; takes no privilege. Of the caller's network namespace.

use std::fs::read_to_string;
use std::io;
use std::os::fd::AsFd as _;

use nix::ifaddrs::getifaddrs;

use super::link::{any_socket, attribute, flags};
use super::raw::{Ethtool, ethtool};

/// `IFF_PROMISC`, as the interface is and not only as somebody set it by hand.
const PROMISCUOUS: u32 = 0x100;

/// `ETH_FLAG_LRO`.
const LARGE_RECEIVE: u32 = 1 << 15;

/// `RTF_REJECT`, of a route that leads nowhere.
const REJECT: u32 = 0x200;

/// The interfaces there are, by name.
pub fn names() -> io::Result<Vec<String>> {
    let entries = std::fs::read_dir("/sys/class/net")?;
    let mut names: Vec<_> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// Whether frames for others reach it.
pub fn is_promiscuous(name: &str) -> io::Result<bool> {
    Ok(flags(name)? & PROMISCUOUS != 0)
}

/// Its speed, Mb/s; `None` where there is no such thing, or no link.
pub fn speed(name: &str) -> Option<u64> {
    attribute(name, "speed").ok()?.parse().ok().filter(|speed| *speed > 0)
}

/// Whether both ends may send at once; `None` where there is no such thing, or no link.
pub fn is_full_duplex(name: &str) -> Option<bool> {
    match attribute(name, "duplex").ok()?.as_str() {
        "full" => Some(true),
        "half" => Some(false),
        _ => None,
    }
}

/// Its IP addresses, as text.
pub fn addresses(name: &str) -> io::Result<Vec<String>> {
    let all = getifaddrs().map_err(io::Error::from)?;
    let ours = all.filter(|one| one.interface_name == name).filter_map(|one| one.address);
    let text = |address: nix::sys::socket::SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|address| address.ip().to_string());
        v4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().to_string()))
    };
    Ok(ours.filter_map(text).collect())
}

/// Whether this machine reaches the rest of the world through it.
pub fn has_default_route(name: &str) -> bool {
    let routes = |file| read_to_string(file).unwrap_or_default();
    let v4 = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        matches!(fields[..], [interface, "00000000", .., "00000000", _, _, _] if interface == name)
    };
    let v6 = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [.., flags, interface] = fields[..] else { return false };
        let rejects = u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & REJECT != 0);
        line.starts_with("00000000000000000000000000000000 00 ") && interface == name && !rejects
    };
    routes("/proc/net/route").lines().any(v4) || routes("/proc/net/ipv6_route").lines().any(v6)
}

/// What an interface does to frames before they are seen, or after; `None` where its driver knows nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offloads {
    /// Frames received are joined by the kernel (GRO).
    pub generic_receive: Option<bool>,
    /// Frames received are joined by the card (LRO).
    pub large_receive: Option<bool>,
    /// TCP segments sent are cut by the card (TSO).
    pub tcp_segmentation: Option<bool>,
    /// Frames sent are cut as late as possible (GSO).
    pub generic_segmentation: Option<bool>,
    /// Checksums received are verified by the card.
    pub receive_checksums: Option<bool>,
    /// Checksums sent are filled in by the card.
    pub send_checksums: Option<bool>,
}

/// Asks for the offloads of an interface.
pub fn offloads(name: &str) -> io::Result<Offloads> {
    let socket = any_socket()?;
    let value = |what| answered(ethtool(socket.as_fd(), name, what)).map(|words| words.map(|words| words[1]));
    let is_on = |what| value(what).map(|value| value.map(|value| value != 0));
    Ok(Offloads {
        generic_receive: is_on(Ethtool::GenericReceive)?,
        large_receive: value(Ethtool::Flags)?.map(|flags| flags & LARGE_RECEIVE != 0),
        tcp_segmentation: is_on(Ethtool::TcpSegmentation)?,
        generic_segmentation: is_on(Ethtool::GenericSegmentation)?,
        receive_checksums: is_on(Ethtool::ReceiveChecksums)?,
        send_checksums: is_on(Ethtool::SendChecksums)?,
    })
}

/// The card's ring of received frames, entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ring {
    /// As it is.
    pub size: u32,
    /// As it could be.
    pub most: u32,
}

/// Asks for the receive ring; `None` if the driver has none to tell of.
pub fn receive_ring(name: &str) -> io::Result<Option<Ring>> {
    let words = answered(ethtool(any_socket()?.as_fd(), name, Ethtool::Rings))?;
    Ok(words.map(|words| Ring { most: words[1], size: words[5] }).filter(|ring| ring.most > 0))
}

/// That a driver does not know of something is an answer.
fn answered<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::Unsupported => Ok(None),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_offloads_and_no_ring_and_a_strange_name_has_nothing() {
        assert!(names().unwrap().contains(&"lo".to_owned()));
        assert!(offloads("lo").unwrap().generic_receive.is_some());
        assert_eq!(receive_ring("lo").unwrap(), None);
        assert!(!is_promiscuous("lo").unwrap());
        assert_eq!(speed("lo"), None);
        assert!(offloads("no-such-if0").is_err() && is_promiscuous("no-such-if0").is_err());
        assert!(!has_default_route("no-such-if0") && !has_default_route("lo"));
        assert!(addresses("no-such-if0").unwrap().is_empty());
    }
}
