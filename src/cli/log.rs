//! What the service says while it runs: lines on standard error, for people and for whatever keeps them.

use std::io::{IsTerminal, stderr};

use tracing::Level;
use tracing_subscriber::fmt;

/// Seconds are fine enough for people, and UTC is what file names and analysts use.
struct Utc;

impl fmt::time::FormatTime for Utc {
    fn format_time(&self, to: &mut fmt::format::Writer<'_>) -> std::fmt::Result {
        write!(to, "{}", chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ"))
    }
}

/// Lets messages down to `level` through to standard error. On a terminal they carry the time; what keeps them elsewhere
/// stamps them itself.
pub(super) fn start(level: Level) {
    let colour = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let format = fmt::fmt().with_writer(stderr).with_max_level(level).with_target(false).with_ansi(colour);
    // It fails only if something has begun already, and then that goes on.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
        format.without_time().try_init()
    } else {
        format.with_timer(Utc).try_init()
    };
}
