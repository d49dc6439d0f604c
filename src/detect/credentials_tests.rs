use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::super::dialogue::{MS, Made, S, analyse, brief, corpora, in_corpus, loud, selects};
use super::*;
use crate::detect::saved;

const US: [u8; 4] = [192, 168, 1, 5];
const THEM: [u8; 4] = [203, 0, 113, 9];

/// A session in which the client says this, cut into packets of `size` bytes, each answered by what `answer` says first.
fn session(port: u16, banner: &[u8], said: &[u8], size: usize) -> Made {
    let mut made = Made::default();
    let mut session = made.open(0, (US, 40_000), (THEM, port));
    session.server(&mut made, 5 * MS, banner);
    for (number, part) in (1..).zip(said.chunks(size)) {
        session.client(&mut made, number * 10 * MS, part);
    }
    session.close(&mut made, 100 * S);
    made
}

/// The logins in what a client says, read in packets of `size` bytes.
fn read(app: App, said: &[u8], size: usize) -> Vec<(String, Option<String>)> {
    let mut reader = Reader::new(app, 65_536);
    let mut found = Vec::new();
    let mut seq = u32::MAX - 7;
    for part in said.chunks(size) {
        reader.take(true, seq, part, &mut |login| found.push((login.how.to_owned(), login.name)));
        // Sent again.
        reader.take(true, seq, part, &mut |login| found.push((login.how.to_owned(), login.name)));
        seq = seq.wrapping_add(part.len() as u32);
    }
    found
}

fn one(how: &str, name: &str) -> Vec<(String, Option<String>)> {
    vec![(how.to_owned(), Some(name.to_owned()))]
}

#[test]
fn text_protocols_are_read_however_they_are_cut() {
    let plain = STANDARD.encode("\0jane\0s3cr3t");
    let [jane, secret] = ["jane", "s3cr3t"].map(|text| STANDARD.encode(text));
    let cases = [
        (Level::Ftp, "SYST\r\nUSER jane\r\nPASS s3cr3t\r\nLIST\r\n".into(), one("FTP login", "jane")),
        (
            Level::Pop,
            "CAPA\r\nuser jane\r\npass s3cr3t with blanks\r\nQUIT\r\n".into(),
            one("POP3 login", "jane"),
        ),
        (Level::Pop, format!("AUTH\r\nAUTH PLAIN\r\n{plain}\r\nQUIT\r\n"), one("POP3 AUTH PLAIN", "jane")),
        (Level::Pop, format!("AUTH LOGIN\r\n{jane}\r\n{secret}\r\n"), one("POP3 AUTH LOGIN", "jane")),
        (Level::Smtp, format!("EHLO a\r\nAUTH PLAIN {plain}\r\n"), one("SMTP AUTH PLAIN", "jane")),
        (Level::Smtp, format!("EHLO a\r\nAUTH LOGIN {jane}\r\n{secret}\r\n"), one("SMTP AUTH LOGIN", "jane")),
        (Level::Imap, "a1 CAPABILITY\r\na2 LOGIN jane s3cr3t\r\n".into(), one("IMAP LOGIN", "jane")),
        (Level::Imap, "a2 login \"ja\\\"ne\" \"s3cr3t\"\r\n".into(), one("IMAP LOGIN", "ja\\\"ne")),
        (Level::Imap, "a2 LOGIN {4}\r\njane {6}\r\ns3cr3t\r\n".into(), one("IMAP LOGIN", "jane")),
        (Level::Imap, format!("x AUTHENTICATE PLAIN\r\n{plain}\r\n"), one("IMAP AUTHENTICATE PLAIN", "jane")),
        (Level::Ftp, "USER j\x1b[31m\"e\r\nPASS x\r\n".into(), one("FTP login", "j\\x1b[31m\\\"e")),
        // No secret is sent, or none that can be read.
        (Level::Ftp, "USER jane\r\nPASS \r\nQUIT\r\n".into(), vec![]),
        (Level::Pop, "APOP jane c4c9334bac560ecc979e58001b3e22fb\r\n".into(), vec![]),
        (Level::Smtp, "AUTH CRAM-MD5\r\nPDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2U+\r\n".into(), vec![]),
        (Level::Smtp, "STARTTLS\r\n\x16\x03\x01\x02\0\x01\0AUTH PLAIN AGEAYg==\r\n".into(), vec![]),
        (Level::Smtp, "DATA\r\nAUTH PLAIN AGEAYg==\r\n.\r\n".into(), vec![]),
    ];
    for (app, said, expected) in cases {
        for size in [1, 2, 3, 7, 1000] {
            assert_eq!(read(app, said.as_bytes(), size), expected, "{app:?} {said:?} by {size}");
        }
    }
}

#[test]
fn telnet_is_read_a_character_a_packet() {
    let mut made = Made::default();
    let mut session = made.open(0, (US, 40_000), (THEM, 23));
    session.server(&mut made, MS, b"\xff\xfd\x18\xff\xfd\x20");
    session.client(&mut made, 2 * MS, b"\xff\xfb\x18\xff\xfa\x18\0xterm\xff\xf0");
    session.server(&mut made, 3 * MS, b"Debian GNU/Linux 12\r\nhost login: ");
    for (number, key) in (1..).zip(b"jax\x7fne\r\0") {
        session.client(&mut made, number * S, [*key]);
        session.server(&mut made, number * S + MS, [*key]);
    }
    session.server(&mut made, 20 * S, b"\r\nPassword: ");
    for (number, key) in (21..).zip(b"s3cr3t\r\0") {
        session.client(&mut made, number * S, [*key]);
    }
    session.server(&mut made, 40 * S, b"\r\nLast login: Mon Jan  1 from 192.0.2.1\r\n$ ");
    session.client(&mut made, 41 * S, b"ls\r\n");
    session.close(&mut made, 50 * S);
    let found = made.found(ID);
    assert_eq!(brief(&found), [(Severity::Medium, "192.168.1.5", "203.0.113.9", Some(23))]);
    assert!(found[0].summary.contains("\"jane\"") && found[0].count == 1, "{}", found[0].summary);
    assert!(!format!("{found:?}").contains("s3cr3t"));
}

#[test]
fn headers_binds_and_communities_are_found() {
    let basic =
        |line: &str| basic_credentials(format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n").as_bytes());
    assert_eq!(basic("Authorization: Basic dGVzdDoxMjM0"), Some(Some("test".into())));
    assert_eq!(basic("authorization:basic   dGVzdDoxMjM0"), Some(Some("test".into())));
    assert_eq!(basic("Proxy-Authorization: Basic OnNlY3JldA=="), Some(None));
    assert_eq!(basic("Authorization: Bearer dGVzdDoxMjM0"), None);
    assert_eq!(basic("X-Authorization: Basic dGVzdDoxMjM0"), None);
    assert_eq!(basic("\r\nAuthorization: Basic dGVzdDoxMjM0"), None);
    let bind = |secret: &[u8]| {
        let inner = [&[2, 1, 3, 4, 4][..], b"cn=a", &[0x80, secret.len() as u8], secret].concat();
        let outer = [&[2, 1, 1, 0x60, inner.len() as u8][..], &inner].concat();
        [&[0x30, outer.len() as u8][..], &outer].concat()
    };
    assert_eq!(text::ldap_simple(&bind(b"secret")), Some("cn=a".into()));
    assert_eq!(text::ldap_simple(&bind(b"")), None);
    let snmp = |version, community: &[u8]| {
        let inner = [&[2, 1, version, 4, community.len() as u8][..], community, &[0xa0, 0]].concat();
        [&[0x30, inner.len() as u8][..], &inner].concat()
    };
    assert!(text::snmp_community(&snmp(0, b"public")) && text::snmp_community(&snmp(1, b"x")));
    assert!(!text::snmp_community(&snmp(3, b"public")) && !text::snmp_community(&snmp(1, b"")));
}

#[test]
fn an_anonymous_login_is_info_and_hides_no_other() {
    let said = b"USER anonymous\r\nPASS me@example.com\r\nUSER jane\r\nPASS s3cr3t\r\n";
    let found = session(2121, b"220 FTP server (ProFTPD) ready.\r\n", said, 16).found(ID);
    let mut severities: Vec<_> = found.iter().map(|finding| finding.severity).collect();
    severities.sort_unstable();
    assert_eq!(severities, [Severity::Info, Severity::Medium], "{found:#?}");
}

#[test]
fn what_is_no_login_is_quiet() {
    let web = b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\nAuthorization: Basic dGVzdDoxMjM0\r\nUSER jane\r\nPASS secret\r\n";
    let mut made = session(80, b"", web, 2000);
    made.0.retain(|(_, frame)| frame.len() > 54 || frame[47] & 8 == 0);
    assert_eq!(made.found(ID), []);
    assert_eq!(session(5555, b"welcome\r\n", b"USER jane\r\nPASS secret\r\n", 40).found(ID), []);
}

#[test]
fn the_logins_of_the_corpora_are_named() {
    for (name, expected) in [
        ("atk-ftp-bruteforce.pcap", &[("192.168.56.1", "192.168.56.101", "bro")][..]),
        ("cred-telnet.pcap", &[("192.168.0.2", "192.168.0.1", "fake")]),
        ("cred-pop3.pcap", &[("192.168.0.4", "212.227.15.166", "digitalinvestigator@networksims.com")]),
        ("cred-http-basic.pcap", &[("172.24.133.205", "172.24.133.205", "test")]),
        (
            "atk-portscan-plc.pcap",
            &[
                ("10.200.1.86", "10.50.1.52", "admin"),
                ("10.200.1.193", "10.50.1.52", "USER"),
                ("10.200.1.174", "10.50.1.52", "herbert_derp"),
            ],
        ),
    ] {
        let Some(found) = in_corpus(name, ID) else { return };
        let found = loud(found);
        for (src, dst, who) in expected {
            let told = |finding: &Finding| {
                finding.src.as_deref() == Some(src)
                    && finding.dst.as_deref() == Some(dst)
                    && finding.summary.contains(&format!("\"{who}\""))
            };
            assert!(found.iter().any(told), "{name}: {src} {dst} {who}: {found:#?}");
        }
        assert!(found.len() >= expected.len());
    }
    let Some(found) = in_corpus("atk-ftp-bruteforce.pcap", ID) else { return };
    assert_eq!(found.iter().map(|finding| finding.count).collect::<Vec<_>>(), [30]);
    let Some(found) = in_corpus("mix-emix.pcap", ID) else { return };
    assert!(
        found.iter().any(|finding| finding.severity == Severity::Info && finding.summary.contains("\"ftp\""))
    );
}

#[test]
fn no_secret_of_the_corpora_is_in_findings_or_states() {
    let Some(folder) = corpora() else { return };
    let secrets: &[(&str, &[&str])] = &[
        ("cred-telnet.pcap", &["user\\", "user\"", "as \"user"]),
        ("mix-emix.pcap", &["penguin"]),
        ("cred-pop3.pcap", &["napier", "AGRpZ2l0", "bmFwaWVy"]),
        ("cred-http-basic.pcap", &["1234\"", ":1234", "dGVzdDoxMjM0"]),
        ("atk-portscan-plc.pcap", &["M0d1c0nF14G", "USER:USER", "VVNFUjpVU0VS", "YWRtaW46", "admin:admin"]),
        ("atk-ftp-bruteforce.pcap", &["PASS 1", "PASS 2"]),
    ];
    for (name, secrets) in secrets {
        let path = folder.join(name);
        let (found, state) = analyse(&path);
        let ours: Vec<_> = found.into_iter().filter(|finding| finding.detector == ID).collect();
        assert!(!ours.is_empty(), "{name}");
        ours.iter().for_each(|finding| selects(&path, finding));
        let told = format!("{ours:?} {state}");
        for secret in *secrets {
            assert!(!told.contains(secret), "{name} tells {secret}");
        }
    }
}

#[test]
fn readers_are_bounded_and_save_nothing() {
    let mut detector = Credentials::new(Limits { flows: 16, ..Limits::default() });
    for number in 0..100 {
        let reader = detector.readers.entry((1, number), 0, || Reader::new(Level::Ftp, 1000));
        reader.take(true, 1, b"USER jane\r\nPASS half a sec", &mut |_| {});
        assert!(!format!("{reader:?}").contains("half"));
    }
    assert!(detector.readers.len() <= 16 && detector.saturated() >= 84);
    assert_eq!(saved(&detector.save()), serde_json::Value::Null);
}

proptest! {
    #[test]
    fn any_bytes_are_read_and_no_secret_is_kept(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        size in 1_usize..40,
        seq: u32,
    ) {
        for app in [Level::Ftp, Level::Telnet, Level::Pop, Level::Imap, Level::Smtp] {
            let mut reader = Reader::new(app, 200);
            for part in bytes.chunks(size) {
                reader.take(false, seq, part, &mut |_| {});
                reader.take(true, seq, part, &mut |login| assert!(login.name.is_none_or(|name| name.len() < 4 * 64 + 4)));
            }
        }
        let _ = (basic_credentials(&bytes), text::ldap_simple(&bytes), text::snmp_community(&bytes));
    }

    #[test]
    fn base64_is_decoded_as_the_crate_does(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let mut base64 = text::Base64::default();
        let ours: Vec<u8> = STANDARD.encode(&bytes).bytes().filter_map(|character| base64.take(character)).collect();
        prop_assert_eq!(ours, bytes);
    }

    #[test]
    fn a_typed_secret_leaves_no_trace(secret in "[a-z0-9]{12,30}") {
        let mut ftp = Reader::new(Level::Ftp, 1000);
        ftp.take(true, 1, format!("USER jane\r\nPASS {secret}").as_bytes(), &mut |_| {});
        let mut telnet = Reader::new(Level::Telnet, 1000);
        telnet.take(false, 1, b"Password: ", &mut |_| {});
        telnet.take(true, 1, secret.as_bytes(), &mut |_| {});
        telnet.take(false, 11, secret.as_bytes(), &mut |_| {});
        let words: Vec<String> = secret.as_bytes().windows(6).map(|part| format!("{part:?}")).collect();
        let state = format!("{ftp:?} {telnet:?}");
        for word in words {
            prop_assert!(!state.contains(word.trim_matches(['[', ']'])));
        }
    }
}
