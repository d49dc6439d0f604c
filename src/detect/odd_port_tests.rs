use super::super::Settings;
use super::super::dialogue::{Made, S, brief, dns, in_corpus, loud};
use super::*;
use crate::detect::saved;
use Severity::{Low, Medium};

const US: [u8; 4] = [192, 168, 1, 5];
const THEM: [u8; 4] = [198, 51, 100, 9];

const SSH: (&str, &str) = ("SSH-2.0-OpenSSH_9.6\r\n", "SSH-2.0-OpenSSH_8.4p1 Debian-5\r\n");
const HTTP: (&str, &str) = (
    "GET /index.html HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Type: text/html\r\n\r\n",
);

/// A conversation over TCP, from a port of ours to one of theirs.
fn talk(made: &mut Made, at: i64, ports: (u16, u16), said: (&str, &str)) {
    let mut session = made.open(at * S, (US, ports.0), (THEM, ports.1));
    session.client(made, at * S + S / 10, said.0);
    session.server(made, at * S + S / 5, said.1);
    session.close(made, at * S + S / 2);
}

#[test]
fn known_protocols_on_strange_ports_are_found() {
    for (port, said, severity, words) in [
        (443, SSH, Medium, "SSH"),
        (80, SSH, Medium, "the port of HTTP"),
        (53, SSH, Medium, "the port of DNS"),
        (31_337, SSH, Low, "a port of nobody's"),
        (22, HTTP, Medium, "the port of SSH"),
        (53, HTTP, Medium, "HTTP"),
    ] {
        let mut made = Made::default();
        talk(&mut made, 0, (50_000, port), said);
        let found = made.found(ID);
        assert_eq!(brief(&found), [(severity, "192.168.1.5", "198.51.100.9", Some(port))], "{said:?}");
        assert!(found[0].summary.contains(words), "{}", found[0].summary);
    }
    let mut made = Made::default();
    made.udp(0, (US, 50_000), (THEM, 4444), &dns("www.example.org", 1, None));
    made.udp(S / 10, (THEM, 4444), (US, 50_000), &dns("www.example.org", 1, Some(0)));
    assert_eq!(brief(&made.found(ID)), [(Low, "192.168.1.5", "198.51.100.9", Some(4444))]);
}

#[test]
fn again_is_counted_by_flows() {
    let mut made = Made::default();
    for number in 0..5 {
        talk(&mut made, i64::from(number) * 60, (50_000 + number, 443), SSH);
    }
    let found = made.found(ID);
    assert_eq!((found.len(), found[0].count), (1, 5));
}

#[test]
fn usual_ports_and_what_has_no_port_of_its_own_are_left_alone() {
    let mut made = Made::default();
    for (number, (port, said)) in
        [(22, SSH), (2222, SSH), (80, HTTP), (8080, HTTP), (18_080, HTTP), (49_152, HTTP), (443, HTTP)]
            .into_iter()
            .enumerate()
    {
        talk(&mut made, number as i64, (50_000 + number as u16, port), said);
    }
    // Bytes that look like nothing, on a port that is somebody's.
    talk(&mut made, 20, (51_000, 22), ("\u{1}\u{2}\u{3}", "\u{4}\u{5}\u{6}"));
    // What the server says first, as if its side had begun.
    made.udp(30 * S, (THEM, 53), (US, 50_000), &dns("www.example.org", 1, Some(0)));
    assert_eq!(made.found(ID), []);
    // A port that is usual here.
    let mut made = Made::default();
    talk(&mut made, 0, (50_000, 443), SSH);
    let settings = Settings { odd_port: Limits { usual: vec![443] }, ..Settings::default() };
    assert_eq!(made.found_with(ID, &settings), []);
}

#[test]
fn the_mixed_corpora_are_quiet() {
    for name in [
        "mix-home-lan.pcapng",
        "mix-office.pcap",
        "mix-home-alerts.pcap",
        "mix-tls-v4-v6.pcap",
        "atk-backscatter.pcap",
        "link-null-opcua.pcap",
    ] {
        let Some(found) = in_corpus(name, ID) else { return };
        assert_eq!(loud(found), [], "{name}");
    }
    // SOURCES.md: "http/get-to-ssh-server".
    let Some(found) = in_corpus("fmt-ns-le.pcap", ID) else { return };
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[test]
fn every_owner_is_at_home_and_nothing_grows() {
    for port in 0..=u16::MAX {
        for app in owner(port).map_or(&[][..], |owner| owner.1) {
            assert_eq!(judge(*app, port), None);
        }
    }
    // It keeps nothing, so that there is nothing to bound or to save.
    assert_eq!(saved(&OddPort::new(Limits::default()).save()), serde_json::Value::Null);
    assert_eq!(OddPort::new(Limits::default()).saturated(), 0);
}
