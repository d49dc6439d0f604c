//! Whether the threads turn. Each counts the turns of its loop, at least one a second; one that has work and stands still for
//! long is stuck. Pure: it is told the time.

use std::fmt;
use std::time::{Duration, Instant};

use super::health::Health;

/// From when on a thread that stands still is told of.
const SLOW: Duration = Duration::from_secs(10);

/// From when on it is stuck. A card that stalls for 30 s must not get here.
const STUCK: Duration = Duration::from_secs(45);

/// What counts at most of the time between two looks: if nobody has looked, the whole process may have stood still, or the machine.
const GAP: Duration = Duration::from_secs(2);

/// The threads that are watched.
const THREADS: [&str; 3] = ["capture", "recorder", "analyst"];

/// A thread that stands still, or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Still {
    /// Its name.
    pub thread: &'static str,
    /// For how long.
    pub still: Duration,
}

impl fmt::Display for Still {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {} has not moved for {} s", self.thread, self.still.as_secs())
    }
}

/// What is worth a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It stands still, and may go on yet.
    Slow(Still),
    /// It will not go on.
    Stuck(Still),
    /// It turns again.
    Turns(Still),
}

#[derive(Debug, Clone, Copy, Default)]
struct Watched {
    turns: u64,
    still: Duration,
}

/// The watch over the threads.
#[derive(Debug)]
pub(super) struct Watchdog {
    threads: [Watched; 3],
    looked: Instant,
}

impl Watchdog {
    /// From now on.
    pub(super) fn new(now: Instant) -> Self {
        Self { threads: [Watched::default(); 3], looked: now }
    }

    /// Looks at the threads.
    pub(super) fn look(&mut self, now: Instant, health: &Health) -> Vec<Change> {
        let passed = now.saturating_duration_since(self.looked).min(GAP);
        self.looked = now;
        let work =
            [true, health.waiting.get() > 0 || health.writing_since_ms.get() > 0, health.works.get() > 0];
        let turns = [&health.turns.capture, &health.turns.recorder, &health.turns.analyst];
        let mut changes = Vec::new();
        for ((watched, thread), (turns, has_work)) in
            self.threads.iter_mut().zip(THREADS).zip(turns.into_iter().zip(work))
        {
            let before = *watched;
            let stands = turns.get() == before.turns && before.turns > 0 && has_work;
            *watched = Watched {
                turns: turns.get(),
                still: if stands { before.still + passed } else { Duration::ZERO },
            };
            let passes = |limit| before.still < limit && watched.still >= limit;
            changes.extend(match () {
                () if passes(STUCK) => Some(Change::Stuck(Still { thread, still: watched.still })),
                () if passes(SLOW) => Some(Change::Slow(Still { thread, still: watched.still })),
                () if before.still >= SLOW && !stands => {
                    Some(Change::Turns(Still { thread, still: before.still }))
                }
                () => None,
            });
        }
        changes
    }

    /// The thread that is stuck, if one is.
    pub(super) fn stuck(&self) -> Option<Still> {
        let still =
            self.threads.iter().zip(THREADS).map(|(watched, thread)| Still { thread, still: watched.still });
        still.max_by_key(|still| still.still).filter(|worst| worst.still >= STUCK)
    }

    /// For how long each thread has stood still.
    pub(super) fn still(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        THREADS.into_iter().zip(self.threads.iter().map(|watched| watched.still))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Looks once a second for so long; says what was worth a word, and when.
    fn watch(seconds: u32, health: &Health, mut each: impl FnMut(u32)) -> Vec<(u32, Change)> {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(start);
        let mut said = Vec::new();
        for second in 1..=seconds {
            each(second);
            let changes = watchdog.look(start + SECOND * second, health);
            said.extend(changes.into_iter().map(|change| (second, change)));
        }
        assert_eq!(
            watchdog.stuck().is_some(),
            said.last().is_some_and(|(_, change)| matches!(change, Change::Stuck(_)))
        );
        said
    }

    fn turn_all(health: &Health) {
        health.turns.capture.add(1);
        health.turns.recorder.add(1);
        health.turns.analyst.add(1);
    }

    fn still(thread: &'static str, seconds: u64) -> Still {
        Still { thread, still: Duration::from_secs(seconds) }
    }

    #[test]
    fn a_thread_with_work_that_stands_still_is_slow_then_stuck_and_turns_again() {
        for thread in THREADS {
            let health = Health::default();
            health.waiting.set(3);
            health.works.set(2);
            let said = watch(70, &health, |second| {
                let held = (5..65).contains(&second);
                for (name, turns) in THREADS.into_iter().zip([
                    &health.turns.capture,
                    &health.turns.recorder,
                    &health.turns.analyst,
                ]) {
                    turns.add(u64::from(name != thread || !held));
                }
            });
            let wanted = [
                (14, Change::Slow(still(thread, 10))),
                (49, Change::Stuck(still(thread, 45))),
                (65, Change::Turns(still(thread, 60))),
            ];
            assert_eq!(said, wanted);
        }
    }

    #[test]
    fn a_stall_of_30_seconds_is_told_of_and_not_stuck() {
        let health = Health::default();
        health.writing_since_ms.set(1);
        let said = watch(60, &health, |second| {
            if (10..40).contains(&second) {
                health.turns.capture.add(1);
            } else {
                turn_all(&health);
            }
        });
        assert_eq!(
            said,
            [(19, Change::Slow(still("recorder", 10))), (40, Change::Turns(still("recorder", 30)))]
        );
    }

    #[test]
    fn what_has_no_work_or_has_not_begun_is_not_stuck() {
        let idle = Health::default();
        turn_all(&idle);
        assert_eq!(watch(100, &idle, |_| idle.turns.capture.add(1)), []);
        let begins = Health::default();
        begins.works.set(9);
        assert_eq!(watch(100, &begins, |_| begins.turns.capture.add(1)), []);
    }

    #[test]
    fn time_in_which_nobody_looked_does_not_count() {
        let health = Health::default();
        turn_all(&health);
        let start = Instant::now();
        let mut watchdog = Watchdog::new(start);
        assert_eq!(watchdog.look(start + SECOND, &health), []);
        assert_eq!(watchdog.look(start + SECOND * 3_600, &health), []);
        assert_eq!(watchdog.stuck(), None);
    }
}
