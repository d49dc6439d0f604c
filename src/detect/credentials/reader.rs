//! Reads logins out of the two directions of a text protocol, byte by byte, so that it does not matter how they are cut into
//! packets. Of a secret it keeps that there was one. Total; at most [`text::MAX_NAME`] bytes of a name and
//! [`MAX_WORD`] of a command.

use super::Login;
use super::text::{self, Base64, MAX_NAME, escaped};
use crate::packet::app::App;
use crate::packet::level::Level;

/// The longest command or mechanism that matters.
const MAX_WORD: usize = 16;

/// A word in upper case; longer than it can be, it is none.
#[derive(Debug, Clone, Copy, Default)]
struct Word {
    bytes: [u8; MAX_WORD],
    len: u8,
}

impl Word {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(usize::from(self.len)) {
            *place = byte.to_ascii_uppercase();
        }
        self.len = self.len.saturating_add(1);
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

/// What the client's next byte belongs to.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// IMAP: the tag before a command.
    Tag,
    /// A command, or in IMAP what follows the tag.
    Command,
    /// The name behind USER.
    Name,
    /// A secret up to the end of the line; whether there was a byte of it.
    Secret(bool),
    /// The mechanism behind AUTH or AUTHENTICATE.
    Mechanism,
    /// Base64 of a PLAIN login (RFC 4616); how many zero bytes came, and whether any behind the second.
    Plain(Base64, u8, bool),
    /// Base64 of a LOGIN login's name.
    LoginName(Base64),
    /// IMAP LOGIN: the name; within quotes, behind a backslash.
    ImapName { quoted: bool, escape: bool },
    /// IMAP LOGIN: the length of a literal in braces; the next line begins with the name, or the secret.
    ImapLiteral { of_secret: bool },
    /// IMAP LOGIN: the secret; whether it began.
    ImapSecret(bool),
    /// The rest of the line.
    Rest,
    /// Nothing more is read: the flow is encrypted from here on, carries mail, or is long.
    Done,
}

/// Reads one flow.
#[derive(Debug)]
pub(super) struct Reader {
    app: App,
    stage: Stage,
    word: Word,
    name: Vec<u8>,
    how: &'static str,
    /// Bytes still read of each direction, the client's first, and the number of the next one.
    ways: [(u32, Option<u32>); 2],
    telnet: Telnet,
}

/// What Telnet needs besides.
#[derive(Debug, Default)]
struct Telnet {
    /// What the server asked for last.
    asked: Asked,
    /// The end of what the server wrote, in lower case; never written while a secret is typed.
    prompt: [u8; 12],
    /// Where each direction is in a command that begins with IAC.
    iac: [Iac; 2],
    /// Whether a byte of the secret came.
    typed: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Asked {
    #[default]
    Nothing,
    Name,
    Secret,
}

/// Telnet commands (RFC 854, RFC 855).
#[derive(Debug, Clone, Copy, Default)]
enum Iac {
    #[default]
    Data,
    Command,
    Option,
    Sub,
    SubCommand,
}

impl Iac {
    /// Takes a byte; gives it back if it is data.
    fn take(&mut self, byte: u8) -> Option<u8> {
        let (next, data) = match (*self, byte) {
            (Self::Data, 255) => (Self::Command, None),
            (Self::Data, _) => (Self::Data, Some(byte)),
            (Self::Command, 251..=254) => (Self::Option, None),
            (Self::Command, 250) => (Self::Sub, None),
            (Self::Command | Self::Option, _) => (Self::Data, None),
            (Self::Sub, 255) => (Self::SubCommand, None),
            (Self::Sub, _) => (Self::Sub, None),
            (Self::SubCommand, 240) => (Self::Data, None),
            (Self::SubCommand, _) => (Self::Sub, None),
        };
        *self = next;
        data
    }
}

impl Reader {
    /// Reads at most `budget` bytes of each direction.
    pub(super) fn new(app: App, budget: u32) -> Self {
        let mut reader = Self {
            app,
            stage: Stage::Command,
            word: Word::default(),
            name: Vec::new(),
            how: "",
            ways: [(budget, None); 2],
            telnet: Telnet::default(),
        };
        reader.stage = reader.line();
        reader
    }

    pub(super) fn app(&self) -> App {
        self.app
    }

    /// Takes a payload that begins with byte number `seq` of its direction; what came before is left out.
    pub(super) fn take(
        &mut self,
        from_client: bool,
        seq: u32,
        payload: &[u8],
        found: &mut impl FnMut(Login),
    ) {
        let (left, next) = &mut self.ways[usize::from(!from_client)];
        // Numbers wrap; what is less than half of them ahead is new (RFC 793, 3.3).
        let known = next.map_or(0, |next| next.wrapping_sub(seq));
        let known = if known < 1 << 31 { known as usize } else { 0 };
        let Some(payload) = payload.get(known..).filter(|payload| !payload.is_empty()) else { return };
        let payload = &payload[..payload.len().min(*left as usize)];
        let len = (known + payload.len()) as u32;
        *next = Some(seq.wrapping_add(len));
        *left -= payload.len() as u32;
        match (self.app, from_client) {
            (Level::Telnet, true) => self.typed(payload, found),
            (Level::Telnet, false) => self.shown(payload),
            (_, true) => self.client(payload, found),
            (_, false) => {}
        }
    }

    /// What a line begins with.
    fn line(&self) -> Stage {
        if self.app == Level::Imap { Stage::Tag } else { Stage::Command }
    }

    fn client(&mut self, payload: &[u8], found: &mut impl FnMut(Login)) {
        let mut rest = payload;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match self.stage {
                Stage::Done => return,
                Stage::Rest if byte != b'\n' => {
                    rest = text::line_end(after).map_or(&[], |at| &after[at..]);
                }
                _ => {
                    self.stage = if byte == b'\n' { self.newline(found) } else { self.byte(byte, found) };
                }
            }
        }
    }

    fn byte(&mut self, byte: u8, found: &mut impl FnMut(Login)) -> Stage {
        if byte == b'\r' {
            return self.stage;
        }
        match self.stage {
            // TLS: a handshake record where a command should be.
            Stage::Tag | Stage::Command if byte == 0x16 && self.word.len == 0 => Stage::Done,
            Stage::Tag if byte == b' ' => {
                self.word.take();
                Stage::Command
            }
            Stage::Tag => {
                self.word.push(b'x');
                Stage::Tag
            }
            Stage::Command if byte == b' ' => self.command(),
            Stage::Mechanism if byte == b' ' => self.mechanism(true),
            Stage::Command | Stage::Mechanism => {
                self.word.push(byte);
                self.stage
            }
            Stage::Name => {
                self.keep(byte);
                Stage::Name
            }
            Stage::Secret(_) => Stage::Secret(true),
            Stage::Plain(mut base64, zeros, any) => match base64.take(byte) {
                Some(0) => Stage::Plain(base64, zeros.saturating_add(1), any),
                Some(byte) => {
                    if zeros == 1 {
                        self.keep(byte);
                    }
                    Stage::Plain(base64, zeros, any || zeros == 2)
                }
                None => Stage::Plain(base64, zeros, any),
            },
            Stage::LoginName(mut base64) => {
                if let Some(byte) = base64.take(byte) {
                    self.keep(byte);
                }
                Stage::LoginName(base64)
            }
            Stage::ImapName { quoted, escape } => self.imap_name(byte, quoted, escape),
            Stage::ImapLiteral { .. } | Stage::Rest | Stage::Done => self.stage,
            Stage::ImapSecret(began) => match byte {
                b' ' if !began => Stage::ImapSecret(false),
                b'{' if !began => Stage::ImapLiteral { of_secret: true },
                _ => {
                    if !began {
                        self.tell("IMAP LOGIN", found);
                    }
                    Stage::Rest
                }
            },
        }
    }

    fn imap_name(&mut self, byte: u8, quoted: bool, escape: bool) -> Stage {
        match byte {
            b'\\' if quoted && !escape => return Stage::ImapName { quoted, escape: true },
            b'"' if !quoted && self.name.is_empty() => {
                return Stage::ImapName { quoted: true, escape: false };
            }
            b'{' if !quoted && self.name.is_empty() => return Stage::ImapLiteral { of_secret: false },
            b'"' if quoted && !escape => return Stage::ImapSecret(false),
            b' ' if !quoted => return Stage::ImapSecret(false),
            _ => self.keep(byte),
        }
        Stage::ImapName { quoted, escape: false }
    }

    fn newline(&mut self, found: &mut impl FnMut(Login)) -> Stage {
        match self.stage {
            // What follows is mail.
            Stage::Command if self.app == Level::Smtp && self.word.get() == b"DATA" => return Stage::Done,
            Stage::Mechanism => return self.mechanism(false),
            Stage::Secret(true) => self.tell(self.how, found),
            Stage::Plain(_, _, true) => self.tell(self.how, found),
            Stage::LoginName(_) if !self.name.is_empty() => return Stage::Secret(false),
            Stage::ImapLiteral { of_secret: true } => return Stage::ImapSecret(false),
            Stage::ImapLiteral { of_secret: false } => {
                return Stage::ImapName { quoted: false, escape: false };
            }
            _ => {}
        }
        self.word.take();
        self.line()
    }

    /// What follows a command and a blank.
    fn command(&mut self) -> Stage {
        let word = self.word.take();
        match (self.app, word.get()) {
            (Level::Ftp | Level::Pop, b"USER") => {
                self.name.clear();
                Stage::Name
            }
            (Level::Ftp, b"PASS") => self.secret("FTP login"),
            (Level::Pop, b"PASS") => self.secret("POP3 login"),
            (Level::Pop | Level::Smtp, b"AUTH") | (Level::Imap, b"AUTHENTICATE") => Stage::Mechanism,
            (Level::Imap, b"LOGIN") => {
                self.name.clear();
                Stage::ImapName { quoted: false, escape: false }
            }
            _ => Stage::Rest,
        }
    }

    fn secret(&mut self, how: &'static str) -> Stage {
        self.how = how;
        Stage::Secret(false)
    }

    /// What follows a mechanism; on the same line, or on the next.
    fn mechanism(&mut self, same_line: bool) -> Stage {
        let word = self.word.take();
        self.name.clear();
        self.how = match (self.app, word.get()) {
            (Level::Smtp, b"PLAIN") => "SMTP AUTH PLAIN",
            (Level::Pop, b"PLAIN") => "POP3 AUTH PLAIN",
            (_, b"PLAIN") => "IMAP AUTHENTICATE PLAIN",
            (Level::Smtp, b"LOGIN") => "SMTP AUTH LOGIN",
            (Level::Pop, b"LOGIN") => "POP3 AUTH LOGIN",
            (_, b"LOGIN") => "IMAP AUTHENTICATE LOGIN",
            _ if same_line => return Stage::Rest,
            _ => return self.line(),
        };
        match word.get() {
            b"PLAIN" => Stage::Plain(Base64::default(), 0, false),
            _ => Stage::LoginName(Base64::default()),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.name.len() < MAX_NAME {
            self.name.push(byte);
        }
    }

    fn tell(&mut self, how: &'static str, found: &mut impl FnMut(Login)) {
        let name = (!self.name.is_empty()).then(|| escaped(&self.name));
        found(Login { how, name });
    }

    /// Telnet: what the client types, perhaps a character a packet.
    fn typed(&mut self, payload: &[u8], found: &mut impl FnMut(Login)) {
        for &byte in payload {
            let Some(byte) = self.telnet.iac[0].take(byte) else { continue };
            match (self.telnet.asked, byte) {
                (Asked::Nothing, _) => {}
                (Asked::Name, b'\r' | b'\n') => {
                    if !self.name.is_empty() {
                        self.telnet.asked = Asked::Nothing;
                    }
                }
                (Asked::Name, 8 | 127) => {
                    self.name.pop();
                }
                (Asked::Name, 0) => {}
                (Asked::Name, _) => self.keep(byte),
                (Asked::Secret, b'\r' | b'\n') if self.telnet.typed => {
                    self.tell("Telnet login", found);
                    self.name.clear();
                    self.telnet.asked = Asked::Nothing;
                }
                (Asked::Secret, b'\r') => self.telnet.asked = Asked::Nothing,
                // The end of the line before, behind the prompt.
                (Asked::Secret, b'\n' | 0) => {}
                (Asked::Secret, _) => self.telnet.typed = true,
            }
        }
    }

    /// Telnet: what the server shows; its prompts tell what is typed next.
    fn shown(&mut self, payload: &[u8]) {
        for &byte in payload {
            let Some(byte) = self.telnet.iac[1].take(byte) else { continue };
            // Were a secret echoed, it would be in here.
            if self.telnet.asked == Asked::Secret {
                continue;
            }
            if byte == b'\n' {
                self.telnet.prompt = [0; 12];
            }
            self.telnet.prompt.rotate_left(1);
            if let Some(last) = self.telnet.prompt.last_mut() {
                *last = byte.to_ascii_lowercase();
            }
            if byte != b':' {
                continue;
            }
            let prompt = &self.telnet.prompt;
            let asks = |words: &[&[u8]]| words.iter().any(|word| prompt.ends_with(word));
            if asks(&[b"password:", b"passwd:", b"passwort:", b"passcode:", b"password :"]) {
                self.telnet.asked = Asked::Secret;
                self.telnet.typed = false;
            } else if asks(&[b"login:", b"username:", b"user:", b"user name:", b"login :", b"account:"])
                && !asks(&[b"last login:"])
            {
                self.telnet.asked = Asked::Name;
                self.name.clear();
            }
        }
    }
}
