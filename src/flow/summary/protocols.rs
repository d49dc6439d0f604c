//! Counts by path, bounded: what has a path of its own beyond the bound is counted at a node above, and told.

use super::space_saving::{NOWHERE, Table};
use super::{Count, Rows};
use crate::packet::level::Path;

/// Different paths from which on further ones count at a node above.
const MAX_PATHS: usize = 4096;

/// Counts by path.
#[derive(Debug)]
pub(super) struct Protocols {
    table: Table<Path, Count>,
    /// What was counted at a node above its own.
    shortened: Count,
}

impl Protocols {
    pub(super) fn new() -> Self {
        // One more for each first level.
        Self { table: Table::new(MAX_PATHS + 256), shortened: Count::default() }
    }

    /// Returns where it was counted.
    #[inline]
    pub(super) fn count(&mut self, path: Path, hint: u32, by: Count) -> u32 {
        let slot = match self.table.find(&path, hint) {
            Some(slot) => slot,
            None => self.enter(path, by),
        };
        if let Some(count) = self.table.get_mut(slot) {
            *count += by;
        }
        slot
    }

    #[cold]
    fn enter(&mut self, path: Path, by: Count) -> u32 {
        let mut depth = path.depth();
        if self.table.len() >= MAX_PATHS && depth > 1 {
            self.shortened += by;
            loop {
                depth -= 1;
                if let Some(slot) = self.table.find(&path.prefix(depth), NOWHERE) {
                    return slot;
                }
                if depth <= 1 {
                    break;
                }
            }
        }
        self.table.slot(&path.prefix(depth), NOWHERE).0
    }

    /// Adds those of a file.
    pub(super) fn add(&mut self, rows: &[(Path, Count)], missed: Count) {
        self.shortened += missed;
        let mut hint = NOWHERE;
        for (path, count) in rows {
            hint = self.count(*path, hint, *count).wrapping_add(1);
        }
    }

    /// Sorted by path.
    pub(super) fn rows(&self) -> Rows<Path, Count> {
        let mut rows: Vec<_> = self.table.rows().map(|(path, count)| (*path, *count)).collect();
        rows.sort_unstable_by_key(|(path, _)| *path);
        Rows { rows, missed: self.shortened }
    }
}
