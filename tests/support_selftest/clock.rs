//! The fake clock does what it is told and nothing else.

use std::time::Duration;

use tapkeep::sys::clock::Clock;

use crate::support::clock::{FakeClock, START};

#[test]
fn running_time_never_steps_and_the_wall_clock_may() {
    let clock = FakeClock::new();
    let shared = clock.clone();
    let first = clock.now();
    assert_eq!((first.wall, clock.synchronised()), (START, true));
    shared.advance(Duration::from_millis(1500));
    shared.step(-3_600_000_000_000);
    let second = clock.now();
    assert_eq!(second.up - first.up, Duration::from_millis(1500));
    assert_eq!(second.wall - first.wall, 1_500_000_000 - 3_600_000_000_000);
    shared.set_wall(7);
    shared.set_synchronised(false);
    assert_eq!((clock.now().wall, clock.synchronised()), (7, false));
    let boot = clock.boot_id();
    clock.reboot("another", 9);
    assert!(clock.boot_id() != boot && clock.now().up < first.up && clock.now().wall == 9);
}
