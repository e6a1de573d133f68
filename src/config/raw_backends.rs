//! The sections `log` and `store` as they are written, with both backends of each; see [`super::raw`].

use serde::{Deserialize, Serialize};

use super::entry::Entry;

/// The log and both of its backends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLog {
    pub kind: Entry,
    pub apply_on_start: Entry,
    pub embedded: RawEmbeddedLog,
    pub kafka: RawKafkaLog,
}

impl Default for RawLog {
    fn default() -> Self {
        Self {
            kind: "embedded".into(),
            apply_on_start: true.into(),
            embedded: RawEmbeddedLog::default(),
            kafka: RawKafkaLog::default(),
        }
    }
}

/// The log in the data directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawEmbeddedLog {
    pub retention: Entry,
    pub retention_size: Entry,
    pub disk_budget: Entry,
    pub write_buffer: Entry,
    pub tail_cache: Entry,
}

impl Default for RawEmbeddedLog {
    fn default() -> Self {
        Self {
            retention: "1 day".into(),
            retention_size: "10 GiB".into(),
            disk_budget: "20 GiB".into(),
            write_buffer: "32 MiB".into(),
            tail_cache: "16 MiB".into(),
        }
    }
}

/// Kafka as the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawKafkaLog {
    pub brokers: Entry,
    pub group: Entry,
    pub instance_id: Entry,
    pub replication_factor: Entry,
    pub min_insync_replicas: Entry,
    pub session_timeout: Entry,
    pub delivery_timeout: Entry,
    pub linger: Entry,
    pub compression: Entry,
    pub fetch_buffer: Entry,
    pub schema_topic: Entry,
    pub control_topic: Entry,
    pub tls: RawClientTls,
    pub sasl: RawSasl,
}

impl Default for RawKafkaLog {
    fn default() -> Self {
        Self {
            brokers: ["127.0.0.1:9092"].into(),
            group: "surgetank".into(),
            instance_id: "".into(),
            replication_factor: 1.into(),
            min_insync_replicas: 1.into(),
            session_timeout: "10 s".into(),
            delivery_timeout: "10 s".into(),
            linger: "1 ms".into(),
            compression: "lz4".into(),
            fetch_buffer: "384 KiB".into(),
            schema_topic: "surgetank.schemas".into(),
            control_topic: "surgetank-control".into(),
            tls: RawClientTls::default(),
            sasl: RawSasl::default(),
        }
    }
}

/// TLS to a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawClientTls {
    pub ca: Entry,
    pub certificate: Entry,
    pub key: Entry,
}

impl Default for RawClientTls {
    fn default() -> Self {
        Self { ca: "".into(), certificate: "".into(), key: "".into() }
    }
}

/// A login at Kafka.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawSasl {
    pub mechanism: Entry,
    pub username: Entry,
    pub password: Entry,
}

impl Default for RawSasl {
    fn default() -> Self {
        Self { mechanism: "none".into(), username: "".into(), password: "".into() }
    }
}

/// The store and both of its backends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawStore {
    pub kind: Entry,
    pub apply_on_start: Entry,
    pub bucket: Entry,
    pub ttl: Entry,
    pub embedded: RawEmbeddedStore,
    pub cassandra: RawCassandraStore,
}

impl Default for RawStore {
    fn default() -> Self {
        Self {
            kind: "embedded".into(),
            apply_on_start: true.into(),
            bucket: "day".into(),
            ttl: "0 s".into(),
            embedded: RawEmbeddedStore::default(),
            cassandra: RawCassandraStore::default(),
        }
    }
}

/// The store in the data directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawEmbeddedStore {
    pub transaction_rows: Entry,
    pub page_cache: Entry,
}

impl Default for RawEmbeddedStore {
    fn default() -> Self {
        Self { transaction_rows: 16384.into(), page_cache: "32 MiB".into() }
    }
}

/// Cassandra or ScyllaDB as the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawCassandraStore {
    pub nodes: Entry,
    pub local_dc: Entry,
    pub rack: Entry,
    pub keyspace: Entry,
    pub replication: Entry,
    pub consistency: Entry,
    pub username: Entry,
    pub password: Entry,
    pub request_timeout: Entry,
    pub connections_per_node: Entry,
    pub batch_rows: Entry,
    pub batch_bytes: Entry,
    pub tls: RawClientTls,
}

impl Default for RawCassandraStore {
    fn default() -> Self {
        Self {
            nodes: ["127.0.0.1:9042"].into(),
            local_dc: "".into(),
            rack: "".into(),
            keyspace: "surgetank".into(),
            replication: "{'class': 'SimpleStrategy', 'replication_factor': 1}".into(),
            consistency: "local_quorum".into(),
            username: "".into(),
            password: "".into(),
            request_timeout: "5 s".into(),
            connections_per_node: 2.into(),
            batch_rows: 128.into(),
            batch_bytes: "32 KiB".into(),
            tls: RawClientTls::default(),
        }
    }
}
