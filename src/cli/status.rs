//! `tapkeep status`: how the service is, for people and for whatever watches it.

pub(super) mod line;
pub(super) mod page;

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Value, json};

use super::output::{Exit, Output};
use super::{Common, Context};
use crate::config::data_dir::Why;
use crate::daemon::{Activity, ServiceState};
use crate::store::losses::Losses;
use crate::sys::clock::{Clock, RealClock};
use crate::sys::signals::{Signal, Signals};
use crate::sys::wake::{Waker, wait};

/// What `status` is asked.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 ok, 1 warning (packets lost in the last hour, waiting, something stuck or stale), 2 not \
                  running, 3 unknown.\n\n\
                  Examples:\n  \
                  tapkeep status\n  \
                  tapkeep status --watch\n  \
                  tapkeep status --json | jq .losses\n  \
                  ssh tap tapkeep status"
)]
pub(super) struct StatusArgs {
    /// Go on, once a second, until interrupted
    #[arg(long)]
    watch: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// How often `--watch` looks.
const SECOND: Duration = Duration::from_secs(1);

/// The age of the oldest unsynced packet from which on the disk is behind, milliseconds.
const UNSYNCED_MS: u64 = 30_000;

/// The time for which a thread may stand still with work waiting, seconds.
const STILL_S: u64 = 10;

/// What is said in JSON when no service is found.
pub(super) fn empty() -> Value {
    document(false, None)
}

fn document(running: bool, service: Option<&ServiceState>) -> Value {
    json!({
        "running": running,
        "from": service.map(|state| &state.started),
        "to": service.map(|state| &state.updated),
        "losses": service.map_or(Losses::UNKNOWN, |state| state.losses),
        "warnings": service.filter(|_| running).map_or_else(Vec::new, warnings),
        "service": service,
    })
}

/// Speaks as monitoring expects: whatever keeps it from an answer is "unknown".
pub(super) fn status(args: &StatusArgs, common: &Common, out: &mut Output) -> Result<Exit> {
    let found = Context::of_query(common, out).and_then(|context| Ok((Look::from(&context)?, context)));
    match found {
        Ok((_, context)) if args.watch => watch(args.json, &context, out),
        Ok((look, context)) => look.tell(args.json, &context, out),
        Err(error) => {
            if args.json {
                out.json(&empty())?;
            }
            out.error(&error);
            Ok(Exit::Unknown)
        }
    }
}

/// Tells it again and again: on a terminal the same page anew, elsewhere a line each.
fn watch(json: bool, context: &Context, out: &mut Output) -> Result<Exit> {
    let mut signals = Signals::new().context("listen for signals")?;
    let waker = Waker::new().context("listen for signals")?;
    loop {
        let look = Look::from(context)?;
        match &look.state {
            _ if json => out.json(&document(look.running, look.state.as_ref()))?,
            Some(state) if look.running && out.is_terminal() => out.redraw(&page::lines(state))?,
            Some(state) if look.running => {
                out.line(format_args!("{}  {}", state.updated, line::line(state)))?;
            }
            _ if out.is_terminal() => out.redraw(&[look.why_not(context)])?,
            _ => out.line(look.why_not(context))?,
        }
        out.flush()?;
        wait(Some(signals.fd()), &waker, SECOND).context("wait for signals")?;
        if out.is_unread() || signals.pending().contains(&Signal::Stop) {
            return Ok(Exit::Ok);
        }
    }
}

/// What was found of the service.
pub(super) struct Look {
    pub(super) state: Option<ServiceState>,
    /// Whether it tells of the present.
    pub(super) running: bool,
}

impl Look {
    /// At the service that records into the data directory.
    pub(super) fn at(context: &Context) -> Result<Self> {
        let runtime_dir = &context.loaded.config.service.runtime_dir;
        Self::of(ServiceState::find(runtime_dir, &context.data_dir.path), runtime_dir)
    }

    /// The same; if there is none, and nobody named the directory, at the one that told its state last, wherever it recorded.
    fn from(context: &Context) -> Result<Self> {
        let runtime_dir = &context.loaded.config.service.runtime_dir;
        match Self::at(context)? {
            Self { state: None, .. } if matches!(context.data_dir.why, Why::Usual | Why::Fallback) => {
                Self::of(ServiceState::last(runtime_dir), runtime_dir)
            }
            look => Ok(look),
        }
    }

    fn of(state: io::Result<Option<ServiceState>>, runtime_dir: &Path) -> Result<Self> {
        let state = state.with_context(|| format!("read the state in {}", runtime_dir.display()))?;
        let up_ms = RealClock.now().up_ms();
        let running = state.as_ref().is_some_and(|state| state.is_fresh(up_ms));
        Ok(Self { state, running })
    }

    fn tell(&self, json: bool, context: &Context, out: &mut Output) -> Result<Exit> {
        if json {
            out.json(&document(self.running, self.state.as_ref()))?;
        }
        match self.state.as_ref().filter(|_| self.running) {
            None => {
                out.note(self.why_not(context));
                Ok(Exit::Critical)
            }
            Some(state) => {
                if !json {
                    page::lines(state).into_iter().try_for_each(|line| out.line(line))?;
                }
                Ok(if warnings(state).is_empty() { Exit::Ok } else { Exit::Warning })
            }
        }
    }

    /// Why it is said not to run.
    pub(super) fn why_not(&self, context: &Context) -> String {
        let runtime_dir = context.loaded.config.service.runtime_dir.display();
        match &self.state {
            None => {
                let place = &context.data_dir;
                format!("no service that records into {place} tells its state in {runtime_dir}")
            }
            Some(ServiceState { pid, updated, data_dir, .. }) => format!(
                "the service (process {pid}) that records into {} told its state in {runtime_dir} last at {updated}; it has \
                 ended or hangs",
                data_dir.display()
            ),
        }
    }
}

/// What is not as it should be, each in words. What nobody can count is shown, and no reason to warn for ever; nor is what was
/// lost more than an hour ago.
pub(super) fn warnings(state: &ServiceState) -> Vec<String> {
    let mut warnings = Vec::new();
    let lost: u64 = state.hour.counts.losses.by_cause().iter().filter_map(|(_, lost)| *lost).sum();
    if lost > 0 {
        warnings.push(format!("{} lost in the last hour", super::table::counted(lost, "packet")));
    }
    match &state.activity {
        Activity::Capturing => {}
        Activity::Starting => warnings.push("starting".to_owned()),
        Activity::Waiting(reason) => warnings.push(format!("waiting, {reason}")),
        Activity::Stopping => warnings.push("stopping".to_owned()),
    }
    let still = state.still.iter().filter(|(_, seconds)| **seconds >= STILL_S);
    warnings.extend(still.map(|(thread, seconds)| {
        format!("the {thread} thread stands still for {}", super::table::duration(seconds * 1_000))
    }));
    if state.oldest_unsynced_ms.is_some_and(|age| age >= UNSYNCED_MS) {
        warnings.push("the disk is behind".to_owned());
    }
    if state.index_stale {
        warnings.push("the index is stale".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::{Counts, Hour};

    fn state() -> ServiceState {
        ServiceState { activity: Activity::Capturing, ..ServiceState::default() }
    }

    #[test]
    fn what_was_lost_long_ago_is_no_warning_any_more() {
        let lost = ServiceState { losses: Losses::unwritten(5), ..state() };
        assert!(warnings(&lost).is_empty());
        let counts = Counts { losses: Losses { nic: None, ..Losses::unwritten(1) }, ..Counts::default() };
        let of_late = ServiceState { hour: Hour { ms: 3_600_000, counts }, ..lost };
        assert_eq!(warnings(&of_late), ["1 packet lost in the last hour"]);
        let unknown = Counts { losses: Losses::UNKNOWN, ..Counts::default() };
        assert!(warnings(&ServiceState { hour: Hour { ms: 1, counts: unknown }, ..state() }).is_empty());
    }

    #[test]
    fn whatever_keeps_packets_from_being_kept_is_a_warning() {
        let still = |seconds| [("analyst".to_owned(), 0), ("recorder".to_owned(), seconds)].into();
        for (state, warning) in [
            (ServiceState { activity: Activity::Waiting("x".to_owned()), ..state() }, "waiting, x"),
            (ServiceState { activity: Activity::Stopping, ..state() }, "stopping"),
            (ServiceState { still: still(12), ..state() }, "the recorder thread stands still for 12 s"),
            (ServiceState { oldest_unsynced_ms: Some(31_000), ..state() }, "the disk is behind"),
            (ServiceState { index_stale: true, ..state() }, "the index is stale"),
        ] {
            assert_eq!(warnings(&state), [warning]);
        }
        assert!(
            warnings(&ServiceState { still: still(9), oldest_unsynced_ms: Some(5_000), ..state() })
                .is_empty()
        );
    }
}
