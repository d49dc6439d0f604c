//! `[[ignore]]` rules in the running service: what they fit is not raised, is counted at its rule and told, and SIGHUP puts
//! new rules in force.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "helpers of tests")]

mod support;

use serde_json::{Value, json};
use support::net::Pace;
use support::process::wait_until;
use support::scan::scan;
use support::service::Service;
use support::stage::Stage;

const RULE: &str =
    "[[ignore]]\ndetector = 'port_scan'\nsrc = '192.168.7.1'\nreason = 'the scanner in the office'\n";

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
