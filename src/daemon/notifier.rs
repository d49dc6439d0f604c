//! When the service manager is told what: that the start is over, how things are, a reload, the end.

use std::time::{Duration, Instant};

use super::service::Describe;
use super::state::{Activity, ServiceState};
use super::watchdog::Still;
use crate::sys::notify::Manager;

/// How often it is told how things are, at least. It wakes for it.
const TELL: Duration = Duration::from_secs(5);

/// How much more time an ending service asks for each time, and for how long.
const EXTENSION: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(120));

/// What the service manager knows.
pub(super) struct Notifier<'a> {
    manager: Manager,
    describe: &'a Describe<'a>,
    /// Whether it knows that the start is over.
    is_ready: bool,
    stopping_since: Option<Instant>,
    interval: Duration,
    due: Instant,
}

impl<'a> Notifier<'a> {
    /// For the manager that has started this process.
    pub(super) fn new(describe: &'a Describe<'a>) -> Self {
        let manager = Manager::of_environment();
        let interval = manager.watchdog().map_or(TELL, |watchdog| TELL.min(watchdog / 4));
        Self { manager, describe, is_ready: false, stopping_since: None, interval, due: Instant::now() }
    }

    /// Whether it does not know yet that the start is over.
    pub(super) fn is_starting(&self) -> bool {
        !self.is_ready
    }

    /// Whether the end has begun.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping_since.is_some()
    }

    /// Tells how things are, if it is time. The start is over with the first word of the port; the manager gets no sign of life
    /// while a thread is stuck, and is told of that at once.
    pub(super) fn look(&mut self, state: &ServiceState, stuck: Option<Still>) {
        let now = Instant::now();
        let begins = !self.is_ready && state.activity != Activity::Starting;
        if !begins && now < self.due {
            return;
        }
        self.due = now + self.interval;
        let status = (self.describe)(state);
        match (self.stopping_since, stuck) {
            (Some(since), _) if now < since + EXTENSION.1 => self.manager.extend(EXTENSION.0, &status),
            (Some(_), _) => {}
            (None, _) if begins => self.manager.ready(&status),
            (None, Some(still)) => self.manager.stuck(&format!("{still}; {status}")),
            (None, None) => self.manager.alive(&status),
        }
        self.is_ready |= begins;
    }

    /// Has it told at the next look.
    pub(super) fn hurry(&mut self) {
        self.due = Instant::now();
    }

    /// Does a reload, and has the manager wait for its end.
    pub(super) fn reload(&self, state: &ServiceState, reload: impl FnOnce()) {
        if !self.is_ready {
            return reload();
        }
        self.manager.reloading();
        reload();
        self.manager.ready(&(self.describe)(state));
    }

    /// Tells that the end has begun.
    pub(super) fn stopping(&mut self) {
        self.stopping_since = Some(Instant::now());
        self.is_ready = true;
        self.manager.stopping("stopping: writing what has arrived");
        self.hurry();
    }
}
