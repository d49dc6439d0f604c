//! `tapkeep flows`: flow records, filtered; as a table or in a format of other tools; followed live; asked in SQL.

mod follow;
mod reach;
mod sql;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use super::ask::{self, TABLE_LIMIT};
use super::filter::{Ends, FilterArgs};
use super::format::{FormatArgs, Kind, Lines, Row};
use super::output::{Exit, Output};
use super::progress::Waiting;
use super::sort::{Place, Rank, SortArgs};
use super::table::{Align, Cell, Table, bytes, counted, duration};
use super::tail::TailArgs;
use super::time::{RangeArgs, date_time};
use super::zone::Here;
use super::{Context, absence, settings};
use crate::config::units::ByteSize;
use crate::detect::Finding;
use crate::detect::stream::Sink;
use crate::flow::record::FlowRecord;
use crate::index;
use crate::index::flows::{FlowLook, FlowQuestion, Item, flows_of};
use crate::index::fresh;
use crate::packet;
use crate::packet::addr::Addr;
use crate::store::layout::Layout;
use crate::store::range::TimeRange;
use crate::sys::clock::{Clock, RealClock};
use crate::sys::fs::RealFs;
use reach::Reach;

/// What flow records can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Key {
    /// Bytes of both directions
    #[default]
    Bytes,
    /// Packets of both directions
    Packets,
    /// Bytes that the source sent
    Sent,
    /// Bytes that the source received
    Received,
    /// First packet
    Start,
    /// Last packet, the latest first
    End,
    /// From the first packet to the last
    Lasted,
}

impl Key {
    fn rank(self, record: &FlowRecord) -> Rank {
        match self {
            Self::Bytes => Rank::number(total_bytes(record)),
            Self::Packets => Rank::number(record.orig_packets + record.resp_packets),
            Self::Sent => Rank::number(record.orig_bytes),
            Self::Received => Rank::number(record.resp_bytes),
            Self::Start => Rank::Time(record.start),
            Self::End => Rank::latest(record.end),
            Self::Lasted => Rank::number(lasted(record)),
        }
    }
}

/// What `flows` is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
A long flow has a record every five minutes (part 0, 1, 2 …). Without FILE the records of the data
directory answer; a capture file is analysed, a .jsonb file is read.

Examples:
  tapkeep flows --last 1h --host 10.0.0.7 --app tls
  tapkeep flows --last 1d --sort lasted --limit 5
  tapkeep flows --community-id 1:wCb3OG7yAFWelaUydu0D+125CLM= --json
  tapkeep flows --follow --port 22
  tapkeep flows --follow --format ecs --cursor-file flows.cursor >> flows.ndjson
  tapkeep flows suspect.pcap --csv > flows.csv
  tapkeep flows --sql \"SELECT app, sum(orig_bytes + resp_bytes) AS bytes FROM flows GROUP BY app\"")]
pub(super) struct FlowsArgs {
    /// Capture files (analysed afresh) or flow files [default: the records of the data directory]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    range: RangeArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// Only this flow; repeatable
    #[arg(long, value_name = "FLOW_ID")]
    flow: Vec<String>,
    /// Only with this finding; repeatable
    #[arg(long, value_name = "ID")]
    finding: Vec<String>,
    /// Only records of at least so many bytes in both directions: 500000, 500kB, 1MiB
    #[arg(long, value_name = "BYTES", value_parser = size)]
    min_bytes: Option<u64>,
    #[command(flatten)]
    sort: SortArgs<Key>,
    #[command(flatten)]
    tail: TailArgs,
    /// Answer this query over the table flows, whose columns are the keys of a flow record
    #[arg(long, value_name = "SELECT", conflicts_with_all = [
        "follow", "cursor_file", "host", "net", "port", "proto", "app", "community_id", "flow", "finding", "min_bytes",
        "sort", "reverse",
    ])]
    sql: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
    /// Show only the first N of that order, or with --sql the first N rows; 0 = all [default: 20 in a table, with --sql 1000; all
    /// in other formats]
    #[arg(long, value_name = "N", value_parser = absence::rows, allow_negative_numbers = true)]
    limit: Option<usize>,
}

pub(super) fn flows(args: &FlowsArgs, context: &Context, out: &mut Output) -> Result<Exit> {
    let (layout, fs) = (Layout::new(&context.data_dir.path), RealFs::default());
    if args.tail.is_asked() {
        return follow::follow(args, &layout, &fs, out);
    }
    let now = RealClock.now();
    let range = args.range.resolve(now.wall, &Here)?;
    if let Some(query) = &args.sql {
        return sql::answer(query, args, range, context, out);
    }
    let waiting = Waiting::new("reading flows", out);
    let waiting = if args.streams() && out.is_terminal() { waiting.without_bar() } else { waiting };
    let watch = |at| waiting.at(at);
    let question = FlowQuestion {
        layout: &layout,
        fs: &fs,
        range,
        needles: args.needles(),
        begun: if let [one] = &args.flow[..] { index::flows::place_of(one) } else { None },
        without: HashSet::new(),
        watch: &watch,
    };
    let reach = args.files.is_empty().then(|| Reach::of(range, context));
    let mut answer = Answer::new(args, range, out);
    answer.begin()?;
    let look = gather(args, &question, context, &mut answer)?;
    waiting.over()?;
    let (matched, folded) = answer.finish(reach.as_ref())?;
    for note in &look.notes {
        out.note(note);
    }
    if matched == 0 {
        out.note(nothing(args, range, context, look.damaged));
        args.ids_told_by().for_each(|hint| out.note(hint));
    }
    if folded > 0 {
        out.note(self::folded(folded));
    }
    if let Some(missing) = reach.and_then(|reach| reach.missing()) {
        out.note(missing);
    }
    Ok(match matched {
        _ if look.damaged => Exit::Damaged,
        0 if range.is_bounded() || args.is_filtered() => Exit::NothingLeft,
        _ => Exit::Ok,
    })
}

/// What is said of flows that are no records.
fn folded(n: u64) -> String {
    format!("{} of one packet were only counted (flows.fold)", counted(n, "more flow"))
}

/// Why there is nothing to show.
fn nothing(args: &FlowsArgs, range: TimeRange, context: &Context, damaged: bool) -> String {
    let what = match () {
        () if args.sql.is_some() => "rows",
        () if args.is_filtered() => "flow records that fit",
        () => "flow records",
    };
    if !args.files.is_empty() {
        return absence::nothing(what, range, absence::readable("these files", damaged), None);
    }
    absence::nothing_kept(what, range, (&context.data_dir, damaged), Reach::of(range, context).kept())
}

fn size(text: &str) -> Result<u64, String> {
    let size = ByteSize::parse(text, Some(1)).map(|size| size.0);
    size.ok_or_else(|| "not a size; 500000, 500kB and 1MiB are".to_owned())
}

/// Where a flow file is: a bare name is one of the data directory's, if that has it.
fn flow_file(layout: &Layout, path: &Path) -> PathBuf {
    let bare = path.file_name().filter(|name| Path::new(name) == path);
    let own = bare.map(|name| [layout.flows().join(name), layout.root().join(name)]);
    own.into_iter().flatten().find(|own| own.is_file()).unwrap_or_else(|| path.to_owned())
}

fn is_flow_file(path: &&PathBuf) -> bool {
    path.extension().is_some_and(|extension| extension == "jsonb")
}

impl FlowsArgs {
    pub(super) fn is_filtered(&self) -> bool {
        let words = self.flow.len() + self.finding.len();
        !self.filter.is_empty() || words > 0 || self.min_bytes.is_some()
    }

    /// Where the ids come from that were asked for.
    fn ids_told_by(&self) -> impl Iterator<Item = &'static str> {
        let flow =
            (!self.flow.is_empty()).then_some("`tapkeep flows` tells the ids of flows, in the last column");
        let finding =
            (!self.finding.is_empty()).then_some("`tapkeep suspicious --all` tells the ids of findings");
        flow.into_iter().chain(finding)
    }

    /// Whether records are printed as they come.
    fn streams(&self) -> bool {
        self.format.get().is_some() && matches!(self.limit, None | Some(0)) && !self.sort.is_asked()
    }

    /// Texts of which a record that fits holds at least one.
    fn needles(&self) -> Vec<String> {
        let Self { flow, finding, filter, .. } = self;
        let texts = |words: &dyn Fn() -> Vec<String>| Some(words()).filter(|words| !words.is_empty());
        texts(&|| flow.clone())
            .or_else(|| texts(&|| finding.clone()))
            .or_else(|| texts(&|| filter.community_id.iter().map(ToString::to_string).collect()))
            .or_else(|| texts(&|| filter.host.iter().map(ToString::to_string).collect()))
            .unwrap_or_default()
    }

    fn fits(&self, record: &FlowRecord) -> bool {
        let ends = Ends {
            addrs: (record.src_ip, record.dst_ip),
            ports: record.src_port.zip(record.dst_port),
            proto: record.proto,
            app: record.app.as_deref(),
        };
        (self.flow.is_empty() || self.flow.contains(&record.flow_id))
            && (self.finding.is_empty() || self.finding.iter().any(|id| record.findings.contains(id)))
            && self.min_bytes.is_none_or(|least| total_bytes(record) >= least)
            && self.filter.matches(&ends, || record.community_id.as_deref()?.parse().ok())
    }
}

/// Milliseconds from the first packet to the last.
fn lasted(record: &FlowRecord) -> u64 {
    u64::try_from((record.end - record.start) / 1_000_000).unwrap_or(0)
}

fn total_bytes(record: &FlowRecord) -> u64 {
    record.orig_bytes + record.resp_bytes
}

/// Hands every record asked about to the answer.
fn gather(
    args: &FlowsArgs,
    question: &FlowQuestion<'_>,
    context: &Context,
    answer: &mut Answer<'_>,
) -> Result<FlowLook> {
    if args.files.is_empty() {
        let dir = question.layout.root().display();
        return index::flows::flows(question, |item| answer.take(item))
            .with_context(|| format!("list {dir}"));
    }
    let mut look = FlowLook::default();
    for path in args.files.iter().filter(is_flow_file) {
        let found = flows_of(question, &flow_file(question.layout, path), |item| answer.take(item));
        let found = found.with_context(|| format!("read {}", path.display()))?;
        look.damaged |= found.damaged;
        look.notes.extend(found.notes);
    }
    let captures: Vec<_> = args.files.iter().filter(|path| !is_flow_file(path)).cloned().collect();
    if !captures.is_empty() {
        let settings = settings::analysis(&context.loaded.config).stream;
        let notes =
            fresh::analyse(question.layout, question.fs, &captures, &settings, answer, question.watch)?;
        look.damaged |= !notes.is_empty();
        look.notes.extend(notes);
    }
    Ok(look)
}

/// The order of records of one rank: as the flows began, ids that are none of ours as texts.
type FlowOrder = (Option<packet::Place>, String, u32);

/// What has been found, printed as it comes or kept for the table.
struct Answer<'a> {
    args: &'a FlowsArgs,
    /// None for a table.
    lines: Option<Lines>,
    range: TimeRange,
    out: &'a mut Output,
    /// The first records of the order asked for.
    first: BTreeMap<(Place, FlowOrder), FlowRecord>,
    limit: usize,
    matched: u64,
    /// Of those that matched, in both directions.
    bytes: u64,
    folded: u64,
    failed: Option<std::io::Error>,
}

impl<'a> Answer<'a> {
    fn new(args: &'a FlowsArgs, range: TimeRange, out: &'a mut Output) -> Self {
        let limit = match args.limit {
            Some(0) => usize::MAX,
            Some(limit) => limit,
            None if args.format.get().is_some() => usize::MAX,
            None => TABLE_LIMIT,
        };
        let first = BTreeMap::new();
        let lines = args.format.get().map(|format| Lines::new(format, Kind::Flows));
        Self { args, lines, range, out, first, limit, matched: 0, bytes: 0, folded: 0, failed: None }
    }

    fn begin(&mut self) -> Result<()> {
        if let Some(lines) = &self.lines {
            lines.head(self.out)?;
        }
        Ok(())
    }

    /// Takes what was found; `false` if there is no use in more.
    fn take(&mut self, item: Item) -> bool {
        match item {
            Item::Record(record) => self.record(*record),
            Item::Fold(fold) => self.folded += fold.flows,
        }
        self.failed.is_none()
    }

    fn record(&mut self, record: FlowRecord) {
        if !self.range.touches(record.start, record.end) || !self.args.fits(&record) {
            return;
        }
        self.matched += 1;
        self.bytes += total_bytes(&record);
        if self.args.streams() {
            if let Err(error) = self.print(&record) {
                self.failed.get_or_insert(error);
            }
            return;
        }
        let place = self.args.sort.place(self.args.sort.key().rank(&record));
        let order = (record.id(), record.flow_id.clone(), record.part);
        self.first.insert((place, order), record);
        if self.first.len() > self.limit {
            self.first.pop_last();
        }
    }

    fn print(&mut self, record: &FlowRecord) -> std::io::Result<()> {
        self.lines.as_ref().map_or(Ok(()), |lines| lines.row(Row::Flow(record), self.out))
    }

    /// Prints what was kept; tells how many records fitted, and how many flows were only counted.
    fn finish(mut self, reach: Option<&Reach<'_>>) -> Result<(u64, u64)> {
        let records: Vec<_> = std::mem::take(&mut self.first).into_values().collect();
        if self.lines.is_some() {
            records.iter().try_for_each(|record| self.print(record))?;
        } else if self.matched > 0 {
            let zone = Here.name(records.iter().flat_map(|record| [record.start, record.end]));
            let (matched, bytes) = (counted(self.matched, "flow record"), bytes(self.bytes));
            self.out.line(format_args!(
                "{matched}, {bytes}{}; times in {zone}",
                reach.map(Reach::head).unwrap_or_default()
            ))?;
            self.out.table(&table(&records))?;
            if (records.len() as u64) < self.matched {
                self.out
                    .line(absence::cut(records.len(), usize::try_from(self.matched).unwrap_or(usize::MAX)))?;
            }
        }
        self.failed.map_or(Ok((self.matched, self.folded)), |error| Err(error.into()))
    }
}

impl fresh::Sink for Answer<'_> {}

impl Sink for Answer<'_> {
    fn record(&mut self, record: FlowRecord) {
        Answer::record(self, record);
    }

    fn finding(&mut self, _: Finding) {}
}

fn table(records: &[FlowRecord]) -> Table {
    let mut table = Table::new(&[
        ("START", Align::Left),
        ("LASTED", Align::Right),
        ("SOURCE", Align::Left),
        ("DESTINATION", Align::Left),
        ("VLAN", Align::Right),
        ("PROTO", Align::Left),
        ("APP", Align::Left),
        ("SENT", Align::Right),
        ("RECEIVED", Align::Right),
        ("STATE", Align::Left),
        ("FLOW", Align::Left),
        ("", Align::Left),
    ]);
    for record in records {
        table.row(vec![
            date_time(record.start, &Here).into(),
            duration(lasted(record)).into(),
            Cell::address(end_text(record.src_ip, record.src_port)),
            Cell::address(end_text(record.dst_ip, record.dst_port)),
            ask::vlan_text(record.vlan).into(),
            proto_text(record).into(),
            record.app.as_deref().unwrap_or("").into(),
            bytes(record.orig_bytes).into(),
            bytes(record.resp_bytes).into(),
            state_text(record).into(),
            record.flow_id.as_str().into(),
            name_of(record).into(),
        ]);
    }
    table
}

/// The name that tells a person most: what the client asked for.
fn name_of(record: &FlowRecord) -> &str {
    [&record.sni, &record.http_host, &record.dns_query]
        .into_iter()
        .flatten()
        .next()
        .map_or("", String::as_str)
}

fn proto_text(record: &FlowRecord) -> String {
    record.transport.as_deref().map_or_else(|| record.proto.to_string(), str::to_owned)
}

fn state_text(record: &FlowRecord) -> String {
    record.conn_state.map_or_else(String::new, |state| format!("{state:?}"))
}

/// An address and its port, as in a URL.
pub(super) fn end_text(addr: Addr, port: Option<u16>) -> String {
    match port {
        Some(port) if addr.is_v4() => format!("{addr}:{port}"),
        Some(port) => format!("[{addr}]:{port}"),
        None => addr.to_string(),
    }
}
