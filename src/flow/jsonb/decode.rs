//! JSONB bytes to any serde value.

use std::borrow::Cow;
use std::fmt::Display;

use serde::de::value::{CowStrDeserializer, MapAccessDeserializer};
use serde::de::{self, Deserialize, DeserializeSeed, Visitor};

use super::{MAX_DEPTH, kind};

/// Bytes that are not the JSONB wanted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end before the element does.
    #[error("cannot read JSONB: the element is cut")]
    Incomplete,
    /// No JSONB at all.
    #[error("cannot read JSONB: {0}")]
    Malformed(&'static str),
    /// Sound JSONB, of another shape than the one asked for.
    #[error("cannot read JSONB as what it should be: {0}")]
    Mismatch(String),
}

impl de::Error for DecodeError {
    fn custom<T: Display>(message: T) -> Self {
        Self::Mismatch(message.to_string())
    }
}

/// Reads the element at the start of `bytes`; returns it and its length. What follows it is not looked at.
pub fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<(T, usize), DecodeError> {
    let (element, len) = Element::split(bytes, 0)?;
    Ok((T::deserialize(element)?, len))
}

/// The length of the object at the start of `bytes`, header included, by what its header says: the bytes at hand may be
/// fewer. [`DecodeError::Incomplete`] if not even the header is whole.
pub fn object_len(bytes: &[u8]) -> Result<u64, DecodeError> {
    match Head::read(bytes)? {
        Head { kind: kind::OBJECT, width, payload } => {
            payload.checked_add(width as u64).ok_or(DecodeError::Malformed("an object's size is absurd"))
        }
        _ => Err(DecodeError::Malformed("not an object")),
    }
}

struct Head {
    kind: u8,
    width: usize,
    payload: u64,
}

impl Head {
    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (&first, rest) = bytes.split_first().ok_or(DecodeError::Incomplete)?;
        let size = match first >> 4 {
            12 => 1,
            13 => 2,
            14 => 4,
            15 => 8,
            nibble => return Ok(Self { kind: first & 15, width: 1, payload: u64::from(nibble) }),
        };
        let size = rest.get(..size).ok_or(DecodeError::Incomplete)?;
        let payload = size.iter().fold(0, |payload, &byte| payload << 8 | u64::from(byte));
        Ok(Self { kind: first & 15, width: 1 + size.len(), payload })
    }
}

/// One element, its payload in full.
struct Element<'de> {
    kind: u8,
    payload: &'de [u8],
    /// Containers around it.
    depth: u8,
}

impl<'de> Element<'de> {
    fn split(bytes: &'de [u8], depth: u8) -> Result<(Self, usize), DecodeError> {
        let Head { kind, width, payload } = Head::read(bytes)?;
        let end = usize::try_from(payload).ok().and_then(|payload| payload.checked_add(width));
        let end = end.ok_or(DecodeError::Incomplete)?;
        let payload = bytes.get(width..end).ok_or(DecodeError::Incomplete)?;
        Ok((Self { kind, payload, depth }, end))
    }

    fn elements(self) -> Result<Elements<'de>, DecodeError> {
        if self.depth == MAX_DEPTH {
            return Err(DecodeError::Malformed("nested deeper than 64"));
        }
        Ok(Elements { rest: self.payload, depth: self.depth + 1 })
    }

    fn is_text(&self) -> bool {
        (kind::TEXT..=kind::TEXTRAW).contains(&self.kind)
    }

    fn text(&self) -> Result<Cow<'de, str>, DecodeError> {
        let text = str::from_utf8(self.payload).map_err(|_| DecodeError::Malformed("a text is not UTF-8"))?;
        match self.kind {
            kind::TEXT | kind::TEXTRAW => Ok(Cow::Borrowed(text)),
            _ => unescape(text).map(Cow::Owned).ok_or(DecodeError::Malformed("a text's escape is wrong")),
        }
    }

    fn visit_text<V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.text()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn visit_number<V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, DecodeError> {
        match Number::read(self.payload).ok_or(DecodeError::Malformed("a number's text is wrong"))? {
            Number::Natural(n) => visitor.visit_u64(n),
            Number::Negative(n) => visitor.visit_i64(n),
            Number::Real(n) => visitor.visit_f64(n),
        }
    }

    fn visit_array<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let mut elements = self.elements()?;
        let value = visitor.visit_seq(&mut elements)?;
        elements.end(value)
    }

    fn visit_object<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let mut elements = self.elements()?;
        let value = visitor.visit_map(&mut elements)?;
        elements.end(value)
    }
}

impl<'de> de::Deserializer<'de> for Element<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.kind {
            // A later version may give these a payload; the specification has older readers pass over it.
            kind::NULL => visitor.visit_unit(),
            kind::TRUE => visitor.visit_bool(true),
            kind::FALSE => visitor.visit_bool(false),
            kind::INT | kind::INT5 | kind::FLOAT | kind::FLOAT5 => self.visit_number(visitor),
            kind::TEXT | kind::TEXTJ | kind::TEXT5 | kind::TEXTRAW => self.visit_text(visitor),
            kind::ARRAY => self.visit_array(visitor),
            kind::OBJECT => self.visit_object(visitor),
            _ => Err(DecodeError::Malformed("an element's type is reserved")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.kind == kind::NULL { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if self.kind == kind::OBJECT {
            let mut elements = self.elements()?;
            let value = visitor.visit_enum(MapAccessDeserializer::new(&mut elements))?;
            return elements.end(value);
        }
        if !self.is_text() {
            return Err(DecodeError::Mismatch("expected a text or an object".to_owned()));
        }
        visitor.visit_enum(CowStrDeserializer::new(self.text()?))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier
    }
}

/// The elements in a container's payload.
struct Elements<'de> {
    rest: &'de [u8],
    depth: u8,
}

impl<'de> Elements<'de> {
    fn take(&mut self) -> Result<Option<Element<'de>>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (element, len) = Element::split(self.rest, self.depth)
            .map_err(|_| DecodeError::Malformed("an element is longer than what holds it"))?;
        self.rest = &self.rest[len..];
        Ok(Some(element))
    }

    fn end<T>(self, value: T) -> Result<T, DecodeError> {
        match self.rest {
            [] => Ok(value),
            _ => Err(DecodeError::Mismatch("more elements than expected".to_owned())),
        }
    }
}

impl<'de> de::SeqAccess<'de> for &mut Elements<'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        self.take()?.map(|element| seed.deserialize(element)).transpose()
    }
}

impl<'de> de::MapAccess<'de> for &mut Elements<'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        match self.take()? {
            None => Ok(None),
            Some(key) if key.is_text() => seed.deserialize(key).map(Some),
            Some(_) => Err(DecodeError::Malformed("an object's key is not a text")),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        seed.deserialize(self.take()?.ok_or(DecodeError::Malformed("an object's last key has no value"))?)
    }
}

#[derive(Debug, PartialEq)]
enum Number {
    Natural(u64),
    Negative(i64),
    Real(f64),
}

impl Number {
    /// Reads a number as JSON or JSON5 writes it: an integer if it is one of 64 bits, else the nearest double.
    fn read(text: &[u8]) -> Option<Self> {
        let (minus, digits) = match text {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] => (false, digits),
            digits => (false, digits),
        };
        let (radix, digits) = match digits {
            [b'0', b'x' | b'X', digits @ ..] => (16, digits),
            digits => (10, digits),
        };
        if digits.iter().all(|&digit| char::from(digit).is_digit(radix)) {
            Self::integer(minus, digits, radix)
        } else {
            Self::real(text)
        }
    }

    fn integer(minus: bool, digits: &[u8], radix: u32) -> Option<Self> {
        let digits = str::from_utf8(digits).ok().filter(|digits| !digits.is_empty())?;
        let signed = |n: f64| Some(Self::Real(if minus { -n } else { n }));
        match u64::from_str_radix(digits, radix) {
            Ok(0) if minus => signed(0.0),
            Ok(n) if !minus => Some(Self::Natural(n)),
            Ok(n) => 0_i64.checked_sub_unsigned(n).map(Self::Negative).or_else(|| signed(n as f64)),
            Err(_) if radix == 10 => signed(digits.parse().ok()?),
            Err(_) => {
                let digits = digits.chars().filter_map(|digit| digit.to_digit(radix));
                signed(digits.fold(0.0, |n, digit| n * f64::from(radix) + f64::from(digit)))
            }
        }
    }

    fn real(text: &[u8]) -> Option<Self> {
        // Rust's own grammar is JSON5's, but for the words it has for numbers that are none.
        let text = str::from_utf8(text).ok()?;
        let plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
        plain.then(|| text.parse().ok().map(Self::Real))?
    }
}

/// Resolves the escapes of JSON and JSON5; half a surrogate pair becomes U+FFFD.
fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        plain.push_str(before);
        let mut chars = escape.chars();
        let first = chars.next()?;
        rest = chars.as_str();
        match first {
            'b' => plain.push('\u{8}'),
            'f' => plain.push('\u{c}'),
            'n' => plain.push('\n'),
            'r' => plain.push('\r'),
            't' => plain.push('\t'),
            'v' => plain.push('\u{b}'),
            '0' => plain.push('\0'),
            'x' => plain.push(char::from(u8::try_from(hex(&mut rest, 2)?).ok()?)),
            'u' => plain.push(unicode(&mut rest)?),
            // A line broken by a backslash goes on.
            '\n' | '\u{2028}' | '\u{2029}' => {}
            '\r' => rest = rest.strip_prefix('\n').unwrap_or(rest),
            other => plain.push(other),
        }
    }
    plain.push_str(rest);
    Some(plain)
}

fn hex(rest: &mut &str, digits: usize) -> Option<u32> {
    let (text, after) = rest.split_at_checked(digits)?;
    let value =
        text.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(text, 16).ok())??;
    *rest = after;
    Some(value)
}

fn unicode(rest: &mut &str) -> Option<char> {
    let first = hex(rest, 4)?;
    if (0xd800..0xdc00).contains(&first)
        && let Some(mut after) = rest.strip_prefix("\\u")
        && let Some(second @ 0xdc00..0xe000) = hex(&mut after, 4)
    {
        *rest = after;
        return char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
    }
    Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
}
