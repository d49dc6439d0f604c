//! Flows: both directions of one conversation, from packets to records; what a capture file amounts to; and the codec in which
//! both are kept. Knows packets; knows no disk.

pub mod fragments;
pub mod jsonb;
pub mod key;
pub mod record;
pub mod summary;
pub mod table;
pub mod tcp;
pub mod time;
