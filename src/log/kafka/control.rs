//! The control channel on Kafka: a small topic of one partition, so that all pods hear the same in the same order.
//!
//! Three clients, none of which the data path uses: a producer, a reader that belongs to no group and begins at the end,
//! and a member of a group of its own. Whoever is given the topic's first partition there has the office of the leader.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientContext, Message, Offset, Timestamp, TopicPartitionList};
use tokio::sync::{mpsc, watch};

use super::bootstrap::{Bootstrap, Bootstrapped, serve_producer};
use super::brokers::{Brokers, Statistics, is_of_a_connection};
use super::failed;
use super::settings::KafkaLogSettings;
use crate::flow::clock::Reading;
use crate::log::{Control, LogError};

/// How long one poll waits: also how soon a thread sees that it should stop.
const POLL: Duration = Duration::from_millis(50);
/// Words that were read and not yet taken. Past it the newest are lost, which only costs the next half second.
const MAX_UNHEARD: usize = 1024;
/// Longer ones are not ours.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// How long the last word may take, and leaving the group.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);

/// A place on the control channel; dropping it gives it up without waiting.
pub(super) struct KafkaControl {
    topic: String,
    key: Vec<u8>,
    producer: Arc<BaseProducer<ControlContext>>,
    messages: mpsc::Receiver<Bytes>,
    is_leader: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    /// Closed when the threads have ended.
    ended: watch::Receiver<()>,
}

/// What the broker's clock said last; `None` until it is heard. The broker stamps what is said on a channel whose topic has
/// `LogAppendTime`, as those have that [`super::admin`] creates.
pub(super) type BrokerClock = Arc<Mutex<Option<Reading>>>;

/// The callbacks of all three clients.
struct ControlContext {
    brokers: Arc<Brokers>,
    bootstrap: Bootstrap,
    is_leader: Arc<AtomicBool>,
}

// === impl KafkaControl ===

impl KafkaControl {
    /// Joins the channel of the pods of one group. Connects in its own time.
    pub(super) fn join(
        settings: &KafkaLogSettings,
        pod: &str,
        clock: BrokerClock,
        brokers: &Arc<Brokers>,
    ) -> Result<Self, LogError> {
        let what = "joining the control channel";
        let topic = settings.control_topic.clone();
        let is_leader = Arc::new(AtomicBool::new(false));
        let context = || ControlContext {
            brokers: Arc::clone(brokers),
            bootstrap: Bootstrap::new(settings),
            is_leader: Arc::clone(&is_leader),
        };
        let failed = |error: KafkaError| failed(what, error);

        let producer =
            BaseProducer::from_config_and_context(&settings.control_producer(), context()).map_err(failed)?;
        let producer = Arc::new(producer);
        let reader: BaseConsumer<ControlContext> =
            BaseConsumer::from_config_and_context(&settings.control_reader(), context()).map_err(failed)?;
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(&topic, 0, Offset::End).map_err(failed)?;
        reader.assign(&assignment).map_err(failed)?;
        let member: BaseConsumer<ControlContext> =
            BaseConsumer::from_config_and_context(&settings.control_member(), context()).map_err(failed)?;
        member.subscribe(&[&topic]).map_err(failed)?;

        let stop = Arc::new(AtomicBool::new(false));
        let (ended_sender, ended) = watch::channel(());
        let (sender, messages) = mpsc::channel(MAX_UNHEARD);
        let group = group_key(&settings.group);
        let mut key = group.clone();
        key.extend_from_slice(pod.as_bytes());

        serve_producer("kafka-control-out", &producer).map_err(thread_failed)?;
        let (stopped, guard) = (Arc::clone(&stop), ended_sender.clone());
        spawn("kafka-control-in", move || {
            read(&reader, &stopped, &group, &sender, &clock);
            drop((reader, guard));
        })?;
        let stopped = Arc::clone(&stop);
        spawn("kafka-control-lead", move || {
            hold_office(&member, &stopped);
            drop((member, ended_sender));
        })?;
        Ok(Self { topic, key, producer, messages, is_leader, stop, ended })
    }
}

impl Control for KafkaControl {
    fn publish(&self, message: Bytes) {
        let record = BaseRecord::to(&self.topic).partition(0).key(&self.key).payload(&*message);
        if let Err((error, _)) = self.producer.send(record) {
            tracing::debug!(%error, "cannot speak on the control channel");
        }
    }

    fn receive(&mut self) -> BoxFuture<'_, Bytes> {
        async {
            match self.messages.recv().await {
                Some(message) => message,
                None => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn is_leader(&self) -> bool {
        self.is_leader.load(Ordering::Acquire)
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        let (producer, mut ended) = (Arc::clone(&self.producer), self.ended.clone());
        async move {
            let flushing = tokio::task::spawn_blocking(move || producer.flush(CLOSE_DEADLINE));
            if !matches!(flushing.await, Ok(Ok(()))) {
                tracing::debug!("the last word on the control channel was not heard");
            }
            self.stop.store(true, Ordering::Release);
            // Nobody sends: the channel only closes.
            if tokio::time::timeout(CLOSE_DEADLINE, ended.changed()).await.is_err() {
                tracing::warn!("leaving the control channel takes too long; the group will notice by itself");
            }
        }
        .boxed()
    }
}

impl Drop for KafkaControl {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), LogError> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(drop).map_err(thread_failed)
}

fn thread_failed(error: std::io::Error) -> LogError {
    failed("starting a thread of the control channel", error)
}

/// Installations that share a topic by mistake must not share a budget: the key begins with the group.
fn group_key(group: &str) -> Vec<u8> {
    [group.as_bytes(), b"\0"].concat()
}

fn read(
    reader: &BaseConsumer<ControlContext>,
    stop: &AtomicBool,
    group: &[u8],
    to: &mpsc::Sender<Bytes>,
    clock: &Mutex<Option<Reading>>,
) {
    let mut newest = None;
    while !stop.load(Ordering::Acquire) {
        match reader.poll(POLL) {
            Some(Ok(message)) => {
                if let Timestamp::LogAppendTime(unix_ms) = message.timestamp() {
                    newest = u64::try_from(unix_ms).ok().map(|unix_ms| Reading { unix_ms, at: Instant::now() });
                }
                let payload = message.payload().unwrap_or_default();
                let is_ours = message.key().is_some_and(|key| key.starts_with(group));
                if is_ours && payload.len() <= MAX_MESSAGE_BYTES {
                    // If there is no room, or nobody is left, the next word does as well.
                    let _ = to.try_send(Bytes::copy_from_slice(payload));
                }
            }
            Some(Err(error)) => tracing::debug!(%error, "reading the control channel"),
            // Nothing more is at hand, so the newest has just been said: behind an outage old ones come first.
            None => {
                if let Some(reading) = newest.take() {
                    *clock.lock() = Some(reading);
                }
            }
        }
        reader.context().bootstrap.mend(reader.client());
    }
}

/// Whether the partition is among these that the office hangs on. A topic that somebody has given more of them must not
/// have as many leaders.
fn is_office(partitions: &TopicPartitionList) -> bool {
    partitions.elements().iter().any(|element| element.partition() == 0)
}

fn hold_office(member: &BaseConsumer<ControlContext>, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        // The partition is paused once it is ours: it is the office that counts, the reader has the records.
        if let Some(Err(error)) = member.poll(POLL) {
            tracing::debug!(%error, "being a member of the control group");
        }
        member.context().bootstrap.mend(member.client());
    }
    member.context().is_leader.store(false, Ordering::Release);
}

// === impl ControlContext ===

impl ClientContext for ControlContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.brokers.own_log.line(level, facility, line);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if let Some(statistics) = Statistics::parse(statistics) {
            self.bootstrap.on_statistics(&statistics);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if !is_of_a_connection(&error) {
            self.brokers.own_log.error("control channel", &error, reason);
        }
    }
}

impl Bootstrapped for ControlContext {
    fn bootstrap(&self) -> &Bootstrap {
        &self.bootstrap
    }
}

impl ProducerContext for ControlContext {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            tracing::debug!(%error, "a word on the control channel was not heard");
        }
    }
}

impl ConsumerContext for ControlContext {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(partitions) if is_office(partitions) => self.is_leader.store(false, Ordering::Release),
            Rebalance::Error(error) => {
                self.is_leader.store(false, Ordering::Release);
                tracing::debug!(%error, "control group rebalance failed");
            }
            _ => {}
        }
    }

    fn post_rebalance(&self, member: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(partitions) = rebalance else { return };
        if partitions.count() > 0
            && let Err(error) = member.pause(partitions)
        {
            tracing::debug!(%error, "the control group's member reads what it does not need");
        }
        if is_office(partitions) {
            self.is_leader.store(true, Ordering::Release);
        }
    }
}
