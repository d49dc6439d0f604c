//! The way to the journal: a thread that alone waits for it. journald stands still as long as its own disk does, and nobody who
//! records, keeps or feeds a watchdog may wait with it. Lines that find the queue full are counted, and told of later.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing::field::{Field, Value, Visit};
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{Layer, registry};

use super::events::{event, is_notice};
use crate::sys::journal::{self, Priority};

/// Lines that may wait, about a kilobyte each.
const BACKLOG: usize = 1024;

/// How long the end waits for lines to be taken.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it looks.
const SOON: Duration = Duration::from_millis(5);

/// An event on its way: what its place in the source tells, and the texts of its fields in their order.
struct Line {
    metadata: &'static Metadata<'static>,
    values: Vec<Option<String>>,
}

impl Line {
    fn of(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut line = Self { metadata, values: vec![None; metadata.fields().len()] };
        event.record(&mut line);
        line
    }

    /// Tells it once more, here.
    fn tell(&self, to: &Dispatch) {
        let values: Vec<_> =
            self.values.iter().map(|text| text.as_ref().map(|text| text as &dyn Value)).collect();
        to.event(&Event::new(self.metadata, &self.metadata.fields().value_set_all(&values)));
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.values[field.index()] = Some(value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.values[field.index()] = Some(format!("{value:?}"));
    }
}

/// What is handed to the thread.
enum Job {
    Line(Line),
    End,
}

/// The handing end, for every thread; never waits.
#[derive(Clone)]
pub struct Relay {
    jobs: Sender<Job>,
    lost: Arc<AtomicU64>,
}

impl<S: Subscriber> Layer<S> for Relay {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if self.jobs.try_send(Job::Line(Line::of(event))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The thread. Dropping it hands over what is left, if the journal takes it.
pub struct JournalThread {
    relay: Relay,
    thread: Option<JoinHandle<()>>,
}

/// Starts the thread.
///
/// # Errors
/// If no journal listens, or no thread can be started.
pub fn start() -> io::Result<(Relay, JournalThread)> {
    // Notices are information to `tracing`: they have a writer of their own.
    let writer = |info| Ok::<_, io::Error>(Dispatch::new(registry().with(journal::writer(info)?)));
    let (notices, others) = (writer(Priority::Notice)?, writer(Priority::Informational)?);
    let (jobs, to_do) = bounded(BACKLOG);
    let relay = Relay { jobs, lost: Arc::default() };
    let lost = Arc::clone(&relay.lost);
    let thread =
        Builder::new().name("journal".to_owned()).spawn(move || write(&to_do, &notices, &others, &lost))?;
    Ok((relay.clone(), JournalThread { relay, thread: Some(thread) }))
}

fn write(jobs: &Receiver<Job>, notices: &Dispatch, others: &Dispatch, lost: &AtomicU64) {
    while let Ok(Job::Line(line)) = jobs.recv() {
        line.tell(if is_notice(line.metadata.name()) { notices } else { others });
        // Not before there is room for that line, too.
        if jobs.len() < BACKLOG / 2 {
            tell_lost(lost.swap(0, Ordering::Relaxed));
        }
    }
}

fn tell_lost(count: u64) {
    if count > 0 {
        let of = "any";
        event!(
            LEFT_OUT,
            TAPKEEP_OF = of,
            TAPKEEP_COUNT = count,
            "{count} lines that the journal did not take are left out"
        );
    }
}

impl Drop for JournalThread {
    fn drop(&mut self) {
        let until = Instant::now() + PATIENCE;
        let _ = self.relay.jobs.send_deadline(Job::End, until);
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < until {
            sleep(SOON);
        }
        // One that waits for a journal cannot be waited for.
        if let Some(thread) = self.thread.take_if(|thread| thread.is_finished()) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Keeps the fields of what it is told.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<(String, String)>>>);

    impl<S: Subscriber> Layer<S> for Page {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let line = Line::of(event);
            let fields = line.metadata.fields().iter().map(|field| field.name().to_owned());
            let told = fields.zip(line.values).filter_map(|(field, text)| Some((field, text?)));
            self.0.lock().unwrap().extend(told);
        }
    }

    #[test]
    fn a_line_arrives_with_its_fields_and_without_those_that_are_missing() {
        let page = Page::default();
        let (jobs, to_do) = bounded(1);
        let relay = Relay { jobs, lost: Arc::default() };
        tracing::subscriber::with_default(registry().with(relay.clone()), || {
            let lost: Option<u64> = None;
            for packets in 7..10_u64 {
                event!(STOPPED, TAPKEEP_PACKETS = packets, TAPKEEP_LOST = lost, "stopped {}", 1);
            }
        });
        assert_eq!(relay.lost.load(Ordering::Relaxed), 2, "there was room for one");
        let Ok(Job::Line(line)) = to_do.try_recv() else { panic!("no line") };
        line.tell(&Dispatch::new(registry().with(page.clone())));
        let told = page.0.lock().unwrap().clone();
        let id = super::super::events::STOPPED.id;
        let wanted = [
            ("message", "stopped 1"),
            ("MESSAGE_ID", id),
            ("TAPKEEP_EVENT", "stopped"),
            ("TAPKEEP_PACKETS", "7"),
        ];
        assert_eq!(told, wanted.map(|(field, text)| (field.to_owned(), text.to_owned())));
    }
}
