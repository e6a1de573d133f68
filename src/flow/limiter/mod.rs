//! The limiter: how many writes to one store may be in flight.
//!
//! A plain type that is told what happened in a window and says how many writes may be in flight in the next. It has no
//! clock and does no I/O. The gate feeds it with what its pod sees, the fleet's leader with what all pods see together,
//! and the simulation with what a model of a store does.

mod adaptive;
mod baseline;
mod drops;
mod fixed;
mod sample;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::bottleneck::Strain;
pub use adaptive::{Adaptive, AdaptiveSettings};
pub use fixed::{Fixed, FixedSettings};
pub use sample::{ClassSample, NUM_SIZE_CLASSES, Sample, size_class};

/// Which limiter, and its numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum LimiterSettings {
    /// Thresholds that somebody chose.
    Fixed(FixedSettings),
    /// Limits that are learnt.
    Adaptive(AdaptiveSettings),
}

/// Decides how many writes may be in flight. What it has learnt can be handed on, as JSON, to who goes on with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
// There is one per store, not thousands.
#[allow(clippy::large_enum_variant)]
pub enum Limiter {
    /// By thresholds that somebody chose.
    Fixed(Fixed),
    /// By what it learns.
    Adaptive(Adaptive),
}

/// What the limiter decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// How many writes may be in flight, at least 1.
    pub limit: u32,
    /// Whether partitions should not be read; only the fixed limiter says so.
    pub hold_back: bool,
}

/// Every input of the last decision, so that an odd limit can be explained afterwards.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// `fixed` or `adaptive`.
    pub limiter: &'static str,
    /// How many writes may be in flight.
    pub limit: u32,
    /// The budget from outside, if there is one.
    pub cap: Option<u32>,
    /// What the last mix of sizes takes on the unloaded store, in microseconds; for `fixed` the threshold.
    pub baseline_us: Option<f64>,
    /// The mean latency that was last judged, in microseconds.
    pub latency_us: Option<f64>,
    /// Latency over baseline, normalised by size class.
    pub ratio: Option<f64>,
    /// The ratio that the limiter steers to.
    pub target_ratio: Option<f64>,
    /// The limit that it comes back to after drops or a check of the baseline.
    pub last_good: Option<f64>,
    /// What the limiter is doing.
    pub phase: &'static str,
    /// Why it decided what it last decided, in one short sentence.
    pub reason: String,
}

// === impl LimiterSettings ===

impl Default for LimiterSettings {
    fn default() -> Self {
        Self::Adaptive(AdaptiveSettings::default())
    }
}

// === impl Limiter ===

impl Limiter {
    /// A limiter that has seen nothing yet.
    pub fn new(settings: &LimiterSettings) -> Self {
        match settings {
            LimiterSettings::Fixed(settings) => Self::Fixed(Fixed::new(settings.clone())),
            LimiterSettings::Adaptive(settings) => Self::Adaptive(Adaptive::new(settings.clone())),
        }
    }

    /// A limiter that goes on where another one was, within these settings. One of another kind begins anew.
    pub fn resume(settings: &LimiterSettings, learnt: Self) -> Self {
        let mut resumed = match (settings, learnt) {
            (LimiterSettings::Fixed(settings), Self::Fixed(fixed)) => Self::Fixed(fixed.within(settings.clone())),
            (LimiterSettings::Adaptive(settings), Self::Adaptive(adaptive)) => {
                Self::Adaptive(adaptive.within(settings.clone()))
            }
            _ => Self::new(settings),
        };
        resumed.cap(u32::MAX);
        resumed
    }

    /// Takes in one window. Windows follow each other without a gap, also those in which nothing happened.
    pub fn on_window(&mut self, sample: &Sample) -> Decision {
        match self {
            Self::Fixed(fixed) => fixed.on_window(sample),
            Self::Adaptive(adaptive) => adaptive.on_window(sample),
        }
        self.decision()
    }

    /// What it decided last.
    pub fn decision(&self) -> Decision {
        match self {
            Self::Fixed(fixed) => fixed.decision(),
            Self::Adaptive(adaptive) => adaptive.decision(),
        }
    }

    /// Why it decided so.
    pub fn explain(&self) -> Explanation {
        match self {
            Self::Fixed(fixed) => fixed.explain(),
            Self::Adaptive(adaptive) => adaptive.explain(),
        }
    }

    /// What it knows of the store.
    pub fn strain(&self) -> Strain {
        match self {
            Self::Fixed(fixed) => fixed.strain(),
            Self::Adaptive(adaptive) => adaptive.strain(),
        }
    }

    /// Sets a budget from outside: it never decides above it, whatever it would do by itself. 0 counts as 1.
    pub fn cap(&mut self, max: u32) {
        match self {
            Self::Fixed(fixed) => fixed.cap(max),
            Self::Adaptive(adaptive) => adaptive.cap(max),
        }
    }
}
