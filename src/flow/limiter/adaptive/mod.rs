//! The adaptive limiter: learns how many writes a store bears.
//!
//! Here are its state and how windows become rounds; `steer` judges a round, `check` tests the baseline.

mod check;
mod handover;
mod steer;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::baseline::Baseline;
use super::drops::Drops;
use super::{Decision, Explanation, Sample, Strain};

/// Rounds between two checks of the baseline while the limit is used.
const ROUNDS_BETWEEN_CHECKS: u32 = 16;
/// So many queued writes are no congestion, whatever they do to latency.
const SHORT_QUEUE: f64 = 12.0;
/// What a short queue may at most do to latency.
const MAX_TARGET: f64 = 32.0;
/// From this part of a limit that led to drops on, it grows in small steps.
const NEAR_DROPS: f64 = 0.9;
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
/// target = 1.15 + 1 / √limit, at most 1.6   a little queueing, so that uneven arrival leaves no server idle,
///          or limit / (limit - 12)          or a short queue, whichever is more
/// limit  ← limit × target / ratio           between × 0.5 and × 1.5 a round
/// ```
///
/// A *round* is as many windows as it takes for two latencies and 100 writes, at most about a second. After a change of
/// the limit one latency is left out, because what completes then was issued under the former limit.
///
/// - **Start**: doubles while latency does not rise. Also entered when latency has not risen for three rounds.
/// - **Steady**: the formula above.
/// - **Check**: now and then it goes a little below the knee for one round. If it was queueing that is gone there, the
///   baseline was too high and comes down, in further steps if need be. The store stays nearly busy, so that all checks
///   together cost about a percent of goodput.
/// - **Trial**: if latency did *not* fall with the limit, in a check or after a shrink, then nothing queued and the store
///   itself has become slower. The present latency is taken as the baseline, and the limit grows by half: if latency
///   stays, that was right and the limit goes back to where it was; if latency rises, it was noise and is undone. So a
///   wrong baseline cannot drag the limit down to the bottom, and noise cannot drive it up.
/// - **Recovery**: drops cut the limit at once by their share, at most by half, and once per generation of writes; when
///   they stop, it triples each round up to where it was, and goes beyond in small steps.
///
/// The limit grows only if it was used and writes waited; only a trial does without.
///
/// The short queue is for databases that have a bend instead of a knee, because their writes share a few processors: with
/// each write more, goodput grows a little and latency nearly as much. Judged by latency alone these would be held at one
/// or two writes, at a third of what they can do.
///
/// It descends from TCP Vegas (the baseline, queueing as what exceeds it, and a queue of a few packets that is aimed at) and Netflix's Gradient2 (the limit times a
/// gradient plus an allowance of about √limit for bursts). Changed: the baseline is the unloaded latency and not a long
/// average, which would call lasting overload normal; drops count, which Gradient2 leaves out; the shrinking is in
/// proportion, which finds a new knee in a few rounds where Vegas steps by one. The check replaces the pause to near zero
/// by which BBR learns its least round-trip time again. From Vector's adaptive concurrency come the windows of about a
/// round trip and growing only a limit that was reached. Drops cut by their share as marks do in DCTCP.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Adaptive {
    #[serde(skip)]
    settings: AdaptiveSettings,
    cap: u32,
    limit: f64,
    phase: Phase,
    baseline: Baseline,
    /// To go back to if a trial fails.
    former_baseline: Baseline,
    drops: Drops,
    round: Sample,
    /// How much longer windows show the former limit and are not judged.
    unsettled: Duration,
    /// Where it was before it began to shrink, to see what shrinking did.
    before_shrink: Option<Point>,
    /// The limit before the shrink began: to go back to if that was an error.
    good: f64,
    /// The limit at which writes were last dropped by a store that answered others.
    #[serde(deserialize_with = "handover::or_infinite")]
    dropped_at: f64,
    num_calm: u32,
    /// Whether the present check has already found the baseline too high.
    found_faster: bool,
    rounds_to_check: u32,
    rounds_between_checks: u32,
    /// Where queueing begins by the present baseline, smoothed.
    knee: f64,
    stalled: bool,
    window: Duration,
    judged: Judged,
}

/// A limit and the ratio that it led to.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Point {
    limit: f64,
    ratio: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Phase {
    /// Doubles.
    Start,
    /// Steers to the target ratio.
    Steady,
    /// Has dipped to see whether the baseline is still true.
    Check,
    /// Has taken another baseline and grows to see whether it is true.
    Trial,
    /// Comes back after drops.
    Recovery,
}

/// The inputs of the last decision.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Judged {
    latency_us: Option<f64>,
    baseline_us: Option<f64>,
    ratio: Option<f64>,
    #[serde(skip)]
    reason: &'static str,
}

// === impl AdaptiveSettings ===

impl Default for AdaptiveSettings {
    fn default() -> Self {
        // Little enough for any store, and a second or two below what a large one takes.
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
            former_baseline: Baseline::default(),
            drops: Drops::default(),
            round: Sample::default(),
            unsettled: Duration::ZERO,
            before_shrink: None,
            good: limit,
            dropped_at: f64::INFINITY,
            num_calm: 0,
            found_faster: false,
            rounds_to_check: 1,
            rounds_between_checks: ROUNDS_BETWEEN_CHECKS,
            knee: limit,
            stalled: false,
            window: Duration::ZERO,
            judged: Judged { reason: "nothing was written yet", ..Judged::default() },
        }
    }

    pub(super) fn on_window(&mut self, sample: &Sample) {
        self.window = sample.length;
        let latency = micros(self.judged.latency_us.unwrap_or(0.0));
        if let Some(factor) = self.drops.cut(sample, latency) {
            self.on_drops(factor, sample.num_writes() == 0);
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

    fn on_drops(&mut self, factor: f64, is_stall: bool) {
        match self.phase {
            Phase::Recovery | Phase::Check => {}
            Phase::Trial => self.baseline = std::mem::take(&mut self.former_baseline),
            Phase::Start | Phase::Steady => self.good = self.limit,
        }
        if !is_stall {
            self.dropped_at = self.limit;
            self.good = self.good.min(NEAR_DROPS * self.limit);
        }
        self.phase = Phase::Recovery;
        self.before_shrink = None;
        self.set_limit(self.limit * factor);
        self.judged.reason = "writes were dropped";
    }

    /// Queueing that is aimed at: enough to keep the store busy when writes come unevenly, and no more.
    fn target_ratio(&self) -> f64 {
        let uneven = (1.15 + 1.0 / self.limit.sqrt()).min(1.6);
        let short = self.limit / (self.limit - SHORT_QUEUE).max(self.limit / MAX_TARGET);
        uneven.max(short)
    }

    fn set_limit(&mut self, limit: f64) {
        let max = f64::from(self.settings.max.min(self.cap).max(1));
        let limit = limit.max(self.limit * 0.5).clamp(1.0, max);
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
        self.unsettled = if latency * 5 > self.window { latency } else { Duration::ZERO };
    }

    pub(super) fn decision(&self) -> Decision {
        Decision { limit: (self.limit.round() as u32).min(self.cap).max(1), hold_back: false }
    }

    pub(super) fn cap(&mut self, max: u32) {
        self.cap = max;
        self.limit = self.limit.min(f64::from(max.max(1)));
    }

    /// While nothing is confirmed, or writes are dropped, the store is overloaded. A limit that was found by latency, below
    /// what is allowed, is the store's; one that still grows, or is as high as allowed, is not.
    pub(super) fn strain(&self) -> Strain {
        let is_allowed_more = self.limit.round() < f64::from(self.settings.max.min(self.cap).max(1));
        match self.phase {
            _ if self.stalled => Strain::Overloaded,
            Phase::Recovery => Strain::Overloaded,
            Phase::Steady | Phase::Check | Phase::Trial if is_allowed_more => Strain::AtLimit,
            Phase::Start | Phase::Steady | Phase::Check | Phase::Trial => Strain::None,
        }
    }

    pub(super) fn explain(&self) -> Explanation {
        let phase = match self.phase {
            Phase::Start => "start",
            Phase::Steady => "steady",
            Phase::Check => "check",
            Phase::Trial => "trial",
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

/// A round lasts two latencies, so that most of its writes were issued in it, and has enough writes for a mean.
fn is_enough(round: &Sample) -> bool {
    let Some(mean_us) = round.mean_us() else { return false };
    let latency = micros(mean_us);
    let enough_writes = round.num_writes() >= 100 || round.length >= (latency * 6).min(MAX_ROUND);
    round.length >= latency * 2 && enough_writes
}

fn micros(micros: f64) -> Duration {
    Duration::from_secs_f64((micros / 1e6).clamp(0.0, 3600.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(200);

    /// A window in which so many writes of one row took so long each.
    fn window(num_writes: u32, latency_ms: u64) -> Sample {
        let mut sample = Sample { length: WINDOW, max_in_flight: 2000, num_waiting: 9, ..Sample::default() };
        (0..num_writes).for_each(|_| sample.confirm(1, Duration::from_millis(latency_ms)));
        sample
    }

    #[test]
    fn test_the_store_is_at_its_limit_where_latency_keeps_the_limit_below_what_is_allowed() {
        let mut adaptive = Adaptive::new(AdaptiveSettings::default());
        assert_eq!(adaptive.strain(), Strain::None);
        (0..60).for_each(|_| adaptive.on_window(&window(200, 5)));
        assert_eq!((adaptive.decision().limit, adaptive.strain()), (1024, Strain::None), "{:?}", adaptive.explain());
        for _ in 0..60 {
            // A knee at 100 writes.
            let latency_ms = (u64::from(adaptive.decision().limit) * 5).div_ceil(100).max(5);
            adaptive.on_window(&window(200, latency_ms));
        }
        assert_eq!(adaptive.strain(), Strain::AtLimit, "{:?}", adaptive.explain());
        adaptive.cap(1);
        assert_eq!(adaptive.strain(), Strain::None, "what limits is the cap");
        adaptive.cap(u32::MAX);
        let stands = Sample { length: WINDOW, max_in_flight: 9, oldest_in_flight: WINDOW * 20, ..Sample::default() };
        adaptive.on_window(&stands);
        assert_eq!(adaptive.strain(), Strain::Overloaded);
        adaptive.on_window(&window(200, 5));
        assert_ne!(adaptive.strain(), Strain::Overloaded);
        adaptive.on_window(&Sample { num_dropped: 50, ..window(50, 5) });
        assert_eq!(adaptive.strain(), Strain::Overloaded);
    }
}
