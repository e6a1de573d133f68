//! The last step of taking in: records of one partition, on their way to the producer of that partition.

use std::sync::Arc;
use std::time::Duration;

use actix::Message;

use crate::flow::credit::Credit;
use crate::log::{AppendBatch, Completion};
use crate::supervision::Mailbox;

/// Where batches of one partition go.
pub type Producer = Arc<dyn Mailbox<Append>>;

/// Appends a batch and reports the log's answer.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Append {
    /// What to append.
    pub batch: AppendBatch,
    /// Gets the answer; dropped unused it reports that nothing was delivered.
    pub done: Completion,
    /// The producer's credit for this batch.
    pub credit: Credit,
}

/// A batch that has no credit of its producer yet. Dropped like that, it reports that nothing was delivered.
pub struct Unsent {
    producer: Producer,
    batch: AppendBatch,
    done: Completion,
}

// === impl Unsent ===

impl Unsent {
    /// A batch for this producer.
    pub fn new(producer: Producer, batch: AppendBatch, done: Completion) -> Self {
        Self { producer, batch, done }
    }

    /// Sends the batch if the producer has room for it now, and gives it back otherwise.
    pub fn try_send(self) -> Option<Self> {
        match self.producer.credits().try_take() {
            Some(credit) => {
                self.send(credit);
                None
            }
            None => Some(self),
        }
    }

    /// Sends the batch once the producer has room for it; after `max_wait` the batch is given up.
    pub async fn send_within(self, max_wait: Duration) {
        let Some(unsent) = self.try_send() else { return };
        if let Some(credit) = unsent.producer.credits().take_within(max_wait).await {
            unsent.send(credit);
        }
    }

    fn send(self, credit: Credit) {
        let Self { producer, batch, done } = self;
        producer.send(Append { batch, done, credit });
    }
}
