//! `tapkeep replay`: capture files through the same pipeline into a data directory. Nothing is dropped: where a live port
//! would lose packets, a replay waits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;

use super::feed::Feeder;
use super::health::Health;
use super::pipeline::{Pipeline, Plan};
use super::setup::DataDirectory;
use crate::capture::filter::Filter;
use crate::capture::replay::{End, Import, ImportError, Imported};
use crate::packet::{Frame, LinkType};
use crate::store::format::Format;
use crate::store::progress::Progress;
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

/// What is taken of each file, as of a live port.
#[derive(Debug, Clone)]
pub struct Take {
    /// A BPF expression; empty for everything.
    pub filter: String,
    /// The most bytes kept of a packet.
    pub snaplen: u32,
}

/// Replays `files`, in order, into `data_dir`. A damaged or cut file is replayed up to the damage, and told with `warn`.
pub fn replay(
    files: &[PathBuf],
    data_dir: &Path,
    take: &Take,
    plan: Plan,
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(Progress),
    warn: &mut dyn FnMut(String),
) -> anyhow::Result<Replayed> {
    // Every file must at least open before anything is written. A pipe opens only once.
    let opened: Vec<_> = files.iter().map(|file| open(file)).collect::<Result<_, _>>()?;
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let data = DataDirectory::lock(data_dir)?.open(Some(names.join(" ")), plan.save)?;
    let health = Arc::new(Health::default());
    let (feeder, intake) = Pipeline::feeder(&plan, &health, Arc::new(RealClock));
    let pipeline = Pipeline::start(plan, &data, intake, Arc::clone(&health))?;
    let total = opened.iter().map(|(size, _)| *size).sum();
    let mut source = Source { feeder, take, progress, at: Progress { done: 0, total }, stop, warn };
    let mut result = Ok(());
    for (file, (size, pipe)) in files.iter().zip(opened) {
        result = source.file(file, pipe);
        source.at.done += size.unwrap_or(0);
        if result.is_err() || (source.stop)() {
            break;
        }
    }
    source.feeder.finish();
    let sound = pipeline.join();
    result?;
    anyhow::ensure!(sound, "a thread has panicked; what it held is salvaged at the next start");
    let unwritten = health.losses.get().write.unwrap_or(0);
    Ok(Replayed { packets: health.packets.get(), bytes: health.bytes.get(), unwritten })
}

/// A file's size, or a pipe that was opened.
type Opened = (Option<u64>, Option<Import>);

fn open(path: &Path) -> Result<Opened, ImportError> {
    let import = Import::open(path)?;
    let size = import.total();
    Ok((size, size.is_none().then_some(import)))
}

struct Source<'a> {
    feeder: Feeder,
    take: &'a Take,
    at: Progress,
    stop: &'a dyn Fn() -> bool,
    progress: &'a mut dyn FnMut(Progress),
    warn: &'a mut dyn FnMut(String),
}

impl Source<'_> {
    /// One file. A capture file holds one link type, so a file that mixes several is read once for each.
    fn file(&mut self, path: &Path, mut pipe: Option<Import>) -> anyhow::Result<()> {
        let is_pipe = pipe.is_some();
        let mut links = Vec::new();
        let mut at = 0;
        loop {
            if at > 0 && is_pipe {
                bail!(
                    "replay {}: it mixes link types and is a pipe, so only packets of the first were taken; \
                     save it to a file and replay that",
                    path.display()
                );
            }
            let mut import = pipe.take().map_or_else(|| Import::open(path), Ok)?;
            self.pass(path, &mut import, &mut links, at)?;
            at += 1;
            if at >= links.len() || (self.stop)() {
                return Ok(());
            }
        }
    }

    /// One packet, if the filter lets it pass, cut to the snaplen.
    fn packet(&mut self, packet: &Imported<'_>, filter: &Filter) -> anyhow::Result<()> {
        let snaplen = self.take.snaplen;
        let format = Format { link: packet.link, precision: packet.precision, snaplen };
        let data = &packet.frame.data[..packet.frame.data.len().min(snaplen as usize)];
        if filter.matches(&packet.frame)
            && !self.feeder.push_patiently(&Frame { data, ..packet.frame }, format)
        {
            bail!("the recorder has ended; see the message before");
        }
        Ok(())
    }

    /// The packets of the link type at place `at` of `links`, which gets those that come up.
    fn pass(
        &mut self,
        path: &Path,
        import: &mut Import,
        links: &mut Vec<LinkType>,
        at: usize,
    ) -> anyhow::Result<()> {
        let mut seen = 0_u64;
        let mut filter: Option<(LinkType, Filter)> = None;
        loop {
            match import.next() {
                Ok(Some(packet)) => {
                    if !links.contains(&packet.link) {
                        links.push(packet.link);
                    }
                    if links.get(at) == Some(&packet.link) {
                        let filter = match &filter {
                            Some((link, filter)) if *link == packet.link => filter,
                            _ => {
                                let new = Filter::compile(&self.take.filter, packet.link)?;
                                &filter.insert((packet.link, new)).1
                            }
                        };
                        self.packet(&packet, filter)?;
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
        if at == 0 {
            let path = path.display();
            if let Some(End::Cut { offset }) = import.end() {
                (self.warn)(format!(
                    "{path} is cut within the record at byte {offset}; all before it is replayed"
                ));
            }
            if import.clamped() > 0 {
                let count = import.clamped();
                (self.warn)(format!(
                    "{path}: packets with stamps that no PCAP file can hold, which got the nearest: {count}"
                ));
            }
        }
        Ok(())
    }
}
