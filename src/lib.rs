//! Surgetank: telemetry in, durable before it is acknowledged, into the database as fast as it allows.
//!
//! The picture of the data path is in `docs/architecture.md`. Its table of layers says which folder may
//! use which: [`flow`], [`schema`], [`protocol`] and [`codec`] are pure, hold no clock and do no I/O; [`sources`] hand
//! messages to [`intake`]; [`actors`] carry them through [`log`] and [`store`]; [`engine`] starts and stops everything.

pub mod actors;
pub mod allocator;
pub mod cli;
pub mod codec;
pub mod config;
pub mod credentials;
pub mod disk;
pub mod engine;
pub mod flow;
pub mod http;
pub mod intake;
pub mod log;
pub mod observe;
pub mod protocol;
pub mod registry;
pub mod routes;
pub mod scheduling;
pub mod schema;
pub mod simulate;
pub mod simulate_gate;
pub mod sources;
pub mod store;
pub mod supervision;
pub mod telemetry;
pub mod tls;
