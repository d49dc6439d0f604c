//! What is remembered of an address that tries.

use super::Limits;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::detect::Worth;
use crate::detect::finding::Evidence;
use crate::flow::table::Arrival;
use crate::packet::addr::Addr;
use crate::packet::{Nanos, Place};

/// The most tries of a kind that a source is remembered with.
pub(super) const MAX_TRIES: usize = 64;

/// From so many tries on, pairs are also remembered as bits, so that one that fell out is not counted as new when tried again.
const BITS_FROM: usize = 32;

/// Tries for which room is kept though there are none.
const SPARE: usize = 4;

/// The most hosts and ports that are remembered as having answered.
const MAX_GOOD: usize = 16;

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Kind {
    /// A TCP connection.
    Tcp,
    /// A UDP port.
    Udp,
    /// An IP protocol; its number takes the port's place.
    Protocol,
    /// An echo.
    Echo,
    /// An ARP question.
    Arp,
    /// No TCP flag at all.
    Null,
    /// FIN alone.
    Fin,
    /// FIN, PSH and URG.
    Xmas,
    /// Other TCP flags that open nothing and belong to nothing, like SYN FIN.
    Odd,
    /// ACK of no connection.
    Ack,
    /// FIN ACK of no connection.
    Maimon,
}

/// The tries of one source that are judged together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// To connect.
    Connect,
    /// To find hosts by echo.
    Ping,
    /// To find hosts by ARP.
    Ask,
    /// To connect unseen.
    Stealth,
}

impl Kind {
    pub(super) fn group(self) -> Group {
        match self {
            Self::Tcp | Self::Udp | Self::Protocol => Group::Connect,
            Self::Echo => Group::Ping,
            Self::Arp => Group::Ask,
            Self::Null | Self::Fin | Self::Xmas | Self::Odd | Self::Ack | Self::Maimon => Group::Stealth,
        }
    }
}

/// Whom and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Aim {
    pub(super) dst: Addr,
    pub(super) port: u16,
    pub(super) kind: Kind,
}

impl Aim {
    /// One of 65,536 bits; the ports of one host have bits of their own.
    fn bit(self) -> u16 {
        let bytes = self.dst.to_bytes();
        let host = bytes.chunks_exact(2).fold(self.kind as u16, |mix, two| {
            mix.rotate_left(5).wrapping_mul(0x9e3b) ^ u16::from_be_bytes([two[0], two[1]])
        });
        host ^ self.port
    }
}

/// A try.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Try {
    pub(super) aim: Aim,
    /// Stream time.
    pub(super) at: Nanos,
    stamp: Nanos,
    place: (u64, u64),
    /// Whether it was refused, not only left unanswered.
    pub(super) refused: bool,
    /// Whether a finding counts it already.
    pub(super) counted: bool,
}

impl Try {
    pub(super) fn new(aim: Aim, arrival: &Arrival) -> Self {
        let place = (arrival.place.file, arrival.place.offset);
        Self { aim, at: arrival.now, stamp: arrival.at, place, refused: false, counted: false }
    }

    pub(super) fn refused(self) -> Self {
        Self { refused: true, ..self }
    }

    pub(super) fn arrival(&self) -> Arrival {
        let place = Place { file: self.place.0, offset: self.place.1 };
        Arrival { at: self.stamp, now: self.at, place, wire_len: 0 }
    }
}

/// When and where some tries were.
pub(super) fn evidence(arrivals: &[Arrival]) -> Evidence {
    let mut evidence = Evidence::default();
    for arrival in arrivals {
        evidence.add(arrival);
    }
    evidence
}

/// 65,536 bits.
#[derive(Debug, Clone)]
struct Bits(Box<[u64; 1024]>);

impl Bits {
    /// Clears a bit; whether it was set before.
    fn clear(&mut self, bit: u16) -> bool {
        let was = self.set(bit);
        self.0[usize::from(bit >> 6)] &= !(1 << (bit & 63));
        was
    }

    /// Sets a bit; whether it was set before.
    fn set(&mut self, bit: u16) -> bool {
        let word = &mut self.0[usize::from(bit >> 6)];
        let mask = 1 << (bit & 63);
        let was = *word & mask != 0;
        *word |= mask;
        was
    }
}

impl Serialize for Bits {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let set = |bit: &u16| self.0[usize::from(bit >> 6)] & (1 << (bit & 63)) != 0;
        to.collect_seq((0..=u16::MAX).filter(set))
    }
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut bits = Self(Box::new([0; 1024]));
        for bit in Vec::<u16>::deserialize(from)? {
            bits.set(bit);
        }
        Ok(bits)
    }
}

/// Tries that are judged together.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Tries {
    pub(super) list: Vec<Try>,
    bits: Option<Bits>,
    /// Tries for which there was no room, less those that were answered, since a finding counted them or none waits.
    pub(super) spilled: u64,
    /// Whether one was added or refused, or may have failed by waiting, since they were judged.
    pub(super) open: bool,
    /// New pairs since `since`, stream time.
    fresh: u64,
    since: Nanos,
}

impl Tries {
    /// Adds a try, or renews it.
    pub(super) fn add(&mut self, new: Try, limits: &Limits) {
        self.open = true;
        if new.at.saturating_sub(self.since) > limits.slow {
            (self.since, self.fresh) = (new.at, 0);
        }
        if let Some(old) = self.get_mut(new.aim) {
            *old = Try { counted: old.counted, ..new };
            return;
        }
        if self.bits.is_none() && self.list.len() >= BITS_FROM {
            let mut bits = Bits(Box::new([0; 1024]));
            for old in &self.list {
                bits.set(old.aim.bit());
            }
            self.bits = Some(bits);
        }
        let counted = self.bits.as_mut().is_some_and(|bits| bits.set(new.aim.bit()));
        self.fresh += u64::from(!counted);
        if self.list.len() >= MAX_TRIES {
            // What no finding counts stays for a while: else a fast scan would drive out its own tries before they have failed.
            let is_spare = |old: &Try| old.counted || new.at.saturating_sub(old.at) > limits.fast;
            let spare = self.list.iter().enumerate().filter(|(_, old)| is_spare(old));
            let Some(at) = spare.min_by_key(|(_, old)| old.at).map(|(at, _)| at) else {
                self.spilled += u64::from(!counted);
                return;
            };
            self.list.swap_remove(at);
        }
        self.list.push(Try { counted, ..new });
    }

    pub(super) fn get_mut(&mut self, aim: Aim) -> Option<&mut Try> {
        self.list.iter_mut().rev().find(|each| each.aim == aim)
    }

    /// Forgets a try that was answered: one of the latest, as a rule.
    pub(super) fn remove(&mut self, aim: Aim) {
        let known = self.bits.as_mut().is_some_and(|bits| bits.clear(aim.bit()));
        if let Some(at) = self.list.iter().rposition(|each| each.aim == aim) {
            let gone = self.list.swap_remove(at);
            self.fresh = self.fresh.saturating_sub(u64::from(gone.at >= self.since));
        } else if known {
            self.spilled = self.spilled.saturating_sub(1);
            self.fresh = self.fresh.saturating_sub(1);
        }
    }

    /// Different pairs within a window, less those that were answered.
    pub(super) fn fresh(&self) -> u64 {
        self.fresh
    }

    /// Forgets what is too old to matter.
    pub(super) fn expire(&mut self, before: Nanos) {
        self.list.retain(|each| each.at >= before);
        if self.list.is_empty() {
            // Room for a few tries is kept, for the next ones as a rule come soon.
            let mut list = std::mem::take(&mut self.list);
            list.shrink_to(SPARE);
            *self = Self { list, ..Self::default() };
        }
    }
}

/// What answered, and when last.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Good<T> {
    what: T,
    last: Nanos,
    /// How often since `since`, or half of what it was then.
    number: u32,
    since: Nanos,
}

fn good<T: PartialEq + Copy>(list: &mut Vec<Good<T>>, what: T, now: Nanos, halve: Nanos) {
    if let Some(old) = list.iter_mut().find(|old| old.what == what) {
        if now.saturating_sub(old.since) > halve {
            old.number /= 2;
            old.since = now;
        }
        old.number = old.number.saturating_add(1);
        old.last = now;
        return;
    }
    if list.len() >= MAX_GOOD {
        let oldest = list.iter().enumerate().min_by_key(|(_, old)| old.last);
        if let Some(at) = oldest.map(|(at, _)| at) {
            list.swap_remove(at);
        }
    }
    list.push(Good { what, last: now, number: 1, since: now });
}

/// An address that tries.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Source {
    pub(super) connect: Tries,
    pub(super) ping: Tries,
    pub(super) ask: Tries,
    pub(super) stealth: Tries,
    /// Hosts that answered a try to connect.
    hosts: Vec<Good<Addr>>,
    /// Ports on which somebody did.
    ports: Vec<Good<(Kind, u16)>>,
}

impl Source {
    pub(super) fn tries(&mut self, kind: Kind) -> &mut Tries {
        match kind.group() {
            Group::Connect => &mut self.connect,
            Group::Ping => &mut self.ping,
            Group::Ask => &mut self.ask,
            Group::Stealth => &mut self.stealth,
        }
    }

    /// Whether there is anything new to judge.
    pub(super) fn is_open(&self) -> bool {
        self.connect.open || self.ping.open || self.ask.open || self.stealth.open
    }

    /// A try was answered.
    pub(super) fn answered(&mut self, aim: Aim, now: Nanos, halve: Nanos) {
        self.tries(aim.kind).remove(aim);
        if aim.kind.group() == Group::Connect {
            good(&mut self.hosts, aim.dst, now, halve);
            good(&mut self.ports, (aim.kind, aim.port), now, halve);
        }
    }

    /// Whether a host answered since.
    pub(super) fn host_answered(&self, host: Addr, since: Nanos) -> bool {
        self.hosts.iter().any(|good| good.what == host && good.last >= since)
    }

    /// How often a port was answered on since, about.
    pub(super) fn port_answers(&self, kind: Kind, port: u16, since: Nanos) -> u32 {
        let good = self.ports.iter().find(|good| good.what == (kind, port) && good.last >= since);
        good.map_or(0, |good| good.number)
    }
}

impl Worth for Source {
    fn worth(&self) -> u32 {
        [&self.connect, &self.ping, &self.ask, &self.stealth]
            .map(|tries| tries.list.len() as u32)
            .iter()
            .sum()
    }
}
