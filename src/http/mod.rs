//! The HTTP server that the ports for operators and for ingest have in common: sockets, times, and refusals.

pub mod problem;
pub mod refusal;
pub mod server;
pub mod transport;
