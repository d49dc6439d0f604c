//! Metrics for Prometheus: the state as text (exposition format 0.0.4), in a file as node_exporter's textfile collector reads
//! it. `docs/METRICS.md` is the contract.
//!
//! Written every 15 seconds, about as often as Prometheus asks: each second would wear a card for nothing. By a thread of its
//! own, for the folder may hang; what it has not taken by then is left out. A folder that refuses is told of once.

use std::fmt::{self, Display, Write as _};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::events::event;
use super::state::{Activity, ServiceState};
use crate::sys::fs::replace_whole;

/// How often it is written.
const EVERY: Duration = Duration::from_secs(15);

/// How long an ending service waits for a folder that hangs.
const PATIENCE: Duration = Duration::from_secs(1);

/// Readable by whoever collects it.
const MODE: u32 = 0o644;

/// The file being kept up to date; removed when dropped, so that an ended service leaves no numbers that look alive.
pub(super) struct MetricsFile {
    due: Instant,
    texts: Option<Sender<String>>,
    thread: JoinHandle<()>,
}

impl MetricsFile {
    /// A file that is written at the next look.
    pub(super) fn new(path: PathBuf) -> io::Result<Self> {
        let (sender, texts) = bounded(1);
        let thread = Builder::new().name("metrics".to_owned()).spawn(move || keep(&path, &texts))?;
        Ok(Self { due: Instant::now(), texts: Some(sender), thread })
    }

    /// Has it written, if it is time. Never waits.
    pub(super) fn look(&mut self, state: &ServiceState) {
        let now = Instant::now();
        if let Some(texts) = self.texts.as_ref().filter(|_| now >= self.due) {
            self.due = now + EVERY;
            let _ = texts.try_send(text(state));
        }
    }
}

impl Drop for MetricsFile {
    fn drop(&mut self) {
        self.texts = None;
        let until = Instant::now() + PATIENCE;
        while !self.thread.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Writes what comes, until nothing more can; then removes it.
fn keep(path: &Path, texts: &Receiver<String>) {
    let mut refused = false;
    let file = path.display();
    for text in texts {
        let mode = || Permissions::from_mode(MODE);
        let written = replace_whole(path, text.as_bytes(), |file| file.set_permissions(mode()));
        match (&written, refused) {
            (Err(error), false) => {
                event!(
                    METRICS_UNWRITTEN,
                    TAPKEEP_FILE = %file,
                    TAPKEEP_REASON = %error,
                    "write metrics to {file}: {error}; trying again"
                );
            }
            (Ok(()), true) => {
                event!(METRICS_WRITTEN, TAPKEEP_FILE = %file, "metrics are written to {file} again");
            }
            _ => {}
        }
        refused = written.is_err();
    }
    let _ = std::fs::remove_file(path);
}

/// A value of a metric; one that nobody knows is left out.
type Value = Option<f64>;

/// A whole number as Prometheus has them.
fn number(n: u64) -> Value {
    Some(n as f64)
}

fn seconds(ms: u64) -> Value {
    Some(ms as f64 / 1e3)
}

/// The state as metrics.
pub(super) fn text(state: &ServiceState) -> String {
    let mut page = Page { interface: state.interface.clone().unwrap_or_default(), text: String::new() };
    packets(&mut page, state);
    analysis(&mut page, state);
    storage(&mut page, state);
    service(&mut page, state);
    page.text
}

fn packets(page: &mut Page, state: &ServiceState) {
    page.counter("received_packets_total", "Packets taken from the tap port.", number(state.packets));
    page.counter("received_bytes_total", "Bytes of these on the wire.", number(state.bytes));
    page.counter("written_packets_total", "Packets written to capture files.", number(state.written));
    page.counter("recorded_bytes_total", "Bytes written to capture files.", number(state.recorded));
    let lost = state.losses.by_cause().map(|(cause, lost)| (cause, lost.and_then(number)));
    page.counters("lost_packets_total", "Packets lost, by where.", "cause", &lost);
    page.gauge("queue_blocks", "Blocks between capture and disk.", number(state.queue.blocks));
    page.gauge("queue_waiting_blocks", "Blocks of these that wait.", number(state.queue.waiting));
    page.gauge("queue_bytes", "Bytes of all these blocks.", number(state.queue.bytes));
    page.gauge("kernel_ring_bytes", "Size of the kernel's ring.", number(state.kernel_buffer));
}

fn analysis(page: &mut Page, state: &ServiceState) {
    let analysis = &state.analysis;
    page.counter("analysed_packets_total", "Packets analysed.", number(analysis.packets));
    page.gauge("unanalysed_bytes", "Bytes of captures still to be analysed.", number(analysis.left));
    page.gauge("flows", "Flows that are followed.", number(analysis.flows));
    page.gauge("flow_memory_bytes", "Memory that these take.", number(analysis.flow_memory));
    let lost = number(analysis.records_lost);
    page.counter("lost_flow_records_total", "Flow records that no disk took.", lost);
    let findings = state.findings.by_severity().map(|(severity, count)| (severity, number(count)));
    page.counters("findings_total", "Findings raised, by severity.", "severity", &findings);
    let ignored = analysis.ignored.iter().map(|rule| rule.hits).sum();
    page.counter("ignored_findings_total", "Findings that a rule silenced.", number(ignored));
}

fn storage(page: &mut Page, state: &ServiceState) {
    let unsynced = seconds(state.oldest_unsynced_ms.unwrap_or(0));
    page.gauge("oldest_unsynced_seconds", "Age of the oldest packet not on the device.", unsynced);
    page.counter("flash_written_bytes_total", "Bytes handed to disks.", state.flash.and_then(number));
    let disk = state.disk.as_ref();
    page.gauge("disk_size_bytes", "Size of the file system.", disk.and_then(|disk| number(disk.total)));
    page.gauge("disk_free_bytes", "Free bytes of it.", disk.and_then(|disk| number(disk.free)));
    let kept = state.retention.as_ref();
    page.gauge("capture_files", "Finished capture files.", kept.and_then(|kept| number(kept.files)));
    page.gauge("capture_bytes", "Bytes of all capture files.", kept.and_then(|kept| number(kept.bytes)));
    page.gauge("held_bytes", "Bytes of files on hold.", kept.and_then(|kept| number(kept.held)));
    let allowed = kept.and_then(|kept| number(kept.allowed));
    page.gauge("allowed_bytes", "Bytes that captures may take.", allowed);
    let reach = kept.and_then(|kept| kept.kept_ms).and_then(seconds);
    page.gauge("kept_seconds", "How far back captures reach.", reach);
    page.gauge("index_stale", "1 while the index does not follow.", number(state.index_stale.into()));
}

fn service(page: &mut Page, state: &ServiceState) {
    let still: Vec<_> = state.still.iter().map(|(thread, still)| (thread.as_str(), number(*still))).collect();
    page.gauges("thread_still_seconds", "Time that a thread has had work and stood still.", "thread", &still);
    let capturing = state.activity == Activity::Capturing;
    page.gauge("capturing", "1 while packets can arrive.", number(capturing.into()));
    page.gauge("start_time_seconds", "When the service started.", unix(&state.started));
    page.gauge("updated_time_seconds", "When this was written.", unix(&state.updated));
    page.family("info", "gauge", "The running version.", &[(Some(("version", &state.version)), number(1))]);
}

fn unix(time: &str) -> Value {
    let time = chrono::DateTime::parse_from_rfc3339(time).ok()?;
    Some(time.timestamp_micros() as f64 / 1e6)
}

/// The text being made. Every sample tells the interface: of two services each has its own.
struct Page {
    interface: String,
    text: String,
}

/// A label beside the interface.
type Label<'a> = Option<(&'a str, &'a str)>;

impl Page {
    fn counter(&mut self, name: &str, help: &str, value: Value) {
        self.family(name, "counter", help, &[(None, value)]);
    }

    fn counters(&mut self, name: &str, help: &str, label: &str, values: &[(&str, Value)]) {
        self.family(name, "counter", help, &labelled(label, values));
    }

    fn gauge(&mut self, name: &str, help: &str, value: Value) {
        self.family(name, "gauge", help, &[(None, value)]);
    }

    fn gauges(&mut self, name: &str, help: &str, label: &str, values: &[(&str, Value)]) {
        self.family(name, "gauge", help, &labelled(label, values));
    }

    fn family(&mut self, name: &str, kind: &str, help: &str, samples: &[(Label<'_>, Value)]) {
        let mut known = samples.iter().filter_map(|(label, value)| Some((label, (*value)?))).peekable();
        if known.peek().is_none() {
            return;
        }
        // Writing into a text does not fail.
        let _ = write!(self.text, "# HELP tapkeep_{name} {help}\n# TYPE tapkeep_{name} {kind}\n");
        for (label, value) in known {
            let interface = Quoted(&self.interface);
            let label = label.map_or_else(String::new, |(label, of)| format!(",{label}=\"{}\"", Quoted(of)));
            let _ = writeln!(self.text, "tapkeep_{name}{{interface=\"{interface}\"{label}}} {value}");
        }
    }
}

fn labelled<'a>(label: &'a str, values: &[(&'a str, Value)]) -> Vec<(Label<'a>, Value)> {
    values.iter().map(|(of, value)| (Some((label, *of)), *value)).collect()
}

/// A label's value, with what would end it escaped.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::losses::Losses;

    #[test]
    fn what_is_unknown_is_left_out_and_labels_are_quoted() {
        let losses = Losses { nic: None, ..Losses::unwritten(3) };
        let state = ServiceState { interface: Some("a\"b".to_owned()), losses, ..ServiceState::default() };
        let text = text(&state);
        assert!(
            text.contains("tapkeep_lost_packets_total{interface=\"a\\\"b\",cause=\"write\"} 3\n"),
            "{text}"
        );
        assert!(!text.contains("cause=\"nic\"") && text.contains("cause=\"kernel\"} 0\n"), "{text}");
        assert!(!text.contains("tapkeep_disk_free_bytes"), "{text}");
    }

    /// What was written, once something was.
    fn written(path: &Path) -> String {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            match std::fs::read_to_string(path) {
                Ok(text) => return text,
                Err(error) => assert!(Instant::now() < until, "{}: {error}", path.display()),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_file_is_whole_for_all_to_read_and_goes_with_its_service() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tapkeep.prom");
        let mut file = MetricsFile::new(path.clone()).unwrap();
        let state = ServiceState { packets: 5, ..ServiceState::default() };
        file.look(&state);
        assert_eq!(written(&path), text(&state));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, MODE);
        let due = file.due;
        file.look(&state);
        assert_eq!(file.due, due, "not before its time");
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_comes_later_is_written_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later/tapkeep.prom");
        let (sender, texts) = bounded(0);
        std::thread::scope(|scope| {
            scope.spawn(|| keep(&path, &texts));
            for _ in 0..2 {
                sender.send("1\n".to_owned()).unwrap();
            }
            std::fs::create_dir(path.parent().unwrap()).unwrap();
            sender.send("2\n".to_owned()).unwrap();
            while written(&path) != "2\n" {
                std::thread::yield_now();
            }
            drop(sender);
        });
        assert!(!path.exists());
    }
}
