//! The bytes of one simulated file: what readers see, what a power cut keeps, and the pages in between.
//!
//! Invariant: a page whose cached bytes differ from the kept ones is dirty, unless a failed sync lost it.

use std::collections::{BTreeMap, BTreeSet};

use super::rng::Rng;

/// Bytes of a page, the unit of write-back and of allocation.
pub const PAGE: u64 = 4096;

/// What becomes of un-synced bytes in a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// All are lost, the length with them.
    Nothing,
    /// All are kept.
    All,
    /// The length is kept in part or in full, the bytes are zero.
    Zeros,
    /// The first pages are kept; what follows is lost or zero.
    Prefix,
    /// Any pages are kept; the others are zero.
    Subset,
}

/// One file.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// What readers see.
    pub cached: Vec<u8>,
    /// What a power cut surely keeps.
    pub kept: Vec<u8>,
    dirty: BTreeSet<u64>,
    /// Pages under write-back, as they were when it began.
    begun: BTreeMap<u64, Vec<u8>>,
    /// The lowest length to which the file was cut since the last sync.
    cut: Option<u64>,
    allocated: BTreeSet<u64>,
    kept_allocated: BTreeSet<u64>,
    /// How many have it open.
    pub handles: usize,
}

impl Content {
    /// An empty file that its creator has open.
    pub fn opened() -> Self {
        Self { handles: 1, ..Self::default() }
    }

    /// A file whose bytes are all on the device.
    pub fn durable(bytes: &[u8]) -> Self {
        let allocated: BTreeSet<u64> = (0..pages(bytes.len() as u64)).collect();
        Self {
            cached: bytes.to_vec(),
            kept: bytes.to_vec(),
            allocated: allocated.clone(),
            kept_allocated: allocated,
            ..Self::default()
        }
    }

    /// Pages that it takes from the disk.
    pub fn allocated(&self) -> u64 {
        self.allocated.len() as u64
    }

    /// Writes until `free` pages are used up; returns how many bytes.
    pub fn write(&mut self, buf: &[u8], offset: u64, mut free: u64) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let page = at / PAGE;
            if !self.allocated.contains(&page) {
                if free == 0 {
                    break;
                }
                free -= 1;
                self.allocated.insert(page);
            }
            let len = (buf.len() - done).min((PAGE - at % PAGE) as usize);
            put(&mut self.cached, at, &buf[done..done + len]);
            self.dirty.insert(page);
            done += len;
        }
        done
    }

    /// Reads; 0 at the end.
    pub fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let rest = self.cached.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        len
    }

    /// Cuts or extends; blocks behind the end are given back, reserved ones too.
    pub fn truncate(&mut self, len: u64) {
        if len < self.cached.len() as u64 {
            self.cut = Some(self.cut.map_or(len, |cut| cut.min(len)));
            self.begun.retain(|page, _| (page + 1) * PAGE <= len);
            self.dirty.retain(|page| *page < pages(len));
        }
        self.cached.resize(len as usize, 0);
        self.allocated.retain(|page| *page < pages(len));
    }

    /// Allocates until `free` pages are used up; whether that was enough.
    pub fn reserve(&mut self, offset: u64, len: u64, mut free: u64) -> bool {
        for page in offset / PAGE..pages(offset + len) {
            if self.allocated.contains(&page) {
                continue;
            }
            if free == 0 {
                return false;
            }
            free -= 1;
            self.allocated.insert(page);
        }
        true
    }

    /// Lets a power cut keep the dirty pages of a range as they are now; it need not.
    pub fn begin_writeback(&mut self, offset: u64, len: u64) {
        let range = offset / PAGE..pages(offset.saturating_add(len));
        let begun = self.dirty.range(range).map(|page| (*page, page_of(&self.cached, *page).to_vec()));
        self.begun.extend(begun);
    }

    /// Makes all dirty pages and the length durable.
    pub fn sync(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.kept.truncate(cut as usize);
        }
        for page in std::mem::take(&mut self.dirty) {
            put(&mut self.kept, page * PAGE, page_of(&self.cached, page));
        }
        self.begun.clear();
        self.kept.resize(self.cached.len(), 0);
        self.kept_allocated.clone_from(&self.allocated);
    }

    /// What a failed sync does on Linux: the dirty pages are called clean, readers still see them, nobody writes them.
    pub fn lose_dirty(&mut self) {
        self.dirty.clear();
        self.begun.clear();
    }

    /// The file after a power cut.
    pub fn survive(&self, survival: Survival, rng: &mut Rng) -> Self {
        let undone = survival == Survival::Nothing || (survival != Survival::All && rng.one_in(4));
        if undone {
            return Self {
                cached: self.kept.clone(),
                kept: self.kept.clone(),
                allocated: self.kept_allocated.clone(),
                kept_allocated: self.kept_allocated.clone(),
                ..Self::default()
            };
        }
        let mut bytes = self.kept.clone();
        bytes.truncate(self.cut.map_or(bytes.len(), |cut| cut as usize));
        let floor = bytes.len();
        let written = self.written(survival, rng);
        for page in &written {
            let begun = self.begun.get(page).filter(|_| survival != Survival::All && rng.one_in(2));
            put(&mut bytes, page * PAGE, begun.map_or(page_of(&self.cached, *page), Vec::as_slice));
        }
        let full = self.cached.len();
        let length = match survival {
            Survival::Zeros if rng.one_in(2) => (floor
                + rng.below(full.saturating_sub(floor) as u64 + 1) as usize)
                .next_multiple_of(PAGE as usize),
            Survival::Prefix | Survival::Subset if rng.one_in(2) => bytes.len(),
            _ => full,
        };
        bytes.resize(length.min(full).max(bytes.len()), 0);
        let allocated: BTreeSet<u64> = match self.cut {
            Some(_) => self.allocated.clone(),
            None => self.kept_allocated.union(&self.allocated).copied().collect(),
        };
        let behind = pages(bytes.len() as u64);
        let allocated: BTreeSet<u64> = allocated
            .into_iter()
            .filter(|page| *page < behind || self.kept_allocated.contains(page))
            .collect();
        Self {
            kept: bytes.clone(),
            cached: bytes,
            kept_allocated: allocated.clone(),
            allocated,
            ..Self::default()
        }
    }

    fn written(&self, survival: Survival, rng: &mut Rng) -> Vec<u64> {
        let dirty = self.dirty.iter().copied();
        match survival {
            Survival::Nothing | Survival::Zeros => Vec::new(),
            Survival::All => dirty.collect(),
            Survival::Prefix => dirty.take(rng.below(self.dirty.len() as u64 + 1) as usize).collect(),
            Survival::Subset => dirty.filter(|_| rng.one_in(2)).collect(),
        }
    }
}

fn pages(len: u64) -> u64 {
    len.div_ceil(PAGE)
}

fn page_of(bytes: &[u8], page: u64) -> &[u8] {
    let from = ((page * PAGE) as usize).min(bytes.len());
    &bytes[from..bytes.len().min(from + PAGE as usize)]
}

fn put(bytes: &mut Vec<u8>, at: u64, from: &[u8]) {
    let (at, end) = (at as usize, at as usize + from.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(from);
}
