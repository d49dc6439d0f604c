//! The model as a frame. Pure. Only the sixteen colours that every terminal lets its owner choose, on the background that is there,
//! so that it reads in light and dark; without colour nothing is said by colour alone.

mod lists;
mod page;
mod strip;

use std::fmt::Display;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::gather::Service;
use super::model::{Mode, Model, Prompt};
use crate::cli::escape::Escaped;
use crate::cli::table::duration;
use crate::daemon::{Activity, ServiceState};

/// The smallest screen that shows all of it.
const SMALLEST: (u16, u16) = (80, 24);

/// From this height on there is air between the parts.
const AIRY: u16 = 30;

/// How things look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) colour: bool,
}

impl Look {
    fn coloured(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    /// What is drawn rather than written.
    fn shape(self) -> Style {
        self.coloured(Color::Cyan)
    }

    fn good(self) -> Style {
        self.coloured(Color::Green)
    }

    fn warning(self) -> Style {
        self.coloured(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    fn bad(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }
}

const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, look: Look) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let (columns, rows) = SMALLEST;
        let text = [
            format!("top takes {columns} columns and {rows} rows;"),
            format!("this terminal has {} and {}.", area.width, area.height),
            "Make it larger, or press q.".to_owned(),
        ];
        for (line, at) in text.iter().zip(area.rows()) {
            frame.render_widget(span(line, Style::new()), at);
        }
        return;
    }
    let air = u16::from(area.height >= AIRY);
    let rows = [1 + air, strip::height(area.height), air];
    let [head, strip, air] = rows.map(Constraint::Length);
    let rows = [head, strip, air, Constraint::Fill(1), Constraint::Length(1)];
    let [head, strip, _, body, foot] = Layout::vertical(rows).areas(area);
    draw_head(frame, head, model, look);
    strip::draw(frame, strip, model, look);
    match &model.mode {
        Mode::Help => page::help(frame, body),
        Mode::Finding(shown) | Mode::Write(shown, _) => page::finding(frame, body, shown, look),
        Mode::Lists | Mode::Host(_) => lists::draw(frame, body, model, look),
    }
    draw_foot(frame, foot, model, look);
}

/// Text that is safe on a terminal, whoever made it.
fn span(text: impl Display, style: Style) -> Span<'static> {
    Span::styled(Escaped(text).to_string(), style)
}

/// As much of a text as fits, the rest told by an ellipsis at its end.
fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut fitting = cut(text.chars(), width.saturating_sub(1)).collect::<String>();
    if width > 0 {
        fitting.push('…');
    }
    fitting
}

/// The same with the ellipsis inside, for what tells most at both ends.
fn fit_ends(text: &str, width: usize) -> String {
    if text.width() <= width || width < 8 {
        return fit(text, width);
    }
    let tail: Vec<_> = cut(text.chars().rev(), (width - 1) / 2).collect();
    let head: String = cut(text.chars(), width - 1 - (width - 1) / 2).collect();
    format!("{head}…{}", tail.into_iter().rev().collect::<String>())
}

/// The same with the ellipsis at its beginning.
fn fit_tail(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let tail: Vec<_> = cut(text.chars().rev(), width.saturating_sub(1)).collect();
    format!("…{}", tail.into_iter().rev().collect::<String>())
}

fn cut(chars: impl Iterator<Item = char>, width: usize) -> impl Iterator<Item = char> {
    let mut taken = 0;
    chars.take_while(move |c| {
        taken += c.width().unwrap_or(0);
        taken <= width
    })
}

/// A line with something at either end; what is at the left gives way.
fn draw_ends(frame: &mut Frame<'_>, area: Rect, left: Line<'static>, right: Line<'static>) {
    let width = u16::try_from(right.width()).unwrap_or(u16::MAX).min(area.width);
    let [left_area, _, right_area] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(1), Constraint::Length(width)])
            .areas(area);
    frame.render_widget(left, left_area);
    frame.render_widget(right, right_area);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look) {
    let mut left = vec![span("tapkeep  ", BOLD)];
    match &model.service {
        Service::Unknown => {}
        Service::Absent(_) => left.push(span("no service", look.bad())),
        Service::Running { state, warnings } => {
            let port = state.interface.as_deref().unwrap_or("no interface");
            left.push(span(port, BOLD));
            let notes = model.found.as_ref().map_or(&[][..], |found| &found.notes);
            let wrong: Vec<_> = warnings.iter().chain(notes).map(String::as_str).collect();
            let (what, style) = match &state.activity {
                _ if !wrong.is_empty() => (wrong.join("; "), look.warning()),
                Activity::Capturing => (format!("capturing for {}", running_for(state)), look.good()),
                _ => (String::new(), look.warning()),
            };
            left.push(span(format_args!("  {what}"), style));
        }
    }
    let mut right = Vec::new();
    if model.paused {
        right.extend([span(" PAUSED ", BOLD.add_modifier(Modifier::REVERSED)), span("  ", Style::new())]);
    }
    if let Some(net) = model.hosts {
        let net = net.to_string();
        let host = net.trim_end_matches(if net.contains(':') { "/128" } else { "/32" }).to_owned();
        right.extend([span(format_args!("only {host}"), look.warning()), span("  ", Style::new())]);
    }
    right.push(span(format_args!("last {}", model.window), Style::new()));
    if !model.clock.is_empty() {
        right.push(span(format_args!("  {}", model.clock), DIM));
    }
    let first = Rect { height: 1, ..area };
    let right = Line::from(right);
    let before: usize = left.iter().rev().skip(1).map(Span::width).sum();
    if let Some(last) = left.last_mut() {
        let room = usize::from(area.width).saturating_sub(before + 1 + right.width());
        last.content = fit(&last.content, room).into();
    }
    draw_ends(frame, first, Line::from(left), right);
}

/// For how long it has run.
fn running_for(state: &ServiceState) -> String {
    let [started, updated] = [&state.started, &state.updated].map(|time| stamp_ms(time));
    let ms = updated.zip(started).map_or(0, |(updated, started)| updated - started);
    duration(u64::try_from(ms).unwrap_or(0))
}

/// A time in RFC 3339 as milliseconds.
fn stamp_ms(time: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(time).ok().map(|time| time.timestamp_millis())
}

/// The keys of the lists, and what each does.
const KEYS: [(&str, &str); 8] = [
    ("Tab", "next list"),
    ("↑↓", "choose"),
    ("Enter", "open"),
    ("s", "sort"),
    ("/", "host"),
    ("p", "pause"),
    ("?", "help"),
    ("q", "quit"),
];

/// The same while a finding is open.
const KEYS_OF_FINDING: [(&str, &str); 4] =
    [("w", "write its packets to a file"), ("↑↓", "next finding"), ("Esc", "back"), ("q", "quit")];

fn draw_foot(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look) {
    let line = match (&model.message, &model.mode) {
        (Some(message), _) => {
            let text = Escaped(&message.text).to_string();
            let style = if message.bad { look.bad() } else { look.good().add_modifier(Modifier::BOLD) };
            Line::from(span(fit_ends(&text, area.width.into()), style))
        }
        (None, Mode::Host(prompt)) => return ask(frame, area, "Host or network: ", prompt, look),
        (None, Mode::Write(_, prompt)) => return ask(frame, area, "Write its packets to: ", prompt, look),
        (None, Mode::Finding(_)) => keys(&KEYS_OF_FINDING),
        (None, Mode::Help) => keys(&[("any key", "back")]),
        (None, Mode::Lists) => keys(&KEYS),
    };
    frame.render_widget(line, area);
}

fn keys(keys: &[(&str, &str)]) -> Line<'static> {
    let spans = keys.iter().flat_map(|(key, does)| [span(key, BOLD), span(format_args!(" {does}  "), DIM)]);
    Line::from_iter(spans)
}

/// A line to type into, with the cursor where it goes on.
fn ask(frame: &mut Frame<'_>, area: Rect, question: &str, prompt: &Prompt, look: Look) {
    let text = Escaped(&prompt.text).to_string();
    let hint = prompt.wrong.as_ref().map_or_else(
        || span("   Enter: do it   Esc: leave it", DIM),
        |wrong| span(format_args!("   {wrong}"), look.bad()),
    );
    let room = usize::from(area.width).saturating_sub(question.width() + hint.width().min(34) + 1);
    // Of a long line the end is what is being typed.
    let shown = fit_tail(&text, room);
    let cursor = u16::try_from(question.width() + shown.width()).unwrap_or(u16::MAX);
    frame.render_widget(Line::from(vec![span(question, BOLD), span(shown, Style::new()), hint]), area);
    frame.set_cursor_position((area.x.saturating_add(cursor).min(area.right().saturating_sub(1)), area.y));
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
