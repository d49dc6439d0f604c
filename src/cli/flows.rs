//! `tapkeep flows`: flow records, filtered; as a table, JSON lines or CSV; followed live; asked in SQL.

mod csv;
mod follow;
mod reach;
mod sql;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use chrono::Local;
use clap::Args;

use super::ask::{self, TABLE_LIMIT};
use super::filter::{Ends, FilterArgs};
use super::output::{Exit, Output};
use super::table::{Align, Table, bytes, count, counted, duration};
use super::time::{RangeArgs, date_time, zone_name};
use super::{Context, settings};
use crate::detect::Finding;
use crate::detect::stream::Sink;
use crate::flow::record::FlowRecord;
use crate::index;
use crate::index::flow_table::KEYS;
use crate::index::flows::{FlowLook, FlowQuestion, Item, flows_of};
use crate::index::fresh;
use crate::packet::addr::Addr;
use crate::store::layout::Layout;
use crate::store::range::TimeRange;
use crate::sys::clock::{Clock, RealClock};
use crate::sys::fs::RealFs;
use reach::Reach;

/// What `flows` is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
A long flow has a record every five minutes (part 0, 1, 2 …). Without FILE the records of the data directory
answer; a capture file is analysed, a .jsonb file is read.

Examples:
  tapkeep flows --last 1h --host 10.0.0.7 --app tls
  tapkeep flows --community-id 1:wCb3OG7yAFWelaUydu0D+125CLM= --json
  tapkeep flows --follow --port 22
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
    /// Only records of at least so many bytes in both directions
    #[arg(long, value_name = "BYTES")]
    min_bytes: Option<u64>,
    /// Go on with what comes, until interrupted
    #[arg(long, conflicts_with_all = ["files", "since", "until", "last", "limit"])]
    follow: bool,
    /// Answer this query over the table flows, whose columns are the keys of a flow record
    #[arg(long, value_name = "SELECT", conflicts_with_all = [
        "follow", "host", "net", "port", "proto", "app", "community_id", "flow", "finding", "min_bytes",
    ])]
    sql: Option<String>,
    /// Print a JSON document a line
    #[arg(long)]
    json: bool,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Show only the N largest, or with --sql the first N rows; 0 = all [default: 20 in a table, with --sql 1000; all in JSON and
    /// CSV]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

pub(super) fn flows(args: &FlowsArgs, context: &Context, out: &mut Output) -> Result<Exit> {
    let (layout, fs) = (Layout::new(&context.data_dir.path), RealFs::default());
    if args.follow {
        return follow::follow(args, &layout, &fs, out);
    }
    let now = RealClock.now();
    let range = args.range.resolve(now.wall, &Local)?;
    if let Some(query) = &args.sql {
        return sql::answer(query, args, range, context, out);
    }
    let question = FlowQuestion {
        layout: &layout,
        fs: &fs,
        range,
        needles: args.needles(),
        begun: if let [one] = &args.flow[..] { index::flows::place_of(one) } else { None },
        without: HashSet::new(),
    };
    let reach = args.files.is_empty().then(|| Reach::of(range, context));
    let mut answer = Answer::new(args, range, out);
    answer.begin()?;
    let look = gather(args, &question, context, &mut answer)?;
    let (matched, folded) = answer.finish(reach.as_ref())?;
    for note in &look.notes {
        out.note(note);
    }
    if matched == 0 {
        out.note(nothing(args, range, context, &fs));
    }
    if folded > 0 {
        out.note(format_args!(
            "{} of one packet were only counted (flows.fold)",
            counted(folded, "more flow")
        ));
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

/// Why there is nothing to show.
fn nothing(args: &FlowsArgs, range: TimeRange, context: &Context, fs: &RealFs) -> String {
    let narrowed = args.is_filtered() || range.is_bounded() || args.sql.is_some();
    let what = match () {
        () if args.sql.is_some() => "no rows",
        () if narrowed => "no flow records fit",
        () => "no flow records",
    };
    if !args.files.is_empty() {
        return format!("{what} in these files");
    }
    let dir = format!("{} ({})", context.data_dir.path.display(), context.why);
    let oldest = index::flows::oldest(fs, &Layout::new(&context.data_dir.path)).ok().flatten();
    match oldest {
        Some(oldest) => {
            format!("{what} in {dir}; its oldest flow record begins {}", date_time(oldest, &Local))
        }
        None if narrowed => format!("{what} in {dir}; it has no flow records"),
        None => format!("{what} in {dir}"),
    }
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
        let notes = fresh::analyse(question.layout, question.fs, &captures, &settings, answer)?;
        look.damaged |= !notes.is_empty();
        look.notes.extend(notes);
    }
    Ok(look)
}

/// What has been found, printed as it comes or kept for the table.
struct Answer<'a> {
    args: &'a FlowsArgs,
    range: TimeRange,
    out: &'a mut Output,
    /// The largest records, smallest first.
    largest: BTreeMap<(u64, Reverse<String>, Reverse<u32>), FlowRecord>,
    limit: usize,
    matched: u64,
    folded: u64,
    failed: Option<std::io::Error>,
}

impl<'a> Answer<'a> {
    fn new(args: &'a FlowsArgs, range: TimeRange, out: &'a mut Output) -> Self {
        let limit = match args.limit {
            Some(0) => usize::MAX,
            Some(limit) => limit,
            None if args.json || args.csv => usize::MAX,
            None => TABLE_LIMIT,
        };
        let largest = BTreeMap::new();
        Self { args, range, out, largest, limit, matched: 0, folded: 0, failed: None }
    }

    /// Whether records are printed as they come.
    fn is_stream(&self) -> bool {
        (self.args.json || self.args.csv) && self.limit == usize::MAX
    }

    fn begin(&mut self) -> Result<()> {
        if self.args.csv {
            self.out.line(KEYS.join(","))?;
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
        if self.is_stream() {
            if let Err(error) = self.print(&record) {
                self.failed.get_or_insert(error);
            }
            return;
        }
        let key = (total_bytes(&record), Reverse(record.flow_id.clone()), Reverse(record.part));
        self.largest.insert(key, record);
        if self.largest.len() > self.limit {
            self.largest.pop_first();
        }
    }

    fn print(&mut self, record: &FlowRecord) -> std::io::Result<()> {
        if self.args.csv { self.out.line(csv::record(record)) } else { self.out.json(record) }
    }

    /// Prints what was kept; tells how many records fitted, and how many flows were only counted.
    fn finish(mut self, reach: Option<&Reach<'_>>) -> Result<(u64, u64)> {
        let records: Vec<_> = std::mem::take(&mut self.largest).into_values().rev().collect();
        if self.args.json || self.args.csv {
            records.iter().try_for_each(|record| self.print(record))?;
        } else if self.matched > 0 {
            let now = RealClock.now().wall;
            let zone = zone_name(now, &Local, std::env::var("TZ").ok());
            let matched = counted(self.matched, "flow record");
            self.out.line(format_args!(
                "{matched}{}; times in {zone}",
                reach.map(Reach::head).unwrap_or_default()
            ))?;
            self.out.table(&table(&records))?;
            if (records.len() as u64) < self.matched {
                let (shown, all) = (count(records.len() as u64), count(self.matched));
                self.out.line(format_args!("the {shown} largest of {all} shown; --limit 0 shows all"))?;
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
        let lasted = u64::try_from((record.end - record.start) / 1_000_000).unwrap_or(0);
        table.row(vec![
            date_time(record.start, &Local).into(),
            duration(lasted).into(),
            end_text(record.src_ip, record.src_port).into(),
            end_text(record.dst_ip, record.dst_port).into(),
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
