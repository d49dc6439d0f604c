//! The analyst thread: blocks to flow records, summaries and findings. The only owner of the flow files.
//!
//! It may lag behind as far as retention lets it: what it did not get in memory it reads back from the capture files, the same
//! bytes through the same code. Nobody waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tracing::{error, info, warn};

use super::handover::{Intake, Unread, Work};
use super::health::Health;
use super::index::Update;
use super::keep::Message;
use super::pending::Pending;
use super::readback::{ReadBack, Slice};
use crate::detect::stream::{Output, Stream};
use crate::flow::summary::{Summariser, SummaryLimits};
use crate::packet::decode::decode;
use crate::packet::{Frame, Nanos, Place};
use crate::store::block::Block;
use crate::store::entry::Act;
use crate::store::format::{Format, records};
use crate::store::layout::Layout;
use crate::store::losses::Losses;
use crate::store::names::CaptureName;
use crate::store::recorder::Piece;
use crate::sys::clock::{Clock, Now};
use crate::sys::fs::Fs;

/// How often the timers are looked at when nothing comes.
const TURN: Duration = Duration::from_millis(200);

/// How often what may be written is written.
const WRITE: Duration = Duration::from_secs(1);

/// How often the state of the detectors is saved for a restart.
const SAVE: Duration = Duration::from_secs(300);

/// What the analyst thread works with.
pub(super) struct AnalystLoop {
    /// What comes from the recorder.
    pub intake: Intake,
    /// Disconnected once what a crash left is salvaged, and may be read.
    pub salvaged: Receiver<()>,
    /// The file system.
    pub fs: Arc<dyn Fs>,
    /// The data directory.
    pub layout: Layout,
    /// Where the stretches of older files lie that no record covers yet, oldest first.
    pub left: VecDeque<Unread>,
    /// The flow file.
    pub writer: FlowWriter,
    /// Flows and detectors.
    pub stream: Stream,
    /// The bounds of a summary.
    pub limits: SummaryLimits,
    /// Time between two syncs.
    pub sync_interval: Duration,
    /// Where findings go.
    pub keeper: Sender<Message>,
    /// Where summaries go.
    pub index: Sender<Update>,
    /// Counters.
    pub health: Arc<Health>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Set when the rest is to be left to the next start.
    pub abandon: Arc<AtomicBool>,
}
