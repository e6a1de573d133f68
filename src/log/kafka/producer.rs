//! Appending to Kafka: batches go to the producer whose batches their topic takes.
//!
//! How large a batch becomes is a setting of librdkafka's whole client, so topics with different limits have producers of
//! their own, those with the same one share it. Nearly always all have Kafka's default and there is one producer. What a
//! topic takes is asked from time to time, and at once when a batch was too large ([`super::regroup`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::brokers::Brokers;
use super::client::Client;
use super::describe::{TopicConfig, topic_configs};
use super::lane::{Lane, Pending};
use super::limits::{Sizes, TopicLimit, batch_bytes_of};
use super::regroup::Regrouper;
use super::settings::KafkaLogSettings;
use crate::flow::health::Condition;
use crate::log::{AppendBatch, AppendError, Completion, LogError, RecordLimit, TopicPartition};

/// How often closing looks whether all is confirmed.
const CLOSE_PAUSE: Duration = Duration::from_millis(10);

/// Appends batches and reports each exactly once.
pub(super) struct BatchProducer {
    producers: Arc<Producers>,
    is_closed: AtomicBool,
}

/// All producers, and which topic goes to which.
pub(super) struct Producers {
    settings: KafkaLogSettings,
    brokers: Arc<Brokers>,
    regrouper: Arc<Regrouper>,
    lanes: RwLock<HashMap<Arc<str>, Arc<Lane>>>,
    /// By what their topics take. There is always one: it tells whether Kafka can be reached.
    clients: Mutex<BTreeMap<Sizes, Arc<Client>>>,
}

// === impl BatchProducer ===

impl BatchProducer {
    /// Starts the producer for topics with Kafka's default limit. It connects in its own time.
    pub(super) fn start(settings: &KafkaLogSettings, brokers: Arc<Brokers>) -> Result<Self, LogError> {
        let producers = Arc::new_cyclic(|own| Producers {
            settings: settings.clone(),
            brokers,
            regrouper: Arc::new(Regrouper::new(own.clone())),
            lanes: RwLock::default(),
            clients: Mutex::default(),
        });
        producers.client_for(TopicLimit::default().sizes())?;
        Ok(Self { producers, is_closed: AtomicBool::new(false) })
    }

    /// Hands a batch over, in order, without waiting for anything.
    pub(super) fn append(&self, to: &TopicPartition, batch: AppendBatch, done: Completion) {
        if self.is_closed.load(Ordering::Acquire) {
            return done.complete(Err(AppendError::unavailable("the log is closed")));
        }
        if batch.num_records() == 0 {
            return done.complete(Ok(()));
        }
        match self.producers.lane(&to.topic) {
            Ok(lane) => lane.append(Pending { partition: to.partition, batch, done }),
            Err(error) => done.complete(Err(AppendError::unavailable(error))),
        }
    }

    /// What a record of this topic may have.
    pub(super) fn record_limit(&self, topic: &Arc<str>) -> RecordLimit {
        let unknown = || RecordLimit::new(TopicLimit::default().record_bytes());
        self.producers.lane(topic).map_or_else(|_| unknown(), |lane| lane.record_limit().clone())
    }

    /// Takes in the settings of topics, as the brokers have them now.
    pub(super) fn learn(&self, configs: &HashMap<String, TopicConfig>) -> Result<(), LogError> {
        self.producers.take_in(configs)
    }

    /// Why a client has given up for good, if one has.
    pub(super) fn broken(&self) -> Option<String> {
        self.producers.clients.lock().values().find_map(|client| client.broken())
    }

    /// `Ok` while appends can be expected to be confirmed.
    pub(super) fn check(&self) -> Result<(), String> {
        self.broken().map_or_else(|| self.producers.brokers.check(), Err)
    }

    /// What is wrong with single topics.
    pub(super) fn conditions(&self) -> Vec<Condition> {
        self.producers.lanes.read().values().flat_map(|lane| lane.conditions()).collect()
    }

    /// Takes no more appends and waits until those on their way are confirmed or given up. Blocks.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        let deadline = Instant::now() + self.producers.settings.delivery_timeout;
        // What waits for another producer, or is regrouped, is sent on meanwhile.
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let clients: Vec<_> = self.producers.clients.lock().values().cloned().collect();
            clients.iter().for_each(|client| client.flush(left));
            if self.producers.is_idle() || left.is_zero() {
                return;
            }
            std::thread::sleep(CLOSE_PAUSE);
        }
    }
}

// === impl Producers ===

impl Producers {
    fn lane(&self, topic: &Arc<str>) -> Result<Arc<Lane>, LogError> {
        if let Some(lane) = self.lanes.read().get(topic) {
            return Ok(Arc::clone(lane));
        }
        let client = self.client_for(TopicLimit::default().sizes())?;
        let new = || Arc::new(Lane::new(Arc::clone(topic), client, Arc::clone(&self.brokers.acked)));
        Ok(Arc::clone(self.lanes.write().entry(Arc::clone(topic)).or_insert_with(new)))
    }

    /// The producer for topics that take this much.
    fn client_for(&self, sizes: Sizes) -> Result<Arc<Client>, LogError> {
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(&sizes) {
            return Ok(Arc::clone(client));
        }
        let regrouper = Arc::downgrade(&self.regrouper);
        let client = Arc::new(Client::start(&self.settings, sizes, &self.brokers, regrouper)?);
        clients.insert(sizes, Arc::clone(&client));
        Ok(client)
    }

    /// Asks the brokers what these topics take. Blocks, up to ten seconds.
    pub(super) fn ask(&self, topics: &[Arc<str>]) -> Result<(), LogError> {
        // Of one installation: tests of others run in the same process.
        fail::fail_point!("kafka_limits", |group| {
            if group.as_deref() == Some(self.settings.group.as_str()) {
                return Err(super::failed("asking what topics take", "fail point"));
            }
            self.ask_brokers(topics)
        });
        self.ask_brokers(topics)
    }

    fn ask_brokers(&self, topics: &[Arc<str>]) -> Result<(), LogError> {
        let context = "asking what topics take";
        let runtime =
            tokio::runtime::Builder::new_current_thread().build().map_err(|error| super::failed(context, error))?;
        let names: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
        self.take_in(&runtime.block_on(topic_configs(&self.settings, &names))?)
    }

    fn take_in(&self, configs: &HashMap<String, TopicConfig>) -> Result<(), LogError> {
        let now = Instant::now();
        // What is said on the control channel has a producer of its own.
        for (name, config) in configs.iter().filter(|(name, _)| **name != self.settings.control_topic) {
            if let Some(max_bytes) = batch_bytes_of(config) {
                let lane = self.lane(&name.as_str().into())?;
                self.learn(&lane, |limit| limit.describe(max_bytes, now))?;
            }
        }
        let untold: Vec<_> =
            self.lanes.read().values().filter(|lane| !configs.contains_key(&**lane.topic())).cloned().collect();
        for lane in untold {
            self.learn(&lane, |limit| limit.forget(now))?;
        }
        self.retire();
        Ok(())
    }

    /// Takes in something about what a topic takes.
    pub(super) fn learn<T>(&self, lane: &Lane, learn: impl FnOnce(&mut TopicLimit) -> T) -> Result<T, LogError> {
        lane.learn(learn, |sizes| self.client_for(sizes))
    }

    /// Ends producers that no topic needs any more, but never the last one.
    pub(super) fn retire(&self) {
        let mut clients = self.clients.lock();
        // Lanes hold theirs.
        let (used, unused) = std::mem::take(&mut *clients)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, client)| Arc::strong_count(client) > 1);
        if used.is_empty() {
            *clients = unused;
        } else {
            *clients = used;
            // Dropped behind the lock: a client may take a moment to end.
            drop(clients);
            drop(unused);
        }
    }

    fn is_idle(&self) -> bool {
        self.regrouper.is_idle() && self.lanes.read().values().all(|lane| lane.is_idle())
    }
}
