//! Who, with whom, which protocols, and what was found.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Row, Table, TableState};

use super::{AIRY, BOLD, DIM, Look, fit, fit_ends, span};
use crate::cli::table::{bytes, count};
use crate::cli::top::gather::{Conversation, Endpoint, Found, Shown};
use crate::cli::top::model::{Model, Order, Pane};
use crate::detect::Severity;
use crate::flow::key::Numbers;
use crate::flow::record::transport_name;
use crate::packet::addr::Addr;

/// From this width on nothing is left out.
const WIDE: u16 = 110;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look) {
    let Some(found) = &model.found else {
        let text = span(format_args!("Looking at the last {} …", model.window), DIM);
        return frame.render_widget(text, Rect { height: 1, ..area });
    };
    let air = u16::from(frame.area().height >= AIRY);
    let rows = area.height.saturating_sub(2 * air);
    let (top, last) = (rows.div_ceil(3), rows / 3);
    let sizes = [top, air, rows - top - last, air, last].map(Constraint::Length);
    let [top, _, talks, _, findings] = Layout::vertical(sizes).areas(area);
    let right = (area.width / 3).clamp(27, 44);
    let sizes = [Constraint::Fill(1), Constraint::Length(3), Constraint::Length(right)];
    let [endpoints, _, protocols] = Layout::horizontal(sizes).areas(top);
    let list = |pane| List { model, pane, look };
    list(Pane::Endpoints).endpoints(frame, endpoints, &found.endpoints);
    draw_protocols(frame, protocols, found, look);
    list(Pane::Conversations).conversations(frame, talks, &found.conversations);
    list(Pane::Findings).findings(frame, findings, &found.findings);
}

/// A column: its head, its width, and on which side it ends.
type Column = (String, u16, Alignment);

fn text_column(head: &str, width: usize) -> Column {
    (head.to_owned(), u16::try_from(width).unwrap_or(u16::MAX), Alignment::Left)
}

/// Blanks between columns.
const GAP: u16 = 2;

struct List<'a> {
    model: &'a Model,
    pane: Pane,
    look: Look,
}

impl List<'_> {
    /// A column of numbers; marked if it is sorted by.
    fn number_column(&self, head: &str, order: Order) -> Column {
        let about = if order == Order::Bytes && self.inexact() { " ±" } else { "" };
        let mark = if self.model.order(self.pane) == order { "▾" } else { "" };
        (format!("{head}{about}{mark}"), 9, Alignment::Right)
    }

    fn inexact(&self) -> bool {
        self.model
            .found
            .as_ref()
            .and_then(|found| found.inexact.get(self.pane as usize))
            .is_some_and(|inexact| *inexact)
    }

    fn endpoints(&self, frame: &mut Frame<'_>, area: Rect, rows: &[Endpoint]) {
        let by_packets = self.model.order(self.pane) == Order::Packets;
        let wide = area.width >= 60;
        let mut columns = Vec::new();
        if wide || by_packets {
            columns.push(self.number_column("PACKETS", Order::Packets));
        }
        if wide || !by_packets {
            columns.push(self.number_column("SENT", Order::Sent));
        }
        columns.push(self.number_column("RECEIVED", Order::Received));
        columns.push(self.number_column("BYTES", Order::Bytes));
        let name = room(area.width, &columns);
        columns.insert(0, text_column("ENDPOINT", name));
        self.table(frame, area, &columns, rows, |(addr, traffic)| {
            let mut cells = vec![span(fit_ends(&addr.to_string(), name), Style::new())];
            let total = traffic.total();
            if wide || by_packets {
                cells.push(span(count(total.packets), Style::new()));
            }
            if wide || !by_packets {
                cells.push(span(bytes(traffic.tx.bytes), Style::new()));
            }
            cells.extend([traffic.rx.bytes, total.bytes].map(|n| span(bytes(n), Style::new())));
            cells
        });
    }

    fn conversations(&self, frame: &mut Frame<'_>, area: Rect, rows: &[Conversation]) {
        let order = self.model.order(self.pane);
        let wide = area.width >= WIDE;
        let known = [
            ("PACKETS", Order::Packets),
            ("SENT", Order::Sent),
            ("RECEIVED", Order::Received),
            ("LAST", Order::Last),
            ("BYTES", Order::Bytes),
        ];
        // On a narrow screen bytes, and what is sorted by.
        let second = if order == Order::Bytes { Order::Packets } else { order };
        let shown: Vec<_> =
            known.into_iter().filter(|(_, o)| wide || *o == Order::Bytes || *o == second).collect();
        let mut columns = vec![text_column("APP", 9)];
        columns.extend(shown.iter().map(|(head, order)| self.number_column(head, *order)));
        let both = room(area.width, &columns).saturating_sub(GAP.into());
        let (src, dst) = (both - both / 2, both / 2);
        columns.splice(0..0, [text_column("SOURCE", src), text_column("DESTINATION", dst)]);
        self.table(frame, area, &columns, rows, |(key, talk)| {
            let (from, to) = talk.ends(key);
            let ports = key.numbers == Numbers::Ports;
            let app = talk.app.map_or_else(|| transport_name(key.proto), |(app, _)| app.name().into());
            let mut cells = vec![
                span(fit_ends(&end(from, ports), src), Style::new()),
                span(fit_ends(&end(to, ports), dst), Style::new()),
                span(fit(&app, 9), Style::new()),
            ];
            cells.extend(shown.iter().map(|(_, order)| {
                let text = match order {
                    Order::Packets => count(talk.total().packets),
                    Order::Sent => bytes(talk.orig.bytes),
                    Order::Received => bytes(talk.resp.bytes),
                    Order::Last => self.model.zone.show(talk.last, "%H:%M:%S"),
                    Order::Bytes => bytes(talk.total().bytes),
                };
                span(text, Style::new())
            }));
            cells
        });
    }

    fn findings(&self, frame: &mut Frame<'_>, area: Rect, rows: &[Shown]) {
        let mark = |marked| if marked { "▾" } else { "" };
        let seen = format!("LAST SEEN{}", mark(!self.model.gravest));
        let severity = format!("SEVERITY{}", mark(self.model.gravest));
        let mut columns = vec![text_column(&seen, 11), text_column(&severity, 9)];
        let rest = room(area.width, &columns);
        columns.push(text_column("FINDING", rest));
        if rows.is_empty() {
            let of = if self.model.hosts.is_some() { " about these hosts" } else { "" };
            let [_, below] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
            frame.render_widget(
                span(format_args!("nothing suspicious{of}"), DIM),
                Rect { height: 1, ..below },
            );
        }
        self.table(frame, area, &columns, rows, |shown| {
            let finding = &shown.finding;
            let style = match finding.severity {
                Severity::High => self.look.bad(),
                Severity::Medium => self.look.warning(),
                Severity::Low | Severity::Info => Style::new(),
            };
            let severity = format!("{:?}", finding.severity).to_lowercase();
            vec![
                span(self.model.zone.show(finding.last_seen, "%m-%d %H:%M"), Style::new()),
                span(severity, style),
                span(fit(&format!("{}: {}", finding.detector, finding.summary), rest), Style::new()),
            ]
        });
    }

    /// Draws a list: its head, and as many rows as fit around the one that is selected.
    fn table<R>(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        columns: &[Column],
        rows: &[R],
        cells: impl Fn(&R) -> Vec<ratatui::text::Span<'static>>,
    ) {
        let focused = self.model.pane == self.pane;
        let at = self.model.selected[self.pane as usize].min(rows.len().saturating_sub(1));
        let height = usize::from(area.height.saturating_sub(1));
        let first = at.saturating_sub(height.saturating_sub(1)).min(rows.len().saturating_sub(height));
        let style = if focused { BOLD.patch(self.look.shape()) } else { BOLD };
        let style = style.add_modifier(Modifier::UNDERLINED);
        let head = Row::new(columns.iter().map(|(head, _, align)| aligned(span(head, Style::new()), *align)));
        let shown = rows.iter().skip(first).take(height);
        let body = shown.map(|row| {
            Row::new(cells(row).into_iter().zip(columns).map(|(cell, (.., align))| aligned(cell, *align)))
        });
        let selected = focused && !rows.is_empty();
        let table = Table::new(body, columns.iter().map(|(_, width, _)| Constraint::Length(*width)))
            .header(head.style(style))
            .column_spacing(GAP)
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        let mut state = TableState::new().with_selected(selected.then_some(at - first));
        frame.render_stateful_widget(table, area, &mut state);
    }
}

fn aligned(text: ratatui::text::Span<'static>, align: Alignment) -> Cell<'static> {
    Cell::new(Text::from(Line::from(text)).alignment(align))
}

/// What is left beside these columns for one more.
fn room(width: u16, columns: &[Column]) -> usize {
    usize::from(columns.iter().fold(width, |room, (_, width, _)| room.saturating_sub(width + GAP)))
}

fn end((addr, port): (Addr, u16), ports: bool) -> String {
    match ports {
        true if addr.is_v4() => format!("{addr}:{port}"),
        true => format!("[{addr}]:{port}"),
        false => addr.to_string(),
    }
}

/// Columns of a protocol's name and of its share, a blank to the bar between them included.
const NAME: usize = 11;
const SHARE: usize = 8;

/// The mix of protocols: a bar and a share each.
fn draw_protocols(frame: &mut Frame<'_>, area: Rect, found: &Found, look: Look) {
    let total: u64 = found.protocols.iter().map(|(_, count)| count.bytes).sum();
    let width = usize::from(area.width).saturating_sub(NAME + SHARE);
    let head = Line::from(span(
        format_args!("{:<NAME$}{:width$}{:>SHARE$}", "PROTOCOL", "", "SHARE"),
        BOLD.add_modifier(Modifier::UNDERLINED),
    ));
    let most = found.protocols.first().map_or(0, |(_, count)| count.bytes).max(1);
    let lines = found.protocols.iter().map(|(protocol, count)| {
        let columns = (count.bytes as f64 / most as f64 * width as f64).round() as usize;
        let bar = format!("{:<width$}", "━".repeat(columns.clamp(usize::from(count.bytes > 0), width)));
        let percent = format!("{:.1} %", count.bytes as f64 * 100.0 / total.max(1) as f64);
        Line::from(vec![
            span(format_args!("{:<NAME$}", fit(protocol, NAME - 1)), Style::new()),
            span(bar, look.shape()),
            span(format_args!("{percent:>SHARE$}"), Style::new()),
        ])
    });
    for (line, row) in std::iter::once(head).chain(lines).zip(area.rows()) {
        frame.render_widget(line, row);
    }
}
