//! A known protocol on a strange port: SSH on 443, a shell protocol on a web port, DNS where no DNS is. Only what was told by
//! payload counts, and only protocols that have a port of their own; those that agree on ports (RTP, BitTorrent, FTP's data…) or
//! that everything runs over (TLS, HTTP on a port of nobody's) are left alone. Keeps nothing.

use super::{Alerts, Detector, Events, Finding, Key, Scene, Severity, filter};
use crate::flow::table::{Flow, FlowEvent};
use crate::packet::Nanos;
use crate::packet::app::{App, Basis};
use crate::packet::level::Level;

const ID: &str = "odd_port";

/// Non-standard port.
const TECHNIQUE: &str = "T1571";

/// What `odd_port` leaves alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Ports that are not strange whatever is spoken there. None.
    pub usual: Vec<u16>,
}

/// Watches ports.
pub struct OddPort {
    limits: Limits,
}

impl OddPort {
    /// With these limits.
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }
}

/// How strange a port without an owner is for a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Elsewhere {
    /// Not at all.
    Common,
    /// Worth knowing.
    Known,
    /// Strange: it gives access, or passes where others do not.
    Strange,
}

/// The ports on which a protocol is at home (IANA's, and those that its common servers use beside), and how strange it is
/// elsewhere; `None` for protocols without.
fn home(app: App) -> Option<(&'static [u16], Elsewhere)> {
    use Elsewhere::{Common, Known, Strange};
    Some(match app {
        Level::Ssh => (&[22, 830, 2022, 2200, 2222, 8022, 22222, 29418], Strange),
        Level::Telnet => (&[23, 992, 2323], Strange),
        Level::Ftp => (&[21, 990, 2121, 8021], Strange),
        Level::Smtp => (&[24, 25, 465, 587, 1025, 2525], Strange),
        Level::Imap => (&[143, 220, 993], Known),
        Level::Pop => (&[106, 109, 110, 995], Known),
        Level::Http => {
            (&[80, 591, 631, 5985, 8000, 8008, 8080, 8081, 8088, 8888, 3128, 7547, 2869, 1900], Common)
        }
        Level::Tls => {
            (&[443, 8443, 853, 636, 465, 587, 993, 995, 989, 990, 992, 3269, 5061, 6697, 8883], Common)
        }
        Level::Dns => (&[53, 5353, 5355, 137], Strange),
        Level::Nbss => (&[139, 445], Known),
        Level::Smb | Level::Smb2 => (&[139, 445], Strange),
        Level::Rdp => (&[3389, 3388], Strange),
        Level::Vnc => (&[5800, 5900, 5901, 5902, 5903, 5904, 5905], Strange),
        Level::Ldap => (&[389, 636, 3268, 3269], Known),
        Level::Kerberos => (&[88, 464, 749], Known),
        Level::Mysql => (&[3306, 3307, 33060], Known),
        Level::Postgres => (&[5432, 5433, 6432], Known),
        Level::Redis => (&[6379, 6380, 16379, 26379], Known),
        Level::Irc => {
            (&[194, 6660, 6661, 6662, 6663, 6664, 6665, 6666, 6667, 6668, 6669, 6697, 7000], Strange)
        }
        Level::Modbus => (&[502, 802], Known),
        Level::Dnp3 => (&[20000, 19999], Known),
        Level::S7comm => (&[102], Known),
        Level::Mqtt => (&[1883, 8883], Known),
        Level::Tds => (&[1433, 1434], Known),
        Level::Mongo => (&[27017, 27018, 27019], Known),
        Level::Memcache => (&[11211], Known),
        Level::Rlogin => (&[512, 513, 514], Strange),
        Level::Socks => (&[1080, 9050, 9150], Known),
        _ => return None,
    })
}

/// Whose port it is, of those that firewalls let through or that people look at, and where another protocol is strange.
fn owner(port: u16) -> Option<(&'static str, &'static [App])> {
    Some(match port {
        20 | 21 => ("FTP", &[Level::Ftp]),
        22 => ("SSH", &[Level::Ssh]),
        23 => ("Telnet", &[Level::Telnet]),
        25 => ("SMTP", &[Level::Smtp, Level::Tls]),
        53 => ("DNS", &[Level::Dns]),
        80 => ("HTTP", &[Level::Http, Level::Http2]),
        88 => ("Kerberos", &[Level::Kerberos]),
        110 => ("POP3", &[Level::Pop, Level::Tls]),
        123 => ("NTP", &[Level::Ntp]),
        143 => ("IMAP", &[Level::Imap, Level::Tls]),
        389 => ("LDAP", &[Level::Ldap, Level::Tls]),
        // A browser may speak HTTP to it by mistake, which its server then says.
        443 => ("HTTPS", &[Level::Tls, Level::Http, Level::Http2]),
        445 => ("SMB", &[Level::Smb, Level::Smb2, Level::Nbss]),
        993 => ("IMAPS", &[Level::Tls, Level::Imap]),
        995 => ("POP3S", &[Level::Tls, Level::Pop]),
        3389 => ("RDP", &[Level::Rdp, Level::Tls]),
        _ => return None,
    })
}

/// What is strange about a protocol on a port, and how bad it is.
fn judge(app: App, port: u16) -> Option<(String, Severity)> {
    let (ports, elsewhere) = home(app)?;
    if ports.contains(&port) {
        return None;
    }
    if let Some((name, apps)) = owner(port) {
        return (!apps.contains(&app)).then(|| (format!("the port of {name}"), Severity::Medium));
    }
    let severity = match elsewhere {
        Elsewhere::Common => return None,
        Elsewhere::Known => Severity::Info,
        Elsewhere::Strange => Severity::Low,
    };
    Some(("a port of nobody's".to_owned(), severity))
}

impl Detector for OddPort {
    fn id(&self) -> &'static str {
        ID
    }

    fn events(&self) -> Events {
        Events::NAMED
    }

    fn flow(&mut self, event: FlowEvent, flow: &Flow, _: Nanos, _: &Scene, alerts: &mut Alerts) {
        let (FlowEvent::Named, Some((app, Basis::Payload))) = (event, flow.app) else { return };
        let (Some((client, port)), transport) = (flow.ports(), flow.key.proto) else { return };
        let transport = match transport {
            6 => "tcp",
            17 => "udp",
            _ => return,
        };
        // A connection whose beginning was not seen may be held the wrong way round.
        if self.limits.usual.contains(&port) || home(app).is_some_and(|(ports, _)| ports.contains(&client)) {
            return;
        }
        let Some((whose, severity)) = judge(app, port) else { return };
        let ((src, _), (dst, _)) = (flow.originator(), flow.responder());
        // A machine with itself: a loopback capture.
        if src == dst {
            return;
        }
        let summary = format!(
            "{src} speaks {} with {dst} on {transport} port {port}, {whose}",
            app.name().to_uppercase()
        );
        let finding = Finding::new(severity, TECHNIQUE, summary)
            .port(port)
            .filter(filter::all([filter::between(src, dst), filter::port(transport, port)]));
        alerts.raise(Key::new(ID, src, dst).extra(u32::from(port)), &alerts.of_flow(flow), finding);
    }
}

#[cfg(test)]
#[path = "odd_port_tests.rs"]
mod tests;
