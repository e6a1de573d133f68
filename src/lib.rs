//! Surgetank: telemetry in, durable before it is acknowledged, into the database as fast as it allows.
//!
//! The picture of the data path is in `docs/architecture.md`. Dependencies point inward: [`actors`] know
//! [`protocol`], [`flow`], the [`log`] and [`store`] traits and [`supervision`]; `protocol` and `flow` know nothing of
//! the rest, hold no clock and do no I/O.

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
pub mod scheduling;
pub mod schema;
pub mod simulate;
pub mod simulate_gate;
pub mod sources;
pub mod store;
pub mod supervision;
pub mod telemetry;
pub mod tls;
