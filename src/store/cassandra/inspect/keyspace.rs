//! The settings of the keyspace itself: how it is replicated, which [`super::replicas`] judges, and whether its writes go
//! through the commit log.

use std::collections::BTreeMap;

use scylla::client::session::Session;

use super::failed;
use crate::flow::health::{Condition, Part};
use crate::store::StoreError;

/// A keyspace as the database describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keyspace {
    /// Its `replication` map.
    pub(super) replication: BTreeMap<String, String>,
    /// `durable_writes`: without it, a confirmed row is in the memory of its replicas alone until they flush the table.
    pub(super) has_commit_log: bool,
}

/// Asks for a keyspace; `None` if it is not there.
pub(super) async fn ask(session: &Session, keyspace: &str) -> Result<Option<Keyspace>, StoreError> {
    let context = format!("reading the settings of keyspace {keyspace}");
    let cql = "SELECT replication, durable_writes FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let answer = session.query_unpaged(cql, (keyspace,)).await.map_err(|error| failed(&context, error))?;
    let rows = answer.into_rows_result().map_err(|error| failed(&context, error))?;
    let row = rows.maybe_first_row::<(BTreeMap<String, String>, bool)>().map_err(|error| failed(&context, error))?;
    Ok(row.map(|(replication, has_commit_log)| Keyspace { replication, has_commit_log }))
}

/// Rows that are confirmed have to outlive a crash: their offsets are committed, and nothing writes them again.
pub(super) fn durability(keyspace: &str, has_commit_log: bool) -> Option<Condition> {
    let detail = format!(
        "keyspace {keyspace} has durable_writes = false: rows that the database has confirmed, and that are not written again, \
         are lost when its nodes crash before they flush; ALTER KEYSPACE {keyspace} WITH durable_writes = true, then run \
         nodetool flush {keyspace} on each node"
    );
    (!has_commit_log).then(|| Condition::degraded(Part::Store, "durable_writes_off", keyspace, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::health::Verdict;

    #[test]
    fn test_a_keyspace_without_a_commit_log_is_told_and_stops_nothing() {
        assert_eq!(durability("ks", true), None);
        let condition = durability("ks", false).unwrap();
        assert_eq!(
            (condition.part, condition.verdict, condition.code),
            (Part::Store, Verdict::Degraded, "durable_writes_off")
        );
        assert!(!condition.refuses_start && !condition.refuses_intake);
        assert!(condition.detail.contains("ALTER KEYSPACE ks WITH durable_writes = true"), "{}", condition.detail);
    }
}
