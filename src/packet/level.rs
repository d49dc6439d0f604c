//! Protocol levels: what a node of the protocol tree is called, and the path of a frame through the tree.

use std::fmt;

macro_rules! levels {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A level of the protocol tree.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "the names say it")]
        pub enum Level { $($variant),+ }

        impl Level {
            const ALL: &[Self] = &[$(Self::$variant),+];

            /// tshark's name of it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

// Numbers of levels are written into the index: append, never reorder.
levels! {
    Eth = "eth", Sll = "sll", Raw = "raw", Null = "null", Unknown = "unknown", Data = "data",
    Vlan = "vlan", QinQ = "ieee8021ad", Mpls = "mpls", PppoeD = "pppoed", PppoeS = "pppoes", Ppp = "ppp",
    Llc = "llc", Ipx = "ipx", Stp = "stp", Cdp = "cdp", Lldp = "lldp", Eapol = "eapol", Slow = "slow",
    Loop = "loop", Arp = "arp", Rarp = "rarp", Ip = "ip", Ipv6 = "ipv6", Tcp = "tcp", Udp = "udp",
    UdpLite = "udplite", Sctp = "sctp", Dccp = "dccp", Icmp = "icmp", Icmpv6 = "icmpv6", Igmp = "igmp",
    Gre = "gre", Esp = "esp", Ah = "ah", Ospf = "ospf", Eigrp = "eigrp", Pim = "pim", Vrrp = "vrrp",
    Rsvp = "rsvp", L2tp = "l2tp", Vxlan = "vxlan", Geneve = "geneve", Teredo = "teredo", Gtp = "gtp",
    Isis = "isis", Profinet = "pn_rt", MacControl = "macc", Hopopts = "ipv6.hopopts", Routing = "ipv6.routing",
    Dstopts = "ipv6.dstopts", FragmentV6 = "ipv6.fraghdr", Mobility = "mipv6", Homeplug = "homeplug",
    Tls = "tls", Http = "http", Http2 = "http2", Quic = "quic", Dns = "dns", Mdns = "mdns", Llmnr = "llmnr",
    Nbns = "nbns", Nbdgm = "nbdgm", Nbss = "nbss", Dhcp = "dhcp", Dhcpv6 = "dhcpv6", Ntp = "ntp", Ssh = "ssh",
    Ftp = "ftp", FtpData = "ftp-data", Tftp = "tftp", Smtp = "smtp", Imap = "imap", Pop = "pop",
    Telnet = "telnet", Smb = "smb", Smb2 = "smb2", Rdp = "rdp", Ldap = "ldap", Kerberos = "kerberos",
    Sip = "sip", Rtp = "rtp", Rtcp = "rtcp", Snmp = "snmp", Syslog = "syslog", Mqtt = "mqtt", Coap = "coap",
    Modbus = "modbus", Dnp3 = "dnp3", S7comm = "s7comm", OpcUa = "opcua", Bacnet = "bacnet",
    Wireguard = "wg", OpenVpn = "openvpn", BitTorrent = "bittorrent", BtDht = "bt-dht", Ssdp = "ssdp",
    Radius = "radius", Mysql = "mysql", Postgres = "pgsql", Redis = "resp", Rip = "rip", Hsrp = "hsrp",
    Bgp = "bgp", Rtsp = "rtsp", Pptp = "pptp", Stun = "stun", Isakmp = "isakmp", Tds = "tds", Dcerpc = "dcerpc",
    Enip = "enip", Diameter = "diameter", Vnc = "vnc", Irc = "irc", Rpc = "rpc", Finger = "finger",
    Whois = "whois", Rlogin = "rlogin", Bfd = "bfd", Glbp = "glbp", Wol = "wol", Iec104 = "iec60870_104",
    Websocket = "websocket", Memcache = "memcache", Mongo = "mongo", Ajp13 = "ajp13", Socks = "socks",
    Mbtcp = "mbtcp", Tpkt = "tpkt", Cotp = "cotp", Bvlc = "bvlc", Dtls = "dtls", Gquic = "gquic",
    Cldap = "cldap", Nfs = "nfs", Tacplus = "tacplus", Xmpp = "xmpp", Nntp = "nntp", Lsd = "lsd", DbLsp = "db-lsp-disc",
    Rsh = "rsh",
    Atmarp = "atmarp", Lacp = "lacp", SlowMarker = "marker", Oam = "oampdu", Ossp = "ossp", Eap = "eap",
    HomeplugAv = "homeplug-av", Ptp = "ptp", Goose = "goose", Sv = "sv", Ecat = "ecatf", Macsec = "macsec",
    Cfm = "cfm", Hsr = "hsr", HsrSupervision = "hsr_prp_supervision", Lltd = "lltd", Mvrp = "mrp-mvrp",
    Mmrp = "mrp-mmrp", Msrp = "mrp-msrp", Ieee1722 = "ieee1722", Aoe = "aoe", Fcoe = "fcoe", Fip = "fip",
    Infiniband = "infiniband", Ieee1905 = "ieee1905", Realtek = "realtek", Lat = "lat", Mrp = "pn_mrp",
    Aarp = "aarp", Ddp = "ddp", Llap = "llap", Vntag = "vntag", Etag = "etag", BasicXid = "basicxid",
    Netbios = "netbios", Esis = "esis", Clnp = "clnp", Osi = "osi.nlpid", Sna = "sna", Vtp = "vtp", Dtp = "dtp",
    Udld = "udld", Pagp = "pagp", Edp = "edp", Lcp = "lcp", Ipcp = "ipcp", Ipv6cp = "ipv6cp", Mplscp = "mplscp",
    Ccp = "ccp", CompData = "comp_data", Pap = "pap", Chap = "chap", Vjc = "vjc", Mlppp = "mp", BcpBpdu = "bcp_bpdu",
    BcpNcp = "bcp_ncp", Bacp = "bacp", Bap = "bap", Cdpcp = "cdpcp", Pweth = "pweth", PwethCw = "pwethcw",
    Pwach = "pwach", Igrp = "igrp", Nhrp = "nhrp", EtherIp = "etherip", IpComp = "ipcomp", Pgm = "pgm", Hip = "hip",
    Erspan = "erspan", Gtpv2 = "gtpv2", GtpPrime = "gtpprime", Ayiya = "ayiya", UdpEncap = "udpencap",
    LispData = "lisp-data", PnDcp = "pn_dcp", Cfp = "cfp", Nsh = "nsh", Avsp = "avsp", Msnlb = "msnlb",
}

// A path's byte holds a level's number and one more.
const _: () = assert!(Level::ALL.len() < 255);

impl Level {
    /// The level of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// What stands for it in a path's bytes; never 0.
    #[inline]
    pub(super) fn to_byte(self) -> u8 {
        self as u8 + 1
    }

    /// The level of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|level| level.name() == name)
    }
}

/// Levels a path can hold.
pub const MAX_DEPTH: usize = 16;

/// The levels of a frame, outermost first; at most [`MAX_DEPTH`], deeper ones are left out. One number, so that counting by
/// path is one lookup.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Path(u128);

impl Path {
    /// No level.
    pub const EMPTY: Self = Self(0);

    /// Appends a level; `false` if there is no room.
    #[inline]
    pub fn push(&mut self, level: Level) -> bool {
        let depth = self.depth();
        if depth == MAX_DEPTH {
            return false;
        }
        // The first level lies in the uppermost byte, so that a path sorts behind its parent.
        self.0 |= u128::from(level.to_byte()) << (8 * (MAX_DEPTH - 1 - depth));
        true
    }

    /// With one level more, if there is room.
    #[inline]
    #[must_use]
    pub fn with(mut self, level: Level) -> Self {
        let _ = self.push(level);
        self
    }

    /// How many levels it has.
    #[inline]
    pub fn depth(self) -> usize {
        MAX_DEPTH - self.0.trailing_zeros() as usize / 8
    }

    /// Its last level.
    pub fn last(self) -> Option<Level> {
        self.levels().last()
    }

    /// Its levels, outermost first.
    pub fn levels(self) -> impl Iterator<Item = Level> {
        let bytes = self.0.to_be_bytes();
        bytes.into_iter().take_while(|&byte| byte != 0).filter_map(|byte| Level::from_number(byte - 1))
    }

    /// The path of its first `depth` levels.
    #[must_use]
    pub fn prefix(self, depth: usize) -> Self {
        match depth {
            0 => Self::EMPTY,
            1..MAX_DEPTH => Self(self.0 & (u128::MAX << (8 * (MAX_DEPTH - depth)))),
            _ => self,
        }
    }

    /// Its sixteen bytes, for storing.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// From what [`Path::to_bytes`] gave.
    #[inline]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for Path {
    /// `eth:ip:tcp:tls`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, level) in self.levels().enumerate() {
            if at > 0 {
                f.write_str(":")?;
            }
            f.write_str(level.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_holds_its_levels_in_order_and_no_more_than_it_can() {
        let mut path = Path::EMPTY.with(Level::Eth).with(Level::Ip).with(Level::Tcp);
        assert_eq!((path.to_string(), path.depth()), ("eth:ip:tcp".to_owned(), 3));
        assert_eq!(path.prefix(2).to_string(), "eth:ip");
        assert_eq!(path.prefix(0), Path::EMPTY);
        while path.push(Level::Vlan) {}
        assert_eq!((path.depth(), path.last()), (MAX_DEPTH, Some(Level::Vlan)));
        assert_eq!(path.prefix(3).to_string(), "eth:ip:tcp");
        assert!(path.prefix(3) < path);
    }

    #[test]
    fn every_level_has_its_own_name_and_number() {
        for (number, &level) in Level::ALL.iter().enumerate() {
            assert_eq!(Level::from_number(number as u8), Some(level));
            assert_eq!(Level::from_name(level.name()), Some(level));
        }
    }
}
