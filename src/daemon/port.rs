//! What is told of the tap port: one line a change, and one if there is still nothing to capture from a while after the start.

use std::time::Duration;

use super::events::event;
use crate::capture::live::Outage;
use crate::sys::clock::Now;

/// How long after the start the port may be missing without a warning: a board boots faster than its ports are up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why and since when nothing can be captured.
pub(super) type Gap = (Now, String);

/// The tap port, as it was told last.
pub(super) struct Port {
    interface: Option<String>,
    began: Duration,
    was_up: bool,
    warned: bool,
    gap: Option<Gap>,
}

impl Port {
    /// A port that nothing is known of yet.
    pub(super) fn new(interface: Option<String>, now: Duration) -> Self {
        Self { interface, began: now, was_up: false, warned: false, gap: None }
    }

    /// Packets can arrive.
    pub(super) fn up(&mut self, now: Now) {
        let interface = self.interface.as_deref();
        match &self.gap {
            Some((since, reason)) if self.was_up => {
                let gap = now.up.saturating_sub(since.up);
                event!(
                    LINK_BACK,
                    TAPKEEP_INTERFACE = interface,
                    TAPKEEP_REASON = reason,
                    TAPKEEP_GAP_MS = gap.as_millis() as u64,
                    "capturing again after {gap:.1?}: {reason}"
                );
            }
            _ => event!(CAPTURING, TAPKEEP_INTERFACE = interface, "capturing"),
        }
        self.was_up = true;
    }

    /// None can.
    pub(super) fn down(&mut self, now: Now, outage: &Outage) {
        let (interface, reason) = (self.interface.as_deref(), &outage.reason);
        match (self.was_up, outage.is_gone) {
            (false, _) => {
                event!(WAITING, TAPKEEP_INTERFACE = interface, TAPKEEP_REASON = reason, "waiting: {reason}");
            }
            (true, false) => {
                event!(
                    LINK_LOST,
                    TAPKEEP_INTERFACE = interface,
                    TAPKEEP_REASON = reason,
                    "waiting: {reason}"
                );
            }
            (true, true) => {
                event!(
                    INTERFACE_GONE,
                    TAPKEEP_INTERFACE = interface,
                    TAPKEEP_REASON = reason,
                    "waiting: {reason}"
                );
            }
        }
        match &mut self.gap {
            Some((_, told)) if !self.was_up => told.clone_from(reason),
            Some(_) => {}
            None => self.gap = Some((now, outage.reason.clone())),
        }
    }

    /// Warns once if nothing was ever captured and the start is long ago.
    pub(super) fn look(&mut self, now: Duration) {
        let waited = now.saturating_sub(self.began);
        if self.was_up || self.warned || waited < PATIENCE {
            return;
        }
        let Some((_, reason)) = &self.gap else { return };
        self.warned = true;
        let seconds = waited.as_secs();
        event!(
            STILL_WAITING,
            TAPKEEP_INTERFACE = self.interface.as_deref(),
            TAPKEEP_REASON = reason,
            TAPKEEP_SECONDS = seconds,
            "waiting for {seconds} s: {reason}"
        );
    }

    /// Ends the gap.
    pub(super) fn take_gap(&mut self) -> Option<Gap> {
        self.gap.take()
    }
}
