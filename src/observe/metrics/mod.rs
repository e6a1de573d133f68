//! `/metrics`: what Prometheus reads of a running engine.
//!
//! Nothing is recorded for it. A scrape reads the recorders that the engine has anyway, once each ([`Scrape`]), and every
//! metric of the [`GROUPS`] takes its samples from that. [`registry`] says what a metric is, [`groups`] has all of them, and
//! [`exposition`] writes them in the two formats. docs/metrics.md is made of the same list.

mod document;
mod exposition;
mod groups;
mod registry;
mod samples;
mod scrape;
#[cfg(test)]
mod tests;

pub use document::table;
pub use exposition::{Exposition, Format};
pub use groups::GROUPS;
pub use registry::{Group, Kind, Metric};
