//! Traffic over time, and below it what was lost, when nothing could be captured, and what was found.

use chrono::TimeZone;
use maud::{Markup, html};

use super::super::zone::Here;
use super::Report;
use super::axis::{Axis, decimal, percent};
use crate::cli::list::{end_of, lost_text};
use crate::cli::table::{bytes, count, counted, duration};
use crate::cli::time::{date_time, end_time};
use crate::index::timeline::{Step, Steps};
use crate::packet::{NANOS_PER_SEC, Nanos};
use crate::store::losses::Losses;

/// Heights: of the plot, from the top of which bars hang, and of a lane below it.
const TOP: f64 = 8.0;
const PLOT: f64 = 180.0;
const LANE: f64 = 16.0;

/// Marks in a lane, at most.
const MARKS: usize = 150;

pub(super) fn draw(report: &Report) -> Markup {
    let axis = Axis::of(&report.over_time);
    let most = report.over_time.iter().map(|(_, step)| rate(step, &report.over_time)).fold(0.0, f64::max);
    let scale = Scale::of(most);
    let (losses, gaps) = (losses(report, &axis), gaps(report, &axis));
    let found: Vec<_> = report.findings.findings.iter().take(MARKS).collect();
    let lanes = [("lost", !losses.is_empty()), ("found", !found.is_empty())];
    let lane = |name: &str| {
        let before = lanes.iter().take_while(|(lane, _)| *lane != name).filter(|(_, used)| *used).count();
        PLOT + 6.0 + before as f64 * LANE
    };
    let used = lanes.iter().filter(|(_, used)| *used).count();
    let bottom = PLOT + 6.0 + used as f64 * LANE;
    let told = format!("Traffic over time, at most {}", bits(most));
    html! {
        div.chart {
            svg.gutter height=(bottom + 20.0) aria-hidden="true" {
                @for level in scale.levels() {
                    text x="100%" y=(decimal(scale.y(level) + 4.0)) text-anchor="end" { (bits(level)) }
                }
                @for (name, _) in lanes.iter().filter(|(_, used)| *used) {
                    text x="100%" y=(lane(name) + 9.0) text-anchor="end" { (name) }
                }
            }
            svg #traffic height=(bottom + 20.0) role="img" aria-label=(told) {
                defs {
                    pattern #hatch width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                        rect width="3" height="6" {}
                    }
                }
                @for (at, text) in axis.marks(&Here) {
                    @let x = percent(axis.place(at));
                    line.grid x1=(x) x2=(x) y1=(TOP) y2=(bottom) {}
                    text.mark x=(x) y=(bottom + 14.0) dx="3" { (text) }
                }
                @for level in scale.levels() {
                    @let y = decimal(scale.y(level));
                    line.grid x1="0" x2="100%" y1=(y) y2=(y) {}
                }
                g.bars { @for (at, step) in report.over_time.iter() { (bar(at, step, report, &axis, &scale)) } }
                @for (from, to, told) in &gaps {
                    rect.gap x=(percent(*from)) width=(percent((to - from).max(0.15))) y=(TOP) height=(decimal(PLOT - TOP)) { title { (told) } }
                }
                @for (from, to, told) in &losses {
                    rect.loss x=(percent(*from)) width=(percent((to - from).max(0.25))) y=(lane("lost")) height="10" rx="2" { title { (told) } }
                }
                @for finding in &found {
                    circle class={"s-" (super::findings::word(finding.severity))} cx=(percent(axis.place(finding.first_seen))) cy=(lane("found") + 5.0) r="5" {
                        title { (date_time(finding.first_seen, &Here)) " " (finding.detector) ": " (finding.summary) }
                    }
                }
            }
        }
        p #traffic-value .value aria-live="polite" {}
        (key(report, !losses.is_empty(), !gaps.is_empty()))
    }
}

/// What colours mean, if there are several.
fn key(report: &Report, losses: bool, gaps: bool) -> Markup {
    let records = report.basis.records > 0;
    let kinds = [
        ("", "packets", records || losses || gaps),
        ("records", "flow records alone", records),
        ("gap", "nothing could be captured", gaps),
        ("loss", "packets lost, somewhere in this time", losses),
    ];
    html! {
        div.keys { @for (class, words, _) in kinds.iter().filter(|(.., used)| *used) {
            span { svg.k aria-hidden="true" { rect class=(class) width="14" height="12" rx="2" {} } (words) }
        } }
    }
}

/// Bits a second, on average over a step.
fn rate(step: &Step, steps: &Steps) -> f64 {
    step.total().bytes as f64 * 8.0 * NANOS_PER_SEC as f64 / steps.width() as f64
}

/// A rate as people write it.
pub(super) fn bits(rate: f64) -> String {
    format!("{}b/s", bytes(rate.round() as u64).trim_end_matches('B'))
}

fn bar(at: Nanos, step: &Step, report: &Report, axis: &Axis, scale: &Scale) -> Markup {
    let steps = &report.over_time;
    let end = at.saturating_add(steps.width());
    let (x, wide) = (axis.place(at), axis.place(end) - axis.place(at));
    let total = rate(step, steps);
    let records = total * step.records.bytes as f64 / step.total().bytes.max(1) as f64;
    let y = scale.y(total);
    let told = format!(
        "{}–{}: {}, {}, {}",
        moment(at, steps.width(), &Here),
        end_of_step(at, end, steps.width(), &Here),
        bits(total),
        bytes(step.total().bytes),
        counted(step.total().packets, "packet")
    );
    let split = scale.y(records);
    html! {
        g.bar {
            title { (told) }
            @if step.total().packets > 0 {
                rect x=(percent(x)) width=(percent(wide)) y=(decimal(y)) height=(decimal(split - y)) {}
                @if step.records.packets > 0 {
                    rect.records x=(percent(x)) width=(percent(wide)) y=(decimal(split)) height=(decimal(PLOT - split)) {}
                }
            }
            rect.hit x=(percent(x)) width=(percent(wide)) y=(TOP) height=(decimal(PLOT - TOP)) {}
        }
    }
}

fn moment<Z: TimeZone>(at: Nanos, width: Nanos, zone: &Z) -> String {
    let text = date_time(at, zone);
    if width < NANOS_PER_SEC {
        format!("{text}.{:03}", at.rem_euclid(NANOS_PER_SEC) / 1_000_000)
    } else {
        text
    }
}

fn end_of_step<Z: TimeZone>(from: Nanos, at: Nanos, width: Nanos, zone: &Z) -> String {
    let text = end_time(from, at, zone);
    if width < NANOS_PER_SEC {
        format!("{text}.{:03}", at.rem_euclid(NANOS_PER_SEC) / 1_000_000)
    } else {
        text
    }
}

/// From where to where, and what it was.
type Mark = (f64, f64, String);

/// Files that miss packets, those that miss most if there are many.
fn losses(report: &Report, axis: &Axis) -> Vec<Mark> {
    let missed = |losses: &Losses| losses.by_cause().iter().filter_map(|(_, lost)| *lost).sum::<u64>();
    let mut files: Vec<_> =
        report.files.iter().flat_map(super::captures).filter(|facts| missed(&facts.losses) > 0).collect();
    files.sort_by_key(|facts| std::cmp::Reverse(missed(&facts.losses)));
    let mark = |facts: &crate::store::facts::CaptureFacts| {
        let (first, last) = facts.first.zip(facts.last).filter(|(a, b)| axis.touches(*a, *b))?;
        let (lost, _) = lost_text(&facts.losses);
        let (from, to) = (date_time(first, &Here), end_time(first, last, &Here));
        Some((
            axis.place(first),
            axis.place(last),
            format!("Lost: {lost}, between {from} and {to} ({})", facts.name),
        ))
    };
    files.into_iter().take(MARKS).filter_map(mark).collect()
}

/// Times in which nothing could be captured.
fn gaps(report: &Report, axis: &Axis) -> Vec<Mark> {
    let gaps = report.files.iter().flat_map(|files| &files.view.gaps);
    let mark = |gap: &crate::store::catalog::Gap| {
        let (from, to) = gap.from.zip(end_of(gap)).filter(|(a, b)| axis.touches(*a, *b))?;
        let time = format!("{}–{}", date_time(from, &Here), end_time(from, to, &Here));
        let told = format!("Gap {time} ({}): {}", duration(gap.duration_ms), gap.reason);
        Some((axis.place(from), axis.place(to), told))
    };
    gaps.rev().take(MARKS).filter_map(mark).collect()
}

/// What the chart rests on, in words.
pub(super) fn resolution(report: &Report) -> String {
    let basis = &report.basis;
    let each = duration((report.over_time.width() / 1_000_000).max(1) as u64);
    let mut told = format!("A bar is {each}.");
    if basis.even > 0 {
        let files = counted(basis.even as u64, "capture file");
        let longest = duration((basis.longest / 1_000_000).max(1) as u64);
        told += &format!(
            " Of {files} only begin and end are known here, at most {longest} apart: drawn as if evenly filled."
        );
    }
    if basis.read > 0 {
        told +=
            &format!(" Of {} every packet is placed by its own stamp.", counted(basis.read as u64, "file"));
    }
    if basis.records > 0 {
        told += &format!(
            " Paler: {} of packets that are in no file (any more), each drawn evenly over its time.",
            counted(basis.records, "flow record")
        );
    }
    told
}

/// The same in rows, for who reads rather than looks.
pub(super) fn rows(report: &Report) -> Markup {
    let steps = &report.over_time;
    html! {
        details.rows {
            summary { "The same as a table" }
            div.scroll { table {
                thead { tr { th scope="col" { "From" } th.n scope="col" { "Packets" } th.n scope="col" { "Bytes" } th.n scope="col" { "Rate" } } }
                tbody {
                    @for (at, step) in steps.iter().filter(|(_, step)| step.total().packets > 0) {
                        tr {
                            td { (moment(at, steps.width(), &Here)) }
                            td.n { (count(step.total().packets)) }
                            td.n { (bytes(step.total().bytes)) }
                            td.n { (bits(rate(step, steps))) }
                        }
                    }
                }
            } }
        }
    }
}

/// From a rate to a height.
struct Scale {
    /// The rate of a level; there are up to five.
    level: f64,
    most: f64,
}

impl Scale {
    /// Levels at 1, 2 or 5 times a power of ten.
    fn of(most: f64) -> Self {
        let most = most.max(1.0);
        let power = 10_f64.powf((most / 5.0).log10().floor());
        let level = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|level| level * 5.0 >= most);
        Self { level: level.unwrap_or(most), most }
    }

    fn levels(&self) -> impl Iterator<Item = f64> {
        let (level, most) = (self.level, self.most);
        (1..=5).map(move |n| f64::from(n) * level).filter(move |level| *level <= most)
    }

    fn y(&self, rate: f64) -> f64 {
        PLOT - (PLOT - TOP) * rate / self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_round_and_few() {
        for (most, levels) in
            [(0.0, &[0.2, 0.4, 0.6, 0.8, 1.0][..]), (1_234_567.0, &[5e5, 1e6]), (9e6, &[2e6, 4e6, 6e6, 8e6])]
        {
            let scale = Scale::of(most);
            let told: Vec<_> = scale.levels().collect();
            assert_eq!(told.len(), levels.len(), "{told:?}");
            assert!(told.iter().zip(levels).all(|(a, b)| (a - b).abs() < b * 1e-9), "{told:?}");
        }
        let scale = Scale::of(100.0);
        assert_eq!([0.0, 50.0, 100.0].map(|rate| scale.y(rate)), [PLOT, (PLOT + TOP) / 2.0, TOP]);
    }
}
