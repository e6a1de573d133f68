//! Routes of the config against the tables of the store: compiled when the store is opened, and looked at again from time to
//! time, because tables of others change.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::actors::routing::{Compiled, Descriptions, MakeExtract, RoutedTopic, RoutedType, Routing, needs_order};
use crate::actors::schemas::Schemas;
use crate::codec::avro::foreign::RegistryExtractor;
use crate::codec::json::JsonExtract;
use crate::codec::raw::RawExtract;
use crate::config::{Config, OthersTopic};
use crate::flow::health::{Condition, Part};
use crate::registry::Registry;
use crate::routes::{Format, RouteProblem, RouteSpec, RouteTable};
use crate::schema::Catalog;
use crate::schema::row::{Table, TableDescription, TableName};
use crate::store::{Store, StoreError};
use crate::telemetry::Counters;

/// All routes of a config, as far as that goes without the database.
#[derive(Default)]
pub struct RouteSources {
    /// Topics of others, those without a route among them.
    topics: Vec<TopicSource>,
    /// Message types with routes.
    types: Vec<TypeSource>,
    has_own_tables: bool,
}

/// Topics of others that share a section of the config, with their routes.
#[derive(Clone)]
pub struct TopicSource {
    name: Arc<str>,
    topics: Arc<crate::config::Topics>,
    format: Format,
    specs: Vec<RouteSpec>,
    registry: Option<Arc<Registry>>,
}

/// A message type with its routes and its own table.
#[derive(Clone)]
struct TypeSource {
    own: Arc<Table>,
    specs: Vec<RouteSpec>,
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

/// Problems of routes, a line for each.
pub fn lines(problems: &[RouteProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// That routes come from topics of others and from types that there are, and that there is what reads them.
pub fn check_routes(config: &Config, catalog: &Catalog) -> Result<(), String> {
    let names = || catalog.types().iter().map(|message_type| message_type.name.as_str()).collect::<Vec<_>>().join(", ");
    for spec in &config.routes {
        for name in spec.topics() {
            let key = format!("routes.{}.from", spec.name);
            match config.topics.others.iter().find(|others| others.name == *name) {
                None => {
                    return Err(format!(
                        "{key}: there is no topic of others {name:?}; add [topics.{name}] with owned = false and a format. \
                         Records of message types are routed with types"
                    ));
                }
                Some(others) if others.format == Format::Surgetank => {
                    return Err(format!(
                        "{key}: records of topic {name:?} are of message types; route them with types"
                    ));
                }
                Some(_) => {}
            }
        }
        for name in spec.types() {
            let key = format!("routes.{}.types", spec.name);
            if catalog.by_name(name).is_none() {
                if config.topics.own.is_empty() {
                    return Err(format!(
                        "{key}: message types are in topics of ours, and the config has none; add one, such as [topics.telemetry]"
                    ));
                }
                return Err(format!("{key}: there is no layout for type {name:?} (allowed: {})", names()));
            }
        }
    }
    match config.topics.others.iter().find(|others| others.format == Format::AvroRegistry) {
        Some(others) if config.registry.url.is_none() => {
            Err(format!("topics.{}.format: records with a schema of a registry need registry.url", others.name))
        }
        _ => Ok(()),
    }
}

/// Whether records of message types are written, into their own tables.
pub fn has_own_tables(config: &Config) -> bool {
    !config.topics.own.is_empty() || config.topics.others.iter().any(|others| others.format == Format::Surgetank)
}

/// Says of a topic whether batches of one partition must be written one after the other, because the database's time decides
/// between two writes of one row.
pub(super) fn order_of(config: &Config) -> impl Fn(&str) -> bool + Send + Sync + 'static {
    let ordered: Vec<RouteSpec> = config.routes.iter().filter(|spec| needs_order(spec)).cloned().collect();
    let topic_of = |name: &String| config.topic_of(name).map(|topic| topic.name.clone());
    let own: Vec<String> = ordered.iter().flat_map(|spec| spec.types()).filter_map(topic_of).collect();
    let topics = config.topics.clone();
    move |topic| match topics.of_others(topic) {
        Some(others) => ordered.iter().any(|spec| spec.topics().contains(&others.name)),
        None => own.iter().any(|own| own == topic),
    }
}

// === impl LiveRoutes ===

impl LiveRoutes {
    /// The tables of message types, if records of any are written.
    pub(super) fn own_tables(&self, schemas: &Schemas) -> Vec<Arc<Table>> {
        if self.sources.has_own_tables { schemas.tables() } else { Vec::new() }
    }

    /// All tables that are written to.
    pub(super) fn tables(&self, schemas: &Schemas) -> Vec<Arc<Table>> {
        let mut tables = self.own_tables(schemas);
        tables.extend_from_slice(self.routing.load().tables());
        tables
    }
}

// === impl RouteSources ===

impl RouteSources {
    /// The routes of a config, whose types are in the catalog ([`check_routes`]).
    pub fn of(config: &Config, catalog: &Catalog, registry: Option<&Arc<Registry>>) -> Self {
        let of_topic = |others: &OthersTopic| {
            let is_of = |spec: &&RouteSpec| spec.topics().contains(&others.name);
            TopicSource::new(config, others, config.routes.iter().filter(is_of).cloned().collect(), registry)
        };
        // Records of message types go the way of ours.
        let others = config.topics.others.iter().filter(|others| others.format != Format::Surgetank);
        let topics = others.map(of_topic).collect();
        let types = catalog.types().iter().filter_map(|message_type| {
            let is_of = |spec: &&RouteSpec| spec.types().contains(&message_type.name);
            let specs: Vec<RouteSpec> = config.routes.iter().filter(is_of).cloned().collect();
            (!specs.is_empty()).then(|| TypeSource { own: Arc::clone(&message_type.table), specs })
        });
        Self { topics, types: types.collect(), has_own_tables: has_own_tables(config) }
    }

    /// The routes, in the order of their sources; one from several sources comes with each.
    pub fn specs(&self) -> impl Iterator<Item = &RouteSpec> {
        self.topics.iter().flat_map(|topic| &topic.specs).chain(self.types.iter().flat_map(|type_| &type_.specs))
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
        let (mut topics, mut types, mut problems) = (Vec::new(), Vec::new(), Vec::new());
        let mut routes: Vec<Arc<RouteTable>> = Vec::new();
        let mut take = |compiled: Result<Compiled, Vec<RouteProblem>>| match compiled {
            Ok(compiled) => {
                for route in compiled.routes.routes() {
                    if routes.iter().all(|known| known.spec.name != route.spec.name) {
                        routes.push(Arc::clone(route));
                    }
                }
            }
            // A route from several sources has the same problem with each.
            Err(of_source) => of_source.into_iter().for_each(|problem| push_new(&mut problems, problem)),
        };
        for topic in &self.topics {
            let routed = topic.with(descriptions);
            take(routed.compile(counters));
            topics.push(Arc::new(routed));
        }
        for source in &self.types {
            let routed = source.with(descriptions);
            take(routed.compile(&source.own, counters));
            types.push(Arc::new(routed));
        }
        if problems.is_empty() { Ok(Routing::new(topics, types, routes)) } else { Err(RoutesError::Problems(problems)) }
    }

    /// Routes whose tables are no longer as they were when the routes were compiled. Those that only have more columns are
    /// fine.
    pub async fn inspect(&self, store: &dyn Store, in_force: &Routing) -> Result<Vec<Condition>, StoreError> {
        let now = Arc::new(describe(store, self.specs()).await?);
        let mut found = Vec::new();
        let mut look = |spec: &RouteSpec, compile: &dyn Fn() -> Result<Compiled, Vec<RouteProblem>>| {
            if let Some(reason) = change(spec, &now, in_force, compile) {
                let detail = format!(
                    "route {} writes no rows: {reason}. Its records wait in the log, uncommitted, and others of their partitions \
                     behind them; once the table is as it was they are written by themselves, and after a restart if it is to \
                     stay as it is",
                    spec.name
                );
                push_new(&mut found, Condition::failing(Part::Store, "route_stopped", &spec.name, detail));
            }
        };
        for topic in &self.topics {
            for spec in &topic.specs {
                let alone = TopicSource { specs: vec![spec.clone()], ..topic.clone() };
                look(spec, &|| alone.with(&now).compile(&Counters::default()));
            }
        }
        for source in &self.types {
            for spec in &source.specs {
                let alone = TypeSource { specs: vec![spec.clone()], ..source.clone() };
                look(spec, &|| alone.with(&now).compile(&source.own, &Counters::default()));
            }
        }
        Ok(found)
    }
}

/// What has changed of a route's table so that its rows do not fit any more.
fn change(
    spec: &RouteSpec,
    now: &Descriptions,
    in_force: &Routing,
    compile: &dyn Fn() -> Result<Compiled, Vec<RouteProblem>>,
) -> Option<String> {
    let is_of = |table: &&Arc<Table>| table.routed.as_ref().is_some_and(|routed| routed.route == spec.name);
    let before = in_force.tables().iter().find(is_of)?;
    let name = before.full_name();
    if !now.contains_key(&spec.table) {
        return Some(format!("table {name} is gone"));
    }
    let compiled = match compile() {
        Ok(compiled) => compiled,
        Err(problems) => {
            return Some(problems.iter().map(|problem| problem.reason.as_str()).collect::<Vec<_>>().join("; "));
        }
    };
    let after = &compiled.routes.routes().first()?.table;
    if before.key != after.key {
        return Some(format!("table {name} has another key than when the engine began"));
    }
    let changed = before.columns.iter().find(|column| !after.columns.contains(column))?;
    Some(format!("column {} of table {name} is not of the type that it had when the engine began", changed.name))
}

// === impl TopicSource ===

impl TopicSource {
    /// A section of topics of others with these routes.
    pub fn new(config: &Config, others: &OthersTopic, specs: Vec<RouteSpec>, registry: Option<&Arc<Registry>>) -> Self {
        let registry = registry.filter(|_| others.format == Format::AvroRegistry).cloned();
        let topics = Arc::new(config.topics.clone());
        Self { name: others.name.as_str().into(), topics, format: others.format, specs, registry }
    }

    /// With what the database says of the tables.
    pub fn with(&self, descriptions: &Arc<Descriptions>) -> RoutedTopic {
        let (name, topics) = (Arc::clone(&self.name), Arc::clone(&self.topics));
        RoutedTopic {
            name: Arc::clone(&self.name),
            is_of: Arc::new(move |topic| topics.of_others(topic).is_some_and(|others| others.name == *name)),
            format: self.format,
            specs: self.specs.clone(),
            extract: self.extract(),
            registry: self.registry.clone(),
            descriptions: Arc::clone(descriptions),
        }
    }

    fn extract(&self) -> MakeExtract {
        match (self.format, &self.registry) {
            (Format::Json, _) => Arc::new(|paths| Box::new(JsonExtract::new(paths))),
            (Format::AvroRegistry, registry) => {
                // Commands that read no records have none.
                let schemas = registry.as_ref().map(|registry| registry.schemas()).unwrap_or_default();
                Arc::new(move |paths| Box::new(RegistryExtractor::new(paths, Arc::clone(&schemas))))
            }
            (Format::Raw, _) => Arc::new(|paths| Box::new(RawExtract::new(paths))),
            (Format::Surgetank, _) => unreachable!("records of message types go the way of ours"),
        }
    }
}

// === impl TypeSource ===

impl TypeSource {
    fn with(&self, descriptions: &Arc<Descriptions>) -> RoutedType {
        let (name, specs) = (self.own.name.clone(), self.specs.clone());
        RoutedType { name, specs, descriptions: Arc::clone(descriptions) }
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
