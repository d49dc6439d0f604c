//! `tapkeep status`: how the service is, for people and for whatever watches it.

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Value, json};

use super::escape::Escaped;
use super::output::{Exit, Output};
use super::table::{bytes, count, counted, duration};
use super::{Common, Context};
use crate::daemon::{Activity, ServiceState};
use crate::store::losses::Losses;
use crate::sys::clock::{Clock, RealClock};

/// What `status` is asked.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 ok, 1 warning (packets lost, waiting, index stale), 2 not running, 3 unknown."
)]
pub(super) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

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
        "service": service,
    })
}

/// Speaks as monitoring expects: whatever keeps it from an answer is "unknown".
pub(super) fn status(args: &StatusArgs, common: &Common, out: &mut Output) -> Result<Exit> {
    let found = Context::of_query(common, out).and_then(|context| {
        let runtime_dir = &context.loaded.config.service.runtime_dir;
        let state = ServiceState::find(runtime_dir, &context.data_dir.path);
        let state = state.with_context(|| format!("read the state in {}", runtime_dir.display()))?;
        Ok((state, context))
    });
    match found {
        Ok((state, context)) => tell(state, args.json, &context, out),
        Err(error) => {
            if args.json {
                out.json(&empty())?;
            }
            out.error(&error);
            Ok(Exit::Unknown)
        }
    }
}

fn tell(state: Option<ServiceState>, json: bool, context: &Context, out: &mut Output) -> Result<Exit> {
    let up_ms = u64::try_from(RealClock.now().up.as_millis()).unwrap_or(u64::MAX);
    let running = state.as_ref().is_some_and(|state| state.is_fresh(up_ms));
    if json {
        out.json(&document(running, state.as_ref()))?;
    }
    let runtime_dir = context.loaded.config.service.runtime_dir.display();
    let Some(state) = state else {
        let place = &context.data_dir;
        out.note(format_args!("no service that records into {place} tells its state in {runtime_dir}"));
        return Ok(Exit::Critical);
    };
    if !running {
        let ServiceState { pid, updated, .. } = &state;
        out.note(format_args!(
            "the service (process {pid}) told its state in {runtime_dir} last at {updated}; it has ended or hangs"
        ));
        return Ok(Exit::Critical);
    }
    if !json {
        show(&state, out)?;
    }
    // What nobody can count is shown, and no reason to warn for ever.
    let lost = state.losses.by_cause().iter().any(|(_, lost)| lost.is_some_and(|n| n > 0));
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
    line("Received", format!("{}, {}", counted(state.packets, "packet"), bytes(state.bytes)))?;
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
            format!("{}, {}, {percent} % full", recording.name, counted(recording.packets, "packet")),
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
    let analysis = &state.analysis;
    let left = if analysis.left > 0 {
        format!("; {} still to be analysed", bytes(analysis.left))
    } else {
        String::new()
    };
    line(
        "Analysis",
        format!(
            "{}, {} followed in {}{left}",
            counted(analysis.packets, "packet"),
            counted(analysis.flows, "flow"),
            bytes(analysis.flow_memory)
        ),
    )?;
    for what in
        analysis.tap.iter().chain(&analysis.paused.as_ref().map(|why| format!("detectors pause: {why}")))
    {
        line("Tap", what.clone())?;
    }
    line("Kernel ring", bytes(state.kernel_buffer))?;
    if let Some(disk) = state.disk {
        line("Disk", format!("{} free of {}", bytes(disk.free), bytes(disk.total)))?;
    }
    line(
        "Index",
        if state.index_stale { "stale; the files answer".to_owned() } else { "current".to_owned() },
    )?;
    for rule in &state.analysis.ignored {
        let hits = counted(rule.hits, "finding");
        line("Ignored", Escaped(format_args!("{hits}: {rule} ({})", rule.reason)).to_string())?;
    }
    if let Some(what) = &state.busy_with {
        line("Beside", what.clone())?;
    }
    line("Data directory", state.data_dir.display().to_string())?;
    line("Running", format!("tapkeep {}, process {}, since {}", state.version, state.pid, state.started))?;
    Ok(())
}
