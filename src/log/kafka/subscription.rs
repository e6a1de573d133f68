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

use super::bootstrap::{Bootstrap, Bootstrapped};
use super::brokers::Brokers;
use super::consumption::Consumption;
use super::failed;
use super::group::GroupContext;
use super::group_health::GroupHealth;
use super::group_view;
use super::named::named;
use super::settings::{KafkaLogSettings, TOPICS_INTERVAL};
use super::topic_ids;
use super::topics;
use super::watermarks::Watermarks;
use crate::log::{AssignmentEvent, LogError, Subscription, TopicPartition, TopicSpec};

/// How long one poll waits: also how soon the driver sees that it should stop.
const POLL: Duration = Duration::from_millis(50);
/// How soon the group is told of a commit, and how soon again if it did not take the last one.
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
const COMMIT_RETRY: Duration = Duration::from_secs(1);
/// How often the driver looks after what the client does not tell by itself.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long brokers have to answer then. Callbacks wait meanwhile.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the ids of topics are asked for, and how soon again after nobody has answered.
const IDS_INTERVAL: Duration = Duration::from_secs(2);
const IDS_RETRY: Duration = Duration::from_secs(10);
/// How many partitions are asked about in one look, at most.
const MAX_ASKED: usize = 16;
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
    events: mpsc::UnboundedSender<AssignmentEvent>,
    consumption: Arc<Consumption>,
    brokers: Arc<Brokers>,
}

/// The driver's state, on its own thread.
struct Driver {
    consumer: Arc<BaseConsumer<GroupContext>>,
    membership: Membership,
    rejoined_at: Option<Instant>,
    stop: Arc<AtomicBool>,
    is_subscribed: Arc<AtomicBool>,
    /// The paused partition that was asked about last.
    last_asked: Option<TopicPartition>,
    ids_at: Instant,
    /// When topics of others are looked for next.
    topics_at: Instant,
    _ended: watch::Sender<()>,
}

// === impl KafkaSubscription ===

impl KafkaSubscription {
    /// Joins the group.
    pub(super) fn start(
        settings: &KafkaLogSettings,
        topics: &[TopicSpec],
        (brokers, consumption): (Arc<Brokers>, Arc<Consumption>),
        is_subscribed: Arc<AtomicBool>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<AssignmentEvent>), LogError> {
        let context = format!("joining the consumer group {}", settings.group);
        let (events, receiver) = mpsc::unbounded_channel();
        consumption.begin(GroupHealth::new(&settings.group, topics, Instant::now()));
        consumption.assignments.select(topics);
        let membership = Membership { settings: settings.clone(), events, consumption, brokers };
        let consumer = membership.join().map_err(|error| failed(&context, error))?;

        let stop = Arc::new(AtomicBool::new(false));
        let (ended_sender, ended) = watch::channel(());
        let (rejoined_at, stopped) = (None, stop.clone());
        let driver = Driver {
            consumer,
            membership,
            rejoined_at,
            stop: stopped,
            is_subscribed,
            last_asked: None,
            ids_at: Instant::now(),
            topics_at: Instant::now(),
            _ended: ended_sender,
        };
        std::thread::Builder::new()
            .name("kafka-group".to_owned())
            .spawn(move || driver.run())
            .map_err(|error| failed(&context, error))?;
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
        let context = GroupContext::new(
            Arc::clone(&self.consumption),
            self.events.clone(),
            Arc::clone(&self.brokers),
            bootstrap,
            self.settings.owner.clone(),
        );
        let follows = self.consumption.assignments.selection().lock().has_others();
        let consumer =
            Arc::new(BaseConsumer::from_config_and_context(&self.settings.group_consumer(follows), context)?);
        consumer.context().set_consumer(&consumer);
        self.subscribe(&consumer)?;
        Ok(consumer)
    }

    /// Tells the client which topics are to be read; while there are none it is no member.
    fn subscribe(&self, consumer: &BaseConsumer<GroupContext>) -> KafkaResult<()> {
        let names = self.consumption.assignments.selection().lock().names();
        match names.is_empty() {
            true => {
                consumer.unsubscribe();
                Ok(())
            }
            false => consumer.subscribe(&names.iter().map(|name| &**name).collect::<Vec<_>>()),
        }
    }
}

// === impl Driver ===

impl Driver {
    fn run(mut self) {
        let mut commit_at = Instant::now() + COMMIT_INTERVAL;
        let mut look_at = Instant::now() + LOOK_INTERVAL;
        while !self.stop.load(Ordering::Acquire) {
            // Before partitions are assigned: what is there now is not new.
            self.look_for_topics();
            if let Some(reason) = self.poll() {
                self.on_fatal(reason);
            }
            self.consumer.context().bootstrap().mend(self.consumer.client());
            self.consumer.context().announce_known(&self.consumer);
            self.begin_anew();
            self.begin_after_gaps();
            if Instant::now() >= commit_at {
                let fails = self.membership.consumption.with_group(|group| group.commits_fail()).unwrap_or(false);
                commit_at = Instant::now() + if fails { COMMIT_RETRY } else { COMMIT_INTERVAL };
                self.tell_commits();
            }
            if Instant::now() >= look_at {
                self.look();
                look_at = Instant::now() + LOOK_INTERVAL;
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
            Some(Err(error)) => self.consumer.context().on_error(&error, &error.to_string()),
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
            if let Err(error) = self.join_again() {
                self.break_down(&error);
            }
            return;
        }
        self.break_down(&reason);
        self.membership.consumption.assignments.revoke_all();
        // Nothing comes from this client any more; do not spin on its error.
        std::thread::sleep(COMMIT_INTERVAL);
    }

    /// Joins with a new client.
    fn join_again(&mut self) -> KafkaResult<()> {
        self.consumer.context().lose_all();
        self.wait_for_readers();
        let consumer = self.membership.join()?;
        let old = std::mem::replace(&mut self.consumer, consumer);
        // It has lost everything already; what it does while it closes, and how long that takes, is nobody's concern.
        old.context().set_closing();
        std::thread::Builder::new().name("kafka-group-old".to_owned()).spawn(move || drop(old)).map(drop).or_else(
            |error| {
                tracing::debug!(%error, "no thread to close the old client on");
                Ok(())
            },
        )
    }

    /// Offsets that began anew are read from their start, with new readers.
    fn begin_anew(&mut self) {
        let anew = self.membership.consumption.assignments.begun_anew();
        if anew.is_empty() {
            return;
        }
        let ids: Vec<TopicPartition> = anew.iter().map(|assigned| assigned.id.clone()).collect();
        tracing::warn!(
            partitions = named(&ids),
            "offsets begin anew: the topic was deleted and made again, or its log was cut off; reading it from its start"
        );
        // Tells which of the two it was.
        self.ids_at = Instant::now();
        self.ask_for_ids();
        self.consumer.context().begin_anew(&self.consumer, &anew);
        // It may be made again once more, at once.
        self.ids_at = Instant::now();
        self.ask_for_ids();
    }

    /// Where the next records of others are gone, reading goes on as the config says.
    fn begin_after_gaps(&self) {
        let partitions = self.membership.consumption.assignments.at_gaps();
        if !partitions.is_empty() {
            self.consumer.context().begin_after_gap(&self.consumer, partitions);
        }
    }

    /// Looks which topics of others are there, and how many partitions they have.
    fn look_for_topics(&mut self) {
        let consumption = Arc::clone(&self.membership.consumption);
        let selection = consumption.assignments.selection();
        if Instant::now() < self.topics_at || !selection.lock().has_others() {
            return;
        }
        let asked = selection.lock().asked();
        let told = match topics::ask(&self.consumer, asked.as_deref(), LOOK_TIMEOUT) {
            Ok(told) => told,
            Err(error) => {
                self.topics_at = Instant::now() + LOOK_INTERVAL;
                return tracing::debug!(%error, "cannot ask which topics are there");
            }
        };
        self.topics_at = Instant::now() + TOPICS_INTERVAL;
        let (has_changed, wanted) = {
            let mut selection = selection.lock();
            (selection.on_topics(&told), selection.wanted())
        };
        consumption.with_group(|group| group.set_wanted(wanted));
        if has_changed {
            let names = selection.lock().known_others();
            tracing::info!(topics = names.join(", "), "these topics of others are read");
            if let Err(error) = self.membership.subscribe(&self.consumer) {
                tracing::error!(%error, "cannot subscribe to topics");
            }
        }
    }

    /// Looks after what the client does not tell by itself.
    fn look(&mut self) {
        let now = Instant::now();
        let consumption = Arc::clone(&self.membership.consumption);
        if consumption.with_group(|group| group.wants_new_client(now)).unwrap_or(false) {
            tracing::warn!("the group's coordinator does not answer, though brokers do; joining with a new client");
            // The next look tries again.
            if let Err(error) = self.join_again() {
                tracing::warn!(%error, "cannot make a new client");
            }
            return;
        }
        if consumption.with_group(|group| group.wants_view(now)).unwrap_or(false) {
            match group_view::ask(self.consumer.client(), &self.membership.settings.group, LOOK_TIMEOUT) {
                Ok(Some(view)) => drop(consumption.with_group(|group| group.on_view(view, Instant::now()))),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "cannot ask who is in the group"),
            }
        }
        self.ask_for_ids();
        self.ask_for_ends();
    }

    /// Asks whether the topics are still those that they were.
    fn ask_for_ids(&mut self) {
        let assignments = &self.membership.consumption.assignments;
        let topics = assignments.topics();
        if topics.is_empty() || Instant::now() < self.ids_at {
            return;
        }
        assignments.before_asking();
        let ids = topic_ids::ask(self.consumer.client(), &topics, LOOK_TIMEOUT);
        self.ids_at = Instant::now() + if ids.is_some() { IDS_INTERVAL } else { IDS_RETRY };
        if let Some(ids) = ids {
            assignments.on_topic_ids(&ids, Instant::now());
        }
    }

    /// Asks where logs end of which nothing is fetched now, some of them at a time.
    fn ask_for_ends(&mut self) {
        let mut partitions =
            self.membership.consumption.assignments.filter(|assigned| assigned.wants_to_ask(Instant::now()));
        partitions.sort_by(|a, b| a.id.cmp(&b.id));
        let num_before = partitions.partition_point(|assigned| Some(&assigned.id) <= self.last_asked.as_ref());
        let num_partitions = partitions.len();
        let deadline = Instant::now() + LOOK_TIMEOUT;
        for assigned in partitions.iter().cycle().skip(num_before).take(num_partitions.min(MAX_ASKED)) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.last_asked = Some(assigned.id.clone());
            let asked = self.consumer.fetch_watermarks(&assigned.id.topic, assigned.id.partition as i32, left);
            let bounds = asked.map(|(low, high)| (u64::try_from(low), u64::try_from(high)));
            match bounds {
                Ok((Ok(low), Ok(high))) => {
                    let now = Instant::now();
                    assigned.is_asking(now);
                    assigned.on_asked(Watermarks { low, high }, now);
                }
                other => tracing::debug!(partition = %assigned.id, ?other, "cannot ask where its log ends"),
            }
        }
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
        let commits = self.membership.consumption.assignments.take_untold();
        if commits.count() > 0
            && let Err(error) = self.consumer.context().commit(&self.consumer, &commits, CommitMode::Async)
        {
            let consumption = &self.membership.consumption;
            consumption.with_group(|group| group.on_commit(Err(error.to_string()), Instant::now()));
            for element in commits.elements() {
                consumption.assignments.on_commit_failed(element.topic(), element.partition());
            }
        }
    }

    /// Tells the last commits and leaves. A static member stays in the group until its session ends: that is what
    /// gives it its partitions back after a restart.
    fn leave(self) {
        self.consumer.context().set_closing();
        let commits = self.membership.consumption.assignments.revoke_all();
        if commits.count() > 0
            && let Err(error) = self.consumer.context().commit(&self.consumer, &commits, CommitMode::Sync)
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
        membership.consumption.end();
        is_subscribed.store(false, Ordering::Release);
    }
}
