//! Tests of the test support: what it promises to other tests, shown with real tools where there are any.

#[path = "../support/mod.rs"]
mod support;

mod sim;
