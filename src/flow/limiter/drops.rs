//! Which drops are news: those of writes that were issued after the last cut.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Sample;

/// So many times the share of dropped writes is taken off the limit, but at least a tenth and at most a half: a lost
/// connection among thousands of writes is no overload, and one write in ten that times out is.
const WEIGHT: f64 = 5.0;

/// Remembers the last cut.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Drops {
    /// How long ago the limit was cut, and how old the oldest write then was.
    since_cut: Option<(Duration, Duration)>,
    oldest_before: Duration,
}

impl Drops {
    /// The factor to cut the limit by, if this window dropped writes that were issued under the present limit. Writes
    /// that were already in flight at the last cut say nothing about the limit that it set.
    pub(super) fn cut(&mut self, sample: &Sample, latency: Duration) -> Option<f64> {
        // The window's longest write may just have been the one that was dropped.
        let longest = sample.oldest_in_flight.max(self.oldest_before + sample.length);
        self.oldest_before = sample.oldest_in_flight;
        if let Some((since_cut, oldest)) = &mut self.since_cut {
            *since_cut += sample.length;
            // Those that were young at the cut have to have had the time to be dropped too.
            if *since_cut <= latency.max(*oldest) {
                return None;
            }
            self.since_cut = None;
        }
        if sample.num_dropped == 0 {
            return None;
        }
        self.since_cut = Some((Duration::ZERO, longest));
        let share = sample.num_dropped as f64 / (sample.num_dropped + sample.num_writes()) as f64;
        Some((1.0 - WEIGHT * share).clamp(0.5, 0.9))
    }
}
