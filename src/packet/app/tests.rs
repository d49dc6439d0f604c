use proptest::prelude::*;

use super::*;

const fn way(proto: u8, src_port: u16, dst_port: u16) -> Way {
    Way { proto, src_port, dst_port, from_originator: true }
}

/// A strange port, on which only the payload can tell.
const TCP: Way = way(6, 50_001, 50_002);
const UDP: Way = way(17, 50_001, 50_002);

fn told(way: Way, payload: &[u8]) -> Option<(&'static str, Basis)> {
    identify(way, payload).map(|(app, basis)| (app.name(), basis))
}

/// First payloads written by hand after each protocol's specification.
fn by_hand() -> Vec<(Way, &'static str, Vec<u8>)> {
    let mut dhcp = vec![0; 240];
    dhcp[..3].copy_from_slice(&[1, 1, 6]);
    dhcp[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    let mut ntp = vec![0; 48];
    ntp[0] = 0x23;
    let mut wireguard = vec![7; 148];
    wireguard[..4].copy_from_slice(&[1, 0, 0, 0]);
    let mut quic = vec![0; 1200];
    quic[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
    let mut greased = quic.clone();
    greased[1..5].copy_from_slice(&[0x1a, 0xfa, 0x0a, 0x5a]);
    let mut isakmp = vec![1; 28];
    isakmp[16..28].copy_from_slice(&[1, 0x10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 28]);
    let mut bgp = vec![0xff; 19];
    bgp[16..].copy_from_slice(&[0, 19, 4]);
    let mut wol = vec![0xff; 6];
    wol.extend([2, 0, 0, 0, 0, 9].repeat(16));
    let mut tftp = vec![0xee; 516];
    tftp[..4].copy_from_slice(&[0, 3, 0, 1]);
    let mut enip = vec![0; 28];
    enip[..4].copy_from_slice(&[0x65, 0, 4, 0]);
    let rpc = b"\x12\x34\x56\x78\0\0\0\0\0\0\0\x02\0\x01\x86\xa0\0\0\0\x02\0\0\0\x03\0\0\0\0\0\0\0\0";
    let kerberos = b"\x6a\x81\x10\x30\x81\x0d\xa1\x03\x02\x01\x05\xa2\x03\x02\x01\x0a\xa4\x01\0";
    let mut radius = vec![1, 7, 0, 26];
    radius.extend([9; 16]);
    radius.extend(b"\x01\x06abcd");
    let ldap = b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0";
    let dht = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
    let dns = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\x01\0\x01";
    let mut dns_tcp = vec![0, dns.len() as u8];
    dns_tcp.extend(dns);
    let smb = |mark: u8| [&[0, 0, 0, 32, mark][..], b"SMB", &[0; 28]].concat();
    vec![
        (TCP, "tls", b"\x16\x03\x01\x00\x30\x01\x00\x00\x2c\x03\x03".to_vec()),
        (TCP, "tls", [&b"\x17\x03\x03\x00\x40"[..], &[9; 64], b"\x17\x03\x03\x00\x40"].concat()),
        (TCP, "http", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        (TCP, "http", b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec()),
        (TCP, "http2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        (TCP, "ssh", b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()),
        (TCP, "ftp", b"220 (vsFTPd 3.0.3)\r\n".to_vec()),
        (TCP, "smtp", b"220 mx.example.org ESMTP ready\r\n".to_vec()),
        (TCP, "smtp", b"EHLO client\r\n".to_vec()),
        (TCP, "pop", b"+OK POP3 ready\r\n".to_vec()),
        (TCP, "imap", b"* OK IMAP4rev1 ready\r\n".to_vec()),
        (TCP, "imap", b"a001 LOGIN me secret\r\n".to_vec()),
        (TCP, "telnet", b"\xff\xfd\x18\xff\xfd\x20".to_vec()),
        (TCP, "smb", smb(0xff)),
        (TCP, "smb2", smb(0xfe)),
        (TCP, "rdp", b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0".to_vec()),
        (TCP, "rdp", b"\x03\0\0\x13\x0e\xd0\0\0\x12\x34\0\x02\x1f\x08\0\x02\0\0\0".to_vec()),
        (TCP, "ldap", ldap.to_vec()),
        (UDP, "cldap", ldap.to_vec()),
        (UDP, "kerberos", kerberos[..].to_vec()),
        (TCP, "kerberos", [&[0, 0, 0, 19][..], kerberos].concat()),
        (UDP, "sip", b"INVITE sip:a@b SIP/2.0\r\n".to_vec()),
        (TCP, "rtsp", b"DESCRIBE rtsp://a/b RTSP/1.0\r\n".to_vec()),
        (UDP, "snmp", b"\x30\x13\x02\x01\x01\x04\x06public\xa0\x06\x02\x01\x01\x02\x01\0".to_vec()),
        (UDP, "syslog", b"<34>1 2024-01-01T00:00:00Z host app - - - text".to_vec()),
        (UDP, "syslog", b"<34>Oct 11 22:14:15 host su: text".to_vec()),
        (TCP, "mqtt", b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x02ab".to_vec()),
        (TCP, "modbus", b"\0\x01\0\0\0\x06\x01\x03\0\0\0\x0a".to_vec()),
        // From a capture of the corpora, which tshark finds sound.
        (TCP, "dnp3", b"\x05\x64\x12\xc4\x03\0\x04\0\x15\x2d\xc1\xc1\x02\x32".to_vec()),
        (
            TCP,
            "s7comm",
            b"\x03\0\0\x19\x02\xf0\x80\x32\x01\0\0\0\0\0\x08\0\0\xf0\0\0\x01\0\x01\x01\xe0".to_vec(),
        ),
        (TCP, "opcua", b"HELF\x38\0\0\0".to_vec()),
        (UDP, "bacnet", b"\x81\x0b\0\x0c\x01\x20\xff\xff\0\xff\x10\x08".to_vec()),
        (UDP, "wg", wireguard),
        (UDP, "openvpn", b"\x38abcdefgh\0\0\0\0\0".to_vec()),
        (TCP, "openvpn", b"\0\x0e\x38abcdefgh\0\0\0\0\0".to_vec()),
        (TCP, "bittorrent", b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec()),
        (UDP, "bt-dht", dht.to_vec()),
        (UDP, "ssdp", b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n\r\n".to_vec()),
        (UDP, "radius", radius),
        (TCP, "mysql", [&b"\x1a\0\0\0\x0a8.0.36\0"[..], &[1; 18]].concat()),
        (TCP, "pgsql", b"\0\0\0\x12\0\x03\0\0user\0me\0\0\0".to_vec()),
        (TCP, "pgsql", b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec()),
        (TCP, "resp", b"*1\r\n$4\r\nPING\r\n".to_vec()),
        (UDP, "dhcp", dhcp),
        (UDP, "ntp", ntp),
        (UDP, "quic", greased),
        (UDP, "quic", quic),
        (UDP, "isakmp", isakmp),
        (UDP, "dns", dns.to_vec()),
        (TCP, "dns", dns_tcp),
        (way(17, 5353, 5353), "mdns", dns.to_vec()),
        (way(17, 50_001, 5355), "llmnr", dns.to_vec()),
        (TCP, "bgp", bgp),
        (UDP, "wol", wol),
        (UDP, "tftp", b"\0\x01boot.bin\0octet\0".to_vec()),
        (UDP, "tftp", tftp),
        (UDP, "tftp", b"\0\x05\0\x01File Not Found\0".to_vec()),
        (UDP, "tftp", b"\0\x06blksize\x001432\0".to_vec()),
        (UDP, "stun", b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl".to_vec()),
        (TCP, "enip", enip),
        (UDP, "rpc", rpc.to_vec()),
        (TCP, "rpc", [&[0x80, 0, 0, 32][..], rpc].concat()),
        (TCP, "vnc", b"RFB 003.008\n".to_vec()),
        (TCP, "pptp", b"\0\x9c\0\x01\x1a\x2b\x3c\x4d".to_vec()),
        (TCP, "iec60870_104", b"\x68\x04\x07\0\0\0".to_vec()),
        (UDP, "dtls", b"\x16\xfe\xff\0\0\0\0\0\0\0\0\0\x01\x01".to_vec()),
    ]
}

#[test]
fn payloads_tell_their_protocol_on_a_strange_port() {
    for (way, name, payload) in by_hand() {
        assert_eq!(told(way, &payload), Some((name, Basis::Payload)), "{}", text::kept(&payload));
    }
}

#[test]
fn a_port_is_believed_until_a_payload_says_otherwise() {
    let mut sniffer = Sniffer::default();
    let to_tls = way(6, 50_001, 443);
    assert_eq!(sniffer.look(to_tls, &[]), None);
    assert_eq!(sniffer.look(to_tls, b"\x99\x01 nothing known"), Some((Level::Tls, Basis::Port)));
    assert!(!sniffer.is_settled());
    assert_eq!(sniffer.look(to_tls, b"SSH-2.0-x\r\n"), Some((Level::Ssh, Basis::Payload)));
    assert!(sniffer.is_settled());
    // Known by payload, it stays.
    assert_eq!(sniffer.look(to_tls, b"GET / HTTP/1.1\r\n\r\n"), Some((Level::Ssh, Basis::Payload)));

    let mut sniffer = Sniffer::default();
    for _ in 0..LOOKS {
        assert!(!sniffer.is_settled());
        sniffer.look(to_tls, b"\x99");
    }
    assert_eq!((sniffer.is_settled(), sniffer.app()), (true, Some((Level::Tls, Basis::Port))));
}

#[test]
fn a_banner_that_two_protocols_have_goes_by_the_port() {
    assert_eq!(told(way(6, 50_001, 21), b"220 ready\r\n"), Some(("ftp", Basis::Payload)));
    assert_eq!(told(way(6, 50_001, 25), b"220 ready\r\n"), Some(("smtp", Basis::Payload)));
    assert_eq!(told(TCP, b"220 ready\r\n"), None);
    // A flow whose beginning was not seen has its server as originator.
    assert_eq!(told(way(6, 21, 50_001), b"220 ready\r\n"), Some(("ftp", Basis::Payload)));
}

#[test]
fn an_answer_to_a_forged_request_goes_by_the_port_it_comes_from() {
    // NTP's list of its clients, sent to somebody's port 80.
    let list = [&[0x97, 0, 3, 42, 0, 5, 0, 72][..], &[0; 360]].concat();
    assert_eq!(told(way(17, 123, 80), &list), Some(("ntp", Basis::Payload)));
    assert_eq!(told(way(17, 50_123, 80), &list), None);
    // Bidirectional forwarding detection on a member link (RFC 7130, 3.2).
    let bfd = b"\x20\x60\x03\x18\x0d\xe6\x08\x37\0\0\0\0\0\x0f\x42\x40\0\x04\x93\xe0\0\x04\x93\xe0";
    assert_eq!(told(way(17, 51_255, 6784), bfd), Some(("bfd", Basis::Payload)));
}

#[test]
fn a_netbios_session_becomes_what_it_carries() {
    let mut sniffer = Sniffer::default();
    let to = way(6, 50_001, 139);
    let request = [&b"\x81\0\0\x44\x20"[..], &[b'C'; 32], b"\0\x20", &[b'D'; 32], b"\0"].concat();
    assert_eq!(sniffer.look(to, &request), Some((Level::Nbss, Basis::Payload)));
    assert_eq!(sniffer.look(to, b"\0\0\0\x20\xffSMBs\0\0\0\0"), Some((Level::Smb, Basis::Payload)));
    assert!(sniffer.is_settled());
}

#[test]
fn an_smb_1_negotiation_may_be_answered_in_smb_2() {
    let to = way(6, 50_001, 445);
    let mut sniffer = Sniffer::default();
    assert_eq!(sniffer.look(to, b"\0\0\0\x20\xffSMBr\0\0\0\0"), Some((Level::Smb, Basis::Payload)));
    assert_eq!(sniffer.look(to, b"\0\0\0\x20\xfeSMB@\0\0\0\0"), Some((Level::Smb2, Basis::Payload)));
    assert!(sniffer.is_settled());
}

#[test]
fn rtp_takes_two_datagrams_of_a_source() {
    let rtp =
        |number: u8| [&[0x80, 0, 0, number, 0, 0, 0, 160, 0xde, 0xad, 0xbe, 0xef][..], &[0xff; 160]].concat();
    let mut sniffer = Sniffer::default();
    assert_eq!(sniffer.look(UDP, &rtp(1)), None);
    assert_eq!(sniffer.look(Way { from_originator: false, ..UDP }, &rtp(2)), None);
    assert_eq!(sniffer.look(UDP, &rtp(2)), Some((Level::Rtp, Basis::Payload)));
}

#[test]
fn a_path_gets_what_carries_the_application_too() {
    let tcp = Path::EMPTY.with(Level::Eth).with(Level::Ip).with(Level::Tcp);
    // As tshark's frame.protocols has them in the corpora.
    assert_eq!(append(tcp, Level::Smb2).to_string(), "eth:ip:tcp:nbss:smb2");
    assert_eq!(append(tcp, Level::Modbus).to_string(), "eth:ip:tcp:mbtcp:modbus");
    assert_eq!(append(tcp, Level::Tls).to_string(), "eth:ip:tcp:tls");
    let udp = Path::EMPTY.with(Level::Ip).with(Level::Udp);
    assert_eq!(append(udp, Level::Nfs).to_string(), "ip:udp:rpc:nfs");
    let whole = udp.with(Level::UdpEncap).with(Level::Esp);
    assert_eq!(append(whole, Level::UdpEncap), whole);
}

#[test]
fn a_sniffer_is_small() {
    assert!(size_of::<Sniffer>() <= 8);
}

/// Of two million payloads of random bytes on strange ports, none or next to none is taken for something.
#[test]
fn random_bytes_tell_nothing() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    let mut bytes = [0u8; 256];
    let mut told = Vec::new();
    for _ in 0..1_000_000 {
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&random().to_le_bytes());
        }
        let len = 1 + (random() % 256) as usize;
        for way in [TCP, UDP] {
            told.extend(identify(way, &bytes[..len]).map(|(app, _)| app.name()));
        }
    }
    assert!(told.len() <= 4, "{told:?}");
}

proptest! {
    /// Any bytes on any ports have an answer, and so have those that begin like a protocol and go on otherwise.
    #[test]
    fn looking_is_total(
        proto in prop::sample::select(vec![6u8, 17, 132, 1]),
        ports in any::<(u16, u16)>(),
        known in prop::sample::select(vec![21u16, 25, 53, 67, 102, 123, 137, 139, 389, 443, 500, 502, 520, 1080, 1194, 1883, 4500, 5353, 5432, 11211]),
        payloads in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), 0usize..1600, prop::collection::vec(any::<u8>(), 0..200)), 1..8),
    ) {
        let heads = by_hand();
        for dst_port in [ports.1, known] {
            let mut sniffer = Sniffer::default();
            for (from_originator, index, cut, tail) in &payloads {
                let head = &heads[index.index(heads.len())].2;
                let payload = [&head[..head.len().min(*cut)], &tail[..]].concat();
                let way = Way { proto, src_port: ports.0, dst_port, from_originator: *from_originator };
                sniffer.look(way, &payload);
                sniffer.look(way, tail);
            }
        }
    }
}
