//! Summaries of several files to one answer. Bounded like a summary: to a million rows of each kind, unless told otherwise.

use std::cmp::Reverse;
use std::hash::Hash;

use super::codec::{self, BlobError, Head};
use super::protocols::Protocols;
use super::space_saving::{Counted, NOWHERE, Table, top_up};
use super::{Count, Identity, Rows, Summary, SummaryLimits, Talk, Traffic};
use crate::flow::key::FlowKey;
use crate::packet::Nanos;
use crate::packet::addr::{Addr, Mac};
use crate::packet::app::{App, Basis};
use crate::packet::level::Path;

/// What a question needs of summaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The protocol tree.
    pub protocols: bool,
    /// IP addresses.
    pub endpoints: bool,
    /// Hardware addresses.
    pub macs: bool,
    /// Conversations.
    pub conversations: bool,
}

impl Wanted {
    /// Everything.
    pub const ALL: Self = Self { protocols: true, endpoints: true, macs: true, conversations: true };
}

/// The blobs of one summary; those that are not wanted may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Blobs<'a> {
    /// Range and totals.
    pub head: &'a [u8],
    /// The protocol tree.
    pub protocols: &'a [u8],
    /// IP addresses.
    pub endpoints: &'a [u8],
    /// Hardware addresses.
    pub macs: &'a [u8],
    /// Conversations.
    pub conversations: &'a [u8],
}

/// Several summaries in one.
#[derive(Debug)]
pub struct Merged {
    wanted: Wanted,
    range: Option<(Nanos, Nanos)>,
    total: Count,
    protocols: Protocols,
    endpoints: Sums<Addr, Traffic>,
    macs: Sums<Mac, Traffic>,
    conversations: Sums<FlowKey, Sent>,
    /// Rows just decoded, kept for their memory.
    scratch: Scratch,
}

#[derive(Debug, Default)]
struct Scratch {
    protocols: Vec<(Path, Count)>,
    endpoints: Vec<(Addr, Traffic)>,
    macs: Vec<(Mac, Traffic)>,
    conversations: Vec<(FlowKey, Talk)>,
}

impl Merged {
    /// Nothing yet.
    pub fn new(wanted: Wanted, limits: SummaryLimits) -> Self {
        Self {
            wanted,
            range: None,
            total: Count::default(),
            protocols: Protocols::new(),
            endpoints: Sums::new(limits.endpoints),
            macs: Sums::new(limits.macs),
            conversations: Sums::new(limits.conversations),
            scratch: Scratch::default(),
        }
    }

    /// Adds a summary. The order of files makes no difference, unless there are more rows than the bound.
    pub fn add(&mut self, summary: &Summary) {
        self.add_head(summary.range, summary.total);
        if self.wanted.protocols {
            self.protocols.add(&summary.protocols.rows, summary.protocols.missed);
        }
        if self.wanted.endpoints {
            self.endpoints.add(&summary.endpoints.rows, summary.endpoints.missed);
        }
        if self.wanted.macs {
            self.macs.add(&summary.macs.rows, summary.macs.missed);
        }
        if self.wanted.conversations {
            self.conversations.add(&summary.conversations.rows, summary.conversations.missed);
        }
    }

    /// Adds a summary as the index keeps it; like [`Merged::add`].
    ///
    /// # Errors
    /// If a blob that is wanted is damaged or of another version; nothing is added then.
    pub fn add_blobs(&mut self, blobs: &Blobs<'_>) -> Result<(), BlobError> {
        let Self { wanted, scratch, .. } = self;
        let head = Head::decode(blobs.head)?;
        let mut missed = [Count::default(); 4];
        let [protocols, endpoints, macs, conversations] = &mut missed;
        if wanted.protocols {
            scratch.protocols.clear();
            *protocols = codec::protocols(blobs.protocols, &mut scratch.protocols)?;
        }
        if wanted.endpoints {
            scratch.endpoints.clear();
            *endpoints = codec::endpoints(blobs.endpoints, &mut scratch.endpoints)?;
        }
        if wanted.macs {
            scratch.macs.clear();
            *macs = codec::macs(blobs.macs, &mut scratch.macs)?;
        }
        if wanted.conversations {
            scratch.conversations.clear();
            *conversations = codec::conversations(blobs.conversations, &mut scratch.conversations)?;
        }
        self.add_head(head.range, head.total);
        let [protocols, endpoints, macs, conversations] = missed;
        self.protocols.add(&self.scratch.protocols, protocols);
        self.endpoints.add(&self.scratch.endpoints, endpoints);
        self.macs.add(&self.scratch.macs, macs);
        self.conversations.add(&self.scratch.conversations, conversations);
        Ok(())
    }

    fn add_head(&mut self, range: Option<(Nanos, Nanos)>, total: Count) {
        self.total += total;
        if let Some((first, last)) = range {
            let (earliest, latest) = self.range.unwrap_or((first, last));
            self.range = Some((earliest.min(first), latest.max(last)));
        }
    }

    /// Earliest and latest stamp of what was counted.
    pub fn range(&self) -> Option<(Nanos, Nanos)> {
        self.range
    }

    /// All packets.
    pub fn total(&self) -> Count {
        self.total
    }

    /// The nodes of the protocol tree, inner ones too: each right behind its parent, siblings by number.
    pub fn protocols(&self) -> Rows<Path, Count> {
        let leaves = self.protocols.rows();
        let mut rows: Vec<(Path, Count)> = Vec::new();
        // Sorted, the leaves below a node follow each other: the nodes to the last leaf are open, all others are complete.
        let mut open: Vec<usize> = Vec::new();
        for (path, count) in &leaves.rows {
            let is_above =
                |at: &usize| rows.get(*at).is_some_and(|(node, _)| path.prefix(node.depth()) == *node);
            let kept = open.iter().take_while(|at| is_above(at)).count();
            open.truncate(kept);
            for depth in kept + 1..=path.depth() {
                open.push(rows.len());
                rows.push((path.prefix(depth), Count::default()));
            }
            for at in &open {
                if let Some((_, sum)) = rows.get_mut(*at) {
                    *sum += *count;
                }
            }
        }
        Rows { rows, missed: leaves.missed }
    }

    /// IP addresses, those with the most bytes first; ties by address.
    pub fn endpoints(&self) -> Rows<Addr, Traffic> {
        self.endpoints.rows(|traffic, error| Traffic { error, ..*traffic }, Traffic::total)
    }

    /// Hardware addresses, those with the most bytes first; ties by address.
    pub fn macs(&self) -> Rows<Mac, Traffic> {
        self.macs.rows(|traffic, error| Traffic { error, ..*traffic }, Traffic::total)
    }

    /// Conversations, those with the most bytes first; ties by key.
    pub fn conversations(&self) -> Rows<FlowKey, Talk> {
        self.conversations.rows(|sent, error| sent.talk(error), Talk::total)
    }
}

/// What can be summed up.
trait Summed: Counted {
    /// What one file has of it.
    type Part;

    fn add(&mut self, part: &Self::Part);

    fn error(&self) -> Count;
}

impl Summed for Traffic {
    type Part = Self;

    #[inline]
    fn add(&mut self, part: &Self) {
        self.tx += part.tx;
        self.rx += part.rx;
        self.error += part.error;
    }

    fn error(&self) -> Count {
        self.error
    }
}

/// A conversation by the ends of its key, since files may differ in who began it.
#[derive(Debug, Default)]
struct Sent {
    by_a: Count,
    by_b: Count,
    error: Count,
    range: Option<(Nanos, Nanos)>,
    forward: bool,
    identity: Option<(Nanos, Identity)>,
    /// The application told best, of the earliest file among equals: as `(basis, first stamp reversed, level)`.
    app: Option<(Basis, Reverse<Nanos>, App)>,
}

impl Sent {
    fn talk(&self, error: Count) -> Talk {
        let (orig, resp) = if self.forward { (self.by_a, self.by_b) } else { (self.by_b, self.by_a) };
        let (first, last) = self.range.unwrap_or_default();
        let identity = self.identity.map(|(_, identity)| identity).unwrap_or_default();
        let app = self.app.map(|(basis, _, app)| (app, basis));
        Talk { forward: self.forward, identity, orig, resp, first, last, app, error }
    }
}

impl Counted for Sent {
    fn count(&self) -> Count {
        self.by_a + self.by_b
    }

    fn heir(&self, most: Count) -> Self {
        let (mut by_a, mut by_b) = (self.by_a, self.by_b);
        top_up(&mut by_a, &mut by_b, most);
        Self { by_a, by_b, error: most, ..Self::default() }
    }
}

impl Summed for Sent {
    type Part = Talk;

    #[inline]
    fn add(&mut self, part: &Talk) {
        let (by_a, by_b) = if part.forward { (part.orig, part.resp) } else { (part.resp, part.orig) };
        self.by_a += by_a;
        self.by_b += by_b;
        self.error += part.error;
        let (first, last) = self.range.unwrap_or((Nanos::MAX, Nanos::MIN));
        // What files of the same first stamp disagree about is decided by value, so that their order decides nothing.
        if part.first < first || part.first == first && part.forward {
            self.forward = part.forward;
        }
        self.range = Some((first.min(part.first), last.max(part.last)));
        let identity = (part.first, part.identity);
        if part.identity != Identity::None && self.identity.is_none_or(|has| identity < has) {
            self.identity = Some(identity);
        }
        self.app = self.app.max(part.app.map(|(app, basis)| (basis, Reverse(part.first), app)));
    }

    fn error(&self) -> Count {
        self.error
    }
}

/// A row, and how much of what the files missed cannot be missing from it because they have a row of it.
#[derive(Debug, Default)]
struct Sum<V> {
    value: V,
    known: Count,
}

impl<V: Counted> Counted for Sum<V> {
    fn count(&self) -> Count {
        self.value.count()
    }

    fn heir(&self, most: Count) -> Self {
        Self { value: self.value.heir(most), known: Count::default() }
    }
}

/// Rows of several files.
#[derive(Debug)]
struct Sums<K, V> {
    table: Table<K, Sum<V>>,
    missed: Count,
}

impl<K: Copy + Ord + Hash, V: Summed> Sums<K, V> {
    fn new(limit: usize) -> Self {
        Self { table: Table::new(limit), missed: Count::default() }
    }

    /// Adds rows sorted by key.
    fn add(&mut self, rows: &[(K, V::Part)], missed: Count) {
        self.missed += missed;
        // Files of one network have the same keys in the same order.
        let mut hint = NOWHERE;
        for (key, part) in rows {
            let (slot, _) = self.table.slot(key, hint);
            hint = slot.wrapping_add(1);
            if let Some(sum) = self.table.get_mut(slot) {
                sum.value.add(part);
                sum.known += missed;
            }
        }
    }

    fn rows<T>(&self, row: impl Fn(&V, Count) -> T, total: impl Fn(&T) -> Count) -> Rows<K, T> {
        let off = |sum: &Sum<V>| sum.value.error() + self.missed.minus(sum.known);
        let mut rows: Vec<_> =
            self.table.rows().map(|(key, sum)| (*key, row(&sum.value, off(sum)))).collect();
        rows.sort_unstable_by(|(a, x), (b, y)| total(y).bytes.cmp(&total(x).bytes).then_with(|| a.cmp(b)));
        Rows { rows, missed: self.missed + self.table.most_evicted() }
    }
}
