//! Prepared statements, and batches of them that are built once per size.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use scylla::client::session::Session;
use scylla::errors::ExecutionError;
use scylla::policies::load_balancing::LoadBalancingPolicy;
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;

use super::bind::{BoundGroup, BoundRow};
use super::schema::insert_cql;
use super::{failed, types};
use crate::schema::row::{RowGroup, Table};
use crate::store::StoreError;

/// How one table is written.
pub(super) struct TableStatements {
    table: Arc<Table>,
    insert: PreparedStatement,
    /// At index n the batch of n + 2 rows. A batch holds one copy of the statement per row, each with a dozen
    /// reference counts, so it is built once and not per write.
    batches: Vec<OnceLock<Batch>>,
    /// When that was.
    pub(super) prepared: Instant,
    /// The table may have changed since.
    pub(super) is_doubtful: AtomicBool,
}

/// The statements of all tables. Replaced as a whole.
///
/// A table that has got columns since is kept as long as somebody may still have rows for it: they are written as they
/// were made.
#[derive(Clone, Default)]
pub(super) struct Statements {
    /// By the table's name, the newest description first.
    by_name: HashMap<String, Vec<Arc<TableStatements>>>,
}

/// Prepares the statement of one table.
pub(super) async fn prepare(
    session: &Session,
    keyspace: &str,
    table: &Arc<Table>,
    batch_rows: usize,
) -> Result<TableStatements, StoreError> {
    let mut insert = session
        .prepare(insert_cql(keyspace, table))
        .await
        .map_err(|error| failed(format!("preparing for table {keyspace}.{}", table.name), error))?;
    types::check_prepared(&insert, keyspace, table)?;
    // The key and the timestamp come from the row.
    insert.set_is_idempotent(true);
    let batches = (2..=batch_rows).map(|_| OnceLock::new()).collect();
    let (prepared, is_doubtful) = (Instant::now(), AtomicBool::new(false));
    Ok(TableStatements { table: table.clone(), insert, batches, prepared, is_doubtful })
}

// === impl Statements ===

impl Statements {
    /// The statements for rows of this description.
    pub(super) fn of(&self, table: &Arc<Table>) -> Option<&Arc<TableStatements>> {
        self.by_name.get(&table.name)?.iter().find(|statements| statements.is_for(table))
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<TableStatements>> {
        self.by_name.values().flatten()
    }

    /// Adds statements, and forgets those that nobody can need any more.
    pub(super) fn add(&mut self, newest: TableStatements) {
        let known = self.by_name.entry(newest.table.name.clone()).or_default();
        // Whoever makes or has rows holds the description that they follow.
        known.retain(|older| older.table != newest.table && Arc::strong_count(&older.table) > 1);
        known.insert(0, Arc::new(newest));
    }
}

// === impl TableStatements ===

impl TableStatements {
    /// Whether rows of this description are what the statement takes.
    fn is_for(&self, table: &Arc<Table>) -> bool {
        Arc::ptr_eq(&self.table, table) || self.table == *table
    }

    /// Writes a group by way of the node that a policy names, whatever its partition is.
    pub(super) async fn write_by_way_of(
        &self,
        session: &Session,
        group: &RowGroup,
        node: &Arc<dyn LoadBalancingPolicy>,
    ) -> Result<(), ExecutionError> {
        let num_rows = group.num_rows();
        if num_rows == 1 {
            let mut insert = self.insert.clone();
            insert.set_load_balancing_policy(Some(Arc::clone(node)));
            return session.execute_unpaged(&insert, BoundRow { group, row: &group.cells }).await.map(drop);
        }
        let mut batch = self.batch(num_rows);
        batch.set_load_balancing_policy(Some(Arc::clone(node)));
        session.batch(&batch, BoundGroup(group)).await.map(drop)
    }

    /// Writes a group of one partition. The driver routes a batch by the partition key of its first row.
    pub(super) async fn write(&self, session: &Session, group: &RowGroup) -> Result<(), ExecutionError> {
        let num_rows = group.num_rows();
        if num_rows == 0 {
            return Ok(());
        }
        if num_rows == 1 {
            let row = BoundRow { group, row: &group.cells };
            return session.execute_unpaged(&self.insert, row).await.map(drop);
        }
        match self.batches.get(num_rows - 2) {
            Some(cached) => session.batch(cached.get_or_init(|| self.batch(num_rows)), BoundGroup(group)).await,
            None => session.batch(&self.batch(num_rows), BoundGroup(group)).await,
        }
        .map(drop)
    }

    /// Unlogged: within one partition the rows are one mutation, which is all or nothing anyway.
    fn batch(&self, num_rows: usize) -> Batch {
        let statements = vec![BatchStatement::PreparedStatement(self.insert.clone()); num_rows];
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        batch.set_is_idempotent(true);
        batch
    }
}
