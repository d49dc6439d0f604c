//! A clock that a test sets.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tapkeep::sys::clock::{Clock, Now};

/// 2024-12-31 14:30:52 UTC, nanoseconds: where a [`FakeClock`] starts.
pub const START: i64 = 1_735_655_452 * 1_000_000_000;

/// A clock that stands still until it is told; clones share it.
#[derive(Clone)]
pub struct FakeClock(Arc<Mutex<State>>);

struct State {
    now: Now,
    synchronised: bool,
    boot_id: String,
}

impl FakeClock {
    /// A synchronised clock at [`START`], 100 seconds after boot.
    pub fn new() -> Self {
        let now = Now { up: Duration::from_secs(100), wall: START };
        let boot_id = "00000000-0000-4000-8000-000000000001".to_owned();
        Self(Arc::new(Mutex::new(State { now, synchronised: true, boot_id })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Lets time pass, on both clocks.
    pub fn advance(&self, time: Duration) {
        let mut state = self.state();
        state.now.up += time;
        state.now.wall += i64::try_from(time.as_nanos()).unwrap();
    }

    /// Running time now.
    pub fn now_up(&self) -> Duration {
        self.state().now.up
    }

    /// Sets the wall clock, nanoseconds since 1970; running time goes on undisturbed.
    pub fn set_wall(&self, wall: i64) {
        self.state().now.wall = wall;
    }

    /// Moves the wall clock by so many nanoseconds.
    pub fn step(&self, nanos: i64) {
        self.state().now.wall += nanos;
    }

    /// Says whether the wall clock is synchronised.
    pub fn set_synchronised(&self, synchronised: bool) {
        self.state().synchronised = synchronised;
    }

    /// Boots again: running time begins anew, the wall clock shows `wall`, unsynchronised until told otherwise.
    pub fn reboot(&self, boot_id: &str, wall: i64) {
        *self.state() = State {
            now: Now { up: Duration::from_secs(1), wall },
            synchronised: false,
            boot_id: boot_id.to_owned(),
        };
    }
}

impl Default for FakeClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Now {
        self.state().now
    }

    fn synchronised(&self) -> bool {
        self.state().synchronised
    }

    fn boot_id(&self) -> String {
        self.state().boot_id.clone()
    }
}
