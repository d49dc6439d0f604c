//! What is shown, read from where it lies: the state file, the captures and their summaries, the ledger. The same questions as
//! `endpoints`, `conversations`, `protocols` and `suspicious` ask, over the last minutes.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use anyhow::Result;

use crate::cli::{Context, ask, read_ledger, settings, status, suspicious};
use crate::daemon::ServiceState;
use crate::detect::{Finding, Net, Severity};
use crate::flow::key::FlowKey;
use crate::flow::record::transport_name;
use crate::flow::summary::{Count, Merged, Talk, Traffic, Wanted};
use crate::index::analysis::{Question, over_data_dir};
use crate::index::view::{View, Viewer};
use crate::packet::Nanos;
use crate::packet::addr::Addr;
use crate::packet::level::{Level, Path};
use crate::store::layout::Layout;
use crate::store::range::TimeRange;
use crate::sys::clock::{Clock, RealClock};
use crate::sys::fs::RealFs;

/// Rows kept of endpoints and of conversations, the largest.
const MAX_ROWS: usize = 20_000;

/// Findings kept, the newest.
const MAX_FINDINGS: usize = 1_000;

/// How the service is.
#[derive(Debug, Default)]
pub(super) enum Service {
    /// Not looked yet.
    #[default]
    Unknown,
    /// It tells of the present.
    Running {
        state: Box<ServiceState>,
        /// What is not as it should be.
        warnings: Vec<String>,
    },
    /// It does not, and this is why that is thought.
    Absent(String),
}

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    /// Capture files.
    pub(super) files: usize,
    /// Their length, bytes.
    pub(super) size: u64,
    /// Stamps of the earliest and the latest packet.
    pub(super) range: Option<(Nanos, Nanos)>,
}

/// A finding, and what there is to say of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shown {
    pub(super) finding: Finding,
    /// See [`crate::cli::suspicious::head`].
    pub(super) head: String,
    /// See [`crate::cli::suspicious::details`].
    pub(super) details: Vec<String>,
}

/// A row of endpoints.
pub(super) type Endpoint = (Addr, Traffic);

/// A row of conversations.
pub(super) type Conversation = (FlowKey, Talk);

/// What the last minutes amount to.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) conversations: Vec<Conversation>,
    /// Names of protocols and what their packets come to, each packet once: at the innermost that is known.
    pub(super) protocols: Vec<(String, Count)>,
    /// Whether there were so many hosts, and so many conversations, that small ones may be missing and others too large.
    pub(super) inexact: [bool; 2],
    /// The newest first, none of severity info.
    pub(super) findings: Vec<Shown>,
    /// What whoever looks should know.
    pub(super) notes: Vec<String>,
}

/// Whoever asks.
pub(super) struct Gatherer<'a> {
    context: &'a Context,
    layout: Layout,
    /// How far back the window reaches, nanoseconds.
    window: Nanos,
}

impl<'a> Gatherer<'a> {
    pub(super) fn new(context: &'a Context, window: Nanos) -> Self {
        Self { context, layout: Layout::new(&context.data_dir.path), window }
    }

    /// How the service is.
    ///
    /// # Errors
    /// If its state is there and cannot be read.
    pub(super) fn service(&self) -> Result<Service> {
        let look = status::Look::at(self.context)?;
        Ok(match &look.state {
            Some(state) if look.running => {
                Service::Running { warnings: status::warnings(state), state: Box::new(state.clone()) }
            }
            _ => Service::Absent(look.why_not(self.context)),
        })
    }

    /// What is kept.
    ///
    /// # Errors
    /// If the data directory cannot be read.
    pub(super) fn kept(&self) -> Result<Kept> {
        let ledger = || read_ledger(&self.layout.ledger());
        let View { rows, .. } =
            Viewer { layout: &self.layout, fs: &RealFs::default(), ledger: &ledger }.look()?;
        let there = || rows.iter().filter(|row| row.evicted.is_none()).map(|row| &row.facts);
        let first = there().filter_map(|facts| facts.first).min();
        let last = there().filter_map(|facts| facts.last).max();
        let size = there().map(|facts| facts.size).sum();
        Ok(Kept { files: there().count(), size, range: first.zip(last) })
    }

    /// What the window holds that ends now, or, if nothing runs, with the last packet `kept`. Calls `meanwhile` now and then;
    /// `None` if that gives it up.
    ///
    /// # Errors
    /// If the data directory or the ledger cannot be read.
    pub(super) fn found(
        &self,
        hosts: Option<Net>,
        kept: Option<Kept>,
        meanwhile: &dyn Fn() -> bool,
    ) -> Result<Option<Found>> {
        let now = RealClock.now();
        let last = kept.and_then(|kept| kept.range).map(|(_, last)| last);
        let range = TimeRange {
            since: Some(last.unwrap_or(now.wall).saturating_sub(self.window)),
            until: last.map(|last| last.saturating_add(1)),
        };
        let question = Question {
            layout: &self.layout,
            fs: &RealFs::default(),
            ledger: &|| read_ledger(&self.layout.ledger()),
            range,
            wanted: Wanted { macs: false, ..Wanted::ALL },
            only: Vec::new(),
            limits: settings::summary(&self.context.loaded.config),
            recording: ask::recording(self.context, &now),
            watch: &|_| meanwhile(),
        };
        let analysis = over_data_dir(&question)?;
        if analysis.given_up || !meanwhile() {
            return Ok(None);
        }
        let mut answer = suspicious::recorded(&[], &self.layout, &|_| true)?.of_service(self.context);
        answer.packets.typed.clone_from(&self.context.typed);
        let mut found = traffic(&analysis.merged, hosts);
        found.notes = analysis.notes;
        found.notes.append(&mut answer.notes);
        found.notes.dedup();
        found.findings = findings(answer, hosts);
        Ok(Some(found))
    }
}

/// What passed between hosts of a network and others, or all of it.
fn traffic(merged: &Merged, hosts: Option<Net>) -> Found {
    let is_asked = |addr| hosts.is_none_or(|net| net.contains(addr));
    let (endpoints, talks) = (merged.endpoints(), merged.conversations());
    let inexact = [!endpoints.is_exact(), !talks.is_exact()];
    let endpoints = endpoints.rows.into_iter().filter(|(addr, _)| is_asked(*addr));
    let talks = talks.rows.into_iter().filter(|(key, _)| is_asked(key.a.0) || is_asked(key.b.0));
    // Both come with the largest first.
    let conversations: Vec<_> = talks.take(MAX_ROWS).collect();
    let protocols = match hosts {
        None => mix(&merged.protocols().rows),
        Some(_) => mix_of_talks(&conversations),
    };
    Found {
        endpoints: endpoints.take(MAX_ROWS).collect(),
        conversations,
        protocols,
        inexact,
        ..Found::default()
    }
}

fn findings(mut answer: suspicious::Answer, hosts: Option<Net>) -> Vec<Shown> {
    let is_asked = |end: &Option<String>| {
        let addr = end.as_ref().and_then(|end| end.parse::<std::net::IpAddr>().ok());
        addr.zip(hosts).is_some_and(|(addr, net)| net.contains(addr.into()))
    };
    let mut findings = std::mem::take(&mut answer.findings);
    findings.retain(|finding| {
        finding.severity > Severity::Info
            && (hosts.is_none() || is_asked(&finding.src) || is_asked(&finding.dst))
    });
    findings.sort_by_key(|finding| Reverse(finding.last_seen));
    findings.truncate(MAX_FINDINGS);
    let shown = findings.into_iter().map(|finding| Shown {
        head: suspicious::head(&finding),
        details: answer.packets.details(&finding),
        finding,
    });
    shown.collect()
}

/// Of a protocol tree, each node right behind its parent, what is counted at no node below; the largest first.
fn mix(nodes: &[(Path, Count)]) -> Vec<(String, Count)> {
    let mut mix = BTreeMap::new();
    for (at, (path, count)) in nodes.iter().enumerate() {
        let below = nodes[at + 1..].iter().take_while(|(below, _)| below.depth() > path.depth());
        let mut own = *count;
        for (_, child) in below.filter(|(below, _)| below.depth() == path.depth() + 1) {
            own.packets = own.packets.saturating_sub(child.packets);
            own.bytes = own.bytes.saturating_sub(child.bytes);
        }
        if own.packets > 0 {
            *mix.entry(name(*path)).or_insert_with(Count::default) += own;
        }
    }
    by_bytes(mix)
}

/// How the innermost level of a path is called; payload that nobody knows by what carries it.
fn name(path: Path) -> String {
    match path.last() {
        Some(Level::Data) => {
            let carrier = path.prefix(path.depth() - 1).last().map_or("", Level::name);
            format!("{carrier} data").trim_start().to_owned()
        }
        last => last.map_or("", Level::name).to_owned(),
    }
}

/// The same of conversations: their application, or else what carries it.
fn mix_of_talks(talks: &[Conversation]) -> Vec<(String, Count)> {
    let mut mix = BTreeMap::new();
    for (key, talk) in talks {
        let app = talk.app.map(|(app, _)| app.name().to_owned());
        let name = app.unwrap_or_else(|| transport_name(key.proto).into_owned());
        *mix.entry(name).or_insert_with(Count::default) += talk.total();
    }
    by_bytes(mix)
}

fn by_bytes(mix: BTreeMap<String, Count>) -> Vec<(String, Count)> {
    let mut mix: Vec<_> = mix.into_iter().collect();
    mix.sort_by_key(|(_, count)| Reverse(count.bytes));
    mix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_counts_each_packet_once_at_the_innermost_level_that_is_known() {
        let path = |levels: &[Level]| levels.iter().fold(Path::EMPTY, |path, level| path.with(*level));
        let count = |packets| Count { packets, bytes: packets * 100 };
        let (ip, tcp, udp) = (
            path(&[Level::Eth, Level::Ip]),
            path(&[Level::Eth, Level::Ip, Level::Tcp]),
            path(&[Level::Eth, Level::Ip, Level::Udp]),
        );
        let nodes = [
            (path(&[Level::Eth]), count(20)),
            (path(&[Level::Eth, Level::Arp]), count(1)),
            (ip, count(19)),
            (tcp, count(12)),
            (tcp.with(Level::Tls), count(9)),
            (udp, count(7)),
            (udp.with(Level::Dns), count(2)),
            (udp.with(Level::Data), count(5)),
        ];
        let wanted = [("tls", 9), ("udp data", 5), ("tcp", 3), ("dns", 2), ("arp", 1)];
        assert_eq!(mix(&nodes), wanted.map(|(name, packets)| (name.to_owned(), count(packets))));
        assert_eq!(mix(&[]), []);
    }
}
