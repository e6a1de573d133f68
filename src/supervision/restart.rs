//! When a dead actor is started again, as plain types: time and randomness come in as arguments.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::RngExt;

use crate::flow::backoff::Backoff;

/// The limits of restarting, for one group of actors.
#[derive(Debug, Clone)]
pub struct RestartPolicy {
    /// The first delay before a restart.
    pub backoff_min: Duration,
    /// The longest delay before a restart.
    pub backoff_max: Duration,
    /// More restarts of the group than this within `period` end the process.
    pub max_restarts: usize,
    /// See `max_restarts`. An actor that lived this long starts from the first delay again.
    pub period: Duration,
}

/// What to do about a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Start a new actor after this delay.
    RestartAfter(Duration),
    /// The group restarts too often: end the process.
    GiveUp,
}

/// The recent restarts of one group.
#[derive(Debug)]
pub struct RestartHistory {
    policy: RestartPolicy,
    restarts: VecDeque<Instant>,
    backoff: Backoff,
}

impl RestartHistory {
    /// Starts with a clean record.
    pub fn new(policy: RestartPolicy) -> Self {
        let backoff = Backoff::new(policy.backoff_min, policy.backoff_max);
        Self { policy, restarts: VecDeque::new(), backoff }
    }

    /// Decides about a death at `now`. `random` is an even draw from 0.0 up to 1.0.
    pub fn on_death(&mut self, now: Instant, random: f64) -> Decision {
        while self.restarts.front().is_some_and(|at| now.duration_since(*at) >= self.policy.period) {
            self.restarts.pop_front();
        }
        if self.restarts.is_empty() {
            self.backoff.reset();
        }
        self.restarts.push_back(now);
        if self.restarts.len() > self.policy.max_restarts {
            return Decision::GiveUp;
        }
        Decision::RestartAfter(self.backoff.next_delay(random))
    }
}

/// An even draw from 0.0 up to 1.0, for jitter.
pub(crate) fn jitter() -> f64 {
    rand::rng().random()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RestartPolicy {
        RestartPolicy {
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_millis(200),
            max_restarts: 3,
            period: Duration::from_secs(60),
        }
    }

    #[test]
    fn test_restart_history_gives_up_past_the_intensity_limit() {
        let start = Instant::now();
        let mut history = RestartHistory::new(policy());
        let decisions: Vec<Decision> = (0..4).map(|i| history.on_death(start + Duration::from_secs(i), 1.0)).collect();
        let after = |ms| Decision::RestartAfter(Duration::from_millis(ms));
        assert_eq!(decisions, [after(50), after(100), after(200), Decision::GiveUp]);
    }

    #[test]
    fn test_restart_history_forgets_what_is_older_than_the_period() {
        let start = Instant::now();
        let mut history = RestartHistory::new(policy());
        for i in 0..20 {
            let decision = history.on_death(start + Duration::from_secs(61 * i), 1.0);
            assert_eq!(decision, Decision::RestartAfter(Duration::from_millis(50)));
        }
    }
}
