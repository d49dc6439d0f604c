//! The tap port: that it is there and up, and that frames are recorded as they crossed the wire.

use std::io;

use super::as_root;
use super::line::Line;
use crate::config::CaptureConfig;
use crate::config::units::ByteSize;
use crate::daemon::{Activity, ServiceState};
use crate::sys::link::{Link, link};
use crate::sys::port::{self, Offloads, Ring};

/// A kernel ring smaller than this lost packets at 100,000 a second.
const SMALL_RING: u64 = 16 << 20;

/// Entries of a card's ring that hold a burst of a gigabit link until the kernel takes them.
const ENOUGH_ENTRIES: u32 = 1024;

/// The name by which libpcap captures on all interfaces at once.
const ALL: &str = "any";

/// The port that is looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Port<'a> {
    name: &'a str,
    /// The same, and why it is the one where that is not plain.
    told: String,
}

impl<'a> Port<'a> {
    /// The one that is asked for, else the one that the running service uses, else the one that is configured; none if there is none.
    pub(super) fn choose(
        asked: Option<&'a str>,
        used: Option<&'a str>,
        configured: Option<&'a str>,
    ) -> Option<Self> {
        let name = asked.or(used).or(configured)?;
        let told = match (used, configured) {
            (Some(used), configured) if asked.is_none() && configured != Some(used) => {
                let configured = configured.unwrap_or("none");
                format!("{used}, which the running service uses; {configured} is configured")
            }
            _ => name.to_owned(),
        };
        Some(Self { name, told })
    }
}

/// What there is to say of the port. `service` is the running one.
pub(super) fn lines(
    config: &CaptureConfig,
    port: Option<Port<'_>>,
    service: Option<&ServiceState>,
) -> Vec<Line> {
    let Some(Port { name, told }) = port else {
        return vec![none_configured(&port::names().unwrap_or_default())];
    };
    if name == ALL {
        let text = "any: all interfaces at once; a tap wants one of its own, which can be looked at";
        return vec![Line::warning("interface", text).advise("set capture.interface to the tap port")];
    }
    let capturing = service.is_some_and(|state| {
        state.activity == Activity::Capturing && state.interface.as_deref() == Some(name)
    });
    match link(name) {
        Err(error) => vec![Line::unknown("interface", error)],
        Ok(Link::Absent) => vec![absent(name, &port::names().unwrap_or_default())],
        Ok(state) => vec![
            Line::ok("interface", told),
            link_line(name, state, port::speed(name), port::is_full_duplex(name)),
            promiscuous(name, config.promiscuous, port::is_promiscuous(name), capturing),
            addresses(name, port::addresses(name), port::has_default_route(name)),
        ]
        .into_iter()
        .chain(offloads(name, port::offloads(name), port::addresses(name).is_ok_and(|all| all.is_empty())))
        .chain([
            card_ring(name, port::receive_ring(name)),
            kernel_ring(config.kernel_buffer, port::speed(name)),
        ])
        .collect(),
    }
}

fn none_configured(there: &[String]) -> Line {
    let text = format!("none is configured; the service waits for one. There are {}", there.join(", "));
    Line::problem("interface", text).advise(SET_INTERFACE)
}

const SET_INTERFACE: &str = "set capture.interface, or name one here with --interface";

fn absent(name: &str, there: &[String]) -> Line {
    Line::problem("interface", format!("there is no {name}. There are {}", there.join(", ")))
        .advise(SET_INTERFACE)
}

fn link_line(name: &str, state: Link, speed: Option<u64>, full_duplex: Option<bool>) -> Line {
    let up = speed.map_or_else(|| "up".to_owned(), |speed| format!("up, {speed} Mb/s"));
    match state {
        Link::Up(_) if full_duplex == Some(false) => {
            let text = format!("{up}, half duplex: a tap sends at any time, and frames collide");
            Line::warning("link", text).advise("look at the cable and at the port of the tap")
        }
        Link::Up(_) => Line::ok("link", up),
        Link::NoCarrier(_) => Line::problem("link", "up, but nothing is plugged in, or the other end is off")
            .advise("plug the tap in"),
        Link::Down | Link::Absent => {
            Line::problem("link", "down").mend(as_root(&format!("ip link set dev {name} up")))
        }
    }
}

/// The service sets it while it captures, and what it set ends with it.
fn promiscuous(name: &str, wanted: bool, is: io::Result<bool>, capturing: bool) -> Line {
    const ID: &str = "promiscuous";
    match (is, wanted) {
        (Err(error), _) => Line::unknown(ID, error),
        (Ok(true), _) => Line::ok(ID, "on"),
        (Ok(false), true) if !capturing => Line::ok(ID, "off now; set while the service captures"),
        (Ok(false), true) => {
            Line::warning(ID, "off, although the service captures: frames for others do not arrive")
                .mend(as_root(&format!("ip link set dev {name} promisc on")))
        }
        (Ok(false), false) => {
            Line::warning(ID, "off, and capture.promiscuous = false: a tap's frames are for others")
                .advise("set capture.promiscuous = true")
        }
    }
}

fn addresses(name: &str, found: io::Result<Vec<String>>, is_way_out: bool) -> Line {
    const ID: &str = "addresses";
    let found = match found {
        Err(error) => return Line::unknown(ID, error),
        Ok(found) if found.is_empty() => return Line::ok(ID, "none, as a tap port should have"),
        Ok(found) => found,
    };
    if is_way_out {
        // What takes the addresses away would cut off whoever types it.
        let text =
            format!("{}, and the default route: this machine is reached by this port", found.join(", "));
        return Line::problem(ID, text).advise("tap another port, which carries nothing of its own");
    }
    let text = format!("{}: this machine can be reached, and answers, on its tap port", found.join(", "));
    let mut line = Line::warning(ID, text);
    if found.iter().any(|address| address.contains(':')) {
        // Flushed alone, the kernel would make the link-local one again.
        line = line.mend(as_root(&format!("sysctl -w net.ipv6.conf.{name}.disable_ipv6=1")));
    }
    if found.iter().any(|address| !address.contains(':')) {
        line = line.mend(as_root(&format!("ip address flush dev {name}")));
    }
    line
}

/// Received frames count always, sent ones only where the machine may send.
fn offloads(name: &str, found: io::Result<Offloads>, silent: bool) -> Vec<Line> {
    const IDS: [&str; 3] = ["receive_offloads", "send_offloads", "checksum_offloads"];
    let found = match found {
        Ok(found) => found,
        Err(error) => return IDS.map(|id| Line::unknown(id, &error)).into(),
    };
    let [receive, segmentation, checksum] = IDS;
    let joining = [("gro", found.generic_receive), ("lro", found.large_receive)];
    let cutting = [("tso", found.tcp_segmentation), ("gso", found.generic_segmentation)];
    let filling = [("tx", found.send_checksums)];
    vec![
        offload(receive, name, &joining, "frames are joined into larger ones that never were on the wire"),
        sent(
            segmentation,
            name,
            &cutting,
            "frames that this machine sends are recorded before they are cut",
            silent,
        ),
        sent(
            checksum,
            name,
            &filling,
            "frames that this machine sends are recorded with wrong checksums",
            silent,
        ),
    ]
}

/// A switch by ethtool's name, and whether it is on.
type Feature<'a> = (&'a str, Option<bool>);

fn offload(id: &'static str, name: &str, features: &[Feature<'_>], harm: &str) -> Line {
    let with = |state| features.iter().filter(move |(_, is)| *is == state).map(|(feature, _)| *feature);
    let on: Vec<_> = with(Some(true)).collect();
    if !on.is_empty() {
        let switches: Vec<_> = on.iter().map(|feature| format!("{feature} off")).collect();
        let text = format!("{} on: {harm}", on.join(" and "));
        return Line::warning(id, text).mend(as_root(&format!("ethtool -K {name} {}", switches.join(" "))));
    }
    let off: Vec<_> = with(Some(false)).collect();
    match off.is_empty() {
        true => Line::unknown(id, "the driver tells of none"),
        false => Line::ok(id, format!("{} off", off.join(" and "))),
    }
}

fn sent(id: &'static str, name: &str, features: &[Feature<'_>], harm: &str, silent: bool) -> Line {
    let line = offload(id, name, features, harm);
    let on = features.iter().any(|(_, is)| *is == Some(true));
    match silent && on {
        true => {
            Line::ok(id, "on, which matters only for what is sent; this port has no address to send from")
        }
        false => line,
    }
}

fn card_ring(name: &str, found: io::Result<Option<Ring>>) -> Line {
    const ID: &str = "card_ring";
    match found {
        Err(error) => Line::unknown(ID, error),
        Ok(None) => Line::skipped(ID, "the driver has none that could be set"),
        Ok(Some(Ring { size, most })) if size < most && size < ENOUGH_ENTRIES => {
            let text = format!("{size} entries of {most}: a short burst is lost, and counted as nic");
            Line::warning(ID, text).mend(as_root(&format!("ethtool -G {name} rx {most}")))
        }
        Ok(Some(Ring { size, most })) => Line::ok(ID, format!("{size} entries of {most}")),
    }
}

fn kernel_ring(ring: ByteSize, speed: Option<u64>) -> Line {
    const ID: &str = "kernel_ring";
    let lasts = speed.map_or_else(String::new, |speed| {
        let seconds = ring.0 as f64 * 8.0 / (speed as f64 * 1e6);
        format!(", {seconds:.2} s of a full {speed} Mb/s")
    });
    let text = format!("{ring}{lasts}");
    if ring.0 < SMALL_RING {
        let text = format!("{text}: a moment without the processor is lost, and counted as kernel");
        return Line::warning(ID, text).advise("set capture.kernel_buffer = \"64MiB\"");
    }
    Line::ok(ID, text)
}

#[cfg(test)]
mod tests {
    use super::super::line::Verdict::{Ok as Good, Problem, Skipped, Unknown, Warning};
    use super::*;

    fn failed<T>() -> io::Result<T> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    #[test]
    fn the_port_in_use_counts_before_the_configured_one() {
        let choose = |asked, used, configured| {
            Port::choose(asked, used, configured).map(|port| (port.name, port.told))
        };
        let told = |name, told: &str| Some((name, told.to_owned()));
        assert_eq!(choose(None, None, None), None);
        assert_eq!(choose(None, None, Some("eth0")), told("eth0", "eth0"));
        assert_eq!(choose(None, Some("eth1"), Some("eth1")), told("eth1", "eth1"));
        assert_eq!(choose(Some("eth2"), Some("eth1"), Some("eth2")), told("eth2", "eth2"));
        let unconfigured = "eth1, which the running service uses; none is configured";
        assert_eq!(choose(None, Some("eth1"), None), told("eth1", unconfigured));
        let other = "eth1, which the running service uses; eth0 is configured";
        assert_eq!(choose(None, Some("eth1"), Some("eth0")), told("eth1", other));
    }

    #[test]
    fn what_cannot_be_asked_is_not_guessed() {
        let lines = [
            promiscuous("e", true, failed(), true),
            addresses("e", failed(), false),
            card_ring("e", failed()),
        ];
        let all = lines.into_iter().chain(offloads("e", failed(), true));
        for line in all {
            assert_eq!(line.result, Unknown, "{line:?}");
            assert!(line.text.starts_with("cannot tell: "), "{line:?}");
        }
        let nothing = offloads("e", Ok(Offloads::default()), false);
        assert!(nothing.iter().all(|line| line.result == Unknown), "{nothing:?}");
    }

    #[test]
    fn rings_are_judged_by_what_the_card_could_hold() {
        let ring = |size, most| card_ring("e", Ok(Some(Ring { size, most })));
        assert_eq!(ring(256, 4096).mend, [as_root("ethtool -G e rx 4096")]);
        assert_eq!([ring(4096, 4096).result, ring(256, 256).result, ring(2048, 4096).result], [Good; 3]);
        assert_eq!(card_ring("e", Ok(None)).result, Skipped);
        assert_eq!(kernel_ring(ByteSize(64 << 20), Some(1000)).text, "64MiB, 0.54 s of a full 1000 Mb/s");
        assert_eq!(kernel_ring(ByteSize(2 << 20), None).result, Warning);
    }

    #[test]
    fn a_link_is_up_or_says_what_is_missing() {
        let of = |state, duplex| link_line("e", state, Some(100), duplex).result;
        assert_eq!(of(Link::Up(1), Some(true)), Good);
        assert_eq!(of(Link::Up(1), Some(false)), Warning);
        assert_eq!([of(Link::NoCarrier(1), None), of(Link::Down, None)], [Problem; 2]);
    }

    #[test]
    fn what_is_sent_matters_only_where_something_can_be() {
        let found = Offloads {
            generic_receive: Some(true),
            large_receive: Some(false),
            tcp_segmentation: Some(true),
            generic_segmentation: Some(true),
            receive_checksums: Some(true),
            send_checksums: Some(true),
        };
        let results = |found, silent| {
            let lines = offloads("e", Ok(found), silent);
            lines.iter().map(|line| line.result).collect::<Vec<_>>()
        };
        assert_eq!(results(found, true), [Warning, Good, Good]);
        assert_eq!(results(found, false), [Warning; 3]);
        let off = Some(false);
        let none = Offloads {
            generic_receive: off,
            tcp_segmentation: off,
            generic_segmentation: off,
            send_checksums: off,
            ..found
        };
        assert_eq!(results(none, false), [Good; 3]);
        assert_eq!(offloads("e", Ok(found), false)[1].mend, [as_root("ethtool -K e tso off gso off")]);
    }

    #[test]
    fn promiscuity_is_the_services_to_set() {
        let of = |wanted, is, capturing| promiscuous("e", wanted, Ok(is), capturing).result;
        assert_eq!([of(true, false, false), of(true, true, true), of(false, true, false)], [Good; 3]);
        assert_eq!([of(true, false, true), of(false, false, false)], [Warning; 2]);
    }
}
