//! Which addresses and Community IDs a file can hold: a blocked Bloom filter (Putze, Sanders, Singler, "Cache-, hash- and
//! space-efficient Bloom filters", 2007), seven bits in one block of 512 for each item.
//!
//! It is filled at its largest size and folded, half onto half, until it is as full as it may be: so its size follows the
//! number of items, which nobody need know beforehand, and depends on nothing but the set of them. It never denies an item that
//! it was given. The hash is fixed, since other processes must find what one has written; whoever aims at it makes a query
//! look into a file in vain.

use crate::packet::addr::Addr;
use crate::packet::community_id::CommunityId;

const WORDS: usize = 8;
/// Bytes of a block.
pub(super) const BLOCK: usize = WORDS * 8;
/// Blocks of a filter being filled: 128 KiB, good for 90,000 items.
const MAX_BLOCKS: usize = 2048;
/// Bits set for an item.
const PROBES: u32 = 7;
/// Per mille of bits that are set at most, where there is room: less than one strange item in a hundred is then taken for one of ours.
const FULL: u64 = 450;
/// Per mille of bits from which a filter tells nothing.
const SATURATED: u64 = 900;

/// An address or Community ID, as filters know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe(u64);

impl From<Addr> for Probe {
    #[inline]
    fn from(addr: Addr) -> Self {
        let bytes = u128::from_be_bytes(addr.to_bytes());
        Self(mix(mix(bytes as u64 ^ 0x9e37_79b9_7f4a_7c15) ^ (bytes >> 64) as u64))
    }
}

impl From<CommunityId> for Probe {
    #[inline]
    fn from(id: CommunityId) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = id.0;
        Self(mix(u64::from_be_bytes([a, b, c, d, e, f, g, h])))
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
#[inline]
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Probe {
    /// Its block among `blocks`, a power of two: of a folded filter, the one its block was folded onto.
    #[inline]
    fn block(self, blocks: usize) -> usize {
        self.0 as usize & (blocks - 1)
    }

    /// Its bits in the block.
    #[inline]
    fn bits(self) -> [u64; WORDS] {
        let mut bits = [0; WORDS];
        // The block took bits of the hash itself, so these come from the next one.
        let mut rest = mix(self.0);
        for _ in 0..PROBES {
            if let Some(word) = bits.get_mut((rest >> 6) as usize % WORDS) {
                *word |= 1 << (rest % 64);
            }
            rest >>= 9;
        }
        bits
    }
}

/// A filter: may hold what [`Filter::may_hold`] says it may, and surely nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// A power of two of blocks; none of a filter that holds too much to tell anything.
    pub(super) blocks: Vec<[u64; WORDS]>,
}

impl Default for Filter {
    /// Nothing in it.
    fn default() -> Self {
        Self { blocks: vec![[0; WORDS]] }
    }
}

impl Filter {
    /// One that tells nothing.
    pub fn saturated() -> Self {
        Self { blocks: Vec::new() }
    }

    /// Whether the item may be among those of the file.
    pub fn may_hold(&self, item: impl Into<Probe>) -> bool {
        let probe = item.into();
        if self.blocks.is_empty() {
            return true;
        }
        let block = self.blocks.get(probe.block(self.blocks.len()));
        block.is_none_or(|block| block.iter().zip(probe.bits()).all(|(has, wants)| has & wants == wants))
    }

    /// Whether it holds too much to tell anything.
    pub fn is_saturated(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(super) fn from_blocks(blocks: Vec<[u64; WORDS]>) -> Option<Self> {
        (blocks.is_empty() || blocks.len().is_power_of_two() && blocks.len() <= MAX_BLOCKS)
            .then_some(Self { blocks })
    }
}

/// A filter being filled.
#[derive(Debug)]
pub struct FilterBuilder {
    blocks: Box<[[u64; WORDS]]>,
}

impl Default for FilterBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl FilterBuilder {
    /// Nothing in it yet; takes 128 KiB.
    pub fn new() -> Self {
        Self { blocks: vec![[0; WORDS]; MAX_BLOCKS].into_boxed_slice() }
    }

    /// Adds an address or Community ID.
    #[inline]
    pub fn add(&mut self, item: impl Into<Probe>) {
        let probe: Probe = item.into();
        if let Some(block) = self.blocks.get_mut(probe.block(MAX_BLOCKS)) {
            for (has, adds) in block.iter_mut().zip(probe.bits()) {
                *has |= adds;
            }
        }
    }

    /// The filter, of at most `budget` bytes or one block.
    pub fn filter(&self, budget: u64) -> Filter {
        let mut blocks = self.blocks.to_vec();
        while blocks.len() > 1 {
            let folded = fold(&blocks);
            if (blocks.len() * BLOCK) as u64 <= budget && per_mille(&folded) > FULL {
                break;
            }
            blocks = folded;
        }
        if per_mille(&blocks) > SATURATED {
            blocks.clear();
        }
        Filter { blocks }
    }
}

fn fold(blocks: &[[u64; WORDS]]) -> Vec<[u64; WORDS]> {
    let (low, high) = blocks.split_at(blocks.len() / 2);
    let both = |(a, b): (&[u64; WORDS], &[u64; WORDS])| std::array::from_fn(|at| a[at] | b[at]);
    low.iter().zip(high).map(both).collect()
}

fn per_mille(blocks: &[[u64; WORDS]]) -> u64 {
    let set: u64 = blocks.iter().flatten().map(|word| u64::from(word.count_ones())).sum();
    set * 1000 / (blocks.len() * BLOCK * 8).max(1) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addr(number: u32) -> Addr {
        Addr::v4(number.to_be_bytes())
    }

    proptest! {
        #[test]
        fn what_was_added_is_held(items in prop::collection::vec(any::<u32>(), 0..3000), budget in 0_u64..10_000) {
            let mut builder = FilterBuilder::new();
            items.iter().for_each(|&item| builder.add(addr(item)));
            let filter = builder.filter(budget);
            prop_assert!(filter.blocks.len() * BLOCK <= (budget as usize).max(BLOCK));
            prop_assert!(items.iter().all(|&item| filter.may_hold(addr(item))));
        }
    }

    #[test]
    fn of_strangers_less_than_one_in_fifty_passes_and_the_size_follows_the_number() {
        for (items, most) in
            [(0, 64), (10, 64), (100, 256), (1_000, 2_048), (10_000, 32_768), (60_000, 131_072)]
        {
            let mut builder = FilterBuilder::new();
            (0..items).for_each(|item| builder.add(addr(0x0a00_0000 + item)));
            let filter = builder.filter(u64::MAX);
            assert!(filter.blocks.len() * BLOCK <= most, "{items}: {}", filter.blocks.len() * BLOCK);
            let passed = (0..100_000).filter(|item| filter.may_hold(addr(0xc000_0000 + item))).count();
            assert!(passed < 2_000, "{items}: {passed}");
        }
    }

    #[test]
    fn too_many_items_saturate_it() {
        let mut builder = FilterBuilder::new();
        (0..2_000_000).for_each(|item| builder.add(addr(item)));
        let filter = builder.filter(u64::MAX);
        assert!(filter.is_saturated() && filter.may_hold(addr(u32::MAX)));
    }
}
