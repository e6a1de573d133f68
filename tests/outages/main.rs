//! Tests that freeze, kill and restart the real Kafka and Cassandra: in a program of their own, so that nobody else uses these
//! servers meanwhile.

// Helpers outside of `#[test]` functions are not covered by the exemption in clippy.toml.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

mod cluster_health;
mod engine_faults;
