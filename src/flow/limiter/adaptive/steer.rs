//! What a round means for the limit.

use super::super::Sample;
use super::super::baseline::Learn;
use super::check::{FASTER, MIN_ELASTICITY, elasticity};
use super::{Adaptive, Judged, NEAR_DROPS, Phase, Point, ROUNDS_BETWEEN_CHECKS};

/// A ratio below this is not told apart from an unloaded store.
pub(super) const CALM: f64 = 1.12;
/// Calm rounds in a row after which it doubles again.
const CALM_ROUNDS: u32 = 3;
/// What a shrink must at least have been for its effect on latency to mean something.
const TELLING_SHRINK: f64 = 0.65;

impl Adaptive {
    pub(super) fn judge(&mut self, round: &Sample) {
        let Some(ratio) = self.baseline.ratio(round) else { return };
        self.baseline.learn(round, ratio, Learn::Faster);
        let mean_us = round.mean_us();
        self.judged =
            Judged { latency_us: mean_us, baseline_us: self.baseline.mean_us(round), ratio: Some(ratio), reason: "" };
        let used = f64::from(round.max_in_flight) >= 0.9 * self.limit.round();
        let wanted = used && round.num_waiting > 0;
        let now = Point { limit: if used { self.limit } else { f64::from(round.max_in_flight) }, ratio };
        if self.phase == Phase::Check {
            return self.end_check(round, now);
        }
        if self.phase == Phase::Trial {
            return self.end_trial(now);
        }
        if self.is_baseline_wrong(now) {
            return self.begin_trial(round, now);
        }
        if ratio < FASTER {
            // The store has become faster. By how much, and whether there is room for more, the next round tells.
            self.baseline.learn(round, ratio, Learn::Replace);
            self.before_shrink = None;
            self.check_again_soon();
            self.judged.reason = "the store is faster than it was known to be";
            return;
        }
        if !wanted && ratio < self.target_ratio() {
            if ratio < CALM {
                self.baseline.learn(round, ratio, Learn::Both);
            }
            self.judged.reason = "the limit is not used";
            return;
        }
        self.num_calm = if ratio < CALM { self.num_calm + 1 } else { 0 };
        match self.phase {
            Phase::Recovery if ratio < self.target_ratio() => {
                self.set_limit((self.limit * 3.0).min(self.good));
                self.judged.reason = "nothing is dropped any more";
                if self.limit >= self.good {
                    self.phase = Phase::Steady;
                }
            }
            Phase::Start if ratio < CALM => {
                self.grow(self.limit * 2.0);
                self.judged.reason = "latency does not rise yet";
            }
            _ => self.steer(now),
        }
    }

    /// limit ← limit × target / ratio.
    fn steer(&mut self, now: Point) {
        if self.phase != Phase::Steady {
            self.phase = Phase::Steady;
            self.rounds_between_checks = ROUNDS_BETWEEN_CHECKS;
            self.rounds_to_check = 1;
        } else if self.num_calm >= CALM_ROUNDS {
            self.phase = Phase::Start;
        }
        let target = now.limit * (self.target_ratio() / now.ratio).clamp(0.5, 1.5);
        let knee = now.limit / now.ratio.max(1.0);
        self.knee = if (0.8..1.25).contains(&(knee / self.knee)) { 0.75 * self.knee + 0.25 * knee } else { knee };
        let near = (0.8..1.25).contains(&(target / self.limit));
        let next = if near { 0.75 * self.limit + 0.25 * target } else { target };
        if target >= self.limit {
            self.before_shrink = None;
            self.grow(next);
            self.judged.reason = "there is room for more";
        } else {
            self.note_shrink(now);
            self.set_limit(next);
            self.judged.reason = "latency is above the target";
            if !near {
                self.check_again_soon();
                return;
            }
        }
        self.rounds_to_check = self.rounds_to_check.saturating_sub(1);
        if self.rounds_to_check == 0 {
            self.begin_check(now);
        }
    }

    /// Grows, in small steps where writes were dropped before: some stores refuse work before they become slow.
    fn grow(&mut self, limit: f64) {
        if self.limit > self.dropped_at * 1.1 {
            self.dropped_at = f64::INFINITY;
        }
        let from = self.limit.max(NEAR_DROPS * self.dropped_at);
        self.set_limit(if self.dropped_at.is_finite() { limit.min(from * 1.01) } else { limit });
    }

    fn note_shrink(&mut self, now: Point) {
        match self.before_shrink {
            None => {
                self.good = self.limit;
                self.before_shrink = Some(now);
            }
            // Less in flight and yet slower: the store has changed under way, only what follows can be compared.
            Some(before) if now.ratio > before.ratio * 1.05 => self.before_shrink = Some(now),
            Some(_) => {}
        }
    }

    /// Whether shrinking has cost goodput instead of latency.
    fn is_baseline_wrong(&self, now: Point) -> bool {
        self.before_shrink.is_some_and(|before| {
            let shrink = now.limit / before.limit;
            shrink <= TELLING_SHRINK && now.ratio > self.target_ratio() && elasticity(before, now) < MIN_ELASTICITY
        })
    }
}
