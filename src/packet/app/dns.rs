//! A view of DNS messages (RFC 1035), and of mDNS (RFC 6762), LLMNR (RFC 4795) and NBNS (RFC 1002) ones, which share the form.
//!
//! Total and without allocation: names are read in place, pointers lead only backwards, so that every walk ends. Written
//! here because every DNS packet is looked at by detectors, and a parser that builds a tree of the whole message costs more
//! than the rest of a packet's analysis; the tests hold it against `simple-dns`.

use super::bytes::{be16, be32};
use super::text;

/// Record types and classes that are named here.
#[allow(missing_docs, reason = "the names say it")]
pub mod kind {
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const NULL: u16 = 10;
    pub const PTR: u16 = 12;
    pub const MX: u16 = 15;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    /// NBNS: a name.
    pub const NB: u16 = 32;
    pub const SRV: u16 = 33;
    pub const OPT: u16 = 41;
    pub const HTTPS: u16 = 65;
    pub const ANY: u16 = 255;
}

/// Response code: no such name.
pub const NXDOMAIN: u8 = 3;

/// Labels that a name may have: 255 bytes of the shortest ones (RFC 1035, 3.1).
const MAX_LABELS: usize = 128;
/// Bytes of a name as sent (RFC 1035, 3.1), lengths and the root included.
const MAX_NAME: usize = 255;
/// Pointers that are followed in one name.
const MAX_JUMPS: usize = 32;

/// A message whose header and first question (if it has one) could be read.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// The identifier that an answer repeats.
    pub id: u16,
    /// Whether it is a response.
    pub is_response: bool,
    /// 0 query, 4 notify, 5 update or, in NBNS, registration.
    pub opcode: u8,
    /// The sender is an authority for the name.
    pub is_authoritative: bool,
    /// It was cut to fit a datagram.
    pub is_truncated: bool,
    /// Recursion was asked for.
    pub wants_recursion: bool,
    /// 0 no error, 2 server failure, [`NXDOMAIN`], 5 refused; without the upper bits that EDNS adds.
    pub rcode: u8,
    /// How many questions the header claims.
    pub questions: u16,
    /// How many answers the header claims.
    pub answers: u16,
    /// How many authority records the header claims.
    pub authorities: u16,
    /// How many additional records the header claims.
    pub additionals: u16,
    /// The first question.
    pub question: Option<Question<'a>>,
    records_at: Option<usize>,
}

/// A question.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What it is about.
    pub name: Name<'a>,
    /// The type asked for, see [`kind`].
    pub kind: u16,
    /// The class, with mDNS's uppermost bit.
    pub class: u16,
}

/// The section a record is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// It answers the question.
    Answer,
    /// It names an authority.
    Authority,
    /// It is additional.
    Additional,
}

/// A resource record.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Where it stands.
    pub section: Section,
    /// Its owner.
    pub name: Name<'a>,
    /// Its type, see [`kind`].
    pub kind: u16,
    /// The class, with mDNS's uppermost bit.
    pub class: u16,
    /// Time to live, seconds.
    pub ttl: u32,
    /// Its data, as captured.
    pub data: &'a [u8],
    message: &'a [u8],
    data_at: usize,
}

impl<'a> Record<'a> {
    /// The name that a `CNAME`, `NS` or `PTR` record's data are.
    pub fn data_name(&self) -> Option<Name<'a>> {
        Name::read(self.message, self.data_at).map(|(name, _)| name)
    }
}

/// A name that was checked once: its walk ends within the message, 255 bytes and 128 labels.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    message: &'a [u8],
    at: usize,
    len: u8,
    labels: u8,
}

impl<'a> Name<'a> {
    /// The name at an offset, and the offset behind it.
    fn read(message: &'a [u8], at: usize) -> Option<(Self, usize)> {
        let (mut here, mut end, mut len, mut labels, mut jumps) = (at, None, 1, 0, 0);
        loop {
            let &first = message.get(here)?;
            match first {
                0 => {
                    let name = Self { message, at, len: u8::try_from(len).ok()?, labels };
                    return Some((name, end.unwrap_or(here + 1)));
                }
                1..=63 => {
                    let size = usize::from(first);
                    message.get(here + 1..here + 1 + size)?;
                    here += 1 + size;
                    len += 1 + size;
                    labels += 1;
                    if len > MAX_NAME || usize::from(labels) > MAX_LABELS {
                        return None;
                    }
                }
                192.. => {
                    let to = usize::from(be16(message, here)? & 0x3fff);
                    end.get_or_insert(here + 2);
                    jumps += 1;
                    // Backwards only; a pointer into the header cannot lead to a name.
                    if to >= here || to < 12 || jumps > MAX_JUMPS {
                        return None;
                    }
                    here = to;
                }
                _ => return None,
            }
        }
    }

    /// Its labels as sent, leftmost first.
    pub fn labels(self) -> impl Iterator<Item = &'a [u8]> {
        let mut here = self.at;
        let mut left = self.labels;
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            // `read` went this way before, so it ends.
            loop {
                let &first = self.message.get(here)?;
                if first >= 192 {
                    here = usize::from(be16(self.message, here)? & 0x3fff);
                } else {
                    let label = self.message.get(here + 1..here + 1 + usize::from(first))?;
                    here += 1 + usize::from(first);
                    return Some(label);
                }
            }
        })
    }

    /// How many labels it has; the root has none.
    pub fn depth(self) -> usize {
        usize::from(self.labels)
    }

    /// Its length as sent without compression, bytes: 1 for the root, at most 255.
    pub fn wire_len(self) -> usize {
        usize::from(self.len)
    }

    /// Its text as it was sent, without a dot at the end (the root is `.`); other than printable ASCII, and dots and
    /// backslashes within a label, as `\xNN`. At most [`text::MAX_TEXT`] bytes.
    pub fn text(self) -> Box<str> {
        let mut out = String::with_capacity(usize::from(self.len));
        self.write(&mut out);
        out.into_boxed_str()
    }

    /// Appends its text to an empty string, for those who keep one to save the allocation.
    pub fn write(self, out: &mut String) {
        for (at, label) in self.labels().enumerate() {
            if at > 0 {
                if out.len() == text::MAX_TEXT {
                    return;
                }
                out.push('.');
            }
            for part in label.split_inclusive(|&byte| byte == b'.') {
                let (plain, dot) = part.strip_suffix(b".").map_or((part, false), |plain| (plain, true));
                if !text::escape(out, plain) {
                    return;
                }
                if dot {
                    if out.len() + 4 > text::MAX_TEXT {
                        return;
                    }
                    out.push_str("\\x2e");
                }
            }
        }
        if self.labels == 0 {
            out.push('.');
        }
    }

    /// The NetBIOS name that its first label encodes (RFC 1001, 14.1): fifteen bytes padded with blanks, and the suffix.
    pub fn netbios(self) -> Option<([u8; 15], u8)> {
        let label: &[u8; 32] = self.labels().next()?.try_into().ok()?;
        let mut all = [0; 16];
        for (byte, pair) in all.iter_mut().zip(label.chunks_exact(2)) {
            let [high, low] = [pair[0].wrapping_sub(b'A'), pair[1].wrapping_sub(b'A')];
            if high > 15 || low > 15 {
                return None;
            }
            *byte = high << 4 | low;
        }
        let (name, suffix) = (*all.first_chunk()?, all[15]);
        Some((name, suffix))
    }

    /// A NetBIOS name as text, `WORKGROUP<1d>`, if it is one; else as [`Name::text`].
    pub fn netbios_text(self) -> Box<str> {
        let Some((name, suffix)) = self.netbios() else { return self.text() };
        let padding: &[char] = &[' ', '\0'];
        let mut out = String::with_capacity(20);
        let end =
            name.iter().rposition(|&byte| !padding.contains(&char::from(byte))).map_or(0, |last| last + 1);
        text::escape(&mut out, &name[..end]);
        out.push_str(&format!("<{suffix:02x}>"));
        out.into_boxed_str()
    }
}

impl<'a> Message<'a> {
    /// The message that a datagram is; its bytes may be cut behind the first question.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let header: &[u8; 12] = bytes.first_chunk()?;
        let flags = u16::from_be_bytes([header[2], header[3]]);
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let mut message = Self {
            bytes,
            id: count(0),
            is_response: flags & 0x8000 != 0,
            opcode: (flags >> 11 & 15) as u8,
            is_authoritative: flags & 0x0400 != 0,
            is_truncated: flags & 0x0200 != 0,
            wants_recursion: flags & 0x0100 != 0,
            rcode: (flags & 15) as u8,
            questions: count(4),
            answers: count(6),
            authorities: count(8),
            additionals: count(10),
            question: None,
            records_at: Some(12),
        };
        if message.questions > 0 {
            let (question, end) = Question::read(bytes, 12)?;
            message.question = Some(question);
            message.records_at = Some(end);
            for _ in 1..message.questions {
                let next = message.records_at.and_then(|at| Question::read(bytes, at));
                message.records_at = next.map(|(_, end)| end);
                if next.is_none() {
                    break;
                }
            }
        }
        Some(message)
    }

    /// The first message of a TCP segment that begins with its length (RFC 1035, 4.2.2).
    pub fn read_tcp(bytes: &'a [u8]) -> Option<Self> {
        let len = usize::from(be16(bytes, 0)?);
        let rest = bytes.get(2..)?;
        Self::read(&rest[..rest.len().min(len)])
    }

    /// Its records as far as they were captured and can be read.
    pub fn records(&self) -> impl Iterator<Item = Record<'a>> {
        let bytes = self.bytes;
        let mut at = self.records_at;
        let [answers, authorities, additionals] =
            [self.answers, self.authorities, self.additionals].map(usize::from);
        let sections = std::iter::repeat_n(Section::Answer, answers)
            .chain(std::iter::repeat_n(Section::Authority, authorities))
            .chain(std::iter::repeat_n(Section::Additional, additionals));
        // Each record takes at least eleven bytes, so this ends with them.
        sections.map_while(move |section| {
            let (record, end) = Record::read(bytes, at?, section)?;
            at = Some(end);
            Some(record)
        })
    }

    /// Whether it is so well formed that it hardly can be anything else: what may be asked of payloads on any port.
    pub(super) fn is_plain(&self) -> bool {
        let flags_spare = self.bytes.get(3).is_none_or(|&byte| byte & 0x40 != 0);
        let counts = [self.questions, self.answers, self.authorities, self.additionals];
        if flags_spare
            || !matches!(self.opcode, 0 | 4..=8)
            || self.rcode > 10
            || counts.iter().any(|&n| n > 300)
        {
            return false;
        }
        if !self.is_response && (self.rcode != 0 || self.is_authoritative) && self.opcode == 0 {
            return false;
        }
        let Some(question) = self.question else {
            // mDNS answers without repeating the question.
            return self.is_response
                && self.answers > 0
                && self.records().next().is_some_and(|record| record.is_plain());
        };
        // One question, or mDNS's several.
        self.questions <= 32
            && is_plain_class(question.class)
            && is_plain_kind(question.kind)
            && (self.answers == 0
                || self.is_truncated
                || self.records().next().is_none_or(|record| record.is_plain()))
    }
}

impl Record<'_> {
    fn is_plain(&self) -> bool {
        (is_plain_class(self.class) || self.kind == kind::OPT) && is_plain_kind(self.kind)
    }
}

/// Internet, Chaos, Hesiod, none, any; with or without mDNS's bit.
fn is_plain_class(class: u16) -> bool {
    matches!(class & 0x7fff, 1 | 3 | 4 | 254 | 255)
}

/// A type that is assigned (IANA, DNS parameters).
fn is_plain_kind(kind: u16) -> bool {
    matches!(kind, 1..=66 | 99..=110 | 128 | 249..=262 | 32768..=32769)
}

impl<'a> Question<'a> {
    fn read(bytes: &'a [u8], at: usize) -> Option<(Self, usize)> {
        let (name, end) = Name::read(bytes, at)?;
        let question = Self { name, kind: be16(bytes, end)?, class: be16(bytes, end + 2)? };
        Some((question, end + 4))
    }
}

impl<'a> Record<'a> {
    fn read(bytes: &'a [u8], at: usize, section: Section) -> Option<(Self, usize)> {
        let (name, end) = Name::read(bytes, at)?;
        let (kind, class) = (be16(bytes, end)?, be16(bytes, end + 2)?);
        let (ttl, len) = (be32(bytes, end + 4)?, be16(bytes, end + 8)?);
        let data_at = end + 10;
        let stop = data_at + usize::from(len);
        let data = bytes.get(data_at..stop.min(bytes.len()))?;
        Some((Self { section, name, kind, class, ttl, data, message: bytes, data_at }, stop))
    }
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
