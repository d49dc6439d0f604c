//! A table that a detector keeps of suspects: bounded, forgetful, and hard to empty by filling it.

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::hash::Hash;

use crate::packet::Nanos;

/// What a table holds: how much would be lost if it were forgotten.
pub trait Worth {
    /// The less, the sooner it is given up when the table is full. A flood of things seen once must not drive out what was
    /// gathered over an hour.
    fn worth(&self) -> u32 {
        0
    }
}

/// Up to so many values by key. A value that was not touched for a while is forgotten when room is needed; if that does not
/// suffice, the half of least worth (and among equals, the longer untouched) goes, and is counted.
#[derive(Debug, Clone)]
pub struct Bounded<K, V> {
    limit: usize,
    keep: Nanos,
    map: HashMap<K, (Nanos, V), RandomState>,
    saturated: u64,
}

impl<K: Eq + Hash + Copy, V: Worth> Bounded<K, V> {
    /// An empty table for at most `limit` values (at least two), each kept for `keep` of stream time after it was last touched.
    pub fn new(limit: usize, keep: Nanos) -> Self {
        Self { limit: limit.max(2), keep, map: HashMap::default(), saturated: 0 }
    }

    /// The value of a key, if there is one that is not too old. Does not touch it.
    pub fn get(&self, key: &K, now: Nanos) -> Option<&V> {
        self.map
            .get(key)
            .filter(|(touched, _)| now.saturating_sub(*touched) <= self.keep)
            .map(|(_, value)| value)
    }

    /// The same, touched.
    pub fn get_mut(&mut self, key: &K, now: Nanos) -> Option<&mut V> {
        let (touched, value) = self.map.get_mut(key)?;
        if now.saturating_sub(*touched) > self.keep {
            return None;
        }
        *touched = now;
        Some(value)
    }

    /// The value of a key, touched; made if there is none, or one too old.
    pub fn entry(&mut self, key: K, now: Nanos, make: impl FnOnce() -> V) -> &mut V {
        if self.map.len() >= self.limit && !self.map.contains_key(&key) {
            self.make_room(now);
        }
        let keep = self.keep;
        match self.map.entry(key) {
            hashbrown::hash_map::Entry::Occupied(entry) => {
                let (touched, value) = entry.into_mut();
                if now.saturating_sub(*touched) > keep {
                    *value = make();
                }
                *touched = now;
                value
            }
            hashbrown::hash_map::Entry::Vacant(entry) => &mut entry.insert((now, make())).1,
        }
    }

    /// Forgets a key.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.map.remove(key).map(|(_, value)| value)
    }

    /// Keeps only what `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.map.retain(|key, (_, value)| keep(key, value));
    }

    /// All, in no order, old ones too.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.map.iter().map(|(key, (_, value))| (key, value))
    }

    /// All, in no order, old ones too; does not touch them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.map.iter_mut().map(|(key, (_, value))| (key, value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// How many were given up before they were too old.
    pub fn saturated(&self) -> u64 {
        self.saturated
    }

    /// Forgets what is too old.
    pub fn expire(&mut self, now: Nanos) {
        let keep = self.keep;
        self.map.retain(|_, (touched, _)| now.saturating_sub(*touched) <= keep);
    }

    fn make_room(&mut self, now: Nanos) {
        self.expire(now);
        // Room for few would mean sweeping for each of them.
        if self.map.len() <= self.limit - self.limit / 4 && self.map.len() < self.limit {
            return;
        }
        let mut worths: Vec<_> =
            self.map.values().map(|(touched, value)| (value.worth(), *touched)).collect();
        let half = worths.len() / 2;
        let (_, &mut bound, above) = worths.select_nth_unstable(half);
        // Of the bound's equals only so many stay as make up the half: one flood may have one time and one worth.
        let mut spare = above.len() + 1 - above.iter().filter(|&&rank| rank > bound).count();
        let before = self.map.len();
        self.map.retain(|_, (touched, value)| {
            let rank = (value.worth(), *touched);
            let stays = rank > bound || (rank == bound && spare > 0);
            spare -= usize::from(rank == bound && stays);
            stays
        });
        self.saturated += (before - self.map.len()) as u64;
    }

    fn parts(&self) -> impl Iterator<Item = (&K, &Nanos, &V)> {
        self.map.iter().map(|(key, (touched, value))| (key, touched, value))
    }

    /// Takes the values of another, as far as there is room; bounds stay.
    pub fn take(&mut self, other: Self) {
        for (key, value) in other.map {
            if self.map.len() >= self.limit {
                break;
            }
            self.map.insert(key, value);
        }
    }
}

impl<K: Serialize + Eq + Hash + Copy, V: Serialize + Worth> Serialize for Bounded<K, V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.parts())
    }
}

/// Read back it has no bounds: give it to [`Bounded::take`].
impl<'de, K: Deserialize<'de> + Eq + Hash + Copy, V: Deserialize<'de> + Worth> Deserialize<'de>
    for Bounded<K, V>
{
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let list = Vec::<(K, Nanos, V)>::deserialize(from)?;
        let map = list.into_iter().map(|(key, touched, value)| (key, (touched, value))).collect();
        Ok(Self { limit: usize::MAX, keep: Nanos::MAX, map, saturated: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Seen(u32);

    impl Worth for Seen {
        fn worth(&self) -> u32 {
            self.0
        }
    }

    #[test]
    fn a_flood_of_new_keys_drives_out_each_other_and_not_what_was_gathered() {
        let mut table = Bounded::new(100, 1_000_000);
        for key in 0..30_u32 {
            table.entry(key, 1, || Seen(5));
        }
        for key in 1000..100_000 {
            table.entry(key, 2, || Seen(1));
            assert!(table.len() <= 100);
        }
        assert!((0..30).all(|key| table.get(&key, 2).is_some()));
        assert!(table.get(&99_999, 2).is_some());
        assert_eq!(table.saturated(), 30 + 99_000 - table.len() as u64);
    }

    #[test]
    fn what_is_old_is_forgotten_and_not_counted() {
        let mut table = Bounded::new(10, 5);
        for key in 0..1000_u32 {
            table.entry(key, i64::from(key), || Seen(1));
        }
        assert_eq!(table.saturated(), 0);
        assert!(table.get(&999, 1004).is_some() && table.get(&999, 1005).is_none());
        table.entry(999, 2000, || Seen(7));
        assert_eq!(table.get(&999, 2000).map(Worth::worth), Some(7));
    }
}
