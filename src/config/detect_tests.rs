//! `[detect]` and `[[ignore]]`: keys against the detectors' own limits, rules, their mistakes, and the page that explains them.

use std::collections::BTreeMap;

use super::*;
use crate::detect::{IDS, IgnoreRule, Settings};

fn keys() -> impl Iterator<Item = &'static dyn AnyKey> {
    KEYS.iter().copied().filter(|key| key.name().starts_with("detect."))
}

#[test]
fn the_defaults_are_those_of_the_detectors() {
    assert_eq!(given().config().detect, Settings::default());
}

#[test]
fn every_key_sets_something_of_its_own() {
    let mut changed = BTreeMap::new();
    for key in keys() {
        // Of three values, one at least is not the default.
        let of = |value: &str| format!("{:?}", given().env(key.env(), value).config().detect);
        let default = format!("{:?}", Settings::default());
        let settings = some_values(key).iter().map(|value| of(value)).find(|settings| *settings != default);
        let settings = settings.unwrap_or_else(|| panic!("{} sets nothing", key.name()));
        if let Some(other) = changed.insert(settings, key.name()) {
            panic!("{} sets the same as {other}", key.name());
        }
    }
}

#[test]
fn lists_and_fractions_are_written_as_in_toml() {
    let config = given()
        .file(
            "[detect]\nlocal_nets = ['192.0.2.0/24', '2001:db8::1']\noff = ['beacon', 'odd_port']\n\
             odd_port_usual = [8022, '443']\nbeacon_low = 0.5\nbeacon_medium = 1\ndns_tunnel_entropy = '2.75'\n\
             long_connection_steps = ['10m', 3600, '2h', '1d']\nlarge_transfer_bytes = 5",
        )
        .config();
    let detect = config.detect;
    let nets: Vec<_> = detect.local_nets.0.iter().map(ToString::to_string).collect();
    assert_eq!(nets, ["192.0.2.0/24", "2001:db8::1/128"]);
    assert_eq!((detect.off, detect.odd_port.usual), (vec!["beacon", "odd_port"], vec![8022, 443]));
    assert_eq!((detect.beacon.low, detect.beacon.medium, detect.dns_tunnel.entropy), (0.5, 1.0, 2.75));
    assert_eq!(detect.long_connection.steps.map(|step| step / 1_000_000_000), [600, 3_600, 7_200, 86_400]);
    assert_eq!(detect.large_transfer.bytes, 5_000_000);
    let none = given().file("[detect]\nlocal_nets = []").env("TAPKEEP_DETECT_OFF", "none").config();
    assert_eq!((none.detect.local_nets.0.len(), none.detect.off.len()), (0, 0));
}

#[test]
fn thresholds_that_make_no_sense_are_refused() {
    let told = given()
        .file(
            "[detect]\nlocal_nets = ['10.0.0.0/33']\noff = 'odd_prot'\nbeacon_low = nan\ndns_tunnel_entropy = 1e1\n\
             port_scan_ports = 65\nlong_connection_steps = ['1h', '1h', '2h', '3h']\nodd_port_usual = [[1]]\n\
             flood_icmp = 5.5\nbeacon_medium = -0.5",
        )
        .mistakes();
    let begins = [
        r#"tapkeep.toml:2: detect.local_nets = "10.0.0.0/33": expected a list, none or at most 64"#,
        r#"tapkeep.toml:3: detect.off = "odd_prot": expected a list, none or at most 64 of these: a detector (port_scan, "#,
        r#"tapkeep.toml:4: detect.beacon_low = "nan": expected a number from 0 to 1"#,
        r#"tapkeep.toml:5: detect.dns_tunnel_entropy = "1e1": expected a number from 0 to 8"#,
        r#"tapkeep.toml:6: detect.port_scan_ports = "65": expected a whole number from 2 to 64"#,
        r#"tapkeep.toml:7: detect.long_connection_steps = "1h, 1h, 2h, 3h": expected a list of four"#,
        "tapkeep.toml:8: detect.odd_port_usual = […]: expected a list",
        "tapkeep.toml:9: detect.flood_icmp = 5.5: expected a whole number",
        r#"tapkeep.toml:10: detect.beacon_medium = "-0.5": expected a number"#,
    ];
    assert_eq!(told.len(), begins.len(), "{told:#?}");
    for begin in begins {
        assert!(told.iter().any(|mistake| mistake.starts_with(begin)), "{begin}: {told:#?}");
    }
    let many = (0..65).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(given().env("TAPKEEP_DETECT_ODD_PORT_USUAL", many).mistakes().len(), 1);
}

#[test]
fn two_speeds_are_in_order() {
    let told = given().file("[detect]\nport_scan_ports = 30").mistakes();
    assert_eq!(
        told,
        ["default: detect.port_scan_pairs = 25: it would never count beside detect.port_scan_ports = 30"]
    );
    for text in [
        "host_sweep_hosts = 7",
        "scan_window = '16m'",
        "host_sweep_window = '14m'",
        "beacon_low = 0.95",
        "brute_force_quick = 21",
        "brute_force_slow_window = '29s'",
        "dhcp_abuse_played = 200",
    ] {
        assert_eq!(given().file(format!("[detect]\n{text}")).mistakes().len(), 1, "{text}");
    }
    assert!(
        given()
            .file("[detect]\nport_scan_ports = 25\nbeacon_low = 0.9\ndhcp_abuse_played = 199")
            .load()
            .is_ok()
    );
}

#[test]
fn ignore_rules_are_read_with_their_places() {
    let loaded = given()
        .file(
            "[[ignore]]\ndetector = 'port_scan'\nsrc = '192.168.1.20'\nreason = ' the scanner in the office '\n\n\
             [[ignore]]\ndetector = '*'\ndst = '2001:db8::/32'\nport = 443\nreason = 'Büro'\n\n\
             [[ignore]]\nsrc = '02:00:5E:10:00:01'\nreason = 'r'\n",
        )
        .loaded()
        .strict()
        .unwrap();
    let rule =
        |detector: Option<&str>, src: Option<&str>, dst: Option<&str>, port, reason: &str| IgnoreRule {
            detector: detector.map(str::to_owned),
            src: src.map(|net| net.parse().unwrap()),
            dst: dst.map(|net| net.parse().unwrap()),
            port,
            reason: reason.to_owned(),
        };
    let expected = vec![
        rule(Some("port_scan"), Some("192.168.1.20/32"), None, None, "the scanner in the office"),
        rule(None, None, Some("2001:db8::/32"), Some(443), "Büro"),
        rule(None, Some("02:00:5e:10:00:01"), None, None, "r"),
    ];
    assert_eq!(loaded.config.detect.ignore, expected);
    let lines: Vec<_> = loaded.rules.iter().map(|rule| rule.origin.to_string()).collect();
    assert!(lines[0].ends_with("tapkeep.toml:1") && lines[1].ends_with("tapkeep.toml:6"), "{lines:?}");
    let text = show::text(&loaded, &loaded.config.data_dir_of_writer());
    assert!(text.contains("\n  port_scan from 192.168.1.20/32 (the scanner in the office)  "), "{text}");
    assert!(text.contains("\n  * to 2001:db8::/32 port 443 (Büro)  "), "{text}");
    let json = show::json(&loaded, &loaded.config.data_dir_of_writer());
    assert_eq!(json["ignore"][0]["src"], "192.168.1.20/32");
    assert_eq!(json["ignore"][1]["detector"], serde_json::Value::Null);
    assert!(json["ignore"][1]["from"].as_str().unwrap().ends_with(":6"));
}

#[test]
fn each_mistake_of_a_rule_is_told_with_its_line() {
    let told = given()
        .file(
            "[[ignore]]\ndetector = 'portscan'\nsrc = '10.0.0.300'\ndst = 5\nport = 65536\nreason = ' '\n\
             [[ignore]]\ndetector = 'flood'\n\
             [[ignore]]\nreason = 'all of it'\n\
             [[ignore]]\nsrc = ['10.0.0.1']\nreason = \"one\\nline\"\n",
        )
        .mistakes();
    let begins = [
        r#"tapkeep.toml:2: ignore.detector = "portscan": expected "*" or a detector (port_scan, "#,
        r#"tapkeep.toml:3: ignore.src = "10.0.0.300": expected an address or a network"#,
        r#"tapkeep.toml:4: ignore.dst = "5": expected an address or a network"#,
        r#"tapkeep.toml:5: ignore.port = "65536": expected a port from 0 to 65535"#,
        r#"tapkeep.toml:6: ignore.reason = " ": expected why it is harmless"#,
        "tapkeep.toml:7: ignore.reason = (not given): expected why it is harmless",
        r#"tapkeep.toml:9: ignore.detector = (not given): expected "*" or"#,
        "tapkeep.toml:12: ignore.src = […]: expected an address",
        r#"tapkeep.toml:13: ignore.reason = "one\nline": expected why"#,
    ];
    for (told, begin) in told.iter().zip(begins) {
        assert!(told.starts_with(begin), "{told} instead of {begin}");
    }
    assert_eq!(told.len(), begins.len(), "{told:#?}");
    for text in ["ignore = 5", "[ignore]\nsrc = '10.0.0.1'", "ignore = [1]"] {
        let told = given().file(text).mistakes();
        assert!(told.len() == 1 && told[0].contains(": ignore = …: expected tables"), "{told:?}");
    }
    let rule = "[[ignore]]\nport = 1\nreason = 'r'\n";
    let newer = format!("{rule}later = 1\n").repeat(20);
    assert_eq!(given().file(format!("{newer}{rule}")).config().detect.ignore.len(), 1);
    assert_eq!(given().file(rule.repeat(256)).config().detect.ignore.len(), 256);
    assert_eq!(
        given().file(rule.repeat(257)).mistakes(),
        ["tapkeep.toml:1: ignore = 257 rules: expected at most 256"]
    );
}

#[test]
fn a_rule_with_an_unknown_key_silences_nothing_and_stops_nothing() {
    let given = given().file(
        "[[ignore]]\nsrc = '10.0.0.1'\ndts = '10.0.0.2'\nreason = 'r'\n[[ignore]]\nport = 7\nreason = 'r'\n\
         [[ignore]]\nport = 8\nreason = 'r'\nwhen = 'always'\n",
    );
    let loaded = given.loaded();
    let ports: Vec<_> = loaded.config.detect.ignore.iter().map(|rule| rule.port).collect();
    assert_eq!(ports, [Some(7)]);
    assert_eq!(
        given.mistakes(),
        [
            "tapkeep.toml:3: the rule is left out for its unknown key ignore.dts; did you mean ignore.dst?",
            "tapkeep.toml:11: the rule is left out for its unknown key ignore.when",
        ]
    );
}

#[test]
fn the_example_of_a_rule_in_the_sample_is_one() {
    let text = std::fs::read_to_string(sample()).unwrap();
    let (before, rule) = text.split_once("\n# [[ignore]]\n").unwrap();
    let uncommented = format!("{before}\n[[ignore]]\n{}", rule.replace("# ", ""));
    let loaded = given().file(uncommented).loaded().strict().unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(loaded.config.detect.ignore.len(), 1);
}

/// `docs/DETECTORS.md` has a section for each detector, and a row `| key | default | source |` for each key.
#[test]
fn every_detector_and_every_threshold_is_explained() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/DETECTORS.md");
    let page = std::fs::read_to_string(page).unwrap();
    for id in IDS {
        let heading = page.lines().any(|line| line.starts_with("##") && line.contains(&format!("`{id}`")));
        assert!(heading, "a section on {id}");
    }
    let rows: Vec<Vec<_>> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let mut explained = 0;
    for key in keys() {
        let name = format!("`{}`", key.name().trim_start_matches("detect."));
        let rows: Vec<_> = rows.iter().filter(|row| row.get(1) == Some(&name.as_str())).collect();
        let [row] = rows[..] else { panic!("{name} has {} rows", rows.len()) };
        assert_eq!(row.get(2), Some(&key.default_text().as_str()), "the default of {name}");
        assert!(row.get(3).is_some_and(|source| source.len() > 10), "the source of {name}");
        explained += 1;
    }
    assert_eq!(explained, rows.len(), "a row that is no key");
}
