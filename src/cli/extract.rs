//! `tapkeep extract`: packets by time, BPF filter and file, as one PCAP stream.

mod follow;
mod sink;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::sink::Sink;
use super::output::{Exit, Output, UsageError};
use super::progress::Waiting;
use super::select::{SelectArgs, Selection};
use super::table::counted;
use super::time::RangeArgs;
use super::zone::Here;
use super::{Context, absence, read_ledger, whole};
use crate::capture::filter::Filter;
use crate::capture::replay::Import;
use crate::index::query as index;
use crate::index::view::{View, Viewer};
use crate::packet::{Frame, LinkType, MAX_SNAPLEN, Place, Precision};
use crate::store::facts::CaptureFacts;
use crate::store::format::{FILE_HEADER, Format, RECORD_HEADER};
use crate::store::layout::Layout;
use crate::store::names::{CaptureName, Role};
use crate::store::progress::Walk;
use crate::store::range::TimeRange;
use crate::store::scan::{End, Reader};
use crate::sys::clock::{Clock, RealClock};
use crate::sys::fs::{FsFile, RealFs, advice};

/// What `extract` is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tapkeep extract --last 5m -w last.pcap
  tapkeep extract --since 14:30 --until 14:45 host 10.0.0.7 and tcp port 443 | wireshark -k -i -
  tapkeep extract --file capture_20241231_143052_0001.pcap udp port 53 | tshark -r -
  ssh tap tapkeep extract --follow --last 5m not port 22 | wireshark -k -i -
  tapkeep extract --flow 42-1048600 | wireshark -k -i -
  tapkeep extract --finding port_scan-42-1048600 -w evidence.pcap")]
pub(super) struct ExtractArgs {
    /// Only from this capture file: a name of the data directory, or the path of any pcap or pcapng file; repeatable
    #[arg(long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    range: RangeArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// Go on with what is being captured, until interrupted: a live capture for a pipe. Begins now, or where --since or --last say
    #[arg(long, conflicts_with_all = ["files", "flow", "finding", "until"])]
    follow: bool,
    /// Write to FILE, readable by you alone; "-" is standard output, which is the default, and never a terminal
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    write: Option<PathBuf>,
    /// A filter in BPF syntax, as for tcpdump
    #[arg(value_name = "BPF")]
    filter: Vec<String>,
}

/// Where packets are.
enum Source {
    /// A capture file of the data directory, under whichever name it has by then.
    Own(CaptureName),
    /// Any other capture file.
    Foreign(PathBuf),
}

/// What the sources hold, as far as it decides about the output.
#[derive(Default)]
struct Kinds {
    links: Vec<LinkType>,
    nano: bool,
    snaplen: u32,
}

/// What came of it.
#[derive(Default)]
struct Found {
    packets: u64,
    bytes: u64,
    damaged: bool,
}

pub(super) fn extract(args: &ExtractArgs, context: &Context, out: &mut Output) -> Result<Exit> {
    let to_stdout = args.write.as_deref().is_none_or(|path| path == Path::new("-"));
    if to_stdout && out.is_terminal() {
        bail!(UsageError("a capture file is nothing for a terminal: give -w FILE, or pipe it on".to_owned()));
    }
    if args.follow && !to_stdout {
        bail!(UsageError("--follow writes a stream, to standard output: leave -w FILE out, or send the stream to a file with >".to_owned()));
    }
    let range = args.range.resolve(RealClock.now().wall, &Here)?;
    let expression = args.filter.join(" ");
    // Wrong words are told before any file is looked at.
    Filter::compile(&expression, LinkType::ETHERNET).map_err(|error| UsageError(error.to_string()))?;
    let (layout, fs) = (Layout::new(&context.data_dir.path), RealFs::default());
    let selection = Selection::new(&args.select, &args.files, &layout, &fs, context, out)?;
    let mut extraction = Extraction { layout, fs, range, selection, notes: Vec::new() };
    if args.follow {
        return follow::follow(extraction, expression, out);
    }
    let sources = extraction.sources(args, context, out)?;
    let path = args.write.as_deref().filter(|_| !to_stdout);
    let found = extraction.write(path, &sources, &expression, out);
    extraction.notes.iter().for_each(|note| out.note(note));
    let found = found?;
    if !sources.is_empty() {
        let [packets, bytes] = [(found.packets, "packet"), (found.bytes, "byte")].map(|(n, t)| counted(n, t));
        let files = counted(sources.len() as u64, "file");
        out.note(format_args!("{packets}, {bytes}, from {files}"));
    }
    Ok(match found {
        Found { damaged: true, .. } => Exit::Damaged,
        Found { packets: 0, .. }
            if range.is_bounded() || !expression.trim().is_empty() || !args.select.is_empty() =>
        {
            Exit::NothingLeft
        }
        _ => Exit::Ok,
    })
}

/// Writes the packets of these findings to a file.
pub(super) fn findings(
    args: SelectArgs,
    files: &[PathBuf],
    path: &Path,
    context: &Context,
    out: &mut Output,
) -> Result<Exit> {
    let args = ExtractArgs {
        files: files.to_vec(),
        range: RangeArgs::default(),
        select: args,
        follow: false,
        write: Some(path.to_owned()),
        filter: Vec::new(),
    };
    extract(&args, context, out)
}

struct Extraction {
    layout: Layout,
    fs: RealFs,
    range: TimeRange,
    selection: Selection,
    /// What is wrong with the sources, each a sentence.
    notes: Vec<String>,
}

impl Extraction {
    /// The files to look into, oldest index number first: those named, else all that may hold packets of the range.
    fn sources(&self, args: &ExtractArgs, context: &Context, out: &mut Output) -> Result<Vec<Source>> {
        if !args.files.is_empty() {
            return args.files.iter().map(|file| self.named(file)).collect();
        }
        let ledger = || read_ledger(&self.layout.ledger());
        let waiting = Waiting::new("reading", out);
        let viewer = Viewer { layout: &self.layout, fs: &self.fs, ledger: &ledger };
        let view = viewer.look_beside(&|at| waiting.at(at))?;
        waiting.over()?;
        for note in &view.notes {
            out.note(note);
        }
        let may_hold = |first, last| match (first, last) {
            (Some(first), Some(last)) => self.range.touches(first, last),
            _ => false,
        };
        let strange = self.strangers();
        let rows = view.rows.iter().filter(|row| row.evicted.is_none());
        let may_be_in = |facts: &&CaptureFacts| {
            let number = facts.name.number();
            !self.selection.leaves_out(number) && strange.get(&number) != Some(&facts.size)
        };
        let sources: Vec<_> = rows
            .map(|row| &row.facts)
            .filter(|facts| may_hold(facts.first, facts.last))
            .filter(may_be_in)
            .map(|facts| Source::Own(facts.name))
            .collect();
        if sources.is_empty() {
            out.note(self.nothing(&view, context));
        }
        Ok(sources)
    }

    /// Finished files, and their lengths, that hold nothing of what is asked for, as the index knows.
    fn strangers(&self) -> BTreeMap<u64, u64> {
        let probes = self.selection.probes();
        let filters =
            (!probes.is_empty()).then(|| index::Reader::open(&self.layout.index()).ok()?.filters().ok());
        let strange = filters.flatten().unwrap_or_default().into_iter();
        let strange = strange.filter(|(_, _, filter)| !probes.iter().any(|probe| filter.may_hold(*probe)));
        strange.map(|(number, size, _)| (number, size)).collect()
    }

    /// Why there is nothing to look into.
    fn nothing(&self, view: &View, context: &Context) -> String {
        let (dir, captures) = (&context.data_dir, self.layout.captures());
        match () {
            () if !dir.path.exists() => absence::no_place("packets", dir),
            () if !captures.exists() => format!(
                "no packets: {dir} holds no capture files; with SAVE_PCAP=false none are written, \
                 and packets cannot be extracted"
            ),
            () if view.rows.is_empty() => format!("no packets: {dir} holds no capture files yet"),
            () if !self.range.is_bounded() => format!("no packets: the capture files in {dir} are empty"),
            () => absence::nothing("packets", self.range, dir, view.kept()),
        }
    }

    fn named(&self, file: &Path) -> Result<Source> {
        let bare = file.file_name().filter(|name| Path::new(name) == file).and_then(|name| name.to_str());
        if let Some((name, _)) = bare.and_then(CaptureName::parse)
            && self.open(name).is_ok()
        {
            return Ok(Source::Own(name));
        }
        let Ok(meta) = file.metadata() else {
            let captures = self.layout.captures();
            bail!("find {}: it is neither in {} nor a path to a file", file.display(), captures.display());
        };
        if !meta.is_file() && !meta.is_dir() {
            bail!("read {}: it is no regular file; save it to one, or replay it", file.display());
        }
        Ok(Source::Foreign(file.to_owned()))
    }

    fn open(&self, name: CaptureName) -> io::Result<(Box<dyn FsFile>, Role)> {
        self.layout.open_capture(&self.fs, name)
    }

    /// What the sources hold. Several link types do not fit into one output.
    fn survey(&mut self, sources: &[Source], walk: &mut Walk<'_>) -> Result<Kinds> {
        let mut kinds = Kinds::default();
        for source in sources {
            match source {
                Source::Own(name) => self.survey_own(*name, &mut kinds),
                Source::Foreign(path) => survey_foreign(path, &mut kinds, walk)?,
            }
        }
        if kinds.links.len() > 1 {
            let links: Vec<_> = kinds.links.iter().map(|link| link.0.to_string()).collect();
            bail!(UsageError(format!(
                "these packets have several link types ({}), a capture file has one: \
                 name files of one with --file, or replay a mixed file first, which parts them",
                links.join(", ")
            )));
        }
        Ok(kinds)
    }

    fn survey_own(&mut self, name: CaptureName, kinds: &mut Kinds) {
        let Ok((file, _)) = self.open(name) else { return };
        match Reader::open(file.as_ref()) {
            Ok(reader) => kinds.add(reader.format()),
            Err(error) => self.notes.push(format!("{name}: {error}")),
        }
    }

    /// Bytes that are read to survey the sources and to copy them.
    fn size_of(&self, sources: &[Source]) -> u64 {
        let size = |source: &Source| match source {
            Source::Own(name) => {
                let len = self.open(*name).and_then(|(file, _)| file.len()).unwrap_or(0);
                let stretches = self.selection.stretches(name.number());
                stretches.as_deref().unwrap_or(&[ALL]).iter().map(|stretch| size_of(*stretch, len)).sum()
            }
            Source::Foreign(path) => 2 * path.metadata().map_or(0, |meta| meta.len()),
        };
        sources.iter().map(size).sum::<u64>()
    }

    /// Writes what is asked for to a file, or to standard output.
    fn write(
        &mut self,
        path: Option<&Path>,
        sources: &[Source],
        expression: &str,
        out: &mut Output,
    ) -> Result<Found> {
        let waiting = Waiting::new("extracting", out);
        let watch = |at| waiting.at(at);
        let mut walk = Walk::new(self.size_of(sources), &watch);
        let kinds = self.survey(sources, &mut walk)?;
        let format = kinds.format();
        let filter =
            Filter::compile(expression, format.link).map_err(|error| UsageError(error.to_string()))?;
        let mut fill = |to| {
            let mut sink = Sink::new(to, format)?;
            let found = self.copy(sources, &filter, &mut sink, &mut walk);
            sink.flush()?;
            waiting.check()?;
            found
        };
        match path {
            None => fill(out.take_bytes()),
            Some(path) => whole::write(path, out.interrupts(), |file| fill(Box::new(file))),
        }
    }

    fn copy(
        &mut self,
        sources: &[Source],
        filter: &Filter,
        sink: &mut Sink,
        walk: &mut Walk<'_>,
    ) -> Result<Found> {
        let mut found = Found::default();
        let Self { layout, fs, range, selection, notes } = self;
        for (at, source) in sources.iter().enumerate() {
            let stretches = match source {
                Source::Own(name) => selection.stretches(name.number()),
                Source::Foreign(_) => None,
            };
            let mut take = |frame: &Frame<'_>, link, precision: Precision, place| {
                let stamp = frame.nanos(precision);
                if range.contains(stamp)
                    && selection.matches(link, place, frame, stamp)
                    && filter.matches(frame)
                {
                    found.packets += 1;
                    found.bytes += u64::from(frame.wire_len);
                    return sink.put(frame, precision);
                }
                Ok(())
            };
            let damage = match source {
                Source::Own(name) => copy_own((layout, fs), *name, stretches.as_deref(), walk, &mut take)?,
                Source::Foreign(path) => copy_foreign(at as u64 + 1, path, walk, &mut take)?,
            };
            if let Some(damage) = damage {
                notes.push(damage);
                found.damaged = true;
            }
            if walk.is_given_up() {
                break;
            }
        }
        Ok(found)
    }
}

/// Hands on the packets of a file of ours, or of stretches of it; says what is wrong with it, if anything is.
fn copy_own(
    (layout, fs): (&Layout, &RealFs),
    name: CaptureName,
    stretches: Option<&[(u64, u64)]>,
    walk: &mut Walk<'_>,
    take: &mut Take<'_>,
) -> Result<Option<String>> {
    let (file, role) = match layout.open_capture(fs, name) {
        Ok(opened) => opened,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Ok(Some(format!("{name} was evicted meanwhile")));
        }
        Err(e) => bail!("open {name}: {e}{}", advice(&e)),
    };
    let mut reader = match Reader::open(file.as_ref()) {
        Ok(reader) => reader,
        Err(error) => return Ok(Some(format!("{name}: {error}"))),
    };
    let Format { link, precision, .. } = reader.format();
    let len = file.len().with_context(|| format!("read {name}"))?;
    for &(first, last) in stretches.unwrap_or(&[ALL]) {
        reader.seek(first.max(FILE_HEADER as u64));
        let mut go_on = walk.begin(size_of((first, last), len));
        while go_on
            && reader.offset() <= last
            && let Some((offset, frame)) = reader.next_record().with_context(|| format!("read {name}"))?
        {
            take(&frame, link, precision, Place { file: name.number(), offset })?;
            go_on = walk.record(|| offset - first.min(offset));
        }
    }
    Ok(match reader.end() {
        End::Clean => None,
        // The last record of a growing file may be on its way.
        End::Cut if role == Role::Part => None,
        end => Some(format!("{name} {} at byte {}", end.as_str(), reader.offset())),
    })
}

/// Takes one packet of the given precision.
type Take<'a> = dyn FnMut(&Frame<'_>, LinkType, Precision, Place) -> io::Result<()> + 'a;

/// Hands on the packets of the file of that number in the list; their places are as [`crate::index::fresh`] has them.
fn copy_foreign(file: u64, path: &Path, walk: &mut Walk<'_>, take: &mut Take<'_>) -> Result<Option<String>> {
    let mut import = Import::open(path)?;
    walk.begin(import.total().unwrap_or(0));
    let mut offset = FILE_HEADER as u64;
    loop {
        match import.next() {
            Ok(Some(packet)) => {
                take(&packet.frame, packet.link, packet.precision, Place { file, offset })?;
                offset += (RECORD_HEADER + packet.frame.data.len()) as u64;
            }
            Ok(None) => break,
            Err(error) => return Ok(Some(error.to_string())),
        }
        if !walk.record(|| import.position()) {
            break;
        }
    }
    Ok(import.cut())
}

/// A pcapng file tells of its interfaces as it goes on, so it is read to its end; damage is told when it is copied.
fn survey_foreign(path: &Path, kinds: &mut Kinds, walk: &mut Walk<'_>) -> Result<()> {
    let mut import = Import::open(path)?;
    let mut go_on = walk.begin(import.total().unwrap_or(0));
    while go_on && let Ok(Some(_)) = import.next() {
        go_on = walk.record(|| import.position());
    }
    for link in import.link_types() {
        kinds.add(Format { link, precision: import.precision(), snaplen: MAX_SNAPLEN });
    }
    Ok(())
}

/// The stretch of all records.
const ALL: (u64, u64) = (FILE_HEADER as u64, u64::MAX);

/// Bytes of a stretch of a file of that length.
fn size_of((first, last): (u64, u64), len: u64) -> u64 {
    last.min(len).saturating_sub(first)
}

impl Kinds {
    /// Of the output.
    fn format(&self) -> Format {
        Format {
            link: self.links.first().copied().unwrap_or(LinkType::ETHERNET),
            precision: if self.nano { Precision::Nano } else { Precision::Micro },
            snaplen: if self.snaplen == 0 { MAX_SNAPLEN } else { self.snaplen },
        }
    }

    fn add(&mut self, format: Format) {
        if !self.links.contains(&format.link) {
            self.links.push(format.link);
        }
        self.nano |= format.precision == Precision::Nano;
        self.snaplen = self.snaplen.max(format.snaplen);
    }
}
