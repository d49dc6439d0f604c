use chrono::{FixedOffset, Utc};
use chrono_tz::Tz;
use clap::Parser;
use proptest::prelude::*;

use super::*;

/// 2024-12-31 14:30:52 UTC.
const NOW: Nanos = 1_735_655_452 * NANOS_PER_SEC;

fn at(text: &str, zone: Tz, edge: Edge) -> String {
    let spec: TimeSpec = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
    moment(spec.resolve(NOW, &zone, edge).unwrap(), &Utc)
}

#[test]
fn times_are_understood_as_journalctl_does() {
    // By hand, and with `TZ=Europe/Berlin date -u -d`.
    for (text, wanted) in [
        ("2024-12-31T14:30:52Z", "2024-12-31T14:30:52Z"),
        ("2024-12-31T14:30:52+01:00", "2024-12-31T13:30:52Z"),
        ("2024-12-31t14:30:52.5z", "2024-12-31T14:30:52Z"),
        ("2024-12-31", "2024-12-30T23:00:00Z"),
        ("2024-12-31 14:30", "2024-12-31T13:30:00Z"),
        ("2024-07-01T14:30", "2024-07-01T12:30:00Z"),
        ("2024-12-31  14:30:05.123", "2024-12-31T13:30:05Z"),
        ("14:30", "2024-12-31T13:30:00Z"),
        ("14:30:05", "2024-12-31T13:30:05Z"),
        ("today", "2024-12-30T23:00:00Z"),
        ("Yesterday", "2024-12-29T23:00:00Z"),
        ("now", "2024-12-31T14:30:52Z"),
        ("10m", "2024-12-31T14:20:52Z"),
        ("2h ago", "2024-12-31T12:30:52Z"),
        ("90s", "2024-12-31T14:29:22Z"),
        ("3d", "2024-12-28T14:30:52Z"),
        ("1 week 2 days ago", "2024-12-22T14:30:52Z"),
        ("1h30min", "2024-12-31T13:00:52Z"),
    ] {
        assert_eq!(at(text, Tz::Europe__Berlin, Edge::Since), wanted, "{text}");
    }
}

#[test]
fn what_is_no_time_is_refused() {
    for text in [
        "",
        "ago",
        "10",
        "-10m",
        "10x",
        "m",
        "1h 30",
        "25:00",
        "14:3x",
        "2024-13-01",
        "noon",
        "2024-12-31 14",
        "99999999999999999999s",
        "9999999999w",
        "12:30 PM",
        "2024-12-31T14:30+",
        "1.5h",
    ] {
        assert_eq!(text.parse::<TimeSpec>(), Err(NotATime), "{text:?}");
    }
}

#[test]
fn a_change_of_the_clocks_leaves_nothing_out() {
    let berlin = Tz::Europe__Berlin;
    for (text, zone, since, until) in [
        ("2024-03-31 02:30", berlin, "2024-03-31T01:00:00Z", "2024-03-31T01:00:00Z"),
        ("2024-03-31 02:59:59.9", berlin, "2024-03-31T01:00:00Z", "2024-03-31T01:00:00Z"),
        ("2024-03-31 03:00", berlin, "2024-03-31T01:00:00Z", "2024-03-31T01:00:00Z"),
        ("2024-10-27 02:30", berlin, "2024-10-27T00:30:00Z", "2024-10-27T01:30:00Z"),
        // Midnight did not come, and a whole day did not.
        ("2018-11-04", Tz::America__Sao_Paulo, "2018-11-04T03:00:00Z", "2018-11-04T03:00:00Z"),
        ("2011-12-30 12:00", Tz::Pacific__Apia, "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z"),
    ] {
        assert_eq!(at(text, zone, Edge::Since), since, "{text} as a beginning");
        assert_eq!(at(text, zone, Edge::Until), until, "{text} as an end");
    }
}

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    range: RangeArgs,
}

fn resolve(flags: &[&str]) -> Result<TimeRange, String> {
    let line = Line::try_parse_from([&["x"], flags].concat()).map_err(|e| e.to_string())?;
    line.range.resolve(NOW, &Utc).map_err(|e| e.to_string())
}

#[test]
fn ranges_are_half_open_and_contradictions_one_clear_error() {
    assert_eq!(resolve(&[]), Ok(TimeRange::ALL));
    let hour = 3_600 * NANOS_PER_SEC;
    assert_eq!(resolve(&["--last", "1h"]), Ok(TimeRange { since: Some(NOW - hour), until: None }));
    let both = TimeRange { since: Some(NOW - 2 * hour), until: Some(NOW - hour) };
    assert_eq!(resolve(&["--since", "2h ago", "--until", "1h"]), Ok(both));
    let wrong = resolve(&["--since", "14:30", "--until", "14:30"]).unwrap_err();
    assert_eq!(
        wrong,
        "nothing is between --since 2024-12-31T14:30:00Z and --until 2024-12-31T14:30:00Z: \
         the first must be the earlier one"
    );
    assert!(resolve(&["--last", "1h", "--since", "2h"]).unwrap_err().contains("cannot be used with"));
    assert!(resolve(&["--since", "noon"]).unwrap_err().contains("not a time; "));
    assert!(resolve(&["--since", "1500-01-01"]).unwrap_err().contains("--since is out of range"));
    assert!(resolve(&["--last", "20000w"]).unwrap_err().contains("not a duration; "));
}

#[test]
fn tables_show_the_time_of_the_place() {
    let east = FixedOffset::east_opt(5 * 3_600 + 1_800).unwrap();
    assert_eq!(date_time(NOW, &east), "2024-12-31 20:00:52");
    assert_eq!(end_time(NOW, NOW + 60 * NANOS_PER_SEC, &east), "20:01:52");
    assert_eq!(end_time(NOW, NOW + 14_400 * NANOS_PER_SEC, &east), "2025-01-01 00:00:52");
    assert_eq!(
        zone_name([NOW, NOW + 1], &east, Some(":Asia/Kolkata".to_owned())),
        "Asia/Kolkata (UTC+05:30)"
    );
    assert_eq!(zone_name([NOW], &Utc, Some("UTC".to_owned())), "UTC");
    let summer = NOW + 182 * 86_400 * NANOS_PER_SEC;
    let name = |shown: &[Nanos]| {
        zone_name(shown.iter().copied(), &Tz::Europe__Berlin, Some("Europe/Berlin".to_owned()))
    };
    assert_eq!(name(&[summer]), "Europe/Berlin (UTC+02:00)");
    assert_eq!(name(&[summer, NOW]), "Europe/Berlin (UTC+01:00 and UTC+02:00)");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*|[0-9:. TZ+-]{0,30}|[0-9]{1,25} ?[a-z]{0,6} ?(ago)?") {
        if let Ok(spec) = text.parse::<TimeSpec>() {
            spec.resolve(NOW, &Tz::Europe__Berlin, Edge::Since);
        }
    }

    /// From 1973 on: before, Liberia was off by half a minute, which RFC 3339 cannot tell.
    #[test]
    fn what_is_shown_reads_back(sec in 94_694_400..4_102_444_800_i64, zone in 0..chrono_tz::TZ_VARIANTS.len()) {
        let (stamp, zone) = (sec * NANOS_PER_SEC, chrono_tz::TZ_VARIANTS[zone]);
        let spec = |text: String| text.parse::<TimeSpec>().unwrap();
        prop_assert_eq!(spec(moment(stamp, &zone)).resolve(NOW, &zone, Edge::Since), Some(stamp));
        let local = spec(date_time(stamp, &zone));
        let ends = [Edge::Since, Edge::Until].map(|edge| local.resolve(NOW, &zone, edge).unwrap());
        prop_assert!(ends[0] <= stamp && stamp <= ends[1] && ends.contains(&stamp));
    }
}
