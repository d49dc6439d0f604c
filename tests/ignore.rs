//! `[[ignore]]` rules in the running service: what they fit is not raised, is counted at its rule and told, and SIGHUP puts
//! new rules in force.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "helpers of tests")]

mod support;

use serde_json::{Value, json};
use support::net::Pace;
use support::pcap::Packet;
use support::process::wait_until;
use support::service::Service;
use support::stage::Stage;

const RULE: &str =
    "[[ignore]]\ndetector = 'port_scan'\nsrc = '192.168.7.1'\nreason = 'the scanner in the office'\n";

/// A TCP packet without payload between 192.168.7.1 and 192.168.7.2.
fn tcp(to_server: bool, port: u16, flags: u8) -> Packet {
    let (src, dst) = if to_server { (1, 2) } else { (2, 1) };
    let (from, to) = if to_server { (40_000, port) } else { (port, 40_000) };
    let mut data = [2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src, 8, 0].to_vec();
    data.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 168, 7, src, 192, 168, 7, dst]);
    data.extend(from.to_be_bytes());
    data.extend(to.to_be_bytes());
    data.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 4, 0, 0, 0, 0, 0]);
    data.resize(60, 0);
    Packet::whole(0, 0, data)
}

/// Thirty ports, each refused.
fn scan(first: u16) -> Vec<Packet> {
    (first..first + 30).flat_map(|port| [tcp(true, port, 0x02), tcp(false, port, 0x14)]).collect()
}

fn ignored(service: &Service) -> Value {
    service.state().map(|state| state["analysis"]["ignored"].clone()).unwrap_or_default()
}

/// What was raised of `port_scan`.
fn raised(service: &Service) -> usize {
    let answer = service.ask(&["suspicious", "--json", "--detector", "port_scan"]).json();
    answer["findings"].as_array().unwrap().len()
}

#[test]
fn rules_silence_are_counted_and_change_on_sighup() {
    let Some(stage) = Stage::new(&[]) else { return };
    let mut service = stage.start(stage.setup().config(RULE));
    stage.send(&scan(100), Pace::PerSecond(1_000));
    wait_until("the scan is ignored", || ignored(&service)[0]["hits"] == 1);
    assert_eq!(
        ignored(&service),
        json!([{"detector": "port_scan", "src": "192.168.7.1/32", "dst": null, "port": null,
                "reason": "the scanner in the office", "hits": 1}])
    );
    let status = service.ask(&["status"]).text();
    let line = "Ignored         1 finding: port_scan from 192.168.7.1/32 (the scanner in the office)\n";
    assert!(status.contains(line), "{status}");
    assert_eq!(raised(&service), 0);

    // The same rules again change nothing, nor do rules with a mistake.
    service.reload();
    service.process.wait_for_stderr("the configuration is reloaded");
    service.configure("[[ignore]]\nsrc = '192.168.7.1'\n");
    service.reload();
    service.process.wait_for_stderr("ignore.reason = (not given)");
    assert_eq!(ignored(&service)[0]["hits"], 1);

    service.configure("[[ignore]]\nport = 9\nreason = 'something else'\n");
    service.reload();
    wait_until("the new rule", || ignored(&service)[0]["port"] == 9);
    wait_until("what it silenced is shown", || raised(&service) == 1);
    stage.send(&scan(200), Pace::PerSecond(1_000));
    assert_eq!(ignored(&service)[0]["hits"], 0);
    assert_eq!(service.stop().code, Some(0));
}
