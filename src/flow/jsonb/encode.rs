//! Any serde value to one JSONB element, appended to a buffer.

use std::fmt::Display;
use std::io::Write;

use serde::ser::{self, Serialize};

use super::{MAX_DEPTH, MAX_HEADER, kind};

/// A value that JSON cannot hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EncodeError {
    /// A map key is not a text.
    #[error("cannot write JSONB: an object's key must be a text")]
    KeyNotText,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("cannot write JSONB: nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// The value itself refused.
    #[error("cannot write JSONB: {0}")]
    Value(String),
}

impl ser::Error for EncodeError {
    fn custom<T: Display>(message: T) -> Self {
        Self::Value(message.to_string())
    }
}

/// Appends `value` to `out` as one element; on failure `out` is as it was. Numbers that are not finite become null.
pub fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    value.serialize(&mut Encoder { out, depth: 0 }).inspect_err(|_| out.truncate(start))
}

/// The header of least size; returns it and its length.
fn header(kind: u8, payload: usize) -> ([u8; MAX_HEADER], usize) {
    let mut header = [0; MAX_HEADER];
    let size = (payload as u64).to_be_bytes();
    let (nibble, width) = match payload as u64 {
        0..=11 => (payload as u8, 0),
        12..=0xff => (12, 1),
        0x100..=0xffff => (13, 2),
        0x1_0000..=0xffff_ffff => (14, 4),
        _ => (15, 8),
    };
    header[0] = nibble << 4 | kind;
    header[1..=width].copy_from_slice(&size[8 - width..]);
    (header, 1 + width)
}

struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    depth: u8,
}

impl<'a> Encoder<'a> {
    fn scalar(&mut self, kind: u8, payload: &[u8]) -> Result<(), EncodeError> {
        let (header, width) = header(kind, payload.len());
        self.out.extend_from_slice(&header[..width]);
        self.out.extend_from_slice(payload);
        Ok(())
    }

    fn integer(&mut self, value: impl itoa::Integer) -> Result<(), EncodeError> {
        self.scalar(kind::INT, itoa::Buffer::new().format(value).as_bytes())
    }

    fn open(&mut self, kind: u8) -> Result<Container<'_, 'a>, EncodeError> {
        if self.depth == MAX_DEPTH {
            return Err(EncodeError::TooDeep);
        }
        self.depth += 1;
        let start = self.out.len();
        self.out.push(kind);
        Ok(Container { encoder: self, start, outer: None })
    }

    /// `{variant: …}`, its value being the container of `kind`.
    fn open_variant(&mut self, variant: &str, kind: u8) -> Result<Container<'_, 'a>, EncodeError> {
        let outer = self.open(kind::OBJECT)?.start;
        ser::Serializer::serialize_str(&mut *self, variant)?;
        Ok(Container { outer: Some(outer), ..self.open(kind)? })
    }

    /// Gives the container begun at `start` the header that its size needs.
    fn close(&mut self, start: usize) {
        self.depth -= 1;
        let payload = start + 1..self.out.len();
        let (header, width) = header(self.out[start], payload.len());
        self.out.extend_from_slice(&[0; MAX_HEADER][1..width]);
        self.out.copy_within(payload, start + width);
        self.out[start..start + width].copy_from_slice(&header[..width]);
    }
}

/// An array or object being written; its header is one byte, the kind, until it is closed.
struct Container<'e, 'a> {
    encoder: &'e mut Encoder<'a>,
    start: usize,
    outer: Option<usize>,
}

impl Container<'_, '_> {
    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        let at = self.encoder.out.len();
        key.serialize(&mut *self.encoder)?;
        let text =
            self.encoder.out.get(at).is_some_and(|head| (kind::TEXT..=kind::TEXTRAW).contains(&(head & 15)));
        text.then_some(()).ok_or(EncodeError::KeyNotText)
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        value.serialize(&mut *self.encoder)
    }

    fn finish(self) -> Result<(), EncodeError> {
        self.encoder.close(self.start);
        if let Some(outer) = self.outer {
            self.encoder.close(outer);
        }
        Ok(())
    }
}

impl<'e, 'a> ser::Serializer for &'e mut Encoder<'a> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Container<'e, 'a>;
    type SerializeTuple = Container<'e, 'a>;
    type SerializeTupleStruct = Container<'e, 'a>;
    type SerializeTupleVariant = Container<'e, 'a>;
    type SerializeMap = Container<'e, 'a>;
    type SerializeStruct = Container<'e, 'a>;
    type SerializeStructVariant = Container<'e, 'a>;

    fn serialize_bool(self, value: bool) -> Result<(), EncodeError> {
        self.scalar(if value { kind::TRUE } else { kind::FALSE }, &[])
    }
    fn serialize_i8(self, value: i8) -> Result<(), EncodeError> {
        self.integer(value)
    }
    fn serialize_i16(self, value: i16) -> Result<(), EncodeError> {
        self.integer(value)
    }
    fn serialize_i32(self, value: i32) -> Result<(), EncodeError> {
        self.integer(value)
    }
    fn serialize_i64(self, value: i64) -> Result<(), EncodeError> {
        self.integer(value)
    }
    fn serialize_u8(self, value: u8) -> Result<(), EncodeError> {
        self.integer(value)
    }
    fn serialize_u16(self, value: u16) -> Result<(), EncodeError> {
        self.integer(value)
    }
    fn serialize_u32(self, value: u32) -> Result<(), EncodeError> {
        self.integer(value)
    }
    fn serialize_u64(self, value: u64) -> Result<(), EncodeError> {
        self.integer(value)
    }
    fn serialize_f32(self, value: f32) -> Result<(), EncodeError> {
        self.serialize_f64(f64::from(value))
    }
    fn serialize_f64(self, value: f64) -> Result<(), EncodeError> {
        if !value.is_finite() {
            return self.serialize_unit();
        }
        let mut text = [0_u8; 32];
        let mut left = &mut text[..];
        // The shortest text that reads back as the same number has at most 24 bytes.
        write!(left, "{value:?}").map_err(ser::Error::custom)?;
        let len = 32 - left.len();
        self.scalar(kind::FLOAT, &text[..len])
    }
    fn serialize_char(self, value: char) -> Result<(), EncodeError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, text: &str) -> Result<(), EncodeError> {
        let plain =
            text.bytes().fold(true, |plain, byte| plain & (byte >= b' ' && byte != b'"' && byte != b'\\'));
        self.scalar(if plain { kind::TEXT } else { kind::TEXTRAW }, text.as_bytes())
    }
    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.collect_seq(bytes)
    }
    fn serialize_none(self) -> Result<(), EncodeError> {
        self.serialize_unit()
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), EncodeError> {
        self.scalar(kind::NULL, &[])
    }
    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), EncodeError> {
        self.serialize_unit()
    }
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), EncodeError> {
        self.serialize_str(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        let mut object = self.open(kind::OBJECT)?;
        object.key(variant)?;
        object.value(value)?;
        object.finish()
    }
    fn serialize_seq(self, _len: Option<usize>) -> Result<Container<'e, 'a>, EncodeError> {
        self.open(kind::ARRAY)
    }
    fn serialize_tuple(self, _len: usize) -> Result<Container<'e, 'a>, EncodeError> {
        self.open(kind::ARRAY)
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Container<'e, 'a>, EncodeError> {
        self.open(kind::ARRAY)
    }
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Container<'e, 'a>, EncodeError> {
        self.open_variant(variant, kind::ARRAY)
    }
    fn serialize_map(self, _len: Option<usize>) -> Result<Container<'e, 'a>, EncodeError> {
        self.open(kind::OBJECT)
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Container<'e, 'a>, EncodeError> {
        self.open(kind::OBJECT)
    }
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Container<'e, 'a>, EncodeError> {
        self.open_variant(variant, kind::OBJECT)
    }
}

/// The sequence-like serde traits differ in name alone.
macro_rules! elements {
    ($($serialize:ident :: $method:ident),*) => {$(
        impl ser::$serialize for Container<'_, '_> {
            type Ok = ();
            type Error = EncodeError;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
                self.value(value)
            }
            fn end(self) -> Result<(), EncodeError> {
                self.finish()
            }
        }
    )*};
}
elements!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

/// So do the two of structs.
macro_rules! fields {
    ($($serialize:ident),*) => {$(
        impl ser::$serialize for Container<'_, '_> {
            type Ok = ();
            type Error = EncodeError;
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), EncodeError> {
                self.key(key)?;
                self.value(value)
            }
            fn end(self) -> Result<(), EncodeError> {
                self.finish()
            }
        }
    )*};
}
fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Container<'_, '_> {
    type Ok = ();
    type Error = EncodeError;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        self.key(key)
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.value(value)
    }
    fn end(self) -> Result<(), EncodeError> {
        self.finish()
    }
}
