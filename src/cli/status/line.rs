//! The service in a line, as `systemctl status` shows it.

use crate::cli::table::{bytes, count, duration};
use crate::daemon::{Activity, ServiceState};

/// How the service is, for a person.
pub(in crate::cli) fn line(state: &ServiceState) -> String {
    let mut parts = vec![port(state)];
    if let Some(recording) = &state.recording {
        let percent = recording.size * 100 / recording.rotation_size.max(1);
        parts.push(format!("capture {:04} at {percent} %", recording.index));
    }
    let free = state.disk.map(|disk| format!("{} free", bytes(disk.free)));
    let kept = state.retention.as_ref().and_then(|reach| reach.kept_ms);
    let room: Vec<_> = free.into_iter().chain(kept.map(|ms| format!("{} kept", duration(ms)))).collect();
    parts.extend((!room.is_empty()).then(|| room.join(", ")));
    parts.extend(state.busy_with.clone());
    parts.join("; ")
}

fn port(state: &ServiceState) -> String {
    let name = state.interface.as_deref().unwrap_or("no interface");
    let lost = count(state.losses.by_cause().iter().filter_map(|(_, lost)| *lost).sum());
    match &state.activity {
        Activity::Starting => format!("{name}: starting"),
        Activity::Waiting(reason) => format!("{name}: waiting, {reason}; {lost} lost"),
        Activity::Stopping => format!("{name}: stopping, writing what has arrived; {lost} lost"),
        Activity::Capturing => {
            let (packets, bits) = (state.packet_rate.round() as u64, state.byte_rate * 8.0);
            format!("{name}: {} pps, {}, {lost} lost", count(packets), rate(bits))
        }
    }
}

/// Bits a second: `980 kb/s`, `98 Mb/s`, `1.2 Gb/s`.
fn rate(bits: f64) -> String {
    match bits {
        small if small < 999_500.0 => format!("{:.0} kb/s", small / 1e3),
        some if some < 999_500_000.0 => format!("{:.0} Mb/s", some / 1e6),
        much => format!("{:.1} Gb/s", much / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::{Disk, Recording};
    use crate::store::keeper::Reach;
    use crate::store::losses::Losses;

    fn capturing() -> ServiceState {
        ServiceState {
            interface: Some("eth1".to_owned()),
            activity: Activity::Capturing,
            packet_rate: 12_339.7,
            byte_rate: 12_250_000.0,
            recording: Some(Recording {
                index: 42,
                name: String::new(),
                size: 61_000_000,
                rotation_size: 100_000_000,
                packets: 9,
                losses: Losses::NONE,
                clock_synchronised: None,
            }),
            disk: Some(Disk { total: 32_000_000_000, free: 3_100_000_000 }),
            retention: Some(Reach { kept_ms: Some(52 * 3_600_000), ..Reach::default() }),
            ..ServiceState::default()
        }
    }

    #[test]
    fn a_line_tells_how_the_service_is() {
        let mut state = capturing();
        assert_eq!(
            line(&state),
            "eth1: 12,340 pps, 98 Mb/s, 0 lost; capture 0042 at 61 %; 3.10 GB free, 2 d 4 h kept"
        );
        state.losses = Losses { kernel: Some(1_000), queue: Some(2), nic: None, ..Losses::NONE };
        state.busy_with = Some("salvaging 3 files".to_owned());
        state.recording = None;
        state.activity = Activity::Waiting("interface eth1 is down".to_owned());
        let waiting = "eth1: waiting, interface eth1 is down; 1,002 lost; 3.10 GB free, 2 d 4 h kept; salvaging 3 files";
        assert_eq!(line(&state), waiting);
        assert_eq!(line(&ServiceState::default()), "no interface: starting");
    }

    #[test]
    fn rates_read_as_people_write_them() {
        let rates = [0.0, 999_499.0, 999_500.0, 98e6, 1.23e9].map(rate);
        assert_eq!(rates, ["0 kb/s", "999 kb/s", "1 Mb/s", "98 Mb/s", "1.2 Gb/s"]);
    }
}
