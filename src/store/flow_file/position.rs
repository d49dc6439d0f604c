//! How far the captures were analysed: two places in every checkpoint of a flow file. Pure.

use serde::Deserialize;

use super::super::flow_facts::parse_place;
use super::super::sequence::{SequenceError, SequenceWriter};
use crate::flow::jsonb;
use crate::packet::Place;

/// How far the captures were analysed, as of some moment in the sequence of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Every packet before this place was analysed; `None` before the first.
    pub analysed: Option<Place>,
    /// The oldest packet that no record so far covers; `None` if all are covered.
    pub oldest_open: Option<Place>,
}

/// Characters of a place in a checkpoint.
const WIDTH: usize = 41;

#[derive(Deserialize)]
struct Fields<'a> {
    analysed: &'a str,
    oldest_open: &'a str,
}

impl Position {
    /// Where to read the captures from again.
    pub fn read_from(self) -> Option<Place> {
        self.oldest_open.into_iter().chain(self.analysed).min()
    }

    /// Appends a checkpoint that tells it.
    pub(super) fn checkpoint(
        self,
        sequence: &mut SequenceWriter,
        out: &mut Vec<u8>,
    ) -> Result<(), SequenceError> {
        let [analysed, oldest_open] = self.texts();
        sequence.checkpoint_with(&[("analysed", &analysed), ("oldest_open", &oldest_open)], out)
    }

    fn texts(self) -> [String; 2] {
        [self.analysed, self.oldest_open].map(|place| {
            place
                .map_or_else(|| "-".repeat(WIDTH), |place| format!("{:020}-{:020}", place.file, place.offset))
        })
    }

    /// Of a checkpoint's bytes; `None` if it is of another format.
    pub(super) fn of_checkpoint(object: &[u8]) -> Option<Self> {
        let (fields, _) = jsonb::decode::<Fields<'_>>(object).ok()?;
        Some(Self { analysed: parse_place(fields.analysed), oldest_open: parse_place(fields.oldest_open) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::sequence::End;
    use super::*;

    #[test]
    fn positions_read_back_and_fit_into_a_checkpoint() {
        let far = Place { file: u64::MAX, offset: u64::MAX };
        let (near, none) = (Place { file: 1, offset: 24 }, None);
        for (analysed, oldest_open) in [(none, none), (Some(far), Some(far)), (Some(near), none)] {
            let position = Position { analysed, oldest_open };
            assert!(position.texts().iter().all(|text| text.len() == WIDTH));
            let mut writer = SequenceWriter::resume(End { id: "0".repeat(16), offset: 0 });
            let mut bytes = Vec::new();
            position.checkpoint(&mut writer, &mut bytes).unwrap();
            assert_eq!(Position::of_checkpoint(&bytes), Some(position));
            let mut plain = Vec::new();
            writer.checkpoint(&mut plain).unwrap();
            assert_eq!(Position::of_checkpoint(&plain), None);
        }
    }
}
