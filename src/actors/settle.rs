//! How a writer tells a consumer what became of a batch.

use std::sync::Arc;

use actix::{Message, Recipient};

use crate::flow::memory::Reserved;
use crate::flow::watermark::BatchId;

/// What became of a batch.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Settled {
    /// Which batch.
    pub id: BatchId,
    /// Every record is in the store or the dead-letter topic; otherwise the writer died with it.
    pub done: bool,
}

/// Rides with a batch; unless it is [`done`](Settle::done), its drop reports that the batch has to be written again.
#[derive(Debug)]
pub struct Settle {
    to: Recipient<Settled>,
    id: BatchId,
    done: bool,
    /// The batch's memory: a consumer that dies gives its own share back while the writer still works.
    memory: Option<Arc<Reserved>>,
}

// === impl Settle ===

impl Settle {
    /// Reports to `to`.
    pub fn new(to: Recipient<Settled>, id: BatchId, memory: Arc<Reserved>) -> Self {
        Self { to, id, done: false, memory: Some(memory) }
    }

    /// Every record of the batch is in the store or in the dead-letter topic.
    pub fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Settle {
    fn drop(&mut self) {
        // Before the consumer hears of it: it looks for room to read on.
        self.memory.take();
        self.to.do_send(Settled { id: self.id, done: self.done });
    }
}
