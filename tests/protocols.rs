//! Application protocols and facts of flows against tshark's, over all corpora. `scripts/protocol-agreement` runs tshark,
//! compares and counts; with `TAPKEEP_AGREEMENT=FILE` its table goes there (`docs/PROTOCOLS.md` holds one).

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "helpers of tests")]

mod support;

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::corpora::{captures, corpora};
use support::requirements::require;
use tapkeep::capture::replay::Import;
use tapkeep::packet::addr::{Addr, Vlan};
use tapkeep::packet::app::{FactReader, Facts, Sniffer, Way};
use tapkeep::packet::decode::{Net, Transport, decode};

/// The innermost ends of a flow, smaller first, and those of the tunnel around it.
type Key = (Vlan, Option<[Addr; 2]>, u8, [(Addr, u16); 2]);

#[derive(Default)]
struct Flow {
    number: usize,
    originator: Option<(Addr, u16)>,
    sniffer: Sniffer,
    reader: Option<FactReader>,
    facts: Facts,
    frames: Vec<u64>,
}

impl Flow {
    fn take(&mut self, way: Way, payload: &[u8]) {
        let app = self.sniffer.look(way, payload);
        let Some((app, _)) = app.filter(|&(app, _)| FactReader::is_for(app)) else { return };
        let reader = self.reader.get_or_insert_default();
        reader.take(app, way, payload);
        self.facts = reader.facts().clone();
    }
}

/// What `scripts/protocol-agreement` reads: per frame with a payload the flow, its protocol in the end, and its facts.
fn report(path: &Path, out: &mut impl Write) {
    let mut flows: HashMap<Key, Flow> = HashMap::new();
    let mut import = Import::open(path).unwrap();
    let mut frame = 0;
    while let Ok(Some(record)) = import.next() {
        frame += 1;
        let packet = decode(record.link, record.frame.data, record.frame.wire_len);
        let Net::Ip(ip) = packet.net else { continue };
        let (outer, ends, transport, payload) = match packet.inner {
            None => (None, (ip.src, ip.dst), ip.transport, ip.payload),
            Some(inner) => {
                let Some(ends) = inner.addrs else { continue };
                (Some([ip.src, ip.dst]), ends, inner.transport, inner.payload)
            }
        };
        let (proto, ports) = match transport {
            Transport::Tcp(tcp) => (6, tcp.ports),
            Transport::Udp(ports) => (17, ports),
            _ => continue,
        };
        if payload.is_empty() {
            continue;
        }
        let (from, to) = ((ends.0, ports.src), (ends.1, ports.dst));
        let outer = outer.map(|[a, b]| [a.min(b), a.max(b)]);
        let number = flows.len();
        let flow = flows.entry((packet.vlan, outer, proto, [from.min(to), from.max(to)])).or_default();
        if flow.originator.is_none() {
            flow.number = number;
            flow.originator = Some(from);
        }
        let way = Way {
            proto,
            src_port: ports.src,
            dst_port: ports.dst,
            from_originator: flow.originator == Some(from),
        };
        flow.take(way, payload);
        flow.frames.push(frame);
    }
    for flow in flows.values() {
        let (app, basis) =
            flow.sniffer.app().map_or(("", String::new()), |(app, basis)| (app.name(), format!("{basis:?}")));
        let Facts { sni, alpn, http_host, user_agent, dns_query, ja4: _ } = &flow.facts;
        let facts = [sni, alpn, http_host, user_agent, dns_query];
        let facts: Vec<_> = facts.iter().map(|fact| fact.as_deref().unwrap_or_default()).collect();
        for frame in &flow.frames {
            let number = flow.number;
            writeln!(out, "{}\t{frame}\t{number}\t{app}\t{basis}\t{}", path.display(), facts.join("\t"))
                .unwrap();
        }
    }
}

// As measured with tshark 4.0.17; docs/PROTOCOLS.md explains each of those that differ.
const MATCHED: u64 = 1777;
const MISSED: u64 = 2;
const WRONG: u64 = 1;
/// Flows of which tshark says nothing, and our payload forms do.
const EXTRA: u64 = 4;
const FACTS_MATCHED: u64 = 1722;
const FACTS_MISSED: u64 = 2;

#[test]
fn protocols_and_facts_agree_with_tshark() {
    let Some(corpora) = corpora() else { return };
    if !require(&["tshark", "python3"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("ours.tsv");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&list).unwrap());
    for path in captures(&corpora) {
        report(&path, &mut out);
    }
    out.into_inner().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/protocol-agreement");
    let table =
        std::env::var_os("TAPKEEP_AGREEMENT").map_or_else(|| folder.path().join("table.md"), Into::into);
    let answer = Command::new(script).arg(&list).arg(&table).output().unwrap();
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let counts: Value = serde_json::from_slice(&answer.stdout).unwrap();
    let count = |key: &str| counts[key].as_u64().unwrap();
    assert!(count("wrong") <= WRONG, "{counts:#}");
    assert!(count("missed") <= MISSED, "{counts:#}");
    assert!(count("matched") >= MATCHED, "{counts:#}");
    assert!(count("extra_payload") <= EXTRA, "{counts:#}");
    assert!(count("facts_wrong") == 0, "{counts:#}");
    assert!(count("facts_missed") <= FACTS_MISSED, "{counts:#}");
    assert!(count("facts_matched") >= FACTS_MATCHED, "{counts:#}");
}
