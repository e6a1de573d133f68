//! The parts of an engine by themselves: the device protocol's vectors, the embedded log, the embedded store.

// Helpers outside of `#[test]` functions are not covered by the exemption in clippy.toml.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/log_contract.rs"]
mod log_contract;
#[path = "../store_contract/mod.rs"]
mod store_contract;

mod layers;
mod log_embedded;
mod log_figures;
mod protocol_vectors;
mod store_embedded;
mod store_routed;
mod store_triggers;

/// Held by tests that set the wall clock of this process, and by those that mind.
static CLOCK: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
