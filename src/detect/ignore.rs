//! `[[ignore]]` rules: what is known and harmless, like the scanner in the office. A finding that one fits is not raised; each
//! is counted at its rule.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::finding::{Finding, Key, Subject};
use super::local::Net;

/// A rule. What it does not name, it does not ask for; one that names nothing fits all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IgnoreRule {
    /// The detector's id.
    pub detector: Option<String>,
    /// Who: an address or a network.
    pub src: Option<Net>,
    /// Whom: an address or a network.
    pub dst: Option<Net>,
    /// The port that it is about.
    pub port: Option<u16>,
    /// Why; for people.
    #[serde(default)]
    pub reason: String,
}

impl IgnoreRule {
    /// Whether it fits a finding of that key.
    pub fn fits(&self, key: &Key, finding: &Finding) -> bool {
        let within = |net: Option<Net>, subject| {
            net.is_none_or(|net| matches!(subject, Subject::Ip(addr) if net.contains(addr)))
        };
        self.detector.as_deref().is_none_or(|detector| detector == key.detector)
            && within(self.src, key.src)
            && within(self.dst, key.dst)
            && self.port.is_none_or(|port| finding.port == Some(port))
    }
}

impl fmt::Display for IgnoreRule {
    /// What it fits, without the reason: `port_scan from 10.0.0.5/32 port 22`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detector.as_deref().unwrap_or("*"))?;
        if let Some(src) = self.src {
            write!(f, " from {src}")?;
        }
        if let Some(dst) = self.dst {
            write!(f, " to {dst}")?;
        }
        self.port.map_or(Ok(()), |port| write!(f, " port {port}"))
    }
}

/// Rules, and how often each fitted.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    rules: Vec<(IgnoreRule, u64)>,
}

impl Rules {
    /// New rules in place of the old; those that stay keep their count.
    pub(super) fn swap(&mut self, rules: Vec<IgnoreRule>) {
        let before = std::mem::take(&mut self.rules);
        self.rules = rules
            .into_iter()
            .map(|rule| {
                let hits = before.iter().find(|(old, _)| *old == rule).map_or(0, |(_, hits)| *hits);
                (rule, hits)
            })
            .collect();
    }

    /// Whether one fits; it is not counted.
    pub(super) fn fit(&self, key: &Key, finding: &Finding) -> bool {
        self.rules.iter().any(|(rule, _)| rule.fits(key, finding))
    }

    /// Whether one fits; the first that does counts it.
    pub(super) fn ignore(&mut self, key: &Key, finding: &Finding) -> bool {
        match self.rules.iter_mut().find(|(rule, _)| rule.fits(key, finding)) {
            Some((_, hits)) => {
                *hits += 1;
                true
            }
            None => false,
        }
    }

    /// Each with its hits.
    pub(super) fn hits(&self) -> impl Iterator<Item = (&IgnoreRule, u64)> {
        self.rules.iter().map(|(rule, hits)| (rule, *hits))
    }
}
