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
use super::schema::{delete_cql, insert_cql};
use super::session::driver_consistency;
use super::settings::CassandraSettings;
use super::{failed, types};
use crate::schema::row::{Column, RowGroup, RowOp, Table, WriteTime};
use crate::store::StoreError;

/// How one table is written.
pub(super) struct TableStatements {
    table: Arc<Table>,
    upsert: RowStatement,
    /// Only rows of routes are deleted.
    delete: Option<RowStatement>,
    /// When that was.
    pub(super) prepared: Instant,
    /// The table may have changed since.
    pub(super) is_doubtful: AtomicBool,
}

/// What is done with a row, and with several.
struct RowStatement {
    row: PreparedStatement,
    /// At index n the batch of n + 2 rows. A batch holds one copy of the statement per row, each with a dozen
    /// reference counts, so it is built once and not per write.
    batches: Vec<OnceLock<Batch>>,
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

/// Prepares the statements of one table.
pub(super) async fn prepare(
    session: &Session,
    settings: &CassandraSettings,
    table: &Arc<Table>,
) -> Result<TableStatements, StoreError> {
    let keyspace = settings.keyspace_of(table);
    let statement = async |cql: String, columns: &[Column], first| {
        let context = || format!("preparing for table {keyspace}.{}", table.name);
        let row = session.prepare(cql).await.map_err(|error| failed(context(), error))?;
        types::check_prepared(&row, keyspace, table, columns, first)?;
        Ok::<_, StoreError>(RowStatement::new(row, table, settings.batch_rows))
    };
    let upsert = statement(insert_cql(keyspace, table), &table.columns, 0).await?;
    let delete = match table.routed {
        Some(_) => {
            let first = usize::from(table.timestamp_cell().is_some());
            Some(statement(delete_cql(keyspace, table), &table.columns[..table.key.len()], first).await?)
        }
        None => None,
    };
    let (prepared, is_doubtful) = (Instant::now(), AtomicBool::new(false));
    Ok(TableStatements { table: table.clone(), upsert, delete, prepared, is_doubtful })
}

// === impl Statements ===

impl Statements {
    /// The statements for rows of this description.
    pub(super) fn of(&self, table: &Arc<Table>) -> Option<&Arc<TableStatements>> {
        let known = self.by_name.get(&table.name)?;
        // Comparing descriptions is long work beside looking which one it is.
        let same = known.iter().find(|statements| Arc::ptr_eq(&statements.table, table));
        same.or_else(|| known.iter().find(|statements| statements.table == *table))
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
    /// Writes a group by way of the node that a policy names, whatever its partition is.
    pub(super) async fn write_by_way_of(
        &self,
        session: &Session,
        group: &RowGroup,
        node: &Arc<dyn LoadBalancingPolicy>,
    ) -> Result<(), ExecutionError> {
        let statement = self.of(group.op);
        let num_rows = group.num_rows();
        if num_rows == 1 {
            let mut row = statement.row.clone();
            row.set_load_balancing_policy(Some(Arc::clone(node)));
            return session.execute_unpaged(&row, BoundRow { group, row: &group.cells }).await.map(drop);
        }
        let mut batch = statement.batch(num_rows);
        batch.set_load_balancing_policy(Some(Arc::clone(node)));
        session.batch(&batch, BoundGroup(group)).await.map(drop)
    }

    /// Writes a group of one partition. The driver routes a batch by the partition key of its first row.
    pub(super) async fn write(&self, session: &Session, group: &RowGroup) -> Result<(), ExecutionError> {
        let num_rows = group.num_rows();
        if num_rows == 0 {
            return Ok(());
        }
        let statement = self.of(group.op);
        if num_rows == 1 {
            let row = BoundRow { group, row: &group.cells };
            return session.execute_unpaged(&statement.row, row).await.map(drop);
        }
        match statement.batches.get(num_rows - 2) {
            Some(cached) => session.batch(cached.get_or_init(|| statement.batch(num_rows)), BoundGroup(group)).await,
            None => session.batch(&statement.batch(num_rows), BoundGroup(group)).await,
        }
        .map(drop)
    }

    fn of(&self, op: RowOp) -> &RowStatement {
        match (op, &self.delete) {
            (RowOp::Upsert, _) => &self.upsert,
            (RowOp::Delete, Some(delete)) => delete,
            (RowOp::Delete, None) => unreachable!("only rows of routes are deleted"),
        }
    }
}

// === impl RowStatement ===

impl RowStatement {
    fn new(mut row: PreparedStatement, table: &Table, batch_rows: usize) -> Self {
        let routed = table.routed.as_ref();
        // The key comes from the row, and so does the timestamp, unless it is the server's.
        row.set_is_idempotent(routed.is_none_or(|routed| routed.timestamp == WriteTime::Cell));
        if let Some(consistency) = routed.and_then(|routed| routed.consistency) {
            row.set_consistency(driver_consistency(consistency));
        }
        Self { row, batches: (2..=batch_rows).map(|_| OnceLock::new()).collect() }
    }

    /// Unlogged: within one partition the rows are one mutation, which is all or nothing anyway.
    fn batch(&self, num_rows: usize) -> Batch {
        let statements = vec![BatchStatement::PreparedStatement(self.row.clone()); num_rows];
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        batch.set_is_idempotent(self.row.get_is_idempotent());
        if let Some(consistency) = self.row.get_consistency() {
            batch.set_consistency(consistency);
        }
        batch
    }
}
