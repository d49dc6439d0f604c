//! Columns that captures and flow files have in common.

use rusqlite::types::Type;
use rusqlite::{Result, Row as SqlRow};

use crate::store::facts::State;
use crate::store::losses::Losses;

const STATES: [(State, &str); 5] = [
    (State::Recording, "recording"),
    (State::Sealed, "sealed"),
    (State::Salvaged, "salvaged"),
    (State::Damaged, "damaged"),
    (State::Evicted, "evicted"),
];

/// How a state is written.
pub(super) fn state_text(state: State) -> Option<&'static str> {
    STATES.iter().find(|(of, _)| *of == state).map(|(_, text)| *text)
}

/// The state of a row that has one.
pub(super) fn state_of(row: &SqlRow<'_>) -> Result<State> {
    let text: String = row.get("state")?;
    let state = STATES.iter().find(|(_, of)| *of == text).map(|(state, _)| *state);
    state.ok_or_else(|| rusqlite::Error::InvalidColumnType(2, "state".to_owned(), Type::Text))
}

/// The losses of a row that has them.
pub(super) fn losses_of(row: &SqlRow<'_>) -> Result<Losses> {
    Ok(Losses {
        nic: count_of(row, "lost_nic")?,
        kernel: count_of(row, "lost_kernel")?,
        queue: count_of(row, "lost_queue")?,
        write: count_of(row, "lost_write")?,
        analysis: count_of(row, "lost_analysis")?,
    })
}

/// A count that may be unknown.
pub(super) fn count_of(row: &SqlRow<'_>, column: &str) -> Result<Option<u64>> {
    row.get::<_, Option<i64>>(column).map(|count| count.map(|count| count as u64))
}
