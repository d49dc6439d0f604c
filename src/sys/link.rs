//! What the kernel says of a network interface.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

/// The state of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// There is none of that name.
    Absent,
    /// It is there, and set down.
    Down,
    /// It is up, and nothing is plugged in.
    NoCarrier(u32),
    /// It can receive; the number tells it from another of the same name.
    Up(u32),
}

/// The name by which libpcap captures on all interfaces at once.
const ALL: &str = "any";

/// A socket through which the kernel can be asked for interfaces. Every family takes such requests; this one is among the few
/// that the unit allows.
pub(super) fn any_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
}

/// Looks at the interface `name` in the caller's network namespace. What the kernel does not tell counts as up.
pub fn link(name: &str) -> io::Result<Link> {
    if name == ALL {
        return Ok(Link::Up(0));
    }
    let socket = any_socket()?;
    let Ok(index) = netdevice::name_to_index(&socket, name) else { return Ok(Link::Absent) };
    const IFF_UP: u32 = 1;
    if flags(name).is_ok_and(|flags| flags & IFF_UP == 0) {
        return Ok(Link::Down);
    }
    if attribute(name, "carrier").is_ok_and(|text| text == "0") {
        return Ok(Link::NoCarrier(index));
    }
    Ok(Link::Up(index))
}

/// Whether packets to this machine itself pass, each of which the kernel shows twice, going out and coming in.
pub fn is_loopback(name: &str) -> bool {
    const ARPHRD_LOOPBACK: &str = "772";
    name == ALL || attribute(name, "type").is_ok_and(|kind| kind == ARPHRD_LOOPBACK)
}

/// What the kernel tells of an interface under that name.
pub(super) fn attribute(name: &str, what: &str) -> io::Result<String> {
    Ok(std::fs::read_to_string(format!("/sys/class/net/{name}/{what}"))?.trim().to_owned())
}

/// The flags of an interface (`IFF_…`).
pub(super) fn flags(name: &str) -> io::Result<u32> {
    let text = attribute(name, "flags")?;
    let flags = text.strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok());
    flags.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_up_and_a_strange_name_is_absent() {
        assert!(matches!(link("lo").unwrap(), Link::Up(_) | Link::Down));
        assert_eq!(link("no-such-if0").unwrap(), Link::Absent);
        assert!(is_loopback("lo") && is_loopback("any") && !is_loopback("no-such-if0"));
    }
}
