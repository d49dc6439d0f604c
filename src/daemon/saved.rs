//! The state of the detectors, saved now and then for a restart: `detectors.jsonb.gz`, one object, compressed, for it is large and
//! written often, and replaced as a whole. A cache: what it lacks the detectors learn anew.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::flow::jsonb;
use crate::packet::Place;
use crate::store::layout::Layout;
use crate::sys::fs::{Fs, read_full, write_full};

/// The largest state that is read or written, bytes.
const LIMIT: usize = 64 << 20;

/// What is saved.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    /// Up to where the packets were seen: index number and offset.
    analysed: Option<(u64, u64)>,
    /// What [`crate::detect::stream::Stream::save`] gave.
    pub detectors: Value,
}

impl Saved {
    /// What is to be saved.
    pub(super) fn new(analysed: Option<Place>, detectors: Value) -> Self {
        Self { analysed: analysed.map(|place| (place.file, place.offset)), detectors }
    }

    /// Up to where the packets were seen.
    pub(super) fn place(&self) -> Option<Place> {
        self.analysed.map(|(file, offset)| Place { file, offset })
    }

    /// Replaces what was saved before.
    pub(super) fn write(&self, fs: &dyn Fs, layout: &Layout) -> io::Result<()> {
        let mut plain = Vec::new();
        jsonb::encode(self, &mut plain).map_err(io::Error::other)?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&plain)?;
        let bytes = encoder.finish()?;
        let (new, path) = (layout.next_detectors(), layout.detectors());
        let _ = fs.remove(&new);
        let file = fs.create(&new)?;
        write_full(file.as_ref(), &bytes, 0).map_err(|(_, error)| error)?;
        file.sync()?;
        fs.replace(&new, &path)?;
        fs.sync_dir(layout.root())
    }

    /// What was saved last, if it can be read.
    pub(super) fn read(fs: &dyn Fs, layout: &Layout) -> Option<Self> {
        let file = fs.open_read(&layout.detectors()).ok()?;
        let len = usize::try_from(file.len().ok()?).ok().filter(|&len| len <= LIMIT)?;
        let mut bytes = vec![0; len];
        let read = read_full(file.as_ref(), &mut bytes, 0).ok()?;
        let mut plain = Vec::new();
        GzDecoder::new(&bytes[..read]).take(LIMIT as u64).read_to_end(&mut plain).ok()?;
        jsonb::decode(&plain).ok().map(|(saved, _)| saved)
    }
}
