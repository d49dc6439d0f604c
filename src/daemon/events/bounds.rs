//! How many lines of an event are logged within a minute, whatever traffic there is. What is left out is counted, and told when
//! the minute is over.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::{ALL, Kind};

/// The time over which lines are counted, from the first one on.
const MINUTE: Duration = Duration::from_secs(60);

/// What was logged of an event in the minute that runs.
#[derive(Debug, Clone, Copy)]
struct Window {
    since: Instant,
    logged: u32,
    left_out: u64,
}

/// The lines of each event.
#[derive(Debug)]
pub struct Bounds(Mutex<Vec<Option<Window>>>);

impl Default for Bounds {
    fn default() -> Self {
        Self(Mutex::new(vec![None; ALL.len()]))
    }
}

impl Bounds {
    /// Whether one more line of the event is logged; counts it if not.
    pub fn admit(&self, kind: &Kind, now: Instant) -> bool {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(window) = ALL.iter().position(|one| one == kind).and_then(|at| windows.get_mut(at)) else {
            return true;
        };
        // What was left out is told before a new minute begins.
        if window.is_none_or(|window| window.left_out == 0 && window.is_over(now)) {
            *window = Some(Window { since: now, logged: 0, left_out: 0 });
        }
        let Some(window) = window else { return true };
        let admitted = window.logged < kind.per_minute;
        window.logged += u32::from(admitted);
        window.left_out += u64::from(!admitted);
        admitted
    }

    /// The events whose minute is over, and how many lines of them were left out, if any were; a new minute begins for them.
    pub fn due(&self, now: Instant) -> Vec<(&'static Kind, u64)> {
        self.take(|window| window.is_over(now))
    }

    /// The same of all events, at the end.
    pub fn rest(&self) -> Vec<(&'static Kind, u64)> {
        self.take(|_| true)
    }

    fn take(&self, is_over: impl Fn(&Window) -> bool) -> Vec<(&'static Kind, u64)> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = ALL.iter().zip(windows.iter_mut());
        let over = over.filter_map(|(kind, window)| Some((kind, window.take_if(|window| is_over(window))?)));
        over.filter(|(_, window)| window.left_out > 0).map(|(kind, window)| (kind, window.left_out)).collect()
    }
}

impl Window {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= MINUTE
    }
}

/// Stops lines beyond the bounds before they come to any writer.
#[derive(Debug, Clone)]
pub struct Bound(pub Arc<Bounds>);

impl<S: Subscriber> Layer<S> for Bound {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let Some(kind) = super::find(event.metadata().name()) else { return true };
        debug_assert!(has_fields_of(event, kind), "{}: {}", kind.name, event.metadata().fields());
        self.0.admit(kind, Instant::now())
    }
}

/// Whether an event has the fields that the table names, all and no others.
fn has_fields_of(event: &Event<'_>, kind: &Kind) -> bool {
    let common = ["message", "MESSAGE_ID", "TAPKEEP_EVENT"];
    let fields = event.metadata().fields().iter().map(|field| field.name());
    let own: Vec<_> = fields.filter(|field| !common.contains(field)).collect();
    own.len() == kind.fields.len() && own.iter().all(|field| kind.fields.contains(field))
}

#[cfg(test)]
mod tests {
    use super::super::{FINDING, SEAL};
    use super::*;

    #[test]
    fn a_flood_is_cut_at_the_bound_and_counted_for_each_event_alone() {
        let (bounds, start) = (Bounds::default(), Instant::now());
        let admitted = (0..1_000).filter(|_| bounds.admit(&FINDING, start)).count();
        assert_eq!(admitted, FINDING.per_minute as usize);
        assert!(bounds.admit(&SEAL, start));
        let (soon, later) = (start + MINUTE - Duration::from_millis(1), start + MINUTE);
        assert_eq!(bounds.due(soon), []);
        assert!(!bounds.admit(&FINDING, later), "before the count is told");
        let left_out = 1_001 - u64::from(FINDING.per_minute);
        assert_eq!(bounds.due(later), [(&FINDING, left_out)]);
        assert_eq!(bounds.due(later), []);
        assert!(bounds.admit(&FINDING, later), "a new minute");
    }

    #[test]
    fn a_quiet_event_has_nothing_to_tell_and_the_rest_is_told_at_the_end() {
        let (bounds, start) = (Bounds::default(), Instant::now());
        assert!(bounds.admit(&SEAL, start));
        for minute in 1..5 {
            assert!(bounds.admit(&SEAL, start + MINUTE * minute));
        }
        assert_eq!(bounds.rest(), []);
        let admitted = (0..=SEAL.per_minute).filter(|_| bounds.admit(&SEAL, start)).count();
        assert_eq!(admitted, SEAL.per_minute as usize);
        assert_eq!(bounds.rest(), [(&SEAL, 1)]);
    }
}
