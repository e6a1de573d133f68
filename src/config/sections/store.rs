//! The store: which backend, and its settings. As with the log, only the chosen one is checked.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::login::{Login, login};
use super::tls::{self, WrittenClientTls};
use crate::config::checks::Checker;
use crate::config::section::{Checked, join, section};
use crate::config::units::{DAY, GIB, KIB, MIB, millis, minutes};
use crate::schema::Bucket;
use crate::store::cassandra::Consistency;
use crate::tls::ServerTrust;

const BUCKETS: [(&str, Bucket); 2] = [("hour", Bucket::Hour), ("day", Bucket::Day)];
const CONSISTENCIES: [(&str, Consistency); 8] = [
    ("one", Consistency::One),
    ("two", Consistency::Two),
    ("three", Consistency::Three),
    ("quorum", Consistency::Quorum),
    ("all", Consistency::All),
    ("local_one", Consistency::LocalOne),
    ("local_quorum", Consistency::LocalQuorum),
    ("each_quorum", Consistency::EachQuorum),
];
const A_MAP: &str = "a CQL map with 'class', such as \"{'class': 'NetworkTopologyStrategy', 'dc1': 3}\"";

section! {
    /// The database.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Store, WrittenStore {
        /// Whether missing tables and columns are created when the engine starts.
        pub apply_on_start: bool = true, boolean();
        /// How much time of one device makes a database partition.
        pub bucket: Bucket = "day", choice(&BUCKETS, Bucket::Day);
        /// How long rows live. `None`: for ever.
        pub ttl: Option<Duration> = "0 s", time_or_never(DAY * 7300, minutes(1), "0 s for ever, or 1 min to 7300 days");
    }
    keys {
        kind = "embedded";
    }
    below {
        embedded: WrittenEmbeddedStore;
        cassandra: WrittenCassandraStore;
    }
    made_of_these {
        /// Which store it is.
        pub kind: StoreKind, store_kind;
    }
}

section! {
    /// The store in the data directory.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct EmbeddedStore, WrittenEmbeddedStore {
        /// Most rows in one transaction.
        pub transaction_rows: NonZeroUsize = 16384, capacity(1_000_000);
        /// Bytes of pages that are kept in memory.
        pub page_cache: usize = "32 MiB", buffer(MIB..=16 * GIB);
    }
}

section! {
    /// Cassandra or ScyllaDB as the store.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct CassandraStore, WrittenCassandraStore {
        /// `host:port` of the nodes to ask first; never empty.
        pub nodes: Vec<String> = ["127.0.0.1:9042"], hosts();
        /// The data centre whose nodes are written to. `None`: those of all.
        pub local_dc: Option<String> = "", text_or_none("the name of a data centre, or empty for all");
        /// The rack in it whose nodes are asked first. `None`: all alike; always `None` without a data centre.
        pub rack: Option<String> = "", text_or_none("the name of a rack, or empty for all");
        /// The keyspace; a valid unquoted name.
        pub keyspace: String = "surgetank", text(is_keyspace, "a letter, then up to 47 of a-z, 0-9 and '_'");
        /// The `replication` map of the keyspace, in CQL; used when the keyspace is created.
        pub replication: String = "{'class': 'SimpleStrategy', 'replication_factor': 1}", text(is_replication, A_MAP);
        /// Consistency of writes.
        pub consistency: Consistency = "local_quorum", choice(&CONSISTENCIES, Consistency::LocalQuorum);
        /// How long a write may take.
        pub request_timeout: Duration = "5 s", duration(millis(100)..=minutes(5));
        /// Connections to each node (for ScyllaDB the driver takes at least one per shard).
        pub connections_per_node: NonZeroUsize = 2, capacity(64);
        /// Most rows in one batch.
        pub batch_rows: NonZeroUsize = 128, capacity(u32::from(u16::MAX));
        /// Most bytes of records in one batch; one row may exceed it alone.
        pub batch_bytes: usize = "32 KiB", buffer(KIB..=16 * MIB);
    }
    sections {
        /// TLS to the nodes. `None`: plain TCP.
        pub tls: Option<ServerTrust>, WrittenClientTls, tls::client;
    }
    keys {
        username = "";
        password = "";
    }
    made_of_these {
        /// Who logs in. `None`: without a login.
        pub login: Option<Login>, cassandra_login;
    }
}

/// The backends of the store.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreKind {
    /// SQLite in the data directory.
    Embedded(EmbeddedStore),
    /// Cassandra or ScyllaDB.
    Cassandra(Box<CassandraStore>),
}

fn store_kind(check: &mut Checker<'_>, path: &str, written: &WrittenStore) -> StoreKind {
    let is_remote =
        check.section(path).choice("kind", &written.kind, &[("embedded", false), ("cassandra", true)], false);
    match is_remote {
        false => StoreKind::Embedded(EmbeddedStore::read(check, &join(path, "embedded"), &written.embedded)),
        true => StoreKind::Cassandra(Box::new(cassandra(check, &join(path, "cassandra"), &written.cassandra))),
    }
}

fn cassandra(check: &mut Checker<'_>, path: &str, written: &WrittenCassandraStore) -> CassandraStore {
    let store = CassandraStore::read(check, path, written);
    if store.rack.is_some() && store.local_dc.is_none() {
        check.section(path).fault("rack", "means nothing without a data centre; set local_dc, too");
    }
    store
}

fn cassandra_login(check: &mut Checker<'_>, path: &str, written: &WrittenCassandraStore) -> Option<Login> {
    login(&mut check.section(path), &written.username, &written.password)
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
