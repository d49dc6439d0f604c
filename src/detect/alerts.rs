//! Where detectors raise findings. A finding with the key of one that is less than an hour old is counted on. When the hour is
//! over it is told again with what it came to.
//!
//! At most [`MAX_ACTIVE`] are counted on at a time; then a graver one takes the place of the least grave, and others are
//! only counted ([`Alerts::saturated`]).

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::finding::{Finding, Key, Severity};
use super::ignore::{IgnoreRule, Rules};
use crate::flow::table::{Arrival, Flow};
use crate::packet::{Nanos, Place};

/// How long after it was raised a finding is counted on instead of raised again, stream time. Zeek's notice suppression.
pub const SUPPRESSED: Nanos = 3_600_000_000_000;

/// The most findings that are counted on at a time.
pub const MAX_ACTIVE: usize = 4096;

/// The most flows whose findings are remembered until their record is written, and the most findings of one.
const MAX_FLOWS: usize = 4096;
const MAX_OF_FLOW: usize = 8;

/// A finding that is counted on.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Active {
    key: Key,
    /// Stream time at which it was raised.
    raised: Nanos,
    /// Its count when it was last told.
    told: u64,
    /// Whether an `[[ignore]]` rule fits: it is counted on, never told.
    ignored: bool,
    finding: Finding,
}

/// The findings that are counted on, and those to be told.
#[derive(Debug, Default)]
pub struct Alerts {
    active: HashMap<Key, Active, RandomState>,
    /// How many of `active` there are of each severity.
    grave: [usize; 4],
    told: Vec<Finding>,
    rules: Rules,
    /// Detectors whose findings nobody wants.
    off: Vec<&'static str>,
    here: Arrival,
    flow: Option<Place>,
    flows: HashMap<Place, Vec<String>, RandomState>,
    saturated: u64,
}

impl Alerts {
    /// Whether a finding of that key is counted on now.
    pub fn is_active(&self, key: &Key) -> bool {
        self.active.contains_key(key)
    }

    /// The count so far of the finding of that key.
    pub fn count(&self, key: &Key) -> Option<u64> {
        self.active.get(key).map(|active| active.finding.count)
    }

    /// The packet that is looked at; in a flow event or at a tick, the latest, with the time of now.
    pub fn here(&self) -> Arrival {
        self.here
    }

    /// For a finding about a flow as a whole: the flow's first packet, with the stamp of its latest.
    pub fn of_flow(&self, flow: &Flow) -> Arrival {
        Arrival { at: flow.last, place: flow.id, ..self.here }
    }

    /// Counts on the finding of that key, adding the packet to its evidence; `false` if there is none.
    pub fn count_on(&mut self, key: &Key, arrival: &Arrival, by: u64, observed: f64) -> bool {
        let Some(active) = self.active.get_mut(key) else { return false };
        if arrival.now.saturating_sub(active.raised) >= SUPPRESSED {
            self.close(&key.clone());
            return false;
        }
        let finding = &mut active.finding;
        finding.count = finding.count.saturating_add(by);
        finding.observed = finding.observed.max(observed);
        finding.first_seen = finding.first_seen.min(arrival.at);
        finding.last_seen = finding.last_seen.max(arrival.at);
        finding.captures.add(arrival.place);
        if !active.ignored {
            Self::note(&mut self.flows, self.flow, &finding.id);
        }
        true
    }

    /// Raises a finding at the packet at `arrival`, unless one of that key is active, which is then counted on by the new one's
    /// count. The id, and what the key and the packet tell, are filled in here.
    pub fn raise(&mut self, key: Key, arrival: &Arrival, finding: Finding) {
        debug_assert!(super::IDS.contains(&key.detector), "{} is not in IDS", key.detector);
        if self.off.contains(&key.detector) {
            return;
        }
        if self.count_on(&key, arrival, finding.count, finding.observed) {
            return;
        }
        let mut finding = finding;
        finding.id = self.free_id(&key, arrival.place);
        key.detector.clone_into(&mut finding.detector);
        finding.src = key.src.text();
        finding.dst = key.dst.text();
        finding.first_seen = finding.first_seen.min(arrival.at);
        finding.last_seen = finding.last_seen.max(arrival.at);
        finding.captures.add(arrival.place);
        finding.summary = printable(&finding.summary);
        let ignored = self.rules.ignore(&key, &finding);
        let severity = if ignored { Severity::Info } else { finding.severity };
        if self.active.len() >= MAX_ACTIVE && !self.make_room(arrival.now, severity) {
            return;
        }
        if !ignored {
            Self::note(&mut self.flows, self.flow, &finding.id);
            self.told.push(finding.clone());
        }
        self.grave[finding.severity as usize] += 1;
        self.active.insert(key, Active { key, raised: arrival.now, told: finding.count, ignored, finding });
    }

    /// Findings that are new, and those that were told before and are counted on no more, with their final count: one that has
    /// the id of an earlier one takes its place.
    pub fn take_raised(&mut self) -> std::vec::Drain<'_, Finding> {
        self.told.drain(..)
    }

    /// Whether [`Alerts::take_raised`] would give any.
    #[inline]
    pub fn has_raised(&self) -> bool {
        !self.told.is_empty()
    }

    /// The findings that are counted on, as they are now; those that are ignored left out. In no order.
    pub fn active(&self) -> impl Iterator<Item = &Finding> {
        self.active.values().filter(|active| !active.ignored).map(|active| &active.finding)
    }

    /// How often there was no room for a finding; some of them took the place of one less grave.
    pub fn saturated(&self) -> u64 {
        self.saturated
    }

    /// Puts new `[[ignore]]` rules in force. What the old ones silenced and none of these does is told.
    pub fn ignore(&mut self, rules: Vec<IgnoreRule>) {
        self.rules.swap(rules);
        self.tell_unruled();
    }

    /// Tells what was ignored and no rule fits any more.
    fn tell_unruled(&mut self) {
        let Self { active, rules, told, .. } = self;
        let unruled = |active: &&mut Active| active.ignored && !rules.fit(&active.key, &active.finding);
        let mut freed: Vec<_> = active.values_mut().filter(unruled).collect();
        freed.sort_by_key(|active| (active.raised, active.key));
        for active in freed {
            (active.ignored, active.told) = (false, active.finding.count);
            told.push(active.finding.clone());
        }
    }

    /// Raises nothing of these detectors.
    pub(super) fn switch_off(&mut self, ids: Vec<&'static str>) {
        self.off = ids;
    }

    /// The `[[ignore]]` rules and how often each fitted.
    pub fn ignored(&self) -> impl Iterator<Item = (&IgnoreRule, u64)> {
        self.rules.hits()
    }

    /// What is counted on, for a restart.
    pub fn save(&self) -> super::Saved<'_> {
        let mut active: Vec<_> = self.active.values().collect();
        active.sort_by_key(|active| (active.raised, active.key));
        Box::new(active)
    }

    /// Takes what an earlier run saved; what does not fit is left aside.
    pub fn restore(&mut self, state: serde_json::Value) {
        let Some(list) = super::restored::<Vec<serde_json::Value>>(state) else { return };
        for active in list.into_iter().filter_map(super::restored::<Active>) {
            if self.off.contains(&active.key.detector) {
                continue;
            }
            if self.active.len() < MAX_ACTIVE && !self.active.contains_key(&active.key) {
                self.grave[active.finding.severity as usize] += 1;
                self.active.insert(active.key, active);
            }
        }
        self.tell_unruled();
    }

    /// Says which packet is looked at, and to which flow it belongs.
    pub(super) fn look_at(&mut self, arrival: Arrival) {
        self.here = arrival;
        self.flow = None;
    }

    /// Says which flow is looked at: what is raised until [`Alerts::look_at`] is about it.
    pub(super) fn look_at_flow(&mut self, flow: Option<Place>) {
        self.flow = flow;
    }

    /// The ids of findings about a flow.
    pub(super) fn of(&self, flow: Place) -> Option<&[String]> {
        self.flows.get(&flow).map(Vec::as_slice)
    }

    /// Forgets which findings are about a flow.
    pub(super) fn forget(&mut self, flow: Place) {
        if !self.flows.is_empty() {
            self.flows.remove(&flow);
        }
    }

    /// Closes what was raised an hour or longer ago.
    pub(super) fn expire(&mut self, now: Nanos) {
        self.here.now = now;
        self.close_if(|active| now.saturating_sub(active.raised) >= SUPPRESSED);
    }

    /// Tells everything again that has counted on since it was told; it is counted on further.
    pub(super) fn tell_all(&mut self) {
        let mut changed: Vec<_> = self
            .active
            .values_mut()
            .filter(|active| !active.ignored && active.told != active.finding.count)
            .collect();
        changed.sort_by_key(|active| (active.raised, active.key));
        for active in changed {
            active.told = active.finding.count;
            self.told.push(active.finding.clone());
        }
    }

    fn close_if(&mut self, over: impl Fn(&Active) -> bool) {
        let mut keys: Vec<_> = self
            .active
            .values()
            .filter(|active| over(active))
            .map(|active| (active.raised, active.key))
            .collect();
        keys.sort_unstable();
        for (_, key) in keys {
            self.close(&key);
        }
    }

    fn close(&mut self, key: &Key) {
        let Some(active) = self.active.remove(key) else { return };
        self.grave[active.finding.severity as usize] -= 1;
        if !active.ignored && active.told != active.finding.count {
            self.told.push(active.finding);
        }
    }

    /// Closes the oldest of the least grave, if it is less grave than `severity`.
    fn make_room(&mut self, now: Nanos, severity: Severity) -> bool {
        self.close_if(|active| now.saturating_sub(active.raised) >= SUPPRESSED);
        if self.active.len() < MAX_ACTIVE {
            return true;
        }
        self.saturated += 1;
        let Some(least) = self.grave.iter().position(|&number| number > 0) else { return true };
        if least >= severity as usize {
            return false;
        }
        let of_least = self.active.values().filter(|active| active.finding.severity as usize == least);
        let oldest = of_least.min_by_key(|active| (active.raised, active.key)).map(|active| active.key);
        if let Some(key) = oldest {
            self.close(&key);
        }
        true
    }

    /// `DETECTOR-NUMBER-OFFSET`; another one of the same packet gets a number behind it.
    fn free_id(&self, key: &Key, place: Place) -> String {
        let id = format!("{}-{}-{}", key.detector, place.file, place.offset);
        let taken = |id: &str| self.active.values().any(|active| active.finding.id == id);
        if !taken(&id) {
            return id;
        }
        (2..).map(|number: u32| format!("{id}-{number}")).find(|id| !taken(id)).unwrap_or(id)
    }

    fn note(flows: &mut HashMap<Place, Vec<String>, RandomState>, flow: Option<Place>, id: &str) {
        let Some(flow) = flow else { return };
        if flows.len() >= MAX_FLOWS && !flows.contains_key(&flow) {
            return;
        }
        let ids = flows.entry(flow).or_default();
        if ids.len() < MAX_OF_FLOW && !ids.iter().any(|noted| noted == id) {
            ids.push(id.to_owned());
        }
    }
}

/// Without characters that a terminal acts upon.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_bidi(c) { '\u{fffd}' } else { c }).collect()
}

/// Characters that turn the direction of the text around them (Unicode UAX 9).
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
#[path = "alerts_tests.rs"]
mod tests;
