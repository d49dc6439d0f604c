//! Blobs in JSON: where no capture files are written, the footer of a flow file keeps the summary.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::super::filter::Filter;
use super::{BlobError, Encoded};

impl Encoded {
    /// The blobs by name, in base64.
    pub fn to_json(&self) -> Value {
        let blobs = self.named().map(|(name, blob)| (name.to_owned(), STANDARD.encode(blob).into()));
        Value::Object(Map::from_iter(blobs))
    }

    /// From what [`Encoded::to_json`] gave; `None` if it is something else. The blobs are judged when they are decoded.
    pub fn from_json(json: &Value) -> Option<Self> {
        let blob = |name| STANDARD.decode(json.get(name)?.as_str()?).ok();
        Some(Self {
            head: blob("head")?,
            protocols: blob("protocols")?,
            endpoints: blob("endpoints")?,
            macs: blob("macs")?,
            conversations: blob("conversations")?,
            filter: blob("filter")?,
        })
    }

    fn named(&self) -> [(&'static str, &Vec<u8>); 6] {
        let Self { head, protocols, endpoints, macs, conversations, filter } = self;
        [
            ("head", head),
            ("protocols", protocols),
            ("endpoints", endpoints),
            ("macs", macs),
            ("conversations", conversations),
            ("filter", filter),
        ]
    }
}

impl Filter {
    /// Its blob in base64.
    pub fn to_text(&self) -> String {
        STANDARD.encode(self.encode())
    }

    /// From what [`Filter::to_text`] gave.
    ///
    /// # Errors
    /// If it is no base64, damaged, or of another version.
    pub fn from_text(text: &str) -> Result<Self, BlobError> {
        Self::decode(&STANDARD.decode(text).map_err(|_| BlobError::Damaged)?)
    }
}
