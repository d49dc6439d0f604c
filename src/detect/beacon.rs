//! `beacon`: connections from one host to one service at regular intervals, as implants make to ask for orders.
//!
//! RITA's score (<https://github.com/activecm/rita>, `analysis/beacons`): the mean of four numbers from 0 to 1: regularity of
//! the intervals, regularity of the bytes sent, the part of the observed time that is covered, and the evenness of a
//! histogram of 24 bins over it. RITA sorts the day's connections; here the latest `KEPT` of each (source,
//! destination, port, protocol) stand for them. The histogram's bins double in width, up to an hour, so that any
//! length of stream up to a day fits; then it slides.
//!
//! A beacon within one connection, or of datagrams that come faster than their flow times out, shows no connections: that
//! is `long_connection`'s. Bounded: [`Limits::pairs`] and [`Limits::shared`].

use serde::{Deserialize, Serialize};

use super::bounded::Worth;
use super::local::is_shared;
use super::talk::{self, HOUR, SECOND};
use super::{Alerts, Bounded, Detector, Events, Evidence, Finding, Key, Scene, Severity};
use crate::flow::record::EndReason;
use crate::flow::table::{Arrival, Flow, FlowEvent};
use crate::packet::addr::Addr;
use crate::packet::level::Level;
use crate::packet::{Nanos, Place};

const ID: &str = "beacon";

/// How many connections of a pair are remembered.
const KEPT: usize = 64;

/// The bins of the histogram.
const BINS: usize = 24;

/// The first bins' width: an hour halved twelve times, 0.88 s.
const NARROWEST: Nanos = HOUR >> 12;

/// From when connections are a beacon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Connections. RITA asks for four in a day, which in a short capture any page load with a few reconnections has.
    pub connections: u32,
    /// From when a score is low. RITA's low threshold is 0.75, its base 0.5.
    pub low: f64,
    /// From when it is medium. RITA's: 0.9.
    pub medium: f64,
    /// The least time between the first and the last connection, nanoseconds.
    pub least_span: Nanos,
    /// The least median interval, nanoseconds: RITA counts in seconds.
    pub least_interval: Nanos,
    /// The number of local hosts from which on a destination that they share is a service of many.
    pub sharers: usize,
    /// The most (source, destination, port, protocol) remembered (about 1.3 KB each at most).
    pub pairs: usize,
    /// The most destinations whose users are counted (about 100 bytes each).
    pub shared: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10,
            low: 0.75,
            medium: 0.9,
            least_span: 20 * SECOND,
            least_interval: SECOND,
            sharers: 5,
            pairs: 8192,
            shared: 4096,
        }
    }
}

/// Who connects to whom: source, destination, port, protocol.
type Service = (Addr, Addr, u16, u8);

/// Connections of one host to one service.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Series {
    first: Nanos,
    last: Nanos,
    count: u64,
    /// Bytes that the source sent in the first connection that is over.
    sent: Option<u64>,
    /// What more than one connection needs; most services see but one.
    course: Option<Box<Course>>,
    /// The latest connection's first packet: stamp, file and offset.
    latest: (Nanos, u64, u64),
    by_port_known: bool,
    /// How many connections there were when it was judged last.
    judged: u64,
    /// As what it was told last.
    told: Option<Severity>,
}

/// How connections followed each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Course {
    /// Stream times at which the latest connections began.
    starts: Vec<Nanos>,
    /// Bytes that the source sent in the latest connections that are over.
    sizes: Vec<u64>,
    histogram: Histogram,
    evidence: Evidence,
}

impl Worth for Series {
    fn worth(&self) -> u32 {
        self.count.try_into().unwrap_or(u32::MAX)
    }
}

/// Connections over the time of the stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Histogram {
    since: Nanos,
    width: Nanos,
    bins: [u32; BINS],
}

impl Histogram {
    fn new(since: Nanos) -> Self {
        Self { since, width: NARROWEST, bins: [0; BINS] }
    }

    /// Makes room for a moment: wider bins up to an hour, then later ones.
    fn reach(&mut self, at: Nanos) {
        while at.saturating_sub(self.since) >= self.width.saturating_mul(BINS as Nanos) {
            if self.width < HOUR {
                self.width *= 2;
                for bin in 0..BINS {
                    let two = self.bins.get(2 * bin..2 * bin + 2);
                    self.bins[bin] = two.map_or(0, |two| two[0].saturating_add(two[1]));
                }
                continue;
            }
            let steps = at.saturating_sub(self.since) / self.width - (BINS as Nanos - 1);
            let gone = usize::try_from(steps).map_or(BINS, |steps| steps.min(BINS));
            self.bins.rotate_left(gone);
            self.bins[BINS - gone..].fill(0);
            self.since = self.since.saturating_add(steps.saturating_mul(self.width));
        }
    }

    fn add(&mut self, at: Nanos) {
        self.reach(at);
        let bin = at.saturating_sub(self.since).max(0) / self.width;
        if let Some(bin) = usize::try_from(bin).ok().and_then(|bin| self.bins.get_mut(bin)) {
            *bin = bin.saturating_add(1);
        }
    }

    /// One less the coefficient of variation over the bins that are past or under way.
    fn evenness(&self, now: Nanos) -> f64 {
        let used = now.saturating_sub(self.since).max(0) / self.width + 1;
        let bins = &self.bins[..usize::try_from(used).map_or(BINS, |used| used.min(BINS))];
        let count = bins.len() as f64;
        let mean = bins.iter().map(|&bin| f64::from(bin)).sum::<f64>() / count;
        if mean == 0.0 {
            return 0.0;
        }
        let variance = bins.iter().map(|&bin| (f64::from(bin) - mean).powi(2)).sum::<f64>() / count;
        (1.0 - variance.sqrt() / mean).clamp(0.0, 1.0)
    }
}

/// A score and its parts.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Score {
    intervals: f64,
    sizes: f64,
    duration: f64,
    histogram: f64,
    /// The median interval, nanoseconds.
    interval: Nanos,
}

impl Score {
    fn total(&self) -> f64 {
        (self.intervals + self.sizes + self.duration + self.histogram) / 4.0
    }
}

/// The value at a part of a sorted list, as RITA takes it: the nearest rank.
fn quantile(sorted: &[i64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((part * last as f64).round() as usize).map_or(0.0, |&value| value as f64)
}

/// How regular numbers are, from 0 to 1, and their median: the mean of 1 − |Bowley's skewness| and
/// (median − MAD) / median.
fn regularity(mut values: Vec<i64>) -> (f64, f64) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    values.sort_unstable();
    let [low, median, high] = [0.25, 0.5, 0.75].map(|part| quantile(&values, part));
    // With the median at a quartile it says nothing (RITA); nor does it of a spread that is small against the median, which
    // RITA does not see, for it counts in seconds.
    let skew = if high - low > median.abs() / 20.0 && median != low && median != high {
        (low + high - 2.0 * median) / (high - low)
    } else {
        0.0
    };
    let mut distances: Vec<i64> = values.iter().map(|&value| (value as f64 - median).abs() as i64).collect();
    distances.sort_unstable();
    let mad = quantile(&distances, 0.5);
    let spread = match median {
        // Nothing sent, always.
        _ if mad == 0.0 => 1.0,
        _ if median <= 0.0 => 0.0,
        _ => ((median - mad) / median).clamp(0.0, 1.0),
    };
    ((1.0 - skew.abs() + spread) / 2.0, median)
}

impl Series {
    fn new(now: Nanos) -> Self {
        Self {
            first: now,
            last: now,
            count: 0,
            sent: None,
            course: None,
            latest: (0, 0, 0),
            by_port_known: false,
            judged: 0,
            told: None,
        }
    }

    /// A connection begins; the stream began at `since`.
    fn add(&mut self, now: Nanos, since: Nanos, arrival: &Arrival) {
        if self.count > 0 {
            let course = self.course(since);
            keep(&mut course.starts, now);
            course.histogram.add(now);
            course.evidence.add(arrival);
        }
        self.last = now;
        self.count += 1;
        self.latest = (arrival.at, arrival.place.file, arrival.place.offset);
    }

    /// A connection is over.
    fn ended(&mut self, sent: u64, since: Nanos) {
        if self.sent.is_some() {
            keep(&mut self.course(since).sizes, sent);
        } else {
            self.sent = Some(sent);
            self.course.iter_mut().for_each(|course| keep(&mut course.sizes, sent));
        }
    }

    /// The course; if there was none, with the one connection that there is.
    fn course(&mut self, since: Nanos) -> &mut Course {
        let Self { first, sent, latest: (at, file, offset), .. } = *self;
        self.course.get_or_insert_with(|| {
            let mut histogram = Histogram::new(since);
            histogram.add(first);
            let mut evidence = Evidence::default();
            evidence.add(&Arrival { at, place: Place { file, offset }, ..Arrival::default() });
            Box::new(Course { starts: vec![first], sizes: sent.into_iter().collect(), histogram, evidence })
        })
    }
}

/// Adds to the latest.
fn keep<T>(list: &mut Vec<T>, latest: T) {
    if list.len() >= KEPT {
        list.remove(0);
    }
    list.push(latest);
}

impl Course {
    /// Of a series whose connections began from `first` to `last`.
    fn score(&self, (first, last): (Nanos, Nanos), now: Nanos, since: Nanos) -> Score {
        let intervals = self.starts.windows(2).map(|two| two[1] - two[0]).collect();
        let (intervals, interval) = regularity(intervals);
        let sizes = self.sizes.iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX)).collect();
        let observed = now.saturating_sub(since).clamp(1, HOUR * BINS as Nanos);
        let covered = last.saturating_sub(first).min(observed);
        let mut histogram = self.histogram.clone();
        histogram.reach(now);
        Score {
            intervals,
            sizes: regularity(sizes).0,
            duration: covered as f64 / observed as f64,
            histogram: histogram.evenness(now),
            interval: interval as Nanos,
        }
    }
}

/// The local hosts that use a destination, up to the bound that matters.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Users(Vec<Addr>);

impl Worth for Users {
    fn worth(&self) -> u32 {
        self.0.len() as u32
    }
}

/// The detector.
#[derive(Debug)]
pub struct Beacons {
    limits: Limits,
    series: Bounded<Service, Series>,
    users: Bounded<Addr, Users>,
    /// Stream time of the first flow.
    since: Option<Nanos>,
}

/// What is saved.
#[derive(Serialize, Deserialize)]
struct State<S, U> {
    series: S,
    users: U,
    since: Option<Nanos>,
}

impl Beacons {
    /// Nothing seen yet.
    pub fn new(limits: Limits) -> Self {
        let day = 24 * HOUR;
        Self {
            limits,
            series: Bounded::new(limits.pairs, day),
            users: Bounded::new(limits.shared, day),
            since: None,
        }
    }

    fn begun(&mut self, service: Service, flow: &Flow, now: Nanos, scene: &Scene, alerts: &mut Alerts) {
        let (src, dst, ..) = service;
        let since = *self.since.get_or_insert(now);
        if scene.is_local(src) {
            let users = &mut self.users.entry(dst, now, Users::default).0;
            if users.len() < self.limits.sharers && !users.contains(&src) {
                users.push(src);
            }
        }
        let arrival = alerts.of_flow(flow);
        let series = self.series.entry(service, now, || Series::new(now));
        series.add(now, since, &arrival);
        if let Some(key) = series.told.map(|severity| key(service, severity)) {
            let counted = alerts.count_on(&key, &arrival, 1, 0.0);
            series.judged += u64::from(counted);
        }
        // Scoring sorts what is kept; each eighth time is often enough.
        if series.count >= u64::from(self.limits.connections) && series.count.is_multiple_of(8) {
            self.judge(service, now, scene, alerts);
        }
    }

    fn judge(&mut self, service: Service, now: Nanos, scene: &Scene, alerts: &mut Alerts) {
        let (src, dst, port, proto) = service;
        let limits = self.limits;
        let since = self.since.unwrap_or(now);
        let users = self.users.get(&dst, now).map_or(0, |users| users.0.len());
        let Some(series) = self.series.get_mut(&service, now) else { return };
        if series.count < u64::from(limits.connections)
            || series.last.saturating_sub(series.first) < limits.least_span
        {
            return;
        }
        let Some(course) = series.course.as_deref().filter(|course| !course.sizes.is_empty()) else { return };
        let score = course.score((series.first, series.last), now, since);
        let total = score.total();
        if total < limits.low || score.interval < limits.least_interval {
            return;
        }
        let from_outside = !scene.is_local(src) && scene.is_local(dst);
        let both_local = scene.is_local(src) && scene.is_local(dst);
        let why = if both_local {
            "; both ends are local"
        } else if from_outside {
            "; it comes from outside"
        } else if series.by_port_known {
            "; the service is one that hosts ask regularly"
        } else if is_shared(dst) {
            "; it is sent to many"
        } else if users >= limits.sharers {
            "; other local hosts use it too"
        } else {
            ""
        };
        let severity = match why {
            "" if total >= limits.medium => Severity::Medium,
            "" => Severity::Low,
            _ => Severity::Info,
        };
        let (at, file, offset) = series.latest;
        let arrival = Arrival { at, place: Place { file, offset }, ..alerts.here() };
        let fresh = series.count.saturating_sub(series.judged);
        (series.judged, series.told) = (series.count, Some(severity));
        let name = talk::transport(proto).unwrap_or_default();
        let summary = format!(
            "{src} connects to {dst} {name} port {port} every {} ({} connections in {}); score {total:.2}: intervals \
             {:.2}, sizes {:.2}, duration {:.2}, histogram {:.2}{why}",
            talk::span(score.interval),
            series.count,
            talk::span(series.last.saturating_sub(series.first)),
            score.intervals,
            score.sizes,
            score.duration,
            score.histogram,
        );
        let finding = Finding::new(severity, "T1071", summary)
            .port(port)
            .measure(total, limits.low)
            .evidence(&course.evidence)
            .filter(talk::service(src, dst, proto, port));
        let key = key(service, severity);
        let count = if alerts.is_active(&key) { fresh } else { series.count };
        alerts.raise(key, &arrival, finding.count(count));
    }
}

/// A graver one is told though a lesser one is counted on.
fn key((src, dst, port, proto): Service, severity: Severity) -> Key {
    Key::new(ID, src, dst).extra(u32::from(port) | u32::from(proto) << 16 | (severity as u32) << 24)
}

/// Asking these regularly is what they are for.
fn is_asked_regularly(flow: &Flow) -> bool {
    let by_app = flow.app.is_some_and(|(app, _)| {
        matches!(
            app,
            Level::Ntp
                | Level::Dns
                | Level::Mdns
                | Level::Llmnr
                | Level::Nbns
                | Level::Ssdp
                | Level::Dhcp
                | Level::Dhcpv6
        )
    });
    by_app || matches!(flow.responder().1, 53 | 123 | 853 | 5353)
}

impl Detector for Beacons {
    fn id(&self) -> &'static str {
        ID
    }

    fn events(&self) -> Events {
        Events::BEGUN.and(Events::ENDED)
    }

    fn flow(&mut self, event: FlowEvent, flow: &Flow, now: Nanos, scene: &Scene, alerts: &mut Alerts) {
        let ((src, _), (dst, port), proto) = (flow.originator(), flow.responder(), flow.key.proto);
        if !matches!(proto, 6 | 17) || flow.ports().is_none() || is_shared(src) || src == dst {
            return;
        }
        let service = (src, dst, port, proto);
        match event {
            FlowEvent::Begun => self.begun(service, flow, now, scene, alerts),
            FlowEvent::Ended(reason) if reason != EndReason::Active => {
                let since = self.since.unwrap_or(now);
                if let Some(series) = self.series.get_mut(&service, now) {
                    series.ended(talk::bytes(flow).0, since);
                    series.by_port_known |= is_asked_regularly(flow);
                }
            }
            _ => {}
        }
    }

    /// Judges what has grown since it was judged last, at the end of the stream.
    fn finish(&mut self, now: Nanos, scene: &Scene, alerts: &mut Alerts) {
        let least = u64::from(self.limits.connections);
        let grown = |series: &Series| series.count >= least && series.count > series.judged;
        let mut services: Vec<_> =
            self.series.iter().filter(|(_, series)| grown(series)).map(|(service, _)| *service).collect();
        services.sort_unstable();
        for service in services {
            self.judge(service, now, scene, alerts);
        }
    }

    fn saturated(&self) -> u64 {
        self.series.saturated() + self.users.saturated()
    }

    fn save(&self) -> super::Saved<'_> {
        Box::new(State { series: &self.series, users: &self.users, since: self.since })
    }

    fn restore(&mut self, state: serde_json::Value) {
        type Owned = State<Bounded<Service, Series>, Bounded<Addr, Users>>;
        if let Some(state) = super::restored::<Owned>(state) {
            self.series.take(state.series);
            self.users.take(state.users);
            self.since = state.since.or(self.since);
        }
    }
}

#[cfg(test)]
#[path = "beacon_tests.rs"]
mod tests;
