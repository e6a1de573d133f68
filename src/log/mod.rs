//! The durable log between the edge and the database: one trait, two backends (`kafka`, `embedded`).
//!
//! Only a completed append makes an acknowledgement, and only a commit moves what a restart reads again. Nothing here
//! knows of devices, messages or rows: a record is a key and a value.

mod abandoned;
mod batch;
mod control;
mod cut;
pub mod embedded;
mod headers;
pub mod kafka;
pub mod local;
mod others;
pub mod partitioner;
mod range;
mod record_limit;

use std::error::Error;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

pub use batch::{AppendBatch, Keys, RecordBatch, RecordMeta, RecordRef};
pub use control::Control;
pub use headers::{Headers, write_header};
pub use others::{OnGap, Others, Start, TopicPattern};
pub use range::{RangeEnd, RangeError, RangeReader, RangeStart, Ranges};
pub use record_limit::RecordLimit;

use crate::flow::clock::Reading;
use crate::flow::cluster::LogCluster;
use crate::flow::health::{Condition, Gauge, Part};
use crate::telemetry::now_us;

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: u32,
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// A topic that the log must have, or topics of others that it is to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// The topic's name; where a pattern selects topics of others, the name of its section in the config.
    pub name: Arc<str>,
    /// How many partitions it has. 0 for topics of others: that is for the log's servers to say, at any time.
    pub num_partitions: u32,
    /// How it is read if others fill it: then it is neither created nor appended to. `None`: it is ours.
    pub others: Option<Arc<Others>>,
}

// === impl TopicSpec ===

impl TopicSpec {
    /// A topic of ours.
    pub fn own(name: impl Into<Arc<str>>, num_partitions: u32) -> Self {
        Self { name: name.into(), num_partitions, others: None }
    }

    /// A topic of others, or all that match the pattern.
    pub fn of_others(name: impl Into<Arc<str>>, others: Others) -> Self {
        Self { name: name.into(), num_partitions: 0, others: Some(Arc::new(others)) }
    }

    /// The pattern that selects its topics, if one does.
    pub fn pattern(&self) -> Option<&TopicPattern> {
        self.others.as_ref()?.pattern.as_ref()
    }
}

/// The one of these that a topic belongs to: the one of its name, or else the first whose pattern it matches.
pub fn spec_of<'a>(topics: &'a [TopicSpec], name: &str) -> Option<&'a TopicSpec> {
    let named = topics.iter().find(|spec| spec.pattern().is_none() && *spec.name == *name);
    named.or_else(|| topics.iter().find(|spec| spec.pattern().is_some_and(|pattern| pattern.matches(name))))
}

/// What an error of the log comes from. The log's errors say it in their own text, too.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why an append was not confirmed. Whether the records are in the log is then unknown: the sender sends them again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The log could not be reached or did not confirm in time.
    #[error("log unavailable: {0}")]
    Unavailable(#[source] Arc<dyn Error + Send + Sync>),
    /// The log's disk budget is used up by records that nobody has read yet.
    #[error("log full: {0}")]
    Full(String),
    /// A record is larger than its topic takes. Sent again it is measured where it comes in ([`Log::record_limit`]), which
    /// knows of it now.
    #[error("record larger than the topic takes: {0}")]
    TooLarge(#[source] Arc<dyn Error + Send + Sync>),
    /// The log refuses the record for another reason than its size, such as a setting of the topic.
    #[error("record refused by the log: {0}")]
    Refused(#[source] Arc<dyn Error + Send + Sync>),
    /// The work was dropped before the log answered.
    #[error("append abandoned before the log answered")]
    Abandoned,
}

impl AppendError {
    /// The log could not be reached or did not confirm, for this reason.
    pub fn unavailable(source: impl Into<Cause>) -> Self {
        Self::Unavailable(Arc::from(source.into()))
    }

    /// A record is too large: by how much.
    pub fn too_large(source: impl Into<Cause>) -> Self {
        Self::TooLarge(Arc::from(source.into()))
    }

    /// The log refuses the record, for this reason.
    pub fn refused(source: impl Into<Cause>) -> Self {
        Self::Refused(Arc::from(source.into()))
    }
}

type OnOutcome = Box<dyn FnOnce(Result<(), AppendError>) + Send>;

/// Called exactly once with the outcome of an append; dropping it unused reports [`AppendError::Abandoned`], so that
/// the default outcome is "not delivered".
pub struct Completion(Option<OnOutcome>);

impl Completion {
    /// Wraps what is to be done with the outcome. It runs on the log's own thread: it must be short and never block.
    pub fn new(on_outcome: impl FnOnce(Result<(), AppendError>) + Send + 'static) -> Self {
        Self(Some(Box::new(on_outcome)))
    }

    /// Reports the outcome.
    pub fn complete(mut self, outcome: Result<(), AppendError>) {
        if let Some(on_outcome) = self.0.take() {
            on_outcome(outcome);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(on_outcome) = self.0.take() {
            on_outcome(Err(AppendError::Abandoned));
        }
    }
}

/// How much one read may return.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimit {
    /// At most this many records.
    pub max_records: usize,
    /// At most about this many bytes of keys and values (at least one record is returned).
    pub max_bytes: usize,
}

/// Why a read or a commit failed. Reading again later is always right.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The log could not be reached, or reading from its disk failed.
    #[error("cannot read {partition}: {source}")]
    Unavailable {
        /// Which partition.
        partition: TopicPartition,
        /// What the log said.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The partition is no longer ours.
    #[error("{0} is no longer assigned to this process")]
    Revoked(TopicPartition),
}

impl ReadError {
    /// The log failed, for this reason.
    fn unavailable(partition: &TopicPartition, source: impl Into<Cause>) -> Self {
        Self::Unavailable { partition: partition.clone(), source: Arc::from(source.into()) }
    }
}

/// Reads one assigned partition. Dropping it gives the partition's queue up.
pub trait PartitionReader: Send {
    /// Which partition it reads.
    fn partition(&self) -> &TopicPartition;

    /// Waits until a record is there, then returns everything at hand up to the limit, without waiting for more.
    /// Cancel-safe: dropping the future loses no record.
    fn read(&mut self, limit: ReadLimit) -> BoxFuture<'_, Result<RecordBatch, ReadError>>;

    /// Stops what the log fetches ahead for this partition, until [`resume`](Self::resume). What was fetched and not
    /// read may be fetched again. Nothing to do where nothing is fetched ahead.
    fn pause(&mut self) {}

    /// Takes a [`pause`](Self::pause) back; harmless without one.
    fn resume(&mut self) {}

    /// Goes back to the committed offset (or the start), so that everything not committed is read again.
    fn rewind(&mut self) -> BoxFuture<'_, Result<(), ReadError>>;

    /// The partition's offsets, to commit and to ask about while a read is under way.
    fn offsets(&self) -> Arc<dyn PartitionOffsets>;
}

/// The committed offset of one assigned partition.
pub trait PartitionOffsets: Send + Sync {
    /// Says that everything below `next_offset` is done. Cheap, does not block; the log persists it soon (well within a
    /// second, and always before a revoke or [`Subscription::close`] returns). Losing the newest commits in a crash is
    /// harmless: records are read again. Never goes backwards; ignored once the partition is no longer ours.
    fn commit(&self, next_offset: u64);

    /// How many records lie between the committed offset and the end, as far as is known without asking a server;
    /// `None` while nothing is known.
    fn lag(&self) -> Option<u64>;

    /// Everything below is done, as far as is known; `None` while nothing is known. The log persists it soon, see
    /// [`commit`](Self::commit).
    fn committed(&self) -> Option<u64>;

    /// The offset after the last record, as far as is known without asking a server: there may be more, but not less.
    /// `None` while nothing is known.
    fn end(&self) -> Option<u64>;
}

/// What happens to the set of partitions that this process reads.
pub enum AssignmentEvent {
    /// These partitions are now ours.
    Assigned(Vec<Box<dyn PartitionReader>>),
    /// These partitions are being taken away. Finish what is in flight, commit, drop the readers, then answer `done`;
    /// the log waits for the answer up to its own deadline.
    Revoked {
        /// Which partitions.
        partitions: Vec<TopicPartition>,
        /// Answered (or dropped) when nothing of theirs is in flight any more.
        done: oneshot::Sender<()>,
    },
}

/// A running consumption of topics.
pub trait Subscription: Send + Sync {
    /// Persists all commits and leaves the group so that others take over at once. Call it after all readers are
    /// dropped.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Why the log could not be opened or prepared.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another process has the data directory open.
    #[error(
        "{path} is in use by another process: stop that one first (an engine, most likely); a second engine needs a data_dir of its own"
    )]
    Locked {
        /// The directory.
        path: String,
    },
    /// A topic that is needed does not exist.
    #[error("topic {0} does not exist: run `surgetank apply`, or set log.apply_on_start = true")]
    MissingTopic(String),
    /// A topic exists with another number of partitions.
    #[error(
        "topic {topic} has {actual} partitions but the config says {expected}: change the config (keys would move between partitions)"
    )]
    PartitionCount {
        /// Which topic.
        topic: String,
        /// What the log has.
        actual: u32,
        /// What the config says.
        expected: u32,
    },
    /// A writer schema that its topic does not take.
    #[error(
        "a writer schema of {num_bytes} bytes is larger than topic {topic} takes ({max_bytes}): raise max.message.bytes of \
         that topic, or give the message type fewer fields"
    )]
    SchemaTooLarge {
        /// Where it would go.
        topic: String,
        /// The schema and its key.
        num_bytes: usize,
        /// What one record of the topic may have.
        max_bytes: usize,
    },
    /// Anything else, with what was tried.
    #[error("{context}: {source}")]
    Failed {
        /// What was tried.
        context: String,
        /// What the log said.
        source: Cause,
    },
}

impl LogError {
    /// Something that was tried did not succeed, for this reason.
    pub fn failed(context: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Failed { context: context.into(), source: source.into() }
    }
}

/// A writer schema: its fingerprint and its Avro JSON.
pub type WriterSchema = ([u8; 8], String);

/// The log: appends with durable receipts, consumption with commits, ranges read beside it, and the writer schemas kept
/// beside the records.
pub trait Log: Ranges {
    /// Appends a batch. Never blocks and never waits for a batch to fill; batches of one partition are stored in call
    /// order. `done` gets `Ok` only when every record is durable (Kafka: acks=all; embedded: flushed to disk). The
    /// caller bounds what is in flight.
    fn append(&self, to: &TopicPartition, batch: AppendBatch, done: Completion);

    /// What a record of this topic may have, as far as is known without asking anybody. The limit follows the topic's.
    fn record_limit(&self, topic: &Arc<str>) -> RecordLimit;

    /// Starts consuming; a log that no others fill is given no topics of others. Events arrive on the returned channel in order; there is one subscription per log.
    fn subscribe(
        &self,
        topics: &[TopicSpec],
    ) -> Result<(Box<dyn Subscription>, mpsc::UnboundedReceiver<AssignmentEvent>), LogError>;

    /// Creates what is missing among the topics of ours (and the log's own schema topic), checks partition counts, and says
    /// what it did, one line per change; nothing to do gives an empty list.
    fn apply(&self, topics: &[TopicSpec]) -> BoxFuture<'_, Result<Vec<String>, LogError>>;

    /// Like [`Log::apply`], but only checks: the first missing or different topic is the error.
    fn check(&self, topics: &[TopicSpec]) -> BoxFuture<'_, Result<(), LogError>>;

    /// Keeps a writer schema (Avro JSON) under its fingerprint, durably. Doing so again changes nothing.
    fn put_schema(&self, fingerprint: [u8; 8], schema_json: String) -> BoxFuture<'_, Result<(), LogError>>;

    /// All writer schemas ever kept, in the order they were first put.
    fn schemas(&self) -> BoxFuture<'_, Result<Vec<WriterSchema>, LogError>>;

    /// `Ok` while the log can take appends; otherwise why not. Answers from what is known, within milliseconds.
    fn health(&self) -> Result<(), String>;

    /// Everything that is wrong with the log and with what is consumed from it, as far as is known: answers within
    /// microseconds.
    fn conditions(&self) -> Vec<Condition> {
        unavailable(self.health())
    }

    /// How many acknowledged records, and records of topics of others, were removed from the log before they were read, as far
    /// as this process saw, since it began. Always 0 for a log that never removes what is not read.
    fn lost_records(&self) -> u64 {
        0
    }

    /// Whether it is right that this process reads no partition: others have them all.
    fn is_spare(&self) -> bool {
        false
    }

    /// Asks the log's servers for everything that may keep acknowledged records from being read back: settings of topics,
    /// replicas, what is missing. An error if they cannot be asked.
    fn inspect(&self, _topics: &[TopicSpec]) -> BoxFuture<'_, Result<Vec<Condition>, LogError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// The time by which records are stamped, in milliseconds since the Unix epoch: this machine's, unless the log has one of
    /// its own.
    fn now_ms(&self) -> u64 {
        now_us() / 1000
    }

    /// Asks the log's servers how they are, for what operators see; these are the engine's own topics. `None` if the log has
    /// no servers, an error if they cannot be asked. Takes seconds while they are silent.
    fn cluster(&self, _topics: &[TopicSpec]) -> BoxFuture<'_, Result<Option<LogCluster>, LogError>> {
        Box::pin(async { Ok(None) })
    }

    /// What the clock of the log's servers said last, as far as is known without asking them: another machine's word for
    /// what time it is.
    fn clock(&self) -> Option<Reading> {
        None
    }

    /// When the newest record that earlier runs have left was written, by the clock of that time, in milliseconds since the
    /// Unix epoch.
    fn newest_written_ms(&self) -> Option<u64> {
        None
    }

    /// How many records this process has removed from the log because they were old, or too many.
    fn num_removed(&self) -> u64 {
        0
    }

    /// Bytes of records that the log itself keeps in memory at present, about: queues of its client, buffers on the way
    /// to disk. What is known without asking anybody.
    fn buffered_bytes(&self) -> u64;

    /// Numbers about the log for `/histograms`, from memory.
    fn gauges(&self) -> Vec<Gauge> {
        Vec::new()
    }

    /// Why this process can never append again, if that is so: a flush failed, or the client gave up for good. Only a
    /// new start finds out what is durable, so the engine ends then.
    fn broken(&self) -> Option<String>;

    /// Joins the channel on which the processes that share this log agree, under this name. `None` if nobody shares it.
    fn control(&self, _pod: &str) -> Result<Option<Box<dyn Control>>, LogError> {
        Ok(None)
    }

    /// Flushes and stops the log's threads; appends after this fail.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A log that can take no appends, as a condition.
fn unavailable(health: Result<(), String>) -> Vec<Condition> {
    let condition = |reason| Condition::failing(Part::Log, "log_unavailable", "", reason).refusing_intake();
    health.err().map(condition).into_iter().collect()
}
