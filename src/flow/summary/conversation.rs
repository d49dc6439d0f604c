//! A conversation being counted, with what saves looking up the rows that its packets count in.

use super::space_saving::{Counted, NOWHERE, top_up};
use super::{Count, Identity, Talk};
use crate::packet::Nanos;
use crate::packet::app::Sniffer;

/// A conversation's row.
#[derive(Debug)]
pub(super) struct Conversation {
    /// What the key's `a` and `b` sent.
    pub(super) sent: [Count; 2],
    /// Of both together, what may be another's.
    pub(super) error: Count,
    pub(super) first: Nanos,
    pub(super) last: Nanos,
    /// Whether `a` is the originator.
    pub(super) forward: bool,
    /// Whether the row has seen a packet of its own.
    pub(super) begun: bool,
    /// Whether it has seen one that counts.
    pub(super) counted: bool,
    pub(super) identity: Identity,
    /// The latest ICMP flow whose Community ID the filter has: its numbers, and whether its `a` is the conversation's.
    pub(super) icmp: Option<(u16, u16, bool)>,
    pub(super) sniffer: Sniffer,
    /// Rows of `a` and `b` among the endpoints; of their hardware addresses; of the paths without and with payload. Only hints.
    pub(super) endpoints: [u32; 2],
    pub(super) macs: [u32; 2],
    pub(super) paths: [u32; 2],
}

impl Default for Conversation {
    fn default() -> Self {
        Self {
            sent: [Count::default(); 2],
            error: Count::default(),
            first: 0,
            last: 0,
            forward: true,
            begun: false,
            counted: false,
            identity: Identity::None,
            icmp: None,
            sniffer: Sniffer::default(),
            endpoints: [NOWHERE; 2],
            macs: [NOWHERE; 2],
            paths: [NOWHERE; 2],
        }
    }
}

impl Conversation {
    /// As the summary has it.
    pub(super) fn talk(&self) -> Talk {
        let [a, b] = self.sent;
        let (orig, resp) = if self.forward { (a, b) } else { (b, a) };
        Talk {
            forward: self.forward,
            identity: self.identity,
            orig,
            resp,
            first: self.first,
            last: self.last,
            app: self.sniffer.app(),
            error: self.error,
        }
    }
}

impl Counted for Conversation {
    fn count(&self) -> Count {
        let [a, b] = self.sent;
        a + b
    }

    fn heir(&self, most: Count) -> Self {
        let [mut a, mut b] = self.sent;
        top_up(&mut a, &mut b, most);
        Self { sent: [a, b], error: most, ..Self::default() }
    }
}
