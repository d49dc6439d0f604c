//! Tapkeep, the flight recorder of a network tap.
//!
//! The map, from the wire to the answer; each module's own page says what it may use:
//!
//! - [`capture`]: sources of packets: the tap port, capture files, filters.
//! - [`cli`]: one file a command.
//! - [`config`]: what was typed, as a validated configuration.
//! - [`daemon`]: the service: threads, wiring, health.
//! - [`detect`]: findings, one file a detector. Bounded.
//! - [`flow`]: flows, summaries, and the codec of both.
//! - [`index`]: the database of files, a cache.
//! - [`packet`]: what a packet is, layer by layer. Pure.
//! - [`store`]: the files of the data directory.
//! - [`sys`]: the seams to the machine.

pub mod capture;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod detect;
pub mod flow;
pub mod index;
pub mod packet;
pub mod store;
pub mod sys;
