//! Flows to records.

use super::super::record::usual_name;
use super::*;
use crate::packet::community_id::Tuple;

impl Flow {
    /// The record of the part that ends now. Ids of findings are for others to fill in.
    pub fn record(&self, reason: EndReason) -> FlowRecord {
        let (orig, resp) = (self.originator(), self.responder());
        let ports = self.ports();
        let is_tcp = self.is_tcp();
        let facts = self.facts();
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        FlowRecord {
            flow_id: format!("{}-{}", self.id.file, self.id.offset),
            part: self.part,
            last_part: reason != EndReason::Active,
            community_id: self.community_id(),
            start: self.start,
            end: self.last,
            src_ip: orig.0,
            src_port: ports.map(|ports| ports.0),
            dst_ip: resp.0,
            dst_port: ports.map(|ports| ports.1),
            src_mac: self.macs.map(|macs| macs.0),
            dst_mac: self.macs.map(|macs| macs.1),
            vlan: self.key.vlan,
            proto: self.key.proto,
            transport: usual_name(self.key.proto).map(Into::into),
            icmp_type: self.icmp.map(|icmp| icmp.0),
            icmp_code: self.icmp.map(|icmp| icmp.1),
            app: self.app.map(|(app, _)| app.name().into()),
            app_basis: self.app.map(|(_, basis)| basis),
            orig_packets: self.orig.packets,
            orig_bytes: self.orig.bytes,
            resp_packets: self.resp.packets,
            resp_bytes: self.resp.bytes,
            orig_payload_bytes: self.orig.payload,
            resp_payload_bytes: self.resp.payload,
            missed_bytes: self.missed_bytes(),
            conn_state: self.conn_state(),
            history: is_tcp.then(|| self.history().to_owned()),
            orig_tcp_flags: is_tcp.then_some(self.orig.flags),
            resp_tcp_flags: is_tcp.then_some(self.resp.flags),
            rtt_us: self.inner.tcp.rtt_us(),
            min_ttl: self.ttl.0,
            max_ttl: self.ttl.1,
            end_reason: reason,
            sni: facts.and_then(|facts| text(&facts.sni)),
            alpn: facts.and_then(|facts| text(&facts.alpn)),
            http_host: facts.and_then(|facts| text(&facts.http_host)),
            user_agent: facts.and_then(|facts| text(&facts.user_agent)),
            dns_query: facts.and_then(|facts| text(&facts.dns_query)),
            ja4: facts.and_then(|facts| text(&facts.ja4)),
            findings: Vec::new(),
            captures: self.inner.captures(),
        }
    }

    /// The Community ID; none of a flow of which only later fragments were seen.
    fn community_id(&self) -> Option<String> {
        let ports = match self.key.numbers {
            Numbers::None => None,
            Numbers::Ports => self.ports(),
            Numbers::Icmp => self.icmp.map(|(kind, code)| (kind.into(), code.into())),
        };
        let (src, dst) = (self.originator().0, self.responder().0);
        self.inner.whole.then(|| Tuple { src, dst, proto: self.key.proto, ports }.id().to_string())
    }
}

impl Inner {
    fn captures(&self) -> Stretches {
        let before = self.before();
        let mut all = Vec::with_capacity(before.len() + 1);
        all.extend_from_slice(before);
        all.push(self.stretch);
        Stretches(all)
    }
}
