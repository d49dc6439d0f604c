//! How fast the disk takes what the service would write: a short test in a file that has no name, so that nothing of it stays
//! however it ends.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::rand::{GetRandomFlags, getrandom};

use super::line::Line;
use crate::cli::table::{bytes, duration};
use crate::sys::fs::{Fs as _, RealFs};

/// What is written at most, bytes.
const MOST: u64 = 64 << 20;

/// Bytes between two syncs: the most by which a slow disk makes the test longer.
const PIECE: usize = 4 << 20;

/// The time after which nothing more is begun.
const LIMIT: Duration = Duration::from_secs(3);

/// Small writes that are synced one by one.
const SYNCS: usize = 16;

/// Bytes of a small write: a page, as the service adds at least.
const SMALL: usize = 4096;

/// A disk slower than this takes no more than a 100 Mb/s link brings, bytes a second.
const SLOW: f64 = 12.5e6;

/// A sync that takes longer is felt: packets of that time wait in the queue.
const LONG: Duration = Duration::from_secs(1);

/// What the disk did.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Measured {
    /// Bytes written and synced.
    written: u64,
    /// Bytes a second, syncs included.
    rate: f64,
    /// A small write's usual sync, and the slowest of all.
    sync: Duration,
    worst: Duration,
}

/// Tests the disk below `dir`, unless that would leave less than `keep_free` bytes. `wanted` bytes a second have been recorded
/// of late.
pub(super) fn line(dir: &Path, keep_free: u64, wanted: Option<f64>) -> Line {
    const ID: &str = "disk_speed";
    let free = match RealFs::default().space(dir) {
        Ok(space) => space.free,
        Err(error) => return Line::unknown(ID, error),
    };
    if free < keep_free.saturating_add(2 * MOST) {
        let text = format!("not tested: only {} are free, and the test wants {}", bytes(free), bytes(MOST));
        return Line::skipped(ID, text);
    }
    let file = match tempfile::tempfile_in(dir) {
        Ok(file) => file,
        Err(error) => return Line::skipped(ID, format!("not tested: {error}")),
    };
    match measure(file) {
        Ok(measured) => judge(ID, &measured, wanted),
        Err(error) => Line::problem(ID, format!("a test of {} failed: {error}", bytes(MOST)))
            .mend(format!("look at what the kernel says: {}", super::as_root("dmesg | tail"))),
    }
}

fn measure(mut file: File) -> io::Result<Measured> {
    let piece = noise()?;
    let begun = Instant::now();
    let (mut written, mut worst) = (0, Duration::ZERO);
    while written < MOST && begun.elapsed() < LIMIT {
        file.write_all(&piece)?;
        worst = worst.max(synced(&file)?);
        written += piece.len() as u64;
    }
    let rate = written as f64 / begun.elapsed().as_secs_f64();
    let mut syncs = Vec::new();
    for small in piece.chunks(SMALL).take(SYNCS) {
        file.write_all(small)?;
        syncs.push(synced(&file)?);
        if begun.elapsed() > 2 * LIMIT {
            break;
        }
    }
    syncs.sort_unstable();
    let sync = syncs.get(syncs.len() / 2).copied().unwrap_or_default();
    let worst = worst.max(syncs.last().copied().unwrap_or_default());
    Ok(Measured { written, rate, sync, worst })
}

fn synced(file: &File) -> io::Result<Duration> {
    let begun = Instant::now();
    file.sync_data()?;
    Ok(begun.elapsed())
}

/// Bytes that nothing on the way can make smaller.
fn noise() -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; PIECE];
    let mut at = 0;
    while at < bytes.len() {
        at += getrandom(&mut bytes[at..], GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

fn judge(id: &'static str, measured: &Measured, wanted: Option<f64>) -> Line {
    let Measured { written, rate, sync, worst } = *measured;
    let millis = |time: Duration| duration(u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1));
    let text = format!(
        "{}/s ({:.0} Mb/s) over {}; a small sync takes {}, the longest took {}",
        bytes(rate as u64),
        rate * 8.0 / 1e6,
        bytes(written),
        millis(sync),
        millis(worst)
    );
    const FASTER: &str = "put the data directory on a faster disk";
    match wanted {
        Some(wanted) if wanted > rate => {
            let text = format!("{text}. The last hour brought {}/s: packets are lost", bytes(wanted as u64));
            Line::problem(id, text).advise(FASTER)
        }
        _ if rate < SLOW => {
            Line::warning(id, format!("{text}: less than a full 100 Mb/s link brings")).advise(FASTER)
        }
        _ if worst > LONG => {
            let text = format!("{text}: what arrives meanwhile waits in memory");
            Line::warning(id, text).advise("let recorder.queue_size bridge it, or take another disk")
        }
        _ => Line::ok(id, text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::Verdict;
    use super::*;

    #[test]
    fn a_disk_is_judged_by_what_it_must_take() {
        let good = Measured {
            written: MOST,
            rate: 32e6,
            sync: Duration::from_millis(4),
            worst: Duration::from_millis(90),
        };
        let of = |measured, wanted| judge("disk_speed", &measured, wanted);
        let line = of(good, Some(31e6));
        assert_eq!(line.result, Verdict::Ok);
        assert_eq!(
            line.text,
            "32.0 MB/s (256 Mb/s) over 67.1 MB; a small sync takes 4 ms, the longest took 90 ms"
        );
        assert_eq!(of(good, Some(33e6)).result, Verdict::Problem);
        assert_eq!(of(Measured { rate: 5e6, ..good }, None).result, Verdict::Warning);
        assert_eq!(of(Measured { worst: Duration::from_secs(2), ..good }, None).result, Verdict::Warning);
    }

    #[test]
    fn a_test_leaves_nothing_and_is_left_out_where_space_is_short() {
        let dir = tempfile::tempdir().unwrap();
        let told = line(dir.path(), 0, None);
        assert!(matches!(told.result, Verdict::Ok | Verdict::Warning | Verdict::Skipped), "{told:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(line(dir.path(), u64::MAX, None).result, Verdict::Skipped);
        assert_eq!(line(Path::new("/no/such/place"), 0, None).result, Verdict::Unknown);
        assert_eq!(line(Path::new("/proc"), 0, None).result, Verdict::Skipped, "it has no space at all");
    }
}
