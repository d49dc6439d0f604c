//! The tap itself: does it show both directions, does it show frames twice, does it lose some before they reach us?
//!
//! - One direction: in TCP flows that go on after four packets of one side, the other side says nothing. Scans and floods of SYNs do
//!   not go on, so they do not look like it.
//! - Twice: TCP frames with payload come a second time, byte for byte, within 5 ms. A retransmission takes longer (RFC 6298: a
//!   second; in practice 200 ms) or has another IP identification. One frame in eight is looked at, chosen by its contents, so
//!   that both copies are.
//! - Lost before the tap port: bytes that a receiver acknowledged and that we never saw, in flows of which both sides are seen.
//!
//! What was counted is halved every ten minutes, so that a mended cable shows.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::Seen;
use crate::flow::table::{Flow, FlowEvent};
use crate::packet::decode::{Net, Transport};
use crate::packet::{NANOS_PER_SEC, Nanos};

/// How it is with the tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct TapHealth {
    /// Only one direction is seen.
    pub one_direction: bool,
    /// Each frame is seen twice.
    pub doubled: bool,
    /// Of a thousand payload bytes, those that were lost before the tap port; `None` if too little was seen to say.
    pub lost_before_permille: Option<u32>,
    /// Of a thousand TCP connections that were begun, those that were answered; `None` if there were fewer than 20.
    pub syn_answered_permille: Option<u32>,
}

impl TapHealth {
    /// What is wrong, for people; nothing if all is well.
    pub fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        if self.one_direction {
            texts.push("only one direction seen".to_owned());
        }
        if self.doubled {
            texts.push("each frame seen twice".to_owned());
        }
        match self.lost_before_permille {
            Some(lost @ 5..10) => texts.push(format!("about 0.{lost} % lost before the tap port")),
            Some(lost @ 10..) => texts.push(format!("about {} % lost before the tap port", (lost + 5) / 10)),
            _ => {}
        }
        texts
    }
}

/// The time within which a frame is the same seen twice.
const TWICE: Nanos = 5_000_000;

/// Frames that are remembered.
const REMEMBERED: usize = 4096;

/// Bytes of a frame that are compared.
const COMPARED: usize = 160;

const HALVED: Nanos = 600 * NANOS_PER_SEC;

/// Watches the tap.
#[derive(Debug)]
pub(super) struct Tap {
    /// Flows of which one side is seen, and both.
    sides: [u64; 2],
    /// TCP connections that were begun, and answered.
    syns: [u64; 2],
    /// Frames looked at, and seen twice.
    frames: [u64; 2],
    /// Payload bytes seen, and missed.
    payload: [u64; 2],
    recent: Box<[(u64, Nanos)]>,
    hasher: FixedState,
    halved: Nanos,
}

impl Default for Tap {
    fn default() -> Self {
        Self {
            sides: [0; 2],
            syns: [0; 2],
            frames: [0; 2],
            payload: [0; 2],
            recent: vec![(0, Nanos::MIN); REMEMBERED].into(),
            hasher: FixedState::default(),
            halved: Nanos::MIN,
        }
    }
}

impl Tap {
    /// Looks at a packet and the bytes of its frame.
    #[inline]
    pub(super) fn packet(&mut self, seen: &Seen<'_>, frame: &[u8]) {
        let Net::Ip(ip) = &seen.packet.net else { return };
        let Transport::Tcp(tcp) = ip.transport else { return };
        if ip.payload_len == 0 {
            return;
        }
        // Most choose nothing: a multiplication, a shift.
        let choice = (tcp.seq ^ tcp.ack.rotate_left(16)).wrapping_mul(0x9e37_79b1) >> 29;
        if choice == 0 {
            self.look(frame, seen.arrival.at);
        }
        if let Some(flow) = seen.flow {
            let mine = if seen.from_originator { &flow.orig } else { &flow.resp };
            let theirs = if seen.from_originator { &flow.resp } else { &flow.orig };
            if mine.packets == 4 && flow.part == 0 {
                self.sides[usize::from(theirs.packets > 0)] += 1;
            }
        }
    }

    fn look(&mut self, frame: &[u8], at: Nanos) {
        let hash = self.hasher.hash_one(&frame[..frame.len().min(COMPARED)]) | 1;
        let slot = &mut self.recent[(hash >> 40) as usize % REMEMBERED];
        self.frames[0] += 1;
        // Stamps, not stream time: the same frame seen twice is so on the wall clock.
        if slot.0 == hash && (at.saturating_sub(slot.1)).abs() <= TWICE {
            self.frames[1] += 1;
            // Three of the same are two pairs of one, not a pair and one.
            slot.1 = Nanos::MIN / 2;
        } else {
            *slot = (hash, at);
        }
    }

    /// A flow event.
    pub(super) fn flow(&mut self, event: FlowEvent, flow: &Flow) {
        let is_syn = flow.key.proto == 6 && flow.orig.flags & 2 != 0;
        match event {
            FlowEvent::Begun if is_syn => self.syns[0] += 1,
            FlowEvent::Answered if is_syn => self.syns[1] += 1,
            _ => {}
        }
    }

    /// A flow, or a part of it, that is over; `losing` if we lose packets ourselves.
    pub(super) fn ended(&mut self, flow: &Flow, losing: bool) {
        if flow.key.proto != 6 || losing || flow.orig.packets == 0 || flow.resp.packets == 0 {
            return;
        }
        self.payload[0] += flow.orig.payload + flow.resp.payload;
        self.payload[1] += flow.missed_bytes().unwrap_or(0);
    }

    /// Lets time pass.
    pub(super) fn tick(&mut self, now: Nanos) {
        if now.saturating_sub(self.halved) < HALVED {
            return;
        }
        if self.halved != Nanos::MIN {
            for pair in [&mut self.sides, &mut self.syns, &mut self.frames, &mut self.payload] {
                pair.iter_mut().for_each(|number| *number /= 2);
            }
        }
        self.halved = now;
    }

    /// What was counted, for a restart.
    pub(super) fn save(&self) -> super::Saved<'_> {
        Box::new([self.sides, self.syns, self.frames, self.payload])
    }

    /// Takes what an earlier run saved.
    pub(super) fn restore(&mut self, state: serde_json::Value) {
        if let Some([sides, syns, frames, payload]) = super::restored::<[[u64; 2]; 4]>(state) {
            (self.sides, self.syns, self.frames, self.payload) = (sides, syns, frames, payload);
        }
    }

    /// How it is.
    pub(super) fn health(&self) -> TapHealth {
        let permille = |part: u64, whole: u64| (part.saturating_mul(1000) / whole.max(1)).min(1000) as u32;
        let [one, both] = self.sides;
        let [syns, answered] = self.syns;
        let [frames, twice] = self.frames;
        let [seen, missed] = self.payload;
        TapHealth {
            one_direction: one >= 3 && one >= 9 * both,
            // Of each two, the second one is seen twice.
            doubled: frames >= 16 && permille(twice, frames) >= 400,
            lost_before_permille: (seen + missed >= 100_000).then(|| permille(missed, seen + missed)),
            syn_answered_permille: (syns >= 20).then(|| permille(answered, syns)),
        }
    }
}
