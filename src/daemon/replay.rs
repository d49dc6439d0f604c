//! `tapkeep replay`: capture files through the same pipeline into a data directory. Nothing is dropped: where a live port
//! would lose packets, a replay waits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};

use super::feed::Feeder;
use super::health::Health;
use super::pipeline::{Pipeline, Plan};
use super::setup::DataDirectory;
use crate::capture::replay::{End, Import};
use crate::packet::{LinkType, MAX_SNAPLEN};
use crate::store::format::Format;
use crate::store::losses::Losses;
use crate::sys::clock::RealClock;

/// What a replay has taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replayed {
    /// Packets.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Packets that could not be written.
    pub unwritten: u64,
}

/// Bytes of a file between two words on progress.
const STRIDE: u64 = 4096;

/// How far a replay has come, for a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read of all files.
    pub done: u64,
    /// Bytes of all files; unknown where a pipe is among them.
    pub total: Option<u64>,
}

/// Replays `files`, in order, into `data_dir`. A damaged or cut file is replayed up to the damage, and told with `warn`.
pub fn replay(
    files: &[PathBuf],
    data_dir: &Path,
    plan: Plan,
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(Progress),
    warn: &mut dyn FnMut(String),
) -> anyhow::Result<Replayed> {
    // Every file must at least open before anything is written.
    let sizes: Vec<_> =
        files.iter().map(|file| Ok(Import::open(file)?.total())).collect::<anyhow::Result<_>>()?;
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let data = DataDirectory::lock(data_dir)?.open(Some(names.join(" ")), plan.save)?;
    let health = Arc::new(Health::default());
    let (feeder, intake) = Pipeline::feeder(&plan, &health, Arc::new(RealClock));
    let pipeline = Pipeline::start(plan, &data, intake, Arc::clone(&health)).context("start a thread")?;
    let total = sizes.iter().copied().sum();
    let mut source = Source { feeder, progress, at: Progress { done: 0, total }, stop, warn };
    let mut result = Ok(());
    for (file, size) in files.iter().zip(sizes) {
        result = source.file(file);
        source.at.done += size.unwrap_or(0);
        if result.is_err() || (source.stop)() {
            break;
        }
    }
    source.feeder.finish();
    pipeline.join();
    result?;
    let unwritten = health.losses.get().write.unwrap_or(0);
    Ok(Replayed { packets: health.packets.get(), bytes: health.bytes.get(), unwritten })
}

struct Source<'a> {
    feeder: Feeder,
    at: Progress,
    stop: &'a dyn Fn() -> bool,
    progress: &'a mut dyn FnMut(Progress),
    warn: &'a mut dyn FnMut(String),
}

impl Source<'_> {
    /// One file. A capture file holds one link type, so a file that mixes several is read once for each.
    fn file(&mut self, path: &Path) -> anyhow::Result<()> {
        let mut links = Vec::new();
        let mut at = 0;
        loop {
            let mut import = Import::open(path)?;
            if at > 0 && import.total().is_none() {
                bail!("replay {}: it mixes link types and is a pipe; replay it from a file", path.display());
            }
            // Nobody counted what the network card, the kernel and the program that recorded it have lost.
            self.feeder.lose(Losses { nic: None, kernel: None, ..Losses::NONE });
            self.pass(&mut import, &mut links, at)?;
            at += 1;
            if at >= links.len() || (self.stop)() {
                return Ok(());
            }
        }
    }

    /// The packets of the link type at place `at` of `links`, which gets those that come up.
    fn pass(&mut self, import: &mut Import, links: &mut Vec<LinkType>, at: usize) -> anyhow::Result<()> {
        let mut seen = 0_u64;
        loop {
            match import.next() {
                Ok(Some(packet)) => {
                    if !links.contains(&packet.link) {
                        links.push(packet.link);
                    }
                    let format =
                        Format { link: packet.link, precision: packet.precision, snaplen: MAX_SNAPLEN };
                    if links.get(at) == Some(&packet.link)
                        && !self.feeder.push_patiently(&packet.frame, format)
                    {
                        bail!("the recorder has ended; see the message before");
                    }
                }
                Ok(None) => break,
                Err(error) if at == 0 => {
                    (self.warn)(error.to_string());
                    break;
                }
                Err(_) => break,
            }
            seen += 1;
            if seen.is_multiple_of(STRIDE) {
                let done = self.at.done + import.position();
                (self.progress)(Progress { done, ..self.at });
                if (self.stop)() {
                    break;
                }
            }
        }
        if let (Some(End::Cut { offset }), 0) = (import.end(), at) {
            (self.warn)(format!("the last record, at byte {offset}, is cut; all before it is replayed"));
        }
        Ok(())
    }
}
