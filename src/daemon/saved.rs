//! The state of the detectors, saved now and then for a restart: `detectors.jsonb.gz`, replaced as a whole. First how far the packets were
//! seen, then an object for each detector; compressed, for it is large and written often, and made one by one, for memory is
//! scarce. A cache: what it lacks the detectors learn anew.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::detect::stream::Stream;
use crate::flow::jsonb;
use crate::packet::Place;
use crate::store::layout::Layout;
use crate::sys::fs::{Fs, read_full, replace_synced};

/// The largest state that is read, compressed and plain, bytes.
const LIMIT: usize = 64 << 20;

/// The first object: up to where the packets were seen, index number and offset.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    analysed: Option<(u64, u64)>,
}

/// The state of one detector.
#[derive(Debug, Serialize, Deserialize)]
struct Part<T, S> {
    of: T,
    state: S,
}

/// Replaces what was saved before.
pub(super) fn write(
    stream: &Stream,
    analysed: Option<Place>,
    fs: &dyn Fs,
    layout: &Layout,
) -> io::Result<()> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let analysed = analysed.map(|place| (place.file, place.offset));
    put(&mut encoder, &Head { analysed })?;
    stream.save_each(|of, state| put(&mut encoder, &Part { of, state }))?;
    let bytes = encoder.finish()?;
    replace_synced(fs, &layout.next_detectors(), &layout.detectors(), &bytes)
}

fn put(to: &mut impl Write, object: &impl Serialize) -> io::Result<()> {
    let mut bytes = Vec::new();
    jsonb::encode(object, &mut bytes).map_err(io::Error::other)?;
    to.write_all(&bytes)
}

/// Gives the stream what was saved last, as far as it can be read.
pub(super) fn restore(stream: &mut Stream, fs: &dyn Fs, layout: &Layout) {
    let Some(plain) = read(fs, layout) else { return };
    let Ok((Head { analysed }, mut at)) = jsonb::decode::<Head>(&plain) else { return };
    stream.has_seen(analysed.map(|(file, offset)| Place { file, offset }));
    while let Ok((Part { of, state }, len)) =
        jsonb::decode::<Part<String, Value>>(plain.get(at..).unwrap_or_default())
    {
        stream.restore_one(&of, state);
        at += len;
    }
}

fn read(fs: &dyn Fs, layout: &Layout) -> Option<Vec<u8>> {
    let file = fs.open_read(&layout.detectors()).ok()?;
    let len = usize::try_from(file.len().ok()?).ok().filter(|&len| len <= LIMIT)?;
    let mut bytes = vec![0; len];
    let read = read_full(file.as_ref(), &mut bytes, 0).ok()?;
    let mut plain = Vec::new();
    GzDecoder::new(bytes.get(..read)?).take(LIMIT as u64).read_to_end(&mut plain).ok()?;
    Some(plain)
}
