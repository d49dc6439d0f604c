//! What is known of a flow's application: its name by the first payloads, and the facts that some applications have. Facts lie on
//! the heap and are bounded over all flows; what there is no room for is counted.

use super::*;
use crate::packet::app::{FactReader, Sniffer, Way};
use crate::packet::level::Level;

/// The most bytes that the facts of all flows take.
const FACTS_BYTES: u64 = 32 << 20;

/// What a flow's facts are taken for, before what they hold: a box and its neighbourhood.
const FACTS_FRAME: usize = 64;

/// What is booked for a reader that has found nothing and holds nothing.
const IDLE: usize = FACTS_FRAME + size_of::<FactReader>();

/// What is known of a flow's application, beside its name.
#[derive(Debug, Default)]
pub(super) struct Known {
    sniffer: Sniffer,
    facts: State,
    /// Bytes that were booked for the facts.
    booked: u32,
    /// Whether a record told all.
    told: bool,
}

/// How far facts were read.
#[derive(Debug, Default)]
enum State {
    /// There was no application that has any.
    #[default]
    Untried,
    Reading(Box<FactReader>),
    Read(Box<Facts>),
    /// There are none, or there was no room.
    Over,
}

/// Bytes that facts take, and what could not be kept.
#[derive(Debug, Default)]
pub(super) struct Bound {
    bytes: u64,
    refused: u64,
}

impl Bound {
    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Flows whose facts could not be kept.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Books so many bytes in place of those that were booked; `false`, and nothing is booked any more, if there is no room.
    pub(super) fn book(&mut self, booked: &mut u32, bytes: usize) -> bool {
        let rest = self.bytes.saturating_sub(u64::from(*booked));
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let fits = rest + u64::from(bytes) <= FACTS_BYTES;
        *booked = if fits { bytes } else { 0 };
        self.bytes = rest + u64::from(*booked);
        self.refused += u64::from(!fits);
        fits
    }
}

impl Known {
    /// What is known.
    pub(super) fn facts(&self) -> Option<&Facts> {
        match &self.facts {
            State::Reading(reader) => Some(reader.facts()),
            State::Read(facts) => Some(facts),
            State::Untried | State::Over => None,
        }
    }

    /// Whether another payload can tell more.
    #[inline]
    fn is_done(&self) -> bool {
        self.told || self.sniffer.is_settled() && matches!(self.facts, State::Over | State::Read(_))
    }

    /// Lets go of all.
    pub(super) fn clear(&mut self, bound: &mut Bound) {
        bound.book(&mut self.booked, 0);
        self.facts = State::Over;
    }

    /// Reads facts from a payload of a flow of that application.
    fn read(&mut self, app: App, way: Way, payload: &[u8], bound: &mut Bound) {
        if matches!(self.facts, State::Untried) {
            if !FactReader::is_for(app) {
                // What a port says, a payload can still correct.
                if self.sniffer.is_settled() {
                    self.facts = State::Over;
                }
                return;
            }
            self.facts = State::Reading(Box::default());
        }
        let State::Reading(reader) = &mut self.facts else { return };
        let goes_on = reader.take(app, way, payload);
        if goes_on && self.booked as usize == IDLE && reader.is_idle() {
            return;
        }
        let held = if goes_on { size_of::<FactReader>() + reader.kept() } else { size_of::<Facts>() };
        let bytes = FACTS_FRAME + held + extent(reader.facts());
        let has_facts = *reader.facts() != Facts::default();
        if !(goes_on || has_facts) {
            self.clear(bound);
        } else if !bound.book(&mut self.booked, bytes) {
            self.facts = State::Over;
        } else if !goes_on && let State::Reading(reader) = std::mem::take(&mut self.facts) {
            self.facts = State::Read(Box::new(reader.into_facts()));
        }
    }
}

/// Bytes that facts hold beside themselves.
fn extent(facts: &Facts) -> usize {
    let Facts { sni, alpn, ja4, http_host, user_agent, dns_query } = facts;
    [sni, alpn, ja4, http_host, user_agent, dns_query].into_iter().flatten().map(|text| text.len()).sum()
}

impl Flow {
    /// Looks at a payload that is not empty; whether the application is better known now.
    #[inline]
    pub(super) fn look(&mut self, from_orig: bool, ip: &Ip<'_>, bound: &mut Bound) -> bool {
        if self.inner.known.is_done() {
            return false;
        }
        let ports = match ip.transport {
            Transport::Tcp(tcp) => tcp.ports,
            Transport::Udp(ports) | Transport::Sctp(ports) => ports,
            _ => return false,
        };
        let way =
            Way { proto: ip.proto, src_port: ports.src, dst_port: ports.dst, from_originator: from_orig };
        self.look_closely(way, ip.payload, bound)
    }

    fn look_closely(&mut self, way: Way, payload: &[u8], bound: &mut Bound) -> bool {
        let known = &mut self.inner.known;
        let app = known.sniffer.look(way, payload).or(self.app);
        if let Some((app, _)) = app {
            known.read(app, way, payload, bound);
        } else if known.sniffer.is_settled() {
            known.facts = State::Over;
        }
        let is_news = app != self.app;
        self.app = app;
        is_news
    }

    /// Takes what a record tells of the application.
    pub(super) fn resume_app(&mut self, record: &FlowRecord) {
        let text = |text: &Option<String>| text.as_deref().map(Into::into);
        let facts = Facts {
            sni: text(&record.sni),
            alpn: text(&record.alpn),
            http_host: text(&record.http_host),
            user_agent: text(&record.user_agent),
            dns_query: text(&record.dns_query),
            ja4: text(&record.ja4),
        };
        let app = record.app.as_deref().and_then(Level::from_name);
        self.app = app.map(|app| (app, record.app_basis.unwrap_or(Basis::Payload)));
        self.inner.known.told = app.is_some();
        if facts != Facts::default() {
            self.inner.known.facts = State::Read(Box::new(facts));
        }
    }
}
