use proptest::prelude::*;

use super::*;
use crate::packet::app::tls::tests::client_hello;

const WAY: Way = Way { proto: 6, src_port: 50_001, dst_port: 443, from_originator: true };

fn facts(app: App, way: Way, payloads: &[&[u8]]) -> Facts {
    let mut reader = FactReader::default();
    for payload in payloads {
        if !reader.take(app, way, payload) {
            assert_eq!(reader.kept(), 0);
            break;
        }
    }
    reader.into_facts()
}

#[test]
fn a_hello_gives_its_name_protocols_and_fingerprint_also_in_pieces() {
    let hello = client_hello();
    for cut in 1..hello.len() {
        let facts = facts(Level::Tls, WAY, &[&hello[..cut], &hello[cut..]]);
        assert_eq!(facts.sni.as_deref(), Some("example.org"));
        assert_eq!(facts.alpn.as_deref(), Some("h2"));
        // printf '1301,c02f' | sha256sum; printf '000d,002b_0403,0804' | sha256sum
        assert_eq!(facts.ja4.as_deref(), Some("t13d0204h2_c1929292aa6b_ef5f37ab036a"));
    }
}

#[test]
fn a_request_gives_host_and_agent_also_in_pieces() {
    let bytes = b"GET /a HTTP/1.1\r\nhost: example.org\r\nUser-Agent: curl/8\xff\r\nAuthorization: Basic eDp5\r\n\r\n";
    for cut in 1..bytes.len() {
        let facts = facts(Level::Http, WAY, &[&bytes[..cut], &bytes[cut..]]);
        assert_eq!(facts.http_host.as_deref(), Some("example.org"));
        assert_eq!(facts.user_agent.as_deref(), Some("curl/8\\xff"));
    }
}

#[test]
fn a_request_that_breaks_the_grammar_gives_host_and_agent_too() {
    let fields =
        "Odd: \0\x01\r\nHostname: no\r\nuser-agent:curl/8\r\nHost:  example.org \r\n\r\nHost: body\r\n\r\n";
    let many: String = (0..FIELDS).map(|n| format!("X-{n}: 1\r\n")).collect();
    for head in
        ["GET / HTTP/1.0\r\n", "GET /a;cat /etc/passwd| HTTP/1.1\r\n", &format!("GET / HTTP/1.1\r\n{many}")]
    {
        let bytes = [head, fields].concat();
        let end = bytes.find("Host: body").unwrap();
        for cut in 1..end {
            let facts = facts(Level::Http, WAY, &[&bytes.as_bytes()[..cut], &bytes.as_bytes()[cut..]]);
            assert_eq!(facts.http_host.as_deref(), Some("example.org"), "{head} {cut}");
            assert_eq!(facts.user_agent.as_deref(), Some("curl/8"), "{head} {cut}");
        }
    }
}

#[test]
fn the_first_name_asked_is_kept() {
    let dns = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\x01\0\x01";
    let udp = Way { proto: 17, dst_port: 53, ..WAY };
    assert_eq!(facts(Level::Dns, udp, &[dns]).dns_query.as_deref(), Some("example.org"));
    let tcp = [&[0, dns.len() as u8][..], dns].concat();
    assert_eq!(facts(Level::Dns, WAY, &[&tcp]).dns_query.as_deref(), Some("example.org"));
}

#[test]
fn a_request_without_end_is_given_up() {
    let mut reader = FactReader::default();
    assert!(reader.take(Level::Http, WAY, b"GET / HTTP/1.1\r\n"));
    let mut fed = 1;
    while reader.take(Level::Http, WAY, &[b'a'; 1000]) {
        assert!(reader.kept() <= FactReader::MAX_KEPT);
        fed += 1;
    }
    assert_eq!((fed, reader.kept()), (9, 0));
}

proptest! {
    #[test]
    fn taking_is_total_and_bounded(
        app in prop::sample::select(vec![Level::Tls, Level::Http, Level::Dns, Level::Nbns, Level::Ssh]),
        proto in prop::sample::select(vec![6u8, 17]),
        payloads in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 1..1500)), 1..20),
        heads in any::<bool>(),
    ) {
        let mut reader = FactReader::default();
        for (from_originator, payload) in payloads {
            let head: &[u8] = match app {
                Level::Tls if heads => b"\x16\x03\x01\x40\x00\x01\x00\x1f\x00\x03\x03",
                Level::Http if heads => b"GET / HTTP/1.1\r\nHost: ",
                _ => b"",
            };
            let wants = reader.take(app, Way { proto, from_originator, ..WAY }, &[head, &payload].concat());
            prop_assert!(reader.kept() <= FactReader::MAX_KEPT + 256);
            let Facts { sni, alpn, ja4, http_host, user_agent, dns_query } = reader.facts();
            for text in [sni, alpn, ja4, http_host, user_agent, dns_query].into_iter().flatten() {
                prop_assert!(text.len() <= text::MAX_TEXT && text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            }
            if !wants {
                prop_assert_eq!(reader.kept(), 0);
                break;
            }
        }
    }
}
