//! Records that a source makes itself, on their way into the log: by partition, in one ticket.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::append::Unsent;
use super::records::{RecordTooLarge, Records};
use super::routes::TopicRoute;
use super::ticket::{ReplyTo, Ticket};
use super::{Intake, Path};
use crate::flow::memory::Reserved;
use crate::flow::trace::Trace;
use crate::log::{AppendBatch, Completion, Keys};
use crate::protocol::receipt::{Outcome, Receipt, ReceiptBuilder};

/// Messages that share a receipt. At most as many as a receipt has indices.
pub struct Chunk {
    /// The place of its first message in what the source reads.
    pub first: u32,
    /// Its memory, given back with the receipt.
    memory: Reserved,
    num_messages: u16,
    num_bytes: usize,
    /// Outcomes that are certain already.
    decided: Vec<(u16, Outcome)>,
    /// The partitions that have records here, and those beside them.
    partitions: Vec<u32>,
    batches: Vec<PartitionBatch>,
}

/// The records of one partition.
#[derive(Default)]
struct PartitionBatch {
    records: Records,
    keys: Vec<u8>,
    key_ends: Vec<u32>,
    messages: Vec<(u16, Outcome)>,
}

/// A chunk that waits for its receipt.
pub struct SentChunk {
    /// The place of its first message in what the source reads.
    pub first: u32,
    /// How many messages it has.
    pub num_messages: u16,
    receipt: oneshot::Receiver<Receipt>,
}

// === impl Chunk ===

impl Chunk {
    /// An empty chunk with its room in memory.
    pub fn new(first: u32, memory: Reserved) -> Self {
        let (decided, partitions, batches) = (Vec::new(), Vec::new(), Vec::new());
        Self { first, memory, num_messages: 0, num_bytes: 0, decided, partitions, batches }
    }

    /// Whether no message was added.
    pub fn is_empty(&self) -> bool {
        self.num_messages == 0
    }

    /// Whether the next message belongs into another chunk: this one has `max_bytes` of records, or as many messages as a
    /// receipt takes.
    pub fn is_full(&self, max_bytes: usize) -> bool {
        self.num_messages == u16::MAX || self.num_bytes >= max_bytes
    }

    /// Notes a message whose outcome is certain.
    pub fn decide(&mut self, outcome: Outcome) {
        self.decided.push((self.num_messages, outcome));
        self.num_messages += 1;
    }

    /// Adds a message of a device, as the record that `write` appends. One that is larger than the topic takes is not
    /// added.
    pub fn add(
        &mut self,
        device_id: &str,
        route: &TopicRoute,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), RecordTooLarge> {
        let partition = route.partition_of(device_id.as_bytes());
        let position = self.partitions.iter().position(|known| *known == partition).unwrap_or_else(|| {
            self.partitions.push(partition);
            self.batches.push(PartitionBatch::default());
            self.batches.len() - 1
        });
        let batch = &mut self.batches[position];
        let start = batch.records.values.len();
        write(&mut batch.records.values);
        batch.records.end_record(start, device_id, &route.limit)?;
        self.num_bytes += batch.records.values.len() - start;
        batch.keys.extend_from_slice(device_id.as_bytes());
        batch.key_ends.push(batch.keys.len() as u32);
        batch.messages.push((self.num_messages, Outcome::Accepted));
        self.num_messages += 1;
        Ok(())
    }

    /// Sends the records on, with the trace of the request that they came with; waits for the producers' room, but not for
    /// the log.
    pub async fn send(self, route: &TopicRoute, path: &Path, intake: &Intake, trace: Option<&Trace>) -> SentChunk {
        let (answer, receipt) = oneshot::channel();
        let ticket = Ticket::new(ReplyTo {
            // A client that left needs no receipt.
            answer: Box::new(move |receipt| drop(answer.send(receipt))),
            package_id: 0,
            memory: self.memory,
            retry_after_ms: intake.retry_ms(),
            telemetry: Arc::clone(&intake.telemetry),
        });
        let mut builder = ReceiptBuilder::new(0, self.num_messages);
        for (index, outcome) in self.decided {
            builder.set(index, outcome);
        }
        ticket.expect_messages(builder);
        for (partition, batch) in self.partitions.into_iter().zip(self.batches) {
            if batch.records.is_empty() {
                // All that it had was too large.
                continue;
            }
            let PartitionBatch { records, keys: text, key_ends, messages } = batch;
            let part = ticket.part(messages);
            let (keys, trace) = (keys(text, key_ends), trace.cloned());
            let batch = AppendBatch { keys, values: records.values.into(), ends: records.ends, trace };
            let done = Completion::new(move |answer| part.finish(answer));
            // Without room `done` is dropped unused, which makes these messages "retry later".
            Unsent::new(Arc::clone(route.producer(partition)), batch, done).send_within(path.max_wait).await;
        }
        SentChunk { first: self.first, num_messages: self.num_messages, receipt }
    }
}

/// The keys of records that have at least one.
fn keys(text: Vec<u8>, ends: Vec<u32>) -> Keys {
    let first = &text[..ends[0] as usize];
    // Records of one device, which is the rule in small requests, need their key once.
    let are_of_one_length = ends.iter().zip(1..).all(|(end, count)| *end as usize == count * first.len());
    match are_of_one_length && text.chunks(first.len().max(1)).all(|key| key == first) {
        true => Keys::Same(Bytes::copy_from_slice(first)),
        false => Keys::Each { text: text.into(), ends },
    }
}

// === impl SentChunk ===

impl SentChunk {
    /// Waits for the log.
    pub async fn receipt(self) -> Receipt {
        let Ok(receipt) = self.receipt.await else { unreachable!("a ticket always answers") };
        receipt
    }
}
