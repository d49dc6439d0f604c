//! What the service manager is told, as sd_notify(3) has it. Where no manager listens, telling does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// The service manager that has started this process, if one has.
#[derive(Debug, Clone, Copy)]
pub struct Manager {
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that the environment names (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub fn of_environment() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled() }
    }

    /// How long it waits for a sign of life before it restarts the service; `None` if for ever.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells that the start is over, or a reload.
    pub fn ready(&self, status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Tells how things are, and gives a sign of life.
    pub fn alive(&self, status: &str) {
        tell(&[NotifyState::Watchdog, NotifyState::Status(status)]);
    }

    /// Asks to be restarted at once, as if no sign of life had come.
    pub fn stuck(&self, status: &str) {
        tell(&[NotifyState::Status(status), NotifyState::WatchdogTrigger]);
    }

    /// Tells that a reload begins; [`ready`](Self::ready) ends it.
    pub fn reloading(&self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, now]);
        }
    }

    /// Tells that the end has begun.
    pub fn stopping(&self, status: &str) {
        tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }

    /// Asks for so much more time, from now, to start or to end; a sign of life, too.
    pub fn extend(&self, by: Duration, status: &str) {
        let by = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
        tell(&[NotifyState::ExtendTimeoutUsec(by), NotifyState::Watchdog, NotifyState::Status(status)]);
    }
}

/// A manager that does not listen any more cannot be told so.
fn tell(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}
