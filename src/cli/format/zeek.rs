//! Zeek's logs: a flow is a row of `conn.log`, a finding one of `notice.log`; our own columns stand behind Zeek's and begin with
//! `tapkeep.`. Escaped as Zeek's ASCII writer escapes. Pure.

use std::net::IpAddr;

use super::{Kind, Row, seconds, stamp};
use crate::detect::{Finding, SUPPRESSED};
use crate::flow::record::FlowRecord;
use crate::packet::Nanos;

/// Name and type of the columns of `conn.log`; from `community_id` on those of the policies that add to it, then our own.
const CONN: [(&str, &str); 37] = [
    ("ts", "time"),
    ("uid", "string"),
    ("id.orig_h", "addr"),
    ("id.orig_p", "port"),
    ("id.resp_h", "addr"),
    ("id.resp_p", "port"),
    ("proto", "enum"),
    ("service", "string"),
    ("duration", "interval"),
    ("orig_bytes", "count"),
    ("resp_bytes", "count"),
    ("conn_state", "string"),
    ("local_orig", "bool"),
    ("local_resp", "bool"),
    ("missed_bytes", "count"),
    ("history", "string"),
    ("orig_pkts", "count"),
    ("orig_ip_bytes", "count"),
    ("resp_pkts", "count"),
    ("resp_ip_bytes", "count"),
    ("tunnel_parents", "set[string]"),
    ("ip_proto", "count"),
    ("community_id", "string"),
    ("vlan", "int"),
    ("inner_vlan", "int"),
    ("orig_l2_addr", "string"),
    ("resp_l2_addr", "string"),
    ("tapkeep.part", "count"),
    ("tapkeep.final", "bool"),
    ("tapkeep.orig_frame_bytes", "count"),
    ("tapkeep.resp_frame_bytes", "count"),
    ("tapkeep.end_reason", "string"),
    ("tapkeep.sni", "string"),
    ("tapkeep.http_host", "string"),
    ("tapkeep.dns_query", "string"),
    ("tapkeep.ja4", "string"),
    ("tapkeep.findings", "set[string]"),
];

/// The same of `notice.log`.
const NOTICE: [(&str, &str); 27] = [
    ("ts", "time"),
    ("uid", "string"),
    ("id.orig_h", "addr"),
    ("id.orig_p", "port"),
    ("id.resp_h", "addr"),
    ("id.resp_p", "port"),
    ("fuid", "string"),
    ("file_mime_type", "string"),
    ("file_desc", "string"),
    ("proto", "enum"),
    ("note", "enum"),
    ("msg", "string"),
    ("sub", "string"),
    ("src", "addr"),
    ("dst", "addr"),
    ("p", "port"),
    ("n", "count"),
    ("peer_descr", "string"),
    ("actions", "set[enum]"),
    ("email_dest", "set[string]"),
    ("suppress_for", "interval"),
    ("tapkeep.finding", "string"),
    ("tapkeep.severity", "string"),
    ("tapkeep.technique", "string"),
    ("tapkeep.first_seen", "time"),
    ("tapkeep.observed", "double"),
    ("tapkeep.threshold", "double"),
];

const UNSET: &str = "-";
const EMPTY: &str = "(empty)";

/// The lines before the first row, each in cells.
pub(super) fn head(kind: Kind, open: Nanos) -> Vec<Vec<String>> {
    let (path, columns): (_, &[_]) = match kind {
        Kind::Flows => ("conn", &CONN),
        Kind::Findings => ("notice", &NOTICE),
    };
    let open = stamp(open, "%Y-%m-%d-%H-%M-%S");
    let words = [("#set_separator", ","), ("#empty_field", EMPTY), ("#unset_field", UNSET), ("#path", path)];
    let mut head = vec![vec!["#separator \\x09".to_owned()]];
    head.extend(
        words.into_iter().chain([("#open", &*open)]).map(|line| [line.0, line.1].map(str::to_owned).to_vec()),
    );
    let named = |name: &str, cell: fn(&(&'static str, &'static str)) -> &'static str| {
        std::iter::once(name).chain(columns.iter().map(cell)).map(str::to_owned).collect()
    };
    head.extend([named("#fields", |column| column.0), named("#types", |column| column.1)]);
    head
}

/// The cells of a row.
pub(super) fn cells(row: Row<'_>, host: &str) -> Vec<String> {
    match row {
        Row::Flow(record) => conn(record),
        Row::Finding(finding, _) => notice(finding, host),
    }
}

fn conn(record: &FlowRecord) -> Vec<String> {
    let (orig_p, resp_p) = match (record.src_port.zip(record.dst_port), record.icmp_type) {
        (Some(ports), _) => ports,
        (None, Some(kind)) => (kind.into(), record.icmp_code.unwrap_or(0).into()),
        (None, None) => (0, 0),
    };
    let lasted = record.end.saturating_sub(record.start);
    let id = |id: u16| (id > 0).then_some(id);
    vec![
        seconds(record.start),
        text(&record.flow_id),
        record.src_ip.to_string(),
        orig_p.to_string(),
        record.dst_ip.to_string(),
        resp_p.to_string(),
        proto(record.proto).to_owned(),
        maybe_text(record.app.as_deref().map(service)),
        maybe((lasted > 0).then(|| seconds(lasted))),
        record.orig_payload_bytes.to_string(),
        record.resp_payload_bytes.to_string(),
        state(record),
        maybe(None::<bool>),
        maybe(None::<bool>),
        maybe(record.missed_bytes),
        maybe_text(record.history.as_deref()),
        record.orig_packets.to_string(),
        // Frames are counted whole: how much of them is IP is not known.
        maybe(None::<u64>),
        record.resp_packets.to_string(),
        maybe(None::<u64>),
        maybe(None::<&str>),
        record.proto.to_string(),
        maybe_text(record.community_id.as_deref()),
        maybe(id(record.vlan.outer)),
        maybe(id(record.vlan.inner)),
        maybe(record.src_mac),
        maybe(record.dst_mac),
        record.part.to_string(),
        truth(record.last_part),
        record.orig_bytes.to_string(),
        record.resp_bytes.to_string(),
        text(&format!("{:?}", record.end_reason).to_lowercase()),
        maybe_text(record.sni.as_deref()),
        maybe_text(record.http_host.as_deref()),
        maybe_text(record.dns_query.as_deref()),
        maybe_text(record.ja4.as_deref()),
        set(record.findings.iter().map(String::as_str)),
    ]
}

fn notice(finding: &Finding, host: &str) -> Vec<String> {
    let addr = |end: &Option<String>| maybe(end.as_deref().and_then(|end| end.parse::<IpAddr>().ok()));
    let unset = || UNSET.to_owned();
    vec![
        seconds(finding.last_seen),
        unset(),
        unset(),
        unset(),
        unset(),
        unset(),
        unset(),
        unset(),
        unset(),
        unset(),
        text(&note(&finding.detector)),
        text(&finding.summary),
        text(&finding.filter),
        addr(&finding.src),
        addr(&finding.dst),
        maybe(finding.port),
        finding.count.to_string(),
        text(host),
        set(["Notice::ACTION_LOG"].into_iter()),
        set(std::iter::empty()),
        seconds(SUPPRESSED),
        text(&finding.id),
        text(&format!("{:?}", finding.severity).to_lowercase()),
        text(&finding.technique),
        seconds(finding.first_seen),
        number(finding.observed),
        number(finding.threshold),
    ]
}

fn truth(is: bool) -> String {
    if is { "T" } else { "F" }.to_owned()
}

/// What needs no escape, or nothing.
fn maybe(value: Option<impl ToString>) -> String {
    value.map_or_else(|| UNSET.to_owned(), |value| value.to_string())
}

fn maybe_text(value: Option<&str>) -> String {
    value.map_or_else(|| UNSET.to_owned(), text)
}

fn number(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { UNSET.to_owned() }
}

/// A text that stays within its field, and is not taken for an unset or an empty one.
fn text(value: &str) -> String {
    match value {
        "" => EMPTY.to_owned(),
        // The first character is escaped, as Zeek does it.
        UNSET => "\\x2d".to_owned(),
        EMPTY => "\\x28empty)".to_owned(),
        value => escaped(value, ""),
    }
}

/// A set of texts.
fn set<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let values: Vec<_> = values.map(|value| escaped(value, ",")).collect();
    if values.is_empty() { EMPTY.to_owned() } else { values.join(",") }
}

/// Bytes that would end the field or move a terminal as `\xNN`, a backslash that does not begin such an escape too: names from
/// packets are kept escaped in the same way.
fn escaped(value: &str, also: &str) -> String {
    use std::fmt::Write as _;

    let mut out = String::with_capacity(value.len());
    for (at, c) in value.char_indices() {
        let lone = c == '\\' && !begins_escape(&value[at..]);
        if lone || also.contains(c) || crate::cli::escape::is_active(c) {
            let mut utf8 = [0; 4];
            for byte in c.encode_utf8(&mut utf8).bytes() {
                // Nothing fails that is written to a string.
                let _ = write!(out, "\\x{byte:02x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn begins_escape(text: &str) -> bool {
    let digits = text.strip_prefix("\\x").and_then(|rest| rest.as_bytes().get(..2));
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

fn proto(number: u8) -> &'static str {
    match number {
        6 => "tcp",
        17 => "udp",
        1 | 58 => "icmp",
        _ => "unknown_transport",
    }
}

/// Zeek's names where they are others.
fn service(name: &str) -> &str {
    match name {
        "tls" => "ssl",
        "kerberos" => "krb",
        "smb2" => "smb",
        "pop" => "pop3",
        "mbtcp" => "modbus",
        "pgsql" => "postgresql",
        "isakmp" => "ipsec",
        "wg" => "wireguard",
        "vnc" => "rfb",
        "mdns" | "llmnr" => "dns",
        other => other,
    }
}

/// Of TCP as it is kept; of others as Zeek's `conn_state` tells it, by who has sent.
fn state(record: &FlowRecord) -> String {
    let of_udp = || match (record.orig_packets > 0, record.resp_packets > 0) {
        (true, true) => "SF",
        (true, false) => "S0",
        (false, true) => "SHR",
        (false, false) => "OTH",
    };
    match record.conn_state {
        Some(state) => format!("{state:?}"),
        None if record.proto == 17 => of_udp().to_owned(),
        None => "OTH".to_owned(),
    }
}

/// `port_scan` is `Tapkeep::Port_Scan`, by Zeek's convention for notices.
fn note(detector: &str) -> String {
    let word = |word: &str| match word {
        "syn" | "arp" | "nd" | "ra" | "dhcp" | "dns" | "dga" | "icmp" | "tls" => word.to_uppercase(),
        word => {
            let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
            first.to_uppercase() + rest
        }
    };
    format!("Tapkeep::{}", detector.split('_').map(word).collect::<Vec<_>>().join("_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_within_its_field_and_reads_back() {
        let texts = [
            "a\tb",
            "-",
            "(empty)",
            "",
            "--",
            "a\\x09b",
            "a\\b",
            "x\u{1b}[2J\n",
            "ü日本",
            "a\u{202e}b",
            "a,b",
        ];
        let wanted = [
            "a\\x09b",
            "\\x2d",
            "\\x28empty)",
            "(empty)",
            "--",
            "a\\x09b",
            "a\\x5cb",
            "x\\x1b[2J\\x0a",
            "ü日本",
            "a\\xe2\\x80\\xaeb",
            "a,b",
        ];
        assert_eq!(texts.map(text), wanted);
        assert_eq!(set(["a,b", "c"].into_iter()), "a\\x2cb,c");
        assert_eq!(set(std::iter::empty()), "(empty)");
    }

    #[test]
    fn a_detector_is_a_notice_by_zeeks_convention() {
        assert_eq!(
            ["port_scan", "dns_dga", "beacon"].map(note),
            ["Tapkeep::Port_Scan", "Tapkeep::DNS_DGA", "Tapkeep::Beacon"]
        );
    }
}
