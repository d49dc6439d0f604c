//! When the tries of a source are a scan.

use super::Limits;
use super::source::{Aim, Kind, Source, Tries, Try, evidence};
use crate::detect::finding::span;
use crate::detect::{Alerts, Finding, Key, Scene, Severity, Subject, filter};
use crate::flow::table::Arrival;
use crate::packet::Nanos;
use crate::packet::addr::Addr;

/// What a source is judged by.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) limits: &'a Limits,
    pub(super) src: Addr,
    pub(super) now: Nanos,
    /// Whether the stream is over: what has no answer will get none.
    pub(super) over: bool,
    pub(super) scene: &'a Scene,
}

/// Tries that together are a scan, by their places in the list.
struct Hit {
    detector: &'static str,
    dst: Option<Addr>,
    kind: Kind,
    /// The one port that it is about.
    port: Option<u16>,
    tries: Vec<usize>,
    threshold: usize,
    /// How long the threshold's window is.
    window: Nanos,
}

impl Judge<'_> {
    pub(super) fn judge(self, source: &mut Source, alerts: &mut Alerts) {
        if self.scene.sees_answers() {
            let hits = self.connects(source);
            self.tell(hits, &mut source.connect, alerts);
            for tries in [&mut source.ping, &mut source.ask] {
                let hits = self.sweeps(tries);
                self.tell(hits, tries, alerts);
            }
        }
        let hits = self.stealth(&source.stealth);
        self.tell(hits, &mut source.stealth, alerts);
        // Not before: after a long silence none has been judged yet.
        let oldest = self.now.saturating_sub(self.limits.long);
        for tries in [&mut source.connect, &mut source.ping, &mut source.ask, &mut source.stealth] {
            tries.expire(oldest);
        }
    }

    /// Whether a try has failed.
    fn failed(&self, each: &Try) -> bool {
        each.refused
            || (self.scene.sees_answers()
                && (self.over || self.now.saturating_sub(each.at) >= self.limits.unanswered))
    }

    /// Of the tries that have failed and that `which` picks, those that are at most `window` older than the latest.
    fn recent(&self, list: &[Try], window: Nanos, which: impl Fn(&Try) -> bool) -> Vec<usize> {
        let picked = |each: &Try| which(each) && self.failed(each);
        let latest = list.iter().filter(|each| picked(each)).map(|each| each.at).max().unwrap_or_default();
        let recent = |each: &Try| picked(each) && latest.saturating_sub(each.at) <= window;
        list.iter().enumerate().filter(|(_, each)| recent(each)).map(|(at, _)| at).collect()
    }

    fn connects(&self, source: &Source) -> Vec<Hit> {
        let Limits { fast_ports, fast, slow_pairs, slow, few_hosts, many_hosts, .. } = *self.limits;
        let list = &source.connect.list;
        let mut hits = Vec::new();
        let least = [fast_ports, slow_pairs, few_hosts, many_hosts].into_iter().min();
        if least.is_some_and(|least| list.len() < least) {
            return hits;
        }
        let distinct = |of: fn(&Aim) -> Aim| {
            let mut all: Vec<_> = list.iter().map(|each| of(&each.aim)).collect();
            all.sort_unstable_by_key(|aim| (aim.dst, aim.kind, aim.port));
            all.dedup();
            all
        };
        for host in distinct(|aim| Aim { port: 0, kind: Kind::Tcp, ..*aim }) {
            let dst = host.dst;
            let hit = |tries: Vec<usize>, threshold, window| {
                let kind = list[tries[0]].aim.kind;
                Hit { detector: "port_scan", dst: Some(dst), kind, port: None, tries, threshold, window }
            };
            let quick = self.recent(list, fast, |each| each.aim.dst == dst);
            let latest = quick.iter().map(|&at| list[at].at).max().unwrap_or_default();
            if quick.len() >= fast_ports.max(1) && !source.host_answered(dst, latest.saturating_sub(fast)) {
                hits.push(hit(quick, fast_ports, fast));
                continue;
            }
            let slowly = self.recent(list, slow, |each| each.aim.dst == dst);
            if slowly.len() >= slow_pairs.max(1) {
                hits.push(hit(slowly, slow_pairs, slow));
            }
        }
        for service in distinct(|aim| Aim { dst: Addr::v4([0; 4]), ..*aim }) {
            hits.extend(self.sweep_of(source, service.kind, service.port));
        }
        // Some ports of some hosts: at least two ports a host, where a peer-to-peer program tries one.
        let blocks = self.recent(list, slow, |_| true);
        if hits.is_empty() && blocks.len() >= slow_pairs.max(1) {
            let mut hosts: Vec<_> = blocks.iter().map(|&at| list[at].aim.dst).collect();
            hosts.sort_unstable();
            hosts.dedup();
            if blocks.len() >= 2 * hosts.len() {
                let kind = list[blocks[0]].aim.kind;
                let threshold = slow_pairs;
                let detector = "port_scan";
                hits.push(Hit {
                    detector,
                    dst: None,
                    kind,
                    port: None,
                    tries: blocks,
                    threshold,
                    window: slow,
                });
            }
        }
        hits
    }

    /// One port of many hosts.
    fn sweep_of(&self, source: &Source, kind: Kind, port: u16) -> Option<Hit> {
        let Limits { slow, few_hosts, long, many_hosts, .. } = *self.limits;
        let list = &source.connect.list;
        // Time servers behind a firewall leave datagrams unanswered; QUIC is tried everywhere.
        let counts = |each: &Try| match kind {
            Kind::Tcp => true,
            Kind::Udp => each.refused && port != 443,
            _ => false,
        };
        let which = |each: &Try| (each.aim.kind, each.aim.port) == (kind, port) && counts(each);
        let slowly = self.recent(list, long, which);
        let latest = slowly.iter().map(|&at| list[at].at).max()?;
        let answers = |window: Nanos| source.port_answers(kind, port, latest.saturating_sub(window)) as usize;
        let hit = |tries, threshold, window| {
            Some(Hit { detector: "host_sweep", dst: None, kind, port: Some(port), tries, threshold, window })
        };
        if slowly.len() < few_hosts.min(many_hosts).max(1) || self.is_peer(list, kind, port) {
            return None;
        }
        let quick = self.recent(list, slow, which);
        if quick.len() >= many_hosts.max(1) && quick.len() >= 2 * answers(slow) {
            return hit(quick, many_hosts, slow);
        }
        if slowly.len() >= few_hosts && answers(long) == 0 { hit(slowly, few_hosts, long) } else { None }
    }

    /// Whether a source fails as peer-to-peer programs do: most tries on other ports than this, ever another one, each of
    /// another host.
    fn is_peer(&self, list: &[Try], kind: Kind, port: u16) -> bool {
        let others: Vec<_> = list
            .iter()
            .filter(|each| self.failed(each) && (each.aim.kind, each.aim.port) != (kind, port))
            .map(|each| each.aim)
            .collect();
        let number = |of: fn(&Aim) -> (Addr, u16)| {
            let mut all: Vec<_> = others.iter().map(of).collect();
            all.sort_unstable();
            all.dedup();
            all.len()
        };
        let ports = number(|aim| (Addr::v4([0; 4]), aim.port));
        let hosts = number(|aim| (aim.dst, 0));
        ports >= 8 && 2 * others.len() >= list.len() && 3 * hosts >= 2 * others.len()
    }

    fn sweeps(&self, tries: &Tries) -> Vec<Hit> {
        let Limits { fast, swept_hosts, .. } = *self.limits;
        if tries.list.len() < swept_hosts {
            return Vec::new();
        }
        let sweep = |kind| {
            let tries = self.recent(&tries.list, fast, |each| each.aim.kind == kind);
            (tries.len() >= swept_hosts.max(1)).then_some(Hit {
                detector: "host_sweep",
                dst: None,
                kind,
                port: None,
                tries,
                threshold: swept_hosts,
                window: fast,
            })
        };
        [Kind::Arp, Kind::Echo].into_iter().filter_map(sweep).collect()
    }

    fn stealth(&self, tries: &Tries) -> Vec<Hit> {
        let Limits { fast, slow, odd_pairs, ack_pairs, .. } = *self.limits;
        let list = &tries.list;
        let mut hits = Vec::new();
        if list.is_empty() {
            return hits;
        }
        // What these break is the rules, whether they are answered or not.
        let scene = Scene::default();
        let odd = Judge { over: true, scene: &scene, ..*self };
        for kind in [Kind::Null, Kind::Fin, Kind::Xmas, Kind::Odd] {
            let tries = odd.recent(list, slow, |each| each.aim.kind == kind);
            if tries.len() >= odd_pairs.max(1) {
                hits.push(Hit::stealth(list, kind, tries, odd_pairs, slow));
            }
        }
        for kind in [Kind::Ack, Kind::Maimon] {
            let tries = self.recent(list, fast, |each| each.aim.kind == kind);
            if tries.len() >= ack_pairs.max(1) {
                hits.push(Hit::stealth(list, kind, tries, ack_pairs, fast));
            }
        }
        hits
    }

    /// Raises what was hit, or counts on.
    fn tell(&self, hits: Vec<Hit>, tries: &mut Tries, alerts: &mut Alerts) {
        let largest = hits.iter().enumerate().max_by_key(|(_, hit)| hit.tries.len()).map(|(at, _)| at);
        for (at, hit) in hits.into_iter().enumerate() {
            let is_largest = largest == Some(at);
            let mut new: Vec<_> =
                hit.tries.iter().map(|&at| &tries.list[at]).filter(|each| !each.counted).collect();
            new.sort_unstable_by_key(|each| each.arrival().place);
            let arrivals: Vec<_> =
                new.iter().map(|each| Arrival { now: self.now, ..each.arrival() }).collect();
            let Some(&last) = arrivals.last() else { continue };
            let key = hit.key(self.src);
            let spilled = if is_largest { std::mem::take(&mut tries.spilled) } else { 0 };
            let count = arrivals.len() as u64 + spilled;
            // Those that were not remembered are within the window too, as far as the finding counts them.
            let all = alerts.count(&key).unwrap_or(0) + count;
            let observed = hit.tries.len().max(if is_largest { tries.fresh().min(all) as usize } else { 0 });
            if alerts.is_active(&key) && alerts.count_on(&key, &last, spilled, observed as f64) {
                for arrival in &arrivals {
                    alerts.count_on(&key, arrival, 1, observed as f64);
                }
            } else {
                let finding = hit
                    .finding(self, &tries.list)
                    .evidence(&evidence(&arrivals))
                    .count(count)
                    .measure(observed as f64, hit.threshold as f64);
                alerts.raise(key, &last, finding);
            }
            for &at in &hit.tries {
                tries.list[at].counted = true;
            }
        }
        tries.open = tries.list.iter().any(|each| !self.failed(each));
        if !tries.open {
            tries.spilled = 0;
        }
    }
}

impl Hit {
    fn stealth(list: &[Try], kind: Kind, tries: Vec<usize>, threshold: usize, window: Nanos) -> Self {
        let first = tries.first().map(|&at| list[at].aim.dst);
        let dst = first.filter(|&first| tries.iter().all(|&at| list[at].aim.dst == first));
        Self { detector: "stealth_scan", dst, kind, port: None, tries, threshold, window }
    }

    fn key(&self, src: Addr) -> Key {
        let extra = match self.detector {
            // A host may be scanned over TCP and UDP at once.
            "port_scan" => 0,
            _ => (self.kind as u32) << 16 | u32::from(self.port.unwrap_or(0)),
        };
        Key::new(self.detector, src, self.dst.map_or(Subject::Anyone, Subject::Ip)).extra(extra)
    }

    fn finding(&self, judge: &Judge<'_>, list: &[Try]) -> Finding {
        let src = judge.src;
        let discovers = matches!(self.kind, Kind::Arp | Kind::Echo);
        // Scans from outside never end on a port that faces the Internet; one from inside is somebody looking around.
        let severity = match judge.scene.is_local(src) {
            true if !discovers => Severity::Medium,
            _ => Severity::Low,
        };
        // Not how many there are now: there will be more.
        let (least, within) = (self.threshold, span(self.window));
        let whom = self.dst.map_or_else(
            || {
                let mut hosts: Vec<_> = self.tries.iter().map(|&at| list[at].aim.dst).collect();
                hosts.sort_unstable();
                hosts.dedup();
                format!("{} hosts", hosts.len())
            },
            |dst| dst.to_string(),
        );
        let summary = match (self.kind, self.port) {
            (Kind::Arp, _) => {
                format!("{src} asked by ARP for at least {least} addresses that nobody has, within {within}")
            }
            (Kind::Echo, _) => {
                format!("{src} pinged at least {least} addresses that did not answer, within {within}")
            }
            (Kind::Protocol, _) => {
                format!("{src} tried at least {least} IP protocols of {whom} in vain, within {within}")
            }
            (Kind::Tcp, Some(port)) => {
                format!("{src} tried TCP port {port} of at least {least} hosts in vain, within {within}")
            }
            (Kind::Udp, Some(port)) => {
                format!("{src} tried UDP port {port} of at least {least} hosts in vain, within {within}")
            }
            (Kind::Tcp | Kind::Udp, None) => {
                format!("{src} tried at least {least} ports of {whom} in vain, within {within}")
            }
            (kind, _) => {
                format!(
                    "{src} sent TCP packets with {} to at least {least} ports of {whom}, within {within}",
                    flags(kind).0
                )
            }
        };
        let what = match self.kind {
            Kind::Arp => format!("arp.opcode == 1 && arp.src.proto_ipv4 == {src}"),
            Kind::Echo if src.is_v4() => filter::all([filter::src(src), "icmp.type == 8".to_owned()]),
            Kind::Echo => filter::all([filter::src(src), "icmpv6.type == 128".to_owned()]),
            Kind::Tcp => {
                let port = self.port.map(|port| format!("tcp.dstport == {port}"));
                let syn = "tcp.flags.syn == 1 && tcp.flags.ack == 0".to_owned();
                filter::all(
                    [Some(filter::src(src)), self.dst.map(filter::dst), port, Some(syn)]
                        .into_iter()
                        .flatten(),
                )
            }
            Kind::Udp => {
                let port =
                    self.port.map_or_else(|| "udp".to_owned(), |port| format!("udp.dstport == {port}"));
                filter::all(
                    [Some(filter::src(src)), self.dst.map(filter::dst), Some(port)].into_iter().flatten(),
                )
            }
            Kind::Protocol => {
                filter::all([Some(filter::src(src)), self.dst.map(filter::dst)].into_iter().flatten())
            }
            kind => {
                let flags = format!("tcp.flags{}", flags(kind).1);
                filter::all(
                    [Some(filter::src(src)), self.dst.map(filter::dst), Some(flags)].into_iter().flatten(),
                )
            }
        };
        let technique = if discovers { "T1018" } else { "T1046" };
        let finding = Finding::new(severity, technique, summary).filter(what);
        Finding { port: self.port, ..finding }
    }
}

/// What flags of that kind are called, and how a display filter asks for them.
fn flags(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Null => ("no flags", " == 0x000"),
        Kind::Fin => ("FIN alone", " == 0x001"),
        Kind::Xmas => ("FIN, PSH and URG", " == 0x029"),
        Kind::Ack => ("ACK to no connection", " == 0x010"),
        Kind::Maimon => ("FIN and ACK to no connection", " == 0x011"),
        _ => ("flags that do not go together", ".ack == 0"),
    }
}
