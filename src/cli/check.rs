//! `tapkeep check`: whether the machine is fit for the service, before it is deployed and after; what is not, and what mends
//! it. Changes nothing; the one thing that it writes is the test of the disk.

mod disk;
mod line;
mod machine;
mod place;
mod port;
mod service;
mod space;
mod systemd;

use std::path::Path;

use anyhow::Result;
use clap::Args;
use nix::unistd::{Uid, User};
use serde_json::{Value, json};

use self::line::Line;
use self::port::Port;
use self::space::Stock;
use super::Common;
use super::output::{Exit, Output};
use crate::config::{Config, DataDir, Loaded, Mistakes, load};
use crate::daemon::ServiceState;
use crate::sys::clock::{Clock as _, RealClock};
use crate::sys::mount;
use crate::sys::process::confinement;

/// What `check` is asked.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 all is well, 1 warnings, 2 problems, 3 something cannot be told. Run it as root, or as the \
                  service's user, to have all of it looked at.\n\n\
                  Examples:\n  \
                  sudo tapkeep check\n  \
                  sudo tapkeep check --interface eth1\n  \
                  sudo -u tapkeep tapkeep check --no-disk-test --json"
)]
pub(super) struct CheckArgs {
    /// The interface to look at, instead of the one that the running service uses or that is configured
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
    /// Leave the disk's speed untested: write nothing
    #[arg(long)]
    no_disk_test: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// The user that the unit runs the service as.
const SERVICE_USER: &str = "tapkeep";

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Who {
    uid: u32,
    /// The number as text where there is no name.
    name: String,
}

impl Who {
    fn of(uid: u32) -> Self {
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        Self { uid, name: user.map_or_else(|| uid.to_string(), |user| user.name) }
    }

    /// Who asks.
    fn caller() -> Self {
        Self::of(Uid::effective().as_raw())
    }

    /// The service's user: that of the running one, else the one that the unit names, else who asks.
    fn of_service(state: Option<&ServiceState>) -> Self {
        let running = state.and_then(|state| confinement(state.pid).ok()).map(|confined| confined.uid);
        let named = || User::from_name(SERVICE_USER).ok().flatten().map(|user| user.uid.as_raw());
        running.or_else(named).map_or_else(Self::caller, Self::of)
    }

    fn is_root(&self) -> bool {
        self.uid == 0
    }
}

/// A command that only root may give.
fn as_root(command: &str) -> String {
    if Uid::effective().is_root() { command.to_owned() } else { format!("sudo {command}") }
}

/// What is said in JSON when there is no answer.
pub(super) fn empty() -> Value {
    json!({ "result": "unknown", "checks": [] })
}

/// Looks at all of it.
pub(super) fn check(args: &CheckArgs, common: &Common, out: &mut Output) -> Result<Exit> {
    let interface = args.interface.clone().map(|interface| ("capture.interface", interface));
    let lines = match load(&common.sources(interface.into_iter().collect())) {
        Ok(loaded) => of_configured(&loaded, args),
        Err(mistakes) => of_unconfigured(&mistakes),
    };
    if args.json {
        out.json(&json!({ "result": line::summary(&lines), "checks": lines }))?;
    } else {
        out.table(&line::table(&lines))?;
    }
    Ok(line::worst(&lines))
}

const CONFIGURATION: &str = "configuration";

/// What can be looked at without knowing what is wanted.
fn of_unconfigured(mistakes: &Mistakes) -> Vec<Line> {
    let wrong =
        Line::problem(CONFIGURATION, mistakes.to_string()).advise("mend it, then: tapkeep config check");
    let unseen =
        Line::skipped("interface", "what is to be looked at is not known until the configuration is valid");
    [wrong, unseen].into_iter().chain(machine::lines()).collect()
}

fn of_configured(loaded: &Loaded, args: &CheckArgs) -> Vec<Line> {
    let config = &loaded.config;
    let place = config.data_dir_of_query();
    let up_ms = RealClock.now().up_ms();
    let found = ServiceState::find(&config.service.runtime_dir, &place.path);
    let hidden = found.as_ref().err().map(|error| service::hidden(&config.service.runtime_dir, error));
    let state = found.ok().flatten().filter(|state| is_running(state, up_ms));
    let state = state.as_ref();
    let used = state.and_then(|state| state.interface.as_deref());
    let port = Port::choose(args.interface.as_deref(), used, config.capture.interface.as_deref());
    let mut lines = vec![configuration(loaded)];
    lines.extend(port::lines(&config.capture, port, state));
    lines.extend(of_place(config, &place, state, !args.no_disk_test));
    lines.extend(machine::lines());
    lines.extend(hidden.unwrap_or_else(|| service::lines(state, &Who::caller())));
    lines
}

/// Whether the service that told this still runs. One whose process is hidden from the caller tells it anew each second.
fn is_running(state: &ServiceState, up_ms: u64) -> bool {
    const ANEW_MS: u64 = 2_000;
    let is_there = || Path::new("/proc").join(state.pid.to_string()).exists();
    state.is_fresh(up_ms) && (up_ms - state.updated_up_ms <= ANEW_MS || is_there())
}

fn configuration(loaded: &Loaded) -> Line {
    match loaded.warnings.is_empty() {
        true => Line::ok(CONFIGURATION, "valid"),
        false => Line::warning(CONFIGURATION, loaded.warnings.to_string())
            .advise("mend it, then: tapkeep config check"),
    }
}

fn of_place(config: &Config, place: &DataDir, state: Option<&ServiceState>, tests_disk: bool) -> Vec<Line> {
    let there = nearest(&place.path);
    let rate = state.and_then(ServiceState::record_rate).or_else(|| space::rate_of_late(&place.path));
    let stock = Stock::of(&place.path, there, rate);
    let keep_free = stock.as_ref().map_or(u64::MAX, |stock| stock.keep_free(config));
    let speed = match tests_disk {
        false => Line::skipped("disk_speed", "not tested: --no-disk-test"),
        true if there != place.path => {
            Line::skipped("disk_speed", "not tested: the data directory is not there")
        }
        true => disk::line(there, keep_free, rate),
    };
    vec![
        place::directory(place, &Who::of_service(state), &Who::caller()),
        place::file_system(mount::of(there)),
        space::line(config, stock),
        speed,
        place::leftovers(&place.path, state.is_some(), systemd::is_booted()),
    ]
}

/// The directory, or the first above it that is there.
fn nearest(dir: &Path) -> &Path {
    let above = dir.ancestors().find(|dir| dir.is_dir());
    above.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_was_killed_is_not_taken_for_running() {
        let state = |pid| ServiceState { pid, updated_up_ms: 50_000, ..ServiceState::default() };
        let (there, gone) = (state(std::process::id()), state(u32::MAX));
        assert!(is_running(&there, 59_000) && is_running(&gone, 51_500));
        assert!(!is_running(&gone, 53_000) && !is_running(&there, 61_000));
    }
}
