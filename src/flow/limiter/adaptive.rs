//! The adaptive limiter: learns how many writes a store bears.

use std::time::Duration;

use super::baseline::{Baseline, Learn};
use super::drops::Drops;
use super::{Decision, Explanation, Sample};

/// A ratio below this is not told apart from an unloaded store.
const CALM: f64 = 1.12;
/// How far a check goes below the point where queueing begins by the present baseline.
const DIP: f64 = 0.92;
/// Rounds between two checks of the baseline while the limit is used.
const ROUNDS_BETWEEN_CHECKS: u32 = 16;
/// Calm rounds in a row after which it doubles again.
const CALM_ROUNDS: u32 = 3;
/// What a shrink must at least have been for its effect on latency to mean something.
const TELLING_SHRINK: f64 = 0.8;
/// Latency that fell by less than this power of the shrink is not queueing.
const MIN_ELASTICITY: f64 = 0.4;
/// No round is longer, as long as anything at all was confirmed in it.
const MAX_ROUND: Duration = Duration::from_secs(1);

/// What little there is to set.
#[derive(Debug, Clone, PartialEq)]
pub struct AdaptiveSettings {
    /// The limit before anything is known.
    pub initial: u32,
    /// The limit is never above this.
    pub max: u32,
}

/// Learns how many writes in flight keep the store busy, and holds the limit there.
///
/// While a store is not busy, its latency stays the same and goodput grows with the writes in flight; once all of it is
/// busy, goodput stays the same and latency grows. The best limit is just above that knee, and this is where it steers:
///
/// ```text
/// ratio  = latency / baseline               count-weighted mean over the size classes
/// target = 1.15 + 1 / √limit, at most 1.6   a little queueing, so that uneven arrival leaves no server idle
/// limit  ← limit × target / ratio           between × 0.5 and × 1.5 a round
/// ```
///
/// A *round* is as many windows as it takes for two latencies and 30 writes, at most about a second. After a change of
/// the limit one latency is left out, because what completes then was issued under the former limit.
///
/// - **Start**: doubles while latency does not rise. Also entered when latency has not risen for three rounds.
/// - **Steady**: the formula above.
/// - **Check**: now and then it goes a little below the knee for one round. If latency is another than the baseline
///   there, the baseline follows, up or down. That costs less than a percent of goodput, as the store stays busy.
/// - **Recovery**: drops cut the limit at once by their share, at most by half, and once per generation of writes; when
///   they stop, it triples each round up to where it was.
///
/// The limit grows only if it was used and writes waited. Each shrink is a test: if latency did not fall with the writes
/// in flight, there was no queue, the store itself has become slower; then the baseline takes the present latency and
/// the limit goes back. So a wrong baseline cannot drag the limit down to the bottom.
///
/// It descends from TCP Vegas (the baseline, queueing as what exceeds it) and Netflix's Gradient2 (the limit times a
/// gradient plus an allowance of about √limit for bursts). Changed: the baseline is the unloaded latency and not a long
/// average, which would call lasting overload normal; drops count, which Gradient2 leaves out; the shrinking is in
/// proportion, which finds a new knee in a few rounds where Vegas steps by one. The check replaces the pause to near zero
/// by which BBR learns its least round-trip time again. From Vector's adaptive concurrency come the windows of about a
/// round trip and growing only a limit that was reached. Drops cut by their share as marks do in DCTCP.
#[derive(Debug, Clone)]
pub struct Adaptive {
    settings: AdaptiveSettings,
    cap: u32,
    limit: f64,
    phase: Phase,
    baseline: Baseline,
    drops: Drops,
    round: Sample,
    /// How much longer windows show the former limit and are not judged.
    unsettled: Duration,
    /// Where it was before it began to shrink, to see what shrinking did.
    before_shrink: Option<Point>,
    /// The limit before the shrink began: to go back to if that was an error.
    good: f64,
    num_calm: u32,
    rounds_to_check: u32,
    stalled: bool,
    judged: Judged,
}

/// A limit and the ratio that it led to.
#[derive(Debug, Clone, Copy)]
struct Point {
    limit: f64,
    ratio: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// Doubles.
    Start,
    /// Steers to the target ratio.
    Steady,
    /// Has dipped to see whether the baseline is still true.
    Check,
    /// Comes back after drops.
    Recovery,
}

/// The inputs of the last decision.
#[derive(Debug, Clone, Default)]
struct Judged {
    latency_us: Option<f64>,
    baseline_us: Option<f64>,
    ratio: Option<f64>,
    reason: &'static str,
}

// === impl AdaptiveSettings ===

impl Default for AdaptiveSettings {
    fn default() -> Self {
        Self { initial: 16, max: 1024 }
    }
}

// === impl Adaptive ===

impl Adaptive {
    pub(super) fn new(settings: AdaptiveSettings) -> Self {
        let limit = f64::from(settings.initial.min(settings.max).max(1));
        Self {
            settings,
            cap: u32::MAX,
            limit,
            phase: Phase::Start,
            baseline: Baseline::default(),
            drops: Drops::default(),
            round: Sample::default(),
            unsettled: Duration::ZERO,
            before_shrink: None,
            good: limit,
            num_calm: 0,
            rounds_to_check: 1,
            stalled: false,
            judged: Judged { reason: "nothing was written yet", ..Judged::default() },
        }
    }

    pub(super) fn on_window(&mut self, sample: &Sample) {
        let latency = micros(self.judged.latency_us.unwrap_or(0.0));
        if let Some(factor) = self.drops.cut(sample, latency) {
            self.on_drops(factor);
            return;
        }
        if sample.num_writes() == 0 {
            // Nothing completes: the latency to come says how long that lasted, not how long a queue is.
            self.stalled |= sample.oldest_in_flight > (latency * 4).max(sample.length * 2);
        } else if std::mem::take(&mut self.stalled) {
            self.settle(latency, "the first writes after a stall are not judged");
            return;
        }
        if !self.unsettled.is_zero() {
            self.unsettled = self.unsettled.saturating_sub(sample.length);
            return;
        }
        self.round.append(sample);
        if is_enough(&self.round) {
            let round = std::mem::take(&mut self.round);
            self.judge(&round);
        }
    }

    fn on_drops(&mut self, factor: f64) {
        if self.phase != Phase::Recovery {
            self.good = if self.phase == Phase::Check { self.good } else { self.limit };
        }
        self.phase = Phase::Recovery;
        self.before_shrink = None;
        self.set_limit(self.limit * factor);
        self.judged.reason = "writes were dropped";
    }

    fn judge(&mut self, round: &Sample) {
        let Some(ratio) = self.baseline.ratio(round) else { return };
        self.baseline.learn(round, ratio, Learn::Faster);
        let mean_us = round.mean_us();
        self.judged =
            Judged { latency_us: mean_us, baseline_us: self.baseline.mean_us(round), ratio: Some(ratio), reason: "" };
        let used = f64::from(round.max_in_flight) >= 0.9 * self.limit.floor();
        let wanted = used && round.num_waiting > 0;
        let now = Point { limit: if used { self.limit } else { f64::from(round.max_in_flight) }, ratio };
        if self.phase == Phase::Check {
            return self.end_check(round, now);
        }
        if self.is_baseline_wrong(now) {
            return self.correct_baseline(round, now);
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
                self.set_limit(self.limit * 2.0);
                self.judged.reason = "latency does not rise yet";
            }
            _ => self.steer(now),
        }
    }

    /// limit ← limit × target / ratio.
    fn steer(&mut self, now: Point) {
        if self.phase != Phase::Steady {
            self.phase = Phase::Steady;
            self.rounds_to_check = 1;
        } else if self.num_calm >= CALM_ROUNDS {
            self.phase = Phase::Start;
        }
        let target = now.limit * (self.target_ratio() / now.ratio).clamp(0.5, 1.5);
        if target >= self.limit {
            self.before_shrink = None;
            self.set_limit(target.max(self.limit + 1.0));
            self.judged.reason = "there is room for more";
        } else {
            let hard = now.ratio > self.target_ratio() * 1.25;
            self.note_shrink(now);
            self.set_limit(if hard { target } else { (self.limit + target) / 2.0 });
            self.judged.reason = "latency is above the target";
            if hard {
                self.rounds_to_check = self.rounds_to_check.min(2);
                return;
            }
        }
        self.rounds_to_check = self.rounds_to_check.saturating_sub(1);
        if self.rounds_to_check == 0 {
            self.begin_check(now);
        }
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

    fn correct_baseline(&mut self, round: &Sample, now: Point) {
        self.baseline.learn(round, now.ratio, Learn::Replace);
        self.before_shrink = None;
        self.phase = Phase::Steady;
        self.rounds_to_check = 3;
        self.set_limit(self.good);
        self.judged.reason = "latency did not fall with the limit: the unloaded store has become slower";
    }

    fn begin_check(&mut self, now: Point) {
        self.good = self.limit;
        self.before_shrink = Some(now);
        self.phase = Phase::Check;
        self.set_limit(self.limit.min(now.limit) * DIP / now.ratio.max(1.0));
        self.judged.reason = "checks the baseline with a little less in flight";
    }

    fn end_check(&mut self, round: &Sample, now: Point) {
        let before = self.before_shrink.take().unwrap_or(now);
        self.phase = Phase::Steady;
        self.rounds_to_check = ROUNDS_BETWEEN_CHECKS;
        self.num_calm = 0;
        if now.ratio < 0.95 && elasticity(before, now) > MIN_ELASTICITY {
            // It queued where it was thought not to: deeper, until latency stops to fall.
            self.before_shrink = Some(now);
            self.phase = Phase::Check;
            self.set_limit(self.limit * 0.8);
            self.judged.reason = "the store is faster with less in flight";
            return;
        }
        if elasticity(before, now) < MIN_ELASTICITY {
            self.baseline.learn(round, now.ratio, Learn::Replace);
        } else if now.ratio < CALM {
            self.baseline.learn(round, now.ratio, Learn::Both);
        }
        self.set_limit(self.good);
        self.judged.reason = "the baseline was checked";
    }

    /// Queueing that is aimed at: enough to keep the store busy when writes come unevenly, and no more.
    fn target_ratio(&self) -> f64 {
        (1.15 + 1.0 / self.limit.sqrt()).min(1.6)
    }

    fn set_limit(&mut self, limit: f64) {
        let max = f64::from(self.settings.max.min(self.cap).max(1));
        let limit = limit.clamp(1.0, max);
        let moved = (limit / self.limit).ln().abs() > 0.05;
        self.limit = limit;
        if moved {
            self.settle(micros(self.judged.latency_us.unwrap_or(0.0)), self.judged.reason);
        }
    }

    /// Leaves out what was issued under the former limit.
    fn settle(&mut self, latency: Duration, reason: &'static str) {
        self.round = Sample::default();
        self.judged.reason = reason;
        // Below that, too little of a window is concerned.
        self.unsettled = if latency > Duration::from_millis(20) { latency } else { Duration::ZERO };
    }

    pub(super) fn decision(&self) -> Decision {
        Decision { limit: (self.limit.floor() as u32).min(self.cap).max(1), hold_back: false }
    }

    pub(super) fn cap(&mut self, max: u32) {
        self.cap = max;
        self.limit = self.limit.min(f64::from(max.max(1)));
    }

    pub(super) fn explain(&self) -> Explanation {
        let phase = match self.phase {
            Phase::Start => "start",
            Phase::Steady => "steady",
            Phase::Check => "check",
            Phase::Recovery => "recovery",
        };
        Explanation {
            limiter: "adaptive",
            limit: self.decision().limit,
            cap: (self.cap < u32::MAX).then_some(self.cap),
            baseline_us: self.judged.baseline_us,
            latency_us: self.judged.latency_us,
            ratio: self.judged.ratio,
            target_ratio: Some(self.target_ratio()),
            last_good: Some(self.good),
            phase,
            reason: self.judged.reason.to_owned(),
        }
    }
}

/// By which power of the change in flight latency changed: 0 where nothing queues, 1 where everything does.
fn elasticity(before: Point, now: Point) -> f64 {
    (before.ratio / now.ratio).ln() / (before.limit / now.limit).ln().max(0.05)
}

/// A round lasts two latencies, so that most of its writes were issued in it, and has enough writes for a mean.
fn is_enough(round: &Sample) -> bool {
    let Some(mean_us) = round.mean_us() else { return false };
    let latency = micros(mean_us);
    let enough_writes = round.num_writes() >= 30 || round.length >= (latency * 6).min(MAX_ROUND);
    round.length >= latency * 2 && enough_writes
}

fn micros(micros: f64) -> Duration {
    Duration::from_secs_f64((micros / 1e6).clamp(0.0, 3600.0))
}
