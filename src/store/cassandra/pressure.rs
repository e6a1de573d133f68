//! What a cluster says of itself: each node's `system_views`, which Cassandra has from 4.0 on and ScyllaDB in parts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::statement::Consistency;
use scylla::statement::unprepared::Statement;

use crate::flow::budget::StorePressure;

/// A node that does not answer for this long is left out.
const TIMEOUT: Duration = Duration::from_millis(800);

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
    latency: View,
}

// === impl Views ===

impl Views {
    /// The questions about writes to this keyspace.
    pub(super) fn new(keyspace: &str) -> Self {
        let view = |what, cql: &str| View { what, cql: cql.to_owned(), is_lacking: AtomicBool::new(false) };
        let mutations =
            "SELECT pending_tasks, blocked_tasks FROM system_views.thread_pools WHERE name = 'MutationStage'";
        // The configuration takes letters, digits and underscores only as a keyspace's name.
        let latency =
            format!("SELECT p99th_ms FROM system_views.coordinator_write_latency WHERE keyspace_name = '{keyspace}'");
        Self {
            mutations: view("waiting mutations", mutations),
            compactions: view("compactions", "SELECT table_name FROM system_views.sstable_tasks"),
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
        let (mutations, compactions, latency) = tokio::join!(
            self.mutations.rows::<(Option<i32>, Option<i64>)>(session, &node),
            self.compactions.rows::<(Option<String>,)>(session, &node),
            self.latency.rows::<(Option<f64>,)>(session, &node),
        );
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        let (pending, blocked) = mutations.and_then(|rows| rows.into_iter().next()).unwrap_or_default();
        let p99_ms = latency.map(|rows| rows.into_iter().filter_map(|(p99_ms,)| p99_ms).fold(0.0, f64::max));
        StorePressure {
            pending_mutations: pending.map(i64::from).map(count),
            blocked_mutations: blocked.map(count),
            pending_compactions: compactions.map(|rows| rows.len() as u64),
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
        let mut question = Statement::new(self.cql.clone());
        question.set_consistency(Consistency::One);
        question.set_request_timeout(Some(TIMEOUT));
        question.set_load_balancing_policy(Some(SingleTargetLoadBalancingPolicy::new(node.clone(), None)));
        let answer = match session.query_unpaged(question, ()).await {
            Ok(answer) => answer.into_rows_result().map_err(|error| error.to_string()),
            Err(error) if !is_refusal(&error) => {
                tracing::debug!(%error, "a node does not tell of its {}", self.what);
                return None;
            }
            Err(error) => Err(error.to_string()),
        };
        let rows = answer.and_then(|rows| {
            let rows = rows.rows::<R>().map_err(|error| error.to_string())?;
            rows.collect::<Result<Vec<R>, _>>().map_err(|error| error.to_string())
        });
        rows.map_err(|reason| self.give_up(&reason)).ok()
    }

    fn give_up(&self, reason: &str) {
        if !self.is_lacking.swap(true, Ordering::Relaxed) {
            tracing::info!(reason, "the database does not tell of its {}; the fleet's budget goes without", self.what);
        }
    }
}

/// Whether the server has understood the question and has no answer.
fn is_refusal(error: &ExecutionError) -> bool {
    use DbError::{ConfigError, Invalid, SyntaxError, Unauthorized};
    let ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _)) = error else { return false };
    matches!(error, Invalid | SyntaxError | Unauthorized | ConfigError)
}

fn worse(one: StorePressure, other: StorePressure) -> StorePressure {
    StorePressure {
        pending_mutations: one.pending_mutations.max(other.pending_mutations),
        blocked_mutations: one.blocked_mutations.max(other.blocked_mutations),
        pending_compactions: one.pending_compactions.max(other.pending_compactions),
        coordinator_write_p99_us: one.coordinator_write_p99_us.max(other.coordinator_write_p99_us),
    }
}
