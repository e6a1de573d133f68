//! Routes of the config against the tables of the store: compiled when the store is opened, and looked at again from time to
//! time, because tables of others change.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::actors::routing::{Descriptions, MakeExtract, RoutedTopic, Routing, TopicMatch};
use crate::flow::health::{Condition, Part};
use crate::routes::{Format, RouteProblem, RouteSpec};
use crate::schema::row::{Column, Table, TableDescription, TableName};
use crate::store::{Store, StoreError};
use crate::telemetry::Counters;

/// Topics of others that share a section of the config, with their routes, as far as that goes without the database.
#[derive(Clone)]
pub struct TopicRoutesSpec {
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
}

/// All routes of a config.
#[derive(Clone, Default)]
pub struct RouteSources {
    /// Of topics of others; those without a route are among them.
    pub topics: Vec<TopicRoutesSpec>,
}

/// The routes of an engine.
#[derive(Clone, Default)]
pub(super) struct LiveRoutes {
    /// As the config has them.
    pub(super) sources: Arc<RouteSources>,
    /// As they are compiled against the store's tables; empty before it is open.
    pub(super) routing: Arc<ArcSwap<Routing>>,
}

/// Why routes cannot be used as the store's tables are.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Routes and tables do not go together.
    #[error("{}", lines(.0))]
    Problems(Vec<RouteProblem>),
}

fn lines(problems: &[RouteProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

// === impl RouteSources ===

impl RouteSources {
    /// The routes of the config, in the order of their sources.
    fn specs(&self) -> impl Iterator<Item = &RouteSpec> {
        self.topics.iter().flat_map(|topic| &topic.specs)
    }

    /// Asks the store for the tables of all routes, and compiles the routes against them.
    ///
    /// # Errors
    /// Every problem of every route; or the first question that the store did not answer.
    pub async fn compile(&self, store: &dyn Store, counters: &Counters) -> Result<Routing, RoutesError> {
        let descriptions = Arc::new(describe(store, self.specs()).await?);
        self.compile_against(&descriptions, counters)
    }

    fn compile_against(&self, descriptions: &Arc<Descriptions>, counters: &Counters) -> Result<Routing, RoutesError> {
        let (mut topics, mut tables, mut problems) = (Vec::new(), Vec::new(), Vec::new());
        for topic in &self.topics {
            let routed = topic.with(Arc::clone(descriptions));
            match routed.compile(counters) {
                Ok(compiled) => {
                    compiled.tables().for_each(|table| push_new(&mut tables, Arc::clone(table)));
                    topics.push(Arc::new(routed));
                }
                // A route from several topics has the same problem with each.
                Err(of_topic) => of_topic.into_iter().for_each(|problem| push_new(&mut problems, problem)),
            }
        }
        if problems.is_empty() { Ok(Routing::new(topics, tables)) } else { Err(RoutesError::Problems(problems)) }
    }

    /// Routes whose tables are no longer as they were when the routes were compiled. Those that only have more columns are
    /// fine.
    pub async fn inspect(&self, store: &dyn Store, in_force: &Routing) -> Result<Vec<Condition>, StoreError> {
        let now = Arc::new(describe(store, self.specs()).await?);
        let mut found = Vec::new();
        for topic in &self.topics {
            for spec in &topic.specs {
                let Some(reason) = topic.change(spec, &now, in_force) else { continue };
                let detail = format!(
                    "route {} writes no rows: {reason}. Records wait in the log, uncommitted; once the table is as it was \
                     they are written by themselves, and with a restart if it is to stay as it is",
                    spec.name
                );
                push_new(&mut found, Condition::failing(Part::Store, "route_stopped", &spec.name, detail));
            }
        }
        Ok(found)
    }
}

// === impl TopicRoutesSpec ===

impl TopicRoutesSpec {
    fn with(&self, descriptions: Arc<Descriptions>) -> RoutedTopic {
        let Self { name, is_of, format, specs, extract } = self.clone();
        RoutedTopic { name, is_of, format, specs, extract, descriptions }
    }

    /// What has changed of a route's table so that its rows do not fit any more.
    fn change(&self, spec: &RouteSpec, now: &Arc<Descriptions>, in_force: &Routing) -> Option<String> {
        let is_of = |table: &&Arc<Table>| table.routed.as_ref().is_some_and(|routed| routed.route == spec.name);
        let before = in_force.tables().iter().find(is_of)?;
        if before.routed.as_ref().is_some_and(|routed| routed.is_created) && !now.contains_key(&spec.table) {
            return Some(format!("table {} is gone", before.full_name()));
        }
        let alone = Self { specs: vec![spec.clone()], ..self.clone() }.with(Arc::clone(now));
        match alone.compile(&Counters::default()) {
            Err(problems) => {
                Some(problems.iter().map(|problem| problem.reason.as_str()).collect::<Vec<_>>().join("; "))
            }
            Ok(compiled) => {
                let after = compiled.tables().next()?;
                let differing = |column: &&Column| !after.columns.contains(column);
                match before.columns.iter().find(differing) {
                    Some(column) => Some(format!(
                        "column {} of table {} is not of the type any more that it had when the engine began",
                        column.name,
                        before.full_name()
                    )),
                    None if before.key != after.key => Some(format!("table {} has another key", before.full_name())),
                    None => None,
                }
            }
        }
    }
}

fn push_new<T: PartialEq>(known: &mut Vec<T>, one: T) {
    if !known.contains(&one) {
        known.push(one);
    }
}

/// What the store says of the tables of these routes.
async fn describe(store: &dyn Store, specs: impl Iterator<Item = &RouteSpec>) -> Result<Descriptions, StoreError> {
    let mut answers: HashMap<TableName, Option<TableDescription>> = HashMap::new();
    for spec in specs {
        if !answers.contains_key(&spec.table) {
            answers.insert(spec.table.clone(), store.describe(&spec.table).await?);
        }
    }
    Ok(answers.into_iter().filter_map(|(name, description)| Some((name, description?))).collect())
}
