//! A finding as the store keeps it: its id and its JSON, whatever a detector has put into it. Small in memory, for there are
//! many.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The most findings that ledger, catalog and index keep: the latest.
pub const MAX_FINDINGS: usize = 10_000;

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFinding {
    id: Box<str>,
    json: Box<str>,
}

impl KeptFinding {
    /// Keeps what has an `id`.
    pub fn new(finding: &impl Serialize) -> Result<Self, serde_json::Error> {
        Self::of(&serde_json::to_value(finding)?)
    }

    fn of(value: &Value) -> Result<Self, serde_json::Error> {
        let id = value.get("id").and_then(Value::as_str);
        let id = id.ok_or_else(|| serde_json::Error::custom("a finding without an id"))?;
        Ok(Self { id: id.into(), json: value.to_string().into() })
    }

    /// What it is called.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// All of it, as JSON.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// All of it, as a detector told it; `None` if it is of another version.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.json).ok()
    }
}

impl Serialize for KeptFinding {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let value: Value = serde_json::from_str(&self.json).map_err(serde::ser::Error::custom)?;
        value.serialize(to)
    }
}

impl<'de> Deserialize<'de> for KeptFinding {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::of(&Value::deserialize(from)?).map_err(D::Error::custom)
    }
}

impl From<crate::detect::Finding> for KeptFinding {
    fn from(finding: crate::detect::Finding) -> Self {
        // A finding is texts and numbers, which JSON always holds.
        Self::new(&finding).unwrap_or_else(|_| Self { id: finding.id.into(), json: "{}".into() })
    }
}
