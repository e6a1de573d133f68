//! The checked configuration: what the rest of the engine is built from.
//!
//! A value of these types has passed every rule, so nothing re-checks it. The fields mirror `config/surgetank.toml`
//! one to one; the meaning, range and harm at each end of every key are told there. The backends of the log and the store
//! are in [`super::backends`], HTTP ingest is in [`super::ingest`].

pub use crate::telemetry::logging::LoggingFormat;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use super::backends::{Log, Store};
use super::ingest::Ingest;
use super::limits::Limits;
pub use crate::tls::ServerTlsFiles;

/// The whole configuration. [`Config::default`] is what the shipped file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where the embedded log and the embedded store keep their files.
    pub data_dir: PathBuf,
    /// Who may send.
    pub credentials: Credentials,
    /// The TCP side: device connections and their limits.
    pub devices: Devices,
    /// What one device and one address may ask for.
    pub limits: Limits,
    /// The HTTP side that is looked at.
    pub http: Http,
    /// The HTTP side that takes events in.
    pub ingest: Ingest,
    /// Where the message layouts are.
    pub messages: Messages,
    /// The topics and the message types that go into each; never empty, names are unique.
    pub topics: Vec<Topic>,
    /// Where records go that cannot be stored.
    pub dead_letter: DeadLetter,
    /// The durable log.
    pub log: Log,
    /// The database.
    pub store: Store,
    /// The decoder actors.
    pub decoder: Decoder,
    /// The partition producers.
    pub producer: Producer,
    /// The partition consumers.
    pub consumer: Consumer,
    /// The writer actors.
    pub writer: Writer,
    /// The limits within which the gate decides.
    pub gate: Gate,
    /// How much may wait in memory.
    pub memory: Memory,
    /// Threads that actors share.
    pub threads: Threads,
    /// How often and how fast failed actors are restarted.
    pub supervision: Supervision,
    /// How the engine stops.
    pub shutdown: Shutdown,
    /// How changed files are noticed.
    pub reload: Reload,
    /// What is logged, and in which form.
    pub logging: Logging,
}

/// Who may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The file of tokens. `None`: devices and HTTP clients need none.
    pub file: Option<PathBuf>,
    /// Whether an address that others can reach may be bound without a file of tokens.
    pub insecure: bool,
}

/// Limits of device connections.
#[derive(Debug, Clone, PartialEq)]
pub struct Devices {
    /// The TCP address that devices connect to. Port 0 takes a free port.
    pub listen: SocketAddr,
    /// TLS, and certificates of devices. `None`: plain TCP.
    pub tls: Option<ServerTlsFiles>,
    /// Most connections at once.
    pub max_connections: NonZeroUsize,
    /// Longest frame on the wire, in bytes. At most `max_package`.
    pub max_frame: u32,
    /// Longest package after decompression, in bytes.
    pub max_package: u32,
    /// Most messages in one package; at least 1.
    pub max_messages: u16,
    /// Most packages that a device may have sent without a receipt; at least 1.
    pub max_unacknowledged_packages: u16,
    /// How long a new connection may take to say Hello. Shorter than `idle_timeout`.
    pub hello_timeout: Duration,
    /// How long a connection may stay silent.
    pub idle_timeout: Duration,
    /// How far an event time may lie ahead of the engine's clock.
    pub max_event_time_ahead: Duration,
    /// How far an event time may lie behind the engine's clock.
    pub max_event_time_behind: Duration,
    /// How long a device is asked to wait before it sends again what was not taken.
    pub retry_delay: Duration,
}

/// The HTTP side that is looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    /// The address of health, actors and histograms. Port 0 takes a free port.
    pub listen: SocketAddr,
    /// Most connections at once.
    pub max_connections: NonZeroUsize,
    /// TLS. `None`: plain HTTP.
    pub tls: Option<ServerTlsFiles>,
}

/// Where the message layouts are.
#[derive(Debug, Clone, PartialEq)]
pub struct Messages {
    /// The directory of layout files. `None`: the built-in fleet set.
    pub directory: Option<PathBuf>,
}

/// A topic of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name; valid for Kafka.
    pub name: String,
    /// How many partitions it has.
    pub partitions: NonZeroU32,
    /// Which message types go into it.
    pub types: TypeSelection,
}

/// Which message types a topic takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeSelection {
    /// Every type that no other topic names. At most one topic has this.
    Rest,
    /// These types. A type is named by one topic only; that it exists is for the layouts to say.
    Named(Vec<String>),
}

/// Where records go that cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The topic's name; valid for Kafka and different from all others.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: NonZeroU32,
}

/// The decoder actors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoder {
    /// How many there are, each on its own thread.
    pub actors: NonZeroUsize,
    /// Credits of each: packages queued or being decoded.
    pub mailbox_packages: NonZeroUsize,
}

/// The partition producers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// Credits of each: batches queued or not yet confirmed by the log.
    pub mailbox_batches: NonZeroUsize,
    /// How long a package may wait for a credit before its device is told to retry later.
    pub max_wait: Duration,
}

/// The partition consumers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// Most records in one read.
    pub read_records: NonZeroUsize,
    /// Most bytes in one read; one record may exceed it alone.
    pub read_bytes: usize,
    /// Most batches read and not yet stored, for each partition.
    pub max_batches_in_flight: NonZeroUsize,
    /// Most batches of more than 1,024 records that are collected or wait for the store, for all partitions together.
    pub large_batches: NonZeroUsize,
}

/// The writer actors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// How many there are.
    pub actors: NonZeroUsize,
    /// Credits of each: batches queued or being written.
    pub mailbox_batches: NonZeroUsize,
    /// First delay before a failed write is tried again.
    pub retry_min: Duration,
    /// Longest delay between two tries; at least `retry_min`.
    pub retry_max: Duration,
}

/// The limits within which the gate decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// What decides how many writes are in flight.
    pub limiter: GateLimiter,
    /// Most writes in flight, over all partitions.
    pub max_writes: Option<NonZeroUsize>,
    /// For the fixed limiter: partitions are not read while writes take longer.
    pub max_latency: Duration,
    /// For the fixed limiter: how often it looks again.
    pub look_again: Duration,
    /// For the fixed limiter: reads go on below this part of `max_latency`, in percent.
    pub resume_percent: NonZeroUsize,
    /// A partition stops being read once one of its writes has waited this long for leave.
    pub stop_reading_above: Duration,
    /// It is read again when none has waited this long; less than `stop_reading_above`.
    pub read_again_below: Duration,
    /// It is paused once it has not been read for this long.
    pub pause_after: Duration,
    /// The least time that it is not read.
    pub min_dwell: Duration,
    /// Whether the pods of a Kafka group share one budget.
    pub fleet: bool,
}

/// What decides how many writes are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateLimiter {
    /// Learned from latencies.
    Adaptive,
    /// What the config says.
    Fixed,
}

/// How much may wait in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Bytes of packages, batches and the log's own buffers. At least eight times `devices.max_package`.
    pub budget: u64,
}

/// Threads that actors share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threads {
    /// Threads for device connections.
    pub connections: NonZeroUsize,
    /// Threads for HTTP ingest.
    pub ingest: NonZeroUsize,
    /// Threads for producers, and as many for consumers and writers.
    pub pipeline: NonZeroUsize,
}

/// How often and how fast failed actors are restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervision {
    /// Delay before the first restart.
    pub backoff_min: Duration,
    /// Longest delay before a restart; at least `backoff_min`.
    pub backoff_max: Duration,
    /// More restarts than this within `restart_period` end the process.
    pub max_restarts: NonZeroU32,
    /// The period in which restarts are counted.
    pub restart_period: Duration,
}

/// How the engine stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// How long the engine goes on as before after it has said that it is no longer ready.
    pub notice: Duration,
    /// Devices that are sent away spread their return over this time.
    pub reconnect_spread: Duration,
    /// How long what is in flight may take to finish before the process ends anyway.
    pub drain_timeout: Duration,
}

/// How changed files are noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reload {
    /// How often the config's files are looked at. `None`: never, only SIGHUP makes the engine read them again.
    pub look_every: Option<Duration>,
}

/// What is logged, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// A level, and levels for single modules: `info,surgetank::log=debug`.
    pub level: String,
    /// The form of a line.
    pub format: LoggingFormat,
}

// === impl Config ===

impl Config {
    /// The files and directories that the config names and that a reload reads again.
    pub fn places(&self) -> Vec<PathBuf> {
        let ports = [&self.devices.tls, &self.http.tls, &self.ingest.tls].into_iter().flatten();
        let places = [&self.messages.directory, &self.credentials.file]
            .into_iter()
            .flatten()
            .chain(ports.flat_map(ServerTlsFiles::all));
        places.cloned().collect()
    }

    /// The topic that takes a message type: the one that names it, else the one that takes the rest.
    pub fn topic_of(&self, type_name: &str) -> Option<&Topic> {
        let names = |topic: &&Topic| match &topic.types {
            TypeSelection::Named(types) => types.iter().any(|name| name == type_name),
            TypeSelection::Rest => false,
        };
        self.topics.iter().find(names).or_else(|| self.topics.iter().find(|topic| topic.types == TypeSelection::Rest))
    }
}
