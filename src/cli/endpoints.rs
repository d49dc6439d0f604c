//! `tapkeep endpoints`: addresses by traffic, sent and received.

use std::fmt::Display;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Context;
use super::ask::{self, AskArgs};
use super::output::{Exit, Output};
use super::sort::{Rank, SortArgs};
use super::table::{Align, Cell, Table, bytes, count};
use crate::detect::Net;
use crate::flow::summary::{Rows, Traffic, Wanted};
use crate::packet::addr::Addr;

/// Which addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Layer {
    /// IPv4 and IPv6 addresses of the outermost header
    #[default]
    Ip,
    /// Hardware addresses
    Eth,
}

/// What endpoints can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Key {
    /// Bytes, sent and received
    #[default]
    Bytes,
    /// Packets, sent and received
    Packets,
    /// Bytes sent
    Sent,
    /// Bytes received
    Received,
    /// Address
    Address,
}

/// What `endpoints` is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tapkeep endpoints --last 1h
  tapkeep endpoints --net 192.168.0.0/16 --sort sent --limit 0
  tapkeep endpoints suspect.pcap --layer eth")]
pub(super) struct EndpointsArgs {
    #[command(flatten)]
    ask: AskArgs,
    #[command(flatten)]
    sort: SortArgs<Key>,
    /// Which addresses
    #[arg(long, value_enum, default_value_t)]
    layer: Layer,
    /// Only this address; repeatable
    #[arg(long, value_name = "ADDRESS")]
    host: Vec<std::net::IpAddr>,
    /// Only addresses of this network; repeatable
    #[arg(long, value_name = "NET")]
    net: Vec<Net>,
}

impl EndpointsArgs {
    pub(super) fn json(&self) -> bool {
        self.ask.json
    }

    fn is_filtered(&self) -> bool {
        !self.host.is_empty() || !self.net.is_empty()
    }

    fn fits(&self, addr: Addr) -> bool {
        !self.is_filtered()
            || self.host.iter().any(|&host| Addr::from(host) == addr)
            || self.net.iter().any(|net| net.contains(addr))
    }
}

pub(super) fn empty() -> Value {
    ask::empty("endpoints", false)
}

pub(super) fn endpoints(args: &EndpointsArgs, context: &Context, out: &mut Output) -> Result<Exit> {
    let eth = args.layer == Layer::Eth;
    if eth && args.is_filtered() {
        let what = "--host and --net are about IP addresses; leave --layer eth away".to_owned();
        return Err(super::output::UsageError(what).into());
    }
    let wanted = Wanted { endpoints: !eth, macs: eth, ..Wanted::default() };
    let only = if args.net.is_empty() {
        args.host.iter().map(|&host| Addr::from(host).into()).collect()
    } else {
        vec![]
    };
    let asked = args.ask.ask(wanted, only, context, out)?;
    let (rows, exact) = if eth {
        let macs = asked.analysis.merged.macs();
        (sorted(&macs, |_| true, args.sort), macs.is_exact())
    } else {
        let addrs = asked.analysis.merged.endpoints();
        (sorted(&addrs, |addr| args.fits(addr), args.sort), addrs.is_exact())
    };
    if args.ask.json {
        let shown = args.ask.rows_of_json(rows.len());
        let rows: Vec<_> = rows[..shown].iter().map(row_json).collect();
        out.json(&asked.json(json!({"endpoints": rows})))?;
    }
    if asked.has_rows(rows.len(), "endpoints", out) && !args.ask.json {
        asked.head(if eth { "Hardware addresses" } else { "Endpoints" }, out)?;
        let shown = args.ask.rows_of_table(rows.len());
        out.table(&table(&rows[..shown], asked.whole()))?;
        asked.foot(shown, rows.len(), exact, out)?;
    }
    Ok(asked.exit(rows.len(), args.is_filtered()))
}

/// An address, as it is written, and its traffic.
pub(super) type Row = (String, Traffic);

/// Those that fit, in this order, ties by address.
pub(super) fn sorted<K: Copy + Ord + Display>(
    rows: &Rows<K, Traffic>,
    fits: impl Fn(K) -> bool,
    order: SortArgs<Key>,
) -> Vec<Row> {
    let mut rows: Vec<_> = rows.rows.iter().filter(|(key, _)| fits(*key)).collect();
    rows.sort_by_key(|(key, _)| *key);
    order.sort(&mut rows, |by, (addr, traffic)| match by {
        Key::Bytes => Rank::number(traffic.total().bytes),
        Key::Packets => Rank::number(traffic.total().packets),
        Key::Sent => Rank::number(traffic.tx.bytes),
        Key::Received => Rank::number(traffic.rx.bytes),
        Key::Address => Rank::Name(*addr),
    });
    rows.into_iter().map(|(key, traffic)| (key.to_string(), *traffic)).collect()
}

fn row_json((address, traffic): &Row) -> Value {
    let total = traffic.total();
    let mut row = json!({
        "address": address,
        "packets": total.packets,
        "bytes": total.bytes,
        "tx_packets": traffic.tx.packets,
        "tx_bytes": traffic.tx.bytes,
        "rx_packets": traffic.rx.packets,
        "rx_bytes": traffic.rx.bytes,
    });
    ask::add_error(&mut row, traffic.error);
    row
}

/// `whole` is what all came to, if anybody knows.
fn table(rows: &[Row], whole: Option<u64>) -> Table {
    let mut table = Table::new(&[
        ("ADDRESS", Align::Left),
        ("PACKETS", Align::Right),
        ("BYTES", Align::Right),
        ("±", Align::Right),
        ("SHARE", Align::Right),
        ("", Align::Left),
        ("SENT", Align::Right),
        ("", Align::Right),
        ("RECEIVED", Align::Right),
        ("", Align::Right),
    ])
    .with_spare(5);
    for (address, traffic) in rows {
        let total = traffic.total();
        table.row(vec![
            Cell::address(address),
            count(total.packets).into(),
            bytes(total.bytes).into(),
            ask::error_text(traffic.error).into(),
            ask::share_text(total.bytes, whole).into(),
            ask::share_bar(total.bytes, whole).into(),
            count(traffic.tx.packets).into(),
            bytes(traffic.tx.bytes).into(),
            count(traffic.rx.packets).into(),
            bytes(traffic.rx.bytes).into(),
        ]);
    }
    table
}
