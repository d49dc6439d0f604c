//! How packets change the states of a connection's sides: as in Zeek's TCP analyser.

use super::{Side, State};
use crate::packet::decode::Tcp;

/// Changes the sides' states.
#[inline]
pub(super) fn step(side: &mut Side, peer: &mut Side, from_orig: bool, flags: u8, len: u32) {
    let has = |flag: u8| flags & flag != 0;
    match side.state {
        State::Inactive => step_inactive(side, peer, from_orig, flags, len),
        State::SynSent | State::SynAckSent => {
            if has(Tcp::FIN) {
                side.set(State::Closed);
            }
            if has(Tcp::RST) {
                side.set(State::Reset);
            }
        }
        State::Established | State::Partial => {
            if has(Tcp::SYN)
                && !has(Tcp::ACK)
                && side.state == State::Partial
                && peer.state == State::Inactive
            {
                side.set(State::SynSent);
            }
            if has(Tcp::FIN) && !has(Tcp::RST) {
                side.set(State::Closed);
                // A FIN and then a RST was an end in order after all.
                if peer.state == State::Reset && peer.before == State::Closed {
                    peer.set(State::Closed);
                }
            }
            if has(Tcp::RST) {
                side.set(State::Reset);
            }
        }
        State::Closed => {
            if has(Tcp::RST) && peer.state != State::Closed {
                side.set(State::Reset);
            }
        }
        State::Reset => {}
    }
}

/// The same for a side's first packets.
fn step_inactive(side: &mut Side, peer: &mut Side, from_orig: bool, flags: u8, len: u32) {
    let has = |flag: u8| flags & flag != 0;
    if has(Tcp::SYN) {
        if from_orig {
            side.set(match (has(Tcp::ACK), peer.state) {
                // Its SYN-ACK came first.
                (_, State::Established) => State::Established,
                (true, _) => State::SynAckSent,
                (false, _) => State::SynSent,
            });
        } else {
            if peer.state == State::SynSent {
                peer.set(State::Established);
            }
            side.set(State::Established);
        }
    }
    if has(Tcp::FIN) {
        side.set(State::Closed);
    }
    if has(Tcp::RST) {
        side.set(State::Reset);
    }
    if side.state != State::Inactive {
        return;
    }
    // Some acknowledge a SYN before they answer it.
    if !from_orig && len == 0 && peer.state == State::SynSent {
        return;
    }
    let answers = has(Tcp::ACK) && peer.state == State::Established;
    side.set(if answers { State::Established } else { State::Partial });
}
