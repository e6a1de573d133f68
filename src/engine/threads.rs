//! The threads that actors run on.

use std::time::Duration;

use actix_rt::{Arbiter, ArbiterHandle};
use tokio::sync::oneshot;
use tracing::warn;

use crate::config::Config;
use crate::scheduling;

/// How long a stop waits for threads to end.
const JOIN_DEADLINE: Duration = Duration::from_secs(2);

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

    /// Stops all of them and waits until they have ended: their actors hold the log and the store, which somebody may open
    /// again at once. One that does not end is left behind.
    pub(super) async fn stop(self) {
        let arbiters = [self.connections, self.decoders, self.producers, self.pipeline].into_iter().flatten();
        let arbiters: Vec<Arbiter> = arbiters.inspect(|arbiter| _ = arbiter.stop()).collect();
        let (ended, all_ended) = oneshot::channel();
        let join = move || {
            // An arbiter that panicked has ended, too.
            arbiters.into_iter().for_each(|arbiter| drop(arbiter.join()));
            let _ = ended.send(());
        };
        if std::thread::Builder::new().name("joining".to_owned()).spawn(join).is_err()
            || tokio::time::timeout(JOIN_DEADLINE, all_ended).await.is_err()
        {
            warn!("a thread of the engine does not end");
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
