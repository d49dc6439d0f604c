//! How much is kept, how far back it reaches, and how long what is allowed will last.

use serde::{Deserialize, Serialize};

use super::Keeper;
use crate::store::age::between;
use crate::store::facts::CaptureFacts;
use crate::store::retention;
use crate::sys::fs::uninterrupted;

/// What retention keeps of captures, and what it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reach {
    /// Finished capture files.
    pub files: u64,
    /// Bytes of all capture files, the growing one included.
    pub bytes: u64,
    /// Those of files that are held, which retention leaves alone.
    pub held: u64,
    /// Bytes that limits and disk allow all of them to take.
    pub allowed: u64,
    /// The age at which a file goes, milliseconds; none = no limit.
    pub age_limit_ms: Option<u64>,
    /// How far back the oldest finished file that is not held reaches, milliseconds of running time; none without one.
    pub kept_ms: Option<u64>,
}

impl Reach {
    /// How long what is allowed lasts, if so many bytes come a second, milliseconds.
    pub fn lasts_ms(&self, rate: f64) -> u64 {
        let room = milliseconds(self.allowed.saturating_sub(self.held), rate);
        room.min(self.age_limit_ms.unwrap_or(u64::MAX))
    }

    /// How long until the oldest file must go, if so many bytes come a second, milliseconds.
    pub fn first_eviction_ms(&self, rate: f64) -> u64 {
        let room = milliseconds(self.allowed.saturating_sub(self.bytes), rate);
        let age = self.age_limit_ms.map(|limit| limit.saturating_sub(self.kept_ms.unwrap_or(0)));
        age.map_or(room, |age| age.min(room))
    }
}

fn milliseconds(bytes: u64, rate: f64) -> u64 {
    (bytes as f64 * 1e3 / rate.max(1e-3)) as u64
}

impl Keeper {
    /// What is kept now; `growing` is the length of the file being written. `None` where nothing is to be evicted, or the
    /// disk does not answer.
    pub fn reach(&mut self, growing: u64) -> Option<Reach> {
        let limits = self.limits?;
        let space = uninterrupted(|| self.fs.space(self.layout.root())).ok()?;
        let now = self.running_now();
        let mut reach = Reach { bytes: growing, ..Reach::default() };
        for facts in self.catalog.captures() {
            reach.files += 1;
            reach.bytes += facts.size;
            if self.catalog.is_held(facts.name) {
                reach.held += facts.size;
            } else if reach.kept_ms.is_none() {
                let sealed_at = self.sealed_at.get(&facts.name.number()).copied().unwrap_or(now);
                let age_ms = u64::try_from(between(sealed_at, now).as_millis()).unwrap_or(u64::MAX);
                reach.kept_ms = Some(age_ms.saturating_add(self.span_ms(facts)));
            }
        }
        reach.allowed = retention::allowance(&limits, space, reach.bytes, self.rotation_size);
        reach.age_limit_ms = limits.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        Some(reach)
    }

    /// The time from the first packet of a file to its last, milliseconds; 0 where the clock stepped in between.
    fn span_ms(&self, facts: &CaptureFacts) -> u64 {
        let Some((first, last)) = facts.first.zip(facts.last) else { return 0 };
        let stepped = self.catalog.steps().any(|step| step.at.is_some_and(|at| (first..=last).contains(&at)));
        if stepped { 0 } else { u64::try_from((last - first) / 1_000_000).unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_makes_no_room_and_age_cuts() {
        let reach = Reach { bytes: 700, held: 200, allowed: 1_000, kept_ms: Some(4_000), ..Reach::default() };
        assert_eq!((reach.lasts_ms(100.0), reach.first_eviction_ms(100.0)), (8_000, 3_000));
        let young = Reach { age_limit_ms: Some(5_000), ..reach };
        assert_eq!((young.lasts_ms(100.0), young.first_eviction_ms(100.0)), (5_000, 1_000));
        let full = Reach { bytes: 1_100, ..reach };
        assert_eq!(full.first_eviction_ms(100.0), 0);
        assert_eq!(reach.lasts_ms(0.0), 800_000_000);
    }
}
