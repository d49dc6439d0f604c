//! Rows by key, exact to a bound; from then on Space-Saving (Metwally, Agrawal, El Abbadi, "Efficient computation of frequent
//! and top-k elements in data streams", 2005), weighted by bytes: a newcomer takes over the row with the fewest bytes, with
//! what it counted, and remembers how much of that may not be its own.
//!
//! Which row that is depends on nothing but the order of the packets: of equal rows the one that was taken first. The hash is
//! keyed, so that chosen addresses cannot slow it, and is used for finding only.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{BuildHasher, Hash};

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use super::{Count, Traffic};

/// No slot: a hint that never fits.
pub(super) const NOWHERE: u32 = u32::MAX;

/// What a row counts.
pub(super) trait Counted: Default {
    /// All of it.
    fn count(&self) -> Count;

    /// What the next owner of the row begins with. `most` is the largest count that any row had when it was taken over, so that
    /// no key that has no row had more.
    fn heir(&self, most: Count) -> Self;
}

impl Counted for Count {
    fn count(&self) -> Count {
        *self
    }

    fn heir(&self, _: Count) -> Self {
        *self
    }
}

impl Counted for Traffic {
    fn count(&self) -> Count {
        self.total()
    }

    fn heir(&self, most: Count) -> Self {
        let (mut tx, mut rx) = (self.tx, self.rx);
        top_up(&mut tx, &mut rx, most);
        Self { tx, rx, error: most }
    }
}

/// Raises two counts so that together they are at least `most`, by the one that is larger.
pub(super) fn top_up(a: &mut Count, b: &mut Count, most: Count) {
    let lacks = most.minus(*a + *b);
    *(if a.bytes >= b.bytes { a } else { b }) += lacks;
}

/// How a key's row was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It was there.
    Known,
    /// It is new, or was taken over from another key.
    New,
}

#[derive(Debug)]
struct Row<K, V> {
    key: K,
    /// The how-manieth key to get a row this one was.
    turn: u64,
    value: V,
}

/// The rows.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    limit: usize,
    rows: Vec<Row<K, V>>,
    index: HashTable<u32>,
    hasher: RandomState,
    /// Each row once, with bytes and turn as they were when it was put here; empty until the table is full. Bytes and turns only
    /// grow, so the least of them is the least row as soon as what it says is still true.
    least: BinaryHeap<Reverse<(u64, u64, u32)>>,
    turns: u64,
    most_evicted: Count,
}

impl<K: Copy + Eq + Hash, V: Counted> Table<K, V> {
    /// For at most `limit` rows, at least one.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.clamp(1, NOWHERE as usize - 1),
            rows: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            least: BinaryHeap::new(),
            turns: 0,
            most_evicted: Count::default(),
        }
    }

    /// The slot of a key that has one; `hint` is looked at first.
    #[inline]
    pub(super) fn find(&self, key: &K, hint: u32) -> Option<u32> {
        if self.rows.get(hint as usize).is_some_and(|row| row.key == *key) {
            return Some(hint);
        }
        self.look_up(self.hasher.hash_one(key), key)
    }

    #[inline]
    fn look_up(&self, hash: u64, key: &K) -> Option<u32> {
        let is_it = |slot: &u32| self.rows.get(*slot as usize).is_some_and(|row| row.key == *key);
        self.index.find(hash, is_it).copied()
    }

    /// The slot of a key, made or taken over if it has none; `hint` is looked at first. The slot is the key's until another key
    /// takes it over.
    #[inline]
    pub(super) fn slot(&mut self, key: &K, hint: u32) -> (u32, Found) {
        if self.rows.get(hint as usize).is_some_and(|row| row.key == *key) {
            return (hint, Found::Known);
        }
        let hash = self.hasher.hash_one(key);
        match self.look_up(hash, key) {
            Some(slot) => (slot, Found::Known),
            None => (self.enter(hash, *key), Found::New),
        }
    }

    fn enter(&mut self, hash: u64, key: K) -> u32 {
        let turn = self.turns;
        self.turns += 1;
        let slot = if self.rows.len() < self.limit {
            self.rows.push(Row { key, turn, value: V::default() });
            (self.rows.len() - 1) as u32
        } else {
            let slot = self.evict();
            if let Some(row) = self.rows.get_mut(slot as usize) {
                let count = row.value.count();
                self.most_evicted.packets = self.most_evicted.packets.max(count.packets);
                self.most_evicted.bytes = self.most_evicted.bytes.max(count.bytes);
                *row = Row { key, turn, value: row.value.heir(self.most_evicted) };
            }
            slot
        };
        let (rows, hasher) = (&self.rows, &self.hasher);
        let rehash = |slot: &u32| rows.get(*slot as usize).map_or(0, |row| hasher.hash_one(row.key));
        self.index.insert_unique(hash, slot, rehash);
        slot
    }

    /// Finds the row with the fewest bytes and takes its key from it.
    fn evict(&mut self) -> u32 {
        let rank = |row: &Row<K, V>| (row.value.count().bytes, row.turn);
        if self.least.is_empty() {
            let ranked = self.rows.iter().enumerate().map(|(slot, row)| {
                let (bytes, turn) = rank(row);
                Reverse((bytes, turn, slot as u32))
            });
            self.least = ranked.collect();
        }
        let mut slot = 0;
        while let Some(mut top) = self.least.peek_mut() {
            let Reverse((bytes, turn, of)) = *top;
            slot = of;
            let Some(row) = self.rows.get(of as usize) else { break };
            let now = rank(row);
            if now == (bytes, turn) {
                break;
            }
            *top = Reverse((now.0, now.1, of));
        }
        if let Some(key) = self.rows.get(slot as usize).map(|row| row.key) {
            let hash = self.hasher.hash_one(key);
            if let Ok(entry) = self.index.find_entry(hash, |of| *of == slot) {
                entry.remove();
            }
        }
        slot
    }

    /// What a slot holds.
    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut V> {
        self.rows.get_mut(slot as usize).map(|row| &mut row.value)
    }

    /// Rows so far.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The most that a key without a row can have had; nothing while all rows are exact.
    pub(super) fn most_evicted(&self) -> Count {
        self.most_evicted
    }

    /// Keys and what they had, in no order that means anything.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter().map(|row| (&row.key, &row.value))
    }
}
