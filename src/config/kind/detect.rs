//! Kinds that only detectors need: decimal fractions, lists, networks, ports, ids, steps. Pure.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Kind, Shape, Time};
use crate::detect::{End, IDS, Net};

/// A decimal fraction, written with digits and one point at most.
#[derive(Debug)]
pub struct Decimal(pub RangeInclusive<f64>);

impl Kind for Decimal {
    type Value = f64;

    fn parse(&self, text: &str) -> Option<f64> {
        let text = text.trim();
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        text.parse().ok().filter(|number| plain && self.0.contains(number))
    }

    fn text(&self, value: &f64) -> String {
        value.to_string()
    }

    fn accepts(&self) -> String {
        format!("a number from {} to {}", self.0.start(), self.0.end())
    }

    fn shape(&self) -> Shape {
        Shape::Decimal
    }
}

/// A list, at most `List::MOST` long: each item is looked at for each of many packets.
#[derive(Debug)]
pub struct List<K>(pub K);

impl<K> List<K> {
    /// The most items.
    const MOST: usize = 64;

    /// The word for an empty one: a variable that is set to nothing is not set.
    const NONE: &str = "none";
}

impl<K: Kind> Kind for List<K> {
    type Value = Vec<K::Value>;

    fn parse(&self, text: &str) -> Option<Vec<K::Value>> {
        let text = text.trim();
        if text.is_empty() || text.eq_ignore_ascii_case(Self::NONE) {
            return Some(Vec::new());
        }
        let items: Option<Vec<_>> = text.split(',').map(|item| self.0.parse(item)).collect();
        items.filter(|items| items.len() <= Self::MOST)
    }

    fn text(&self, value: &Vec<K::Value>) -> String {
        if value.is_empty() {
            return Self::NONE.to_owned();
        }
        value.iter().map(|item| self.0.text(item)).collect::<Vec<_>>().join(", ")
    }

    fn accepts(&self) -> String {
        format!("a list, {} or at most {} of these: {}", Self::NONE, Self::MOST, self.0.accepts())
    }

    fn shape(&self) -> Shape {
        Shape::List
    }
}

/// An address or a network.
#[derive(Debug)]
pub struct Network;

impl Kind for Network {
    type Value = Net;

    fn parse(&self, text: &str) -> Option<Net> {
        text.trim().parse().ok()
    }

    fn text(&self, value: &Net) -> String {
        value.to_string()
    }

    fn accepts(&self) -> String {
        "an address or a network, such as 192.168.1.0/24 or 2001:db8::1".to_owned()
    }
}

/// An end of an `[[ignore]]` rule.
#[derive(Debug)]
pub struct RuleEnd;

impl Kind for RuleEnd {
    type Value = End;

    fn parse(&self, text: &str) -> Option<End> {
        text.trim().parse().ok()
    }

    fn text(&self, value: &End) -> String {
        value.to_string()
    }

    fn accepts(&self) -> String {
        format!("{}, or a hardware address, such as 02:00:5e:10:00:01", Network.accepts())
    }
}

/// A port.
#[derive(Debug)]
pub struct Port;

impl Kind for Port {
    type Value = u16;

    fn parse(&self, text: &str) -> Option<u16> {
        text.trim().parse().ok()
    }

    fn text(&self, value: &u16) -> String {
        value.to_string()
    }

    fn accepts(&self) -> String {
        "a port from 0 to 65535".to_owned()
    }
}

/// The id of a detector.
#[derive(Debug)]
pub struct DetectorId;

impl Kind for DetectorId {
    type Value = &'static str;

    fn parse(&self, text: &str) -> Option<&'static str> {
        IDS.iter().copied().find(|id| *id == text.trim())
    }

    fn text(&self, value: &&'static str) -> String {
        (*value).to_owned()
    }

    fn accepts(&self) -> String {
        format!("a detector ({})", IDS.join(", "))
    }
}

/// Four times, each longer than the one before.
#[derive(Debug)]
pub struct Steps(pub Time);

impl Kind for Steps {
    type Value = [Duration; 4];

    fn parse(&self, text: &str) -> Option<[Duration; 4]> {
        let steps: Option<Vec<_>> = text.split(',').map(|step| self.0.parse(step)).collect();
        steps?.try_into().ok().filter(|steps: &[Duration; 4]| steps.is_sorted_by(|a, b| a < b))
    }

    fn text(&self, value: &[Duration; 4]) -> String {
        value.iter().map(|step| self.0.text(step)).collect::<Vec<_>>().join(", ")
    }

    fn accepts(&self) -> String {
        format!("a list of four, each longer than the one before: {}", self.0.accepts())
    }

    fn shape(&self) -> Shape {
        Shape::List
    }
}
