//! The clocks. Timers use the monotonic one; the wall clock only names and dates things, for a board has no battery
//! behind it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One look at all clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Time since boot, sleep included; never steps.
    pub up: Duration,
    /// UTC as the machine believes it to be, nanoseconds since 1970.
    pub wall: i64,
}

impl Now {
    /// Milliseconds since boot.
    pub fn up_ms(&self) -> u64 {
        u64::try_from(self.up.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A source of time.
pub trait Clock: Send + Sync {
    /// The clocks now.
    fn now(&self) -> Now;
    /// Whether the wall clock is held for synchronised with a better one. Unknown counts as no.
    fn synchronised(&self) -> bool;
    /// What tells this boot from others.
    fn boot_id(&self) -> String;
}

/// Whether the kernel holds the wall clock for synchronised; `None` if it will not say.
pub fn synchronised() -> Option<bool> {
    super::raw::clock_synchronised()
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Now {
        let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            up: Duration::new(up.tv_sec.unsigned_abs(), up.tv_nsec.unsigned_abs() as u32),
            wall: i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX),
        }
    }

    fn synchronised(&self) -> bool {
        synchronised().unwrap_or(false)
    }

    fn boot_id(&self) -> String {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_or_else(|_| String::new(), |id| id.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_clock_runs_and_knows_its_boot() {
        let (first, second) = (RealClock.now(), RealClock.now());
        assert!(second.up >= first.up);
        assert!(first.wall > 1_700_000_000_000_000_000);
        assert_eq!(RealClock.boot_id().len(), 36);
        RealClock.synchronised();
    }
}
