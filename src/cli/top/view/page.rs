//! What takes the place of the lists: a finding in full, and the keys.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::{BOLD, DIM, Look, span};
use crate::cli::escape::Escaped;
use crate::cli::top::gather::Shown;
use crate::detect::Severity;

/// The longest line that reads well, columns.
const READABLE: usize = 100;

/// A finding, as `suspicious` shows it.
pub(super) fn finding(frame: &mut Frame<'_>, area: Rect, shown: &Shown, look: Look) {
    let width = usize::from(area.width).min(READABLE);
    let style = match shown.finding.severity {
        Severity::High => look.bad(),
        Severity::Medium => look.warning(),
        Severity::Low | Severity::Info => BOLD,
    };
    let mut lines = vec![Line::from(span(&shown.head, style)), Line::default()];
    for detail in &shown.details {
        let detail = Escaped(detail).to_string();
        // What comes first in a line is what it is about, or the line is a sentence.
        let options = textwrap::Options::new(width).subsequent_indent("  ");
        let wrapped = textwrap::wrap(&detail, options);
        lines.extend(wrapped.into_iter().map(|line| Line::from(span(line, Style::new()))));
    }
    lines.push(Line::default());
    lines.push(Line::from(span("w writes its packets to a file that Wireshark opens.", DIM)));
    for (line, row) in lines.into_iter().zip(area.rows()) {
        frame.render_widget(line, row);
    }
}

/// What each key does.
const HELP: [(&str, &str); 12] = [
    ("Tab ← →", "the next list, the one before"),
    ("↑ ↓ j k", "choose a row; also PageUp, PageDown, Home, End"),
    ("Enter", "on a host: show it alone; on a finding: open it"),
    ("s", "sort by bytes, packets, sent, received, last; findings by severity"),
    ("/ f", "show only a host or a network: 10.0.0.7, 192.168.1.0/24, 2001:db8::/32"),
    ("Esc", "show all hosts again; leave a page or a question"),
    ("w", "write the packets of the finding that is chosen to a capture file"),
    ("p Space", "pause: the picture stands still, recording goes on"),
    ("? h", "this page"),
    ("q", "quit; so does Ctrl-C"),
    ("!", "above a graph: packets were lost then"),
    ("BYTES ±", "so many hosts or conversations that small ones may be missing"),
];

/// The keys.
pub(super) fn help(frame: &mut Frame<'_>, area: Rect) {
    let head = Line::from(span("Keys", BOLD));
    let lines = HELP
        .iter()
        .map(|(key, does)| Line::from(vec![span(format_args!("{key:<10}"), BOLD), span(does, Style::new())]));
    for (line, row) in [head, Line::default()].into_iter().chain(lines).zip(area.rows()) {
        frame.render_widget(line, row);
    }
}
