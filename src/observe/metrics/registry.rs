//! What a metric is: one declaration with its name, type, labels, meaning, and how it is read.

use super::samples::Samples;
use super::scrape::Scrape;

/// What the values of a metric are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Counts what was confirmed since the process began, and never goes down.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of values up to each bound, their sum and number, since the process began.
    Histogram,
}

/// Takes the samples of a metric from a scrape.
pub(super) type Read = fn(&Scrape<'_>, &mut Samples);

/// A declared metric.
#[derive(Debug)]
pub struct Metric {
    /// The whole name, as queries have it: with its unit, and `_total` if it is a counter.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// The names of its labels. Their values are bounded by the config and the code: never a device or an address.
    pub labels: &'static [&'static str],
    /// What it means, in one sentence.
    pub help: &'static str,
    /// When there are series of it, if not always.
    pub only: Option<&'static str>,
    pub(super) read: Read,
}

/// Metrics about one part of the engine.
#[derive(Debug)]
pub struct Group {
    /// The heading in docs/metrics.md.
    pub title: &'static str,
    /// The metrics, in the order in which they are shown.
    pub metrics: &'static [Metric],
}

/// Declares a counter.
pub(super) const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: Read,
) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help, only: None, read }
}

/// Declares a gauge.
pub(super) const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: Read,
) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help, only: None, read }
}

/// Declares a histogram.
pub(super) const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: Read,
) -> Metric {
    Metric { name, kind: Kind::Histogram, labels, help, only: None, read }
}

// === impl Kind ===

impl Kind {
    /// As both formats name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

// === impl Metric ===

impl Metric {
    /// There are series of it only at times: with which backend, or while what holds.
    pub(super) const fn only(mut self, when: &'static str) -> Self {
        self.only = Some(when);
        self
    }

    /// The name without what says that it is a counter: how OpenMetrics names the family.
    pub(super) fn family(&self) -> &'static str {
        match self.kind {
            Kind::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            Kind::Gauge | Kind::Histogram => self.name,
        }
    }
}
