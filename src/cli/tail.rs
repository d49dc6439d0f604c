//! Telling what comes until interrupted (`--follow`), and remembering how far it was told (`--cursor-file`).
//!
//! The place is saved only once the lines before it were written, and, where they go into a file, are on the device: whatever ends
//! abruptly, a line comes again rather than never.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::output::{Exit, Output, UsageError};
use crate::sys::fs::{Fs as _, RealFs, read_full, replace_synced};
use crate::sys::signals::{Signal, Signals};
use crate::sys::wake::{Waker, wait};

/// How often is looked for what came.
const LOOK: Duration = Duration::from_millis(500);

/// The least time between two savings of the place: each writes to flash.
const SAVE: Duration = Duration::from_secs(5);

/// The most bytes of a cursor file.
const MAX_CURSOR: u64 = 1 << 20;

/// What is told, and from where.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct TailArgs {
    /// Go on with what comes, until interrupted
    #[arg(long, conflicts_with_all = ["files", "since", "until", "last", "limit", "sort", "reverse"])]
    pub(super) follow: bool,
    /// Begin where the last run with this file ended, and keep the place in it; nothing is missed, some may come twice
    #[arg(long, value_name = "FILE", conflicts_with_all = ["files", "since", "until", "last", "limit", "sort", "reverse"])]
    pub(super) cursor_file: Option<PathBuf>,
}

impl TailArgs {
    /// Whether rows are told as they come, and not as one answer.
    pub(super) fn is_asked(&self) -> bool {
        self.follow || self.cursor_file.is_some()
    }
}

/// What a place is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Of {
    Flows,
    Findings,
}

/// What can be followed.
pub(super) trait Source {
    type Place: Serialize + DeserializeOwned + PartialEq + Clone;

    /// Prints some of what came; whether there is more to be had at once.
    fn tell(&mut self, out: &mut Output) -> Result<bool>;

    /// All before it was told.
    fn place(&self) -> &Self::Place;
}

/// Tells what comes.
pub(super) fn tail(source: &mut impl Source, args: &TailArgs, of: Of, out: &mut Output) -> Result<Exit> {
    let mut signals = Signals::new().context("listen for signals")?;
    let waker = Waker::new().context("listen for signals")?;
    let mut keeper = Keeper { file: args.cursor_file.as_deref(), of, saved: None };
    // The beginning is a place, too: what comes between now and the first saving is not to be missed after a crash.
    keeper.save(source.place(), out)?;
    let mut due = Instant::now() + SAVE;
    // A head without rows, and thus a reader that has gone, is known at once.
    while !out.flush().map(|()| out.is_unread())? {
        let more = source.tell(out)?;
        out.flush()?;
        if Instant::now() >= due {
            keeper.save(source.place(), out)?;
            due = Instant::now() + SAVE;
        }
        let stops = signals.pending().contains(&Signal::Stop);
        if stops || !(more || args.follow) {
            keeper.save(source.place(), out)?;
            break;
        }
        if !more {
            wait(Some(signals.fd()), &waker, LOOK).context("wait for signals")?;
        }
    }
    Ok(Exit::Ok)
}

/// The place that an earlier run saved; none if there is no such file yet.
pub(super) fn saved<P: DeserializeOwned>(args: &TailArgs, of: Of) -> Result<Option<P>> {
    let Some(path) = &args.cursor_file else { return Ok(None) };
    let failed = || format!("read the cursor file {}", path.display());
    let file = match RealFs::default().open_read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.with_context(failed)?,
    };
    let len = file.len().with_context(failed)?.min(MAX_CURSOR);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let read = read_full(file.as_ref(), &mut bytes, 0).with_context(failed)?;
    let broken = || format!("{}; remove it to begin anew", failed());
    let kept: Kept<serde_json::Value> = serde_json::from_slice(&bytes[..read]).with_context(broken)?;
    if kept.of != of {
        let name = path.display();
        return Err(UsageError(format!("{name} is the cursor of another command; give each its own")).into());
    }
    Ok(Some(serde_json::from_value(kept.place).with_context(broken)?))
}

/// What is in a cursor file.
#[derive(Serialize, Deserialize)]
struct Kept<P> {
    of: Of,
    place: P,
}

struct Keeper<'a, P> {
    file: Option<&'a Path>,
    of: Of,
    saved: Option<P>,
}

impl<P: Serialize + PartialEq + Clone> Keeper<'_, P> {
    /// Keeps a place, unless it is the one that was kept last.
    fn save(&mut self, place: &P, out: &mut Output) -> Result<()> {
        let Some(path) = self.file.filter(|_| self.saved.as_ref() != Some(place)) else { return Ok(()) };
        out.sync()?;
        let kept = serde_json::to_vec(&Kept { of: self.of, place }).context("save the place")?;
        replace(path, &kept).with_context(|| format!("write the cursor file {}", path.display()))?;
        self.saved = Some(place.clone());
        Ok(())
    }
}

/// Puts a file with these bytes in the place of one of before; after a crash it is the one or the other.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = OsString::from(path);
    new.push(".new");
    replace_synced(&RealFs::default(), Path::new(&new), path, bytes)
}

#[cfg(test)]
mod tests {
    use super::super::output::tests::Page;
    use super::*;

    /// Numbers, three at a time.
    struct Numbers {
        next: u64,
        end: u64,
    }

    impl Source for Numbers {
        type Place = u64;

        fn tell(&mut self, out: &mut Output) -> Result<bool> {
            for _ in 0..3 {
                if self.next == self.end {
                    return Ok(false);
                }
                out.line(self.next)?;
                self.next += 1;
            }
            Ok(true)
        }

        fn place(&self) -> &u64 {
            &self.next
        }
    }

    #[test]
    fn a_run_goes_on_where_the_last_one_ended_and_the_file_of_another_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let args = TailArgs { follow: false, cursor_file: Some(dir.path().join("place")) };
        let page = Page::default();
        for end in [7, 7, 10] {
            let next = saved(&args, Of::Flows).unwrap().unwrap_or(0);
            let mut out = Output::to(page.clone(), io::sink(), false);
            tail(&mut Numbers { next, end }, &args, Of::Flows, &mut out).unwrap();
        }
        let told: Vec<u64> = page.text().lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(told, (0..10).collect::<Vec<_>>());
        let other = saved::<u64>(&args, Of::Findings).unwrap_err();
        assert!(other.is::<UsageError>(), "{other}");
        std::fs::write(dir.path().join("place"), "{").unwrap();
        let cut = format!("{:#}", saved::<u64>(&args, Of::Flows).unwrap_err());
        assert!(cut.contains("remove it to begin anew"), "{cut}");
    }
}
