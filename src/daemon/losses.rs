//! When to tell of losses: when they begin, then every ten seconds at most while they go on, and when they end.

use std::time::Duration;

use super::events::event;
use super::health::Health;

/// The least time between two lines of one cause, and that without a loss after which it has ended.
const PAUSE: Duration = Duration::from_secs(10);

/// The causes: five of packets, and that of flow records.
const CAUSES: usize = 6;

/// What is to be told of one cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// So many were lost since the line before, and since the start.
    Lost { count: u64, total: u64 },
    /// So many were lost from the first to the last, in that time.
    Ended { count: u64, during: Duration },
}

/// A stretch of losses.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    /// The total before it.
    before: u64,
    first: Duration,
    last: Duration,
    /// The total when it was last told, and when that was.
    told: (u64, Duration),
}

/// Follows one counter.
#[derive(Debug, Clone, Copy, Default)]
struct Watched {
    total: u64,
    stretch: Option<Stretch>,
}

impl Watched {
    fn look(&mut self, total: u64, now: Duration) -> Option<Told> {
        let before = std::mem::replace(&mut self.total, total);
        let Some(stretch) = &mut self.stretch else {
            if total == before {
                return None;
            }
            self.stretch = Some(Stretch { before, first: now, last: now, told: (total, now) });
            return Some(Told::Lost { count: total - before, total });
        };
        if total > before {
            stretch.last = now;
        } else if now >= stretch.last + PAUSE {
            let (count, during) = (total - stretch.before, stretch.last - stretch.first);
            self.stretch = None;
            return Some(Told::Ended { count, during });
        }
        let (told, at) = stretch.told;
        (total > told && now >= at + PAUSE).then(|| {
            stretch.told = (total, now);
            Told::Lost { count: total - told, total }
        })
    }

    /// What is not told yet, when there will be no other look.
    fn rest(&mut self, total: u64) -> Option<Told> {
        let told = self.stretch.take().map_or(self.total, |stretch| stretch.told.0);
        self.total = total;
        (total > told).then(|| Told::Lost { count: total - told, total })
    }
}

/// Follows the counters of what is lost.
#[derive(Debug, Default)]
pub(super) struct LossWatch([Watched; CAUSES]);

impl LossWatch {
    /// Tells what has changed, `now` since boot.
    pub(super) fn look(&mut self, health: &Health, now: Duration) {
        self.each(health, |watched, total| watched.look(total, now));
    }

    /// Tells what is left to tell, at the end.
    pub(super) fn rest(&mut self, health: &Health) {
        self.each(health, Watched::rest);
    }

    /// What is unknown cannot be told to grow.
    fn each(&mut self, health: &Health, look: impl Fn(&mut Watched, u64) -> Option<Told>) {
        let records = ("records", Some(health.refused.get()));
        let totals = health.losses.get().by_cause().into_iter().chain([records]);
        for (watched, (cause, total)) in self.0.iter_mut().zip(totals) {
            if let Some(told) = total.and_then(|total| look(watched, total)) {
                tell(cause, told);
            }
        }
    }
}

fn tell(cause: &'static str, told: Told) {
    let what = if cause == "records" { "flow records" } else { "packets" };
    match told {
        Told::Lost { count, total } => event!(
            LOSS,
            TAPKEEP_CAUSE = cause,
            TAPKEEP_COUNT = count,
            TAPKEEP_TOTAL = total,
            "lost {count} {what} ({cause}), {total} since the start"
        ),
        Told::Ended { count, during } => {
            let seconds = during.as_secs();
            event!(
                LOSS_END,
                TAPKEEP_CAUSE = cause,
                TAPKEEP_COUNT = count,
                TAPKEEP_SECONDS = seconds,
                "no more loss ({cause}): {count} {what} were lost within {seconds} s"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks each second at a counter that grows by these.
    fn watch(grows: &[u64]) -> Vec<(usize, Told)> {
        let (mut watched, mut total) = (Watched::default(), 0);
        let looks = grows.iter().enumerate().filter_map(|(second, by)| {
            total += by;
            Some((second, watched.look(total, Duration::from_secs(second as u64))?))
        });
        looks.collect()
    }

    #[test]
    fn a_long_loss_is_told_at_once_then_every_ten_seconds_and_at_its_end() {
        let mut grows = [5; 26].to_vec();
        grows.extend([0; 20]);
        let told = watch(&grows);
        assert_eq!(
            told,
            [
                (0, Told::Lost { count: 5, total: 5 }),
                (10, Told::Lost { count: 50, total: 55 }),
                (20, Told::Lost { count: 50, total: 105 }),
                (30, Told::Lost { count: 25, total: 130 }),
                (35, Told::Ended { count: 130, during: Duration::from_secs(25) }),
            ]
        );
    }

    #[test]
    fn a_loss_that_comes_and_goes_is_one_until_it_pauses() {
        let mut grows = vec![0; 60];
        (grows[3], grows[9], grows[40]) = (1, 2, 4);
        let told = watch(&grows);
        assert_eq!(
            told,
            [
                (3, Told::Lost { count: 1, total: 1 }),
                (13, Told::Lost { count: 2, total: 3 }),
                (19, Told::Ended { count: 3, during: Duration::from_secs(6) }),
                (40, Told::Lost { count: 4, total: 7 }),
                (50, Told::Ended { count: 4, during: Duration::ZERO }),
            ]
        );
        assert_eq!(watch(&[0; 100]), []);
    }

    #[test]
    fn the_end_leaves_nothing_untold() {
        let mut watched = Watched::default();
        assert_eq!(watched.rest(0), None);
        assert!(watched.look(3, Duration::ZERO).is_some());
        assert_eq!(watched.rest(3), None);
        assert!(watched.look(5, Duration::ZERO).is_some());
        assert_eq!(watched.look(6, Duration::from_secs(1)), None);
        assert_eq!(watched.rest(9), Some(Told::Lost { count: 4, total: 9 }));
    }
}
