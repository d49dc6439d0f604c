//! `tapkeep report`: one HTML page that tells what the captures hold. It needs nothing but itself: no server, no network.

mod axis;
mod findings;
mod heat;
mod icicle;
mod page;
mod tables;
mod traffic;

use std::collections::HashSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::ask::{AskArgs, Asked};
use super::escape::is_active;
use super::list::{self, ListArgs};
use super::output::{Exit, Output, UsageError};
use super::progress::Waiting;
use super::sort::SortArgs;
use super::status;
use super::suspicious::{self, SuspiciousArgs, for_shell};
use super::table::{bytes, counted};
use super::time::RangeArgs;
use super::zone::Here;
use super::{Context, read_ledger, whole};
use crate::flow::summary::{Count, Wanted};
use crate::index::timeline::{self, Basis, Steps};
use crate::packet::level::Path as Levels;
use crate::packet::{NANOS_PER_SEC, Nanos};
use crate::store::facts::{CaptureFacts, rfc3339};
use crate::store::layout::Layout;
use crate::store::range::TimeRange;
use crate::sys::clock::{Clock, RealClock};
use crate::sys::fs::RealFs;

/// What `report` is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
The page is one file that needs nothing else: mail it, print it, open it anywhere. It holds
traffic over time with losses and gaps, protocols, endpoints, conversations, findings and the
commands that extract their packets, capture files, and how the service is. Its numbers are those
of `protocols`, `endpoints`, `conversations`, `suspicious`, `list` and `status`.

Examples:
  tapkeep report --last 1d -o report.html
  tapkeep report --since \"2024-12-31 14:00\" --until \"2024-12-31 15:00\" -o incident.html
  tapkeep report suspect.pcapng -o suspect.html
  ssh tap tapkeep report --last 1d -o - > tap.html")]
pub(super) struct ReportArgs {
    /// Capture files: names from the data directory, or paths of any pcap or pcapng files [default: the whole data directory]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    range: RangeArgs,
    /// Write to FILE, readable by you alone; "-" is standard output, but never a terminal
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: PathBuf,
}

/// All that a page tells.
struct Report {
    /// Where the packets are, in words.
    place: String,
    /// What makes a command ask about the same time.
    bounds: String,
    /// What makes a command ask the same: the time and the files.
    words: String,
    made: Nanos,
    /// The zone of times, as a table's head names it.
    zone: String,
    /// From when to when there are packets.
    span: Option<(Nanos, Nanos)>,
    asked: Asked,
    protocols: Vec<(Levels, Count)>,
    endpoints: Ranking<super::endpoints::Row>,
    conversations: Ranking<super::conversations::Row>,
    findings: suspicious::Answer,
    over_time: Steps,
    heat: heat::Heat,
    basis: Basis,
    /// The files of the data directory; none if only others were asked about.
    files: Option<list::Answer>,
    /// The service and what it may keep; none likewise.
    service: Option<Service>,
}

/// Rows, the largest first.
struct Ranking<T> {
    rows: Vec<T>,
    exact: bool,
}

/// How the service is, and what it may keep.
struct Service {
    running: bool,
    warnings: Vec<String>,
    entries: Vec<(&'static str, String)>,
    limits: String,
}

pub(super) fn report(args: &ReportArgs, context: &Context, out: &mut Output) -> Result<Exit> {
    let to_stdout = args.output == Path::new("-");
    if to_stdout && out.is_terminal() {
        let what = "a page is nothing for a terminal: give -o FILE, or send it on".to_owned();
        return Err(UsageError(what).into());
    }
    let report = Report::gather(args, context, out)?;
    let html = harmless(&page::page(&report).into_string());
    if to_stdout {
        let mut page = out.take_bytes();
        page.write_all(html.as_bytes())?;
        page.flush()?;
    } else {
        let waiting = Waiting::new("writing", out);
        whole::write(&args.output, out.interrupts(), |mut file| {
            file.write_all(html.as_bytes())?;
            Ok(waiting.check()?)
        })?;
        waiting.over()?;
        let size = bytes(html.len() as u64);
        let packets = counted(report.asked.analysis.merged.total().packets, "packet");
        out.note(format_args!("{}: {packets}, {size}", args.output.display()));
    }
    Ok(match report.asked.has_rows(report.protocols.len(), "packets", out) {
        _ if report.findings.damaged => Exit::Damaged,
        seen => report.asked.exit(usize::from(seen), false),
    })
}

/// Nothing on the page steers a terminal or turns the direction of writing; markup has no such characters.
fn harmless(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    for c in html.chars() {
        match c {
            c if is_active(c) && c != '\n' => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text
}

impl Report {
    fn gather(args: &ReportArgs, context: &Context, out: &mut Output) -> Result<Self> {
        let now = RealClock.now();
        // "The last hour" is one and the same hour in all that is asked.
        let range = args.range.resolve(now.wall, &Here)?;
        let exactly = RangeArgs::exactly(range);
        let (layout, fs) = (Layout::new(&context.data_dir.path), RealFs::default());
        let (own, others) = timeline::own_and_others(&layout, &fs, &args.files)?;
        let ask = AskArgs { files: args.files.clone(), range: exactly.clone(), json: false, limit: None };
        let wanted = Wanted { protocols: true, endpoints: true, conversations: true, ..Wanted::default() };
        let asked = ask.ask(wanted, Vec::new(), context, out)?;
        let question = SuspiciousArgs::of(args.files.clone(), exactly.clone());
        let mut findings = suspicious::find(&question, range, context, out)?;
        findings.notes.retain(|note| !asked.analysis.notes.contains(note));
        findings.notes.iter().for_each(|note| out.note(note));
        findings.findings.sort_by_key(|found| std::cmp::Reverse((found.severity, found.last_seen)));
        let files = (args.files.is_empty() || !own.is_empty())
            .then(|| files_of(args, exactly, &own, context))
            .transpose()?;
        let service = files.is_some().then(|| Service::of(context)).transpose()?;
        let bounds = bounds_in_words(range);
        let span = asked.analysis.from.zip(asked.analysis.to);
        let (mut over_time, mut heat) = (axis::steps(span, &Here), heat::Heat::new(span, &Here));
        let traffic = timeline::Traffic {
            layout: &layout,
            fs: &fs,
            range,
            captures: files.iter().flat_map(readable).collect(),
            others,
            evicted: stand_in(args, &asked, files.as_ref()).then(|| asked.analysis.evicted.iter().collect()),
        };
        let basis = {
            let waiting = Waiting::new("reading stamps", out);
            let mut both = [over_time, heat.steps];
            let basis = traffic.count(&mut both, &|at| waiting.at(at));
            waiting.over()?;
            [over_time, heat.steps] = both;
            basis
        };
        let protocols =
            super::protocols::as_tree(&asked.analysis.merged.protocols().rows, SortArgs::default());
        let addrs = asked.analysis.merged.endpoints();
        let found = asked.analysis.merged.conversations();
        Ok(Self {
            place: place(args, context),
            words: format!("{}{bounds}{}", context.typed, files_in_words(args)),
            bounds,
            made: now.wall,
            zone: Here.name(span.into_iter().flat_map(|(from, to)| [from, to])),
            span,
            protocols,
            endpoints: Ranking {
                exact: addrs.is_exact(),
                rows: super::endpoints::sorted(&addrs, |_| true, SortArgs::default()),
            },
            conversations: Ranking {
                exact: found.is_exact(),
                rows: super::conversations::sorted(found, |_| true, SortArgs::default()),
            },
            asked,
            findings,
            over_time,
            heat,
            basis,
            files,
            service,
        })
    }

    /// For how long there are packets, seconds; not 0.
    fn seconds(&self) -> f64 {
        let nanos = self.span.map_or(0, |(from, to)| to.saturating_sub(from));
        (nanos as f64 / NANOS_PER_SEC as f64).max(1e-3)
    }
}

/// Whether flow records stand for packets that no file has, as they do in the analysis: it counted some, or more files than there
/// are captures.
fn stand_in(args: &ReportArgs, asked: &Asked, files: Option<&list::Answer>) -> bool {
    let there = files.into_iter().flat_map(captures).count();
    args.files.is_empty() && (asked.analysis.flows > 0 || asked.analysis.files > there)
}

/// Files of the data directory that are there.
fn captures(files: &list::Answer) -> impl Iterator<Item = &CaptureFacts> {
    files.view.rows.iter().filter(|row| row.evicted.is_none()).map(|row| &row.facts)
}

/// Of these, what can be counted.
fn readable(files: &list::Answer) -> impl Iterator<Item = &CaptureFacts> {
    captures(files).filter(|facts| !files.view.aside.contains(&facts.name))
}

/// The files of the data directory that the report is about.
fn files_of(
    args: &ReportArgs,
    range: RangeArgs,
    own: &HashSet<u64>,
    context: &Context,
) -> Result<list::Answer> {
    let asked = ListArgs { range, ..ListArgs::default() };
    let mut files = list::gather(&asked, &context.place(), &read_ledger, RealClock.now())?;
    if !args.files.is_empty() {
        files.view.rows.retain(|row| own.contains(&row.facts.name.number()));
        files.view.gaps.clear();
    }
    Ok(files)
}

fn place(args: &ReportArgs, context: &Context) -> String {
    let names: Vec<_> = args.files.iter().map(|file| file.display().to_string()).collect();
    match &names[..] {
        [] => absolute(&context.data_dir.path),
        [name] => name.clone(),
        [first, rest @ ..] => format!("{first} and {}", counted(rest.len() as u64, "other file")),
    }
}

/// Where that is, for who reads the page elsewhere.
fn absolute(path: &Path) -> String {
    path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn bounds_in_words(range: TimeRange) -> String {
    let bounds = [("since", range.since), ("until", range.until)];
    bounds.into_iter().filter_map(|(flag, at)| Some(format!(" --{flag} {}", moment(at?)))).collect()
}

/// A stamp as short as it can be typed.
fn moment(at: Nanos) -> String {
    rfc3339(at).replace(".000000000Z", "Z")
}

fn files_in_words(args: &ReportArgs) -> String {
    args.files.iter().map(|file| format!(" {}", for_shell(file))).collect()
}

impl Service {
    fn of(context: &Context) -> Result<Self> {
        let look = status::Look::at(context)?;
        let (warnings, entries) = match look.state.as_ref().filter(|_| look.running) {
            Some(state) => (status::warnings(state), status::page::entries(state)),
            None => (vec![look.why_not(context)], Vec::new()),
        };
        let kept = &context.loaded.config.retention;
        let limits = [
            kept.count.map(|count| counted(count.into(), "file")),
            kept.bytes.map(|bytes| format!("{bytes} in all")),
            kept.age.map(|age| super::table::duration(age.as_millis() as u64)),
        ];
        let limits: Vec<_> = limits.into_iter().flatten().collect();
        let limits = if limits.is_empty() { "only the disk".to_owned() } else { limits.join(", ") };
        Ok(Self { running: look.running, warnings, entries, limits })
    }
}
