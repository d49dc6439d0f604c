//! Sources of packets: frames with their stamp and link type, out of capture files, and what a capture filter
//! lets pass. Uses [`crate::packet`] alone and knows no store: where frames go is the caller's business.

mod bpf;
mod display_filter;
pub mod filter;
pub mod replay;
