//! Findings with their evidence, and the command that extracts their packets.

use maud::{Markup, html};

use super::super::zone::Here;
use super::Report;
use super::tables::host;
use crate::cli::suspicious::{Packets, number};
use crate::cli::table::{count, counted};
use crate::cli::time::{date_time, end_time};
use crate::detect::{Finding, Severity};

/// Findings shown, at most: the worst, of these the latest.
const FINDINGS: usize = 100;

pub(super) const SEVERITIES: [Severity; 4] =
    [Severity::High, Severity::Medium, Severity::Low, Severity::Info];

pub(super) fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
    }
}

/// How many there are of each severity, the worst first.
pub(super) fn by_severity(report: &Report) -> Vec<(Severity, usize)> {
    let of = |severity| report.findings.findings.iter().filter(|found| found.severity == severity).count();
    SEVERITIES.into_iter().map(|severity| (severity, of(severity))).filter(|(_, n)| *n > 0).collect()
}

pub(super) fn list(report: &Report) -> Markup {
    let all = &report.findings.findings;
    let shown = &all[..all.len().min(FINDINGS)];
    html! {
        @if all.is_empty() { p.good { "Nothing suspicious was found." } }
        div #findings-list data-cards="host" { @for finding in shown { (card(finding, report)) } }
        @if shown.len() < all.len() {
            p.note {
                "The " (count(shown.len() as u64)) " worst of " (count(all.len() as u64)) " here. All of them: "
                code { "tapkeep suspicious" (report.words) " --limit 0" }
            }
        }
    }
}

fn card(finding: &Finding, report: &Report) -> Markup {
    let Finding { first_seen, last_seen, .. } = *finding;
    let ends = [&finding.src, &finding.dst];
    let words: Vec<_> = ends.iter().filter_map(|end| end.as_ref()).map(|end| format!("host:{end}")).collect();
    html! {
        article class={"card s-" (word(finding.severity))} id=(finding.id) data-k=(words.join(" ")) {
            h3 {
                span.tag { (word(finding.severity)) } " " (finding.detector)
                " " span.dim { (finding.technique) }
            }
            p { (finding.summary) }
            p.dim {
                (end(&finding.src)) " → " (end(&finding.dst))
                @if let Some(port) = finding.port { ", port " (port) }
                ". " (date_time(first_seen, &Here)) " – " (end_time(first_seen, last_seen, &Here))
                ". Observed " b { (number(finding.observed)) } ", threshold " (number(finding.threshold))
                "; counted " (counted(finding.count, "time")) "."
            }
            dl {
                @if !finding.filter.is_empty() { dt { "Wireshark filter" } dd { code { (finding.filter) } } }
                dt { "Packets" }
                dd { @match report.findings.packets.of(finding) {
                    Packets::Unknown => { span.dim { "in no file that is known here" } }
                    Packets::Evicted => { span.dim { "evicted" } }
                    Packets::There { command, partly } => {
                        code { (command) " -w evidence.pcap" }
                        @if partly { " " span.dim { "some are evicted" } }
                    }
                } }
            }
        }
    }
}

fn end(address: &Option<String>) -> Markup {
    html! { @match address { Some(address) => { (host(address, address)) } None => { "many" } } }
}
