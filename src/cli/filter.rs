//! Filters on flows and conversations, named alike in every command.

use clap::Args;

use crate::detect::Net;
use crate::flow::summary::Probe;
use crate::packet::addr::Addr;
use crate::packet::community_id::CommunityId;
use crate::packet::level::Level;

/// Which flows. Words of one kind are alternatives; several kinds must all fit.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct FilterArgs {
    /// Only with this address at one end; repeatable
    #[arg(long, value_name = "ADDRESS")]
    pub host: Vec<std::net::IpAddr>,
    /// Only with an address of this network at one end; repeatable
    #[arg(long, value_name = "NET")]
    pub net: Vec<Net>,
    /// Only with this port at one end; repeatable
    #[arg(long, value_name = "PORT", value_parser = port)]
    pub port: Vec<u16>,
    /// Only of this protocol: tcp, udp, icmp, icmp6, sctp or a number; repeatable
    #[arg(long, value_name = "PROTO", value_parser = proto)]
    pub proto: Vec<u8>,
    /// Only of this application: tls, http, dns, ssh …; repeatable
    #[arg(long, value_name = "APP", value_parser = app)]
    pub app: Vec<String>,
    /// Only with this Community ID; repeatable
    #[arg(long, value_name = "ID")]
    pub community_id: Vec<CommunityId>,
}

/// What a filter looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends<'a> {
    /// The two addresses.
    pub addrs: (Addr, Addr),
    /// The two ports, if there are any.
    pub ports: Option<(u16, u16)>,
    /// IP protocol number.
    pub proto: u8,
    /// The application.
    pub app: Option<&'a str>,
}

impl FilterArgs {
    /// Whether it lets everything through.
    pub(super) fn is_empty(&self) -> bool {
        let Self { host, net, port, proto, app, community_id } = self;
        let none = [host.len(), net.len(), port.len(), proto.len(), app.len(), community_id.len()];
        none.iter().all(|&words| words == 0)
    }

    /// Whether it lets these ends through. The Community ID is made only when it is asked for.
    pub(super) fn matches(
        &self,
        ends: &Ends<'_>,
        community_id: impl FnOnce() -> Option<CommunityId>,
    ) -> bool {
        let (a, b) = ends.addrs;
        let either = |fits: &dyn Fn(Addr) -> bool| fits(a) || fits(b);
        (self.host.is_empty() || either(&|addr| self.host.iter().any(|&host| Addr::from(host) == addr)))
            && (self.net.is_empty() || either(&|addr| self.net.iter().any(|net| net.contains(addr))))
            && (self.port.is_empty()
                || ends.ports.is_some_and(|(a, b)| self.port.contains(&a) || self.port.contains(&b)))
            && (self.proto.is_empty() || self.proto.contains(&ends.proto))
            && (self.app.is_empty() || ends.app.is_some_and(|app| self.app.iter().any(|word| word == app)))
            && (self.community_id.is_empty()
                || community_id().is_some_and(|id| self.community_id.contains(&id)))
    }

    /// What a file must hold one of; nothing if any file may hold what fits.
    pub(super) fn probes(&self) -> Vec<Probe> {
        if !self.community_id.is_empty() {
            return self.community_id.iter().map(|&id| id.into()).collect();
        }
        self.host.iter().map(|&host| Addr::from(host).into()).collect()
    }
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "not a port; a number from 0 to 65535 is".to_owned())
}

/// The application as records name it.
fn app(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    Level::from_name(&name).map(|_| name).ok_or_else(|| {
        "no application of that name; expected one of the column APP or of `tapkeep protocols`, as tls, http or dns".to_owned()
    })
}

/// The number of a protocol by its name.
fn proto(text: &str) -> Result<u8, String> {
    let known = [("icmp", 1), ("igmp", 2), ("tcp", 6), ("udp", 17), ("gre", 47), ("esp", 50), ("ah", 51)];
    let more = [("icmp6", 58), ("icmpv6", 58), ("ospf", 89), ("sctp", 132)];
    let named = known.iter().chain(&more).find(|(name, _)| name.eq_ignore_ascii_case(text));
    named.map(|&(_, number)| number).or_else(|| text.parse().ok()).ok_or_else(|| {
        "no protocol of that name; expected tcp, udp, icmp, icmp6, sctp or a number from 0 to 255".to_owned()
    })
}
