//! The seams to the machine: files, clocks, signals, the wake-up descriptor, the journal. Tests replace the first two; at least one
//! test uses each real one. Knows nothing of packets.

pub mod clock;
pub mod fs;
pub mod input_queue;
pub mod journal;
pub mod link;
pub mod mount;
pub mod notify;
pub mod port;
pub mod process;
pub mod random;
mod raw;
pub mod signals;
pub mod wake;
