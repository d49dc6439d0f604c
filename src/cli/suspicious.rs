//! `tapkeep suspicious`: findings with their evidence, and on request their packets.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use chrono::Local;
use clap::Args;
use serde_json::{Map, Value, json};

use super::output::{Exit, Output};
use super::select::SelectArgs;
use super::table::{count, counted};
use super::time::{RangeArgs, date_time, end_time, zone_name};
use super::{Context, ask, extract, read_ledger, settings};
use crate::detect::stream::Sink;
use crate::detect::{Finding, Severity};
use crate::flow::record::{FlowRecord, Stretch};
use crate::index::fresh;
use crate::index::view::{View, Viewer};
use crate::packet::Nanos;
use crate::store::catalog::Catalog;
use crate::store::facts::rfc3339;
use crate::store::layout::Layout;
use crate::store::losses::Losses;
use crate::store::names::CaptureName;
use crate::store::range::TimeRange;
use crate::sys::clock::{Clock, RealClock};
use crate::sys::fs::RealFs;

/// Findings shown unless told otherwise.
const TABLE_LIMIT: usize = 20;

/// What `suspicious` is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Without FILE, or with names from the data directory, the findings that were recorded answer; any other capture
file is analysed. docs/DETECTORS.md tells what each detector looks for.

Examples:
  tapkeep suspicious --last 1h
  tapkeep suspicious --last 1d -w evidence.pcap
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
    #[arg(long, value_name = "ID")]
    detector: Vec<String>,
    /// Only with this address at one end; repeatable
    #[arg(long, value_name = "ADDRESS")]
    host: Vec<std::net::IpAddr>,
    /// Analyse exactly these files of the data directory, in order, as one stream
    #[arg(long, requires = "files")]
    fresh: bool,
    /// Write the packets of the findings to this capture file
    #[arg(short = 'w', long = "write", value_name = "OUT.pcap")]
    write: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Show only the N latest, 0 = all [default: 20 in a table, all in JSON]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl SuspiciousArgs {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    fn is_filtered(&self) -> bool {
        !self.detector.is_empty() || !self.host.is_empty()
    }

    fn fits(&self, finding: &Finding, range: TimeRange) -> bool {
        let is_end = |host: &std::net::IpAddr| {
            let host = host.to_string();
            [&finding.src, &finding.dst].into_iter().flatten().any(|end| *end == host)
        };
        (self.all || finding.severity > Severity::Info)
            && range.touches(finding.first_seen, finding.last_seen)
            && (self.detector.is_empty() || self.detector.contains(&finding.detector))
            && (self.host.is_empty() || self.host.iter().any(is_end))
    }
}

/// The document of no answer.
pub(super) fn empty() -> Value {
    ask::empty("findings", false)
}

/// What was found, and what it rests on.
struct Answer {
    /// The latest last.
    findings: Vec<Finding>,
    from: Option<Nanos>,
    to: Option<Nanos>,
    losses: Losses,
    /// Index numbers and names of the captures that are there.
    captures: BTreeMap<u64, CaptureName>,
    /// Whether places are in captures of the data directory.
    recorded: bool,
    /// The files that were analysed for it, if any is from elsewhere: then `extract` analyses them too.
    files: Vec<PathBuf>,
    notes: Vec<String>,
    damaged: bool,
}

pub(super) fn suspicious(args: &SuspiciousArgs, context: &Context, out: &mut Output) -> Result<Exit> {
    let now = RealClock.now();
    let range = args.range.resolve(now.wall, &Local)?;
    let layout = Layout::new(&context.data_dir.path);
    let mut answer = if args.fresh || args.files.iter().any(|file| !is_own(file, &layout)) {
        fresh_findings(args, &layout, context)?
    } else {
        recorded_findings(args, &layout)?
    };
    answer.findings.retain(|finding| args.fits(finding, range));
    answer.findings.sort_by_key(|finding| (finding.last_seen, finding.id.clone()));
    for note in &answer.notes {
        out.note(note);
    }
    let limit = args.limit.unwrap_or(if args.json { 0 } else { TABLE_LIMIT });
    let skipped = if limit == 0 { 0 } else { answer.findings.len().saturating_sub(limit) };
    let shown = &answer.findings[skipped..];
    if args.json {
        let findings: Vec<_> = shown.iter().map(|finding| finding_json(finding, &answer)).collect();
        out.json(&json!({
            "findings": findings,
            "matched": answer.findings.len(),
            "from": answer.from.map(rfc3339),
            "to": answer.to.map(rfc3339),
            "losses": answer.losses,
            "basis": "packets",
        }))?;
    } else if !shown.is_empty() {
        let zone = zone_name(now.wall, &Local, std::env::var("TZ").ok());
        out.line(format_args!("{}; times in {zone}", counted(answer.findings.len() as u64, "finding")))?;
        shown.iter().rev().try_for_each(|finding| show(finding, &answer, out))?;
        if skipped > 0 {
            let (shown, all) = (count(shown.len() as u64), count(answer.findings.len() as u64));
            out.line("")?;
            out.line(format_args!("the {shown} latest of {all} shown; --limit 0 shows all"))?;
        }
    }
    if answer.findings.is_empty() {
        out.note(nothing(args, &answer, context));
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

/// Whether that is a bare name of a capture file of the data directory.
pub(super) fn is_own(file: &Path, layout: &Layout) -> bool {
    let bare = file.file_name().filter(|name| Path::new(name) == file).and_then(|name| name.to_str());
    let Some((name, _)) = bare.and_then(CaptureName::parse) else { return false };
    !file.exists() || layout.open_capture(&RealFs::default(), name).is_ok()
}

fn recorded_findings(args: &SuspiciousArgs, layout: &Layout) -> Result<Answer> {
    let fs = RealFs::default();
    let entries = read_ledger(&layout.ledger()).map_err(anyhow::Error::msg)?;
    let ledger = || read_ledger(&layout.ledger());
    let View { rows, notes, .. } = Viewer { layout, fs: &fs, ledger: &ledger }.look()?;
    let asked: HashSet<_> = args
        .files
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
        from: there().filter_map(|facts| facts.first).min(),
        to: there().filter_map(|facts| facts.last).max(),
        losses: there().fold(Losses::NONE, |sum, facts| sum + facts.losses),
        captures: there().map(|facts| (facts.name.number(), facts.name)).collect(),
        recorded: true,
        files: Vec::new(),
        notes,
        damaged: false,
    })
}

fn fresh_findings(args: &SuspiciousArgs, layout: &Layout, context: &Context) -> Result<Answer> {
    let settings = settings::analysis(&context.loaded.config).stream;
    let mut found = Found::default();
    let notes = fresh::analyse(layout, &RealFs::default(), &args.files, &settings, &mut found)?;
    Ok(Answer {
        findings: found.findings.into_values().collect(),
        from: found.range.map(|(from, _)| from),
        to: found.range.map(|(_, to)| to),
        losses: Losses::UNKNOWN,
        captures: BTreeMap::new(),
        recorded: false,
        files: if args.files.iter().any(|file| !is_own(file, layout)) {
            args.files.clone()
        } else {
            Vec::new()
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

fn finding_json(finding: &Finding, answer: &Answer) -> Value {
    let mut document = match serde_json::to_value(finding) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let captures: Vec<_> = finding.captures.0.iter().map(|stretch| stretch_json(stretch, answer)).collect();
    document.insert("captures".to_owned(), captures.into());
    Value::Object(document)
}

fn stretch_json(&Stretch(file, first, last): &Stretch, answer: &Answer) -> Value {
    let name = answer.captures.get(&file).map(ToString::to_string);
    let state = match (answer.recorded, &name) {
        (true, None) => Some("evicted"),
        _ => None,
    };
    json!({"index": file, "name": name, "state": state, "first_offset": first, "last_offset": last})
}

/// A finding on a few lines.
fn show(finding: &Finding, answer: &Answer, out: &mut Output) -> Result<()> {
    let Finding { first_seen, last_seen, summary, technique, .. } = finding;
    let (from, to) = (date_time(*first_seen, &Local), end_time(*first_seen, *last_seen, &Local));
    let severity = format!("{:?}", finding.severity).to_uppercase();
    out.line("")?;
    out.line(format_args!("{severity:<6}  {}  {technique}  {from} – {to}", finding.detector))?;
    out.line(format_args!("        {summary}"))?;
    let ends = [&finding.src, &finding.dst].map(|end| end.as_deref().unwrap_or("many"));
    let port = finding.port.map_or_else(String::new, |port| format!(", port {port}"));
    out.line(format_args!("        {} -> {}{port}", ends[0], ends[1]))?;
    let (observed, threshold) = (number(finding.observed), number(finding.threshold));
    let times = count(finding.count);
    out.line(format_args!("        observed {observed}, threshold {threshold}; counted {times}"))?;
    out.line(format_args!("        filter  {}", finding.filter))?;
    let gone = |stretch: &Stretch| answer.recorded && !answer.captures.contains_key(&stretch.0);
    let evicted = finding.captures.0.iter().filter(|stretch| gone(stretch)).count();
    match (answer.recorded, evicted, finding.captures.0.len()) {
        (_, _, 0) => {}
        (false, ..) if answer.files.is_empty() => {}
        (false, ..) => out.line(format_args!("        packets {}", extraction(finding, &answer.files)))?,
        (true, gone, all) if gone == all => out.line("        packets evicted")?,
        (true, gone, _) => {
            let partly = if gone > 0 { "  (some evicted)" } else { "" };
            out.line(format_args!("        packets {}{partly}", extraction(finding, &[])))?;
        }
    }
    Ok(())
}

/// The command that extracts a finding's packets; from files elsewhere it names all of them, for only so it is the same finding.
fn extraction(finding: &Finding, files: &[PathBuf]) -> String {
    let files: String = files.iter().map(|file| format!("--file {} ", for_shell(file))).collect();
    format!("tapkeep extract {files}--finding {}", finding.id)
}

/// A path as a shell takes it.
fn for_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn nothing(args: &SuspiciousArgs, answer: &Answer, context: &Context) -> String {
    let place = if answer.recorded {
        format!("{} ({})", context.data_dir.path.display(), context.why)
    } else {
        "these files".to_owned()
    };
    let all = if args.all { "" } else { "; --all shows those of severity info" };
    format!("nothing suspicious in {place}{all}")
}
