//! `tapkeep replay`: capture files through the same pipeline into a data directory. Nothing is dropped: where a live port
//! would lose packets, a replay waits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};

use super::feed::Feeder;
use super::health::Health;
use super::pipeline::{Pipeline, Plan};
use super::setup::DataDirectory;
use crate::capture::replay::Import;
use crate::packet::MAX_SNAPLEN;
use crate::store::format::Format;
use crate::store::losses::Losses;
use crate::sys::clock::RealClock;

/// What a replay has taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replayed {
    /// Packets.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Packets that could not be written.
    pub unwritten: u64,
}

/// Bytes of a file between two words on progress.
const STRIDE: u64 = 4096;
