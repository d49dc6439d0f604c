//! `tapkeep status`: how the service is, for people and for whatever watches it.

use anyhow::Result;
use clap::Args;

use super::Context;
use super::output::{Exit, Output};
use super::table::{bytes, count, duration};
use crate::daemon::{Activity, ServiceState};
use crate::sys::clock::{Clock, RealClock};

/// What `status` is asked.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 ok, 1 warning (packets lost, waiting, index stale), 2 not running, 3 unknown."
)]
pub(super) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn status(args: &StatusArgs, context: &Context, out: &mut Output) -> Result<Exit> {
    let runtime_dir = &context.loaded.config.service.runtime_dir;
    let state = ServiceState::find(runtime_dir, &context.data_dir.path);
    let up_ms = u64::try_from(RealClock.now().up.as_millis()).unwrap_or(u64::MAX);
    let running = state.as_ref().is_some_and(|state| state.is_fresh(up_ms));
    if args.json {
        out.json(&serde_json::json!({ "running": running, "service": state }))?;
    }
    let Some(state) = state.filter(|_| running) else {
        out.note(format_args!(
            "no service that records into {} tells its state in {}",
            context.data_dir,
            runtime_dir.display()
        ));
        return Ok(Exit::Critical);
    };
    if !args.json {
        show(&state, out)?;
    }
    let lost = state.losses.by_cause().iter().any(|(_, lost)| lost.is_some_and(|lost| lost > 0));
    let waiting = !matches!(state.activity, Activity::Capturing);
    Ok(if lost || waiting || state.index_stale { Exit::Warning } else { Exit::Ok })
}

fn show(state: &ServiceState, out: &mut Output) -> Result<()> {
    let mut line = |key: &str, value: String| out.line(format_args!("{key:<16}{value}"));
    let port = state.interface.as_deref().unwrap_or("no interface");
    line(
        "State",
        match &state.activity {
            Activity::Starting => format!("{port}: starting"),
            Activity::Capturing => format!("{port}: capturing"),
            Activity::Waiting(reason) => format!("{port}: waiting, {reason}"),
            Activity::Stopping => format!("{port}: stopping"),
        },
    )?;
    let bits = state.byte_rate * 8.0 / 1e6;
    line("Rate", format!("{} packets/s, {bits:.1} Mb/s", count(state.packet_rate.round() as u64)))?;
    line("Received", format!("{} packets, {}", count(state.packets), bytes(state.bytes)))?;
    let lost: Vec<_> = state
        .losses
        .by_cause()
        .iter()
        .map(|(cause, lost)| format!("{} {cause}", lost.map_or_else(|| "?".to_owned(), count)))
        .collect();
    line("Lost", lost.join(", "))?;
    if let Some(recording) = &state.recording {
        let percent = recording.size * 100 / recording.rotation_size.max(1);
        line(
            "Recording",
            format!("{}, {} packets, {percent} % full", recording.name, count(recording.packets)),
        )?;
    }
    let unsynced = state.oldest_unsynced_ms.map_or_else(
        || "everything is synced".to_owned(),
        |age| format!("oldest packet not synced: {}", duration(age)),
    );
    line("Sync", unsynced)?;
    let queue = &state.queue;
    let lasts = queue.seconds.map_or_else(String::new, |s| format!(", {s:.1} s at this rate"));
    line(
        "Queue",
        format!("{} of {} blocks waiting; {}{lasts}", queue.waiting, queue.blocks, bytes(queue.bytes)),
    )?;
    line("Kernel ring", bytes(state.kernel_buffer))?;
    if let Some(disk) = state.disk {
        line("Disk", format!("{} free of {}", bytes(disk.free), bytes(disk.total)))?;
    }
    line(
        "Index",
        if state.index_stale { "stale; the files answer".to_owned() } else { "current".to_owned() },
    )?;
    if let Some(what) = &state.busy_with {
        line("Beside", what.clone())?;
    }
    line("Data directory", state.data_dir.display().to_string())?;
    line("Running", format!("tapkeep {}, process {}, since {}", state.version, state.pid, state.started))?;
    Ok(())
}
