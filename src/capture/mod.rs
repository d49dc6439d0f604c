//! Sources of packets: frames with their stamp and link type, from the tap port or out of capture files, and what a capture
//! filter lets pass. Uses [`crate::packet`] and the seams of [`crate::sys`], and knows no store: where frames go is the
//! caller's business.

mod bpf;
mod display_filter;
pub mod filter;
pub mod live;
pub mod replay;
