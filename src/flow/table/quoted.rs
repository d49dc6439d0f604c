//! ICMP messages that say a flow's responder cannot be reached: they quote the packet that could not be delivered (RFC 792, RFC
//! 4443 section 3.1, RFC 4884).

use super::*;

/// ICMP: destination unreachable; all codes but "fragmentation needed".
const UNREACHABLE: u8 = 3;
/// ICMPv6: destination unreachable.
const UNREACHABLE_V6: u8 = 1;

impl FlowTable {
    /// The flow of which an ICMP message says that its responder cannot be reached, if it never answered.
    #[inline]
    pub(super) fn quoted(&self, packet: &Packet<'_>, ip: &Ip<'_>, kind: u8) -> Option<u32> {
        match ip.transport {
            Transport::Icmp(icmp) if ip.proto == 1 && kind == UNREACHABLE && icmp.code != 4 => {}
            Transport::Icmp(_) if ip.proto == 58 && kind == UNREACHABLE_V6 => {}
            _ => return None,
        }
        let (key, forward) = quoted_key(ip.payload, packet.vlan)?;
        let at = self.slab.find(self.slab.hash(&key), &key)?;
        let flow = self.slab.get(at);
        (flow.forward == forward && flow.answered == 0).then_some(at)
    }
}

/// The key of a quoted packet, and whether it went from `a` to `b`. Behind an IPv4 header at least 8 bytes are quoted; IPv6
/// extension headers are not followed.
pub(super) fn quoted_key(quote: &[u8], vlan: Vlan) -> Option<(FlowKey, bool)> {
    let (src, dst, proto, rest) = match quote.first()? >> 4 {
        4 => {
            let head: &[u8; 20] = quote.first_chunk()?;
            let rest = quote.get(usize::from(head[0] & 15).max(5) * 4..)?;
            // A later fragment shows no ports.
            if (head[6] & 0x1f, head[7]) != (0, 0) {
                return None;
            }
            let addr = |at: usize| head.get(at..)?.first_chunk().map(|bytes| Addr::v4(*bytes));
            (addr(12)?, addr(16)?, head[9], rest)
        }
        6 => {
            let (head, rest) = quote.split_at_checked(40)?;
            let addr = |at: usize| head.get(at..)?.first_chunk().map(|bytes| Addr::v6(*bytes));
            (addr(8)?, addr(24)?, *head.get(6)?, rest)
        }
        _ => return None,
    };
    let numbers = match (proto, rest) {
        (6 | 17 | 132 | 136, &[a, b, c, d, ..]) => {
            (Numbers::Ports, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
        }
        (1 | 58, &[kind, code, ..]) => (Numbers::Icmp, kind.into(), code.into()),
        (6 | 17 | 132 | 136 | 1 | 58, _) => return None,
        _ => (Numbers::None, 0, 0),
    };
    Some(FlowKey::of(src, dst, proto, vlan, numbers))
}
