//! `tapkeep protocols`: the protocol tree, packets and bytes at every level.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::Context;
use super::ask::{self, AskArgs};
use super::output::{Exit, Output};
use super::table::{Align, Cell, Look, Table, bytes, count};
use crate::flow::summary::{Count, Wanted};
use crate::packet::level::Path;

/// What `protocols` is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
A frame counts once at every level of its path; at an application only if it carries payload and the
application is known by then. Unknown payload is data.

Examples:
  tapkeep protocols --last 1h
  tapkeep protocols suspect.pcapng --json")]
pub(super) struct ProtocolsArgs {
    #[command(flatten)]
    ask: AskArgs,
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
    if args.ask.json {
        let shown = args.ask.rows_of_json(nodes.rows.len());
        let rows: Vec<_> = nodes.rows[..shown]
            .iter()
            .map(|(path, at)| json!({"path": path.to_string(), "packets": at.packets, "bytes": at.bytes}))
            .collect();
        out.json(&asked.json(json!({"packets": total.packets, "bytes": total.bytes, "protocols": rows})))?;
    }
    if asked.has_packets(out) && !args.ask.json {
        asked.head("Protocols", out)?;
        let tree = as_tree(&nodes.rows);
        let shown =
            args.ask.limit.filter(|&limit| limit > 0).map_or(tree.len(), |limit| limit.min(tree.len()));
        out.table(&table(&tree[..shown], total))?;
        asked.foot(shown, tree.len(), nodes.is_exact(), out)?;
    }
    Ok(asked.exit(nodes.rows.len(), false))
}

/// Nodes so that each stands below its parent, the largest of its siblings first.
fn as_tree(rows: &[(Path, Count)]) -> Vec<(Path, Count)> {
    let mut tree = Vec::with_capacity(rows.len());
    add_children(Path::EMPTY, rows, &mut tree);
    tree
}

fn add_children(parent: Path, rows: &[(Path, Count)], tree: &mut Vec<(Path, Count)>) {
    let depth = parent.depth();
    let mut children: Vec<_> =
        rows.iter().filter(|(path, _)| path.depth() == depth + 1 && path.prefix(depth) == parent).collect();
    children.sort_by_key(|(path, at)| (std::cmp::Reverse(at.bytes), *path));
    for (path, at) in children {
        tree.push((*path, *at));
        add_children(*path, rows, tree);
    }
}

fn table(tree: &[(Path, Count)], total: Count) -> Table {
    let mut table = Table::new(&[
        ("PROTOCOL", Align::Left),
        ("PACKETS", Align::Right),
        ("BYTES", Align::Right),
        ("SHARE", Align::Right),
    ]);
    for (path, at) in tree {
        let name = path.last().map_or("", |level| level.name());
        let indent = 2 * path.depth().saturating_sub(1);
        let share = at.bytes as f64 * 100.0 / total.bytes.max(1) as f64;
        table.row(vec![
            format!("{:indent$}{name}", "").into(),
            count(at.packets).into(),
            bytes(at.bytes).into(),
            Cell::new(format!("{share:.1} %"), if share < 0.05 { Look::Dim } else { Look::Plain }),
        ]);
    }
    table
}
