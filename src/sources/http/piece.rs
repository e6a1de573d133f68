//! A piece of a body on its way into the log: records by partition, in one ticket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::actors::partition_producer::Append;
use crate::flow::memory::Reserved;
use crate::intake::routes::TopicRoute;
use crate::intake::ticket::{ReplyTo, Ticket, Waiting};
use crate::log::partitioner::partition_for;
use crate::log::{AppendBatch, Completion, Keys};
use crate::protocol::receipt::{Outcome, Receipt, ReceiptBuilder};
use crate::telemetry::Telemetry;

/// Events that share a receipt. At most as many as a receipt has indices.
pub(super) struct Piece {
    /// The place of its first event in the request.
    pub first: u32,
    /// Its memory, given back with the receipt.
    pub memory: Reserved,
    num_events: u16,
    num_bytes: usize,
    /// Outcomes that are certain already.
    decided: Vec<(u16, Outcome)>,
    /// The partitions that have records here, and those beside them.
    partitions: Vec<u32>,
    shares: Vec<Share>,
}

/// The records of one partition.
#[derive(Default)]
struct Share {
    values: Vec<u8>,
    ends: Vec<u32>,
    keys: Vec<u8>,
    key_ends: Vec<u32>,
    messages: Vec<(u16, Outcome)>,
}

/// A piece that waits for its receipt.
pub(super) struct Sent {
    /// The place of its first event in the request.
    pub first: u32,
    /// How many events it has.
    pub num_events: u16,
    receipt: oneshot::Receiver<Receipt>,
}

/// What sending needs.
pub(super) struct Way<'a> {
    /// Where the type's records go.
    pub route: &'a TopicRoute,
    /// How long to wait for a producer's room.
    pub max_wait: Duration,
    /// The delay to give with "retry later", in milliseconds.
    pub retry_after_ms: u32,
    /// Counts what is confirmed.
    pub telemetry: &'a Arc<Telemetry>,
}

// === impl Piece ===

impl Piece {
    pub(super) fn new(first: u32, memory: Reserved) -> Self {
        let (decided, partitions, shares) = (Vec::new(), Vec::new(), Vec::new());
        Self { first, memory, num_events: 0, num_bytes: 0, decided, partitions, shares }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.num_events == 0
    }

    /// Whether the next event belongs into another piece: this one has `max_bytes` of records, or as many events as a
    /// receipt takes.
    pub(super) fn is_full(&self, max_bytes: usize) -> bool {
        self.num_events == u16::MAX || self.num_bytes >= max_bytes
    }

    /// Notes an event whose outcome is certain.
    pub(super) fn decide(&mut self, outcome: Outcome) {
        self.decided.push((self.num_events, outcome));
        self.num_events += 1;
    }

    /// Adds an event of a device, as the record that `write` appends. One that is larger than the topic takes is not
    /// added: the error is its size and what is allowed, in bytes of key and value.
    pub(super) fn add(
        &mut self,
        device_id: &str,
        route: &TopicRoute,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), (usize, usize)> {
        let partition = partition_for(device_id.as_bytes(), route.partitions.len() as u32);
        let position = self.partitions.iter().position(|known| *known == partition).unwrap_or_else(|| {
            self.partitions.push(partition);
            self.shares.push(Share::default());
            self.shares.len() - 1
        });
        if let Some(share) = self.shares.get_mut(position) {
            let before = share.values.len();
            write(&mut share.values);
            let (num_bytes, max_bytes) = (share.values.len() - before + device_id.len(), route.limit.max_bytes());
            if num_bytes > max_bytes {
                share.values.truncate(before);
                return Err((num_bytes, max_bytes));
            }
            self.num_bytes += share.values.len() - before;
            share.ends.push(share.values.len() as u32);
            share.keys.extend_from_slice(device_id.as_bytes());
            share.key_ends.push(share.keys.len() as u32);
            share.messages.push((self.num_events, Outcome::Accepted));
        }
        self.num_events += 1;
        Ok(())
    }

    /// Sends the records on; waits for the producers' room, but not for the log.
    pub(super) async fn send(self, way: &Way<'_>) -> Sent {
        let (answer, receipt) = oneshot::channel();
        let ticket = Ticket::new(ReplyTo {
            waiting: Waiting::Request(answer),
            package_id: 0,
            memory: self.memory,
            retry_after_ms: way.retry_after_ms,
            telemetry: Arc::clone(way.telemetry),
        });
        let mut builder = ReceiptBuilder::new(0, self.num_events);
        for (index, outcome) in self.decided {
            builder.set(index, outcome);
        }
        ticket.expect_messages(builder);
        for (partition, share) in self.partitions.into_iter().zip(self.shares) {
            let Some(producer) = way.route.partitions.get(partition as usize) else { continue };
            if share.ends.is_empty() {
                // All that it had was too large.
                continue;
            }
            let part = ticket.part(share.messages);
            let batch =
                AppendBatch { keys: keys(share.keys, share.key_ends), values: share.values.into(), ends: share.ends };
            let done = Completion::new(move |answer| part.finish(answer));
            let credit = match producer.credits().try_take() {
                Some(credit) => Some(credit),
                None => producer.credits().take_within(way.max_wait).await,
            };
            // Without room `done` is dropped unused, which makes these events "retry later".
            if let Some(credit) = credit {
                producer.send(Append { batch, done, credit });
            }
        }
        Sent { first: self.first, num_events: self.num_events, receipt }
    }
}

fn keys(text: Vec<u8>, ends: Vec<u32>) -> Keys {
    let first = text.get(..ends.first().copied().unwrap_or_default() as usize).unwrap_or_default();
    // Records of one device, which is the rule in small requests, need their key once.
    let are_of_one_length = ends.iter().zip(1..).all(|(end, count)| *end as usize == count * first.len());
    match are_of_one_length && text.chunks(first.len().max(1)).all(|key| key == first) {
        true => Keys::Same(Bytes::copy_from_slice(first)),
        false => Keys::Each { text: text.into(), ends },
    }
}

// === impl Sent ===

impl Sent {
    /// Waits for the log.
    pub(super) async fn receipt(self) -> Receipt {
        // The ticket always answers; if that ever changed, sending again is the only safe advice.
        self.receipt.await.unwrap_or_else(|_| Receipt::retry_later(0, 0))
    }
}
