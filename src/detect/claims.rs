//! Which hardware address claims which IP address: what is judged alike for ARP and for neighbour discovery.
//!
//! An address that moves once is nothing: cards are replaced, standby machines take over. It is disputed when it moves to and
//! fro, or when the newcomer tells others of it again and again though nobody asked.

use serde::{Deserialize, Serialize};

use super::bounded::{Bounded, Worth};
use super::finding::Evidence;
use crate::flow::table::Arrival;
use crate::packet::Nanos;
use crate::packet::addr::{Addr, Mac, Vlan};

const MINUTE: Nanos = 60_000_000_000;

/// Where an address is claimed: in which VLAN, as [`vlan_number`] has it.
pub(super) type Place = (u32, Addr);

/// A VLAN as one number.
pub(super) fn vlan_number(vlan: Vlan) -> u32 {
    u32::from(vlan.outer) << 16 | u32::from(vlan.inner)
}

/// How an address was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// In passing, by asking for another, or to all, as machines do that start or take over.
    Told,
    /// To one who had asked.
    Answered,
    /// To one who had not asked.
    Unasked,
}

/// From when on claims are held against somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimLimits {
    /// Moves of an address between hardware addresses within `window`. 4: two sleeps and wakes of a machine behind a sleep proxy
    /// are as many, which takes longer than ten minutes; a poisoned network comes to as many in a minute.
    pub moves: u32,
    /// Answers that nobody asked for, about an address that another holds, within `window`. 3: arpspoof sends one every 2 s,
    /// ettercap one every 1 s to 10 s, bettercap one a second; a lost request explains one.
    pub unasked: u32,
    /// How long moves and unasked answers are counted, nanoseconds. 10 minutes.
    pub window: Nanos,
    /// Silence of its holder after which an address may move, nanoseconds. 20 minutes: the longest time after which common
    /// systems forget a neighbour (BSD's ARP; RFC 826 leaves it open, RFC 1122 2.3.2.1 wants a minute).
    pub silence: Nanos,
    /// Addresses claimed by one hardware address within `window` from which that is worth a word. 10.
    pub many: usize,
    /// The most addresses remembered. 8,192: 1 MB at the most.
    pub addresses: usize,
}

impl Default for ClaimLimits {
    fn default() -> Self {
        Self { moves: 4, unasked: 3, window: 10 * MINUTE, silence: 20 * MINUTE, many: 10, addresses: 8192 }
    }
}

/// Why an address may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// One of the two belongs to a pair of routers (VRRP, CARP, HSRP, GLBP).
    Virtual,
    /// DHCP gave it to the new one.
    Leased,
    /// Its holder was silent for long.
    Silence,
    /// None that we know; it may be a machine that took over.
    Unknown,
}

/// What a claim amounts to.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    /// Nothing new.
    Fine,
    /// The address moved from one to another.
    Moved(Mac, Reason),
    /// Two or more claim it.
    Disputed(Dispute),
}

/// A dispute about one address.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Dispute {
    began: Nanos,
    /// Who claims it, the former holder first: hardware address and answers that nobody asked for. At most
    /// [`Dispute::PARTIES`].
    parties: Vec<(Mac, u32)>,
    /// Moves so far.
    pub(super) moves: u32,
    /// Its packets, from the move that began it.
    pub(super) evidence: Evidence,
}

impl Dispute {
    /// The most that are told apart; a fuzzer may claim with a new address each time.
    const PARTIES: usize = 4;

    fn new(holder: Mac, now: Nanos) -> Self {
        Self { began: now, parties: vec![(holder, 0)], moves: 0, evidence: Evidence::default() }
    }

    fn unasked_by(&mut self, mac: Mac, by: u32) {
        if let Some(party) = self.parties.iter_mut().find(|party| party.0 == mac) {
            party.1 = party.1.saturating_add(by);
        } else if self.parties.len() < Self::PARTIES {
            self.parties.push((mac, by));
        }
    }

    /// Who is to blame, as far as can be told: the one with the most answers that nobody asked for; else who came second.
    pub(super) fn suspect(&self) -> Mac {
        let loudest = self.parties.iter().rev().max_by_key(|party| party.1).filter(|party| party.1 > 0);
        loudest.or(self.parties.get(1)).or(self.parties.first()).map_or(Mac([0; 6]), |party| party.0)
    }

    /// Another who claims it: the first that is not the suspect.
    pub(super) fn other(&self) -> Option<Mac> {
        let suspect = self.suspect();
        self.parties.iter().map(|party| party.0).find(|&mac| mac != suspect)
    }

    /// Answers of the suspect that nobody asked for.
    pub(super) fn unasked(&self) -> u32 {
        self.parties.iter().map(|party| party.1).max().unwrap_or(0)
    }
}

/// Who holds an address.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Binding {
    mac: Mac,
    seen: Nanos,
    dispute: Option<Box<Dispute>>,
}

impl Worth for Binding {
    fn worth(&self) -> u32 {
        self.dispute.as_ref().map_or(0, |dispute| 1 + dispute.moves)
    }
}

/// What one hardware address claims.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Holdings {
    began: Nanos,
    /// Addresses, and whether each was claimed unasked; at most twice `many`.
    addresses: Vec<(Addr, bool)>,
    /// Its packets.
    pub(super) evidence: Evidence,
}

impl Worth for Holdings {
    fn worth(&self) -> u32 {
        self.addresses.len() as u32
    }
}

/// Who claims what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Claims {
    #[serde(skip)]
    limits: ClaimLimits,
    bindings: Bounded<Place, Binding>,
    holdings: Bounded<(u32, Mac), Holdings>,
    /// What DHCP gave to whom.
    leases: Bounded<Place, Lease>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Lease(Mac);

impl Worth for Lease {}

impl Claims {
    /// Nothing known.
    pub(super) fn new(limits: ClaimLimits) -> Self {
        Self {
            limits,
            // A holder that has been silent for a day is as good as unknown.
            bindings: Bounded::new(limits.addresses, 24 * 60 * MINUTE),
            holdings: Bounded::new(limits.addresses / 8, limits.window),
            leases: Bounded::new(limits.addresses / 2, 60 * MINUTE),
        }
    }

    /// The bounds.
    pub(super) fn limits(&self) -> ClaimLimits {
        self.limits
    }

    /// DHCP gave an address to somebody.
    pub(super) fn leased(&mut self, place: Place, mac: Mac, now: Nanos) {
        *self.leases.entry(place, now, || Lease(mac)) = Lease(mac);
    }

    /// `mac` claims an address.
    pub(super) fn claim(&mut self, place: Place, mac: Mac, how: How, arrival: &Arrival) -> Verdict {
        let limits = self.limits;
        let now = arrival.now;
        let binding = self.bindings.entry(place, now, || Binding { mac, seen: now, dispute: None });
        let silent = now.saturating_sub(binding.seen);
        binding.seen = now;
        if binding.dispute.as_ref().is_some_and(|dispute| now.saturating_sub(dispute.began) > limits.window) {
            binding.dispute = None;
        }
        let former = std::mem::replace(&mut binding.mac, mac);
        if former == mac && binding.dispute.is_none() {
            return Verdict::Fine;
        }
        let mut moved = None;
        if former != mac {
            let leased = self.leases.get(&place, now).is_some_and(|lease| lease.0 == mac);
            let reason = if is_virtual(former) || is_virtual(mac) {
                Reason::Virtual
            } else if leased {
                // Once it moved for that reason; if it moves back and again, DHCP is no excuse.
                self.leases.remove(&place);
                Reason::Leased
            } else if silent > limits.silence {
                Reason::Silence
            } else {
                Reason::Unknown
            };
            if reason != Reason::Unknown {
                binding.dispute = None;
                return Verdict::Moved(former, reason);
            }
            moved = Some(former);
        }
        let dispute = binding.dispute.get_or_insert_with(|| Box::new(Dispute::new(former, now)));
        dispute.moves += u32::from(moved.is_some());
        dispute.unasked_by(mac, u32::from(how == How::Unasked));
        dispute.evidence.add(arrival);
        if dispute.moves >= limits.moves || dispute.unasked() >= limits.unasked {
            return Verdict::Disputed((**dispute).clone());
        }
        moved.map_or(Verdict::Fine, |former| Verdict::Moved(former, Reason::Unknown))
    }

    /// Counts what `mac` claims; what it claims if that has become many, and how many of them unasked.
    pub(super) fn hold(
        &mut self,
        place: Place,
        mac: Mac,
        how: How,
        arrival: &Arrival,
    ) -> Option<(Holdings, usize)> {
        let limits = self.limits;
        let new = || Holdings { began: arrival.now, addresses: Vec::new(), evidence: Evidence::default() };
        let holdings = self.holdings.entry((place.0, mac), arrival.now, new);
        if arrival.now.saturating_sub(holdings.began) > limits.window {
            *holdings = new();
        }
        let unasked = how == How::Unasked;
        if let Some(held) = holdings.addresses.iter_mut().find(|held| held.0 == place.1) {
            if held.1 || !unasked {
                return None;
            }
            held.1 = true;
        } else if holdings.addresses.len() < 2 * limits.many {
            holdings.addresses.push((place.1, unasked));
        } else {
            return None;
        }
        holdings.evidence.add(arrival);
        let of_them = holdings.addresses.iter().filter(|held| held.1).count();
        // Only when the bound is just reached: the rest is more of the same.
        let reached = if unasked { of_them } else { holdings.addresses.len() - of_them };
        (reached == limits.many).then(|| (holdings.clone(), of_them))
    }

    /// What had to be forgotten.
    pub(super) fn saturated(&self) -> u64 {
        self.bindings.saturated() + self.holdings.saturated() + self.leases.saturated()
    }

    /// How many addresses are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.bindings.len()
    }

    /// Takes what was saved.
    pub(super) fn take(&mut self, saved: Self) {
        self.bindings.take(saved.bindings);
        self.holdings.take(saved.holdings);
        self.leases.take(saved.leases);
    }
}

/// Whether a hardware address is one that routers hand to one another.
pub(super) fn is_virtual(mac: Mac) -> bool {
    matches!(
        mac.0,
        // VRRP and CARP (RFC 5798 7.3), IPv4 and IPv6.
        [0x00, 0x00, 0x5e, 0x00, 0x01 | 0x02, _]
            // HSRP version 1 (RFC 2281 5.4), version 2 for IPv4 and IPv6.
            | [0x00, 0x00, 0x0c, 0x07, 0xac, _]
            | [0x00, 0x00, 0x0c, 0x9f, 0xf0..=0xff, _]
            | [0x00, 0x05, 0x73, 0xa0, 0x00..=0x0f, _]
            // GLBP.
            | [0x00, 0x07, 0xb4, _, _, _]
    )
}

/// Whether a hardware address can be that of one machine.
pub(super) fn is_machine(mac: Mac) -> bool {
    mac.0[0] & 1 == 0 && mac.0 != [0; 6]
}
