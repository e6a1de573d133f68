//! The routes that writers apply, and what the database said of their tables. Shared by all writers; each compiles its own
//! of it, because compiled routes serve one thread at a time.

use std::collections::HashMap;
use std::sync::Arc;

use crate::codec::value::{Extract, Path};
use crate::log::RecordBatch;
use crate::registry::Registry;
use crate::routes::{Format, RouteProblem, RouteSpec, RouteTable, TimestampSpec, TopicRoutes};
use crate::schema::row::{Table, TableDescription, TableName, WriteTime};
use crate::telemetry::Counters;
use crate::telemetry::counters::RouteCounts;

/// What the database said of tables; those that it has not are missing.
pub type Descriptions = HashMap<TableName, TableDescription>;

/// Makes what reads values at paths, for a source's format.
pub type MakeExtract = Arc<dyn Fn(&[Path]) -> Box<dyn Extract> + Send + Sync>;

/// Says whether a topic is one of a source's.
pub type TopicMatch = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Topics of others that share a section of the config, with their routes.
pub struct RoutedTopic {
    /// The name of the section.
    pub name: Arc<str>,
    /// Which topics these are.
    pub is_of: TopicMatch,
    /// How their records are written.
    pub format: Format,
    /// The routes, in the order of the config.
    pub specs: Vec<RouteSpec>,
    /// Reads the records.
    pub extract: MakeExtract,
    /// Knows the schemas of the records, if they have any.
    pub registry: Option<Arc<Registry>>,
    /// What the routes are compiled against.
    pub descriptions: Arc<Descriptions>,
}

/// A message type with routes beside its own table.
pub struct RoutedType {
    /// The type, and its own table.
    pub name: String,
    /// The routes, in the order of the config.
    pub specs: Vec<RouteSpec>,
    /// What the routes are compiled against.
    pub descriptions: Arc<Descriptions>,
}

/// Routes of one source that one thread applies, with their counters in the same order.
pub struct Compiled {
    /// The routes.
    pub routes: TopicRoutes,
    /// What each makes.
    pub counts: Vec<Arc<RouteCounts>>,
}

/// The routes in force. Replaced whole.
#[derive(Default)]
pub struct Routing {
    topics: Vec<Arc<RoutedTopic>>,
    types: Vec<Arc<RoutedType>>,
    routes: Vec<Arc<RouteTable>>,
    tables: Vec<Arc<Table>>,
}

// === impl RoutedTopic ===

impl RoutedTopic {
    /// Compiles the routes.
    ///
    /// # Errors
    /// Every problem of every route.
    pub fn compile(&self, counters: &Counters) -> Result<Compiled, Vec<RouteProblem>> {
        let describe = |spec: &RouteSpec| self.descriptions.get(&spec.table).cloned();
        let routes = TopicRoutes::compile(self.format, &self.specs, describe, |paths| (self.extract)(paths))?;
        Ok(Compiled::new(routes, counters))
    }

    /// Returns when the schemas of all records are known, or known not to exist, however long that takes.
    pub async fn learn(&self, batch: &RecordBatch) {
        let Some(registry) = &self.registry else { return };
        let values = || batch.records.iter().map(|record| record.value(&batch.data));
        if !registry.knows(values()) {
            registry.learn(values()).await;
        }
    }
}

// === impl RoutedType ===

impl RoutedType {
    /// Compiles the routes for rows of the type's own table.
    ///
    /// # Errors
    /// Every problem of every route.
    pub fn compile(&self, own: &Table, counters: &Counters) -> Result<Compiled, Vec<RouteProblem>> {
        let describe = |spec: &RouteSpec| self.descriptions.get(&spec.table).cloned();
        Ok(Compiled::new(TopicRoutes::compile_type(own, &self.specs, describe)?, counters))
    }
}

// === impl Compiled ===

impl Compiled {
    fn new(routes: TopicRoutes, counters: &Counters) -> Self {
        let counts_of = |name: &str| counters.routes.of(&Arc::from(name));
        let counts = routes.routes().iter().map(|route| counts_of(&route.spec.name)).collect();
        Self { routes, counts }
    }
}

// === impl Routing ===

impl Routing {
    /// These sources, which all have their own of these routes.
    pub fn new(topics: Vec<Arc<RoutedTopic>>, types: Vec<Arc<RoutedType>>, routes: Vec<Arc<RouteTable>>) -> Self {
        let mut tables: Vec<Arc<Table>> = Vec::new();
        for RouteTable { table, .. } in routes.iter().map(|route| &**route) {
            if !tables.contains(table) {
                tables.push(Arc::clone(table));
            }
        }
        Self { topics, types, routes, tables }
    }

    /// The section of a topic of others; `None` for a topic of ours.
    pub fn of_topic(&self, topic: &str) -> Option<&Arc<RoutedTopic>> {
        self.topics.iter().find(|source| (source.is_of)(topic))
    }

    /// The message types that have routes.
    pub fn types(&self) -> &[Arc<RoutedType>] {
        &self.types
    }

    /// Every route with its table; one from several sources once.
    pub fn routes(&self) -> &[Arc<RouteTable>] {
        &self.routes
    }

    /// The tables of all routes.
    pub fn tables(&self) -> &[Arc<Table>] {
        &self.tables
    }
}

/// Whether the database's time decides between two writes of one row, so that they must come in the order of the records.
pub fn is_in_order(table: &Table) -> bool {
    table.routed.as_ref().is_some_and(|routed| routed.timestamp == WriteTime::Server)
}

/// The same of a route. Batches of a partition with such a route are written one after the other.
pub fn needs_order(spec: &RouteSpec) -> bool {
    spec.timestamp == TimestampSpec::Server
}
