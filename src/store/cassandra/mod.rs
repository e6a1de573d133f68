//! The store in a cluster: Cassandra or ScyllaDB.
//!
//! One session for the process. Every request runs as a task of the runtime that the store was given, because the
//! driver's connections and timers live there; callers wait for the task. Nothing is retried here.

mod bind;
mod clock;
mod cluster;
mod columns;
mod current;
mod errors;
mod inspect;
mod keys;
mod pressure;
mod question;
mod routed;
mod schema;
mod session;
mod settings;
mod statements;
mod types;
mod values;

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rand::seq::IteratorRandom;
use scylla::client::session::Session;
use scylla::policies::load_balancing::{LoadBalancingPolicy, NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::statement::unprepared::Statement;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

pub use settings::{CassandraSettings, Consistency};

use self::cluster::ClusterAsker;
use self::current::Current;
use self::inspect::Inspector;
use self::pressure::Views;
use super::apart::take_apart;
use super::scan;
use super::{Cause, Grouping, RowKey, Store, StoreError, TransientKind, WriteError, Written};
use crate::flow::budget::StorePressure;
use crate::flow::clock::Reading;
use crate::flow::cluster::StoreCluster;
use crate::flow::health::Condition;
use crate::schema::row::{RowGroup, Table, TableDescription, TableName};

/// How long the cluster may take to show that it is alive.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

/// Places for writes in flight. No limit, that is the gate's: `close` takes all of them to know that none is in use.
const NUM_PLACES: u32 = u32::MAX;

/// What tasks share.
struct Cluster {
    session: Session,
    settings: CassandraSettings,
    current: Current,
    health_query: Statement,
    views: Views,
    inspector: Inspector,
    asker: ClusterAsker,
}

/// The handle of the Cassandra store.
pub struct CassandraStore {
    cluster: Arc<Cluster>,
    runtime: Handle,
    places: Arc<Semaphore>,
}

// === impl CassandraStore ===

impl CassandraStore {
    /// Connects to the cluster. The driver lives in `runtime`, which is a multi-thread one; this future may be
    /// polled anywhere. The keyspace need not exist yet.
    pub async fn connect(settings: CassandraSettings, runtime: Handle) -> Result<Self, StoreError> {
        let task = runtime.spawn(async move {
            let session = session::connect(&settings).await?;
            let mut health_query = Statement::new("SELECT key FROM system.local");
            health_query.set_is_idempotent(true);
            health_query.set_execution_profile_handle(Some(session::health_profile(&settings).into_handle()));
            let (current, views, inspector) =
                (Current::default(), Views::new(&settings.keyspace), Inspector::default());
            let asker = ClusterAsker::new(&settings.keyspace);
            Ok(Arc::new(Cluster { session, settings, current, health_query, views, inspector, asker }))
        });
        let cluster = task.await.map_err(|error| failed("connecting to the cluster", error))??;
        let mut question = Statement::new("SELECT schema_version FROM system.local");
        question.set_execution_profile_handle(cluster.health_query.get_execution_profile_handle().cloned());
        runtime.spawn(current::watch(Arc::downgrade(&cluster), question));
        Ok(Self { cluster, runtime, places: Arc::new(Semaphore::new(NUM_PLACES as usize)) })
    }

    /// Runs a write where the driver lives; it goes on when its future is dropped.
    fn place<F>(&self, write: impl FnOnce(Arc<Cluster>) -> F) -> BoxFuture<'static, Written>
    where
        F: Future<Output = Written> + Send + 'static,
    {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return Box::pin(async {
                Err(WriteError::Transient(TransientKind::Connection, "store closed".to_string()))
            });
        };
        let write = write(self.cluster.clone());
        let task = self.runtime.spawn(async move {
            let outcome = write.await;
            drop(place);
            outcome
        });
        Box::pin(async move {
            task.await.unwrap_or_else(|error| {
                Err(WriteError::Transient(TransientKind::Connection, format!("write task ended: {error}")))
            })
        })
    }

    /// Runs a request where the driver lives.
    async fn run<T, F>(&self, context: &str, request: impl FnOnce(Arc<Cluster>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let task = self.runtime.spawn(request(self.cluster.clone()));
        task.await.map_err(|error| failed(context, error))?
    }
}

// === impl Cluster ===

impl Cluster {
    /// A batch is refused as a whole, and the answer does not say for which row.
    async fn write(&self, group: &RowGroup) -> Written {
        let statements = self.current.of(&self.session, &self.settings, &group.table).await?;
        let error = match statements.write(&self.session, group).await {
            Ok(()) => return Ok(Vec::new()),
            Err(error) => errors::write_error(&error),
        };
        if matches!(error, WriteError::Invalid(_)) {
            self.current.doubt(&statements);
        }
        Err(error)
    }

    /// By way of one node: guardrails, permissions and schema are each node's own, as long as nodes differ in them.
    async fn judge(&self, suspects: &Arc<RowGroup>, known_good: Option<Arc<RowGroup>>) -> Written {
        let statements = self.current.of(&self.session, &self.settings, &suspects.table).await?;
        let node = self.some_node();
        let write = async |group: Arc<RowGroup>| {
            let outcome = match &node {
                Some(node) => statements.write_by_way_of(&self.session, &group, node).await,
                None => statements.write(&self.session, &group).await,
            };
            outcome.map(|()| Vec::new()).map_err(|error| errors::write_error(&error))
        };
        let outcome = take_apart(suspects, known_good, write).await;
        let Err(WriteError::Table(refusal)) = outcome else { return outcome };
        // What is wrong with the table says more than the refusal, if it is the table's shape.
        let shape = schema::check(&self.session, &self.settings, &[Arc::clone(&suspects.table)]).await;
        Err(WriteError::Table(shape.err().map_or(refusal, |error| error.to_string())))
    }

    /// Any node that could have been the one that writes go to.
    fn some_node(&self) -> Option<Arc<dyn LoadBalancingPolicy>> {
        let state = self.session.get_cluster_state();
        let (datacenter, nodes) = (self.settings.datacenter.as_ref(), state.get_nodes_info());
        let is_ours = |node: &&Arc<_>| {
            let node: &scylla::cluster::Node = node;
            node.is_connected() && datacenter.is_none_or(|name| node.datacenter.as_ref() == Some(name))
        };
        let node = nodes.iter().filter(is_ours).choose(&mut rand::rng())?;
        Some(SingleTargetLoadBalancingPolicy::new(NodeIdentifier::Node(Arc::clone(node)), None))
    }

    async fn health(&self) -> Result<(), String> {
        let question = self.session.query_unpaged(self.health_query.clone(), ());
        match tokio::time::timeout(HEALTH_TIMEOUT, question).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer from the cluster within {HEALTH_TIMEOUT:?}")),
        }
    }
}

impl Store for CassandraStore {
    fn grouping(&self) -> Grouping {
        let CassandraSettings { batch_rows, batch_bytes, .. } = self.cluster.settings;
        Grouping::ByPartition { max_rows: batch_rows.max(1), max_bytes: batch_bytes }
    }

    fn write(&self, group: Arc<RowGroup>) -> BoxFuture<'static, Written> {
        self.place(move |cluster| async move { cluster.write(&group).await })
    }

    fn judge(&self, suspects: Arc<RowGroup>, known_good: Option<Arc<RowGroup>>) -> BoxFuture<'static, Written> {
        self.place(move |cluster| async move { cluster.judge(&suspects, known_good).await })
    }

    fn apply(&self, tables: &[Arc<Table>]) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        let tables = tables.to_vec();
        Box::pin(self.run("changing the schema", |cluster| async move {
            schema::apply(&cluster.session, &cluster.settings, &tables).await
        }))
    }

    fn describe(&self, table: &TableName) -> BoxFuture<'_, Result<Option<TableDescription>, StoreError>> {
        let table = table.clone();
        Box::pin(self.run("describing a table", |cluster| async move {
            schema::describe(&cluster.session, &cluster.settings, &table).await
        }))
    }

    fn prepare(&self, tables: &[Arc<Table>]) -> BoxFuture<'_, Result<(), StoreError>> {
        let tables = tables.to_vec();
        Box::pin(self.run("preparing statements", |cluster| async move {
            cluster.current.prepare(&cluster.session, &cluster.settings, &tables).await
        }))
    }

    fn health(&self) -> BoxFuture<'_, Result<(), String>> {
        let cluster = self.cluster.clone();
        let task = self.runtime.spawn(async move { cluster.health().await });
        Box::pin(async { task.await.unwrap_or_else(|error| Err(error.to_string())) })
    }

    fn pressure(&self) -> BoxFuture<'_, Result<Option<StorePressure>, StoreError>> {
        Box::pin(self.run("asking the cluster about itself", |cluster| async move {
            Ok(cluster.views.ask(&cluster.session).await)
        }))
    }

    fn inspect(&self, tables: &[Arc<Table>]) -> BoxFuture<'_, Result<Vec<Condition>, StoreError>> {
        let tables = tables.to_vec();
        Box::pin(self.run("inspecting the cluster", |cluster| async move {
            cluster.inspector.inspect(&cluster.session, &cluster.settings, &tables).await
        }))
    }

    fn cluster(&self, tables: &[Arc<Table>]) -> BoxFuture<'_, Result<Option<StoreCluster>, StoreError>> {
        let tables = tables.to_vec();
        Box::pin(self.run("asking the nodes about themselves", |cluster| async move {
            let own = &cluster.settings.keyspace;
            let in_own = tables.iter().filter(|table| cluster.settings.keyspace_of(table) == own);
            let names: Vec<&str> = in_own.map(|table| table.name.as_str()).collect();
            Ok(Some(cluster.asker.ask(&cluster.session, &cluster.settings, &names).await))
        }))
    }

    fn clock(&self) -> BoxFuture<'_, Result<Option<Reading>, StoreError>> {
        Box::pin(self.run("asking the cluster for the time", |cluster| async move {
            Ok(clock::ask(&cluster.session).await?.reading())
        }))
    }

    fn scan<'a>(
        &'a self,
        table: &'a Table,
        visit: &'a mut (dyn FnMut(RowKey) + Send),
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        let (cluster, name) = (self.cluster.clone(), table.name.clone());
        let (chunks, chunk_receiver) = scan::channel();
        self.runtime.spawn(async move {
            keys::send_keys(&cluster.session, &cluster.settings.keyspace, &name, chunks).await;
        });
        Box::pin(scan::visit_all(chunk_receiver, visit))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // Fails only if it is closed already. Waiting for all places also lets no new write in.
            if let Ok(all) = self.places.acquire_many(NUM_PLACES).await {
                self.places.close();
                drop(all);
            }
        })
    }
}

/// An error of the store with what was tried.
fn failed(context: impl Display, source: impl Into<Cause>) -> StoreError {
    StoreError::failed(context.to_string(), source)
}
