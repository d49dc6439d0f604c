//! `tapkeep conversations`: who talks to whom, both directions; one row per five-tuple and VLAN.

use std::cmp::Reverse;

use anyhow::Result;
use chrono::Local;
use clap::Args;
use serde_json::{Value, json};

use super::Context;
use super::ask::{self, AskArgs};
use super::filter::{Ends, FilterArgs};
use super::output::{Exit, Output};
use super::table::{Align, Table, bytes, count};
use super::time::date_time;
use crate::flow::key::{FlowKey, Numbers};
use crate::flow::record::transport_name;
use crate::flow::summary::{Talk, Wanted};
use crate::store::facts::rfc3339;

/// What `conversations` is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
The source is who sent the first packet. All parts of a long flow, and flows that used the same ports
again, are one row.

Examples:
  tapkeep conversations --last 1h --host 10.0.0.7
  tapkeep conversations suspect.pcap --port 443 --json")]
pub(super) struct ConversationsArgs {
    #[command(flatten)]
    ask: AskArgs,
    #[command(flatten)]
    filter: FilterArgs,
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
    let mut rows: Vec<_> = found.rows.into_iter().filter(|row| fits(&args.filter, row)).collect();
    rows.sort_by_key(|(key, talk)| (Reverse(talk.total().bytes), *key));
    if args.ask.json {
        let shown = args.ask.rows_of_json(rows.len());
        let rows: Vec<_> = rows[..shown].iter().map(row_json).collect();
        out.json(&asked.json(json!({"conversations": rows})))?;
    }
    if asked.has_packets(out) && !args.ask.json {
        asked.head("Conversations", out)?;
        let shown = args.ask.rows_of_table(rows.len());
        out.table(&table(&rows[..shown]))?;
        asked.foot(shown, rows.len(), exact, out)?;
    }
    Ok(asked.exit(rows.len(), !args.filter.is_empty()))
}

fn fits(filter: &FilterArgs, (key, talk): &(FlowKey, Talk)) -> bool {
    let ends = Ends {
        addrs: (key.a.0, key.b.0),
        ports: (key.numbers == Numbers::Ports).then_some((key.a.1, key.b.1)),
        proto: key.proto,
        app: talk.app.map(|(app, _)| app.name()),
    };
    filter.matches(&ends, || talk.community_id(key))
}

fn row_json((key, talk): &(FlowKey, Talk)) -> Value {
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

fn table(rows: &[(FlowKey, Talk)]) -> Table {
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
        ("FIRST", Align::Left),
    ]);
    for (key, talk) in rows {
        let (src, dst) = talk.ends(key);
        let end = |(addr, port): (crate::packet::addr::Addr, u16)| match key.numbers {
            Numbers::Ports if addr.is_v4() => format!("{addr}:{port}"),
            Numbers::Ports => format!("[{addr}]:{port}"),
            _ => addr.to_string(),
        };
        table.row(vec![
            end(src).into(),
            end(dst).into(),
            ask::vlan_text(key.vlan).into(),
            transport_name(key.proto).into(),
            talk.app.map_or("", |(app, _)| app.name()).into(),
            count(talk.orig.packets).into(),
            bytes(talk.orig.bytes).into(),
            count(talk.resp.packets).into(),
            bytes(talk.resp.bytes).into(),
            ask::error_text(talk.error).into(),
            date_time(talk.first, &Local).into(),
        ]);
    }
    table
}
