//! The keys of `[detect]`: the thresholds of the detectors, as far as somebody may want to tune them. Each key is a field of
//! [`Settings`], whose default is the key's; `docs/DETECTORS.md` tells where it comes from. An upper bound on a count is what
//! the detector remembers: beyond it, it would never fire.

use std::time::Duration;

use super::{AnyKey, Key};
use crate::config::kind::detect::{Decimal, DetectorId, List, Network, Port, Steps};
use crate::config::kind::{Bytes, Choice, Time, Whole};
use crate::config::raw::Raw;
use crate::config::units::{ByteSize, MB};
use crate::detect::{Net, Nets, Settings};
use crate::packet::Nanos;

/// A field of [`Settings`] as the value of a key.
trait Field<V> {
    fn get(&self) -> V;
    fn set(&mut self, value: V);
}

impl<T: Clone> Field<T> for T {
    fn get(&self) -> T {
        self.clone()
    }

    fn set(&mut self, value: T) {
        *self = value;
    }
}

impl Field<u32> for usize {
    fn get(&self) -> u32 {
        u32::try_from(*self).unwrap_or(u32::MAX)
    }

    fn set(&mut self, value: u32) {
        *self = value as usize;
    }
}

impl Field<Duration> for Nanos {
    fn get(&self) -> Duration {
        Duration::from_nanos(u64::try_from(*self).unwrap_or(0))
    }

    fn set(&mut self, value: Duration) {
        *self = Nanos::try_from(value.as_nanos()).unwrap_or(Nanos::MAX);
    }
}

impl Field<[Duration; 4]> for [Nanos; 4] {
    fn get(&self) -> [Duration; 4] {
        self.map(|step| step.get())
    }

    fn set(&mut self, value: [Duration; 4]) {
        self.iter_mut().zip(value).for_each(|(step, value)| step.set(value));
    }
}

impl Field<ByteSize> for u64 {
    fn get(&self) -> ByteSize {
        ByteSize(*self)
    }

    fn set(&mut self, value: ByteSize) {
        *self = value.0;
    }
}

impl Field<Vec<Net>> for Nets {
    fn get(&self) -> Vec<Net> {
        self.0.clone()
    }

    fn set(&mut self, value: Vec<Net>) {
        self.0 = value;
    }
}

macro_rules! detect_keys {
    ($(
        $name:ident: $kind:ty = $path:literal, $value:expr,
        $settings:ident => $field:expr $(, $too:expr)*; $help:literal;
    )*) => {
        $(
            #[doc = $help]
            pub static $name: Key<$kind> = Key {
                toml: Some($path),
                env: concat!("TAPKEEP_DETECT_", stringify!($name)),
                help: $help,
                default: || {
                    let $settings = Settings::default();
                    Field::get(&$field)
                },
                kind: $value,
            };
        )*

        /// Every key of `[detect]`, in the order of the shipped sample.
        pub(super) const KEYS: &[&dyn AnyKey] = &[$(&$name),*];

        /// Settles them all. The limits of flows are not among them.
        pub(in crate::config) fn settle(raw: &mut Raw) -> Settings {
            let mut settings = Settings::default();
            $({
                let $settings = &mut settings;
                let value = raw.take(&$name);
                $(Field::set(&mut $too, value.clone());)*
                Field::set(&mut $field, value);
            })*
            settings
        }
    };
}

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;

/// Windows in which something is counted.
const WINDOW: Time = Time(SECOND..=DAY);

/// Tries that a scanner is remembered with.
const TRIES: Whole = Whole(2..=64);

/// Packets in a second.
const RATE: Whole = Whole(1..=100_000_000);

detect_keys! {
    LOCAL_NETS: List<Network> = "detect.local_nets", List(Network), s => s.local_nets;
        "The networks that are ours; what stays within them is less suspicious.";
    OFF: List<DetectorId> = "detect.off", List(DetectorId), s => s.off;
        "Detectors that are switched off.";

    PORT_SCAN_PORTS: Whole = "detect.port_scan_ports", TRIES, s => s.scan.fast_ports;
        "Failed ports of one host within scan_window, none answered, from which on it is a port scan.";
    PORT_SCAN_PAIRS: Whole = "detect.port_scan_pairs", TRIES, s => s.scan.slow_pairs;
        "Failed pairs of host and port within scan_slow_window from which on it is a port scan.";
    HOST_SWEEP_HOSTS: Whole = "detect.host_sweep_hosts", TRIES, s => s.scan.many_hosts;
        "Hosts that failed on one port within scan_slow_window from which on it is a sweep.";
    HOST_SWEEP_FEW_HOSTS: Whole = "detect.host_sweep_few_hosts", TRIES, s => s.scan.few_hosts;
        "The same within host_sweep_window, if none answered on that port.";
    HOST_SWEEP_ASKED: Whole = "detect.host_sweep_asked", TRIES, s => s.scan.swept_hosts;
        "Hosts asked for by ARP or echo, in vain, within scan_window.";
    HOST_SWEEP_WINDOW: Time = "detect.host_sweep_window", WINDOW, s => s.scan.long;
        "The longest time over which failed tries of one source are added up.";
    STEALTH_SCAN_PAIRS: Whole = "detect.stealth_scan_pairs", TRIES, s => s.scan.odd_pairs;
        "Pairs of host and port tried with flags that open nothing, within scan_slow_window.";
    STEALTH_SCAN_ACK_PAIRS: Whole = "detect.stealth_scan_ack_pairs", TRIES, s => s.scan.ack_pairs;
        "Pairs tried with ACK or FIN ACK of no connection, within scan_window.";
    SCAN_WINDOW: Time = "detect.scan_window", WINDOW, s => s.scan.fast;
        "The time over which quick scans are counted.";
    SCAN_SLOW_WINDOW: Time = "detect.scan_slow_window", WINDOW, s => s.scan.slow;
        "The time over which slow scans are counted.";
    SCAN_UNANSWERED: Time = "detect.scan_unanswered", Time(100..=60 * SECOND), s => s.scan.unanswered;
        "How long a try waits for its answer before it has failed.";

    SYN_FLOOD_SYNS: Whole = "detect.syn_flood_syns", RATE, s => s.flood.syn;
        "Unanswered SYN to one address and port within a second.";
    SYN_FLOOD_TOTAL: Whole = "detect.syn_flood_total", RATE, s => s.flood.syn_total;
        "The same to all addresses together, where sources or targets are random.";
    FLOOD_ICMP: Whole = "detect.flood_icmp", RATE, s => s.flood.icmp;
        "ICMP messages to one address within a second.";
    FLOOD_ICMP_IMPOSSIBLE: Whole = "detect.flood_icmp_impossible", RATE, s => s.flood.icmp_impossible;
        "The same with a source that no packet may have.";
    FLOOD_UDP_FLOWS: Whole = "detect.flood_udp_flows", RATE, s => s.flood.udp_flows;
        "Unanswered UDP flows to one address that begin within a second.";
    FLOOD_UDP_PACKETS: Whole = "detect.flood_udp_packets", RATE, s => s.flood.udp_packets;
        "Unanswered UDP packets to one address within a second.";
    FLOOD_FRAGMENTS: Whole = "detect.flood_fragments", RATE, s => s.flood.fragments;
        "IP fragments to one address within a second that make up no whole packets.";
    FLOOD_DHCP: Whole = "detect.flood_dhcp", RATE, s => s.flood.dhcp;
        "DHCP messages of clients within a second.";

    SPOOF_MOVES: Whole =
        "detect.spoof_moves", Whole(1..=1000), s => s.arp.claims.moves, s.neighbour.claims.moves;
        "Moves of an address between hardware addresses within spoof_window (ARP and IPv6 neighbours).";
    SPOOF_UNASKED: Whole =
        "detect.spoof_unasked", Whole(1..=1000), s => s.arp.claims.unasked, s.neighbour.claims.unasked;
        "Answers that nobody asked for, about an address that another holds, within spoof_window.";
    SPOOF_MANY: Whole = "detect.spoof_many", Whole(2..=256), s => s.arp.claims.many, s.neighbour.claims.many;
        "Addresses that one hardware address claims within spoof_window.";
    SPOOF_WINDOW: Time = "detect.spoof_window", WINDOW, s => s.arp.claims.window, s.neighbour.claims.window;
        "The time over which claims of addresses are counted.";
    SPOOF_SILENCE: Time = "detect.spoof_silence", WINDOW, s => s.arp.claims.silence, s.neighbour.claims.silence;
        "The silence of its holder after which an address may move.";
    ND_SPOOF_DENIED: Whole = "detect.nd_spoof_denied", Whole(1..=1000), s => s.neighbour.denied;
        "Addresses that one machine denies those who are about to take them, within spoof_window.";
    ROGUE_RA_ROUTERS: Whole = "detect.rogue_ra_routers", Whole(2..=1000), s => s.neighbour.routers;
        "New IPv6 routers or prefixes within a minute.";
    NAME_POISONING_NAMES: Whole = "detect.name_poisoning_names", Whole(2..=64), s => s.names.names;
        "Different names that one machine answers for by LLMNR or NetBIOS.";
    NAME_POISONING_WINDOW: Time = "detect.name_poisoning_window", WINDOW, s => s.names.window;
        "The time over which these are counted.";
    DHCP_ABUSE_PLAYED: Whole = "detect.dhcp_abuse_played", Whole(2..=1000), s => s.dhcp.played;
        "DHCP clients that one machine plays within dhcp_abuse_window.";
    DHCP_ABUSE_CLIENTS: Whole = "detect.dhcp_abuse_clients", Whole(3..=1000), s => s.dhcp.clients;
        "DHCP clients of anybody within dhcp_abuse_window.";
    DHCP_ABUSE_WINDOW: Time = "detect.dhcp_abuse_window", WINDOW, s => s.dhcp.window;
        "The time over which these are counted.";

    DNS_TUNNEL_LENGTH: Whole = "detect.dns_tunnel_length", Whole(1..=253), s => s.dns_tunnel.long;
        "Bytes below the registered domain from which on a name is long.";
    DNS_TUNNEL_ENTROPY: Decimal = "detect.dns_tunnel_entropy", Decimal(0.0..=8.0), s => s.dns_tunnel.entropy;
        "Bits a character from which on a long name looks like data.";
    DNS_TUNNEL_NAMES: Whole = "detect.dns_tunnel_names", Whole(2..=128), s => s.dns_tunnel.names;
        "Such names of one domain that one client asks for within dns_tunnel_window.";
    DNS_TUNNEL_QUERIES: Whole = "detect.dns_tunnel_queries", Whole(2..=100_000), s => s.dns_tunnel.queries;
        "Queries of any kind to that domain within dns_tunnel_window, beside dns_tunnel_names.";
    DNS_TUNNEL_WINDOW: Time = "detect.dns_tunnel_window", WINDOW, s => s.dns_tunnel.within;
        "The time over which both are counted.";
    DNS_TUNNEL_DISTINCT: Whole = "detect.dns_tunnel_distinct", Whole(2..=128), s => s.dns_tunnel.distinct;
        "Distinct names of any length below one domain within an hour, hardly any asked twice.";
    DNS_DGA_NAMES: Whole = "detect.dns_dga_names", Whole(2..=64), s => s.dns_dga.names;
        "Distinct registered domains that do not exist and that one client asks for within dns_dga_window.";
    DNS_DGA_WINDOW: Time = "detect.dns_dga_window", WINDOW, s => s.dns_dga.within;
        "The time over which these are counted.";
    ICMP_TUNNEL_LARGE: Whole = "detect.icmp_tunnel_large", Whole(1..=65_535), s => s.icmp_tunnel.large;
        "Data bytes from which on an echo is large.";
    ICMP_TUNNEL_ALTERED: Whole = "detect.icmp_tunnel_altered", Whole(1..=100_000), s => s.icmp_tunnel.altered;
        "Echoes within an hour whose data differ from those of the same number.";
    ICMP_TUNNEL_VARIED: Whole = "detect.icmp_tunnel_varied", Whole(1..=100_000), s => s.icmp_tunnel.varied;
        "Large echoes within an hour, each different, without a pattern.";
    ICMP_TUNNEL_UNASKED: Whole = "detect.icmp_tunnel_unasked", Whole(1..=100_000), s => s.icmp_tunnel.unasked;
        "Echo replies within an hour that nobody asked for.";

    BEACON_CONNECTIONS: Whole = "detect.beacon_connections", Whole(4..=100_000), s => s.beacon.connections;
        "Connections of one host to one service from which on their regularity is judged.";
    BEACON_LOW: Decimal = "detect.beacon_low", Decimal(0.0..=1.0), s => s.beacon.low;
        "RITA's score from which on a beacon is low.";
    BEACON_MEDIUM: Decimal = "detect.beacon_medium", Decimal(0.0..=1.0), s => s.beacon.medium;
        "RITA's score from which on a beacon is medium.";
    BEACON_SPAN: Time = "detect.beacon_span", WINDOW, s => s.beacon.least_span;
        "The least time between the first and the last connection.";
    BEACON_INTERVAL: Time = "detect.beacon_interval", Time(1..=HOUR), s => s.beacon.least_interval;
        "The least median interval between connections.";
    BEACON_SHARERS: Whole = "detect.beacon_sharers", Whole(2..=64), s => s.beacon.sharers;
        "Local hosts with the same destination from which on it is a service of many, which is info.";
    BRUTE_FORCE_QUICK: Whole = "detect.brute_force_quick", Whole(2..=40), s => s.brute_force.quick.0;
        "Failed logins of one host at one service within brute_force_quick_window.";
    BRUTE_FORCE_QUICK_WINDOW: Time = "detect.brute_force_quick_window", WINDOW, s => s.brute_force.quick.1;
        "The time over which quick tries are counted.";
    BRUTE_FORCE_SLOW: Whole = "detect.brute_force_slow", Whole(2..=40), s => s.brute_force.slow.0;
        "The same within brute_force_slow_window.";
    BRUTE_FORCE_SLOW_WINDOW: Time = "detect.brute_force_slow_window", WINDOW, s => s.brute_force.slow.1;
        "The time over which slow tries are counted.";
    BRUTE_FORCE_SESSION: Time = "detect.brute_force_session", WINDOW, s => s.brute_force.session;
        "The longest that an encrypted session with failed logins lasts.";
    BRUTE_FORCE_SSH_BYTES: Bytes =
        "detect.brute_force_ssh_bytes", Bytes { range: 1000..=1_000_000, plain: 1 }, s => s.brute_force.ssh_bytes;
        "Payload bytes of the server from which on an SSH login has succeeded.";
    BRUTE_FORCE_OTHER_BYTES: Bytes =
        "detect.brute_force_other_bytes", Bytes { range: 1000..=1_000_000, plain: 1 },
        s => s.brute_force.other_bytes;
        "The same of other encrypted logins.";

    WEAK_TLS_VERSION: Choice<u16> = "detect.weak_tls_version",
        Choice(&[("1.0", 0x0301), ("1.1", 0x0302), ("1.2", 0x0303), ("1.3", 0x0304)]), s => s.weak_tls.version;
        "The oldest version of TLS that is fine.";
    ODD_PORT_USUAL: List<Port> = "detect.odd_port_usual", List(Port), s => s.odd_port.usual;
        "Ports that are not strange, whatever is spoken there.";
    LONG_CONNECTION_STEPS: Steps =
        "detect.long_connection_steps", Steps(Time(60 * SECOND..=365 * DAY)), s => s.long_connection.steps;
        "Lengths from which on a connection is info, low, medium, and told once more.";
    LARGE_TRANSFER_BYTES: Bytes =
        "detect.large_transfer_bytes", Bytes { range: MB..=1 << 50, plain: MB }, s => s.large_transfer.bytes;
        "Payload bytes from one sender to one receiver; a number alone counts in MB.";
    LARGE_TRANSFER_WINDOW: Time =
        "detect.large_transfer_window", Time(60 * SECOND..=30 * DAY), s => s.large_transfer.within;
        "The time over which they are summed.";
    TRACEROUTE_HOPS: Whole = "detect.traceroute_hops", Whole(2..=9), s => s.traceroute.hops;
        "Times to live below 10, one after another, within traceroute_window.";
    TRACEROUTE_EXCEEDED: Whole = "detect.traceroute_exceeded", Whole(2..=8), s => s.traceroute.exceeded;
        "Routers that say that time was exceeded, within traceroute_window.";
    TRACEROUTE_WINDOW: Time = "detect.traceroute_window", WINDOW, s => s.traceroute.window;
        "The time over which both are counted.";
}
