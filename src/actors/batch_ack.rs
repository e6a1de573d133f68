//! Batch acknowledgement: how a writer tells a consumer what became of a batch.

use std::sync::Arc;

use actix::{Message, Recipient};

use super::batch_builder::Batch;
use crate::flow::watermark::BatchId;

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Acknowledged {
    /// Which batch.
    pub id: BatchId,
    /// Every record is in the store or the dead-letter topic; otherwise the batch has to be written again.
    pub is_settled: bool,
}

/// A batch on its way to a writer; unless it is [`settled`](BatchAck::settled), its drop reports that the batch has to be
/// written again. Reports exactly once.
#[derive(Debug)]
pub struct BatchAck {
    /// Dropped before the report: a consumer that hears of it looks for room to read on. A consumer that dies leaves the
    /// batch, and what it takes of the memory budget, to the writer that still works on it.
    batch: Arc<Batch>,
    report: Report,
}

#[derive(Debug)]
struct Report {
    to: Recipient<Acknowledged>,
    outcome: Acknowledged,
}

// === impl BatchAck ===

impl BatchAck {
    /// Reports to `to`.
    pub fn new(to: Recipient<Acknowledged>, id: BatchId, batch: Arc<Batch>) -> Self {
        Self { batch, report: Report { to, outcome: Acknowledged { id, is_settled: false } } }
    }

    /// The batch.
    pub fn batch(&self) -> &Arc<Batch> {
        &self.batch
    }

    /// Every record of the batch is in the store or in the dead-letter topic.
    pub fn settled(mut self) {
        self.report.outcome.is_settled = true;
    }
}

// === impl Report ===

impl Drop for Report {
    fn drop(&mut self) {
        self.to.do_send(self.outcome);
    }
}

#[cfg(test)]
mod tests {
    use actix::{Actor, Context, Handler, System};
    use tokio::sync::mpsc;

    use super::*;
    use crate::actors::batch_builder::BatchBuilder;
    use crate::flow::consumption::Size;
    use crate::flow::memory::MemoryBudget;
    use crate::flow::watermark::Watermark;
    use crate::log::{RecordBatch, RecordRef};

    /// Passes on what it is told, with the bytes that batches hold at that moment.
    struct Consumer {
        memory: MemoryBudget,
        told: mpsc::UnboundedSender<(Acknowledged, u64)>,
    }

    impl Actor for Consumer {
        type Context = Context<Self>;
    }

    impl Handler<Acknowledged> for Consumer {
        type Result = ();

        fn handle(&mut self, acknowledged: Acknowledged, _: &mut Self::Context) {
            self.told.send((acknowledged, self.memory.snapshot().batches_bytes)).unwrap();
        }
    }

    fn batch(memory: &MemoryBudget) -> Arc<Batch> {
        let mut builder = BatchBuilder::new(memory.clone());
        let record = RecordRef { offset: 0, key_start: 0, value_start: 1, value_end: 9 };
        let read = RecordBatch {
            data: vec![0; 9].into(),
            records: vec![record],
            next_offset: 1,
            first_written_ms: None,
            meta: Vec::new(),
        };
        builder.push(read, Size { records: 1, bytes: 9 });
        Arc::new(builder.build())
    }

    #[test]
    fn test_a_batch_is_reported_once_and_dropped_means_not_settled() {
        System::new().block_on(async {
            let memory = MemoryBudget::new(1 << 20);
            let (told, mut hears) = mpsc::unbounded_channel();
            let consumer = Consumer { memory: memory.clone(), told }.start();
            let id = Watermark::new().track(1);
            let ack = || BatchAck::new(consumer.clone().recipient(), id, batch(&memory));
            // At each report the batch's memory has been given back.
            let (settled, not_settled) =
                (Acknowledged { id, is_settled: true }, Acknowledged { id, is_settled: false });

            ack().settled();
            assert_eq!(hears.recv().await.unwrap(), (settled, 0));
            drop(ack());
            assert_eq!(hears.recv().await.unwrap(), (not_settled, 0));
            let held_by_writer = ack();
            let writer = std::thread::spawn(move || {
                let _ack = held_by_writer;
                panic!("a writer's bug");
            });
            assert!(writer.join().is_err());
            assert_eq!(hears.recv().await.unwrap(), (not_settled, 0));
            assert!(hears.try_recv().is_err(), "each is reported once");
        });
    }

    #[test]
    fn test_a_batch_counts_while_a_writer_has_it_though_its_consumer_let_go_of_it() {
        System::new().block_on(async {
            let memory = MemoryBudget::new(1 << 20);
            let (told, _hears) = mpsc::unbounded_channel();
            let consumer = Consumer { memory: memory.clone(), told }.start();
            let in_hand = batch(&memory);
            let ack = BatchAck::new(consumer.recipient(), Watermark::new().track(1), Arc::clone(&in_hand));
            drop(in_hand);
            assert!(memory.snapshot().batches_bytes > 9);
            drop(ack);
            assert_eq!(memory.snapshot().batches_bytes, 0);
        });
    }
}
