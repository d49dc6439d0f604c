//! What switches and taps put around a packet on its way, below IP: FabricPath, MACsec, network service headers, Arista's stamps.

use super::super::addr::Mac;
use super::super::level::Level;
use super::span::Span;
use super::{Flaws, Macs, Next, Walk};

impl<'a> Walk<'_, 'a> {
    /// Cisco FabricPath: addresses of switches, an EtherType, a tag of two bytes, and then the frame that counts.
    pub(super) fn fabric_path(&mut self, span: Span<'a>) -> Next<'a> {
        let rest = span.skip(2);
        if self.depth != 1 {
            return self.data(span);
        }
        let Some(&[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5]) = rest.first() else {
            return self.short(span, 16);
        };
        self.depth = 0;
        self.level(Level::Cfp);
        self.packet.macs =
            Some(Macs { src: Mac([s0, s1, s2, s3, s4, s5]), dst: Mac([d0, d1, d2, d3, d4, d5]) });
        Next::Eth(rest)
    }

    /// MACsec (IEEE 802.1AE, 9.3): what is neither encrypted nor changed can be followed, up to a check value of 16 bytes.
    pub(super) fn macsec(&mut self, span: Span<'a>) -> Next<'a> {
        const SCI_PRESENT: u8 = 0x20;
        const ENCRYPTED_OR_CHANGED: u8 = 0x0c;
        const CHECK: u32 = 16;
        const SHORT_LENGTH: u8 = 0x3f;
        self.level(Level::Macsec);
        let Some([control, length]) = span.at(0) else {
            return self.short(span, 6);
        };
        let rest = span.skip(if control & SCI_PRESENT == 0 { 6 } else { 14 });
        let len = match length & SHORT_LENGTH {
            0 => rest.wire.saturating_sub(CHECK),
            length => u32::from(length),
        };
        let rest = rest.limit(len);
        match rest.u16(0) {
            Some(kind) if control & ENCRYPTED_OR_CHANGED == 0 => self.type_or_length(kind, rest.skip(2)),
            _ if rest.wire > 0 => self.last(Level::Data),
            _ => Next::End,
        }
    }

    /// A network service header (RFC 8300, 2.2): its length in words, and what follows it.
    pub(super) fn nsh(&mut self, span: Span<'a>) -> Next<'a> {
        let Some(&[_, length, _, next, ..]) = span.first::<8>() else {
            return self.short(span, 8);
        };
        self.level(Level::Nsh);
        let rest = span.skip(4 * u32::from(length & 0x3f));
        match next {
            1 => Next::Ip(rest),
            2 => Next::Ipv6(rest),
            3 => Next::Eth(rest),
            5 => Next::Mpls(rest),
            _ => self.data(rest),
        }
    }

    /// Arista's header of a time stamp, which its tap aggregators insert; then an EtherType.
    pub(super) fn arista(&mut self, span: Span<'a>) -> Next<'a> {
        const TIME_STAMP: u16 = 1;
        self.level(Level::Avsp);
        let len = match (span.u16(0), span.u16(2)) {
            (Some(TIME_STAMP), Some(0x0010 | 0x0110)) => 12,
            (Some(TIME_STAMP), Some(0x0020 | 0x0120)) => 10,
            (Some(_), Some(_)) => {
                self.packet.flaws.add(Flaws::UNKNOWN);
                return Next::End;
            }
            _ => return self.short(span, 14),
        };
        match span.u16(len) {
            Some(kind) => self.type_or_length(kind, span.skip(len as u32 + 2)),
            None => self.short(span, len as u32 + 2),
        }
    }
}
