//! From the reports of all pods to one budget.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::message::{Budget, PodShare, Report};
use super::pressure::{StorePressure, weigh_backlog};
use super::shares::shares;
use super::{INTERVAL, STALE_AFTER};
use crate::flow::limiter::{Limiter, LimiterSettings, Sample};

/// More pods than this are not taken in: far beyond the partitions of any topic.
const MAX_PODS: usize = 4096;
/// After a larger change of the budget (as a ratio) the next window is not judged.
const TELLING_CHANGE: f64 = 1.05;

/// Decides the budget of the fleet. Every pod has one and lets it listen, so that it can lead at any time.
///
/// A *window* ends when every pod with partitions has reported, or after two intervals. What pods saw in it is merged:
/// writes, drops and writes in flight add up, histograms too. The window after a change of the budget holds writes of
/// both budgets and is left out, but for its drops. While one pod alone holds partitions, its own limiter decides
/// there, faster than messages could, and the leader only takes over what that has learnt.
#[derive(Debug, Clone)]
pub struct Leader {
    settings: LimiterSettings,
    limiter: Limiter,
    pods: BTreeMap<String, Pod>,
    listens_since: Duration,
    window_since: Duration,
    is_mixed: bool,
    num_in_flight: u32,
    latencies: Option<Histogram<u64>>,
}

#[derive(Debug, Clone)]
struct Pod {
    heard_at: Duration,
    partitions: u32,
    /// What it has reported in this window.
    sample: Option<Sample>,
    latencies: Option<Histogram<u64>>,
    limiter: Option<Limiter>,
}

/// What the leader decided.
#[derive(Debug, Clone)]
pub struct Round {
    /// Writes in flight of all pods together.
    pub budget: u32,
    /// Each known pod and its part.
    pub shares: BTreeMap<String, PodShare>,
    /// The latencies of the last window, of all pods.
    pub latencies: Option<Histogram<u64>>,
    /// Whether the database has a backlog that counts against the budget.
    pub is_backlogged: bool,
    /// The limiter that decided.
    pub limiter: Limiter,
}

// === impl Leader ===

impl Leader {
    /// A leader that has heard of nobody yet.
    pub fn new(settings: LimiterSettings, now: Duration) -> Self {
        Self {
            limiter: Limiter::new(&settings),
            settings,
            pods: BTreeMap::new(),
            listens_since: now,
            window_since: now,
            is_mixed: false,
            num_in_flight: 0,
            latencies: None,
        }
    }

    /// Decides by other settings from now on, and keeps what has been learnt.
    pub fn set_settings(&mut self, settings: LimiterSettings) {
        if settings != self.settings {
            self.limiter = Limiter::resume(&settings, self.limiter.clone());
            self.settings = settings;
        }
    }

    /// Takes in what a pod reports.
    pub fn on_report(&mut self, now: Duration, report: Report) {
        if self.pods.len() >= MAX_PODS && !self.pods.contains_key(&report.pod) {
            return;
        }
        let pod = self.pods.entry(report.pod).or_insert_with(|| Pod {
            heard_at: now,
            partitions: 0,
            sample: None,
            latencies: None,
            limiter: None,
        });
        (pod.heard_at, pod.partitions, pod.limiter) = (now, report.partitions, report.limiter);
        pod.sample.get_or_insert_default().append(&report.sample);
        merge_into(&mut pod.latencies, report.histogram);
    }

    /// Another leads and has said this: what it has judged is not judged again, and what it has learnt is kept.
    pub fn follow(&mut self, now: Duration, budget: &Budget) {
        if let Some(limiter) = &budget.limiter {
            self.limiter = Limiter::resume(&self.settings, limiter.clone());
        }
        self.window_since = now;
        self.is_mixed = false;
        self.forget(now);
        for pod in self.pods.values_mut() {
            (pod.sample, pod.latencies) = (None, None);
        }
    }

    /// Called every interval while this pod leads. Says nothing until it has listened long enough to know all pods.
    pub fn on_tick(&mut self, now: Duration, database: Option<&StorePressure>) -> Option<Round> {
        self.forget(now);
        if now.saturating_sub(self.listens_since) < INTERVAL * 2 || self.pods.is_empty() {
            return None;
        }
        let is_backlogged = database.is_some_and(|database| database.is_backlogged(self.num_in_flight));
        if self.is_window_over(now) {
            self.end_window(now, is_backlogged);
        }
        let budget = self.limiter.decision().limit;
        let held: Vec<u32> = self.pods.values().map(|pod| pod.partitions).collect();
        let parts = shares(budget, &held).into_iter().zip(&self.pods);
        let shares = parts.map(|(share, (name, pod))| (name.clone(), PodShare { partitions: pod.partitions, share }));
        Some(Round {
            budget,
            shares: shares.collect(),
            latencies: self.latencies.clone(),
            is_backlogged,
            limiter: self.limiter.clone(),
        })
    }

    fn end_window(&mut self, now: Duration, is_backlogged: bool) {
        self.window_since = now;
        let (mut merged, mut latencies) = (Sample::default(), None);
        for pod in self.pods.values_mut() {
            merged.merge(&pod.sample.take().unwrap_or_default());
            if let Some(more) = pod.latencies.take() {
                merge_into(&mut latencies, more);
            }
        }
        (self.num_in_flight, self.latencies) = (merged.max_in_flight, latencies);
        if let Some(limiter) = self.limiter_of_a_lone_pod() {
            self.limiter = Limiter::resume(&self.settings, limiter);
            self.is_mixed = false;
            return;
        }
        if is_backlogged {
            weigh_backlog(&mut merged);
        }
        if std::mem::take(&mut self.is_mixed) {
            merged = Sample { length: merged.length, num_dropped: merged.num_dropped, ..Sample::default() };
        }
        let before = f64::from(self.limiter.decision().limit);
        let after = f64::from(self.limiter.on_window(&merged).limit);
        self.is_mixed = after > before * TELLING_CHANGE || before > after * TELLING_CHANGE;
    }

    fn is_window_over(&self, now: Duration) -> bool {
        let mut holders = self.pods.values().filter(|pod| pod.partitions > 0);
        holders.all(|pod| pod.sample.is_some()) || now.saturating_sub(self.window_since) >= INTERVAL * 2
    }

    fn limiter_of_a_lone_pod(&self) -> Option<Limiter> {
        let mut holders = self.pods.values().filter(|pod| pod.partitions > 0);
        let first = holders.next()?;
        holders.next().is_none().then(|| first.limiter.clone()).flatten()
    }

    fn forget(&mut self, now: Duration) {
        self.pods.retain(|_, pod| now.saturating_sub(pod.heard_at) <= STALE_AFTER);
    }
}

fn merge_into(merged: &mut Option<Histogram<u64>>, more: Histogram<u64>) {
    match merged {
        // Fails only for a value that the first one cannot hold, such as of a pod that measures otherwise.
        Some(merged) => drop(merged.add(more)),
        None => *merged = Some(more),
    }
}
