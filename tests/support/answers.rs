//! What the analyst's answers must hold together: flow records against the packets of the capture files that they name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde_json::Value;

use super::pcap::read_pcap;
use super::process::Answer;
use super::recorded::{number, sealed};

/// The JSON lines of `flows --json`.
pub fn lines(answer: Answer) -> Vec<Value> {
    answer.ok().text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A number of a record.
pub fn count(record: &Value, key: &str) -> u64 {
    record[key].as_u64().unwrap_or_else(|| panic!("no number {key} in {record}"))
}

/// Packets of both directions.
pub fn packets_of(record: &Value) -> u64 {
    count(record, "orig_packets") + count(record, "resp_packets")
}

/// Records with the parts of each flow merged, by what must be the same live and offline: where a flow's packets lie, and so what
/// the flow is called, is not; nor is how it ended.
pub fn merged(records: &[Value]) -> BTreeMap<String, Value> {
    let mut parts: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for record in records {
        parts.entry(record["flow_id"].as_str().unwrap()).or_default().push(record);
    }
    let mut flows = BTreeMap::new();
    for (id, mut parts) in parts {
        parts.sort_by_key(|part| part["part"].as_u64());
        let numbers: Vec<_> = parts.iter().map(|part| part["part"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..parts.len() as u64).collect::<Vec<_>>(), "{id}: parts");
        let last = parts.len() - 1;
        let finals: Vec<_> = parts.iter().map(|part| part["final"].as_bool().unwrap()).collect();
        assert!(finals.iter().enumerate().all(|(at, is)| *is == (at == last)), "{id}: final {finals:?}");
        let mut flow = parts[last].clone();
        for sum in ["packets", "bytes", "payload_bytes"] {
            for side in ["orig", "resp"] {
                let key = format!("{side}_{sum}");
                flow[&key] = parts.iter().map(|part| count(part, &key)).sum::<u64>().into();
            }
        }
        flow["start"] = parts[0]["start"].clone();
        let fields = flow.as_object_mut().unwrap();
        for key in ["flow_id", "part", "captures", "end_reason", "findings"] {
            fields.remove(key);
        }
        let name = format!(
            "{} {} {} {} {} {} {}",
            flow["start"],
            flow["src_ip"],
            flow["src_port"],
            flow["dst_ip"],
            flow["dst_port"],
            flow["proto"],
            flow["vlan"]
        );
        assert!(flows.insert(name.clone(), flow).is_none(), "two flows {name}");
    }
    flows
}

/// Requires equal flows, and says of the first that differs how.
pub fn assert_same_flows(ours: &[Value], theirs: &[Value]) {
    let (ours, theirs) = (merged(ours), merged(theirs));
    let only = |a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>| -> Vec<String> {
        a.keys().filter(|key| !b.contains_key(*key)).cloned().collect()
    };
    assert_eq!((only(&ours, &theirs), only(&theirs, &ours)), (Vec::new(), Vec::new()));
    for (key, flow) in &ours {
        assert_eq!(flow, &theirs[key]);
    }
}

/// Ends, ports and protocol of an untagged or tagged IPv4 packet of UDP, TCP or ICMP, the ends in order.
fn tuple(data: &[u8]) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut vlans = Vec::new();
    while matches!(data.get(at..at + 2)?, [0x81, 0] | [0x88, 0xa8]) {
        let tag = data.get(at + 2..at + 4)?;
        vlans.extend([tag[0] & 15, tag[1]]);
        at += 4;
    }
    if data.get(at..at + 2)? != [8, 0] {
        return None;
    }
    let ip = data.get(at + 2..)?;
    let proto = *ip.get(9)?;
    let header = usize::from(ip[0] & 15) * 4;
    let ports = if matches!(proto, 6 | 17) { ip.get(header..header + 4)? } else { &[0; 4] };
    let mut ends = [[&ip[12..16], &ports[..2]].concat(), [&ip[16..20], &ports[2..]].concat()];
    ends.sort();
    Some([&ends.concat()[..], &[proto], &vlans].concat())
}

fn tuple_of(record: &Value) -> Vec<u8> {
    let end = |side: &str| {
        let ip: std::net::Ipv4Addr = record[format!("{side}_ip")].as_str().unwrap().parse().unwrap();
        let port = record[format!("{side}_port")].as_u64().unwrap_or(0) as u16;
        [&ip.octets()[..], &port.to_be_bytes()].concat()
    };
    let mut ends = [end("src"), end("dst")];
    ends.sort();
    let vlans = match &record["vlan"] {
        Value::Null => Vec::new(),
        Value::Array(tags) => tags.iter().map(|tag| tag.as_u64().unwrap() as u16).collect(),
        tag => vec![tag.as_u64().unwrap() as u16],
    };
    let vlans: Vec<u8> = vlans.into_iter().flat_map(u16::to_be_bytes).collect();
    [&ends.concat()[..], &[count(record, "proto") as u8], &vlans].concat()
}

/// Requires that each IPv4 packet of the sealed capture files is in exactly one record, that no (`flow_id`, `part`) is there
/// twice, and that records name only bytes that are there. Returns how many packets there are. For captures of IPv4 only, without
/// fragments.
pub fn assert_each_packet_in_one_record(data_dir: &Path, records: &[Value]) -> u64 {
    // Of each tuple, where its packets begin: index number and offset.
    let mut places: HashMap<Vec<u8>, Vec<(u64, u64)>> = HashMap::new();
    let (mut total, mut strangers) = (0, 0);
    let mut begins = HashSet::new();
    for file in sealed(data_dir) {
        let mut at = 24;
        for packet in read_pcap(&file) {
            begins.insert((number(&file), at));
            match tuple(&packet.data) {
                Some(tuple) => {
                    total += 1;
                    places.entry(tuple).or_default().push((number(&file), at));
                }
                None => strangers += 1,
            }
            at += 16 + packet.data.len() as u64;
        }
    }
    assert_eq!(strangers, 0, "packets that this check does not understand");
    let mut seen = HashSet::new();
    let mut of_tuple: HashMap<Vec<u8>, Vec<&Value>> = HashMap::new();
    for record in records {
        let name = (record["flow_id"].as_str().unwrap(), count(record, "part"));
        assert!(seen.insert(name), "{name:?} is there twice");
        of_tuple.entry(tuple_of(record)).or_default().push(record);
    }
    for (tuple, records) in &of_tuple {
        let places = places.get(tuple).unwrap_or_else(|| panic!("no packet of {}", records[0]));
        let mut covered = HashSet::new();
        for record in records {
            let mut within = 0;
            for stretch in record["captures"].as_array().unwrap() {
                let [file, first, last] = [0, 1, 2].map(|at| stretch[at].as_u64().unwrap());
                for place in [(file, first), (file, last)] {
                    assert!(begins.contains(&place), "{place:?} is no packet's: {record}");
                }
                let begin = places.partition_point(|place| *place < (file, first));
                let end = places.partition_point(|place| *place <= (file, last));
                for place in &places[begin..end] {
                    within += 1;
                    assert!(covered.insert(*place), "{place:?} is in two records: {records:?}");
                }
            }
            assert_eq!(packets_of(record), within, "packets of {record}");
        }
        let missed: Vec<_> = places.iter().filter(|place| !covered.contains(place)).collect();
        assert!(missed.is_empty(), "{} packets in no record: {missed:?} of {records:#?}", missed.len());
    }
    let lacking: Vec<_> = places.iter().filter(|(tuple, _)| !of_tuple.contains_key(*tuple)).collect();
    assert!(lacking.is_empty(), "no record of {} tuples: {lacking:?}", lacking.len());
    total
}
