//! Who wants to hear of what: detectors, by their number, under each kind of packet and of flow event.
//!
//! A number is a bit, so that a packet of several kinds is told once to each that wants it, in the detectors' order, and what
//! nobody wants costs one comparison.

use super::{Events, Interest};

/// A set of detectors, by number.
pub(super) type Detectors = u64;

/// The most detectors there may be.
pub(super) const MAX: usize = Detectors::BITS as usize;

/// What the detectors want.
#[derive(Debug, Clone, Default)]
pub(super) struct Audience {
    /// Kinds of packets that anybody wants.
    any: Interest,
    /// By bit of [`Interest`].
    packets: [Detectors; u16::BITS as usize],
    /// By bit of [`Events`].
    events: [Detectors; u8::BITS as usize],
}

impl Audience {
    /// Notes what detector `number`, below [`MAX`], wants.
    pub(super) fn add(&mut self, number: usize, packets: Interest, events: Events) {
        self.any = self.any.and(packets);
        let own = |kinds: u16| move |kind: usize| Detectors::from(kinds >> kind & 1) << number;
        let (packets, events) = (own(packets.0), own(events.0.into()));
        self.packets.iter_mut().enumerate().for_each(|(kind, who)| *who |= packets(kind));
        self.events.iter_mut().enumerate().for_each(|(kind, who)| *who |= events(kind));
    }

    /// Who wants a packet of these kinds.
    #[inline]
    pub(super) fn of_packet(&self, kinds: Interest) -> Detectors {
        gather(&self.packets, kinds.0 & self.any.0)
    }

    /// Who wants an event.
    #[inline]
    pub(super) fn of_event(&self, event: Events) -> Detectors {
        gather(&self.events, event.0.into())
    }
}

#[inline]
fn gather(lists: &[Detectors], kinds: u16) -> Detectors {
    numbers(kinds.into()).filter_map(|kind| lists.get(kind)).fold(0, |all, who| all | who)
}

/// The numbers in a set, ascending.
#[inline]
pub(super) fn numbers(mut set: Detectors) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let first = (set != 0).then(|| set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_in_order_of_what_it_wants() {
        let mut audience = Audience::default();
        audience.add(0, Interest::ICMP, Events::NONE);
        audience.add(3, Interest::UDP.and(Interest::NAMES), Events::BEGUN.and(Events::ENDED));
        audience.add(MAX - 1, Interest::NAMES, Events::ENDED);
        let packet = |kinds| numbers(audience.of_packet(kinds)).collect::<Vec<_>>();
        assert_eq!(packet(Interest::UDP.and(Interest::NAMES).and(Interest::EVERY)), [3, MAX - 1]);
        assert_eq!(packet(Interest::ICMP.and(Interest::UDP)), [0, 3]);
        assert!(packet(Interest::ARP).is_empty());
        let event = |event| numbers(audience.of_event(event)).collect::<Vec<_>>();
        assert_eq!(event(Events::ENDED), [3, MAX - 1]);
        assert!(event(Events::NAMED).is_empty());
    }
}
