//! The engine with the embedded pair and fail points set in this process, where they concern every engine: each test begins
//! with `FailScenario::setup()`, which lets one run at a time.
#![cfg(feature = "failpoints")]
// Helpers outside of `#[test]` functions are not covered by the exemption in clippy.toml.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

mod engine_bounds;
mod engine_durability;
mod engine_lifecycle;
mod engine_memory;
mod engine_repetition;
