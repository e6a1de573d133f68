//! The parts of the engine that take another config over.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tracing::info;

use super::super::awaited_store::StoreSlot;
use super::super::backends::{check_topics, load_codecs, tables};
use super::super::{EngineError, admission, gate};
use super::{Prepared, ReloadError, Reloadable};
use crate::actors::connection::{Edge, EdgeLimits};
use crate::actors::gate::GateControl;
use crate::actors::schemas::Schemas;
use crate::codec::Codecs;
use crate::config::Config;
use crate::flow::memory::MemoryBudget;
use crate::intake::admission::AdmissionControl;
use crate::intake::rules::{IntakeRules, LiveIntakeRules};
use crate::intake::{Intake, IntakeLimits};
use crate::log::TopicSpec;
use crate::observe::{Guard, PublicPaths};
use crate::protocol::package::PackageLimits;
use crate::schema::Catalog;
use crate::store::StoreError;

/// Limits of devices and addresses, of memory and of the gate, and what everybody may look at. A device keeps what its Welcome said until it connects again: what it
/// has made by then must not be turned away.
pub(in crate::engine) struct Limits {
    pub intake: Arc<Intake>,
    pub edge: Arc<Edge>,
    pub admission: Arc<AdmissionControl>,
    pub guard: Arc<Guard>,
    pub memory: MemoryBudget,
    pub gate: Arc<GateControl>,
}

/// Layouts, and which topic takes which type. Topics themselves need a restart.
pub(in crate::engine) struct Layouts {
    pub store: StoreSlot,
    pub schemas: Arc<Schemas>,
    pub rules: LiveIntakeRules,
    /// The topics in the order of the routes.
    pub topics: Vec<TopicSpec>,
}

// === impl Limits ===

impl Reloadable for Limits {
    fn prepare<'a>(&'a self, config: &'a Config) -> BoxFuture<'a, Result<Prepared, ReloadError>> {
        let (edge, of_connection) = (Arc::clone(&self.edge), edge_limits(config));
        let (intake, of_intake) = (Arc::clone(&self.intake), intake_limits(config));
        let (admission, of_admission) = (Arc::clone(&self.admission), admission::limits(&config.limits));
        let (guard, public) = (Arc::clone(&self.guard), public_paths(config));
        let (memory, budget) = (self.memory.clone(), config.memory.budget);
        let (gate, settings) = (Arc::clone(&self.gate), gate::settings(&config.gate));
        let commit = move || {
            edge.set_limits(of_connection);
            intake.set_limits(of_intake);
            admission.set_limits(of_admission);
            guard.set_public(public);
            memory.set_limit(budget);
            gate.set_settings(settings);
        };
        Box::pin(async { Ok(Prepared { changes: Vec::new(), commit: Box::new(commit) }) })
    }
}

// === impl Layouts ===

impl Layouts {
    async fn prepare_for(&self, config: &Config) -> Result<Prepared, ReloadError> {
        let in_force = Arc::clone(&self.rules.load().codecs);
        let codecs = Arc::new(load_codecs(config).map_err(EngineError::from)?);
        let changes = codecs.catalog().changes_since(in_force.catalog())?;
        check_topics(config, codecs.catalog()).map_err(|problem| {
            ReloadError::Refused(format!("{problem} (topics as they are: another needs a restart)"))
        })?;
        // So that a store that is away does not keep other changes back.
        let (codecs, plans) = match changes.is_empty() {
            true => (in_force, None),
            false => {
                // Everything that may say no comes before the first change.
                self.schemas.check(&codecs).await.map_err(EngineError::from)?;
                self.widen_store(config, codecs.catalog()).await?;
                let plans = self.schemas.prepare(Arc::clone(&codecs)).await.map_err(EngineError::from)?;
                (codecs, Some(plans))
            }
        };
        let rules = Arc::new(intake_rules(config, codecs, &self.topics));
        let (schemas, live) = (Arc::clone(&self.schemas), Arc::clone(&self.rules));
        let commit = move || {
            // In this order: writers know what decoders make before they make it.
            if let Some(plans) = plans {
                schemas.replace(plans);
            }
            live.store(rules);
        };
        Ok(Prepared { changes, commit: Box::new(commit) })
    }

    /// Tables and columns are there before the first record can need them.
    async fn widen_store(&self, config: &Config, catalog: &Catalog) -> Result<(), EngineError> {
        let Some(store) = self.store.borrow().clone() else {
            return Err(StoreError::failed("new layouts need columns", "the store is not connected yet").into());
        };
        let tables = tables(config, catalog);
        if config.store.apply_on_start {
            store.apply(&tables).await?.iter().for_each(|change| info!("{change}"));
        }
        Ok(store.prepare(&tables).await?)
    }
}

impl Reloadable for Layouts {
    fn prepare<'a>(&'a self, config: &'a Config) -> BoxFuture<'a, Result<Prepared, ReloadError>> {
        Box::pin(self.prepare_for(config))
    }
}

/// What the config says of a connection.
pub(in crate::engine) fn edge_limits(config: &Config) -> EdgeLimits {
    let devices = &config.devices;
    EdgeLimits {
        max_frame: devices.max_frame,
        max_package: devices.max_package,
        max_messages: devices.max_messages,
        max_unacknowledged_packages: devices.max_unacknowledged_packages,
        hello_timeout: devices.hello_timeout,
        idle_timeout: devices.idle_timeout,
    }
}

/// What the config shows of the operators' HTTP without a token.
pub(in crate::engine) fn public_paths(config: &Config) -> PublicPaths {
    PublicPaths { health_checks: config.http.public_health_checks, metrics: config.http.public_metrics }
}

/// What the config says of all sources.
pub(in crate::engine) fn intake_limits(config: &Config) -> IntakeLimits {
    let devices = &config.devices;
    let package = PackageLimits { max_bytes: devices.max_package as usize, max_messages: devices.max_messages };
    IntakeLimits {
        package,
        max_block: devices.max_frame as usize,
        retry_delay: devices.retry_delay,
        reconnect_spread: config.shutdown.reconnect_spread,
    }
}

/// How messages are taken in, with these topics in the order of the routes. A type that no topic takes is unknown.
pub(in crate::engine) fn intake_rules(config: &Config, codecs: Arc<Codecs>, topics: &[TopicSpec]) -> IntakeRules {
    let topic_of = |name: &str| {
        let topic = config.topic_of(name)?;
        topics.iter().position(|spec| *spec.name == *topic.name)
    };
    let types = codecs.catalog().types().iter();
    let topic_of = types.filter_map(|message_type| Some((message_type.id, topic_of(&message_type.name)?))).collect();
    let devices = &config.devices;
    let (max_event_time_ahead, max_event_time_behind) = (devices.max_event_time_ahead, devices.max_event_time_behind);
    IntakeRules { codecs, topic_of, max_event_time_ahead, max_event_time_behind }
}
