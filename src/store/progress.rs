//! How far long work on files has come, for whoever waits for it and may give it up. Pure: who is told decides what becomes of it.

/// How far work has come, bytes of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Read.
    pub done: u64,
    /// To be read in all; unknown where a pipe is among the files.
    pub total: Option<u64>,
}

/// Told every few milliseconds how far work has come; `false` gives it up.
pub type Watch<'a> = &'a dyn Fn(Progress) -> bool;

/// Records between two words on progress.
const BETWEEN: u32 = 4096;

/// Files that are read record by record, one after the other, and who is told of it.
pub struct Walk<'a> {
    watch: Watch<'a>,
    total: u64,
    /// Bytes of the files before this one, and its own.
    before: u64,
    size: u64,
    /// Records until the next word.
    left: u32,
    given_up: bool,
}

impl<'a> Walk<'a> {
    /// Through files of so many bytes in all.
    pub fn new(total: u64, watch: Watch<'a>) -> Self {
        Self { watch, total, before: 0, size: 0, left: BETWEEN, given_up: false }
    }

    /// Through files that nobody waits for.
    pub fn alone() -> Self {
        Self::new(0, &|_| true)
    }

    /// More is to be read than was known.
    pub fn extend(&mut self, bytes: u64) {
        self.total += bytes;
    }

    /// Whether to read the next file, of this size; tells where it begins.
    pub fn begin(&mut self, size: u64) -> bool {
        self.before += self.size;
        self.size = size;
        self.tell(0)
    }

    /// Whether to go on behind a record that ends at `position` of the file, which is asked for only now and then.
    #[inline]
    pub fn record(&mut self, position: impl FnOnce() -> u64) -> bool {
        self.left -= 1;
        self.left > 0 || self.tell(position())
    }

    /// Whether whoever waited has given up: what was read is worth nothing then.
    pub fn is_given_up(&self) -> bool {
        self.given_up
    }

    fn tell(&mut self, position: u64) -> bool {
        self.left = BETWEEN;
        // A growing file is longer by now.
        let done = self.before + position.min(self.size);
        self.given_up |= !(self.watch)(Progress { done, total: Some(self.total) });
        !self.given_up
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[test]
    fn bytes_of_files_add_up_and_a_growing_file_is_never_more_than_it_was() {
        let told = RefCell::new(Vec::new());
        let watch = |at: Progress| {
            told.borrow_mut().push((at.done, at.total));
            true
        };
        let mut walk = Walk::new(300, &watch);
        assert!(walk.begin(100));
        for record in 1..=2 * u64::from(BETWEEN) {
            assert!(walk.record(|| record / u64::from(BETWEEN) * 90));
        }
        walk.extend(50);
        assert!(walk.begin(200) && walk.begin(50));
        let all = [(0, 300), (90, 300), (100, 300), (100, 350), (300, 350)];
        assert_eq!(told.into_inner(), all.map(|(done, total)| (done, Some(total))));
    }

    #[test]
    fn who_gives_up_once_has_given_up() {
        let asked = Cell::new(0);
        let watch = |_| {
            asked.set(asked.get() + 1);
            asked.get() != 2
        };
        let mut walk = Walk::new(1, &watch);
        assert!(walk.begin(1) && !walk.is_given_up());
        assert!(!walk.begin(1) && !walk.begin(1) && walk.is_given_up());
        assert!(Walk::alone().begin(1));
    }
}
