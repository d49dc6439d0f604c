//! Where flows begin, go on under the same key, and end.

use super::*;

impl FlowTable {
    /// Whether the flow found under a packet's key is the packet's; ends the part before if it is, the flow if it is not.
    #[inline]
    pub(super) fn goes_on<W: Watcher + ?Sized>(
        &mut self,
        at: u32,
        forward: bool,
        ip: &Ip<'_>,
        arrival: &Arrival,
        watcher: &mut W,
    ) -> Option<u32> {
        let flow = self.slab.get(at);
        let inner = &flow.inner;
        if inner.class == Class::Closed
            && let Transport::Tcp(tcp) = ip.transport
            && inner.tcp.is_reopened_by(flow.forward == forward, &tcp)
        {
            self.end(at, EndReason::End, watcher);
            return None;
        }
        if self.now.saturating_sub(inner.part_began) >= self.limits.active || inner.is_full(arrival.place) {
            watcher.event(FlowEvent::Ended(EndReason::Active), flow, self.now);
            let flow = self.slab.get_mut(at);
            self.stretched -= u64::from(flow.inner.stretches.take().is_some());
            flow.next_part(arrival, self.now);
            self.queues.next_part(at);
        }
        Some(at)
    }

    /// Begins the flow of a packet, or takes one up that a record tells of.
    #[cold]
    pub(super) fn begin<W: Watcher + ?Sized>(
        &mut self,
        (key, forward): (FlowKey, bool),
        hash: u32,
        packet: &Packet<'_>,
        ip: &Ip<'_>,
        arrival: &Arrival,
        watcher: &mut W,
    ) -> u32 {
        if self.slab.len() >= self.limits.flows.max(1) {
            self.evict(watcher);
        }
        let mut flow = Flow::new(key, forward, packet, arrival, self.now);
        match ip.transport {
            // The receiver of a SYN-ACK sent the SYN.
            Transport::Tcp(tcp) if tcp.flags & (Tcp::SYN | Tcp::ACK) == Tcp::SYN | Tcp::ACK => flow.flip(),
            Transport::Icmp(icmp) => flow.icmp = Some((icmp.kind, icmp.code)),
            _ => {}
        }
        if let Some(written) = self.resumed.take(&key) {
            flow.resume(&written);
        } else {
            self.begun += 1;
        }
        flow.inner.class = flow.class();
        let class = flow.inner.class;
        let at = self.slab.add(hash, flow);
        self.queues.add(class, at);
        self.due = self.due.min(self.now.saturating_add(self.limits.idle(class)));
        at
    }

    /// Makes room for a flow.
    #[cold]
    fn evict<W: Watcher + ?Sized>(&mut self, watcher: &mut W) {
        let heads = Class::ALL.into_iter().filter_map(|class| self.queues.oldest(class));
        if let Some(at) = heads.min_by_key(|&at| self.slab.get(at).seen) {
            self.evicted += 1;
            self.end(at, EndReason::Resources, watcher);
        }
    }

    /// Ends a flow.
    pub(super) fn end<W: Watcher + ?Sized>(&mut self, at: u32, reason: EndReason, watcher: &mut W) {
        watcher.event(FlowEvent::Ended(reason), self.slab.get(at), self.now);
        let flow = self.slab.get_mut(at);
        flow.inner.known.clear(&mut self.facts);
        self.stretched -= u64::from(flow.inner.stretches.take().is_some());
        let class = flow.inner.class;
        self.queues.remove(class, at);
        self.slab.remove(at);
    }

    /// Notes where a first fragment lies that others may follow.
    #[cold]
    pub(super) fn mark_fragment(&mut self, ip: &Ip<'_>, place: Place) {
        self.forget_fragments();
        if ip.fragment.is_some_and(|fragment| fragment.offset == 0 && fragment.more) {
            self.fragments[1].get_or_insert(place);
        }
    }

    /// Forgets first fragments as the keyer does.
    pub(super) fn forget_fragments(&mut self) {
        self.keyer.grow_old(self.now);
        let fragments = self.keyer.fragments();
        if self.generation != fragments.generation() {
            let turns = fragments.generation() - self.generation;
            self.generation = fragments.generation();
            self.fragments = [if turns == 1 { self.fragments[1] } else { None }, None];
        }
    }
}

impl Flow {
    fn new(key: FlowKey, forward: bool, packet: &Packet<'_>, arrival: &Arrival, now: Nanos) -> Self {
        Self {
            key,
            id: arrival.place,
            part: 0,
            forward,
            start: arrival.at,
            last: arrival.at,
            began: now,
            answered: 0,
            seen: now,
            orig: Side::default(),
            resp: Side::default(),
            before: [(0, 0); 2],
            macs: packet.macs.map(|macs| (macs.src, macs.dst)),
            icmp: None,
            ttl: (u8::MAX, u8::MIN),
            app: None,
            inner: Inner {
                tcp: Tracker::default(),
                part_began: now,
                missed: 0,
                stretch: Stretch::at(arrival.place),
                stretches: None,
                known: Known::default(),
                class: Class::Other,
                refused: false,
                whole: false,
            },
        }
    }

    /// Takes the sender of the first packet for the responder.
    fn flip(&mut self) {
        self.forward = !self.forward;
        self.macs = self.macs.map(|(src, dst)| (dst, src));
        self.inner.tcp.flip();
    }

    /// Begins the next part with a packet.
    fn next_part(&mut self, arrival: &Arrival, now: Nanos) {
        for (side, before) in [&mut self.orig, &mut self.resp].into_iter().zip(&mut self.before) {
            *before = (before.0 + side.packets, before.1 + side.bytes);
            *side = Side { flags: side.flags, ..Side::default() };
        }
        self.part = self.part.saturating_add(1);
        (self.start, self.last) = (arrival.at, arrival.at);
        let inner = &mut self.inner;
        inner.part_began = now;
        inner.missed = 0;
        inner.stretch = Stretch::at(arrival.place);
    }
}

impl Inner {
    /// Where this part's first packet lies.
    pub(super) fn first(&self) -> Place {
        let &Stretch(file, offset, _) = self.before().first().unwrap_or(&self.stretch);
        Place { file, offset }
    }

    /// The stretches before the last one.
    pub(super) fn before(&self) -> &[Stretch] {
        let before = self.stretches.as_ref();
        before.and_then(|before| before.stretches.get(..usize::from(before.len))).unwrap_or_default()
    }

    /// Whether a record of this part could not name a packet at `place`.
    #[inline]
    fn is_full(&self, place: Place) -> bool {
        self.stretch.0 != place.file && self.before().len() + 1 >= MAX_STRETCHES
    }

    /// Begins another stretch, or lets the last one grow when there are too many; whether it is the second.
    pub(super) fn leave_stretch(&mut self, place: Place) -> bool {
        let is_second = self.stretches.is_none();
        let before = self.stretches.get_or_insert_default();
        if let Some(free) = before.stretches.get_mut(usize::from(before.len)) {
            *free = std::mem::replace(&mut self.stretch, Stretch::at(place));
            before.len += 1;
        } else {
            let _ = self.stretch.take(place, true);
        }
        is_second
    }
}
