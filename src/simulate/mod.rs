//! Simulated devices, for `surgetank simulate`, `surgetank demo` and tests: a whole fleet in one process, and a
//! ledger of what the server promised it.
//!
//! `queue`, `ledger` and `comparison` are pure; `device` is one device's task and `session` one of its
//! connections; `packer`, `fleet` and `typical` make the messages; `run` starts and ends it all.

mod bodies;
mod channel;
pub mod comparison;
mod device;
pub mod ledger;
pub mod options;
mod packer;
pub mod progress;
pub mod queue;
mod run;
mod session;
mod typical;

pub use comparison::{Comparer, Comparison};
pub use ledger::{DeviceLedger, Ledger, LedgerEntry};
pub use options::SimulateOptions;
pub use progress::Progress;
pub use run::{SimulateError, SimulateReport, simulate};

#[cfg(test)]
mod tests;
