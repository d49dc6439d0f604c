//! Elastic Common Schema: a flow is an event, a finding an alert. What ECS has no field for is under `tapkeep`. Pure.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::Row;
use super::nested::Document;
use crate::detect::{Finding, Severity};
use crate::flow::record::FlowRecord;
use crate::packet::Nanos;
use crate::packet::addr::Mac;
use crate::store::facts::rfc3339;

/// The version whose fields these are.
const VERSION: &str = "8.11.0";

/// Keys of a flow record that ECS has no field for.
const OWN: [&str; 20] = [
    "flow_id",
    "part",
    "final",
    "icmp_type",
    "icmp_code",
    "app_basis",
    "orig_payload_bytes",
    "resp_payload_bytes",
    "missed_bytes",
    "conn_state",
    "history",
    "orig_tcp_flags",
    "resp_tcp_flags",
    "rtt_us",
    "min_ttl",
    "max_ttl",
    "end_reason",
    "alpn",
    "ja4",
    "findings",
];

pub(super) fn document(row: Row<'_>, host: &str) -> Value {
    let mut document = Document::default();
    match row {
        Row::Flow(record) => flow(&mut document, record),
        Row::Finding(found, _) => finding(&mut document, found),
    }
    document.put("ecs.version", VERSION);
    document.put("event.module", "tapkeep");
    document.put("observer.hostname", host);
    document.put("observer.type", "sensor");
    document.put("observer.vendor", "Tapkeep");
    document.put("observer.product", "Tapkeep");
    document.put("observer.version", env!("CARGO_PKG_VERSION"));
    document.done()
}

fn flow(document: &mut Document, record: &FlowRecord) {
    document.put("@timestamp", rfc3339(record.end));
    document.put("event.kind", "event");
    document.put("event.category", json!(["network"]));
    let kinds =
        [Some("connection"), (record.part == 0).then_some("start"), record.last_part.then_some("end")];
    document.put("event.type", kinds.into_iter().flatten().collect::<Vec<_>>());
    document.put("event.action", "network_flow");
    document.put("event.dataset", "tapkeep.flow");
    document.put("event.id", format!("{}-{}", record.flow_id, record.part));
    time(document, record.start, record.end);

    let ends = [
        ("source", record.src_ip, record.src_port, record.src_mac, record.orig_bytes, record.orig_packets),
        (
            "destination",
            record.dst_ip,
            record.dst_port,
            record.dst_mac,
            record.resp_bytes,
            record.resp_packets,
        ),
    ];
    for (end, ip, port, mac, bytes, packets) in ends {
        document.put(&format!("{end}.address"), ip.to_string());
        document.put(&format!("{end}.ip"), ip.to_string());
        document.put(&format!("{end}.port"), port);
        document.put(&format!("{end}.mac"), mac.map(mac_text));
        document.put(&format!("{end}.bytes"), bytes);
        document.put(&format!("{end}.packets"), packets);
    }
    document.put("network.type", if record.src_ip.is_v4() { "ipv4" } else { "ipv6" });
    document.put("network.iana_number", record.proto.to_string());
    document.put("network.transport", record.transport.as_deref().map(transport));
    document.put("network.protocol", record.app.as_deref());
    document.put("network.community_id", record.community_id.as_deref());
    document.put("network.bytes", record.orig_bytes.saturating_add(record.resp_bytes));
    document.put("network.packets", record.orig_packets.saturating_add(record.resp_packets));
    let id = |id: u16| (id > 0).then(|| id.to_string());
    document.put("network.vlan.id", id(record.vlan.outer));
    document.put("network.inner.vlan.id", id(record.vlan.inner));
    document.put("tls.client.server_name", record.sni.as_deref());
    document.put("url.domain", record.http_host.as_deref().map(domain));
    document.put("user_agent.original", record.user_agent.as_deref());
    document.put("dns.question.name", record.dns_query.as_deref());
    document.put("related.ip", json!([record.src_ip.to_string(), record.dst_ip.to_string()]));

    let Ok(Value::Object(mut all)) = serde_json::to_value(record) else { return };
    let own: Map<_, _> = OWN.iter().filter_map(|key| all.remove_entry(*key)).collect();
    document.put("tapkeep", own);
}

fn finding(document: &mut Document, finding: &Finding) {
    document.put("@timestamp", rfc3339(finding.last_seen));
    document.put("message", finding.summary.as_str());
    document.put("event.kind", "alert");
    document.put("event.category", json!(["network", "intrusion_detection"]));
    document.put("event.type", json!(["info"]));
    document.put("event.action", finding.detector.as_str());
    document.put("event.dataset", "tapkeep.finding");
    document.put("event.id", finding.id.as_str());
    document.put("event.severity", severity(finding.severity));
    time(document, finding.first_seen, finding.last_seen);
    document.put("rule.name", finding.detector.as_str());
    document.put("rule.ruleset", "tapkeep");
    let (technique, sub) = match finding.technique.split_once('.') {
        Some((technique, _)) => (technique, Some(finding.technique.as_str())),
        None => (finding.technique.as_str(), None),
    };
    document.put("threat.technique.id", json!([technique]));
    document.put("threat.technique.subtechnique.id", sub.map(|sub| json!([sub])));

    let mut addrs = Vec::new();
    for (end, subject) in [("source", &finding.src), ("destination", &finding.dst)] {
        let Some(subject) = subject else { continue };
        document.put(&format!("{end}.address"), subject.as_str());
        if let Ok(ip) = subject.parse::<IpAddr>() {
            document.put(&format!("{end}.ip"), ip.to_string());
            addrs.push(ip.to_string());
        } else if let Ok(mac) = subject.parse::<Mac>() {
            document.put(&format!("{end}.mac"), mac_text(mac));
        }
    }
    document.put("destination.port", finding.port);
    document.put("related.ip", Some(addrs).filter(|addrs| !addrs.is_empty()));
    document.put("tapkeep.severity", json!(finding.severity));
    document.put("tapkeep.count", finding.count);
    document.put("tapkeep.observed", finding.observed);
    document.put("tapkeep.threshold", finding.threshold);
    document.put("tapkeep.filter", finding.filter.as_str());
}

fn time(document: &mut Document, from: Nanos, to: Nanos) {
    document.put("event.start", rfc3339(from));
    document.put("event.end", rfc3339(to));
    document.put("event.duration", to.saturating_sub(from).max(0));
}

/// As ECS wants it: RFC 7042's notation, in capitals.
fn mac_text(mac: Mac) -> String {
    mac.to_string().to_uppercase().replace(':', "-")
}

/// IANA's keyword in small letters.
fn transport(name: &str) -> &str {
    if name == "icmp6" { "ipv6-icmp" } else { name }
}

/// The host without its port.
fn domain(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit())
                && (name.ends_with(']') || !name.contains(':')) =>
        {
            name
        }
        _ => host,
    }
}

fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Info => 1,
        Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_part_of_a_domain() {
        let hosts = ["example.org:8080", "example.org", "[2001:db8::1]:80", "2001:db8::1", "a:b"];
        assert_eq!(hosts.map(domain), ["example.org", "example.org", "[2001:db8::1]", "2001:db8::1", "a:b"]);
    }
}
