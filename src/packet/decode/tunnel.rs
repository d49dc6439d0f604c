//! Tunnels, and what else holds frames or packets: GRE, VXLAN, Geneve, Teredo, GTP-U, MPLS, PPP, LLC.

use super::span::Span;
use super::{Next, Ports, Walk};

impl<'a> Walk<'a> {
    /// What a UDP payload holds, if it is a tunnel.
    pub(super) fn behind_udp(&mut self, _ports: Ports, _span: Span<'a>) -> Next<'a> {
        Next::End
    }

    /// IEEE 802.2.
    pub(super) fn llc(&mut self, span: Span<'a>) -> Next<'a> {
        self.data(span)
    }

    /// PPP.
    pub(super) fn ppp(&mut self, span: Span<'a>) -> Next<'a> {
        self.data(span)
    }

    /// MPLS.
    pub(super) fn mpls(&mut self, span: Span<'a>) -> Next<'a> {
        self.data(span)
    }
}
