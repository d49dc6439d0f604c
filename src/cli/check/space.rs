//! Whether what retention is to keep fits on the disk, and how long that lasts.

use std::path::Path;

use super::line::Line;
use crate::cli::table::{bytes, counted, duration};
use crate::cli::{read_ledger, settings};
use crate::config::Config;
use crate::index::view::Viewer;
use crate::packet::{NANOS_PER_SEC, Nanos};
use crate::store::layout::Layout;
use crate::store::names::{CaptureName, Role};
use crate::store::retention::{Limits, allowance};
use crate::sys::fs::{Fs as _, RealFs, Space};

const MINUTE: Nanos = 60 * NANOS_PER_SEC;
const HOUR: Nanos = 60 * MINUTE;

/// What lasts no longer than this is gone before somebody looks.
const SHORT_MS: u64 = 3_600_000;

/// What is there, and what comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stock {
    /// The disk.
    space: Space,
    /// Bytes of captures.
    captures: u64,
    /// Bytes a second that were recorded of late, if anything was.
    rate: Option<f64>,
}

/// Bytes a second in the last hour of what was recorded, be it long ago; `None` if that is less than a minute.
pub(super) fn rate_of_late(dir: &Path) -> Option<f64> {
    let (layout, fs) = (Layout::new(dir), RealFs::default());
    let ledger = || read_ledger(&layout.ledger());
    let view = Viewer { layout: &layout, fs: &fs, ledger: &ledger }.look().ok()?;
    let stamped =
        || view.rows.iter().filter_map(|row| Some((row.facts.first?, row.facts.last?, row.facts.size)));
    let newest = stamped().map(|(_, last, _)| last).max()?;
    let late = || stamped().filter(|(_, last, _)| *last > newest - HOUR);
    let span = newest - late().map(|(first, ..)| first).min()?;
    let bytes: u64 = late().map(|(.., size)| size).sum();
    (span >= MINUTE).then(|| bytes as f64 * NANOS_PER_SEC as f64 / span as f64)
}

impl Stock {
    /// Looks at a data directory, or at where it will be.
    pub(super) fn of(dir: &Path, there: &Path, rate: Option<f64>) -> std::io::Result<Self> {
        let fs = RealFs::default();
        let listing = fs.read_dir(&Layout::new(dir).captures()).unwrap_or_default();
        let ours = listing
            .iter()
            .filter(|file| CaptureName::parse(&file.name).is_some_and(|(_, role)| role != Role::Hold));
        Ok(Self { space: fs.space(there)?, captures: ours.map(|file| file.size).sum(), rate })
    }

    /// Bytes that retention leaves free.
    pub(super) fn keep_free(&self, config: &Config) -> u64 {
        settings::limits(config).min_free.bytes(self.space.total)
    }
}

/// Judges it.
pub(super) fn line(config: &Config, stock: std::io::Result<Stock>) -> Line {
    const ID: &str = "space";
    if !config.recorder.save_pcap {
        return Line::skipped(ID, "saving is off: only flow records are kept");
    }
    match stock {
        Ok(stock) => judge(ID, &settings::limits(config), config.recorder.rotation_size.0, &stock),
        Err(error) => Line::unknown(ID, error),
    }
}

fn judge(id: &'static str, limits: &Limits, rotation: u64, stock: &Stock) -> Line {
    let Stock { space, captures, rate } = *stock;
    let allowed = allowance(limits, space, captures, rotation);
    let disk = allowance(&Limits { count: None, bytes: None, ..*limits }, space, captures, rotation);
    let (bound, more) = binding(limits, rotation, allowed, disk);
    let what = format!("{} for captures, by {bound}; {} are free", bytes(allowed), bytes(space.free));
    if allowed < rotation.saturating_mul(2) {
        let text = format!("{what}. That is no room for two files of {}", bytes(rotation));
        return Line::problem(id, text).advise("make room, or set recorder.rotation_size lower");
    }
    let Some(rate) = rate else {
        return Line::ok(
            id,
            format!("{what}. How long that lasts cannot be told before a minute was recorded"),
        );
    };
    let lasts = (allowed as f64 * 1e3 / rate) as u64;
    let text = format!("{what}. At the last hour's rate this keeps {}", duration(lasts));
    if lasts < SHORT_MS { Line::warning(id, text).advise(more) } else { Line::ok(id, text) }
}

/// What sets the limit, in words, and what raises it.
fn binding(limits: &Limits, rotation: u64, allowed: u64, disk: u64) -> (String, &'static str) {
    if allowed == disk {
        return ("free space".to_owned(), "take a larger disk, or set capture.filter to record less");
    }
    if limits.bytes == Some(allowed) {
        return ("retention.bytes".to_owned(), "set retention.bytes higher");
    }
    let files = limits.count.unwrap_or(0);
    let text = format!("retention.count ({} of {})", counted(files, "file"), bytes(rotation));
    (text, "set retention.count higher, or 0 to fill the disk")
}

#[cfg(test)]
mod tests {
    use super::super::line::Verdict::{Ok as Good, Problem, Warning};
    use super::*;
    use crate::store::retention::MinFree;

    const LIMITS: Limits =
        Limits { count: Some(10), bytes: None, age: None, min_free: MinFree::Percent(5), floor_percent: 50 };

    fn stock(rate: Option<f64>) -> Stock {
        Stock { space: Space { total: 64_000_000_000, free: 60_000_000_000 }, captures: 0, rate }
    }

    #[test]
    fn room_is_judged_by_the_time_that_it_lasts() {
        let of = |limits: &Limits, rate| judge("space", limits, 100_000_000, &stock(rate));
        let line = of(&LIMITS, Some(6.1e6));
        assert_eq!(
            line.text,
            "1.10 GB for captures, by retention.count (10 files of 100 MB); 60.0 GB are free. At the last hour's \
             rate this keeps 3 min"
        );
        assert_eq!(
            (line.result, &line.advice[..]),
            (Warning, &["set retention.count higher, or 0 to fill the disk".to_owned()][..])
        );
        assert_eq!(of(&LIMITS, Some(1e5)).result, Good);
        assert_eq!(of(&LIMITS, None).result, Good);
        let by_bytes = Limits { bytes: Some(500_000_000), ..LIMITS };
        assert_eq!(of(&by_bytes, Some(1e6)).advice, ["set retention.bytes higher"]);
        let by_disk = Limits { count: None, ..LIMITS };
        assert_eq!(
            of(&by_disk, Some(1e9)).advice,
            ["take a larger disk, or set capture.filter to record less"]
        );
    }

    #[test]
    fn a_disk_without_room_for_two_files_is_a_problem() {
        let full =
            Stock { space: Space { total: 4_000_000_000, free: 300_000_000 }, captures: 0, rate: None };
        assert_eq!(judge("space", &LIMITS, 100_000_000, &full).result, Problem);
        let ours = Stock { captures: 200_000_000, ..full };
        assert_eq!(judge("space", &LIMITS, 100_000_000, &ours).result, Good, "what captures take is theirs");
    }
}
