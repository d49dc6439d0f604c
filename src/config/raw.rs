//! What was typed: the layers flags > environment > file as texts, each with its origin, nothing decided yet.
//! Reads the configuration file and nothing else of the machine. A hostile file costs at most [`MAX_FILE`]
//! bytes of memory a few times over, and time in proportion.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ignore::{self, Rule};
use super::keys::{self, AnyKey, KEYS, Key};
use super::kind::{Kind, Shape};
use super::mistake::{Mistake, Mistakes, Origin, quoted, shown};

/// The configuration file that is read, if it exists, when none is named.
pub const USUAL_FILE: &str = "/etc/tapkeep/tapkeep.toml";

/// The largest configuration file, bytes.
pub const MAX_FILE: u64 = 1 << 20;

/// Syntax errors told at once; those behind the first are mostly its echoes.
const MAX_SYNTAX_ERRORS: usize = 4;

/// Every `TAPKEEP_…` variable must be a key, except those of the project's own tests.
const NOT_KEYS: [&str; 9] = [
    "TAPKEEP_AGREEMENT",
    "TAPKEEP_CORPORA",
    "TAPKEEP_CRASH_SEEDS",
    "TAPKEEP_TEST_BOMB",
    "TAPKEEP_TEST_INDEX",
    "TAPKEEP_TEST_REQUIRE",
    "TAPKEEP_TEST_RUNNER",
    "TAPKEEP_TEST_SEED",
    "TAPKEEP_UPDATE_SNAPSHOTS",
];

/// The key of the `[[ignore]]` rules.
const IGNORE: &str = "ignore";

/// Systemd's name for the directory that it made for the service; several are separated by colons.
const RUNTIME_DIRECTORY: &str = "RUNTIME_DIRECTORY";

/// Where values come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Flags of the command line: a key's name and the text given. What the command line does not have is not
    /// in here.
    pub flags: Vec<(&'static str, String)>,
    /// The environment.
    pub environment: BTreeMap<OsString, OsString>,
    /// The configuration file that the user named, which must exist.
    pub file: Option<PathBuf>,
    /// The one that is read if it exists, when none is named.
    pub usual_file: PathBuf,
}

impl Sources {
    /// The process's environment, the flags given, and the file named or else [`USUAL_FILE`].
    pub fn of_process(flags: Vec<(&'static str, String)>, file: Option<PathBuf>) -> Self {
        Self { flags, environment: std::env::vars_os().collect(), file, usual_file: USUAL_FILE.into() }
    }
}

/// One value as it was typed.
#[derive(Debug)]
struct Typed {
    key: &'static str,
    text: String,
    origin: Origin,
}

/// A key's value and where it comes from, as `config show` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key's name.
    pub key: &'static str,
    /// The value, in the spelling that reads back; empty if it is not set and has no default.
    pub text: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// All layers, highest first, and what became of them so far.
#[derive(Debug, Default)]
pub(super) struct Raw {
    typed: Vec<Typed>,
    pub(super) settings: Vec<Setting>,
    /// The `[[ignore]]` rules, which only the file has.
    pub(super) rules: Vec<Rule>,
    pub(super) mistakes: Mistakes,
}

impl Raw {
    /// Collects the layers.
    pub(super) fn read(sources: &Sources) -> Self {
        let mut raw = Self::default();
        raw.add_flags(&sources.flags);
        raw.add_environment(&sources.environment);
        match &sources.file {
            Some(path) => raw.add_file(path, true),
            None => raw.add_file(&sources.usual_file, false),
        }
        raw.add_runtime_directory(&sources.environment);
        raw
    }

    /// Settles a key: the highest layer's value, or the default. Values of lower layers are checked too.
    pub(super) fn take<K: Kind>(&mut self, key: &Key<K>) -> K::Value {
        let mut winner = None;
        for typed in self.typed.iter().filter(|typed| typed.key == key.name()) {
            match key.kind.parse(&typed.text) {
                Some(value) => winner = winner.or_else(|| Some((value, typed.origin.clone()))),
                None => self.mistakes.push(refused(key, quoted(&typed.text), typed.origin.clone())),
            }
        }
        let (value, origin) = winner.unwrap_or_else(|| (key.default(), Origin::Default));
        self.settings.push(Setting { key: key.name(), text: key.kind.text(&value), origin });
        value
    }

    /// Where the value of a settled key comes from.
    pub(super) fn origin(&self, key: &dyn AnyKey) -> Origin {
        let setting = self.settings.iter().find(|setting| setting.key == key.name());
        setting.map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// The text of a settled key.
    pub(super) fn text(&self, key: &dyn AnyKey) -> &str {
        self.settings.iter().find(|setting| setting.key == key.name()).map_or("", |setting| &setting.text)
    }

    /// Says that the value of `key` does not go together with that of `with`, unless one of the two is in
    /// doubt anyway.
    pub(super) fn conflict(&mut self, key: &dyn AnyKey, with: &dyn AnyKey, problem: String) {
        let doubtful = |m: &Mistake| m.casts_doubt_on(key.name()) || m.casts_doubt_on(with.name());
        if !self.mistakes.iter().any(doubtful) {
            self.refuse(key, problem);
        }
    }

    /// Says what is wrong with the value of a settled key.
    pub(super) fn refuse(&mut self, key: &dyn AnyKey, problem: String) {
        if let Some(setting) = self.settings.iter().find(|setting| setting.key == key.name()) {
            self.mistakes.push(Mistake::Conflict {
                origin: setting.origin.clone(),
                key: setting.key,
                value: shown(&setting.text),
                problem,
            });
        }
    }

    fn add_flags(&mut self, flags: &[(&'static str, String)]) {
        for (name, text) in flags {
            let origin = Origin::Flag(flag(name));
            match keys::find(name) {
                Some(key) => self.typed.push(Typed { key: key.name(), text: text.clone(), origin }),
                None => self.mistakes.push(unknown(name, origin)),
            }
        }
    }

    /// A variable that is set to nothing counts as not set: compose files pass those.
    fn add_environment(&mut self, environment: &BTreeMap<OsString, OsString>) {
        for (name, value) in environment {
            let name = name.to_string_lossy();
            let origin = || Origin::Environment(name.clone().into_owned());
            match (keys::find_env(&name), value.to_str()) {
                (_, Some(text)) if text.trim().is_empty() => {}
                (Some(key), Some(text)) => {
                    self.typed.push(Typed { key: key.name(), text: text.to_owned(), origin: origin() });
                }
                (Some(key), None) => {
                    let value = quoted(&value.to_string_lossy());
                    self.mistakes.push(refused(key, format!("{value} (not UTF-8)"), origin()));
                }
                (None, _) if name.starts_with("TAPKEEP_") && !NOT_KEYS.contains(&&*name) => {
                    let similar = most_like(&name, KEYS.iter().map(|key| key.env()));
                    self.mistakes.push(Mistake::UnknownKey { origin: origin(), key: shown(&name), similar });
                }
                (None, _) => {}
            }
        }
    }

    /// Only the lowest layer: whoever sets the key means it.
    fn add_runtime_directory(&mut self, environment: &BTreeMap<OsString, OsString>) {
        let list = environment.get(&OsString::from(RUNTIME_DIRECTORY)).and_then(|list| list.to_str());
        if let Some(first) = list.and_then(|list| list.split(':').find(|path| !path.is_empty())) {
            let origin = Origin::Environment(RUNTIME_DIRECTORY.to_owned());
            self.typed.push(Typed { key: keys::RUNTIME_DIR.name(), text: first.to_owned(), origin });
        }
    }

    fn add_file(&mut self, path: &Path, must_exist: bool) {
        match read_text(path) {
            Ok(None) if !must_exist => {}
            Ok(Some(text)) => self.add_toml(path, &text),
            Ok(None) => {
                self.mistakes.push(unusable(path, "it does not exist; name another with --config".to_owned()))
            }
            Err(problem) => self.mistakes.push(unusable(path, problem)),
        }
    }

    fn add_toml(&mut self, path: &Path, text: &str) {
        let lines = Lines::of(text);
        let at = |offset: usize| Origin::File(path.to_owned(), lines.number(offset));
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors.iter().take(MAX_SYNTAX_ERRORS) {
            let origin = at(error.span().map_or(0, |span| span.start));
            let problem = shown(error.message().trim());
            self.mistakes.push(Mistake::Syntax { origin, problem });
        }
        if errors.is_empty() {
            self.add_table("", table.get_ref(), &at);
        }
    }

    fn add_table(&mut self, prefix: &str, table: &DeTable<'_>, at: &dyn Fn(usize) -> Origin) {
        for (name, value) in table {
            let path = format!("{prefix}{}", name.get_ref());
            let origin = at(name.span().start);
            if path == IGNORE {
                self.rules = ignore::read(value, at, &mut self.mistakes);
                continue;
            }
            match (value.get_ref(), keys::find(&path).filter(|key| key.toml().is_some())) {
                (DeValue::Table(inner), None) if is_section(&path) => {
                    self.add_table(&format!("{path}."), inner, at);
                }
                (_, None) => self.mistakes.push_unknown(|| unknown(&path, origin)),
                (_, Some(key)) => match scalar(value, key.shape()) {
                    Ok(text) => self.typed.push(Typed { key: key.name(), text, origin }),
                    Err(instead) => self.mistakes.push(refused(key, instead, origin)),
                },
            }
        }
    }
}

/// The text of a string, an integer or a boolean, and of what else the shape allows; else what it is instead.
pub(super) fn scalar(value: &Spanned<DeValue<'_>>, shape: Shape) -> Result<String, String> {
    match value.get_ref() {
        DeValue::Float(number) if shape == Shape::Decimal => Ok(number.as_str().to_owned()),
        DeValue::Array(items) if shape == Shape::List => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| scalar(item, Shape::Plain)).collect();
            items.map(|items| items.join(", "))
        }
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .map_err(|_| quoted(number.as_str())),
        DeValue::Float(number) => Err(shown(number.as_str())),
        DeValue::Datetime(time) => Err(time.to_string()),
        DeValue::Array(_) => Err("[…]".to_owned()),
        DeValue::Table(_) => Err("{…}".to_owned()),
    }
}

/// The text of a file; `None` if there is none, an error's text with what to do otherwise.
fn read_text(path: &Path) -> Result<Option<String>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.to_string()),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > MAX_FILE {
        return Err("larger than 1 MiB, so hardly a configuration; name another with --config".to_owned());
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(Some(text)),
        _ => Err("not a text file in UTF-8; name another with --config".to_owned()),
    }
}

/// Line starts of a text.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// The line, from 1, on which the byte at `offset` lies.
    fn number(&self, offset: usize) -> usize {
        self.0.partition_point(|end| *end < offset) + 1
    }
}

fn is_section(path: &str) -> bool {
    sections().any(|section| section == path)
}

fn sections() -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(|key| key.toml()?.rsplit_once('.')).map(|(section, _)| section)
}

/// The last part of a path.
fn leaf(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// The flag that sets a key: `--` and the last part of its name.
fn flag(name: &str) -> String {
    format!("--{}", leaf(name).replace('_', "-").to_lowercase())
}

fn refused(key: &dyn AnyKey, value: String, origin: Origin) -> Mistake {
    Mistake::Value { origin, key: key.name(), value, accepts: key.accepts() }
}

fn unusable(path: &Path, problem: String) -> Mistake {
    Mistake::File { path: path.to_owned(), problem }
}

fn unknown(path: &str, origin: Origin) -> Mistake {
    let names = || KEYS.iter().filter_map(|key| key.toml());
    // The right name in the wrong section, a key spelled as in the environment, or a slip of the finger.
    let misplaced = names().find(|name| leaf(name) == leaf(path));
    let shouted = || keys::find_env(leaf(path)).and_then(AnyKey::toml);
    let similar =
        misplaced.or_else(shouted).or_else(|| most_like(path, names().chain(sections()).chain([IGNORE])));
    Mistake::UnknownKey { origin, key: shown(path), similar }
}

/// The known name at the smallest edit distance, if that is small beside the name's length.
pub(super) fn most_like(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let reach = |known: &str| (known.len() / 4).clamp(1, 4);
    known
        .filter(|known| known.len().abs_diff(name.len()) <= reach(known))
        .map(|known| (strsim::osa_distance(name, known), known))
        .filter(|(distance, known)| *distance <= reach(known))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}
