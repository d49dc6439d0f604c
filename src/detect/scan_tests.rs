//! Bounds in any order; what the defaults find is in the tests over whole captures.

use super::super::Settings;
use super::super::dialogue::Made;
use super::*;

const S: Nanos = NANOS_PER_SEC;
const US: [u8; 4] = [192, 168, 1, 5];

/// Connections to ports of hosts, one every ten seconds, each refused.
fn found(aims: &[([u8; 4], u16)], limits: Limits, detector: &str) -> Vec<(usize, f64)> {
    let mut made = Made::default();
    for (number, &(dst, port)) in aims.iter().enumerate() {
        made.refused(number as Nanos * 10 * S, (US, 40_000), (dst, port));
    }
    let found = made.found_with(detector, &Settings { scan: limits, ..Settings::default() });
    found.iter().map(|finding| (finding.count as usize, finding.threshold)).collect()
}

#[test]
fn slow_bounds_below_the_quick_ones_count() {
    let ports: Vec<_> = (1..=6).map(|port| ([10, 0, 0, 7], 1000 + port)).collect();
    let limits = || Limits { fast_ports: 20, few_hosts: 20, ..Limits::default() };
    assert_eq!(found(&ports, Limits { slow_pairs: 6, ..limits() }, "port_scan"), [(6, 6.0)]);
    assert_eq!(found(&ports, Limits { slow_pairs: 7, ..limits() }, "port_scan"), []);
    let hosts: Vec<_> = (1..=6).map(|host| ([10, 0, 0, host], 445)).collect();
    assert_eq!(found(&hosts, Limits { many_hosts: 6, ..limits() }, "host_sweep"), [(6, 6.0)]);
    assert_eq!(found(&hosts, Limits { many_hosts: 7, ..limits() }, "host_sweep"), []);
}

#[test]
fn tries_are_judged_before_they_are_forgotten() {
    let mut made = Made::default();
    for port in 1..=12 {
        made.refused(0, (US, 40_000 + port), ([10, 0, 0, 7], 1000 + port));
    }
    made.refused(9 * 3600 * S, ([192, 168, 1, 6], 40_000), ([10, 0, 0, 8], 80));
    let found = made.found_with("port_scan", &Settings::default());
    assert_eq!(found.iter().map(|finding| finding.count).collect::<Vec<_>>(), [12]);
}
