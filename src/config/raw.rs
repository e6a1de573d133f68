//! The configuration as it is written: one field per key, and the only place where defaults are.
//!
//! Serde and `Default` share the defaults: a key that is left out takes its value from `Default` of its section.
//! Nothing is checked here; unit, range and harm at each end of every key are told in `config/surgetank.toml`. The
//! sections of the log and the store are in [`super::raw_backends`], the limits in [`super::raw_limits`], the device port is
//! in [`super::raw_devices`], HTTP ingest in [`super::raw_ingest`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::raw_backends::{RawLog, RawStore};
use super::raw_devices::RawDevices;
use super::raw_ingest::RawIngest;
use super::raw_limits::RawLimits;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawConfig {
    pub data_dir: Entry,
    pub credentials: RawCredentials,
    pub devices: RawDevices,
    pub limits: RawLimits,
    pub http: RawHttp,
    pub ingest: RawIngest,
    pub messages: RawMessages,
    pub topics: BTreeMap<String, RawTopic>,
    pub dead_letter: RawDeadLetter,
    pub log: RawLog,
    pub store: RawStore,
    pub decoder: RawDecoder,
    pub producer: RawProducer,
    pub consumer: RawConsumer,
    pub writer: RawWriter,
    pub gate: RawGate,
    pub memory: RawMemory,
    pub threads: RawThreads,
    pub supervision: RawSupervision,
    pub shutdown: RawShutdown,
    pub reload: RawReload,
    pub logging: RawLogging,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            credentials: RawCredentials::default(),
            devices: RawDevices::default(),
            limits: RawLimits::default(),
            http: RawHttp::default(),
            ingest: RawIngest::default(),
            messages: RawMessages::default(),
            topics: BTreeMap::from([("telemetry".to_owned(), RawTopic::default())]),
            dead_letter: RawDeadLetter::default(),
            log: RawLog::default(),
            store: RawStore::default(),
            decoder: RawDecoder::default(),
            producer: RawProducer::default(),
            consumer: RawConsumer::default(),
            writer: RawWriter::default(),
            gate: RawGate::default(),
            memory: RawMemory::default(),
            threads: RawThreads::default(),
            supervision: RawSupervision::default(),
            shutdown: RawShutdown::default(),
            reload: RawReload::default(),
            logging: RawLogging::default(),
        }
    }
}

/// A topic; a file that names topics replaces the default one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawTopic {
    pub partitions: Entry,
    pub types: Entry,
}

impl Default for RawTopic {
    fn default() -> Self {
        Self { partitions: 8.into(), types: ["*"].into() }
    }
}

/// Who may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawCredentials {
    pub file: Entry,
    pub insecure: Entry,
}

impl Default for RawCredentials {
    fn default() -> Self {
        Self { file: "".into(), insecure: false.into() }
    }
}

/// TLS on an HTTP port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawHttpTls {
    pub certificate: Entry,
    pub key: Entry,
}

impl Default for RawHttpTls {
    fn default() -> Self {
        Self { certificate: "".into(), key: "".into() }
    }
}

/// The HTTP side that is looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawHttp {
    pub listen: Entry,
    pub max_connections: Entry,
    pub tls: RawHttpTls,
}

impl Default for RawHttp {
    fn default() -> Self {
        Self { listen: "127.0.0.1:7401".into(), max_connections: 256.into(), tls: RawHttpTls::default() }
    }
}

/// Where the layouts are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawMessages {
    pub directory: Entry,
}

impl Default for RawMessages {
    fn default() -> Self {
        Self { directory: "".into() }
    }
}

/// Where unstorable records go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawDeadLetter {
    pub topic: Entry,
    pub partitions: Entry,
}

impl Default for RawDeadLetter {
    fn default() -> Self {
        Self { topic: "dead-letters".into(), partitions: 1.into() }
    }
}

/// The decoder actors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawDecoder {
    pub actors: Entry,
    pub mailbox_packages: Entry,
}

impl Default for RawDecoder {
    fn default() -> Self {
        Self { actors: 0.into(), mailbox_packages: 256.into() }
    }
}

/// The partition producers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawProducer {
    pub mailbox_batches: Entry,
    pub max_wait: Entry,
}

impl Default for RawProducer {
    fn default() -> Self {
        Self { mailbox_batches: 1024.into(), max_wait: "2 s".into() }
    }
}

/// The partition consumers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawConsumer {
    pub read_records: Entry,
    pub read_bytes: Entry,
    pub max_batches_in_flight: Entry,
    pub large_batches: Entry,
}

impl Default for RawConsumer {
    fn default() -> Self {
        Self {
            read_records: 65_536.into(),
            read_bytes: "8 MiB".into(),
            max_batches_in_flight: 2.into(),
            large_batches: 2.into(),
        }
    }
}

/// The writer actors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawWriter {
    pub actors: Entry,
    pub mailbox_batches: Entry,
    pub retry_min: Entry,
    pub retry_max: Entry,
}

impl Default for RawWriter {
    fn default() -> Self {
        Self { actors: 0.into(), mailbox_batches: 8.into(), retry_min: "50 ms".into(), retry_max: "2 s".into() }
    }
}

/// The limits of the gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawGate {
    pub limiter: Entry,
    pub max_writes: Entry,
    pub max_latency: Entry,
    pub look_again: Entry,
    pub resume_percent: Entry,
    pub stop_reading_above: Entry,
    pub read_again_below: Entry,
    pub pause_after: Entry,
    pub min_dwell: Entry,
    pub fleet: Entry,
}

impl Default for RawGate {
    fn default() -> Self {
        Self {
            limiter: "adaptive".into(),
            max_writes: 0.into(),
            max_latency: "100 ms".into(),
            look_again: "1 s".into(),
            resume_percent: 80.into(),
            stop_reading_above: "1 s".into(),
            read_again_below: "200 ms".into(),
            pause_after: "5 s".into(),
            min_dwell: "1 s".into(),
            fleet: true.into(),
        }
    }
}

/// The budget of memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawMemory {
    pub budget: Entry,
}

impl Default for RawMemory {
    fn default() -> Self {
        Self { budget: "256 MiB".into() }
    }
}

/// Shared threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawThreads {
    pub connections: Entry,
    pub ingest: Entry,
    pub pipeline: Entry,
}

impl Default for RawThreads {
    fn default() -> Self {
        Self { connections: 0.into(), ingest: 0.into(), pipeline: 0.into() }
    }
}

/// Restarts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawSupervision {
    pub backoff_min: Entry,
    pub backoff_max: Entry,
    pub max_restarts: Entry,
    pub restart_period: Entry,
}

impl Default for RawSupervision {
    fn default() -> Self {
        Self {
            backoff_min: "50 ms".into(),
            backoff_max: "5 s".into(),
            max_restarts: 10.into(),
            restart_period: "1 min".into(),
        }
    }
}

/// How the engine stops.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawShutdown {
    pub notice: Entry,
    pub reconnect_spread: Entry,
    pub drain_timeout: Entry,
}

impl Default for RawShutdown {
    fn default() -> Self {
        Self { notice: "1 s".into(), reconnect_spread: "5 s".into(), drain_timeout: "20 s".into() }
    }
}

/// How changed files are noticed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawReload {
    pub look_every: Entry,
}

impl Default for RawReload {
    fn default() -> Self {
        Self { look_every: "2 s".into() }
    }
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLogging {
    pub level: Entry,
    pub format: Entry,
}

impl Default for RawLogging {
    fn default() -> Self {
        Self { level: "warn,surgetank=info".into(), format: "human".into() }
    }
}
