//! The configuration as `config show` tells it: every key, its value and where that comes from. Makes text
//! and JSON; prints nothing.

use serde_json::{Value, json};

use super::data_dir::DataDir;
use super::keys::{self, AnyKey};
use super::{Loaded, Mistakes, Rule, Setting};

/// One aligned line per key, in the order of the shipped sample; then the `[[ignore]]` rules, and the data directory that follows
/// from them.
pub fn text(loaded: &Loaded, data_dir: &DataDir) -> String {
    let rows: Vec<_> = loaded.settings.iter().map(|setting| (setting.key, value(setting), setting)).collect();
    let width = |cell: &dyn Fn(usize) -> usize| (0..rows.len()).map(cell).max().unwrap_or(0);
    let keys = width(&|at| rows[at].0.chars().count());
    // One long filter does not push all the origins out of sight.
    let values = width(&|at| rows[at].1.chars().count()).min(24);
    let mut out = String::new();
    for (key, value, setting) in &rows {
        out.push_str(&format!("{key:keys$}  {value:values$}  {}\n", setting.origin));
    }
    if !loaded.rules.is_empty() {
        out.push_str("\nIgnored:\n");
    }
    for Rule { rule, origin } in &loaded.rules {
        out.push_str(&format!("  {rule} ({})  {origin}\n", rule.reason));
    }
    out.push_str(&format!("\nData directory: {data_dir}\n"));
    out
}

/// `{"data_dir","data_dir_from","settings":[{"key","env","value","from","default","help"}],"ignore":[{"detector","src","dst",
/// "port","reason","from"}]}`; values as text that reads back, null if not set.
pub fn json(loaded: &Loaded, data_dir: &DataDir) -> Value {
    let settings: Vec<_> = loaded.settings.iter().map(setting_json).collect();
    json!({
        "data_dir": data_dir.path.display().to_string(),
        "data_dir_from": data_dir.why.to_string(),
        "settings": settings,
        "ignore": loaded.rules.iter().map(rule_json).collect::<Vec<_>>(),
    })
}

/// `{"mistakes":[{"text","warning"}],"count"}`, as `config check` tells it; `count` includes those too many
/// to list.
pub fn mistakes_json(mistakes: &Mistakes) -> Value {
    let list: Vec<_> =
        mistakes.iter().map(|m| json!({ "text": m.to_string(), "warning": m.is_warning() })).collect();
    json!({ "mistakes": list, "count": mistakes.count() })
}

fn setting_json(setting: &Setting) -> Value {
    let key = keys::find(setting.key);
    let given = |text: String| (!text.is_empty()).then_some(text);
    json!({
        "key": setting.key,
        "env": key.map(AnyKey::env),
        "value": given(setting.text.clone()),
        "from": setting.origin.to_string(),
        "default": key.and_then(|key| given(key.default_text())),
        "help": key.map(AnyKey::help),
    })
}

fn rule_json(Rule { rule, origin }: &Rule) -> Value {
    json!({
        "detector": rule.detector,
        "src": rule.src,
        "dst": rule.dst,
        "port": rule.port,
        "reason": rule.reason,
        "from": origin.to_string(),
    })
}

/// On one line, whatever was typed; `-` if not set.
fn value(setting: &Setting) -> String {
    match setting.text.as_str() {
        "" => "-".to_owned(),
        text => text.escape_debug().to_string(),
    }
}
