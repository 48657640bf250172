//! What is other in a new configuration.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::shell::config::sections::Sections;

/// One thing that is other.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Change {
    /// Which: `rule.sales.action`, `capture.eth1.snaplen`, `recipients.default`.
    pub key: String,
    /// What it was; none where it was not there.
    pub old: Option<String>,
    /// What it is; none where it is gone.
    pub new: Option<String>,
    /// Whether it takes a restart; else a reload makes it so.
    pub restart: bool,
}

impl Change {
    /// The same without values, which may name numbers and addresses: for logs and receipts.
    pub fn brief(&self) -> String {
        let what = match (&self.old, &self.new) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        let when = if self.restart { ", at the next restart" } else { "" };
        format!("{} {what}{when}", self.key)
    }
}

/// `capture.eth1.snaplen: 1500 → 65535 (needs a restart)`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
        write!(f, "{}: {} → {}", self.key, or(&self.old), or(&self.new))?;
        if self.restart { f.write_str(" (needs a restart)") } else { Ok(()) }
    }
}

pub(super) fn diff(old: &Sections, new: &Sections) -> Vec<Change> {
    let (old, new) = (flat(old), flat(new));
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
    changed
        .map(|key| Change {
            key: key.clone(),
            old: old.get(key).cloned(),
            new: new.get(key).cloned(),
            restart: needs_restart(key),
        })
        .collect()
}

/// All values by their keys. Tables of a list go by their name; their order, where it says something, is a
/// value too.
fn flat(sections: &Sections) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    // Text, numbers, lists and tables with text for keys: this does not fail.
    let all = serde_json::to_value(sections).unwrap_or_default();
    for (section, value) in all.as_object().into_iter().flatten() {
        match value {
            Value::Array(tables) => {
                let names: Vec<&str> = tables.iter().map(name_of).collect();
                if section == "rule" || section == "trunk" {
                    values.insert(format!("{section} order"), names.join(", "));
                }
                for (table, name) in tables.iter().zip(names) {
                    walk(&format!("{section}.{name}"), table, &mut values);
                }
            }
            other => walk(section, other, &mut values),
        }
    }
    values
}

fn name_of(table: &Value) -> &str {
    let name = table.get("name").or_else(|| table.get("interface"));
    name.and_then(Value::as_str).unwrap_or_default()
}

/// Tables are walked into, except expressions: a changed one is shown whole.
fn walk(key: &str, value: &Value, values: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::Object(table) if !key.ends_with(".match") => {
            for (name, value) in table {
                if name != "name" && name != "interface" || !key.contains('.') {
                    walk(&format!("{key}.{name}"), value, values);
                }
            }
        }
        Value::String(text) => drop(values.insert(key.into(), text.clone())),
        other => drop(values.insert(key.into(), without_blanks(other).to_string())),
    }
}

/// What is asked, without the many keys that are not there.
fn without_blanks(value: &Value) -> Value {
    let blank = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(table) => {
            let kept = table.iter().filter(|(_, value)| !blank(value));
            Value::Object(kept.map(|(key, value)| (key.clone(), without_blanks(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_blanks).collect()),
        other => other.clone(),
    }
}

fn needs_restart(key: &str) -> bool {
    let live = ["rule", "trunk", "recipients", "log.level"];
    let live_in_recorder = ["recorder.allow_single_recipient", "recorder.revision"];
    let begins = |part: &&str| {
        key.strip_prefix(*part).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ' ']))
    };
    !live.iter().any(begins) && !live_in_recorder.contains(&key)
}
