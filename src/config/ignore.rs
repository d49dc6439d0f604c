//! The `[[ignore]]` rules of the configuration file: what is known and harmless. Each says why, and names something: nothing is
//! silenced by mistake. A rule with a mistake is left out as a whole, since without one of its conditions it would silence more.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kind::detect::{DetectorId, Port, RuleEnd};
use super::kind::{Kind, Shape};
use super::mistake::{Mistake, Mistakes, Origin, quoted, shown};
use super::raw::{most_like, scalar};
use crate::detect::IgnoreRule;

/// The most rules: each finding is held against each.
const MOST: usize = 256;

/// Rules with mistakes that are told at once: when these are mended, the next are.
const MOST_WRONG: usize = 8;

/// The longest reason, characters.
const REASON: usize = 200;

/// What a rule may say.
const FIELDS: [&str; 5] = ["detector", "src", "dst", "port", "reason"];

/// A rule and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The rule.
    pub rule: IgnoreRule,
    /// Its place.
    pub origin: Origin,
}

/// Where a byte of the file lies.
type At<'a> = &'a dyn Fn(usize) -> Origin;

/// Reads the rules under the key `ignore`.
pub(super) fn read(value: &Spanned<DeValue<'_>>, at: At<'_>, mistakes: &mut Mistakes) -> Vec<Rule> {
    let tables = match value.get_ref() {
        DeValue::Array(items) => items.iter().map(|item| Some((item, item.get_ref().as_table()?))).collect(),
        _ => None,
    };
    let Some(tables): Option<Vec<_>> = tables else {
        mistakes.push(Mistake::Value {
            origin: at(value.span().start),
            key: "ignore",
            value: "…".to_owned(),
            accepts: format!("tables, each under a heading [[ignore]] and of {}", FIELDS.join(", ")),
        });
        return Vec::new();
    };
    if tables.len() > MOST {
        mistakes.push(Mistake::Value {
            origin: at(value.span().start),
            key: "ignore",
            value: format!("{} rules", tables.len()),
            accepts: format!("at most {MOST}"),
        });
        return Vec::new();
    }
    let mut rules = Vec::with_capacity(tables.len());
    let mut wrong = 0;
    for (item, table) in tables {
        let origin = at(item.span().start);
        match rule(table, &origin, at, mistakes) {
            Some(rule) => rules.push(Rule { rule, origin }),
            // What only lacks a newer version's key stops nothing, the rules behind it neither.
            None => wrong += usize::from(!mistakes.are_warnings()),
        }
        if wrong >= MOST_WRONG {
            break;
        }
    }
    rules
}

/// Reads one; `None` if anything is wrong with it.
fn rule(table: &DeTable<'_>, begin: &Origin, at: At<'_>, mistakes: &mut Mistakes) -> Option<IgnoreRule> {
    let mut fields = Fields { table, at, mistakes, sound: true };
    fields.find_unknown();
    let detector = fields.field("ignore.detector", &OrAny(DetectorId)).flatten();
    let rule = IgnoreRule {
        detector: detector.map(str::to_owned),
        src: fields.field("ignore.src", &RuleEnd),
        dst: fields.field("ignore.dst", &RuleEnd),
        port: fields.field("ignore.port", &Port),
        reason: fields.field("ignore.reason", &Reason).unwrap_or_default(),
    };
    let mut lacks = |key: &'static str, accepts: String| {
        let value = "(not given)".to_owned();
        fields.mistakes.push(Mistake::Value { origin: begin.clone(), key, value, accepts });
        fields.sound = false;
    };
    if !table.contains_key("reason") {
        lacks("ignore.reason", Reason.accepts());
    }
    if ["detector", "src", "dst", "port"].iter().all(|field| !table.contains_key(*field)) {
        lacks(
            "ignore.detector",
            format!("{}, if neither src nor dst nor port is given", OrAny(DetectorId).accepts()),
        );
    }
    fields.sound.then_some(rule)
}

/// What one rule says.
struct Fields<'a> {
    table: &'a DeTable<'a>,
    at: At<'a>,
    mistakes: &'a mut Mistakes,
    sound: bool,
}

impl Fields<'_> {
    /// The value of a field, by the name that messages give it; `None` if it is not there or not acceptable.
    fn field<K: Kind>(&mut self, key: &'static str, kind: &K) -> Option<K::Value> {
        let (name, value) = self.table.get_key_value(key.trim_start_matches("ignore."))?;
        let text = scalar(value, Shape::Plain);
        if let Some(value) = text.as_ref().ok().and_then(|text| kind.parse(text)) {
            return Some(value);
        }
        let value = text.map_or_else(|instead| instead, |text| quoted(&text));
        let origin = (self.at)(name.span().start);
        self.mistakes.push(Mistake::Value { origin, key, value, accepts: kind.accepts() });
        self.sound = false;
        None
    }

    /// Tells what this version does not know. A service that was rolled back starts nevertheless, without that rule.
    fn find_unknown(&mut self) {
        for name in self.table.keys().filter(|name| !FIELDS.contains(&&**name.get_ref())) {
            let similar = most_like(name.get_ref(), FIELDS.into_iter());
            let hint = similar.map(|field| format!("; did you mean ignore.{field}?")).unwrap_or_default();
            let name_shown = shown(name.get_ref());
            let problem = format!("the rule is left out for its unknown key ignore.{name_shown}{hint}");
            self.mistakes.push(Mistake::Ignored { origin: (self.at)(name.span().start), problem });
            self.sound = false;
        }
    }
}

/// The word for any detector, or one.
struct OrAny<K>(K);

impl<K: Kind> Kind for OrAny<K> {
    type Value = Option<K::Value>;

    fn parse(&self, text: &str) -> Option<Self::Value> {
        if text.trim() == "*" { Some(None) } else { self.0.parse(text).map(Some) }
    }

    fn text(&self, value: &Self::Value) -> String {
        value.as_ref().map_or_else(|| "*".to_owned(), |value| self.0.text(value))
    }

    fn accepts(&self) -> String {
        format!("\"*\" or {}", self.0.accepts())
    }
}

/// Why something is ignored.
struct Reason;

impl Kind for Reason {
    type Value = String;

    fn parse(&self, text: &str) -> Option<String> {
        let text = text.trim();
        let sound = !text.is_empty() && text.chars().count() <= REASON && !text.contains(char::is_control);
        sound.then(|| text.to_owned())
    }

    fn text(&self, value: &String) -> String {
        value.clone()
    }

    fn accepts(&self) -> String {
        format!("why it is harmless, in words: one line, at most {REASON} characters")
    }
}
