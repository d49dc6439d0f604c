//! Packets by what was found out about them: flow, finding, Community ID, address, port. By flow and finding only the recorded
//! stretches of the captures are read.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use super::filter::{Ends, FilterArgs};
use super::output::Output;
use super::progress::Waiting;
use super::{Context, ask, read_ledger, settings};
use crate::detect::Finding;
use crate::detect::stream::Sink;
use crate::flow::key::{FlowKey, Keyer, Numbers};
use crate::flow::record::{FlowRecord, Stretch, Stretches};
use crate::index::flows::{FlowQuestion, Item, flows};
use crate::index::fresh;
use crate::packet::addr::Addr;
use crate::packet::app;
use crate::packet::community_id::{CommunityId, Tuple};
use crate::packet::decode::{Net, Packet, Transport, decode};
use crate::packet::{Frame, LinkType, Nanos, Place};
use crate::store::catalog::Catalog;
use crate::store::flow_file::{flow_sources, peek};
use crate::store::layout::Layout;
use crate::store::progress::Watch;
use crate::store::range::TimeRange;
use crate::sys::clock::{Clock, RealClock};
use crate::sys::fs::Fs;

/// Fragmented packets remembered at a time.
const FRAGMENTS: usize = 4096;

/// Which packets.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct SelectArgs {
    /// Only packets of this flow; repeatable
    #[arg(long, value_name = "FLOW_ID")]
    pub flow: Vec<String>,
    /// Only packets of this finding: between its two ends, where it was observed; repeatable
    #[arg(long, value_name = "ID")]
    pub finding: Vec<String>,
    #[command(flatten)]
    pub filter: FilterArgs,
}

impl SelectArgs {
    /// Whether it leaves nothing out.
    pub(super) fn is_empty(&self) -> bool {
        self.flow.is_empty() && self.finding.is_empty() && self.filter.is_empty()
    }
}

/// Two ends of a finding; `None` is anyone.
type FoundEnds = (Option<String>, Option<String>);

/// Which packets, and where they can be.
pub(super) struct Selection {
    filter: FilterArgs,
    /// By capture file the stretches that hold them; `None` if they may be anywhere.
    stretches: Option<BTreeMap<u64, Vec<(u64, u64)>>>,
    /// The flows asked for.
    keys: HashSet<FlowKey>,
    /// The ends of the findings asked for.
    found: Vec<FoundEnds>,
    keyer: Keyer,
}

impl Selection {
    /// Looks up what the words mean; `files` are those that are to be analysed for it, if any are named.
    ///
    /// # Errors
    /// If there is no such flow or finding, or records cannot be read.
    pub(super) fn new(
        args: &SelectArgs,
        files: &[PathBuf],
        layout: &Layout,
        fs: &dyn Fs,
        context: &Context,
        out: &Output,
    ) -> Result<Self> {
        let mut selection = Self {
            filter: args.filter.clone(),
            stretches: None,
            keys: HashSet::new(),
            found: Vec::new(),
            keyer: Keyer::new(FRAGMENTS),
        };
        if args.flow.is_empty() && args.finding.is_empty() {
            return Ok(selection);
        }
        let foreign = files.iter().any(|file| file.exists() && layout.own_named(fs, file).is_none());
        let mut wanted = Wanted { args, records: Vec::new(), findings: BTreeMap::new() };
        let waiting = Waiting::new("looking it up", out);
        let watch = |at| waiting.at(at);
        if foreign {
            let settings = settings::analysis(&context.loaded.config).stream;
            fresh::analyse(layout, fs, files, &settings, &mut wanted, &watch)?;
        } else {
            wanted.look_up(layout, fs, &watch)?;
        }
        waiting.over()?;
        let counted_on = if foreign { None } else { ask::counted_on_since(context, &RealClock.now()) };
        selection.take(wanted, layout, fs, (foreign, counted_on))?;
        Ok(selection)
    }

    fn take(
        &mut self,
        wanted: Wanted<'_>,
        layout: &Layout,
        fs: &dyn Fs,
        (foreign, counted_on): (bool, Option<Nanos>),
    ) -> Result<()> {
        let Wanted { args, records, findings } = wanted;
        for id in &args.flow {
            // A flow that is not over has no last record yet: what it has sent since is at the end of the captures.
            let mut open = true;
            let mut known = false;
            for record in records.iter().filter(|record| record.flow_id == *id) {
                known = true;
                open &= !record.last_part;
                self.keys.insert(record.key().0);
                self.add(&record.captures);
            }
            anyhow::ensure!(
                known,
                "find flow {id}: no record has it; `tapkeep flows` tells the ids, and a flow that is not over gets a \
                 record within five minutes"
            );
            if open && !foreign {
                self.add_rest(layout, fs)?;
            }
        }
        for id in &args.finding {
            let finding = findings.get(id).ok_or_else(|| {
                anyhow!(
                    "find finding {id}: there is none of that id; `tapkeep suspicious --all` tells the ids"
                )
            })?;
            self.found.push((finding.src.clone(), finding.dst.clone()));
            self.add(&finding.captures);
            // What it has grown by since it was told is behind all that was told.
            let named = finding.src.is_some() || finding.dst.is_some();
            if let Some(last) = finding.captures.last_place()
                && ask::may_have_grown(finding, counted_on)
                && named
            {
                self.add_from(last, layout, fs);
            }
        }
        Ok(())
    }

    fn add(&mut self, captures: &Stretches) {
        let stretches = self.stretches.get_or_insert_default();
        for &Stretch(file, first, last) in &captures.0 {
            stretches.entry(file).or_default().push((first, last));
        }
    }

    /// Adds all that no record covers yet.
    fn add_rest(&mut self, layout: &Layout, fs: &dyn Fs) -> Result<()> {
        let sources = flow_sources(fs, layout).context("list the flow files")?;
        let Some(growing) = sources.into_iter().next_back() else { return Ok(()) };
        let position = growing.open(fs).ok().and_then(|(file, _)| peek(&*file).position);
        if let Some(from) = position.and_then(|position| position.read_from()) {
            self.add_from(from, layout, fs);
        }
        Ok(())
    }

    /// Adds all from that place on.
    fn add_from(&mut self, from: Place, layout: &Layout, fs: &dyn Fs) {
        let stretches = self.stretches.get_or_insert_default();
        stretches.entry(from.file).or_default().push((from.offset, u64::MAX));
        for entry in fs.read_dir(&layout.captures()).unwrap_or_default() {
            let number = crate::store::names::CaptureName::parse(&entry.name).map(|(name, _)| name.number());
            if let Some(number) = number.filter(|&number| number > from.file) {
                stretches.entry(number).or_default().push((0, u64::MAX));
            }
        }
    }

    /// The stretches of a capture file that may hold what is asked for: offsets of first and last record, in order and apart;
    /// `None` if all of it may.
    pub(super) fn stretches(&self, file: u64) -> Option<Vec<(u64, u64)>> {
        let all = self.stretches.as_ref()?;
        let mut found = all.get(&file).cloned().unwrap_or_default();
        found.sort_unstable();
        let mut apart: Vec<(u64, u64)> = Vec::new();
        for (first, last) in found {
            match apart.last_mut() {
                Some((_, end)) if first <= *end => *end = last.max(*end),
                _ => apart.push((first, last)),
            }
        }
        Some(apart)
    }

    /// Whether files without any such stretch can be left out.
    pub(super) fn leaves_out(&self, file: u64) -> bool {
        self.stretches.as_ref().is_some_and(|all| !all.contains_key(&file))
    }

    /// What a file must hold one of; nothing if any may hold what is asked for.
    pub(super) fn probes(&self) -> Vec<crate::flow::summary::Probe> {
        self.filter.probes()
    }

    /// Whether a packet is asked for.
    pub(super) fn matches(&mut self, link: LinkType, place: Place, frame: &Frame<'_>, stamp: Nanos) -> bool {
        if let Some(all) = &self.stretches {
            let within = |&(first, last): &(u64, u64)| (first..=last).contains(&place.offset);
            if !all.get(&place.file).is_some_and(|stretches| stretches.iter().any(within)) {
                return false;
            }
        }
        if self.keys.is_empty() && self.found.is_empty() && self.filter.is_empty() {
            return true;
        }
        let packet = decode(link, frame.data, frame.wire_len);
        let key = self.keyer.key(&packet, stamp).map(|(key, _)| key);
        let by_flow = key.is_some_and(|key| self.keys.contains(&key));
        let by_finding = self.found.iter().any(|ends| is_between(&packet, ends));
        let named = self.keys.is_empty() && self.found.is_empty();
        (named || by_flow || by_finding) && fits(&self.filter, &packet, key)
    }
}

/// Whether a packet is between the ends of a finding.
fn is_between(packet: &Packet<'_>, (src, dst): &FoundEnds) -> bool {
    let mut ends = Vec::with_capacity(6);
    match &packet.net {
        Net::Ip(ip) => ends.extend([ip.src.to_string(), ip.dst.to_string()]),
        Net::Arp(arp) => {
            ends.extend([arp.sender.1, arp.target.1].map(|addr| addr.to_string()));
            ends.extend([arp.sender.0, arp.target.0].map(|mac| mac.to_string()));
        }
        Net::None => {}
    }
    if let Some(macs) = packet.macs {
        ends.extend([macs.src.to_string(), macs.dst.to_string()]);
    }
    [src, dst].into_iter().flatten().all(|end| ends.contains(end))
}

/// Whether a packet fits the words of a filter.
fn fits(filter: &FilterArgs, packet: &Packet<'_>, key: Option<FlowKey>) -> bool {
    if filter.is_empty() {
        return true;
    }
    let Some(key) = key else {
        let Net::Arp(arp) = &packet.net else { return false };
        let ends = Ends { addrs: (arp.sender.1, arp.target.1), ports: None, proto: 0, app: None };
        return filter.proto.is_empty() && filter.matches(&ends, || None);
    };
    let app = app_of(packet);
    let ends = Ends {
        addrs: (key.a.0, key.b.0),
        ports: (key.numbers == Numbers::Ports).then_some((key.a.1, key.b.1)),
        proto: key.proto,
        app: app.map(|app| app.name()),
    };
    filter.matches(&ends, || community_id(packet, &key))
}

/// What one packet tells of its application.
fn app_of(packet: &Packet<'_>) -> Option<app::App> {
    let Net::Ip(ip) = &packet.net else { return None };
    let (Transport::Tcp(crate::packet::decode::Tcp { ports, .. })
    | Transport::Udp(ports)
    | Transport::Sctp(ports)) = ip.transport
    else {
        return None;
    };
    let way = app::Way { proto: ip.proto, src_port: ports.src, dst_port: ports.dst, from_originator: true };
    app::identify(way, ip.payload).map(|(app, _)| app)
}

fn community_id(packet: &Packet<'_>, key: &FlowKey) -> Option<CommunityId> {
    let Net::Ip(ip) = &packet.net else { return None };
    let (src, dst, ports): (Addr, Addr, _) = match (ip.transport, key.numbers) {
        (Transport::Icmp(icmp), _) => (ip.src, ip.dst, Some((u16::from(icmp.kind), u16::from(icmp.code)))),
        (_, Numbers::Ports) => (key.a.0, key.b.0, Some((key.a.1, key.b.1))),
        (Transport::Portless, _) => (ip.src, ip.dst, None),
        _ => return None,
    };
    Some(Tuple { src, dst, proto: key.proto, ports }.id())
}

/// The records and findings asked for.
struct Wanted<'a> {
    args: &'a SelectArgs,
    records: Vec<FlowRecord>,
    findings: BTreeMap<String, Finding>,
}

impl Wanted<'_> {
    /// Finds them in the data directory.
    fn look_up(&mut self, layout: &Layout, fs: &dyn Fs, watch: Watch<'_>) -> Result<()> {
        if !self.args.finding.is_empty() {
            let entries = read_ledger(&layout.ledger()).map_err(anyhow::Error::msg)?;
            let catalog = Catalog::new(&entries, &[]);
            let findings =
                catalog.findings().filter(|kept| self.args.finding.iter().any(|id| id == kept.id()));
            self.findings = findings.filter_map(|kept| Some((kept.id().to_owned(), kept.read()?))).collect();
        }
        if !self.args.flow.is_empty() {
            let begun = self.args.flow.iter().filter_map(|id| {
                let (file, offset) = id.split_once('-')?;
                Some(Place { file: file.parse().ok()?, offset: offset.parse().ok()? })
            });
            let (range, needles) = (TimeRange::ALL, self.args.flow.clone());
            let (begun, without) = (begun.min(), HashSet::new());
            let question = FlowQuestion { layout, fs, range, needles, begun, without, watch };
            let look = flows(&question, |item| {
                if let Item::Record(record) = item {
                    self.record(*record);
                }
                true
            });
            look.context("read the flow files")?;
        }
        Ok(())
    }
}

impl fresh::Sink for Wanted<'_> {}

impl Sink for Wanted<'_> {
    fn record(&mut self, record: FlowRecord) {
        if self.args.flow.contains(&record.flow_id) {
            self.records.push(record);
        }
    }

    fn finding(&mut self, finding: Finding) {
        if self.args.finding.contains(&finding.id) {
            self.findings.insert(finding.id.clone(), finding);
        }
    }
}
