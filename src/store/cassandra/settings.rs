//! What the Cassandra store is told at start.

use std::fmt;
use std::time::Duration;

pub use crate::schema::row::Consistency;
use crate::schema::row::Table;
use crate::tls::ServerTrust;

/// How to reach the cluster and how to write to it.
#[derive(Clone)]
pub struct CassandraSettings {
    /// `host:port` of the nodes to ask first; the driver finds the others.
    pub nodes: Vec<String>,
    /// The data centre whose nodes are used, and no others. `None`: all nodes alike, for clusters of one data centre.
    pub datacenter: Option<String>,
    /// The rack in that data centre whose nodes are asked first. `None`: all racks alike.
    pub rack: Option<String>,
    /// The keyspace of the tables of message types, and of routes that name none.
    pub keyspace: String,
    /// Other keyspaces that routes write to. Without them here their rows are written, too, but not straight to a replica.
    pub route_keyspaces: Vec<String>,
    /// The `replication` map in CQL, used when the keyspace is created.
    pub replication: String,
    /// How many replicas confirm a write.
    pub consistency: Consistency,
    /// Role and password. `None`: without a login.
    pub credentials: Option<(String, String)>,
    /// How long a write may take. Longer than the server's own write timeout: otherwise a slow cluster is left with
    /// work that nobody waits for, and its own answer, which says more, never arrives.
    pub request_timeout: Duration,
    /// Connections to each node, from 1; with ScyllaDB the driver opens at least one per shard.
    pub connections_per_node: usize,
    /// Most rows in one batch, from 1.
    pub batch_rows: usize,
    /// Most bytes of records in one batch; one row may exceed it alone.
    pub batch_bytes: usize,
    /// How long rows live after they were written. `None`: for ever.
    pub ttl: Option<Duration>,
    /// TLS to the nodes. `None`: plain TCP.
    pub tls: Option<ServerTrust>,
}

// === impl CassandraSettings ===

impl CassandraSettings {
    /// The keyspace that a table is in.
    pub(super) fn keyspace_of<'a>(&'a self, table: &'a Table) -> &'a str {
        table.keyspace.as_deref().unwrap_or(&self.keyspace)
    }
}

impl fmt::Debug for CassandraSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CassandraSettings")
            .field("nodes", &self.nodes)
            .field("datacenter", &self.datacenter)
            .field("rack", &self.rack)
            .field("keyspace", &self.keyspace)
            // The password is for the database alone.
            .field("role", &self.credentials.as_ref().map(|(role, _)| role))
            .field("consistency", &self.consistency)
            .finish_non_exhaustive()
    }
}
