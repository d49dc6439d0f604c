//! The tap port: libpcap over TPACKET_V3, without a blocking call.
//!
//! The handle never blocks; waiting is our own `poll` on the ring and a wake-up descriptor, so that nothing here depends on
//! a packet arriving or on an interface being up. An interface that is missing, down or unplugged is waited for.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use pcap::{Active, Capture, Stat};

use super::filter::{Filter, FilterError, link_type};
use crate::packet::{Frame, LinkType, Precision};
use crate::sys::input_queue::InputQueue;
use crate::sys::link::{Link, is_loopback, link};
use crate::sys::wake::{Waker, wait};

/// What to capture.
#[derive(Debug, Clone)]
pub struct TapConfig {
    /// The interface; none configured is waited for like one that is missing.
    pub interface: Option<String>,
    /// A BPF expression; empty for everything.
    pub filter: String,
    /// The most bytes kept of a packet.
    pub snaplen: u32,
    /// Whether to see frames that are addressed to others.
    pub promiscuous: bool,
    /// Size of the kernel's ring, bytes.
    pub kernel_buffer: u64,
    /// The unit of stamps.
    pub precision: Precision,
}

/// Capturing is not possible, and waiting would not help.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The filter cannot be used.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The system does not allow it.
    #[error("capture on {interface}: {message}; run as root, or give the program CAP_NET_RAW")]
    Forbidden {
        /// The interface.
        interface: String,
        /// What libpcap said.
        message: String,
    },
    /// Waiting failed.
    #[error("wait for packets: {0}")]
    Wait(#[from] std::io::Error),
}

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Packets can arrive.
    Up(LinkType),
    /// None can, for this reason.
    Down(Outage),
}

/// Why no packet can arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Whether the interface is not there.
    pub is_gone: bool,
    /// In words.
    pub reason: String,
}

impl Outage {
    fn new(reason: impl Into<String>) -> Self {
        Self { is_gone: false, reason: reason.into() }
    }

    fn gone(name: &str) -> Self {
        Self { is_gone: true, reason: format!("there is no interface {name}") }
    }
}

/// Packets that never reached us, since last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// By the kernel, because the ring was full.
    pub kernel: u64,
    /// By the network card, its driver or the input queue behind it; unknown if the card does not say.
    pub nic: Option<u64>,
}

/// The most packets taken in one call.
const BATCH: usize = 8192;

/// A turn that took this many packets is followed by a short rest instead of a poll of the ring: under load, fewer and
/// larger batches cost less, and the ring holds far more.
const BUSY: usize = 32;

/// The longest such rest.
const MAX_REST: Duration = Duration::from_millis(10);

/// Bytes a second at which the ring must not be more than a quarter full after a rest: 10 Gb/s.
const FASTEST: u64 = 1_250_000_000;

/// How long the kernel gathers packets before it hands a part-filled ring block over.
const GATHER_MS: i32 = 100;

/// The longest time until a packet that has arrived can be taken: the kernel looks at a part-filled ring block once in
/// [`GATHER_MS`] and hands it over at the second look.
const RETIRE: Duration = Duration::from_millis(2 * GATHER_MS as u64 + 50);

/// How often a ring that is being emptied is looked at.
const DRAIN_STEP: Duration = Duration::from_millis(5);

/// How often the state of the interface is looked at while no packet arrives.
const LOOK: Duration = Duration::from_millis(500);

/// The longest time between two tries to open an interface.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// The tap port.
pub struct Tap {
    config: TapConfig,
    handle: Option<Handle>,
    /// What was last said of it.
    said: Option<Change>,
    busy: bool,
    was_open: bool,
    rest: Duration,
    next_look: Instant,
    backoff: Duration,
    left_over: Dropped,
}

impl Tap {
    /// A tap port that is not open yet. Fails if the filter is wrong.
    pub fn new(config: TapConfig) -> Result<Self, TapError> {
        Filter::compile(&config.filter, LinkType::ETHERNET)?;
        let rest = Duration::from_micros(config.kernel_buffer / 4 * 1_000_000 / FASTEST).min(MAX_REST);
        Ok(Self {
            config,
            handle: None,
            said: None,
            busy: false,
            was_open: false,
            rest,
            next_look: Instant::now(),
            backoff: Duration::from_millis(50),
            left_over: Dropped::default(),
        })
    }

    /// Waits at most `timeout` for packets or the waker, then hands what is there, a bounded number, to `sink`. Says if the
    /// state of the port has changed. Returns how many packets it took.
    pub fn turn(
        &mut self,
        waker: &Waker,
        timeout: Duration,
        mut sink: impl FnMut(LinkType, Frame<'_>),
    ) -> Result<(usize, Option<Change>), TapError> {
        let Some(handle) = &mut self.handle else {
            let due = self.next_look.saturating_duration_since(Instant::now());
            wait(None, waker, due.min(timeout))?;
            return Ok((0, self.try_open(&mut sink)?));
        };
        let (fd, time) =
            if self.busy { (None, self.rest) } else { (Some(handle.capture.as_fd()), timeout.min(LOOK)) };
        wait(fd, waker, time)?;
        match handle.dispatch(&mut sink) {
            Ok(0) => {
                self.busy = false;
                Ok((0, self.look(&mut sink)?))
            }
            Ok(taken) => {
                self.busy = taken >= BUSY;
                self.next_look = Instant::now() + LOOK;
                let link = handle.link;
                Ok((taken, self.say(Change::Up(link))))
            }
            Err(message) => {
                self.close(&mut sink);
                let name = self.config.interface.as_deref().unwrap_or_default();
                let outage = match link(name) {
                    Ok(Link::Absent) => Outage::gone(name),
                    _ => Outage::new(format!("interface {name}: {message}")),
                };
                Ok((0, self.say(Change::Down(outage))))
            }
        }
    }

    /// Hands over all that has arrived until now; what arrives meanwhile may come along, and what cannot be had counts as
    /// dropped.
    pub fn drain(&mut self, mut sink: impl FnMut(LinkType, Frame<'_>)) {
        if let Some(handle) = &mut self.handle {
            self.left_over.kernel += handle.drain(&mut sink);
        }
    }

    /// Packets dropped before they reached us, since last asked.
    pub fn dropped(&mut self) -> Dropped {
        let mut dropped = std::mem::take(&mut self.left_over);
        match &mut self.handle {
            Some(handle) => {
                let new = handle.dropped();
                dropped.kernel += new.kernel;
                dropped.nic = match (dropped.nic, new.nic) {
                    (Some(a), Some(b)) => Some(a + b),
                    (a, b) => a.or(b),
                };
            }
            None => dropped.nic = dropped.nic.or(self.config.promiscuous.then_some(0)),
        }
        dropped
    }

    /// Opens the interface if it is there.
    fn try_open(&mut self, sink: &mut impl FnMut(LinkType, Frame<'_>)) -> Result<Option<Change>, TapError> {
        if Instant::now() < self.next_look {
            return Ok(None);
        }
        self.next_look = Instant::now() + self.backoff;
        self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
        let Some(name) = self.config.interface.clone() else {
            return Ok(self.say(Change::Down(Outage::new("no interface is configured"))));
        };
        let index = match link(&name) {
            Ok(Link::Absent) => return Ok(self.say(Change::Down(Outage::gone(&name)))),
            Ok(Link::Down) => {
                return Ok(self.say(Change::Down(Outage::new(format!("interface {name} is down")))));
            }
            Ok(Link::NoCarrier(index) | Link::Up(index)) => index,
            Err(error) => {
                return Ok(self.say(Change::Down(Outage::new(format!("look at interface {name}: {error}")))));
            }
        };
        match Handle::open(&name, index, &self.config) {
            Ok(handle) => {
                self.backoff = Duration::from_millis(50);
                self.handle = Some(handle);
                self.was_open = true;
                self.next_look = Instant::now();
                self.look(sink)
            }
            Err(OpenError::Filter(error)) => Err(error.into()),
            Err(OpenError::Pcap(message))
                if !self.was_open && (message.contains("ermission") || message.contains("not permitted")) =>
            {
                Err(TapError::Forbidden { interface: name, message })
            }
            Err(OpenError::Pcap(message)) => {
                Ok(self.say(Change::Down(Outage::new(format!("interface {name}: {message}")))))
            }
        }
    }

    /// Looks at the state of an open interface, not too often.
    fn look(&mut self, sink: &mut impl FnMut(LinkType, Frame<'_>)) -> Result<Option<Change>, TapError> {
        let (Some(handle), Some(name)) = (&self.handle, &self.config.interface) else { return Ok(None) };
        if Instant::now() < self.next_look {
            return Ok(None);
        }
        self.next_look = Instant::now() + LOOK;
        // What cannot be looked at now has not changed.
        let Ok(state) = link(name) else { return Ok(None) };
        let change = match state {
            Link::Up(index) if index == handle.index => Change::Up(handle.link),
            Link::NoCarrier(index) if index == handle.index => {
                Change::Down(Outage::new(format!("interface {name} has no carrier")))
            }
            Link::Down => Change::Down(Outage::new(format!("interface {name} is down"))),
            Link::Absent | Link::NoCarrier(_) | Link::Up(_) => {
                let change = Change::Down(Outage::gone(name));
                self.close(sink);
                change
            }
        };
        Ok(self.say(change))
    }

    /// Lets the port go once its ring is empty; what the ring does not give up any more counts as dropped.
    fn close(&mut self, sink: &mut impl FnMut(LinkType, Frame<'_>)) {
        let stranded = self.handle.as_mut().map_or(0, |handle| handle.drain(sink));
        self.left_over = self.dropped();
        self.left_over.kernel += stranded;
        self.handle = None;
        self.busy = false;
        self.next_look = Instant::now();
    }

    fn say(&mut self, change: Change) -> Option<Change> {
        if self.said.as_ref() == Some(&change) {
            return None;
        }
        self.said = Some(change.clone());
        Some(change)
    }
}

enum OpenError {
    Filter(FilterError),
    Pcap(String),
}

impl From<pcap::Error> for OpenError {
    fn from(error: pcap::Error) -> Self {
        Self::Pcap(text(error))
    }
}

fn text(error: pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(message) => message,
        other => other.to_string(),
    }
}

/// An open interface.
struct Handle {
    capture: Capture<Active>,
    filter: Filter,
    link: LinkType,
    index: u32,
    last: Stat,
    input_queue: InputQueue,
    /// Packets that the kernel has put into the ring.
    arrived: u64,
    /// Packets that were taken out of it.
    taken: u64,
    /// Whether libpcap throws packets away that the kernel shows twice; then nobody knows how many are still to be taken.
    is_loopback: bool,
    /// Not told yet.
    dropped: Dropped,
}

impl Handle {
    fn open(name: &str, index: u32, config: &TapConfig) -> Result<Self, OpenError> {
        let precision = match config.precision {
            Precision::Micro => pcap::Precision::Micro,
            Precision::Nano => pcap::Precision::Nano,
        };
        let capture = Capture::from_device(name)?
            .promisc(config.promiscuous)
            .snaplen(config.snaplen as i32)
            .buffer_size(i32::try_from(config.kernel_buffer).unwrap_or(i32::MAX))
            .timeout(GATHER_MS)
            .precision(precision)
            .open()?;
        let mut capture = capture.setnonblock()?;
        let dlt = capture.get_datalink().0;
        let link =
            link_type(dlt).ok_or_else(|| OpenError::Pcap(format!("link type {dlt} fits into no file")))?;
        let filter = Filter::compile(&config.filter, link).map_err(OpenError::Filter)?;
        if let Some(expression) = filter.kernel_expression() {
            capture.filter(expression, true)?;
        }
        // libpcap asks the card only in promiscuous mode.
        let dropped = Dropped { kernel: 0, nic: config.promiscuous.then_some(0) };
        let mut last = Stat { received: 0, dropped: 0, if_dropped: 0 };
        if filter.kernel_expression().is_some() {
            // What came before the filter libpcap may throw away.
            last.received = capture.stats()?.received;
        }
        Ok(Self {
            capture,
            filter,
            link,
            index,
            last,
            input_queue: InputQueue::new(name),
            arrived: 0,
            taken: 0,
            is_loopback: is_loopback(name),
            dropped,
        })
    }

    /// Hands what the ring holds, a bounded number, to `sink`.
    fn dispatch(&mut self, sink: &mut impl FnMut(LinkType, Frame<'_>)) -> Result<usize, String> {
        let (filter, link, taken) = (&self.filter, self.link, &mut self.taken);
        let count = self.capture.dispatch(Some(BATCH), |packet| {
            *taken += 1;
            let header = packet.header;
            let frame = Frame {
                sec: header.ts.tv_sec as u32,
                frac: header.ts.tv_usec as u32,
                wire_len: header.len,
                data: packet.data,
            };
            if !filter.needs_retest(&frame) || filter.matches(&frame) {
                sink(link, frame);
            }
        });
        count.map_err(text)
    }

    /// Hands over what has arrived until now, part-filled ring blocks included. Returns how many packets could not be had.
    fn drain(&mut self, sink: &mut impl FnMut(LinkType, Frame<'_>)) -> u64 {
        let end = Instant::now() + RETIRE;
        self.count();
        let arrived = self.arrived;
        while self.taken < arrived && Instant::now() < end {
            if !matches!(self.dispatch(sink), Ok(1..)) {
                std::thread::sleep(DRAIN_STEP);
            }
        }
        if self.is_loopback { 0 } else { arrived.saturating_sub(self.taken) }
    }

    /// Reads the kernel's 32-bit counters, widened by their differences.
    fn count(&mut self) {
        // What cannot be read now is in the difference of the next time.
        let now = self.capture.stats().unwrap_or(self.last);
        let last = std::mem::replace(&mut self.last, now);
        let dropped = difference(last.dropped, now.dropped);
        self.arrived += difference(last.received, now.received).saturating_sub(dropped);
        self.dropped.kernel += dropped;
        let before_us = difference(last.if_dropped, now.if_dropped) + self.input_queue.dropped();
        self.dropped.nic = self.dropped.nic.map(|nic| nic + before_us);
    }

    fn dropped(&mut self) -> Dropped {
        self.count();
        let none = Dropped { kernel: 0, nic: self.dropped.nic.map(|_| 0) };
        std::mem::replace(&mut self.dropped, none)
    }
}

/// From one reading of a wrapping counter to the next. One that seems to run backwards was reset.
fn difference(last: u32, now: u32) -> u64 {
    let difference = now.wrapping_sub(last);
    if difference > u32::MAX / 2 { 0 } else { u64::from(difference) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_widened_over_their_wrap_and_a_reset_counts_nothing() {
        assert_eq!(difference(7, 9), 2);
        assert_eq!(difference(u32::MAX - 1, 3), 5);
        assert_eq!(difference(9, 7), 0);
    }
}
