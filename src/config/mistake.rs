//! What is wrong with a configuration, each mistake with its place; all are told at once. What was typed is
//! quoted, escaped and shortened, whatever it is.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

/// Where a value comes from; the later in this list, the higher it ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nothing sets it.
    Default,
    /// The configuration file, by line from 1.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line, with its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.pad("default"),
            Self::File(path, line) => f.pad(&format!("{}:{line}", path.display())),
            Self::Environment(name) => f.pad(&format!("environment {}", shown(name))),
            Self::Flag(name) => f.pad(name),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// A value that its key does not accept.
    #[error("{origin}: {key} = {value}: expected {accepts}")]
    Value {
        /// Where it was set.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// What was typed: escaped, shortened.
        value: String,
        /// What is accepted.
        accepts: String,
    },
    /// A value that does not go together with another, or that fails when it is tried.
    #[error("{origin}: {key} = {value}: {problem}")]
    Conflict {
        /// Where the first was set.
        origin: Origin,
        /// The key to change.
        key: &'static str,
        /// Its value.
        value: String,
        /// Why not, and with which other key.
        problem: String,
    },
    /// A key that this version does not know.
    #[error("{origin}: unknown key {key}{}", hint(*.similar))]
    UnknownKey {
        /// Where it was set.
        origin: Origin,
        /// As it was typed, shortened.
        key: String,
        /// The known name that looks most like it.
        similar: Option<&'static str>,
    },
    /// A value that is understood but not followed to the letter.
    #[error("{origin}: {problem}")]
    Ignored {
        /// Where it was set.
        origin: Origin,
        /// What is not followed, and what happens instead.
        problem: String,
    },
    /// The configuration file is not TOML.
    #[error("{origin}: {problem}")]
    Syntax {
        /// Where.
        origin: Origin,
        /// What the parser says.
        problem: String,
    },
    /// The configuration file cannot be used at all.
    #[error("read configuration {}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        problem: String,
    },
}

impl Mistake {
    /// Whether the service may start nevertheless.
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::UnknownKey { .. } | Self::Ignored { .. })
    }

    /// Whether it leaves the value of `key` in doubt.
    pub(super) fn casts_doubt_on(&self, key: &str) -> bool {
        match self {
            Self::Value { key: bad, .. } | Self::Conflict { key: bad, .. } => *bad == key,
            Self::Syntax { .. } | Self::File { .. } => true,
            Self::UnknownKey { .. } | Self::Ignored { .. } => false,
        }
    }
}

fn hint(similar: Option<&str>) -> String {
    similar.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// All that is wrong, one line each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mistakes {
    list: Vec<Mistake>,
    unlisted: usize,
}

impl Mistakes {
    /// Unknown keys listed; more are only counted.
    const MAX_WARNINGS: usize = 32;

    /// Adds one. What is no warning is always listed: there are at most a few per key.
    pub(super) fn push(&mut self, mistake: Mistake) {
        if mistake.is_warning() && self.is_full() {
            self.unlisted += 1;
        } else {
            self.list.push(mistake);
        }
    }

    /// Adds an unknown key, which costs something to describe; beyond what is listed it is only counted.
    pub(super) fn push_unknown(&mut self, describe: impl FnOnce() -> Mistake) {
        if self.is_full() {
            self.unlisted += 1;
        } else {
            self.list.push(describe());
        }
    }

    /// Whether as many warnings are listed as may be.
    fn is_full(&self) -> bool {
        self.list.iter().filter(|m| m.is_warning()).count() >= Self::MAX_WARNINGS
    }

    /// Those that are listed.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.list.iter()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many, listed or not.
    pub fn count(&self) -> usize {
        self.list.len() + self.unlisted
    }

    /// Whether the service may start nevertheless.
    pub fn are_warnings(&self) -> bool {
        self.iter().all(Mistake::is_warning)
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.iter().enumerate() {
            write!(f, "{}{mistake}", if at == 0 { "" } else { "\n" })?;
        }
        match self.unlisted {
            0 => Ok(()),
            more => write!(f, "\nand {more} more unknown keys"),
        }
    }
}

impl std::error::Error for Mistakes {}

/// Characters of a typed text that a message repeats.
const SHOWN: usize = 80;

fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

/// A typed text between quotes: escaped and shortened.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

/// A typed name without quotes: escaped and shortened.
pub(super) fn shown(text: &str) -> String {
    shortened(text).escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(line: usize) -> Mistake {
        let origin = Origin::File("t.toml".into(), line);
        Mistake::UnknownKey { origin, key: "capture.snaplne".to_owned(), similar: Some("capture.snaplen") }
    }

    #[test]
    fn a_mistake_tells_place_key_value_and_what_is_accepted() {
        let mistake = Mistake::Value {
            origin: Origin::Environment("PCAP_ROTATION_SIZE".to_owned()),
            key: "recorder.rotation_size",
            value: quoted("ten\u{1b}[2J"),
            accepts: "a size".to_owned(),
        };
        assert_eq!(
            mistake.to_string(),
            r#"environment PCAP_ROTATION_SIZE: recorder.rotation_size = "ten\u{1b}[2J": expected a size"#
        );
        assert_eq!(
            unknown(12).to_string(),
            "t.toml:12: unknown key capture.snaplne; did you mean capture.snaplen?"
        );
    }

    #[test]
    fn a_flood_of_unknown_keys_hides_no_bad_value() {
        let mut mistakes = Mistakes::default();
        (0..1_000).for_each(|line| mistakes.push(unknown(line)));
        assert!(mistakes.are_warnings());
        mistakes.push(Mistake::File { path: "t.toml".into(), problem: "gone".to_owned() });
        assert!(!mistakes.are_warnings());
        assert_eq!((mistakes.iter().count(), mistakes.count()), (33, 1_001));
        assert!(mistakes.to_string().ends_with("gone\nand 968 more unknown keys"));
    }

    #[test]
    fn what_was_typed_is_shortened() {
        assert!(quoted(&"é".repeat(100_000)).len() < 200);
        assert_eq!(shown("a\nb"), "a\\nb");
    }
}
