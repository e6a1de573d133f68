//! Which stage of the path is the bottleneck: the last one whose queue was full for most of the last half minute.
//!
//! A stage that is too slow fills its own queue and, in time, those of all stages before it. So of the queues that are full
//! the last one tells. What stands behind the log is one queue with two reasons to be full: the store takes no more, or the
//! gate's own limits let no more through. They are two stages here, since only the second is helped by other settings or
//! more pods.

use std::collections::VecDeque;
use std::time::Duration;

/// How far back it looks.
const WINDOW: Duration = Duration::from_secs(30);
/// For so long of it a queue has to be full.
const ENOUGH: Duration = Duration::from_secs(15);
/// No sample stands for more than this: nobody looked meanwhile.
const LONGEST_SAMPLE: Duration = Duration::from_secs(2);

/// A stage of the path, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Connections, requests and the memory of what they bring.
    Edge,
    /// The decoders.
    Decode,
    /// Appending to the log.
    Log,
    /// What may be in flight to the store, by the limits that we set.
    Gate,
    /// The store.
    Store,
}

/// Which queues are full at a moment, by stage.
pub type Full = [bool; Stage::ALL.len()];

/// The queue behind the log at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Writes wait for a permit.
    pub has_waiting: bool,
    /// A partition is not read, since its writes wait too long.
    pub is_held_up: bool,
    /// A partition has as many batches in flight as it may have.
    pub has_all_batches: bool,
    /// As many writes are in flight as may be.
    pub is_limit_reached: bool,
    /// What the limiter knows of the store.
    pub strain: Strain,
}

/// What a limiter knows of its store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strain {
    /// It is not known to be at its limit: whatever limits writes was set by somebody, or is still being learnt.
    #[default]
    None,
    /// With more writes in flight it would only be slower.
    AtLimit,
    /// It confirms nothing, drops writes, or is slower than it may be.
    Overloaded,
}

/// Watches the stages.
#[derive(Debug, Default)]
pub struct Bottleneck {
    samples: VecDeque<Sample>,
    last_at: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    lasted: Duration,
    full: Full,
}

// === impl Stage ===

impl Stage {
    /// Every stage, in the order of the path.
    pub const ALL: [Self; 5] = [Self::Edge, Self::Decode, Self::Log, Self::Gate, Self::Store];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Decode => "decode",
            Self::Log => "log",
            Self::Gate => "gate",
            Self::Store => "store",
        }
    }
}

// === impl Backlog ===

impl Backlog {
    /// Whether the queue is full because of the gate's own limits, and whether because of the store.
    pub fn full(self) -> (bool, bool) {
        let is_full = self.has_waiting || self.is_held_up || self.has_all_batches;
        let is_store = match self.strain {
            Strain::None => false,
            Strain::AtLimit => self.is_held_up || (self.has_waiting && self.is_limit_reached),
            Strain::Overloaded => true,
        };
        (is_full && !is_store, is_full && is_store)
    }
}

// === impl Bottleneck ===

impl Bottleneck {
    /// Takes in which queues are full; to be called about once a second, with times since any fixed moment.
    pub fn on_sample(&mut self, now: Duration, full: Full) {
        let lasted = self.last_at.map_or(Duration::ZERO, |last| now.saturating_sub(last)).min(LONGEST_SAMPLE);
        self.last_at = Some(now);
        self.samples.push_back(Sample { at: now, lasted, full });
        while self.samples.front().is_some_and(|oldest| oldest.at + WINDOW <= now) {
            self.samples.pop_front();
        }
    }

    /// The last stage whose queue was full for half of the time that is looked at. Behind the log there is one queue: the
    /// stage is the one that it was full because of for longer.
    pub fn stage(&self) -> Option<Stage> {
        let full_for = |stage: Stage| -> Duration {
            let samples = self.samples.iter().filter(|sample| sample.full[stage as usize]);
            samples.map(|sample| sample.lasted).sum()
        };
        let (gate, store) = (full_for(Stage::Gate), full_for(Stage::Store));
        if gate + store >= ENOUGH {
            return Some(if store >= gate { Stage::Store } else { Stage::Gate });
        }
        [Stage::Log, Stage::Decode, Stage::Edge].into_iter().find(|stage| full_for(*stage) >= ENOUGH)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full(stages: &[Stage]) -> Full {
        Stage::ALL.map(|stage| stages.contains(&stage))
    }

    /// What is found after each of these, one a second, so many times.
    fn after(samples: &[(u64, &[Stage])]) -> Option<Stage> {
        let mut rule = Bottleneck::default();
        let all = samples.iter().flat_map(|(count, stages)| (0..*count).map(|_| full(stages)));
        (0..).zip(all).for_each(|(second, full)| rule.on_sample(Duration::from_secs(second), full));
        rule.stage()
    }

    #[test]
    fn test_the_last_stage_that_was_full_for_half_of_the_time_is_told() {
        use Stage::{Decode, Edge, Gate, Log, Store};
        assert_eq!(after(&[]), None);
        assert_eq!(after(&[(40, &[])]), None);
        assert_eq!(after(&[(15, &[Edge])]), None, "the first sample stands for no time");
        assert_eq!(after(&[(16, &[Edge])]), Some(Edge));
        assert_eq!(after(&[(40, &[Edge, Decode, Log])]), Some(Log));
        assert_eq!(after(&[(40, &[Store, Edge])]), Some(Store));
        assert_eq!(after(&[(20, &[Store, Log]), (14, &[Log])]), Some(Store));
        assert_eq!(after(&[(20, &[Store, Log]), (16, &[Log])]), Some(Log));
        assert_eq!(after(&[(20, &[Store]), (16, &[])]), None, "it is over");
        assert_eq!(after(&[(7, &[Gate]), (10, &[Store]), (10, &[])]), Some(Store), "full all the time, by turns");
        assert_eq!(after(&[(10, &[Store]), (11, &[Gate]), (9, &[Edge])]), Some(Gate));
    }

    #[test]
    fn test_time_without_a_look_says_nothing() {
        let mut rule = Bottleneck::default();
        for second in [0, 20, 40] {
            rule.on_sample(Duration::from_secs(second), full(&[Stage::Log]));
        }
        assert_eq!(rule.stage(), None);
    }

    #[test]
    fn test_a_full_queue_behind_the_log_is_the_store_only_if_the_limiter_says_so() {
        let waiting = Backlog { has_waiting: true, ..Backlog::default() };
        let (gate, store, none) = ((true, false), (false, true), (false, false));
        assert_eq!(Backlog { strain: Strain::Overloaded, ..Backlog::default() }.full(), none, "nothing is to be done");
        assert_eq!(Backlog { is_limit_reached: true, ..Backlog::default() }.full(), none);
        assert_eq!(waiting.full(), gate);
        assert_eq!(Backlog { is_limit_reached: true, ..waiting }.full(), gate, "at the limit that somebody set");
        assert_eq!(
            Backlog { strain: Strain::AtLimit, ..waiting }.full(),
            gate,
            "its own part is taken, others are not"
        );
        assert_eq!(Backlog { strain: Strain::AtLimit, is_limit_reached: true, ..waiting }.full(), store);
        assert_eq!(Backlog { strain: Strain::Overloaded, ..waiting }.full(), store);
        let batches = Backlog { has_all_batches: true, ..Backlog::default() };
        assert_eq!(batches.full(), gate);
        assert_eq!(Backlog { strain: Strain::AtLimit, ..batches }.full(), gate, "the batches are what limits");
        assert_eq!(Backlog { strain: Strain::Overloaded, ..batches }.full(), store);
    }

    /// What stands behind the log is full for one reason, or not.
    fn full_or_not() -> impl Strategy<Value = Full> {
        (prop::array::uniform3(prop::bool::ANY), 0u8..4)
            .prop_map(|([edge, decode, log], behind)| [edge, decode, log, behind == 1, behind == 2])
    }

    proptest! {
        /// No stage is told that was not full for half of the last 30 seconds, and none is passed over that was and is later.
        #[test]
        fn test_nothing_but_the_last_half_minute_counts(
            samples in prop::collection::vec(full_or_not(), 0..90),
        ) {
            let mut rule = Bottleneck::default();
            for (second, full) in (0..).zip(&samples) {
                rule.on_sample(Duration::from_secs(second), *full);
            }
            // The first sample stands for no time.
            let recent = &samples[samples.len().saturating_sub(30).max(1).min(samples.len())..];
            let num_full = |stage: Stage| recent.iter().filter(|full| full[stage as usize]).count();
            let (gate, store) = (num_full(Stage::Gate), num_full(Stage::Store));
            let expected = match Stage::ALL[..3].iter().rev().find(|stage| num_full(**stage) >= 15) {
                _ if gate + store >= 15 => Some(if store >= gate { Stage::Store } else { Stage::Gate }),
                found => found.copied(),
            };
            prop_assert_eq!(rule.stage(), expected);
        }
    }
}
