//! The threads that actors run on.

use actix_rt::{Arbiter, ArbiterHandle};

use crate::config::Config;
use crate::scheduling;

/// The threads that actors run on.
pub(super) struct Threads {
    pub(super) connections: Vec<Arbiter>,
    pub(super) decoders: Vec<Arbiter>,
    /// Apart from consumers and writers, whose batches would hold up receipts.
    pub(super) producers: Vec<Arbiter>,
    pub(super) pipeline: Vec<Arbiter>,
}

// === impl Threads ===

impl Threads {
    pub(super) fn start(config: &Config) -> Self {
        let start = |num: usize| (0..num).map(|_| Arbiter::new()).collect::<Vec<_>>();
        let num_pipeline = config.threads.pipeline.get();
        let producers = start(num_pipeline);
        for arbiter in &producers {
            arbiter.spawn_fn(scheduling::wait_for_a_turn);
        }
        Self {
            connections: start(config.threads.connections.get()),
            decoders: start(config.decoder.actors.get()),
            producers,
            pipeline: start(num_pipeline),
        }
    }

    pub(super) fn stop(self) {
        for arbiters in [self.connections, self.decoders, self.producers, self.pipeline] {
            for arbiter in arbiters {
                arbiter.stop();
            }
        }
    }
}

/// All of them.
pub(super) fn handles(arbiters: &[Arbiter]) -> Vec<ArbiterHandle> {
    arbiters.iter().map(Arbiter::handle).collect()
}

/// One of them, in turn.
pub(super) fn home(arbiters: &[Arbiter], index: usize) -> ArbiterHandle {
    arbiters[index % arbiters.len()].handle()
}
