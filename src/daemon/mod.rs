//! The service: which threads there are, what each owns, how they end, and what they tell of themselves. The only room that
//! starts threads.
//!
//! ```text
//! capture ──▶ recorder ──▶ sealer ──▶ keeper ──▶ index          main: signals, clock, state file, watchdog
//!                 └──────▶ analyst ──────┴─────────┘
//! ```
//!
//! Beside them, under systemd, `journal` writes what all of them tell.
//!
//! Capture waits for none of the others. Each of the others waits only for the ones behind it, and each ends when the one
//! before it has ended, so that stopping is the same as running dry.

mod analyst;
pub mod events;
mod feed;
mod handover;
mod health;
mod hour;
mod index;
mod keep;
mod losses;
mod metrics;
mod notifier;
mod outlet;
pub mod pipeline;
mod port;
mod readback;
mod recent;
mod record;
pub mod relay;
pub mod replay;
mod resume;
mod saved;
pub mod service;
pub mod setup;
mod state;
mod synced;
mod watch;
mod watchdog;

pub use hour::{Counts, FindingCounts, Hour, LossTimes};
pub use recent::Recent;
pub use state::{Activity, Disk, Queue, Recording, STALE_MS, ServiceState};
