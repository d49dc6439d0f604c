//! `tapkeep protocols`: the protocol tree, packets and bytes at every level.

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Context;
use super::ask::{self, AskArgs};
use super::output::{Exit, Output};
use super::sort::{Rank, SortArgs};
use super::table::{Align, Table, bytes, count};
use crate::flow::summary::{Count, Wanted};
use crate::packet::level::Path;

/// What the protocols of one level can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Key {
    /// Bytes
    #[default]
    Bytes,
    /// Packets
    Packets,
    /// Name
    Name,
}

/// What `protocols` is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
A frame counts once at every level of its path; at an application only if it carries payload and
the application is known by then. Unknown payload is data.

Examples:
  tapkeep protocols --last 1h
  tapkeep protocols suspect.pcapng --json")]
pub(super) struct ProtocolsArgs {
    #[command(flatten)]
    ask: AskArgs,
    #[command(flatten)]
    sort: SortArgs<Key>,
}

impl ProtocolsArgs {
    pub(super) fn json(&self) -> bool {
        self.ask.json
    }
}

pub(super) fn empty() -> Value {
    ask::empty("protocols", true)
}

pub(super) fn protocols(args: &ProtocolsArgs, context: &Context, out: &mut Output) -> Result<Exit> {
    let wanted = Wanted { protocols: true, ..Wanted::default() };
    let asked = args.ask.ask(wanted, Vec::new(), context, out)?;
    let nodes = asked.analysis.merged.protocols();
    let total = asked.analysis.merged.total();
    let tree = as_tree(&nodes.rows, args.sort);
    if args.ask.json {
        let rows = if args.sort.is_asked() { &tree } else { &nodes.rows };
        let shown = args.ask.rows_of_json(rows.len());
        let rows: Vec<_> = rows[..shown]
            .iter()
            .map(|(path, at)| json!({"path": path.to_string(), "packets": at.packets, "bytes": at.bytes}))
            .collect();
        out.json(&asked.json(json!({"packets": total.packets, "bytes": total.bytes, "protocols": rows})))?;
    }
    if asked.has_rows(tree.len(), "protocols", out) && !args.ask.json {
        asked.head("Protocols", out)?;
        let shown =
            args.ask.limit.filter(|&limit| limit > 0).map_or(tree.len(), |limit| limit.min(tree.len()));
        out.table(&table(&tree[..shown], total))?;
        asked.foot(shown, tree.len(), nodes.is_exact(), out)?;
    }
    Ok(asked.exit(nodes.rows.len(), false))
}

/// Nodes so that each stands below its parent, its siblings in this order.
pub(super) fn as_tree(rows: &[(Path, Count)], order: SortArgs<Key>) -> Vec<(Path, Count)> {
    let mut tree = Vec::with_capacity(rows.len());
    add_children(Path::EMPTY, rows, order, &mut tree);
    tree
}

fn add_children(parent: Path, rows: &[(Path, Count)], order: SortArgs<Key>, tree: &mut Vec<(Path, Count)>) {
    let depth = parent.depth();
    let mut children: Vec<_> =
        rows.iter().filter(|(path, _)| path.depth() == depth + 1 && path.prefix(depth) == parent).collect();
    children.sort_by_key(|(path, _)| *path);
    order.sort(&mut children, |by, (path, at)| match by {
        Key::Bytes => Rank::number(at.bytes),
        Key::Packets => Rank::number(at.packets),
        Key::Name => Rank::Name(name(*path)),
    });
    for (path, at) in children {
        tree.push((*path, *at));
        add_children(*path, rows, order, tree);
    }
}

/// What the deepest level of a path is called.
fn name(path: Path) -> &'static str {
    path.last().map_or("", |level| level.name())
}

fn table(tree: &[(Path, Count)], total: Count) -> Table {
    let mut table = Table::new(&[
        ("PROTOCOL", Align::Left),
        ("PACKETS", Align::Right),
        ("BYTES", Align::Right),
        ("SHARE", Align::Right),
        ("", Align::Left),
    ])
    .with_spare(4);
    for (path, at) in tree {
        let name = name(*path);
        let indent = 2 * path.depth().saturating_sub(1);
        table.row(vec![
            format!("{:indent$}{name}", "").into(),
            count(at.packets).into(),
            bytes(at.bytes).into(),
            ask::share_text(at.bytes, Some(total.bytes)).into(),
            ask::share_bar(at.bytes, Some(total.bytes)).into(),
        ]);
    }
    table
}
