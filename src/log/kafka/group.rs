//! What happens when the group gives us partitions or takes them away. All of it runs on the driver's thread, inside
//! its poll.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{ClientContext, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};

use super::assignment::{Assignments, id_of};
use super::bootstrap::{Bootstrap, Bootstrapped};
use super::brokers::{Brokers, Statistics, is_of_a_connection, log_line};
use super::reader::KafkaReader;
use super::settings::REVOKE_DEADLINE;
use crate::log::{AssignmentEvent, PartitionReader, TopicPartition};

/// How often a revoke looks whether the consumers have answered.
const ANSWER_INTERVAL: Duration = Duration::from_millis(2);

/// The callbacks of the group consumer.
pub(super) struct GroupContext {
    assignments: Arc<Assignments>,
    events: mpsc::UnboundedSender<AssignmentEvent>,
    brokers: Arc<Brokers>,
    bootstrap: Bootstrap,
    /// Set once, right after the consumer exists; before that nothing calls back.
    consumer: OnceLock<Weak<BaseConsumer<GroupContext>>>,
    /// Readers that are split off and wait until the assignment is in force.
    ready: Mutex<Vec<Box<dyn PartitionReader>>>,
    /// While closing there is nobody left to ask: readers are gone, and commits were told.
    is_closing: AtomicBool,
}

// === impl GroupContext ===

impl GroupContext {
    /// A context whose consumer is still to come.
    pub(super) fn new(
        assignments: Arc<Assignments>,
        events: mpsc::UnboundedSender<AssignmentEvent>,
        brokers: Arc<Brokers>,
        bootstrap: Bootstrap,
    ) -> Self {
        Self {
            assignments,
            events,
            brokers,
            bootstrap,
            consumer: OnceLock::new(),
            ready: Mutex::default(),
            is_closing: AtomicBool::new(false),
        }
    }

    /// Says which consumer calls back. Only the first call counts.
    pub(super) fn set_consumer(&self, consumer: &Arc<BaseConsumer<Self>>) {
        let _ = self.consumer.set(Arc::downgrade(consumer));
    }

    /// From now on revokes are not announced.
    pub(super) fn set_closing(&self) {
        self.is_closing.store(true, Ordering::Release);
    }

    fn split(&self, partitions: &TopicPartitionList) {
        let Some(consumer) = self.consumer.get().and_then(Weak::upgrade) else { return };
        let mut ready = self.ready.lock();
        for id in ids(partitions) {
            match KafkaReader::split(&consumer, self.assignments.assign(id.clone())) {
                Some(reader) => ready.push(Box::new(reader)),
                None => tracing::error!(partition = %id, "kafka assigned a partition that has no queue"),
            }
        }
    }

    fn announce(&self) {
        let ready = std::mem::take(&mut *self.ready.lock());
        // If nobody listens any more, the readers are dropped with the event.
        if !ready.is_empty() && !self.is_closing.load(Ordering::Acquire) {
            let _ = self.events.send(AssignmentEvent::Assigned(ready));
        }
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let revoked = ids(partitions);
        if revoked.is_empty() || self.is_closing.load(Ordering::Acquire) {
            return;
        }
        let commits = self.take_back(revoked);
        // When the group has already given them away, it would only refuse.
        if commits.count() > 0
            && !consumer.assignment_lost()
            && let Err(error) = consumer.commit(&commits, CommitMode::Sync)
        {
            tracing::warn!(%error, "the newest commits of revoked partitions are lost: records will be read again");
        }
    }
}

impl GroupContext {
    /// Everything is lost with the membership: whoever reads has to end, and what the group was not told is read again.
    pub(super) fn lose_all(&self) {
        drop(self.take_back(self.assignments.ids()));
        self.ready.lock().clear();
    }

    /// Waits until these partitions are read no more; what the group has not been told of them.
    fn take_back(&self, partitions: Vec<TopicPartition>) -> TopicPartitionList {
        let (done, answer) = oneshot::channel();
        let event = AssignmentEvent::Revoked { partitions: partitions.clone(), done };
        if self.events.send(event).is_ok() {
            wait_for(answer);
        }
        self.assignments.revoke(&partitions)
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if let Some(statistics) = Statistics::parse(statistics) {
            self.assignments.on_statistics(&statistics);
            self.brokers.note_fetched(Some(&statistics));
            self.bootstrap.on_statistics(&statistics);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if !is_of_a_connection(&error) {
            tracing::warn!(%error, reason, "kafka consumer error");
        }
    }
}

impl Bootstrapped for GroupContext {
    fn bootstrap(&self) -> &Bootstrap {
        &self.bootstrap
    }
}

impl ConsumerContext for GroupContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => self.split(partitions),
            Rebalance::Revoke(partitions) => self.revoke(consumer, partitions),
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance failed"),
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Assign(_)) {
            self.announce();
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::warn!(%error, "the group did not take a commit; it will be told again");
            self.assignments.on_commit_failed(offsets);
        }
    }
}

fn ids(partitions: &TopicPartitionList) -> Vec<TopicPartition> {
    partitions.elements().iter().map(|element| id_of(element.topic(), element.partition())).collect()
}

/// Waits for the answer, up to the deadline. A dropped sender is an answer too.
fn wait_for(mut answer: oneshot::Receiver<()>) {
    let deadline = Instant::now() + REVOKE_DEADLINE;
    while answer.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
        if Instant::now() >= deadline {
            tracing::warn!("consumers of revoked partitions did not finish in time; their late results are ignored");
            return;
        }
        std::thread::sleep(ANSWER_INTERVAL);
    }
}
