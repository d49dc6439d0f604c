//! Counts by outermost headers.

use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

use super::*;

/// A table of `make_truth.py`: packets and bytes in all, sent and received.
type Table = BTreeMap<String, [u64; 6]>;

fn add(table: &mut Table, end: String, sent: bool, bytes: u64) {
    let row = table.entry(end).or_default();
    let at = if sent { 2 } else { 4 };
    for (at, more) in [(0, 1), (1, bytes), (at, 1), (at + 1, bytes)] {
        row[at] += more;
    }
}

/// What `make_truth.py` counts from the outermost header of each frame.
#[derive(Default)]
struct Counted {
    counters: BTreeMap<String, u64>,
    l2: Table,
    l3: Table,
    protocols: BTreeMap<String, [u64; 2]>,
    flags: BTreeMap<String, u64>,
    icmp: BTreeMap<String, u64>,
    icmpv6: BTreeMap<String, u64>,
    vlans: BTreeMap<String, u64>,
    claims: BTreeMap<String, BTreeMap<String, u64>>,
    ids: BTreeSet<String>,
    flows: BTreeMap<Flow, [u64; 4]>,
}

/// Source, destination and their ports, and the protocol.
type Flow = (Addr, Option<u16>, Addr, Option<u16>, u8);

impl Counted {
    fn count(&mut self, key: &str, more: u64) {
        if more > 0 {
            *self.counters.entry(key.to_owned()).or_default() += more;
        }
    }

    fn take(&mut self, link: LinkType, frame: Frame<'_>) {
        let packet = decode(link, frame.data, frame.wire_len);
        let bytes = u64::from(frame.wire_len);
        self.count("packets", 1);
        self.count("bytes", bytes);
        if let Some(macs) = packet.macs {
            add(&mut self.l2, macs.src.to_string(), true, bytes);
            add(&mut self.l2, macs.dst.to_string(), false, bytes);
        }
        // tshark's fields name tags and labels wherever they lie, in a tunnel too.
        let tags = packet.path.levels().filter(|level| matches!(level, Level::Vlan | Level::QinQ)).count();
        self.count("vlan_tagged_packets", (tags > 0).into());
        self.count("more_than_one_vlan_tag_packets", (tags > 1).into());
        self.count("mpls_packets", has(&packet, Level::Mpls).into());
        self.count("pppoe_packets", (has(&packet, Level::PppoeS) || has(&packet, Level::PppoeD)).into());
        self.count("arp_packets", has(&packet, Level::Arp).into());
        for vlan in
            BTreeSet::from([packet.vlan.outer, packet.vlan.inner]).into_iter().filter(|&vlan| vlan > 0)
        {
            *self.vlans.entry(vlan.to_string()).or_default() += 1;
        }
        if let Net::Arp(Arp { sender: (mac, ip), .. }) = packet.net
            && ip.to_string() != "0.0.0.0"
        {
            *self.claims.entry(ip.to_string()).or_default().entry(mac.to_string()).or_default() += 1;
        }
        let Net::Ip(ip) = packet.net else {
            return self.count("no_ip_packets", 1);
        };
        self.ip(&ip, bytes);
    }

    fn ip(&mut self, ip: &Ip<'_>, bytes: u64) {
        let version = if ip.src.is_v4() { "ipv4" } else { "ipv6" };
        self.count(&format!("{version}_packets"), 1);
        self.count(&format!("{version}_bytes"), bytes);
        self.count("fragment_packets", ip.fragment.is_some().into());
        self.count("later_fragment_packets", (ip.transport == Transport::Later).into());
        let [packets, sum] = self.protocols.entry(ip.proto.to_string()).or_default();
        (*packets, *sum) = (*packets + 1, *sum + bytes);
        add(&mut self.l3, ip.src.to_string(), true, bytes);
        add(&mut self.l3, ip.dst.to_string(), false, bytes);
        match ip.transport {
            Transport::Tcp(tcp) => self.tcp(tcp),
            Transport::Icmp(icmp) => {
                let table = if ip.proto == 1 { &mut self.icmp } else { &mut self.icmpv6 };
                *table.entry(format!("{}/{}", icmp.kind, icmp.code)).or_default() += 1;
            }
            _ => {}
        }
        self.ids.extend(id(ip).map(|id| id.to_string()));
        let ports = numbers(ip).filter(|_| matches!(ip.proto, 6 | 17 | 132)).unzip();
        let (there, back) =
            ((ip.src, ports.0, ip.dst, ports.1, ip.proto), (ip.dst, ports.1, ip.src, ports.0, ip.proto));
        let (flow, at) = if !self.flows.contains_key(&there) && self.flows.contains_key(&back) {
            (back, 2)
        } else {
            (there, 0)
        };
        let row = self.flows.entry(flow).or_default();
        (row[at], row[at + 1]) = (row[at] + 1, row[at + 1] + bytes);
    }

    fn tcp(&mut self, tcp: Tcp) {
        let set = match tcp.flags & 0x3f {
            0x02 => Some("syn"),
            0x12 => Some("synack"),
            0x00 => Some("null"),
            0x01 => Some("fin_only"),
            0x29 => Some("xmas"),
            _ => None,
        };
        let any = [(Tcp::RST, "any_rst"), (Tcp::FIN, "any_fin")];
        let any = any.into_iter().filter(|(flag, _)| tcp.flags & flag != 0).map(|(_, key)| key);
        for key in set.into_iter().chain(any) {
            *self.flags.entry(key.to_owned()).or_default() += 1;
        }
    }

    fn flows(&self) -> Value {
        let mut rows: Vec<_> = self.flows.iter().collect();
        let text = |port: Option<u16>| port.map_or("None".to_owned(), |port| port.to_string());
        rows.sort_by_key(|((src, sport, dst, dport, proto), _)| {
            (src.to_string(), text(*sport), dst.to_string(), text(*dport), proto.to_string())
        });
        let row = |((src, sport, dst, dport, proto), [p, b, q, c]): (&Flow, &[u64; 4])| {
            json!([src.to_string(), sport, dst.to_string(), dport, proto, p, b, q, c])
        };
        rows.into_iter().map(row).collect()
    }
}

#[test]
fn every_capture_counts_by_its_outermost_headers_as_tshark_does() {
    let Some(corpora) = corpora() else { return };
    for path in captures(&corpora) {
        let mut counted = Counted::default();
        each(&path, |link, frame| counted.take(link, frame));
        let truth = truth_of(&path);
        let name = name(&path);
        // The link type is not decoded, so that ARP in 802.11 is not seen; an unknown link type is never guessed.
        let opaque = name == "link-80211-radiotap.pcap";
        let mut counters = truth["counters"].as_object().unwrap().clone();
        // Of the record, not of its layers; and headers that ICMP quotes are counted there.
        for key in
            ["captured_bytes", "snap_truncated_packets", "time_goes_back", "more_than_one_ip_header_packets"]
        {
            counters.remove(key);
        }
        if opaque {
            counters.remove("arp_packets");
        }
        assert_eq!(
            json!(counted.counters),
            json!(counters.into_iter().collect::<BTreeMap<_, _>>()),
            "{name}"
        );
        // A tag and ARP of frames in a tunnel (ERSPAN, VXLAN) are not the frame's own; nor is ARP of 802.11 seen.
        let (mut vlans, mut claims) = (truth["vlan_ids"].clone(), truth["arp"]["claims"].clone());
        if name == "encap-tunnel-zoo.pcap" {
            assert_eq!(vlans.as_object_mut().unwrap().remove("10"), Some(json!(2)));
        }
        if opaque || ["encap-tunnel-zoo.pcap", "encap-vxlan.pcap"].contains(&&*name) {
            claims = json!({});
        }
        for (key, ours, theirs) in [
            ("l2", json!(counted.l2), &truth["l2"]["addr"]),
            ("l3", json!(counted.l3), &truth["l3"]["addr"]),
            ("ip_protocols", json!(counted.protocols), &truth["ip_protocols"]),
            ("tcp_flags", json!(counted.flags), &truth["tcp_flags"]),
            ("icmp", json!(counted.icmp), &truth["icmp_type_code"]),
            ("icmpv6", json!(counted.icmpv6), &truth["icmpv6_type_code"]),
            ("vlan_ids", json!(counted.vlans), &vlans),
            ("arp claims", json!(counted.claims), &claims),
            ("ids", json!(counted.ids), &truth["community_ids_pycommunityid"]),
        ] {
            assert_eq!(ours, sorted(theirs), "{name}: {key}");
        }
        let flows: Value = truth["flows"]["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| json!(row.as_array().unwrap()[..9]))
            .collect();
        assert_eq!(counted.flows(), flows, "{name}: flows");
    }
}

/// With the keys of objects sorted, as ours are.
fn sorted(value: &Value) -> Value {
    match value.as_object() {
        Some(object) => json!(object.iter().collect::<BTreeMap<_, _>>()),
        None => value.clone(),
    }
}

/// Addresses, ports and payload.
type Second<'a> = (Addr, Addr, Option<(u16, u16)>, Option<&'a [u8]>);

/// What etherparse, which knows neither tunnels nor lengths on the wire, makes of a frame: addresses, ports and the payload.
fn by_etherparse(data: &[u8]) -> Option<Second<'_>> {
    let sliced = LaxSlicedPacket::from_ethernet(data).ok()?;
    let (src, dst): (IpAddr, IpAddr) = match sliced.net? {
        LaxNetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        LaxNetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        LaxNetSlice::Arp(_) => return None,
    };
    let (ports, payload) = match sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            (Some((tcp.source_port(), tcp.destination_port())), Some(tcp.payload()))
        }
        Some(TransportSlice::Udp(udp)) => {
            (Some((udp.source_port(), udp.destination_port())), Some(udp.payload()))
        }
        _ => (None, None),
    };
    Some((src.into(), dst.into(), ports, payload))
}

#[test]
fn addresses_ports_and_payloads_are_those_that_etherparse_finds() {
    let Some(corpora) = corpora() else { return };
    let (mut compared, mut with_payload) = (0, 0);
    for path in captures(&corpora) {
        each(&path, |link, frame| {
            if link != LinkType::ETHERNET {
                return;
            }
            let Some((src, dst, ports, payload)) = by_etherparse(frame.data) else { return };
            let packet = decode(link, frame.data, frame.wire_len);
            let Net::Ip(ip) = packet.net else { panic!("{}: {packet:?}", path.display()) };
            assert_eq!((ip.src, ip.dst), (src, dst), "{}", path.display());
            compared += 1;
            if let (Some(ports), Some(payload)) = (ports, payload) {
                assert_eq!(
                    (numbers(&ip), ip.payload),
                    (Some(ports), payload),
                    "{}: {packet:?}",
                    path.display()
                );
                with_payload += 1;
            }
        });
    }
    assert!(compared > 100_000 && with_payload > 100_000, "{compared} {with_payload}");
}
