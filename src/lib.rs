//! Tapkeep, the flight recorder of a network tap.
//!
//! The map, from the wire to the answer; each module's own page says what it may use:
//!
//! - [`flow`]: flows and their form, JSONB. No disk.
//! - [`packet`]: what a packet is. Pure.
//! - [`store`]: the files of the data directory.
//! - [`sys`]: the seams to the machine.

pub mod flow;
pub mod packet;
pub mod store;
pub mod sys;
