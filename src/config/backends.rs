//! The checked configuration of the log and the store: which backend, and that backend's settings.
//!
//! The file may hold the sections of both backends; only the chosen one becomes a value here, and only its values are
//! checked.

pub use crate::schema::Bucket;
pub use crate::store::cassandra::Consistency;
pub use crate::tls::ServerTrust;

use std::num::{NonZeroU16, NonZeroUsize};
use std::time::Duration;

use super::secret::Secret;

/// The durable log.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// Whether missing topics are created when the engine starts.
    pub apply_on_start: bool,
    /// Which log it is.
    pub kind: LogKind,
}

/// The backends of the log.
#[derive(Debug, Clone, PartialEq)]
pub enum LogKind {
    /// On disk, in the data directory.
    Embedded(EmbeddedLog),
    /// Kafka.
    Kafka(Box<KafkaLog>),
}

/// The log in the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedLog {
    /// How long consumed records are kept.
    pub retention: Duration,
    /// How many bytes of consumed records are kept. At most `disk_budget`.
    pub retention_size: u64,
    /// Most bytes on disk; past it, appends are refused until records have been consumed.
    pub disk_budget: u64,
    /// Bytes of appends that may wait for the next flush. At least `devices.max_package`.
    pub write_buffer: usize,
    /// Bytes of the newest records that are kept in memory for the consumers.
    pub tail_cache: usize,
}

/// Kafka as the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaLog {
    /// `host:port` of the brokers to ask first; never empty.
    pub brokers: Vec<String>,
    /// The consumer group.
    pub group: String,
    /// The static member id (`group.instance.id`): the configured one, else the pod's name. `None`: a new member at
    /// each start.
    pub instance_id: Option<String>,
    /// Replicas of the topics that are created.
    pub replication_factor: NonZeroU16,
    /// Replicas that must confirm an append; at most `replication_factor`.
    pub min_insync_replicas: NonZeroU16,
    /// How long a silent member keeps its partitions.
    pub session_timeout: Duration,
    /// How long an append may take, retries included.
    pub delivery_timeout: Duration,
    /// How long the client waits to fill a batch. Shorter than `delivery_timeout`.
    pub linger: Duration,
    /// Compression of batches.
    pub compression: Compression,
    /// Bytes that may be prefetched for each partition.
    pub fetch_buffer: usize,
    /// The topic that keeps the schemas; different from all other topics.
    pub schema_topic: String,
    /// The topic on which pods share a budget; different from all other topics.
    pub control_topic: String,
    /// TLS to the brokers. `None`: plain TCP.
    pub tls: Option<ServerTrust>,
    /// How to log in. `None`: without a login.
    pub sasl: Option<(SaslMechanism, Login)>,
}

/// How to log in at Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The password as it is.
    Plain,
    /// Proof of the password with SHA-256.
    ScramSha256,
    /// Proof of the password with SHA-512.
    ScramSha512,
}

impl SaslMechanism {
    /// The name that Kafka clients know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// How Kafka batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip: smallest, slowest.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4: fastest.
    Lz4,
}

impl Compression {
    /// The name that Kafka clients know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
        }
    }
}

/// The database.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    /// Whether missing tables and columns are created when the engine starts.
    pub apply_on_start: bool,
    /// How much time of one device makes a database partition.
    pub bucket: Bucket,
    /// How long rows live. `None`: for ever.
    pub ttl: Option<Duration>,
    /// Which store it is.
    pub kind: StoreKind,
}

/// The backends of the store.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreKind {
    /// SQLite in the data directory.
    Embedded(EmbeddedStore),
    /// Cassandra or ScyllaDB.
    Cassandra(Box<CassandraStore>),
}

/// The store in the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedStore {
    /// Most rows in one transaction.
    pub transaction_rows: NonZeroUsize,
    /// Bytes of pages that are kept in memory.
    pub page_cache: usize,
}

/// Cassandra or ScyllaDB as the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CassandraStore {
    /// `host:port` of the nodes to ask first; never empty.
    pub nodes: Vec<String>,
    /// The data centre whose nodes are written to. `None`: those of all.
    pub local_dc: Option<String>,
    /// The rack in it whose nodes are asked first. `None`: all alike; always `None` without a data centre.
    pub rack: Option<String>,
    /// The keyspace; a valid unquoted name.
    pub keyspace: String,
    /// The `replication` map of the keyspace, in CQL; used when the keyspace is created.
    pub replication: String,
    /// Consistency of writes.
    pub consistency: Consistency,
    /// Who logs in. `None`: without a login.
    pub login: Option<Login>,
    /// How long a write may take.
    pub request_timeout: Duration,
    /// Connections to each node (for ScyllaDB the driver takes at least one per shard).
    pub connections_per_node: NonZeroUsize,
    /// Most rows in one batch.
    pub batch_rows: NonZeroUsize,
    /// Most bytes of records in one batch; one row may exceed it alone.
    pub batch_bytes: usize,
    /// TLS to the nodes. `None`: plain TCP.
    pub tls: Option<ServerTrust>,
}

/// A login at a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user, or the role.
    pub username: String,
    /// Its password.
    pub password: Secret,
}
