//! What a TCP connection has been through: history and state in Zeek's alphabet
//! (<https://docs.zeek.org/en/master/scripts/base/protocols/conn/main.zeek.html>), and bytes that are acknowledged but were
//! never seen.
//!
//! Each side has a state, which packets change as in Zeek's TCP analyser; the connection's state is read off the two. Sequence
//! numbers are compared modulo 2^32 (RFC 9293, section 3.4). Where Zeek reassembles, this counts: of what is missing between
//! segments only the extent is kept. Checksums are not looked at, since offloading leaves wrong ones on the capturing host:
//! there is no `c`.

use serde::{Deserialize, Serialize};

use crate::packet::Nanos;
use crate::packet::decode::Tcp;

mod history;
mod steps;

pub(super) use history::History;
use steps::step;

/// A connection's state, as Zeek names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(non_camel_case_types, missing_docs, reason = "Zeek's names")]
pub enum ConnState {
    S0,
    S1,
    SF,
    REJ,
    S2,
    S3,
    RSTO,
    RSTR,
    RSTOS0,
    RSTRH,
    SH,
    SHR,
    OTH,
}

/// The state of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Inactive,
    SynSent,
    SynAckSent,
    /// Seen without the handshake.
    Partial,
    Established,
    Closed,
    Reset,
}

impl State {
    /// Whether the side took no part in a handshake.
    fn is_outside(self) -> bool {
        matches!(self, Self::Inactive | Self::Partial)
    }
}

/// Kinds of packets of which the history notes the first.
const SYN: u8 = 1;
const FIN: u8 = 2;
const RST: u8 = 4;
const DATA: u8 = 8;
const ACK: u8 = 16;
const ODD: u8 = 32;
const ODD_FIN: u8 = 64;

/// Sequence numbers further apart than this are not believed of SYN and RST. Zeek's `TOO_LARGE_SEQ_DELTA`.
const FAR: i32 = 1 << 20;

/// One side of a connection.
#[derive(Debug, Clone, Copy, Default)]
struct Side {
    /// Whether `next` and `acked` mean anything.
    known: bool,
    /// Whether it sent payload.
    payload: bool,
    /// Which kinds were seen.
    seen: u8,
    state: State,
    /// The state before, as of the last change.
    before: State,
    /// Retransmissions, gaps, closed windows, up to 65,535.
    retransmitted: u16,
    gaps: u16,
    closed_window: u16,
    /// One past the highest byte sent.
    next: u32,
    /// One past the highest byte of it that the other side acknowledged.
    acked: u32,
    /// The numbers of the last of each kind.
    syn: u32,
    fin: u32,
    rst: u32,
    /// Between `hole.0` and `hole.1` bytes were not seen: so many.
    hole: (u32, u32),
    unseen: u32,
}

impl Side {
    fn set(&mut self, state: State) {
        self.before = self.state;
        self.state = state;
    }

    /// Whether the side is in a connection whose opening was seen, and has not broken it off.
    fn is_sound(&self) -> bool {
        match self.state {
            State::Established => true,
            State::Closed => !self.before.is_outside(),
            State::Reset => self.before == State::Closed,
            _ => false,
        }
    }
}

/// What a packet changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Change {
    /// The handshake is complete.
    pub(super) established: bool,
    /// The responder reset what was not open.
    pub(super) refused: bool,
    /// Bytes that prove to be missing.
    pub(super) missed: u32,
}

/// Follows a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tracker {
    orig: Side,
    resp: Side,
    history: History,
    /// Whether `rtt` is the time itself, no longer the stamp of the SYN.
    rtt_known: bool,
    established: bool,
    /// Stamp of the SYN, or the time from it to the end of the handshake, or [`UNKNOWN`].
    rtt: Nanos,
}

/// No time.
const UNKNOWN: Nanos = Nanos::MIN;

impl Default for Tracker {
    fn default() -> Self {
        Self {
            orig: Side::default(),
            resp: Side::default(),
            history: History::default(),
            rtt_known: false,
            established: false,
            rtt: UNKNOWN,
        }
    }
}

impl Tracker {
    /// Takes a packet with so many bytes of payload on the wire, stamped `at`.
    pub(super) fn packet(&mut self, from_orig: bool, tcp: &Tcp, len: u32, at: Nanos) -> Change {
        let mut change = Change::default();
        let has = |flag: u8| tcp.flags & flag != 0;
        let (syn, fin, rst, ack) = (has(Tcp::SYN), has(Tcp::FIN), has(Tcp::RST), has(Tcp::ACK));
        let before = self.resp.state;
        let (side, peer) =
            if from_orig { (&mut self.orig, &mut self.resp) } else { (&mut self.resp, &mut self.orig) };
        let end = tcp
            .seq
            .wrapping_add(if rst { 0 } else { len })
            .wrapping_add(u32::from(syn))
            .wrapping_add(u32::from(fin));

        begin(side, syn, tcp.seq, end);
        note(side, &mut self.history, from_orig, tcp, len);
        if tcp.window == 0 && !rst && peer.state != State::Closed && side.state != State::Reset {
            self.history.often(&mut side.closed_window, b'W', from_orig);
        }
        if advance(side, syn || rst, len, tcp.seq, end) {
            self.history.often(&mut side.retransmitted, b'T', from_orig);
        }
        side.payload |= len > 0;

        step(side, peer, from_orig, tcp.flags, len);
        if ack && !rst {
            let missed = acknowledge(peer, tcp.ack);
            if missed > 0 && peer.is_sound() && side.is_sound() {
                change.missed = missed;
                if peer.state == State::Established {
                    self.history.often(&mut peer.gaps, b'G', !from_orig);
                }
            }
        }
        self.judge(from_orig, tcp, before, at, &mut change);
        change
    }

    /// What a packet means for the connection as a whole.
    fn judge(&mut self, from_orig: bool, tcp: &Tcp, before: State, at: Nanos, change: &mut Change) {
        let has = |flag: u8| tcp.flags & flag != 0;
        let opened = |state| matches!(state, State::Established | State::Closed);
        if from_orig && has(Tcp::SYN) && !has(Tcp::ACK) && before == State::Inactive {
            self.rtt = at;
        } else if from_orig
            && has(Tcp::ACK)
            && !has(Tcp::SYN)
            && !has(Tcp::RST)
            && !self.established
            && opened(before)
            && opened(self.orig.state)
        {
            self.established = true;
            change.established = true;
            self.rtt_known = self.rtt != UNKNOWN;
            self.rtt = at.saturating_sub(self.rtt);
        }
        change.refused = !from_orig && has(Tcp::RST) && before == State::Inactive;
    }

    /// Notes that originator and responder were found to be the other way round, before the packet that shows it is taken.
    pub(super) fn flip(&mut self) {
        std::mem::swap(&mut self.orig, &mut self.resp);
        self.history.push(b'^');
    }

    /// Takes up a connection of which a record tells.
    pub(super) fn restore(&mut self, state: ConnState, history: &str, rtt_us: Option<u64>) {
        use State::{Closed, Established, Inactive, Partial, Reset, SynSent};
        let (orig, resp) = match state {
            ConnState::S0 => (SynSent, Inactive),
            ConnState::S1 => (Established, Established),
            ConnState::SF => (Closed, Closed),
            ConnState::REJ => (SynSent, Reset),
            ConnState::S2 => (Closed, Established),
            ConnState::S3 => (Established, Closed),
            ConnState::RSTO => (Reset, Established),
            ConnState::RSTR => (Established, Reset),
            ConnState::RSTOS0 => (Reset, Inactive),
            ConnState::RSTRH => (Inactive, Reset),
            ConnState::SH => (Closed, Inactive),
            ConnState::SHR => (Inactive, Closed),
            ConnState::OTH => (Partial, Partial),
        };
        (self.orig.state, self.resp.state) = (orig, resp);
        for letter in history.bytes() {
            self.history.push(letter);
            let side = if letter.is_ascii_uppercase() { &mut self.orig } else { &mut self.resp };
            match letter.to_ascii_uppercase() {
                b'S' | b'H' => side.seen |= SYN,
                b'F' => side.seen |= FIN,
                b'R' => side.seen |= RST,
                b'A' => side.seen |= ACK,
                b'Q' => side.seen |= ODD,
                b'I' => side.seen |= ODD_FIN,
                b'D' => (side.seen, side.payload) = (side.seen | DATA, true),
                _ => {}
            }
        }
        let rtt = rtt_us.and_then(|us| Nanos::try_from(us).ok()).map(|us| us.saturating_mul(1000));
        self.rtt = rtt.unwrap_or(UNKNOWN);
        (self.rtt_known, self.established) = (rtt.is_some(), rtt.is_some());
    }

    /// The connection's state, as Zeek's `conn_state` reads it off the states of its sides.
    pub(super) fn state(&self) -> ConnState {
        use State::{Closed, Established, Inactive, Reset, SynAckSent, SynSent};
        let payload = self.orig.payload || self.resp.payload;
        match (self.orig.state, self.resp.state) {
            (SynSent | SynAckSent, Reset) => ConnState::REJ,
            (Reset, Reset) if !payload => ConnState::REJ,
            (orig, Reset) if orig.is_outside() => ConnState::RSTRH,
            (_, Reset) => ConnState::RSTR,
            (Reset, resp) if resp.is_outside() => {
                if self.history.is_syn_then_rst() {
                    ConnState::RSTOS0
                } else {
                    ConnState::OTH
                }
            }
            (Reset, _) => ConnState::RSTO,
            (Closed, Closed) => ConnState::SF,
            (Closed, resp) if resp.is_outside() => ConnState::SH,
            (Closed, _) => ConnState::S2,
            (orig, Closed) if orig.is_outside() => ConnState::SHR,
            (_, Closed) => ConnState::S3,
            (SynSent, Inactive) => ConnState::S0,
            (Established, Established) => ConnState::S1,
            _ => ConnState::OTH,
        }
    }

    /// Its history.
    pub(super) fn history(&self) -> &str {
        self.history.text()
    }

    /// From the SYN to the ACK that answers the SYN-ACK, microseconds.
    pub(super) fn rtt_us(&self) -> Option<u64> {
        // A clock that was set back between tells no time.
        if self.rtt_known { u64::try_from(self.rtt / 1000).ok() } else { None }
    }

    /// Whether nothing more is to come: both sides have finished, or one has reset.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        let (orig, resp) = (self.orig.state, self.resp.state);
        orig == State::Reset || resp == State::Reset || orig == State::Closed && resp == State::Closed
    }

    /// Whether it is not closed, was not opened and carried nothing.
    #[inline]
    pub(super) fn is_half_open(&self) -> bool {
        let waits = |side: &Side| matches!(side.state, State::Inactive | State::SynSent | State::SynAckSent);
        !self.is_closed()
            && (waits(&self.orig) || waits(&self.resp))
            && !(self.orig.payload || self.resp.payload)
    }

    /// Whether a SYN without ACK begins another connection on the same ports.
    pub(super) fn is_reopened_by(&self, from_orig: bool, tcp: &Tcp) -> bool {
        let side = if from_orig { &self.orig } else { &self.resp };
        tcp.flags & (Tcp::SYN | Tcp::ACK | Tcp::RST | Tcp::FIN) == Tcp::SYN
            && self.is_closed()
            && (side.seen & SYN == 0 || side.syn != tcp.seq)
    }
}

/// `a - b` of sequence numbers.
#[inline]
fn delta(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

/// Prepares a side for a packet: its first one, or a SYN that starts its numbers anew.
#[inline]
fn begin(side: &mut Side, syn: bool, seq: u32, end: u32) {
    match side.state {
        State::Inactive => {
            side.known = true;
            // Without a SYN its numbers begin here: all of this packet is new.
            (side.next, side.acked) = if syn { (end, seq) } else { (seq, seq) };
        }
        State::SynSent | State::SynAckSent | State::Established | State::Partial
            if syn && side.syn != seq =>
        {
            (side.next, side.acked, side.unseen) = (end, seq, 0);
        }
        _ => {}
    }
}

/// Notes a packet in the history.
#[inline]
fn note(side: &mut Side, history: &mut History, from_orig: bool, tcp: &Tcp, len: u32) {
    let mut first = |seen: &mut u8, kind: u8, letter: u8| {
        let is_first = *seen & kind == 0;
        if is_first {
            *seen |= kind;
            history.note(letter, from_orig);
        }
        is_first
    };
    match tcp.flags & (Tcp::SYN | Tcp::FIN | Tcp::RST) {
        0 if len > 0 => {
            first(&mut side.seen, DATA, b'D');
        }
        0 => {
            if tcp.flags & Tcp::ACK != 0 {
                first(&mut side.seen, ACK, b'A');
            }
        }
        Tcp::SYN => {
            let letter = if tcp.flags & Tcp::ACK != 0 { b'H' } else { b'S' };
            if !first(&mut side.seen, SYN, letter) && side.syn != tcp.seq {
                history.note(letter, from_orig);
            }
            side.syn = tcp.seq;
        }
        Tcp::FIN => {
            let end = tcp.seq.wrapping_add(len);
            if !first(&mut side.seen, FIN, b'F') && side.fin != end {
                history.note(b'F', from_orig);
            }
            side.fin = end;
        }
        Tcp::RST => {
            if !first(&mut side.seen, RST, b'R') && side.rst != tcp.seq {
                history.note(b'R', from_orig);
            }
            side.rst = tcp.seq;
        }
        several if several & (Tcp::FIN | Tcp::RST) == Tcp::FIN | Tcp::RST => {
            first(&mut side.seen, ODD_FIN, b'I');
        }
        _ => {
            first(&mut side.seen, ODD, b'Q');
        }
    }
}

/// Takes a side's numbers forward; whether the packet brings bytes again.
#[inline]
fn advance(side: &mut Side, doubtful: bool, len: u32, seq: u32, end: u32) -> bool {
    let ahead = delta(end, side.next);
    if doubtful && !(-FAR..=FAR).contains(&ahead) || side.state == State::Reset {
        return false;
    }
    if ahead > 0 {
        let gap = delta(seq, side.next);
        if gap > 0 {
            if side.unseen == 0 {
                side.hole.0 = side.next;
            }
            side.hole.1 = seq;
            side.unseen = side.unseen.saturating_add(gap.unsigned_abs());
        }
        side.next = end;
        return false;
    }
    if side.unseen > 0 && delta(seq, side.hole.0) >= 0 && delta(seq, side.hole.1) < 0 {
        let room = delta(side.hole.1, seq).unsigned_abs();
        side.unseen = side.unseen.saturating_sub(end.wrapping_sub(seq).min(room));
    }
    len > 0
}

/// The other side has `ack` of a side's bytes; returns how many of them are now known to be missing.
#[inline]
fn acknowledge(side: &mut Side, ack: u32) -> u32 {
    if !side.known || delta(ack, side.acked) <= 0 {
        return 0;
    }
    let mut missed = 0;
    if side.unseen > 0 && delta(ack, side.hole.1) >= 0 {
        missed = std::mem::take(&mut side.unseen);
    }
    let beyond = delta(ack, side.next);
    if beyond > 0 {
        // More likely a broken field than a connection that has just come to 0.
        if ack == 0 && beyond > FAR {
            return missed;
        }
        if beyond == 1 && side.unseen == 0 {
            // A FIN, unless more comes behind it.
            (side.hole, side.unseen) = ((side.next, ack), 1);
        } else {
            missed = missed.saturating_add(beyond.unsigned_abs());
        }
        side.next = ack;
    }
    side.acked = ack;
    missed
}

#[cfg(test)]
#[path = "tcp/tests.rs"]
mod tests;
