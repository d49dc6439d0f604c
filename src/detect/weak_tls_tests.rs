use super::super::wire::{MS, Wire, brief, in_corpus};
use super::*;
use Severity::{High, Low, Medium};

const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 50_000);
const SERVER: ([u8; 4], u16) = ([192, 0, 2, 7], 443);

fn hello(version: u16, cipher: u16) -> Vec<u8> {
    let (v, c) = (version.to_be_bytes(), cipher.to_be_bytes());
    let body = [&v[..], &[7; 32], &[0], &c, &[0]].concat();
    let handshake = [&[2, 0, 0, body.len() as u8][..], &body].concat();
    [&[0x16, 3, v[1].min(3), 0, handshake.len() as u8][..], &handshake].concat()
}

fn found(wire: &Wire) -> Vec<Finding> {
    wire.found_by(&mut WeakTls::new(Limits::default()), &["weak_tls"])
}

#[test]
fn each_weakness_is_found() {
    for (version, cipher, severity, words) in [
        (0x0300, 0x002f, Medium, "chose SSL 3.0"),
        (0x0301, 0x002f, Low, "chose TLS 1.0"),
        (0x0302, 0x002f, Low, "chose TLS 1.1"),
        (0x0303, 0x0005, Medium, "RC4"),
        (0x0303, 0x000a, Low, "64 bits"),
        (0x0303, 0x0009, Medium, "56 bits"),
        (0x0303, 0x0002, High, "does not encrypt"),
        (0x0303, 0x0003, High, "export"),
        (0x0303, 0x0034, Medium, "who the server is"),
    ] {
        let mut wire = Wire::default();
        wire.tcp4(0, SERVER, CLIENT, 0x18, &hello(version, cipher));
        let found = found(&wire);
        assert_eq!(brief(&found), [("weak_tls", severity, Some("192.0.2.7"), None)], "{words}");
        assert!(found[0].summary.contains(words), "{}", found[0].summary);
        assert_eq!(found[0].port, Some(443));
    }
    let mut wire = Wire::default();
    wire.tcp4(0, SERVER, CLIENT, 0x18, &[0x80, 9, 4, 0, 1, 0, 2, 0, 0, 0, 0]);
    assert!(found(&wire)[0].summary.ends_with("chose SSL 2.0"));
}

#[test]
fn one_server_is_one_finding_whoever_asks() {
    let mut wire = Wire::default();
    for client in 0..20 {
        wire.tcp4(i64::from(client) * MS, SERVER, ([10, 0, 0, client], 50_000), 0x18, &hello(0x0301, 0x002f));
    }
    let found = found(&wire);
    assert_eq!((found.len(), found[0].count), (1, 20));
}

#[test]
fn what_is_strong_and_what_is_no_servers_hello_is_left_alone() {
    let mut wire = Wire::default();
    for cipher in [0x1301, 0x1303, 0xc02f, 0xcca8, 0x009c, 0x002f, 0xc013, 0x00a8, 0xffff] {
        wire.tcp4(0, SERVER, CLIENT, 0x18, &hello(0x0303, cipher));
    }
    // A client offers TLS 1.0 for its oldest partners' sake.
    let mut client = hello(0x0301, 0x0005);
    client[5] = 1;
    wire.tcp4(0, CLIENT, SERVER, 0x18, &client);
    // Cut before the cipher; not TLS; empty.
    wire.tcp4(0, SERVER, CLIENT, 0x18, &hello(0x0301, 5)[..40]);
    wire.tcp4(0, SERVER, CLIENT, 0x18, b"HTTP/1.0 200 OK\r\n\r\n");
    wire.tcp4(0, SERVER, CLIENT, 0x10, &[]);
    // Longer than it says, so that it is no hello of SSL 2.0.
    wire.tcp4(0, SERVER, CLIENT, 0x18, &[0x80, 9, 4, 0, 1, 0, 2, 0, 0, 0, 0, 0]);
    assert_eq!(found(&wire), []);
}

#[test]
fn the_corpora_agree_with_tshark() {
    // tshark -Y tls.handshake.type==2 -T fields -e ip.src -e tls.handshake.version -e tls.handshake.ciphersuite: TLS 1.0 with
    // RC4 by two servers; TLS 1.2 with RC4 by two; and none.
    for (name, servers) in [
        (
            "mix-office.pcap",
            &[
                ("31.13.72.49", Low),
                ("31.13.72.49", Medium),
                ("88.221.154.110", Low),
                ("88.221.154.110", Medium),
            ][..],
        ),
        ("mix-many-protocols.pcap", &[("172.224.37.171", Medium), ("212.199.202.50", Medium)]),
        ("mix-tls-v4-v6.pcap", &[]),
        ("mix-home-alerts.pcap", &[]),
        ("mix-emix.pcap", &[]),
        ("atk-beacon-rat.pcap", &[]),
    ] {
        let Some(found) = in_corpus(name, &mut WeakTls::new(Limits::default())) else { return };
        let mut got: Vec<_> = found.iter().map(|f| (f.src.as_deref().unwrap(), f.severity)).collect();
        got.sort_unstable();
        assert_eq!(got, servers, "{name}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..120), cut in 0_usize..60) {
        let _ = choice(&bytes);
        let whole = hello(0x0303, 5);
        let short = choice(&whole[..cut.min(whole.len())]);
        proptest::prop_assert!(short.is_none_or(|short| short.cipher.is_none_or(|cipher| cipher == 5)));
    }
}
