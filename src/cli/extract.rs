//! `tapkeep extract`: packets by time, BPF filter and file, as one PCAP stream.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use chrono::Local;
use clap::Args;

use super::output::{Exit, Output, UsageError};
use super::select::{SelectArgs, Selection};
use super::table::counted;
use super::time::RangeArgs;
use super::{Context, read_ledger};
use crate::capture::filter::Filter;
use crate::capture::replay::Import;
use crate::index::query as index;
use crate::index::view::Viewer;
use crate::packet::{Frame, LinkType, MAX_SNAPLEN, Place, Precision};
use crate::store::facts::CaptureFacts;
use crate::store::format::{FILE_HEADER, Format, RECORD_HEADER, RecordHeader};
use crate::store::layout::Layout;
use crate::store::names::{CaptureName, Role};
use crate::store::range::TimeRange;
use crate::store::scan::{End, Reader};
use crate::sys::clock::{Clock, RealClock};
use crate::sys::fs::{FsFile, RealFs};

/// What `extract` is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tapkeep extract --last 5m -w last.pcap
  tapkeep extract --since 14:30 --until 14:45 host 10.0.0.7 and tcp port 443 | wireshark -k -i -
  tapkeep extract --file capture_20241231_143052_0001.pcap udp port 53 | tshark -r -
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
    let range = args.range.resolve(RealClock.now().wall, &Local)?;
    let expression = args.filter.join(" ");
    // Wrong words are told before any file is looked at.
    Filter::compile(&expression, LinkType::ETHERNET).map_err(|error| UsageError(error.to_string()))?;
    let (layout, fs) = (Layout::new(&context.data_dir.path), RealFs::default());
    let selection = Selection::new(&args.select, &args.files, &layout, &fs, context)?;
    let mut extraction = Extraction { layout, fs, range, selection };
    let sources = extraction.sources(args, context, out)?;
    let kinds = extraction.survey(&sources, out)?;
    let format = Format {
        link: kinds.links.first().copied().unwrap_or(LinkType::ETHERNET),
        precision: if kinds.nano { Precision::Nano } else { Precision::Micro },
        snaplen: if kinds.snaplen == 0 { MAX_SNAPLEN } else { kinds.snaplen },
    };
    let filter = Filter::compile(&expression, format.link).map_err(|error| UsageError(error.to_string()))?;
    let found = if to_stdout {
        let mut sink = Sink::new(out.take_bytes(), format)?;
        let found = extraction.copy(&sources, &filter, &mut sink, out);
        sink.finish()?;
        found?
    } else {
        let path = args.write.as_deref().unwrap_or(Path::new("-"));
        extraction.write_file(path, format, &sources, &filter, out)?
    };
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
}

impl Extraction {
    /// The files to look into, oldest index number first: those named, else all that may hold packets of the range.
    fn sources(&self, args: &ExtractArgs, context: &Context, out: &mut Output) -> Result<Vec<Source>> {
        if !args.files.is_empty() {
            return args.files.iter().map(|file| self.named(file)).collect();
        }
        let ledger = || read_ledger(&self.layout.ledger());
        let view = Viewer { layout: &self.layout, fs: &self.fs, ledger: &ledger }.look()?;
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
            out.note(self.nothing(view.rows.len(), context));
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
    fn nothing(&self, known: usize, context: &Context) -> String {
        let (dir, captures) = (&context.data_dir, self.layout.captures());
        match () {
            () if !dir.path.exists() => format!("no packets: {dir} does not exist"),
            () if !captures.exists() => format!(
                "no packets: {dir} holds no capture files; with SAVE_PCAP=false none are written, \
                 and packets cannot be extracted"
            ),
            () if known == 0 => format!("no packets: {dir} holds no capture files yet"),
            () if !self.range.is_bounded() => format!("no packets: the capture files in {dir} are empty"),
            () => format!("no packets: no capture file in {dir} has any of that time"),
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
    fn survey(&self, sources: &[Source], out: &mut Output) -> Result<Kinds> {
        let mut kinds = Kinds::default();
        for source in sources {
            match source {
                Source::Own(name) => self.survey_own(*name, &mut kinds, out),
                Source::Foreign(path) => survey_foreign(path, &mut kinds)?,
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

    fn survey_own(&self, name: CaptureName, kinds: &mut Kinds, out: &mut Output) {
        let Ok((file, _)) = self.open(name) else { return };
        match Reader::open(file.as_ref()) {
            Ok(reader) => kinds.add(reader.format()),
            Err(error) => out.note(format_args!("{name}: {error}")),
        }
    }

    /// Writes beside `path` and renames when all is there, so that nobody finds a half.
    fn write_file(
        &mut self,
        path: &Path,
        format: Format,
        sources: &[Source],
        filter: &Filter,
        out: &mut Output,
    ) -> Result<Found> {
        // What a link leads to is replaced, not the link.
        let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let regular = path.metadata().map_or(true, |meta| meta.is_file());
        let suffix = format!(".{}.tmp", std::process::id());
        let beside = if regular { with_suffix(path, &suffix) } else { path.to_owned() };
        let mut options = OpenOptions::new();
        options.write(true).create_new(regular).mode(0o600);
        let file = options.open(&beside).map_err(|error| {
            let path = path.display();
            anyhow!("create {path}: {error}; name a file in a directory that exists and that you may write")
        })?;
        let result = (|| -> Result<Found> {
            let mut sink = Sink::new(Box::new(file), format)?;
            let found = self.copy(sources, filter, &mut sink, out)?;
            sink.finish()?;
            if regular {
                std::fs::rename(&beside, path)?;
            }
            Ok(found)
        })();
        if result.is_err() && regular {
            let _ = std::fs::remove_file(&beside);
        }
        result.with_context(|| format!("write {}", path.display()))
    }

    fn copy(
        &mut self,
        sources: &[Source],
        filter: &Filter,
        sink: &mut Sink,
        out: &mut Output,
    ) -> Result<Found> {
        let mut found = Found::default();
        let Self { layout, fs, range, selection } = self;
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
                Source::Own(name) => copy_own(layout, fs, *name, stretches.as_deref(), &mut take)?,
                Source::Foreign(path) => copy_foreign(at as u64 + 1, path, &mut take)?,
            };
            if let Some(damage) = damage {
                out.note(damage);
                found.damaged = true;
            }
        }
        Ok(found)
    }
}

/// Hands on the packets of a file of ours, or of stretches of it; says what is wrong with it, if anything is.
fn copy_own(
    layout: &Layout,
    fs: &RealFs,
    name: CaptureName,
    stretches: Option<&[(u64, u64)]>,
    take: &mut Take<'_>,
) -> Result<Option<String>> {
    let (file, role) = match layout.open_capture(fs, name) {
        Ok(opened) => opened,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Ok(Some(format!("{name} was evicted meanwhile")));
        }
        Err(e) => return Err(e).with_context(|| format!("open {name}")),
    };
    let mut reader = match Reader::open(file.as_ref()) {
        Ok(reader) => reader,
        Err(error) => return Ok(Some(format!("{name}: {error}"))),
    };
    let Format { link, precision, .. } = reader.format();
    for &(first, last) in stretches.unwrap_or(&[(FILE_HEADER as u64, u64::MAX)]) {
        reader.seek(first.max(FILE_HEADER as u64));
        while reader.offset() <= last
            && let Some((offset, frame)) = reader.next_record().with_context(|| format!("read {name}"))?
        {
            take(&frame, link, precision, Place { file: name.number(), offset })?;
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
fn copy_foreign(file: u64, path: &Path, take: &mut Take<'_>) -> Result<Option<String>> {
    let mut import = Import::open(path)?;
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
    }
    Ok(import.cut())
}

/// A pcapng file tells of its interfaces as it goes on, so it is read to its end; damage is told when it is copied.
fn survey_foreign(path: &Path, kinds: &mut Kinds) -> Result<()> {
    let mut import = Import::open(path)?;
    while let Ok(Some(_)) = import.next() {}
    for link in import.link_types() {
        kinds.add(Format { link, precision: import.precision(), snaplen: MAX_SNAPLEN });
    }
    Ok(())
}

impl Kinds {
    fn add(&mut self, format: Format) {
        if !self.links.contains(&format.link) {
            self.links.push(format.link);
        }
        self.nano |= format.precision == Precision::Nano;
        self.snaplen = self.snaplen.max(format.snaplen);
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A PCAP stream being written.
struct Sink {
    out: BufWriter<Box<dyn Write>>,
    precision: Precision,
}

impl Sink {
    fn new(out: Box<dyn Write>, format: Format) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 18, out);
        out.write_all(&format.encode())?;
        Ok(Self { out, precision: format.precision })
    }

    fn put(&mut self, frame: &Frame<'_>, precision: Precision) -> io::Result<()> {
        let finer = precision.nanos() / self.precision.nanos();
        let frac = u32::try_from(i64::from(frame.frac) * finer).unwrap_or(u32::MAX);
        self.out.write_all(&RecordHeader::of(&Frame { frac, ..*frame }).encode())?;
        self.out.write_all(frame.data)
    }

    fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}
