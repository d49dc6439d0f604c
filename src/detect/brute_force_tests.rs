use proptest::prelude::*;

use super::super::dialogue::{MS, Made, S, brief, in_corpus};
use super::*;
use crate::detect::saved;

const EVIL: [u8; 4] = [198, 51, 100, 7];
const US: [u8; 4] = [192, 168, 1, 5];

/// An SSH session that fails, on a port of its own; `sent` is what the client sends in all.
fn ssh(made: &mut Made, at: Nanos, port: u16, sent: usize, received: usize) {
    let mut session = made.open(at, (EVIL, port), (US, 2222));
    session.server(made, at + 5 * MS, b"SSH-2.0-OpenSSH_9.6\r\n");
    session.client(made, at + 6 * MS, b"SSH-2.0-libssh_0.9\r\n");
    session.client(made, at + 7 * MS, vec![0xa5; sent]);
    session.server(made, at + 8 * MS, vec![0x5a; received.min(1400)]);
    for number in 0..received / 1400 {
        session.server(made, at + 10 * MS + number as i64, vec![0x5a; 1400]);
    }
    session.close(made, at + 2 * S);
}

#[test]
fn the_attacks_of_the_corpora_are_named() {
    let Some(found) = in_corpus("atk-ftp-bruteforce.pcap", ID) else { return };
    assert_eq!(brief(&found), [(Severity::Medium, "192.168.56.1", "192.168.56.101", Some(21))]);
    assert!(found[0].count >= 25, "{found:?}");
    let Some(found) = in_corpus("atk-ssh-hydra.pcap", ID) else { return };
    assert_eq!(brief(&found), [(Severity::Medium, "192.168.1.2", "192.168.1.3", Some(22))]);
}

#[test]
fn ssh_on_a_strange_port_quick_and_slow() {
    for (tries, gap) in [(7, 4), (22, 40)] {
        let mut made = Made::default();
        for number in 0..tries {
            ssh(
                &mut made,
                i64::from(number) * gap * S,
                30_000 + number,
                900 + usize::from(number % 5) * 8,
                1200,
            );
        }
        let found = made.found(ID);
        assert_eq!(
            brief(&found),
            [(Severity::Medium, "198.51.100.7", "192.168.1.5", Some(2222))],
            "{tries} {gap}"
        );
    }
}

#[test]
fn work_over_ssh_is_none() {
    let mut made = Made::default();
    for number in 0..30_u16 {
        // Too few and too seldom; of very different sizes; with an answer that only success gives.
        if number < 5 {
            ssh(&mut made, i64::from(number) * 60 * S, 30_000 + number, 900, 1200);
        }
        ssh(&mut made, 10_000 * S + i64::from(number) * S, 31_000 + number, 200 << (number % 9), 1200);
        ssh(&mut made, 20_000 * S + i64::from(number) * S, 32_000 + number, 900, 9000);
    }
    assert_eq!(made.found(ID), []);
}

#[test]
fn refusals_within_one_session_count() {
    let mut made = Made::default();
    let mut session = made.open(0, (EVIL, 40_000), (US, 2121));
    session.server(&mut made, 5 * MS, b"220 FTP server ready.\r\n");
    for number in 1..=8 {
        let at = number * S;
        session.client(&mut made, at, b"USER root\r\n");
        session.server(&mut made, at + MS, b"331 Password required for root.\r\n");
        session.client(&mut made, at + 2 * MS, format!("PASS guess{number}\r\n"));
        session.server(&mut made, at + 3 * MS, b"530 Login incorrect.\r\n");
    }
    session.close(&mut made, 20 * S);
    let found = made.found(ID);
    assert_eq!(brief(&found), [(Severity::Medium, "198.51.100.7", "192.168.1.5", Some(2121))]);
    assert_eq!((found[0].count, found[0].observed), (8, 8.0));
}

#[test]
fn a_few_mistakes_are_none_though_each_frame_is_seen_twice() {
    let mut made = Made::default();
    for number in 0..5_u16 {
        let at = i64::from(number) * S;
        let mut session = made.open(at, (EVIL, 40_000 + number), (US, 21));
        session.server(&mut made, at + 5 * MS, b"220 FTP server ready.\r\n");
        session.client(&mut made, at + 6 * MS, b"USER root\r\n");
        session.server(&mut made, at + 7 * MS, b"530 Please login with USER and PASS.\r\n");
        session.server(&mut made, at + 8 * MS, b"530 Login incorrect.\r\n");
        session.close(&mut made, at + 9 * MS);
    }
    made.0 = made.0.iter().flat_map(|frame| [frame.clone(), frame.clone()]).collect();
    assert_eq!(made.found(ID), []);
}

#[test]
fn each_protocol_says_no_in_its_own_way() {
    let smb2 =
        [&[0, 0, 0, 73][..], b"\xfeSMB", &[64, 0, 0, 0], &0xc000_006d_u32.to_le_bytes(), &[1, 0], &[0; 50]]
            .concat();
    let more =
        [&[0, 0, 0, 73][..], b"\xfeSMB", &[64, 0, 0, 0], &0xc000_0016_u32.to_le_bytes(), &[1, 0], &[0; 50]]
            .concat();
    let ldap = |code| [0x30, 12, 2, 1, 1, 0x61, 7, 10, 1, code, 4, 0, 4, 0];
    let cases: &[(App, &[u8], bool)] = &[
        (Level::Smtp, b"535 5.7.8 Error: authentication failed\r\n", true),
        (Level::Smtp, b"334 UGFzc3dvcmQ6\r\n", false),
        (Level::Pop, b"-ERR [AUTH] Authentication failed\r\n", true),
        (Level::Pop, b"-ERR unknown command\r\n", false),
        (Level::Imap, b"a1 NO [AUTHENTICATIONFAILED] Authentication failed.\r\n", true),
        (Level::Imap, b"a1 OK LOGIN completed\r\n", false),
        (Level::Telnet, b"\r\nLogin incorrect\r\nlogin: ", true),
        (Level::Telnet, b"\r\nLast login: Mon\r\n", false),
        (Level::Smb2, &smb2, true),
        (Level::Smb2, &more, false),
        (Level::Ldap, &ldap(49), true),
        (Level::Ldap, &ldap(0), false),
        (Level::Mysql, b"\x48\0\0\x02\xff\x15\x04#28000Access denied", true),
        (Level::Postgres, b"E\0\0\0\x61SFATAL\0C28P01\0Mpassword\0", true),
        (Level::Redis, b"-WRONGPASS invalid username-password pair\r\n", true),
        (Level::Http, b"HTTP/1.1 401 Unauthorized\r\n", false),
    ];
    for (app, payload, refused) in cases {
        assert_eq!(is_refusal(*app, payload), *refused, "{app:?} {payload:?}");
    }
}

#[test]
fn http_basic_counts_when_it_was_refused() {
    let mut made = Made::default();
    let mut session = made.open(0, (EVIL, 40_000), (US, 8080));
    for number in 1..=8 {
        let at = number * S;
        let secret = ["dTphYQ==", "dTphYg=="][number as usize % 2];
        session.client(
            &mut made,
            at,
            format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {secret}\r\n\r\n"),
        );
        session.server(&mut made, at + MS, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    }
    session.close(&mut made, 20 * S);
    assert_eq!(made.found(ID).len(), 1);
    // A browser's first request has no credentials.
    let mut made = Made::default();
    let mut session = made.open(0, (EVIL, 40_000), (US, 8080));
    for number in 1..=8 {
        session.client(&mut made, number * S, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        session.server(&mut made, number * S + MS, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    }
    session.close(&mut made, 20 * S);
    assert_eq!(made.found(ID), []);
}

#[test]
fn tries_are_bounded_and_survive_a_restart() {
    let mut detector = BruteForce::new(Limits { pairs: 16, ..Limits::default() });
    for number in 0..100 {
        let tries = detector.tries.entry((Addr::v4(EVIL), Addr::v4(US), number), 0, Tries::default);
        for at in 0..200 {
            tries.sessions.add(at, 5, KEPT);
        }
        assert!(tries.sessions.len() <= KEPT);
    }
    assert!(detector.tries.len() <= 16 && detector.saturated() >= 84);
    let mut other = BruteForce::new(Limits::default());
    other.restore(saved(&detector.save()));
    assert_eq!(other.tries.len(), detector.tries.len());
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        for number in 0..=255 {
            if let Some(app) = Level::from_number(number) {
                let _ = is_refusal(app, &bytes);
            }
        }
    }
}
