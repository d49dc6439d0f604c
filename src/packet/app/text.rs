//! Names as they are kept: text of printable ASCII and of bounded length, whatever was sent.

use std::fmt::Write;

/// The most bytes of a name that is kept.
pub const MAX_TEXT: usize = 255;

/// Appends bytes, those outside printable ASCII and the backslash as `\xNN`; ends before [`MAX_TEXT`] is passed, never
/// within an escape. `false` if something was left out.
pub(super) fn escape(out: &mut String, bytes: &[u8]) -> bool {
    for &byte in bytes {
        let plain = matches!(byte, b' '..=b'~') && byte != b'\\';
        if out.len() + if plain { 1 } else { 4 } > MAX_TEXT {
            return false;
        }
        if plain {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    true
}

/// Bytes as kept text.
pub fn kept(bytes: &[u8]) -> Box<str> {
    let mut out = String::with_capacity(bytes.len().min(MAX_TEXT));
    escape(&mut out, bytes);
    out.into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_printable_bounded_and_cut_between_escapes() {
        assert_eq!(&*kept(b"a b\\\n\xff"), "a b\\x5c\\x0a\\xff");
        assert_eq!(kept(&[b'a'; 300]).len(), 255);
        // 63 escapes of four bytes are 252; a 64th would make 256.
        assert_eq!(kept(&[0; 300]).len(), 252);
    }
}
