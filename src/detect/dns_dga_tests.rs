use super::super::dialogue::{MS, Made, S, brief, dns, loud, random};
use super::*;
use crate::detect::saved;

const US: ([u8; 4], u16) = ([192, 168, 1, 5], 40_000);
const RESOLVER: ([u8; 4], u16) = ([192, 168, 1, 1], 53);

fn miss(made: &mut Made, at: Nanos, name: &str) {
    made.udp(at, US, RESOLVER, &dns(name, 1, None));
    made.udp(at + MS, RESOLVER, US, &dns(name, 1, Some(NXDOMAIN)));
}

/// Names that are registered, or were: what a host of people asks for (from the Tranco list, and dictionary words).
const REAL: [&str; 32] = [
    "wikipedia",
    "facebook",
    "microsoft",
    "instagram",
    "stackoverflow",
    "pinterest",
    "wordpress",
    "cloudflare",
    "netflix",
    "mozilla",
    "spotify",
    "dropbox",
    "telegraph",
    "guardian",
    "washingtonpost",
    "bloomberg",
    "reuters",
    "booking",
    "tripadvisor",
    "sourceforge",
    "godaddy",
    "weather",
    "airbnb",
    "paypal",
    "adobe",
    "oracle",
    "salesforce",
    "shopify",
    "etsy",
    "walmart",
    "target",
    "homedepot",
];

#[test]
fn generated_names_that_do_not_exist_are_found() {
    let mut random = random(5);
    let mut made = Made::default();
    for number in 0..30 {
        let label: String = (0..14).map(|_| char::from(b'a' + random(26) as u8)).collect();
        miss(&mut made, number * 10 * S, &format!("{label}.com"));
    }
    let found = made.found(ID);
    assert_eq!(brief(&found), [(Severity::Medium, "192.168.1.5", "192.168.1.1", None)], "{found:#?}");
    assert!(found[0].observed >= 20.0 && found[0].count >= 30);
}

#[test]
fn words_that_do_not_exist_are_low() {
    let mut made = Made::default();
    for (number, name) in (0..).zip(REAL) {
        miss(&mut made, number * 10 * S, &format!("{name}.example-typo{}.net", ""));
        miss(&mut made, number * 10 * S, &format!("{name}.net"));
    }
    assert_eq!(brief(&made.found(ID)), [(Severity::Low, "192.168.1.5", "192.168.1.1", None)]);
}

#[test]
fn probes_of_browsers_search_lists_and_slow_mistakes_are_quiet() {
    let mut random = random(6);
    let mut made = Made::default();
    for number in 0..300 {
        let label: String = (0..12).map(|_| char::from(b'a' + random(26) as u8)).collect();
        let at = number * S;
        miss(&mut made, at, &label);
        miss(&mut made, at, &format!("{label}.lan"));
        miss(&mut made, at, &format!("{label}.firm.co.uk"));
        miss(&mut made, at, &format!("{}.1.168.192.in-addr.arpa", number % 256));
        miss(&mut made, at, &format!("{}.2.0.192.dnsbl.example.net", number % 256));
        // One in forty seconds: fifteen in ten minutes.
        miss(&mut made, number * 40 * S, &format!("{label}.com"));
        // Names that exist.
        made.udp(at, RESOLVER, US, &dns(&format!("{label}.org"), 1, Some(0)));
    }
    assert_eq!(loud(made.found(ID)), []);
}

#[test]
fn random_labels_look_generated_and_names_do_not() {
    let mut random = random(7);
    let mut yes = 0;
    for _ in 0..1000 {
        let len = 10 + random(8);
        let label: Vec<u8> = (0..len).map(|_| b'a' + random(26) as u8).collect();
        yes += usize::from(domains::looks_generated(&label));
    }
    assert!(yes > 900, "{yes} of 1000");
    let wrong: Vec<_> = REAL.iter().filter(|name| domains::looks_generated(name.as_bytes())).collect();
    assert!(wrong.len() <= 2, "{wrong:?}");
}

#[test]
fn clients_are_bounded_and_survive_a_restart() {
    let mut detector = DnsDga::new(Limits { clients: 16, ..Limits::default() });
    for number in 0..100 {
        detector.clients.entry(Addr::v4([10, 0, 0, number]), 0, Missing::default);
    }
    assert!(detector.clients.len() <= 16 && detector.saturated() >= 84);
    let mut other = DnsDga::new(Limits::default());
    other.restore(saved(&detector.save()));
    assert_eq!(other.clients.len(), detector.clients.len());
}
