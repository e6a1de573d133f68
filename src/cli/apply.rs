//! `surgetank apply`: creates the topics, keyspace and tables that are missing.

use std::path::Path;

use super::output::{Results, tell};
use super::{Failure, Outcome, load, runtime};
use crate::engine::{RouteSources, all_topics, check_routes, check_topics, load_codecs, open_log, open_store, tables};
use crate::telemetry::Counters;

pub(super) fn apply(path: &Path) -> Outcome {
    let config = load(Some(path))?;
    let codecs = load_codecs(&config).map_err(Failure::usage)?;
    check_topics(&config, codecs.catalog()).map_err(Failure::Usage)?;
    check_routes(&config, codecs.catalog()).map_err(Failure::Usage)?;
    let runtime = runtime(2)?;
    runtime.block_on(async {
        let topics = all_topics(&config);
        let log = open_log(&config).map_err(Failure::job)?;
        let mut changes = log.apply(&topics).await.map_err(Failure::job)?;
        let store = open_store(&config, runtime.handle().clone()).await.map_err(Failure::job)?;
        let mut tables = tables(&config, codecs.catalog());
        let routes = RouteSources::of(&config, codecs.catalog(), None);
        let routing = routes.compile(&*store, &Counters::default()).await.map_err(Failure::job)?;
        tables.extend_from_slice(routing.tables());
        changes.extend(store.apply(&tables).await.map_err(Failure::job)?);
        // Whatever becomes of telling: the changes are made.
        let mut results = Results::new();
        let told = changes.iter().try_for_each(|change| results.line(change)).and_then(|()| results.finish());
        if changes.is_empty() {
            tell!("nothing to do: everything is there");
        }
        store.close().await;
        log.close().await;
        told
    })
}
