//! The zone of whoever asks: the local one, or UTC with `--utc`. It is one for the whole process, as `TZ` is.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::OnceLock;

use chrono::{FixedOffset, Local, MappedLocalTime, NaiveDate, NaiveDateTime, Offset, TimeZone, Utc};

use super::time::zone_name;
use crate::packet::Nanos;
use crate::sys::clock::{Clock as _, RealClock};

static UTC: OnceLock<()> = OnceLock::new();

/// Has times typed and shown in UTC from now on.
pub(super) fn use_utc() {
    UTC.get_or_init(|| ());
}

/// Where chrono looks for zones.
const DATABASES: [&str; 4] =
    ["/usr/share/zoneinfo", "/share/zoneinfo", "/etc/zoneinfo", "/usr/share/lib/zoneinfo"];

/// Names that need no database.
const PLAIN: [&str; 5] = ["", "localtime", "UTC", "Etc/UTC", "GMT"];

/// What `TZ` says if it names no zone. Chrono would take that of the machine, or UTC, without a word.
pub(super) fn unknown() -> Option<String> {
    std::env::var("TZ").ok().filter(|tz| !is_zone(tz))
}

fn is_zone(tz: &str) -> bool {
    let name = tz.strip_prefix(':');
    PLAIN.contains(&name.unwrap_or(tz)) || is_file(name.unwrap_or(tz)) || name.is_none() && is_rule(tz.trim())
}

/// Whether the zone is described in a file (RFC 9636).
fn is_file(name: &str) -> bool {
    let begins = |path: &Path| {
        let mut magic = [0; 4];
        File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && &magic == b"TZif"
    };
    // An absolute name is its own path wherever it is joined to.
    DATABASES.iter().any(|folder| begins(&Path::new(folder).join(name)))
}

/// Whether it looks like a rule such as `CET-1CEST,M3.5.0,M10.5.0/3` (POSIX.1-2017, 8.3).
fn is_rule(tz: &str) -> bool {
    let rest = match tz.strip_prefix('<') {
        Some(quoted) => quoted.split_once('>').map_or("", |(_, rest)| rest),
        None => tz.trim_start_matches(|c: char| c.is_ascii_alphabetic()),
    };
    let offset = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    let summer = offset.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
    summer.len() < offset.len() && (summer.is_empty() || summer.contains(','))
}

/// The zone in which times are typed and shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Here;

impl Here {
    /// For the head of a table that shows these times: `Europe/Berlin (UTC+01:00)`.
    pub(super) fn name(self, shown: impl IntoIterator<Item = Nanos>) -> String {
        if UTC.get().is_some() {
            return "UTC".to_owned();
        }
        let mut shown = shown.into_iter().peekable();
        let now = shown.peek().is_none().then(|| RealClock.now().wall);
        zone_name(shown.chain(now), &Local, std::env::var("TZ").ok())
    }
}

impl TimeZone for Here {
    type Offset = FixedOffset;

    fn from_offset(_: &FixedOffset) -> Self {
        Self
    }

    fn offset_from_local_date(&self, local: &NaiveDate) -> MappedLocalTime<FixedOffset> {
        match UTC.get() {
            Some(()) => MappedLocalTime::Single(Utc.fix()),
            None => Local.offset_from_local_date(local),
        }
    }

    fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> MappedLocalTime<FixedOffset> {
        match UTC.get() {
            Some(()) => MappedLocalTime::Single(Utc.fix()),
            None => Local.offset_from_local_datetime(local),
        }
    }

    fn offset_from_utc_date(&self, utc: &NaiveDate) -> FixedOffset {
        UTC.get().map_or_else(|| Local.offset_from_utc_date(utc), |()| Utc.fix())
    }

    fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> FixedOffset {
        UTC.get().map_or_else(|| Local.offset_from_utc_datetime(utc), |()| Utc.fix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_a_file_or_a_rule() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("zone"), b"TZif2").unwrap();
        std::fs::write(path("text"), b"# zones").unwrap();
        let known = ["", "UTC", ":UTC", "JST-9", "<+0530>-5:30", "CET-1CEST,M3.5.0,M10.5.0/3"];
        for tz in known.map(str::to_owned).into_iter().chain([path("zone"), format!(":{}", path("zone"))]) {
            assert!(is_zone(&tz), "{tz}");
        }
        let unknown = ["Mars/Olympus", ":Mars/Olympus", ":JST-9", "JST", "JST9SUMMER", "<+05", "../.."];
        for tz in unknown.map(str::to_owned).into_iter().chain([path("text"), path("none"), path("")]) {
            assert!(!is_zone(&tz), "{tz}");
        }
    }
}
