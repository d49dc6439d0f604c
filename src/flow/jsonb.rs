//! SQLite's JSONB (<https://sqlite.org/jsonb.html>): JSON whose every element begins with a header of type and size.
//!
//! [`encode`] writes what SQLite itself would write (headers of least size; texts as TEXT, or TEXTRAW where JSON would
//! need an escape). [`decode`] reads all thirteen element types, headers of any size, from bytes that nobody vouches for:
//! it never panics, reads nothing behind the element, holds no more than the value, and refuses to nest deeper than
//! [`MAX_DEPTH`]. Pure.

mod decode;
mod encode;

pub use decode::{DecodeError, decode, object_len};
pub use encode::{EncodeError, encode};

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: u8 = 64;

/// The most bytes a header takes: one, and eight of size.
pub const MAX_HEADER: usize = 9;

/// Element types: the low half of a header's first byte.
mod kind {
    pub(super) const NULL: u8 = 0;
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const INT: u8 = 3;
    pub(super) const INT5: u8 = 4;
    pub(super) const FLOAT: u8 = 5;
    pub(super) const FLOAT5: u8 = 6;
    pub(super) const TEXT: u8 = 7;
    pub(super) const TEXTJ: u8 = 8;
    pub(super) const TEXT5: u8 = 9;
    pub(super) const TEXTRAW: u8 = 10;
    pub(super) const ARRAY: u8 = 11;
    pub(super) const OBJECT: u8 = 12;
}

#[cfg(test)]
mod tests;
