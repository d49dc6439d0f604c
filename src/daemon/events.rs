//! The events that an operator or auditor looks for: one table of what they are called, their `MESSAGE_ID`, priority and fields,
//! and the one macro by which the service tells of them. `docs/JOURNAL.md` and `systemd/tapkeep.catalog` say the same as the
//! table; a test holds them equal.

pub mod bounds;
mod table;

use std::ops::Range;

use tracing::Level;

pub use table::*;

/// What it asks of whom it is told; the names are syslog's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Something failed.
    Err,
    /// Something is amiss, or may fail if nobody looks.
    Warning,
    /// Unusual, and worth a look; nothing is wrong with the service.
    Notice,
    /// As it should be.
    Info,
}

impl Priority {
    /// The level by which the macro `event!` tells of it: notices are information, as [`is_notice`] knows them.
    pub const fn level(self) -> Level {
        match self {
            Self::Err => Level::ERROR,
            Self::Warning => Level::WARN,
            Self::Notice | Self::Info => Level::INFO,
        }
    }
}

/// An event that the service tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// What it is called, in `TAPKEEP_EVENT`.
    pub name: &'static str,
    /// Its `MESSAGE_ID`: 32 hexadecimal digits.
    pub id: &'static str,
    /// Its priority.
    pub priority: Priority,
    /// Lines of it that are logged within a minute; more are counted.
    pub per_minute: u32,
    /// Its fields; one may be missing where there is nothing to tell.
    pub fields: &'static [&'static str],
    /// What it means, and what to do.
    pub meaning: &'static str,
    /// A line of it.
    pub example: &'static str,
}

/// Tells of an event: its kind, its fields as `tracing` takes them, and its text for people.
macro_rules! event {
    ($kind:ident, $($told:tt)+) => {
        tracing::event!(
            name: $crate::daemon::events::$kind.name,
            target: "tapkeep",
            $crate::daemon::events::$kind.priority.level(),
            MESSAGE_ID = $crate::daemon::events::$kind.id,
            TAPKEEP_EVENT = $crate::daemon::events::$kind.name,
            $($told)+
        )
    };
}
pub(crate) use event;

/// Tells of damage: of a range of a file, or of all of it.
pub(super) fn damaged(file: &str, range: Option<&Range<u64>>, what: &str) {
    let (from, to) = range.map(|range| (range.start, range.end)).unzip();
    let place = range.map(|Range { start, end }| format!(", bytes {start} to {end}")).unwrap_or_default();
    event!(
        DAMAGE,
        TAPKEEP_FILE = file,
        TAPKEEP_FROM = from,
        TAPKEEP_TO = to,
        TAPKEEP_REASON = what,
        "{file} is damaged{place}: {what}"
    );
}

/// The event of that name.
pub fn find(name: &str) -> Option<&'static Kind> {
    ALL.iter().find(|kind| kind.name == name)
}

/// Whether what `tracing` knows by that name is a notice.
pub fn is_notice(name: &str) -> bool {
    find(name).is_some_and(|kind| kind.priority == Priority::Notice)
}

/// Tells how many lines of each event were left out.
pub(super) fn tell_left_out(left_out: &[(&Kind, u64)]) {
    for (kind, count) in left_out {
        let of = kind.name;
        event!(LEFT_OUT, TAPKEEP_OF = of, TAPKEEP_COUNT = count, "{count} more lines of {of} are left out");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_ids_are_unique_and_well_formed() {
        let (names, ids): (HashSet<_>, HashSet<_>) = ALL.iter().map(|kind| (kind.name, kind.id)).unzip();
        assert_eq!((names.len(), ids.len()), (ALL.len(), ALL.len()));
        for kind in ALL {
            assert_eq!(kind.id.len(), 32, "{}", kind.name);
            assert!(kind.id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{}", kind.id);
            assert!(kind.fields.iter().all(|field| field.starts_with("TAPKEEP_")), "{}", kind.name);
            assert_eq!(find(kind.name), Some(kind));
        }
    }

    #[test]
    fn the_bounds_keep_below_what_journald_itself_allows_a_service() {
        let lines: u32 = ALL.iter().map(|kind| kind.per_minute).sum();
        // RateLimitBurst= is 10,000 in RateLimitIntervalSec= 30 s, by default.
        assert!(lines < 10_000, "{lines} a minute");
    }
}
