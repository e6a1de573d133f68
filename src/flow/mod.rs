//! The rules of flow as plain types: who may send how much, which offsets are done, how many writes may be open.
//!
//! No actors, no channels, no I/O. Time and randomness come in as arguments.

pub mod addresses;
pub mod backoff;
pub mod bottleneck;
pub mod budget;
pub mod clock;
pub mod cluster;
pub mod consumption;
pub mod credit;
pub mod fair;
pub mod health;
pub mod limiter;
pub mod memory;
pub mod pace;
pub mod pause;
pub mod pool;
pub mod rate;
pub mod sick;
pub mod trace;
pub mod unsettled;
pub mod watermark;
