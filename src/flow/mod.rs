//! Flows and the form in which they are kept: the JSONB codec. Knows packets; knows no disk.

pub mod jsonb;
