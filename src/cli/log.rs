//! What the service says while it runs: lines for people on standard error, or, where that is the journal, lines with fields in
//! the journal.

use std::io::{IsTerminal, Stderr, stderr};
use std::sync::Arc;

use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt, registry};

use super::escape::Escaped;
use super::terminal::clear_beside;
use crate::daemon::events::bounds::{Bound, Bounds};
use crate::daemon::relay::{self, JournalThread};
use crate::sys::journal;

/// Seconds are fine enough for people, and UTC is what file names and analysts use.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, to: &mut Writer<'_>) -> std::fmt::Result {
        write!(to, "{}", chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ"))
    }
}

/// What the service says, as long as this lives.
pub(super) struct Log {
    /// How many lines of each event are logged.
    pub(super) bounds: Arc<Bounds>,
    _journal: Option<JournalThread>,
}

/// Lets messages down to `level` through, as many of each event as the bounds admit.
pub(super) fn start(level: Level) -> Log {
    let bounds = Arc::new(Bounds::default());
    let lines = registry().with(LevelFilter::from_level(level)).with(Bound(Arc::clone(&bounds)));
    let journal = if journal::is_stderr() { relay::start().ok() } else { None };
    let (relay, journal) = journal.unzip();
    // It fails only if something has begun already, and then that goes on.
    let _ = match relay {
        Some(relay) => lines.with(relay).try_init(),
        None => lines.with(to_stderr()).try_init(),
    };
    Log { bounds, _journal: journal }
}

/// Texts alone. On a terminal they carry the time; what keeps them elsewhere stamps them itself.
fn to_stderr<S>() -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let colour = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let text = debug_fn(|to, field: &Field, value| match field.name() {
        "message" => text(to, &format!("{value:?}")),
        _ => Ok(()),
    });
    let format = fmt::layer().with_writer(writer).with_target(false).with_ansi(colour).fmt_fields(text);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        format.without_time().boxed()
    } else {
        format.with_timer(Utc).boxed()
    }
}

/// Standard error, with nothing drawn on it.
fn writer() -> Stderr {
    clear_beside();
    stderr()
}

/// Writes a text, as many lines as it has.
fn text(to: &mut Writer<'_>, text: &str) -> std::fmt::Result {
    for (at, line) in text.lines().enumerate() {
        write!(to, "{}{}", if at == 0 { "" } else { "\n" }, Escaped(line))?;
    }
    Ok(())
}
