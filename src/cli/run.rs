//! `tapkeep run`: the service.

use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use tracing::Level;

use super::log::{self, Log};
use super::output::{Exit, Output, UsageError, with_causes};
use super::settings::{plan, tap};
use super::status::line::line;
use super::{Common, replay};
use crate::config::{Loaded, Mistakes, load};
use crate::daemon::events::event;
use crate::daemon::service::{self, Service};
use crate::sys::journal;
use crate::sys::notify::Manager;

/// What `run` is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Waits for an interface that is not there or not up, and picks none by itself. SIGTERM seals what
was captured; SIGHUP reads the configuration again.

Examples:
  tapkeep run --interface eth1
  tapkeep run --interface eth1 --data-dir recorded
  SAVE_PCAP=false tapkeep run --interface eth1
  TAPKEEP_CAPTURE_SNAPLEN=96 WIRESHARK_FILTER='not port 22' tapkeep run --interface eth1")]
pub(super) struct RunArgs {
    /// The interface of the tap port
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
}

/// Runs until it is told to end. In the journal an error is an event like the others.
pub(super) fn run(args: &RunArgs, common: &Common, out: &mut Output) -> Result<Exit> {
    let mut log = None;
    match serve(args, common, out, &mut log) {
        Err(error) if journal::is_stderr() => {
            // A configuration that cannot be read ended it before it could say anything.
            log.get_or_insert_with(|| log::start(Level::INFO));
            let reason = with_causes(&error);
            event!(FAILED, TAPKEEP_REASON = reason, "{reason}");
            Ok(Exit::from(&error))
        }
        ended => ended,
    }
}

fn serve(args: &RunArgs, common: &Common, out: &mut Output, log: &mut Option<Log>) -> Result<Exit> {
    let sources = || {
        let interface = args.interface.clone().map(|interface| ("capture.interface", interface));
        common.sources(interface.into_iter().collect())
    };
    let read = || load(&sources()).map_err(|mistakes| UsageError(mistakes.to_string()));
    let loaded = read()?;
    if let Some(file) = loaded.config.replay.clone() {
        loaded.warnings.iter().for_each(|warning| out.note(warning));
        Manager::of_environment().ready(&format!("replaying {}", file.display()));
        return replay::of_files(&[file], false, &loaded, out);
    }
    let config = &loaded.config;
    let log = log.insert(log::start(config.service.log_level));
    tell(&loaded.warnings);
    let service = Service {
        data_dir: config.data_dir_of_writer().path,
        runtime_dir: config.service.runtime_dir.clone(),
        metrics_file: config.health.metrics_file.clone(),
        tap: tap(config),
        plan: plan(config, true, true),
        lines: Arc::clone(&log.bounds),
    };
    let reload = || {
        let new = read()?;
        tell(&new.warnings);
        for key in not_reloaded(&loaded, &new) {
            event!(
                SETTING_WAITS,
                TAPKEEP_SETTING = key,
                "{key} has changed; that takes effect at the next start"
            );
        }
        Ok(plan(&new.config, true, true))
    };
    let ended = service::run(&service, &reload, &line)?;
    Ok(if ended { Exit::Ok } else { Exit::Failure })
}

fn tell(warnings: &Mistakes) {
    for warning in warnings.iter() {
        event!(SETTING_UNKNOWN, TAPKEEP_REASON = %warning, "{warning}");
    }
}

/// Keys that are read again on SIGHUP.
const RELOADED: [&str; 11] = [
    "recorder.rotation_size",
    "recorder.rotation_interval",
    "recorder.sync_interval",
    "retention.count",
    "retention.bytes",
    "retention.age",
    "retention.flow_count",
    "retention.flow_bytes",
    "retention.flow_age",
    "retention.min_free",
    "retention.floor",
];

/// Keys that have changed and need a new start.
fn not_reloaded(old: &Loaded, new: &Loaded) -> Vec<&'static str> {
    let pairs = old.settings.iter().zip(&new.settings);
    let changed = pairs.filter(|(old, new)| old.text != new.text).map(|(old, _)| old.key);
    changed.filter(|key| !RELOADED.contains(key)).collect()
}
