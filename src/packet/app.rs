//! The application protocol of a flow: by payload first, by port second; and the facts kept of it.
//!
//! A payload tells a protocol on any port where its form is so particular that other bytes hardly have it (`tcp`, `udp`);
//! a weaker form is enough where the port says the same (`fits`). A port alone is believed until a payload says otherwise.

mod bytes;
pub mod dns;
mod facts;
mod fits;
pub mod ja4;
mod lines;
mod ports;
mod quic;
mod tcp;
pub mod text;
pub mod tls;
mod udp;

use super::level::{Level, Path};

pub use facts::{FactReader, Facts};

/// An application protocol: a [`Level`] above the transport.
pub type App = Level;

/// How an application protocol was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// By a well-known port.
    Port,
    /// By what was sent.
    Payload,
}

/// The ends and the direction of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// IP protocol number: 6, 17, 132.
    pub proto: u8,
    /// The sender's port.
    pub src_port: u16,
    /// The receiver's port.
    pub dst_port: u16,
    /// Whether the flow's originator sends.
    pub from_originator: bool,
}

/// Payloads that are looked at in a flow before its port has the last word.
const LOOKS: u8 = 6;
const SETTLED: u8 = u8::MAX;

/// Tells the application protocol of a flow from its first payloads. Small, for it is in every flow; keeps no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sniffer {
    app: Option<(App, Basis)>,
    looked: u8,
    stream: udp::Stream,
}

impl Sniffer {
    /// Looks at a payload that is not empty, unless all is known or enough was looked at; returns what is known now.
    #[inline]
    pub fn look(&mut self, way: Way, payload: &[u8]) -> Option<(App, Basis)> {
        if !self.is_settled() && !payload.is_empty() {
            self.look_closely(way, payload);
        }
        self.app
    }

    fn look_closely(&mut self, way: Way, payload: &[u8]) {
        self.looked += 1;
        let claim = ports::claim(way);
        let told = match way.proto {
            6 => tcp::tell(payload),
            17 => udp::tell(way, payload).or_else(|| {
                let is_stream = claim.is_none() && self.stream.goes_on(way, payload);
                is_stream.then_some(Level::Rtp)
            }),
            _ => None,
        };
        let told = told.or_else(|| claim.filter(|&claim| fits::fits(claim, payload)));
        match told {
            Some(app) => {
                self.app = Some((app, Basis::Payload));
                if !may_become_another(app, payload) {
                    self.looked = SETTLED;
                }
            }
            None if self.app.is_none() => self.app = claim.map(|claim| (claim, Basis::Port)),
            None => {}
        }
    }

    /// What is known.
    #[inline]
    pub fn app(&self) -> Option<(App, Basis)> {
        self.app
    }

    /// Whether further payloads can change what is known.
    #[inline]
    pub fn is_settled(&self) -> bool {
        self.looked >= LOOKS
    }
}

/// Whether a flow is only about to say what it is: what a NetBIOS session carries comes behind its first messages, and an
/// SMB 1 negotiation may be answered in SMB 2.
fn may_become_another(app: App, payload: &[u8]) -> bool {
    const NEGOTIATE: u8 = 0x72;
    match app {
        Level::Nbss => true,
        Level::Smb => payload.get(8) == Some(&NEGOTIATE),
        _ => false,
    }
}

/// What is told of one payload by itself, as of the innermost payload of a tunnel.
pub fn identify(way: Way, payload: &[u8]) -> Option<(App, Basis)> {
    Sniffer::default().look(way, payload)
}

/// The path of a frame whose payload is an application's: behind the transport what carries it (`nbss` for `smb2`) and the
/// application itself. A path that goes past its transport already is the whole one.
#[must_use]
pub fn append(path: Path, app: App) -> Path {
    match path.last() {
        Some(Level::Tcp | Level::Udp | Level::UdpLite | Level::Sctp) => {
            carriers(app).iter().fold(path, |path, &level| path.with(level)).with(app)
        }
        _ => path,
    }
}

/// The levels that stand between the transport and an application in tshark's protocol tree, outermost first.
fn carriers(app: App) -> &'static [Level] {
    match app {
        Level::Smb | Level::Smb2 => &[Level::Nbss],
        Level::Modbus => &[Level::Mbtcp],
        Level::S7comm | Level::Rdp => &[Level::Tpkt, Level::Cotp],
        Level::Bacnet => &[Level::Bvlc],
        Level::Nfs => &[Level::Rpc],
        _ => &[],
    }
}

#[cfg(test)]
mod tests;
