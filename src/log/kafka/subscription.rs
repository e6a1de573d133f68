//! The membership in the consumer group: a thread of its own that drives the client, tells the group our commits, and
//! leaves in good order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset};
use tokio::sync::{mpsc, watch};

use super::assignment::Assignments;
use super::bootstrap::{Bootstrap, Bootstrapped};
use super::brokers::{Brokers, is_of_a_connection};
use super::failed;
use super::group::GroupContext;
use super::settings::KafkaLogSettings;
use crate::log::{AssignmentEvent, LogError, Subscription, TopicSpec};

/// How long one poll waits: also how soon the driver sees that it should stop.
const POLL: Duration = Duration::from_millis(50);
/// How soon the group is told of a commit.
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
/// How long leaving waits for readers that are still held, and for the driver as a whole.
const READERS_DEADLINE: Duration = Duration::from_secs(5);
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// The membership; dropping it leaves the group too, without waiting.
pub(super) struct KafkaSubscription {
    stop: Arc<AtomicBool>,
    /// Closed when the driver has ended.
    ended: watch::Receiver<()>,
}

/// The driver's state, on its own thread.
struct Driver {
    consumer: Arc<BaseConsumer<GroupContext>>,
    assignments: Arc<Assignments>,
    brokers: Arc<Brokers>,
    stop: Arc<AtomicBool>,
    is_subscribed: Arc<AtomicBool>,
    _ended: watch::Sender<()>,
}

// === impl KafkaSubscription ===

impl KafkaSubscription {
    /// Joins the group.
    pub(super) fn start(
        settings: &KafkaLogSettings,
        topics: &[TopicSpec],
        brokers: Arc<Brokers>,
        is_subscribed: Arc<AtomicBool>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<AssignmentEvent>), LogError> {
        let context = format!("joining the consumer group {}", settings.group);
        let (events, receiver) = mpsc::unbounded_channel();
        let assignments = Arc::new(Assignments::default());
        let group = GroupContext::new(assignments.clone(), events, brokers.clone(), Bootstrap::new(settings));
        let consumer = BaseConsumer::from_config_and_context(&settings.group_consumer(), group)
            .map_err(|error| failed(&context, &error))?;
        let consumer = Arc::new(consumer);
        consumer.context().set_consumer(&consumer);
        let names: Vec<&str> = topics.iter().map(|topic| &*topic.name).collect();
        consumer.subscribe(&names).map_err(|error| failed(&context, &error))?;

        let stop = Arc::new(AtomicBool::new(false));
        let (ended_sender, ended) = watch::channel(());
        let driver = Driver { consumer, assignments, brokers, stop: stop.clone(), is_subscribed, _ended: ended_sender };
        std::thread::Builder::new()
            .name("kafka-group".to_owned())
            .spawn(move || driver.run())
            .map_err(|error| failed(&context, &error))?;
        Ok((Self { stop, ended }, receiver))
    }
}

impl Subscription for KafkaSubscription {
    fn close(&self) -> BoxFuture<'_, ()> {
        self.stop.store(true, Ordering::Release);
        let mut ended = self.ended.clone();
        async move {
            // The driver never sends: the channel only closes.
            if tokio::time::timeout(CLOSE_DEADLINE, ended.changed()).await.is_err() {
                tracing::warn!("leaving the consumer group takes too long; the group will notice by itself");
            }
        }
        .boxed()
    }
}

impl Drop for KafkaSubscription {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

// === impl Driver ===

impl Driver {
    fn run(self) {
        let mut commit_at = Instant::now() + COMMIT_INTERVAL;
        while !self.stop.load(Ordering::Acquire) {
            self.poll();
            self.consumer.context().bootstrap().mend(self.consumer.client());
            if Instant::now() >= commit_at {
                commit_at = Instant::now() + COMMIT_INTERVAL;
                self.tell_commits();
            }
        }
        self.leave();
    }

    /// Serves callbacks. Records come through the split queues, never through here.
    fn poll(&self) {
        match self.consumer.poll(POLL) {
            None => {}
            Some(Ok(stray)) => {
                // Should librdkafka ever put a record here, it must not be lost.
                let (topic, partition, offset) = (stray.topic(), stray.partition(), stray.offset());
                tracing::warn!(topic, partition, offset, "record outside of its queue; reading it again");
                if let Err(error) = self.consumer.seek(topic, partition, Offset::Offset(offset), Duration::ZERO) {
                    tracing::error!(topic, partition, offset, %error, "cannot read the record again");
                }
            }
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                self.brokers.break_down(&format!(
                    "the consumer cannot go on: {error}; does another process use the same log.kafka.instance_id?"
                ));
                self.assignments.revoke_all();
                // Nothing comes from this client any more; do not spin on its error.
                std::thread::sleep(COMMIT_INTERVAL);
            }
            Some(Err(error)) if is_of_a_connection(&error) => tracing::debug!(%error, "kafka consumer error"),
            Some(Err(error)) => tracing::warn!(%error, "kafka consumer error"),
        }
    }

    fn tell_commits(&self) {
        let commits = self.assignments.take_untold();
        if commits.count() > 0
            && let Err(error) = self.consumer.commit(&commits, CommitMode::Async)
        {
            tracing::warn!(%error, "cannot tell the group our commits; trying again");
            self.assignments.on_commit_failed(&commits);
        }
    }

    /// Tells the last commits and leaves. A static member stays in the group until its session ends: that is what
    /// gives it its partitions back after a restart.
    fn leave(self) {
        self.consumer.context().set_closing();
        let commits = self.assignments.revoke_all();
        if commits.count() > 0
            && let Err(error) = self.consumer.commit(&commits, CommitMode::Sync)
        {
            tracing::warn!(%error, "the newest commits are lost: their records will be read again");
        }
        // Dropping the consumer waits for its queues; whoever holds the last of them would be blocked instead of us.
        let deadline = Instant::now() + READERS_DEADLINE;
        while Arc::strong_count(&self.consumer) > 1 && Instant::now() < deadline {
            self.poll();
        }
        if Arc::strong_count(&self.consumer) > 1 {
            tracing::warn!("leaving the consumer group while readers are still held");
            self.consumer.unsubscribe();
        }
        let Self { consumer, brokers, is_subscribed, .. } = self;
        drop(consumer);
        brokers.note_fetched(None);
        is_subscribed.store(false, Ordering::Release);
    }
}
