//! A connection's history: letters, upper case the originator's.

/// The most letters kept; what comes later is not noted. Ten tell a whole connection, more come of resets and SYNs with ever
/// new numbers.
const LETTERS: usize = 24;

/// The letters.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::flow) struct History {
    letters: [u8; LETTERS],
    len: u8,
}

impl History {
    /// Appends a letter as it is.
    pub(super) fn push(&mut self, letter: u8) {
        if let Some(room) = self.letters.get_mut(usize::from(self.len))
            && letter.is_ascii_graphic()
        {
            *room = letter;
            self.len += 1;
        }
    }

    /// Appends an upper-case letter in the case of the side.
    #[inline]
    pub(super) fn note(&mut self, letter: u8, from_orig: bool) {
        self.push(if from_orig { letter } else { letter.to_ascii_lowercase() });
    }

    /// Counts one more; notes the first, the tenth, the hundredth…
    #[cold]
    pub(super) fn often(&mut self, count: &mut u16, letter: u8, from_orig: bool) {
        *count = count.saturating_add(1);
        if matches!(*count, 1 | 10 | 100 | 1000 | 10_000) {
            self.note(letter, from_orig);
        }
    }

    /// The letters.
    pub(super) fn text(&self) -> &str {
        self.letters
            .get(..usize::from(self.len))
            .and_then(|text| str::from_utf8(text).ok())
            .unwrap_or_default()
    }

    /// Whether the originator's SYN and then its RST came, and no handshake, data or FIN of its own between.
    pub(super) fn is_syn_then_rst(&self) -> bool {
        let text = self.text();
        let Some(rest) = text.strip_prefix('^').unwrap_or(text).strip_prefix('S') else { return false };
        rest.find('R')
            .and_then(|at| rest.get(..at))
            .is_some_and(|between| !between.contains(['H', 'A', 'F', 'G', 'I', 'Q']))
    }
}
