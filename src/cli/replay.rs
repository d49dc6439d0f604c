//! `tapkeep replay`: capture files through the same pipeline as a live port.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use clap::Args;

use super::output::{Exit, Output};
use super::progress::Bar;
use super::table::counted;
use super::{Common, log, read_config, settings};
use crate::config::Loaded;
use crate::daemon::replay::{self, Take};
use crate::sys::signals::stop_flag;

/// What `replay` is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Files, flow records and findings are as if the packets had come from a tap port, at their own times.

Examples:
  tapkeep replay suspect.pcap --data-dir case
  tapkeep replay suspect.pcap suspect.pcapng --data-dir both
  tapkeep suspicious --data-dir case")]
pub(super) struct ReplayArgs {
    /// Capture files: pcap or pcapng, plain or gzip'd; in this order
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Let retention evict files, as the service would; without it nothing is evicted
    #[arg(long)]
    retention: bool,
}

pub(super) fn replay(args: &ReplayArgs, common: &Common, out: &mut Output) -> Result<Exit> {
    let loaded = read_config(&common.sources(Vec::new()), out)?;
    of_files(&args.files, args.retention, &loaded, out)
}

/// Replays files; also what `run` does with `PCAP_FILE`.
pub(super) fn of_files(
    files: &[PathBuf],
    retention: bool,
    loaded: &Loaded,
    out: &mut Output,
) -> Result<Exit> {
    // The files' own messages are the answer here; of the service's only what went wrong is worth a word.
    let _log = log::start(tracing::Level::WARN);
    let config = &loaded.config;
    let data_dir = config.data_dir_of_writer();
    let stop = stop_flag().context("listen for signals")?;
    let bar = Bar::new("replaying", out);
    let warnings = RefCell::new(Vec::new());
    let replayed = replay::replay(
        files,
        &data_dir.path,
        &Take { filter: config.capture.filter.clone(), snaplen: config.capture.snaplen },
        settings::plan(config, false, retention),
        &|| stop.load(Ordering::Relaxed),
        &mut |at| bar.at(at),
        &mut |warning| warnings.borrow_mut().push(warning),
    );
    drop(bar);
    let warnings = warnings.into_inner();
    warnings.iter().for_each(|warning| out.note(warning));
    let replayed = replayed?;
    let how = if stop.load(Ordering::Relaxed) { "stopped early: " } else { "" };
    out.line(format_args!(
        "{how}replayed {}, {}, into {data_dir}",
        counted(replayed.packets, "packet"),
        counted(replayed.bytes, "byte")
    ))?;
    if replayed.unwritten > 0 {
        let lost = counted(replayed.unwritten, "packet");
        anyhow::bail!("{lost} could not be written to {data_dir}; the messages before say why");
    }
    Ok(match () {
        () if stop.load(Ordering::Relaxed) => Exit::Failure,
        () if !warnings.is_empty() => Exit::Damaged,
        () => Exit::Ok,
    })
}
