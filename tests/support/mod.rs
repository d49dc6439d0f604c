//! What the integration tests share: a simulated disk and clock, network namespaces, loop-mounted disks,
//! capture files of known frames, the store run without threads, and the service itself as a process. Each
//! test takes what it needs by `mod support;`; nothing here is part of the product, and nothing here knows
//! its inside beyond the seams of `tapkeep::sys`.

// Every test binary uses a part of this.
#![allow(dead_code, unreachable_pub, unused_imports)]
// A helper that cannot go on fails the test that called it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod answers;
pub mod browser;
pub mod captures;
pub mod clock;
pub mod corpora;
pub mod disk;
pub mod held;
pub mod journal;
pub mod net;
pub mod pcap;
pub mod process;
pub mod python;
pub mod recorded;
pub mod requirements;
pub mod rig;
pub mod scan;
pub mod service;
pub mod sim;
pub mod stage;
pub mod terminal;

pub use requirements::require;
