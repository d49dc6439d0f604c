//! What text tells of its protocol on any port: first lines, banners and commands that no other protocol has.

use super::bytes::{begins, contains, line, printable};
use crate::packet::level::Level;

const HTTP_METHODS: &[&[u8]] = &[
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"CONNECT ",
    b"PATCH ",
    b"TRACE ",
    b"PROPFIND ",
    b"PROPPATCH ",
    b"MKCOL ",
    b"COPY ",
    b"MOVE ",
    b"LOCK ",
    b"UNLOCK ",
    b"REPORT ",
    b"SEARCH ",
    b"M-SEARCH ",
    b"NOTIFY ",
    b"SUBSCRIBE ",
    b"UNSUBSCRIBE ",
];
const SIP_METHODS: &[&[u8]] = &[
    b"INVITE ",
    b"REGISTER ",
    b"ACK ",
    b"BYE ",
    b"CANCEL ",
    b"OPTIONS ",
    b"INFO ",
    b"PRACK ",
    b"SUBSCRIBE ",
    b"NOTIFY ",
    b"UPDATE ",
    b"MESSAGE ",
    b"REFER ",
    b"PUBLISH ",
];
const RTSP_METHODS: &[&[u8]] = &[
    b"DESCRIBE ",
    b"SETUP ",
    b"PLAY ",
    b"PAUSE ",
    b"TEARDOWN ",
    b"ANNOUNCE ",
    b"OPTIONS ",
    b"GET_PARAMETER ",
    b"SET_PARAMETER ",
    b"RECORD ",
    b"REDIRECT ",
];

fn has_method(line: &[u8], methods: &[&[u8]]) -> bool {
    methods.iter().any(|method| line.starts_with(method))
}

/// What HTTP, SIP, RTSP and their kin have in common: a first line that names the protocol at one end.
pub(super) fn like_http(p: &[u8]) -> Option<Level> {
    if p.starts_with(b"HTTP/1.") {
        let is_status = matches!(
            p.get(7..13),
            Some([b'0' | b'1', b' ', b'1'..=b'5', b'0'..=b'9', b'0'..=b'9', b' ' | b'\r'])
        );
        return is_status.then_some(Level::Http);
    }
    if p.starts_with(b"SIP/2.0 ") {
        return Some(Level::Sip);
    }
    if p.starts_with(b"RTSP/1.0 ") {
        return Some(Level::Rtsp);
    }
    if p.starts_with(b"PRI * HTTP/2.0\r\n") {
        return Some(Level::Http2);
    }
    if !p.first()?.is_ascii_uppercase() {
        return None;
    }
    let line = line(p);
    if line.ends_with(b" SIP/2.0") && has_method(line, SIP_METHODS) {
        return Some(Level::Sip);
    }
    if line.ends_with(b" RTSP/1.0") && has_method(line, RTSP_METHODS) {
        return Some(Level::Rtsp);
    }
    let method = HTTP_METHODS.iter().find(|method| line.starts_with(method))?;
    if line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0") {
        return Some(Level::Http);
    }
    // A long address may go on in the next segment.
    let target = &line[method.len()..];
    let is_cut = line.len() == p.len().min(512) && line.len() >= 64;
    let begins = target.starts_with(b"/") || begins(target, b"http://");
    (is_cut && begins && printable(target)).then_some(Level::Http)
}

/// The protocol of a payload that begins with text.
pub(super) fn tell(p: &[u8]) -> Option<Level> {
    if p.starts_with(b"SSH-2.") || p.starts_with(b"SSH-1.") {
        return Some(Level::Ssh);
    }
    if p.starts_with(b"RFB 00") && p.len() >= 12 && p[7] == b'.' && p[11] == b'\n' {
        return Some(Level::Vnc);
    }
    if super::tcp::is_opcua(p) {
        return Some(Level::OpcUa);
    }
    if let Some(level) = like_http(p) {
        return Some(level);
    }
    let line = line(p);
    // All of these are lines, and lines end.
    let is_line =
        p.get(line.len()..).is_some_and(|rest| rest.starts_with(b"\r\n") || rest.starts_with(b"\n"));
    if !is_line || !printable(line) {
        return None;
    }
    match p[0] {
        b'0'..=b'9' => reply(line),
        b'*' => {
            if is_resp_array(p) {
                Some(Level::Redis)
            } else {
                imap_untagged(line)
            }
        }
        b'+' => {
            if line == b"+PONG" {
                Some(Level::Redis)
            } else {
                begins(line, b"+OK ").then_some(Level::Pop)
            }
        }
        b':' => is_irc_reply(line).then_some(Level::Irc),
        b'<' => contains(line, b"http://etherx.jabber.org/streams").then_some(Level::Xmpp),
        _ => command(line).or_else(|| is_imap_command(line).then_some(Level::Imap)),
    }
}

/// Three digits and a text that says whose they are (RFC 959, RFC 5321).
fn reply(line: &[u8]) -> Option<Level> {
    let (code, rest) = (line.get(..3)?, line.get(4..)?);
    if !code.iter().all(u8::is_ascii_digit) || !matches!(line[3], b' ' | b'-') {
        return None;
    }
    match code {
        b"220" => {
            if contains(rest, b"ftp") {
                Some(Level::Ftp)
            } else {
                (contains(rest, b"smtp") || contains(rest, b" mail ")).then_some(Level::Smtp)
            }
        }
        b"331" => contains(rest, b"password").then_some(Level::Ftp),
        b"227" => begins(rest, b"entering passive mode (").then_some(Level::Ftp),
        b"229" => begins(rest, b"entering extended passive mode (").then_some(Level::Ftp),
        b"334" => matches!(rest, b"VXNlcm5hbWU6" | b"UGFzc3dvcmQ6").then_some(Level::Smtp),
        b"354" => contains(rest, b"<crlf>.<crlf>").then_some(Level::Smtp),
        b"200" | b"201" => contains(rest, b"nntp").then_some(Level::Nntp),
        _ => None,
    }
}

/// Commands that only one protocol has.
fn command(line: &[u8]) -> Option<Level> {
    const WHOLE: &[(&[u8], Level)] = &[
        (b"SYST", Level::Ftp),
        (b"PASV", Level::Ftp),
        (b"EPSV", Level::Ftp),
        (b"FEAT", Level::Ftp),
        (b"TYPE I", Level::Ftp),
        (b"TYPE A", Level::Ftp),
        (b"AUTH TLS", Level::Ftp),
        (b"UIDL", Level::Pop),
        (b"CAPA", Level::Pop),
        (b"STLS", Level::Pop),
        (b"AUTH LOGIN", Level::Smtp),
        (b"MODE READER", Level::Nntp),
    ];
    const START: &[(&[u8], Level)] = &[
        (b"EHLO ", Level::Smtp),
        (b"HELO ", Level::Smtp),
        (b"LHLO ", Level::Smtp),
        (b"MAIL FROM:", Level::Smtp),
        (b"RCPT TO:", Level::Smtp),
        (b"APOP ", Level::Pop),
        (b"NICK ", Level::Irc),
    ];
    let whole = WHOLE.iter().find(|(what, _)| line.eq_ignore_ascii_case(what));
    whole.or_else(|| START.iter().find(|(what, _)| begins(line, what))).map(|&(_, level)| level)
}

fn imap_untagged(line: &[u8]) -> Option<Level> {
    let rest = line.strip_prefix(b"* ")?;
    let greets = [&b"OK "[..], b"PREAUTH "].iter().any(|word| begins(rest, word)) && contains(rest, b"imap");
    (greets || begins(rest, b"CAPABILITY IMAP4") || begins(rest, b"OK [CAPABILITY IMAP4"))
        .then_some(Level::Imap)
}

/// A tag and a command (RFC 9051, 6).
pub(super) fn is_imap_command(line: &[u8]) -> bool {
    const COMMANDS: &[&[u8]] = &[
        b"CAPABILITY",
        b"LOGIN ",
        b"AUTHENTICATE ",
        b"SELECT ",
        b"EXAMINE ",
        b"STARTTLS",
        b"UID FETCH ",
        b"UID SEARCH ",
    ];
    let Some(tag) = line.iter().position(|&byte| byte == b' ').filter(|&tag| (1..=16).contains(&tag)) else {
        return false;
    };
    let rest = &line[tag + 1..];
    line[..tag].iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'.')
        && COMMANDS.iter().any(|command| {
            if command.ends_with(b" ") { begins(rest, command) } else { rest.eq_ignore_ascii_case(command) }
        })
}

fn is_irc_reply(line: &[u8]) -> bool {
    let mut words = line.split(|&byte| byte == b' ').skip(1);
    matches!(words.next(), Some(b"001" | b"NOTICE" | b"PRIVMSG" | b"JOIN")) && words.next().is_some()
}

/// An array of bulk strings, as every Redis client sends (RESP).
fn is_resp_array(p: &[u8]) -> bool {
    let number = |p: &[u8]| p.iter().take(7).take_while(|byte| byte.is_ascii_digit()).count();
    let count = number(&p[1..]);
    let Some(rest) = p.get(1 + count..).and_then(|rest| rest.strip_prefix(b"\r\n$")) else { return false };
    let len = number(rest);
    count > 0 && len > 0 && rest[len..].starts_with(b"\r\n")
}
