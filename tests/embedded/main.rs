//! The engine with the embedded log and the embedded store. Tests share this process and run side by side: what sets a fail
//! point in its own process belongs into `tests/failpoints`, and what is set in a child's environment is fine here.

// Helpers outside of `#[test]` functions are not covered by the exemption in clippy.toml.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/log_contract.rs"]
mod log_contract;
#[path = "../store_contract/mod.rs"]
mod store_contract;

mod disk_faults;
mod edge_drain;
mod edge_limits;
mod engine_batches;
mod engine_breakdown;
mod engine_cli;
mod engine_credentials;
mod engine_garbage_frames;
mod engine_garbage_packages;
mod engine_gate;
mod engine_http;
mod engine_metrics;
mod engine_refusals;
mod engine_reload;
mod engine_reload_cli;
mod engine_tls;
mod http_durability;
mod http_ingest;
mod http_limits;
mod http_numbers;
mod http_request_id;
mod metrics_counts;
mod operators_access;
mod routes;
