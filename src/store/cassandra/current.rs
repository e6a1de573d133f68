//! Statements that fit the tables as they are now.
//!
//! What keeps values out of columns of another type is the statement's own text
//! ([`insert_cql`](super::schema::insert_cql)): a server that has forgotten a statement, as it does when the table
//! changes, refuses to prepare it for a type that would read the bytes as something else. Servers count some types as
//! compatible though, in which the bytes mean the same or are kept as they are: any in a blob, integers in a varint,
//! timestamps in a bigint. So the version of the schema is watched, too ([`watch`]), and after each change of it, and
//! after a refusal, a table is compared with its description before anything else is written: types exactly. While it
//! is otherwise than described writes stop with the reason; once it is right, its statement is prepared again and they
//! go on. Per write that costs a look at a flag.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use scylla::client::session::Session;
use scylla::statement::unprepared::Statement;
use scylla::value::CqlValue;
use tokio::sync::Mutex;

use super::settings::CassandraSettings;
use super::statements::{self, Statements, TableStatements};
use super::{Cluster, schema};
use crate::schema::row::Table;
use crate::store::{StoreError, WriteError};

/// How often a table is compared with its description at most, while it is not as described or rows are refused.
const RENEW_INTERVAL: Duration = Duration::from_secs(1);

/// How often the cluster is asked for the version of its schema, which each change of any table makes another.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// The statements of all tables, with what makes them current.
#[derive(Default)]
pub(super) struct Current {
    statements: ArcSwap<Statements>,
    /// Held while statements are prepared: when each table failed last, and why.
    failures: Mutex<HashMap<String, (Instant, String)>>,
}

// === impl Current ===

impl Current {
    /// Checks tables and prepares their statements.
    pub(super) async fn prepare(
        &self,
        session: &Session,
        settings: &CassandraSettings,
        tables: &[Arc<Table>],
    ) -> Result<(), StoreError> {
        let _one_at_a_time = self.failures.lock().await;
        self.prepare_locked(session, settings, tables).await
    }

    /// The statements for rows of this description; prepared again if the table may have changed and is right.
    pub(super) async fn of(
        &self,
        session: &Session,
        settings: &CassandraSettings,
        table: &Arc<Table>,
    ) -> Result<Arc<TableStatements>, WriteError> {
        if let Some(statements) = self.usable(table) {
            return Ok(statements);
        }
        let mut failures = self.failures.lock().await;
        if let Some(statements) = self.usable(table) {
            return Ok(statements);
        }
        let name = described_name(table);
        if let Some((at, reason)) = failures.get(&name)
            && at.elapsed() < RENEW_INTERVAL
        {
            return Err(WriteError::Table(reason.clone()));
        }
        let outcome = self.prepare_locked(session, settings, std::slice::from_ref(table)).await;
        match (outcome, self.usable(table)) {
            (Ok(()), Some(statements)) => {
                failures.remove(&name);
                Ok(statements)
            }
            (outcome, _) => {
                let reason = outcome.err().map_or_else(|| "the table is changing".to_owned(), |e| e.to_string());
                failures.insert(name, (Instant::now(), reason.clone()));
                Err(WriteError::Table(reason))
            }
        }
    }

    async fn prepare_locked(
        &self,
        session: &Session,
        settings: &CassandraSettings,
        tables: &[Arc<Table>],
    ) -> Result<(), StoreError> {
        schema::check(session, settings, tables).await?;
        let mut statements = Statements::clone(&self.statements.load());
        for table in tables {
            statements.add(statements::prepare(session, settings, table).await?);
        }
        self.statements.store(Arc::new(statements));
        Ok(())
    }

    fn usable(&self, table: &Arc<Table>) -> Option<Arc<TableStatements>> {
        let statements = self.statements.load().of(table).cloned();
        statements.filter(|statements| !statements.is_doubtful.load(Ordering::Relaxed))
    }

    /// Rows were refused: unless the table was looked at just before, it is before the next write.
    pub(super) fn doubt(&self, statements: &TableStatements) {
        if statements.prepared.elapsed() >= RENEW_INTERVAL {
            statements.is_doubtful.store(true, Ordering::Relaxed);
        }
    }

    /// The schema has changed: each table is looked at before the next write to it.
    fn doubt_all(&self) {
        for statements in self.statements.load().all() {
            statements.is_doubtful.store(true, Ordering::Relaxed);
        }
    }
}

/// Under which failures of a table are kept: several routes may write to one table, each with columns of its own.
fn described_name(table: &Table) -> String {
    let route = table.routed.as_ref().map(|routed| routed.route.as_str()).unwrap_or_default();
    format!("{} {route}", table.full_name())
}

/// Follows the version of the cluster's schema for as long as the store lives.
pub(super) async fn watch(cluster: Weak<Cluster>, mut question: Statement) {
    question.set_request_timeout(Some(WATCH_INTERVAL * 4));
    let mut known = None;
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        let Some(cluster) = cluster.upgrade() else { return };
        let Ok(answer) = cluster.session.query_unpaged(question.clone(), ()).await else { continue };
        let Ok(rows) = answer.into_rows_result() else { continue };
        let Ok((version,)) = rows.single_row::<(CqlValue,)>() else { continue };
        if known.as_ref() != Some(&version) {
            known = Some(version);
            cluster.current.doubt_all();
        }
    }
}
