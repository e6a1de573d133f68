//! The rules of the log and the store. Only the chosen backend is checked: a section that is not used may wait, half
//! filled in, for the day it is.

use std::time::Duration;

use super::super::backends::{
    Bucket, CassandraStore, Compression, Consistency, EmbeddedLog, EmbeddedStore, KafkaLog, Log, LogKind, Login,
    SaslMechanism, Store, StoreKind,
};
use super::super::checks::{Checker, Section};
use super::super::entry::Entry;
use super::super::raw_backends::{
    RawCassandraStore, RawEmbeddedLog, RawEmbeddedStore, RawKafkaLog, RawLog, RawSasl, RawStore,
};
use super::super::secret::Secret;
use super::super::units::{GIB, KIB, MIB, TIB};
use super::{DAY, Surroundings, millis, minutes, seconds, tls, topics};

/// Which of two backends is chosen.
#[derive(Clone, Copy)]
enum Backend {
    Embedded,
    Remote,
}

/// The log.
pub(super) fn log(check: &mut Checker<'_>, raw: &RawLog, surroundings: &Surroundings) -> Log {
    let mut section = check.section("log");
    let backends = [("embedded", Backend::Embedded), ("kafka", Backend::Remote)];
    Log {
        apply_on_start: section.boolean("apply_on_start", &raw.apply_on_start),
        kind: match section.choice("kind", &raw.kind, &backends, Backend::Embedded) {
            Backend::Embedded => LogKind::Embedded(embedded_log(&mut check.section("log.embedded"), &raw.embedded)),
            Backend::Remote => LogKind::Kafka(Box::new(kafka(check, &raw.kafka, surroundings))),
        },
    }
}

fn embedded_log(section: &mut Section<'_, '_>, raw: &RawEmbeddedLog) -> EmbeddedLog {
    EmbeddedLog {
        retention: section.duration("retention", &raw.retention, minutes(1)..=DAY * 3650),
        retention_size: section.size("retention_size", &raw.retention_size, MIB..=1024 * TIB),
        disk_budget: section.size("disk_budget", &raw.disk_budget, 64 * MIB..=1024 * TIB),
        write_buffer: section.buffer("write_buffer", &raw.write_buffer, MIB..=GIB),
        tail_cache: section.buffer("tail_cache", &raw.tail_cache, 0..=4 * GIB),
    }
}

fn kafka(check: &mut Checker<'_>, raw: &RawKafkaLog, surroundings: &Surroundings) -> KafkaLog {
    let tls = tls::client(check, "log.kafka.tls", &raw.tls, surroundings);
    let sasl = sasl(&mut check.section("log.kafka.sasl"), &raw.sasl);
    let section = &mut check.section("log.kafka");
    let compressions = [
        ("none", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
    ];
    let instance_id = section.text("instance_id", &raw.instance_id, |_| true, "any text, or empty for the pod's name");
    KafkaLog {
        brokers: section.hosts("brokers", &raw.brokers),
        group: section.text("group", &raw.group, |text| !text.is_empty(), "any text but the empty one"),
        instance_id: Some(instance_id).filter(|id| !id.is_empty()).or_else(|| surroundings.pod_name.clone()),
        replication_factor: section.non_zero_u16("replication_factor", &raw.replication_factor, 16),
        min_insync_replicas: section.non_zero_u16("min_insync_replicas", &raw.min_insync_replicas, 16),
        session_timeout: section.duration("session_timeout", &raw.session_timeout, seconds(6)..=minutes(30)),
        delivery_timeout: section.duration("delivery_timeout", &raw.delivery_timeout, seconds(1)..=minutes(5)),
        linger: section.duration("linger", &raw.linger, millis(0)..=seconds(1)),
        compression: section.choice("compression", &raw.compression, &compressions, Compression::None),
        fetch_buffer: section.buffer("fetch_buffer", &raw.fetch_buffer, 64 * KIB..=GIB),
        schema_topic: topics::name(section, "schema_topic", &raw.schema_topic),
        control_topic: topics::name(section, "control_topic", &raw.control_topic),
        tls,
        sasl,
    }
}

fn sasl(section: &mut Section<'_, '_>, raw: &RawSasl) -> Option<(SaslMechanism, Login)> {
    let mechanisms = [
        ("none", None),
        ("plain", Some(SaslMechanism::Plain)),
        ("scram-sha-256", Some(SaslMechanism::ScramSha256)),
        ("scram-sha-512", Some(SaslMechanism::ScramSha512)),
    ];
    let mechanism = section.choice("mechanism", &raw.mechanism, &mechanisms, None);
    let login = login(section, &raw.username, &raw.password);
    match (mechanism, login) {
        (Some(mechanism), Some(login)) => return Some((mechanism, login)),
        (Some(_), None) => section.fault("username", "is empty but there is a mechanism; set username and password"),
        (None, Some(_)) => section.fault("mechanism", "logs nobody in but there is a username; choose a mechanism"),
        (None, None) => {}
    }
    None
}

/// The store.
pub(super) fn store(check: &mut Checker<'_>, raw: &RawStore, surroundings: &Surroundings) -> Store {
    let mut section = check.section("store");
    let backends = [("embedded", Backend::Embedded), ("cassandra", Backend::Remote)];
    let buckets = [("hour", Bucket::Hour), ("day", Bucket::Day)];
    Store {
        apply_on_start: section.boolean("apply_on_start", &raw.apply_on_start),
        bucket: section.choice("bucket", &raw.bucket, &buckets, Bucket::Day),
        ttl: ttl(&mut section, &raw.ttl),
        kind: match section.choice("kind", &raw.kind, &backends, Backend::Embedded) {
            Backend::Embedded => {
                StoreKind::Embedded(embedded_store(&mut check.section("store.embedded"), &raw.embedded))
            }
            Backend::Remote => StoreKind::Cassandra(Box::new(cassandra(check, &raw.cassandra, surroundings))),
        },
    }
}

fn ttl(section: &mut Section<'_, '_>, entry: &Entry) -> Option<Duration> {
    // 20 years is the longest that Cassandra takes.
    let ttl = section.duration("ttl", entry, seconds(0)..=DAY * 7300);
    if !ttl.is_zero() && ttl < minutes(1) {
        section.fault("ttl", "is too small; raise it (allowed: 0 s for ever, or 1 min to 7300 days)");
    }
    (!ttl.is_zero()).then_some(ttl)
}

fn embedded_store(section: &mut Section<'_, '_>, raw: &RawEmbeddedStore) -> EmbeddedStore {
    EmbeddedStore {
        transaction_rows: section.capacity("transaction_rows", &raw.transaction_rows, 1_000_000),
        page_cache: section.buffer("page_cache", &raw.page_cache, MIB..=16 * GIB),
    }
}

fn cassandra(check: &mut Checker<'_>, raw: &RawCassandraStore, surroundings: &Surroundings) -> CassandraStore {
    let tls = tls::client(check, "store.cassandra.tls", &raw.tls, surroundings);
    let section = &mut check.section("store.cassandra");
    let consistencies = [
        ("one", Consistency::One),
        ("two", Consistency::Two),
        ("three", Consistency::Three),
        ("quorum", Consistency::Quorum),
        ("all", Consistency::All),
        ("local_one", Consistency::LocalOne),
        ("local_quorum", Consistency::LocalQuorum),
        ("each_quorum", Consistency::EachQuorum),
    ];
    let mut place = |name: &str, entry: &Entry, none: &str| {
        let text = section.text(name, entry, |_| true, none);
        (!text.is_empty()).then_some(text)
    };
    let local_dc = place("local_dc", &raw.local_dc, "the name of a data centre, or empty for all");
    let rack = place("rack", &raw.rack, "the name of a rack, or empty for all");
    if rack.is_some() && local_dc.is_none() {
        section.fault("rack", "means nothing without a data centre; set local_dc, too");
    }
    let a_map = "a CQL map with 'class', such as \"{'class': 'NetworkTopologyStrategy', 'dc1': 3}\"";
    CassandraStore {
        nodes: section.hosts("nodes", &raw.nodes),
        local_dc,
        rack,
        keyspace: section.text("keyspace", &raw.keyspace, is_keyspace, "a letter, then up to 47 of a-z, 0-9 and '_'"),
        replication: section.text("replication", &raw.replication, is_replication, a_map),
        consistency: section.choice("consistency", &raw.consistency, &consistencies, Consistency::LocalQuorum),
        login: login(section, &raw.username, &raw.password),
        request_timeout: section.duration("request_timeout", &raw.request_timeout, millis(100)..=minutes(5)),
        connections_per_node: section.capacity("connections_per_node", &raw.connections_per_node, 64),
        batch_rows: section.capacity("batch_rows", &raw.batch_rows, u32::from(u16::MAX)),
        batch_bytes: section.buffer("batch_bytes", &raw.batch_bytes, KIB..=16 * MIB),
        tls,
    }
}

fn login(section: &mut Section<'_, '_>, username: &Entry, password: &Entry) -> Option<Login> {
    let username = section.text("username", username, |_| true, "any text, or empty for no login");
    // Not trimmed as other texts are: blanks may be part of a password.
    section.text("password", password, |_| true, "any text, or empty for no login");
    let password = if let Entry::Text(text) = password { text.clone() } else { String::new() };
    match (username.is_empty(), password.is_empty()) {
        (true, true) => return None,
        (true, false) => section.fault("username", "is empty but there is a password; set both or neither"),
        (false, true) => section.fault("password", "is empty but there is a username; set both or neither"),
        (false, false) => {}
    }
    Some(Login { username, password: Secret::new(password) })
}

fn is_keyspace(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    (1..=48).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(is_letter)
}

/// The database reads the map itself; this only refuses what would end the statement that it is put into.
fn is_replication(map: &str) -> bool {
    map.starts_with('{') && map.ends_with('}') && map.contains("'class'") && !map.contains(';')
}
