//! Which flow later IP fragments belong to: bounded memory of first fragments.
//!
//! Two generations of half the bound each: the younger takes what comes, and when it is full, or spans the time for which
//! fragments wait, it becomes the elder and the elder is forgotten. So what is forgotten first is the oldest, at no cost per packet.

use hashbrown::HashMap;

use super::key::Numbers;
use crate::packet::Nanos;
use crate::packet::addr::{Addr, Vlan};

/// How long the later fragments of a packet may come after its first one, stream time: Linux's `ipfrag_time`.
pub const FRAGMENTS_WAIT: Nanos = 30_000_000_000;

/// What the fragments of a packet have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Whole {
    pub(super) src: Addr,
    pub(super) dst: Addr,
    pub(super) vlan: Vlan,
    pub(super) id: u32,
    /// The protocol in IPv4 (RFC 791); 0 in IPv6, whose later fragments name the header behind the fragment header, which an
    /// option header of the first fragment hides (RFC 8200, section 4.5).
    pub(super) proto: u8,
}

/// What the first fragment tells of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct First {
    pub(super) src: u16,
    pub(super) dst: u16,
    /// Whether both directions are one flow.
    pub(super) both: bool,
    pub(super) numbers: Numbers,
    pub(super) proto: u8,
}

type Generation = HashMap<Whole, (Nanos, First), foldhash::quality::RandomState>;

/// Remembers first fragments. The oldest are forgotten first.
#[derive(Debug)]
pub struct Fragments {
    /// Of a generation.
    limit: usize,
    younger: Generation,
    elder: Generation,
    /// When the younger generation began.
    since: Nanos,
    /// How many generations there were.
    generation: u64,
}

impl Fragments {
    /// Remembers at most `limit`.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: (limit / 2).max(1),
            younger: Generation::default(),
            elder: Generation::default(),
            since: 0,
            generation: 0,
        }
    }

    pub(super) fn remember(&mut self, whole: Whole, first: First, now: Nanos) {
        self.grow_old(now);
        if self.younger.len() >= self.limit {
            self.turn(now);
        }
        if self.younger.is_empty() {
            self.since = now;
        }
        self.younger.insert(whole, (now, first));
    }

    pub(super) fn find(&mut self, whole: &Whole, now: Nanos) -> Option<First> {
        let (at, first) = self.younger.get(whole).or_else(|| self.elder.get(whole))?;
        (now.saturating_sub(*at) <= FRAGMENTS_WAIT).then_some(*first)
    }

    /// Forgets what is too old.
    #[inline]
    pub(super) fn grow_old(&mut self, now: Nanos) {
        if !(self.younger.is_empty() && self.elder.is_empty())
            && now.saturating_sub(self.since) > FRAGMENTS_WAIT
        {
            self.turn(now);
        }
    }

    #[cold]
    fn turn(&mut self, now: Nanos) {
        std::mem::swap(&mut self.younger, &mut self.elder);
        self.younger.clear();
        self.since = now;
        self.generation += 1;
    }

    /// Changes whenever first fragments are forgotten: those of the generation before the last one.
    #[inline]
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.younger.len() + self.elder.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
