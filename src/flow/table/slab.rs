//! Where flows lie, and how they are found.

use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::{Flow, FlowKey};

/// Flows in a chunk: 2 MB, so that a kernel can lay it in huge pages.
const CHUNK: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 12;

/// Flows by number, and numbers by key.
#[derive(Debug, Default)]
pub(super) struct Slab {
    /// Chunks never move, so that growing copies no flow.
    chunks: Vec<Vec<Flow>>,
    free: Vec<u32>,
    /// Half a hash beside each number: what a collision costs is then not a look at another flow, nor is it read when the table
    /// grows.
    table: HashTable<(u32, u32)>,
    hasher: foldhash::quality::RandomState,
}

/// What the table goes by; half a hash is more than it uses of a whole one.
#[inline]
fn spread((hash, _): &(u32, u32)) -> u64 {
    u64::from(*hash) << 32 | u64::from(*hash)
}

impl Slab {
    /// The hash of a key.
    #[inline]
    pub(super) fn hash(&self, key: &FlowKey) -> u32 {
        let hash = self.hasher.hash_one(key);
        (hash ^ hash >> 32) as u32
    }

    /// The number of a key's flow.
    #[inline]
    pub(super) fn find(&self, hash: u32, key: &FlowKey) -> Option<u32> {
        let is = |&(other, at): &(u32, u32)| other == hash && self.get(at).key == *key;
        self.table.find(spread(&(hash, 0)), is).map(|&(_, at)| at)
    }

    /// The flow of a number that is in use.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "numbers come from `add` and lie in their chunks for good")]
    pub(super) fn get(&self, at: u32) -> &Flow {
        &self.chunks[(at >> CHUNK_BITS) as usize][at as usize % CHUNK]
    }

    /// The same, to be changed.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "as above")]
    pub(super) fn get_mut(&mut self, at: u32) -> &mut Flow {
        &mut self.chunks[(at >> CHUNK_BITS) as usize][at as usize % CHUNK]
    }

    /// Takes a flow whose key is not there yet; returns its number.
    pub(super) fn add(&mut self, hash: u32, flow: Flow) -> u32 {
        let at = match self.free.pop() {
            Some(at) => {
                *self.get_mut(at) = flow;
                at
            }
            None => self.append(flow),
        };
        self.table.insert_unique(spread(&(hash, 0)), (hash, at), spread);
        at
    }

    fn append(&mut self, flow: Flow) -> u32 {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let full = self.chunks.len().saturating_sub(1) << CHUNK_BITS;
        let Some(chunk) = self.chunks.last_mut() else { return 0 };
        let at = full + chunk.len();
        chunk.push(flow);
        at as u32
    }

    /// Lets go of a flow. What it holds beside itself goes when its number is used again, or by `Flow::empty`.
    pub(super) fn remove(&mut self, at: u32) {
        let hash = self.hash(&self.get(at).key);
        if let Ok(entry) = self.table.find_entry(spread(&(hash, 0)), |&(_, other)| other == at) {
            entry.remove();
        }
        self.free.push(at);
    }

    /// How many flows there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum::<usize>() * size_of::<Flow>()
            + self.free.capacity() * size_of::<u32>()
            + self.table.allocation_size()
    }
}
