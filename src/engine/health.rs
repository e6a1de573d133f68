//! Asks the log's and the store's servers from time to time about what they do not tell by themselves.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Interval, MissedTickBehavior};
use tracing::debug;

use crate::actors::schemas::Schemas;
use crate::flow::health::{Condition, Part};
use crate::log::{Log, TopicSpec};
use crate::observe::View;
use crate::store::Store;
use crate::telemetry::counters::add;

/// How often the store is asked whether it answers.
const ANSWER_INTERVAL: Duration = Duration::from_secs(2);

/// How often settings of topics, tables and servers are looked at. A change is seen within a minute, whatever an
/// inspection takes.
const INSPECT_INTERVAL: Duration = Duration::from_secs(20);

/// Keeps asking the log until it is aborted; what was heard last is part of the engine's health.
pub(super) async fn inspect_log(view: View, log: Arc<dyn Log>, topics: Vec<TopicSpec>, schemas: Arc<Schemas>) {
    let found = findings(&view);
    tokio::join!(look_at_log(&*log, &view, &topics, &schemas, &found), count_losses(&*log, &view));
}

/// Keeps asking the store; never ends.
pub(super) async fn inspect_store(view: &View, store: &dyn Store, schemas: &Schemas) {
    let (answers, settings) = (findings(view), findings(view));
    tokio::join!(ask_store(store, &answers), look_at_store(store, schemas, &settings));
}

/// How often the log is asked what it lost; it answers from memory.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

type Findings = Arc<Mutex<Vec<Condition>>>;

/// A place for what is heard, which is part of the engine's health from now on.
fn findings(view: &View) -> Findings {
    let findings = Findings::default();
    let watched = Arc::clone(&findings);
    view.status.watch(move || watched.lock().clone());
    findings
}

async fn ask_store(store: &dyn Store, found: &Mutex<Vec<Condition>>) {
    let mut ticks = tokio::time::interval(ANSWER_INTERVAL);
    loop {
        ticks.tick().await;
        let away = |reason| {
            let detail = format!("the store does not answer: {reason}; records wait in the log until it does");
            Condition::failing(Part::Store, "store_unavailable", "", detail)
        };
        let health = store.health().await;
        *found.lock() = health.err().map(away).into_iter().collect();
    }
}

/// The log counts what it lost; the counters show it.
async fn count_losses(log: &dyn Log, view: &View) {
    let mut ticks = tokio::time::interval(COUNT_INTERVAL);
    loop {
        ticks.tick().await;
        view.telemetry.counters.lost_records.store(log.lost_records(), Ordering::Relaxed);
    }
}

async fn look_at_log(
    log: &dyn Log,
    view: &View,
    topics: &[TopicSpec],
    schemas: &Schemas,
    found: &Mutex<Vec<Condition>>,
) {
    let mut ticks = inspections();
    let mut of_schemas = Vec::new();
    loop {
        ticks.tick().await;
        // Who cannot be asked says so by other conditions; what was found last stands until it can.
        let mut of_log = match log.inspect(topics).await {
            Ok(conditions) => conditions,
            Err(error) => {
                debug!(%error, "cannot inspect the log");
                continue;
            }
        };
        match schemas.restore().await {
            Ok(restored) => {
                add(&view.telemetry.counters.schemas_restored, restored.num_written);
                of_schemas = restored.conditions();
            }
            // A topic that is not there, or cannot be read, is among what the log says.
            Err(error) => debug!(%error, "cannot look for missing schemas"),
        }
        of_log.extend(of_schemas.iter().cloned());
        *found.lock() = of_log;
    }
}

async fn look_at_store(store: &dyn Store, schemas: &Schemas, found: &Mutex<Vec<Condition>>) {
    let mut ticks = inspections();
    loop {
        ticks.tick().await;
        match store.inspect(&schemas.tables()).await {
            Ok(conditions) => *found.lock() = conditions,
            Err(error) => debug!(%error, "cannot inspect the store"),
        }
    }
}

fn inspections() -> Interval {
    let mut ticks = tokio::time::interval(INSPECT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
