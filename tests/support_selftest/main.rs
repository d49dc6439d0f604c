//! Tests of the test support: what it promises to other tests, shown with real tools where there are any.

// The support's helpers panic where a test would.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod clock;
mod disk;
mod net;
mod pcap;
mod service;
mod sim;
mod sim_properties;
