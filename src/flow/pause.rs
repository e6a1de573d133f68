//! When a partition stops being read, is paused, and goes on, as a plain state machine.
//!
//! ```text
//!            waits ≥ high, or held back                    lasts ≥ pause_after
//!   Open ───────────────────────────────▶ Throttled ───────────────────────────────▶ Paused
//!    ▲   (reads go on)                       │ (not read any more)                      │ (not fetched any more)
//!    └───────────────────────────────────────┴──────────────────────────────────────────┘
//!                    waits < low, not held back, and in this state for min_dwell
//! ```
//!
//! What waits is the oldest write of the partition that asked for leave and has not got it. A partition that is not read
//! runs dry, so what waits becomes less by itself; and because the machine is looked at with every tick, not once after a
//! fixed time, no partition stays paused when the store is well again.

use std::time::Duration;

use serde::Serialize;

/// The marks between which a partition changes its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PauseSettings {
    /// A write that has waited this long stops the reads of its partition.
    pub high: Duration,
    /// Reads go on when none has waited longer than this. Less than `high`.
    pub low: Duration,
    /// How long reads are stopped before the log is told to fetch no more.
    pub pause_after: Duration,
    /// The least time in a state before reads go on, so that partitions do not flap.
    pub min_dwell: Duration,
}

/// What a partition may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowState {
    /// It is read.
    Open,
    /// It is not read, but what the log fetches ahead stays.
    Throttled,
    /// It is neither read nor fetched.
    Paused,
}

/// One partition's state. Times are since any fixed moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PauseMachine {
    state: FlowState,
    since: Duration,
}

// === impl FlowState ===

impl FlowState {
    /// All of them, from read to not fetched.
    pub const ALL: [Self; 3] = [Self::Open, Self::Throttled, Self::Paused];

    /// Its name as `/gate` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Throttled => "throttled",
            Self::Paused => "paused",
        }
    }
}

// === impl PauseMachine ===

impl PauseMachine {
    /// A partition that is read.
    pub fn new(now: Duration) -> Self {
        Self { state: FlowState::Open, since: now }
    }

    /// What the partition may do.
    pub fn state(&self) -> FlowState {
        self.state
    }

    /// Since when.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// Takes in how long the oldest write waits (zero if none does) and whether everybody is to be held back; returns the
    /// new state if it is another one.
    pub fn on_tick(
        &mut self,
        settings: &PauseSettings,
        now: Duration,
        oldest_wait: Duration,
        hold_back: bool,
    ) -> Option<FlowState> {
        let in_state = now.saturating_sub(self.since);
        let is_relieved = oldest_wait < settings.low && !hold_back && in_state >= settings.min_dwell;
        let next = match self.state {
            FlowState::Open if hold_back || oldest_wait >= settings.high => FlowState::Throttled,
            FlowState::Throttled | FlowState::Paused if is_relieved => FlowState::Open,
            FlowState::Throttled if in_state >= settings.pause_after => FlowState::Paused,
            same => same,
        };
        if next == self.state {
            return None;
        }
        *self = Self { state: next, since: now };
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: PauseSettings = PauseSettings {
        high: Duration::from_millis(500),
        low: Duration::from_millis(100),
        pause_after: Duration::from_secs(2),
        min_dwell: Duration::from_secs(1),
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn test_congestion_stops_reads_first_and_pauses_when_it_lasts() {
        let mut machine = PauseMachine::new(ms(0));
        let cases = [
            (100, 499, None),
            (200, 500, Some(FlowState::Throttled)),
            (1000, 1300, None),
            (2199, 2500, None),
            (2200, 2500, Some(FlowState::Paused)),
            // Between the marks nothing changes.
            (4000, 300, None),
            (4200, 99, Some(FlowState::Open)),
        ];
        for (now, wait, expected) in cases {
            assert_eq!(machine.on_tick(&SETTINGS, ms(now), ms(wait), false), expected, "at {now} ms");
        }
    }

    #[test]
    fn test_a_state_is_kept_for_the_least_dwell() {
        let mut machine = PauseMachine::new(ms(0));
        assert_eq!(machine.on_tick(&SETTINGS, ms(0), ms(600), false), Some(FlowState::Throttled));
        assert_eq!(machine.on_tick(&SETTINGS, ms(999), ms(0), false), None);
        assert_eq!(machine.on_tick(&SETTINGS, ms(1000), ms(0), false), Some(FlowState::Open));
    }

    #[test]
    fn test_who_is_held_back_is_let_go() {
        let mut machine = PauseMachine::new(ms(0));
        assert_eq!(machine.on_tick(&SETTINGS, ms(0), ms(0), true), Some(FlowState::Throttled));
        assert_eq!(machine.on_tick(&SETTINGS, ms(2000), ms(0), true), Some(FlowState::Paused));
        assert_eq!(machine.on_tick(&SETTINGS, ms(3000), ms(0), false), Some(FlowState::Open));
    }

    proptest! {
        /// Whatever came before: within one dwell and a tick of a healthy store every partition is read again.
        #[test]
        fn test_no_partition_is_left_paused(
            history in proptest::collection::vec((1u64..3000, 0u64..5000, any::<bool>()), 0..200),
        ) {
            let mut machine = PauseMachine::new(ms(0));
            let mut now = 0;
            for (step, wait, hold_back) in history {
                now += step;
                machine.on_tick(&SETTINGS, ms(now), ms(wait), hold_back);
            }
            for _ in 0..6 {
                now += 200;
                machine.on_tick(&SETTINGS, ms(now), ms(0), false);
            }
            prop_assert_eq!(machine.state(), FlowState::Open);
        }
    }
}
