//! Detectors: packets and flows to findings. Each detector is one file; all state is bounded, and what reaches its bound is
//! counted. Knows flows and packets; knows no disk.
//!
//! A detector says in [`Interest`] which packets and in [`Events`] which flow events it wants, and raises findings at
//! [`Alerts`], which suppresses repetitions for an hour, counting on.

mod alerts;
pub mod arp;
mod audience;
pub mod beacon;
mod bounded;
pub mod brute_force;
mod claims;
pub mod credentials;
pub mod dhcp;
#[cfg(test)]
mod dialogue;
pub mod dns_dga;
pub mod dns_tunnel;
mod domains;
pub mod filter;
mod finding;
pub mod flood;
pub mod icmp_tunnel;
mod ignore;
pub mod large_transfer;
pub mod local;
pub mod long_connection;
pub mod malformed;
pub mod names;
pub mod neighbour;
pub mod odd_port;
pub mod scan;
mod settings;
pub mod stream;
mod talk;
mod tap;
pub mod traceroute;
pub mod weak_tls;
#[cfg(test)]
mod wire;

use serde::de::DeserializeOwned;

pub use alerts::{Alerts, MAX_ACTIVE, SUPPRESSED};
pub use bounded::{Bounded, Worth};
pub use claims::ClaimLimits;
pub use finding::{Evidence, Finding, Key, Severity, Subject};
pub use ignore::{End, IgnoreRule};
pub use local::{Net, Nets};
pub use settings::Settings;
pub use tap::TapHealth;

use crate::flow::table::{Arrival, Flow, FlowEvent};
use crate::packet::Nanos;
use crate::packet::addr::Addr;
use crate::packet::decode::Packet;

/// The ids of all detectors.
pub const IDS: &[&str] = &[
    "port_scan",
    "host_sweep",
    "stealth_scan",
    "syn_flood",
    "flood",
    "arp_spoof",
    "nd_spoof",
    "rogue_ra",
    "name_poisoning",
    "dhcp_abuse",
    "dns_tunnel",
    "dns_dga",
    "icmp_tunnel",
    "beacon",
    "brute_force",
    "cleartext_credentials",
    "weak_tls",
    "odd_port",
    "long_connection",
    "large_transfer",
    "malformed",
    "traceroute",
];

/// A packet, decoded, in its flow.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Its layers.
    pub packet: &'a Packet<'a>,
    /// When, where, how long.
    pub arrival: Arrival,
    /// The bytes captured of the whole frame.
    pub captured: u32,
    /// Its flow, if it is IP.
    pub flow: Option<&'a Flow>,
    /// Whether the flow's originator sent it.
    pub from_originator: bool,
}

/// Which packets a detector wants; a set. A packet is of several kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interest(pub u16);

impl Interest {
    /// None.
    pub const NONE: Self = Self(0);
    /// ARP.
    pub const ARP: Self = Self(1);
    /// TCP with SYN, FIN or RST, without ACK, or with flags that do not go together.
    pub const TCP_CONTROL: Self = Self(1 << 1);
    /// TCP with payload, among the first 64 packets of its flow's direction (each may carry a login).
    pub const TCP_EARLY: Self = Self(1 << 2);
    /// UDP that is not in an established bulk transfer: among the first 16 packets of its flow's direction.
    pub const UDP_EARLY: Self = Self(1 << 3);
    /// ICMP and ICMPv6.
    pub const ICMP: Self = Self(1 << 4);
    /// UDP or TCP of flows known as DNS, mDNS, LLMNR or NBNS.
    pub const NAMES: Self = Self(1 << 5);
    /// DHCP and DHCPv6.
    pub const DHCP: Self = Self(1 << 6);
    /// IP fragments.
    pub const FRAGMENT: Self = Self(1 << 7);
    /// Every IP packet with a time to live below 10.
    pub const LOW_TTL: Self = Self(1 << 8);
    /// The first packet of a flow.
    pub const FIRST: Self = Self(1 << 9);
    /// Every UDP packet.
    pub const UDP: Self = Self(1 << 10);
    /// Every TCP packet with payload of a flow known by payload as a protocol of logins (Telnet, FTP, SMTP, IMAP, POP, LDAP).
    pub const LOGIN: Self = Self(1 << 11);
    /// Packets with flaws.
    pub const FLAWED: Self = Self(1 << 12);
    /// Every packet. Dear: only for what no other kind serves.
    pub const EVERY: Self = Self(1 << 13);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The first without the second.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether they have a kind in common.
    #[inline]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Which flow events a detector wants to be told of; a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events(pub u8);

impl Events {
    /// None.
    pub const NONE: Self = Self(0);
    /// [`FlowEvent::Begun`].
    pub const BEGUN: Self = Self(1);
    /// [`FlowEvent::Answered`].
    pub const ANSWERED: Self = Self(1 << 1);
    /// [`FlowEvent::Refused`].
    pub const REFUSED: Self = Self(1 << 2);
    /// [`FlowEvent::Established`].
    pub const ESTABLISHED: Self = Self(1 << 3);
    /// [`FlowEvent::Named`].
    pub const NAMED: Self = Self(1 << 4);
    /// [`FlowEvent::Ended`], whatever the reason.
    pub const ENDED: Self = Self(1 << 5);

    /// The one that happened.
    #[inline]
    pub const fn of(event: FlowEvent) -> Self {
        match event {
            FlowEvent::Begun => Self::BEGUN,
            FlowEvent::Answered => Self::ANSWERED,
            FlowEvent::Refused => Self::REFUSED,
            FlowEvent::Established => Self::ESTABLISHED,
            FlowEvent::Named => Self::NAMED,
            FlowEvent::Ended(_) => Self::ENDED,
        }
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a detector knows of where it is.
#[derive(Debug, Clone)]
pub struct Scene {
    /// Networks that are ours.
    pub local: Nets,
    /// Whether each direction of the traffic is seen; if not, what rests on failed tries pauses.
    pub both_directions: bool,
    /// Whether we lose more than one packet in a hundred; then too.
    pub losing: bool,
}

impl Scene {
    /// Whether an address is ours.
    #[inline]
    pub fn is_local(&self, addr: Addr) -> bool {
        self.local.contain(addr)
    }

    /// Whether an answer that was not seen was not given.
    #[inline]
    pub fn sees_answers(&self) -> bool {
        self.both_directions && !self.losing
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self { local: Nets::default(), both_directions: true, losing: false }
    }
}

/// A detector. Its state can be saved and restored.
pub trait Detector: Send {
    /// Its id, as in findings and `[[ignore]]` rules. One detector file may raise several ids.
    fn id(&self) -> &'static str;

    /// The packets that it wants.
    fn interest(&self) -> Interest {
        Interest::NONE
    }

    /// A packet that it wants.
    fn packet(&mut self, seen: &Seen<'_>, scene: &Scene, alerts: &mut Alerts) {
        let _ = (seen, scene, alerts);
    }

    /// The flow events that it wants.
    fn events(&self) -> Events {
        Events::NONE
    }

    /// A flow event that it wants.
    fn flow(&mut self, event: FlowEvent, flow: &Flow, now: Nanos, scene: &Scene, alerts: &mut Alerts) {
        let _ = (event, flow, now, scene, alerts);
    }

    /// A second or more of stream time has passed.
    fn tick(&mut self, now: Nanos, scene: &Scene, alerts: &mut Alerts) {
        let _ = (now, scene, alerts);
    }

    /// The stream is over: what waits for time to pass is judged by what there is.
    fn finish(&mut self, now: Nanos, scene: &Scene, alerts: &mut Alerts) {
        self.tick(now, scene, alerts);
    }

    /// Things it could not remember because a bound was reached.
    fn saturated(&self) -> u64 {
        0
    }

    /// Its state, for a restart; nothing, if it needs none.
    fn save(&self) -> Saved<'_> {
        Box::new(())
    }

    /// Takes a state that an earlier run saved; one that does not fit is left aside.
    fn restore(&mut self, state: serde_json::Value) {
        let _ = state;
    }
}

/// A state that can be serialised, and is not copied for it.
pub type Saved<'a> = Box<dyn erased_serde::Serialize + 'a>;

/// A state as [`Detector::restore`] takes it.
pub(crate) fn saved(state: &Saved<'_>) -> serde_json::Value {
    serde_json::to_value(state).unwrap_or(serde_json::Value::Null)
}

/// [`Detector::restore`] for the same; `None` if it does not fit.
pub(crate) fn restored<T: DeserializeOwned>(state: serde_json::Value) -> Option<T> {
    serde_json::from_value(state).ok()
}
