//! Asks the log's and the store's servers from time to time about what they do not tell by themselves.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::debug;

use super::routes::LiveRoutes;
use crate::actors::schemas::Schemas;
use crate::flow::health::{Condition, Part};
use crate::log::{Log, TopicSpec};
use crate::observe::View;
use crate::store::{Store, StoreError};
use crate::telemetry::counters::add;

/// How often the store is asked whether it answers.
const ANSWER_INTERVAL: Duration = Duration::from_secs(2);

/// How often settings of topics, tables and servers are looked at. A change is seen within a minute, whatever an
/// inspection takes.
const INSPECT_INTERVAL: Duration = Duration::from_secs(20);

/// How soon they are looked at again while something is wrong, so that its end is told within half a minute also where it
/// takes two looks: a topic that was missing is there again, and then, that it is another one has been told.
const INSPECT_AGAIN: Duration = Duration::from_secs(8);

/// Keeps asking the log until it is aborted; what was heard last is part of the engine's health.
pub(super) async fn inspect_log(view: View, log: Arc<dyn Log>, topics: Vec<TopicSpec>, schemas: Arc<Schemas>) {
    let found = findings(&view);
    tokio::join!(look_at_log(&*log, &view, &topics, &schemas, &found), count_losses(&*log, &view));
}

/// Keeps asking the store; never ends.
pub(super) async fn inspect_store(view: &View, store: &dyn Store, schemas: &Schemas, routes: &LiveRoutes) {
    let (answers, settings) = (findings(view), findings(view));
    tokio::join!(ask_store(store, &answers), look_at_store(store, schemas, routes, &settings));
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
    let mut of_schemas = Vec::new();
    loop {
        // Who cannot be asked says so by other conditions; what was found last stands until it can.
        match log.inspect(topics).await {
            Ok(mut of_log) => {
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
            Err(error) => debug!(%error, "cannot inspect the log"),
        }
        next_look(found).await;
    }
}

async fn look_at_store(store: &dyn Store, schemas: &Schemas, routes: &LiveRoutes, found: &Mutex<Vec<Condition>>) {
    loop {
        match look_at_tables(store, schemas, routes).await {
            Ok(conditions) => *found.lock() = conditions,
            Err(error) => debug!(%error, "cannot inspect the store"),
        }
        next_look(found).await;
    }
}

/// What is wrong with the tables of message types and of routes.
async fn look_at_tables(
    store: &dyn Store,
    schemas: &Schemas,
    routes: &LiveRoutes,
) -> Result<Vec<Condition>, StoreError> {
    let mut found = store.inspect(&routes.tables(schemas)).await?;
    found.extend(routes.sources.inspect(store, &routes.routing.load_full()).await?);
    Ok(found)
}

/// Waits until it is time to look again, by what was found last.
async fn next_look(found: &Mutex<Vec<Condition>>) {
    let interval = if found.lock().is_empty() { INSPECT_INTERVAL } else { INSPECT_AGAIN };
    tokio::time::sleep(interval).await;
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn test_what_is_wrong_is_looked_at_again_soon_enough_to_tell_its_end() {
        let found = Mutex::default();
        let wait = async || {
            let before = Instant::now();
            next_look(&found).await;
            before.elapsed()
        };
        assert!(wait().await >= INSPECT_INTERVAL);
        *found.lock() = vec![Condition::degraded(Part::Log, "topic_recreated", "t", "")];
        // Two looks, and the time for which the health goes on to show what is over.
        assert!(wait().await * 2 + Duration::from_secs(5) < Duration::from_secs(30));
        found.lock().clear();
        assert!(wait().await >= INSPECT_INTERVAL);
    }
}
