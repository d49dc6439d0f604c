//! The protocol tree as an icicle: a level of the tree is a row, a node is as wide as its share of the bytes, and hangs below its
//! parent.

use std::collections::{BTreeSet, HashMap};

use maud::{Markup, html};

use super::Report;
use super::axis::percent;
use crate::cli::table::{bytes, counted};
use crate::flow::summary::Count;
use crate::packet::level::Path;

/// Height of a row.
const ROW: usize = 34;

/// Colours of applications.
const COLOURS: usize = 8;

/// Narrower nodes are left out, percent; the table has them.
const NARROW: f64 = 0.15;

/// Narrower nodes have no room for a name, percent.
const NAMED: f64 = 3.0;

/// What carries others: in no colour of its own.
const CARRIERS: [&str; 20] = [
    "eth",
    "sll",
    "raw",
    "null",
    "vlan",
    "ieee8021ad",
    "mpls",
    "pppoes",
    "ppp",
    "llc",
    "ip",
    "ipv6",
    "tcp",
    "udp",
    "sctp",
    "gre",
    "vxlan",
    "geneve",
    "gtp",
    "data",
];

/// A node that is drawn.
#[derive(Debug, PartialEq)]
struct Node {
    path: Path,
    left: f64,
    width: f64,
}

pub(super) fn draw(report: &Report, filters: &BTreeSet<String>) -> Markup {
    let total = report.asked.analysis.merged.total().bytes.max(1) as f64;
    let nodes = place(&report.protocols, total);
    let colours = colours(&report.protocols);
    let depth = nodes.iter().map(|node| node.path.depth()).max().unwrap_or(0);
    let told = format!("Protocol tree, {}", counted(report.protocols.len() as u64, "node"));
    let counts: HashMap<_, _> = report.protocols.iter().copied().collect();
    html! {
        svg.icicle height=(depth * ROW) role="group" aria-label=(told) {
            @for node in &nodes {
                @let name = node.path.last().map_or("", |level| level.name());
                @let at = counts.get(&node.path).copied().unwrap_or_default();
                @let share = at.bytes as f64 * 100.0 / total;
                @let words = format!("{}: {share:.1} %, {}, {}", node.path, bytes(at.bytes), counted(at.packets, "packet"));
                @let filter = format!("proto:{name}");
                @let cell = html! {
                    svg x=(percent(node.left)) width=(percent(node.width)) y=((node.path.depth() - 1) * ROW) height=(ROW) {
                        title { (words) }
                        rect class=(colours.get(name).map_or_else(|| "c".to_owned(), |colour| format!("c c{colour}"))) width="100%" height=(ROW) {}
                        @if node.width >= NAMED {
                            text x="7" y="15" { (name) }
                            text.share x="7" y="28" { (format!("{share:.1} %")) }
                        }
                    }
                };
                @if filters.contains(&filter) {
                    a href="#conversations" data-f=(filter) { (cell) }
                } @else { (cell) }
            }
        }
    }
}

/// Every node wide enough below its parent, siblings from left to right as they are sorted: the largest first.
fn place(tree: &[(Path, Count)], total: f64) -> Vec<Node> {
    // For each depth where the next child goes.
    let mut next = vec![0.0; 1];
    let mut nodes = Vec::new();
    for (path, at) in tree {
        let depth = path.depth();
        let width = at.bytes as f64 * 100.0 / total;
        let left = next.get(depth - 1).copied().unwrap_or(0.0);
        next.truncate(depth - 1);
        next.resize(depth - 1, left);
        next.extend([left + width, left]);
        if width >= NARROW {
            nodes.push(Node { path: *path, left, width });
        }
    }
    nodes
}

/// Colours of what is not a carrier, those first that have most bytes; further ones share.
fn colours(tree: &[(Path, Count)]) -> HashMap<&'static str, usize> {
    let mut sums: HashMap<&'static str, u64> = HashMap::new();
    for (path, at) in tree {
        if let Some(name) = path.last().map(|level| level.name()).filter(|name| !CARRIERS.contains(name)) {
            *sums.entry(name).or_default() += at.bytes;
        }
    }
    let mut names: Vec<_> = sums.into_iter().collect();
    names.sort_by_key(|&(name, bytes)| (std::cmp::Reverse(bytes), name));
    names.into_iter().enumerate().map(|(at, (name, _))| (name, at % COLOURS)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::level::Level::{Dns, Eth, Http, Ip, Ipv6, Tcp, Tls, Udp};

    #[test]
    fn nodes_hang_below_their_parents_and_the_largest_have_the_first_colours() {
        let node = |levels: &[_], bytes| {
            let path = levels.iter().fold(Path::EMPTY, |path, level| path.with(*level));
            (path, Count { packets: 1, bytes })
        };
        let tree = [
            node(&[Eth], 1_000),
            node(&[Eth, Ip], 700),
            node(&[Eth, Ip, Tcp], 500),
            node(&[Eth, Ip, Tcp, Tls], 300),
            node(&[Eth, Ip, Tcp, Http], 100),
            node(&[Eth, Ip, Udp], 199),
            node(&[Eth, Ip, Udp, Dns], 150),
            node(&[Eth, Ipv6], 1),
            node(&[Eth, Ipv6, Tcp], 1),
        ];
        let told: Vec<_> = place(&tree, 1_000.0)
            .into_iter()
            .map(|node| (node.path.to_string(), node.left.round(), node.width.round()))
            .collect();
        let wanted = [
            ("eth", 0.0, 100.0),
            ("eth:ip", 0.0, 70.0),
            ("eth:ip:tcp", 0.0, 50.0),
            ("eth:ip:tcp:tls", 0.0, 30.0),
            ("eth:ip:tcp:http", 30.0, 10.0),
            ("eth:ip:udp", 50.0, 20.0),
            ("eth:ip:udp:dns", 50.0, 15.0),
        ];
        assert_eq!(told, wanted.map(|(path, left, width)| (path.to_owned(), left, width)));
        assert_eq!(colours(&tree), HashMap::from([("tls", 0), ("dns", 1), ("http", 2)]));
    }
}
