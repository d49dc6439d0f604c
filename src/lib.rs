//! Tapkeep, the flight recorder of a network tap.
//!
//! The map, from the wire to the answer; each module's own page says what it may use:
//!
//! - [`cli`]: what was typed, and how it is answered.
//! - [`index`]: a cache of what the files say, in SQLite.
//! - [`packet`]: what a packet is. Pure.
//! - [`store`]: the files of the data directory.
//! - [`sys`]: the seams to the machine.

pub mod cli;
pub mod index;
pub mod packet;
pub mod store;
pub mod sys;
