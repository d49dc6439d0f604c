//! The command line: what was typed, and how it is answered. One file per command; only [`output`] prints.

pub mod list;
pub mod output;
pub mod state;
pub mod table;
pub mod time;
