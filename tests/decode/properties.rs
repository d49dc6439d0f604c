//! What holds of any bytes.

use proptest::prelude::*;
use tapkeep::packet::decode::Ports;

use super::*;

/// An Ethernet frame with IPv4 and TCP: a total length, and what lies behind the TCP header.
fn segment(total: u16, behind: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    frame.extend(total.to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0x04, 0x57, 0x08, 0xae, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 0, 100, 0, 0, 0, 0]);
    frame.extend(behind);
    frame
}

fn payload(frame: &[u8], wire_len: usize) -> (usize, u32, Flaws) {
    let packet = decode(LinkType::ETHERNET, frame, wire_len as u32);
    let Net::Ip(ip) = packet.net else { panic!("{packet:?}") };
    (ip.payload.len(), ip.payload_len, packet.flaws)
}

#[test]
fn lengths_come_from_headers_where_they_are_sound() {
    // Padding to the least length of a frame is no payload.
    assert_eq!(payload(&segment(40, &[0; 6]), 60), (0, 0, Flaws::NONE));
    // A snaplen shortens what is captured, not what was sent.
    assert_eq!(payload(&segment(1500, &[1; 10]), 1514), (10, 1460, Flaws::NONE));
    // A total length of 0: a segment that the sender's card splits.
    assert_eq!(payload(&segment(0, &[1; 100]), 154), (100, 100, Flaws::NONE));
    // More than the frame had.
    assert_eq!(payload(&segment(1500, &[1; 10]), 64), (10, 10, Flaws::LENGTH));
    // A capture that says there was less than it has is believed in what it has.
    assert_eq!(payload(&segment(50, &[1; 10]), 20), (10, 10, Flaws::NONE));
}

#[test]
fn tags_in_heaps_do_not_hide_addresses() {
    let mut frame = segment(40, &[]);
    for _ in 0..30 {
        frame.splice(12..12, [0x81, 0, 0, 7]);
    }
    let packet = decode(LinkType::ETHERNET, &frame, frame.len() as u32);
    assert_eq!((packet.path.depth(), packet.path.last()), (MAX_DEPTH, Some(Level::Vlan)));
    assert!(packet.flaws.has(Flaws::DEPTH));
    assert!(matches!(packet.net, Net::Ip(ip) if matches!(ip.transport, Transport::Tcp(_))), "{packet:?}");
    // But what has no end is left alone.
    for _ in 0..100 {
        frame.splice(12..12, [0x81, 0, 0, 7]);
    }
    let packet = decode(LinkType::ETHERNET, &frame, frame.len() as u32);
    assert!(packet.flaws.has(Flaws::DEPTH) && matches!(packet.net, Net::None));
}

/// The frame of [`segment`] behind other addresses and what a switch or tap puts before its EtherType.
fn wrapped(by: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 0x11, 2, 0, 0, 0, 0, 0x12];
    frame.extend(by);
    frame.extend([0x81, 0, 0, 7]);
    frame.extend(&segment(40, &[])[12..]);
    frame.extend([0; 16]);
    frame
}

#[test]
fn what_wraps_a_frame_hides_neither_its_tag_nor_its_addresses() {
    let wraps: [(&str, &[u8]); 5] = [
        ("Arista", &[0xd2, 0x8b, 0, 1, 0, 0x20, 0, 0, 0, 0, 0, 0]),
        ("MACsec", &[0x88, 0xe5, 0, 0, 0, 0, 0, 1]),
        ("VN tag", &[0x89, 0x26, 0, 1, 0, 2]),
        ("802.1BR", &[0x89, 0x3f, 0, 0, 0, 0, 0, 0]),
        ("HSR", &[0x89, 0x2f, 0, 52, 0, 1]),
    ];
    for (name, by) in wraps {
        let frame = wrapped(by);
        let packet = decode(LinkType::ETHERNET, &frame, frame.len() as u32);
        assert_eq!((packet.vlan.outer, packet.vlan.inner), (7, 0), "{name}");
        assert_eq!(packet.macs.unwrap().src.to_string(), "02:00:00:00:00:12", "{name}");
        let Net::Ip(ip) = packet.net else { panic!("{name}: {packet:?}") };
        assert_eq!((ip.src.to_string(), ip.payload_len), ("10.0.0.1".to_owned(), 0), "{name}");
        assert!(matches!(ip.transport, Transport::Tcp(_)), "{name}");
    }
}

#[test]
fn of_fabric_path_the_frame_within_counts() {
    let mut frame = vec![2, 0, 0, 0, 0, 0x11, 2, 0, 0, 0, 0, 0x12, 0x89, 0x03, 0x40, 0x20];
    let mut within = segment(40, &[]);
    within.splice(12..12, [0x81, 0, 0, 7]);
    frame.extend(&within);
    let packet = decode(LinkType::ETHERNET, &frame, frame.len() as u32);
    assert_eq!(packet.path.to_string(), "cfp:eth:vlan:ip:tcp");
    assert_eq!((packet.vlan.outer, packet.vlan.inner), (7, 0));
    let macs = packet.macs.unwrap();
    assert_eq!([macs.src, macs.dst].map(|mac| mac.to_string()), ["02:00:00:00:00:02", "02:00:00:00:00:01"]);
    assert!(matches!(packet.net, Net::Ip(_)));
    // Cut before its addresses, nothing is known of it but the switches.
    let cut = decode(LinkType::ETHERNET, &frame[..20], frame.len() as u32);
    assert!(cut.flaws.has(Flaws::CUT) && matches!(cut.net, Net::None));
}

/// A snaplen cuts within an extension header, whose first byte says what follows.
#[test]
fn an_extension_header_that_is_cut_tells_the_protocol_behind_it() {
    let mut frame = vec![0; 12];
    frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 36, 0, 1]);
    frame.extend_from_slice(&[0x20; 32]);
    frame.extend_from_slice(&[58, 0, 5, 2]);
    for (len, proto) in [(frame.len(), 58), (frame.len() - 3, 58), (frame.len() - 4, 0)] {
        let packet = decode(LinkType::ETHERNET, &frame[..len], 90);
        let Net::Ip(ip) = packet.net else { panic!("no IP in {len} bytes") };
        assert_eq!((ip.proto, ip.transport), (proto, Transport::Cut), "{len}");
        assert!(packet.flaws.has(Flaws::CUT));
    }
}

#[test]
fn extension_headers_in_heaps_do_not_hide_ports() {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 3, 40, 60, 64];
    frame.extend([0xfd; 32]);
    for n in 0..100 {
        frame.extend([if n < 99 { 60 } else { 17 }, 0, 1, 4, 0, 0, 0, 0]);
    }
    frame.extend([0, 53, 0, 54, 0, 8, 0, 0]);
    let packet = decode(LinkType::ETHERNET, &frame, frame.len() as u32);
    let Net::Ip(ip) = packet.net else { panic!("{packet:?}") };
    assert_eq!((ip.proto, ip.transport), (17, Transport::Udp(Ports { src: 53, dst: 54 })));
}

#[test]
fn another_version_than_the_type_says_has_no_addresses() {
    let mut six = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x60, 0, 0, 0, 0, 0, 59, 64];
    six.extend([0xfd; 32]);
    let packet = decode(LinkType::ETHERNET, &six, six.len() as u32);
    assert_eq!(packet.path.to_string(), "eth:ip");
    assert!(matches!(packet.net, Net::None) && packet.flaws.has(Flaws::FIELD));
    let raw = decode(LinkType::IPV4, &six[14..], 40);
    assert!(matches!(raw.net, Net::None) && raw.flaws.has(Flaws::FIELD));
    // Raw IP says its version itself.
    assert!(matches!(decode(LinkType::RAW, &six[14..], 40).net, Net::Ip(_)));
}

#[test]
fn a_tcp_header_is_read_as_far_as_it_was_captured() {
    let frame = segment(40, &[]);
    let tcp = |cut: usize| {
        let Net::Ip(ip) = decode(LinkType::ETHERNET, &frame[..cut], 54).net else { panic!("{cut}") };
        ip.transport
    };
    let ports = Ports { src: 1111, dst: 2222 };
    let whole = Tcp { ports, seq: 1, ack: 2, flags: Tcp::PSH | Tcp::ACK, window: 100 };
    assert_eq!(tcp(54), Transport::Tcp(whole));
    assert_eq!(tcp(50), Transport::Tcp(whole));
    assert_eq!(tcp(48), Transport::Tcp(Tcp { window: 0, ..whole }));
    assert_eq!(tcp(47), Transport::Tcp(Tcp { window: 0, flags: 0, ..whole }));
    assert_eq!(tcp(38), Transport::Tcp(Tcp { seq: 0, ack: 0, flags: 0, window: 0, ports }));
    assert_eq!(tcp(37), Transport::Cut);
}

/// The bytes of the whole frame that a part of it is.
fn lies_in(part: &[u8], whole: &[u8]) -> bool {
    part.is_empty()
        || whole.as_ptr_range().start <= part.as_ptr() && part.as_ptr_range().end <= whole.as_ptr_range().end
}

/// What holds of every answer.
fn check(packet: &Packet<'_>, data: &[u8], wire_len: u32) {
    assert!((1..=MAX_DEPTH).contains(&packet.path.depth()), "{packet:?}");
    let wire = u64::from(wire_len).max(data.len() as u64);
    if let Net::Ip(ip) = &packet.net {
        assert!(lies_in(ip.payload, data), "{packet:?}");
        assert!(
            ip.payload.len() as u64 <= u64::from(ip.payload_len) && u64::from(ip.payload_len) <= wire,
            "{packet:?}"
        );
        assert_eq!(ip.src.is_v4(), ip.dst.is_v4());
        if let Some(fragment) = ip.fragment {
            assert!(u64::from(fragment.len) <= wire && fragment.offset < 65_536, "{packet:?}");
            assert_eq!(fragment.offset > 0, ip.transport == Transport::Later, "{packet:?}");
        }
    }
    if let Some(inner) = &packet.inner {
        assert!(matches!(packet.net, Net::Ip(_)) && lies_in(inner.payload, data), "{packet:?}");
    }
    if let Some((_, payload)) = packet.innermost() {
        assert!(lies_in(payload, data), "{packet:?}");
    }
}

/// The link types that are decoded, and others.
const LINKS: [u16; 12] = [0, 1, 12, 14, 101, 108, 113, 228, 229, 276, 127, 9999];

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_of_any_link_type_give_an_answer(
        link in prop_oneof![prop::sample::select(&LINKS[..]), any::<u16>()],
        data in prop::collection::vec(any::<u8>(), 0..200),
        wire_len in prop_oneof![0..2000_u32, any::<u32>()],
    ) {
        check(&decode(LinkType(link), &data, wire_len), &data, wire_len);
    }

    /// Bytes that reach far: a frame of ours with a few bytes changed, of any link type.
    #[test]
    fn any_damage_to_a_frame_gives_an_answer(
        row in 0..LEVELS.lines().count(),
        link in prop::option::of(prop::sample::select(&LINKS[..])),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        more in 0..2000_u32,
        cut in any::<prop::sample::Index>(),
    ) {
        let row: Vec<_> = LEVELS.lines().nth(row).unwrap().split('\t').collect();
        let mut data = bytes(row[2]);
        for (at, byte) in damage.iter().filter(|_| !row[2].is_empty()) {
            let at = at.index(data.len());
            data[at] = *byte;
        }
        let wire_len = data.len() as u32 + more;
        data.truncate(cut.index(2 * data.len() + 1));
        let link = link.unwrap_or_else(|| row[1].parse().unwrap());
        check(&decode(LinkType(link), &data, wire_len), &data, wire_len);
    }

    #[test]
    fn both_directions_have_one_community_id_where_there_are_two(
        (a, b) in prop_oneof![any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (Addr::v4(a), Addr::v4(b))),
            any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (Addr::v6(a), Addr::v6(b)))],
        proto in prop_oneof![prop::sample::select(&[1_u8, 6, 17, 58, 132][..]), any::<u8>()],
        ports in prop::option::of(any::<(u8, u16)>()),
    ) {
        let ports = ports.map(|(first, second)| (u16::from(first), second));
        let there = Tuple { src: a, dst: b, proto, ports };
        let (back, both) = match ports {
            Some((first, second)) => {
                let (first, second, both) = endpoints(proto, first, second);
                (Some((second, first)), both)
            }
            None => (None, true),
        };
        let back = Tuple { src: b, dst: a, proto, ports: back };
        prop_assert!(!both || there.id() == back.id());
        let turned = Tuple { src: b, dst: a, ..there };
        prop_assert!(both || a == b || there.id() != turned.id());
        prop_assert_eq!(there.id().to_string().parse::<CommunityId>(), Ok(there.id()));
    }
}

/// Ports, or type and code, of a transport that shows them.
fn ends(ip: &Ip<'_>) -> (Addr, Addr, Option<(u16, u16)>) {
    (ip.src, ip.dst, numbers(ip))
}

#[test]
fn cutting_a_frame_never_changes_what_was_seen_before_the_cut() {
    let Some(corpora) = corpora() else { return };
    let mut cuts = 0_u64;
    for path in captures(&corpora) {
        let (mut number, every) = (0_u32, if fs::metadata(&path).unwrap().len() > 200_000 { 29 } else { 3 });
        each(&path, |link, frame| {
            number += 1;
            if number % every != 1 {
                return;
            }
            let whole = decode(link, frame.data, frame.wire_len);
            check(&whole, frame.data, frame.wire_len);
            for cut in 0..frame.data.len().min(160) {
                let data = &frame.data[..cut];
                let packet = decode(link, data, frame.wire_len);
                check(&packet, data, frame.wire_len);
                cuts += 1;
                assert!(packet.macs.is_none_or(|macs| Some(macs) == whole.macs), "{packet:?} of {whole:?}");
                assert!([0, whole.vlan.outer].contains(&packet.vlan.outer), "{packet:?} of {whole:?}");
                assert!([0, whole.vlan.inner].contains(&packet.vlan.inner), "{packet:?} of {whole:?}");
                match (&packet.net, &whole.net) {
                    (Net::None, _) => {}
                    (Net::Arp(part), Net::Arp(all)) => assert_eq!(part, all),
                    (Net::Ip(part), Net::Ip(all)) => {
                        let (seen, all_ends) = (ends(part), ends(all));
                        assert_eq!((seen.0, seen.1), (all_ends.0, all_ends.1), "{packet:?} of {whole:?}");
                        assert!(seen.2.is_none() || seen.2 == all_ends.2, "{packet:?} of {whole:?}");
                        // A snaplen does not shorten what was sent: but for an option's length that was cut off.
                        let cut_off = packet.flaws.has(Flaws::CUT) || part.transport == Transport::Cut;
                        assert!(cut_off || part.payload_len == all.payload_len, "{packet:?} of {whole:?}");
                    }
                    _ => panic!("{packet:?} of {whole:?}"),
                }
            }
        });
    }
    assert!(cuts > 500_000, "{cuts}");
}

#[test]
fn malformed_captures_give_an_answer_too() {
    let Some(corpora) = corpora() else { return };
    let mut frames = 0;
    for path in captures(&corpora.join("bad")) {
        let Ok(mut import) = Import::open(&path) else { continue };
        while let Ok(Some(packet)) = import.next() {
            let frame = packet.frame;
            check(&decode(packet.link, frame.data, frame.wire_len), frame.data, frame.wire_len);
            frames += 1;
        }
    }
    assert!(frames > 1000, "{frames}");
}
