//! Lists of flows: doubly linked through arrays of numbers, so that moving a flow to the end touches a few bytes, not flows.

use super::Class;

/// No flow.
const NONE: u32 = u32::MAX;

/// The neighbours of a flow in a list.
#[derive(Debug, Clone, Copy)]
struct Link {
    before: u32,
    behind: u32,
}

const APART: Link = Link { before: NONE, behind: NONE };

/// The ends of a list.
#[derive(Debug, Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
}

const EMPTY: Ends = Ends { first: NONE, last: NONE };

/// Links of all flows in lists of one kind. A flow is in one of them at most.
#[derive(Debug, Default)]
struct Links(Vec<Link>);

impl Links {
    #[inline]
    fn get(&self, at: u32) -> Link {
        self.0.get(at as usize).copied().unwrap_or(APART)
    }

    #[inline]
    fn change(&mut self, at: u32, change: impl FnOnce(&mut Link)) {
        if let Some(link) = self.0.get_mut(at as usize) {
            change(link);
        }
    }

    #[inline]
    fn push(&mut self, ends: &mut Ends, at: u32) {
        if at as usize >= self.0.len() {
            self.0.resize(at as usize + 1, APART);
        }
        let last = ends.last;
        self.change(at, |link| *link = Link { before: last, behind: NONE });
        if last == NONE {
            ends.first = at;
        } else {
            self.change(last, |link| link.behind = at);
        }
        ends.last = at;
    }

    #[inline]
    fn remove(&mut self, ends: &mut Ends, at: u32) {
        let Link { before, behind } = self.get(at);
        if before == NONE {
            ends.first = behind;
        } else {
            self.change(before, |link| link.behind = behind);
        }
        if behind == NONE {
            ends.last = before;
        } else {
            self.change(behind, |link| link.before = before);
        }
    }
}

/// A list per idle timeout, in the order of the flows' latest packets; and one of all flows, in the order in which the parts
/// that they count began.
#[derive(Debug)]
pub(super) struct Queues {
    idle: Links,
    classes: [Ends; 4],
    parts: Links,
    all: Ends,
}

impl Default for Queues {
    fn default() -> Self {
        Self { idle: Links::default(), classes: [EMPTY; 4], parts: Links::default(), all: EMPTY }
    }
}

impl Queues {
    /// Takes a flow whose first part begins.
    pub(super) fn add(&mut self, class: Class, at: u32) {
        self.idle.push(&mut self.classes[class as usize], at);
        self.parts.push(&mut self.all, at);
    }

    /// Lets go of a flow.
    pub(super) fn remove(&mut self, class: Class, at: u32) {
        self.idle.remove(&mut self.classes[class as usize], at);
        self.parts.remove(&mut self.all, at);
    }

    /// A packet of the flow came.
    #[inline]
    pub(super) fn touch(&mut self, class: Class, at: u32) {
        let ends = &mut self.classes[class as usize];
        if ends.last != at {
            self.idle.remove(ends, at);
            self.idle.push(ends, at);
        }
    }

    /// A packet put the flow under another timeout.
    pub(super) fn change(&mut self, from: Class, to: Class, at: u32) {
        self.idle.remove(&mut self.classes[from as usize], at);
        self.idle.push(&mut self.classes[to as usize], at);
    }

    /// The flow's next part begins.
    pub(super) fn next_part(&mut self, at: u32) {
        self.parts.remove(&mut self.all, at);
        self.parts.push(&mut self.all, at);
    }

    /// The longest idle flow under a timeout.
    #[inline]
    pub(super) fn oldest(&self, class: Class) -> Option<u32> {
        let first = self.classes[class as usize].first;
        (first != NONE).then_some(first)
    }

    /// The flow whose part began first.
    pub(super) fn oldest_part(&self) -> Option<u32> {
        (self.all.first != NONE).then_some(self.all.first)
    }

    /// The flows under a timeout.
    pub(super) fn iter(&self, class: Class) -> impl Iterator<Item = u32> {
        std::iter::successors(self.oldest(class), |&at| {
            Some(self.idle.get(at).behind).filter(|&next| next != NONE)
        })
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        (self.idle.0.capacity() + self.parts.0.capacity()) * size_of::<Link>()
    }
}
