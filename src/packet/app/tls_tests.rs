use proptest::prelude::*;

use super::*;

/// A client's hello with a name, two protocols and TLS 1.3, in one record.
pub(in crate::packet::app) fn client_hello() -> Vec<u8> {
    let mut extensions = Vec::new();
    let mut push = |kind: u16, body: &[u8]| {
        extensions.extend(kind.to_be_bytes());
        extensions.extend((body.len() as u16).to_be_bytes());
        extensions.extend(body);
    };
    push(0, b"\0\x0e\0\0\x0bexample.org");
    push(16, b"\0\x0c\x02h2\x08http/1.1");
    push(13, b"\0\x04\x04\x03\x08\x04");
    push(43, b"\x04\x03\x04\x03\x03");
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend(b"\0\0\x04\x13\x01\xc0\x2f\x01\0");
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    record(&message(1, &body))
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u32).to_be_bytes();
    [&[kind], &len[1..], body].concat()
}

fn record(body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u16).to_be_bytes();
    [&[0x16, 3, 1][..], &len, body].concat()
}

fn read(payloads: &[&[u8]]) -> (Vec<String>, bool) {
    let mut reader = Reader::new(4096);
    let mut found = Vec::new();
    let mut wants = true;
    for payload in payloads {
        wants = reader.take(payload, |message| found.push(format!("{message:?}")));
        assert!(reader.kept() <= 4096);
    }
    (found, wants)
}

#[test]
fn a_hello_is_read_however_it_is_cut() {
    let hello = client_hello();
    let (whole, _) = read(&[&hello]);
    assert_eq!(whole.len(), 1);
    let expected = ClientHello {
        legacy_version: version::TLS_1_2,
        versions: vec![0x0304, 0x0303],
        ciphers: vec![0x1301, 0xc02f],
        extensions: vec![0, 16, 13, 43],
        server_name: Some(b"example.org"),
        alpn: vec![b"h2", b"http/1.1"],
        signatures: vec![0x0403, 0x0804],
    };
    assert_eq!(whole[0], format!("{:?}", Handshake::Client(expected.clone())));
    assert_eq!(expected.version(), version::TLS_1_3);
    for cut in 1..hello.len() {
        assert_eq!(read(&[&hello[..cut], &hello[cut..]]).0, whole);
        if cut < hello.len() - 5 {
            // The same message in two records.
            let (first, second) = (record(&hello[5..5 + cut]), record(&hello[5 + cut..]));
            assert_eq!(read(&[&first, &second]).0, whole);
        }
    }
}

#[test]
fn a_servers_choice_and_certificates_are_read() {
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    body.extend(b"\0\xc0\x2f\0\0\x0f\0\x2b\0\x02\x03\x04\0\x10\0\x05\0\x03\x02h2");
    let all = [message(2, &body), message(11, b"\0\0\x09\0\0\x02ab\0\0\x01c"), message(14, b"")].concat();
    let bytes = [record(&all), b"\x14\x03\x03\0\x01\x01".to_vec()].concat();
    let (found, wants) = read(&[&bytes]);
    let server = Handshake::Server(ServerHello { version: 0x0304, cipher: 0xc02f, alpn: Some(b"h2") });
    let expected = [server, Handshake::Certificates(vec![b"ab", b"c"]), Handshake::Other(14)];
    assert_eq!(found, expected.map(|message| format!("{message:?}")));
    assert!(!wants);
}

#[test]
fn a_message_past_the_bound_ends_the_reading() {
    let huge = message(11, &vec![0; 5000]);
    let (found, wants) = read(&[&record(&huge)[..100]]);
    assert_eq!((found.len(), wants), (0, false));
}

proptest! {
    #[test]
    fn reading_is_total(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let refs: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        read(&refs);
        let mut hello = client_hello();
        for (index, byte) in flips {
            let at = index.index(hello.len());
            hello[at] = byte;
        }
        read(&[&hello, &hello]);
    }
}
