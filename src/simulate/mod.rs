//! Simulated devices, for `surgetank simulate`, `surgetank demo` and tests: a whole fleet in one process, and a
//! ledger of what the server promised it.
//!
//! `queue`, `backoff`, `ledger` and `comparison` are pure; `device` is one connection's task, `fleet` makes the
//! messages.

pub mod backoff;
pub mod comparison;
pub mod ledger;
pub mod queue;
