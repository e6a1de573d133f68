//! How the cluster is, for what operators see: which nodes answer, whether the replicas of our keyspace are there
//! ([`ranges`]), and what the nodes say of themselves in `system_views` ([`figures`]).
//!
//! Each node is asked itself, since the views are each node's own. One that does not answer within a few seconds counts as
//! down, whatever the driver's connection to it says: it confirms nothing either. What an operator has to do about nodes
//! that are away is found by [`super::inspect`].

mod figures;
mod ranges;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use scylla::client::session::Session;
use scylla::cluster::Node;
use scylla::policies::load_balancing::NodeIdentifier;
use tokio::time::timeout;

use self::figures::{Memory, NodeAnswers, Outcome, Probe};
use super::pressure::RUNNING_TASKS;
use super::question::{self, Unanswered};
use super::settings::CassandraSettings;
use crate::flow::cluster::StoreCluster;

/// A node that does not answer for this long counts as down.
const TIMEOUT: Duration = Duration::from_secs(5);
/// So many nodes are asked at a time.
const MAX_AT_ONCE: usize = 24;

/// Asks about one cluster, again and again.
pub(super) struct ClusterAsker {
    /// Keyspace-bound questions.
    latency: String,
    sizes: String,
    memory: Mutex<Memory>,
}

// === impl ClusterAsker ===

impl ClusterAsker {
    /// Questions about this keyspace, whose name is letters, digits and underscores only.
    pub(super) fn new(keyspace: &str) -> Self {
        Self {
            latency: format!(
                "SELECT table_name, p50th_ms, p99th_ms, max_ms FROM system_views.coordinator_write_latency \
                 WHERE keyspace_name = '{keyspace}'"
            ),
            sizes: format!(
                "SELECT table_name, mebibytes FROM system_views.disk_usage WHERE keyspace_name = '{keyspace}'"
            ),
            memory: Mutex::default(),
        }
    }

    /// Asks the nodes that are written to: all, or those of `store.cassandra.local_dc`. The others may be beyond our reach
    /// and sound.
    pub(super) async fn ask(&self, session: &Session, settings: &CassandraSettings, tables: &[&str]) -> StoreCluster {
        // By itself the driver notices within a minute that a keyspace was altered.
        match timeout(TIMEOUT, session.refresh_metadata()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the cluster does not tell its topology"),
            Err(_) => tracing::debug!("the cluster does not tell its topology in time"),
        }
        let state = session.get_cluster_state();
        let local = settings.datacenter.as_ref();
        let is_ours = |node: &&Arc<Node>| local.is_none_or(|name| node.datacenter.as_ref() == Some(name));
        let nodes: Vec<_> = state.get_nodes_info().iter().filter(is_ours).collect();
        let (mut answers, mut silent) = (Vec::new(), HashSet::new());
        for some in nodes.chunks(MAX_AT_ONCE) {
            let asked = join_all(some.iter().map(|node| self.ask_node(session, node))).await;
            for (node, answered) in some.iter().zip(asked) {
                match answered {
                    Some(answered) => answers.push(answered),
                    None => _ = silent.insert(node.host_id.as_u128()),
                }
            }
        }
        let mut cluster = StoreCluster {
            nodes_up: answers.len() as u64,
            nodes_down: silent.len() as u64,
            ranges: ranges::look(&state, settings, &silent),
            ..StoreCluster::default()
        };
        let mut memory = self.memory.lock();
        for probe in Probe::ALL {
            let outcome = probe.outcome(&answers);
            if memory.note(probe, &outcome) {
                tell(probe, &outcome);
            }
        }
        memory.fill(&mut cluster, &answers, tables);
        cluster
    }

    /// `None` if it does not answer at all.
    async fn ask_node(&self, session: &Session, node: &Arc<Node>) -> Option<NodeAnswers> {
        if !node.is_connected() {
            return None;
        }
        let node = NodeIdentifier::Node(Arc::clone(node));
        let (pools, tasks, latency, sizes) = tokio::join!(
            question::rows(session, &node, POOLS, TIMEOUT),
            question::rows(session, &node, RUNNING_TASKS, TIMEOUT),
            question::rows(session, &node, &self.latency, TIMEOUT),
            question::rows(session, &node, &self.sizes, TIMEOUT),
        );
        let answers = NodeAnswers { pools, tasks, latency, sizes };
        (!answers.are_all_missing()).then_some(answers)
    }
}

/// All pools: a list of names behind `IN` is not understood by all servers.
const POOLS: &str = "SELECT name, pending_tasks, blocked_tasks FROM system_views.thread_pools";

fn tell(probe: Probe, outcome: &Outcome) {
    match outcome {
        Outcome::Lacking(reason) => {
            tracing::info!(reason, probe = probe.name(), "the database does not tell of {}", probe.what());
        }
        _ => tracing::info!(probe = probe.name(), "the database tells of {} now", probe.what()),
    }
}

// === impl NodeAnswers ===

impl NodeAnswers {
    /// A refusal is an answer.
    fn are_all_missing(&self) -> bool {
        fn is_missing<T>(answer: &Result<T, Unanswered>) -> bool {
            matches!(answer, Err(Unanswered::Silent(_)))
        }
        is_missing(&self.pools) && is_missing(&self.tasks) && is_missing(&self.latency) && is_missing(&self.sizes)
    }
}
