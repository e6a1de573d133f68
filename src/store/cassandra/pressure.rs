//! What a cluster says of itself: each node's `system_views`, which Cassandra has from 4.0 on and ScyllaDB in parts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::policies::load_balancing::NodeIdentifier;

use super::question::{self, Unanswered};
use crate::flow::budget::StorePressure;

/// A node that does not answer for this long is left out.
const TIMEOUT: Duration = Duration::from_millis(800);

/// What is under way on a node's tables, a row for each task.
pub(super) const RUNNING_TASKS: &str = "SELECT kind FROM system_views.sstable_tasks";

/// One of the views that are asked.
struct View {
    what: &'static str,
    cql: String,
    /// A server has refused the question: it is not asked again.
    is_lacking: AtomicBool,
}

/// The questions.
pub(super) struct Views {
    mutations: View,
    compactions: View,
    compaction_tasks: View,
    latency: View,
}

// === impl Views ===

impl Views {
    /// The questions about writes to this keyspace.
    pub(super) fn new(keyspace: &str) -> Self {
        let view = |what, cql: &str| View { what, cql: cql.to_owned(), is_lacking: AtomicBool::new(false) };
        let mutations =
            "SELECT pending_tasks, blocked_tasks FROM system_views.thread_pools WHERE name = 'MutationStage'";
        let compaction_tasks = "SELECT pending_tasks FROM system_views.thread_pools WHERE name = 'CompactionExecutor'";
        // The configuration takes letters, digits and underscores only as a keyspace's name.
        let latency =
            format!("SELECT p99th_ms FROM system_views.coordinator_write_latency WHERE keyspace_name = '{keyspace}'");
        Self {
            mutations: view("waiting mutations", mutations),
            compactions: view("running compactions", RUNNING_TASKS),
            compaction_tasks: view("waiting compactions", compaction_tasks),
            latency: view("the coordinator's write latency", &latency),
        }
    }

    /// Asks every node. The views are each node's own, so each is asked itself; the worst figures count, since a write
    /// waits for the slowest of its replicas. `None` if no node tells anything.
    pub(super) async fn ask(&self, session: &Session) -> Option<StorePressure> {
        let state = session.get_cluster_state();
        let nodes =
            state.get_nodes_info().iter().map(|node| self.ask_node(session, NodeIdentifier::Node(Arc::clone(node))));
        let worst = join_all(nodes).await.into_iter().fold(StorePressure::default(), worse);
        (worst != StorePressure::default()).then_some(worst)
    }

    async fn ask_node(&self, session: &Session, node: NodeIdentifier) -> StorePressure {
        let (mutations, compactions, compaction_tasks, latency) = tokio::join!(
            self.mutations.rows::<(Option<i32>, Option<i64>)>(session, &node),
            self.compactions.rows::<(Option<String>,)>(session, &node),
            self.compaction_tasks.rows::<(Option<i32>,)>(session, &node),
            self.latency.rows::<(Option<f64>,)>(session, &node),
        );
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        let (pending, blocked) = mutations.and_then(|rows| rows.into_iter().next()).unwrap_or_default();
        let waiting = compaction_tasks.and_then(|rows| rows.into_iter().next()?.0);
        let p99_ms = latency.map(|rows| rows.into_iter().filter_map(|(p99_ms,)| p99_ms).fold(0.0, f64::max));
        StorePressure {
            pending_mutations: pending.map(i64::from).map(count),
            blocked_mutations: blocked.map(count),
            running_compactions: compactions.map(|rows| num_compactions(rows.into_iter().flat_map(|(kind,)| kind))),
            pending_compaction_tasks: waiting.map(i64::from).map(count),
            coordinator_write_p99_us: p99_ms.map(|millis| (millis * 1000.0) as u64),
        }
    }
}

// === impl View ===

impl View {
    async fn rows<R>(&self, session: &Session, node: &NodeIdentifier) -> Option<Vec<R>>
    where
        R: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        if self.is_lacking.load(Ordering::Relaxed) {
            return None;
        }
        match question::rows(session, node, &self.cql, TIMEOUT).await {
            Ok(rows) => Some(rows),
            Err(Unanswered::Silent(reason)) => {
                tracing::debug!(reason, "a node does not tell of its {}", self.what);
                None
            }
            Err(Unanswered::Refused(reason)) => {
                self.give_up(&reason);
                None
            }
        }
    }

    fn give_up(&self, reason: &str) {
        if !self.is_lacking.swap(true, Ordering::Relaxed) {
            tracing::info!(reason, "the database does not tell of its {}; the fleet's budget goes without", self.what);
        }
    }
}

/// How many of the tasks on tables that are under way are compactions: others are validations, cleanups, index builds.
pub(super) fn num_compactions(kinds: impl IntoIterator<Item = String>) -> u64 {
    // "compaction", "major compaction", "tombstone compaction", but not "anticompaction after repair".
    kinds.into_iter().filter(|kind| kind.to_lowercase().ends_with("compaction")).count() as u64
}

fn worse(one: StorePressure, other: StorePressure) -> StorePressure {
    StorePressure {
        pending_mutations: one.pending_mutations.max(other.pending_mutations),
        blocked_mutations: one.blocked_mutations.max(other.blocked_mutations),
        running_compactions: one.running_compactions.max(other.running_compactions),
        pending_compaction_tasks: one.pending_compaction_tasks.max(other.pending_compaction_tasks),
        coordinator_write_p99_us: one.coordinator_write_p99_us.max(other.coordinator_write_p99_us),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_only_compactions_are_counted_among_the_tasks() {
        let kinds = ["compaction", "Major compaction", "validation", "anticompaction after repair", "cleanup"];
        assert_eq!(num_compactions(kinds.map(str::to_owned)), 2);
    }
}
