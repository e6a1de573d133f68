//! Opens the log and the store that the config names.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::routes::has_own_tables;
use crate::codec::{Codecs, CodecsError};
use crate::config::{self, Config, LogKind, StoreKind, TypeSelection};
use crate::disk;
use crate::log::embedded::{EmbeddedLog, EmbeddedLogSettings};
use crate::log::kafka::{KafkaLog, KafkaLogSettings, KafkaLogin};
use crate::log::{Log, LogError, Others, TopicSpec};
use crate::registry::RegistrySettings;
use crate::schema::Catalog;
use crate::schema::row::Table;
use crate::store::cassandra::{CassandraSettings, CassandraStore};
use crate::store::embedded::{EmbeddedStore, EmbeddedStoreSettings};
use crate::store::{Store, StoreError};

/// The file of the embedded store within the data directory.
pub const STORE_FILE: &str = "store.sqlite";

/// The directory of the embedded log within the data directory.
pub const LOG_DIRECTORY: &str = "log";

/// The two backends that the data path lies between.
#[derive(Clone)]
pub struct Backends {
    /// Where messages become durable.
    pub log: Arc<dyn Log>,
    /// Where rows go.
    pub store: Arc<dyn Store>,
}

/// Reads and compiles the layouts that the config names. An engine whose records are all of other formats has none: it
/// takes no messages in, and needs no tables for them.
pub fn load_codecs(config: &Config) -> Result<Codecs, CodecsError> {
    if !has_own_tables(config) {
        return Codecs::compile(Arc::new(Catalog::none()));
    }
    match &config.messages.directory {
        Some(directory) => Codecs::load(directory),
        None => Codecs::builtin(),
    }
}

/// That every type that a topic names has a layout, and every type with a layout has a topic.
pub fn check_topics(config: &Config, catalog: &Catalog) -> Result<(), String> {
    let names = || catalog.types().iter().map(|message_type| message_type.name.as_str()).collect::<Vec<_>>().join(", ");
    for topic in &config.topics.own {
        if let TypeSelection::Named(types) = &topic.types
            && let Some(unknown) = types.iter().find(|name| catalog.by_name(name).is_none())
        {
            let key = format!("topics.{}.types", topic.name);
            return Err(format!("{key}: there is no layout for type {unknown:?} (allowed: \"*\", {})", names()));
        }
    }
    for message_type in catalog.types() {
        // Without a topic of ours nothing is taken in, though there may be records of these types.
        if !config.topics.own.is_empty() && config.topic_of(&message_type.name).is_none() {
            let name = &message_type.name;
            return Err(format!(
                "no topic takes type {name:?}: name it in topics.NAME.types, or give one topic [\"*\"]"
            ));
        }
    }
    Ok(())
}

/// The topics that records go to: ours.
pub fn record_topics(config: &Config) -> Vec<TopicSpec> {
    let spec = |topic: &config::Topic| TopicSpec::own(topic.name.as_str(), topic.partitions.get());
    config.topics.own.iter().map(spec).collect()
}

/// The topics that records are read from: ours and those of others. A pattern matches none of ours.
pub fn consumed_topics(config: &Config) -> Vec<TopicSpec> {
    let mut topics = record_topics(config);
    let mut own: Vec<Arc<str>> = topics.iter().map(|topic| Arc::clone(&topic.name)).collect();
    own.push(dead_letter_topic(config).name);
    if let LogKind::Kafka(log) = &config.log.kind {
        own.extend([log.schema_topic.as_str(), &log.control_topic].map(Arc::from));
    }
    topics.extend(config.topics.others.iter().map(|topic| {
        let pattern = topic.pattern.clone().map(|pattern| pattern.except(own.iter().cloned()));
        TopicSpec::of_others(topic.name.as_str(), Others { pattern, start: topic.start, on_gap: topic.on_gap })
    }));
    topics
}

/// The topic that dead letters go to.
pub fn dead_letter_topic(config: &Config) -> TopicSpec {
    let dead_letter = &config.dead_letter;
    TopicSpec::own(dead_letter.topic.as_str(), dead_letter.partitions.get())
}

/// The topics that the engine needs: those that it reads, and that of dead letters.
pub fn all_topics(config: &Config) -> Vec<TopicSpec> {
    let mut topics = consumed_topics(config);
    topics.push(dead_letter_topic(config));
    topics
}

/// The tables of all message types, if records of any are written.
pub fn tables(config: &Config, catalog: &Catalog) -> Vec<Arc<Table>> {
    if !has_own_tables(config) {
        return Vec::new();
    }
    catalog.types().iter().map(|message_type| Arc::clone(&message_type.table)).collect()
}

/// Opens the log.
pub fn open_log(config: &Config) -> Result<Arc<dyn Log>, LogError> {
    let topics = all_topics(config);
    Ok(match &config.log.kind {
        LogKind::Embedded(log) => {
            let settings = EmbeddedLogSettings {
                directory: config.data_dir.join(LOG_DIRECTORY),
                retention: log.retention,
                retention_bytes: log.retention_size,
                disk_budget: log.disk_budget,
                write_buffer: log.write_buffer as u64,
                tail_cache: log.tail_cache as u64,
            };
            disk::prepare(&config.data_dir).map_err(|reason| LogError::failed("data_dir", reason))?;
            Arc::new(EmbeddedLog::open(settings, &topics)?)
        }
        LogKind::Kafka(kafka) => Arc::new(KafkaLog::open(KafkaLogSettings {
            brokers: kafka.brokers.clone(),
            group: kafka.group.clone(),
            owner: owner(config),
            instance_id: kafka.instance_id.clone().unwrap_or_default(),
            replication_factor: kafka.replication_factor.get(),
            min_insync_replicas: kafka.min_insync_replicas.get(),
            session_timeout: kafka.session_timeout,
            delivery_timeout: kafka.delivery_timeout,
            linger: kafka.linger,
            compression: kafka.compression.name().to_owned(),
            fetch_buffer_bytes: kafka.fetch_buffer as u64,
            schema_topic: kafka.schema_topic.clone(),
            control_topic: if config.gate.fleet { kafka.control_topic.clone() } else { String::new() },
            tls: kafka.tls.clone(),
            login: kafka.sasl.as_ref().map(|(mechanism, login)| KafkaLogin {
                mechanism: mechanism.name(),
                username: login.username.clone(),
                password: login.password.expose().to_owned(),
            }),
        })?),
    })
}

/// How long a registry's word that it has no schema of an id is not believed.
const MISSING_PATIENCE: Duration = Duration::from_secs(10);

/// How to reach the schema registry, if there is one.
pub fn registry_settings(config: &Config) -> Option<RegistrySettings> {
    let registry = &config.registry;
    let url = registry.url.clone()?;
    let login = registry.login.as_ref().map(|login| (login.username.clone(), login.password.expose().to_owned()));
    Some(RegistrySettings {
        url,
        login,
        tls: registry.tls.clone(),
        timeout: registry.timeout,
        patience: MISSING_PATIENCE,
    })
}

/// Where rows go, for the marks of commits: the same for all pods of an installation. Addresses may differ among them.
fn owner(config: &Config) -> String {
    match &config.store.kind {
        StoreKind::Embedded(_) => "surgetank embedded".to_owned(),
        StoreKind::Cassandra(store) => format!("surgetank cassandra {}", store.keyspace),
    }
}

/// The keyspaces beside the store's own that routes write to, each once.
fn route_keyspaces(config: &Config, own: &str) -> Vec<String> {
    let keyspaces = config.routes.iter().filter_map(|route| route.table.keyspace.as_deref());
    let others: BTreeSet<&str> = keyspaces.filter(|keyspace| *keyspace != own).collect();
    others.into_iter().map(str::to_owned).collect()
}

/// Opens the store. The database driver runs on `driver`.
pub async fn open_store(config: &Config, driver: Handle) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match &config.store.kind {
        StoreKind::Embedded(store) => {
            disk::prepare(&config.data_dir).map_err(|reason| StoreError::failed("data_dir", reason))?;
            Arc::new(EmbeddedStore::open(EmbeddedStoreSettings {
                path: config.data_dir.join(STORE_FILE),
                transaction_rows: store.transaction_rows.get(),
                page_cache_bytes: store.page_cache as u64,
                ttl: config.store.ttl,
            })?)
        }
        StoreKind::Cassandra(store) => {
            let settings = CassandraSettings {
                nodes: store.nodes.clone(),
                datacenter: store.local_dc.clone(),
                rack: store.rack.clone(),
                keyspace: store.keyspace.clone(),
                route_keyspaces: route_keyspaces(config, &store.keyspace),
                replication: store.replication.clone(),
                consistency: store.consistency,
                credentials: store
                    .login
                    .as_ref()
                    .map(|login| (login.username.clone(), login.password.expose().to_owned())),
                request_timeout: store.request_timeout,
                connections_per_node: store.connections_per_node.get(),
                batch_rows: store.batch_rows.get(),
                batch_bytes: store.batch_bytes,
                ttl: config.store.ttl,
                tls: store.tls.clone(),
            };
            Arc::new(CassandraStore::connect(settings, driver).await?)
        }
    })
}
