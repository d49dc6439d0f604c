//! JSON documents made field by field, by names with points. Pure.

use serde_json::{Map, Value};

/// A document.
#[derive(Debug, Default)]
pub(super) struct Document(Map<String, Value>);

impl Document {
    /// Sets a field such as `source.ip`; nothing where the value is null.
    pub(super) fn put(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        if value.is_null() {
            return;
        }
        let (mut object, mut rest) = (&mut self.0, name);
        while let Some((first, after)) = rest.split_once('.') {
            let inner = object.entry(first).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(inner) = inner else { return };
            (object, rest) = (inner, after);
        }
        object.insert(rest.to_owned(), value);
    }

    pub(super) fn done(self) -> Value {
        Value::Object(self.0)
    }
}
