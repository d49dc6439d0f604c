//! `[[ignore]]` rules: what is known and harmless, like the scanner in the office. A finding that one fits is not raised; each
//! is counted at its rule.

use std::fmt;

use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::finding::{Finding, Key, Subject};
use super::local::Net;
use crate::packet::addr::Mac;

/// Whom a rule is about, at one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// An address or a network.
    Net(Net),
    /// A hardware address.
    Mac(Mac),
}

impl End {
    /// Whether it is this end of a finding. A rule on addresses fits no hardware address, nor the other way round.
    fn is(self, subject: Subject) -> bool {
        match (self, subject) {
            (Self::Net(net), Subject::Ip(addr)) => net.contains(addr),
            (Self::Mac(mac), Subject::Mac(found)) => mac == found,
            _ => false,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(net) => net.fmt(f),
            Self::Mac(mac) => mac.fmt(f),
        }
    }
}

/// The text is neither an address nor a network.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an address, network or hardware address: {0:?}")]
pub struct NotAnEnd(String);

impl FromStr for End {
    type Err = NotAnEnd;

    /// As a [`Net`] or a [`Mac`] is written; no text is both.
    fn from_str(text: &str) -> Result<Self, NotAnEnd> {
        let net = text.parse().map(Self::Net);
        net.or_else(|_| text.parse().map(Self::Mac)).map_err(|_| NotAnEnd(text.to_owned()))
    }
}

impl Serialize for End {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A rule. What it does not name, it does not ask for; one that names nothing fits all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IgnoreRule {
    /// The detector's id.
    pub detector: Option<String>,
    /// Who.
    pub src: Option<End>,
    /// Whom.
    pub dst: Option<End>,
    /// The port that it is about.
    pub port: Option<u16>,
    /// Why; for people.
    #[serde(default)]
    pub reason: String,
}

impl IgnoreRule {
    /// Whether it fits a finding of that key.
    pub fn fits(&self, key: &Key, finding: &Finding) -> bool {
        let is = |end: Option<End>, subject| end.is_none_or(|end| end.is(subject));
        self.detector.as_deref().is_none_or(|detector| detector == key.detector)
            && is(self.src, key.src)
            && is(self.dst, key.dst)
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

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;
    use crate::packet::addr::Addr;

    const MAC: &str = "02:00:5e:10:00:01";

    fn fits(rule: &IgnoreRule, src: Subject, dst: Subject) -> bool {
        rule.fits(&Key::new("arp_spoof", src, dst), &Finding::new(Severity::Low, "T1557.002", "told"))
    }

    #[test]
    fn an_end_is_named_as_the_finding_names_it() {
        let (mac, ip) = (Subject::Mac(MAC.parse().unwrap()), Subject::Ip(Addr::v4([10, 0, 0, 1])));
        let src = |text: &str| IgnoreRule { src: text.parse().ok(), ..IgnoreRule::default() };
        let dst = |text: &str| IgnoreRule { dst: text.parse().ok(), ..IgnoreRule::default() };
        assert!(fits(&src(MAC), mac, ip) && fits(&dst("10.0.0.0/8"), mac, ip) && fits(&dst(MAC), ip, mac));
        for rule in [src("02:00:5e:10:00:02"), src("0.0.0.0/0"), src("::/0"), dst(MAC)] {
            assert!(rule != IgnoreRule::default() && !fits(&rule, mac, ip), "{rule}");
        }
        assert!(!fits(&src(MAC), Subject::Anyone, ip));
    }

    #[test]
    fn an_end_is_read_as_it_is_written_and_nothing_else_is_one() {
        for text in [MAC, "10.0.0.0/8", "2001:db8::/32"] {
            let end: End = text.parse().unwrap();
            assert_eq!(end.to_string(), text);
            assert_eq!(serde_json::from_value::<End>(serde_json::to_value(end).unwrap()).unwrap(), end);
        }
        for text in
            ["", "02:00:5e:10:00", "02:00:5e:10:00:01:02", "02:00:5e:10:00:0g", "02:00:5e:10:00:01/24"]
        {
            assert_eq!(text.parse::<End>(), Err(NotAnEnd(text.to_owned())));
        }
    }
}
