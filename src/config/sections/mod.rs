//! The sections of the configuration: what the rest of the engine is built from.
//!
//! A checked value has passed every rule, so nothing re-checks it. Each key is declared once, here; its meaning and the harm at
//! each end are told in `config/surgetank.toml`, which a test compares with the declarations. Rules between keys are in
//! [`super::relations`].

mod engine;
mod log;
mod login;
mod registry;
mod routes;
mod sources;
mod store;
mod tls;
mod topics;

use std::path::PathBuf;

pub use engine::{
    Consumer, DeadLetter, Decoder, Gate, GateLimiter, Logging, Memory, Messages, Producer, Reload, Shutdown,
    Supervision, Threads, Writer,
};
use engine::{
    WrittenConsumer, WrittenDeadLetter, WrittenDecoder, WrittenGate, WrittenLogging, WrittenMemory, WrittenMessages,
    WrittenProducer, WrittenReload, WrittenShutdown, WrittenSupervision, WrittenThreads, WrittenWriter,
};
use log::WrittenLog;
pub use log::{Compression, EmbeddedLog, KafkaLog, Log, LogKind, SaslMechanism};
pub use login::Login;
pub use registry::Registry;
use registry::WrittenRegistry;
pub(super) use routes::WrittenRoute;
use routes::WrittenRoutes;
pub use sources::{Credentials, Devices, Http, Ingest, Limits};
use sources::{WrittenCredentials, WrittenDevices, WrittenHttp, WrittenIngest, WrittenLimits};
use store::WrittenStore;
pub use store::{CassandraStore, EmbeddedStore, Store, StoreKind};
pub(super) use topics::WrittenTopic;
use topics::WrittenTopics;
pub use topics::{OthersTopic, Topic, Topics, TypeSelection};

use super::section::section;
use crate::routes::RouteSpec;
use crate::tls::ServerTlsFiles;

section! {
    /// The whole configuration. [`Config::default`] is what the shipped file says.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Config, WrittenConfig {
        /// Where the embedded log and the embedded store keep their files.
        pub data_dir: PathBuf = "data", directory();
    }
    sections {
        /// Who may send.
        pub credentials: Credentials, WrittenCredentials, Credentials::read;
        /// The TCP side: device connections and their limits.
        pub devices: Devices, WrittenDevices, Devices::read;
        /// What one device and one address may ask for.
        pub limits: Limits, WrittenLimits, Limits::read;
        /// The HTTP side that is looked at.
        pub http: Http, WrittenHttp, Http::read;
        /// The HTTP side that takes events in.
        pub ingest: Ingest, WrittenIngest, Ingest::read;
        /// Where the message layouts are.
        pub messages: Messages, WrittenMessages, Messages::read;
        /// The topics: ours with the message types that go into each, and those of others.
        pub topics: Topics, WrittenTopics, topics::topics;
        /// What becomes rows of which tables, beside the own table of each message type; names are unique.
        pub routes: Vec<RouteSpec>, WrittenRoutes, routes::routes;
        /// Where records go that cannot be stored.
        pub dead_letter: DeadLetter, WrittenDeadLetter, DeadLetter::read;
        /// The schema registry.
        pub registry: Registry, WrittenRegistry, Registry::read;
        /// The durable log.
        pub log: Log, WrittenLog, Log::read;
        /// The database.
        pub store: Store, WrittenStore, Store::read;
        /// The decoder actors.
        pub decoder: Decoder, WrittenDecoder, Decoder::read;
        /// The partition producers.
        pub producer: Producer, WrittenProducer, Producer::read;
        /// The partition consumers.
        pub consumer: Consumer, WrittenConsumer, Consumer::read;
        /// The writer actors.
        pub writer: Writer, WrittenWriter, Writer::read;
        /// The limits within which the gate decides.
        pub gate: Gate, WrittenGate, Gate::read;
        /// How much may wait in memory.
        pub memory: Memory, WrittenMemory, Memory::read;
        /// Threads that actors share.
        pub threads: Threads, WrittenThreads, Threads::read;
        /// How often and how fast failed actors are restarted.
        pub supervision: Supervision, WrittenSupervision, Supervision::read;
        /// How the engine stops.
        pub shutdown: Shutdown, WrittenShutdown, Shutdown::read;
        /// How changed files are noticed.
        pub reload: Reload, WrittenReload, Reload::read;
        /// What is logged, and in which form.
        pub logging: Logging, WrittenLogging, Logging::read;
    }
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
        let own = &self.topics.own;
        own.iter().find(names).or_else(|| own.iter().find(|topic| topic.types == TypeSelection::Rest))
    }
}
