//! The log on Kafka: appends by idempotent producers, one for each size of batch that topics take ([`producer`]), consumption as a static member of a group with
//! one queue per partition ([`subscription`], [`group`], [`reader`]), and the control channel of its pods ([`control`]).
//! What may keep records from being read back is looked for in the topics' settings ([`inspect`]).
//!
//! librdkafka calls back inside its poll calls, so each client has a thread of its own here and never borrows one of
//! the runtime's. Nothing outside of this folder sees a Kafka type.

mod acked;
mod admin;
mod assigned;
mod assignment;
mod bootstrap;
mod brokers;
mod client;
mod cluster;
mod consumption;
mod control;
mod describe;
mod group;
mod group_health;
mod group_view;
mod handover;
mod inspect;
mod lane;
mod limits;
mod losses;
mod named;
mod own_log;
mod ownership;
mod producer;
mod progress;
mod quiet;
mod range_reader;
mod ranges;
mod reader;
mod regroup;
mod selection;
mod settings;
mod subscription;
mod taken;
mod topic_ids;
mod topics;
mod watermarks;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::Message;
use tokio::sync::{mpsc, oneshot};

use self::brokers::Brokers;
use self::cluster::ClusterAsker;
use self::consumption::Consumption;
use self::control::{BrokerClock, KafkaControl};
use self::inspect::Inspector;
use self::producer::BatchProducer;
use self::range_reader::KafkaRange;
pub use self::settings::{KafkaLogSettings, KafkaLogin};
use self::subscription::KafkaSubscription;
use super::{
    AppendBatch, AppendError, AssignmentEvent, Cause, Completion, Control, Keys, Log, LogError, RangeEnd, RangeError,
    RangeReader, RangeStart, Ranges, ReadLimit, RecordLimit, Subscription, TopicPartition, TopicSpec, WriterSchema,
    unavailable,
};
use crate::flow::clock::Reading;
use crate::flow::cluster::LogCluster;
use crate::flow::health::Condition;

/// How much of the writer schemas is read at once.
const SCHEMAS_READ: ReadLimit = ReadLimit { max_records: 256, max_bytes: 1 << 20 };

/// The log on a Kafka cluster.
pub struct KafkaLog {
    settings: KafkaLogSettings,
    brokers: Arc<Brokers>,
    producer: Arc<BatchProducer>,
    inspector: Arc<Inspector>,
    consumption: Arc<Consumption>,
    is_subscribed: Arc<AtomicBool>,
    clock: BrokerClock,
    cluster: ClusterAsker,
}

// === impl KafkaLog ===

impl KafkaLog {
    /// Starts the producer. It connects in its own time: a cluster that cannot be reached shows in [`Log::health`] and
    /// in the errors of [`Log::apply`] and [`Log::check`], not here.
    pub fn open(settings: KafkaLogSettings) -> Result<Self, LogError> {
        let brokers = Arc::new(Brokers::default());
        let producer = Arc::new(BatchProducer::start(&settings, brokers.clone())?);
        let consumption = Arc::new(Consumption::new(Arc::clone(&brokers.acked)));
        let known = (Arc::clone(&brokers), Arc::clone(&consumption));
        let inspector = Arc::new(Inspector::new(settings.clone(), known));
        let is_subscribed = Arc::new(AtomicBool::new(false));
        let (clock, cluster) = (BrokerClock::default(), ClusterAsker::default());
        Ok(Self { settings, brokers, producer, inspector, consumption, is_subscribed, clock, cluster })
    }

    /// Asks the brokers what these topics take.
    async fn learn(&self, topics: &[&str]) -> Result<(), LogError> {
        self.producer.learn(&describe::topic_configs(&self.settings, topics).await?)
    }

    fn schema_topic(&self) -> TopicSpec {
        TopicSpec::own(self.settings.schema_topic.as_str(), 1)
    }
}

impl Log for KafkaLog {
    fn append(&self, to: &TopicPartition, batch: AppendBatch, done: Completion) {
        self.producer.append(to, batch, done);
    }

    fn record_limit(&self, topic: &Arc<str>) -> RecordLimit {
        self.producer.record_limit(topic)
    }

    fn subscribe(
        &self,
        topics: &[TopicSpec],
    ) -> Result<(Box<dyn Subscription>, mpsc::UnboundedReceiver<AssignmentEvent>), LogError> {
        if self.is_subscribed.swap(true, Ordering::AcqRel) {
            return Err(failed("subscribing", "there is a subscription already"));
        }
        let known = (Arc::clone(&self.brokers), Arc::clone(&self.consumption));
        let started = KafkaSubscription::start(&self.settings, topics, known, self.is_subscribed.clone());
        match started {
            Ok((subscription, events)) => {
                self.inspector.note_subscribed(topics);
                Ok((Box::new(subscription), events))
            }
            Err(error) => {
                self.is_subscribed.store(false, Ordering::Release);
                Err(error)
            }
        }
    }

    fn apply(&self, topics: &[TopicSpec]) -> BoxFuture<'_, Result<Vec<String>, LogError>> {
        let asking = admin::apply(self.settings.clone(), topics.to_vec());
        async move { asking.await.inspect(|_| self.brokers.on_up()) }.boxed()
    }

    fn check(&self, topics: &[TopicSpec]) -> BoxFuture<'_, Result<(), LogError>> {
        let asking = admin::check(self.settings.clone(), topics.to_vec());
        // The producer tells of its connections once a second; until then nobody has to be told that Kafka is away.
        async move { asking.await.inspect(|()| self.brokers.on_up()) }.boxed()
    }

    fn put_schema(&self, fingerprint: [u8; 8], schema_json: String) -> BoxFuture<'_, Result<(), LogError>> {
        async move {
            // Compaction keeps the newest record of a key: writing a schema again would change the order.
            if self.schemas().await?.iter().any(|(known, _)| *known == fingerprint) {
                return Ok(());
            }
            let context = "keeping a writer schema";
            let topic = self.schema_topic().name;
            self.learn(&[&topic]).await?;
            let max_bytes = self.producer.record_limit(&topic).max_bytes();
            let num_bytes = hex(fingerprint).len() + schema_json.len();
            if num_bytes > max_bytes {
                return Err(LogError::SchemaTooLarge { topic: topic.to_string(), num_bytes, max_bytes });
            }
            let batch = AppendBatch {
                keys: Keys::Same(hex(fingerprint).into()),
                ends: vec![schema_json.len() as u32],
                values: schema_json.into(),
                trace: None,
            };
            let (answer, confirmed) = oneshot::channel();
            // If the caller has gone, there is nobody to tell.
            let done = Completion::new(move |outcome| drop(answer.send(outcome)));
            let to = TopicPartition { topic, partition: 0 };
            self.append(&to, batch, done);
            let outcome = confirmed.await.unwrap_or(Err(AppendError::Abandoned));
            outcome.map_err(|error| failed(context, error))
        }
        .boxed()
    }

    fn schemas(&self) -> BoxFuture<'_, Result<Vec<WriterSchema>, LogError>> {
        let id = TopicPartition { topic: self.schema_topic().name, partition: 0 };
        async move {
            let context = "reading the writer schemas";
            let opened = self.read_range(&id, RangeStart::Earliest, RangeEnd::Now).await;
            let mut range = opened.map_err(|error| failed(context, error))?;
            let mut schemas: Vec<WriterSchema> = Vec::new();
            while let Some(batch) = range.read(SCHEMAS_READ).await.map_err(|error| failed(context, error))? {
                for record in &batch.records {
                    // Somebody else's record, under a key that is no fingerprint.
                    let Some(fingerprint) = unhex(record.key(&batch.data)) else { continue };
                    if schemas.iter().all(|(known, _)| *known != fingerprint) {
                        let text = String::from_utf8_lossy(record.value(&batch.data));
                        schemas.push((fingerprint, text.into_owned()));
                    }
                }
            }
            Ok(schemas)
        }
        .boxed()
    }

    fn health(&self) -> Result<(), String> {
        self.producer.check()
    }

    fn inspect(&self, topics: &[TopicSpec]) -> BoxFuture<'_, Result<Vec<Condition>, LogError>> {
        let topics = admin::with_own_topics(&self.settings, topics.to_vec());
        async move {
            let known = self.consumption.assignments.selection().lock().known_others();
            let named = topics.iter().filter(|topic| topic.pattern().is_none()).map(|topic| &topic.name);
            let mut names: Vec<&str> = named.chain(&known).map(|name| &**name).collect();
            names.sort_unstable();
            names.dedup();
            let configs = describe::topic_configs(&self.settings, &names).await?;
            let is_own = |name: &String| topics.iter().any(|topic| topic.others.is_none() && *topic.name == **name);
            let own = configs.iter().filter(|(name, _)| is_own(name));
            self.producer.learn(&own.map(|(name, config)| (name.clone(), config.clone())).collect())?;
            Arc::clone(&self.inspector).inspect(topics, configs).await
        }
        .boxed()
    }

    fn cluster(&self, topics: &[TopicSpec]) -> BoxFuture<'_, Result<Option<LogCluster>, LogError>> {
        let topics = admin::own_topics(&self.settings, topics.to_vec());
        async move { self.cluster.ask(&self.settings, &topics).await.map(Some) }.boxed()
    }

    fn conditions(&self) -> Vec<Condition> {
        let mut conditions = unavailable(self.health());
        conditions.extend(self.producer.conditions());
        conditions.extend(self.consumption.conditions(Instant::now()));
        conditions
    }

    fn lost_records(&self) -> u64 {
        self.consumption.assignments.losses().lock().count()
    }

    fn is_spare(&self) -> bool {
        self.consumption.is_spare()
    }

    fn buffered_bytes(&self) -> u64 {
        self.brokers.buffered_bytes()
    }

    fn broken(&self) -> Option<String> {
        self.producer.broken().or_else(|| self.brokers.broken())
    }

    fn clock(&self) -> Option<Reading> {
        *self.clock.lock()
    }

    fn control(&self, pod: &str) -> Result<Option<Box<dyn Control>>, LogError> {
        if self.settings.control_topic.is_empty() {
            return Ok(None);
        }
        let clock = Arc::clone(&self.clock);
        Ok(Some(Box::new(KafkaControl::join(&self.settings, pod, clock, &self.brokers)?)))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let producer = self.producer.clone();
        // A panic in there has already been reported; closing has nothing to add.
        tokio::task::spawn_blocking(move || producer.close()).map(|_| ()).boxed()
    }
}

impl Ranges for KafkaLog {
    fn read_range(
        &self,
        partition: &TopicPartition,
        from: RangeStart,
        to: RangeEnd,
    ) -> BoxFuture<'_, Result<Box<dyn RangeReader>, RangeError>> {
        let (settings, id) = (self.settings.clone(), partition.clone());
        async move {
            let opened_id = id.clone();
            let opening = tokio::task::spawn_blocking(move || KafkaRange::open(&settings, opened_id, from, to));
            let opened = opening.await.map_err(|error| RangeError::unavailable(&id, error))?;
            Ok(Box::new(opened?) as Box<dyn RangeReader>)
        }
        .boxed()
    }
}

/// Says what was tried.
fn failed(context: &str, source: impl Into<Cause>) -> LogError {
    LogError::failed(context, source)
}

fn hex(fingerprint: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(fingerprint))
}

fn unhex(key: &[u8]) -> Option<[u8; 8]> {
    let text = std::str::from_utf8(key).ok().filter(|text| text.len() == 16)?;
    u64::from_str_radix(text, 16).ok().map(u64::to_be_bytes)
}

/// When a record was written, by the producer or the broker as the topic has it, in milliseconds since the Unix epoch.
fn written_ms(message: &impl Message) -> Option<u64> {
    message.timestamp().to_millis().and_then(|ms| u64::try_from(ms).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_fingerprint_reads_back_from_its_key() {
        let fingerprint = [0, 1, 2, 0xab, 0xff, 5, 6, 7];
        assert_eq!(hex(fingerprint), "000102abff050607");
        assert_eq!(unhex(hex(fingerprint).as_bytes()), Some(fingerprint));
        assert_eq!(unhex(b"not a fingerprint"), None);
    }
}
