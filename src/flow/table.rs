//! The flow table: packets to flows, flows to events and records.
//!
//! Flows lie in chunks that never move; a hash table of their numbers finds them, and lists through the numbers keep them in the
//! order in which they fall silent, one list per idle timeout. So time costs a packet one comparison, the longest idle flow is
//! at the head of a list, and the oldest part without a record at the head of another.
//!
//! Every decision depends on the packets and their stream time alone, so that the same packets give the same flows, live, from
//! a file, and again after a crash.

use crate::packet::addr::{Addr, Mac, Vlan};
use crate::packet::app::{App, Basis, Facts};
use crate::packet::decode::{Flaws, Ip, Net, Packet, Tcp, Transport};
use crate::packet::{Nanos, Place};

use super::key::{FlowKey, Keyer, Numbers};
use super::record::{EndReason, FlowRecord, MAX_STRETCHES, Stretch, Stretches};
use super::tcp::{ConnState, Tracker};

mod apps;
mod begin;
mod lists;
mod quoted;
mod resume;
mod slab;
mod write;

use apps::{Bound, Known};
use lists::Queues;
use resume::Resumed;
use slab::Slab;

/// The most fragmented packets whose first fragment is remembered.
const FRAGMENTS: usize = 16_384;

/// When flows end, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowLimits {
    /// The most flows at a time.
    pub flows: usize,
    /// Idle time after which an established TCP flow ends.
    pub tcp_idle: Nanos,
    /// Of one that is half open.
    pub tcp_half_open: Nanos,
    /// Of one that is closed.
    pub tcp_closed: Nanos,
    /// Idle time after which any other flow ends.
    pub other_idle: Nanos,
    /// Time after which a long flow gives a record.
    pub active: Nanos,
}

/// One side of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Side {
    /// Packets sent since the last record.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Their payload bytes.
    pub payload: u64,
    /// TCP flags seen in the whole flow, ORed.
    pub flags: u8,
}

/// What has happened to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowEvent {
    /// Its first packet.
    Begun,
    /// The first packet of its responder.
    Answered,
    /// The responder reset a connection that was not open, or an ICMP message says that it cannot be reached. Once a flow.
    Refused,
    /// A TCP handshake is complete.
    Established,
    /// Its application became known, or better known.
    Named,
    /// It is over, or (`Active`) a part of it is.
    Ended(EndReason),
}

/// A flow as the table holds it.
#[derive(Debug)]
pub struct Flow {
    /// Its key.
    pub key: FlowKey,
    /// Where its first packet lies: what the flow is called.
    pub id: Place,
    /// The number of the part being counted, from 0.
    pub part: u32,
    /// Whether the originator is the key's `a`.
    pub forward: bool,
    /// The earliest and the latest stamp of this part, wall clock.
    pub start: Nanos,
    /// See `start`.
    pub last: Nanos,
    /// Stream time of the flow's first packet, of its first answer (0: none) and of its latest packet.
    pub began: Nanos,
    /// See `began`.
    pub answered: Nanos,
    /// See `began`.
    pub seen: Nanos,
    /// What the originator sent in this part.
    pub orig: Side,
    /// What the responder sent in this part.
    pub resp: Side,
    /// What both sent in the parts before, originator first: packets and bytes.
    pub before: [(u64, u64); 2],
    /// Hardware addresses of the first packet, originator first.
    pub macs: Option<(Mac, Mac)>,
    /// Type and code of the first ICMP packet.
    pub icmp: Option<(u8, u8)>,
    /// Smallest and largest time to live.
    pub ttl: (u8, u8),
    /// The application, and how it was told.
    pub app: Option<(App, Basis)>,
    /// What the sniffer, the TCP tracker and the fact reader keep; of no use elsewhere.
    pub(super) inner: Inner,
}

/// What only the table looks into.
#[derive(Debug)]
pub(super) struct Inner {
    tcp: Tracker,
    /// Stream time of this part's first packet.
    part_began: Nanos,
    /// TCP bytes of this part that are missing.
    missed: u64,
    /// The last stretch of its packets, and those before.
    stretch: Stretch,
    stretches: Option<Box<Before>>,
    known: Known,
    /// The idle timeout that it is under.
    class: Class,
    /// Whether it was told that the flow was refused.
    refused: bool,
    /// Whether a packet showed all that a Community ID is made of.
    whole: bool,
}

/// The stretches of a part before its last one. Of a fixed size, so that they are allocated once.
#[derive(Debug, Default)]
struct Before {
    stretches: [Stretch; MAX_STRETCHES - 1],
    len: u8,
}

/// What decides how long a flow may be idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Idle,
    HalfOpen,
    Closed,
    Other,
}

impl Flow {
    /// The originator: address and port (0 where there are none).
    pub fn originator(&self) -> (Addr, u16) {
        if self.forward { self.key.a } else { self.key.b }
    }

    /// The responder: address and port (0 where there are none).
    pub fn responder(&self) -> (Addr, u16) {
        if self.forward { self.key.b } else { self.key.a }
    }

    /// The ports, originator's first, if it has any.
    pub fn ports(&self) -> Option<(u16, u16)> {
        (self.key.numbers == Numbers::Ports).then(|| (self.originator().1, self.responder().1))
    }

    /// The VLAN.
    pub fn vlan(&self) -> Vlan {
        self.key.vlan
    }

    /// State of a TCP connection, judged by what was seen so far.
    pub fn conn_state(&self) -> Option<ConnState> {
        self.is_tcp().then(|| self.inner.tcp.state())
    }

    /// History of a TCP connection.
    pub fn history(&self) -> &str {
        self.inner.tcp.history()
    }

    /// TCP payload bytes of this part that are missing.
    pub fn missed_bytes(&self) -> Option<u64> {
        self.is_tcp().then_some(self.inner.missed)
    }

    /// What is known of its application.
    pub fn facts(&self) -> Option<&Facts> {
        self.inner.known.facts()
    }

    /// Whether it is TCP whose header was seen.
    fn is_tcp(&self) -> bool {
        self.key.proto == 6 && self.key.numbers == Numbers::Ports
    }

    /// The idle timeout that it is under by now.
    #[inline]
    fn class(&self) -> Class {
        let tcp = &self.inner.tcp;
        if !self.is_tcp() {
            Class::Other
        } else if tcp.is_closed() {
            Class::Closed
        } else if tcp.is_half_open() {
            Class::HalfOpen
        } else {
            Class::Idle
        }
    }
}

/// One packet on its way to a flow.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arrival {
    /// Its stamp, wall clock.
    pub at: Nanos,
    /// Stream time.
    pub now: Nanos,
    /// Where it lies.
    pub place: Place,
    /// Bytes on the wire.
    pub wire_len: u32,
}

/// Told of what happens to flows. A packet's events come when it is counted, but `Ended` before: before the flow leaves the
/// table or begins its next part.
pub trait Watcher {
    /// Something happened.
    fn event(&mut self, event: FlowEvent, flow: &Flow, now: Nanos);
}

/// What the table has done, for `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableCounts {
    /// Flows now.
    pub flows: u64,
    /// Flows begun.
    pub begun: u64,
    /// Flows evicted because the table was full.
    pub evicted: u64,
    /// Flows whose facts could not be kept because too many bytes of facts were.
    pub without_facts: u64,
    /// Bytes of memory held, about.
    pub memory: u64,
}

/// All flows that are not over.
#[derive(Debug)]
pub struct FlowTable {
    limits: FlowLimits,
    keyer: Keyer,
    slab: Slab,
    queues: Queues,
    resumed: Resumed,
    /// Bytes of facts.
    facts: Bound,
    /// Nothing ends before this stream time.
    due: Nanos,
    /// The latest stream time.
    now: Nanos,
    /// Where the first fragments that are remembered lie: the first of the generation before, and of this one.
    fragments: [Option<Place>; 2],
    generation: u64,
    begun: u64,
    evicted: u64,
    /// Flows whose part has more than one stretch.
    stretched: u64,
}

impl FlowTable {
    /// An empty table.
    pub fn new(limits: FlowLimits) -> Self {
        Self {
            limits,
            keyer: Keyer::new(FRAGMENTS),
            slab: Slab::default(),
            queues: Queues::default(),
            resumed: Resumed::default(),
            facts: Bound::default(),
            due: Nanos::MAX,
            now: 0,
            fragments: [None; 2],
            generation: 0,
            begun: 0,
            evicted: 0,
            stretched: 0,
        }
    }

    /// Counts a packet, and tells `watcher` what that changes; returns its flow, and whether the packet is the originator's.
    /// `None` if the packet is not IP, or is covered by a record that is written already (see [`FlowTable::resume`]).
    #[inline]
    pub fn packet<W: Watcher + ?Sized>(
        &mut self,
        packet: &Packet<'_>,
        arrival: &Arrival,
        watcher: &mut W,
    ) -> Option<(&Flow, bool)> {
        self.now = self.now.max(arrival.now);
        let now = self.now;
        if now >= self.due {
            self.expire(now, watcher);
        }
        let Net::Ip(ip) = &packet.net else { return None };
        let (key, forward) = self.keyer.key(packet, now)?;
        if ip.fragment.is_some() {
            self.mark_fragment(ip, arrival.place);
        }
        if !self.resumed.is_empty() && self.resumed.covers(&key, arrival.place, now) {
            return None;
        }
        let hash = self.slab.hash(&key);
        let found = self.slab.find(hash, &key);
        let found = found.and_then(|at| self.goes_on(at, forward, ip, arrival, watcher));
        let is_new = found.is_none();
        let at = match found {
            Some(at) => at,
            None => self.begin((key, forward), hash, packet, ip, arrival, watcher),
        };
        let (from_orig, mut news) = self.count(at, forward, packet, ip, arrival);
        news.begun = is_new;
        if news != News::default() {
            self.tell(at, news, watcher);
        }
        if let Transport::Icmp(icmp) = ip.transport
            && let Some(other) = self.quoted(packet, ip, icmp.kind)
        {
            let flow = self.slab.get_mut(other);
            if !flow.inner.refused {
                flow.inner.refused = true;
                watcher.event(FlowEvent::Refused, flow, now);
            }
        }
        Some((self.slab.get(at), from_orig))
    }

    /// Counts a packet in its flow.
    #[inline]
    fn count(
        &mut self,
        at: u32,
        forward: bool,
        packet: &Packet<'_>,
        ip: &Ip<'_>,
        arrival: &Arrival,
    ) -> (bool, News) {
        let now = self.now;
        let mut news = News::default();
        let flow = self.slab.get_mut(at);
        let from_orig = flow.forward == forward;
        if !from_orig && flow.answered == 0 {
            flow.answered = now.max(1);
            news.answered = true;
        }
        let side = if from_orig { &mut flow.orig } else { &mut flow.resp };
        side.packets += 1;
        side.bytes += u64::from(arrival.wire_len);
        side.payload += u64::from(ip.payload_len);
        flow.start = flow.start.min(arrival.at);
        flow.last = flow.last.max(arrival.at);
        flow.seen = now;
        flow.ttl = (flow.ttl.0.min(ip.ttl), flow.ttl.1.max(ip.ttl));
        if !flow.inner.stretch.take(arrival.place, false) {
            self.stretched += u64::from(flow.inner.leave_stretch(arrival.place));
        }
        let class = match ip.transport {
            Transport::Tcp(tcp) => {
                side.flags |= tcp.flags;
                // A header that is cut behind the ports tells nothing of the connection.
                if tcp.flags != 0 || tcp.seq != 0 || !packet.flaws.has(Flaws::CUT) {
                    let change = flow.inner.tcp.packet(from_orig, &tcp, ip.payload_len, arrival.at);
                    flow.inner.missed += u64::from(change.missed);
                    news.established = change.established;
                    news.refused = change.refused && !flow.inner.refused;
                    flow.inner.refused |= change.refused;
                }
                flow.class()
            }
            _ => flow.inner.class,
        };
        flow.inner.whole |= ip.transport != Transport::Later;
        news.named = !ip.payload.is_empty() && flow.look(from_orig, ip, &mut self.facts);
        self.queue(at, class);
        (from_orig, news)
    }

    /// Puts a flow at the end of the queue of its class.
    #[inline]
    fn queue(&mut self, at: u32, class: Class) {
        let flow = self.slab.get_mut(at);
        if flow.inner.class == class {
            self.queues.touch(class, at);
        } else {
            let before = std::mem::replace(&mut flow.inner.class, class);
            self.queues.change(before, class, at);
            self.due = self.due.min(self.now.saturating_add(self.limits.idle(class)));
        }
    }

    /// Tells of what a packet changed.
    #[cold]
    fn tell<W: Watcher + ?Sized>(&mut self, at: u32, news: News, watcher: &mut W) {
        let flow = self.slab.get(at);
        let mut tell = |is: bool, event: FlowEvent| {
            if is {
                watcher.event(event, flow, self.now);
            }
        };
        tell(news.begun, FlowEvent::Begun);
        tell(news.answered, FlowEvent::Answered);
        tell(news.established, FlowEvent::Established);
        tell(news.refused, FlowEvent::Refused);
        tell(news.named, FlowEvent::Named);
    }

    /// Lets time pass without packets: ends what is idle by stream time `now`. A long flow gives its part when its next packet comes,
    /// or when it ends: so that a part that more follow is always followed by a packet, and none is empty.
    #[cold]
    pub fn expire<W: Watcher + ?Sized>(&mut self, now: Nanos, watcher: &mut W) {
        self.now = self.now.max(now);
        let now = self.now;
        self.due = Nanos::MAX;
        for class in Class::ALL {
            let idle = self.limits.idle(class);
            while let Some(at) = self.queues.oldest(class) {
                let end = self.slab.get(at).seen.saturating_add(idle);
                if end > now {
                    self.due = self.due.min(end);
                    break;
                }
                let reason = if class == Class::Closed { EndReason::End } else { EndReason::Idle };
                self.end(at, reason, watcher);
            }
        }
        self.forget_fragments();
    }

    /// Ends every flow, in the order in which they began.
    pub fn finish<W: Watcher + ?Sized>(&mut self, now: Nanos, watcher: &mut W) {
        self.now = self.now.max(now);
        let mut all: Vec<(Place, u32)> = Vec::with_capacity(self.slab.len());
        for class in Class::ALL {
            all.extend(self.queues.iter(class).map(|at| (self.slab.get(at).id, at)));
        }
        all.sort_unstable();
        for (_, at) in all {
            let closed = self.slab.get(at).inner.class == Class::Closed;
            self.end(at, if closed { EndReason::End } else { EndReason::Forced }, watcher);
        }
        self.resumed = Resumed::default();
        self.fragments = [None; 2];
    }

    /// Tells of records that were written before a restart, in the order in which they were. The stream is then read again from the
    /// oldest position that no record covers; packets that one of these covers are left out, and a flow whose last record is not
    /// final goes on under its `flow_id` with the next `part`.
    ///
    /// `written` has every record that covers a packet behind that position; the table is still empty.
    pub fn resume(&mut self, written: &[FlowRecord]) {
        self.resumed = Resumed::new(written, self.limits.longest_idle());
    }

    /// From where the stream has to be read again after a crash: the position of the oldest packet that no record covers yet, or of a
    /// first fragment before it that others may still follow; `None` if there is neither.
    pub fn oldest_open(&self) -> Option<Place> {
        let part = self.queues.oldest_part().map(|at| self.slab.get(at).inner.first());
        self.fragments.into_iter().chain([part]).flatten().min()
    }

    /// How it is.
    pub fn counts(&self) -> TableCounts {
        TableCounts {
            flows: self.slab.len() as u64,
            begun: self.begun,
            evicted: self.evicted,
            without_facts: self.facts.refused(),
            memory: (self.slab.memory() + self.queues.memory()) as u64
                + self.facts.bytes()
                + self.stretched * size_of::<Before>() as u64,
        }
    }
}

/// What a packet changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct News {
    begun: bool,
    answered: bool,
    established: bool,
    refused: bool,
    named: bool,
}

impl FlowLimits {
    fn idle(&self, class: Class) -> Nanos {
        match class {
            Class::Idle => self.tcp_idle,
            Class::HalfOpen => self.tcp_half_open,
            Class::Closed => self.tcp_closed,
            Class::Other => self.other_idle,
        }
    }

    fn longest_idle(&self) -> Nanos {
        Class::ALL.into_iter().map(|class| self.idle(class)).max().unwrap_or_default()
    }
}

impl Class {
    const ALL: [Self; 4] = [Self::Idle, Self::HalfOpen, Self::Closed, Self::Other];
}

#[cfg(test)]
#[path = "table/tests.rs"]
mod tests;
