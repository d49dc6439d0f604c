//! What the service tells: how much passes, what is lost, how full the disk is.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Sparkline, SparklineBar};

use super::{BOLD, DIM, Look, draw_ends, fit, span, stamp_ms};
use crate::cli::table::{bytes, count, counted, duration};
use crate::cli::top::gather::{Kept, Service};
use crate::cli::top::model::Model;
use crate::daemon::ServiceState;

/// The age of a loss up to which packets are being lost now, milliseconds.
const NOW_MS: i64 = 10_000;

/// The longest bar, and the shortest that is worth its place, columns.
const BAR: usize = 12;
const MIN_BAR: usize = 7;

/// Rows of a screen of so many.
pub(super) fn height(rows: u16) -> u16 {
    3 + graph_height(rows)
}

fn graph_height(rows: u16) -> u16 {
    (rows / 8).clamp(3, 8)
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look) {
    match &model.service {
        Service::Unknown => {}
        Service::Absent(why) => absent(frame, area, why, model),
        Service::Running { state, .. } => running(frame, area, state, look),
    }
}

/// What there is to say when nothing records.
fn absent(frame: &mut Frame<'_>, area: Rect, why: &str, model: &Model) {
    let kept = match model.kept {
        Some(Kept { files, size, range: Some((first, last)) }) => {
            let time = |stamp| model.zone.show(stamp, "%Y-%m-%d %H:%M:%S");
            let files = counted(files as u64, "capture file");
            format!("Kept: {files}, {}, from {} to {}.", bytes(size), time(first), time(last))
        }
        Some(_) => "No packets are kept.".to_owned(),
        None => "Looking at what is kept …".to_owned(),
    };
    let rest = "The lists below show the last minutes of what is kept.".to_owned();
    let width = usize::from(area.width);
    let why = textwrap::wrap(why, width).into_iter().take(2).map(|line| line.into_owned());
    let lines = why.map(|line| (line, BOLD)).chain([(String::new(), DIM), (kept, Style::new()), (rest, DIM)]);
    for ((line, style), row) in lines.zip(area.rows()) {
        frame.render_widget(span(fit(&line, width), style), row);
    }
}

fn running(frame: &mut Frame<'_>, area: Rect, state: &ServiceState, look: Look) {
    let rows = [Constraint::Fill(1), Constraint::Length(1), Constraint::Length(1)];
    let [graphs, lost, disk] = Layout::vertical(rows).areas(area);
    let halves = |area| {
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(2), Constraint::Fill(1)]).areas::<3>(area)
    };
    let [left, _, right] = halves(graphs);
    let recent = &state.recent;
    let history =
        |rates: &VecDeque<u64>, now: f64| rates.iter().copied().chain([now as u64]).collect::<Vec<_>>();
    let losing = is_losing(state);
    let lost_then: Vec<_> = recent.lost.iter().map(|lost| *lost > 0).chain([losing]).collect();
    let graph = |rates, peaks, write, unit| {
        let step_ms = recent.step_ms;
        Graph { rates, peaks, lost: &lost_then, step_ms, write, unit }
    };
    let (bytes, packets) =
        (history(&recent.byte_rate, state.byte_rate), history(&recent.packet_rate, state.packet_rate));
    graph(bytes, &recent.byte_peak, bits, "").draw(frame, left, look);
    graph(packets, &recent.packet_peak, count, " packets/s").draw(frame, right, look);
    frame.render_widget(losses(state, losing, look, lost.width.into()), lost);
    let [left, _, right] = halves(disk);
    frame.render_widget(disk_bar(state, look, left.width.into()), left);
    frame.render_widget(retention_bar(state, look, right.width.into()), right);
}

/// Rates over time, the newest last.
struct Graph<'a> {
    rates: Vec<u64>,
    /// The highest of each step's seconds, as far as they are told.
    peaks: &'a VecDeque<u64>,
    /// Whether packets were lost then.
    lost: &'a [bool],
    step_ms: u64,
    write: fn(u64) -> String,
    /// What the present rate has and the peak can do without.
    unit: &'static str,
}

impl Graph<'_> {
    fn draw(&self, frame: &mut Frame<'_>, area: Rect, look: Look) {
        let [caption, graph] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        let columns = usize::from(graph.width);
        let skipped = self.rates.len().saturating_sub(columns);
        let (rates, lost) = (&self.rates[skipped..], &self.lost[skipped.min(self.lost.len())..]);
        let highest = rates.iter().copied().max().unwrap_or(0);
        let peak = self.peaks.iter().skip(skipped).copied().max().unwrap_or(0).max(highest);
        let now = (self.write)(rates.last().copied().unwrap_or(0));
        let now = Line::from(span(format_args!("{now}{}", self.unit), BOLD));
        let span_ms = (rates.len() as u64).saturating_sub(1) * self.step_ms;
        let told = match span_ms {
            0 => String::new(),
            // Whole minutes are enough.
            ms => format!("peak {} in {}", (self.write)(peak), duration(ms - ms % ms.clamp(1_000, 60_000))),
        };
        draw_ends(frame, caption, now, Line::from(span(told, DIM)));
        let empty = columns - rates.len();
        let blank = std::iter::repeat_n(SparklineBar::from(None::<u64>), empty);
        let bars = rates.iter().zip(lost).map(|(rate, lost)| {
            SparklineBar::from(*rate).style(if *lost { look.bad() } else { look.shape() })
        });
        let bars = Sparkline::default().absent_value_symbol(" ").max(highest.max(1)).data(blank.chain(bars));
        frame.render_widget(bars, graph);
        // Where packets were lost there is a mark, even if hardly any came through, and where there is no colour.
        for at in (0..lost.len()).filter(|at| lost[*at]) {
            let x = graph.x + u16::try_from(empty + at).unwrap_or(0);
            frame.render_widget(span("!", look.bad()), Rect { x, width: 1, height: 1, ..graph });
        }
    }
}

/// Bytes a second in the unit of those who talk about lines.
fn bits(rate: u64) -> String {
    format!("{}b/s", bytes(rate.saturating_mul(8)).trim_end_matches('B'))
}

/// Whether packets were lost a moment ago.
fn is_losing(state: &ServiceState) -> bool {
    let last = state.last_lost.by_cause().into_iter().flatten().filter_map(|time| stamp_ms(time)).max();
    stamp_ms(&state.updated).zip(last).is_some_and(|(now, last)| now - last <= NOW_MS)
}

fn losses(state: &ServiceState, losing: bool, look: Look, width: usize) -> Line<'static> {
    let causes = state.losses.by_cause();
    let unknown: Vec<_> = causes.iter().filter(|(_, lost)| lost.is_none()).map(|(cause, _)| *cause).collect();
    let unknown = match &unknown[..] {
        [] => String::new(),
        causes => format!("; {} unknown", causes.join(", ")),
    };
    let lost: Vec<_> =
        causes.iter().filter_map(|(cause, lost)| Some((cause, lost.filter(|n| *n > 0)?))).collect();
    if lost.is_empty() {
        let text = format!("none since the start{unknown}");
        return Line::from(vec![
            label("Lost"),
            span(text, if unknown.is_empty() { look.good() } else { DIM }),
        ]);
    }
    let hourly: u64 = state.hour.counts.losses.by_cause().iter().filter_map(|(_, lost)| *lost).sum();
    let style = match (losing, hourly) {
        (true, _) => look.bad(),
        (false, 0) => Style::new(),
        (false, _) => look.warning(),
    };
    let told: Vec<_> = lost.iter().map(|(cause, n)| format!("{} {cause}", count(*n))).collect();
    let told = format!("{}{}", told.join(", "), if losing { ", losing now" } else { "" });
    let rest = format!("; {} in the last hour{unknown}", count(hourly));
    let room = width.saturating_sub(LABEL + told.len());
    Line::from(vec![label("Lost"), span(told, style), span(fit(&rest, room), DIM)])
}

/// Columns of what a line is about.
const LABEL: usize = 6;

fn label(text: &str) -> ratatui::text::Span<'static> {
    span(format_args!("{text:<LABEL$}"), DIM)
}

/// A bar, and what it stands for.
fn bar(name: &str, part: f64, style: Style, text: &str, width: usize) -> Line<'static> {
    let room = width.saturating_sub(LABEL + 1 + text.len());
    let columns = room.min(BAR);
    let full = ((part.clamp(0.0, 1.0) * columns as f64).round() as usize).min(columns);
    let mut line = vec![label(name)];
    if columns > 2 {
        line.push(span("━".repeat(full), style));
        line.push(span("─".repeat(columns - full), DIM));
        line.push(span(" ", Style::new()));
    }
    line.push(span(fit(text, width.saturating_sub(LABEL)), Style::new()));
    Line::from(line)
}

fn disk_bar(state: &ServiceState, look: Look, width: usize) -> Line<'static> {
    let Some(disk) = state.disk else { return Line::from(label("Disk")) };
    let part = disk.total.saturating_sub(disk.free) as f64 / disk.total.max(1) as f64;
    let text = format!("{} of {} free", bytes(disk.free), bytes(disk.total));
    bar("Disk", part, look.shape(), &text, width)
}

fn retention_bar(state: &ServiceState, look: Look, width: usize) -> Line<'static> {
    let Some(reach) = &state.retention else { return Line::from(label("Kept")) };
    let part = reach.bytes as f64 / reach.allowed.max(1) as f64;
    let of = format!("{} of {}", bytes(reach.bytes), bytes(reach.allowed));
    let Some(kept) = reach.kept_ms.map(duration) else {
        return bar("Kept", part, look.shape(), &of, width);
    };
    let mut text = format!("{of}, {kept}");
    if width < LABEL + MIN_BAR + 1 + text.len() {
        // Its larger unit is enough.
        let units = kept.match_indices(' ').nth(1).map_or(kept.len(), |(at, _)| at);
        text.truncate(text.len() - (kept.len() - units));
    }
    bar("Kept", part, look.shape(), &text, width)
}
