//! The files of the data directory: their names, the blocks that become them, the writers, sealing, salvage, the ledger
//! and retention. Uses [`crate::sys`] for every touch of the disk and [`crate::packet`] for what a packet is; knows no
//! database, no thread and no configuration file.

pub mod age;
pub mod block;
pub mod catalog;
pub mod entry;
pub mod facts;
pub mod finding;
pub mod flow_facts;
pub mod flow_file;
pub mod follow;
pub mod format;
pub mod hold;
pub mod keeper;
pub mod layout;
pub mod ledger;
pub mod losses;
pub mod names;
pub mod part;
pub mod pause;
pub mod progress;
pub mod range;
pub mod recorder;
pub mod retention;
pub mod salvage;
pub mod scan;
pub mod sealer;
pub mod sequence;

pub use ledger::SharedLedger;
