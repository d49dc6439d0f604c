//! The service: whether it runs, whether its user may capture, and whether it is confined.

use std::io;
use std::path::Path;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::line::Line;
use super::{Who, as_root, systemd};
use crate::daemon::{Activity, ServiceState};
use crate::sys::process::{Confinement, confinement};

/// `CAP_NET_RAW`, as a bit.
const NET_RAW: u64 = 1 << 13;

const SERVICE: &str = "service";
const CAPTURE_RIGHT: &str = "capture_right";
const HARDENING: &str = "hardening";

/// The unit that is looked at.
const UNIT: &str = "tapkeep.service";

/// What there is to say of it. `state` is the running one's, if there is one.
pub(super) fn lines(state: Option<&ServiceState>, caller: &Who) -> Vec<Line> {
    let unit = if systemd::is_booted() { Some(ambient()) } else { None };
    vec![
        running(state),
        capture_right(state, try_to_capture(), unit, caller),
        hardening(state.map(|state| confinement(state.pid)), systemd::is_booted()),
    ]
}

/// The same where its state may not be read.
pub(super) fn hidden(runtime_dir: &Path, error: &io::Error) -> Vec<Line> {
    let why = "whether the service runs is not known";
    vec![
        Line::unknown(SERVICE, format_args!("{}: {error}", runtime_dir.display()))
            .mend(as_root("usermod -aG tapkeep \"$USER\"  # then log in again")),
        Line::skipped(CAPTURE_RIGHT, why),
        Line::skipped(HARDENING, why),
    ]
}

fn running(state: Option<&ServiceState>) -> Line {
    let Some(state) = state else { return Line::skipped(SERVICE, "does not run") };
    let is = |doing: &str| format!("process {}, {doing}", state.pid);
    match &state.activity {
        Activity::Starting => Line::ok(SERVICE, is("starting")),
        Activity::Capturing => Line::ok(SERVICE, is("capturing")),
        Activity::Stopping => Line::ok(SERVICE, is("stopping")),
        Activity::Waiting(reason) => {
            Line::warning(SERVICE, is(&format!("waiting, {reason}"))).advise("tapkeep status tells more")
        }
    }
}

/// Opens what capturing begins with; nothing is received by it.
fn try_to_capture() -> io::Result<()> {
    socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    Ok(())
}

/// The capabilities that the service's unit gives it; `None` if there is no such unit.
fn ambient() -> io::Result<Option<String>> {
    let mut found = systemd::show(Some(UNIT), &["LoadState", "AmbientCapabilities"])?;
    let is_loaded = found.get("LoadState").is_some_and(|state| state == "loaded");
    Ok(found.remove("AmbientCapabilities").filter(|_| is_loaded))
}

fn capture_right(
    state: Option<&ServiceState>,
    tried: io::Result<()>,
    unit: Option<io::Result<Option<String>>>,
    caller: &Who,
) -> Line {
    if state.is_some_and(|state| state.activity == Activity::Capturing) {
        return Line::ok(CAPTURE_RIGHT, "the running service captures");
    }
    let start = match unit {
        None => "start it with the capability CAP_NET_RAW",
        Some(_) => "start it by its unit",
    };
    match unit {
        Some(Ok(Some(given))) if given.split(' ').any(|one| one == "cap_net_raw") => {
            return Line::ok(CAPTURE_RIGHT, format!("{UNIT} gives its user CAP_NET_RAW"));
        }
        Some(Ok(Some(_))) => {
            return Line::problem(CAPTURE_RIGHT, format!("{UNIT} does not give its user CAP_NET_RAW"))
                .advise("set AmbientCapabilities=CAP_NET_RAW in it, under [Service]");
        }
        _ => {}
    }
    match tried {
        Ok(()) => Line::ok(CAPTURE_RIGHT, format!("user {} may capture", caller.name)),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Line::problem(
            CAPTURE_RIGHT,
            format!("user {} may not capture, and no unit of the service is there", caller.name),
        )
        .advise(format!("{start}, or give the program the right:"))
        .mend(as_root("setcap cap_net_raw+ep \"$(command -v tapkeep)\"")),
        Err(error) => Line::unknown(CAPTURE_RIGHT, error),
    }
}

fn hardening(found: Option<io::Result<Confinement>>, booted: bool) -> Line {
    let confined = match found {
        None => return Line::skipped(HARDENING, "the service does not run"),
        Some(Err(error)) => return Line::unknown(HARDENING, error),
        Some(Ok(confined)) => confined,
    };
    let user = Who::of(confined.uid);
    let faults = [
        (user.is_root(), "runs as root"),
        (confined.capabilities & !NET_RAW != 0, "has more capabilities than CAP_NET_RAW"),
        (!confined.filtered, "may use every system call"),
        (!confined.no_new_privileges, "may gain privileges"),
    ];
    let found: Vec<_> = faults.iter().filter(|(is, _)| *is).map(|(_, fault)| *fault).collect();
    if found.is_empty() {
        let text = "CAP_NET_RAW at most, system calls filtered, no new privileges";
        return Line::ok(HARDENING, format!("user {}, {text}", user.name));
    }
    let line = Line::warning(HARDENING, format!("the service {}", found.join(", ")));
    match booted {
        true => line.mend(as_root(&format!("systemctl enable --now {UNIT}"))),
        false => line.advise("have what starts it confine it, as systemd/tapkeep.service does"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::Verdict::{Ok as Good, Problem, Skipped, Unknown, Warning};
    use super::*;

    fn state(activity: Activity) -> ServiceState {
        ServiceState { activity, pid: 7, ..ServiceState::default() }
    }

    #[test]
    fn who_may_capture_is_found_out() {
        let caller = Who::caller();
        let denied = || Err(io::ErrorKind::PermissionDenied.into());
        let of =
            |state: Option<&ServiceState>, tried, unit| capture_right(state, tried, unit, &caller).result;
        assert_eq!(of(Some(&state(Activity::Capturing)), denied(), None), Good);
        assert_eq!(of(Some(&state(Activity::Starting)), denied(), None), Problem);
        assert_eq!([of(None, Ok(()), None), of(None, Ok(()), Some(Ok(None)))], [Good; 2]);
        let gives = |text: &str| Some(Ok(Some(text.to_owned())));
        assert_eq!(of(None, denied(), gives("cap_net_admin cap_net_raw")), Good);
        assert_eq!(of(None, Ok(()), gives("")), Problem, "root may, but the service could not");
        assert_eq!(of(None, Err(io::ErrorKind::Unsupported.into()), None), Unknown);
        assert_eq!(of(None, denied(), Some(Err(io::ErrorKind::TimedOut.into()))), Problem);
        let advice = |unit| capture_right(None, denied(), unit, &caller).advice.remove(0);
        assert!(advice(Some(Ok(None))).starts_with("start it by its unit, or "));
        assert!(advice(None).starts_with("start it with the capability CAP_NET_RAW, or "));
    }

    #[test]
    fn what_the_service_could_do_beyond_its_task_is_told() {
        let whole =
            Confinement { uid: 54_321, no_new_privileges: true, filtered: true, capabilities: NET_RAW };
        let of = |confined| hardening(Some(Ok(confined)), true);
        assert_eq!(of(whole).result, Good);
        assert_eq!(of(Confinement { capabilities: 0, ..whole }).result, Good);
        let open = Confinement { uid: 0, no_new_privileges: false, filtered: false, capabilities: u64::MAX };
        assert_eq!(
            of(open).text,
            "the service runs as root, has more capabilities than CAP_NET_RAW, may use every system call, may gain privileges"
        );
        assert_eq!([of(open).result, of(Confinement { filtered: false, ..whole }).result], [Warning; 2]);
        assert_eq!(hardening(None, true).result, Skipped);
        assert_eq!(hardening(Some(Err(io::ErrorKind::NotFound.into())), true).result, Unknown);
    }

    #[test]
    fn a_running_service_is_told_with_what_it_does() {
        assert_eq!(running(None).result, Skipped);
        assert_eq!(running(Some(&state(Activity::Capturing))).text, "process 7, capturing");
        let waiting = running(Some(&state(Activity::Waiting("x".to_owned()))));
        assert_eq!((waiting.result, &*waiting.text), (Warning, "process 7, waiting, x"));
    }
}
