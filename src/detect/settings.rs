//! What the analyst is told: limits of flows, networks, rules, and the limits of each detector.

use super::{
    Detector, IgnoreRule, Nets, arp, beacon, brute_force, credentials, dhcp, dns_dga, dns_tunnel, flood,
    icmp_tunnel, large_transfer, long_connection, malformed, names, neighbour, odd_port, scan, traceroute,
    weak_tls,
};
use crate::flow::table::FlowLimits;
use crate::packet::{NANOS_PER_SEC, Nanos};

/// Settings of a [`Stream`](super::stream::Stream).
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// When flows end and how many there may be.
    pub flows: FlowLimits,
    /// Networks that are ours.
    pub local_nets: Nets,
    /// What is known and harmless.
    pub ignore: Vec<IgnoreRule>,
    /// Ids of detectors that raise nothing; each one of [`IDS`](super::IDS).
    pub off: Vec<&'static str>,
    /// Limits of `port_scan`, `host_sweep` and `stealth_scan`.
    pub scan: scan::Limits,
    /// Limits of `dns_tunnel`.
    pub dns_tunnel: dns_tunnel::Limits,
    /// Limits of `dns_dga`.
    pub dns_dga: dns_dga::Limits,
    /// Limits of `icmp_tunnel`.
    pub icmp_tunnel: icmp_tunnel::Limits,
    /// Limits of `beacon`.
    pub beacon: beacon::Limits,
    /// Limits of `brute_force`.
    pub brute_force: brute_force::Limits,
    /// Limits of `cleartext_credentials`.
    pub credentials: credentials::Limits,
    /// Limits of `long_connection`.
    pub long_connection: long_connection::Limits,
    /// Limits of `large_transfer`.
    pub large_transfer: large_transfer::Limits,
    /// Limits of `syn_flood` and `flood`.
    pub flood: flood::Limits,
    /// Limits of `arp_spoof`.
    pub arp: arp::Limits,
    /// Limits of `dhcp_abuse`.
    pub dhcp: dhcp::Limits,
    /// Limits of `nd_spoof` and `rogue_ra`.
    pub neighbour: neighbour::Limits,
    /// Limits of `name_poisoning`.
    pub names: names::Limits,
    /// Limits of `malformed`.
    pub malformed: malformed::Limits,
    /// Limits of `traceroute`.
    pub traceroute: traceroute::Limits,
    /// Limits of `weak_tls`.
    pub weak_tls: weak_tls::Limits,
    /// Limits of `odd_port`.
    pub odd_port: odd_port::Limits,
}

impl Default for Settings {
    fn default() -> Self {
        const S: Nanos = NANOS_PER_SEC;
        let flows = FlowLimits {
            flows: 200_000,
            tcp_idle: 300 * S,
            tcp_half_open: 30 * S,
            tcp_closed: 5 * S,
            other_idle: 60 * S,
            active: 300 * S,
        };
        Self {
            flows,
            local_nets: Nets::default(),
            ignore: Vec::new(),
            off: Vec::new(),
            scan: scan::Limits::default(),
            dns_tunnel: dns_tunnel::Limits::default(),
            dns_dga: dns_dga::Limits::default(),
            icmp_tunnel: icmp_tunnel::Limits::default(),
            beacon: beacon::Limits::default(),
            brute_force: brute_force::Limits::default(),
            credentials: credentials::Limits::default(),
            long_connection: long_connection::Limits::default(),
            large_transfer: large_transfer::Limits::default(),
            flood: flood::Limits::default(),
            arp: arp::Limits::default(),
            dhcp: dhcp::Limits::default(),
            neighbour: neighbour::Limits::default(),
            names: names::Limits::default(),
            malformed: malformed::Limits::default(),
            traceroute: traceroute::Limits::default(),
            weak_tls: weak_tls::Limits::default(),
            odd_port: odd_port::Limits::default(),
        }
    }
}

/// The detectors that are on.
pub(super) fn on(settings: &Settings) -> Vec<Box<dyn Detector>> {
    let mut detectors = all(settings);
    detectors.retain(|detector| {
        let own = [detector.id()];
        let raised = raised_by(detector.id()).unwrap_or(&own);
        raised.iter().any(|id| !settings.off.contains(id))
    });
    detectors
}

/// The ids that the detector of this id raises, if there are several.
fn raised_by(id: &str) -> Option<&'static [&'static str]> {
    Some(match id {
        "port_scan" => &["port_scan", "host_sweep", "stealth_scan"],
        "flood" => &["syn_flood", "flood"],
        "nd_spoof" => &["nd_spoof", "rogue_ra"],
        _ => return None,
    })
}

/// Every detector. One line each; a detector's file has its `Limits`, which is a field of [`Settings`].
pub(super) fn all(settings: &Settings) -> Vec<Box<dyn Detector>> {
    vec![
        Box::new(dns_tunnel::DnsTunnels::new(settings.dns_tunnel)),
        Box::new(dns_dga::DnsDga::new(settings.dns_dga)),
        Box::new(icmp_tunnel::IcmpTunnels::new(settings.icmp_tunnel)),
        Box::new(beacon::Beacons::new(settings.beacon)),
        Box::new(brute_force::BruteForce::new(settings.brute_force)),
        Box::new(credentials::Credentials::new(settings.credentials)),
        Box::new(long_connection::LongConnections::new(settings.long_connection)),
        Box::new(large_transfer::LargeTransfers::new(settings.large_transfer)),
        Box::new(scan::Scan::new(settings.scan.clone())),
        Box::new(flood::Flood::new(settings.flood.clone())),
        Box::new(arp::ArpSpoof::new(settings.arp)),
        Box::new(dhcp::DhcpAbuse::new(settings.dhcp)),
        Box::new(neighbour::NeighbourSpoof::new(settings.neighbour)),
        Box::new(names::NamePoisoning::new(settings.names)),
        Box::new(malformed::Malformed::new(settings.malformed)),
        Box::new(traceroute::Traceroute::new(settings.traceroute)),
        Box::new(weak_tls::WeakTls::new(settings.weak_tls)),
        Box::new(odd_port::OddPort::new(settings.odd_port.clone())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::IDS;

    fn ids(off: &[&'static str]) -> Vec<&'static str> {
        let settings = Settings { off: off.to_vec(), ..Settings::default() };
        on(&settings).iter().map(|detector| detector.id()).collect()
    }

    #[test]
    fn every_id_is_raised_by_one_detector() {
        let own: Vec<_> = ids(&[]).into_iter().map(|id| (id, raised_by(id))).collect();
        let mut raised: Vec<_> = own
            .iter()
            .flat_map(|(id, several)| several.unwrap_or(std::slice::from_ref(id)))
            .copied()
            .collect();
        raised.sort_unstable();
        let mut all = IDS.to_vec();
        all.sort_unstable();
        assert_eq!(raised, all);
    }

    #[test]
    fn a_detector_runs_while_one_of_its_ids_is_on() {
        assert_eq!(ids(IDS), Vec::<&str>::new());
        assert!(ids(&["port_scan", "stealth_scan"]).contains(&"port_scan"), "host_sweep is on");
        assert!(!ids(&["port_scan", "stealth_scan", "host_sweep"]).contains(&"port_scan"));
        assert!(!ids(&["beacon"]).contains(&"beacon"));
        assert_eq!(ids(&["beacon"]).len() + 1, ids(&[]).len());
    }
}
