//! What is shown, and what a key does to it. Pure: whoever owns it reads the files, the clocks and the keyboard.

use std::cmp::Reverse;

use chrono::{DateTime, NaiveDateTime};

use super::super::zone::Here;
use super::gather::{Found, Kept, Service, Shown};
use crate::detect::Net;
use crate::flow::summary::{Talk, Traffic};
use crate::packet::Nanos;

/// One of the lists that a person can walk through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Pane {
    #[default]
    Endpoints,
    Conversations,
    Findings,
}

impl Pane {
    const ALL: [Self; 3] = [Self::Endpoints, Self::Conversations, Self::Findings];

    fn after(self, steps: usize) -> Self {
        Self::ALL[(self as usize + steps) % Self::ALL.len()]
    }
}

/// By what endpoints and conversations are sorted, the largest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Order {
    #[default]
    Bytes,
    Packets,
    Sent,
    Received,
    /// Conversations alone: the one that talked last.
    Last,
}

impl Order {
    /// The next of those that a pane of traffic knows.
    fn next(self, pane: Pane) -> Self {
        match (self, pane) {
            (Self::Bytes, _) => Self::Packets,
            (Self::Packets, _) => Self::Sent,
            (Self::Sent, _) => Self::Received,
            (Self::Received, Pane::Conversations) => Self::Last,
            _ => Self::Bytes,
        }
    }
}

/// A line of text being typed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Prompt {
    pub(super) text: String,
    /// What is wrong with it.
    pub(super) wrong: Option<String>,
}

/// What fills the screen, or is asked below it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum Mode {
    #[default]
    Lists,
    Help,
    /// A finding, as it was when it was opened.
    Finding(Box<Shown>),
    /// Which hosts?
    Host(Prompt),
    /// Into which file are this finding's packets to go?
    Write(Box<Shown>, Prompt),
}

/// What was lately said below the lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) text: String,
    pub(super) bad: bool,
}

/// What a key asks for that the model cannot do itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    Quit,
    /// Ask anew at once: other hosts.
    Ask,
    /// Write the packets of the finding of this id to this file.
    Write {
        id: String,
        path: String,
    },
}

/// A key, as far as it means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Enter,
    Escape,
    Backspace,
    /// Empties the line.
    Kill,
    Tab,
    BackTab,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Interrupt,
}

/// The clock on the wall at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Zone(pub(super) fn(Nanos) -> NaiveDateTime);

impl Default for Zone {
    fn default() -> Self {
        Self(|stamp| DateTime::from_timestamp_nanos(stamp).with_timezone(&Here).naive_local())
    }
}

impl Zone {
    /// A moment in chrono's words: `%H:%M:%S`.
    pub(super) fn show(self, stamp: Nanos, format: &str) -> String {
        self.0(stamp).format(format).to_string()
    }
}

/// How far a page goes.
const PAGE: isize = 10;

/// The longest line that can be typed, characters.
const MAX_TYPED: usize = 200;

/// Everything that is shown.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) service: Service,
    /// What the window of time holds; none until it was looked at.
    pub(super) found: Option<Found>,
    /// What is kept, if nothing runs.
    pub(super) kept: Option<Kept>,
    /// The time, as people here read it.
    pub(super) clock: String,
    pub(super) zone: Zone,
    /// The window in words: `5 min`.
    pub(super) window: String,
    pub(super) paused: bool,
    pub(super) hosts: Option<Net>,
    pub(super) pane: Pane,
    pub(super) orders: [Order; 2],
    /// Whether the gravest findings come first, not the newest.
    pub(super) gravest: bool,
    pub(super) selected: [usize; 3],
    pub(super) mode: Mode,
    pub(super) message: Option<Message>,
}

impl Model {
    /// By what a pane of traffic is sorted.
    pub(super) fn order(&self, pane: Pane) -> Order {
        self.orders.get(pane as usize).copied().unwrap_or_default()
    }

    /// Takes a new answer; what was selected stays selected, wherever it now stands.
    pub(super) fn take(&mut self, mut found: Found) {
        found.sort(self.orders, self.gravest);
        if let Some(before) = &self.found {
            let at = |pane: Pane| self.selected[pane as usize];
            let [endpoint, talk, finding] = [
                follow(&before.endpoints, &found.endpoints, at(Pane::Endpoints), |row| row.0),
                follow(&before.conversations, &found.conversations, at(Pane::Conversations), |row| row.0),
                follow(&before.findings, &found.findings, at(Pane::Findings), |row| row.finding.id.clone()),
            ];
            self.selected = [endpoint, talk, finding];
        }
        self.found = Some(found);
    }

    /// Rows of a pane.
    fn rows(&self, pane: Pane) -> usize {
        self.found.as_ref().map_or(0, |found| match pane {
            Pane::Endpoints => found.endpoints.len(),
            Pane::Conversations => found.conversations.len(),
            Pane::Findings => found.findings.len(),
        })
    }

    /// The finding that is selected.
    fn finding(&self) -> Option<&Shown> {
        self.found.as_ref()?.findings.get(self.selected[Pane::Findings as usize])
    }

    /// Does what a key asks for; tells what is left to do.
    pub(super) fn key(&mut self, key: Key) -> Option<Act> {
        self.message = None;
        if key == Key::Interrupt {
            return Some(Act::Quit);
        }
        match std::mem::take(&mut self.mode) {
            Mode::Lists => self.key_in_lists(key),
            Mode::Help => None,
            Mode::Finding(shown) => self.key_in_finding(key, shown),
            Mode::Host(prompt) => self.key_in_hosts(key, prompt),
            Mode::Write(shown, prompt) => self.key_in_write(key, shown, prompt),
        }
    }

    fn key_in_lists(&mut self, key: Key) -> Option<Act> {
        match key {
            Key::Char('q') => return Some(Act::Quit),
            Key::Char('?' | 'h') => self.mode = Mode::Help,
            Key::Char('p' | ' ') => self.paused = !self.paused,
            Key::Char('s') => self.sort(),
            Key::Char('/' | 'f') => self.mode = Mode::Host(self.prompt_of_hosts()),
            Key::Char('w') => self.open(|shown| Mode::Write(shown.clone(), path_for(&shown))),
            Key::Enter => return self.enter(),
            Key::Escape => return self.show_only(None),
            Key::Tab => self.pane = self.pane.after(1),
            Key::BackTab => self.pane = self.pane.after(2),
            Key::Up | Key::Char('k') => self.go(-1),
            Key::Down | Key::Char('j') => self.go(1),
            Key::PageUp => self.go(-PAGE),
            Key::PageDown => self.go(PAGE),
            Key::Home => self.go(isize::MIN),
            Key::End => self.go(isize::MAX),
            _ => {}
        }
        None
    }

    fn key_in_finding(&mut self, key: Key, shown: Box<Shown>) -> Option<Act> {
        match key {
            Key::Char('q') => return Some(Act::Quit),
            Key::Char('w') => self.mode = Mode::Write(shown.clone(), path_for(&shown)),
            Key::Escape | Key::Enter | Key::Backspace => {}
            Key::Up | Key::Down | Key::Char('j' | 'k') => {
                self.go(if matches!(key, Key::Up | Key::Char('k')) { -1 } else { 1 });
                self.open(Mode::Finding);
            }
            _ => self.mode = Mode::Finding(shown),
        }
        None
    }

    fn key_in_hosts(&mut self, key: Key, mut prompt: Prompt) -> Option<Act> {
        match key {
            Key::Escape => None,
            Key::Enter if prompt.text.trim().is_empty() => self.show_only(None),
            Key::Enter => match prompt.text.trim().parse() {
                Ok(net) => self.show_only(Some(net)),
                Err(_) => {
                    prompt.wrong = Some("no address or network like 10.0.0.7, 10.0.0.0/8".to_owned());
                    self.mode = Mode::Host(prompt);
                    None
                }
            },
            _ => {
                prompt.key(key);
                self.mode = Mode::Host(prompt);
                None
            }
        }
    }

    fn key_in_write(&mut self, key: Key, shown: Box<Shown>, mut prompt: Prompt) -> Option<Act> {
        match key {
            Key::Escape => self.mode = Mode::Finding(shown),
            Key::Enter if !prompt.text.trim().is_empty() => {
                let (id, path) = (shown.finding.id.clone(), prompt.text.trim().to_owned());
                self.mode = Mode::Finding(shown);
                return Some(Act::Write { id, path });
            }
            _ => {
                prompt.key(key);
                self.mode = Mode::Write(shown, prompt);
            }
        }
        None
    }

    fn prompt_of_hosts(&self) -> Prompt {
        let text = self.hosts.map(|net| net.to_string()).unwrap_or_default();
        let text = text.trim_end_matches(if text.contains(':') { "/128" } else { "/32" }).to_owned();
        Prompt { text, wrong: None }
    }

    /// Opens what is selected.
    fn enter(&mut self) -> Option<Act> {
        let at = self.selected[self.pane as usize];
        let found = self.found.as_ref()?;
        let host = match self.pane {
            Pane::Endpoints => found.endpoints.get(at).map(|(addr, _)| *addr),
            Pane::Conversations => found.conversations.get(at).map(|(key, talk)| talk.ends(key).0.0),
            Pane::Findings => {
                self.open(Mode::Finding);
                None
            }
        };
        let host = host.and_then(|addr| Net::new(addr, if addr.is_v4() { 32 } else { 128 }))?;
        self.show_only(Some(host))
    }

    fn open(&mut self, mode: impl FnOnce(Box<Shown>) -> Mode) {
        if let Some(shown) = self.finding() {
            self.mode = mode(Box::new(shown.clone()));
        }
    }

    fn show_only(&mut self, hosts: Option<Net>) -> Option<Act> {
        let changed = std::mem::replace(&mut self.hosts, hosts) != hosts;
        if changed {
            self.selected = [0; 3];
        }
        changed.then_some(Act::Ask)
    }

    fn sort(&mut self) {
        let pane = self.pane;
        match self.orders.get_mut(pane as usize) {
            Some(order) => *order = order.next(pane),
            None => self.gravest = !self.gravest,
        }
        self.selected[pane as usize] = 0;
        if let Some(found) = &mut self.found {
            found.sort(self.orders, self.gravest);
        }
    }

    fn go(&mut self, by: isize) {
        let last = self.rows(self.pane).saturating_sub(1);
        let at = &mut self.selected[self.pane as usize];
        *at = at.saturating_add_signed(by).min(last);
    }
}

impl Prompt {
    fn key(&mut self, key: Key) {
        self.wrong = None;
        match key {
            Key::Char(c) if self.text.chars().count() < MAX_TYPED => self.text.push(c),
            Key::Backspace => _ = self.text.pop(),
            Key::Kill => self.text.clear(),
            _ => {}
        }
    }
}

/// A name for a finding's packets.
fn path_for(shown: &Shown) -> Prompt {
    Prompt { text: format!("{}.pcap", shown.finding.id), wrong: None }
}

/// Where the row stands now that stood at `at`; the first row is nobody's choice.
fn follow<R, K: PartialEq>(before: &[R], now: &[R], at: usize, key: impl Fn(&R) -> K) -> usize {
    let wanted = before.get(at).filter(|_| at > 0).map(&key);
    let there = wanted.and_then(|wanted| now.iter().position(|row| key(row) == wanted));
    there.unwrap_or_else(|| at.min(now.len().saturating_sub(1)))
}

impl Found {
    /// Sorts endpoints and conversations, the largest first, ties by key, and findings, the gravest or the newest first.
    pub(super) fn sort(&mut self, [endpoints, conversations]: [Order; 2], gravest: bool) {
        self.findings.sort_by_cached_key(|Shown { finding, .. }| {
            let severity = gravest.then_some(finding.severity);
            (Reverse((severity, finding.last_seen)), finding.id.clone())
        });
        self.endpoints.sort_by_cached_key(|(addr, traffic)| (Reverse(weight(traffic, endpoints)), *addr));
        self.conversations
            .sort_by_cached_key(|(key, talk)| (Reverse(weight_of_talk(talk, conversations)), *key));
    }
}

fn weight(traffic: &Traffic, order: Order) -> u64 {
    match order {
        Order::Bytes | Order::Last => traffic.total().bytes,
        Order::Packets => traffic.total().packets,
        Order::Sent => traffic.tx.bytes,
        Order::Received => traffic.rx.bytes,
    }
}

fn weight_of_talk(talk: &Talk, order: Order) -> u64 {
    match order {
        Order::Bytes => talk.total().bytes,
        Order::Packets => talk.total().packets,
        Order::Sent => talk.orig.bytes,
        Order::Received => talk.resp.bytes,
        Order::Last => u64::try_from(talk.last).unwrap_or(0),
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
