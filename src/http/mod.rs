//! The HTTP server that the ports for operators and for ingest have in common: sockets, times, tokens, and refusals.

pub mod bearer;
pub mod headers;
pub mod problem;
pub mod refusal;
pub mod request_id;
pub mod server;
pub mod transport;
