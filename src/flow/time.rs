//! Time in the stream. Flows and detectors measure in **stream time**: nanoseconds that never run backwards and that no step of
//! the wall clock disturbs, begun at the wall clock's time of the stream's beginning so that it can be compared across restarts.

use crate::packet::Nanos;

/// Makes stream time of stamps and ticks.
#[derive(Debug, Clone, Default)]
pub struct StreamClock {
    now: Option<Nanos>,
    /// Wall clock minus running clock, as of the last tick.
    offset: Option<Nanos>,
    /// Stream time minus stamps.
    shift: Nanos,
}

impl StreamClock {
    /// Takes a packet's stamp; returns the stream time.
    #[inline]
    pub fn packet(&mut self, stamp: Nanos) -> Nanos {
        let time = stamp.saturating_add(self.shift);
        let now = self.now.map_or(time, |now| now.max(time));
        self.now = Some(now);
        now
    }

    /// Takes a tick: time since boot and wall clock at one moment. A jump of one against the other is taken out of stream time.
    pub fn tick(&mut self, up: Nanos, wall: Nanos) -> Nanos {
        let offset = wall.saturating_sub(up);
        if let Some(before) = self.offset.replace(offset) {
            let step = offset.saturating_sub(before);
            // What is smaller is the slewing of a disciplined clock.
            if step.unsigned_abs() > 1_000_000_000 {
                self.shift = self.shift.saturating_sub(step);
            } else {
                self.offset = Some(before);
            }
        }
        self.packet(wall)
    }

    /// The stream time; `None` before the first packet or tick.
    pub fn now(&self) -> Option<Nanos> {
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Nanos = 1_000_000_000;

    #[test]
    fn stamps_that_run_backwards_do_not_turn_time_back() {
        let mut clock = StreamClock::default();
        assert_eq!([10, 5, 11].map(|stamp| clock.packet(stamp)), [10, 10, 11]);
    }

    #[test]
    fn a_step_of_the_wall_clock_is_taken_out() {
        let mut clock = StreamClock::default();
        assert_eq!(clock.tick(0, 1000 * S), 1000 * S);
        assert_eq!(clock.tick(S, 1001 * S), 1001 * S);
        // An hour forward, then two back.
        assert_eq!(clock.tick(2 * S, 4602 * S), 1002 * S);
        assert_eq!(clock.packet(4602 * S + 5), 1002 * S + 5);
        assert_eq!(clock.tick(3 * S, -2597 * S), 1003 * S);
    }
}
