//! The analyst without a disk: frames in, flow records and findings out. The same for a live port, a replay and a file.
//!
//! Time is the stream's ([`StreamClock`]): a second of it is let pass for flows and detectors whenever packets or ticks have
//! taken the clock a second further.

use serde_json::{Map, Value};

use super::audience::{self, Audience, numbers};
use super::settings::{Settings, on};
use super::tap::{Tap, TapHealth};
use super::{Alerts, Detector, Events, Finding, IgnoreRule, Interest, Saved, Scene, Seen, saved};
use crate::flow::record::{EndReason, FlowRecord};
use crate::flow::table::{Arrival, Flow, FlowEvent, FlowTable, Side, TableCounts, Watcher};
use crate::flow::time::StreamClock;
use crate::packet::app::{App, Basis};
use crate::packet::decode::{Flaws, Net, Packet, Tcp, Transport, decode};
use crate::packet::level::Level;
use crate::packet::{Frame, LinkType, NANOS_PER_SEC, Nanos, Place, Precision};

/// Takes what comes of packets and of time.
pub trait Sink {
    /// A flow record; they come in the order in which flows end.
    fn record(&mut self, record: FlowRecord);
    /// A finding: a new one, or again one whose count is final. One that has the id of an earlier one takes its place.
    fn finding(&mut self, finding: Finding);
}

/// A [`Sink`] that keeps all.
#[derive(Debug, Default)]
pub struct Output {
    /// Flow records.
    pub records: Vec<FlowRecord>,
    /// Findings.
    pub findings: Vec<Finding>,
}

impl Sink for Output {
    fn record(&mut self, record: FlowRecord) {
        self.records.push(record);
    }

    fn finding(&mut self, finding: Finding) {
        self.findings.push(finding);
    }
}

/// What the stream has done, for `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamCounts {
    /// The flow table's.
    pub flows: TableCounts,
    /// Packets.
    pub packets: u64,
    /// Findings for which there was no room.
    pub findings_saturated: u64,
    /// Things that detectors could not remember.
    pub detectors_saturated: u64,
}

/// The analyst.
pub struct Stream {
    clock: StreamClock,
    table: FlowTable,
    desk: Desk,
    /// Stream time when time was last let pass.
    passed: Nanos,
    packets: u64,
    /// Whether records are made of flows.
    records: bool,
}

/// All but the table: what looks at flows while the table tells of them.
struct Desk {
    detectors: Vec<Box<dyn Detector>>,
    /// What they want.
    audience: Audience,
    alerts: Alerts,
    scene: Scene,
    tap: Tap,
    /// While packets are read again that the detectors have seen: up to where.
    asleep: Option<Place>,
}

/// The desk while the table tells of flows.
struct Watch<'a, S> {
    desk: &'a mut Desk,
    /// None where nobody wants records.
    records: Option<&'a mut S>,
}

impl Stream {
    /// With nothing seen yet.
    pub fn new(settings: &Settings) -> Self {
        let detectors = on(settings);
        debug_assert!(detectors.len() <= audience::MAX, "too many detectors");
        let mut audience = Audience::default();
        for (number, detector) in detectors.iter().enumerate() {
            audience.add(number, detector.interest(), detector.events());
        }
        let mut alerts = Alerts::default();
        alerts.ignore(settings.ignore.clone());
        alerts.switch_off(settings.off.clone());
        let scene = Scene { local: settings.local_nets.clone(), ..Scene::default() };
        Self {
            clock: StreamClock::default(),
            table: FlowTable::new(settings.flows),
            desk: Desk { detectors, audience, alerts, scene, tap: Tap::default(), asleep: None },
            passed: Nanos::MIN,
            packets: 0,
            records: true,
        }
    }

    /// Makes no flow records from here on: for those who ask for findings alone.
    pub fn leave_out_records(&mut self) {
        self.records = false;
    }

    /// Takes a frame whose record lies at `place`.
    pub fn frame<S: Sink>(
        &mut self,
        link: LinkType,
        place: Place,
        frame: &Frame<'_>,
        precision: Precision,
        out: &mut S,
    ) {
        let packet = decode(link, frame.data, frame.wire_len);
        self.packet(&packet, place, frame, precision, out);
    }

    /// The same for a frame that is decoded already.
    pub fn packet<S: Sink>(
        &mut self,
        packet: &Packet<'_>,
        place: Place,
        frame: &Frame<'_>,
        precision: Precision,
        out: &mut S,
    ) {
        let at = frame.nanos(precision);
        let now = self.clock.packet(at);
        let arrival = Arrival { at, now, place, wire_len: frame.wire_len };
        self.packets += 1;
        if now.saturating_sub(self.passed) >= NANOS_PER_SEC {
            self.pass(now, out);
        }
        if self.desk.asleep.is_some_and(|until| place >= until) {
            self.desk.asleep = None;
        }
        self.desk.alerts.look_at(arrival);
        let mut watch = Watch { desk: &mut self.desk, records: self.records.then_some(&mut *out) };
        let flow = self.table.packet(packet, &arrival, &mut watch);
        let captured = u32::try_from(frame.data.len()).unwrap_or(u32::MAX);
        let (flow, from_originator) = flow.map_or((None, true), |(flow, from)| (Some(flow), from));
        if self.desk.asleep.is_none() {
            let seen = Seen { packet, arrival, captured, flow, from_originator };
            self.desk.tap.packet(&seen, frame.data);
            self.desk.packet(&seen);
        }
        self.desk.tell(out);
    }

    /// Takes a tick: running time and wall clock at one moment.
    pub fn tick<S: Sink>(&mut self, up: Nanos, wall: Nanos, out: &mut S) {
        let now = self.clock.tick(up, wall);
        if now.saturating_sub(self.passed) >= NANOS_PER_SEC {
            self.pass(now, out);
        }
        self.desk.tell(out);
    }

    /// Ends the stream: every flow ends, detectors judge by what there is, and every finding is told as it is.
    pub fn finish<S: Sink>(&mut self, out: &mut S) {
        let now = self.clock.now().unwrap_or_default();
        let mut watch = Watch { desk: &mut self.desk, records: self.records.then_some(&mut *out) };
        self.table.finish(now, &mut watch);
        let Desk { detectors, alerts, scene, tap, .. } = &mut self.desk;
        scene.both_directions = !tap.health().one_direction;
        alerts.expire(now);
        for detector in detectors {
            detector.finish(now, scene, alerts);
        }
        alerts.tell_all();
        self.desk.tell(out);
    }

    /// The state of detectors and findings, for [`Stream::restore_one`]: one after the other, for each may be large. Flows are not in
    /// it (see [`Stream::resume`]).
    pub fn save_each<E>(&self, mut take: impl FnMut(&str, &Saved<'_>) -> Result<(), E>) -> Result<(), E> {
        for detector in &self.desk.detectors {
            take(detector.id(), &detector.save())?;
        }
        take("findings", &self.desk.alerts.save())?;
        take("tap", &self.desk.tap.save())
    }

    /// All of [`Stream::save_each`] in one, for [`Stream::restore`].
    pub fn save(&self) -> Value {
        let mut state = Map::new();
        let _ = self.save_each(|id, of| {
            state.insert(id.to_owned(), saved(of));
            Ok::<_, ()>(())
        });
        Value::Object(state)
    }

    /// Takes what [`Stream::save`] gave; what does not fit is left aside. The detectors have seen all packets before `seen`: these
    /// are not shown to them again.
    pub fn restore(&mut self, state: Value, seen: Option<Place>) {
        self.desk.asleep = seen;
        let Value::Object(state) = state else { return };
        state.into_iter().for_each(|(id, of)| self.restore_one(&id, of));
    }

    /// Takes one part of what [`Stream::save_each`] gave.
    pub fn restore_one(&mut self, id: &str, state: Value) {
        match id {
            "findings" => self.desk.alerts.restore(state),
            "tap" => self.desk.tap.restore(state),
            _ => {
                let detector = self.desk.detectors.iter_mut().find(|detector| detector.id() == id);
                if let Some(detector) = detector {
                    detector.restore(state);
                }
            }
        }
    }

    /// The detectors have seen all packets before this place: these are not shown to them again.
    pub fn has_seen(&mut self, before: Option<Place>) {
        self.desk.asleep = before;
    }

    /// Tells of records that were written before a restart: see [`FlowTable::resume`].
    pub fn resume(&mut self, written: &[FlowRecord]) {
        self.table.resume(written);
    }

    /// The position of the oldest packet that no record covers yet.
    pub fn oldest_open(&self) -> Option<Place> {
        self.table.oldest_open()
    }

    /// How it is.
    pub fn counts(&self) -> StreamCounts {
        StreamCounts {
            flows: self.table.counts(),
            packets: self.packets,
            findings_saturated: self.desk.alerts.saturated(),
            detectors_saturated: self.desk.detectors.iter().map(|detector| detector.saturated()).sum(),
        }
    }

    /// Saturation by detector, where there is any.
    pub fn saturated(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let each = self.desk.detectors.iter().map(|detector| (detector.id(), detector.saturated()));
        each.filter(|&(_, number)| number > 0)
    }

    /// Stream time; `None` before the first packet or tick.
    pub fn now(&self) -> Option<Nanos> {
        self.clock.now()
    }

    /// The findings that are counted on now, with their counts so far, in no order.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.desk.alerts.active()
    }

    /// How it is with the tap.
    pub fn tap(&self) -> TapHealth {
        self.desk.tap.health()
    }

    /// Why detectors that rest on failed tries pause, if they do.
    pub fn paused(&self) -> Option<&'static str> {
        match (self.desk.scene.both_directions, self.desk.scene.losing) {
            (false, _) => Some("only one direction seen"),
            (_, true) => Some("more than 1 % of packets lost"),
            _ => None,
        }
    }

    /// Says whether more than one packet in a hundred is being lost on the way from the tap port to here.
    pub fn set_losing(&mut self, losing: bool) {
        self.desk.scene.losing = losing;
    }

    /// Puts new `[[ignore]]` rules in force.
    pub fn ignore(&mut self, rules: Vec<IgnoreRule>) {
        self.desk.alerts.ignore(rules);
    }

    /// The `[[ignore]]` rules and how often each fitted.
    pub fn ignored(&self) -> impl Iterator<Item = (&IgnoreRule, u64)> {
        self.desk.alerts.ignored()
    }

    /// Lets time pass.
    fn pass<S: Sink>(&mut self, now: Nanos, out: &mut S) {
        self.passed = now;
        self.desk.alerts.expire(now);
        let mut watch = Watch { desk: &mut self.desk, records: self.records.then_some(&mut *out) };
        self.table.expire(now, &mut watch);
        if self.desk.asleep.is_some() {
            return;
        }
        let Desk { detectors, alerts, scene, tap, .. } = &mut self.desk;
        tap.tick(now);
        scene.both_directions = !tap.health().one_direction;
        alerts.look_at_flow(None);
        for detector in detectors {
            detector.tick(now, scene, alerts);
        }
    }
}

impl Desk {
    /// Shows a packet to the detectors that want it.
    #[inline]
    fn packet(&mut self, seen: &Seen<'_>) {
        let who = self.audience.of_packet(interest(seen));
        if who == 0 {
            return;
        }
        self.alerts.look_at_flow(seen.flow.map(|flow| flow.id));
        for number in numbers(who) {
            if let Some(detector) = self.detectors.get_mut(number) {
                detector.packet(seen, &self.scene, &mut self.alerts);
            }
        }
    }

    #[inline]
    fn tell<S: Sink>(&mut self, out: &mut S) {
        if self.alerts.has_raised() {
            self.alerts.take_raised().for_each(|finding| out.finding(finding));
        }
    }
}

impl<S: Sink> Watcher for Watch<'_, S> {
    fn event(&mut self, event: FlowEvent, flow: &Flow, now: Nanos) {
        let Desk { detectors, audience, alerts, scene, tap, asleep } = &mut *self.desk;
        if asleep.is_none() {
            tap.flow(event, flow);
            alerts.look_at_flow(Some(flow.id));
            for number in numbers(audience.of_event(Events::of(event))) {
                if let Some(detector) = detectors.get_mut(number) {
                    detector.flow(event, flow, now, scene, alerts);
                }
            }
        }
        let FlowEvent::Ended(reason) = event else { return };
        tap.ended(flow, scene.losing);
        if let Some(records) = &mut self.records {
            let mut record = flow.record(reason);
            if let Some(ids) = alerts.of(flow.id) {
                record.findings = ids.to_vec();
            }
            records.record(record);
        }
        if reason != EndReason::Active {
            alerts.forget(flow.id);
        }
    }
}

/// What a packet is of interest as.
#[inline]
fn interest(seen: &Seen<'_>) -> Interest {
    let Packet { net, flaws, .. } = seen.packet;
    let mut kinds = Interest::EVERY;
    // That a header is cut is no news where a snaplen cuts every packet.
    if *flaws != Flaws::NONE && *flaws != Flaws::CUT {
        kinds = kinds.and(Interest::FLAWED);
    }
    let ip = match net {
        Net::None => return kinds,
        Net::Arp(_) => return kinds.and(Interest::ARP),
        Net::Ip(ip) => ip,
    };
    if ip.fragment.is_some() {
        kinds = kinds.and(Interest::FRAGMENT);
    }
    if ip.ttl < 10 {
        kinds = kinds.and(Interest::LOW_TTL);
    }
    // Of the packet's direction, this packet included.
    let mut nth = 1;
    let mut app = None;
    if let Some(flow) = seen.flow {
        let number = |side: &Side, before: (u64, u64)| side.packets + before.0;
        let (orig, resp) = (number(&flow.orig, flow.before[0]), number(&flow.resp, flow.before[1]));
        nth = if seen.from_originator { orig } else { resp };
        if orig + resp == 1 {
            kinds = kinds.and(Interest::FIRST);
        }
        app = flow.app;
    }
    match ip.transport {
        Transport::Tcp(tcp) => {
            if tcp.flags & (Tcp::SYN | Tcp::FIN | Tcp::RST) != 0 || tcp.flags & Tcp::ACK == 0 {
                kinds = kinds.and(Interest::TCP_CONTROL);
            }
            if ip.payload_len > 0 {
                if nth <= 64 {
                    kinds = kinds.and(Interest::TCP_EARLY);
                }
                kinds = kinds.and(of_app(app));
            }
        }
        Transport::Udp(ports) => {
            kinds = kinds.and(Interest::UDP);
            if nth <= 16 {
                kinds = kinds.and(Interest::UDP_EARLY);
            }
            if is_dhcp(ports.src) && is_dhcp(ports.dst) {
                kinds = kinds.and(Interest::DHCP);
            }
            kinds = kinds.and(of_app(app).without(Interest::LOGIN));
        }
        Transport::Icmp(_) => kinds = kinds.and(Interest::ICMP),
        Transport::Sctp(_) | Transport::Portless | Transport::Later | Transport::Cut => {}
    }
    kinds
}

fn is_dhcp(port: u16) -> bool {
    matches!(port, 67 | 68 | 546 | 547)
}

/// What a payload of a flow of that application is of interest as.
#[inline]
fn of_app(app: Option<(App, Basis)>) -> Interest {
    match app {
        Some((Level::Dns | Level::Mdns | Level::Llmnr | Level::Nbns, _)) => Interest::NAMES,
        Some((
            Level::Telnet | Level::Ftp | Level::Smtp | Level::Imap | Level::Pop | Level::Ldap,
            Basis::Payload,
        )) => Interest::LOGIN,
        _ => Interest::NONE,
    }
}
