//! The page: one HTML document with all that it needs within. Its policy lets nothing run or load but its own style and script,
//! by their digests, and nothing reach a network.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::super::zone::Here;
use super::{Report, Service, findings, icicle, tables, traffic};
use crate::cli::table::{bytes, count, counted, duration};
use crate::cli::time::{date_time, end_time};
use crate::store::losses::Losses;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What a Content-Security-Policy calls a text by.
fn digest(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

fn policy() -> String {
    let (style, script) = (digest(STYLE), digest(SCRIPT));
    format!("default-src 'none'; style-src {style}; script-src {script}; base-uri 'none'; form-action 'none'")
}

pub(super) fn page(report: &Report) -> Markup {
    let files = tables::files(report);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="referrer" content="no-referrer";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={"tapkeep " (env!("CARGO_PKG_VERSION"))};
                title { "Tapkeep: " (report.place) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(report, files.is_some()))
                main {
                    (tiles(report))
                    @if report.span.is_some() { (over_time(report)) } @else { section { p { "There are no packets to tell of." } } }
                    section #findings {
                        (heading("Findings", "suspicious", &report.words))
                        (findings::list(report))
                    }
                    @if report.span.is_some() { (counted_by_name(report)) }
                    @if let Some(files) = files {
                        section #files { (heading("Capture files", "list", &report.bounds)) (files) }
                    }
                    @if let Some(service) = &report.service { (health(service)) }
                }
                (footer(report))
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn over_time(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Traffic over time" }
            (traffic::draw(report))
            p.note { (traffic::resolution(report)) }
            (traffic::rows(report))
        }
    }
}

/// What is counted: by protocol, hour, address and conversation.
fn counted_by_name(report: &Report) -> Markup {
    html! {
        section #protocols {
            (heading("Protocols", "protocols", &report.words))
            div.scroll { (icicle::draw(report, &tables::filters(report))) }
            p.note { "As wide as its share of the bytes. Click on one to see who speaks it." }
            (protocol_rows(report))
        }
        section #heat {
            h2 { "When it is busy " span.dim { (report.heat.of()) } }
            (report.heat.draw(&Here))
        }
        section #endpoints { (heading("Endpoints", "endpoints", &report.words)) (tables::endpoints(report)) }
        section #conversations {
            (heading("Conversations", "conversations", &report.words))
            (tables::conversations(report))
        }
    }
}

fn header(report: &Report, files: bool) -> Markup {
    html! {
        header {
            h1 { "Tapkeep" span.dim { " report" } }
            p {
                b { (report.place) }
                @match report.span {
                    Some((from, to)) => {
                        br; (date_time(from, &Here)) " – " (end_time(from, to, &Here))
                        span.dim { " · " (duration((report.seconds() * 1e3) as u64)) " · times in " (report.zone) }
                    }
                    None => { br; "no packets" }
                }
            }
        }
        div.top {
            nav aria-label="Sections" {
                a href="#findings" { "Findings" }
                @if report.span.is_some() {
                    a href="#protocols" { "Protocols" } a href="#heat" { "Busy times" }
                    a href="#endpoints" { "Endpoints" } a href="#conversations" { "Conversations" }
                }
                @if files { a href="#files" { "Files" } a href="#health" { "Health" } }
            }
            search #filter hidden {
                label { "Filter " input #words type="search" placeholder="address, protocol, text …" spellcheck="false" autocomplete="off"; }
                button #clear type="button" hidden { "Clear" }
                span #matches aria-live="polite" {}
            }
        }
    }
}

/// A section's head, and the command that answers the same in a terminal.
fn heading(name: &str, command: &str, words: &str) -> Markup {
    html! { h2 { (name) " " code { "tapkeep " (command) (words) } } }
}

fn tile(name: &str, value: Markup, more: Markup, look: &'static str) -> Markup {
    html! { div class={"tile " (look)} { dt { (name) } dd { b { (value) } span { (more) } } } }
}

fn tiles(report: &Report) -> Markup {
    let analysis = &report.asked.analysis;
    let total = analysis.merged.total();
    let mean = total.bytes as f64 * 8.0 / report.seconds();
    let found = findings::by_severity(report);
    let worst = found.first().map_or("good", |(severity, _)| {
        if *severity >= crate::detect::Severity::Medium { "bad" } else { "warn" }
    });
    html! {
        dl.tiles {
            (tile("Packets", html! { span #packets data-v=(total.packets) { (count(total.packets)) } }, html! { (counted(analysis.files as u64, "file")) }, ""))
            (tile("Traffic", html! { span #bytes data-v=(total.bytes) { (bytes(total.bytes)) } }, html! { (traffic::bits(mean)) " on average" }, ""))
            (lost(&analysis.losses))
            (tile("Findings", html! { (count(report.findings.findings.len() as u64)) }, html! {
                @if found.is_empty() { "nothing suspicious" }
                @for (at, (severity, n)) in found.iter().enumerate() { @if at > 0 { ", " } (n) " " (findings::word(*severity)) }
            }, worst))
            (tile("Addresses", html! { (approximate(report.endpoints.exact)) (count(report.endpoints.rows.len() as u64)) }, html! { "by outermost header" }, ""))
            (tile("Conversations", html! { (approximate(report.conversations.exact)) (count(report.conversations.rows.len() as u64)) }, html! { "address and port pairs" }, ""))
        }
        @if !analysis.evicted.is_empty() {
            p.note { (counted(analysis.evicted.len() as u64, "capture file")) " of that time evicted since: " @if analysis.flows > 0 { "counted by " (counted(analysis.flows, "flow record")) "." } @else { "not counted." } }
        }
    }
}

/// What is missing in all, and by which causes; what nobody counted is not 0.
fn lost(losses: &Losses) -> Markup {
    let causes = losses.by_cause();
    let known: u64 = causes.iter().filter_map(|(_, lost)| *lost).sum();
    let by_cause = causes
        .iter()
        .filter_map(|(cause, lost)| lost.filter(|n| *n > 0).map(|n| format!("{} {cause}", count(n))));
    let uncounted: Vec<_> =
        causes.iter().filter(|(_, lost)| lost.is_none()).map(|(cause, _)| *cause).collect();
    let uncounted_in_words = match uncounted.len() {
        0 => None,
        n if n == causes.len() => Some("nobody counted".to_owned()),
        _ => Some(format!("not counted: {}", uncounted.join(", "))),
    };
    let words: Vec<_> = by_cause.chain(uncounted_in_words).collect();
    let (value, look) = match (known, uncounted.len()) {
        (0, 0) => ("0".to_owned(), "good"),
        (0, _) => ("unknown".to_owned(), "warn"),
        (lost, 0) => (count(lost), "bad"),
        (lost, _) => (format!("≥ {}", count(lost)), "bad"),
    };
    let words = if words.is_empty() { "every cause counted".to_owned() } else { words.join("; ") };
    tile("Lost packets", html! { (value) }, html! { (words) }, look)
}

/// Of what is counted to a bound there is at least so much.
fn approximate(exact: bool) -> &'static str {
    if exact { "" } else { "≥ " }
}

fn protocol_rows(report: &Report) -> Markup {
    let total = report.asked.analysis.merged.total().bytes.max(1) as f64;
    let shown = &report.protocols[..report.protocols.len().min(PROTOCOLS)];
    html! {
        details.rows {
            summary { "The same as a table" }
            div.scroll { table #protocols-table {
                thead { tr {
                    th scope="col" { "Protocol" } th.n scope="col" { "Packets" } th.n scope="col" { "Bytes" }
                    th.n scope="col" { "Share" }
                } }
                tbody { @for (path, at) in shown {
                    tr {
                        th scope="row" data-v=(path) { (path) }
                        td.n data-v=(at.packets) { (count(at.packets)) }
                        td.n data-v=(at.bytes) { (bytes(at.bytes)) }
                        td.n { (format!("{:.1} %", at.bytes as f64 * 100.0 / total)) }
                    }
                } }
            } }
            (tables::rest(shown.len(), report.protocols.len(), "protocols", &report.words))
        }
    }
}

/// Rows of the protocol tree, at most.
const PROTOCOLS: usize = 200;

fn health(service: &Service) -> Markup {
    html! {
        section #health {
            h2 { "Health " code { "tapkeep status" } }
            @if service.warnings.is_empty() { p.good { "Everything is as it should be." } }
            @for warning in &service.warnings { p class=(if service.running { "bad" } else { "warn" }) { (warning) } }
            dl.entries { @for (key, value) in &service.entries { dt { (key) } dd { (value) } } }
        }
    }
}

fn footer(report: &Report) -> Markup {
    let notes = report.asked.analysis.notes.iter().chain(&report.findings.notes);
    html! {
        footer {
            @for note in notes { p.warn { (note) } }
            p {
                "Made by tapkeep " (env!("CARGO_PKG_VERSION")) " at " (date_time(report.made, &Here)) " (" (report.zone)
                "): " code { "tapkeep report" (report.words) } ". This page loads nothing and sends nothing."
            }
        }
    }
}
