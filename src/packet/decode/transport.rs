//! What an IP protocol number names: TCP, UDP, SCTP, ICMP, and protocols that end the path.

use super::super::level::Level;
use super::network::proto;
use super::span::Span;
use super::{Flaws, Icmp, Net, Next, Ports, Tcp, Transport, Walk};

impl<'a> Walk<'_, 'a> {
    /// What an IP protocol number names.
    #[inline]
    pub(super) fn proto(&mut self, proto: u8, span: Span<'a>) -> Next<'a> {
        match proto {
            proto::TCP => self.tcp(span),
            proto::UDP => self.udp(span),
            proto::ICMP => self.icmp(Level::Icmp, span),
            proto::ICMPV6 => self.icmp(Level::Icmpv6, span),
            proto::SCTP => self.sctp(span),
            // Nothing captured of what follows, so that nothing is known of it.
            _ if span.bytes.is_empty() => Next::End,
            proto::IPV4 => self.tunnel(Next::Ip(span), span),
            proto::IPV6 => self.tunnel(Next::Ipv6(span), span),
            proto::GRE => self.gre(span),
            proto::AH => self.authenticated(span),
            proto::ETHER_IP => self.ether_ip(span),
            proto::ETHERNET => self.tunnel(Next::Eth(span), span),
            proto::MPLS => self.tunnel(Next::Mpls(span), span),
            proto::PIM => self.pim(span),
            // In IPv6 an extension header that nothing but 59 may follow.
            proto::MOBILITY => Next::End,
            _ => match Level::of_proto(proto) {
                Some(level) => self.last(level),
                None => self.data(span),
            },
        }
    }

    /// RFC 9293, 3.1.
    #[inline]
    fn tcp(&mut self, span: Span<'a>) -> Next<'a> {
        let Some(&[s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, w0, w1, _, _, _, _]) =
            span.first()
        else {
            return self.cut_tcp(span);
        };
        self.level(Level::Tcp);
        let tcp = Tcp {
            ports: Ports { src: u16::from_be_bytes([s0, s1]), dst: u16::from_be_bytes([d0, d1]) },
            seq: u32::from_be_bytes([q0, q1, q2, q3]),
            ack: u32::from_be_bytes([a0, a1, a2, a3]),
            flags,
            window: u16::from_be_bytes([w0, w1]),
        };
        let header = u32::from(offset >> 4) * 4;
        let payload = if header < 20 {
            self.packet.flaws.add(Flaws::FIELD);
            span.limit(0)
        } else {
            if header > span.wire {
                self.packet.flaws.add(Flaws::LENGTH);
            }
            span.skip(header)
        };
        self.transport(Transport::Tcp(tcp), payload);
        Next::End
    }

    /// As much of a TCP header as is there.
    #[cold]
    fn cut_tcp(&mut self, span: Span<'a>) -> Next<'a> {
        let transport = match ports(span) {
            Some(ports) => Transport::Tcp(Tcp {
                ports,
                seq: span.u32(4).unwrap_or(0),
                ack: span.u32(8).unwrap_or(0),
                flags: span.bytes.get(13).copied().unwrap_or(0),
                window: span.u16(14).unwrap_or(0),
            }),
            None => Transport::Cut,
        };
        if transport != Transport::Cut {
            self.level(Level::Tcp);
        }
        let header = span.bytes.get(12).map_or(20, |offset| u32::from(offset >> 4) * 4).max(20);
        self.transport(transport, span.skip(header));
        self.short(span, 20)
    }

    /// RFC 768.
    #[inline]
    fn udp(&mut self, span: Span<'a>) -> Next<'a> {
        let Some(&[s0, s1, d0, d1, l0, l1, _, _]) = span.first() else {
            let ports = ports(span).inspect(|_| self.level(Level::Udp));
            self.transport(ports.map_or(Transport::Cut, Transport::Udp), span.skip(8));
            return self.short(span, 8);
        };
        self.level(Level::Udp);
        let ports = Ports { src: u16::from_be_bytes([s0, s1]), dst: u16::from_be_bytes([d0, d1]) };
        let len = u32::from(u16::from_be_bytes([l0, l1]));
        let payload = match len {
            // Of a jumbogram (RFC 2675, 4) or a segment yet to be split.
            0 => span,
            1..8 => {
                self.packet.flaws.add(Flaws::LENGTH);
                span.limit(8)
            }
            _ => {
                if len > span.wire && !self.may_go_on() {
                    self.packet.flaws.add(Flaws::LENGTH);
                }
                span.limit(len)
            }
        }
        .skip(8);
        self.transport(Transport::Udp(ports), payload);
        self.behind_udp(ports, payload)
    }

    /// Whether the packet may go on in other frames: of what is in a tunnel that is not kept.
    fn may_go_on(&self) -> bool {
        self.packet.inner.is_some() || matches!(&self.packet.net, Net::Ip(ip) if ip.fragment.is_some())
    }

    /// RFC 9260, 3.1.
    fn sctp(&mut self, span: Span<'a>) -> Next<'a> {
        let ports = ports(span).inspect(|_| self.level(Level::Sctp));
        self.transport(ports.map_or(Transport::Cut, Transport::Sctp), span.skip(12));
        if span.bytes.len() < 12 { self.short(span, 12) } else { Next::End }
    }

    /// RFC 792 and RFC 4443, 2.1.
    fn icmp(&mut self, level: Level, span: Span<'a>) -> Next<'a> {
        let Some([kind, code]) = span.at(0) else {
            self.transport(Transport::Cut, span.skip(8));
            return self.short(span, 8);
        };
        // Behind the other version's header it has no types that anyone counts.
        let foreign = self.is_behind(if level == Level::Icmp { Level::Ipv6 } else { Level::Ip });
        self.level(level);
        if foreign {
            self.packet.flaws.add(Flaws::FIELD);
            return Next::End;
        }
        let icmp = Icmp { kind, code, rest: span.u32(4).unwrap_or(0) };
        self.transport(Transport::Icmp(icmp), span.skip(8));
        if span.bytes.len() < 8 { self.short(span, 8) } else { Next::End }
    }
}

impl Level {
    /// The level of an IP protocol whose payload is not followed.
    fn of_proto(proto: u8) -> Option<Self> {
        Some(match proto {
            2 => Self::Igmp,
            9 => Self::Igrp,
            33 => Self::Dccp,
            46 | 134 => Self::Rsvp,
            50 => Self::Esp,
            54 => Self::Nhrp,
            88 => Self::Eigrp,
            89 => Self::Ospf,
            108 => Self::IpComp,
            112 => Self::Vrrp,
            113 => Self::Pgm,
            115 => Self::L2tp,
            136 => Self::UdpLite,
            139 => Self::Hip,
            _ => return None,
        })
    }
}

/// The ports that TCP, UDP and SCTP begin with.
fn ports(span: Span<'_>) -> Option<Ports> {
    span.at(0).map(|[s0, s1, d0, d1]| Ports {
        src: u16::from_be_bytes([s0, s1]),
        dst: u16::from_be_bytes([d0, d1]),
    })
}
