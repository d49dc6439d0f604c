//! Endpoints, conversations and files as tables that can be sorted and filtered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use maud::{Markup, html};

use super::super::zone::Here;
use super::Report;
use super::axis::percent;
use crate::cli::ask::vlan_text;
use crate::cli::conversations::end_text;
use crate::cli::list::{lost_text, remark, state_word};
use crate::cli::table::{Look, bytes, count, counted, duration};
use crate::cli::time::{date_time, end_time};
use crate::flow::key::FlowKey;
use crate::flow::record::transport_name;
use crate::flow::summary::{Count, Talk};
use crate::packet::addr::Addr;
use crate::store::catalog::Row;

/// Rows of each, at most: the page stays below a megabyte.
const ENDPOINTS: usize = 200;
const CONVERSATIONS: usize = 200;
const FILES: usize = 300;

/// What rows can be filtered by, beside their text: words of a kind.
pub(super) type Filters = BTreeSet<String>;

/// A head that sorts by its column when it is clicked: `kind` is `n` where cells are numbers.
fn head(name: &str, kind: &'static str) -> Markup {
    html! { th scope="col" class=(kind) { button type="button" data-sort { (name) } } }
}

/// A cell with a number that is sorted by.
fn number(value: u64, text: &str) -> Markup {
    html! { td.n data-v=(value) { (text) } }
}

/// A host that filters when it is clicked.
pub(super) fn host(address: &str, text: &str) -> Markup {
    html! { button.host type="button" data-f={"host:" (address)} { (text) } }
}

/// What is not shown, and which command shows it.
pub(super) fn rest(shown: usize, all: usize, command: &str, words: &str) -> Markup {
    html! {
        @if shown < all {
            p.note { (count(shown as u64)) " of " (count(all as u64)) " here. All of them: " code { "tapkeep " (command) (words) " --limit 0" } }
        }
    }
}

fn inexact(exact: bool) -> Markup {
    html! {
        @if !exact {
            p.note { "± More rows than are counted one by one: each may be too large by so much, small ones may be missing." }
        }
    }
}

/// By how much a count may be too large.
fn error(error: Count) -> Markup {
    html! { @if error != Count::default() { " " span.dim { "±" (bytes(error.bytes)) } } }
}

/// A share of the largest as a bar.
fn share(value: u64, most: u64) -> Markup {
    let width = value as f64 * 100.0 / most.max(1) as f64;
    html! { td.share aria-hidden="true" { svg height="10" { rect width=(percent(width)) height="10" rx="2" {} } } }
}

/// What a conversation can be filtered by.
fn words(key: &FlowKey, talk: &Talk) -> Filters {
    let mut words: Filters = [key.a.0, key.b.0].iter().map(|addr| format!("host:{addr}")).collect();
    words.insert(format!("proto:{}", if key.a.0.is_v4() { "ip" } else { "ipv6" }));
    words.insert(format!("proto:{}", transport_name(key.proto)));
    words.extend(talk.app.map(|(app, _)| format!("proto:{}", app.name())));
    words
}

fn joined(words: &Filters) -> String {
    words.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// Every word that some row of the tables can be filtered by.
pub(super) fn filters(report: &Report) -> Filters {
    let rows = report.conversations.rows.iter().take(CONVERSATIONS);
    rows.flat_map(|(key, talk)| words(key, talk)).collect()
}

pub(super) fn endpoints(report: &Report) -> Markup {
    let rows = &report.endpoints.rows;
    let shown = &rows[..rows.len().min(ENDPOINTS)];
    let most = shown.first().map_or(0, |(_, traffic)| traffic.total().bytes);
    let spoken = spoken(report, shown.iter().map(|(address, _)| address.as_str()));
    html! {
        div.scroll { table #endpoints-table data-table="host proto" {
            thead { tr {
                (head("Address", "")) th.share aria-hidden="true" {} (head("Bytes", "n")) (head("Packets", "n"))
                (head("Sent", "n")) (head("Received", "n"))
            } }
            tbody { @for (address, traffic) in shown {
                @let total = traffic.total();
                tr data-k=(of(&spoken, address).map(joined).unwrap_or_default()) {
                    th scope="row" { (host(address, address)) }
                    (share(total.bytes, most))
                    td.n data-v=(total.bytes) { (bytes(total.bytes)) (error(traffic.error)) }
                    (number(total.packets, &count(total.packets)))
                    (number(traffic.tx.bytes, &bytes(traffic.tx.bytes)))
                    (number(traffic.rx.bytes, &bytes(traffic.rx.bytes)))
                }
            } }
        } }
        (rest(shown.len(), rows.len(), "endpoints", &report.words))
        (inexact(report.endpoints.exact))
    }
}

/// By address, itself and what it speaks.
fn spoken<'a>(report: &Report, addresses: impl Iterator<Item = &'a str>) -> BTreeMap<Addr, Filters> {
    let known = |address: &str| {
        address.parse::<IpAddr>().ok().map(|ip| (ip.into(), [format!("host:{address}")].into()))
    };
    let mut spoken: BTreeMap<Addr, Filters> = addresses.filter_map(known).collect();
    for (key, talk) in &report.conversations.rows {
        for addr in [key.a.0, key.b.0] {
            if let Some(known) = spoken.get_mut(&addr) {
                known.extend(words(key, talk).into_iter().filter(|word| word.starts_with("proto:")));
            }
        }
    }
    spoken
}

/// What is told of one address.
fn of<'a>(spoken: &'a BTreeMap<Addr, Filters>, address: &str) -> Option<&'a Filters> {
    spoken.get(&address.parse::<IpAddr>().ok()?.into())
}

pub(super) fn conversations(report: &Report) -> Markup {
    let rows = &report.conversations.rows;
    let shown = &rows[..rows.len().min(CONVERSATIONS)];
    let most = shown.first().map_or(0, |(_, talk)| talk.total().bytes);
    html! {
        div.scroll { table #conversations-table data-table="host proto" {
            thead { tr {
                (head("Source", "")) (head("Destination", "")) (head("Protocol", "")) th.share aria-hidden="true" {}
                (head("Bytes", "n")) (head("Sent", "n")) (head("Received", "n")) (head("Packets", "n"))
                (head("First", "")) (head("Duration", "n"))
            } }
            tbody { @for (key, talk) in shown {
                @let (src, dst) = talk.ends(key);
                @let total = talk.total();
                @let ms = (talk.last.saturating_sub(talk.first) / 1_000_000).max(0) as u64;
                tr data-k=(joined(&words(key, talk))) {
                    td { (host(&src.0.to_string(), &end_text(key, src))) }
                    td { (host(&dst.0.to_string(), &end_text(key, dst))) }
                    td { (proto(key, talk)) }
                    (share(total.bytes, most))
                    td.n data-v=(total.bytes) { (bytes(total.bytes)) (error(talk.error)) }
                    (number(talk.orig.bytes, &bytes(talk.orig.bytes)))
                    (number(talk.resp.bytes, &bytes(talk.resp.bytes)))
                    (number(total.packets, &count(total.packets)))
                    td data-v=(talk.first) { (date_time(talk.first, &Here)) }
                    (number(ms, &duration(ms)))
                }
            } }
        } }
        (rest(shown.len(), rows.len(), "conversations", &report.words))
        (inexact(report.conversations.exact))
    }
}

/// Transport and application, each a filter; and the VLAN.
fn proto(key: &FlowKey, talk: &Talk) -> Markup {
    let transport = transport_name(key.proto);
    let vlan = vlan_text(key.vlan);
    html! {
        (transport)
        @if let Some((app, _)) = talk.app {
            " " button.host type="button" data-f={"proto:" (app.name())} { (app.name()) }
        }
        @if !vlan.is_empty() { " " span.dim { "vlan " (vlan) } }
    }
}

/// The capture files; `None` if none of the data directory was asked about.
pub(super) fn files(report: &Report) -> Option<Markup> {
    let answer = report.files.as_ref()?;
    let rows = &answer.view.rows;
    let shown: Vec<_> = rows.iter().rev().take(FILES).collect();
    let size: u64 = shown.iter().map(|row| row.facts.size).sum();
    let gaps = answer.view.gaps.len() as u64;
    Some(html! {
        p {
            (counted(rows.len() as u64, "capture file"))
            @if shown.len() == rows.len() { ", " (bytes(size)) " on disk" }
            @if gaps > 0 { ", " (counted(gaps, "gap")) }
            @if let Some(service) = &report.service { ". Retention keeps at most " (service.limits) "." }
        }
        div.scroll { table #files-table data-table="" {
            thead { tr {
                (head("Name", "")) (head("First", "")) (head("Last", "")) (head("State", "")) (head("Packets", "n"))
                (head("Bytes", "n")) (head("Size", "n")) (head("Lost", "n"))
            } }
            tbody { @for row in &shown { (file(row, answer.present_name(row))) } }
        } }
        (rest(shown.len(), rows.len(), "list", &report.bounds))
    })
}

fn file(row: &Row, name: String) -> Markup {
    let facts = &row.facts;
    let (lost, look) = lost_text(&facts.losses);
    let class = match look {
        Look::Bad => "n bad",
        Look::Warning => "n warn",
        _ => "n",
    };
    let unsure = if facts.clock_synchronised == Some(false) { "~" } else { "" };
    let (first, last) = facts.first.zip(facts.last).map_or_else(
        || ("–".to_owned(), "–".to_owned()),
        |(first, last)| (format!("{unsure}{}", date_time(first, &Here)), end_time(first, last, &Here)),
    );
    let remark = remark(row, &Here);
    html! {
        tr {
            th scope="row" { (name) @if !remark.is_empty() { " " span.tag { (remark) } } }
            td data-v=(facts.first.unwrap_or_default()) { (first) }
            td data-v=(facts.last.unwrap_or_default()) { (last) }
            td { (state_word(facts.state)) }
            (number(facts.packets, &count(facts.packets)))
            (number(facts.bytes, &bytes(facts.bytes)))
            (number(facts.size, &bytes(facts.size)))
            td class=(class) data-v=(facts.losses.by_cause().iter().filter_map(|(_, lost)| *lost).sum::<u64>()) { (lost) }
        }
    }
}
