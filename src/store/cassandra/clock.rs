//! What time it is by the nodes of the cluster, each asked itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use scylla::client::session::Session;
use scylla::policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::statement::Consistency;
use scylla::statement::unprepared::Statement;
use scylla::value::CqlTimestamp;

use super::failed;
use crate::flow::clock::{MAX_DIFFERENCE, Offset, Reading, median};
use crate::flow::health::{Condition, Part};
use crate::store::StoreError;

/// A node that does not answer for this long is left out.
const TIMEOUT: Duration = Duration::from_millis(800);

/// More nodes make the answer no better.
const MAX_NODES: usize = 24;

/// The clocks of the nodes that have answered, at one moment.
pub(super) struct NodeClocks {
    at: Instant,
    /// Address and time in milliseconds since the Unix epoch, as it was at `at`.
    nodes: Vec<(String, u64)>,
}

/// Asks the nodes that the driver knows. An error if none of them answers.
pub(super) async fn ask(session: &Session) -> Result<NodeClocks, StoreError> {
    let at = Instant::now();
    let state = session.get_cluster_state();
    let questions = state.get_nodes_info().iter().take(MAX_NODES).map(|node| async move {
        let unix_ms = ask_node(session, NodeIdentifier::Node(Arc::clone(node))).await?;
        // Half of the question's time has gone since the node looked at its clock.
        let age_ms = at.elapsed().as_millis() as u64 / 2;
        Ok::<_, StoreError>((node.address.ip().to_string(), unix_ms.saturating_sub(age_ms)))
    });
    let (nodes, errors): (Vec<_>, Vec<_>) = join_all(questions).await.into_iter().partition(Result::is_ok);
    let nodes: Vec<_> = nodes.into_iter().flatten().collect();
    match errors.into_iter().find_map(Result::err) {
        Some(error) if nodes.is_empty() => Err(error),
        _ => Ok(NodeClocks { at, nodes }),
    }
}

async fn ask_node(session: &Session, node: NodeIdentifier) -> Result<u64, StoreError> {
    let context = "asking a node for the time";
    let mut question = Statement::new("SELECT toTimestamp(now()) FROM system.local");
    question.set_consistency(Consistency::One);
    question.set_request_timeout(Some(TIMEOUT));
    question.set_load_balancing_policy(Some(SingleTargetLoadBalancingPolicy::new(node, None)));
    let answer = session.query_unpaged(question, ()).await.map_err(|error| failed(context, error))?;
    let rows = answer.into_rows_result().map_err(|error| failed(context, error))?;
    let (CqlTimestamp(unix_ms),) = rows.single_row().map_err(|error| failed(context, error))?;
    u64::try_from(unix_ms).map_err(|_| failed(context, "the node's clock is before 1970"))
}

// === impl NodeClocks ===

impl NodeClocks {
    /// What time it is by most of them.
    pub(super) fn reading(&self) -> Option<Reading> {
        let unix_ms = median(self.nodes.iter().map(|(_, unix_ms)| *unix_ms).collect())?;
        Some(Reading { unix_ms, at: self.at })
    }

    /// Nodes whose clock is far from the others'. Rows expire by the clock of the node that writes them.
    pub(super) fn conditions(&self) -> Vec<Condition> {
        let Some(Reading { unix_ms, .. }) = self.reading() else { return Vec::new() };
        let offsets = self.nodes.iter().map(|(node, node_ms)| (node, Offset::between(*node_ms, unix_ms)));
        let far = offsets.filter(|(_, offset)| offset.size() > MAX_DIFFERENCE);
        far.map(|(node, offset)| {
            let detail = format!(
                "the clock of database node {node} is {offset} the other nodes': rows that it takes expire too early or \
                 too late; set it right"
            );
            Condition::degraded(Part::Store, "node_clock_wrong", node.clone(), detail)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(times: &[u64]) -> NodeClocks {
        let nodes = times.iter().enumerate().map(|(index, time)| (format!("10.0.0.{index}"), *time)).collect();
        NodeClocks { at: Instant::now(), nodes }
    }

    #[test]
    fn test_a_node_with_a_wrong_clock_is_named_and_not_believed() {
        let clocks = clocks(&[1_795_000_000_000, 1_795_000_000_400, 1_795_100_000_000]);
        assert_eq!(clocks.reading().unwrap().unix_ms, 1_795_000_000_400);
        let conditions = clocks.conditions();
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].subject, "10.0.0.2");
        assert!(conditions[0].detail.contains("1day 3h 47m ahead of"), "{}", conditions[0].detail);
    }

    #[test]
    fn test_nodes_that_agree_give_nothing_to_tell_of() {
        assert!(clocks(&[1_795_000_000_000, 1_795_000_060_000]).conditions().is_empty());
        assert!(clocks(&[]).reading().is_none() && clocks(&[]).conditions().is_empty());
    }
}
