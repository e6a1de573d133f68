//! Whether the baseline is still true: dips, and trials of another one.

use super::super::Sample;
use super::super::baseline::Learn;
use super::steer::CALM;
use super::{Adaptive, Phase, Point, ROUNDS_BETWEEN_CHECKS};

/// How far a check goes below the point where queueing begins by the present baseline.
const DIP: f64 = 0.84;
/// The same while one check after the other finds it true.
const MAX_ROUNDS_BETWEEN_CHECKS: u32 = 64;
/// How far a trial grows.
const TRIAL: f64 = 1.5;
/// A check that finds a ratio below this has found a faster store.
pub(super) const FASTER: f64 = 0.92;
/// Latency that fell by less than this power of the shrink is not queueing.
pub(super) const MIN_ELASTICITY: f64 = 0.4;

impl Adaptive {
    /// One noisy round is no proof: takes the present latency as the baseline, and grows to see whether that holds.
    pub(super) fn begin_trial(&mut self, round: &Sample, now: Point) {
        self.former_baseline = self.baseline.clone();
        self.baseline.learn(round, now.ratio, Learn::Replace);
        self.before_shrink = Some(now);
        self.phase = Phase::Trial;
        self.set_limit((now.limit * TRIAL).max(now.limit + 1.0));
        self.judged.reason = "latency did not fall with the limit: tries whether it rises with it";
    }

    pub(super) fn end_trial(&mut self, now: Point) {
        let low = self.before_shrink.take().unwrap_or(now);
        let elasticity = now.ratio.ln() / (now.limit / low.limit).ln().max(0.05);
        self.phase = Phase::Steady;
        self.num_calm = 0;
        self.check_again_soon();
        if elasticity < MIN_ELASTICITY {
            self.set_limit(self.good);
            self.judged.reason = "latency does not follow the limit: the unloaded store has become slower";
        } else {
            self.baseline = std::mem::take(&mut self.former_baseline);
            self.set_limit(low.limit);
            self.judged.reason = "latency rises with the limit: the baseline stays";
        }
    }

    pub(super) fn begin_check(&mut self, now: Point) {
        self.good = self.limit;
        self.found_faster = false;
        self.before_shrink = Some(now);
        self.phase = Phase::Check;
        self.set_limit(self.limit.min(self.knee) * DIP);
        self.judged.reason = "checks the baseline with a little less in flight";
    }

    pub(super) fn end_check(&mut self, round: &Sample, now: Point) {
        let before = self.before_shrink.take().unwrap_or(now);
        let queued = elasticity(before, now) >= MIN_ELASTICITY;
        if now.ratio < FASTER && queued {
            // It queued where it was thought not to: deeper, until latency stops to fall.
            self.before_shrink = Some(now);
            self.check_again_soon();
            self.found_faster = true;
            self.set_limit(self.limit * 0.8);
            self.judged.reason = "the store is faster with less in flight";
            return;
        }
        self.phase = Phase::Steady;
        self.num_calm = 0;
        let as_before = (FASTER..CALM).contains(&now.ratio);
        if !queued && !as_before {
            return self.begin_trial(round, now);
        }
        if as_before {
            self.baseline.learn(round, now.ratio, Learn::Both);
        }
        if as_before && !self.found_faster {
            self.rounds_between_checks = (self.rounds_between_checks * 2).min(MAX_ROUNDS_BETWEEN_CHECKS);
            self.rounds_to_check = self.rounds_between_checks;
        } else {
            self.check_again_soon();
        }
        // What was a good limit by the former baseline is too much by a lower one.
        let lower = self.found_faster || !as_before;
        let gradient = (self.target_ratio() / now.ratio.max(1.0)).clamp(0.5, 1.5);
        self.found_faster = false;
        self.set_limit(if lower { now.limit * gradient } else { self.good });
        self.judged.reason = "the baseline was checked";
    }

    pub(super) fn check_again_soon(&mut self) {
        self.rounds_between_checks = ROUNDS_BETWEEN_CHECKS;
        self.rounds_to_check = 3;
    }
}

/// By which power of the change in flight latency changed: 0 where nothing queues, 1 where everything does.
pub(super) fn elasticity(before: Point, now: Point) -> f64 {
    (before.ratio / now.ratio).ln() / (before.limit / now.limit).ln().max(0.05)
}
