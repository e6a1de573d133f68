//! What a database says of itself, and when that counts.

use serde::{Deserialize, Serialize};

use crate::flow::limiter::Sample;

/// Fewer waiting mutations than this are nothing out of the ordinary, however little is in flight.
const MIN_BACKLOG: u64 = 128;

/// A database's own figures; of several nodes those of the worst. What a server does not tell is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorePressure {
    /// Mutations that wait for a thread.
    pub pending_mutations: Option<u64>,
    /// Mutations that cannot even be queued.
    pub blocked_mutations: Option<u64>,
    /// Compactions that are under way. Earlier versions called it what it is not.
    #[serde(alias = "pending_compactions")]
    pub running_compactions: Option<u64>,
    /// Tasks that wait for a thread of the compaction executor. Compactions that nobody has asked for yet are not among
    /// them.
    pub pending_compaction_tasks: Option<u64>,
    /// 99th percentile of the writes that a node has coordinated, over the last minutes, in microseconds.
    pub coordinator_write_p99_us: Option<u64>,
}

impl StorePressure {
    /// Whether a node has a backlog that the latencies of our own writes may not show yet: mutations are blocked, or
    /// more than twice as many wait there as we have in flight in all, so that at least half of them are not ours. A
    /// write of ours is one mutation at most on each node.
    pub fn is_backlogged(&self, num_in_flight: u32) -> bool {
        let bound = MIN_BACKLOG.max(2 * u64::from(num_in_flight));
        self.blocked_mutations.is_some_and(|blocked| blocked > 0)
            || self.pending_mutations.is_some_and(|pending| pending > bound)
    }
}

/// Counts a backlog as one dropped write, unless writes were dropped anyway: the least that the adaptive limiter reacts
/// to, by a tenth of the limit. It does so again with every window in which the backlog is still there. The fixed
/// limiter knows latencies only.
pub fn weigh_backlog(sample: &mut Sample) {
    sample.num_dropped = sample.num_dropped.max(1);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::flow::limiter::{AdaptiveSettings, Limiter, LimiterSettings};

    fn pressure(pending: u64, blocked: u64) -> StorePressure {
        StorePressure { pending_mutations: Some(pending), blocked_mutations: Some(blocked), ..Default::default() }
    }

    #[test]
    fn test_a_backlog_is_what_our_writes_alone_cannot_be() {
        let cases = [(0, 0, 0, false), (128, 0, 0, false), (129, 0, 0, true), (129, 0, 100, false), (0, 1, 100, true)];
        for (pending, blocked, in_flight, expected) in cases {
            assert_eq!(
                pressure(pending, blocked).is_backlogged(in_flight),
                expected,
                "{pending} {blocked} {in_flight}"
            );
        }
        assert!(!StorePressure::default().is_backlogged(0));
    }

    #[test]
    fn test_figures_of_earlier_and_later_versions_are_read_as_far_as_they_go() {
        let older = r#"{"pending_mutations":7,"blocked_mutations":0,"pending_compactions":2}"#;
        let expected = StorePressure { running_compactions: Some(2), ..pressure(7, 0) };
        assert_eq!(serde_json::from_str::<StorePressure>(older).unwrap(), expected);
        let later = r#"{"pending_mutations":7,"blocked_mutations":0,"running_compactions":2,"what_is_to_come":[1]}"#;
        assert_eq!(serde_json::from_str::<StorePressure>(later).unwrap(), expected);
    }

    #[test]
    fn test_a_lasting_backlog_takes_a_tenth_at_a_time_down_to_one() {
        let mut limiter = Limiter::new(&LimiterSettings::Adaptive(AdaptiveSettings { initial: 100, max: 1000 }));
        let mut limits = Vec::new();
        for _ in 0..100 {
            let mut sample = Sample { length: Duration::from_millis(500), max_in_flight: 9, ..Sample::default() };
            (0..1000).for_each(|_| sample.confirm(1, Duration::from_millis(2)));
            weigh_backlog(&mut sample);
            limits.push(limiter.on_window(&sample).limit);
        }
        assert_eq!(limits[0], 90);
        assert!(limits.is_sorted_by(|a, b| a >= b), "{limits:?}");
        assert_eq!(limits[99], 1);
    }
}
