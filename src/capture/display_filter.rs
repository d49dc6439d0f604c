//! Wireshark's display-filter language, as far as BPF can say the same: people type it where a capture filter
//! is wanted. Pure text to text; the caller asks libpcap whether the result is one. Source:
//! `wireshark-filter(4)`.

/// Nesting that is followed.
const MAX_DEPTH: usize = 32;

/// Whether a text that is no capture filter was meant as a display filter: it has a field name or a sole
/// protocol name that only Wireshark knows.
pub(super) fn looks_like(text: &str) -> bool {
    tokens(text).iter().any(|token| is_field(token) || by_name(token).is_some_and(|form| form != *token))
}

/// Whether a word is the name of a field.
fn is_field(word: &str) -> bool {
    word.split_once('.').is_some_and(|(protocol, field)| {
        PROTOCOLS.contains(&protocol) && field.starts_with(|c: char| c.is_ascii_alphabetic())
    })
}

/// The text in BPF, if every part of it can be said there.
pub(super) fn to_bpf(text: &str) -> Option<String> {
    let tokens = tokens(text);
    let mut parser = Parser { tokens: &tokens, next: 0 };
    let tree = parser.any_of(0)?;
    (parser.next == tokens.len() && tree.places_vlan_well()).then(|| tree.render())
}

const PROTOCOLS: [&str; 20] = [
    "arp", "dhcp", "dns", "eth", "frame", "http", "icmp", "icmpv6", "igmp", "ip", "ipv6", "quic", "sctp",
    "sip", "ssh", "ssl", "tcp", "tls", "udp", "vlan",
];

/// The BPF form of a protocol's name. Above the transport layer it can only be the usual port.
fn by_name(name: &str) -> Option<&'static str> {
    Some(match name {
        "arp" => "arp",
        "bootp" | "dhcp" => "udp port 67 or udp port 68",
        "dhcpv6" => "udp port 546 or udp port 547",
        "dns" => "port 53",
        "ftp" => "tcp port 21",
        "http" => "tcp port 80",
        "http2" | "ssl" | "tls" => "tcp port 443",
        "icmp" => "icmp",
        "icmpv6" => "icmp6",
        "igmp" => "igmp",
        "imap" => "tcp port 143",
        "ip" => "ip",
        "ipv6" => "ip6",
        "ldap" => "tcp port 389",
        "lldp" => "ether proto 0x88cc",
        "mdns" => "udp port 5353",
        "modbus" | "mbtcp" => "tcp port 502",
        "mqtt" => "tcp port 1883",
        "ntp" => "udp port 123",
        "pop" => "tcp port 110",
        "quic" => "udp port 443",
        "rdp" => "tcp port 3389",
        "sctp" => "sctp",
        "sip" => "port 5060",
        "smb" | "smb2" => "tcp port 445",
        "smtp" => "tcp port 25",
        "snmp" => "udp port 161",
        "ssdp" => "udp port 1900",
        "ssh" => "tcp port 22",
        "stp" => "stp",
        "syslog" => "udp port 514",
        "tcp" => "tcp",
        "telnet" => "tcp port 23",
        "tftp" => "udp port 69",
        "udp" => "udp",
        "vlan" => "vlan",
        _ => return None,
    })
}

/// A filter as a tree; leaves are BPF.
#[derive(Debug)]
enum Tree {
    Leaf(String),
    Not(Box<Tree>),
    All(Vec<Tree>),
    Any(Vec<Tree>),
}

impl Tree {
    fn has_vlan(&self) -> bool {
        match self {
            Self::Leaf(text) => text.split(' ').any(|word| word == "vlan"),
            Self::Not(inner) => inner.has_vlan(),
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::has_vlan),
        }
    }

    /// In BPF `vlan` moves the place where everything behind it looks, so it can only stand alone or lead a
    /// conjunction.
    fn places_vlan_well(&self) -> bool {
        match self {
            Self::Leaf(_) => true,
            Self::All(parts) => parts.iter().all(|part| matches!(part, Self::Leaf(_)) || !part.has_vlan()),
            Self::Not(inner) => matches!(**inner, Self::Leaf(_)) || !inner.has_vlan(),
            Self::Any(_) => !self.has_vlan(),
        }
    }

    fn render(&self) -> String {
        let inner = |part: &Self| match part {
            Self::Leaf(text) if !text.contains(" or ") && !text.contains(" and ") => text.clone(),
            Self::Not(_) => part.render(),
            _ => format!("({})", part.render()),
        };
        match self {
            Self::Leaf(text) => text.clone(),
            Self::Not(part) => format!("not {}", inner(part)),
            Self::All(parts) => {
                let (first, rest): (Vec<_>, Vec<_>) = parts.iter().partition(|part| part.has_vlan());
                first.into_iter().chain(rest).map(inner).collect::<Vec<_>>().join(" and ")
            }
            Self::Any(parts) => parts.iter().map(inner).collect::<Vec<_>>().join(" or "),
        }
    }
}

fn tokens(text: &str) -> Vec<&str> {
    let in_word = |c: char| c.is_alphanumeric() || "_.:-/\\".contains(c);
    let mut rest = text.trim_start();
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        let len = if in_word(first) {
            rest.find(|c| !in_word(c)).unwrap_or(rest.len())
        } else {
            ["===", "!==", "==", "!=", "<=", ">=", "&&", "||"]
                .iter()
                .find(|operator| rest.starts_with(**operator))
                .map_or(first.len_utf8(), |operator| operator.len())
        };
        let (token, after) = rest.split_at(len);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

struct Parser<'a> {
    tokens: &'a [&'a str],
    next: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.next).copied()
    }

    fn take_if(&mut self, accept: impl Fn(&str) -> bool) -> Option<&'a str> {
        let token = self.peek().filter(|token| accept(token))?;
        self.next += 1;
        Some(token)
    }

    fn any_of(&mut self, depth: usize) -> Option<Tree> {
        let mut parts = vec![self.all_of(depth)?];
        while self.take_if(|token| matches!(token, "||" | "or")).is_some() {
            parts.push(self.all_of(depth)?);
        }
        if parts.len() == 1 { parts.pop() } else { Some(Tree::Any(parts)) }
    }

    fn all_of(&mut self, depth: usize) -> Option<Tree> {
        let mut parts = vec![self.one(depth)?];
        while self.take_if(|token| matches!(token, "&&" | "and")).is_some() {
            parts.push(self.one(depth)?);
        }
        if parts.len() == 1 { parts.pop() } else { Some(Tree::All(parts)) }
    }

    fn one(&mut self, depth: usize) -> Option<Tree> {
        if depth > MAX_DEPTH {
            return None;
        }
        if self.take_if(|token| matches!(token, "!" | "not")).is_some() {
            return self.one(depth + 1).map(|tree| Tree::Not(Box::new(tree)));
        }
        if self.take_if(|token| token == "(").is_some() {
            let tree = self.any_of(depth + 1)?;
            return self.take_if(|token| token == ")").map(|_| tree);
        }
        self.comparison().or_else(|| self.capture_words())
    }

    /// A field with its operator and value, or a protocol's name alone.
    fn comparison(&mut self) -> Option<Tree> {
        let start = self.next;
        let tree = self.field();
        if tree.is_none() {
            self.next = start;
        }
        tree
    }

    fn field(&mut self) -> Option<Tree> {
        let field = self.take_if(|_| true)?;
        let Some(operator) = self.take_if(|token| relation(token).is_some() || token == "in") else {
            let ends = self.peek().is_none_or(|token| matches!(token, ")" | "&&" | "||" | "and" | "or"));
            let form =
                if ends { by_name(field).map(str::to_owned).or_else(|| flag(field, "!=")) } else { None };
            return form.map(Tree::Leaf);
        };
        if operator == "in" {
            return self.set(field);
        }
        let value = self.take_if(|_| true)?;
        compare(field, relation(operator)?, value)
    }

    /// `{80, 443 8000..8010}`
    fn set(&mut self, field: &str) -> Option<Tree> {
        self.take_if(|token| token == "{")?;
        let mut parts = Vec::new();
        while self.take_if(|token| token == "}").is_none() {
            let value = self.take_if(|_| true)?;
            parts.push(match value.split_once("..") {
                Some((from, to)) => Tree::Leaf(ports(field, from.parse().ok()?, to.parse().ok()?)?),
                None => compare(field, "=", value)?,
            });
            self.take_if(|token| token == ",");
        }
        Some(Tree::Any(parts)).filter(|tree| !matches!(tree, Tree::Any(parts) if parts.is_empty()))
    }

    /// Words that are BPF already, up to the next operator.
    fn capture_words(&mut self) -> Option<Tree> {
        let start = self.next;
        while self
            .take_if(|token| !matches!(token, "(" | ")" | "&&" | "||" | "and" | "or" | "{" | "}"))
            .is_some()
        {}
        let words = &self.tokens[start..self.next];
        (!words.is_empty() && !words.iter().any(|word| is_field(word))).then(|| Tree::Leaf(words.join(" ")))
    }
}

/// The BPF sign of a display filter's relation.
fn relation(token: &str) -> Option<&'static str> {
    Some(match token {
        "==" | "===" | "=" | "eq" => "=",
        "!=" | "!==" | "ne" => "!=",
        ">" | "gt" => ">",
        "<" | "lt" => "<",
        ">=" | "ge" => ">=",
        "<=" | "le" => "<=",
        _ => return None,
    })
}

fn compare(field: &str, relation: &str, value: &str) -> Option<Tree> {
    if let Some(form) = number_field(field, relation, value) {
        return Some(Tree::Leaf(form));
    }
    let (layer, _) = field.split_once('.')?;
    let protocol = by_name(layer).unwrap_or("");
    let equal = if let Some(words) = address_field(field) {
        let kind = if value.contains('/') { "net" } else { "host" };
        Tree::Leaf(format!("{words} {kind} {value}").trim_start().to_owned())
    } else if layer == "vlan" && field == "vlan.id" {
        Tree::Leaf(format!("vlan {}", number(value)?))
    } else {
        let port = u16::try_from(number(value)?).ok()?;
        let (from, to) = match relation {
            "=" | "!=" => (port, port),
            ">" => (port.checked_add(1)?, u16::MAX),
            ">=" => (port, u16::MAX),
            "<" => (0, port.checked_sub(1)?),
            _ => (0, port),
        };
        Tree::Leaf(ports(field, from, to)?)
    };
    let is_port = field.ends_with("port");
    match relation {
        "=" => Some(equal),
        // Wireshark asks for the field to be there; an Ethernet address always is.
        "!=" if layer == "eth" || layer == "vlan" => Some(Tree::Not(Box::new(equal))),
        "!=" => Some(Tree::All(vec![Tree::Leaf(protocol.to_owned()), Tree::Not(Box::new(equal))])),
        _ => is_port.then_some(equal),
    }
}

/// The words before `host` or `net` that name an address field.
fn address_field(field: &str) -> Option<&'static str> {
    Some(match field {
        "ip.addr" | "ip.host" | "ipv6.addr" | "ipv6.host" => "",
        "ip.src" | "ip.src_host" | "ipv6.src" | "ipv6.src_host" => "src",
        "ip.dst" | "ip.dst_host" | "ipv6.dst" | "ipv6.dst_host" => "dst",
        "eth.addr" => "ether",
        "eth.src" => "ether src",
        "eth.dst" => "ether dst",
        _ => return None,
    })
}

fn ports(field: &str, from: u16, to: u16) -> Option<String> {
    let words = match field {
        "tcp.port" => "tcp",
        "tcp.srcport" => "tcp src",
        "tcp.dstport" => "tcp dst",
        "udp.port" => "udp",
        "udp.srcport" => "udp src",
        "udp.dstport" => "udp dst",
        "sctp.port" => "sctp",
        "sctp.srcport" => "sctp src",
        "sctp.dstport" => "sctp dst",
        _ => return None,
    };
    Some(if from == to { format!("{words} port {from}") } else { format!("{words} portrange {from}-{to}") })
}

/// Fields that BPF reads as a number.
fn number_field(field: &str, relation: &str, value: &str) -> Option<String> {
    if let Some(form) = flag(field, if (relation == "=") == is_true(value)? { "!=" } else { "=" }) {
        return matches!(relation, "=" | "!=").then_some(form);
    }
    let number = number(value)?;
    let load = match field {
        "frame.len" => "len",
        "ip.proto" => "ip[9]",
        "ip.ttl" => "ip[8]",
        "ip.len" => "ip[2:2]",
        "ip.id" => "ip[4:2]",
        "ipv6.nxt" => "ip6[6]",
        "ipv6.hlim" => "ip6[7]",
        "tcp.flags" => "tcp[12:2] & 0xfff",
        "tcp.window_size_value" => "tcp[14:2]",
        "udp.length" => "udp[4:2]",
        "icmp.type" => "icmp[icmptype]",
        "icmp.code" => "icmp[icmpcode]",
        "icmpv6.type" => "icmp6[0]",
        "icmpv6.code" => "icmp6[1]",
        "arp.opcode" => "arp[6:2]",
        "eth.type" if matches!(relation, "=" | "!=") => {
            let not = if relation == "=" { "" } else { "not " };
            return Some(format!("{not}ether proto {number:#06x}"));
        }
        _ => return None,
    };
    Some(format!("{load} {relation} {number}"))
}

/// A TCP flag, set (`!=` zero) or not (`=` zero).
fn flag(field: &str, relation: &str) -> Option<String> {
    let bit = match field.strip_prefix("tcp.flags.")? {
        "fin" => "tcp-fin",
        "syn" => "tcp-syn",
        "reset" => "tcp-rst",
        "push" => "tcp-push",
        "ack" => "tcp-ack",
        "urg" => "tcp-urg",
        "ece" => "tcp-ece",
        "cwr" => "tcp-cwr",
        _ => return None,
    };
    Some(format!("tcp[tcpflags] & {bit} {relation} 0"))
}

/// Truth as a display filter writes it; any other number counts as neither here nor there and is no flag's
/// value.
fn is_true(value: &str) -> Option<bool> {
    match value {
        "True" | "true" | "TRUE" => Some(true),
        "False" | "false" | "FALSE" => Some(false),
        other => number(other).map(|number| number != 0),
    }
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_filters_become_capture_filters() {
        for (display, bpf) in [
            ("tcp.port == 443", "tcp port 443"),
            ("ip.addr==1.2.3.4", "host 1.2.3.4"),
            ("ip.src == 10.0.0.0/8", "src net 10.0.0.0/8"),
            ("ipv6.dst eq fe80::1", "dst host fe80::1"),
            ("ip.addr != 1.2.3.4", "ip and not host 1.2.3.4"),
            ("!(ip.addr == 1.2.3.4)", "not host 1.2.3.4"),
            ("eth.addr == 00:11:22:33:44:55", "ether host 00:11:22:33:44:55"),
            ("udp.dstport > 1023 && !dns", "udp dst portrange 1024-65535 and not port 53"),
            ("tcp.port in {80, 443 8000..8010}", "tcp port 80 or tcp port 443 or tcp portrange 8000-8010"),
            ("http || tls", "tcp port 80 or tcp port 443"),
            ("ip.src == 1.1.1.1 && (udp or icmpv6)", "src host 1.1.1.1 and (udp or icmp6)"),
            ("dhcp && ip.ttl < 5", "(udp port 67 or udp port 68) and ip[8] < 5"),
            ("frame.len > 100", "len > 100"),
            (
                "tcp.flags.syn == 1 && tcp.flags.ack == 0",
                "tcp[tcpflags] & tcp-syn != 0 and tcp[tcpflags] & tcp-ack = 0",
            ),
            ("tcp.flags.reset", "tcp[tcpflags] & tcp-rst != 0"),
            ("tcp.flags == 0x02", "tcp[12:2] & 0xfff = 2"),
            ("eth.type == 0x88cc", "ether proto 0x88cc"),
            ("ip.addr == 1.2.3.4 and vlan.id == 10", "vlan 10 and host 1.2.3.4"),
            ("host 1.2.3.4 and tcp.port == 443", "host 1.2.3.4 and tcp port 443"),
        ] {
            assert_eq!(to_bpf(display).as_deref(), Some(bpf), "{display}");
            assert!(looks_like(display), "{display}");
        }
    }

    #[test]
    fn what_bpf_cannot_say_is_not_translated() {
        for display in [
            "http.request.method == \"GET\" || tcp.port == ",
            "vlan.id == 10 || ip.addr == 1.2.3.4",
            "(tcp.port == 80",
            "tcp.port in {80..x}",
            "udp.port > 65535",
        ] {
            assert_eq!(to_bpf(display), None, "{display}");
            assert!(looks_like(display), "{display}");
        }
        assert_eq!(to_bpf(&"(".repeat(100_000)), None);
    }

    #[test]
    fn capture_filters_with_a_slip_are_not_taken_for_display_filters() {
        for bpf in ["tcp prt 80", "host www.example.com and", "tcp and (udp", "udp.example.com", "10.0.0.1"] {
            let is = bpf == "udp.example.com";
            assert_eq!(looks_like(bpf), is, "{bpf}");
        }
    }
}
