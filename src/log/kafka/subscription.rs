//! The membership in the consumer group: a thread of its own that drives the client, tells the group our commits, and
//! leaves in good order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
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
/// A member that loses its place again within this time has lost it to another process.
const REJOIN_PERIOD: Duration = Duration::from_secs(60);

/// The membership; dropping it leaves the group too, without waiting.
pub(super) struct KafkaSubscription {
    stop: Arc<AtomicBool>,
    /// Closed when the driver has ended.
    ended: watch::Receiver<()>,
}

/// What a member of the group is made of.
struct Membership {
    settings: KafkaLogSettings,
    topics: Vec<String>,
    events: mpsc::UnboundedSender<AssignmentEvent>,
    assignments: Arc<Assignments>,
    brokers: Arc<Brokers>,
}

/// The driver's state, on its own thread.
struct Driver {
    consumer: Arc<BaseConsumer<GroupContext>>,
    membership: Membership,
    rejoined_at: Option<Instant>,
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
        let membership = Membership {
            settings: settings.clone(),
            topics: topics.iter().map(|topic| topic.name.to_string()).collect(),
            events,
            assignments: Arc::new(Assignments::default()),
            brokers,
        };
        let consumer = membership.join().map_err(|error| failed(&context, &error))?;

        let stop = Arc::new(AtomicBool::new(false));
        let (ended_sender, ended) = watch::channel(());
        let (rejoined_at, stopped) = (None, stop.clone());
        let driver = Driver { consumer, membership, rejoined_at, stop: stopped, is_subscribed, _ended: ended_sender };
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

// === impl Membership ===

impl Membership {
    /// A new member, with nothing assigned yet.
    fn join(&self) -> KafkaResult<Arc<BaseConsumer<GroupContext>>> {
        let bootstrap = Bootstrap::new(&self.settings);
        let context =
            GroupContext::new(Arc::clone(&self.assignments), self.events.clone(), Arc::clone(&self.brokers), bootstrap);
        let consumer = Arc::new(BaseConsumer::from_config_and_context(&self.settings.group_consumer(), context)?);
        consumer.context().set_consumer(&consumer);
        let names: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&names)?;
        Ok(consumer)
    }
}

// === impl Driver ===

impl Driver {
    fn run(mut self) {
        let mut commit_at = Instant::now() + COMMIT_INTERVAL;
        while !self.stop.load(Ordering::Acquire) {
            if let Some(reason) = self.poll() {
                self.on_fatal(reason);
            }
            self.consumer.context().bootstrap().mend(self.consumer.client());
            if Instant::now() >= commit_at {
                commit_at = Instant::now() + COMMIT_INTERVAL;
                self.tell_commits();
            }
        }
        self.leave();
    }

    /// Serves callbacks. Records come through the split queues, never through here. Returns what ends the client for good.
    fn poll(&self) -> Option<RDKafkaErrorCode> {
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
            Some(Err(KafkaError::MessageConsumptionFatal(reason))) => return Some(reason),
            Some(Err(error)) if is_of_a_connection(&error) => tracing::debug!(%error, "kafka consumer error"),
            Some(Err(error)) => tracing::warn!(%error, "kafka consumer error"),
        }
        None
    }

    /// A static member can be fenced off by nobody but itself: when Kafka was away for longer than a session, librdkafka
    /// joins under a new member id, and a heartbeat under the old one, still on its way, comes back as fenced. So the
    /// first time the place is taken again. If there is another process with this id, that loses it now, takes it
    /// again, and this one ends.
    fn on_fatal(&mut self, reason: RDKafkaErrorCode) {
        let was_long_ago = self.rejoined_at.is_none_or(|at| at.elapsed() > REJOIN_PERIOD);
        if reason == RDKafkaErrorCode::FencedInstanceId && was_long_ago {
            tracing::warn!("the group took another member for this one; joining it again");
            self.rejoined_at = Some(Instant::now());
            self.consumer.context().lose_all();
            self.wait_for_readers();
            match self.membership.join() {
                Ok(consumer) => self.consumer = consumer,
                Err(error) => self.break_down(&error),
            }
            return;
        }
        self.break_down(&reason);
        self.membership.assignments.revoke_all();
        // Nothing comes from this client any more; do not spin on its error.
        std::thread::sleep(COMMIT_INTERVAL);
    }

    fn break_down(&self, reason: &dyn std::fmt::Display) {
        self.membership.brokers.break_down(&format!(
            "the consumer cannot go on: {reason}; does another process use the same log.kafka.instance_id?"
        ));
    }

    /// Dropping a consumer waits for its queues; whoever holds the last of them would be blocked instead of us.
    fn wait_for_readers(&self) {
        let deadline = Instant::now() + READERS_DEADLINE;
        while Arc::strong_count(&self.consumer) > 1 && Instant::now() < deadline {
            // What it still has to say no longer counts; a client at its end says it over and over.
            if self.poll().is_some() {
                std::thread::sleep(POLL);
            }
        }
    }

    fn tell_commits(&self) {
        let commits = self.membership.assignments.take_untold();
        if commits.count() > 0
            && let Err(error) = self.consumer.commit(&commits, CommitMode::Async)
        {
            tracing::warn!(%error, "cannot tell the group our commits; trying again");
            self.membership.assignments.on_commit_failed(&commits);
        }
    }

    /// Tells the last commits and leaves. A static member stays in the group until its session ends: that is what
    /// gives it its partitions back after a restart.
    fn leave(self) {
        self.consumer.context().set_closing();
        let commits = self.membership.assignments.revoke_all();
        if commits.count() > 0
            && let Err(error) = self.consumer.commit(&commits, CommitMode::Sync)
        {
            tracing::warn!(%error, "the newest commits are lost: their records will be read again");
        }
        self.wait_for_readers();
        if Arc::strong_count(&self.consumer) > 1 {
            tracing::warn!("leaving the consumer group while readers are still held");
            self.consumer.unsubscribe();
        }
        let Self { consumer, membership, is_subscribed, .. } = self;
        drop(consumer);
        membership.brokers.note_fetched(None);
        is_subscribed.store(false, Ordering::Release);
    }
}
