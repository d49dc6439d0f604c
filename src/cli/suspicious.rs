//! `tapkeep suspicious`: findings with their evidence, and on request their packets; for people, in a format of other tools, live.

mod follow;
mod packets;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

pub(super) use self::packets::{Packets, Whereabouts, for_shell};
use super::format::{Format, FormatArgs, Kind, Lines, Places, Row, finding_json};
use super::output::{Exit, Output};
use super::progress::Waiting;
use super::select::SelectArgs;
use super::sort::{Rank, SortArgs};
use super::table::counted;
use super::tail::TailArgs;
use super::time::{RangeArgs, date_time, end_time};
use super::zone::Here;
use super::{Context, absence, ask, extract, read_ledger, settings};
use crate::detect::stream::Sink;
use crate::detect::{Finding, IDS, Severity};
use crate::flow::record::FlowRecord;
use crate::index::fresh;
use crate::index::view::{View, Viewer};
use crate::packet::Nanos;
use crate::store::catalog::Catalog;
use crate::store::facts::rfc3339;
use crate::store::layout::Layout;
use crate::store::losses::Losses;
use crate::store::names::CaptureName;
use crate::store::progress::Watch;
use crate::store::range::TimeRange;
use crate::sys::clock::{Clock, RealClock};
use crate::sys::fs::RealFs;

/// Findings shown unless told otherwise.
const TABLE_LIMIT: usize = 20;

/// What findings can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Key {
    /// Last packet, the latest first in a table, last in other formats
    #[default]
    Time,
    /// Severity, the worst first
    Severity,
    /// How often it was seen
    Count,
    /// Detector
    Detector,
}

/// What `suspicious` is asked.
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Without FILE, or with names from the data directory, the findings that were recorded answer; any
other capture file is analysed. docs/DETECTORS.md tells what each detector looks for.

Examples:
  tapkeep suspicious --last 1h
  tapkeep suspicious --last 1d --sort severity
  tapkeep suspicious --last 1d -w evidence.pcap
  tapkeep suspicious --follow --format eve --cursor-file findings.cursor >> findings.json
  tapkeep suspicious suspect.pcapng --all
  tapkeep extract --finding port_scan-42-1048600 | wireshark -k -i -")]
pub(super) struct SuspiciousArgs {
    /// Capture files: names from the data directory, or paths of any pcap or pcapng files
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    range: RangeArgs,
    /// Also show findings of severity info
    #[arg(long)]
    all: bool,
    /// Only of this detector; repeatable
    #[arg(long, value_name = "ID", value_parser = PossibleValuesParser::new(IDS), hide_possible_values = true)]
    detector: Vec<String>,
    /// Only with this address at one end; repeatable
    #[arg(long, value_name = "ADDRESS")]
    host: Vec<std::net::IpAddr>,
    /// Analyse exactly these files of the data directory, in order, as one stream
    #[arg(long, requires = "files", conflicts_with_all = ["follow", "cursor_file"])]
    fresh: bool,
    /// Write the packets of the findings to this capture file
    #[arg(short = 'w', long = "write", value_name = "OUT.pcap", conflicts_with_all = ["follow", "cursor_file"])]
    write: Option<PathBuf>,
    #[command(flatten)]
    sort: SortArgs<Key>,
    #[command(flatten)]
    tail: TailArgs,
    #[command(flatten)]
    format: FormatArgs,
    /// Show only the first N of that order, or the N latest; 0 = all [default: 20 in a table, all in other formats]
    #[arg(long, value_name = "N", value_parser = absence::rows, allow_negative_numbers = true)]
    limit: Option<usize>,
}

impl SuspiciousArgs {
    /// Whether the answer is one JSON document.
    pub(super) fn json(&self) -> bool {
        self.format.get() == Some(Format::Json) && !self.tail.is_asked()
    }

    /// What is asked of these files, or of the data directory, without a filter.
    pub(super) fn of(files: Vec<PathBuf>, range: RangeArgs) -> Self {
        Self { files, range, ..Self::default() }
    }

    fn is_filtered(&self) -> bool {
        !self.detector.is_empty() || !self.host.is_empty()
    }

    fn fits(&self, finding: &Finding) -> bool {
        self.shows(finding) && self.is_about(finding, TimeRange::ALL)
    }

    fn shows(&self, finding: &Finding) -> bool {
        self.all || finding.severity > Severity::Info
    }

    fn is_about(&self, finding: &Finding, range: TimeRange) -> bool {
        let is_end = |host: &std::net::IpAddr| {
            let host = host.to_string();
            [&finding.src, &finding.dst].into_iter().flatten().any(|end| *end == host)
        };
        range.touches(finding.first_seen, finding.last_seen)
            && (self.detector.is_empty() || self.detector.contains(&finding.detector))
            && (self.host.is_empty() || self.host.iter().any(is_end))
    }
}

/// The document of no answer.
pub(super) fn empty() -> Value {
    ask::empty("findings", false)
}

/// What was found, and what it rests on.
pub(super) struct Answer {
    /// The latest last, once sorted.
    pub findings: Vec<Finding>,
    /// Findings of severity info that were left out.
    info: u64,
    from: Option<Nanos>,
    to: Option<Nanos>,
    losses: Losses,
    pub packets: Whereabouts,
    pub notes: Vec<String>,
    pub damaged: bool,
}

impl Answer {
    /// The same, of a data directory into which a service may record.
    pub(super) fn of_service(mut self, context: &Context) -> Self {
        self.packets.counted_on = ask::counted_on_since(context, &RealClock.now());
        self
    }
}

pub(super) fn suspicious(args: &SuspiciousArgs, context: &Context, out: &mut Output) -> Result<Exit> {
    let layout = Layout::new(&context.data_dir.path);
    if args.tail.is_asked() {
        return follow::follow(args, &layout, context, out);
    }
    let now = RealClock.now();
    let range = args.range.resolve(now.wall, &Here)?;
    let answer = find(args, range, context, out)?;
    for note in &answer.notes {
        out.note(note);
    }
    let shown = chosen(args, &answer);
    print(args, &answer, &shown, out)?;
    if answer.findings.is_empty() {
        out.note(nothing(args, range, &answer, context));
    }
    if let Some(path) = &args.write {
        let finding = shown.iter().map(|finding| finding.id.clone()).collect();
        let select = SelectArgs { finding, ..SelectArgs::default() };
        return extract::findings(select, &args.files, path, context, out);
    }
    Ok(match answer.findings.len() {
        _ if answer.damaged => Exit::Damaged,
        0 if range.is_bounded() || args.is_filtered() => Exit::NothingLeft,
        _ => Exit::Ok,
    })
}

/// The findings to show, in their order.
fn chosen<'a>(args: &SuspiciousArgs, answer: &'a Answer) -> Vec<&'a Finding> {
    let is_table = args.format.get().is_none();
    let mut chosen: Vec<_> = answer.findings.iter().rev().collect();
    args.sort.sort(&mut chosen, |by, finding| match by {
        Key::Time => Rank::latest(finding.last_seen),
        Key::Severity => Rank::number(finding.severity as u64),
        Key::Count => Rank::number(finding.count),
        Key::Detector => Rank::Name(&finding.detector),
    });
    match args.limit.unwrap_or(if is_table { TABLE_LIMIT } else { 0 }) {
        0 => {}
        limit => chosen.truncate(limit),
    }
    if !is_table && !args.sort.is_asked() {
        chosen.reverse();
    }
    chosen
}

fn print(args: &SuspiciousArgs, answer: &Answer, shown: &[&Finding], out: &mut Output) -> Result<()> {
    if args.json() {
        let findings: Vec<_> =
            shown.iter().map(|finding| finding_json(finding, &answer.packets.places)).collect();
        out.json(&json!({
            "findings": findings,
            "matched": answer.findings.len(),
            "from": answer.from.map(rfc3339),
            "to": answer.to.map(rfc3339),
            "losses": answer.losses,
            "basis": "packets",
        }))?;
    } else if let Some(format) = args.format.get() {
        let lines = Lines::new(format, Kind::Findings);
        lines.head(out)?;
        shown.iter().try_for_each(|finding| lines.row(Row::Finding(finding, &answer.packets.places), out))?;
    } else if !shown.is_empty() {
        let zone = Here.name(shown.iter().flat_map(|finding| [finding.first_seen, finding.last_seen]));
        out.line(format_args!("{}; times in {zone}", counted(answer.findings.len() as u64, "finding")))?;
        shown.iter().try_for_each(|finding| show(finding, &answer.packets, out))?;
        foot(answer, shown.len(), out)?;
    }
    Ok(())
}

/// What was not shown.
fn foot(answer: &Answer, shown: usize, out: &mut Output) -> Result<()> {
    let all = answer.findings.len();
    let cut = (shown < all).then(|| absence::cut(shown, all));
    let info = (answer.info > 0).then(|| format!("{} left out; --all shows them", info_text(answer.info)));
    if cut.is_some() || info.is_some() {
        out.line("")?;
    }
    cut.into_iter().chain(info).try_for_each(|line| out.line(line))?;
    Ok(())
}

/// `3 findings of severity info`.
fn info_text(n: u64) -> String {
    format!("{} of severity info", counted(n, "finding"))
}

/// Looks for what is asked.
pub(super) fn find(
    args: &SuspiciousArgs,
    range: TimeRange,
    context: &Context,
    out: &Output,
) -> Result<Answer> {
    let layout = Layout::new(&context.data_dir.path);
    let mut answer =
        if args.fresh || args.files.iter().any(|file| layout.own_named(&RealFs::default(), file).is_none()) {
            fresh_findings(args, &layout, context, out)?
        } else {
            let waiting = Waiting::new("reading", out);
            let answer = recorded(&args.files, &layout, &|at| waiting.at(at))?;
            waiting.over()?;
            answer.of_service(context)
        };
    answer.packets.typed.clone_from(&context.typed);
    answer.findings.retain(|finding| args.is_about(finding, range));
    let found = answer.findings.len();
    answer.findings.retain(|finding| args.shows(finding));
    answer.info = (found - answer.findings.len()) as u64;
    answer.findings.sort_by_key(|finding| (finding.last_seen, finding.id.clone()));
    Ok(answer)
}

/// The findings that were recorded; of these capture files, if any are named.
pub(super) fn recorded(files: &[PathBuf], layout: &Layout, watch: Watch<'_>) -> Result<Answer> {
    let fs = RealFs::default();
    let entries = read_ledger(&layout.ledger()).map_err(anyhow::Error::msg)?;
    let ledger = || read_ledger(&layout.ledger());
    let View { rows, notes, .. } = Viewer { layout, fs: &fs, ledger: &ledger }.look_beside(watch)?;
    let asked: HashSet<_> = files
        .iter()
        .filter_map(|file| CaptureName::parse(file.to_str()?).map(|(name, _)| name.number()))
        .collect();
    let touches = |finding: &Finding| {
        asked.is_empty() || finding.captures.0.iter().any(|stretch| asked.contains(&stretch.0))
    };
    let findings =
        Catalog::new(&entries, &[]).findings().filter_map(|kept| kept.read()).filter(touches).collect();
    let there = || rows.iter().filter(|row| row.evicted.is_none()).map(|row| &row.facts);
    Ok(Answer {
        findings,
        info: 0,
        from: there().filter_map(|facts| facts.first).min(),
        to: there().filter_map(|facts| facts.last).max(),
        losses: there().fold(Losses::NONE, |sum, facts| sum + facts.losses),
        packets: Whereabouts {
            places: Places {
                names: there().map(|facts| (facts.name.number(), facts.name)).collect(),
                recorded: true,
            },
            ..Whereabouts::default()
        },
        notes,
        damaged: false,
    })
}

fn fresh_findings(args: &SuspiciousArgs, layout: &Layout, context: &Context, out: &Output) -> Result<Answer> {
    let settings = settings::analysis(&context.loaded.config).stream;
    let mut found = Found::default();
    let waiting = Waiting::new("looking for findings", out);
    let (fs, watch) = (RealFs::default(), |at| waiting.at(at));
    let notes = fresh::analyse(layout, &fs, &args.files, &settings, &mut found, &watch)?;
    waiting.over()?;
    Ok(Answer {
        findings: found.findings.into_values().collect(),
        info: 0,
        from: found.range.map(|(from, _)| from),
        to: found.range.map(|(_, to)| to),
        losses: Losses::UNKNOWN,
        packets: Whereabouts {
            files: if args.files.iter().any(|file| layout.own_named(&RealFs::default(), file).is_none()) {
                args.files.clone()
            } else {
                Vec::new()
            },
            ..Whereabouts::default()
        },
        damaged: !notes.is_empty(),
        notes,
    })
}

#[derive(Default)]
struct Found {
    findings: BTreeMap<String, Finding>,
    range: Option<(Nanos, Nanos)>,
}

impl Sink for Found {
    fn record(&mut self, _: FlowRecord) {}

    fn finding(&mut self, finding: Finding) {
        self.findings.insert(finding.id.clone(), finding);
    }
}

impl fresh::Sink for Found {
    const RECORDS: bool = false;

    fn packet(&mut self, stamp: Nanos) {
        let (from, to) = self.range.unwrap_or((stamp, stamp));
        self.range = Some((from.min(stamp), to.max(stamp)));
    }
}

/// A finding on a few lines.
fn show(finding: &Finding, packets: &Whereabouts, out: &mut Output) -> Result<()> {
    out.line("")?;
    out.line(head(finding))?;
    let mut details = packets.details(finding).into_iter();
    Ok(details.try_for_each(|line| out.line(format_args!("        {line}")))?)
}

/// How bad, what and when.
pub(super) fn head(finding: &Finding) -> String {
    let Finding { first_seen, last_seen, technique, .. } = finding;
    let (from, to) = (date_time(*first_seen, &Here), end_time(*first_seen, *last_seen, &Here));
    let severity = format!("{:?}", finding.severity).to_uppercase();
    format!("{severity:<6}  {}  {technique}  {from} – {to}", finding.detector)
}

pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Why there is nothing to show.
fn nothing(args: &SuspiciousArgs, range: TimeRange, answer: &Answer, context: &Context) -> String {
    let what = if args.is_filtered() { "findings that fit" } else { "findings" };
    let kept = answer.from.zip(answer.to);
    let nothing = if answer.packets.places.recorded {
        absence::nothing_kept(what, range, (&context.data_dir, answer.damaged), kept)
    } else {
        absence::nothing(what, range, absence::readable("these files", answer.damaged), kept)
    };
    match answer.info {
        0 => nothing,
        n => format!("{nothing}; {}, --all shows them", info_text(n)),
    }
}
