//! Well-known ports (IANA's registry, and a few that are used without it).

use super::Way;
use crate::packet::level::Level;

/// The first port behind those that IANA calls system ports.
const SYSTEM: u16 = 1024;

/// What the ports of a payload claim: the responder's port first, then the originator's if it is the lower one or a system
/// port, as in a flow whose beginning was not seen and in answers that a forged request had sent to somebody else.
#[inline]
pub(super) fn claim(way: Way) -> Option<Level> {
    let (orig, resp) =
        if way.from_originator { (way.src_port, way.dst_port) } else { (way.dst_port, way.src_port) };
    let of: fn(u16) -> Option<Level> = match way.proto {
        6 => of_tcp,
        17 => of_udp,
        132 => of_sctp,
        _ => return None,
    };
    of(resp).or_else(|| if orig < resp || orig < SYSTEM { of(orig) } else { None })
}

fn of_tcp(port: u16) -> Option<Level> {
    Some(match port {
        20 => Level::FtpData,
        21 => Level::Ftp,
        22 => Level::Ssh,
        23 => Level::Telnet,
        25 | 587 => Level::Smtp,
        43 => Level::Whois,
        49 => Level::Tacplus,
        53 => Level::Dns,
        79 => Level::Finger,
        80 | 631 | 3128 | 8000 | 8008 | 8080 | 8888 => Level::Http,
        88 => Level::Kerberos,
        102 => Level::S7comm,
        110 => Level::Pop,
        111 => Level::Rpc,
        119 => Level::Nntp,
        135 => Level::Dcerpc,
        139 | 445 => Level::Nbss,
        143 => Level::Imap,
        179 => Level::Bgp,
        389 | 3268 => Level::Ldap,
        443
        | 465
        | 563
        | 636
        | 853
        | 989
        | 990
        | 992..=995
        | 3269
        | 5061
        | 5223
        | 5671
        | 6697
        | 8443
        | 8883 => Level::Tls,
        502 => Level::Modbus,
        513 => Level::Rlogin,
        514 => Level::Rsh,
        554 | 8554 => Level::Rtsp,
        1080 => Level::Socks,
        1194 => Level::OpenVpn,
        1433 => Level::Tds,
        1723 => Level::Pptp,
        1883 => Level::Mqtt,
        2049 => Level::Nfs,
        2404 => Level::Iec104,
        3306 => Level::Mysql,
        3389 => Level::Rdp,
        3868 => Level::Diameter,
        4840 => Level::OpcUa,
        5060 => Level::Sip,
        5222 | 5269 => Level::Xmpp,
        5432 => Level::Postgres,
        5900..=5909 => Level::Vnc,
        6379 => Level::Redis,
        6660..=6669 => Level::Irc,
        6881..=6889 => Level::BitTorrent,
        8009 => Level::Ajp13,
        11211 => Level::Memcache,
        20000 => Level::Dnp3,
        27017 => Level::Mongo,
        44818 => Level::Enip,
        _ => return None,
    })
}

fn of_udp(port: u16) -> Option<Level> {
    Some(match port {
        53 => Level::Dns,
        67 | 68 => Level::Dhcp,
        69 => Level::Tftp,
        88 => Level::Kerberos,
        111 => Level::Rpc,
        123 => Level::Ntp,
        137 => Level::Nbns,
        138 => Level::Nbdgm,
        161 | 162 => Level::Snmp,
        389 => Level::Cldap,
        443 => Level::Quic,
        500 => Level::Isakmp,
        514 => Level::Syslog,
        520 => Level::Rip,
        546 | 547 => Level::Dhcpv6,
        1194 => Level::OpenVpn,
        1645 | 1646 | 1812 | 1813 | 3799 => Level::Radius,
        1900 => Level::Ssdp,
        1985 => Level::Hsrp,
        2049 => Level::Nfs,
        2222 | 44818 => Level::Enip,
        3222 => Level::Glbp,
        3478 | 3479 => Level::Stun,
        3784 | 3785 | 4784 | 6784 => Level::Bfd,
        4500 => Level::UdpEncap,
        5060 => Level::Sip,
        5353 => Level::Mdns,
        5355 => Level::Llmnr,
        5683 => Level::Coap,
        5684 => Level::Dtls,
        6771 => Level::Lsd,
        11211 => Level::Memcache,
        17500 => Level::DbLsp,
        20000 => Level::Dnp3,
        47808 => Level::Bacnet,
        51820 => Level::Wireguard,
        _ => return None,
    })
}

fn of_sctp(port: u16) -> Option<Level> {
    (port == 3868).then_some(Level::Diameter)
}
