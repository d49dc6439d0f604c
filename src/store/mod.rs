//! The files of the data directory: their names, the blocks that become them, the writers, sealing, salvage, the ledger
//! and retention. Uses [`crate::sys`] for every touch of the disk and [`crate::packet`] for what a packet is; knows no
//! database, no thread and no configuration file.

pub mod block;
pub mod entry;
pub mod facts;
pub mod format;
pub mod layout;
pub mod ledger;
pub mod losses;
pub mod names;
pub mod sequence;
