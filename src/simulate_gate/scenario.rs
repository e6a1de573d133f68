//! Scenario files: a store, a load, what changes when, and what the outcome may be.

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use thiserror::Error;

use super::outcome::Outcome;
use super::store::{Micros, StoreModel};
use crate::config::Span;

/// A scenario, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// What it is called in reports.
    pub name: String,
    /// The seed of everything random.
    pub seed: u64,
    /// How long it lasts.
    pub duration_us: Micros,
    /// Pods at the start.
    pub pods: usize,
    /// Partitions, dealt out evenly to the pods.
    pub partitions: u32,
    /// Whether one limiter decides for all pods together.
    pub fleet: bool,
    /// Rows per second that come in; none is a backlog that never ends.
    pub rows_per_s: Option<f64>,
    /// The store.
    pub store: StoreModel,
    /// What changes, in the order of time.
    pub changes: Vec<Change>,
    /// What the outcome may be, if anything is expected of it.
    pub expect: Option<Expect>,
}

/// What changes at one moment; what is not named stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// When.
    #[serde(rename = "at", deserialize_with = "micros")]
    pub at_us: Micros,
    /// Service takes so many times as long as at the start.
    pub service_factor: Option<f64>,
    /// Each node works on so many times as many writes at once as at the start.
    pub parallelism_factor: Option<f64>,
    /// This share of the servers works for somebody else, from 0 to below 1.
    pub neighbour_share: Option<f64>,
    /// Service takes so many times as long on the first node.
    pub slow_node_factor: Option<f64>,
    /// Whether nothing completes.
    pub stalled: Option<bool>,
    /// Pods from now on.
    pub pods: Option<usize>,
    /// Rows per second that come in from now on.
    pub rows_per_s: Option<f64>,
    /// From now on there is always work.
    #[serde(default)]
    pub backlog: bool,
}

/// Accepted ranges, from the first to the second.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    goodput_vs_best_fixed: (f64, f64),
    p99_vs_unloaded: (f64, f64),
    settle_s: (f64, f64),
    recover_s: (f64, f64),
    left_paused: (f64, f64),
}

/// Why a scenario cannot be played.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// Which file.
        path: String,
        /// Why not.
        error: std::io::Error,
    },
    /// The file is not what a scenario file has to be.
    #[error("{0}")]
    Parse(#[from] toml::de::Error),
    /// A number makes no sense.
    #[error("{key} is {value}, but must be {allowed}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it must be.
        allowed: &'static str,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScenario {
    name: String,
    seed: u64,
    #[serde(rename = "duration", deserialize_with = "micros")]
    duration_us: Micros,
    pods: usize,
    partitions: u32,
    fleet: bool,
    rows_per_s: Option<f64>,
    store: RawStore,
    #[serde(default, rename = "change")]
    changes: Vec<Change>,
    expect: Option<Expect>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStore {
    nodes: usize,
    parallelism: usize,
    #[serde(rename = "service", deserialize_with = "micros")]
    service_us: Micros,
    spread: f64,
    row_share: f64,
    rows: (u32, u32),
    thrash: f64,
    #[serde(rename = "timeout", deserialize_with = "micros")]
    timeout_us: Micros,
}

// === impl Scenario ===

impl Scenario {
    /// Reads a scenario file.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path);
        text.map_err(|error| ScenarioError::Read { path: path.display().to_string(), error })?.parse()
    }

    fn check(&self) -> Result<(), ScenarioError> {
        let store = &self.store;
        let second = 1_000_000;
        require("duration", self.duration_us, 10 * second..=3600 * second, "10 s to 1 h")?;
        require("pods", self.pods, 1..=64, "1 to 64")?;
        require("partitions", self.partitions, 1..=4096, "1 to 4096")?;
        require("rows_per_s", self.rows_per_s.unwrap_or(1.0), 0.1..=1e7, "0.1 to 10000000")?;
        require("store.nodes", store.nodes, 1..=64, "1 to 64")?;
        require("store.parallelism", store.parallelism, 1..=1024, "1 to 1024")?;
        require("store.service", store.service_us, 100.0..=10e6, "100 us to 10 s")?;
        require("store.spread", store.spread, 0.0..=2.0, "0 to 2")?;
        require("store.row_share", store.row_share, 0.0..=1.0, "0 to 1")?;
        require("store.rows", store.rows.0, 1..=store.rows.1.min(65_536), "1 to 65536, the smaller one first")?;
        require("store.thrash", store.thrash, 0.0..=10.0, "0 to 10")?;
        require("store.timeout", store.timeout_us, second / 100..=60 * second, "10 ms to 1 min")?;
        let mut earliest = 1;
        for change in &self.changes {
            let factor = 0.001..=1000.0;
            let allowed = "0.001 to 1000";
            require(
                "change.at",
                change.at_us,
                earliest..=self.duration_us,
                "after the one before and not after the end",
            )?;
            require("change.service_factor", change.service_factor.unwrap_or(1.0), factor.clone(), allowed)?;
            require("change.parallelism_factor", change.parallelism_factor.unwrap_or(1.0), factor.clone(), allowed)?;
            require("change.slow_node_factor", change.slow_node_factor.unwrap_or(1.0), factor, allowed)?;
            require("change.neighbour_share", change.neighbour_share.unwrap_or(0.0), 0.0..=0.99, "0 to 0.99")?;
            require("change.pods", change.pods.unwrap_or(1), 1..=64, "1 to 64")?;
            require("change.rows_per_s", change.rows_per_s.unwrap_or(1.0), 0.1..=1e7, "0.1 to 10000000")?;
            earliest = change.at_us + 1;
        }
        Ok(())
    }
}

impl FromStr for Scenario {
    type Err = ScenarioError;

    fn from_str(text: &str) -> Result<Self, ScenarioError> {
        let raw: RawScenario = toml::from_str(text)?;
        let store = raw.store;
        let scenario = Self {
            name: raw.name,
            seed: raw.seed,
            duration_us: raw.duration_us,
            pods: raw.pods,
            partitions: raw.partitions,
            fleet: raw.fleet,
            rows_per_s: raw.rows_per_s,
            store: StoreModel {
                nodes: store.nodes,
                parallelism: store.parallelism,
                service_us: store.service_us as f64,
                spread: store.spread,
                row_share: store.row_share,
                rows: store.rows,
                thrash: store.thrash,
                timeout_us: store.timeout_us,
            },
            changes: raw.changes,
            expect: raw.expect,
        };
        scenario.check()?;
        Ok(scenario)
    }
}

// === impl Expect ===

impl Expect {
    /// What in the outcome is outside its range, one line each.
    pub fn misses(&self, outcome: &Outcome) -> Vec<String> {
        let ranges = [
            ("goodput_vs_best_fixed", outcome.goodput_vs_best_fixed, self.goodput_vs_best_fixed),
            ("p99_vs_unloaded", outcome.p99_vs_unloaded, self.p99_vs_unloaded),
            ("settle_s", outcome.settle_s, self.settle_s),
            ("recover_s", outcome.recover_s, self.recover_s),
            ("left_paused", f64::from(outcome.left_paused), self.left_paused),
        ];
        let missed = ranges.into_iter().filter(|(_, value, (low, high))| !(low..=high).contains(&value));
        missed.map(|(name, value, (low, high))| format!("{name} is {value:.3}, expected {low} to {high}")).collect()
    }
}

fn require<T: PartialOrd + Display>(
    key: &'static str,
    value: T,
    range: std::ops::RangeInclusive<T>,
    allowed: &'static str,
) -> Result<(), ScenarioError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(ScenarioError::Value { key, value: value.to_string(), allowed })
}

fn micros<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Micros, D::Error> {
    let text = String::deserialize(deserializer)?;
    let span: Span =
        text.parse().map_err(|_| serde::de::Error::custom(format!("{text:?} is not a duration with a unit")))?;
    Ok(span.0.as_micros() as Micros)
}
