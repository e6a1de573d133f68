//! Records whose batch was larger than their topic takes: the brokers are asked what it takes now, then the records go out
//! again in batches that fit.
//!
//! librdkafka fills a batch up to the producer's size, whatever the topic, and gives all of its records up when the batch
//! is refused. A record is at fault only if it came alone, which it does if it is larger than a whole batch; all others
//! are good and only need smaller ones; they come behind what was taken meanwhile. Works on a thread that is there only while there is something to do.

use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;

use super::client::BatchTracker;
use super::limits::RECORD_OVERHEAD;
use super::producer::Producers;
use crate::log::AppendError;

/// A record whose batch was refused.
pub(super) struct Refused {
    /// The batch that it was appended with.
    pub tracker: Arc<BatchTracker>,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    /// The most bytes that the batches of its producer have.
    pub batch_bytes: usize,
    /// The most bytes that the brokers took for its topic when that producer was made.
    pub single_bytes: usize,
}

/// Collects what was refused.
pub(super) struct Regrouper {
    producers: Weak<Producers>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    refused: Vec<Refused>,
    is_at_work: bool,
}

// === impl Refused ===

impl Refused {
    fn num_bytes(&self) -> usize {
        let num_bytes = self.key.len() + self.value.len();
        num_bytes + self.tracker.header_bytes(num_bytes)
    }

    /// Whether it cannot have had company: librdkafka adds nothing to a batch that is over its size.
    fn was_alone(&self) -> bool {
        self.num_bytes() + RECORD_OVERHEAD > self.batch_bytes
    }

    fn give_up(self, error: AppendError) {
        self.tracker.settle(1, Some(error));
    }
}

// === impl Regrouper ===

impl Regrouper {
    pub(super) fn new(producers: Weak<Producers>) -> Self {
        Self { producers, state: Mutex::default() }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        !self.state.lock().is_at_work
    }

    /// Takes a record in; called from librdkafka's callbacks, does not block.
    pub(super) fn take(self: &Arc<Self>, refused: Refused) {
        let mut state = self.state.lock();
        state.refused.push(refused);
        if std::mem::replace(&mut state.is_at_work, true) {
            return;
        }
        drop(state);
        let own = Arc::clone(self);
        if let Err(error) = std::thread::Builder::new().name("kafka-limits".to_owned()).spawn(move || own.work()) {
            let mut state = self.state.lock();
            state.is_at_work = false;
            let refused = std::mem::take(&mut state.refused);
            drop(state);
            let error = AppendError::unavailable(format!("cannot start a thread: {error}"));
            refused.into_iter().for_each(|refused| refused.give_up(error.clone()));
        }
    }

    fn work(&self) {
        loop {
            let mut state = self.state.lock();
            let refused = std::mem::take(&mut state.refused);
            if refused.is_empty() {
                state.is_at_work = false;
                return;
            }
            drop(state);
            match self.producers.upgrade() {
                Some(producers) => send_again(&producers, refused),
                None => {
                    let error = AppendError::unavailable("the log is closed");
                    refused.into_iter().for_each(|refused| refused.give_up(error.clone()));
                }
            }
        }
    }
}

fn send_again(producers: &Producers, refused: Vec<Refused>) {
    let mut topics: Vec<Arc<str>> = refused.iter().map(|refused| Arc::clone(refused.tracker.lane().topic())).collect();
    topics.sort_unstable();
    topics.dedup();
    // Who may not ask learns from what is refused.
    if let Err(error) = producers.ask(&topics) {
        tracing::debug!(%error, "cannot ask what a topic takes");
    }
    for refused in refused {
        let lane = Arc::clone(refused.tracker.lane());
        let (num_bytes, batch_bytes, now) = (refused.num_bytes(), refused.batch_bytes, Instant::now());
        let is_outdated = producers.learn(&lane, |limit| limit.is_outdated(refused.single_bytes));
        if matches!(is_outdated, Ok(true)) {
            lane.newest().append_again(refused);
            continue;
        }
        if refused.was_alone() {
            let learnt = producers.learn(&lane, |limit| limit.record_refused(num_bytes, now));
            let error = match learnt {
                Ok(()) => AppendError::too_large(format!("{num_bytes} bytes, topic {}", lane.topic())),
                Err(error) => AppendError::unavailable(error),
            };
            refused.give_up(error);
            continue;
        }
        match producers.learn(&lane, |limit| limit.batch_refused(batch_bytes, now)) {
            Ok(true) => lane.newest().append_again(refused),
            Ok(false) => {
                lane.note_refused("it is refused as too large, however small the batch");
                refused.give_up(AppendError::too_large(format!("topic {} takes no batch at all", lane.topic())));
            }
            Err(error) => refused.give_up(AppendError::unavailable(error)),
        }
    }
    producers.retire();
}
