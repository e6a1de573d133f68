//! The Kafka log, the Cassandra store, and engines on both, on real servers. Tests run side by side, each with topics,
//! groups and keyspaces of its own: what freezes or kills a server belongs into `tests/outages`.

// Helpers outside of `#[test]` functions are not covered by the exemption in clippy.toml.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/cluster.rs"]
mod cluster;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/log_contract.rs"]
mod log_contract;
#[path = "../store_contract/mod.rs"]
mod store_contract;

mod cluster_health;
mod engine_fleet;
mod engine_reload_servers;
mod engine_secure_servers;
mod kafka_consume;
mod kafka_letters;
mod kafka_limits;
mod kafka_others;
mod kafka_topics;
mod kafka_trace;
mod log_kafka;
mod routes;
mod store_cassandra;
mod store_cassandra_routed;
