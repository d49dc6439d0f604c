//! The state of the service as a screenful of lines.

use chrono::DateTime;

use super::super::zone::Here;
use super::warnings;
use crate::cli::escape::Escaped;
use crate::cli::table::{bytes, count, counted, duration, spark};
use crate::cli::time::date_time;
use crate::daemon::{Activity, Hour, ServiceState};
use crate::store::keeper::Reach;

/// From here on what is told of the last hour is of all of it, milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// The lines being made: a key and a value each.
#[derive(Default)]
struct Page(Vec<(&'static str, String)>);

impl Page {
    fn line(&mut self, key: &'static str, value: impl std::fmt::Display) {
        self.0.push((key, value.to_string()));
    }
}

/// All that there is to say, a line each.
pub(super) fn lines(state: &ServiceState) -> Vec<String> {
    entries(state).iter().map(|(key, value)| format!("{key:<16}{value}")).collect()
}

/// All that there is to say: what it is about, or nothing if that is the same as before, and what there is to say of it.
pub(in crate::cli) fn entries(state: &ServiceState) -> Vec<(&'static str, String)> {
    let mut page = Page::default();
    page.line("State", activity(state));
    let warnings = warnings(state);
    let health =
        if warnings.is_empty() { "ok".to_owned() } else { format!("warning: {}", warnings.join("; ")) };
    page.line("Health", health);
    traffic(&mut page, state);
    losses(&mut page, state);
    recording(&mut page, state);
    analysis(&mut page, state);
    disk(&mut page, state);
    for rule in &state.analysis.ignored {
        let hits = counted(rule.hits, "finding");
        page.line("Ignored", Escaped(format_args!("{hits}: {rule} ({})", rule.reason)));
    }
    if let Some(what) = &state.busy_with {
        page.line("Beside", what);
    }
    page.line("Data directory", state.data_dir.display());
    let since = local(&state.started);
    page.line("Running", format_args!("tapkeep {}, process {}, since {since}", state.version, state.pid));
    page.0
}

fn activity(state: &ServiceState) -> String {
    let port = state.interface.as_deref().unwrap_or("no interface");
    match &state.activity {
        Activity::Starting => format!("{port}: starting"),
        Activity::Capturing => format!("{port}: capturing"),
        Activity::Waiting(reason) => format!("{port}: waiting, {reason}"),
        Activity::Stopping => format!("{port}: stopping"),
    }
}

/// What the counts of the last hour cover.
fn period(ms: u64) -> &'static str {
    if ms >= HOUR_MS { "in the last hour" } else { "since the start" }
}

/// Of a time in RFC 3339 the one that people here read.
fn local(time: &str) -> String {
    let stamp = DateTime::parse_from_rfc3339(time).ok().and_then(|time| time.timestamp_nanos_opt());
    stamp.map_or_else(|| time.to_owned(), |stamp| date_time(stamp, &Here))
}

fn traffic(page: &mut Page, state: &ServiceState) {
    let megabits = |rate: f64| rate * 8.0 / 1e6;
    let Hour { ms, counts } = &state.hour;
    let hourly = megabits(counts.bytes as f64 * 1e3 / (*ms).max(1) as f64);
    let packets = count(state.packet_rate.round() as u64);
    let now = megabits(state.byte_rate);
    let period = period(*ms);
    page.line("Rate", format_args!("{packets} packets/s, {now:.1} Mb/s; {hourly:.1} Mb/s {period}"));
    if let Some(recent) = recent(state) {
        page.line("", recent);
    }
    page.line("Received", format_args!("{}, {}", counted(state.packets, "packet"), bytes(state.bytes)));
}

/// The traffic of the last minutes, drawn: each character is the mean of three steps.
fn recent(state: &ServiceState) -> Option<String> {
    let rates: Vec<_> = state.recent.byte_rate.iter().copied().collect();
    let means: Vec<_> =
        rates.rchunks(3).rev().map(|steps| steps.iter().sum::<u64>() / steps.len() as u64).collect();
    let ms = state.recent.step_ms * rates.len() as u64;
    (ms > 0).then(|| format!("{}  the last {}", spark(&means), duration(ms)))
}

fn losses(page: &mut Page, state: &ServiceState) {
    let causes = state.losses.by_cause();
    let lost = causes.map(|(cause, lost)| format!("{} {cause}", lost.map_or_else(|| "?".to_owned(), count)));
    page.line("Lost", lost.join(", "));
    let hourly = state.hour.counts.losses.by_cause();
    for ((last, (cause, _)), (_, hourly)) in state.last_lost.by_cause().into_iter().zip(causes).zip(hourly) {
        if let Some(last) = last {
            let hourly = hourly.map_or_else(|| "?".to_owned(), count);
            let period = period(state.hour.ms);
            page.line("", format_args!("{cause}: last at {}, {hourly} {period}", local(last)));
        }
    }
}

fn recording(page: &mut Page, state: &ServiceState) {
    if let Some(recording) = &state.recording {
        let percent = recording.size * 100 / recording.rotation_size.max(1);
        let packets = counted(recording.packets, "packet");
        page.line("Recording", format_args!("{}, {packets}, {percent} % full", recording.name));
    }
    let unsynced = state.oldest_unsynced_ms.map_or_else(
        || "everything is synced".to_owned(),
        |age| format!("oldest packet not synced: {}", duration(age)),
    );
    page.line("Sync", unsynced);
    let queue = &state.queue;
    let lasts =
        queue.seconds.map_or_else(String::new, |s| format!(", {} at this rate", duration((s * 1e3) as u64)));
    let size = bytes(queue.bytes);
    let ring = bytes(state.kernel_buffer);
    page.line("Queue", format_args!("{} of {} blocks waiting; {size}{lasts}", queue.waiting, queue.blocks));
    page.line("Kernel ring", ring);
    let still: Vec<_> = state.still.iter().filter(|(_, seconds)| **seconds > 0).collect();
    let still = still
        .iter()
        .map(|(thread, seconds)| format!("{thread} stands still for {}", duration(**seconds * 1_000)));
    let threads = still.collect::<Vec<_>>().join(", ");
    page.line("Threads", if threads.is_empty() { "all turn" } else { &threads });
}

fn analysis(page: &mut Page, state: &ServiceState) {
    let analysis = &state.analysis;
    let left = match analysis.left {
        0 => String::new(),
        left => format!("; {} still to be analysed", bytes(left)),
    };
    let (packets, flows) = (counted(analysis.packets, "packet"), counted(analysis.flows, "flow"));
    page.line(
        "Analysis",
        format_args!("{packets}, {flows} followed in {}{left}", bytes(analysis.flow_memory)),
    );
    if analysis.records_lost > 0 {
        page.line("", format_args!("{} that no disk took", counted(analysis.records_lost, "flow record")));
    }
    for what in
        analysis.tap.iter().chain(&analysis.paused.as_ref().map(|why| format!("detectors pause: {why}")))
    {
        page.line("Tap", what);
    }
    let found = state.hour.counts.findings.by_severity();
    let found: Vec<_> = found
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(severity, n)| format!("{} {severity}", count(*n)))
        .collect();
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    page.line("Findings", format_args!("{found} {}", period(state.hour.ms)));
}

fn disk(page: &mut Page, state: &ServiceState) {
    if let Some(disk) = state.disk {
        page.line("Disk", format_args!("{} free of {}", bytes(disk.free), bytes(disk.total)));
    }
    let written = state.flash.map_or_else(
        || "unknown: the kernel does not say".to_owned(),
        |written| format!("{} since the start", bytes(written)),
    );
    let per_day = state.flash_per_day().map(|per_day| format!("; {} a day at this rate", bytes(per_day)));
    page.line("Disk writes", format_args!("{written}{}", per_day.unwrap_or_default()));
    if let Some(reach) = &state.retention {
        retention(page, reach, state.record_rate(), period(state.hour.ms));
    }
    page.line("Index", if state.index_stale { "stale; the files answer" } else { "current" });
}

fn retention(page: &mut Page, reach: &Reach, rate: Option<f64>, period: &str) {
    let kept = match reach.kept_ms {
        Some(ms) => format!("{} kept in {}", duration(ms), counted(reach.files, "file")),
        None => "no file to go yet".to_owned(),
    };
    let held = match reach.held {
        0 => String::new(),
        held => format!(", {} of it held", bytes(held)),
    };
    page.line("Retention", format_args!("{kept}; {} of {}{held}", bytes(reach.bytes), bytes(reach.allowed)));
    if let Some(rate) = rate {
        let first = match reach.first_eviction_ms(rate) {
            0 => "the oldest goes with each new one".to_owned(),
            ms => format!("the oldest goes in {}", duration(ms)),
        };
        let lasts = duration(reach.lasts_ms(rate));
        page.line("", format_args!("keeps {lasts} at the rate {period}; {first}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::{Counts, FindingCounts, LossTimes, Queue};
    use crate::store::losses::Losses;

    #[test]
    fn the_page_tells_what_was_kept_lost_written_and_found() {
        let lost = Losses { nic: None, kernel: Some(1_200), ..Losses::NONE };
        let counts = Counts {
            bytes: 36_000_000_000,
            recorded: 3_600_000_000,
            flash: Some(4_000_000_000),
            losses: Losses { kernel: Some(200), ..lost },
            findings: FindingCounts { high: 1, low: 2, ..FindingCounts::default() },
            ..Counts::default()
        };
        let state = ServiceState {
            activity: Activity::Capturing,
            interface: Some("eth1".to_owned()),
            losses: lost,
            last_lost: LossTimes { kernel: Some("x".to_owned()), ..LossTimes::default() },
            flash: Some(9_000_000_000),
            hour: Hour { ms: 3_600_000, counts },
            queue: Queue { waiting: 0, blocks: 128, bytes: 33_554_432, seconds: Some(419_505.8) },
            still: [("analyst".to_owned(), 185)].into(),
            retention: Some(Reach {
                files: 9,
                bytes: 900_000_000,
                held: 100_000_000,
                allowed: 1_100_000_000,
                age_limit_ms: None,
                kept_ms: Some(900_000),
            }),
            ..ServiceState::default()
        };
        let lines = lines(&state);
        for wanted in [
            "State           eth1: capturing",
            "Health          warning: 200 packets lost in the last hour; the analyst thread stands still for 3 min 5 s",
            "Rate            0 packets/s, 0.0 Mb/s; 80.0 Mb/s in the last hour",
            "Lost            ? nic, 1,200 kernel, 0 queue, 0 write, 0 analysis",
            "                kernel: last at x, 200 in the last hour",
            "Queue           0 of 128 blocks waiting; 33.6 MB, 4 d 20 h at this rate",
            "Threads         analyst stands still for 3 min 5 s",
            "Findings        1 high, 2 low in the last hour",
            "Disk writes     9.00 GB since the start; 96.0 GB a day at this rate",
            "Retention       15 min kept in 9 files; 900 MB of 1.10 GB, 100 MB of it held",
            "                keeps 16 min 40 s at the rate in the last hour; the oldest goes in 3 min 20 s",
        ] {
            assert!(lines.iter().any(|line| line == wanted), "{wanted}\nin\n{}", lines.join("\n"));
        }
        assert!(lines.len() <= 24, "a screenful");
    }
}
