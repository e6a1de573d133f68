//! Asks the log's and the store's servers from time to time about what they do not tell by themselves.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::debug;

use super::rooms::Rooms;
use crate::actors::schemas::Schemas;
use crate::flow::health::{Condition, Part};
use crate::log::TopicSpec;
use crate::observe::View;
use crate::telemetry::counters::add;

/// How often the store is asked whether it answers.
const ANSWER_INTERVAL: Duration = Duration::from_secs(2);

/// How often settings of topics, tables and servers are looked at. A change is seen within a minute, whatever an
/// inspection takes.
const INSPECT_INTERVAL: Duration = Duration::from_secs(20);

/// Keeps asking until it is aborted; what was heard last is part of the engine's health.
pub(super) async fn inspect(view: View, rooms: Rooms, topics: Vec<TopicSpec>, schemas: Arc<Schemas>) {
    let (answers, settings): (Findings, Findings) = Default::default();
    for findings in [&answers, &settings] {
        let findings = Arc::clone(findings);
        view.status.watch(move || findings.lock().clone());
    }
    tokio::join!(
        ask_store(&rooms, &answers),
        inspect_all(&rooms, &view, &topics, &schemas, &settings),
        count_losses(&rooms, &view)
    );
}

/// How often the log is asked what it lost; it answers from memory.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

type Findings = Arc<Mutex<Vec<Condition>>>;

async fn ask_store(rooms: &Rooms, found: &Mutex<Vec<Condition>>) {
    let mut ticks = tokio::time::interval(ANSWER_INTERVAL);
    loop {
        ticks.tick().await;
        let away = |reason| {
            let detail = format!("the store does not answer: {reason}; records wait in the log until it does");
            Condition::failing(Part::Store, "store_unavailable", "", detail)
        };
        let health = rooms.store.health().await;
        *found.lock() = health.err().map(away).into_iter().collect();
    }
}

/// The log counts what it lost; the counters show it.
async fn count_losses(rooms: &Rooms, view: &View) {
    let mut ticks = tokio::time::interval(COUNT_INTERVAL);
    loop {
        ticks.tick().await;
        view.telemetry.counters.lost_records.store(rooms.log.lost_records(), Ordering::Relaxed);
    }
}

async fn inspect_all(
    rooms: &Rooms,
    view: &View,
    topics: &[TopicSpec],
    schemas: &Schemas,
    found: &Mutex<Vec<Condition>>,
) {
    let mut ticks = tokio::time::interval(INSPECT_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut of_log, mut of_store, mut of_schemas) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        ticks.tick().await;
        // Who cannot be asked says so by other conditions; what was found last stands until it can.
        match rooms.log.inspect(topics).await {
            Ok(conditions) => {
                of_log = conditions;
                match schemas.restore().await {
                    Ok(restored) => {
                        add(&view.telemetry.counters.schemas_restored, restored.num_written);
                        of_schemas = restored.conditions();
                    }
                    // A topic that is not there, or cannot be read, is among what the log says.
                    Err(error) => debug!(%error, "cannot look for missing schemas"),
                }
            }
            Err(error) => debug!(%error, "cannot inspect the log"),
        }
        match rooms.store.inspect(&schemas.tables()).await {
            Ok(conditions) => of_store = conditions,
            Err(error) => debug!(%error, "cannot inspect the store"),
        }
        *found.lock() = of_log.iter().chain(&of_schemas).chain(&of_store).cloned().collect();
    }
}
