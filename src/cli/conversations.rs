//! `tapkeep conversations`: who talks to whom, both directions; one row per five-tuple and VLAN.

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Context;
use super::ask::{self, AskArgs};
use super::filter::{Ends, FilterArgs};
use super::output::{Exit, Output};
use super::sort::{Rank, SortArgs};
use super::table::{Align, Cell, Table, bytes, count};
use super::time::date_time;
use super::zone::Here;
use crate::flow::key::{FlowKey, Numbers};
use crate::flow::record::transport_name;
use crate::flow::summary::{Rows, Talk, Wanted};
use crate::packet::addr::Addr;
use crate::store::facts::rfc3339;

/// What conversations can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Key {
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
    First,
    /// Last packet, the latest first
    Last,
}

/// What `conversations` is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
The source is who sent the first packet. All parts of a long flow, and flows that used the same
ports again, are one row.

Examples:
  tapkeep conversations --last 1h --host 10.0.0.7
  tapkeep conversations --last 10m --sort last
  tapkeep conversations suspect.pcap --port 443 --json")]
pub(super) struct ConversationsArgs {
    #[command(flatten)]
    ask: AskArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    sort: SortArgs<Key>,
}

impl ConversationsArgs {
    pub(super) fn json(&self) -> bool {
        self.ask.json
    }
}

pub(super) fn empty() -> Value {
    ask::empty("conversations", false)
}

pub(super) fn conversations(args: &ConversationsArgs, context: &Context, out: &mut Output) -> Result<Exit> {
    let wanted = Wanted { conversations: true, ..Wanted::default() };
    let asked = args.ask.ask(wanted, args.filter.probes(), context, out)?;
    let found = asked.analysis.merged.conversations();
    let exact = found.is_exact();
    let rows = sorted(found, |row| fits(&args.filter, row), args.sort);
    if args.ask.json {
        let shown = args.ask.rows_of_json(rows.len());
        let rows: Vec<_> = rows[..shown].iter().map(row_json).collect();
        out.json(&asked.json(json!({"conversations": rows})))?;
    }
    if asked.has_rows(rows.len(), "conversations", out) && !args.ask.json {
        asked.head("Conversations", out)?;
        let shown = args.ask.rows_of_table(rows.len());
        out.table(&table(&rows[..shown], asked.whole()))?;
        asked.foot(shown, rows.len(), exact, out)?;
    }
    Ok(asked.exit(rows.len(), !args.filter.is_empty()))
}

/// A conversation.
pub(super) type Row = (FlowKey, Talk);

/// Those that fit, in this order, ties by key.
pub(super) fn sorted(
    found: Rows<FlowKey, Talk>,
    fits: impl Fn(&Row) -> bool,
    order: SortArgs<Key>,
) -> Vec<Row> {
    let mut rows: Vec<_> = found.rows.into_iter().filter(fits).collect();
    rows.sort_by_key(|(key, _)| *key);
    order.sort(&mut rows, |by, (_, talk)| -> Rank {
        match by {
            Key::Bytes => Rank::number(talk.total().bytes),
            Key::Packets => Rank::number(talk.total().packets),
            Key::Sent => Rank::number(talk.orig.bytes),
            Key::Received => Rank::number(talk.resp.bytes),
            Key::First => Rank::Time(talk.first),
            Key::Last => Rank::latest(talk.last),
        }
    });
    rows
}

fn fits(filter: &FilterArgs, (key, talk): &Row) -> bool {
    let ends = Ends {
        addrs: (key.a.0, key.b.0),
        ports: (key.numbers == Numbers::Ports).then_some((key.a.1, key.b.1)),
        proto: key.proto,
        app: talk.app.map(|(app, _)| app.name()),
    };
    filter.matches(&ends, || talk.community_id(key))
}

fn row_json((key, talk): &Row) -> Value {
    let (src, dst) = talk.ends(key);
    let port = |port: u16| (key.numbers == Numbers::Ports).then_some(port);
    let mut row = json!({
        "src_ip": src.0.to_string(),
        "src_port": port(src.1),
        "dst_ip": dst.0.to_string(),
        "dst_port": port(dst.1),
        "proto": key.proto,
        "orig_packets": talk.orig.packets,
        "orig_bytes": talk.orig.bytes,
        "resp_packets": talk.resp.packets,
        "resp_bytes": talk.resp.bytes,
        "community_id": talk.community_id(key).map(|id| id.to_string()),
        "vlan": ask::vlan_json(key.vlan),
        "app": talk.app.map(|(app, _)| app.name()),
        "app_basis": talk.app.map(|(_, basis)| basis),
        "first": rfc3339(talk.first),
        "last": rfc3339(talk.last),
    });
    ask::add_error(&mut row, talk.error);
    row
}

/// An end of a conversation: its address, and its port if it has one.
pub(super) fn end_text(key: &FlowKey, (addr, port): (Addr, u16)) -> String {
    match key.numbers {
        Numbers::Ports if addr.is_v4() => format!("{addr}:{port}"),
        Numbers::Ports => format!("[{addr}]:{port}"),
        _ => addr.to_string(),
    }
}

/// `whole` is what all came to, if anybody knows.
fn table(rows: &[Row], whole: Option<u64>) -> Table {
    let mut table = Table::new(&[
        ("SOURCE", Align::Left),
        ("DESTINATION", Align::Left),
        ("VLAN", Align::Right),
        ("PROTO", Align::Left),
        ("APP", Align::Left),
        ("SENT", Align::Right),
        ("", Align::Right),
        ("RECEIVED", Align::Right),
        ("", Align::Right),
        ("±", Align::Right),
        ("SHARE", Align::Right),
        ("", Align::Left),
        ("FIRST", Align::Left),
    ])
    .with_spare(11);
    for (key, talk) in rows {
        let (src, dst) = talk.ends(key);
        let end = |end| Cell::address(end_text(key, end));
        let bytes_of_both = talk.total().bytes;
        table.row(vec![
            end(src),
            end(dst),
            ask::vlan_text(key.vlan).into(),
            transport_name(key.proto).into(),
            talk.app.map_or("", |(app, _)| app.name()).into(),
            count(talk.orig.packets).into(),
            bytes(talk.orig.bytes).into(),
            count(talk.resp.packets).into(),
            bytes(talk.resp.bytes).into(),
            ask::error_text(talk.error).into(),
            ask::share_text(bytes_of_both, whole).into(),
            ask::share_bar(bytes_of_both, whole).into(),
            date_time(talk.first, &Here).into(),
        ]);
    }
    table
}
