//! Looks once a second which queues of the path are full, from what is known in memory, and remembers what follows.

use std::time::Instant;

use parking_lot::Mutex;

use super::View;
use crate::flow::bottleneck::{Bottleneck, Full, Stage};

/// See the module.
pub struct BottleneckWatch {
    epoch: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rule: Bottleneck,
    /// Packages for which there was no room, at the last look.
    num_refused: u64,
}

// === impl BottleneckWatch ===

impl BottleneckWatch {
    /// Nothing was looked at yet.
    pub(crate) fn new() -> Self {
        Self { epoch: Instant::now(), state: Mutex::default() }
    }

    /// The stage that is the bottleneck, if any is.
    pub fn stage(&self) -> Option<Stage> {
        self.state.lock().rule.stage()
    }

    /// Looks at all queues. To be called about once a second.
    pub(crate) fn look(&self, view: &View) {
        let mut state = self.state.lock();
        let num_refused = view.memory.snapshot().refused_packages;
        let has_refused = num_refused > std::mem::replace(&mut state.num_refused, num_refused);
        let full = full_queues(view, has_refused);
        state.rule.on_sample(self.epoch.elapsed(), full);
    }
}

fn full_queues(view: &View, has_refused: bool) -> Full {
    let groups = view.supervisor.tree().groups();
    let is_crowded = groups.iter().any(|group| group.bound.is_some_and(|bound| group.num_alive >= bound));
    let requests = view.requests.snapshot();
    let is_full = |name: &str| {
        let mailboxes = groups.iter().filter(|group| group.name == name).flat_map(|group| &group.mailboxes);
        mailboxes.into_iter().any(|(_, edge)| edge.depth >= edge.bound)
    };
    let mut backlog = view.gate.backlog();
    backlog.has_all_batches = view.lags.has_all_batches();
    let (gate, store) = backlog.full();
    let edge = has_refused || is_crowded || requests.depth >= requests.bound;
    [edge, is_full("decoder"), is_full("partition_producer"), gate, store]
}
