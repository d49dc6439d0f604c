//! Blobs in JSON: where no capture files are written, the footer of a flow file keeps the summary.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Map, Value};

use super::super::filter::Filter;
use super::{BlobError, Encoded};

impl Encoded {
    /// The blobs by name, in base64 without padding.
    pub fn to_json(&self) -> Value {
        let blobs = self.named().map(|(name, blob)| (name.to_owned(), STANDARD_NO_PAD.encode(blob).into()));
        Value::Object(Map::from_iter(blobs))
    }

    /// From what [`Encoded::to_json`] gave. The blobs themselves are judged when they are decoded.
    ///
    /// # Errors
    /// If a blob is missing or no base64.
    pub fn from_json(value: &Value) -> Result<Self, BlobError> {
        let blob =
            |name: &str| text_to_blob(value.get(name).and_then(Value::as_str).ok_or(BlobError::Damaged)?);
        Ok(Self {
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
    /// Its blob in base64 without padding.
    pub fn to_text(&self) -> String {
        STANDARD_NO_PAD.encode(self.encode())
    }

    /// From what [`Filter::to_text`] gave.
    ///
    /// # Errors
    /// If it is no base64, damaged, or of another version.
    pub fn from_text(text: &str) -> Result<Self, BlobError> {
        Self::decode(&text_to_blob(text)?)
    }
}

fn text_to_blob(text: &str) -> Result<Vec<u8>, BlobError> {
    STANDARD_NO_PAD.decode(text).map_err(|_| BlobError::Damaged)
}
