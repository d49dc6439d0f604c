//! Suricata's EVE: a flow is an event `flow`, a finding an `alert`. What EVE has no field for is among the flow variables, where
//! Suricata puts what its rules remember. Pure.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::nested::Document;
use super::{Row, stamp};
use crate::detect::{Finding, Severity};
use crate::flow::record::{EndReason, FlowRecord};
use crate::flow::tcp::ConnState;
use crate::packet::{NANOS_PER_SEC, Nanos, Place};

/// The generator of our alerts: 1 is Suricata's rules, the small numbers its decoders.
const GENERATOR: u32 = 7_400;

pub(super) fn document(row: Row<'_>, host: &str) -> Value {
    let mut document = Document::default();
    match row {
        Row::Flow(record) => flow(&mut document, record, host),
        Row::Finding(found, _) => finding(&mut document, found, host),
    }
    document.done()
}

fn flow(document: &mut Document, record: &FlowRecord, host: &str) {
    document.put("timestamp", time(record.end));
    document.put("flow_id", record.id().map(number));
    document.put("event_type", "flow");
    document.put("vlan", vlan(record));
    document.put("src_ip", record.src_ip.to_string());
    document.put("src_port", record.src_port);
    document.put("dest_ip", record.dst_ip.to_string());
    document.put("dest_port", record.dst_port);
    document.put("proto", proto(record));
    document.put("icmp_type", record.icmp_type);
    document.put("icmp_code", record.icmp_code);
    document.put("app_proto", record.app.as_deref().map(app));
    document.put("community_id", record.community_id.as_deref());
    document.put("ether.src_macs", record.src_mac.map(|mac| json!([mac.to_string()])));
    document.put("ether.dest_macs", record.dst_mac.map(|mac| json!([mac.to_string()])));
    document.put("flow.pkts_toserver", record.orig_packets);
    document.put("flow.pkts_toclient", record.resp_packets);
    document.put("flow.bytes_toserver", record.orig_bytes);
    document.put("flow.bytes_toclient", record.resp_bytes);
    document.put("flow.start", time(record.start));
    document.put("flow.end", time(record.end));
    document.put("flow.age", record.end.saturating_sub(record.start).max(0) / NANOS_PER_SEC);
    document.put("flow.state", state(record));
    document.put("flow.reason", reason(record.end_reason));
    document.put("flow.alerted", !record.findings.is_empty());
    flags(document, record);
    document.put("tls.sni", record.sni.as_deref());
    document.put("http.hostname", record.http_host.as_deref());
    document.put("http.http_user_agent", record.user_agent.as_deref());
    document.put("dns.rrname", record.dns_query.as_deref());
    let findings = record.findings.join(",");
    let variables = [
        ("tapkeep_host", Some(host.to_owned())),
        ("tapkeep_flow_id", Some(record.flow_id.clone())),
        ("tapkeep_part", Some(record.part.to_string())),
        ("tapkeep_final", Some(record.last_part.to_string())),
        ("tapkeep_end_reason", word(&record.end_reason)),
        ("tapkeep_conn_state", record.conn_state.as_ref().and_then(word)),
        ("tapkeep_history", record.history.clone()),
        ("tapkeep_ja4", record.ja4.clone()),
        ("tapkeep_findings", Some(findings).filter(|findings| !findings.is_empty())),
    ];
    document.put("metadata.flowvars", self::variables(variables));
}

fn finding(document: &mut Document, finding: &Finding, host: &str) {
    document.put("timestamp", time(finding.last_seen));
    document.put("event_type", "alert");
    let ip = |end: &Option<String>| end.as_deref()?.parse::<IpAddr>().ok().map(|ip| ip.to_string());
    document.put("src_ip", ip(&finding.src));
    document.put("dest_ip", ip(&finding.dst));
    document.put("dest_port", finding.port);
    document.put("alert.action", "allowed");
    document.put("alert.gid", GENERATOR);
    // Of the name, so that it is the same for ever.
    document.put("alert.signature_id", crc32c::crc32c(finding.detector.as_bytes()));
    document.put("alert.rev", 1);
    document.put("alert.signature", format!("TAPKEEP {}", finding.detector));
    document.put("alert.category", finding.detector.replace('_', " "));
    document.put("alert.severity", severity(finding.severity));
    document.put("alert.source.ip", ip(&finding.src));
    document.put("alert.target.ip", ip(&finding.dst));
    document.put("alert.metadata.tag", json!([finding.technique]));
    document.put("alert.metadata.signature_severity", word(&finding.severity).map(|word| json!([word])));
    document.put("flow.start", time(finding.first_seen));
    document.put("flow.end", time(finding.last_seen));
    let variables = [
        ("tapkeep_host", Some(host.to_owned())),
        ("tapkeep_finding_id", Some(finding.id.clone())),
        ("tapkeep_summary", Some(finding.summary.clone())),
        ("tapkeep_src", finding.src.clone()),
        ("tapkeep_dst", finding.dst.clone()),
        ("tapkeep_count", Some(finding.count.to_string())),
        ("tapkeep_observed", Some(finding.observed.to_string())),
        ("tapkeep_threshold", Some(finding.threshold.to_string())),
        ("tapkeep_filter", Some(finding.filter.clone())),
    ];
    document.put("metadata.flowvars", self::variables(variables));
}

fn variables(of: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Value {
    let of = of.into_iter().filter_map(|(key, value)| Some(json!({"key": key, "value": value?})));
    of.collect::<Vec<_>>().into()
}

fn word(value: &impl serde::Serialize) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

/// As Suricata writes time: microseconds, and the zone without a colon.
fn time(at: Nanos) -> String {
    stamp(at, "%Y-%m-%dT%H:%M:%S%.6f+0000")
}

/// An integer that every JSON reader holds exactly, as Suricata's are: 20 bits of the file's number, 33 of the offset.
fn number(id: Place) -> u64 {
    (id.file & 0xf_ffff) << 33 | (id.offset & 0x1_ffff_ffff)
}

fn vlan(record: &FlowRecord) -> Option<Value> {
    match (record.vlan.outer, record.vlan.inner) {
        (0, 0) => None,
        (outer, 0) => Some(json!([outer])),
        (outer, inner) => Some(json!([outer, inner])),
    }
}

fn proto(record: &FlowRecord) -> String {
    match (record.proto, record.transport.as_deref()) {
        (58, _) => "IPv6-ICMP".to_owned(),
        (_, Some(name)) => name.to_uppercase(),
        (number, None) => format!("{number:03}"),
    }
}

/// Suricata's names where they are others.
fn app(name: &str) -> &str {
    match name {
        "smb2" => "smb",
        "kerberos" => "krb5",
        "pop" => "pop3",
        "isakmp" => "ike",
        "bt-dht" => "bittorrent-dht",
        "mbtcp" => "modbus",
        "vnc" => "rfb",
        "mdns" | "llmnr" => "dns",
        other => other,
    }
}

fn state(record: &FlowRecord) -> &'static str {
    use ConnState::{OTH, REJ, RSTO, RSTOS0, RSTR, RSTRH, S0, S1, S2, S3, SF, SH, SHR};
    match record.conn_state {
        Some(SF | REJ | RSTO | RSTR | RSTOS0 | RSTRH) => "closed",
        Some(S1 | S2 | S3 | OTH) => "established",
        Some(S0 | SH | SHR) => "new",
        None if record.orig_packets > 0 && record.resp_packets > 0 => "established",
        None => "new",
    }
}

/// In Suricata's words; ours is among the flow variables.
fn reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Idle | EndReason::Active | EndReason::End => "timeout",
        EndReason::Forced => "shutdown",
        EndReason::Resources => "forced",
    }
}

fn flags(document: &mut Document, record: &FlowRecord) {
    let (Some(orig), Some(resp)) = (record.orig_tcp_flags, record.resp_tcp_flags) else { return };
    let all = orig | resp;
    document.put("tcp.tcp_flags", format!("{all:02x}"));
    document.put("tcp.tcp_flags_ts", format!("{orig:02x}"));
    document.put("tcp.tcp_flags_tc", format!("{resp:02x}"));
    let names = ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"];
    for (_, name) in names.iter().enumerate().filter(|(bit, _)| all & 1 << bit != 0) {
        document.put(&format!("tcp.{name}"), true);
    }
}

/// 1 is the gravest.
fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::High => 1,
        Severity::Medium => 2,
        Severity::Low => 3,
        Severity::Info => 4,
    }
}
