//! The store of a start, which intake does not wait for: while it is away, what is taken in waits in the log, as it does when
//! the store goes away later. It is tried until it is there.
//!
//! What the store says at once, only an operator can mend, and would keep rows from being written ends the start. Once
//! messages are taken in nothing of the kind ends the engine: that would turn a mistake with the database into an outage for
//! devices. Their records wait, and `/health` says why.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::info;

use super::EngineError;
use super::backends::open_store;
use super::opening::{backoff, refuse_start};
use super::routes::LiveRoutes;
use crate::config::{Config, StoreKind};
use crate::flow::backoff::Backoff;
use crate::flow::health::{Condition, Part};
use crate::observe::{Phase, View};
use crate::schema::row::Table;
use crate::store::{Store, StoreError};
use crate::supervision::jitter;
use crate::telemetry::Telemetry;

/// How long a start waits for the store's first answer: connecting and creating tables may take seconds.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// The store, once it is there.
pub(super) type StoreSlot = watch::Receiver<Option<Arc<dyn Store>>>;

/// What a store is opened for.
#[derive(Clone)]
pub(super) struct Needs {
    /// The tables of message types.
    pub(super) tables: Vec<Arc<Table>>,
    /// The routes into other tables; they are compiled against it.
    pub(super) routes: LiveRoutes,
}

/// A store that is being opened.
pub(super) struct AwaitedStore {
    config: Arc<Config>,
    driver: Handle,
    needs: Needs,
    view: View,
    /// Kept when nobody waits any more: two attempts at once would change the schema at once.
    under_way: Option<BoxFuture<'static, Result<Arc<dyn Store>, EngineError>>>,
    there: Option<Arc<dyn Store>>,
    backoff: Backoff,
}

// === impl AwaitedStore ===

impl AwaitedStore {
    /// A store for these needs; nothing is asked yet.
    pub(super) fn new(config: Arc<Config>, driver: Handle, needs: Needs, view: View) -> Self {
        Self { config, driver, needs, view, under_way: None, there: None, backoff: backoff() }
    }

    /// Waits for the first answer, but not for long. An error is one that ends the start.
    pub(super) async fn first_answer(&mut self) -> Result<(), EngineError> {
        self.view.status.set_phase(Phase::starting("the store"));
        match timeout(FIRST_ANSWER, self.attempt()).await {
            Ok(Err(error)) if !self.may_wait(&error) => Err(error),
            // It is there, it is away, or it takes its time.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Whether it is there already.
    pub(super) fn is_there(&self) -> bool {
        self.there.is_some()
    }

    /// Holds the start up until the store is there, for one that must not take messages in before. An error ends the start.
    pub(super) async fn hold_up_for(&mut self) -> Result<(), EngineError> {
        while let Err(error) = self.attempt().await {
            if !self.may_wait(&error) {
                return Err(error);
            }
            self.view
                .status
                .set_phase(Phase::Starting { part: "the store", waiting_for: format!("the store: {error}") });
            sleep(self.backoff.next_delay(jitter())).await;
        }
        Ok(())
    }

    /// Waits until the store is there, while messages are taken in. An error only of a store in this process.
    pub(super) async fn retry_until_ready(mut self) -> Result<Arc<dyn Store>, EngineError> {
        loop {
            match self.attempt().await {
                Ok(store) => return Ok(store),
                Err(error) if !self.is_remote() => return Err(error),
                Err(_) => sleep(self.backoff.next_delay(jitter())).await,
            }
        }
    }

    /// The outcome of the attempt that is under way, or of another one. May be dropped.
    async fn attempt(&mut self) -> Result<Arc<dyn Store>, EngineError> {
        if let Some(store) = &self.there {
            return Ok(Arc::clone(store));
        }
        let telemetry = &self.view.telemetry;
        let connect =
            || connect(Arc::clone(&self.config), self.driver.clone(), self.needs.clone(), Arc::clone(telemetry));
        let outcome = self.under_way.get_or_insert_with(|| Box::pin(connect())).await;
        self.under_way = None;
        let status = &self.view.status;
        match &outcome {
            Ok(store) => {
                let (asked, measured) = (Arc::clone(store), Arc::clone(store));
                status.watch(move || asked.conditions());
                status.measure(move || measured.gauges());
                status.clear_hindrance(Part::Store);
                status.heard_of(Part::Store);
                self.there = Some(Arc::clone(store));
            }
            Err(error) => status.set_hindrance(hindrance(error)),
        }
        outcome
    }

    fn may_wait(&self, error: &EngineError) -> bool {
        self.is_remote() && error.is_retryable()
    }

    fn is_remote(&self) -> bool {
        matches!(self.config.store.kind, StoreKind::Cassandra(_))
    }
}

/// Opens the store, compiles the routes against its tables, and creates or checks what it must have.
async fn connect(
    config: Arc<Config>,
    driver: Handle,
    Needs { mut tables, routes }: Needs,
    telemetry: Arc<Telemetry>,
) -> Result<Arc<dyn Store>, EngineError> {
    let store = open_store(&config, driver).await?;
    let compiled = routes.sources.compile(&*store, &telemetry.counters).await?;
    tables.extend_from_slice(compiled.tables());
    if config.store.apply_on_start {
        store.apply(&tables).await?.iter().for_each(|change| info!("{change}"));
    }
    store.prepare(&tables).await?;
    refuse_start(store.inspect(&tables).await?)?;
    routes.routing.store(Arc::new(compiled));
    Ok(store)
}

/// Why there is no store yet.
fn hindrance(error: &EngineError) -> Condition {
    match error {
        EngineError::Store(error @ StoreError::LoginRefused { .. }) => {
            let detail = format!("{error}; records wait in the log, and the login is tried again every few seconds");
            Condition::failing(Part::Store, "store_login_refused", "", detail)
        }
        error if error.is_retryable() => {
            let detail = format!("the store does not answer: {error}; records wait in the log until it does");
            Condition::failing(Part::Store, "store_unavailable", "", detail)
        }
        error => {
            let detail = format!(
                "no row can be written as the store is: {error}; records wait in the log, and the store is looked at again \
                 every few seconds"
            );
            Condition::failing(Part::Store, "store_unfit", "", detail)
        }
    }
}
