//! What a key accepts: text → typed value → text, and the sentence that tells people. Pure. A value that one
//! of these let through is sound by itself; how values fit together is [`super::Config`]'s business.

pub mod detect;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::units::{ByteSize, Percent, Share, Span};

/// The longest name of a network interface, bytes (Linux `IFNAMSIZ` less its NUL).
const INTERFACE_MAX: usize = 15;

/// What of TOML a key takes beside texts, whole numbers and booleans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Nothing.
    Plain,
    /// Decimal fractions.
    Decimal,
    /// Arrays; as a text, the items are separated by commas.
    List,
}

/// A family of values.
pub trait Kind: Sync {
    /// The type of the value.
    type Value: Clone + Send + Sync;

    /// Reads a value; `None` if it is not acceptable.
    fn parse(&self, text: &str) -> Option<Self::Value>;

    /// The text that [`Kind::parse`] reads back as this value.
    fn text(&self, value: &Self::Value) -> String;

    /// What is accepted, to follow "expected".
    fn accepts(&self) -> String;

    /// How it is written in TOML.
    fn shape(&self) -> Shape {
        Shape::Plain
    }
}

/// Yes or no.
#[derive(Debug)]
pub struct Switch;

impl Kind for Switch {
    type Value = bool;

    fn parse(&self, text: &str) -> Option<bool> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        }
    }

    fn text(&self, value: &bool) -> String {
        value.to_string()
    }

    fn accepts(&self) -> String {
        "true or false".to_owned()
    }
}

/// A whole number.
#[derive(Debug)]
pub struct Whole(pub RangeInclusive<u32>);

impl Kind for Whole {
    type Value = u32;

    fn parse(&self, text: &str) -> Option<u32> {
        text.trim().parse().ok().filter(|number| self.0.contains(number))
    }

    fn text(&self, value: &u32) -> String {
        value.to_string()
    }

    fn accepts(&self) -> String {
        format!("a whole number from {} to {}", self.0.start(), self.0.end())
    }
}

/// A byte size.
#[derive(Debug)]
pub struct Bytes {
    /// The bounds.
    pub range: RangeInclusive<u64>,
    /// Bytes that a number without a unit counts in.
    pub plain: u64,
}

impl Kind for Bytes {
    type Value = ByteSize;

    fn parse(&self, text: &str) -> Option<ByteSize> {
        ByteSize::parse(text, Some(self.plain)).filter(|size| self.range.contains(&size.0))
    }

    fn text(&self, value: &ByteSize) -> String {
        value.to_string()
    }

    fn accepts(&self) -> String {
        let unit = ByteSize(self.plain).to_string();
        format!(
            "a size from {} to {}, such as 64MiB or 100MB (a number alone counts in {})",
            ByteSize(*self.range.start()),
            ByteSize(*self.range.end()),
            if self.plain == 1 { "bytes" } else { unit.trim_start_matches('1') },
        )
    }
}

/// A duration, bounded in milliseconds.
#[derive(Debug)]
pub struct Time(pub RangeInclusive<u64>);

impl Kind for Time {
    type Value = Duration;

    fn parse(&self, text: &str) -> Option<Duration> {
        Span::parse(text).filter(|span| self.0.contains(&span.0)).map(Span::duration)
    }

    fn text(&self, value: &Duration) -> String {
        Span::from(*value).to_string()
    }

    fn accepts(&self) -> String {
        format!(
            "a time from {} to {}, such as 500ms, 5s, 10m, 2h",
            Span(*self.0.start()),
            Span(*self.0.end())
        )
    }
}

/// A percentage, 0 to 100.
#[derive(Debug)]
pub struct Hundredths;

impl Kind for Hundredths {
    type Value = Percent;

    fn parse(&self, text: &str) -> Option<Percent> {
        Percent::parse(text)
    }

    fn text(&self, value: &Percent) -> String {
        value.to_string()
    }

    fn accepts(&self) -> String {
        "a percentage from 0% to 100%".to_owned()
    }
}

/// A part of a file system; never all of it.
#[derive(Debug)]
pub struct Part;

impl Kind for Part {
    type Value = Share;

    fn parse(&self, text: &str) -> Option<Share> {
        Share::parse(text).filter(|share| *share != Share::Percent(Percent::ALL))
    }

    fn text(&self, value: &Share) -> String {
        value.to_string()
    }

    fn accepts(&self) -> String {
        "a percentage of the file system from 0% to 99%, or a size with its unit, such as 2GB".to_owned()
    }
}

/// One of a few words.
#[derive(Debug)]
pub struct Choice<T: 'static>(pub &'static [(&'static str, T)]);

impl<T: Copy + PartialEq + Send + Sync> Kind for Choice<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Option<T> {
        self.0.iter().find(|(word, _)| word.eq_ignore_ascii_case(text.trim())).map(|(_, value)| *value)
    }

    fn text(&self, value: &T) -> String {
        self.0.iter().find(|(_, known)| known == value).map_or("", |(word, _)| word).to_owned()
    }

    fn accepts(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|(word, _)| *word).collect();
        format!("one of {}", words.join(", "))
    }
}

/// A capture filter in BPF syntax; empty = every packet. Whether it compiles only libpcap knows.
#[derive(Debug)]
pub struct Bpf;

impl Kind for Bpf {
    type Value = String;

    fn parse(&self, text: &str) -> Option<String> {
        (!text.contains('\0')).then(|| text.trim().to_owned())
    }

    fn text(&self, value: &String) -> String {
        value.clone()
    }

    fn accepts(&self) -> String {
        "a filter in BPF syntax, such as `tcp port 443`, without NUL bytes".to_owned()
    }
}

/// The name of a network interface.
#[derive(Debug)]
pub struct Interface;

impl Kind for Interface {
    type Value = String;

    /// The rules of Linux's `dev_valid_name`.
    fn parse(&self, text: &str) -> Option<String> {
        let name = text.trim();
        let banned = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        let sound = (1..=INTERFACE_MAX).contains(&name.len()) && name != "." && name != "..";
        (sound && !name.contains(banned)).then(|| name.to_owned())
    }

    fn text(&self, value: &String) -> String {
        value.clone()
    }

    fn accepts(&self) -> String {
        format!("the name of one network interface (1 to {INTERFACE_MAX} bytes, no blanks, '/' or ':')")
    }
}

/// A path, relative ones from the working directory.
#[derive(Debug)]
pub struct AnyPath;

impl Kind for AnyPath {
    type Value = PathBuf;

    fn parse(&self, text: &str) -> Option<PathBuf> {
        (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
    }

    fn text(&self, value: &PathBuf) -> String {
        value.display().to_string()
    }

    fn accepts(&self) -> String {
        "a path".to_owned()
    }
}

/// The path of a file in some folder; not of a folder.
#[derive(Debug)]
pub struct FilePath;

impl Kind for FilePath {
    type Value = PathBuf;

    fn parse(&self, text: &str) -> Option<PathBuf> {
        let is_file = Path::new(text).file_name().is_some() && !text.ends_with('/') && !text.ends_with("/.");
        AnyPath.parse(text).filter(|_| is_file)
    }

    fn text(&self, value: &PathBuf) -> String {
        AnyPath.text(value)
    }

    fn accepts(&self) -> String {
        "the path of a file, not of a folder".to_owned()
    }
}

/// The path of a file of metrics for Prometheus: node_exporter reads no other name.
#[derive(Debug)]
pub struct MetricsPath;

impl Kind for MetricsPath {
    type Value = PathBuf;

    fn parse(&self, text: &str) -> Option<PathBuf> {
        FilePath.parse(text).filter(|path| path.extension().is_some_and(|ending| ending == "prom"))
    }

    fn text(&self, value: &PathBuf) -> String {
        AnyPath.text(value)
    }

    fn accepts(&self) -> String {
        "the path of a file that ends in .prom".to_owned()
    }
}

/// Another kind, or none of it.
#[derive(Debug)]
pub struct Maybe<K> {
    /// What is accepted when it is given.
    pub of: K,
    /// The words for none; the first is the one displayed.
    pub none: &'static [&'static str],
}

impl<K> Maybe<K> {
    /// A limit that can be off.
    pub const fn off(of: K) -> Self {
        Self { of, none: &["off", "0"] }
    }

    /// A limit that 0 lifts.
    pub const fn zero(of: K) -> Self {
        Self { of, none: &["0", "off"] }
    }

    /// Something that has no default; empty = not set.
    pub const fn unset(of: K) -> Self {
        Self { of, none: &[""] }
    }
}

impl<K: Kind> Kind for Maybe<K> {
    type Value = Option<K::Value>;

    fn parse(&self, text: &str) -> Option<Option<K::Value>> {
        if self.none.iter().any(|word| word.eq_ignore_ascii_case(text.trim())) {
            return Some(None);
        }
        self.of.parse(text).map(Some)
    }

    fn text(&self, value: &Option<K::Value>) -> String {
        value
            .as_ref()
            .map_or_else(|| self.none.first().copied().unwrap_or("").to_owned(), |v| self.of.text(v))
    }

    fn accepts(&self) -> String {
        match self.none.first() {
            Some(word) if !word.is_empty() => format!("{}, or {word}", self.of.accepts()),
            _ => self.of.accepts(),
        }
    }
}
