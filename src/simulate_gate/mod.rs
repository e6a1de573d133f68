//! A store that is only modelled, and the engine's own limiter against it under a virtual clock.
//!
//! The model is a network of queues: nodes with a number of servers each, service times with a spread, a first-come
//! queue per node, a client that gives up after a while. It has a knee where all servers are busy, and overload costs
//! goodput. It is deterministic: a scenario and its seed give the same run every time. It knows nothing of partitions'
//! offsets, retries or Kafka.

mod outcome;
mod plot;
mod pod;
mod run;
mod scenario;
mod store;
#[cfg(test)]
mod tests;
mod trace;

pub use outcome::{Outcome, judge};
pub use plot::{PlotError, plot};
pub use run::play;
pub use scenario::{Change, Expect, Scenario, ScenarioError};
pub use store::StoreModel;
pub use trace::{Point, Trace};
